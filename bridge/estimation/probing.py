"""When to try more than is sent: a few packets at a higher rate, padding where nothing else is there.

A probe is short: what it sends too much fits any queue. At the start it asks for three and six times the
start; whatever a probe shows to be there is asked for twice once more; and whoever is held back by the
estimate, with a path that has been calm for some seconds, asks for twice what is known. So a risen path is
found in seconds, where growth by 8 % a second needs half a minute for a factor of eight. The factors,
durations and the 0.7 are those of browsers; that calm alone is a reason to probe is ours, because a bridge
sends layers, and a layer is three times the one below.
"""

from dataclasses import dataclass

START_FACTORS = (3.0, 6.0)
NEXT_FACTOR = 2.0
# A probe that shows at least so much of what it tried has not met the path's limit.
FURTHER_PART = 0.7
PACKETS_MIN = 5
DURATION_S = 0.015
# So long a probe's result may take at most, round trip included.
RESULT_S = 1.5
# Between two tries of a calm path; each in vain makes the next wait longer, up to what still finds a risen
# path within ten seconds.
CALM_S = 3.0
WAIT_MIN_S = 4.0
WAIT_MAX_S = 5.0
WAIT_FACTOR = 1.3
# When the rate fell by a third within some seconds and the path is calm again, it may have been a burst of
# others: 85 % of what it carried is tried once. Browsers' values, but for the calm.
FALL_DEEP = 0.66
FALL_PART = 0.85
# From deeper than this the path is another one, and a probe of its former rate would fill its queue.
FALL_DEEPEST = 0.3
FALL_REMEMBERED_S = 5.0
FALL_CALM_S = 1.0
# A probe of less than this much more tells nothing.
WORTH_FACTOR = 1.1
# Nobody needs to know of more than twice what could be shown.
WANTED_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Send at least this much at this rate, each packet marked with the number."""

    number: int
    bps: float
    size_bytes: int
    packets_min: int = PACKETS_MIN


class ProbePlan:
    """Decides which probes one path is due."""

    __slots__ = (
        "_due",
        "_former_bps",
        "_is_started",
        "_last_at",
        "_lost_at",
        "_lost_bps",
        "_number",
        "_tried_bps",
        "_wait_s",
    )

    def __init__(self) -> None:
        self._number = 0
        self._is_started = False
        # Rates that somebody asked to be tried at the next occasion.
        self._due: list[float] = []
        self._last_at = 0.0
        # The highest rate under trial, and the estimate before it; 0: none.
        self._tried_bps = 0.0
        self._former_bps = 0.0
        self._wait_s = WAIT_MIN_S
        # What the path carried before it was full, and when that was.
        self._lost_bps = 0.0
        self._lost_at = 0.0

    def request(self, bps: float) -> None:
        """Try this rate next: it was carried a short while ago."""
        self._due = [bps]

    def measured(self, bps: float) -> None:
        """A probe has shown this much."""
        if self._tried_bps and bps >= FURTHER_PART * self._tried_bps and not self._due:
            self._due = [NEXT_FACTOR * bps]

    def next(self, bps: float, wanted_bps: float, calm_s: float, now: float) -> list[Probe]:
        """Return what is to be tried now, by the estimate, what could be used, and how long all was calm."""
        most_bps = WANTED_FACTOR * wanted_bps
        if not self._is_started:
            self._is_started = True
            self._last_at = now
            return self._probes([factor * bps for factor in START_FACTORS], bps, most_bps, now)
        if self._due:
            due, self._due = self._due, []
            return self._probes(due, bps, most_bps, now) if bps < wanted_bps else []
        if self._tried_bps:
            if now - self._last_at < RESULT_S:
                return []
            is_in_vain = bps < WORTH_FACTOR * self._former_bps
            self._wait_s = min(self._wait_s * WAIT_FACTOR, WAIT_MAX_S) if is_in_vain else WAIT_MIN_S
            self._tried_bps = 0.0
        if self._is_fallen(bps, calm_s, now):
            lost_bps, self._lost_bps = self._lost_bps, 0.0
            return self._probes([FALL_PART * lost_bps], bps, most_bps, now)
        if bps >= wanted_bps or calm_s < CALM_S or now - self._last_at < self._wait_s:
            return []
        return self._probes([NEXT_FACTOR * bps], bps, most_bps, now)

    def fell(self, before_bps: float, now: float) -> None:
        """The path is full: nothing more is tried for now. Remember what it carried before."""
        self._due = []
        if before_bps > self._lost_bps or now - self._lost_at > FALL_REMEMBERED_S:
            self._lost_bps, self._lost_at = before_bps, now

    def _is_fallen(self, bps: float, calm_s: float, now: float) -> bool:
        is_known = now - self._lost_at <= FALL_REMEMBERED_S
        is_deep = FALL_DEEPEST * self._lost_bps < bps < FALL_DEEP * self._lost_bps
        return is_known and is_deep and calm_s >= FALL_CALM_S

    def _probes(self, rates: list[float], bps: float, most_bps: float, now: float) -> list[Probe]:
        probes: list[Probe] = []
        for rate_bps in rates:
            if rate_bps > most_bps and probes:
                break
            tried_bps = min(rate_bps, most_bps)
            if tried_bps < WORTH_FACTOR * bps:
                break
            self._number += 1
            probes.append(Probe(self._number, tried_bps, int(tried_bps * DURATION_S / 8)))
            self._tried_bps = tried_bps
        if probes:
            self._former_bps = bps
            self._last_at = now
        return probes
