"""What people decide about a package that is held back for want of consent, written down and carried out."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bridge.archive.folders import PARTIAL, disk_errors, locked
from bridge.archive.keeping.deletion import Approval, check_may_go, destroy
from bridge.archive.keeping.erasure import erase_case
from bridge.archive.keeping.stores import stores
from bridge.archive.retention import Retention
from bridge.archive.work.attempts import Archive, now_ms
from bridge.archive.work.register import register_packages
from bridge.archive.work.tasks import SEAL_LOCK
from bridge.base.errors import ArchiveFailed
from bridge.base.words import Disposition
from bridge.capture.sessions import JOURNAL, is_session
from bridge.store.audit import Action
from bridge.store.entries import PackageEntry
from bridge.store.folding import fold
from bridge.store.journal import first_event

APPROVERS_MIN: Final = 2


def decide(
    archive: Archive, package: str, disposition: Disposition, *, by: Sequence[str], reason: str
) -> Mapping[str, Any]:
    """Decide about a package; return the certificate of one that was destroyed, where it was sealed.

    Raises ArchiveFailed, and then nothing was decided, or the same decision completes what has begun.
    """
    # However they are written, two names of one person are one.
    people = list({fold(" ".join(name.split())): name.strip() for name in by if name.strip()}.values())
    if not people or not reason.strip():
        raise _refused("not-approved", package, "a decision needs who takes it, and why")
    is_end = disposition is Disposition.DESTROY
    if is_end and len(people) < APPROVERS_MIN:
        raise _refused("two-approvers", package, "destroying needs two different people")
    archive.folders.prepare()
    certificate: Mapping[str, Any] = {}
    with ExitStack() as held:
        if is_end:
            held.enter_context(locked(archive.folders.work / f"{package}.lock"))
            _register_sealed(archive, package)
        held.enter_context(archive.catalogue.deciding())
        entry = _undecided(archive, package, disposition)
        approval = Approval(people, reason)
        if is_end:
            _check_may_go(archive, entry)
        archive.catalogue.set_disposition(package, disposition, by=people, reason=reason, at_ms=now_ms())
        if is_end:
            certificate = _destroy(archive, entry, approval)
            archive.catalogue.set_deleted(package, now_ms())
    detail = {"decision": disposition.value, "by": people, "reason": reason}
    archive.catalogue.audit.append(
        Action.DECIDE, who=archive.who, at_ms=now_ms(), package=package, detail=detail
    )
    return certificate


def _register_sealed(archive: Archive, package: str) -> None:
    """Enter a package whose worker died between sealing and saying so, for all of it to be destroyed."""
    entry = archive.catalogue.package(package)
    if entry is not None and entry.seal is None and (archive.folders.packages / package).exists():
        with locked(archive.folders.work / SEAL_LOCK, wait=True):
            register_packages(archive.catalogue, archive.folders)


def _undecided(archive: Archive, package: str, disposition: Disposition) -> PackageEntry:
    """Return a package about which this can be decided now; raises ArchiveFailed."""
    entry = archive.catalogue.package(package)
    if entry is None or entry.deleted_ms is not None:
        raise _refused("package-unknown", package, "there is no such package")
    if entry.disposition is None:
        raise _refused("nothing-to-decide", package, "its patient has not withdrawn consent")
    if entry.disposition is Disposition.DESTROY and disposition is not Disposition.DESTROY:
        raise _refused("being-destroyed", package, "its destruction has begun")
    return entry


def _check_may_go(archive: Archive, entry: PackageEntry) -> None:
    retention = _retention(entry)
    if entry.seal is not None:
        folders = archive.folders
        check_may_go(
            folders.packages / entry.id,
            folders.certificates,
            retention=retention,
            now_ms=now_ms(),
            is_withdrawn=True,
        )
    elif retention.has_legal_hold:
        raise _refused("legal-hold", entry.id, "it is held for legal reasons")


def _destroy(archive: Archive, entry: PackageEntry, approval: Approval) -> Mapping[str, Any]:
    folders = archive.folders
    session = _session_folder(archive, entry)
    if entry.case is not None and session is not None:
        erase_case(session, entry.case)
    leftovers = (
        folders.work / entry.id,
        folders.work / f"{entry.id}.delivery",
        folders.packages / f"{entry.id}{PARTIAL}",
    )
    with disk_errors():
        for leftover in leftovers:
            if leftover.exists():
                shutil.rmtree(leftover)
    if entry.seal is None:
        return {}
    return destroy(
        folders.packages / entry.id,
        stores(archive.archive, folders.packages),
        folders.certificates,
        retention=_retention(entry),
        approval=approval,
        now_ms=now_ms(),
        is_withdrawn=True,
    )


def _session_folder(archive: Archive, entry: PackageEntry) -> Path | None:
    """Return where a package was recorded; in a catalogue made anew, a broken session goes by its name."""
    session = archive.catalogue.session(entry.session)
    name = entry.session if session is None else session.folder
    if not is_session(name):
        return None
    folder = archive.folders.recordings / name
    if session is None:
        sealed = first_event(archive.folders.packages / entry.id / "data" / JOURNAL)
        recorded = first_event(folder / JOURNAL)
        if sealed is not None and recorded is not None and sealed.hash != recorded.hash:
            # Another session of the same name.
            return None
    return folder


def _retention(entry: PackageEntry) -> Retention:
    return Retention(entry.retention, entry.retention_until, entry.legal_hold)


def _refused(code: str, package: str, sentence: str) -> ArchiveFailed:
    return ArchiveFailed(code, f"{package}: {sentence}", is_lasting=True)
