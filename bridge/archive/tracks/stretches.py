"""Where a stream's RTP time and the time on the wall part: each stretch between has a line of its own; pure.

A browser that mutes by sending nothing stops the RTP clock of a microphone and not that of a camera; other
senders stop theirs while they are held, or count on anew. The recorder writes down each frame before which
arrival and RTP time parted (`Pause`). Most of these are networks that stood still and then caught up, which
moves nothing: only what lies before and after can tell. Sender reports tell best, because no network changes
what they say; without them a pause is one of the clock when no later frame comes as early as those before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Final

# RTP time against publisher or server time; what is below is the network's, or rounding.
PARTED_MS: Final = 60.0
# Frames come later by this without any report that says so.
LATER_MS: Final = 100.0
# RTP clocks of real devices are within 1 %; a "publisher's clock" off by more stands still or is made up.
RATE_ERROR_MAX: Final = 0.01
# A network that stood still has caught up after this.
CATCH_UP_MS: Final = 30_000.0
# How far back the least delayed frame says how late frames are just now.
LOOK_BACK_MS: Final = 60_000.0
# Reports and frames overtake each other by less.
OVERTAKEN_MS: Final = 1_000.0
# How many reports next to a pause speak for their side.
WITNESSES: Final = 3
# Reports are further apart than their publishers' clocks drift meanwhile; in recordings without pauses.
UNMARKED_MS: Final = 150.0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """One line `clock` of a track log."""

    pts_ms: float
    ntp_ms: float
    at_ms: float
    # The round trip to the sender, where it was known.
    rtt_ms: float | None = None

    @property
    def relation_ms(self) -> float:
        """How far the publisher's clock is before the stream's."""
        return self.ntp_ms - self.pts_ms

    @property
    def late_ms(self) -> float:
        """How far the server's clock is before the stream's."""
        return self.at_ms - self.pts_ms

    @property
    def is_finite(self) -> bool:
        """Whether it can be reckoned with."""
        return math.isfinite(self.pts_ms) and math.isfinite(self.ntp_ms) and math.isfinite(self.at_ms)


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a frame arrived."""

    pts_ms: float
    at_ms: float
    rtt_ms: float | None = None

    @property
    def late_ms(self) -> float:
        """How far the server's clock is before the stream's."""
        return self.at_ms - self.pts_ms

    @property
    def is_finite(self) -> bool:
        """Whether it can be reckoned with."""
        return math.isfinite(self.pts_ms) and math.isfinite(self.at_ms)


@dataclass(frozen=True, slots=True)
class Pause:
    """A frame before which arrival and RTP time parted, and where the frame before it ended."""

    from_pts_ms: float
    to_pts_ms: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """What is known about one stream's time: its sender's reports, and when some of its frames arrived."""

    sync: str
    reports: Sequence[SenderReport]
    arrivals: Sequence[Arrival]
    pauses: Sequence[Pause] = ()
    # Not so of pictures: some are sent before others that are shown earlier.
    is_in_order: bool = True


@dataclass(slots=True)
class Stretch:
    """A part of a stream in which its clock ran on: from `start_ms` to `end_ms` of its time."""

    start_ms: float = -math.inf
    end_ms: float = math.inf
    # In the order of their arrival.
    reports: list[SenderReport] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    def take_in(self, later: "Stretch") -> None:
        """Go on with what follows."""
        self.end_ms = later.end_ms
        self.reports += later.reports
        self.arrivals += later.arrivals


def stretches(times: StreamTimes) -> list[Stretch]:
    """Return the stretches of a stream, in their order."""
    pieces = _between_pauses(times)
    found = [pieces[0]]
    for index in range(1, len(pieces)):
        piece = pieces[index]
        if _has_paused(found[-1], pieces[index:]):
            found.append(piece)
        else:
            found[-1].take_in(piece)
    return [part for stretch in found for part in _by_reports(stretch)]


def _between_pauses(times: StreamTimes) -> list[Stretch]:
    """Cut a stream at every pause: frames by their own time; reports, which may lead it, by their arrival."""
    reports = sorted((one for one in times.reports if one.is_finite), key=lambda one: one.at_ms)
    arrivals = sorted((one for one in times.arrivals if one.is_finite), key=lambda one: one.pts_ms)
    pieces = [Stretch()]
    pauses = [
        pause
        for pause in sorted(times.pauses, key=lambda one: one.to_pts_ms)
        if all(map(math.isfinite, (pause.from_pts_ms, pause.to_pts_ms, pause.at_ms)))
    ]
    last_at_ms = -math.inf
    for pause in pauses:
        if pause.at_ms <= last_at_ms or pause.to_pts_ms <= pieces[-1].start_ms:
            continue
        pieces[-1].end_ms = min(pause.from_pts_ms, pause.to_pts_ms)
        pieces[-1].reports = [one for one in reports if last_at_ms <= one.at_ms < pause.at_ms]
        last_at_ms = pause.at_ms
        pieces.append(Stretch(pause.to_pts_ms, arrivals=[Arrival(pause.to_pts_ms, pause.at_ms)]))
    pieces[-1].reports = [one for one in reports if one.at_ms >= last_at_ms]
    starts = [piece.start_ms for piece in pieces]
    number = 0
    for arrival in arrivals:
        while number + 1 < len(pieces) and arrival.pts_ms >= starts[number + 1]:
            number += 1
        pieces[number].arrivals.append(arrival)
    for before, after in pairwise(pieces):
        _sort_out(before, after)
    return pieces


def _sort_out(before: Stretch, after: Stretch) -> None:
    """Put the reports that came about when time parted to that side whose frames they fit.

    One that was sent after the first frame of a stretch may overtake it, and one from before come later.
    Those that came while there were no frames may be of neither side: who mutes, unmutes and mutes again
    without a word reports a time that no frame ever had.
    """
    if not before.arrivals:
        return
    parted_at_ms = after.arrivals[0].at_ms
    before_ms, after_ms = (min(one.late_ms for one in side.arrivals) for side in (before, after))
    silent_from_ms = before.end_ms + before_ms
    witnesses = (
        [one for one in before.reports if one.at_ms <= silent_from_ms][-WITNESSES:],
        [one for one in after.reports if one.at_ms >= parted_at_ms][:WITNESSES],
    )
    reports = before.reports + after.reports
    before.reports, after.reports = [], []
    for report in reports:
        off_ms = [abs(report.late_ms - level_ms) for level_ms in (before_ms, after_ms)]
        if silent_from_ms < report.at_ms < parted_at_ms:
            fits = [
                apart_ms <= LATER_MS or _agrees(report, side)
                for apart_ms, side in zip(off_ms, witnesses, strict=True)
            ]
            if not any(fits):
                continue
            is_before = off_ms[0] < off_ms[1] if all(fits) else fits[0]
        elif abs(report.at_ms - parted_at_ms) > OVERTAKEN_MS:
            is_before = report.at_ms < parted_at_ms
        else:
            is_before = off_ms[0] < off_ms[1]
        (before if is_before else after).reports.append(report)


def _agrees(report: SenderReport, witnesses: Sequence[SenderReport]) -> bool:
    """Return whether a report tells the same of both clocks as most of those that came with frames."""
    if not witnesses:
        return False
    step_ms = report.relation_ms - median(one.relation_ms for one in witnesses)
    apart_ms = min(abs(report.at_ms - one.at_ms) for one in witnesses)
    return abs(step_ms) <= PARTED_MS + RATE_ERROR_MAX / 10 * apart_ms


def _has_paused(before: Stretch, following: Sequence[Stretch]) -> bool:
    """Return whether it was the stream's clock that stood still before the first of the following pieces."""
    piece = following[0]
    earlier, later = before.reports[-WITNESSES:], piece.reports[:WITNESSES]
    if earlier and later and not _was_set(earlier[-1], later[0]):
        step_ms = median(one.relation_ms for one in later) - median(one.relation_ms for one in earlier)
        # Their distance, as the least drifting clock tells it.
        apart_ms = abs(later[0].at_ms - earlier[-1].at_ms)
        return abs(step_ms) > PARTED_MS + RATE_ERROR_MAX / 10 * apart_ms
    pause_at_ms = piece.arrivals[0].at_ms
    recent = [one.late_ms for one in before.arrivals if one.at_ms >= pause_at_ms - LOOK_BACK_MS]
    level_ms = min(recent or [one.late_ms for one in before.arrivals], default=math.inf)
    soon = [
        one.late_ms for each in following for one in each.arrivals if one.at_ms <= pause_at_ms + CATCH_UP_MS
    ]
    return min(soon, default=-math.inf) > level_ms + LATER_MS


def _was_set(earlier: SenderReport, later: SenderReport) -> bool:
    """Return whether the publisher's own clock was set between two reports, rather than the stream's."""
    by_wall_ms = (later.at_ms - later.ntp_ms) - (earlier.at_ms - earlier.ntp_ms)
    by_stream_ms = (later.at_ms - later.pts_ms) - (earlier.at_ms - earlier.pts_ms)
    return abs(by_wall_ms) > abs(by_stream_ms) and abs(by_wall_ms) > PARTED_MS


def _by_reports(stretch: Stretch) -> list[Stretch]:
    """Cut a stretch where its reports alone say that its clock stood still: older recordings have no pauses.

    When that was is not known better than by the reports around it.
    """
    parts = [replace(stretch, reports=[])]
    reports = stretch.reports
    for index, report in enumerate(reports):
        current = parts[-1]
        if current.reports and _stood_still(current.reports[-1], report, reports[index + 1 : index + 2]):
            before = [one.pts_ms for one in current.reports if one.pts_ms <= report.pts_ms]
            cut_ms = ((before[-1] if before else current.start_ms) + report.pts_ms) / 2
            if max(current.start_ms, -math.inf) < cut_ms < current.end_ms:
                parts.append(Stretch(cut_ms, current.end_ms))
                current.end_ms = cut_ms
        parts[-1].reports.append(report)
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        part.arrivals = [
            one
            for one in stretch.arrivals
            if part.start_ms <= one.pts_ms and (is_last or one.pts_ms < part.end_ms)
        ]
    return parts


def _stood_still(earlier: SenderReport, report: SenderReport, following: Sequence[SenderReport]) -> bool:
    step_ms = report.relation_ms - earlier.relation_ms
    if step_ms < UNMARKED_MS + RATE_ERROR_MAX * abs(report.at_ms - earlier.at_ms):
        return False
    if _was_set(earlier, report):
        return False
    # One that nobody agrees with is odd.
    return all(abs(one.relation_ms - report.relation_ms) < step_ms / 2 for one in following)
