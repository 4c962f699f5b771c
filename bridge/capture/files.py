"""The files of a session, open for writing; used by the writer's thread alone.

What is handed over stays in memory until `flush` writes it and `sync` waits for the disk. A file on which a
write has failed is cut back to what was whole, so that a full disk takes nothing that was there before.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.base.errors import RecordingFailed
from bridge.capture.elements import end_ms, finish
from bridge.capture.frames import Frame, frame_data
from bridge.capture.matroska import Cluster, TrackHeader, head
from bridge.capture.sessions import JOURNAL, RESERVE, TRACK_LOG, TRACKS
from bridge.leg.encoding import Codec
from bridge.store.checked_lines import checked_line
from bridge.store.journal import Event, JournalFile

# Room for the last lines of a journal and of a hundred track logs.
RESERVE_BYTES = 1 << 20
# A cluster is written before its time when it has grown to this.
CLUSTER_BYTES_MAX = 4 << 20
# The disk, or somebody's share of it, is full.
FULL = (errno.ENOSPC, errno.EDQUOT)
# The process or the machine has for a moment no descriptor or memory left, or was interrupted.
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN)
# What a full disk may keep waiting: an hour of a lively conference.
EVENTS_MAX = 20_000
LINES_MAX = 10_000
# How many tracks that were given up may still try to write their last lines.
GIVEN_UP_MAX = 8


def append(descriptor: int, data: bytes, known_bytes: int) -> None:
    """Write `data` behind the first `known_bytes` of a file; raises OSError, and then nothing of it stays."""
    try:
        written = 0
        while written < len(data):
            # A full disk takes a part of what it is given, and says so only the next time.
            written += os.pwrite(descriptor, data[written:], known_bytes + written)
    except OSError:
        os.ftruncate(descriptor, known_bytes)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SegmentFile:
    """One Matroska file that grows by whole clusters."""

    __slots__ = (
        "_bytes",
        "_cluster",
        "_descriptor",
        "_last_but_one_ms",
        "_layout",
        "_path",
        "is_dirty",
        "newest_ms",
    )

    def __init__(self, path: Path, header: TrackHeader) -> None:
        start, self._layout = head(header)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._path = path
        self._cluster = Cluster()
        self.newest_ms = self._last_but_one_ms = 0
        self.is_dirty = True
        try:
            append(self._descriptor, start, 0)
        except OSError:
            os.close(self._descriptor)
            path.unlink()
            raise
        self._bytes = len(start)

    def takes(self, pts_ms: int) -> bool:
        """Whether a frame of that time fits into the open cluster."""
        return self._cluster.takes(pts_ms) and self._cluster.size_bytes < CLUSTER_BYTES_MAX

    def add(self, pts_ms: int, data: bytes, *, is_keyframe: bool) -> None:
        """Put a frame into the open cluster."""
        self._cluster.add(pts_ms, data, is_keyframe=is_keyframe)
        self._last_but_one_ms, self.newest_ms = self.newest_ms, pts_ms

    def flush(self) -> int:
        """Write the open cluster; return its bytes. Raises OSError, and then its frames are lost."""
        data = self._cluster.take()
        if data:
            append(self._descriptor, data, self._bytes)
            self._bytes += len(data)
            self.is_dirty = True
        return len(data)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        if self.is_dirty:
            os.fdatasync(self._descriptor)
            self.is_dirty = False

    def finish(self) -> None:
        """Fill in size and duration, to be synced and closed; what was not flushed is lost.

        An empty file is removed.
        """
        if self._bytes == self._layout.head_bytes:
            self._path.unlink()
            self.is_dirty = False
            return
        ends_ms = end_ms(self.newest_ms, self._last_but_one_ms)
        self.is_dirty = True
        finish(self._descriptor, self._layout, file_bytes=self._bytes, duration_ms=ends_ms)

    def close(self) -> None:
        """Close the file as it is."""
        os.close(self._descriptor)


class LineFile:
    """A file of JSON lines, made with its folder at the first flush; what the disk does not take is kept."""

    __slots__ = ("_bytes", "_descriptor", "_lines", "_path", "is_dirty")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._bytes = 0
        self._lines: deque[bytes] = deque(maxlen=LINES_MAX)
        self.is_dirty = False

    @property
    def is_clean(self) -> bool:
        """Whether everything is on the disk."""
        return not self._lines and not self.is_dirty

    def add(self, value: Mapping[str, Any]) -> None:
        """Take in a line."""
        self._lines.append(checked_line(value))

    def flush(self) -> None:
        """Write the lines; raises OSError, and then keeps them."""
        if not self._lines:
            return
        if self._descriptor < 0:
            self._open()
        data = b"".join(self._lines)
        append(self._descriptor, data, self._bytes)
        self._bytes += len(data)
        self._lines.clear()
        self.is_dirty = True

    def _open(self) -> None:
        folder = self._path.parent
        for made in (folder.parent, folder):
            made.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._bytes = os.fstat(self._descriptor).st_size
        for changed in (folder, folder.parent, folder.parent.parent):
            sync_folder(changed)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        if self.is_dirty:
            os.fdatasync(self._descriptor)
            self.is_dirty = False

    def close(self) -> None:
        """Close the file; harmless twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class TrackFile:
    """One track's folder: its log and the segment that is being written.

    No call raises: what the disk refuses is told to the session, and the frames that are missing for it stand
    in the log as a gap once the disk takes lines again.
    """

    __slots__ = (
        "_codec",
        "_finishing",
        "_flushed_ms",
        "_folder",
        "_has_new_names",
        "_log",
        "_refused_from_ms",
        "_refused_packets",
        "_refused_to_ms",
        "_segment",
        "_stream",
        "_unflushed",
        "_unflushed_packets",
        "bytes_queued",
        "bytes_taken",
        "bytes_written",
        "frames_written",
        "is_ended",
        "is_given_up",
        "session",
    )

    def __init__(self, session: "SessionFile", name: str, codec: Codec) -> None:
        self.session = session
        self.bytes_written = self.frames_written = 0
        # Media that was handed over, and how much of that was taken up; each is written by one thread only.
        self.bytes_queued = self.bytes_taken = 0
        # No more frames will come.
        self.is_ended = False
        # Another track goes on in its place; what it cannot write any more is told to nobody.
        self.is_given_up = False
        self._folder = session.folder / TRACKS / name
        self._codec = codec
        self._log = LineFile(self._folder / TRACK_LOG)
        self._segment: SegmentFile | None = None
        # Those before it that are not synced yet.
        self._finishing: list[SegmentFile] = []
        self._has_new_names = False
        self._stream = 0
        # The newest frame that the disk has taken, and what waits in the open cluster.
        self._flushed_ms = 0
        self._unflushed = self._unflushed_packets = 0
        # What the disk has refused since then.
        self._refused_from_ms = self._refused_to_ms = self._refused_packets = 0

    @property
    def is_clean(self) -> bool:
        """Whether the whole log is on the disk."""
        return self._log.is_clean

    @property
    def is_waited_for(self) -> bool:
        """Whether its session is not whole before its log is."""
        return not self.is_given_up and not self.is_clean

    @property
    def is_dirty(self) -> bool:
        """Whether something that was written may not be on the disk yet."""
        segment = self._segment
        return (
            self._has_new_names
            or self._log.is_dirty
            or bool(self._finishing)
            or (segment is not None and segment.is_dirty)
        )

    # What the recorder hands over.

    def line(self, value: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        self._log.add(value)

    def begin(self, name: str, header: TrackHeader, line: Mapping[str, Any]) -> None:
        """End the open segment, if any, and begin the one that `line` tells of."""
        self.end()
        self._tell_refused()
        self._stream = line["stream"]
        self._flushed_ms = line["pts_ms"]
        self._log.add(line)
        if not self._flush_log():
            # Without it, a segment has no place in time.
            return
        try:
            self._segment = SegmentFile(self._folder / name, header)
            self._has_new_names = True
        except OSError as error:
            self._disk_refused(error)

    def frame(self, pts_ms: int, frame: Frame) -> None:
        """Put a frame into the open segment."""
        self.bytes_taken += frame.size_bytes
        segment = self._segment
        if segment is None:
            self._refuse(pts_ms, len(frame.packets))
            return
        data = frame_data(self._codec, frame.packets)
        if not data:
            return
        if not segment.takes(pts_ms):
            self.flush()
        if self._segment is None:
            self._refuse(pts_ms, len(frame.packets))
            return
        segment.add(pts_ms, data, is_keyframe=frame.is_keyframe)
        self._unflushed += 1
        self._unflushed_packets += len(frame.packets)

    def end(self) -> None:
        """End the open segment, if any."""
        self.flush()
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._finishing.append(segment)
        try:
            segment.finish()
        except OSError as error:
            self._disk_refused(error)

    def give_up(self) -> None:
        """Write what can still be written, but let nobody wait for it."""
        self.is_given_up = True

    def close(self, line: Mapping[str, Any]) -> None:
        """End the track with the last line of its log."""
        self.end()
        self._tell_refused()
        self._log.add(line)
        self.is_ended = True

    # What the writer does.

    def flush(self) -> None:
        """Write everything that waits."""
        self._flush_log()
        segment = self._segment
        if segment is None or not self._unflushed:
            return
        newest_ms = segment.newest_ms
        try:
            self.bytes_written += segment.flush()
        except OSError as error:
            self._refuse(newest_ms, self._unflushed_packets)
            self._abandon(segment)
            self._disk_refused(error)
        else:
            self._flushed_ms = newest_ms
            self.frames_written += self._unflushed
        self._unflushed = self._unflushed_packets = 0

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        try:
            while self._finishing:
                segment = self._finishing.pop()
                try:
                    segment.sync()
                finally:
                    segment.close()
            if self._segment is not None:
                self._segment.sync()
            if self._has_new_names:
                sync_folder(self._folder)
                self._has_new_names = False
            self._log.sync()
        except OSError as error:
            self._disk_refused(error)

    def release(self) -> None:
        """Close the files as they are."""
        for segment in self._finishing:
            segment.close()
        self._finishing.clear()
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        self._log.close()

    def _flush_log(self) -> bool:
        try:
            # The session makes its folder itself, and takes one that is there for somebody else's.
            self.session.open()
        except OSError as error:
            self.session.refused(error)
            return False
        try:
            self._log.flush()
        except OSError as error:
            self._disk_refused(error)
            return False
        return True

    def _disk_refused(self, error: OSError) -> None:
        if not self.is_given_up:
            self.session.refused(error, self)

    def _refuse(self, pts_ms: int, packet_count: int) -> None:
        if not self._refused_packets:
            self._refused_from_ms = self._flushed_ms
        self._refused_to_ms = pts_ms
        self._refused_packets += packet_count

    def _tell_refused(self) -> None:
        if not self._refused_packets:
            return
        self._log.add(
            {
                "k": "gap",
                "stream": self._stream,
                "from_pts_ms": self._refused_from_ms,
                "to_pts_ms": self._refused_to_ms,
                "packets": self._refused_packets,
                "reason": "disk",
            }
        )
        self._refused_packets = 0

    def _abandon(self, segment: SegmentFile) -> None:
        """Leave a segment as far as it is whole; what it takes to end it overwrites bytes that it has."""
        self._segment = None
        self._finishing.append(segment)
        with contextlib.suppress(OSError):
            segment.finish()


class SessionFile:
    """One session's folder: the journal, the tracks, and a reserve for the last lines on a full disk."""

    def __init__(self, folder: Path, *, is_new: bool) -> None:
        self.folder = folder
        self.tracks: list[TrackFile] = []
        # The first thing that went wrong with each track, or None for the session, since the writer asked.
        self.errors: dict[TrackFile | None, OSError] = {}
        # No more events will come.
        self.is_ended = False
        # The folder is still to be made.
        self._is_new = is_new
        self._journal: JournalFile | None = None
        self._events: list[Event] = []
        self.written_events = 0

    @property
    def is_clean(self) -> bool:
        """Whether the journal and all track logs are on the disk."""
        return not self._events and not any(track.is_waited_for for track in self.tracks)

    def refused(self, error: OSError, track: TrackFile | None = None) -> None:
        """The disk did not take something of a track, or else of the session's own."""
        self.errors.setdefault(track, error)

    def event(self, event: Event) -> None:
        """Take in an event."""
        self._events.append(event)

    def end(self) -> None:
        """No more events will come."""
        self.is_ended = True

    def flush(self) -> None:
        """Write the events and what waits in the tracks."""
        try:
            journal = self.open()
            if self._events:
                journal.write(self._events)
                self.written_events += len(self._events)
                self._events.clear()
        except OSError as error:
            self.refused(error)
            if self._journal is None:
                return
        for track in self.tracks:
            track.flush()

    def forget_ended(self) -> None:
        """Let go of the tracks that have ended and are on the disk, or have been given up for long."""
        given_up = [track for track in self.tracks if track.is_given_up and track.is_ended]
        for track in [track for track in self.tracks if track.is_ended]:
            if track.is_clean or track in given_up[:-GIVEN_UP_MAX]:
                track.release()
                self.tracks.remove(track)

    def keep_reserve(self) -> None:
        """Take hold of the room for the last lines; raises OSError."""
        path = self.folder / RESERVE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def give_reserve(self) -> None:
        """Let go of the room for the last lines."""
        (self.folder / RESERVE).unlink(missing_ok=True)

    def release(self) -> None:
        """Close the files as they are."""
        for track in self.tracks:
            track.release()
        self.tracks.clear()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
            self.give_reserve()

    @property
    def is_open(self) -> bool:
        """Whether the session has its folder and journal."""
        return self._journal is not None

    def open(self) -> JournalFile:
        """Return the journal, made or opened when it is not yet; raises OSError."""
        if self._journal is not None:
            return self._journal
        if self._is_new:
            # One that is there already is somebody else's, and must not be written into.
            self.folder.mkdir(mode=0o700)
            self._is_new = False
            sync_folder(self.folder.parent)
        try:
            journal = JournalFile(self.folder / JOURNAL)
        except RecordingFailed as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise OSError(errno.EIO, str(error)) from error
        sync_folder(self.folder)
        self._journal = journal
        return journal
