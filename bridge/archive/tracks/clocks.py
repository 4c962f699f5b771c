"""From each sender's clock to the one timeline of a conference; pure.

Within a stream, sender reports tie RTP time to the publisher's own clock, on each stretch between two pauses
of its RTP clock (`stretches.py`) by a line of its own. From there to the server's time one offset holds for
everything that shares that clock, so that lips fit: the least difference between a report's arrival and its
time, because a delay only ever adds to it. Clocks drift, and networks are slow for minutes on end; the offset
therefore follows the least delayed reports, but never faster than a real clock can drift. What even the least
delayed report needed is taken for half of the shortest round trip, so that a site behind a satellite fits the
others. A stretch without usable reports is placed by its arrival.

A sender that is starved of its processor reports the time now with a stream time of a moment ago, and catches
up later: its line, too, follows the reports that are the least late.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.archive.tracks.stretches import (
    PARTED_MS,
    RATE_ERROR_MAX,
    Arrival,
    SenderReport,
    StreamTimes,
    Stretch,
    stretches,
)

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# Crystals are within 100 ppm, and a clock being set slowly by NTP within 500.
DRIFT_MAX: Final = 300e-6
# Nobody's voice is stretched by more. A report that tells so is of a sender that had no time to send.
STRETCH_MAX: Final = 2 * RATE_ERROR_MAX
# A publisher's clock that was set anew; no network delays reports by this and goes on so.
STEP_MS: Final = 1_000.0
# How many later reports must agree before a clock counts as set back.
STEP_REPORTS: Final = 8
# A report further from its stream's own line than this is odd, and left out.
ODD_MS: Final = 200.0
# Frames arrive after they were taken, and within this; reports that tell otherwise are wrong.
ARRIVAL_LATE_MS: Final = 10_000.0
ARRIVAL_EARLY_MS: Final = 1_000.0
# A report older than its stream agrees with its first frames but for what encoding takes.
STALE_MS: Final = 400.0
# Between the end of a stretch and the beginning of the next.
HAIR_MS: Final = 1e-3
# Two satellite hops and their queues; more is no round trip.
RTT_MAX_MS: Final = 3_000.0
# Below this a slope is noise.
SLOPE_SPAN_MS: Final = 10_000.0


class Placement:
    """One stream's way from `pts_ms` to server time and back: straight lines between knots."""

    __slots__ = ("_at_ms", "_first_slope", "_last_slope", "_pts_ms")

    def __init__(self, pts_ms: Floats, at_ms: Floats, *, slopes: tuple[float, float] | None = None) -> None:
        """`slopes` are how fast server time passes in stream time before and after the knots."""
        keep = _rising(pts_ms, at_ms)
        self._pts_ms, self._at_ms = pts_ms[keep], at_ms[keep]
        if slopes is None:
            slopes = (_slope(self._pts_ms, self._at_ms),) * 2
        self._first_slope, self._last_slope = slopes

    def at_ms(self, pts_ms: float) -> float:
        """Return when a frame was taken."""
        knots, images = self._pts_ms, self._at_ms
        mapped = _map(np.array([pts_ms]), knots, images, self._first_slope, self._last_slope)
        return float(mapped[0])

    def pts_ms(self, at_ms: Floats) -> Floats:
        """Return which moments of the stream belong to moments of the server's time."""
        return _map(at_ms, self._at_ms, self._pts_ms, 1 / self._first_slope, 1 / self._last_slope)

    @classmethod
    def joined(cls, pieces: Sequence[tuple[Stretch, "Placement"]]) -> "Placement":
        """Return the placement of a stream of several stretches; between them its clock stood still."""
        pts_ms: list[float] = []
        at_ms: list[float] = []
        for index, (stretch, placed) in enumerate(pieces):
            if index:
                pts_ms.append(stretch.start_ms)
                at_ms.append(placed.at_ms(stretch.start_ms))
            inside = (placed._pts_ms > stretch.start_ms) & (placed._pts_ms < stretch.end_ms)
            pts_ms += placed._pts_ms[inside].tolist()
            at_ms += placed._at_ms[inside].tolist()
            if index + 1 < len(pieces):
                following, placed_next = pieces[index + 1]
                next_at_ms = placed_next.at_ms(following.start_ms)
                # A hair before what follows, so that both times rise.
                pts_ms.append(min(stretch.end_ms, following.start_ms - HAIR_MS))
                at_ms.append(min(placed.at_ms(pts_ms[-1]), next_at_ms - HAIR_MS))
        slopes = pieces[0][1]._first_slope, pieces[-1][1]._last_slope
        return cls(np.array(pts_ms), np.array(at_ms), slopes=slopes)


def _map(values: Floats, knots: Floats, images: Floats, first_slope: float, last_slope: float) -> Floats:
    mapped = np.interp(values, knots, images)
    mapped = np.where(values < knots[0], images[0] + (values - knots[0]) * first_slope, mapped)
    result: Floats = np.where(values > knots[-1], images[-1] + (values - knots[-1]) * last_slope, mapped)
    return result


def place_streams(streams: Mapping[Key, StreamTimes]) -> dict[Key, Placement]:
    """Return the placement of each stream; streams of the same `sync` are placed by one clock."""
    usable: dict[Key, list[tuple[Stretch, list[SenderReport]]]] = {}
    by_sync: defaultdict[str, list[list[SenderReport]]] = defaultdict(list)
    ways_ms: defaultdict[str, list[float]] = defaultdict(list)
    for key, times in streams.items():
        usable[key] = [(stretch, _usable(stretch)) for stretch in stretches(times)]
        by_sync[times.sync] += [reports for _, reports in usable[key]]
        seen: list[SenderReport | Arrival] = [*times.reports, *times.arrivals]
        ways_ms[times.sync].extend(one.rtt_ms for one in seen if one.rtt_ms is not None)
    least_ms = {sync: _least_way_ms(rtts_ms) for sync, rtts_ms in ways_ms.items()}
    offsets = {sync: _offsets(told, least_ms[sync]) for sync, told in by_sync.items()}
    placements = {}
    for key, times in streams.items():
        known, way_ms = offsets.get(times.sync, {}), least_ms[times.sync]
        pieces = [
            (stretch, _place(reports, known, stretch.arrivals, way_ms, is_in_order=times.is_in_order))
            for stretch, reports in usable[key]
        ]
        placements[key] = pieces[0][1] if len(pieces) == 1 else Placement.joined(pieces)
    return placements


def _place(
    reports: Sequence[SenderReport],
    known: Mapping[SenderReport, float],
    arrivals: Sequence[Arrival],
    way_ms: float,
    *,
    is_in_order: bool,
) -> Placement:
    """Return the placement of one stretch: by its reports, else by its arrival."""
    knots = [(report.pts_ms, known[report]) for report in reports if report in known]
    if knots:
        placement = _placement(knots)
        if _is_believable(placement, arrivals):
            # No sound was taken after it arrived: who reports so was starved, and caught up.
            early = [
                (one.pts_ms, one.at_ms - way_ms)
                for one in arrivals
                if is_in_order and placement.at_ms(one.pts_ms) > one.at_ms + PARTED_MS
            ]
            return _placement([*knots, *early]) if early else placement
    return _placement(_by_arrival(arrivals, way_ms))


def _is_believable(placement: Placement, arrivals: Sequence[Arrival]) -> bool:
    """Return whether most frames arrived when the placement says they can have."""
    late = [one.at_ms - placement.at_ms(one.pts_ms) for one in arrivals]
    fitting = sum(-ARRIVAL_EARLY_MS <= value <= ARRIVAL_LATE_MS for value in late)
    return fitting * 2 >= len(late)


def _placement(knots: Sequence[tuple[float, float]]) -> Placement:
    points = np.array(sorted(knots) or [(0.0, 0.0)], np.float64)
    pts_ms, late_ms = points[:, 0], points[:, 1] - points[:, 0]
    return Placement(pts_ms, pts_ms + _lower_envelope(pts_ms, late_ms, STRETCH_MAX))


def _usable(stretch: Stretch) -> list[SenderReport]:
    """Return a stretch's reports without those that make no sense."""
    kept: list[SenderReport] = []
    reports = _since_it_began(stretch)
    for epoch in _epochs(reports, _predecessors(reports)):
        kept.extend(_on_one_line(epoch))
    return kept


def _since_it_began(stretch: Stretch) -> list[SenderReport]:
    """Return the reports that came with the stretch; older ones may be from before a pause of its clock."""
    began_ms = min((one.at_ms for one in stretch.arrivals), default=-math.inf)
    since = [report for report in stretch.reports if report.at_ms >= began_ms]
    if since:
        return since
    level_ms = min((one.late_ms for one in stretch.arrivals), default=math.inf)
    return [one for one in stretch.reports if abs(one.at_ms - one.pts_ms - level_ms) <= STALE_MS]


def _on_one_line(reports: list[SenderReport]) -> list[SenderReport]:
    if len(reports) < 3:
        return reports if _advances(reports) else []
    pts = np.array([report.pts_ms for report in reports])
    ahead = np.array([report.relation_ms for report in reports])
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


def _predecessors(reports: Sequence[SenderReport]) -> dict[SenderReport, SenderReport]:
    """Return the report before each one of a stretch but the first."""
    return dict(zip(reports[1:], reports, strict=False))


def _epochs(
    reports: Sequence[SenderReport], predecessors: Mapping[SenderReport, SenderReport]
) -> list[list[SenderReport]]:
    """Cut reports, in the order of their arrival, wherever the publisher's clock was set."""
    late = [report.at_ms - report.ntp_ms for report in reports]
    epochs: list[list[SenderReport]] = []
    least = 0.0
    for index, report in enumerate(reports):
        was_set = not epochs or late[index] < least - STEP_MS
        if not was_set and late[index] > least + STEP_MS and _may_be_set_back(report, predecessors):
            was_set = min(late[index : index + STEP_REPORTS]) > least + STEP_MS
        if was_set:
            epochs.append([])
            least = late[index]
        epochs[-1].append(report)
        least = min(least, late[index])
    return epochs


def _may_be_set_back(report: SenderReport, predecessors: Mapping[SenderReport, SenderReport]) -> bool:
    """Return whether it may be a clock, and not the network, that lets a report look late."""
    before = predecessors.get(report)
    return before is None or report.relation_ms < before.relation_ms - STEP_MS / 2


def _offsets(told: Sequence[Sequence[SenderReport]], way_ms: float) -> dict[SenderReport, float]:
    """Return the server time of each report of one clock, given by stretches."""
    predecessors: dict[SenderReport, SenderReport] = {}
    for reports in told:
        predecessors |= _predecessors(reports)
    together = sorted((one for reports in told for one in reports), key=lambda report: report.at_ms)
    epochs = _epochs(together, predecessors)
    if any(len(epoch) > 1 for epoch in epochs):
        # A single report with a time of its own is an error, not a clock.
        epochs = [epoch for epoch in epochs if len(epoch) > 1]
    placed: dict[SenderReport, float] = {}
    for epoch in epochs:
        epoch.sort(key=lambda report: report.ntp_ms)
        times = np.array([report.ntp_ms for report in epoch])
        late = np.array([report.at_ms for report in epoch]) - times
        placed.update(zip(epoch, (times + _lower_envelope(times, late) - way_ms).tolist(), strict=True))
    return placed


def _least_way_ms(rtts_ms: Sequence[float]) -> float:
    """Return how long the least delayed report was on its way: half of the shortest round trip."""
    usable = [rtt_ms for rtt_ms in rtts_ms if 0.0 <= rtt_ms <= RTT_MAX_MS]
    return min(usable, default=0.0) / 2


def _by_arrival(arrivals: Sequence[Arrival], way_ms: float) -> list[tuple[float, float]]:
    """Return the knots that the least delayed frames make."""
    usable = sorted(arrivals, key=lambda one: one.pts_ms)
    pts = np.array([one.pts_ms for one in usable])
    late = np.array([one.late_ms for one in usable])
    return list(zip(pts.tolist(), (pts + _lower_envelope(pts, late) - way_ms).tolist(), strict=True))


def _lower_envelope(times: Floats, late: Floats, rate_max: float = DRIFT_MAX) -> Floats:
    """Return the highest line below all points that never rises or falls faster than clocks drift, or than
    another rate.
    """
    envelope = late.copy()
    for index in range(1, len(times)):
        allowed = rate_max * (times[index] - times[index - 1])
        envelope[index] = min(envelope[index], envelope[index - 1] + allowed)
    for index in range(len(times) - 2, -1, -1):
        allowed = rate_max * (times[index + 1] - times[index])
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
