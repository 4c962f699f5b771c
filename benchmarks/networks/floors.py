"""What the scorecard's live cases must show: the median of the runs against a bound."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.networks.live import PUBLISHER

# What nobody hears: a twentieth of a second in ten.
NO_VOICE_LOST = 0.005
FULL_PX = 720
# What a run with real pages bears of its machine.
LATE_MOST_S = 0.1
CONTROL_MOST = 0.01


@dataclass(frozen=True)
class Floor:
    """A measure of a case, and what it is at least or at most."""

    case: str
    measure: str
    bound: float
    is_most: bool = True

    def holds(self, value: float) -> bool:
        """Whether a measured value is good enough."""
        return value <= self.bound if self.is_most else value >= self.bound


def _both_ways(case: str, measure: str, bound: float) -> tuple[Floor, Floor]:
    return Floor(case, measure, bound), Floor(f"{case}{PUBLISHER}", measure, bound)


FLOORS = (
    *_both_ways("5 M, 10 % random loss", "concealed", 0.01),
    *_both_ways("5 M, 20 % random loss", "concealed", 0.03),
    *_both_ways("5 M, 20 % in bursts", "concealed", 0.05),
    Floor("4 M to 500 k and back", "fall_concealed", NO_VOICE_LOST),
    Floor("4 M to 500 k and back", "queue_back_s", 2.0),
    Floor("4 M to 500 k and back", "full_picture_s", 10.0),
    Floor("4 M to 100 k and back", "fall_concealed", NO_VOICE_LOST),
    Floor("4 M to 100 k and back", "unsaid_still_s", 2.0),
    Floor("RFC 8867 5.1 one flow", "utilisation", 0.8, is_most=False),
    Floor("RFC 8867 5.1 one flow", "p95_wait_s", 0.15),
    Floor("RFC 8867 5.4 three flows", "jain", 0.9, is_most=False),
    Floor("RFC 8867 5.6 one long TCP", "media_share", 0.25, is_most=False),
    Floor("RFC 8867 5.6 one long TCP", "media_share", 0.75),
    *_both_ways("GEO satellite", "concealed", 0.02),
    *_both_ways("GEO satellite", "freezes_per_minute", 1.0),
    Floor("Starlink", "concealed", 0.02),
    Floor("Starlink", "freezes_per_minute", 1.0),
    # One gap is no collapse.
    Floor("Starlink", "whole_picture", 0.9, is_most=False),
)


def measures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures of one run; of several receivers that of the worst."""
    receivers, control = row["receivers"], row["control"]
    found = {
        name: _number(row[name])
        for name in (
            *("utilisation", "p95_wait_s", "queue_loss", "line_loss", "rise_s", "fall_s", "queue_back_s"),
            *("jain", "media_share", "voice_p95_wait_s", "waited"),
        )
        if row[name] is not None
    }
    for name in (
        *("concealed", "fall_concealed", "stills", "stills_s", "freezes_per_minute", "longest_still_s"),
        *("full_picture_s", "voice_back_s", "unsaid_still_s"),
    ):
        # A column may be older than a measure.
        values = [_number(one[name]) for one in receivers if one.get(name) is not None]
        if values:
            found[name] = max(values)
    for name in ("height_px", "estimate_bps", "received_bps"):
        found[name] = min(_number(one[name]) for one in receivers)
    found["whole_picture"] = min(_whole(one) for one in receivers)
    found["control_whole_picture"] = _whole(control)
    for name in ("concealed", "stills_s", "longest_still_s", "height_px"):
        found[f"control_{name}"] = _number(control[name])
    found["late_s"] = _number(row["line"]["late_s"][1])
    found["load"] = _number(row["load"][0])
    return found


def _number(value: Any) -> float:
    return float("inf") if value == "never" else float(value)


def _whole(page: Mapping[str, Any]) -> float:
    return float(sum(part for height, part in page["heights"].items() if int(height) >= FULL_PX))


def is_noisy(row: Mapping[str, Any]) -> bool:
    """Whether the machine spoiled a run: the line was late, or the control, which has no line, lost voice."""
    if _number(row["line"]["late_s"][1]) > LATE_MOST_S:
        return True
    # Behind the publisher's line the control loses what the receivers lose.
    return not row["case"].endswith(PUBLISHER) and _number(row["control"]["concealed"]) > CONTROL_MOST


def medians(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the median of each measure over the runs of a case, over its calm ones where there are any."""
    rows = list(rows)
    runs = [measures(row) for row in rows if not is_noisy(row)] or [measures(row) for row in rows]
    return {name: round(median(one[name] for one in runs if name in one), 4) for name in runs[0]}


@dataclass(frozen=True)
class Judged:
    """A floor and what was measured; nothing if its case was not, or in noisy runs alone."""

    floor: Floor
    value: float | None

    @property
    def is_missed(self) -> bool:
        """Whether it does not hold; what was not measured does not."""
        return self.value is None or not self.floor.holds(self.value)


def judge(rows: Sequence[Mapping[str, Any]]) -> list[Judged]:
    """Hold what was measured against all floors."""
    found: list[Judged] = []
    for floor in FLOORS:
        runs = [row for row in rows if row["case"] == floor.case and not is_noisy(row)]
        found.append(Judged(floor, medians(runs).get(floor.measure) if runs else None))
    return found
