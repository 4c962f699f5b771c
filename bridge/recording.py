"""All recordings of a node: its sessions from their first event to the moment they can be archived.

A `Recorder` (`bridge.capture.recorder`) is one room's record. What is here belongs to all of them: the
folder, the writer's thread, the disk's state, the names of sessions, and those that a crash or a restart
interrupted. Such a session waits for its room to open again; when nobody comes back it is ended and goes to
the archive like others.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.base.counters import RecordingCounters
from bridge.base.words import ConferenceKind, RecordProblem
from bridge.capture.disk import DiskGuard, DiskLevel, Thresholds
from bridge.capture.files import SessionFile, TrackFile
from bridge.capture.recorder import SHUTDOWN, Node, Recorder
from bridge.capture.recovery import Recovery
from bridge.capture.repair import Interrupted
from bridge.capture.sessions import FolderLock, SessionNames
from bridge.capture.wall_clock import is_synchronised
from bridge.capture.writer import QUEUE_BYTES_MAX, Writer
from bridge.conference.cases import CaseBook
from bridge.conference.record import RecordObserver
from bridge.conference.standing import Standing
from bridge.config import RecordingConfig
from bridge.store.journal import INTERRUPTED, Chain, EventKind

if TYPE_CHECKING:
    from bridge.sfu import Router, Sfu

logger = logging.getLogger(__name__)

POLL_S = 0.1
# A conference that comes back to its room later than this is another one.
RESUME_WITHIN_MS = 3_600_000
# Unless its cases are planned and it has not begun.
RESUME_PREPARED_WITHIN_MS = 12 * 3_600_000
# Pages try again every few seconds; however soon empty rooms are closed, they are given the time.
BACK_WITHIN_S = 60.0
# A disk that was full although it looked otherwise (a quota, for one) is tried again after this.
FULL_S = 5.0
CLOCK_S = 10.0
# So many syncs, one in each `flush_ms`, are missing before people are told.
SYNCS_MISSED_MAX = 5


@dataclass(frozen=True, slots=True)
class _Held:
    """An interrupted session that waits for its room until `until` (monotonic seconds)."""

    session: Interrupted
    until: float


class Recordings:
    """The sessions of this node. All calls on the event loop's thread."""

    def __init__(
        self,
        config: RecordingConfig,
        *,
        folder: Path,
        site_code: str,
        installation: str = "",
        used_names: Iterable[str] = (),
        sfu: "Sfu",
        counters: RecordingCounters,
        empty_close_s: float,
        on_archivable: Callable[[Path], None],
        on_changed: Callable[[Path], None] = lambda _: None,
        on_starved: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_archivable` hears of each session of which something new can be archived, `on_changed` when its
        journal says something else of consent or of what is recorded now, and `on_starved` when there was
        no file descriptor for a file. `installation` stands in the names of sessions; `used_names` are those
        known elsewhere, as of packages whose recordings are gone.
        """
        # Passed by argument.
        self._folder = folder
        self._site_code = site_code
        self._sfu = sfu
        self._counters = counters
        self._empty_close_s = empty_close_s
        self._on_archivable = on_archivable
        # Allocated by this.
        self._lock = FolderLock(folder)
        self._writer = Writer(folder, flush_s=config.flush_ms / 1000, counters=counters, clock=sfu.clock)
        self._names = SessionNames(
            site_code, [*used_names, *(path.name for path in folder.iterdir())], installation=installation
        )
        self._node = Node(
            config=config,
            writer=self._writer,
            counters=counters,
            clock=sfu.clock,
            at_ms=self._at_ms,
            archivable=self._archivable,
            changed=on_changed,
            ended=self._ended,
            disk_refused=self._disk_refused,
            starved=on_starved,
        )
        self._guard = DiskGuard(Thresholds(config.warn_free_mb, config.shed_free_mb, config.stop_free_mb))
        self._full_until = self._clock_due = float("-inf")
        # A disk that has not finished a sync for so long hangs.
        self._hangs_s = SYNCS_MISSED_MAX * config.flush_ms / 1000
        # Each with its room.
        self._recorders: dict[Recorder, str] = {}
        self._recovery = Recovery(folder, counters=counters, found=self.hold)
        self._held: dict[str, _Held] = {}
        # Sessions whose end cannot be written.
        self._unended: set[str] = set()
        self._told: RecordProblem | None = None
        self._is_behind = False
        self._dropped = 0
        self._housekeeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write, and to repair what was interrupted; needs a running event loop."""
        self._writer.start()
        self._recovery.start()
        self._housekeeping = asyncio.create_task(self._keep_house(), name="recordings")

    async def until_ready(self, room: str) -> None:
        """Wait before a room is opened: its interrupted session may be about to be repaired."""
        await self._recovery.until_ready(room)

    async def stop(self) -> None:
        """Leave all sessions to be gone on with, and wait until everything is on the disk."""
        await self._recovery.stop()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
        for recorder in list(self._recorders):
            recorder.close(SHUTDOWN)
        await asyncio.to_thread(self._writer.stop)
        self._writer.poll()
        self._lock.release()

    def open(
        self, room: str, title: str, kind: ConferenceKind, router: "Router", observer: RecordObserver
    ) -> Recorder:
        """Begin the record of a room, or go on with the one that was interrupted."""
        held = self._held.pop(room, None)
        now = self._sfu.clock()
        if held is not None:
            recorder = Recorder(self._node, held.session.folder, router, observer, interrupted=held.session)
            logger.info("session %s goes on", recorder.session)
        else:
            session = self._names.next(self._at_ms(now))
            recorder = Recorder(self._node, self._folder / session, router, observer)
            data = {
                "session": session,
                "room": room,
                "title": title,
                "conference_kind": kind.value,
                "site_code": self._site_code,
                "software": f"hoichan {__version__}",
                "clock_synchronised": is_synchronised(),
            }
            recorder.note(EventKind.SESSION_OPENED, data)
        self._recorders[recorder] = room
        self._counters.sessions_open = len(self._recorders)
        recorder.set_disk_level(self._level(now), now)
        return recorder

    def names_begin(self) -> str:
        """Return what the names of today's sessions begin with."""
        return self._names.begins(self._at_ms(self._sfu.clock()))

    def pass_over(self, names: Iterable[str]) -> None:
        """Hear of names that are used elsewhere; no session that begins gets one of them."""
        self._names.pass_over(names)

    def hold(self, session: Interrupted) -> None:
        """Keep an interrupted session for its room; end one that is too old, or whose room has another."""
        if session.is_closed:
            self._archivable(session.folder)
            return
        now = self._sfu.clock()
        held = self._held.get(session.room)
        if held is not None and held.session.ended_ms <= session.ended_ms:
            del self._held[session.room]
            self._end(held.session)
            held = None
        is_prepared = CaseBook(session.events).is_prepared and not Standing(session.events).was_held
        within_ms = RESUME_PREPARED_WITHIN_MS if is_prepared else RESUME_WITHIN_MS
        is_late = held is not None or session.room in self._recorders.values()
        if is_late or self._at_ms(now) - session.ended_ms > within_ms:
            self._end(session)
            return
        keep_s = max(self._empty_close_s, BACK_WITHIN_S)
        if is_prepared:
            keep_s = RESUME_PREPARED_WITHIN_MS / 1000
        self._held[session.room] = _Held(session, now + keep_s)

    def poll(self, now: float) -> None:
        """Do what is due."""
        self._writer.poll()
        for room, held in list(self._held.items()):
            if now >= held.until:
                del self._held[room]
                self._end(held.session)
        self._watch_queue()
        if now >= self._clock_due:
            self._clock_due = now + CLOCK_S
            self._counters.clock_synchronised = is_synchronised()
        self._counters.sync_age_s = now - self._writer.synced_at
        if self._writer.free_bytes is not None:
            self._guard.measure(self._writer.free_bytes)
        level, problem = self._level(now), self._problem(now)
        if problem is not self._told:
            self._told = problem
            logger.warning("recordings: %s", problem.value if problem else "everything can be recorded again")
        for recorder in list(self._recorders):
            recorder.set_disk_level(level, now)
            recorder.set_problem(problem)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self.poll(self._sfu.clock())
            except Exception:
                # A bug of ours must not end the watch over the disk.
                logger.exception("housekeeping of the recordings failed")

    def _at_ms(self, now: float) -> int:
        return round(self._sfu.server_clock.unix_ms(now))

    # The disk and the queue.

    def _level(self, now: float) -> DiskLevel:
        return DiskLevel.FULL if now < self._full_until else self._guard.level

    def _problem(self, now: float) -> RecordProblem | None:
        problem = self._level(now).problem
        if problem is None and (self._is_behind or now - self._writer.synced_at > self._hangs_s):
            return RecordProblem.WRITER_BEHIND
        return problem

    def _disk_refused(self, now: float) -> None:
        """The disk is full, whatever it says itself."""
        self._full_until = now + FULL_S
        for recorder in list(self._recorders):
            recorder.set_disk_level(DiskLevel.FULL, now)
            recorder.set_problem(RecordProblem.DISK_FULL)

    def _watch_queue(self) -> None:
        dropped, self._dropped = self._counters.queue_dropped - self._dropped, self._counters.queue_dropped
        if dropped or self._writer.is_behind:
            self._is_behind = True
        elif self._writer.queued_bytes < QUEUE_BYTES_MAX // 8:
            self._is_behind = False

    # The end of sessions.

    def _ended(self, recorder: Recorder) -> None:
        self._recorders.pop(recorder, None)
        self._counters.sessions_open = len(self._recorders)

    def _archivable(self, folder: Path) -> None:
        logger.info("session %s can be archived", folder.name)
        self._on_archivable(folder)

    def _end(self, interrupted: Interrupted) -> None:
        """End a session that nobody came back to, as of its last event or frame."""
        chain = Chain(interrupted.events[-1])
        file = SessionFile(interrupted.folder, is_new=False)
        at_ms = interrupted.ended_ms
        self._writer.open(file, partial(self._cannot_end, interrupted.folder.name))
        for track in interrupted.open_tracks:
            data = {"track": track, "reason": INTERRUPTED}
            self._writer.put(file.event, chain.append(EventKind.TRACK_ENDED, data, at_ms))
        reason = SHUTDOWN if interrupted.was_orderly else INTERRUPTED
        self._writer.put(file.event, chain.append(EventKind.SESSION_CLOSED, {"reason": reason}, at_ms))
        self._writer.put(file.end)
        self._writer.when_written(file, partial(self._archivable, interrupted.folder))

    def _cannot_end(self, session: str, track: TrackFile | None, error: OSError) -> None:
        """The writer goes on trying; once is enough to be told."""
        if session not in self._unended:
            self._unended.add(session)
            logger.error("session %s cannot be ended yet: %s", session, error.strerror)
