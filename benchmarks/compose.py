"""How fast is a conference composed, and in how much memory?

The input is made once for each shape of conference and kept: cameras with a moving head and sensor noise, in
720 lines while on stage and in 180 otherwise, as the recorder takes them; an X-ray on show for a third of
the time; one voice at a time. `--soak-hours` composes a long conference of few pictures instead.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

from bridge.archive.film.compose import ComposeSettings, compose
from bridge.archive.film.crew import ConfinedCrew
from bridge.archive.model import SessionFolder
from bridge.archive.plan.programme import plan_packages
from bridge.store.journal import read_journal
from tests.recordings import Recording, Site

STAGE_S = 20.0
LOOP_FRAMES = 50
SAMPLE_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """One run; `peak_memory_mb` is the sum of resident sets, which counts what processes share twice."""

    sites: int
    video_s: float
    frames: int
    content_frames: int
    composing_s: float
    realtime_factor: float
    # What two idle cores would make of the CPU time that was used; for machines that are busy otherwise.
    realtime_factor_of_cpu: float
    peak_memory_mb: float
    # Medians of the first and of the last quarter of the run.
    memory_early_mb: float
    memory_late_mb: float
    cpu_s: float
    bytes: int


class MemoryWatch:
    """Samples the memory of this process and of all below it."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        return max(self._samples)

    def median_mb(self, start: float, end: float) -> float:
        """Return the median between two fractions of the run."""
        count = len(self._samples)
        return float(np.median(self._samples[int(count * start) : max(int(count * end), 1)]))

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._is_over.wait(SAMPLE_EVERY_S):
            total = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self._samples.append(total / 1e6)


def conference(folder: Path, sites: int, seconds: float) -> SessionFolder:
    """Make a conference whose stage goes round, or read the one made before."""
    recording_folder = folder / f"compose-{sites}-{round(seconds)}"
    journal = recording_folder / "HC-BV-20261125-01" / "journal.jsonl"
    if journal.exists():
        return SessionFolder(journal.parent, read_journal(journal))
    recording = Recording(recording_folder)
    everybody = [_site(number) for number in range(sites)]
    turns = [(start, min(start + STAGE_S, seconds)) for start in np.arange(0, seconds, STAGE_S)]
    for site in everybody:
        recording.join(0, site)
    recording.state(0.01, "recording")
    for number, (start, _) in enumerate(turns):
        recording.stage(start, everybody[number % sites])
        recording.speakers(start, everybody[number % sites])
    for number, site in enumerate(everybody):
        own = [turn for index, turn in enumerate(turns) if index % sites == number]
        _record_camera(recording, site, own, seconds)
        recording.microphone(site, 0, seconds, talks=own, segment_s=60)
    start, end = seconds / 3, seconds * 2 / 3
    recording.content(start, everybody[0])
    recording.content(end, None)
    recording.camera(
        everybody[0],
        start,
        end,
        source="content",
        picture=_xray(),
        size=(1280, 720),
        fps=5,
        segment_s=60,
        bitrate_bps=1_500_000,
    )
    recording.close(seconds)
    return recording.write()


def long_conference(folder: Path, sites: int, seconds: float) -> SessionFolder:
    """Make a conference of one small picture a second, and of people who say a word in a minute."""
    recording_folder = folder / f"soak-{sites}-{round(seconds)}"
    journal = recording_folder / "HC-BV-20261125-01" / "journal.jsonl"
    if journal.exists():
        return SessionFolder(journal.parent, read_journal(journal))
    recording = Recording(recording_folder)
    everybody = [_site(number) for number in range(sites)]
    for site in everybody:
        recording.join(0, site)
    recording.state(0.01, "recording")
    minutes = np.arange(0, seconds, 60.0)
    for number, start in enumerate(minutes):
        recording.stage(start, everybody[number % sites])
        recording.speakers(start, everybody[number % sites])
        recording.speakers(start + 5, *[])
    for number, site in enumerate(everybody):
        talks = [(start, start + 5) for start in minutes[number::sites]]
        recording.camera(site, 0, seconds, fps=1, segment_s=60)
        recording.microphone(site, 0, seconds, talks=talks, has_dtx=True, segment_s=60)
    recording.close(seconds)
    return recording.write()


def measure(session: SessionFolder, sites: int, settings: ComposeSettings) -> Result:
    """Compose the session's package."""
    (plan,) = plan_packages(session.events)
    with tempfile.TemporaryDirectory() as work, MemoryWatch() as memory:
        before = psutil.Process().cpu_times()
        started = time.monotonic()
        done = compose(
            session, plan, Path(work), settings=settings, report=lambda _: None, crew=ConfinedCrew()
        )
        composing_s = time.monotonic() - started
        after = psutil.Process().cpu_times()
    # User and system, of this process and of its children.
    cpu_s = sum(after[:4]) - sum(before[:4])
    frames = sum(part.frames for part in done.video)
    video_s = frames / 25
    return Result(
        sites=sites,
        video_s=video_s,
        frames=frames,
        content_frames=sum(part.frames for part in done.content_video),
        composing_s=round(composing_s, 2),
        realtime_factor=round(video_s / composing_s, 2),
        realtime_factor_of_cpu=round(video_s / (cpu_s / settings.workers), 2),
        peak_memory_mb=round(memory.peak_mb),
        memory_early_mb=round(memory.median_mb(0.0, 0.25)),
        memory_late_mb=round(memory.median_mb(0.75, 1.0)),
        cpu_s=round(cpu_s, 1),
        bytes=sum(part.bytes for part in (*done.video, *done.content_video)),
    )


def _site(number: int) -> Site:
    return Site(
        participant=f"p-{number:08d}",
        name=f"Bệnh viện Đa khoa tỉnh số {number + 1}",
        colour=(60 + 25 * number % 180, 90, 200 - 30 * number % 180),
        tone_hz=300.0 + 110 * number,
        clock_offset_ms=1000.0 * number,
        drift_ppm=20.0 * number - 50,
    )


def _record_camera(recording: Recording, site: Site, own: list[tuple[float, float]], seconds: float) -> None:
    """Record a camera in 720 lines on stage, and in 180 otherwise."""
    large, small = (1280, 720), (320, 180)
    switches: list[tuple[float, tuple[int, int]]] = []
    for start, end in own:
        switches += [(start, large), (end, small)]
    at_start = large if own and own[0][0] == 0 else small
    restarts = [(at, size) for at, size in switches if 0 < at < seconds]
    recording.camera(
        site,
        0,
        seconds,
        picture=_head(site),
        size=at_start,
        restarts=restarts,
        segment_s=60,
        bitrate_bps=1_700_000 if at_start == large else 150_000,
    )


def _head(site: Site) -> Callable[[float], av.VideoFrame]:
    """Return somebody before a wall, nodding, as a webcam sees it."""
    noise = np.random.default_rng(int(site.tone_hz))
    wall = np.full((720, 1280, 3), site.colour, np.float32)
    wall += np.linspace(-40, 40, 1280, dtype=np.float32)[None, :, None]
    wall += cv2.resize(noise.normal(0, 25, (90, 160, 3)).astype(np.float32), (1280, 720))
    frames = []
    for number in range(LOOP_FRAMES):
        sway = int(18 * np.sin(2 * np.pi * number / LOOP_FRAMES))
        picture = wall.copy()
        cv2.ellipse(picture, (640 + sway, 640), (330, 260), 0, 0, 360, (70, 80, 90), -1)
        cv2.ellipse(picture, (640 + sway, 330 + sway // 3), (130, 170), 0, 0, 360, (200, 165, 140), -1)
        cv2.ellipse(
            picture, (640 + sway, 400 + sway // 3), (45, 8 + number % 9), 0, 0, 360, (120, 50, 50), -1
        )
        picture += noise.normal(0, 2, (720, 1280, 1)).astype(np.float32)
        rgb = np.clip(picture, 0, 255).astype(np.uint8)
        frames.append(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p"))
    return lambda seconds: frames[round(seconds * 25) % LOOP_FRAMES]


def _xray() -> Callable[[float], av.VideoFrame]:
    """Return a film with fine structure and a pointer that moves over it."""
    noise = np.random.default_rng(1)
    film = cv2.resize(noise.normal(90, 40, (180, 320)).astype(np.float32), (1280, 720))
    film += noise.normal(0, 4, (720, 1280)).astype(np.float32)
    frames = []
    for number in range(LOOP_FRAMES):
        picture = np.clip(film, 0, 255).astype(np.uint8)
        cv2.circle(picture, (300 + number * 10, 360), 12, 255, 2)
        rgb = np.repeat(picture[:, :, None], 3, axis=2)
        frames.append(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p"))
    return lambda seconds: frames[round(seconds * 5) % LOOP_FRAMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--height", type=int, choices=(720, 1080), default=720)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--soak-hours", type=float, default=0.0, help="compose a long conference instead")
    parser.add_argument(
        "--input", type=Path, default=Path(tempfile.gettempdir()) / "hoichan-benchmarks", help="kept there"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.input.mkdir(parents=True, exist_ok=True)
    if arguments.soak_hours:
        session = long_conference(arguments.input, arguments.sites, arguments.soak_hours * 3600)
    else:
        session = conference(arguments.input, arguments.sites, arguments.minutes * 60)
    settings = ComposeSettings(height_px=arguments.height, workers=arguments.workers)
    result = measure(session, arguments.sites, settings)
    if arguments.json:
        print(json.dumps(asdict(result)))
    else:
        for name, value in asdict(result).items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
