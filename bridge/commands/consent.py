"""`hoichan archive withdraw, decide`: a patient's consent is taken back, and what becomes of the package."""

import argparse
from pathlib import Path

from bridge.archive.work.attempts import Archive, now_ms
from bridge.base.words import ConsentState, Disposition, PackageState
from bridge.commands.shown import Terminal
from bridge.store.audit import Action
from bridge.store.entries import PackageEntry

EXIT_PROBLEMS = 1


def withdraw(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Hold a package back, because its patient has withdrawn consent."""
    entry = archive.catalogue.package(parsed.package)
    if entry is None or entry.deleted_ms is not None:
        terminal.failure("unknown-package", package=parsed.package)
        return EXIT_PROBLEMS
    if entry.case is None:
        terminal.failure("withdraw.no-case", package=entry.id)
        return EXIT_PROBLEMS
    if entry.state in (PackageState.ONGOING, PackageState.RECORDING):
        terminal.failure("withdraw.going-on", package=entry.id)
        return EXIT_PROBLEMS
    is_news = archive.catalogue.withhold(
        entry.id, ConsentState.WITHDRAWN, now_ms(), by=archive.who, reason=parsed.reason
    )
    archive.catalogue.audit.append(
        Action.WITHDRAW,
        who=archive.who,
        at_ms=now_ms(),
        package=entry.id,
        detail={"reason": parsed.reason},
    )
    terminal.line("withdraw.done" if is_news else "withdraw.already", package=entry.id)
    if _may_be_in_the_pacs(archive, entry):
        terminal.line("withdraw.pacs", package=entry.id)
    return 0


def decide(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Decide what becomes of a package that is held back; raises ArchiveFailed when it cannot be."""
    # Here, because destroying brings DICOM with it.
    from bridge.archive.work import deciding

    entry = archive.catalogue.package(parsed.package)
    disposition = Disposition(parsed.decision)
    certificate = deciding.decide(archive, parsed.package, disposition, by=parsed.by, reason=parsed.reason)
    path = archive.folders.certificates / f"{parsed.package}.json" if certificate else Path("–")
    terminal.line(f"decide.{disposition.value}", package=parsed.package, certificate=path)
    if certificate and entry is not None and _may_be_in_the_pacs(archive, entry):
        terminal.line("delete.pacs", count=len(certificate["dicom_instances"]))
    if terminal.is_json:
        terminal.json({"package": parsed.package, "decision": disposition.value, **certificate})
    return 0


def _may_be_in_the_pacs(archive: Archive, entry: PackageEntry) -> bool:
    """Whether the PACS has the package, or may have a part of it from an attempt that did not end well."""
    return entry.delivered_ms is not None or bool(archive.catalogue.deliveries(entry.id))
