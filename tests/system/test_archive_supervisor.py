"""archive/work/supervisor.py with real workers: recordings become packages by themselves, whatever dies."""

import asyncio
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from recordings import CO_TO, VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders, locked
from bridge.archive.package.verify import verify, verify_chain
from bridge.archive.work import attempts, process
from bridge.archive.work import supervisor as at_work
from bridge.archive.work.attempts import Archive, make, now_ms, take_in
from bridge.archive.work.jobs import Task
from bridge.archive.work.purge import is_same_disk, making_bytes
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.archive.work.turns import Turns
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.base.words import Disposition, PackageState
from bridge.capture.sessions import JOURNAL
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.audit import Action
from bridge.store.catalogue import FILE_NAME, Catalogue
from bridge.store.entries import PackageEntry, SessionState
from bridge.store.journal import Chain, EventKind, JournalFile, copy_of

# Workers take what others leave of the machine, and it may be little.
pytestmark = pytest.mark.timeout(400)

SESSION = "HC-BV-20261125-01"
CASE, WHOLE = f"{SESSION}-C01", f"{SESSION}-S"


def record(recordings: Path, *, seconds: float = 2.0, is_closed: bool = True, session: str = SESSION) -> Path:
    """One case of two sites, and nothing besides."""
    recording = Recording(recordings, session=session)
    recording.join(0.0, VIET_DUC)
    recording.join(0.1, CO_TO)
    recording.add_case(0.2, "C01", "BN-0412", CO_TO)
    recording.start_case(0.5, "C01")
    recording.speakers(0.5, VIET_DUC)
    recording.camera(VIET_DUC, 0.5, 0.5 + seconds)
    recording.microphone(VIET_DUC, 0.5, 0.5 + seconds)
    recording.finish_case(0.5 + seconds, "C01")
    if is_closed:
        recording.close(1.0 + seconds)
    return recording.write().path


@pytest.fixture
def folders(tmp_path: Path) -> ArchiveFolders:
    (tmp_path / "recordings").mkdir()
    return ArchiveFolders(tmp_path / "recordings", tmp_path / "archive")


@pytest.fixture
def archive(folders: ArchiveFolders) -> Archive:
    return Archive(
        folders,
        ArchiveConfig(gives_way=False),
        DicomConfig(),
        Catalogue(folders.archive),
        ArchiveCounters(),
        silence_max_s=300.0,
    )


@pytest.fixture
async def supervisor(archive: Archive) -> AsyncIterator[ArchiveSupervisor]:
    created = ArchiveSupervisor(archive)
    yield created
    await created.stop()
    archive.catalogue.close()


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    for running in psutil.process_iter():
        try:
            if running.ppid() == pid and "bridge.archive.work.worker" in running.cmdline():
                found.append(running)
        except psutil.Error:
            continue
    return found


async def until(condition: Callable[[], object], what: str, *, within_s: float = 150.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s:.0f} s: {what}"
        await asyncio.sleep(0.02)


def entry(archive: Archive, package: str) -> PackageEntry:
    found = archive.catalogue.package(package)
    assert found is not None
    return found


def are_sealed(archive: Archive, *packages: str) -> bool:
    found = [archive.catalogue.package(package) for package in packages]
    return all(item is not None and item.seal is not None for item in found)


async def test_what_a_crash_left_is_archived_without_being_asked(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings)
    supervisor.start()
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")
    case = entry(archive, CASE)
    assert (case.state, case.code, case.sites[0]) == (PackageState.SEALED, "BN-0412", CO_TO.name)
    assert verify(folders.packages / CASE) == []
    assert verify_chain([folders.packages / CASE, folders.packages / WHOLE]) == []
    await until(lambda: not list(folders.work.glob("HC-*/")), "the work is cleared away")
    session = archive.catalogue.session(SESSION)
    assert session is not None
    assert session.state is SessionState.CLOSED
    await until(lambda: len(archive.catalogue.audit.entries()) == 2, "both are in the audit")
    assert {line.action for line in archive.catalogue.audit.entries()} == {Action.SEAL}
    # Nothing is due for a year, and checked all the same when somebody asks.
    assert entry(archive, CASE).checked_ms is None
    supervisor.check(CASE)
    supervisor.check(f"{SESSION}-C99")
    await until(lambda: entry(archive, CASE).checked_ms, "it is checked")
    assert entry(archive, CASE).fixity_ok is True
    assert entry(archive, WHOLE).checked_ms is None


async def test_a_finished_case_is_archived_while_the_conference_goes_on(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    supervisor.start()
    await until(lambda: supervisor.status.is_available, "the archive has begun")
    path = record(folders.recordings, is_closed=False)
    supervisor.session_changed(path)
    await until(lambda: are_sealed(archive, CASE), "the case is sealed")
    assert entry(archive, WHOLE).state is PackageState.ONGOING
    session = archive.catalogue.session(SESSION)
    assert session is not None
    assert session.state is SessionState.OPEN


async def test_a_worker_that_is_killed_is_replaced_and_the_package_completed(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings, seconds=20.0)
    supervisor.start()
    await until(lambda: composing(archive), "a package is being composed")
    workers = workers_of(os.getpid())
    assert workers
    for worker in workers:
        worker.kill()
    await until(lambda: archive.counters.workers_crashed == 1, "the crash is noticed")
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")
    assert verify(folders.packages / CASE) == []
    assert entry(archive, CASE).error is None


def composing(archive: Archive) -> bool:
    return bool(archive.catalogue.in_states(PackageState.COMPOSING))


async def test_stopping_leaves_no_worker_and_the_next_start_goes_on(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings, seconds=20.0)
    supervisor.start()
    await until(lambda: composing(archive), "a package is being composed")
    await supervisor.stop()
    assert workers_of(os.getpid()) == []
    assert archive.catalogue.in_states(PackageState.COMPOSING) == ()
    supervisor.start()
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")


async def test_composing_waits_while_the_disk_is_needed_for_recording(
    archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings, seconds=20.0)
    reserve = [10**18]
    supervisor = ArchiveSupervisor(archive, reserve_bytes=lambda: reserve[0])
    supervisor.start()
    await until(lambda: supervisor.status.waits_for_room, "composing waits for room")
    await until(lambda: (supervisor.status.packages or {}).get(PackageState.QUEUED) == 2, "both wait")
    assert archive.counters.attempts_failed == 0
    reserve[0] = 0
    supervisor._wake_all()
    await until(lambda: composing(archive), "a package is being composed")
    # A conference begins.
    reserve[0] = 10**18
    await until(lambda: not composing(archive) and workers_of(os.getpid()) == [], "composing has stopped")
    assert [entry(archive, package).attempts for package in (CASE, WHOLE)] == [0, 0]
    assert not are_sealed(archive, CASE)
    await supervisor.stop()


async def test_a_short_case_waits_for_no_long_one(
    supervisor: ArchiveSupervisor,
    archive: Archive,
    folders: ArchiveFolders,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(at_work, "STATUS_INTERVAL_S", 0.1)
    monkeypatch.setattr(supervisor, "_turns", Turns(turn_s=0.5))
    caplog.set_level(logging.INFO, "bridge.archive.work.supervisor")
    record(folders.recordings, seconds=120.0, is_closed=False)
    supervisor.start()
    await until(lambda: composing(archive), "the long case is being composed")
    short = record(folders.recordings, session="HC-BV-20261125-02")
    supervisor.session_changed(short)
    await until(lambda: are_sealed(archive, "HC-BV-20261125-02-C01"), "the short case is sealed")
    assert f"{CASE} gives way to others" in caplog.text
    assert not are_sealed(archive, CASE)
    assert entry(archive, CASE).attempts == 0
    await until(lambda: composing(archive), "the long case goes on")
    assert archive.counters.attempts_failed == 0


def test_room_for_a_package_grows_with_its_length_and_height(tmp_path: Path) -> None:
    hour = making_bytes(3_600_000, 720)
    # Slices and parts of about a gigabyte each.
    assert 2e9 < hour < 3e9
    assert making_bytes(7_200_000, 1080) > 4 * hour
    assert is_same_disk(tmp_path, tmp_path)
    assert not is_same_disk(tmp_path, Path("/proc"))


SERVER = """
import asyncio, sys
from pathlib import Path
from bridge.archive.work.attempts import Archive
from bridge.archive.folders import ArchiveFolders
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.config import ArchiveConfig, DicomConfig
from bridge.base.counters import ArchiveCounters
from bridge.store.catalogue import Catalogue

async def main(root):
    folders = ArchiveFolders(root / "recordings", root / "archive")
    archive = Archive(folders, ArchiveConfig(), DicomConfig(), Catalogue(folders.archive), ArchiveCounters())
    ArchiveSupervisor(archive).start()
    await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1])))
"""


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_a_killed_server_leaves_no_orphan_and_its_work_is_finished_by_the_next(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders, tmp_path: Path
) -> None:
    record(folders.recordings, seconds=20.0)
    server = started("-c", SERVER, str(tmp_path))
    try:
        await until(lambda: composing(archive), "the server composes")
        left = psutil.Process(server.pid).children(recursive=True)
        assert left
    finally:
        server.send_signal(signal.SIGKILL)
        server.communicate()
    await until(lambda: not any(alive(process) for process in left), "nothing is left running", within_s=20.0)
    supervisor.start()
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")
    assert verify(folders.packages / CASE) == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("steps", range(6))
async def test_news_that_come_while_it_is_stopped_do_not_keep_it(
    supervisor: ArchiveSupervisor, folders: ArchiveFolders, steps: int
) -> None:
    supervisor.start()
    await until(lambda: supervisor.status.is_available, "the archive works", within_s=30.0)
    await asyncio.sleep(1.0)
    supervisor.session_changed(folders.recordings / "HC-BV-20261125-09")
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(20.0):
        await supervisor.stop()


async def test_a_worker_gives_way_to_everything_else(archive: Archive, folders: ArchiveFolders) -> None:
    record(folders.recordings, seconds=20.0)
    await take_in(archive)
    yielding = replace(archive, archive=ArchiveConfig())
    making = asyncio.create_task(make(yielding, CASE, on_progress=lambda _: None))
    await until(lambda: composing(archive), "the package is being composed")
    (worker,) = workers_of(os.getpid())
    assert os.sched_getscheduler(worker.pid) == os.SCHED_IDLE
    assert worker.nice() == 19
    assert worker.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
    assert os.getsid(worker.pid) == os.getsid(0)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert entry(archive, CASE).state is PackageState.QUEUED


async def test_a_worker_that_gets_no_further_is_ended(archive: Archive, folders: ArchiveFolders) -> None:
    path = record(folders.recordings)
    await take_in(archive, path)
    # What it waits for never comes: another process seals and does not end.
    with locked(folders.work / "sealing.lock"):
        impatient = replace(archive, silence_max_s=8.0)
        with pytest.raises(ArchiveFailed) as caught:
            await make(impatient, CASE, on_progress=lambda _: None)
    assert caught.value.code == "worker-stalled"
    assert workers_of(os.getpid()) == []
    stalled = entry(archive, CASE)
    assert (stalled.state, stalled.attempts, stalled.error_code) == (PackageState.QUEUED, 1, "worker-stalled")
    assert stalled.next_attempt_ms is not None


async def test_two_processes_never_work_on_the_same_package(
    archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings)
    await take_in(archive)
    with locked(folders.work / f"{CASE}.lock"), pytest.raises(ArchiveFailed) as caught:
        await make(archive, CASE, on_progress=lambda _: None)
    assert caught.value.code == "busy"
    assert entry(archive, CASE).attempts == 0


async def test_a_package_that_cannot_be_made_is_failed_with_its_reason_until_somebody_retries(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    path = record(folders.recordings)
    journal = path / "journal.jsonl"
    whole = journal.read_bytes()
    for damaged in (journal, copy_of(journal)):
        damaged.write_bytes(b"?" + whole[1:])
    supervisor.start()
    await until(lambda: archive.catalogue.in_states(PackageState.FAILED), "the session is failed")
    failed = entry(archive, WHOLE)
    assert (failed.error_code, failed.title) == ("journal-broken", path.name)
    assert "line 1" in (failed.error or "")
    journal.write_bytes(whole)
    supervisor.session_changed(path)
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")


async def test_a_retry_begins_at_once_and_counts_anew(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    path = record(folders.recordings)
    await take_in(archive, path)
    error = ArchiveFailed("compose-setup", "no font", is_lasting=True)
    for package in (CASE, WHOLE):
        archive.catalogue.set_failed(package, PackageState.FAILED, error, next_attempt_ms=None)
    supervisor.start()
    await until(lambda: supervisor.status.is_available, "the archive is at work")
    assert entry(archive, CASE).state is PackageState.FAILED
    await asyncio.to_thread(supervisor.retry, CASE)
    await until(lambda: are_sealed(archive, CASE), "the package is sealed")
    assert entry(archive, WHOLE).state is PackageState.FAILED


async def test_a_session_that_has_only_begun_is_no_failure(archive: Archive, folders: ArchiveFolders) -> None:
    (folders.recordings / SESSION).mkdir()
    (folders.recordings / SESSION / "journal.jsonl").touch()
    assert (await take_in(archive))["broken"] == []
    assert archive.catalogue.packages_of(SESSION) == ()


async def test_a_session_that_goes_on_is_shown_as_being_recorded(
    archive: Archive, folders: ArchiveFolders
) -> None:
    recording = Recording(folders.recordings)
    recording.join(0.0, VIET_DUC)
    recording.add_case(0.2, "C01", "BN-0412", CO_TO)
    recording.start_case(0.5, "C01")
    recording.write()
    await take_in(archive)
    shown = archive.catalogue.packages_of(SESSION)
    assert [(item.id, item.state, item.code) for item in shown] == [
        (CASE, PackageState.RECORDING, "BN-0412"),
        # What is recorded is the case's, and nothing of what belongs to no case.
        (WHOLE, PackageState.ONGOING, None),
    ]


async def test_what_is_said_while_a_package_is_being_made_is_heard_at_once(
    supervisor: ArchiveSupervisor,
    archive: Archive,
    folders: ArchiveFolders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = record(folders.recordings, is_closed=False)
    begun = asyncio.Event()

    async def make(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(attempts, "make", make)
    supervisor.start()
    await begun.wait()
    journal = JournalFile(path / JOURNAL)
    last = journal.events[-1]
    word = {"case": "C01", "purpose": "care", "state": "withdrawn", "by": VIET_DUC.participant}
    journal.write([Chain(last).append(EventKind.CONSENT, word, last.at_ms + 1000)])
    journal.close()
    supervisor.session_changed(path)
    await until(lambda: entry(archive, CASE).disposition is Disposition.OPEN, "the case is held back")


async def test_a_lost_catalogue_is_made_anew_from_the_packages(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings)
    supervisor.start()
    await until(lambda: archive.counters.packages_sealed == 2, "both packages are sealed")
    await supervisor.stop()
    before = {package: entry(archive, package) for package in (CASE, WHOLE)}
    last_seal = archive.catalogue.last_seal()
    archive.catalogue.set_legal_hold(CASE, True)
    archive.catalogue.close()
    (folders.archive / FILE_NAME).write_bytes(b"not a database, any more" * 1000)
    for name in (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
        (folders.archive / name).unlink(missing_ok=True)
    supervisor.start()
    await until(lambda: supervisor.status.is_available, "the archive works again")
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are known again")
    assert archive.catalogue.last_seal() == last_seal
    for package, was in before.items():
        found = entry(archive, package)
        assert (found.seal, found.bytes, found.started_ms, found.sealed_ms) == (
            was.seal,
            was.bytes,
            was.started_ms,
            was.sealed_ms,
        )
    assert entry(archive, CASE).legal_hold
    assert archive.counters.packages_sealed == 2


async def test_a_package_in_the_archive_that_the_catalogue_missed_is_not_made_again(
    archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings)
    await take_in(archive)
    first = await make(archive, CASE, on_progress=lambda _: None)
    archive.catalogue.close()
    with sqlite3.connect(folders.archive / FILE_NAME) as connection:
        connection.execute("UPDATE packages SET seal = NULL, seal_number = NULL, state = 'sealing'")
    connection.close()
    again = await make(archive, CASE, on_progress=lambda _: None)
    assert again["seal"] == first["seal"]
    assert entry(archive, CASE).state is PackageState.SEALED


async def test_work_that_a_worker_left_after_sealing_is_cleared_away(
    archive: Archive, folders: ArchiveFolders
) -> None:
    record(folders.recordings)
    await take_in(archive)
    await make(archive, CASE, on_progress=lambda _: None)
    for package in (CASE, WHOLE):
        (folders.work / package / "slices").mkdir(parents=True)
    await take_in(archive)
    assert [path.name for path in folders.work.glob("HC-*/")] == [WHOLE]


async def test_tracks_go_when_their_packages_are_sealed_and_proven(
    archive: Archive, folders: ArchiveFolders
) -> None:
    path = record(folders.recordings)
    at_once = replace(archive, archive=ArchiveConfig(gives_way=False, keep_tracks_days=0))
    supervisor = ArchiveSupervisor(at_once)
    supervisor.start()
    await until(lambda: are_sealed(archive, CASE, WHOLE), "both packages are sealed")
    await until(lambda: not (path / "tracks").exists(), "the tracks are gone")
    await until(lambda: archive.counters.sessions_purged == 1, "this is told")
    await supervisor.stop()
    assert (path / "journal.jsonl").exists()
    assert entry(archive, CASE).fixity_ok
    session = archive.catalogue.session(SESSION)
    assert session is not None
    assert session.state is SessionState.PURGED


async def test_tracks_of_a_package_that_was_damaged_since_its_last_check_stay(
    archive: Archive, folders: ArchiveFolders
) -> None:
    path = record(folders.recordings)
    await take_in(archive)
    for package in (CASE, WHOLE):
        await make(archive, package, on_progress=lambda _: None)
        # It was whole when it was looked at last.
        archive.catalogue.set_checked(package, now_ms(), is_whole=True)
    part = folders.packages / CASE / "data" / "video" / "part-001.mp4"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.unlink()
    part.write_bytes(content)
    config = ArchiveConfig(gives_way=False, keep_tracks_days=0)
    supervisor = ArchiveSupervisor(replace(archive, archive=config))
    supervisor.start()
    await until(lambda: archive.counters.fixity_failures == 1, "the damage is found")
    await until(lambda: supervisor.status.damaged == 1, "the damage is told")
    await supervisor.stop()
    assert (path / "tracks").exists()
    assert entry(archive, CASE).fixity_ok is False


async def test_a_second_server_leaves_the_archive_to_the_first(
    supervisor: ArchiveSupervisor, archive: Archive, folders: ArchiveFolders
) -> None:
    supervisor.start()
    await until(lambda: supervisor.status.is_available, "the first is at work")
    second = ArchiveSupervisor(archive)
    second.start()
    await asyncio.sleep(0.5)
    assert not second.status.is_available
    await second.stop()


async def test_an_archive_whose_disk_is_away_harms_nobody(tmp_path: Path, archive: Archive) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path / "file" / "archive")
    supervisor = ArchiveSupervisor(replace(archive, folders=folders, catalogue=Catalogue(folders.archive)))
    supervisor.start()
    supervisor.session_changed(tmp_path / "recordings" / SESSION)
    await asyncio.sleep(0.3)
    assert not supervisor.status.is_available
    await supervisor.stop()


async def test_a_worker_that_is_no_worker_is_told_as_crashed(
    archive: Archive, folders: ArchiveFolders
) -> None:
    job = replace(archive.job(Task.ARCHIVE, CASE), archive=ArchiveConfig(retention="nonsense"))
    record(folders.recordings)
    with pytest.raises(ArchiveFailed) as caught:
        await process.run(job, lambda _: None)
    assert caught.value.code == "worker-crashed"
    assert "status 1" in caught.value.sentence
    shutil.rmtree(folders.archive)


async def test_reports_of_a_worker_are_json_lines(archive: Archive, folders: ArchiveFolders) -> None:
    record(folders.recordings)
    await take_in(archive)
    worker = started("-m", "bridge.archive.work.worker")
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(archive.job(Task.ARCHIVE, WHOLE).line())
    worker.stdin.flush()
    lines = [json.loads(line) for line in worker.stdout]
    worker.stdin.close()
    worker.stdout.close()
    assert worker.wait(10) == 0
    assert [line.get("stage") for line in lines[:2]] == ["read", "compose"]
    assert set(lines[-1]["result"]) == {"seal", "bytes"}
