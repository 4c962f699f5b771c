"""A destroyed case: of what was seen, heard and written in it nothing stays, and all of the others does."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import START_MS, VIET_DUC

from bridge.archive.keeping.erasure import erase_case
from bridge.archive.keeping.stores import LocalStore
from bridge.archive.work import deciding, tasks
from bridge.archive.work.attempts import now_ms
from bridge.archive.work.jobs import Task
from bridge.archive.work.purge import Served, purge_tracks
from bridge.base.errors import ArchiveFailed
from bridge.capture.repair import repair_session
from bridge.capture.sessions import DAMAGED, JOURNAL
from bridge.store.entries import SessionState
from bridge.store.journal import Chain, EventKind, JournalFile, canonical, parse_event, read_journal
from tests.unit.test_consent import CASE, DESTROY, GRANTED, WITHDRAWN, House, house, withdrawn

__all__ = ["house"]


def written(text: str) -> dict[str, str]:
    return {"participant": VIET_DUC.participant, "name": "BS. An", "site": "Việt Đức", "text": text}


def journals(house: House) -> list[Path]:
    found = sorted(house.path.rglob("journal*.jsonl*"))
    assert len(found) >= 2
    return found


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_was_written_in_a_destroyed_case_is_taken_out_of_the_journal(
    house: Callable[..., House], is_damaged: bool
) -> None:
    built = house([(2.0, GRANTED)])
    recorder = JournalFile(built.path / JOURNAL)
    chain = Chain(recorder.events[-1])

    def note(seconds: float, kind: EventKind, **data: object) -> None:
        recorder.write([chain.append(kind, data, round(START_MS + seconds * 1000))])

    # Its case is taken up for a second time, and the conference goes on with another.
    for seconds, case, text in (
        (10.0, "C01", "bí mật"),
        (20.0, "C02", "của người khác"),
        (30.0, None, "chung"),
    ):
        if case == "C02":
            note(seconds, EventKind.CASE_ADDED, case=case, code="BN-0413", site=None)
        if case:
            note(seconds, EventKind.CASE_STARTED, case=case, by="p-1")
        note(seconds, EventKind.RECORDING_STATE, state="recording", by=None, case=case)
        note(seconds + 1, EventKind.CHAT, **written(text))
        if case:
            note(seconds + 2, EventKind.CASE_FINISHED, case=case, by="p-1")
    if is_damaged:
        # In one file only, so that the line is known from the other.
        damaged = bytearray((built.path / JOURNAL).read_bytes())
        damaged[damaged.index("bí mật".encode()) - 3] ^= 1
        (built.path / JOURNAL).write_bytes(damaged)
        aside = built.path / "damaged"
        aside.mkdir()
        (aside / "journal.copy.jsonl~2").write_bytes((built.path / "journal.copy.jsonl").read_bytes())
    before = read_journal(built.path / JOURNAL)
    built.take_in()
    built.seal()
    built.catalogue.withhold(CASE, WITHDRAWN, now_ms(), by="command line", reason="đơn")
    for attempt in range(2):
        if attempt:
            erase_case(built.path, "C01")
        else:
            deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
        for path in journals(built):
            content = path.read_bytes()
            assert "bí mật".encode() not in content
            assert "của người khác".encode() in content
            assert b"chung" in content
        after = read_journal(built.path / JOURNAL)
        assert [event.hash for event in after] == [event.hash for event in before]
        assert [(a.seq, a.data) for a, b in zip(after, before, strict=True) if a != b] == [
            (one.seq, {"erased": True}) for one in before if one.data.get("text") == "bí mật"
        ]
    # The conference goes on, and so does its journal.
    note(60.0, EventKind.SESSION_CLOSED, reason="room-closed")
    recorder.close()
    built.take_in()
    built.seal()
    package = built.folders.packages / f"{built.path.name}-S"
    assert [json.loads(line)["text"] for line in (package / "data/chat.jsonl").read_text().splitlines()] == [
        "chung"
    ]
    # Taken up again it is whole.
    JournalFile(built.path / JOURNAL).close()
    assert read_journal(built.path / JOURNAL)[-1].kind is EventKind.SESSION_CLOSED


@pytest.mark.parametrize("broken", ["recording-state", "case-confirmed", "chat"])
@pytest.mark.parametrize("is_repaired", [False, True])
def test_no_word_of_a_destroyed_case_stays_in_a_broken_journal(
    tmp_path: Path, broken: str, is_repaired: bool
) -> None:
    chain, session = Chain(), tmp_path / "HC-BV-20261128-01"
    session.mkdir()
    told: list[tuple[str, dict[str, object]]] = [
        ("session-opened", {"session": session.name}),
        ("case-started", {"case": "C01", "by": "p-1"}),
        ("recording-state", {"state": "recording", "case": "C01"}),
        ("chat", written("bí mật, trước")),
        ("case-confirmed", {"case": "C01", "by": "p-1"}),
        ("chat", written("bí mật, sau")),
        ("case-finished", {"case": "C01", "by": "p-1"}),
        ("recording-state", {"state": "recording", "case": None}),
        ("chat", written("chung")),
    ]
    events = [chain.append(EventKind(kind), data, START_MS + 10 * n) for n, (kind, data) in enumerate(told)]
    journal = JournalFile(session / JOURNAL)
    journal.write(events)
    journal.close()
    line = next(event.line() for event in events if event.kind == broken)
    for path in session.iterdir():
        path.write_bytes(path.read_bytes().replace(line, line.replace(b'"kind"', b'"kinx"')))
    if is_repaired:
        repair_session(session)
        assert len(list((session / DAMAGED).iterdir())) == 2
    for _ in range(2):
        erase_case(session, "C01")
        whole = b"".join(path.read_bytes() for path in session.rglob("journal*"))
        assert "bí mật".encode() not in whole
        assert b"chung" in whole


def test_tracks_that_were_on_their_way_out_go_with_a_destroyed_case(tmp_path: Path) -> None:
    leaving = tmp_path / "tracks.purged" / "t001-p-1-camera"
    leaving.mkdir(parents=True)
    (leaving / "00001.mkv").write_bytes(b"a face")
    erase_case(tmp_path, "C01")
    assert not leaving.exists()


@pytest.mark.parametrize("name", ["journal.jsonl", "journal.copy.jsonl"])
def test_an_erased_line_that_is_damaged_in_one_file_breaks_nothing(tmp_path: Path, name: str) -> None:
    chain = Chain()
    events = [
        chain.append(EventKind.SESSION_OPENED, {"session": "HC-BV-20261128-01"}, START_MS),
        chain.append(EventKind.CASE_STARTED, {"case": "C01", "by": "p-1"}, START_MS + 1),
        chain.append(EventKind.CHAT, written("bí mật"), START_MS + 2),
        chain.append(EventKind.SESSION_CLOSED, {"reason": "room-closed"}, START_MS + 3),
    ]
    journal = JournalFile(tmp_path / JOURNAL)
    journal.write(events)
    journal.close()
    erase_case(tmp_path, "C01")
    whole = read_journal(tmp_path / JOURNAL)
    assert whole[2].data == {"erased": True}
    path = tmp_path / name
    data = path.read_bytes()
    at = data.index(b'"hash":"' + events[2].hash.encode()) + 8
    for offset in range(at, at + 64):
        damaged = bytearray(data)
        damaged[offset] = ord("0") if damaged[offset] != ord("0") else ord("1")
        path.write_bytes(damaged)
        assert read_journal(tmp_path / JOURNAL) == whole
    path.write_bytes(data)


def test_only_erased_words_of_the_chat_may_have_no_hash_of_their_own(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / JOURNAL)
    chain = Chain()
    journal.write([chain.append(EventKind.SESSION_OPENED, {"session": "x"}, 1)])
    journal.write([chain.append(EventKind.CONSENT, {"state": "withdrawn"}, 2)])
    journal.write([chain.append(EventKind.CHAT, written("lời"), 3)])
    journal.close()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    for line, data in ((lines[1], {"erased": True}), (lines[2], {"erased": False}), (lines[2], {"text": ""})):
        assert parse_event(canonical({**json.loads(line), "data": data}) + b"\n") is None
    assert parse_event(canonical({**json.loads(lines[2]), "data": {"erased": True}}) + b"\n") is not None


def test_segments_of_an_older_version_go_with_the_case_in_whose_time_they_were_captured(
    house: Callable[..., House],
) -> None:
    built = withdrawn(house)
    track = built.path / "tracks" / "t001-p-1-camera"
    track.mkdir(parents=True)
    # The case began at 1 s and ended at 9 s.
    lines = [
        {"k": "segment", "file": f"{number:05}.mkv", "at_ms": START_MS + seconds * 1000}
        for number, seconds in enumerate((0, 2, 5, 9, 20), 1)
    ]
    (track / "track.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for number in range(1, 6):
        (track / f"{number:05}.mkv").touch()
    deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert sorted(path.name for path in track.glob("*.mkv")) == ["00001.mkv", "00004.mkv", "00005.mkv"]


@pytest.mark.parametrize("is_another", [False, True])
def test_a_case_is_destroyed_whose_session_the_catalogue_does_not_know(
    house: Callable[..., House], is_another: bool
) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    built.seal()
    segment = built.path / "tracks" / "t001-p-1-camera" / "00001.mkv"
    segment.parent.mkdir(parents=True)
    segment.touch()
    line = {"k": "segment", "file": segment.name, "case": "C01"}
    (segment.parent / "track.jsonl").write_text(json.dumps(line) + "\n")
    # A catalogue made anew beside a journal that is broken in both files.
    for path in journals(built):
        content = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*content[:3], b"{}\n", *content[4:]]))
    if is_another:
        opened = Chain().append(EventKind.SESSION_OPENED, {"session": "another"}, 1)
        for path in journals(built):
            path.write_bytes(opened.line() + b"{}\n{}\n")
    with pytest.raises(ArchiveFailed, match="journal-broken"):
        built.restart()
    assert built.catalogue.session(built.path.name) is None
    deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert segment.exists() is is_another


def test_tracks_that_the_disk_keeps_are_told_and_tried_again(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.close()
    names = [f"{number:05}.mkv" for number in range(1, 4)]
    track = built.path / "tracks" / "t001-p-1-camera"
    track.mkdir(parents=True)
    for name in names:
        (track / name).touch()
    (session,) = built.catalogue.sessions()
    unlink = os.unlink

    def refuse(path: str, **where: int) -> None:
        if str(path).endswith(names[0]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        unlink(path, **where)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        for _ in range(2):
            with pytest.raises(ArchiveFailed, match="disk-error"):
                purge_tracks(built.archive, Served(session, ()))
    assert [path.name for path in built.path.rglob("*.mkv")] == [names[0]]
    assert built.catalogue.session(session.id) == session
    purge_tracks(built.archive, Served(session, ()))
    assert list(built.path.rglob("*.mkv")) == []
    purged = built.catalogue.session(session.id)
    assert purged is not None
    assert purged.state is SessionState.PURGED


@pytest.mark.parametrize("is_here", [False, True])
def test_a_deletion_that_was_interrupted_is_completed_although_the_catalogue_is_lost(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_here: bool
) -> None:
    built = withdrawn(house)
    here, other = LocalStore(built.folders.packages), LocalStore(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.put(built.folders.packages / CASE, report=lambda progress: None)

    class Away(LocalStore):
        def delete(self, package: str, tagmanifest_sha256: str) -> None:
            raise ArchiveFailed("store-unreachable", "the store is away")

    away = [Away(tmp_path / "other")]
    with monkeypatch.context() as patched:
        patched.setattr(deciding, "stores", lambda *_: [*away, here] if is_here else [here, *away])
        with pytest.raises(ArchiveFailed, match="store-unreachable"):
            deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    # What was decided is lost as well; the certificate is what is left.
    (built.folders.archive / "decisions.jsonl").unlink()
    built.restart()
    assert (built.case.deleted_ms, built.case.disposition) == (None, DESTROY)
    assert built.catalogue.count_undecided() == 1
    assert built.catalogue.undelivered() == ()
    assert CASE not in {entry.id for entry in built.catalogue.unstored()}
    # It comes before all others, and at once.
    assert [entry.id for entry in built.catalogue.due_checks(0, now_ms())] == [CASE]
    monkeypatch.setattr("bridge.archive.keeping.stores.stores", lambda *_: [here, other])
    assert tasks.check(built.archive.job(Task.CHECK, CASE), lambda progress: None) == {"problems": []}
    assert other.packages() == []
    assert CASE not in here.packages()
    for restart in (lambda: None, built.restart):
        restart()
        assert built.case.deleted_ms is not None
        assert built.catalogue.due_checks(0, now_ms()) == ()
