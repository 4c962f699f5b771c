"""The JSON documents of a package, from its plan and the journal; pure.

They are what a reader without our software understands a package by: ISO 8601 times in UTC, the words of
`docs/recording.md`. What lies outside of the package's time does not come in.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from bridge.archive.calendar import utc_text
from bridge.archive.model import Gap, PackagePlan, Span, VideoPart
from bridge.archive.package.attendance import PersonAttendance, sites
from bridge.archive.package.uids import uid
from bridge.archive.plan.consent import last_word
from bridge.archive.plan.extract import Presence, clip, floor_turns, recorded_contents
from bridge.archive.retention import retention_until
from bridge.base.words import RetentionClass
from bridge.store.journal import GENESIS, Event, EventKind

FORMAT: Final = "hoichan-package/1"
# What was said about the only purpose that patients are asked for.
CONSENT_FILE: Final = "consent/care.json"


def pretty(value: Any) -> bytes:
    """Return JSON for people to read, too."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def case_document(
    events: Sequence[Event],
    plan: PackagePlan,
    times: Sequence[Span],
    people: Sequence[PersonAttendance],
    *,
    software: str,
    retention: RetentionClass,
    sealed_ms: int,
    consent_files: Sequence[str],
    minutes_files: Sequence[str],
) -> dict[str, Any]:
    """Return case.json, or session.json for the package that belongs to no case."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "package": plan.package,
        "session": plan.session,
        "room": plan.room,
        "title": plan.title,
        "conference_kind": plan.conference_kind,
        "started_at": utc_text(plan.started_ms),
        "ended_at": utc_text(plan.ended_ms),
        "times": _spans(times),
        "recorded": _spans(plan.spans),
        "sites": [{"site": site.site, "level": site.level} for site in sites(people)],
        "roles": _roles(people),
        "software": software,
        "retention": {
            "class": retention.value,
            # Of the two clocks that told these times one may have been wrong.
            "until": retention_until(retention, max(plan.ended_ms, sealed_ms)),
        },
        "journal": {"events": len(events), "head": events[-1].hash if events else GENESIS},
    }
    if plan.case is not None:
        document |= {
            "case": plan.case,
            "code": plan.code,
            "presenting_site": plan.presenting_site,
            "consent": list(consent_files),
            "consent_state": last_word(events, plan.case)[0],
            "dicom": _dicom(events, plan, minutes_files),
        }
    return document


def parts_document(
    events: Sequence[Event], plan: PackagePlan, folder: str, parts: Sequence[VideoPart]
) -> list[dict[str, Any]]:
    """Return parts.json of one video; only a case's parts have a SOP Instance UID."""
    document = []
    for number, part in enumerate(parts, 1):
        file = f"part-{number:03d}.mp4"
        document.append(
            {
                "file": file,
                "start_ms": part.start_ms,
                "end_ms": part.end_ms,
                "frames": part.frames,
                "fps": part.frame_rate,
                "width": part.width_px,
                "height": part.height_px,
                "bytes": part.bytes,
                "sha256": part.sha256,
                "sop_instance_uid": _uid(events, plan, f"{folder}/{file}") if plan.case else None,
            }
        )
    return document


def floor_lines(
    events: Sequence[Event], plan: PackagePlan, times: Sequence[Span], stays: Sequence[Presence]
) -> Iterator[dict[str, Any]]:
    """Yield floor.jsonl: who had the floor while it was recorded."""
    names = _names(stays)
    recorded = clip(plan.spans, times)
    for turn in floor_turns(events, plan.ended_ms):
        for span in clip([Span(turn.start_ms, turn.end_ms)], recorded):
            yield {
                "from": utc_text(span.start_ms),
                "to": utc_text(span.end_ms),
                "participant": turn.participant,
                **names.get(turn.participant, {}),
                "by": turn.by,
            }


def chat_lines(events: Sequence[Event], plan: PackagePlan) -> Iterator[dict[str, Any]]:
    """Yield chat.jsonl: what was written while it was recorded."""
    for event in recorded_contents(events, plan.case):
        if event.kind is EventKind.CHAT:
            yield {
                "at": utc_text(event.at_ms),
                **{key: event.data.get(key) for key in ("participant", "name", "site", "text")},
            }


def consent_documents(
    events: Sequence[Event], plan: PackagePlan, stays: Sequence[Presence]
) -> dict[str, dict[str, Any]]:
    """Return what was said of consent for the package's case: a file for each purpose."""
    if plan.case is None:
        return {}
    names = _names(stays)
    documents: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.kind is not EventKind.CONSENT or event.data.get("case") != plan.case:
            continue
        purpose = str(event.data.get("purpose", ""))
        # The purpose becomes a file's name.
        if not (purpose.isascii() and purpose.replace("-", "").isalnum()):
            continue
        document = documents.setdefault(
            f"consent/{purpose}.json",
            {"case": plan.case, "code": plan.code, "purpose": purpose, "state": None, "history": []},
        )
        by = event.data.get("by")
        document["state"] = event.data.get("state")
        document["history"].append(
            {
                "at": utc_text(event.at_ms),
                "state": event.data.get("state"),
                "by": by,
                **names.get(str(by), {}),
                "journal_seq": event.seq,
                "journal_hash": event.hash,
            }
        )
    return documents


def gaps_document(gaps: Iterable[Gap], stays: Sequence[Presence]) -> list[dict[str, Any]]:
    """Return gaps.json: what of the recorded time is missing, and why.

    `duration_ms` is what is missing between the two times: losses close to each other are told as one.
    """
    names = _names(stays)
    return [
        {
            "from": utc_text(gap.start_ms),
            "to": utc_text(gap.end_ms),
            "duration_ms": gap.missing_ms,
            **({"packets": gap.packets} if gap.packets else {}),
            "track": gap.track,
            "participant": gap.participant,
            **names.get(gap.participant, {}),
            "source": gap.source,
            "reason": gap.reason,
        }
        for gap in gaps
    ]


def _dicom(events: Sequence[Event], plan: PackagePlan, minutes_files: Sequence[str]) -> dict[str, Any]:
    """Return the UIDs of study, series and minutes; those of the parts are in parts.json."""
    return {
        "study_instance_uid": _uid(events, plan, "study"),
        "series_instance_uids": {
            name: _uid(events, plan, f"series/{name}") for name in ("video", "content", "minutes")
        },
        "minutes": [
            {"file": name, "sop_instance_uid": _uid(events, plan, f"minutes/{name}")}
            for name in minutes_files
            if name.endswith(".pdf")
        ],
    }


def _uid(events: Sequence[Event], plan: PackagePlan, thing: str) -> str:
    return uid(plan.package, events[0].hash if events else GENESIS, thing)


def _roles(people: Iterable[PersonAttendance]) -> dict[str, list[dict[str, str]]]:
    roles: dict[str, list[dict[str, str]]] = {}
    for person in people:
        if not person.is_device:
            roles.setdefault(person.role, []).append({"name": person.name, "site": person.site})
    return roles


def _names(stays: Iterable[Presence]) -> Mapping[str, dict[str, str]]:
    return {stay.participant: {"name": stay.name, "site": stay.site} for stay in stays}


def _spans(spans: Iterable[Span]) -> list[dict[str, str]]:
    return [{"from": utc_text(span.start_ms), "to": utc_text(span.end_ms)} for span in spans]
