"""Damaged journals and track logs: what stands in two files is whole, and what is lost is told."""

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from recordings import MUONG_NHE, VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders
from bridge.archive.work import tasks
from bridge.archive.work.jobs import Job, Task
from bridge.base.errors import RecordingFailed
from bridge.base.words import PackageState
from bridge.capture.repair import find_interrupted, repair_session
from bridge.capture.sessions import DAMAGED
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue
from bridge.store.checked_lines import checked_line, read_line
from bridge.store.entries import PackageEntry
from bridge.store.journal import (
    Chain,
    Event,
    EventKind,
    JournalFile,
    copy_of,
    erase_chat,
    held,
    read_journal,
    salvaged,
    set_right,
)

SESSION = "HC-BV-20261125-01"
LINE = {
    "k": "segment",
    "file": "00001.mkv",
    "stream": 1,
    "pts_ms": 1200,
    "at_ms": 1795857533989,
    "case": "C01",
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    write_events(path, [event for _, event in zip(range(6), chained(), strict=False)])
    return path


def chained() -> list[Event]:
    chain = Chain()
    kinds = [EventKind.SESSION_OPENED, *[EventKind.CHAT] * 4, EventKind.SESSION_CLOSED]
    return [
        chain.append(kind, {"text": f"dòng {number}"}, 1000 * number) for number, kind in enumerate(kinds)
    ]


def write_events(path: Path, events: list[Event]) -> None:
    file = JournalFile(path)
    file.write(events)
    file.close()


def change(path: Path, offset: int, by: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= by
    path.write_bytes(data)


def test_any_changed_byte_in_one_of_a_journals_files_costs_no_event(journal: Path) -> None:
    whole = journal.read_bytes()
    changes = random.Random(8)
    for path in (journal, copy_of(journal)):
        for offset in range(len(whole)):
            change(path, offset, changes.randrange(1, 256))
            assert read_journal(journal) == chained(), offset
            path.write_bytes(whole)


def test_journal_that_is_opened_again_is_whole_in_both_files(journal: Path) -> None:
    whole = journal.read_bytes()
    change(journal, 100)
    change(copy_of(journal), len(whole) - 100)
    write_events(journal, [])
    assert journal.read_bytes() == copy_of(journal).read_bytes() == whole


def test_words_that_are_erased_while_a_journal_is_set_right_do_not_come_back(journal: Path) -> None:
    before = read_journal(journal)
    assert erase_chat([journal, copy_of(journal)], lambda events: [events[2].seq]) == 1
    set_right(journal, before, journal.parent / "damaged")
    for path in (journal, copy_of(journal)):
        assert b"d\xc3\xb2ng 2" not in path.read_bytes()
    assert [event.is_erased for event in read_journal(journal)] == [False, False, True, False, False, False]


def test_a_journal_is_not_opened_while_somebody_erases_in_it(journal: Path) -> None:
    opened = threading.Event()

    def open_it() -> None:
        JournalFile(journal).close()
        opened.set()

    with held(journal.parent):
        opening = threading.Thread(target=open_it)
        opening.start()
        assert not opened.wait(0.2)
    opening.join(10)
    assert opened.is_set()


def test_journal_of_which_one_file_is_gone_is_whole(journal: Path) -> None:
    journal.unlink()
    assert read_journal(journal) == chained()


def test_journal_of_an_older_version_gets_its_second_file_when_it_goes_on(journal: Path) -> None:
    copy_of(journal).unlink()
    write_events(journal, [])
    assert copy_of(journal).read_bytes() == journal.read_bytes()


def test_line_that_is_broken_in_both_files_ends_the_session_there(journal: Path) -> None:
    for path in (journal, copy_of(journal)):
        path.write_bytes(path.read_bytes().replace("dòng 3".encode(), "dòng 9".encode()))
    with pytest.raises(RecordingFailed, match="line 4"):
        read_journal(journal)
    *known, closed = salvaged(journal)
    assert known == chained()[:3]
    assert closed.kind is EventKind.SESSION_CLOSED
    assert (closed.at_ms, closed.data) == (2000, {"reason": "damaged", "until_ms": 5000})


def test_any_changed_byte_in_a_line_of_a_log_is_seen() -> None:
    line = checked_line(LINE)
    assert read_line(line) == LINE
    for offset in range(len(line)):
        for by in range(1, 256):
            changed = read_line(bytes([*line[:offset], line[offset] ^ by, *line[offset + 1 :]]))
            assert changed is None or {key: changed[key] for key in LINE} == LINE


def job(folder: Path, task: Task, package: str = "") -> Job:
    folders = ArchiveFolders(folder / "recordings", folder / "archive")
    folders.prepare()
    return Job(task, folders, ArchiveConfig(video_height_px="360"), DicomConfig(), package, None)


def archived(folder: Path, package: str) -> tuple[list[dict[str, Any]], PackageEntry]:
    """Take the sessions in and make a package; return the gaps that it tells, and its entry."""
    tasks.take_in_sessions(job(folder, Task.INTAKE))
    tasks.archive(job(folder, Task.ARCHIVE, package), lambda _: None)
    gaps = json.loads((folder / "archive" / "packages" / package / "data" / "gaps.json").read_bytes())
    catalogue = Catalogue(folder / "archive")
    entry = catalogue.package(package)
    catalogue.close()
    assert entry is not None
    return gaps, entry


def recorded(recordings: Path) -> Recording:
    made = Recording(recordings)
    made.join(0, VIET_DUC)
    made.join(0, MUONG_NHE)
    made.state(0, "recording")
    return made


def spans(gaps: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(gap["source"], gap["reason"], gap["duration_ms"] / 1000) for gap in gaps]


@pytest.mark.parametrize("is_ended", [True, False])
def test_session_whose_journal_is_broken_is_sealed_up_to_there_and_says_so(
    tmp_path: Path, is_ended: bool
) -> None:
    made = recorded(tmp_path / "recordings")
    made.add_case(3, "C01", "BN-1")
    made.start_case(4, "C01")
    made.stage(6, MUONG_NHE)
    if is_ended:
        made.close(7)
    journal = made.write().path / "journal.jsonl"
    for path in (journal, copy_of(journal)):
        path.write_bytes(path.read_bytes().replace(b'"state":"granted"', b'"state":"refused"'))
    broken = journal.read_bytes()
    if not is_ended:
        (interrupted,) = find_interrupted(tmp_path / "recordings")
        found = repair_session(interrupted)
        assert found is not None
        assert found.is_closed
        assert (journal.parent / DAMAGED / journal.name).read_bytes() == broken
        assert find_interrupted(tmp_path / "recordings") == []
    gaps, entry = archived(tmp_path, f"{SESSION}-S")
    assert spans(gaps) == [("journal", "damaged", 4.0 if is_ended else 3.0)]
    assert (entry.state, entry.damaged_ms) == (PackageState.SEALED, 4000 if is_ended else 3000)
    # What is not known to be allowed is in no package.
    assert not (tmp_path / "archive" / "packages" / f"{SESSION}-C01").exists()


def test_segment_whose_line_is_damaged_is_told_as_a_gap(tmp_path: Path) -> None:
    made = recorded(tmp_path / "recordings")
    track = made.microphone(VIET_DUC, 0, 6)
    made.close(6)
    made.write()
    log = track.folder / "track.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    (index,) = (index for index, line in enumerate(lines) if b"00002.mkv" in line)
    lines[index] = lines[index].replace(b'"pts_ms":2000', b'"pts_ms":2900')
    log.write_bytes(b"".join(lines))
    gaps, entry = archived(tmp_path, f"{SESSION}-S")
    ((source, reason, seconds),) = spans(gaps)
    assert (source, reason) == ("microphone", "damaged")
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert entry.damaged_ms == gaps[0]["duration_ms"]


def test_line_that_may_have_told_of_a_gap_is_told_as_one(tmp_path: Path) -> None:
    made = recorded(tmp_path / "recordings")
    track = made.microphone(VIET_DUC, 0, 6)
    made.close(6)
    made.write()
    log = track.folder / "track.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    (index,) = (index for index, line in enumerate(lines) if b"00002.mkv" in line)
    gap = checked_line({"k": "gap", "stream": 1, "from_pts_ms": 1500, "to_pts_ms": 1900, "reason": "loss"})
    lines.insert(index, gap.replace(b"1500", b"1501"))
    log.write_bytes(b"".join(lines))
    gaps, _ = archived(tmp_path, f"{SESSION}-S")
    assert [gap["reason"] for gap in gaps] == ["damaged"]
