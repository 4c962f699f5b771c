"""The audit: who looked at, played, took, kept or deleted what; append-only, each entry chained by its hash.

The journals are about conferences; this is about what became of their recordings. `who` is a role with its
site, or "bridge" or "command line", never a patient. Of an address only the network is kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from bridge.store.journal import GENESIS, canonical
from bridge.store.tables import Database, audit

IPV4_PREFIX_BITS: Final = 24
IPV6_PREFIX_BITS: Final = 48
WORD_MAX: Final = 300
_PAGE: Final = 1000


class Action(StrEnum):
    """What can be done with a recording."""

    LIST = "list"
    VIEW = "view"
    PLAY = "play"
    EXPORT = "export"
    DOWNLOAD = "download"
    SEAL = "seal"
    DELIVER = "deliver"
    RETRY = "retry"
    CHECK = "check"
    FIXITY = "fixity"
    RETAIN = "retain"
    HOLD = "hold"
    RELEASE = "release"
    WITHDRAW = "withdraw"
    DECIDE = "decide"
    PURGE = "purge"
    DELETE = "delete"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit."""

    seq: int
    at_ms: int
    who: str
    action: Action
    package: str | None
    network: str | None
    detail: Mapping[str, Any]
    prev: str
    hash: str


class AuditLog:
    """The audit in the catalogue's database; any thread, any process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        action: Action,
        *,
        who: str,
        at_ms: int,
        package: str | None = None,
        network: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """Write an entry and return it; it is on the disk then."""
        with self._database.writing() as connection:
            newest = connection.execute(select(audit).order_by(audit.c.seq.desc()).limit(1)).first()
            seq, prev = (0, GENESIS) if newest is None else (newest.seq + 1, newest.hash)
            values = {
                "seq": seq,
                "at_ms": at_ms,
                "who": who[:WORD_MAX],
                "action": action.value,
                "package": package,
                "network": network,
                "detail": canonical(dict(detail or {})).decode(),
            }
            digest = _digest(prev, values)
            connection.execute(insert(audit).values(**values, prev=prev, hash=digest))
        return _entry({**values, "prev": prev, "hash": digest})

    def entries(
        self, *, package: str | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """Return entries, the newest first."""
        query = select(audit).order_by(audit.c.seq.desc()).offset(offset).limit(limit)
        if package is not None:
            query = query.where(audit.c.package == package)
        with self._database.reading() as connection:
            return tuple(_entry(row._asdict()) for row in connection.execute(query))

    def first_broken(self) -> int | None:
        """Return the number of the first entry that was changed or left out; None where the chain holds."""
        seq, prev = 0, GENESIS
        with self._database.reading() as connection:
            while rows := _rows_from(connection, seq):
                for row in rows:
                    values = row._asdict()
                    stored_prev, stored_hash = values.pop("prev"), values.pop("hash")
                    if (row.seq, stored_prev) != (seq, prev) or stored_hash != _digest(prev, values):
                        return seq
                    seq, prev = seq + 1, stored_hash
        return None


def network_of(address: str | None) -> str | None:
    """Return the network that an address belongs to: enough to tell a hospital, too little to tell a desk."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    bits = IPV4_PREFIX_BITS if parsed.version == 4 else IPV6_PREFIX_BITS
    return str(ip_network(f"{parsed}/{bits}", strict=False))


def _rows_from(connection: Connection, seq: int) -> list[Row[Any]]:
    query = select(audit).where(audit.c.seq >= seq).order_by(audit.c.seq).limit(_PAGE)
    return list(connection.execute(query))


def _digest(prev: str, values: Mapping[str, Any]) -> str:
    fields = [values[name] for name in ("seq", "at_ms", "who", "action", "package", "network", "detail")]
    return hashlib.sha256(prev.encode() + b"\n" + canonical(fields)).hexdigest()


def _entry(values: Mapping[str, Any]) -> AuditEntry:
    changed = {"action": Action(values["action"]), "detail": json.loads(values["detail"])}
    return AuditEntry(**{**values, **changed})
