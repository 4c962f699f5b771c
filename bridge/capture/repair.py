"""What a crash or power cut left: torn tails are cut off, and each file says again how long it is.

Only the ends are touched, because a crash tears nothing else: the last segments of a track, and the last line
of its log. So the time it takes does not grow with the length of a session. Bytes that are damaged further
inside stay for readers to go around, and a file that says nothing is set aside and not deleted; what is
missing for it stands in the track's log as a gap.

All of it happens in place, in steps of which each leaves a file that is no worse than before: truncating what
nobody could read, then overwriting a few bytes. So it may be interrupted at any time and done again.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.base.errors import RecordingFailed
from bridge.capture.elements import end_ms, finish, size_of
from bridge.capture.scan import UNREADABLE, FileBytes, Scan
from bridge.capture.sessions import DAMAGED, JOURNAL, RESERVE, TRACK_LOG, TRACKS, is_session, track_number
from bridge.store.checked_lines import checked_line, read_line
from bridge.store.journal import (
    INTERRUPTED,
    Event,
    EventKind,
    copy_of,
    is_closed,
    read_journal,
    salvaged,
    set_right,
)

logger = logging.getLogger(__name__)

# The last segment of a track, and those before it that may still be on their way to the disk.
OPEN_SEGMENTS_MAX = 6
# Of a log, as much as tells where the last segments belong: this, then four times as much, and so on.
TAIL_BYTES = 1 << 12
TAIL_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A session without an end, repaired: when its last event or frame was, and how many tracks it has."""

    folder: Path
    events: Sequence[Event]
    ended_ms: int
    track_count: int

    @property
    def room(self) -> str:
        """The room whose session it is."""
        return str(self.events[0].data.get("room", ""))

    @property
    def open_tracks(self) -> list[str]:
        """The tracks whose end is not in the journal."""
        open_tracks: dict[str, None] = {}
        for event in self.events:
            if event.kind is EventKind.TRACK_STARTED:
                open_tracks[str(event.data["track"])] = None
            elif event.kind is EventKind.TRACK_ENDED:
                open_tracks.pop(str(event.data["track"]), None)
        return list(open_tracks)

    @property
    def is_closed(self) -> bool:
        """Whether nobody can go on with it."""
        return self.events[-1].kind is EventKind.SESSION_CLOSED

    @property
    def was_orderly(self) -> bool:
        """Whether everybody was sent home before the end, as when the server is stopped."""
        present: set[str] = set()
        for event in self.events:
            if event.kind is EventKind.PARTICIPANT_JOINED:
                present.add(str(event.data.get("participant")))
            elif event.kind is EventKind.PARTICIPANT_LEFT:
                present.discard(str(event.data.get("participant")))
        return not present


def find_interrupted(folder: Path) -> list[Path]:
    """Return the sessions below `folder` that have no end, the oldest first."""
    sessions = [path for path in folder.iterdir() if path.is_dir() and is_session(path.name)]
    return sorted(path for path in sessions if not is_closed(path / JOURNAL))


def repair_session(folder: Path) -> Interrupted | None:
    """Repair a session that nobody writes any more; None when nothing ever happened in it.

    Its folder is empty then, and left to the caller. One whose journal is broken has its end there. Raises
    OSError, and RecordingFailed when nothing of the journal can be read; its media are repaired even then.
    """
    (folder / RESERVE).unlink(missing_ok=True)
    tracks = [path for path in (folder / TRACKS).glob("*") if track_number(path.name)]
    ended_ms = 0
    for track in tracks:
        try:
            ended_ms = max(ended_ms, repair_track(track))
        except OSError as error:
            # The others are to be whole. Whoever reads this one meets the same error, and can try again.
            logger.error(
                "session %s: track %s cannot be repaired: %s", folder.name, track.name, error.strerror
            )
    events = _read_journal(folder)
    if not events:
        if tracks:
            raise RecordingFailed(f"{folder}: there are tracks, but no journal")
        for path in (folder / JOURNAL, copy_of(folder / JOURNAL)):
            path.unlink(missing_ok=True)
        return None
    ended_ms = max(ended_ms, events[-1].at_ms)
    track_count = max((track_number(path.name) for path in tracks), default=0)
    return Interrupted(folder, events, ended_ms, track_count)


def _read_journal(folder: Path) -> Sequence[Event]:
    """Return the events of a session; of one whose journal is broken, those up to there, and its end."""
    try:
        return read_journal(folder / JOURNAL)
    except RecordingFailed as error:
        if isinstance(error.__cause__, OSError):
            raise
        events = salvaged(folder / JOURNAL)
        if not events:
            raise
        logger.error("session %s ends where its journal is broken: %s", folder.name, error)
        set_right(folder / JOURNAL, events, folder / DAMAGED)
        return events


def repair_track(folder: Path) -> int:
    """Repair the last segments of a track and end its log; return when its last frame arrived, in Unix ms.

    0 when the log says nothing: then nothing is touched. Raises OSError.
    """
    log_path = folder / TRACK_LOG
    # One that has no line yet was just begun.
    if not log_path.exists() or not log_path.stat().st_size:
        return 0
    paths = sorted(folder.glob("*.mkv"))[-OPEN_SEGMENTS_MAX:]
    with _opened(log_path) as descriptor:
        log = _LogEnd(descriptor, {path.name for path in paths})
        if not log.lines:
            logger.error("track %s: no line of its log can be read", folder.name)
            return 0
        log.cut()
        ended_ms = 0
        for path in paths:
            with _opened(path) as segment:
                found = _Segment(path, segment, is_last=path is paths[-1] and log.ended_ms is None)
                # Before the file is changed, so that nothing is missing that was not told.
                gaps = log.gaps(path.name, found)
                log.add(gaps)
                found.repair()
            newest_ms = max((gap["to_pts_ms"] for gap in gaps), default=found.newest_ms)
            ended_ms = max(ended_ms, log.arrived_ms(path.name, newest_ms))
        if log.ended_ms is not None:
            return max(ended_ms, log.ended_ms)
        ended_ms = max(ended_ms, log.newest_ms)
        log.add([{"k": "end", "at_ms": ended_ms, "reason": INTERRUPTED}])
        return ended_ms


def repair_segment(path: Path) -> int | None:
    """Make a segment whole as far as it can be read; return the time of its last frame in its stream.

    One that has nothing behind its head is removed, and one that cannot be read set aside.
    """
    with _opened(path) as descriptor:
        segment = _Segment(path, descriptor, is_last=True)
        segment.repair()
    return segment.newest_ms


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Segment:
    """A segment that may be torn, and what is to be done about it."""

    def __init__(self, path: Path, descriptor: int, *, is_last: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._scan: Scan | None = None
        self.newest_ms: int | None = None
        # Whether no reader could make anything of it.
        self._says_nothing = False
        self._is_unreadable = False
        data = FileBytes(descriptor)
        try:
            scan = Scan(data)
            # Of finished ones nothing more is of interest, but for the time of a track's last frame.
            if is_last or not scan.is_finished:
                scan.read_clusters()
                self._says_nothing = scan.newest_ms is None or scan.layout is None
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self._says_nothing = self._is_unreadable = True
        else:
            self._scan = scan
            self.newest_ms = scan.newest_ms
            self._is_unreadable = data.is_unreadable

    def missing(self, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """Return what damage has taken of it, which was to last from and to those times of its stream."""
        scan = self._scan
        to_ms = max(to_ms, self.newest_ms or 0, from_ms + 1)
        if scan is None:
            return [(from_ms, to_ms)]
        if self._says_nothing:
            was_begun_only = scan.is_head_only or (scan.is_torn and self.newest_ms is None)
            return [] if was_begun_only and not self._is_unreadable else [(from_ms, to_ms)]
        if self._is_unreadable and not scan.holes:
            return [(from_ms if self.newest_ms is None else self.newest_ms, to_ms)]
        return scan.holes

    def repair(self) -> None:
        """Make it whole, or put it where it is in nobody's way."""
        scan = self._scan
        if self._says_nothing:
            self._set_aside()
        elif scan is not None and not scan.is_finished and not self._is_unreadable:
            self._make_whole(scan)

    def _set_aside(self) -> None:
        if self._scan is not None and self._scan.is_head_only:
            self._path.unlink()
            return
        logger.error("segment %s/%s cannot be read", self._path.parent.name, self._path.name)
        aside = self._path.parent / DAMAGED
        aside.mkdir(mode=0o700, exist_ok=True)
        self._path.rename(aside / self._path.name)

    def _make_whole(self, scan: Scan) -> None:
        if scan.layout is None:
            return
        end = scan.whole_bytes
        torn = scan.torn
        if torn is not None:
            end = torn.end
            os.ftruncate(self._descriptor, end)
            os.pwrite(self._descriptor, size_of(end - torn.start, torn.size_bytes), torn.size_at)
        else:
            os.ftruncate(self._descriptor, end)
        newest_ms = scan.newest_ms or 0
        second_ms = newest_ms if scan.second_newest_ms is None else scan.second_newest_ms
        finish(self._descriptor, scan.layout, file_bytes=end, duration_ms=end_ms(newest_ms, second_ms))
        os.fsync(self._descriptor)


class _LogEnd:
    """The end of a track's log: where the last segments belong, and room for what is to be added."""

    def __init__(self, descriptor: int, files: set[str]) -> None:
        """Read back to where all those files are told of."""
        self._descriptor = descriptor
        self._size_bytes = os.fstat(descriptor).st_size
        self._whole_bytes = 0
        self.lines: list[dict[str, Any]] = []
        # Stream and time of each segment that the lines tell of.
        self.places: dict[str, tuple[int, int]] = {}
        tail_bytes = TAIL_BYTES
        self._read(tail_bytes)
        while not (self.lines and files <= self.places.keys()) and tail_bytes < self._size_bytes:
            tail_bytes *= 4
            if tail_bytes > TAIL_BYTES_MAX:
                break
            self._read(tail_bytes)
        # How far the server's clock was before each stream's in the end: a sender's may have stood still.
        self._ahead_ms: dict[int, int] = {}
        self.ended_ms: int | None = None
        self.newest_ms = self._heard_ms = 0
        for line in self.lines:
            self._take(line)

    def cut(self) -> None:
        """Cut off what follows the last line that can be read."""
        if self._whole_bytes != self._size_bytes:
            os.ftruncate(self._descriptor, self._whole_bytes)
            os.fsync(self._descriptor)

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add what is not there yet."""
        data = b"".join(checked_line(line) for line in lines if line not in self.lines)
        if data:
            self._whole_bytes += os.pwrite(self._descriptor, data, self._whole_bytes)
            os.fsync(self._descriptor)

    def arrived_ms(self, file: str, pts_ms: int | None) -> int:
        """Return when a frame of a segment arrived, in Unix ms; 0 when nobody knows."""
        if pts_ms is None or file not in self.places:
            return 0
        return self._ahead_ms.get(self.places[file][0], 0) + pts_ms

    def gaps(self, file: str, segment: _Segment) -> list[dict[str, Any]]:
        """Return the lines that tell what damage has taken of a segment."""
        if file not in self.places:
            return []
        stream, pts_ms = self.places[file]
        following = [at for one, at in self.places.values() if one == stream and at > pts_ms]
        # Of a stream's last one nobody knows more than when something of its track was written.
        to_ms = min(following, default=self._heard_ms - self._ahead_ms.get(stream, 0))
        return [
            {
                "k": "gap",
                "stream": stream,
                "from_pts_ms": start,
                "to_pts_ms": end,
                "packets": 0,
                "reason": DAMAGED,
            }
            for start, end in segment.missing(pts_ms, to_ms)
            if start < end
        ]

    def _read(self, tail_bytes: int) -> None:
        start = max(self._size_bytes - tail_bytes, 0)
        data = b""
        while len(data) < self._size_bytes - start:
            more = os.pread(self._descriptor, self._size_bytes - start - len(data), start + len(data))
            if not more:
                break
            data += more
        self.lines.clear()
        position = start
        for number, line in enumerate(data.splitlines(keepends=True)):
            position += len(line)
            # The first one is the rest of a line, unless it is the log's first.
            value = _line(line) if number or not start else None
            if value is not None:
                self.lines.append(value)
                self._whole_bytes = position
                if value["k"] == "segment":
                    self.places[value["file"]] = value["stream"], value["pts_ms"]

    def _take(self, line: Mapping[str, Any]) -> None:
        kind, at_ms = line["k"], line.get("at_ms", 0)
        self._heard_ms = max(self._heard_ms, at_ms)
        if kind in ("stream", "segment", "arrival", "pause"):
            self._ahead_ms[line["stream"]] = at_ms - line.get("to_pts_ms", line.get("pts_ms", 0))
        if kind == "end":
            self.ended_ms = at_ms
        elif kind != "clock":
            self.newest_ms = max(self.newest_ms, at_ms)


# What a line must have, beside its kind, for all that is read of it here.
_NUMBERS = {
    "track": (),
    "stream": ("stream", "at_ms"),
    "segment": ("stream", "pts_ms", "at_ms"),
    "clock": ("stream", "at_ms"),
    "arrival": ("stream", "pts_ms", "at_ms"),
    "pause": ("stream", "to_pts_ms", "at_ms"),
    "gap": ("stream",),
    "end": ("at_ms",),
}


def _line(line: bytes) -> dict[str, Any] | None:
    """Return what a line of a track log says; None when it is torn or damaged."""
    value = read_line(line)
    if value is None or not isinstance(value.get("k"), str):
        return None
    is_whole = all(type(value.get(key)) is int for key in _NUMBERS.get(value["k"], ()))
    return value if is_whole and isinstance(value.get("file", ""), str) else None
