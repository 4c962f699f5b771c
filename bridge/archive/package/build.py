"""Sealing: what composing made and what the journal says become one bag that changes no more.

Built as `<package>.partial` and renamed when everything is on the disk, so that a package is either whole or
not there; whoever comes after a crash calls `build` again. Nothing in a package names a patient: a case has
its pseudonymous code. What a person wrote in the chat is here and nowhere else.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bagit

from bridge.archive.calendar import utc_text
from bridge.archive.folders import PARTIAL, disk_errors
from bridge.archive.model import (
    Composition,
    PackagePlan,
    Progress,
    Report,
    SessionFolder,
    Span,
    Stage,
    VideoPart,
)
from bridge.archive.package import attendance, bag, timestamps
from bridge.archive.package.documents import (
    case_document,
    chat_lines,
    consent_documents,
    floor_lines,
    gaps_document,
    parts_document,
    pretty,
)
from bridge.archive.package.seal import SEAL_FILE, make_seal, parse_seal
from bridge.archive.plan.extract import belonging, package_times, presences
from bridge.base.errors import ArchiveFailed
from bridge.base.words import RetentionClass
from bridge.store.journal import canonical

_MINUTES: Final = re.compile(r"v[1-9][0-9]{0,3}\.(json|pdf)")
_PACKAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """What the configuration says about packages; `timestamp_url` may be empty."""

    software: str
    retention: RetentionClass = RetentionClass.ORDINARY
    timestamp_url: str = ""


@dataclass(frozen=True, slots=True)
class SealedPackage:
    """A package as it lies in the archive."""

    folder: Path
    seal: str


def seal_package(
    session: SessionFolder,
    plan: PackagePlan,
    composition: Composition,
    packages: Path,
    *,
    settings: PackageSettings,
    previous_seal: str | None,
    now_ms: int,
    report: Report,
) -> SealedPackage:
    """Seal a package, or return it if it is sealed already; raises ArchiveFailed."""
    if not _PACKAGE.fullmatch(plan.package):
        raise ArchiveFailed("package-name", f"{plan.package!r} is not a package's name", is_lasting=True)
    folder = packages / plan.package
    with disk_errors():
        if folder.exists():
            return _opened(folder)
        partial = packages / f"{plan.package}{PARTIAL}"
        if partial.exists():
            shutil.rmtree(partial)
        _write_payload(partial, session, plan, composition, settings, now_ms)
        seal = _seal(partial, plan, composition, previous_seal, settings, now_ms, report)
        os.rename(partial, folder)
        bag.sync(packages)
    return SealedPackage(folder, seal)


def _opened(folder: Path) -> SealedPackage:
    """Return a package that is sealed already; raises ArchiveFailed."""
    try:
        seal = parse_seal((folder / SEAL_FILE).read_bytes())
        if seal.package != folder.name:
            raise ValueError(f"it is the seal of {seal.package}")
    except (OSError, ValueError) as error:
        raise ArchiveFailed("seal-broken", f"{folder.name}: {error}", is_lasting=True) from error
    return SealedPackage(folder, seal.seal)


def _write_payload(
    partial: Path,
    session: SessionFolder,
    plan: PackagePlan,
    composition: Composition,
    settings: PackageSettings,
    now_ms: int,
) -> None:
    data = partial / bag.PAYLOAD
    for name, content in _documents(session, plan, composition, settings, now_ms):
        bag.write(data / name, content)
    for source, name in _files(session, plan, composition):
        _take(source, data / name)


def _documents(
    session: SessionFolder,
    plan: PackagePlan,
    composition: Composition,
    settings: PackageSettings,
    now_ms: int,
) -> Iterator[tuple[str, bytes]]:
    """Yield all small files of the payload."""
    events = session.events
    stays = presences(events, plan.ended_ms)
    times = package_times(events, plan)
    range_of_presence = times if plan.case else (Span(plan.started_ms, plan.ended_ms),)
    people = attendance.attendees(stays, range_of_presence)
    consents = consent_documents(events, plan, stays)
    minutes = [path.name for path in _minutes(session, plan)]
    case = case_document(
        events,
        plan,
        times,
        people,
        software=settings.software,
        retention=settings.retention,
        sealed_ms=now_ms,
        consent_files=tuple(consents),
        minutes_files=minutes,
    )
    yield ("case.json" if plan.case else "session.json"), pretty(case)
    for name, parts in _videos(composition):
        if parts:
            yield f"{name}/parts.json", pretty(parts_document(events, plan, name, parts))
    yield "attendance.json", pretty(attendance.to_json(people))
    yield "attendance.csv", attendance.to_csv(people)
    yield "floor.jsonl", _lines(floor_lines(events, plan, times, stays))
    yield "chat.jsonl", _lines(chat_lines(events, plan))
    yield "gaps.json", pretty(gaps_document(composition.gaps, stays))
    yield "journal.jsonl", b"".join(event.line() for event in belonging(events, plan))
    for name, consent in consents.items():
        yield name, pretty(consent)


def _files(session: SessionFolder, plan: PackagePlan, composition: Composition) -> Iterator[tuple[Path, str]]:
    """Yield what is taken as it is, and its name in the payload."""
    for folder, parts in _videos(composition):
        for number, part in enumerate(parts, 1):
            yield part.path, f"{folder}/part-{number:03d}.mp4"
    for path, name in (
        (composition.captions, "captions.vtt"),
        (composition.chapters, "chapters.vtt"),
        (composition.poster, "poster.jpg"),
        (composition.contact_sheet, "contact-sheet.jpg"),
    ):
        if path is not None:
            yield path, f"video/{name}"
    if composition.contact_sheet is not None:
        index = composition.contact_sheet.with_suffix(".json")
        if index.exists():
            yield index, "video/contact-sheet.json"
    for path in _minutes(session, plan):
        yield path, f"minutes/{path.name}"


def _videos(composition: Composition) -> tuple[tuple[str, Sequence[VideoPart]], ...]:
    return ("video", composition.video), ("content", composition.content_video)


def _minutes(session: SessionFolder, plan: PackagePlan) -> list[Path]:
    folder = session.path / "minutes" / (plan.case or "session")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and _MINUTES.fullmatch(path.name))


def _take(source: Path, target: Path) -> None:
    """Put a file into the package: a video as another name of it where that can be, the rest as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Composing never writes into a finished part; whoever owns the other files might.
    if source.suffix == ".mp4":
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _seal(
    partial: Path,
    plan: PackagePlan,
    composition: Composition,
    previous_seal: str | None,
    settings: PackageSettings,
    now_ms: int,
    report: Report,
) -> str:
    digests = _digests(partial, report)
    _check_parts(plan, composition, digests)
    tag_manifest_sha256 = bag.write_tags(
        partial,
        digests,
        info={"Bag-Software-Agent": settings.software, "External-Identifier": plan.package},
        now_ms=now_ms,
    )
    seal = make_seal(
        plan.package,
        tag_manifest_sha256,
        previous_seal=previous_seal,
        sealed_at=utc_text(now_ms),
    )
    bag.write(partial / SEAL_FILE, seal.content())
    _check_form(partial)
    if settings.timestamp_url:
        # Without a stamp the package is sealed all the same; the fixity check asks again.
        timestamps.stamp(partial, settings.timestamp_url)
    bag.sync_folders(partial)
    return seal.seal


def _digests(partial: Path, report: Report) -> dict[str, bag.Digest]:
    names = list(bag.payload_files(partial))
    total_bytes = sum((partial / name).stat().st_size for name in names) or 1
    done_bytes = 0

    def read(count: int) -> None:
        nonlocal done_bytes
        done_bytes += count
        report(Progress(Stage.SEAL, min(done_bytes / total_bytes, 1.0)))

    digests = {}
    for name in names:
        digests[name] = bag.digest(partial / name, read)
        bag.sync(partial / name)
    return digests


def _check_parts(plan: PackagePlan, composition: Composition, digests: Mapping[str, bag.Digest]) -> None:
    """Compare what lies in the bag with what composing said it wrote."""
    for folder, parts in _videos(composition):
        for number, part in enumerate(parts, 1):
            name = f"data/{folder}/part-{number:03d}.mp4"
            found = digests[name]
            if (found.sha256, found.bytes) != (part.sha256, part.bytes):
                raise ArchiveFailed("part-changed", f"{plan.package}: {name} is not what was composed")


def _check_form(partial: Path) -> None:
    """Let the reference implementation read the bag, but for the checksums, which were just computed."""
    try:
        bagit.Bag(str(partial)).validate(completeness_only=True)
    except bagit.BagError as error:
        raise ArchiveFailed("bag-invalid", f"{partial.name}: {error}") from error


def _lines(values: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(canonical(value) + b"\n" for value in values)
