"""Slices and parts: joined without a seam, cut where they must be, kept over a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from compositions import Here, composed, pictures, sound
from recordings import VIET_DUC, plain_recording

from bridge.archive.film import joining
from bridge.archive.film.compose import ComposeSettings, compose
from bridge.archive.film.crew import ConfinedCrew
from bridge.archive.film.slices import read_slice
from bridge.archive.model import Composition, Progress, SessionFolder
from bridge.archive.plan.programme import plan_packages
from bridge.base.errors import ArchiveFailed


@pytest.fixture(scope="module")
def half_minute(tmp_path_factory: pytest.TempPathFactory) -> SessionFolder:
    """A case of 26 seconds: four slices, the sound of one voice."""
    recording = plain_recording(tmp_path_factory.mktemp("half-minute"))
    recording.start_case(0.5, "C01")
    recording.camera(
        VIET_DUC, 0.5, 26.5, fps=10, picture=lambda seconds: (40 + int(seconds * 8), 60, 60), segment_s=8
    )
    recording.microphone(VIET_DUC, 0.5, 26.5, segment_s=8)
    recording.finish_case(26.5, "C01")
    return recording.write()


@pytest.fixture(scope="module")
def whole(half_minute: SessionFolder, tmp_path_factory: pytest.TempPathFactory) -> Composition:
    return composed(half_minute, tmp_path_factory.mktemp("whole"))


def test_slices_of_two_processes_join_without_a_seam(half_minute: SessionFolder, tmp_path: Path) -> None:
    made = composed(half_minute, tmp_path, settings=ComposeSettings(slice_s=8, workers=2))
    heard = sound(made)
    assert sum(part.frames for part in made.video) == 650
    middle = heard[4_800:-4_800]
    times = np.arange(len(middle)) / 48_000
    turning = middle * np.exp(-2j * np.pi * VIET_DUC.tone_hz * times)
    amplitude = 2 * np.abs(turning[: len(turning) // 480 * 480].reshape(-1, 480).mean(axis=1))
    # 10 ms at a time, the tone is as loud everywhere, and nothing else is heard.
    assert amplitude.min() > 0.9 * np.median(amplitude)
    alone = np.convolve(turning, np.ones(4800) / 4800, "same")
    tone_alone = 2 * np.real(alone * np.exp(2j * np.pi * VIET_DUC.tone_hz * times))
    assert np.abs((middle - tone_alone)[4800:-4800]).max() < 0.05


def test_parts_are_small_enough_and_each_plays_by_itself(
    half_minute: SessionFolder, whole: Composition, tmp_path: Path
) -> None:
    limit = whole.video[0].bytes // 3
    made = composed(
        half_minute, tmp_path / "parts", settings=ComposeSettings(slice_s=8, workers=1, part_max_bytes=limit)
    )
    assert len(made.video) >= 3
    assert all(part.bytes <= limit and part.bytes % 2 == 0 for part in made.video)
    assert [part.path.name for part in made.video][:2] == ["part-001.mp4", "part-002.mp4"]
    assert sum(part.frames for part in made.video) == 650
    for before, after in zip(made.video, made.video[1:], strict=False):
        assert after.start_ms == before.end_ms + 40
    assert (np.abs(pictures(made).astype(int) - pictures(whole).astype(int)) < 3).all()
    # The same sound, sample by sample, cut where the pictures are cut.
    assert np.abs(sound(made) - sound(whole)).max() < 0.001


def start_composing(session: SessionFolder, folder: Path, workers: int) -> "subprocess.Popen[bytes]":
    """Compose in a process of its own."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom compositions import composed\n"
        "from bridge.archive.film.compose import ComposeSettings\n"
        "from bridge.archive.model import SessionFolder\nfrom bridge.store.journal import read_journal\n"
        "path = Path(sys.argv[1])\nsession = SessionFolder(path, read_journal(path / 'journal.jsonl'))\n"
        "settings = ComposeSettings(slice_s=8, workers=int(sys.argv[3]))\n"
        "composed(session, Path(sys.argv[2]), settings=settings)\n"
    )
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{Path(tests).parent}"}
    command = [sys.executable, "-c", program, str(session.path), str(folder), str(workers)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def crew_of(process: "subprocess.Popen[bytes]", count: int) -> list[psutil.Process]:
    """Wait until the processes that make slices are at work, and return them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        crew = psutil.Process(process.pid).children()
        if len(crew) == count and all(worker.num_threads() > 1 for worker in crew):
            return crew
        time.sleep(0.01)
    pytest.fail("no process was started")


def test_nobody_makes_slices_for_a_composition_that_was_killed(
    half_minute: SessionFolder, tmp_path: Path
) -> None:
    process = start_composing(half_minute, tmp_path, 2)
    crew = crew_of(process, 2)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(crew, timeout=10)
    assert alive == []


def test_composition_whose_worker_is_killed_fails_and_can_be_tried_again(
    half_minute: SessionFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = plan_packages(half_minute.events)
    settings = ComposeSettings(slice_s=8, workers=2)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*arguments, **options))
        return started[-1]

    def kill_one(progress: Progress) -> None:
        if progress.done > 0.1:
            started[0].kill()

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(ArchiveFailed, match="killed by signal 9") as failure:
        compose(half_minute, plan, tmp_path, settings=settings, report=kill_one, crew=ConfinedCrew())
    assert not failure.value.is_lasting
    assert [process.poll() is None for process in started] == [False, False]
    made = compose(half_minute, plan, tmp_path, settings=settings, report=lambda _: None, crew=ConfinedCrew())
    assert sum(part.frames for part in made.video) == 650


def test_slices_that_cannot_be_used_are_made_anew_at_the_next_attempt(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.microphone(VIET_DUC, 0.5, 10.5)
    recording.finish_case(10.5, "C01")
    session = recording.write()
    (plan,) = plan_packages(session.events)
    settings = ComposeSettings(height_px=360, slice_s=8, workers=1)
    folder = tmp_path / "work"

    def attempt(report: Callable[[Progress], None] = lambda _: None) -> Composition:
        return compose(session, plan, folder, settings=settings, report=report, crew=Here())

    def stop_joining(progress: Progress) -> None:
        if progress.done > 0.97:
            raise ArchiveFailed("stopped", "all slices are there")

    with pytest.raises(ArchiveFailed, match="all slices are there"):
        attempt(stop_joining)
    first, second = sorted((folder / "slices").glob("*.slice"))
    other = read_slice(second)
    # A byte that the disk has changed.
    content = bytearray(second.read_bytes())
    content[-100] ^= 1
    second.write_bytes(content)
    with pytest.raises(ArchiveFailed, match="slice-damaged"):
        attempt()
    assert (first.exists(), second.exists()) == (True, False)
    # A slice of another encoder.
    other.sound_setup = b"\x13\x90"
    other.write(second)
    with pytest.raises(ArchiveFailed, match="compose-setup"):
        attempt()
    assert list((folder / "slices").glob("*.slice")) == []
    assert sum(part.frames for part in attempt().video) == 250


def test_killed_composition_goes_on_with_its_slices(half_minute: SessionFolder, tmp_path: Path) -> None:
    process = start_composing(half_minute, tmp_path, 1)
    deadline = time.monotonic() + 60
    found: list[Path] = []
    while not found and process.poll() is None and time.monotonic() < deadline:
        found = list(tmp_path.glob("*/slices/*.slice"))
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 1 <= len(found) < 4
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/slices/*.slice")}
    kept: dict[Path, int] = {}
    told: list[float] = []

    def look(progress: Progress) -> None:
        told.append(progress.done)
        kept.update({path: path.stat().st_mtime_ns for path in times if path.exists()})

    (plan,) = plan_packages(half_minute.events)
    settings = ComposeSettings(slice_s=8, workers=1)
    made = compose(half_minute, plan, tmp_path / plan.package, settings=settings, report=look, crew=Here())
    assert kept == times
    assert told[0] >= 0.2
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert sum(part.frames for part in made.video) == 650
    # And once more: everything is there, and is only told.
    again = compose(half_minute, plan, tmp_path / plan.package, settings=settings, report=look, crew=Here())
    assert again == made


def test_part_that_the_disk_did_not_take_whole_is_no_part(whole: Composition, tmp_path: Path) -> None:
    data = whole.video[0].path.read_bytes()
    path = tmp_path / "part.mp4"
    path.write_bytes(data)
    assert joining._is_whole(path, 650)
    assert not joining._is_whole(path, 649)
    for broken in (data[:-100], data + b"\0\0", b"", data[: len(data) // 2]):
        path.write_bytes(broken)
        assert not joining._is_whole(path, 650)
