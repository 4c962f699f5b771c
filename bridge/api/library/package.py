"""What the library shows of a package: its entry in the catalogue, and its files in the archive's folder.

Reads the disk; callers on the event loop go through a thread. A file that is missing or not what it should be
is left out: a package that no longer passes its check must still be looked at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bridge.store.audit import AuditEntry
from bridge.store.entries import DeliveryEntry, PackageEntry

PACKAGE_ID: Final = re.compile(r"HC-[A-Z0-9]{1,16}(?:-[A-Z2-7]{6})?-[0-9]{8}-[0-9]{2,4}-(?:S|C[0-9]{2,4})")
PARTS_MAX: Final = 999
# The largest is the attendance of a thousand points.
JSON_MAX_BYTES: Final = 8 * 1024 * 1024
# Packages that were sealed before near losses were told as one may tell of each packet of a bad night.
GAPS_MAX_BYTES: Final = 128 * 1024 * 1024
GAPS_SHOWN: Final = 200

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of every package, by its place in it."""

    place: str
    content_type: str
    is_attachment: bool = False


FILES: Final[Mapping[str, StoredFile]] = {
    "captions": StoredFile("data/video/captions.vtt", "text/vtt"),
    "chapters": StoredFile("data/video/chapters.vtt", "text/vtt"),
    "poster": StoredFile("data/video/poster.jpg", "image/jpeg"),
    "contact-sheet": StoredFile("data/video/contact-sheet.jpg", "image/jpeg"),
    "attendance": StoredFile("data/attendance.csv", "text/csv", is_attachment=True),
}


def is_package_id(text: str) -> bool:
    """Tell whether the text has the form of a package's name, and so none of a path."""
    return PACKAGE_ID.fullmatch(text) is not None


def part_place(series: str, number: int) -> str:
    """Return where the numbered part of the `video` or `content` series lies in a package."""
    return f"data/{series}/part-{number:03d}.mp4"


def summary(entry: PackageEntry) -> Json:
    """Return a line of the list."""
    failed = entry.error_code is not None
    return {
        "id": entry.id,
        "session": entry.session,
        "title": entry.title,
        "kind": entry.kind.value,
        "case": entry.case,
        "code": entry.code,
        "sites": list(entry.sites),
        "started_ms": entry.started_ms,
        "ended_ms": entry.ended_ms,
        "duration_ms": entry.duration_ms,
        "state": entry.state.value,
        "progress": entry.progress,
        "remaining_s": entry.remaining_s,
        "attempts": entry.attempts,
        "next_attempt_ms": entry.next_attempt_ms,
        "error": {"code": entry.error_code, "sentence": entry.error} if failed else None,
        "bytes": entry.bytes,
        "is_sealed": entry.seal is not None,
        "legal_hold": entry.legal_hold,
        "consent": entry.consent,
        "consent_ms": entry.consent_ms,
        "disposition": entry.disposition,
    }


def detail(entry: PackageEntry, folder: Path | None, deliveries: tuple[DeliveryEntry, ...]) -> Json:
    """Return all that is shown of one package; without a folder nothing of what is in it."""
    return {
        **summary(entry),
        "seal": entry.seal,
        "sealed_ms": entry.sealed_ms,
        "delivered_ms": entry.delivered_ms,
        "checked_ms": entry.checked_ms,
        "fixity_ok": entry.fixity_ok,
        "damaged_ms": entry.damaged_ms,
        "retention": entry.retention.value,
        "retention_until": entry.retention_until,
        "deliveries": [_delivery(attempt) for attempt in deliveries],
        **(_NOTHING if folder is None or entry.seal is None else _contents(folder)),
    }


_NOTHING: Final[Json] = {
    "recorded": [],
    "video": [],
    "content": [],
    "files": [],
    "sheet": None,
    "gap_count": 0,
    "gaps": [],
    "attendance": None,
}


def _contents(folder: Path) -> Json:
    return {
        "recorded": _recorded(folder),
        "video": _parts(folder, "video"),
        "content": _parts(folder, "content"),
        "files": [name for name, file in FILES.items() if (folder / file.place).is_file()],
        "sheet": _object(folder / "data/video/contact-sheet.json"),
        **gaps(folder),
        "attendance": _object(folder / "data/attendance.json"),
    }


def audit_line(entry: AuditEntry) -> Json:
    """Return what is shown of an entry of the audit."""
    return {
        "at_ms": entry.at_ms,
        "who": entry.who,
        "action": entry.action.value,
        "network": entry.network,
        "detail": dict(entry.detail),
    }


def _delivery(attempt: DeliveryEntry) -> Json:
    return {
        "at_ms": attempt.at_ms,
        "method": attempt.method,
        "is_delivered": attempt.is_delivered,
        "error": attempt.error,
    }


def read_json(path: Path, max_bytes: int = JSON_MAX_BYTES) -> object:
    """Return the JSON value of a file of ours, None when there is none that can be read."""
    try:
        if path.stat().st_size > max_bytes:
            return None
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value


def _recorded(folder: Path) -> list[Json]:
    """Return the recorded stretches, which the composed video shows one after the other."""
    about = _object(folder / "data/case.json") or _object(folder / "data/session.json") or {}
    return [_span(entry) for entry in _objects(about.get("recorded")) if _is_span(entry)]


def gaps(folder: Path, offset: int = 0) -> Json:
    """Return how many gaps there are, and some of them, each with the name of its site where that is known.

    `gap_count` is None where it cannot be told: that is not the same as nothing missing.
    """
    found = read_json(folder / "data/gaps.json", GAPS_MAX_BYTES)
    entries = _objects(found)
    is_whole = isinstance(found, list) and len(entries) == len(found) and all(map(_is_span, entries))
    return {
        "gap_count": len(entries) if is_whole else None,
        "gaps": [_gap(entry) for entry in entries[offset : offset + GAPS_SHOWN] if _is_span(entry)],
    }


def _gap(entry: Json) -> Json:
    span = _span(entry)
    missing_ms = entry.get("duration_ms", span["end_ms"] - span["start_ms"])
    about = {name: entry.get(name) for name in ("site", "name", "source", "reason", "packets")}
    return {**span, "missing_ms": missing_ms, **about}


def _parts(folder: Path, series: str) -> list[Json]:
    """Return the parts that can be played, in their order, each with its number."""
    shown = ("start_ms", "end_ms", "frames", "fps", "width", "height", "bytes", "sha256")
    return [
        {"number": number, **{name: part.get(name) for name in shown}}
        for number, part in enumerate(_objects(read_json(folder / f"data/{series}/parts.json")), 1)
        if (folder / part_place(series, number)).is_file()
        and all(_is_number(part, name) for name in shown[:4])
    ]


def _object(path: Path) -> Json | None:
    value = read_json(path)
    return value if isinstance(value, dict) else None


def _objects(value: object) -> list[Json]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _is_number(entry: Json, name: str) -> bool:
    return isinstance(entry.get(name), int | float)


def _is_span(entry: Json) -> bool:
    return _unix_ms(entry.get("from")) is not None and _unix_ms(entry.get("to")) is not None


def _span(entry: Json) -> Json:
    return {"start_ms": _unix_ms(entry.get("from")), "end_ms": _unix_ms(entry.get("to"))}


def _unix_ms(text: object) -> int | None:
    """Return the time that ISO 8601 text names, None when it is none."""
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None
