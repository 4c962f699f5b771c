"""The repair of what a crash or a bad disk left: it harms nothing, tells what is missing, holds nobody up."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from capture import RecordedMeeting, read_track, recover
from faults import Faults, make_faults
from media import packet_times_ms
from network import Network

from bridge.base.counters import RecordingCounters
from bridge.base.words import Source
from bridge.capture import recovery
from bridge.capture.recovery import Recovery
from bridge.capture.repair import OPEN_SEGMENTS_MAX, Interrupted, repair_session, repair_track
from bridge.confinement.processes import Bounds, start
from bridge.store.journal import EventKind, copy_of

RECORDED_S = 16.0
HOUR_8_BYTES = 8 << 30


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a kill leaves after sixteen seconds in segments of two."""
    folder = tmp_path_factory.mktemp("recorded") / "recordings"
    with Network() as network:
        meeting = RecordedMeeting(network, folder, segment_s=2)
        meeting.film("hue")
        meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
        meeting.recorder.capture(True)
        meeting.run(RECORDED_S)
        shutil.copytree(folder, folder.parent / "killed")
        meeting.close()
    return folder.parent / "killed"


@pytest.fixture
def killed(recorded: Path, tmp_path: Path) -> Path:
    """A session that was killed."""
    shutil.copytree(recorded, tmp_path / "recordings")
    (session,) = (tmp_path / "recordings").glob("HC-*")
    return session


@pytest.fixture(scope="module")
def disk_faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return make_faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def faults(disk_faults: Faults) -> Iterator[Faults]:
    yield disk_faults
    disk_faults.set()


def track_of(session: Path, source: Source = Source.CAMERA) -> Path:
    (track,) = (session / "tracks").glob(f"*-hue-{source.value}")
    return track


def last_of(session: Path) -> str:
    """The camera's last segment, as a part of its path."""
    track = track_of(session)
    return f"{track.name}/{max(path.name for path in track.glob('*.mkv'))}"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x20
    path.write_bytes(data)


def repair_beside(session: Path, faults: Faults) -> None:
    bounds = Bounds((), (str(session),), file_bytes=1 << 30, cpu_s=60)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in faults.environment.items():
            environment.setenv(name, value)
        process = start("bridge.capture.repair_process", bounds, "repair", str(session))
    with process as child:
        assert child.stdout is not None
        assert b'"ended_ms"' in child.stdout.read()
    assert child.returncode == 0


def test_a_damaged_line_in_the_middle_of_a_log_costs_itself(killed: Path) -> None:
    log = track_of(killed) / "track.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    flip(log, len(lines[0]) + len(lines[1]) + 2)
    damaged = log.read_bytes()
    repair_session(killed)
    assert log.read_bytes()[: len(damaged)] == damaged
    assert b'"k":"end"' in log.read_bytes()[len(damaged) :]


@pytest.mark.parametrize(
    "line", ['{"k":"stream"}', '{"k":"segment","file":3}', '{"k":"arrival","at_ms":"x"}', "[]"]
)
def test_a_line_that_says_nothing_stops_no_repair(killed: Path, line: str) -> None:
    log = track_of(killed) / "track.jsonl"
    text = log.read_text()
    first, rest = text.split("\n", 1)
    log.write_text(f"{first}\n{line}\n{rest}{line}\n")
    interrupted = repair_session(killed)
    assert interrupted is not None
    lines = log.read_text().splitlines()
    assert lines[:-1] == [first, line, *rest.splitlines()]
    assert '"end"' in lines[-1]


def test_what_was_ended_in_order_is_never_changed(killed: Path) -> None:
    segments = sorted(track_of(killed).glob("*.mkv"))
    assert len(segments) > OPEN_SEGMENTS_MAX
    finished = segments[0]
    flip(finished, 40_000 % finished.stat().st_size)
    flip(finished, 2)
    damaged = finished.read_bytes()
    repair_session(killed)
    assert finished.read_bytes() == damaged


def test_damage_in_the_last_segment_is_told_and_what_follows_it_stays(killed: Path) -> None:
    track = track_of(killed)
    last = sorted(track.glob("*.mkv"))[-1]
    times = packet_times_ms(last)
    data = last.read_bytes()
    clusters = [place for place in range(len(data)) if data[place : place + 4] == b"\x1f\x43\xb6\x75"]
    assert len(clusters) > 3
    flip(last, clusters[1])
    repair_session(killed)
    assert packet_times_ms(last)[-1] == times[-1]
    gap, end = read_track(track).lines[-2:]
    assert end["k"] == "end"
    assert gap["reason"] == "damaged"
    missing = set(times) - set(packet_times_ms(last))
    assert gap["from_pts_ms"] < min(missing) <= max(missing) < gap["to_pts_ms"]


def test_a_segment_that_cannot_be_read_is_set_aside_and_told(killed: Path) -> None:
    track = track_of(killed)
    last = sorted(track.glob("*.mkv"))[-1]
    times = packet_times_ms(last)
    flip(last, 0)
    damaged = last.read_bytes()
    repair_session(killed)
    assert not last.exists()
    assert (track / "damaged" / last.name).read_bytes() == damaged
    gap, end = read_track(track).lines[-2:]
    assert (gap["reason"], gap["from_pts_ms"]) == ("damaged", times[0])
    assert gap["to_pts_ms"] == times[-1]
    assert end["at_ms"] >= read_track(track).of("stream")[-1]["at_ms"] + gap["to_pts_ms"] - 1
    again = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    repair_session(killed)
    assert {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()} == again


@pytest.mark.parametrize("rule", ["pread {last} 5", "pread -camera/ 5", "open -camera/ 5"])
def test_a_sector_that_cannot_be_read_costs_no_more_than_its_file(
    killed: Path, faults: Faults, rule: str
) -> None:
    before = {path: path.read_bytes() for path in killed.rglob("*.mkv")}
    faults.set(rule.format(last=last_of(killed)))
    repair_beside(killed, faults)
    faults.set()
    # Nothing is deleted, and the other track is whole.
    there = {path.name: path for path in track_of(killed).rglob("*.mkv")}
    assert {name: path.read_bytes() for name, path in there.items()} == {
        path.name: data for path, data in before.items() if path.parent == track_of(killed)
    }
    assert read_track(track_of(killed, Source.MICROPHONE)).lines[-1]["k"] == "end"


def test_the_time_of_a_repair_does_not_grow_with_the_session(killed: Path) -> None:
    track = track_of(killed)
    # What lies before cannot even be opened, and its log could not be read in an hour.
    (track / "00001.mkv").unlink()
    (track / "00001.mkv").symlink_to("nowhere")
    log = track / "track.jsonl"
    tail = log.read_bytes()
    with log.open("r+b") as file:
        file.seek(HOUR_8_BYTES)
        file.write(b"\n" + tail)
    assert repair_track(track) > 0
    with log.open("rb") as file:
        file.seek(-200, os.SEEK_END)
        assert b'"interrupted"' in file.read()


class Found:
    """Who waits for repaired sessions."""

    def __init__(self) -> None:
        self.sessions: list[Interrupted] = []
        self.has_come = asyncio.Event()

    def __call__(self, session: Interrupted) -> None:
        self.sessions.append(session)
        self.has_come.set()


def recovery_of(session: Path, found: Found, **settings: Any) -> tuple[Recovery, RecordingCounters]:
    counters = RecordingCounters()
    return Recovery(session.parent, counters=counters, found=found, **settings), counters


async def test_who_comes_for_an_interrupted_session_waits_until_it_is_repaired(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "DOOR_S", 60.0)
    found = Found()
    at_work, counters = recovery_of(killed, found)
    at_work.start()
    await at_work.until_ready("r-1")
    (session,) = found.sessions
    assert session == recover(killed.parent)[0]
    assert (session.room, session.track_count, session.folder) == ("r-1", 2, killed)
    assert counters.sessions_aside == 0
    # Nothing is waited for any more.
    await asyncio.wait_for(at_work.until_ready("r-2"), 10.0)
    await at_work.stop()


async def test_a_journal_whose_beginning_was_tampered_with_stops_nobody_else(
    killed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recovery, "DOOR_S", 60.0)
    second = killed.parent / "HC-BV-20270115-02"
    shutil.copytree(killed, second)
    journal = killed / "journal.jsonl"
    tampered = journal.read_bytes().replace(b'"site_code":"BV"', b'"site_code":"XY"', 1)
    for path in (journal, copy_of(journal)):
        path.write_bytes(tampered)
    found = Found()
    at_work, counters = recovery_of(killed, found)
    at_work.start()
    await at_work.until_ready("r-1")
    assert [session.folder for session in found.sessions] == [second]
    async with asyncio.timeout(60.0):
        while not counters.sessions_aside:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert f"session {killed.name} is left aside" in caplog.text
    assert journal.read_bytes() == tampered
    await at_work.stop()


async def test_a_disk_that_hangs_holds_up_neither_people_nor_other_sessions(
    killed: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    second = killed.parent / "HC-BV-20270115-02"
    shutil.copytree(killed, second)
    monkeypatch.setattr(recovery, "DOOR_S", 0.1)
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    faults.set(f"pread {killed.name} hang")
    found = Found()
    at_work, counters = recovery_of(killed, found, repair_s=60.0)
    at_work.start()
    await found.has_come.wait()
    assert [session.folder for session in found.sessions] == [second]
    # Its room is not kept closed.
    await asyncio.wait_for(at_work.until_ready("r-1"), 30.0)
    await asyncio.wait_for(at_work.stop(), 60.0)
    assert counters.sessions_aside == 0


async def test_a_session_that_could_not_be_repaired_is_left_aside_and_tried_again(
    killed: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recovery, "AGAIN_S", 0.01)
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    found = Found()
    at_work, counters = recovery_of(killed, found, repair_s=3.0)
    faults.set(f"pread {last_of(killed)} hang")
    at_work.start()
    async with asyncio.timeout(60):
        while not counters.sessions_aside:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert f"session {killed.name} is left aside" in caplog.text
    assert found.sessions == []
    faults.set()
    await found.has_come.wait()
    assert counters.sessions_aside == 0
    assert found.sessions[0].folder == killed
    await at_work.stop()
