"""`hoichan archive hold, release, retain, delete`: what people decide about packages, and why."""

import argparse
from collections.abc import Mapping

from bridge.archive.folders import locked
from bridge.archive.retention import Retention, raised
from bridge.archive.trusted import read_trusted
from bridge.archive.work.attempts import Archive, now_ms
from bridge.commands.shown import Terminal, until
from bridge.store.audit import Action
from bridge.store.entries import PackageEntry

EXIT_PROBLEMS = 1


def hold(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Put a package on legal hold."""
    return _set_hold(parsed, terminal, archive, is_held=True)


def release(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Take a package off legal hold."""
    return _set_hold(parsed, terminal, archive, is_held=False)


def retain(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Keep a package for longer."""
    entry = _sealed(parsed, terminal, archive)
    if entry is None:
        return EXIT_PROBLEMS
    before = Retention(entry.retention, entry.retention_until, entry.legal_hold)
    after = raised(before, parsed.retention, max(entry.ended_ms, entry.sealed_ms or 0))
    if after == before and parsed.retention is not entry.retention:
        terminal.failure("retain.shorter", package=entry.id)
        return EXIT_PROBLEMS
    archive.catalogue.set_retention(entry.id, after.retention_class, after.until)
    _audit(archive, Action.RETAIN, entry, {"class": after.retention_class.value, "reason": parsed.reason})
    terminal.line("retain.done", package=entry.id, until=until(terminal.say, after.until))
    return 0


def delete(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Delete a package whose time has come; raises ArchiveFailed when it has not."""
    # Here, because it brings DICOM with it.
    from bridge.archive.keeping.deletion import Approval, destroy
    from bridge.archive.keeping.stores import stores

    entry = _sealed(parsed, terminal, archive)
    if entry is None:
        return EXIT_PROBLEMS
    archive.folders.prepare()
    with locked(archive.folders.work / f"{entry.id}.lock"), archive.catalogue.deciding():
        # Once more, so that a hold that was answered meanwhile is seen.
        entry = _sealed(parsed, terminal, archive)
        if entry is None:
            return EXIT_PROBLEMS
        if entry.is_withheld:
            terminal.failure("delete.withheld", package=entry.id)
            return EXIT_PROBLEMS
        certificate = destroy(
            archive.folders.packages / entry.id,
            stores(archive.archive, archive.folders.packages),
            archive.folders.certificates,
            retention=Retention(entry.retention, entry.retention_until, entry.legal_hold),
            approval=Approval(tuple(parsed.approved_by), parsed.reason),
            now_ms=read_trusted(archive.folders.archive, now_ms()).now_ms(now_ms()),
        )
        archive.catalogue.set_deleted(entry.id, now_ms())
    _audit(archive, Action.DELETE, entry, {"reason": parsed.reason, "approved_by": parsed.approved_by})
    path = archive.folders.certificates / f"{entry.id}.json"
    terminal.line("delete.done", package=entry.id, certificate=path)
    if entry.delivered_ms is not None:
        terminal.line("delete.pacs", count=len(certificate["dicom_instances"]))
    if terminal.is_json:
        terminal.json(dict(certificate))
    return 0


def _set_hold(parsed: argparse.Namespace, terminal: Terminal, archive: Archive, *, is_held: bool) -> int:
    entry = _sealed(parsed, terminal, archive)
    if entry is None:
        return EXIT_PROBLEMS
    archive.catalogue.set_legal_hold(entry.id, is_held)
    _audit(archive, Action.HOLD if is_held else Action.RELEASE, entry, {"reason": parsed.reason})
    terminal.line("hold.done" if is_held else "release.done", package=entry.id)
    return 0


def _sealed(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> PackageEntry | None:
    """Return the package that was asked for, or say why there is none."""
    entry = archive.catalogue.package(parsed.package)
    if entry is None or entry.deleted_ms is not None:
        terminal.failure("unknown-package", package=parsed.package)
        return None
    if entry.seal is None:
        terminal.failure("not-sealed", package=entry.id)
        return None
    return entry


def _audit(archive: Archive, action: Action, entry: PackageEntry, detail: Mapping[str, object]) -> None:
    archive.catalogue.audit.append(action, who=archive.who, at_ms=now_ms(), package=entry.id, detail=detail)
