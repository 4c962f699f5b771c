"""bridge/store/audit.py: a chain that shows every change, and that the database refuses to change."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.store.audit import Action, network_of
from bridge.store.catalogue import FILE_NAME, Catalogue
from bridge.store.journal import GENESIS


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path)
    for number in range(5):
        opened.audit.append(
            Action.VIEW,
            who="chair, Bệnh viện A",
            at_ms=1000 + number,
            package=f"P{number % 2}",
            network="10.1.2.0/24",
            detail={"part": number},
        )
    yield opened
    opened.close()


def forge(folder: Path, statement: str) -> None:
    """Change the file as somebody would who knows SQL and has the disk."""
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript(
        f"DROP TRIGGER audit_refuses_update; DROP TRIGGER audit_refuses_delete; {statement}"
    )
    connection.close()


def test_entries_come_the_newest_first_and_by_package(catalogue: Catalogue) -> None:
    assert [entry.seq for entry in catalogue.audit.entries()] == [4, 3, 2, 1, 0]
    assert [entry.seq for entry in catalogue.audit.entries(package="P1")] == [3, 1]
    assert [entry.seq for entry in catalogue.audit.entries(offset=1, limit=2)] == [3, 2]
    first = catalogue.audit.entries()[-1]
    assert (first.prev, first.who, first.detail) == (GENESIS, "chair, Bệnh viện A", {"part": 0})


def test_an_untouched_chain_holds(catalogue: Catalogue) -> None:
    assert catalogue.audit.first_broken() is None


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE seq = 2", 2),
        ("""UPDATE audit SET detail = '{"part":9}' WHERE seq = 0""", 0),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET at_ms = 1 WHERE seq = 4", 4),
        ("UPDATE audit SET hash = prev WHERE seq = 3", 3),
    ],
)
def test_a_forged_entry_is_found(catalogue: Catalogue, tmp_path: Path, statement: str, broken: int) -> None:
    forge(tmp_path, statement)
    assert catalogue.audit.first_broken() == broken


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_what_is_written(
    catalogue: Catalogue, tmp_path: Path, statement: str
) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert len(catalogue.audit.entries()) == 5


def test_entries_of_many_threads_make_one_chain(catalogue: Catalogue, tmp_path: Path) -> None:
    other = Catalogue(tmp_path)

    def write(into: Catalogue) -> None:
        for _ in range(20):
            into.audit.append(Action.PLAY, who="bridge", at_ms=1)

    threads = [threading.Thread(target=write, args=(into,)) for into in (catalogue, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(catalogue.audit.entries(limit=1000)) == 45
    assert catalogue.audit.first_broken() is None
    other.close()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.20.30.40", "10.20.30.0/24"),
        ("::ffff:10.20.30.40", "10.20.30.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("not an address", None),
        (None, None),
    ],
)
def test_of_an_address_only_the_network_is_kept(address: str | None, network: str | None) -> None:
    assert network_of(address) == network
