"""A process that records while its disk refuses or hangs: one file's fault costs one track a pause."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from capture import Recorded, RecordedTrack, recover
from faults import Faults, make_faults
from media import packet_times_ms

from bridge.base.words import Source
from bridge.store.journal import EventKind

TESTS = Path(__file__).parents[1]
WITHIN_S = 60.0


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return make_faults(tmp_path)


@contextmanager
def recording(folder: Path, faults: Faults) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that records, with pictures on the disk already; killed in the end."""
    environment = {
        **os.environ,
        **faults.environment,
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
    }
    command = [sys.executable, str(TESTS / "recording_child.py"), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"recording\n"
        yield child
        child.kill()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def cameras(folder: Path) -> list[Path]:
    return sorted(folder.glob("HC-*/tracks/*-camera"))


def begun_ms(track: RecordedTrack) -> int:
    begun: int = track.of("stream")[0]["at_ms"]
    return begun


@pytest.mark.parametrize("rule", ["pwrite 00001.mkv 5", "sync track.jsonl 5", "open 00002.mkv 30"])
def test_a_refused_write_ends_one_track_and_another_goes_on(
    tmp_path: Path, faults: Faults, rule: str
) -> None:
    folder = tmp_path / "recordings"
    call, file, reason = rule.split()
    with recording(folder, faults):
        (broken,) = cameras(folder)
        faults.set(f"{call} {broken.name}/{file} {reason}")
        until(lambda: len(cameras(folder)) == 2 and bool(list(cameras(folder)[1].glob("*.mkv"))))
        until(lambda: sum(path.stat().st_size for path in cameras(folder)[1].glob("*.mkv")) > 4000)
    faults.set()
    (interrupted,) = recover(folder)
    session = Recorded(interrupted.folder)
    old, new = session.tracks("*-hue-camera")
    assert old.lines[-1]["reason"] == "disk" or rule.startswith("sync")
    # From the last picture of the one to the first of the other everything that is missing is told.
    gap = new.of("gap")[0]
    assert (gap["reason"], gap["to_pts_ms"]) == ("disk", 0)
    told = [begun_ms(old) + gap["to_pts_ms"] for gap in old.of("gap")]
    last_ms = begun_ms(old) + max(time for path in old.segments for time in packet_times_ms(path))
    assert max([last_ms, *told]) > begun_ms(new) + gap["from_pts_ms"] - 700
    assert [packet for path in new.segments for packet in packet_times_ms(path)]
    assert {gap["reason"] for gap in session.track("hue", Source.MICROPHONE).of("gap")} <= {"loss"}
    ended = [event.data for event in interrupted.events if event.kind is EventKind.TRACK_ENDED]
    assert ended == [{"track": old.folder.name, "reason": "disk"}]


def test_a_recording_fails_when_the_track_that_was_to_go_on_is_refused_as_well(
    tmp_path: Path, faults: Faults
) -> None:
    folder = tmp_path / "recordings"
    with recording(folder, faults) as child:
        faults.set("pwrite -camera/ 5")
        assert child.stdout is not None
        assert child.stdout.readline() == b"failed\n"
        assert len(cameras(folder)) == 2


def test_a_disk_that_hangs_is_a_problem_until_it_answers_again(tmp_path: Path, faults: Faults) -> None:
    folder = tmp_path / "recordings"
    with recording(folder, faults) as child:
        assert child.stdout is not None
        faults.set("sync -camera/ hang")
        assert child.stdout.readline() == b"problem writer-behind\n"
        faults.set()
        assert child.stdout.readline() == b"problem None\n"
    (interrupted,) = recover(folder)
    (camera,) = Recorded(interrupted.folder).tracks("*-hue-camera")
    assert {gap["reason"] for gap in camera.of("gap")} <= {"loss"}
