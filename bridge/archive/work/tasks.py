"""What a worker does: takes sessions in, makes packages, delivers and checks them.

Every step begins from what lies on the disk and leaves its result there, so that whoever comes after a crash
goes on from it. Decoders, fonts and DICOM are imported by the steps that need them: most workers only read a
journal.
"""

import json
import shutil
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from bridge import __version__
from bridge.archive.folders import locked
from bridge.archive.model import WITHHELD, PackagePlan, Progress, Report, SessionFolder, Stage
from bridge.archive.package.build import PackageSettings, seal_package
from bridge.archive.package.verify import Problem
from bridge.archive.plan.programme import plan_packages
from bridge.archive.retention import Retention
from bridge.archive.work.intake import JOURNAL_EMPTY, ask_journal, name_here, read_session, take_in
from bridge.archive.work.jobs import Job, Result
from bridge.archive.work.register import (
    ask_older,
    read_certificate,
    read_package,
    register,
    register_packages,
)
from bridge.archive.work.retry import is_last
from bridge.base.errors import ArchiveFailed
from bridge.base.words import Disposition, RetentionClass
from bridge.capture.repair import repair_track
from bridge.capture.sessions import TRACK_LOG
from bridge.store.catalogue import Catalogue
from bridge.store.checked_lines import read_line
from bridge.store.entries import SessionState
from bridge.store.journal import EventKind

SEAL_LOCK: Final = "sealing.lock"
PROBLEMS_MAX: Final = 20
SESSIONS_TOLD: Final = 20


def take_in_sessions(job: Job) -> Result:
    """Enter what is new among sessions and packages into the catalogue; tell which cannot be read."""
    catalogue = Catalogue(job.folders.archive)
    if job.session is None:
        with locked(job.folders.work / SEAL_LOCK, wait=True):
            register_packages(catalogue, job.folders)
    retention = RetentionClass(job.archive.retention)
    decided = catalogue.decided()
    broken, taken = [], ""
    for path in [job.session] if job.session is not None else _new_sessions(job, catalogue):
        try:
            taken = take_in(catalogue, job.folders, path, retention, decided=decided).session.id
        except ArchiveFailed as error:
            if error.code == JOURNAL_EMPTY and job.session is None:
                continue
            broken.append(f"{path.name}: {error.sentence}")
    if job.session is None:
        ask_older(catalogue, job.folders)
        _sweep(job, catalogue)
    catalogue.close()
    return {"broken": broken, "session": taken if job.session is not None else ""}


def archive(job: Job, report: Report) -> Result:
    """Compose and seal a package; one that is sealed already is only entered into the catalogue."""
    report(Progress(Stage.READ, 0.0))
    catalogue = Catalogue(job.folders.archive)
    known = catalogue.package(job.package)
    if known is not None and known.deleted_ms is not None:
        raise ArchiveFailed("package-deleted", f"{job.package} has been deleted", is_lasting=True)
    if not (job.folders.packages / job.package).exists():
        _make(job, catalogue, report)
    else:
        with locked(job.folders.work / SEAL_LOCK, wait=True):
            register_packages(catalogue, job.folders)
    _forget_work(job)
    entry = catalogue.package(job.package)
    catalogue.close()
    if entry is None or entry.seal is None:
        raise ArchiveFailed(
            "package-broken", f"{job.package}: lies in the archive and is no package", is_lasting=True
        )
    return {"seal": entry.seal, "bytes": entry.bytes}


def deliver(job: Job, report: Report) -> Result:
    """Deliver a package to the PACS."""
    from bridge.archive.pacs import delivery

    report(Progress(Stage.DELIVER, 0.0))
    package = job.folders.packages / job.package
    work = job.folders.work / f"{job.package}.delivery"
    with closing(Catalogue(job.folders.archive)) as catalogue:
        ask_journal(catalogue, job.folders, job.package)
        _check_goes(catalogue, job.package, Disposition.KEEP)
        delivered = delivery.deliver(
            package,
            work,
            settings=job.dicom,
            report=report,
            may_go=lambda: _check_goes(catalogue, job.package, Disposition.KEEP),
        )
    shutil.rmtree(work, ignore_errors=True)
    return {"instances": len(delivered)}


def store(job: Job, report: Report) -> Result:
    """Put a package into the other stores that are set up."""
    from bridge.archive.keeping.stores import stores

    package = job.folders.packages / job.package
    with closing(Catalogue(job.folders.archive)) as catalogue:
        ask_journal(catalogue, job.folders, job.package)
        _check_goes(catalogue, job.package, Disposition.KEEP, Disposition.RESTRICT)
        _, *others = stores(job.archive, job.folders.packages)
        for other in others:
            other.put(
                package,
                report=report,
                may_go=lambda: _check_goes(catalogue, job.package, Disposition.KEEP, Disposition.RESTRICT),
            )
    return {"stores": [other.name for other in others]}


def names(job: Job) -> Result:
    """Return the newest sessions of which the other stores have packages whose names begin so."""
    from bridge.archive.keeping.stores import stores

    _, *others = stores(job.archive, job.folders.packages)
    found = {name.rpartition("-")[0] for other in others for name in other.names(job.package)}
    # By their numbers, which grow.
    return {"sessions": sorted(found, key=lambda name: (len(name), name))[-SESSIONS_TOLD:]}


def check(job: Job, report: Report) -> Result:
    """Compare a package with its checksums and its seal; one whose deletion has begun is deleted instead."""
    from bridge.archive.keeping import fixity

    package = job.folders.packages / job.package
    certificate = job.folders.certificates / f"{job.package}.json"
    if certificate.exists():
        try:
            deleted_ms = read_certificate(certificate).entry.deleted_ms or _now_ms()
        except ArchiveFailed:
            # Nobody knows what it says; what is there is looked at.
            if not package.exists():
                raise
        else:
            with closing(Catalogue(job.folders.archive)) as catalogue:
                _finish_deletion(job, catalogue, deleted_ms)
            return {"problems": []}
    result = fixity.check(
        package,
        timestamp_url=job.archive.timestamp_url,
        now_ms=_now_ms(),
        report=report,
    )
    return {"problems": [problem.sentence for problem in result.problems[:PROBLEMS_MAX]]}


def prove(job: Job, report: Report) -> Result:
    """Check a package, and play all of its videos: its tracks are about to go."""
    from bridge.archive.film.crew import ConfinedCrew
    from bridge.archive.film.orders import Play

    def go_on(_: int) -> None:
        report(Progress(Stage.SEAL, 0.0))

    problems = list(check(job, report)["problems"])
    for series in ("video", "content"):
        folder = job.folders.packages / job.package / "data" / series
        if problems or not (folder / "parts.json").exists():
            continue
        parts = json.loads((folder / "parts.json").read_bytes())
        for part in parts:
            path = folder / part["file"]
            (detail,) = ConfinedCrew().carry_out([Play(path, part["frames"])], go_on)
            if detail:
                problems.append(Problem("video-unplayable", f"{series}/{path.name}", str(detail)).sentence)
    return {"problems": problems[:PROBLEMS_MAX]}


def _finish_deletion(job: Job, catalogue: Catalogue, deleted_ms: int) -> None:
    """Complete what somebody has begun who died, or met a store that was away, before it was gone everywhere.

    Raises ArchiveFailed when a store is still away, or the package was put on hold meanwhile.
    """
    from bridge.archive.keeping.deletion import Approval, destroy
    from bridge.archive.keeping.stores import stores

    with catalogue.deciding():
        entry = catalogue.package(job.package)
        if entry is None or entry.deleted_ms is not None:
            return
        destroy(
            job.folders.packages / entry.id,
            stores(job.archive, job.folders.packages),
            job.folders.certificates,
            retention=Retention(entry.retention, entry.retention_until, entry.legal_hold),
            # Who has approved it stands in the certificate, which is there.
            approval=Approval((), ""),
            # That its time had come was so when it began, whatever the clock says now.
            now_ms=max(deleted_ms, _now_ms()),
            is_withdrawn=entry.disposition is Disposition.DESTROY,
        )
        catalogue.set_deleted(entry.id, deleted_ms)


def _make(job: Job, catalogue: Catalogue, report: Report) -> None:
    from bridge.archive.film.compose import ComposeSettings, compose
    from bridge.archive.film.crew import ConfinedCrew

    session, plan = _planned(job, catalogue, is_last_try=_is_last_try(catalogue, job.package))
    if session.events[-1].kind is EventKind.SESSION_CLOSED:
        # Of an open session the recorder itself repairs what a crash has left, and goes on writing.
        _repair_torn_tracks(session)
    report(Progress(Stage.COMPOSE, 0.0))
    work = job.folders.work / job.package
    composing = ComposeSettings.of(job.archive)
    crew = ConfinedCrew(file_bytes=2 * composing.part_max_bytes)
    composition = compose(session, plan, work, settings=composing, report=report, crew=crew)
    settings = PackageSettings(
        software=f"hoichan {__version__}",
        retention=RetentionClass(job.archive.retention),
        timestamp_url=job.archive.timestamp_url,
    )
    # One after the other, because each seal holds the one before.
    with locked(job.folders.work / SEAL_LOCK, wait=True):
        register_packages(catalogue, job.folders)
        sealed = seal_package(
            session,
            plan,
            composition,
            job.folders.packages,
            settings=settings,
            previous_seal=catalogue.last_seal(),
            now_ms=_now_ms(),
            report=report,
        )
        register(catalogue, read_package(sealed.folder), is_newest=True)


def _check_goes(catalogue: Catalogue, package: str, *decided: Disposition) -> None:
    """Raise ArchiveFailed when a package stays here for want of consent, unless people decided otherwise."""
    entry = catalogue.package(package)
    if entry is not None and entry.disposition not in (None, *decided):
        raise ArchiveFailed(WITHHELD, f"{package}: the patient does not consent", is_lasting=True)


def _repair_torn_tracks(session: SessionFolder) -> None:
    """Make whole what has no end, as after a crash whose session nobody has taken up again."""
    for log in session.tracks.glob(f"*/{TRACK_LOG}"):
        try:
            if not _has_end(log.read_bytes().splitlines(keepends=True)):
                repair_track(log.parent)
        except OSError:
            if not session.is_last_try:
                raise


def _has_end(lines: list[bytes]) -> bool:
    last = read_line(lines[-1]) if lines else None
    return last is not None and last.get("k") == "end"


def _is_last_try(catalogue: Catalogue, package: str) -> bool:
    """Return whether nothing comes after this attempt, so that what is still unreadable is told as lost."""
    entry = catalogue.package(package)
    return entry is not None and is_last(entry.attempts, entry.error_code)


def _planned(job: Job, catalogue: Catalogue, *, is_last_try: bool) -> tuple[SessionFolder, PackagePlan]:
    """Return the session of a package, and what its journal plans for the package; raises ArchiveFailed."""
    name = job.package.rpartition("-")[0]
    known = catalogue.session(name)
    path = job.session or job.folders.recordings / (name if known is None else known.folder)
    session = SessionFolder(path, read_session(path), is_last_try)
    name = name_here(catalogue, job.folders, path, session.events[0])
    plans = plan_packages(session.events, name)
    plan = next((plan for plan in plans if plan.package == job.package), None)
    if plan is None:
        raise ArchiveFailed(
            "package-unknown", f"{path.name}: the journal knows no package {job.package} yet", is_lasting=True
        )
    return session, plan


def _sweep(job: Job, catalogue: Catalogue) -> None:
    """Delete what workers have left that died after sealing."""
    for package in catalogue.sealed():
        if (job.folders.work / package).is_dir():
            with suppress(ArchiveFailed), locked(job.folders.work / f"{package}.lock"):
                shutil.rmtree(job.folders.work / package, ignore_errors=True)


def _new_sessions(job: Job, catalogue: Catalogue) -> list[Path]:
    """Return the folders of sessions that the catalogue does not know to be complete."""
    complete = {entry.folder for entry in catalogue.sessions() if entry.state is not SessionState.OPEN}
    return [path for path in job.folders.sessions() if path.name not in complete]


def _forget_work(job: Job) -> None:
    shutil.rmtree(job.folders.work / job.package, ignore_errors=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
