"""One attempt at one step of one package: a worker process, and what becomes of it in the catalogue.

Both the server's supervisor and the command line work through these, so that each sees what the other does.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.archive.folders import ArchiveFolders
from bridge.archive.model import WITHHELD, Progress, Stage
from bridge.archive.work import process
from bridge.archive.work.jobs import Job, Result, Task
from bridge.archive.work.retry import pause_s
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.audit import Action
from bridge.store.catalogue import Catalogue
from bridge.store.entries import DeliveryEntry, PackageEntry

# How often progress goes into the catalogue, where pages and commands read it.
PROGRESS_INTERVAL_S: Final = 1.0

STATES: Final = {
    Stage.READ: PackageState.REPAIRING,
    Stage.COMPOSE: PackageState.COMPOSING,
    Stage.SEAL: PackageState.SEALING,
    Stage.DELIVER: PackageState.DELIVERING,
}

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Archive:
    """What all attempts share."""

    folders: ArchiveFolders
    archive: ArchiveConfig
    dicom: DicomConfig
    catalogue: Catalogue
    counters: ArchiveCounters
    who: str = "bridge"
    silence_max_s: float = process.SILENCE_MAX_S

    def job(self, task: Task, package: str = "", session: Path | None = None) -> Job:
        """Return a task for a worker."""
        return Job(task, self.folders, self.archive, self.dicom, package, session)


async def take_in(archive: Archive, session: Path | None = None) -> Result:
    """Read the journal of a session, or of all that are new, into the catalogue; raises ArchiveFailed.

    In a worker as well: reading a long journal would hold up the forwarding of live media.
    """
    return await process.run(
        archive.job(Task.INTAKE, session=session), _ignore, silence_max_s=archive.silence_max_s
    )


async def make(
    archive: Archive, package: str, *, on_progress: OnProgress, session: Path | None = None
) -> Result:
    """Compose and seal a package; raises ArchiveFailed, and then the catalogue knows it, too."""
    try:
        async with _telling(archive, package, on_progress) as tell:
            job = archive.job(Task.ARCHIVE, package, session)
            result = await process.run(job, tell, silence_max_s=archive.silence_max_s)
    except asyncio.CancelledError:
        await asyncio.to_thread(archive.catalogue.set_back, package)
        raise
    except ArchiveFailed as error:
        entry = await asyncio.to_thread(archive.catalogue.package, package)
        if entry is None or entry.seal is None:
            await _note_failure(archive, package, error, _state_after_making)
            raise
        # The worker died between sealing and saying so.
        result = {"seal": entry.seal}
    archive.counters.packages_sealed += 1
    await audit(archive, Action.SEAL, package, {"seal": result["seal"]})
    return result


async def deliver(archive: Archive, entry: PackageEntry, *, on_progress: OnProgress) -> Result:
    """Deliver a sealed package to the PACS; raises ArchiveFailed, and then the catalogue knows it, too."""
    try:
        async with _telling(archive, entry.id, on_progress) as tell:
            job = archive.job(Task.DELIVER, entry.id)
            result = await process.run(job, tell, silence_max_s=archive.silence_max_s)
    except asyncio.CancelledError:
        await asyncio.to_thread(archive.catalogue.set_back, entry.id)
        raise
    except ArchiveFailed as error:
        if error.code == WITHHELD:
            # No failure: it waits for people, and not for a better hour.
            await asyncio.to_thread(archive.catalogue.set_back, entry.id)
            await _add_delivery(archive, entry.id, error)
            raise
        archive.counters.deliveries_failed += 1
        if error.code != "busy":
            await _add_delivery(archive, entry.id, error)
        await _note_failure(archive, entry.id, error, _state_after_delivering)
        raise
    archive.counters.deliveries += 1
    await _add_delivery(archive, entry.id, None)
    await asyncio.to_thread(archive.catalogue.set_delivered, entry.id, now_ms())
    await audit(archive, Action.DELIVER, entry.id, {"method": archive.dicom.method})
    return result


async def store(archive: Archive, package: str) -> None:
    """Put a sealed package into the other store; raises ArchiveFailed."""
    await process.run(archive.job(Task.STORE, package), _ignore, silence_max_s=archive.silence_max_s)
    await asyncio.to_thread(archive.catalogue.set_stored, package, now_ms())


async def sessions_elsewhere(archive: Archive, begin: str) -> list[str]:
    """Return the newest sessions in the other store whose names begin so; raises ArchiveFailed."""
    job = archive.job(Task.NAMES, begin)
    result = await process.run(job, _ignore, silence_max_s=archive.silence_max_s)
    return [str(name) for name in result["sessions"]]


async def check(
    archive: Archive, package: str, *, on_progress: OnProgress, is_full: bool = False
) -> list[str]:
    """Compare a package with its checksums and return what is wrong; raises ArchiveFailed.

    When `is_full`, its videos are played as well.
    """
    job = archive.job(Task.PROVE if is_full else Task.CHECK, package)
    result = await process.run(job, on_progress, silence_max_s=archive.silence_max_s)
    problems = [str(problem) for problem in result["problems"]]
    archive.counters.fixity_checks += 1
    archive.counters.fixity_failures += bool(problems)
    await asyncio.to_thread(archive.catalogue.set_checked, package, now_ms(), is_whole=not problems)
    await audit(archive, Action.FIXITY, package, {"problems": len(problems)})
    return problems


async def audit(archive: Archive, action: Action, package: str | None, detail: dict[str, object]) -> None:
    """Write down what the archive did by itself."""
    await asyncio.to_thread(
        archive.catalogue.audit.append,
        action,
        who=archive.who,
        at_ms=now_ms(),
        package=package,
        detail=detail,
    )


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def _ignore(progress: Progress) -> None:
    """Nobody looks: neither page nor metrics tell of it."""


@contextlib.asynccontextmanager
async def _telling(archive: Archive, package: str, on_progress: OnProgress) -> AsyncIterator[OnProgress]:
    """Hand progress on, and write it into the catalogue at a pace that the disk does not notice."""
    newest: list[Progress] = []
    # Something, something that cannot wait, and nothing more is to be written.
    news, hurry, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def tell(progress: Progress) -> None:
        if newest and newest[0].stage is not progress.stage:
            hurry.set()
        newest[:] = [progress]
        news.set()
        on_progress(progress)

    async def write() -> None:
        while await news.wait() and not end.is_set():
            news.clear()
            hurry.clear()
            progress = newest[0]
            await asyncio.to_thread(
                archive.catalogue.set_step,
                package,
                STATES[progress.stage],
                progress.done,
                progress.remaining_s,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_INTERVAL_S):
                    await hurry.wait()

    writing = asyncio.create_task(write())
    try:
        yield tell
    finally:
        for event in (end, hurry, news):
            event.set()
        # To its end, so that no late word covers what is written next. A catalogue that cannot be written
        # now will say so when it matters.
        await asyncio.gather(writing, return_exceptions=True)


async def _note_failure(
    archive: Archive,
    package: str,
    error: ArchiveFailed,
    state_after: Callable[[Archive, ArchiveFailed, int], tuple[PackageState, float | None]],
) -> None:
    """Write a failure into the catalogue; a package that another process works on is left to that one."""
    if error.code == "busy":
        return
    archive.counters.attempts_failed += 1
    archive.counters.workers_crashed += error.code in ("worker-crashed", "worker-stalled")
    entry = await asyncio.to_thread(archive.catalogue.package, package)
    attempts = 1 if entry is None else entry.attempts + 1
    state, pause = state_after(archive, error, attempts)
    next_attempt_ms = None if pause is None else now_ms() + round(pause * 1000)
    await asyncio.to_thread(
        archive.catalogue.set_failed, package, state, error, next_attempt_ms=next_attempt_ms
    )


def _state_after_making(
    archive: Archive, error: ArchiveFailed, attempts: int
) -> tuple[PackageState, float | None]:
    pause = pause_s(error, attempts)
    return (PackageState.FAILED if pause is None else PackageState.QUEUED), pause


def _state_after_delivering(
    archive: Archive, error: ArchiveFailed, attempts: int
) -> tuple[PackageState, float | None]:
    # Here, because it brings DICOM with it, and most bridges deliver nothing.
    from bridge.archive.pacs.delivery import backoff_s

    # For ever: what is sealed is safe here, and the PACS may come back after a month.
    return PackageState.SEALED, backoff_s(attempts, most_s=archive.dicom.retry_max_s)


async def _add_delivery(archive: Archive, package: str, error: ArchiveFailed | None) -> None:
    entry = DeliveryEntry(
        package,
        now_ms(),
        archive.dicom.method,
        error is None,
        None if error is None else error.code,
        None if error is None else error.sentence,
    )
    await asyncio.to_thread(archive.catalogue.add_delivery, entry)
