"""Clocks that leap: nothing goes too early for it, nothing waits for years."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sealed

from bridge.archive.folders import ArchiveFolders
from bridge.archive.trusted import TrustedTime, read_trusted, write_trusted
from bridge.archive.work.attempts import Archive, now_ms
from bridge.archive.work.register import register_packages
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000


def test_clock_that_is_right_is_believed() -> None:
    time = TrustedTime(NOW_MS, NOW_MS)
    for minute in range(1, 100):
        time = time.passed(NOW_MS + minute * 60_000, 60.0)
    assert time.now_ms(NOW_MS + 99 * 60_000) == NOW_MS + 99 * 60_000


def test_leap_forward_while_it_runs_brings_nothing_nearer_than_twice_what_has_passed() -> None:
    leaped = NOW_MS + 365 * DAY_MS
    time = TrustedTime(NOW_MS, NOW_MS).passed(leaped, 600.0)
    assert time.now_ms(leaped) == NOW_MS + 1_200_000


def test_leap_over_a_restart_counts_once_however_often_it_is_restarted(tmp_path: Path) -> None:
    leaped = NOW_MS + 3650 * DAY_MS
    write_trusted(tmp_path, TrustedTime(NOW_MS, NOW_MS))
    for restart in range(50):
        time = read_trusted(tmp_path, leaped + restart * 1000)
        write_trusted(tmp_path, time)
    assert time.now_ms(leaped) <= NOW_MS + 4 * DAY_MS


def test_machine_that_was_off_for_a_month_catches_up() -> None:
    month = NOW_MS + 30 * DAY_MS
    time = TrustedTime(NOW_MS, NOW_MS).restarted(month)
    assert time.now_ms(month) == NOW_MS + 3 * DAY_MS
    for day in range(30):
        time = time.passed(month + day * DAY_MS, 86_400.0)
    assert time.now_ms(month + 29 * DAY_MS) == month + 29 * DAY_MS


def test_clock_that_was_in_the_past_for_a_while_takes_nothing_back() -> None:
    time = TrustedTime(NOW_MS, NOW_MS).restarted(0)
    assert time.now_ms(0) == 0
    assert time.passed(NOW_MS + 60_000, 60.0).now_ms(NOW_MS + 60_000) == NOW_MS + 60_000


def test_what_is_kept_of_it_may_be_torn(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[]", b'{"seen_ms": "x"}'):
        (tmp_path / "clock.json").write_bytes(content)
        assert read_trusted(tmp_path, NOW_MS) == TrustedTime(NOW_MS, NOW_MS)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path)
    folders.prepare()
    catalogue = Catalogue(tmp_path)
    yield Archive(folders, ArchiveConfig(), DicomConfig(), catalogue, ArchiveCounters())
    catalogue.close()


def test_attempt_that_was_put_off_by_a_clock_years_ahead_is_made_now(archive: Archive) -> None:
    sealed.sealed(archive.folders.archive)
    register_packages(archive.catalogue, archive.folders)
    (entry,) = archive.catalogue.in_states(PackageState.SEALED)
    supervisor = ArchiveSupervisor(archive)
    failed = ArchiveFailed("pacs-unreachable", "it is away")
    archive.catalogue.set_failed(
        entry.id, PackageState.SEALED, failed, next_attempt_ms=now_ms() + 3650 * DAY_MS
    )
    due, _ = supervisor._due("deliver", archive.catalogue.undelivered())
    assert due is not None
    # A pause as there are is waited for.
    archive.catalogue.set_failed(entry.id, PackageState.SEALED, failed, next_attempt_ms=now_ms() + 600_000)
    due, pause_s = supervisor._due("deliver", archive.catalogue.undelivered())
    assert due is None
    assert pause_s <= 600


def test_what_waits_since_the_future_waits_since_now(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = ArchiveSupervisor(archive)
    monotonic = [100.0]
    monkeypatch.setattr("bridge.archive.work.supervisor.time.monotonic", lambda: monotonic[0])
    future_ms = now_ms() + 3650 * DAY_MS
    assert supervisor._age_s("make", future_ms) == 0.0
    monotonic[0] += 7200.0
    assert supervisor._age_s("make", future_ms) == 7200.0
    assert supervisor._age_s("make", None) == 0.0
    assert supervisor._age_s("make", now_ms() - 5000) >= 5.0


def test_keeping_counts_from_the_later_of_two_clocks(tmp_path: Path) -> None:
    plan = sealed.case_plan()
    # The node recorded with the clock of a dead battery.
    early = replace(
        plan, started_ms=plan.started_ms - 6 * 366 * DAY_MS, ended_ms=plan.ended_ms - 6 * 366 * DAY_MS
    )
    package = sealed.sealed(tmp_path, early)
    assert sealed.read(package.folder, "case.json")["retention"]["until"] == "2036-12-31"
