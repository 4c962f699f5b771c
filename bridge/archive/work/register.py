"""The catalogue made anew, or completed, from what lies on the disk: sealed packages tell who they are.

Used by a worker before it seals (a crash may have come between the package and its entry), by the server
when it starts, and by `hoichan archive recover`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bridge.archive.folders import ArchiveFolders, disk_errors
from bridge.archive.model import DAMAGED, UNDECODABLE
from bridge.archive.package.documents import CONSENT_FILE
from bridge.archive.package.seal import SEAL_FILE, Seal, parse_seal
from bridge.archive.plan.consent import disposition_of
from bridge.archive.work.consent import note_consent
from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConferenceKind, ConsentState, Disposition, PackageState, RetentionClass
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry

DOCUMENT_MAX_BYTES: Final = 16 * 1024 * 1024
# Packages of an older version that are asked for their consent at one look.
ASKED_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A sealed package on the disk."""

    entry: PackageEntry
    seal: Seal


def register_packages(catalogue: Catalogue, folders: ArchiveFolders) -> list[str]:
    """Enter all packages, sealed or deleted, that the catalogue does not know as such; return their names.

    Raises ArchiveFailed. What looks like a package and is none is left out: `verify` tells why.
    """
    known = catalogue.sealed()
    strays: dict[str, Found] = {}
    for folder in package_folders(folders):
        if folder.name not in known:
            with suppress(ArchiveFailed):
                strays[folder.name] = read_package(folder)
    for path in sorted(folders.certificates.glob("*.json")):
        if path.stem not in known:
            # One that is torn, or is none, holds up nothing else; `verify` tells of it.
            with suppress(ArchiveFailed):
                begun = read_certificate(path)
                # Where its deletion was interrupted early, the package tells more of itself.
                found = strays.get(path.stem, begun)
                entry = replace(found.entry, deleted_ms=begun.entry.deleted_ms)
                strays[path.stem] = replace(found, entry=entry)
    decided = catalogue.decided() if strays else {}
    for found, is_newest in in_chain_order(strays.values(), catalogue.last_seal()):
        register(catalogue, found, is_newest=is_newest, decided=decided.get(found.entry.id, {}))
    return list(strays)


def register(
    catalogue: Catalogue, found: Found, *, is_newest: bool, decided: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Enter one package, and what was decided about it before the catalogue was lost.

    One that has left a certificate is entered as being destroyed, until that is known to be done.
    """
    entry = found.entry
    # First as one that is not sealed, because only the next step knows its place in the chain.
    catalogue.put_package(
        replace(entry, state=PackageState.QUEUED, progress=0.0, seal=None, deleted_ms=None, disposition=None)
    )
    if entry.deleted_ms is not None and decided.get("deleted_ms") is None:
        # Its deletion has begun, and nobody wrote down that it has come to its end in every store.
        decided = {**decided, "disposition": Disposition.DESTROY.value}
    catalogue.set_sealed(
        entry.id,
        seal=found.seal.seal,
        size_bytes=entry.bytes,
        sealed_ms=entry.sealed_ms or 0,
        retention=entry.retention,
        retention_until=entry.retention_until,
        damaged_ms=entry.damaged_ms,
        is_newest=is_newest,
        decided=decided,
    )
    note_consent(catalogue, entry)


def ask_older(catalogue: Catalogue, folders: ArchiveFolders) -> None:
    """Learn the consent of some packages that an older version has sealed; raises ArchiveFailed."""
    for entry in catalogue.unasked(ASKED_MAX):
        try:
            note_consent(catalogue, read_package(folders.packages / entry.id).entry)
        except ArchiveFailed as error:
            if error.code != "package-broken":
                raise
            # Its check tells that it is damaged.
            catalogue.set_consent(entry.id, ConsentState.UNKNOWN, None)


def package_folders(folders: ArchiveFolders) -> list[Path]:
    """Return the folders of sealed packages, by name; raises ArchiveFailed."""
    with disk_errors():
        found = list(folders.packages.iterdir()) if folders.packages.exists() else []
        return sorted(path for path in found if (path / SEAL_FILE).is_file() and "." not in path.name)


def read_package(folder: Path) -> Found:
    """Return what a sealed package says about itself; raises ArchiveFailed."""
    try:
        seal = parse_seal((folder / SEAL_FILE).read_bytes())
        document = json.loads(_document(folder).read_bytes()[:DOCUMENT_MAX_BYTES])
        return Found(_entry(folder, seal, document), seal)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArchiveFailed("package-broken", f"{folder.name}: {error}", is_lasting=True) from error


def in_chain_order(strays: Iterable[Found], last_seal: str | None) -> Sequence[tuple[Found, bool]]:
    """Return the packages as their seals follow each other, and which of them go on with the chain.

    Those that the chain has passed already, e.g. from a backup, do not become its end again.
    """
    waiting = sorted(strays, key=lambda found: found.seal.sealed_at)
    if last_seal is None and waiting:
        # A catalogue made anew: the chain begins with the oldest package there is.
        seals = {found.seal.seal for found in waiting}
        first = next((found for found in waiting if found.seal.previous_seal not in seals), waiting[0])
        last_seal = first.seal.previous_seal
    by_previous = {found.seal.previous_seal: found for found in waiting}
    chain = []
    while (found := by_previous.pop(last_seal, None)) is not None:
        chain.append(found)
        last_seal = found.seal.seal
    chained = {found.entry.id for found in chain}
    behind = [(found, False) for found in waiting if found.entry.id not in chained]
    return [*behind, *((found, True) for found in chain)]


def read_certificate(path: Path) -> Found:
    """Return what is left of a deleted package: its place in the chain of seals."""
    try:
        value = json.loads(path.read_bytes()[:DOCUMENT_MAX_BYTES])
        seal = Seal(
            package=value["package"],
            tagmanifest_sha256=value["tagmanifest_sha256"],
            previous_seal=value["previous_seal"],
            sealed_at=value["sealed_at"],
            seal=value["seal"],
        )
        sealed_ms = _unix_ms(seal.sealed_at)
        entry = PackageEntry(
            id=seal.package,
            session=seal.package.rpartition("-")[0],
            room="",
            title=seal.package,
            kind=ConferenceKind.CONSULTATION,
            case=None,
            code=None,
            sites=(),
            started_ms=sealed_ms,
            ended_ms=sealed_ms,
            duration_ms=0,
            state=PackageState.SEALED,
            seal=seal.seal,
            sealed_ms=sealed_ms,
            retention=RetentionClass(value["retention"]["class"]),
            retention_until=value["retention"]["until"],
            deleted_ms=_unix_ms(value["deleted_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveFailed("certificate-damaged", f"{path.name}: {error}", is_lasting=True) from error
    return Found(entry, seal)


def _document(folder: Path) -> Path:
    case = folder / "data" / "case.json"
    return case if case.exists() else folder / "data" / "session.json"


def _entry(folder: Path, seal: Seal, document: dict[str, Any]) -> PackageEntry:
    if not document["package"] == seal.package == folder.name:
        raise ValueError("its folder, its seal and its document name different packages")
    started_ms, ended_ms = _unix_ms(document["started_at"]), _unix_ms(document["ended_at"])
    retention = document["retention"]
    consent, consent_ms = _consent(folder) if document.get("case") else (None, None)
    return PackageEntry(
        id=seal.package,
        session=document["session"],
        room=document["room"],
        title=document["title"],
        kind=ConferenceKind(document["conference_kind"]),
        case=document.get("case"),
        code=document.get("code"),
        sites=_sites(document),
        started_ms=started_ms,
        ended_ms=ended_ms,
        duration_ms=sum(_unix_ms(span["to"]) - _unix_ms(span["from"]) for span in document["recorded"]),
        state=PackageState.SEALED,
        progress=1.0,
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        seal=seal.seal,
        sealed_ms=_unix_ms(seal.sealed_at),
        retention=RetentionClass(retention["class"]),
        retention_until=retention["until"],
        damaged_ms=_damaged_ms(folder),
        consent=consent,
        consent_ms=consent_ms,
        disposition=disposition_of(consent, is_recorded=bool(document["recorded"])),
    )


def _consent(folder: Path) -> tuple[ConsentState, int | None]:
    """Return what the patient had said last when the package was made, and when."""
    path = folder / "data" / CONSENT_FILE
    if not path.exists():
        return ConsentState.UNKNOWN, None
    document = json.loads(path.read_bytes()[:DOCUMENT_MAX_BYTES])
    return ConsentState(document["state"]), _unix_ms(document["history"][-1]["at"])


def _damaged_ms(folder: Path) -> int:
    """Return how much of the tracks, all together, could not be read when the package was made."""
    gaps = json.loads((folder / "data" / "gaps.json").read_bytes())
    return sum(int(gap["duration_ms"]) for gap in gaps if gap["reason"] in (DAMAGED, UNDECODABLE))


def _sites(document: dict[str, Any]) -> tuple[str, ...]:
    """Return the presenting site, then the others."""
    first = [document["presenting_site"]] if document.get("presenting_site") else []
    return tuple(dict.fromkeys([*first, *(str(site["site"]) for site in document["sites"])]))


def _unix_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
