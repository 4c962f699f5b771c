"""The tracks of a session as they were recorded: their logs, their segments, and their place in time.

Tolerant of what a crash or a bad disk leaves: a torn line or segment costs itself. Nothing here decodes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import av

from bridge.archive.model import DAMAGED, UNDECODABLE, Gap, PackagePlan, SessionFolder, Span
from bridge.archive.plan.track_list import ListedTrack, listed_tracks
from bridge.archive.tracks.clocks import Placement, place_streams
from bridge.archive.tracks.ledger import Ledger, TooCostly
from bridge.archive.tracks.stretches import Arrival, Pause, SenderReport, StreamTimes
from bridge.base.errors import BridgeError
from bridge.base.words import Source
from bridge.store.checked_lines import read_line
from bridge.store.journal import INTERRUPTED, Event, is_broken_off

LOG_NAME: Final = "track.jsonl"
LINE_MAX_BYTES: Final = 4096
# A segment that ends this much before the end that its header tells has been cut short.
SHORT_MS: Final = 300.0
READ_BYTES: Final = 1 << 20
# Lines that say nothing of what is missing; of a segment without its line its file tells.
_TELL_NO_GAP: Final = tuple(
    b'{"k":"%s"' % kind.encode()
    for kind in ("track", "stream", "segment", "clock", "arrival", "pause", "end")
)


class DamagedSegment(BridgeError):
    """A segment that cannot be read, or not further; what is lost is the rest of it."""

    reason: str = DAMAGED


class UndecodableSegment(DamagedSegment):
    """A segment that is left out, because it harms the decoder."""

    reason: str = UNDECODABLE


class SegmentReader:
    """A segment, open for reading.

    What is not a segment, or not to its end, raises DamagedSegment. What the disk does not give now raises
    OSError, because it may give it later; when `is_last_try`, that is damage as well.
    """

    def __init__(self, path: Path, *, ledger: Ledger, media_s: float, is_last_try: bool = False) -> None:
        self._path, self._is_last_try, self._ledger = path, is_last_try, ledger
        self._name = segment_name(path)
        if ledger.is_left_out(self._name):
            raise UndecodableSegment(f"{self._name}: is left out")
        ledger.open(self._name, media_s)
        try:
            # Nothing else: who is sent something that is not ours needs no other demuxer.
            self._container = self._guarded(0.0, lambda: av.open(str(path), format="matroska"))
        except (av.FFmpegError, OSError) as error:
            raise self._damaged(error) from error
        if not self._container.streams:
            self.close()
            raise self._damaged("holds no media")
        self.stream: Any = self._container.streams[0]

    @property
    def has_reordering(self) -> bool:
        """Whether pictures come in another order than they are shown in (B-frames)."""
        return self.stream.type == "video" and bool(self.stream.codec_context.has_b_frames)

    def packets(self) -> Iterator[tuple[float, Any]]:
        """Yield the packets, each with its `pts_ms`."""
        last_ms = 0.0
        try:
            packets = self._container.demux(self.stream)
            while (packet := self._guarded(last_ms, lambda: next(packets, None))) is not None:
                if packet.pts is not None and packet.size:
                    last_ms = float(packet.pts * packet.time_base * 1000)
                    yield last_ms, packet
        except (av.FFmpegError, OSError) as error:
            raise self._damaged(error) from error
        # A segment that a crash left open tells no duration.
        if (self._container.duration or 0) / 1000 - last_ms > SHORT_MS:
            raise self._damaged("ends before its time")

    def decode(self, decoder: Any, packet: Any, pts_ms: float) -> Any:
        """Return what a decoder makes of a packet; raises what it does, and UndecodableSegment."""
        return self._guarded(pts_ms, lambda: decoder.decode(packet))

    def _guarded(self, pts_ms: float, do: Callable[[], Any]) -> Any:
        self._ledger.begin(self._name, pts_ms)
        try:
            return do()
        finally:
            try:
                self._ledger.end(self._name)
            except TooCostly as error:
                raise UndecodableSegment(str(error)) from error

    def close(self) -> None:
        """Close the file; harmless twice."""
        self._container.close()

    def _damaged(self, what: object) -> DamagedSegment:
        """Return what is to be raised; raises OSError when the disk is to blame, and there is another try.

        FFmpeg does not tell one from the other: to it a read error is an end of the file, and an end within
        an element is a read error.
        """
        if not self._is_last_try:
            # What is not there will not come back.
            with suppress(FileNotFoundError), self._path.open("rb") as file:
                while file.read(READ_BYTES):
                    pass
        return DamagedSegment(f"{self._path.name}: {what}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of a track; `start_ms` is the server time of its first frame.

    `case` is the case that it was captured in, "" where none was open; None where the log does not say.
    """

    path: Path
    stream: int
    pts_ms: float
    start_ms: float
    width_px: int
    height_px: int
    case: str | None = None


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Files of a track whose lines in its log are damaged: nobody knows where in time, or in which case.

    They lie between these two segments, where there are such.
    """

    after: Segment | None
    before: Segment | None


@dataclass(frozen=True, slots=True)
class Track:
    """One track, placed on the conference's timeline."""

    name: str
    participant: str
    source: str
    codec: str
    segments: tuple[Segment, ...]
    placements: Mapping[int, Placement]
    # (stream, from_pts_ms, to_pts_ms, reason, packets)
    logged_gaps: tuple[tuple[int, float, float, str, int], ...]
    # When the track ended; None as long as nobody has repaired what a crash left.
    ended_ms: float | None
    was_interrupted: bool
    # What of it cannot be read is lost, instead of tried again.
    is_last_try: bool = False
    ledger: Ledger = field(default_factory=Ledger, compare=False)
    unplaced: tuple[Unplaced, ...] = ()
    # Between which times its log has a damaged line that may have told of a gap.
    untold: tuple[tuple[float, float], ...] = ()

    @property
    def start_ms(self) -> float:
        """The server time of the first frame; infinite without any."""
        return self.segments[0].start_ms if self.segments else math.inf

    def open(self, index: int) -> SegmentReader:
        """Open a segment; raises DamagedSegment, and OSError where there is another try."""
        return SegmentReader(
            self.segments[index].path,
            ledger=self.ledger,
            media_s=(self.end_of(index) - self.segments[index].start_ms) / 1000,
            is_last_try=self.is_last_try,
        )

    def is_left_out(self, index: int) -> bool:
        """Return whether a segment harms the decoder."""
        return self.ledger.is_left_out(segment_name(self.segments[index].path))

    def at_ms(self, stream: int, pts_ms: float) -> float:
        """Return when a frame was taken."""
        return self.placements[stream].at_ms(pts_ms)

    def end_of(self, index: int) -> float:
        """Return the server time up to which a segment can reach."""
        if index + 1 < len(self.segments):
            return self.segments[index + 1].start_ms
        return math.inf if self.ended_ms is None else self.ended_ms

    def is_torn(self, index: int) -> bool:
        """Return whether a segment is the last before a crash, so that its end is missing for that reason."""
        return self.was_interrupted and index == len(self.segments) - 1


@dataclass(slots=True)
class _Log:
    """What a track log says, line by line."""

    folder: Path
    head: Mapping[str, Any] = field(default_factory=dict)
    arrivals: defaultdict[int, list[Arrival]] = field(default_factory=lambda: defaultdict(list))
    pauses: defaultdict[int, list[Pause]] = field(default_factory=lambda: defaultdict(list))
    reports: defaultdict[int, list[SenderReport]] = field(default_factory=lambda: defaultdict(list))
    # (stream, pts_ms, file, width, height, case)
    segments: list[tuple[int, float, str, int, int, str | None]] = field(default_factory=list)
    gaps: list[tuple[int, float, float, str, int]] = field(default_factory=list)
    ended_ms: float | None = None
    was_interrupted: bool = True
    # Segments in the folder, whether the log tells of them or not.
    files: list[str] = field(default_factory=list)
    untold: list[tuple[float, float]] = field(default_factory=list)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line; raises KeyError, TypeError or ValueError for one that says nothing."""
        match line["k"]:
            case "track":
                self.head = line
            case "stream":
                self.arrivals[int(line["stream"])].append(Arrival(0.0, float(line["at_ms"])))
            case "segment":
                stream, pts_ms = int(line["stream"]), float(line["pts_ms"])
                size = int(line.get("width", 0)), int(line.get("height", 0))
                if not math.isfinite(pts_ms):
                    raise ValueError(pts_ms)
                # Of the name's last part only, so that no log leads out of its folder.
                name = Path(str(line["file"])).name
                if name in ("", "..") or "\0" in name:
                    raise ValueError(name)
                case = str(line["case"] or "") if "case" in line else None
                self.segments.append((stream, pts_ms, name, *size, case))
                self.arrivals[stream].append(Arrival(pts_ms, float(line["at_ms"])))
            case "clock":
                times = float(line["pts_ms"]), float(line["ntp_ms"]), float(line["at_ms"])
                self.reports[int(line["stream"])].append(SenderReport(*times, _rtt_ms(line)))
            case "arrival":
                arrival = Arrival(float(line["pts_ms"]), float(line["at_ms"]), _rtt_ms(line))
                self.arrivals[int(line["stream"])].append(arrival)
            case "pause":
                times = float(line["from_pts_ms"]), float(line["to_pts_ms"]), float(line["at_ms"])
                self.pauses[int(line["stream"])].append(Pause(*times))
            case "gap":
                ends = float(line["from_pts_ms"]), float(line["to_pts_ms"])
                packets = max(int(line.get("packets", 0)), 0)
                self.gaps.append((int(line["stream"]), *ends, str(line["reason"]), packets))
            case "end":
                self.ended_ms = float(line["at_ms"])
                self.was_interrupted = line.get("reason") == INTERRUPTED
            case _:
                pass


def segment_name(path: Path) -> str:
    """Return a segment's name in the ledger."""
    return f"{path.parent.name}/{path.name}"


def _rtt_ms(line: Mapping[str, Any]) -> float | None:
    rtt_ms = line.get("rtt_ms")
    return None if rtt_ms is None else float(rtt_ms)


def read_tracks(session: SessionFolder, ledger: Ledger | None = None) -> list[Track]:
    """Return the tracks of a session, by name; folders that are none are left out.

    Raises OSError when the log of one cannot be read, or is not there although its track has ended: it may
    be there at the next try. At the last one such a track is left out, and `lost_gaps` tells of it.
    """
    folder, listed = session.tracks, listed_tracks(session.events)
    paths = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    paths |= {track.name: folder / track.name for track in listed.values() if track.has_end}
    # One clock after the other: what hours of reports take in memory is a hundred times what is left of them.
    by_clock: defaultdict[str, list[str]] = defaultdict(list)
    for name, path in paths.items():
        by_clock[_clock(path, is_last_try=session.is_last_try)].append(name)
    kept = Ledger() if ledger is None else ledger
    tracks: list[Track] = []
    for names in by_clock.values():
        logs = [_read_log(paths[name], listed.get(name), is_last_try=session.is_last_try) for name in names]
        tracks += _placed([log for log in logs if log is not None], kept, is_last_try=session.is_last_try)
    return sorted(tracks, key=lambda track: track.name)


def _placed(logs: Sequence[_Log], ledger: Ledger, *, is_last_try: bool) -> Iterator[Track]:
    """Yield the tracks of some logs, which are all that were sent by their clocks."""
    times = {
        (log.folder.name, stream): StreamTimes(
            str(log.head.get("sync", log.folder.name)),
            log.reports[stream],
            arrivals,
            log.pauses[stream],
            is_in_order=log.head.get("source") == Source.MICROPHONE,
        )
        for log in logs
        for stream, arrivals in log.arrivals.items()
    }
    placements = place_streams(times)
    for log in logs:
        yield _track(log, placements, ledger, is_last_try=is_last_try)


def of_case(tracks: Sequence[Track], case: str | None) -> list[Track]:
    """Return the tracks with what was captured in a case only, or with None while no case was open.

    A frame belongs to the case that it was captured in, whatever its sender's clock says of its time. What
    does not say in which it was captured is told by its time alone.
    """
    return [_of_case(track, case or "") for track in tracks]


def _of_case(track: Track, case: str) -> Track:
    own = tuple(one for one in track.segments if one.case in (case, None))
    if len(own) == len(track.segments):
        return track
    foreign = {one.stream for one in track.segments} - {one.stream for one in own}
    return replace(
        track,
        segments=own,
        logged_gaps=tuple(gap for gap in track.logged_gaps if gap[0] not in foreign),
        # What a crash cut short is the last that was captured.
        was_interrupted=track.was_interrupted and own[-1:] == track.segments[-1:],
    )


def last_frame_ms(tracks: Sequence[Track], from_ms: float, to_ms: float) -> float | None:
    """Return the server time of the last frame in an interval, of all tracks."""
    last: float | None = None
    for track in tracks:
        for index in range(len(track.segments) - 1, -1, -1):
            segment = track.segments[index]
            if segment.start_ms >= to_ms:
                continue
            if track.end_of(index) < from_ms:
                break
            for at_ms in _frame_times(track, index):
                if from_ms <= at_ms < to_ms and (last is None or at_ms > last):
                    last = at_ms
    return last


def find_gaps(
    tracks: Sequence[Track],
    spans: Sequence[Span],
    crashes: Mapping[int, int],
    step: Callable[[], None] = lambda: None,
) -> list[Gap]:
    """Return what is missing of the tracks within the spans, as far as logs and files tell.

    `crashes` are the times at which the server ended unasked, each with the time it was back. `step` is
    called before each file, of which a long conference has thousands.
    """
    found: list[Gap] = []
    for track in tracks:
        for stream, from_pts_ms, to_pts_ms, reason, packets in track.logged_gaps:
            if stream in track.placements:
                start_ms, end_ms = track.at_ms(stream, from_pts_ms), track.at_ms(stream, to_pts_ms)
                found.extend(clip_gap(track, start_ms, end_ms, reason, spans, packets=packets))
        for index, segment in enumerate(track.segments):
            end_ms = track.end_of(index)
            is_told = track.is_torn(index) and not track.is_left_out(index)
            if is_told or not any(_overlaps(segment, end_ms, span) for span in spans):
                continue
            step()
            why = _why_not_open(track, index)
            if why is not None:
                found.extend(clip_gap(track, segment.start_ms, end_ms, why, spans))
        for unplaced in track.unplaced:
            step()
            found.extend(clip_gap(track, *_between(track, unplaced), DAMAGED, spans))
        for start_ms, end_ms in track.untold:
            found.extend(clip_gap(track, start_ms, end_ms, DAMAGED, spans))
        if spans and track.was_interrupted and track.segments:
            whole = [Span(spans[0].start_ms, spans[-1].end_ms)]
            found.extend(_crash_gap(track, whole, crashes))
    return sorted(found, key=lambda gap: (gap.start_ms, gap.track))


def lost_gaps(session: SessionFolder, tracks: Sequence[Track], spans: Sequence[Span]) -> Iterator[Gap]:
    """Yield where tracks that the journal tells of are missing as a whole."""
    read = {track.name for track in tracks}
    for track in listed_tracks(session.events).values():
        if track.name not in read and (track.has_end or (session.tracks / track.name).is_dir()):
            yield from clip_gap(track, track.start_ms, track.end_ms, DAMAGED, spans)


def journal_gaps(events: Sequence[Event], plan: PackagePlan) -> Iterator[Gap]:
    """Yield what came after the break of a broken journal, of the package that was open then."""
    closed = events[-1]
    if is_broken_off(events):
        until_ms = max(int(closed.data.get("until_ms", 0)), closed.at_ms + 1)
        if plan.ended_ms == closed.at_ms:
            yield Gap("", "", "journal", closed.at_ms, until_ms, DAMAGED)


def clip_gap(
    track: Track | ListedTrack,
    start_ms: float,
    end_ms: float,
    reason: str,
    spans: Sequence[Span],
    *,
    packets: int = 0,
) -> Iterator[Gap]:
    """Yield the parts of a gap that lie within spans; its packets are counted with the first."""
    for span in spans:
        first_ms, last_ms = max(start_ms, span.start_ms), min(end_ms, span.end_ms)
        if first_ms < last_ms:
            yield Gap(
                track.name,
                track.participant,
                track.source,
                math.floor(first_ms),
                math.ceil(last_ms),
                reason,
                packets=packets,
            )
            packets = 0


def _crash_gap(track: Track, whole: Sequence[Span], crashes: Mapping[int, int]) -> Iterator[Gap]:
    last_ms = max(_frame_times(track, len(track.segments) - 1), default=track.segments[-1].start_ms)
    back_ms = min((back for back in crashes.values() if back >= last_ms), default=None)
    if back_ms is not None:
        yield from clip_gap(track, last_ms, back_ms, "crash", whole)


def _overlaps(segment: Segment, end_ms: float, span: Span) -> bool:
    return segment.start_ms < span.end_ms and end_ms > span.start_ms


def _between(track: Track, unplaced: Unplaced) -> tuple[float, float]:
    """Return the times that segments without a place lie between."""
    after, before = unplaced.after, unplaced.before
    start_ms, end_ms = -math.inf, math.inf
    if after is not None:
        start_ms = max(_frame_times(track, track.segments.index(after)), default=after.start_ms)
    if before is not None:
        end_ms = before.start_ms
    elif track.ended_ms is not None:
        end_ms = track.ended_ms
    return start_ms, end_ms


def _frame_times(track: Track, index: int) -> Iterator[float]:
    segment = track.segments[index]
    try:
        file = track.open(index)
    except DamagedSegment:
        return
    with closing(file):
        try:
            for pts_ms, _ in file.packets():
                yield track.at_ms(segment.stream, pts_ms)
        except DamagedSegment:
            # Up to the damage is what there is.
            return


def _why_not_open(track: Track, index: int) -> str | None:
    """Return why a segment cannot be opened; None when it can."""
    try:
        track.open(index).close()
    except DamagedSegment as error:
        return error.reason
    return None


def _clock(folder: Path, *, is_last_try: bool) -> str:
    """Return by whose clock a track was sent, as the first line of its log says; else by one of its own."""
    try:
        with (folder / LOG_NAME).open("rb") as lines:
            first = read_line(lines.readline(LINE_MAX_BYTES))
    except OSError as error:
        if is_last_try or isinstance(error, FileNotFoundError | NotADirectoryError):
            return folder.name
        raise
    return folder.name if first is None else str(first.get("sync", folder.name))


def _read_log(folder: Path, listed: ListedTrack | None, *, is_last_try: bool) -> _Log | None:
    log = _Log(folder)
    try:
        with (folder / LOG_NAME).open("rb") as lines:
            _take_lines(log, iter(lambda: lines.readline(LINE_MAX_BYTES), b""))
        log.files = sorted(path.name for path in folder.glob("*.mkv"))
    except OSError as error:
        is_no_track = isinstance(error, FileNotFoundError | NotADirectoryError)
        if is_last_try or (is_no_track and (listed is None or not listed.has_end)):
            return None
        raise
    if not log.head and listed is not None:
        # The first line is damaged; the journal says the same of it.
        log.head = {"participant": listed.participant, "source": listed.source, "codec": listed.codec}
    return log if log.head else None


def _take_lines(log: _Log, lines: Iterator[bytes]) -> None:
    at_ms = broken_since_ms = -math.inf
    is_broken = False
    for line in lines:
        value = read_line(line)
        if value is None or not _takes(log, value):
            # A torn or damaged line says nothing; the others stand for themselves.
            if not line.startswith(_TELL_NO_GAP) and not is_broken:
                is_broken, broken_since_ms = True, at_ms
        elif isinstance(value.get("at_ms"), int | float):
            at_ms = float(value["at_ms"])
            if is_broken:
                log.untold.append((broken_since_ms, at_ms))
                is_broken = False


def _takes(log: _Log, value: Mapping[str, Any]) -> bool:
    try:
        log.take(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        return False
    return True


def _track(
    log: _Log, placements: Mapping[tuple[str, int], Placement], ledger: Ledger, *, is_last_try: bool
) -> Track:
    name = log.folder.name
    own = {stream: placements[name, stream] for stream in log.arrivals}
    segments = [
        Segment(log.folder / file, stream, pts_ms, own[stream].at_ms(pts_ms), width, height, case)
        for stream, pts_ms, file, width, height, case in log.segments
    ]
    return Track(
        name,
        str(log.head.get("participant", "")),
        str(log.head.get("source", "")),
        str(log.head.get("codec", "")),
        tuple(segments),
        own,
        tuple(log.gaps),
        log.ended_ms,
        log.was_interrupted,
        is_last_try,
        ledger,
        _unplaced(log, segments),
        tuple(log.untold),
    )


def _unplaced(log: _Log, segments: Sequence[Segment]) -> tuple[Unplaced, ...]:
    """Return what lies in the folder and is not in the log, all between the same two segments as one."""
    placed = {segment.path.name: segment for segment in segments}
    found: dict[Unplaced, None] = {}
    for name in (name for name in log.files if name not in placed):
        after = max((one for one in placed if one < name), default="")
        before = min((one for one in placed if one > name), default="")
        found[Unplaced(placed.get(after), placed.get(before))] = None
    return tuple(found)
