"""bridge/store/catalogue.py: what is known of packages, and how it is found again."""

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConferenceKind, PackageState, RetentionClass
from bridge.store.catalogue import DELIVERIES_KEPT, FILE_NAME, Catalogue
from bridge.store.entries import DeliveryEntry, PackageEntry, Search, SessionEntry, SessionState, Waiting
from bridge.store.folding import fold

PACKAGE = "HC-BV-20260202-01-C01"
DAY_MS = 86_400_000
BEGIN_MS = 1_770_000_000_000


def package(number: int = 1, **changes: Any) -> PackageEntry:
    entry = PackageEntry(
        id=f"HC-BV-20260202-01-C{number:02d}",
        session="HC-BV-20260202-01",
        room="hoi-chan-tim-mach",
        title="Hội chẩn tim mạch",
        kind=ConferenceKind.CONSULTATION,
        case=f"C{number:02d}",
        code=f"BN-2026-{number:04d}",
        sites=("Bệnh viện Trung ương", "Trung tâm Y tế Điện Biên"),
        started_ms=BEGIN_MS + number * DAY_MS,
        ended_ms=BEGIN_MS + number * DAY_MS + 600_000,
        duration_ms=540_000,
        state=PackageState.QUEUED,
    )
    return replace(entry, **changes)


SESSION = SessionEntry(
    id="HC-BV-20260202-01",
    room="hoi-chan-tim-mach",
    title="Hội chẩn tim mạch",
    kind=ConferenceKind.CONSULTATION,
    folder="HC-BV-20260202-01",
    started_ms=BEGIN_MS,
    ended_ms=None,
    state=SessionState.OPEN,
)


@pytest.fixture
def catalogue(tmp_path: Path) -> Any:
    opened = Catalogue(tmp_path)
    yield opened
    opened.close()


def found(catalogue: Catalogue, **search: Any) -> list[str]:
    return [entry.id[-3:] for entry in catalogue.search(Search(**search)).packages]


def test_what_is_put_in_comes_out_equal_after_reopening(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.put_session(SESSION)
    first.put_package(package())
    first.close()
    second = Catalogue(tmp_path)
    assert second.session(SESSION.id) == SESSION
    assert second.package(package().id) == package()
    second.close()


def test_a_session_told_again_is_changed_and_not_doubled(catalogue: Catalogue) -> None:
    catalogue.put_session(SESSION)
    closed = replace(SESSION, state=SessionState.CLOSED, ended_ms=BEGIN_MS + 1)
    catalogue.put_session(closed)
    assert catalogue.sessions() == (closed,)
    assert catalogue.sessions(SessionState.OPEN) == ()


def test_a_package_told_again_keeps_its_state_and_its_fate(catalogue: Catalogue) -> None:
    catalogue.put_package(package())
    catalogue.set_step(package().id, PackageState.COMPOSING, 0.25, 30.0)
    catalogue.put_package(package(title="Hội chẩn khác", retention=RetentionClass.DEATH))
    entry = catalogue.package(package().id)
    assert entry is not None
    assert (entry.state, entry.progress, entry.remaining_s) == (PackageState.COMPOSING, 0.25, 30.0)
    assert (entry.title, entry.retention) == ("Hội chẩn khác", RetentionClass.ORDINARY)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Điện Biên", "dien bien"),
        ("ĐIỆN  BIÊN", "dien bien"),
        ("Thừa Thiên Huế", "thua thien hue"),
        ("Đ\u0169ng", "dung"),
        ("u\u031b\u0301", "u"),
    ],
)
def test_folding_leaves_bare_letters(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize("text", ["dien bien", "Điện Biên", "biên ĐIỆN", "tim mach", "bn-2026-0001", "c01"])
def test_text_is_found_without_its_diacritics_and_with_them(catalogue: Catalogue, text: str) -> None:
    catalogue.put_package(package(1))
    catalogue.put_package(
        package(2, sites=("Cô Tô",), title="Giao ban", case=None, code=None, room="giao-ban")
    )
    assert found(catalogue, text=text) == ["C01"]


def test_a_search_narrows_by_site_code_time_state_and_room(catalogue: Catalogue) -> None:
    catalogue.put_package(package(1))
    catalogue.put_package(package(2, sites=("Trạm Y tế Mường Nhé",), room="khac"))
    catalogue.put_package(package(3, state=PackageState.SEALED))
    assert found(catalogue, site="muong nhe") == ["C02"]
    assert found(catalogue, code="0003") == ["C03"]
    assert found(catalogue, from_ms=package(2).started_ms) == ["C03", "C02"]
    assert found(catalogue, until_ms=package(2).started_ms) == ["C01"]
    assert found(catalogue, states=(PackageState.SEALED,)) == ["C03"]
    assert found(catalogue, rooms=("khac",)) == ["C02"]
    assert found(catalogue, rooms=()) == []


def test_signs_with_a_meaning_in_sql_are_only_signs(catalogue: Catalogue) -> None:
    catalogue.put_package(package(1))
    for text in ("%", "_", "' OR 1=1 --", "100%"):
        assert found(catalogue, text=text) == []


def test_pages_follow_each_other_from_the_newest_on(catalogue: Catalogue) -> None:
    for number in range(1, 8):
        catalogue.put_package(package(number))
    assert found(catalogue, limit=3) == ["C07", "C06", "C05"]
    assert found(catalogue, limit=3, offset=6) == ["C01"]
    assert catalogue.search(Search(limit=3)).total == 7
    assert found(catalogue, limit=-1, offset=-5) == []


def test_deleted_packages_are_not_found_but_remembered(catalogue: Catalogue) -> None:
    catalogue.put_package(package(1, state=PackageState.SEALED))
    catalogue.set_deleted(package(1).id, BEGIN_MS)
    assert found(catalogue) == []
    assert catalogue.in_states(PackageState.SEALED) == ()
    assert catalogue.count_by_state()[PackageState.SEALED] == 0
    remembered = catalogue.package(package(1).id)
    assert remembered is not None
    assert remembered.deleted_ms == BEGIN_MS


def test_failures_are_counted_until_somebody_asks_again(catalogue: Catalogue) -> None:
    catalogue.put_package(package())
    error = ArchiveFailed("disk-full", "No space left")
    for attempt in (1, 2):
        catalogue.set_failed(package().id, PackageState.QUEUED, error, next_attempt_ms=BEGIN_MS + attempt)
    failed = catalogue.package(package().id)
    assert failed is not None
    assert (failed.attempts, failed.next_attempt_ms) == (2, BEGIN_MS + 2)
    assert (failed.error_code, failed.error) == ("disk-full", "No space left")
    catalogue.requeue(package().id, PackageState.QUEUED)
    assert catalogue.package(package().id) == package()


def seal(catalogue: Catalogue, number: int, *, sealed_ms: int) -> None:
    catalogue.put_package(package(number))
    catalogue.set_sealed(
        package(number).id,
        seal=f"seal-{number}",
        size_bytes=1000,
        sealed_ms=sealed_ms,
        retention=RetentionClass.ORDINARY,
        retention_until="2036-12-31",
    )


def test_the_last_seal_is_the_one_written_last_even_if_the_clock_was_set_back(catalogue: Catalogue) -> None:
    assert catalogue.last_seal() is None
    seal(catalogue, 1, sealed_ms=BEGIN_MS + DAY_MS)
    seal(catalogue, 2, sealed_ms=BEGIN_MS)
    assert catalogue.last_seal() == "seal-2"
    catalogue.set_deleted(package(2).id, BEGIN_MS)
    assert catalogue.last_seal() == "seal-2"


def test_a_package_found_behind_the_newest_does_not_become_the_newest(catalogue: Catalogue) -> None:
    seal(catalogue, 1, sealed_ms=BEGIN_MS)
    catalogue.put_package(package(2))
    catalogue.set_sealed(
        package(2).id,
        seal="seal-2",
        size_bytes=1,
        sealed_ms=BEGIN_MS,
        retention=RetentionClass.ORDINARY,
        retention_until=None,
        is_newest=False,
    )
    assert catalogue.last_seal() == "seal-1"


def test_what_was_decided_outlives_the_database(tmp_path: Path) -> None:
    before = Catalogue(tmp_path)
    seal(before, 1, sealed_ms=BEGIN_MS)
    before.set_legal_hold(package(1).id, True)
    before.set_retention(package(1).id, RetentionClass.DEATH, "2056-12-31")
    before.set_delivered(package(1).id, BEGIN_MS + 5)
    held = before.package(package(1).id)
    before.close()
    (tmp_path / FILE_NAME).unlink()
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(b'{"package": "HC-BV-20260202-01-C01", "legal_ho')
    after = Catalogue(tmp_path)
    after.set_legal_hold(package(2).id, True)
    after.put_package(package(1))
    after.set_sealed(
        package(1).id,
        seal="seal-1",
        size_bytes=1000,
        sealed_ms=BEGIN_MS,
        retention=RetentionClass.ORDINARY,
        retention_until="2036-12-31",
        decided=after.decided()[package(1).id],
    )
    assert after.package(package(1).id) == held
    after.close()


def test_packages_are_due_for_their_check_by_the_time_of_the_last_one(catalogue: Catalogue) -> None:
    for number in (1, 2, 3):
        seal(catalogue, number, sealed_ms=BEGIN_MS + number)
    catalogue.set_checked(package(1).id, BEGIN_MS + 100, is_whole=True)
    assert [entry.case for entry in catalogue.due_checks(BEGIN_MS + 50, BEGIN_MS + 100)] == ["C02", "C03"]
    catalogue.set_checked(package(2).id, BEGIN_MS + 100, is_whole=False)
    checked = catalogue.package(package(2).id)
    assert checked is not None
    assert checked.fixity_ok is False


def test_packages_wait_for_the_other_store_until_it_has_them(catalogue: Catalogue) -> None:
    for number in (1, 2):
        seal(catalogue, number, sealed_ms=BEGIN_MS + number)
    catalogue.put_package(package(3))
    catalogue.set_stored(package(1).id, BEGIN_MS)
    assert [entry.case for entry in catalogue.unstored()] == ["C02"]


def test_queues_begin_with_what_is_to_be_tried_next(catalogue: Catalogue) -> None:
    error = ArchiveFailed("disk-full", "No space left")
    for number, next_attempt_ms in ((1, BEGIN_MS + 2), (2, BEGIN_MS + 1), (3, None)):
        catalogue.put_package(package(number))
        catalogue.set_failed(package(number).id, PackageState.QUEUED, error, next_attempt_ms=next_attempt_ms)
    assert [entry.case for entry in catalogue.queued()] == ["C03", "C02", "C01"]
    assert [entry.case for entry in catalogue.queued(1)] == ["C03"]


def test_only_cases_go_to_the_pacs_and_only_once(catalogue: Catalogue) -> None:
    for number in (1, 2):
        seal(catalogue, number, sealed_ms=BEGIN_MS + number)
    catalogue.put_package(package(3, case=None, code=None))
    catalogue.set_sealed(
        package(3).id,
        seal="seal-3",
        size_bytes=1,
        sealed_ms=BEGIN_MS,
        retention=RetentionClass.ORDINARY,
        retention_until=None,
    )
    catalogue.set_delivered(package(1).id, BEGIN_MS)
    assert [entry.case for entry in catalogue.undelivered()] == ["C02"]


def test_the_oldest_that_waits_is_told_for_each_step(catalogue: Catalogue) -> None:
    assert catalogue.waiting_since() == Waiting(None, None, None)
    seal(catalogue, 1, sealed_ms=BEGIN_MS + 5)
    for number in (2, 3):
        catalogue.put_package(package(number))
    catalogue.set_step(package(2).id, PackageState.COMPOSING, 0.5, None)
    assert catalogue.waiting_since() == Waiting(package(2).ended_ms, BEGIN_MS + 5, BEGIN_MS + 5)


def test_a_late_word_of_progress_does_not_undo_a_seal(catalogue: Catalogue) -> None:
    seal(catalogue, 1, sealed_ms=BEGIN_MS)
    catalogue.set_step(package(1).id, PackageState.SEALING, 0.9, None)
    entry = catalogue.package(package(1).id)
    assert entry is not None
    assert entry.state is PackageState.SEALED


def test_only_the_newest_attempts_to_deliver_are_kept(catalogue: Catalogue) -> None:
    catalogue.put_package(package())
    for number in range(DELIVERIES_KEPT + 5):
        catalogue.add_delivery(
            DeliveryEntry(package().id, BEGIN_MS + number, "stow", False, "pacs-unreachable", "Refused")
        )
    kept = catalogue.deliveries(package().id)
    assert len(kept) == DELIVERIES_KEPT
    assert kept[0].at_ms == BEGIN_MS + DELIVERIES_KEPT + 4


def test_many_threads_and_a_second_opening_write_without_losing_anything(tmp_path: Path) -> None:
    server, command = Catalogue(tmp_path), Catalogue(tmp_path)
    server.put_package(package())
    error = ArchiveFailed("x", "x")

    def fail(catalogue: Catalogue) -> None:
        for _ in range(20):
            catalogue.set_failed(package().id, PackageState.QUEUED, error, next_attempt_ms=None)

    threads = [threading.Thread(target=fail, args=(catalogue,)) for catalogue in (server, command) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = server.package(package().id)
    assert entry is not None
    assert entry.attempts == 80
    server.close()
    command.close()


def test_a_file_that_is_no_database_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"what a broken disk left" * 100)
    with pytest.raises(ArchiveFailed, match="not a database") as caught:
        Catalogue(tmp_path).sessions()
    assert caught.value.code == "catalogue-broken"


def test_a_broken_file_is_set_aside_and_a_new_one_made(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"what a broken disk left" * 100)
    catalogue = Catalogue(tmp_path)
    assert catalogue.set_aside() == tmp_path / f"{FILE_NAME}.broken-1"
    catalogue.put_package(package())
    assert catalogue.package(package().id) == package()
    assert (tmp_path / f"{FILE_NAME}.broken-1").read_bytes().startswith(b"what a broken disk left")
    catalogue.close()


def test_what_an_ended_process_was_doing_waits_for_the_next_one(catalogue: Catalogue) -> None:
    error = ArchiveFailed("worker-crashed", "killed")
    for number, state in enumerate(PackageState, 1):
        catalogue.put_package(package(number))
        catalogue.set_failed(package(number).id, state, error, next_attempt_ms=None)
    catalogue.set_back()
    states = {entry.state for entry in catalogue.packages_of(package().session)}
    assert states == {
        PackageState.ONGOING,
        PackageState.RECORDING,
        PackageState.QUEUED,
        PackageState.SEALED,
        PackageState.DELIVERED,
        PackageState.FAILED,
    }
    assert {entry.attempts for entry in catalogue.packages_of(package().session)} == {1}


def test_a_catalogue_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    made = Catalogue(tmp_path)
    made.sessions()
    made.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ArchiveFailed) as caught:
        Catalogue(tmp_path).sessions()
    assert (caught.value.code, caught.value.is_lasting) == ("catalogue-newer", True)


def test_a_catalogue_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    made = Catalogue(tmp_path)
    made.sessions()
    made.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    newest = connection.execute("PRAGMA user_version").fetchone()
    connection.executescript(
        "DROP TRIGGER audit_refuses_update; DROP TRIGGER audit_refuses_delete;"
        "ALTER TABLE packages DROP COLUMN stored_ms; PRAGMA user_version = 1"
    )
    again = Catalogue(tmp_path)
    again.put_package(package())
    assert again.package(package().id) == package()
    again.close()
    assert connection.execute("PRAGMA user_version").fetchone() == newest
    triggers = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
    assert triggers == (2,)
    connection.close()


def test_search_of_years_is_made_small_in_place_and_finds_what_it_found(tmp_path: Path) -> None:
    """The version before this one kept what words are looked for in in an index that ran backwards."""
    made = Catalogue(tmp_path)
    for number in range(1, 31):
        made.put_package(package(number, sites=("Trạm Y tế Mường Nhé",) if number % 3 else ("Cô Tô",)))
    made.set_deleted(package(3).id, BEGIN_MS)
    before = [made.search(Search(text=text, limit=40)) for text in ("", "tim mach co to", "uong nh", "c0")]
    made.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(
        "DROP INDEX packages_listed; CREATE INDEX packages_listed ON packages "
        "(started_ms DESC, id DESC, room, folded) WHERE deleted_ms IS NULL; PRAGMA user_version = 6"
    )
    again = Catalogue(tmp_path)
    after = [again.search(Search(text=text, limit=40)) for text in ("", "tim mach co to", "uong nh", "c0")]
    again.close()
    assert [page.total for page in after] == [29, 9, 20, 8]
    assert after == before
    columns = connection.execute("PRAGMA index_xinfo(packages_listed)").fetchall()
    connection.close()
    assert [(name, is_backwards) for _, _, name, is_backwards, *_ in columns][:5] == [
        (name, 0) for name in ("started_ms", "id", "room", "state", "folded")
    ]


def test_hold_waits_for_a_deletion_that_has_begun(
    catalogue: Catalogue,
) -> None:
    catalogue.put_package(package())
    answers: list[str] = []

    def hold() -> None:
        try:
            catalogue.set_legal_hold(PACKAGE, True)
            answers.append("held")
        except ArchiveFailed as error:
            answers.append(error.code)

    holder = threading.Thread(target=hold)
    with catalogue.deciding():
        holder.start()
        catalogue.set_deleted(PACKAGE, 1)
        assert answers == []
    holder.join()
    assert answers == ["package-deleted"]


def test_decision_that_the_disk_took_only_in_part_is_not_believed(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue.put_package(package())
    # As a disk does that has room for some bytes more.
    write = os.write
    monkeypatch.setattr(
        "bridge.store.decisions.os.write", lambda descriptor, data: write(descriptor, data[:10])
    )
    with pytest.raises(ArchiveFailed, match="catalogue-unusable"):
        catalogue.set_legal_hold(PACKAGE, True)
    monkeypatch.undo()
    entry = catalogue.package(PACKAGE)
    assert entry is not None
    assert not entry.legal_hold
    catalogue.set_legal_hold(PACKAGE, True)
    assert catalogue.decided()[PACKAGE]["legal_hold"] is True


def test_package_that_was_compared_in_the_future_is_compared_again(catalogue: Catalogue) -> None:
    catalogue.put_package(package())
    catalogue.set_sealed(
        PACKAGE,
        seal="aa",
        size_bytes=1,
        sealed_ms=BEGIN_MS,
        retention=RetentionClass.ORDINARY,
        retention_until=None,
    )
    catalogue.set_checked(PACKAGE, BEGIN_MS + 3650 * DAY_MS, is_whole=True)
    assert len(catalogue.due_checks(BEGIN_MS - DAY_MS, BEGIN_MS + DAY_MS)) == 1
    catalogue.set_checked(PACKAGE, BEGIN_MS + DAY_MS, is_whole=True)
    assert catalogue.due_checks(BEGIN_MS - DAY_MS, BEGIN_MS + DAY_MS) == ()


def test_broken_catalogues_are_never_overwritten(catalogue: Catalogue, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / FILE_NAME).write_bytes(b"broken %d" % number)
        catalogue.set_aside()
    kept = {path.read_bytes() for path in tmp_path.glob(f"{FILE_NAME}.broken-*")}
    assert kept == {b"broken %d" % number for number in range(12)}


ROOM, ROOMS = frozenset({"hoi-chan-tim-mach"}), frozenset({"hoi-chan-tim-mach", "giao-ban"})
ARCHIVED = (PackageState.SEALED, PackageState.DELIVERED)


@pytest.mark.parametrize(
    ("search", "index"),
    [
        (Search(text="dien bien"), "packages_listed"),
        (Search(text="khong co"), "packages_listed"),
        (Search(text="dien bien", from_ms=BEGIN_MS), "packages_listed"),
        (Search(text="dien bien", states=(PackageState.QUEUED,)), "packages_listed"),
        (Search(text="dien bien", rooms=ROOM), "packages_listed"),
        (Search(text="dien bien", rooms=ROOMS, states=ARCHIVED), "packages_listed"),
        (Search(site="co to"), "packages_listed"),
        (Search(code="0142"), "packages_listed"),
        (Search(rooms=ROOMS), "packages_listed"),
        (Search(states=ARCHIVED), "packages_listed"),
        (Search(rooms=ROOM), "packages_listed_of_room"),
        (Search(states=(PackageState.QUEUED,)), "packages_listed_by_state"),
        (Search(from_ms=BEGIN_MS), "packages_listed"),
        (Search(), "packages_listed"),
    ],
)
def test_lists_and_counts_read_indexes_and_sort_nothing(
    catalogue: Catalogue, search: Search, index: str
) -> None:
    """However many years there are, a page is read from its beginning, and a count touches no package."""
    catalogue.put_package(package(1))
    catalogue.put_package(package(2))
    catalogue.search(search)
    plans: list[str] = []

    def explain(connection: Any, _: Any, statement: str, values: Any, *__: Any) -> None:
        # The last statement fetches what is on the page, by its names.
        if statement.startswith(("SELECT packages.id \n", "SELECT count")):
            rows = connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            plans.extend(str(row[3]) for row in rows)

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        catalogue.search(replace(search, limit=1))
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    page, *counts = plans
    assert page.split(" INDEX ")[1].split()[0] == index, plans
    # All of them may be counted in the smallest index.
    assert all(" INDEX packages_listed" in plan for plan in counts), plans


@pytest.mark.parametrize(("offset", "limit", "ids"), [(0, 2, 2), (2, 2, 1), (4, 2, 0), (0, 0, 0)])
def test_the_number_of_all_is_told_with_every_page(
    catalogue: Catalogue, offset: int, limit: int, ids: int
) -> None:
    for number in range(3):
        catalogue.put_package(package(number))
    page = catalogue.search(Search(text="dien bien", offset=offset, limit=limit))
    assert (page.total, len(page.packages)) == (3, ids)
