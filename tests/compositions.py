"""Looks into composed videos: pixels, tones, boxes of the file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from struct import unpack
from typing import Any

import av
import numpy as np

from bridge.archive.film.compose import ComposeSettings, compose
from bridge.archive.film.crew import ConfinedCrew, Crew
from bridge.archive.film.orders import Order, Watch
from bridge.archive.model import Composition, SessionFolder
from bridge.archive.plan.programme import plan_packages

AUDIO_HZ = 48_000


class Here:
    """Carries out orders in this process, where a test can look at it, and none has to be started."""

    def carry_out(self, orders: Sequence[Order], count: Callable[[int], None]) -> list[Any]:
        return [order.carry_out(Watch(count)) for order in orders]


def composed(
    session: SessionFolder, folder: Path, package: str = "C01", settings: ComposeSettings | None = None
) -> Composition:
    """Compose one package of a session, in this process unless several are to do it."""
    plan = next(plan for plan in plan_packages(session.events) if plan.package.endswith(f"-{package}"))
    chosen = settings or ComposeSettings(slice_s=8, workers=1)
    crew: Crew = Here() if chosen.workers == 1 else ConfinedCrew()
    return compose(session, plan, folder / plan.package, settings=chosen, report=lambda _: None, crew=crew)


def pictures(composition: Composition) -> "np.ndarray[Any, Any]":
    """Return all frames of the video, an eighth as large, as RGB."""
    small = []
    for part in composition.video:
        with av.open(str(part.path)) as container:
            for frame in container.decode(video=0):
                scaled = frame.reformat(width=frame.width // 8, height=frame.height // 8, format="rgb24")
                small.append(scaled.to_ndarray())
    return np.stack(small)


def sound(composition: Composition) -> "np.ndarray[Any, Any]":
    """Return the sound of the video, one channel, each part in its place."""
    pieces = []
    for part in composition.video:
        piece = np.zeros(part.frames * AUDIO_HZ // 25, np.float32)
        with av.open(str(part.path)) as container:
            for frame in container.decode(audio=0):
                assert frame.pts is not None
                assert frame.time_base is not None
                first = round(frame.pts * frame.time_base * AUDIO_HZ)
                samples = frame.to_ndarray()[0][max(-first, 0) :]
                first = max(first, 0)
                samples = samples[: max(len(piece) - first, 0)]
                piece[first : first + len(samples)] = samples
        pieces.append(piece)
    return np.concatenate(pieces)


def is_colour(picture: "np.ndarray[Any, Any]", colour: tuple[int, int, int], tolerance: int = 40) -> bool:
    """Return whether the middle of a picture has a colour."""
    height, width = picture.shape[:2]
    middle = picture[height * 2 // 5 : height * 3 // 5, width // 5 : width * 3 // 5].reshape(-1, 3)
    return bool(np.abs(middle.mean(axis=0) - colour).max() < tolerance)


def share_of_colour(picture: "np.ndarray[Any, Any]", colour: tuple[int, int, int]) -> float:
    """Return how much of a picture has a colour."""
    return float((np.abs(picture.astype(int) - colour).max(axis=-1) < 40).mean())


def level(samples: "np.ndarray[Any, Any]", hertz: float) -> float:
    """Return the amplitude of a tone."""
    times = np.arange(len(samples)) / AUDIO_HZ
    return float(2 * abs(np.mean(samples * np.exp(-2j * np.pi * hertz * times))))


def boxes(path: Path) -> list[tuple[str, int, int]]:
    """Return the boxes on the top of an MP4 file: kind, place, size."""
    data = path.read_bytes()
    found = []
    place = 0
    while place < len(data):
        size, kind = unpack(">I4s", data[place : place + 8])
        if size == 1:
            (size,) = unpack(">Q", data[place + 8 : place + 16])
        found.append((kind.decode(), place, size))
        place += size
    return found
