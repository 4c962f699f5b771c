"""`hoichan archive compose, deliver, check, recover`: the archive's work done here and now, server or not."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from bridge.archive.work import attempts
from bridge.archive.work.attempts import Archive, now_ms
from bridge.archive.work.ending import end_interrupted
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState
from bridge.commands.shown import Terminal
from bridge.store.audit import Action
from bridge.store.entries import PackageEntry

EXIT_PROBLEMS = 1
ALL = 1_000_000


def compose(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Make one package, those of one session, or all that wait."""
    return asyncio.run(_compose(parsed, terminal, archive))


def deliver(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Deliver one package, or all that wait."""
    return asyncio.run(_deliver(parsed, terminal, archive))


def check(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Compare one package with its checksums, as the schedule does."""
    return asyncio.run(_check(parsed.package, terminal, archive))


def recover(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    """Make the catalogue anew, or complete, from the folders; end what was interrupted."""
    return asyncio.run(_recover(terminal, archive))


async def _compose(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    session = None if parsed.session is None else parsed.session.resolve()
    if session is not None:
        _end(terminal, session.parent, session)
    taken = await attempts.take_in(archive, session)
    broken = taken["broken"]
    for sentence in broken:
        terminal.failure("recover.broken", sentence=sentence)
    name = taken["session"] or (session.name if session is not None else "")
    if session is not None and name != session.name:
        terminal.line("compose.renamed", session=session.name, name=name)
    entries = _to_make(parsed.package, name, archive)
    if parsed.package is not None and not entries:
        terminal.failure("unknown-package", package=parsed.package)
        return EXIT_PROBLEMS
    if not entries and not broken:
        terminal.line("compose.nothing")
    results = [await _make(terminal, archive, entry, session) for entry in entries]
    return int(bool(broken) or not all(results))


def _to_make(package: str | None, session: str, archive: Archive) -> Sequence[PackageEntry]:
    waiting = (PackageState.QUEUED, PackageState.FAILED)
    if package is not None:
        entry = archive.catalogue.package(package)
        return [] if entry is None or entry.deleted_ms is not None else [entry]
    if session:
        return [entry for entry in archive.catalogue.packages_of(session) if entry.state in waiting]
    return archive.catalogue.in_states(*waiting)


async def _make(terminal: Terminal, archive: Archive, entry: PackageEntry, session: Path | None) -> bool:
    """Make one package; tell whether it is sealed."""
    try:
        with terminal.bar(entry.id) as show:
            result = await attempts.make(archive, entry.id, on_progress=show, session=session)
    except ArchiveFailed as error:
        if error.code == "busy":
            terminal.failure("compose.elsewhere", package=entry.id)
        else:
            _say_failure(terminal, entry.id, error)
        return False
    terminal.line("compose.sealed", package=entry.id)
    if terminal.is_json:
        terminal.json({"package": entry.id, **result})
    return True


async def _deliver(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    if archive.dicom.method == "off":
        terminal.failure("deliver.off")
        return EXIT_PROBLEMS
    entries = await _to_deliver(parsed.package, terminal, archive)
    if entries is None:
        return EXIT_PROBLEMS
    if not entries:
        terminal.line("deliver.nothing")
    are_delivered = True
    for entry in entries:
        try:
            with terminal.bar(entry.id) as show:
                await attempts.deliver(archive, entry, on_progress=show)
        except ArchiveFailed as error:
            _say_failure(terminal, entry.id, error)
            are_delivered = False
        else:
            terminal.line("deliver.done", package=entry.id)
            if terminal.is_json:
                terminal.json({"package": entry.id, "delivered": True})
    return int(not are_delivered)


async def _to_deliver(
    package: str | None, terminal: Terminal, archive: Archive
) -> Sequence[PackageEntry] | None:
    """Return what is to be delivered; None, said why, where what was asked for cannot be."""
    if package is None:
        return await asyncio.to_thread(archive.catalogue.undelivered, ALL)
    entry = await _sealed(package, terminal, archive)
    return None if entry is None else [entry]


async def _sealed(package: str, terminal: Terminal, archive: Archive) -> PackageEntry | None:
    """Return a sealed package, or say why there is none."""
    entry = await asyncio.to_thread(archive.catalogue.package, package)
    if entry is None or entry.deleted_ms is not None:
        terminal.failure("unknown-package", package=package)
        return None
    if entry.seal is None:
        terminal.failure("not-sealed", package=package)
        return None
    return entry


async def _check(package: str, terminal: Terminal, archive: Archive) -> int:
    if await _sealed(package, terminal, archive) is None:
        return EXIT_PROBLEMS
    with terminal.bar(package) as show:
        problems = await attempts.check(archive, package, on_progress=show)
    if problems:
        terminal.line("verify.broken", package=package, count=len(problems))
    else:
        terminal.line("verify.whole", package=package)
    for problem in problems:
        terminal.text(f"  {problem}")
    if terminal.is_json:
        terminal.json({"package": package, "problems": problems})
    return int(bool(problems))


async def _recover(terminal: Terminal, archive: Archive) -> int:
    await asyncio.to_thread(archive.folders.prepare)
    catalogue = archive.catalogue
    try:
        await asyncio.to_thread(catalogue.count_by_state)
    except ArchiveFailed as error:
        if error.code != "catalogue-broken":
            raise
        terminal.line("recover.aside", path=await asyncio.to_thread(catalogue.set_aside))
    _end(terminal, archive.folders.recordings, None)
    broken = (await attempts.take_in(archive))["broken"]
    for sentence in broken:
        terminal.failure("recover.broken", sentence=sentence)
    first_broken = await asyncio.to_thread(catalogue.audit.first_broken)
    if first_broken is not None:
        terminal.failure("recover.audit", seq=first_broken)
    await asyncio.to_thread(catalogue.audit.append, Action.RECOVER, who=archive.who, at_ms=now_ms())
    counts = await asyncio.to_thread(catalogue.count_by_state)
    if terminal.is_json:
        terminal.json({"packages": {state.value: count for state, count in counts.items()}, "broken": broken})
    failed = counts[PackageState.FAILED]
    terminal.line(
        "recover.done", packages=sum(counts.values()), waiting=counts[PackageState.QUEUED], failed=failed
    )
    return int(bool(broken) or failed > 0 or first_broken is not None)


def _end(terminal: Terminal, recordings: Path, only: Path | None) -> None:
    """End interrupted sessions, unless a server is there that may go on with them."""
    try:
        for session in end_interrupted(recordings, only):
            terminal.line("recover.ended", session=session)
    except ArchiveFailed as error:
        if error.code != "recording":
            raise
        if only is None:
            terminal.line("recover.serving")
        else:
            terminal.line("compose.open", session=only.name)


def _say_failure(terminal: Terminal, package: str, error: ArchiveFailed) -> None:
    terminal.failure("failed", what=package, sentence=terminal.say.failure(error.code, error.sentence))
