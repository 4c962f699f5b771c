"""From a session's journal to the catalogue: the packages that can be made, and those still recorded."""

from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bridge.archive.folders import ArchiveFolders, disk_errors
from bridge.archive.model import PackagePlan
from bridge.archive.plan.consent import disposition_of, last_word
from bridge.archive.plan.extract import presences
from bridge.archive.plan.programme import plan_packages
from bridge.archive.work.consent import note_consent
from bridge.base.errors import ArchiveFailed, RecordingFailed
from bridge.base.words import ConferenceKind, PackageState, RecordingState, RetentionClass
from bridge.capture.sessions import JOURNAL
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry, SessionEntry, SessionState
from bridge.store.journal import Event, EventKind, first_event, is_closed, read_journal, salvaged

JOURNAL_BROKEN: Final = "journal-broken"
JOURNAL_EMPTY: Final = "journal-empty"
# States that follow from the journal alone, as nobody has begun to make anything.
BEFORE: Final = frozenset({PackageState.ONGOING, PackageState.RECORDING, PackageState.QUEUED})


@dataclass(frozen=True, slots=True)
class Intake:
    """What a journal says: its session, and the packages: queued what can be made now, others as they are."""

    session: SessionEntry
    packages: tuple[PackageEntry, ...]


def read_session(path: Path) -> Sequence[Event]:
    """Return the events of a session; of one that has ended and whose journal is broken, those up to there.

    Raises ArchiveFailed when the journal cannot be used.
    """
    journal = path / JOURNAL
    try:
        events = read_journal(journal)
    except RecordingFailed as error:
        # Of one that has no end yet the recorder knows more, and ends it itself.
        events = [] if isinstance(error.__cause__, OSError) or not is_closed(journal) else salvaged(journal)
        if not events:
            raise ArchiveFailed(JOURNAL_BROKEN, str(error), is_lasting=True) from error
    else:
        if events and events[-1].kind is not EventKind.SESSION_CLOSED and is_closed(journal):
            # Of its last line no more than the kind can be read.
            events = salvaged(journal)
    if not events:
        raise ArchiveFailed(JOURNAL_EMPTY, f"{path.name}: the journal is empty", is_lasting=True)
    if events[0].kind is not EventKind.SESSION_OPENED:
        raise ArchiveFailed(JOURNAL_BROKEN, f"{path.name}: the journal has no beginning", is_lasting=True)
    return events


def name_here(catalogue: Catalogue, folders: ArchiveFolders, path: Path, opened: Event) -> str:
    """Return the name of a session in this archive: its own, unless that is another's here.

    Names were not always of one installation, and a disk may come from another machine. Such a session gets
    a name from the hash of its first event, the same each time.
    """
    name = str(opened.data["session"])
    known = catalogue.session(name)
    if known is not None and (known.started_ms, known.room) != (opened.at_ms, str(opened.data["room"])):
        return _other_name(name, opened)
    journals = [package / "data" / JOURNAL for package in folders.packages.glob(f"{name}-*")]
    if not is_recorded_here(folders, path):
        journals.append(folders.recordings / name / JOURNAL)
    firsts = [first for journal in journals if (first := _first_event(journal)) is not None]
    if any(first.hash != opened.hash for first in firsts):
        return _other_name(name, opened)
    return name


def is_recorded_here(folders: ArchiveFolders, path: Path) -> bool:
    """Return whether a session's folder is one of ours, and not of a disk from elsewhere."""
    return path.parent.resolve() == folders.recordings.resolve()


def _other_name(name: str, opened: Event) -> str:
    _, site, *_, day, number = name.split("-")
    return f"HC-{site}-{b32encode(bytes.fromhex(opened.hash)[:5]).decode()[:6]}-{day}-{number}"


def intake(
    path: Path,
    events: Sequence[Event],
    retention: RetentionClass,
    *,
    name: str = "",
    is_here: bool = True,
) -> Intake:
    """Return what the events say, of a session that may be known as another `name`.

    One that is not among our recordings has no folder there; another's may bear its name.
    """
    opened, last = events[0], events[-1]
    is_closed = last.kind is EventKind.SESSION_CLOSED
    session = SessionEntry(
        id=name or str(opened.data["session"]),
        room=str(opened.data["room"]),
        title=str(opened.data["title"]),
        kind=ConferenceKind(opened.data["conference_kind"]),
        folder=path.name if is_here or not name else name,
        started_ms=opened.at_ms,
        ended_ms=last.at_ms if is_closed else None,
        state=SessionState.CLOSED if is_closed else SessionState.OPEN,
    )
    plans = plan_packages(events, session.id)
    queued = [_entry(plan, events, retention, PackageState.QUEUED) for plan in plans]
    if is_closed:
        return Intake(session, tuple(queued))
    is_recording, case = _recorded_now(events)
    open_ones = [
        _entry(
            plan,
            events,
            retention,
            PackageState.RECORDING if is_recording and plan.case == case else PackageState.ONGOING,
        )
        for plan in _plans_to_come(session, events)
    ]
    return Intake(session, (*queued, *open_ones))


def _recorded_now(events: Sequence[Event]) -> tuple[bool, str | None]:
    """Return whether an open session is recorded as its journal ends, and for which case."""
    for event in reversed(events):
        if event.kind is EventKind.RECORDING_STATE:
            return event.data["state"] == RecordingState.RECORDING, event.data.get("case")
        if event.kind is EventKind.SESSION_RESUMED:
            break
    return False, None


def take_in(
    catalogue: Catalogue,
    folders: ArchiveFolders,
    path: Path,
    retention: RetentionClass,
    *,
    decided: Mapping[str, Mapping[str, Any]],
) -> Intake:
    """Tell the catalogue what a session's folder holds, and queue what can be made now.

    `decided` is what people have decided about packages, by name: one that was deleted is not made again.
    Raises ArchiveFailed when the journal cannot be used; then the session is in the catalogue as failed.
    """
    try:
        events = read_session(path)
        name = name_here(catalogue, folders, path, events[0])
        found = intake(path, events, retention, name=name, is_here=is_recorded_here(folders, path))
    except ArchiveFailed as error:
        # One without any line is only about to begin, or nothing ever happened in it.
        if error.code != JOURNAL_EMPTY:
            _put_broken(catalogue, path, error)
        raise
    planned = {entry.id for entry in found.packages}
    for entry in catalogue.packages_of(found.session.id):
        if entry.id not in planned and entry.seal is None:
            catalogue.remove_package(entry.id)
    for entry in found.packages:
        _put(catalogue, entry, decided.get(entry.id, {}))
    known = catalogue.session(found.session.id)
    if known is None or known.state is not SessionState.PURGED:
        # Last, because who comes after a crash looks no more into a session that is known to be complete.
        catalogue.put_session(found.session)
    return found


def ask_journal(catalogue: Catalogue, folders: ArchiveFolders, package: str) -> None:
    """Let the catalogue know what the journal says by now of the consent to a package; raises ArchiveFailed.

    For who is about to let something out: that a word is in the journal is all that can be waited for.
    """
    entry = catalogue.package(package)
    session = None if entry is None else catalogue.session(entry.session)
    if entry is None or session is None or entry.case is None:
        return
    path = folders.recordings / session.folder
    opened = _first_event(path / JOURNAL)
    if opened is None or (opened.at_ms, str(opened.data["room"])) != (session.started_ms, session.room):
        return
    events = read_session(path)
    for plan in plan_packages(events, session.id):
        if plan.package == package:
            note_consent(catalogue, _entry(plan, events, entry.retention, entry.state))


def _put(catalogue: Catalogue, entry: PackageEntry, decided: Mapping[str, Any]) -> None:
    known = catalogue.package(entry.id)
    if known is None or known.seal is None:
        _put_unsealed(catalogue, entry, known, decided)
    # Of a sealed one, too: consent can be withdrawn as long as the conference goes on.
    note_consent(catalogue, entry)


def _put_unsealed(
    catalogue: Catalogue, entry: PackageEntry, known: PackageEntry | None, decided: Mapping[str, Any]
) -> None:
    # That it is held back is written down by itself, and not only into the catalogue.
    catalogue.put_package(replace(entry, disposition=None))
    if known is None:
        catalogue.set_decided(entry.id, decided)
    elif known.state is not entry.state and {known.state, entry.state} <= BEFORE:
        catalogue.set_state(entry.id, entry.state)
    elif known.state is PackageState.FAILED and known.error_code == JOURNAL_BROKEN:
        # Somebody has put it right.
        catalogue.requeue(entry.id, entry.state)


def _put_broken(catalogue: Catalogue, path: Path, error: ArchiveFailed) -> None:
    """Show people that there is a session, and that its journal cannot be used."""
    package = f"{path.name}-S"
    if catalogue.package(package) is not None:
        return
    opened = _first_event(path / JOURNAL)
    about = {} if opened is None else opened.data
    at_ms = _modified_ms(path) if opened is None else opened.at_ms
    catalogue.put_package(
        PackageEntry(
            id=package,
            session=path.name,
            room=str(about.get("room", "")),
            title=str(about.get("title", path.name)),
            kind=ConferenceKind(about.get("conference_kind", ConferenceKind.CONSULTATION)),
            case=None,
            code=None,
            sites=(),
            started_ms=at_ms,
            ended_ms=at_ms,
            duration_ms=0,
            state=PackageState.FAILED,
            error_code=error.code,
            error=error.sentence,
        )
    )


def _first_event(journal: Path) -> Event | None:
    event = first_event(journal)
    return event if event is not None and event.kind is EventKind.SESSION_OPENED else None


def _modified_ms(path: Path) -> int:
    with disk_errors():
        return path.stat().st_mtime_ns // 1_000_000


def _plans_to_come(session: SessionEntry, events: Sequence[Event]) -> list[PackagePlan]:
    """Return what is known of the packages of an open session that cannot be made yet."""
    own = PackagePlan(
        package=f"{session.id}-S",
        session=session.id,
        room=session.room,
        title=session.title,
        conference_kind=session.kind,
        started_ms=session.started_ms,
        ended_ms=events[-1].at_ms,
        spans=(),
    )
    added: dict[str, Event] = {}
    active: dict[str, int] = {}
    for event in events:
        if event.kind is EventKind.CASE_ADDED:
            added[str(event.data["case"])] = event
        elif event.kind is EventKind.CASE_STARTED:
            active[str(event.data["case"])] = event.at_ms
        elif event.kind is EventKind.CASE_FINISHED:
            active.pop(str(event.data["case"]), None)
    cases = [
        replace(
            own,
            package=f"{session.id}-{case}",
            started_ms=started_ms,
            case=case,
            code=added[case].data["code"],
            presenting_site=added[case].data["site"],
        )
        for case, started_ms in active.items()
        if case in added
    ]
    return [*cases, own]


def _entry(
    plan: PackagePlan, events: Sequence[Event], retention: RetentionClass, state: PackageState
) -> PackageEntry:
    consent, consent_ms = last_word(events, plan.case)
    # A span may be empty and yet have media behind it, which only a crash has kept from being told.
    disposition = disposition_of(consent, is_recorded=bool(plan.spans))
    return PackageEntry(
        id=plan.package,
        session=plan.session,
        room=plan.room,
        title=plan.title,
        kind=ConferenceKind(plan.conference_kind),
        case=plan.case,
        code=plan.code,
        sites=_sites(plan, events),
        started_ms=plan.started_ms,
        ended_ms=plan.ended_ms,
        duration_ms=sum(span.end_ms - span.start_ms for span in plan.spans),
        state=state,
        retention=retention,
        consent=consent,
        consent_ms=consent_ms,
        disposition=disposition,
    )


def _sites(plan: PackagePlan, events: Sequence[Event]) -> tuple[str, ...]:
    """Return the presenting site, then the others that were there, in the order of their coming."""
    first = [plan.presenting_site] if plan.presenting_site else []
    stays = presences(events, plan.ended_ms)
    present = [
        stay.site for stay in stays if stay.joined_ms < plan.ended_ms and stay.left_ms > plan.started_ms
    ]
    return tuple(dict.fromkeys([*first, *present]))
