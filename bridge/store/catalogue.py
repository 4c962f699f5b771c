"""The catalogue: which sessions and packages there are, and how far each has come; the audit beside it.

It is an index, not the truth: what was recorded lies in the session folders, what is archived in the sealed
packages, and `hoichan archive recover` makes the catalogue anew from them. Every method is synchronous, may
be called by any thread, and waits for the disk: code on the event loop goes through `asyncio.to_thread`.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConsentState, Disposition, PackageState, RetentionClass
from bridge.store import decisions, rows
from bridge.store.audit import AuditLog
from bridge.store.decisions import Decisions
from bridge.store.entries import (
    PAGE_MAX,
    DeliveryEntry,
    PackageEntry,
    Page,
    Search,
    SessionEntry,
    SessionState,
    Waiting,
)
from bridge.store.tables import Database, deliveries, packages, sessions

FILE_NAME: Final = "catalogue.sqlite3"
DECIDING_LOCK: Final = "deciding.lock"
# A PACS that is down for a month is asked hourly; the newest attempts tell why.
DELIVERIES_KEPT: Final = 50
# Whoever works through a queue takes its first; some more for those that have to wait.
QUEUE_MAX: Final = 50
_MAKING: Final = (PackageState.REPAIRING, PackageState.COMPOSING, PackageState.SEALING)
# What a package is about may be told anew while it is recorded; what became of it is not touched by that.
_ABOUT: Final = (
    "session",
    "room",
    "title",
    "kind",
    "case",
    "code",
    "sites",
    "folded",
    "folded_code",
    "folded_sites",
    "started_ms",
    "ended_ms",
    "duration_ms",
)


class Catalogue:
    """The database of one archive; every method raises ArchiveFailed when it cannot be used."""

    def __init__(self, folder: Path) -> None:
        # Opened at the first use: an archive whose disk is away must not keep the bridge from starting.
        self._database = Database(folder / FILE_NAME)
        self._decisions = Decisions(folder / decisions.FILE_NAME)
        self.audit = AuditLog(self._database)

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._database.path

    def set_aside(self) -> Path:
        """Put a broken database out of the way, for a new one to be made; return where it is now."""
        self.close()
        # The audit in it may still be read by somebody: none is ever overwritten.
        places = (self.path.with_name(f"{self.path.name}.broken-{number}") for number in count(1))
        aside = next(place for place in places if not place.exists())
        try:
            for suffix in ("-wal", "-shm", ""):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self.path}: {error.strerror}") from error
        return aside

    def close(self) -> None:
        """Give back all connections; harmless twice, and the next use opens it again."""
        self._database.close()

    # Sessions.

    def put_session(self, entry: SessionEntry) -> None:
        """Add a session, or tell the catalogue what it is now."""
        values = {**rows.fields(entry), "kind": entry.kind.value, "state": entry.state.value}
        with self._database.writing() as connection:
            if not connection.execute(
                update(sessions).where(sessions.c.id == entry.id).values(**values)
            ).rowcount:
                connection.execute(insert(sessions).values(**values))

    def session(self, session: str) -> SessionEntry | None:
        """Return one session."""
        with self._database.reading() as connection:
            row = connection.execute(select(sessions).where(sessions.c.id == session)).first()
        return None if row is None else rows.session_entry(row)

    def sessions(self, state: SessionState | None = None) -> tuple[SessionEntry, ...]:
        """Return the sessions, the oldest first."""
        query = select(sessions).order_by(sessions.c.started_ms, sessions.c.id)
        if state is not None:
            query = query.where(sessions.c.state == state.value)
        with self._database.reading() as connection:
            return tuple(rows.session_entry(row) for row in connection.execute(query))

    # Packages: asking.

    def package(self, package: str) -> PackageEntry | None:
        """Return one package, deleted ones included."""
        with self._database.reading() as connection:
            row = connection.execute(select(packages).where(packages.c.id == package)).first()
        return None if row is None else rows.package_entry(row)

    def packages_of(self, session: str) -> tuple[PackageEntry, ...]:
        """Return all packages of a session, deleted ones included, in the order of their names."""
        return self._packages(select(packages).where(packages.c.session == session).order_by(packages.c.id))

    def search(self, search: Search) -> Page:
        """Return a page of what is looked for, the newest first; deleted packages are not found."""
        conditions = (packages.c.deleted_ms.is_(None), *rows.conditions(search))
        order = packages.c.started_ms.desc(), packages.c.id.desc()
        names = select(packages.c.id).where(*conditions).order_by(*order)
        first, limit = max(0, search.offset), max(0, min(search.limit, PAGE_MAX))
        with self._database.reading() as connection:
            page = connection.execute(names.offset(first).limit(limit)).scalars().all()
            # Who looks for words that are rare has gone through everything already.
            total = first + len(page)
            if len(page) == limit or (first and not page):
                count = select(func.count()).select_from(packages).where(*conditions)
                total = int(connection.execute(count).scalar_one())
            whole = select(packages).where(packages.c.id.in_(page)).order_by(*order)
            some = connection.execute(whole).all() if page else []
        return Page(tuple(rows.package_entry(row) for row in some), total)

    def in_states(self, *states: PackageState) -> tuple[PackageEntry, ...]:
        """Return the packages in these states, the oldest first; deleted ones left out."""
        words = [state.value for state in states]
        return self._packages(
            select(packages)
            .where(packages.c.state.in_(words), packages.c.deleted_ms.is_(None))
            .order_by(packages.c.started_ms, packages.c.id)
        )

    def undelivered(self, limit: int = QUEUE_MAX) -> tuple[PackageEntry, ...]:
        """Return sealed packages of cases that the PACS does not have, those to be tried next first."""
        return self._packages(
            select(packages)
            .where(*rows.undelivered())
            .order_by(func.coalesce(packages.c.next_attempt_ms, 0), packages.c.sealed_ms)
            .limit(limit)
        )

    def queued(self, limit: int = QUEUE_MAX) -> tuple[PackageEntry, ...]:
        """Return packages that wait to be made, those to be tried next first."""
        return self._packages(
            select(packages)
            .where(packages.c.state == PackageState.QUEUED.value, packages.c.deleted_ms.is_(None))
            .order_by(func.coalesce(packages.c.next_attempt_ms, 0), packages.c.started_ms, packages.c.id)
            .limit(limit)
        )

    def waiting_since(self) -> Waiting:
        """Return since when the oldest package has waited for each step; None where none waits."""
        making = (PackageState.QUEUED, *_MAKING)
        unmade = (packages.c.state.in_([state.value for state in making]), packages.c.deleted_ms.is_(None))
        with self._database.reading() as connection:
            found = [
                connection.execute(select(func.min(column)).where(*conditions)).scalar()
                for column, conditions in (
                    (packages.c.ended_ms, unmade),
                    (packages.c.sealed_ms, rows.undelivered()),
                    (packages.c.sealed_ms, rows.unstored()),
                )
            ]
        return Waiting(*found)

    def sealed(self) -> frozenset[str]:
        """Return the names of all packages that are known with their seals, deleted ones included."""
        with self._database.reading() as connection:
            names = connection.execute(select(packages.c.id).where(packages.c.seal.is_not(None))).scalars()
            return frozenset(names)

    def due_checks(self, before_ms: int, now_ms: int, limit: int = QUEUE_MAX) -> tuple[PackageEntry, ...]:
        """Return sealed packages not compared with their checksums since then, the longest first.

        What was compared in the future was compared by a wrong clock, nobody knows when. Before them come
        those whose destruction was interrupted: whoever looks at them completes it.
        """
        is_begun = packages.c.disposition == Disposition.DESTROY.value
        last_ms = func.coalesce(packages.c.checked_ms, packages.c.sealed_ms)
        return self._packages(
            select(packages)
            .where(
                packages.c.seal.is_not(None),
                packages.c.deleted_ms.is_(None),
                func.coalesce(is_begun, False) | (last_ms < before_ms) | (last_ms > now_ms),
            )
            .order_by(func.coalesce(is_begun, False).desc(), last_ms)
            .limit(limit)
        )

    def checked_since(self) -> int | None:
        """Return since when the package checked longest ago has not been compared; None without any."""
        last_ms = func.coalesce(packages.c.checked_ms, packages.c.sealed_ms)
        query = select(func.min(last_ms)).where(packages.c.seal.is_not(None), packages.c.deleted_ms.is_(None))
        with self._database.reading() as connection:
            since_ms: int | None = connection.execute(query).scalar()
        return since_ms

    def unstored(self, limit: int = QUEUE_MAX) -> tuple[PackageEntry, ...]:
        """Return sealed packages that no other store has, the oldest first."""
        return self._packages(
            select(packages).where(*rows.unstored()).order_by(packages.c.sealed_ms).limit(limit)
        )

    def count_by_state(self) -> Mapping[PackageState, int]:
        """Return how many packages are in each state; deleted ones left out."""
        query = (
            select(packages.c.state, func.count())
            .where(packages.c.deleted_ms.is_(None))
            .group_by(packages.c.state)
        )
        with self._database.reading() as connection:
            found = {PackageState(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in PackageState}

    def count_damaged(self) -> int:
        """Return how many packages differed from their checksums when they were compared last."""
        query = (
            select(func.count())
            .select_from(packages)
            .where(packages.c.fixity_ok.is_(False), packages.c.deleted_ms.is_(None))
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def count_undecided(self) -> int:
        """Return how many packages people have to decide about, because their patients do not consent."""
        query = select(func.count()).select_from(packages).where(*rows.undecided())
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def unasked(self, limit: int = QUEUE_MAX) -> tuple[PackageEntry, ...]:
        """Return sealed packages of cases of which an older version did not note the patient's word."""
        columns = packages.c
        conditions = (columns.consent.is_(None), columns.case.is_not(None), columns.seal.is_not(None))
        return self._packages(
            select(packages)
            .where(*conditions, columns.deleted_ms.is_(None))
            .order_by(columns.id)
            .limit(limit)
        )

    def last_seal(self) -> str | None:
        """Return the seal that the next package is chained to; None before the first."""
        query = (
            select(packages.c.seal)
            .where(packages.c.seal_number.is_not(None))
            .order_by(packages.c.seal_number.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            seal: str | None = connection.execute(query).scalar()
        return seal

    # Packages: telling.

    def put_package(self, entry: PackageEntry) -> None:
        """Add a package, or tell anew what it is about; of a known one state and fate stay as they are."""
        values = rows.columns(entry)
        about = {name: values[name] for name in _ABOUT}
        with self._database.writing() as connection:
            if not connection.execute(
                update(packages).where(packages.c.id == entry.id).values(**about)
            ).rowcount:
                connection.execute(insert(packages).values(**values))

    def remove_package(self, package: str) -> None:
        """Forget a package that there will be none of: nothing was recorded for it."""
        with self._database.writing() as connection:
            connection.execute(delete(packages).where(packages.c.id == package, packages.c.seal.is_(None)))

    def set_state(self, package: str, state: PackageState) -> None:
        """A package has come to another step; its progress begins anew."""
        self._update(package, state=state.value, progress=0.0, remaining_s=None, next_attempt_ms=None)

    def set_step(self, package: str, state: PackageState, progress: float, remaining_s: float | None) -> None:
        """Tell at which step a package is, and how far; a word after the step's end is not heard."""
        is_delivering = state is PackageState.DELIVERING
        goes_on = (
            packages.c.seal.is_not(None) & packages.c.delivered_ms.is_(None)
            if is_delivering
            else packages.c.seal.is_(None)
        )
        values = {
            "state": state.value,
            "progress": progress,
            "remaining_s": remaining_s,
            "next_attempt_ms": None,
        }
        with self._database.writing() as connection:
            connection.execute(update(packages).where(packages.c.id == package, goes_on).values(**values))

    def set_back(self, package: str | None = None) -> None:
        """What was under way when a process ended, or one package of it, waits; attempts stay counted."""
        before = {PackageState.QUEUED: _MAKING, PackageState.SEALED: (PackageState.DELIVERING,)}
        with self._database.writing() as connection:
            for state, interrupted in before.items():
                words = [word.value for word in interrupted]
                query = update(packages).where(packages.c.state.in_(words))
                if package is not None:
                    query = query.where(packages.c.id == package)
                connection.execute(query.values(state=state.value, progress=0.0, remaining_s=None))

    def set_failed(
        self, package: str, state: PackageState, error: ArchiveFailed, *, next_attempt_ms: int | None
    ) -> None:
        """A step has failed; `state` is what the package is now, `next_attempt_ms` when it is tried again."""
        self._update(
            package,
            state=state.value,
            progress=0.0,
            remaining_s=None,
            attempts=packages.c.attempts + 1,
            next_attempt_ms=next_attempt_ms,
            error_code=error.code,
            error=error.sentence,
        )

    def requeue(self, package: str, state: PackageState) -> None:
        """Somebody asks for another attempt: what failed before counts no more."""
        self._update(package, **{**rows.done(state), "progress": 0.0})

    def set_sealed(
        self,
        package: str,
        *,
        seal: str,
        size_bytes: int,
        sealed_ms: int,
        retention: RetentionClass,
        retention_until: str | None,
        damaged_ms: int = 0,
        is_newest: bool = True,
        decided: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """A package lies in the archive; `is_newest` says that the next one is chained to it.

        What was `decided` about it before the catalogue was lost holds from the same moment on.
        """
        with self._database.writing() as connection:
            number = None
            if is_newest:
                newest = connection.execute(select(func.max(packages.c.seal_number))).scalar()
                number = (newest or 0) + 1
            sealed = {
                "bytes": size_bytes,
                "seal": seal,
                "seal_number": number,
                "sealed_ms": sealed_ms,
                "retention": retention.value,
                "retention_until": retention_until,
                "damaged_ms": damaged_ms,
            }
            connection.execute(
                update(packages)
                .where(packages.c.id == package)
                .values(**{**sealed, **rows.done(PackageState.SEALED), **rows.decided_columns(decided)})
            )

    def set_delivered(self, package: str, delivered_ms: int) -> None:
        """The PACS has a package, and has given it back unchanged."""
        self._decisions.append(package, {"delivered_ms": delivered_ms})
        self._update(package, delivered_ms=delivered_ms, **rows.done(PackageState.DELIVERED))

    def set_checked(self, package: str, checked_ms: int, *, is_whole: bool) -> None:
        """A package was compared with its checksums."""
        self._update(package, checked_ms=checked_ms, fixity_ok=is_whole)

    def set_stored(self, package: str, stored_ms: int) -> None:
        """The other store has a package, and has given it back unchanged."""
        self._update(package, stored_ms=stored_ms)

    def set_retention(self, package: str, retention: RetentionClass, until: str | None) -> None:
        """A package is kept in another class."""
        self._decide(package, retention=retention.value, retention_until=until)

    def set_legal_hold(self, package: str, is_held: bool) -> None:
        """A package must not be deleted, whatever its class says; or may again.

        Waits for a deletion that has begun; raises ArchiveFailed when it was that of the package.
        """
        with self.deciding():
            self._kept(package)
            self._decide(package, legal_hold=is_held)

    def set_consent(self, package: str, consent: ConsentState, consent_ms: int | None) -> None:
        """Tell the patient's last word, which the journal and the package know as well."""
        self._update(package, consent=consent.value, consent_ms=consent_ms)

    def withhold(
        self, package: str, consent: ConsentState, consent_ms: int | None, *, by: str, reason: str
    ) -> bool:
        """Hold a package back until people decide, because its patient does not consent or no longer does.

        Tells whether that is news: one that is held back already stays so, with what was decided. Waits for a
        deletion that has begun; raises ArchiveFailed when it was that of the package.
        """
        with self.deciding():
            entry = self._kept(package)
            if entry is None or entry.is_withheld:
                return False
            self._decide(
                package,
                {"by": [by], "reason": reason},
                consent=consent.value,
                consent_ms=consent_ms,
                disposition=Disposition.OPEN.value,
            )
            return True

    def set_disposition(
        self, package: str, disposition: Disposition, *, by: Sequence[str], reason: str, at_ms: int
    ) -> None:
        """People have decided what becomes of a package that is held back; the caller is `deciding`."""
        self._decide(
            package, {"by": list(by), "reason": reason, "at_ms": at_ms}, disposition=disposition.value
        )

    def set_deleted(self, package: str, deleted_ms: int) -> None:
        """A package is no longer in the archive; what is known of it stays, its seal included."""
        self._decide(package, deleted_ms=deleted_ms)

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Let nobody else, in any process, put a package on hold or delete one meanwhile."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self.path.with_name(DECIDING_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self.path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def decided(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what was decided about packages, also before the catalogue was lost."""
        return self._decisions.newest()

    def set_decided(self, package: str, decided: Mapping[str, Any]) -> None:
        """Let what was decided about a package hold again."""
        if decided:
            self._update(package, **rows.decided_columns(decided))

    # Deliveries.

    def add_delivery(self, entry: DeliveryEntry) -> None:
        """Write down an attempt; of each package the newest are kept."""
        with self._database.writing() as connection:
            connection.execute(insert(deliveries).values(**rows.fields(entry)))
            kept = (
                select(deliveries.c.number)
                .where(deliveries.c.package == entry.package)
                .order_by(deliveries.c.number.desc())
                .limit(DELIVERIES_KEPT)
            )
            connection.execute(
                delete(deliveries).where(
                    deliveries.c.package == entry.package, deliveries.c.number.not_in(kept)
                )
            )

    def deliveries(self, package: str) -> tuple[DeliveryEntry, ...]:
        """Return the attempts to deliver a package, the newest first."""
        query = select(deliveries).where(deliveries.c.package == package).order_by(deliveries.c.number.desc())
        with self._database.reading() as connection:
            attempts = connection.execute(query).all()
        return tuple(
            DeliveryEntry(row.package, row.at_ms, row.method, row.is_delivered, row.error_code, row.error)
            for row in attempts
        )

    def _packages(self, query: Select[Any]) -> tuple[PackageEntry, ...]:
        with self._database.reading() as connection:
            return tuple(rows.package_entry(row) for row in connection.execute(query))

    def _kept(self, package: str) -> PackageEntry | None:
        """Return a package that was not deleted; raises ArchiveFailed for one that was."""
        entry = self.package(package)
        if entry is not None and entry.deleted_ms is not None:
            raise ArchiveFailed("package-deleted", f"{package} has been deleted", is_lasting=True)
        return entry

    def _decide(self, package: str, why: Mapping[str, Any] = MappingProxyType({}), **values: Any) -> None:
        """Change what a catalogue made anew must know again."""
        self._decisions.append(package, values, why)
        self._update(package, **values)

    def _update(self, package: str, **values: Any) -> None:
        with self._database.writing() as connection:
            connection.execute(update(packages).where(packages.c.id == package).values(**values))
