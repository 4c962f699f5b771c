"""The archive at work beside the conferences: everything recorded becomes a package without being asked.

Four lanes, each one thing at a time: reading what was recorded, making packages, delivering them, and keeping
them (checksums, tracks that have served). What is to be done stands in the folders and the catalogue and
nowhere else, so that a start finds what any crash has left. Nothing here waits on the event loop for the
disk, raises into the conference, or gives up by itself: a lane that fails begins again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.archive.folders import disk_errors, locked
from bridge.archive.model import PACS_UNREACHABLE, WITHHELD, Progress
from bridge.archive.trusted import TrustedTime, read_trusted, write_trusted
from bridge.archive.work import attempts
from bridge.archive.work.attempts import STATES, Archive, now_ms
from bridge.archive.work.jobs import Result
from bridge.archive.work.purge import free_bytes, is_same_disk, making_bytes, purge_tracks, purgeable
from bridge.archive.work.retry import PAUSE_MAX_S
from bridge.archive.work.turns import Turns
from bridge.base.errors import ArchiveFailed
from bridge.base.words import Disposition, PackageState
from bridge.confinement.processes import offered
from bridge.store.audit import Action
from bridge.store.entries import PackageEntry

logger = logging.getLogger(__name__)

# Who looks into the folders for what nobody told us of: a session put back from a backup.
RESCAN_INTERVAL_S: Final = 300.0
CARE_INTERVAL_S: Final = 600.0
STATUS_INTERVAL_S: Final = 5.0
AFTER_FAILURE_S: Final = 30.0
# A package that the other store refused is tried again then.
STORE_AGAIN_S: Final = 3600.0
# What keeps a package out of the other store, and says nothing of others.
ITS_OWN: Final = frozenset({"package-damaged", "store-other-seal", WITHHELD, "busy"})
# How often it is looked whether a package that needs room has it.
ROOM_INTERVAL_S: Final = 60.0
# A PACS that does not answer is asked for one package at a time, this often.
PACS_AGAIN_S: Final = 60.0
AFTER_BUG_S: Final = 60.0
# More sessions than this at once are found by looking at all of them.
CHANGED_MAX: Final = 1000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """What the archive is at, for the metrics; read every few seconds.

    `backlog_s` is the age of the oldest recording that is not sealed, `delivery_waiting_s` and
    `store_waiting_s` that of the oldest sealed package that is to be delivered or stored elsewhere; 0 where
    there is none. `check_overdue_s` tells how much later than it should a package is compared with its
    checksums. `realtime_factor` tells how much faster than the conference the last package was made.
    """

    is_available: bool = False
    packages: Mapping[PackageState, int] | None = None
    damaged: int = 0
    undecided: int = 0
    backlog_s: float = 0.0
    delivery_waiting_s: float = 0.0
    store_waiting_s: float = 0.0
    check_overdue_s: float = 0.0
    free_bytes: int = 0
    waits_for_room: bool = False
    progress: float = 0.0
    realtime_factor: float = 0.0


class ArchiveSupervisor:
    """Runs the archive of one node; created, used and stopped on the event loop."""

    def __init__(self, archive: Archive, *, reserve_bytes: Callable[[], int] = lambda: 0) -> None:
        """`reserve_bytes` tells what must stay free for recording now, on the disk where recordings lie."""
        # Passed by argument.
        self._archive = archive
        self._reserve_bytes = reserve_bytes
        # Allocated by this.
        self.status = ArchiveStatus()
        self._changed: set[Path] = set()
        # Packages that people want compared with their checksums, in the order in which they asked.
        self._asked: dict[str, None] = {}
        self._is_all_changed = True
        self._rescan_at = 0.0
        # By lane and package; what may not be tried before then (monotonic seconds).
        self._not_before: dict[tuple[str, str], float] = {}
        # What was said of sessions that cannot be read, so that it is not said again at every look.
        self._broken: frozenset[str] = frozenset()
        self._progress: Progress | None = None
        self._making: asyncio.Task[Result] | None = None
        self._turns = Turns()
        # Whether what is made is being ended for others, and not for want of room.
        self._gives_way = False
        self._waits_for_room = False
        self._trusted: TrustedTime | None = None
        self._trusted_at = 0.0
        # Since when (monotonic) something has waited whose time, by the clock of now, is still to come.
        self._waiting_at: dict[str, tuple[int, float]] = {}
        self._realtime_factor = 0.0
        self._names_begin: Callable[[], str] = str
        self._pass_over: Callable[[Iterable[str]], None] = _ignore_names
        # For which day the other store has told its names.
        self._names_told = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps = {
            "take in": self._take_in,
            "make": self._make_next,
            "deliver": self._deliver_next,
            "keep": self._keep_next,
            "tell": self._tell,
        }
        self._wake = {name: asyncio.Event() for name in self._steps}
        self._task: asyncio.Task[None] | None = None

    def name_by(self, begin: Callable[[], str], pass_over: Callable[[Iterable[str]], None]) -> None:
        """Let who names sessions hear of those in the other store; `begin` tells how today's names begin."""
        self._names_begin, self._pass_over = begin, pass_over

    def start(self) -> None:
        """Begin to work; harmless where the archive's disk is away, it is tried again."""
        self._loop = asyncio.get_running_loop()
        self._is_all_changed = True
        for name in offered().missing:
            logger.warning("archive: this kernel has no %s to confine with what decodes recordings", name)
        self._task = asyncio.create_task(self._run(), name="archive")

    async def stop(self) -> None:
        """End the workers; what they were at goes on with the next start."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        self.status = ArchiveStatus()

    def session_changed(self, path: Path) -> None:
        """Hear that a case was finished or a session closed in this folder."""
        if len(self._changed) < CHANGED_MAX:
            self._changed.add(path)
        else:
            self._is_all_changed = True
        self._wake["take in"].set()

    def retry(self, package: str) -> None:
        """Try a package again that has failed; any thread, raises ArchiveFailed."""
        catalogue = self._archive.catalogue
        entry = catalogue.package(package)
        if entry is None or entry.error_code is None:
            return
        catalogue.requeue(package, PackageState.QUEUED if entry.seal is None else PackageState.SEALED)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake_all)

    def check(self, package: str) -> None:
        """Compare a sealed package with its checksums before all else; any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ask_check, package)

    def _ask_check(self, package: str) -> None:
        if len(self._asked) < CHANGED_MAX:
            self._asked[package] = None
            self._wake["keep"].set()

    def _wake_all(self) -> None:
        self._not_before.clear()
        for event in self._wake.values():
            event.set()

    async def _run(self) -> None:
        """Take charge of the archive, then run the lanes until cancelled."""
        lock = self._archive.folders.archive / "supervisor.lock"
        with contextlib.ExitStack() as held:
            while not await self._take_charge(held, lock):
                await self._pause("make", AFTER_FAILURE_S)
            async with asyncio.TaskGroup() as lanes:
                for name, step in self._steps.items():
                    lanes.create_task(self._lane(name, step))

    async def _take_charge(self, held: contextlib.ExitStack, lock: Path) -> bool:
        """Make this the one process that works through the archive by itself; tell whether it is."""
        try:
            await asyncio.to_thread(self._archive.folders.prepare)
            await asyncio.to_thread(held.enter_context, locked(lock))
            await self._open_catalogue()
        except ArchiveFailed as error:
            held.close()
            logger.error("the archive cannot work yet: %s", error)
            return False
        return True

    async def _open_catalogue(self) -> None:
        try:
            await asyncio.to_thread(self._archive.catalogue.set_back)
        except ArchiveFailed as error:
            if error.code != "catalogue-broken":
                raise
            aside = await asyncio.to_thread(self._archive.catalogue.set_aside)
            logger.error("the catalogue is broken and is made anew; the old one is %s (%s)", aside, error)
            await asyncio.to_thread(self._archive.catalogue.set_back)

    async def _lane(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Take one step after the other; each says how long nothing is to be done."""
        while True:
            try:
                pause_s = await step()
            except ArchiveFailed as error:
                # Lanes may meet at a package, and each other process may work on it.
                level = logging.INFO if error.code == "busy" else logging.ERROR
                logger.log(level, "archive, %s: %s", name, error)
                pause_s = AFTER_FAILURE_S
                await self._mend(error)
            except Exception:
                # A bug of ours; the other packages are still to be archived.
                logger.exception("archive, %s: a step has failed", name)
                pause_s = AFTER_BUG_S
                _end_if_cancelled()
            await self._pause(name, pause_s)

    async def _mend(self, error: ArchiveFailed) -> None:
        """Make the catalogue anew if it is broken."""
        if error.code != "catalogue-broken":
            return
        try:
            await self._open_catalogue()
        except ArchiveFailed as further:
            logger.error("the catalogue cannot be made anew: %s", further)
        self._is_all_changed = True
        self._wake["take in"].set()

    async def _pause(self, name: str, pause_s: float) -> None:
        """Wait, or until something is to be done."""
        # `wait_for` of Python 3.11 forgets that it was cancelled when the event is set just then.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake[name].wait()
        self._wake[name].clear()

    # Taking in.

    async def _take_in(self) -> float:
        """Let a worker read the journals that have changed, whatever is being made meanwhile."""
        now = time.monotonic()
        if self._is_all_changed or now >= self._rescan_at:
            self._changed.clear()
            await self._told_of(None)
            self._is_all_changed = False
            self._rescan_at = now + RESCAN_INTERVAL_S
        while self._changed:
            path = next(iter(self._changed))
            # Before, so that what changes meanwhile is not missed.
            self._changed.discard(path)
            try:
                await self._told_of(path)
            except ArchiveFailed:
                self.session_changed(path)
                raise
        self._wake["make"].set()
        return RESCAN_INTERVAL_S

    async def _told_of(self, session: Path | None) -> None:
        result = await attempts.take_in(self._archive, session)
        broken = frozenset(result["broken"])
        for sentence in broken - self._broken:
            logger.error("archive: a session cannot be archived: %s", sentence)
        if session is None:
            self._broken = broken

    # Making.

    async def _make_next(self) -> float:
        if self._is_all_changed:
            # What the journals say comes first, and what was interrupted is repaired meanwhile.
            return RESCAN_INTERVAL_S
        queued = await asyncio.to_thread(self._archive.catalogue.queued)
        entry, pause_s = self._due("make", self._turns.in_order(queued))
        if entry is None:
            return min(pause_s, RESCAN_INTERVAL_S)
        if not await asyncio.to_thread(self._has_room, entry):
            self._wait_for_room(entry)
            return 0.0
        self._waits_for_room = False
        logger.info("archive: making %s", entry.id)
        self._turns.begin(entry.id, time.monotonic())
        self._making = asyncio.create_task(attempts.make(self._archive, entry.id, on_progress=self._heard))
        try:
            await self._making
        except asyncio.CancelledError:
            _end_if_cancelled()
            if self._gives_way:
                logger.info("archive: %s gives way to others, and goes on later", entry.id)
            else:
                self._wait_for_room(entry)
        except ArchiveFailed as error:
            logger.error("archive: %s could not be made: %s", entry.id, error)
            self._let_wait("make", entry.id, error)
        else:
            elapsed_s = self._turns.end(time.monotonic())
            self._realtime_factor = entry.duration_ms / 1000 / elapsed_s
            logger.info("archive: %s is sealed after %.0f s", entry.id, elapsed_s)
            self._wake["deliver"].set()
            self._wake["keep"].set()
        finally:
            self._turns.end(time.monotonic())
            self._progress = self._making = None
            self._gives_way = False
        return 0.0

    async def _is_turn_over(self) -> bool:
        """Return whether what is being composed should give way; sealing is done in one go."""
        if self._progress is None or not _is_composing(self._progress):
            return False
        queued = await asyncio.to_thread(self._archive.catalogue.queued)
        entry, _ = self._due("make", self._turns.in_order(queued))
        return entry is not None and self._turns.is_over([entry], time.monotonic())

    def _has_room(self, entry: PackageEntry | None = None) -> bool:
        """Return whether the disk has room for what making a package takes, beside the recordings."""
        folders = self._archive.folders
        if not is_same_disk(folders.recordings, folders.archive):
            return True
        height_px = int(self._archive.archive.video_height_px)
        needed = 0 if entry is None else making_bytes(entry.duration_ms, height_px)
        return free_bytes(folders.archive) >= self._reserve_bytes() + needed

    def _wait_for_room(self, entry: PackageEntry) -> None:
        if not self._waits_for_room:
            logger.warning("archive: %s waits, because the disk is needed for recording", entry.id)
        self._waits_for_room = True
        self._let_rest("make", entry.id, ROOM_INTERVAL_S)

    def _due(self, work: str, entries: tuple[PackageEntry, ...]) -> tuple[PackageEntry | None, float]:
        """Return the first package that may be tried now, and how long until the next one may."""
        pause_s = RESCAN_INTERVAL_S
        longest_s = self._archive.dicom.retry_max_s if work == "deliver" else PAUSE_MAX_S
        for entry in entries:
            attempt_ms = 0 if work == "store" else entry.next_attempt_ms or 0
            attempt_s = (attempt_ms - now_ms()) / 1000
            # No pause is longer: the clock was set back since it was written down.
            if attempt_s > longest_s:
                attempt_s = 0.0
            until_s = max(
                attempt_s,
                self._not_before.get((work, entry.id), 0.0) - time.monotonic(),
            )
            if until_s <= 0:
                return entry, 0.0
            pause_s = min(pause_s, until_s)
        return None, pause_s

    def _let_wait(self, work: str, package: str, error: ArchiveFailed) -> None:
        """The catalogue says when a package is tried again, but for one that another process works on."""
        if error.code == "busy":
            self._not_before[work, package] = time.monotonic() + AFTER_FAILURE_S
        else:
            self._not_before.pop((work, package), None)

    def _heard(self, progress: Progress) -> None:
        self._progress = progress

    # Delivering.

    @property
    def _pacs_again_s(self) -> float:
        return min(PACS_AGAIN_S, self._archive.dicom.retry_max_s)

    async def _deliver_next(self) -> float:
        if self._archive.dicom.method == "off":
            return RESCAN_INTERVAL_S
        if self._rests("deliver", ""):
            return self._pacs_again_s
        entry, pause_s = self._due("deliver", await asyncio.to_thread(self._archive.catalogue.undelivered))
        if entry is None:
            return pause_s
        try:
            await attempts.deliver(self._archive, entry, on_progress=_ignore)
        except ArchiveFailed as error:
            logger.warning("archive: %s could not be delivered: %s", entry.id, error)
            self._let_wait("deliver", entry.id, error)
            if error.code == PACS_UNREACHABLE:
                # The others would find the same, and each would take a process to find it.
                self._let_rest("deliver", "", self._pacs_again_s)
        else:
            logger.info("archive: %s is delivered", entry.id)
        return 0.0

    # Keeping.

    async def _keep_next(self) -> float:
        """Do one thing; whatever cannot be done now rests, and the others go on."""
        if self._asked:
            await self._check_asked()
            return 0.0
        if self._archive.archive.s3_endpoint and (await self._learn_names() or await self._store_next()):
            return 0.0
        before_ms = now_ms() - self._archive.archive.fixity_days * DAY_MS
        due = await asyncio.to_thread(self._archive.catalogue.due_checks, before_ms, now_ms())
        entry = next((entry for entry in due if not self._rests("check", entry.id)), None)
        if entry is not None:
            await self._check(entry)
            if entry.disposition is Disposition.DESTROY:
                # It is gone by now, or waits for those who decided.
                self._let_rest("check", entry.id, STORE_AGAIN_S)
            return 0.0
        resting = {name for lane, name in self._not_before if lane == "purge" and self._rests(lane, name)}
        session = await asyncio.to_thread(purgeable, self._archive, await self._trusted_ms(), resting)
        if session is None:
            return CARE_INTERVAL_S
        # What goes now is the only source of what is left.
        for entry in session.packages:
            if not await self._check(entry, is_full=True):
                self._let_rest("purge", session.session.id)
                return 0.0
        # Should this fail, other sessions come first.
        self._let_rest("purge", session.session.id)
        await asyncio.to_thread(purge_tracks, self._archive, session)
        self._archive.counters.sessions_purged += 1
        await attempts.audit(self._archive, Action.PURGE, None, {"session": session.session.id})
        logger.info("archive: the tracks of %s have served and are deleted", session.session.id)
        return 0.0

    async def _trusted_ms(self) -> int:
        """Return the time by which tracks may go, which no leap of the clock makes come sooner."""
        folder, now = self._archive.folders.archive, time.monotonic()
        wall_ms = now_ms()
        if self._trusted is None:
            trusted = await asyncio.to_thread(read_trusted, folder, wall_ms)
        else:
            trusted = self._trusted.passed(wall_ms, now - self._trusted_at)
        self._trusted, self._trusted_at = trusted, now
        with disk_errors():
            await asyncio.to_thread(write_trusted, folder, trusted)
        return trusted.now_ms(wall_ms)

    async def _learn_names(self) -> bool:
        """Ask the other store, once a day, for names that are used there; tell whether it has answered.

        They are those of a disk that was lost, or of another machine that took itself for this one.
        """
        begin = self._names_begin()
        if begin == self._names_told or self._rests("names", ""):
            return False
        self._let_rest("names", "")
        try:
            self._pass_over(await attempts.sessions_elsewhere(self._archive, begin))
        except ArchiveFailed as error:
            logger.warning("archive: the other store does not tell its names: %s", error)
            return False
        self._names_told = begin
        return True

    async def _store_next(self) -> bool:
        """Put one package into the other store; tell whether there was one. It is tried for ever."""
        if self._rests("store", ""):
            return False
        entry, _ = self._due("store", await asyncio.to_thread(self._archive.catalogue.unstored))
        if entry is None:
            return False
        try:
            await attempts.store(self._archive, entry.id)
        except ArchiveFailed as error:
            logger.error("archive: %s could not be put into the other store: %s", entry.id, error)
            # This one waits longer, so that others come before it.
            self._let_rest("store", entry.id, STORE_AGAIN_S)
            if error.code not in ITS_OWN:
                # All wait, since mostly the store is away.
                self._let_rest("store", "")
                return False
            return True
        self._not_before.pop(("store", ""), None)
        self._not_before.pop(("store", entry.id), None)
        logger.info("archive: %s is in the other store", entry.id)
        return True

    async def _check_asked(self) -> None:
        package = next(iter(self._asked))
        # Before, so that whoever asks meanwhile gets a check that has begun after that.
        del self._asked[package]
        entry = await asyncio.to_thread(self._archive.catalogue.package, package)
        if entry is not None and entry.seal is not None and entry.deleted_ms is None:
            await self._check(entry)

    async def _check(self, entry: PackageEntry, *, is_full: bool = False) -> bool:
        """Compare one package with its checksums; tell whether it is known to be whole."""
        try:
            problems = await attempts.check(self._archive, entry.id, on_progress=_ignore, is_full=is_full)
        except ArchiveFailed as error:
            logger.error("archive: %s could not be checked: %s", entry.id, error)
            self._let_rest("check", entry.id)
            return False
        for problem in problems:
            logger.error("archive: %s is damaged: %s", entry.id, problem)
        return not problems

    def _rests(self, work: str, name: str) -> bool:
        return self._not_before.get((work, name), 0.0) > time.monotonic()

    def _let_rest(self, work: str, name: str, pause_s: float = CARE_INTERVAL_S) -> None:
        self._not_before[work, name] = time.monotonic() + pause_s

    # Telling.

    async def _tell(self) -> float:
        try:
            self.status = await self._read_status()
            making = self._making
            if making is not None and not await asyncio.to_thread(self._has_room):
                # It goes on from its slices when there is room again.
                making.cancel()
            elif making is not None and await self._is_turn_over() and making is self._making:
                self._gives_way = True
                making.cancel()
        except ArchiveFailed:
            self.status = ArchiveStatus()
            raise
        return STATUS_INTERVAL_S

    async def _read_status(self) -> ArchiveStatus:
        catalogue = self._archive.catalogue
        packages = await asyncio.to_thread(catalogue.count_by_state)
        waiting = await asyncio.to_thread(catalogue.waiting_since)
        checked_ms = await asyncio.to_thread(catalogue.checked_since)
        fixity_s = self._archive.archive.fixity_days * DAY_MS / 1000
        has_pacs, has_store = self._archive.dicom.method != "off", self._archive.archive.s3_endpoint
        progress = self._progress
        return ArchiveStatus(
            is_available=True,
            packages=packages,
            damaged=await asyncio.to_thread(catalogue.count_damaged),
            undecided=await asyncio.to_thread(catalogue.count_undecided),
            backlog_s=self._age_s("make", waiting.made_ms),
            delivery_waiting_s=self._age_s("deliver", waiting.delivered_ms) if has_pacs else 0.0,
            store_waiting_s=self._age_s("store", waiting.stored_ms) if has_store else 0.0,
            check_overdue_s=max(0.0, self._age_s("keep", checked_ms) - fixity_s),
            free_bytes=await asyncio.to_thread(free_bytes, self._archive.folders.archive),
            waits_for_room=self._waits_for_room,
            progress=progress.done if progress is not None and _is_composing(progress) else 0.0,
            realtime_factor=self._realtime_factor,
        )

    def _age_s(self, what: str, since_ms: int | None) -> float:
        """Return how long something has waited; from now on, when its time is in the future."""
        ahead_ms = 0 if since_ms is None else since_ms - now_ms()
        if since_ms is None or ahead_ms <= 0:
            self._waiting_at.pop(what, None)
            return -ahead_ms / 1000
        known = self._waiting_at.get(what)
        if known is None or known[0] != since_ms:
            known = self._waiting_at[what] = (since_ms, time.monotonic())
        return time.monotonic() - known[1]


def _end_if_cancelled() -> None:
    """Let no bug that was met while a task is being ended keep it from ending."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _ignore_names(names: Iterable[str]) -> None:
    """Nobody names sessions."""


def _ignore(progress: Progress) -> None:
    """Progress that is shown from the catalogue alone."""


def _is_composing(progress: Progress) -> bool:
    return STATES[progress.stage] is PackageState.COMPOSING
