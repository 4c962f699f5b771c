"""What the catalogue asks the database, and what its rows mean; no connection, only values."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, String, UnaryExpression, or_
from sqlalchemy.sql.operators import custom_op

from bridge.base.words import ConferenceKind, ConsentState, Disposition, PackageState, RetentionClass
from bridge.store.entries import DeliveryEntry, PackageEntry, Search, SessionEntry, SessionState
from bridge.store.folding import fold
from bridge.store.tables import packages

WORDS_MAX: Final = 10
TEXT_MAX: Final = 200
_LASTING: Final = frozenset({PackageState.SEALED, PackageState.DELIVERED})


def conditions(search: Search) -> Sequence[ColumnElement[bool]]:
    """Return what a search asks for."""
    columns = packages.c
    asked = [_contains(columns.folded, word) for word in fold(search.text[:TEXT_MAX]).split()[:WORDS_MAX]]
    for column, text in ((columns.folded_sites, search.site), (columns.folded_code, search.code)):
        word = fold(text[:TEXT_MAX])
        if word:
            # First in what holds both, because an index has it.
            asked += [_contains(columns.folded, word), _contains(column, word)]
    state: ColumnElement[str] = columns.state
    room: ColumnElement[str] = columns.room
    if asked or _is_of_many(search):
        # All are gone through in the order of lists, in the index that has what is looked at: those of states
        # and rooms would lead to most packages, each to be fetched or sorted.
        state, room = _unindexed(state), _unindexed(room)
    if search.from_ms is not None:
        asked.append(columns.started_ms >= search.from_ms)
    if search.until_ms is not None:
        asked.append(columns.started_ms < search.until_ms)
    if search.states:
        asked.append(state.in_([one.value for one in search.states]))
    if search.is_undecided:
        asked += undecided()
    if search.rooms is not None:
        asked.append(room.in_(search.rooms))
    return asked


def undelivered() -> Sequence[ColumnElement[bool]]:
    """Return what makes a package one that should go to the PACS."""
    # What belongs to no case belongs to no patient, and has no place in a PACS.
    states = [PackageState.SEALED.value, PackageState.DELIVERING.value]
    columns = packages.c
    return (
        columns.state.in_(states),
        columns.case.is_not(None),
        columns.deleted_ms.is_(None),
        _decided_as(Disposition.KEEP),
    )


def unstored() -> Sequence[ColumnElement[bool]]:
    """Return what makes a package one that should go to the other store."""
    columns = packages.c
    return (
        columns.seal.is_not(None),
        columns.deleted_ms.is_(None),
        columns.stored_ms.is_(None),
        # What is restricted must not be lost, either.
        _decided_as(Disposition.KEEP, Disposition.RESTRICT),
    )


def undecided() -> Sequence[ColumnElement[bool]]:
    """Return what makes a package one that people have to decide about: see `PackageEntry.is_undecided`."""
    waiting = [Disposition.OPEN.value, Disposition.DESTROY.value]
    return packages.c.disposition.in_(waiting), packages.c.deleted_ms.is_(None)


def _decided_as(*dispositions: Disposition) -> ColumnElement[bool]:
    """Return that there is nothing to decide about a package, or that one of these was decided."""
    disposition = packages.c.disposition
    return or_(disposition.is_(None), disposition.in_([item.value for item in dispositions]))


def _is_of_many(search: Search) -> bool:
    """Return whether several rooms are asked for, or states in one of which packages stay for years."""
    has_several_rooms = search.rooms is not None and len(search.rooms) > 1
    return has_several_rooms or (len(search.states) > 1 and not _LASTING.isdisjoint(search.states))


def _unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return the column as one that no index is chosen for."""
    return UnaryExpression(column, operator=custom_op("+"), type_=String())


def _contains(column: ColumnElement[str], word: str) -> ColumnElement[bool]:
    return column.contains(word, autoescape=True)


def done(state: PackageState) -> dict[str, Any]:
    """Return what is written when a step has succeeded: nothing that failed before counts any more."""
    return {
        "state": state.value,
        "progress": 1.0,
        "remaining_s": None,
        "attempts": 0,
        "next_attempt_ms": None,
        "error_code": None,
        "error": None,
    }


def decided_columns(decided: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written for what was decided about a package."""
    is_delivered = decided.get("delivered_ms") is not None
    return {**decided, **({"state": PackageState.DELIVERED.value} if is_delivered else {})}


def fields(entry: SessionEntry | DeliveryEntry) -> dict[str, Any]:
    """Return an entry's fields by their names."""
    return {name: getattr(entry, name) for name in type(entry).__dataclass_fields__}


def columns(entry: PackageEntry) -> dict[str, Any]:
    """Return the columns of a package, with what searches look into."""
    values = {name: getattr(entry, name) for name in PackageEntry.__dataclass_fields__}
    folded_sites = "\n".join(fold(site) for site in entry.sites)
    code = fold(entry.code or "")
    about = [fold(text) for text in (entry.title, entry.room, entry.id, entry.case or "")]
    values |= {
        "kind": entry.kind.value,
        "state": entry.state.value,
        "retention": entry.retention.value,
        "consent": None if entry.consent is None else entry.consent.value,
        "disposition": None if entry.disposition is None else entry.disposition.value,
        "sites": json.dumps(entry.sites, ensure_ascii=False),
        "folded": "\n".join([*about, code, folded_sites]),
        "folded_code": code,
        "folded_sites": folded_sites,
    }
    return values


def session_entry(row: Row[Any]) -> SessionEntry:
    """Return the entry of a row."""
    values = row._asdict()
    values |= {"kind": ConferenceKind(row.kind), "state": SessionState(row.state)}
    return SessionEntry(**values)


def package_entry(row: Row[Any]) -> PackageEntry:
    """Return the entry of a row."""
    values = {name: row._mapping[name] for name in PackageEntry.__dataclass_fields__}
    values |= {
        "kind": ConferenceKind(row.kind),
        "state": PackageState(row.state),
        "retention": RetentionClass(row.retention),
        "consent": None if row.consent is None else ConsentState(row.consent),
        "disposition": None if row.disposition is None else Disposition(row.disposition),
        "sites": tuple(json.loads(row.sites)),
    }
    return PackageEntry(**values)
