"""The catalogue's tables, and how a database of any age is opened and brought up to date.

SQLite in WAL mode: readers never wait for the one writer, and whoever writes (the server, a worker, the
command line) waits for the others. Versions are kept in `user_version`; each step leads to the next one.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError

from bridge.base.errors import ArchiveFailed

# How long a writer waits for another one; all transactions here are short.
BUSY_TIMEOUT_MS: Final = 10_000
# SQLite's extended result codes carry the primary one in the lowest byte.
PRIMARY_CODE_MASK: Final = 0xFF

metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("room", String, nullable=False),
    Column("title", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("started_ms", Integer, nullable=False),
    Column("ended_ms", Integer),
    Column("state", String, nullable=False, index=True),
)

packages = Table(
    "packages",
    metadata,
    Column("id", String, primary_key=True),
    Column("session", String, nullable=False, index=True),
    Column("room", String, nullable=False, index=True),
    Column("title", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("case", String),
    Column("code", String),
    # A JSON list; and what searches look into, folded.
    Column("sites", String, nullable=False),
    Column("folded", String, nullable=False),
    Column("folded_code", String, nullable=False),
    Column("folded_sites", String, nullable=False),
    Column("started_ms", Integer, nullable=False, index=True),
    Column("ended_ms", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("progress", Float, nullable=False, default=0.0),
    Column("remaining_s", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_ms", Integer),
    Column("error_code", String),
    Column("error", String),
    Column("bytes", Integer, nullable=False, default=0),
    Column("seal", String),
    # The place in the chain of seals; clocks may be set back, this number never is.
    Column("seal_number", Integer, unique=True),
    Column("sealed_ms", Integer),
    Column("delivered_ms", Integer),
    Column("checked_ms", Integer),
    Column("fixity_ok", Boolean),
    Column("retention", String, nullable=False),
    Column("retention_until", String),
    Column("legal_hold", Boolean, nullable=False, default=False),
    Column("deleted_ms", Integer),
    Column("stored_ms", Integer),
    Column("damaged_ms", Integer, nullable=False, default=0),
    Column("consent", String),
    Column("consent_ms", Integer),
    Column("disposition", String),
)
# Few packages have one, and how many wait for it is asked every few seconds.
Index(
    "packages_by_disposition",
    packages.c.disposition,
    sqlite_where=packages.c.disposition.is_not(None),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("package", String, ForeignKey("packages.id"), nullable=False),
    Column("at_ms", Integer, nullable=False),
    Column("method", String, nullable=False),
    Column("is_delivered", Boolean, nullable=False),
    Column("error_code", String),
    Column("error", String),
    Index("deliveries_by_package", "package", "number"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Integer, nullable=False),
    Column("who", String, nullable=False),
    Column("action", String, nullable=False),
    Column("package", String, index=True),
    Column("network", String),
    # A JSON object.
    Column("detail", String, nullable=False),
    Column("prev", String, nullable=False),
    Column("hash", String, nullable=False),
)


def _create_tables(connection: Connection) -> None:
    metadata.create_all(connection)


def _make_audit_append_only(connection: Connection) -> None:
    for deed in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER audit_refuses_{deed.lower()} BEFORE {deed} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        )


def _remember_stores(connection: Connection) -> None:
    _add_column(connection, "stored_ms INTEGER")


def _remember_damage(connection: Connection) -> None:
    _add_column(connection, "damaged_ms INTEGER NOT NULL DEFAULT 0")


def _remember_consent(connection: Connection) -> None:
    for column in ("consent VARCHAR", "consent_ms INTEGER", "disposition VARCHAR"):
        _add_column(connection, column)
    connection.exec_driver_sql(
        "CREATE INDEX IF NOT EXISTS packages_by_disposition ON packages (disposition) "
        "WHERE disposition IS NOT NULL"
    )


def _index_lists(connection: Connection) -> None:
    """Let lists, counts and searches read what they show, and no more, however many years there are."""
    listed = "WHERE deleted_ms IS NULL"
    for name, columns in (
        # Holds what words are looked for in, so that a search goes through nothing else.
        ("packages_listed", "started_ms DESC, id DESC, room, folded"),
        ("packages_listed_of_room", "room, started_ms DESC, id DESC"),
        ("packages_listed_by_state", "state, started_ms DESC, id DESC"),
    ):
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON packages ({columns}) {listed}")


def _index_words_in_order(connection: Connection) -> None:
    """Let a search for words read half as much, and no package, whatever else it asks for.

    Packages come in the order of their beginnings. An index that runs backwards splits its first page again
    and again and stays half empty; this one runs forwards, and lists read it from its end.
    """
    connection.exec_driver_sql("DROP INDEX IF EXISTS packages_listed")
    connection.exec_driver_sql(
        "CREATE INDEX packages_listed ON packages (started_ms, id, room, state, folded) "
        "WHERE deleted_ms IS NULL"
    )


def _add_column(connection: Connection, column: str) -> None:
    columns = {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(packages)")}
    # A database made by this version has it from the beginning.
    if column.partition(" ")[0] not in columns:
        connection.exec_driver_sql(f"ALTER TABLE packages ADD COLUMN {column}")


# The step at index n leads from version n to n + 1. Never changed once released: further ones are added.
_STEPS: Final[tuple[Callable[[Connection], None], ...]] = (
    _create_tables,
    _make_audit_append_only,
    _remember_stores,
    _remember_damage,
    _remember_consent,
    _index_lists,
    _index_words_in_order,
)


class Database:
    """The database file of one archive, opened at its first use and again after a failure; any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._engine: Engine | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one state of the database.

        Raises ArchiveFailed: `catalogue-broken` when the file is damaged or no database at all,
        `catalogue-unusable` when it cannot be reached now.
        """
        with self._naming_the_file(), self._opened().begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write all or nothing, with the write lock from the beginning on; raises as `reading` does."""
        with self._naming_the_file(), _locking(self._opened()).begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back all connections; harmless twice."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _opened(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _open(self.path)
            return self._engine

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & PRIMARY_CODE_MASK
            is_broken = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            raise ArchiveFailed(
                "catalogue-broken" if is_broken else "catalogue-unusable", f"{self.path}: {error.orig}"
            ) from error


def _open(path: Path) -> Engine:
    """Open the database, made or brought up to date where needed.

    Raises ArchiveFailed when the folder cannot be used, or with `catalogue-newer` when a newer version has
    written the database; and DBAPIError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveFailed("catalogue-unusable", f"{path.parent}: {error.strerror}") from error
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    try:
        with _locking(engine).begin() as connection:
            _bring_up_to_date(connection, path)
    except (ArchiveFailed, DBAPIError):
        engine.dispose()
        raise
    return engine


def _locking(engine: Engine) -> Engine:
    """Return the engine whose transactions take the write lock as they begin, so that none fails half way."""
    return engine.execution_options(is_writing=True)


def _bring_up_to_date(connection: Connection, path: Path) -> None:
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version > len(_STEPS):
        raise ArchiveFailed(
            "catalogue-newer", f"{path}: was written by a newer version of the bridge", is_lasting=True
        )
    for step in _STEPS[version:]:
        step(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {len(_STEPS)}")


def _prepare_connection(connection: Any, _: Any) -> None:
    # Transactions begin in `_begin`; the driver's own way would begin them too late for a read that writes.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
