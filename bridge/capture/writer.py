"""The one thread of a node that writes recordings, behind a bounded queue.

The event loop hands over frames by reference, lines and events. The thread wakes by itself twice in each
flush interval and writes what has come; once per interval it waits until all of it is on the disk. What it
has to tell comes back as calls that the event loop makes when it polls.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bridge.base.counters import RecordingCounters
from bridge.capture.files import FULL, SessionFile, TrackFile
from bridge.capture.frames import Frame

logger = logging.getLogger(__name__)

# Some five seconds of sixty cameras. Sound may go on into the second part of the queue.
QUEUE_BYTES_MAX = 64 << 20
QUEUE_SOUND_BYTES_MAX = 72 << 20
# Of one track: four of one participant leave room for others.
TRACK_BYTES_MAX = 12 << 20
# The event loop gets the interpreter lock back at the latest after that many jobs.
JOBS_AT_ONCE = 16
SYNCED_AT_ONCE = 8
MEASURE_S = 1.0
STOP_S = 10.0
# A full disk is tried again after this.
FULL_S = 2.0

Job = Callable[..., None]
# Hears what the disk did not take, of a track or of the session's own.
Refused = Callable[[TrackFile | None, OSError], None]


class Writer:
    """Writes the files of all sessions below one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        flush_s: float,
        counters: RecordingCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._flush_s = flush_s
        self._counters = counters
        self._clock = clock
        self._jobs: deque[tuple[int, Job, tuple[Any, ...]]] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        # When everything that was there had last come to the disk; written by the thread.
        self.synced_at = clock()
        # None until the disk was looked at.
        self.free_bytes: int | None = None
        # Each is written by one thread only.
        self._bytes_in = self._bytes_out = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        # The thread's own.
        self._sessions: dict[SessionFile, Refused] = {}
        self._awaited: list[tuple[SessionFile, Callable[[], None]]] = []
        self._sync_due = self._measure_due = 0.0
        self._full_until = 0.0
        self._syncing = ThreadPoolExecutor(SYNCED_AT_ONCE, "recordings-sync")
        self._has_reserve: set[SessionFile] = set()

    # Called on the event loop's thread.

    @property
    def queued_bytes(self) -> int:
        """How much media waits to be written."""
        return self._bytes_in - self._bytes_out

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that frames may have to be left out."""
        return self.queued_bytes > QUEUE_BYTES_MAX // 2

    def put(self, job: Job, *args: Any) -> None:
        """Let the thread call `job`; for what is rare and small."""
        self._jobs.append((0, job, args))

    def has_room(self, size_bytes: int, is_sound: bool, file: TrackFile) -> bool:
        """Whether the queue takes a frame of that size; no track may take most of it."""
        most = QUEUE_SOUND_BYTES_MAX if is_sound else QUEUE_BYTES_MAX
        return (
            self._bytes_in - self._bytes_out + size_bytes <= most
            and file.bytes_queued - file.bytes_taken + size_bytes <= TRACK_BYTES_MAX
        )

    def put_frame(self, size_bytes: int, is_sound: bool, file: TrackFile, pts_ms: int, frame: Frame) -> bool:
        """Let the thread write a frame; False when the queue, or the track's part of it, is full."""
        if not self.has_room(size_bytes, is_sound, file):
            self._counters.queue_dropped += 1
            return False
        self._bytes_in += size_bytes
        file.bytes_queued += size_bytes
        self._jobs.append((size_bytes, file.frame, (pts_ms, frame)))
        return True

    def open(self, session: SessionFile, failed: Refused) -> None:
        """Write the files of a session from now on; `failed` hears of what cannot be written."""
        self.put(self._open, session, failed)

    def when_written(self, session: SessionFile, call: Callable[[], None]) -> None:
        """Call when all that a session was given so far is on the disk."""
        self.put(self._await, session, call)
        self._wake.set()

    def poll(self) -> None:
        """Make the calls that the thread has asked for."""
        while self._calls:
            self._calls.popleft()()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is there, and end the thread; blocks until then, but not for ever."""
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                logger.error("the disk of the recordings does not answer; the last moments may be lost")
            self._thread = None
        else:
            self._finish()

    # Called on the writer's thread.

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait(self._flush_s / 2)
            self._wake.clear()
            self._work()
        self._finish()

    def _finish(self) -> None:
        self._sync_due = 0.0
        self._work()
        for session in self._sessions:
            session.release()
        self._sessions.clear()
        self._syncing.shutdown()

    def _work(self) -> None:
        try:
            self.work()
        except Exception:
            # A bug of ours: what it struck is lost, and all else must still be written.
            logger.exception("something that was recorded could not be written")

    def work(self) -> None:
        """Write what has come, and wait for the disk when that is due."""
        for count in range(len(self._jobs)):
            size_bytes, job, args = self._jobs.popleft()
            self._bytes_out += size_bytes
            job(*args)
            if count % JOBS_AT_ONCE == 0:
                time.sleep(0)
        now = self._clock()
        for session in self._sessions:
            session.flush()
            self._count(session)
        if now >= self._sync_due or self._awaited:
            self._sync_due = now + self._flush_s
            self._sync()
        self._look_for_errors()
        self._answer()
        if now >= self._measure_due:
            self._measure_due = now + MEASURE_S
            self._measure()
        self._reserve()

    def _open(self, session: SessionFile, failed: Refused) -> None:
        self._sessions[session] = failed

    def _await(self, session: SessionFile, call: Callable[[], None]) -> None:
        self._awaited.append((session, call))

    def _sync(self) -> None:
        started = self._clock()
        # Several at a time, because the disk answers them together.
        tracks = [track for session in self._sessions for track in session.tracks if track.is_dirty]
        for _ in self._syncing.map(TrackFile.sync, tracks):
            pass
        for session in self._sessions:
            session.forget_ended()
        self.synced_at = self._clock()
        if self._sessions:
            self._counters.sync_s.observe(self.synced_at - started)

    def _look_for_errors(self) -> None:
        for session, failed in self._sessions.items():
            errors, session.errors = session.errors, {}
            for track, error in errors.items():
                if error.errno in FULL:
                    self._full_until = self._clock() + FULL_S
                    if session in self._has_reserve:
                        self._has_reserve.discard(session)
                        session.give_reserve()
                self._calls.append(partial(failed, track, error))

    def _count(self, session: SessionFile) -> None:
        for track in session.tracks:
            self._counters.frames_written += track.frames_written
            self._counters.bytes_written += track.bytes_written
            track.frames_written = track.bytes_written = 0

    def _answer(self) -> None:
        waiting = []
        for session, call in self._awaited:
            if session.is_clean or session not in self._sessions:
                self._calls.append(call)
                if session.is_ended:
                    session.release()
                    self._sessions.pop(session, None)
                    self._has_reserve.discard(session)
            else:
                waiting.append((session, call))
        self._awaited = waiting

    def _measure(self) -> None:
        try:
            found = os.statvfs(self._folder)
        except OSError as error:
            logger.error("the disk of the recordings cannot be looked at: %s", error.strerror)
            return
        self.free_bytes = self._counters.disk_free_bytes = found.f_bavail * found.f_frsize

    def _reserve(self) -> None:
        """Take hold of the room for the last lines, for a session as soon as it is open."""
        if self._clock() < self._full_until:
            return
        for session in self._sessions:
            if session.is_open and session not in self._has_reserve:
                try:
                    session.keep_reserve()
                except OSError:
                    # Full already: what there is is for the recording.
                    continue
                self._has_reserve.add(session)
