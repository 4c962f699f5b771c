"""The scorecard's cases with real Chromium pages: which of the schedules, whose line, and what is scaled."""

from dataclasses import dataclass, replace

from benchmarks.networks.cases import CASES, Case
from benchmarks.networks.shaper import Way

PUBLISHER = ", of the publisher"


@dataclass(frozen=True)
class LiveCase:
    """A case of the scorecard on a real line."""

    case: Case
    # The line of receivers, or that of the publisher.
    way: Way = "down"
    # What differs from the case in virtual time.
    scaled: str = ""

    @property
    def name(self) -> str:
        """Name the case and the line."""
        return self.case.name if self.way == "down" else f"{self.case.name}{PUBLISHER}"


_BY_NAME = {case.name: case for case in CASES}
_FIVE = _BY_NAME["RFC 8867 5.5 five round trips"]

LIVE = (
    LiveCase(_BY_NAME["RFC 8867 5.1 one flow"]),
    LiveCase(_BY_NAME["RFC 8867 5.2 two flows"]),
    LiveCase(_BY_NAME["RFC 8867 5.3 both ways"], scaled="the flow back is the receiver's own camera"),
    LiveCase(_BY_NAME["RFC 8867 5.4 three flows"]),
    LiveCase(
        replace(_FIVE, flows=_FIVE.flows[:4], duration_s=150.0, settled_s=60.0),
        scaled="four flows of five, 150 s of 300",
    ),
    LiveCase(_BY_NAME["RFC 8867 5.6 one long TCP"]),
    LiveCase(replace(_BY_NAME["RFC 8867 5.7 ten short TCP"], duration_s=120.0), scaled="120 s of 300"),
    LiveCase(_BY_NAME["RFC 8867 5.8 a pause"], scaled="who pauses leaves, and joins again"),
    LiveCase(_BY_NAME["4 M to 500 k and back"]),
    LiveCase(_BY_NAME["4 M to 100 k and back"]),
    *(
        LiveCase(_BY_NAME[name], way)
        for way in ("down", "up")
        for name in (
            "5 M, 10 % random loss",
            "5 M, 20 % random loss",
            "5 M, 10 % in bursts",
            "5 M, 20 % in bursts",
        )
    ),
    LiveCase(_BY_NAME["GEO satellite"]),
    LiveCase(_BY_NAME["GEO satellite"], "up"),
    LiveCase(_BY_NAME["Starlink"]),
    LiveCase(_BY_NAME["4G drive"]),
    LiveCase(_BY_NAME["ADSL 300 k, one TCP"], "up"),
    LiveCase(_BY_NAME["outage of 3 s"]),
    LiveCase(_BY_NAME["outage of 10 s"]),
    LiveCase(_BY_NAME["outage of 3 s"], "up"),
)
