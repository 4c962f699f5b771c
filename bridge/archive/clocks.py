"""From each sender's clock to the one timeline of a conference; pure.

Within a stream, sender reports tie RTP time to the publisher's own clock. From there to the server's time
one offset holds for everything that shares that clock, so that lips fit: the least difference between a
report's arrival and its time, because a delay only ever adds to it. Clocks drift, and networks are slow
for minutes on end; the offset therefore follows the least delayed reports, but never faster than a real
clock can drift. What even the least delayed report needed is taken for half of the shortest round trip, so
that a site behind a satellite fits the others. A stream without usable reports is placed by its arrival.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# Crystals are within 100 ppm, and a clock being set slowly by NTP within 500.
DRIFT_MAX: Final = 300e-6
# A publisher's clock that was set anew; no network delays reports by this and goes on so.
STEP_MS: Final = 1_000.0
# How many later reports must agree before a clock counts as set back.
STEP_REPORTS: Final = 8
# A report further from its stream's own line than this is odd, and left out.
ODD_MS: Final = 200.0
# RTP clocks of real devices are within 1 %; a "publisher's clock" off by more stands still or is made up.
RATE_ERROR_MAX: Final = 0.01
# Frames arrive after they were taken, and within this; reports that tell otherwise are wrong.
ARRIVAL_LATE_MS: Final = 10_000.0
ARRIVAL_EARLY_MS: Final = 1_000.0
# Two satellite hops and their queues; more is no round trip.
RTT_MAX_MS: Final = 3_000.0
# Below this a slope is noise.
SLOPE_SPAN_MS: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """One line `clock` of a track log."""

    pts_ms: float
    ntp_ms: float
    at_ms: float
    # The round trip to the sender, where it was known.
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """What is known about one stream's time: its sender's reports, and when some of its frames arrived."""

    sync: str
    reports: Sequence[SenderReport]
    # (pts_ms, at_ms)
    arrivals: Sequence[tuple[float, float]]


class Placement:
    """One stream's way from `pts_ms` to server time and back: straight lines between knots."""

    __slots__ = ("_at_ms", "_pts_ms", "_slope")

    def __init__(self, pts_ms: Floats, at_ms: Floats) -> None:
        keep = _rising(pts_ms, at_ms)
        self._pts_ms, self._at_ms = pts_ms[keep], at_ms[keep]
        self._slope = _slope(self._pts_ms, self._at_ms)

    def at_ms(self, pts_ms: float) -> float:
        """Return when a frame was taken."""
        return float(self._map(np.array([pts_ms]), self._pts_ms, self._at_ms, self._slope)[0])

    def pts_ms(self, at_ms: Floats) -> Floats:
        """Return which moments of the stream belong to moments of the server's time."""
        return self._map(at_ms, self._at_ms, self._pts_ms, 1 / self._slope)

    def _map(self, values: Floats, knots: Floats, images: Floats, slope: float) -> Floats:
        mapped = np.interp(values, knots, images)
        mapped = np.where(values < knots[0], images[0] + (values - knots[0]) * slope, mapped)
        result: Floats = np.where(values > knots[-1], images[-1] + (values - knots[-1]) * slope, mapped)
        return result


def place_streams(streams: Mapping[Key, StreamTimes]) -> dict[Key, Placement]:
    """Return the placement of each stream; streams of the same `sync` are placed by one clock."""
    usable = {key: _usable(times.reports) for key, times in streams.items()}
    by_sync: defaultdict[str, list[SenderReport]] = defaultdict(list)
    for key, times in streams.items():
        by_sync[times.sync].extend(usable[key])
    offsets = {sync: _offsets(reports) for sync, reports in by_sync.items()}
    placements = {}
    for key, times in streams.items():
        known = offsets[times.sync]
        knots = [(report.pts_ms, known[report]) for report in usable[key] if report in known]
        placement = _placement(knots)
        if not knots or not _is_believable(placement, times.arrivals):
            placement = _placement(_by_arrival(times.arrivals))
        placements[key] = placement
    return placements


def _is_believable(placement: Placement, arrivals: Sequence[tuple[float, float]]) -> bool:
    """Return whether most frames arrived when the placement says they can have."""
    late = [at_ms - placement.at_ms(pts_ms) for pts_ms, at_ms in arrivals]
    fitting = sum(-ARRIVAL_EARLY_MS <= value <= ARRIVAL_LATE_MS for value in late)
    return fitting * 2 >= len(late)


def _placement(knots: Sequence[tuple[float, float]]) -> Placement:
    points = np.array(sorted(knots) or [(0.0, 0.0)], np.float64)
    return Placement(points[:, 0], points[:, 1])


def _usable(reports: Sequence[SenderReport]) -> list[SenderReport]:
    """Return a stream's reports without those that make no sense."""
    finite = [
        report
        for report in reports
        if math.isfinite(report.pts_ms) and math.isfinite(report.ntp_ms) and math.isfinite(report.at_ms)
    ]
    kept: list[SenderReport] = []
    for epoch in _epochs(sorted(finite, key=lambda report: report.at_ms)):
        kept.extend(_on_one_line(epoch))
    return kept


def _on_one_line(reports: list[SenderReport]) -> list[SenderReport]:
    if len(reports) < 3:
        return reports if _advances(reports) else []
    pts = np.array([report.pts_ms for report in reports])
    ahead = np.array([report.ntp_ms for report in reports]) - pts
    kept = [
        report
        for report, error in zip(reports, ahead - np.median(ahead), strict=True)
        if abs(error) <= ODD_MS + RATE_ERROR_MAX * float(np.ptp(pts))
    ]
    return kept if _advances(kept) else []


def _advances(reports: Sequence[SenderReport]) -> bool:
    """Return whether the publisher's clock runs about as fast as its stream."""
    if len(reports) < 2:
        return True
    first, last = reports[0], reports[-1]
    span_ms = last.pts_ms - first.pts_ms
    return abs(last.ntp_ms - first.ntp_ms - span_ms) <= max(RATE_ERROR_MAX * abs(span_ms), ODD_MS)


def _epochs(reports: Sequence[SenderReport]) -> list[list[SenderReport]]:
    """Cut reports, in the order of their arrival, wherever the publisher's clock was set."""
    late = [report.at_ms - report.ntp_ms for report in reports]
    epochs: list[list[SenderReport]] = []
    least = 0.0
    for index, report in enumerate(reports):
        was_set = not epochs or late[index] < least - STEP_MS
        if not was_set and late[index] > least + STEP_MS:
            was_set = min(late[index : index + STEP_REPORTS]) > least + STEP_MS
        if was_set:
            epochs.append([])
            least = late[index]
        epochs[-1].append(report)
        least = min(least, late[index])
    return epochs


def _offsets(reports: Sequence[SenderReport]) -> dict[SenderReport, float]:
    """Return the server time of each report of one clock."""
    epochs = _epochs(sorted(reports, key=lambda report: report.at_ms))
    if any(len(epoch) > 1 for epoch in epochs):
        # A single report with a time of its own is an error, not a clock.
        epochs = [epoch for epoch in epochs if len(epoch) > 1]
    placed: dict[SenderReport, float] = {}
    way_ms = _least_way_ms(reports)
    for epoch in epochs:
        epoch.sort(key=lambda report: report.ntp_ms)
        times = np.array([report.ntp_ms for report in epoch])
        late = np.array([report.at_ms for report in epoch]) - times
        placed.update(zip(epoch, (times + _lower_envelope(times, late) - way_ms).tolist(), strict=True))
    return placed


def _least_way_ms(reports: Sequence[SenderReport]) -> float:
    """Return how long the least delayed report was on its way: half of the shortest round trip."""
    known = [report.rtt_ms for report in reports if report.rtt_ms is not None]
    usable = [rtt_ms for rtt_ms in known if 0.0 <= rtt_ms <= RTT_MAX_MS]
    return min(usable, default=0.0) / 2


def _by_arrival(arrivals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    usable = sorted(point for point in arrivals if all(map(math.isfinite, point)))
    pts = np.array([point[0] for point in usable])
    late = np.array([point[1] for point in usable]) - pts
    return list(zip(pts.tolist(), (pts + _lower_envelope(pts, late)).tolist(), strict=True))


def _lower_envelope(times: Floats, late: Floats) -> Floats:
    """Return the highest line below all points that never rises or falls faster than clocks drift."""
    envelope = late.copy()
    for index in range(1, len(times)):
        allowed = DRIFT_MAX * (times[index] - times[index - 1])
        envelope[index] = min(envelope[index], envelope[index - 1] + allowed)
    for index in range(len(times) - 2, -1, -1):
        allowed = DRIFT_MAX * (times[index + 1] - times[index])
        envelope[index] = min(envelope[index], envelope[index + 1] + allowed)
    return envelope


def _rising(pts_ms: Floats, at_ms: Floats) -> NDArray[np.bool_]:
    """Choose the knots that keep both times rising; the first always stays."""
    keep = np.zeros(len(pts_ms), bool)
    last_pts_ms = last_at_ms = -math.inf
    for index, (pts, at) in enumerate(zip(pts_ms, at_ms, strict=True)):
        if pts > last_pts_ms and at > last_at_ms:
            keep[index] = True
            last_pts_ms, last_at_ms = pts, at
    return keep


def _slope(pts_ms: Floats, at_ms: Floats) -> float:
    """Return how fast server time passes in stream time beyond the knots."""
    span_ms = pts_ms[-1] - pts_ms[0]
    if span_ms < SLOPE_SPAN_MS:
        return 1.0
    slope = float(np.polyfit(pts_ms - pts_ms[0], at_ms - at_ms[0], 1)[0])
    return min(max(slope, 1 - 2 * DRIFT_MAX), 1 + 2 * DRIFT_MAX)
