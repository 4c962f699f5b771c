"""What a worker does: takes sessions in, makes packages, delivers and checks them.

Every step begins from what lies on the disk and leaves its result there, so that whoever comes after a crash
goes on from it.
"""

import shutil
from pathlib import Path

from bridge import __version__
from bridge.archive import compose, delivery, verify
from bridge.archive.folders import disk_error, locked
from bridge.archive.intake import read_session, take_in
from bridge.archive.jobs import Job, Result
from bridge.archive.model import PackagePlan, Progress, Report, SessionFolder, Stage
from bridge.archive.package import PackageSettings, build
from bridge.archive.programme import plan_packages
from bridge.archive.recover import read_package, register, register_packages
from bridge.capture.repair import repair
from bridge.errors import ArchiveFailed
from bridge.store.catalogue import Catalogue
from bridge.store.entries import SessionState
from bridge.store.journal import EventKind
from bridge.words import RetentionClass

SEAL_LOCK = "sealing.lock"


def take_in_sessions(job: Job) -> Result:
    """Enter what is new among sessions and packages into the catalogue; sessions that cannot be read are told."""
    catalogue = Catalogue(job.folders.archive)
    with locked(job.folders.work / SEAL_LOCK, wait=True):
        register_packages(catalogue, job.folders)
    retention = RetentionClass(job.archive.retention)
    broken = []
    for path in [job.session] if job.session is not None else _new_sessions(job, catalogue):
        try:
            take_in(catalogue, path, retention)
        except ArchiveFailed as error:
            broken.append(f"{path.name}: {error.sentence}")
    catalogue.close()
    return {"broken": broken}


def archive(job: Job, report: Report) -> Result:
    """Compose and seal a package; one that is sealed already is only entered into the catalogue."""
    report(Progress(Stage.REPAIR, 0.0))
    catalogue = Catalogue(job.folders.archive)
    folder = job.folders.packages / job.package
    session = plan = composition = None
    if not folder.exists():
        session, plan = _planned(job)
        if session.events[-1].kind is EventKind.SESSION_CLOSED:
            # Of an open session the recorder itself repairs what a crash left, and writes on.
            repair(session.path)
        report(Progress(Stage.COMPOSE, 0.0))
        composition = compose.compose(
            session,
            plan,
            job.folders.work / job.package,
            settings=_compose_settings(job),
            report=report,
        )
    # One after the other, because each seal holds the one before.
    with locked(job.folders.work / SEAL_LOCK, wait=True):
        register_packages(catalogue, job.folders)
        if session is not None and plan is not None and composition is not None:
            build(
                session,
                plan,
                composition,
                job.folders.packages,
                settings=PackageSettings(
                    software=f"hoichan {__version__}",
                    retention=RetentionClass(job.archive.retention),
                    timestamp_url=job.archive.timestamp_url,
                ),
                previous_seal=catalogue.last_seal(),
                now_ms=now_ms(),
                report=report,
            )
            register(catalogue, read_package(folder), is_newest=True)
    _forget_work(job)
    entry = catalogue.package(job.package)
    catalogue.close()
    if entry is None or entry.seal is None:
        raise ArchiveFailed("package-broken", f"{job.package}: lies in the archive and is no package")
    return {"seal": entry.seal, "bytes": entry.bytes}
