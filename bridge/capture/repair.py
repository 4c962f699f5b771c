"""What a crash or power cut left: torn tails are cut off, and each file says again how long it is.

All of it happens in place, in steps of which each leaves a file that is no worse than before: truncating what
nobody could read, then overwriting a few bytes. So it may be interrupted at any time and done again.
"""

import json
import logging
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.base.errors import RecordingFailed
from bridge.capture.files import JOURNAL, RESERVE, TRACK_LOG, TRACKS, end_ms, finish
from bridge.capture.matroska import Scan, size_of
from bridge.capture.sessions import is_session, track_number
from bridge.store.journal import LINE_MAX_BYTES, Event, EventKind, read_journal

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted"


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
    return sorted(path for path in sessions if not _is_closed(path / JOURNAL))


def repair_session(folder: Path) -> Interrupted | None:
    """Repair a session that nobody writes any more; None when nothing ever happened in it.

    Raises RecordingFailed when its journal cannot be trusted; its media are repaired all the same.
    """
    (folder / RESERVE).unlink(missing_ok=True)
    tracks = [path for path in (folder / TRACKS).glob("*") if track_number(path.name)]
    ended_ms = max((repair_track(path) for path in tracks), default=0)
    events = read_journal(folder / JOURNAL)
    if not events:
        if tracks:
            raise RecordingFailed(f"{folder}: there are tracks, but no journal")
        (folder / JOURNAL).unlink(missing_ok=True)
        folder.rmdir()
        return None
    ended_ms = max(ended_ms, events[-1].at_ms)
    track_count = max((track_number(path.name) for path in tracks), default=0)
    return Interrupted(folder, events, ended_ms, track_count)


def repair_track(folder: Path) -> int:
    """Repair the segments of a track and end its log; return when its last frame arrived, in Unix ms."""
    log = folder / TRACK_LOG
    lines = _repair_lines(log)
    newest = {path.name: repair_segment(path) for path in sorted(folder.glob("*.mkv"))}
    # How far the server's clock was before each stream's in the end: a sender's clock may have stood still.
    ahead_ms: dict[int, int] = {}
    for line in lines:
        if line["k"] in ("stream", "segment", "arrival", "pause"):
            ahead_ms[line["stream"]] = line["at_ms"] - line.get("to_pts_ms", line.get("pts_ms", 0))
    ended_ms = 0
    for line in lines:
        pts_ms = newest.get(line.get("file", ""))
        if line.get("k") == "segment" and pts_ms is not None:
            ended_ms = max(ended_ms, ahead_ms.get(line["stream"], 0) + pts_ms)
        elif line.get("k") == "end":
            return max(ended_ms, int(line["at_ms"]))
    if lines:
        ended_ms = max([ended_ms, *(line.get("at_ms", 0) for line in lines if line["k"] != "clock")])
        _append(log, {"k": "end", "at_ms": ended_ms, "reason": INTERRUPTED})
    return ended_ms


def repair_segment(path: Path) -> int | None:
    """Make a segment whole as far as it can be read; return the time of its last frame in its stream.

    A file without a whole frame holds nothing: it is removed.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes == 0:
            path.unlink()
            return None
        with mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ) as data, memoryview(data) as view:
            scan = Scan(view)
            newest_ms = scan.newest_ms
        if newest_ms is None:
            path.unlink()
            return None
        if scan.is_finished:
            return newest_ms
        _make_whole(descriptor, scan)
        return newest_ms
    finally:
        os.close(descriptor)


def _make_whole(descriptor: int, scan: Scan) -> None:
    end = scan.whole_bytes
    torn = scan.torn
    if torn is not None:
        end = torn.end
        os.ftruncate(descriptor, end)
        os.pwrite(descriptor, size_of(end - torn.start, torn.size_bytes), torn.size_at)
    else:
        os.ftruncate(descriptor, end)
    newest_ms = scan.newest_ms or 0
    second_ms = newest_ms if scan.second_newest_ms is None else scan.second_newest_ms
    finish(descriptor, scan.layout, file_bytes=end, duration_ms=end_ms(newest_ms, second_ms))
    os.fsync(descriptor)


def _repair_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a track log, and cut off what follows them."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole_bytes = 0
    lines: list[dict[str, Any]] = []
    for line in data.splitlines(keepends=True):
        value = _line(line)
        if value is None:
            break
        lines.append(value)
        whole_bytes += len(line)
    if whole_bytes != len(data):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, whole_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return lines


def _line(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("k"), str) else None


def _append(path: Path, value: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, json.dumps(value, separators=(",", ":")).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_closed(journal: Path) -> bool:
    """Whether a journal's last line says that its session has ended."""
    try:
        with journal.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(size_bytes - 2 * LINE_MAX_BYTES, 0))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return False
    try:
        return bool(lines) and json.loads(lines[-1]).get("kind") == EventKind.SESSION_CLOSED.value
    except (ValueError, AttributeError):
        return False
