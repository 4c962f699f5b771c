"""Pictures and sounds that say what they belong to and when they were taken, readable after any encoder.

The upper part of a picture tells the time (see `timecode`), the lower one a number with a checksum; the sound
is a tone of that number. Number 0 is silent: it belongs to nothing.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from aiortc_peer import AUDIO_FRAME_S, SAMPLE_RATE_HZ, Tone
from av import VideoFrame
from recorded import frames
from timecode import (
    BITS,
    DARK,
    FRAMES_PER_S,
    HEIGHT_PX,
    LIGHT,
    MIDDLE,
    WIDTH_PX,
    TimecodeCamera,
    picture,
    time_of_bars,
)

from bridge.archive.plan.programme import Attendee, Scene
from bridge.archive.screen.layout import Box, Place, arrange, fit

NUMBER_BITS, CHECK_BITS = 12, 4
NUMBERS = 1 << NUMBER_BITS
# How far a bar's lightness may be from what was sent, after two encoders.
BAR_TOLERANCE = 45
# Where the number begins, of the height, and where both are read: a name may cover the lowest fifth.
LOWER = 0.5
TIME_BAND, NUMBER_BAND = (0.15, 0.42), (0.58, 0.76)
TONE_FIRST_HZ, TONE_RATIO, TONES = 400, 1.13, 20
WINDOW_S = 0.1
HEARD_AMPLITUDE = 0.03
# The blue chroma of what is shared; that of all else is 128.
SHARE_TINT, TINTED_BELOW = 80, 104


def tone_hz(number: int) -> float:
    """Return the frequency that a number sounds with; numbers that are 20 apart sound the same."""
    return float(TONE_FIRST_HZ * TONE_RATIO ** (number % TONES))


def is_tone(hz: float | None, number: int) -> bool:
    """Whether a sound is that of a number, a little stretched perhaps: starved senders have odd clocks."""
    return hz is not None and abs(hz / tone_hz(number) - 1) < (TONE_RATIO - 1) / 2


class CodedCamera(TimecodeCamera):
    """Shows the time and `number`; notes when each picture was taken and with which number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.taken: list[tuple[int, int]] = []
        self._drawn = asyncio.Event()

    async def drawn(self, count: int) -> None:
        """Wait until so many pictures more were taken."""
        for _ in range(count):
            self._drawn.clear()
            await self._drawn.wait()

    def draw(self) -> np.ndarray:
        unix_ms = time.time() * 1000
        self.taken.append((round(unix_ms), self.number))
        self._drawn.set()
        planes = picture(unix_ms)
        planes[int(HEIGHT_PX * LOWER) : HEIGHT_PX] = _bars(self.number)
        return planes


class CodedShare(CodedCamera):
    """The same as a screen that is shared at times; of a tint by which a film tells it from a camera."""

    def __init__(self) -> None:
        super().__init__()
        self._is_on = asyncio.Event()

    def switch(self, is_on: bool) -> None:
        if is_on:
            self._is_on.set()
        else:
            self._is_on.clear()

    async def recv(self) -> VideoFrame:
        if not self._is_on.is_set():
            await self._is_on.wait()
            if self._began is not None:
                # Its clock has gone on.
                self._number = int((asyncio.get_running_loop().time() - self._began) * FRAMES_PER_S) + 1
        return await super().recv()

    def draw(self) -> np.ndarray:
        planes = super().draw()
        planes[HEIGHT_PX : HEIGHT_PX * 5 // 4] = SHARE_TINT
        return planes


class CodedTone(Tone):
    """Sounds with the tone of `number`, or not at all."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.number = 0

    def wave(self, first_sample: int) -> np.ndarray:
        count = int(SAMPLE_RATE_HZ * AUDIO_FRAME_S)
        if not self.number:
            return np.zeros(count, np.int16)
        times = (first_sample + np.arange(count)) / SAMPLE_RATE_HZ
        return (np.sin(2 * np.pi * tone_hz(self.number) * times) * 12000).astype(np.int16)


def _bars(number: int) -> np.ndarray:
    code = number << CHECK_BITS | _check(number)
    bars = np.array([LIGHT if code >> bit & 1 else DARK for bit in reversed(range(BITS))], np.uint8)
    return np.repeat(bars, WIDTH_PX // BITS)


def _check(number: int) -> int:
    # Never that of a picture that is all dark or all light.
    return (number * 7 + (number >> 4) * 5 + (number >> 8) * 3 + 9) % (1 << CHECK_BITS)


@dataclass(frozen=True, slots=True)
class Read:
    """What a picture says: its number, and when it was taken."""

    number: int
    taken_ms: float


def read_picture(luma: np.ndarray, near_ms: float) -> Read | None:
    """Return what a coded picture says; None for one that is none."""
    height = luma.shape[0]
    upper, lower = (
        _levels(luma[int(height * first) : int(height * last)]) for first, last in (TIME_BAND, NUMBER_BAND)
    )
    if upper is None or lower is None:
        return None
    code = int("".join("1" if bar else "0" for bar in lower), 2)
    number = code >> CHECK_BITS
    if code & (1 << CHECK_BITS) - 1 != _check(number):
        return None
    return Read(number, time_of_bars(upper, near_ms))


def _levels(band: np.ndarray) -> list[bool] | None:
    """Return which bars are light; None when one of them is neither light nor dark."""
    columns = band.mean(axis=0)
    width = len(columns) / BITS
    levels = []
    for bit in range(BITS):
        middle = columns[
            int(width * (bit + 0.3)) : max(int(width * (bit + 0.7)), int(width * (bit + 0.3)) + 1)
        ]
        level = float(middle.mean())
        if min(abs(level - LIGHT), abs(level - DARK)) > BAR_TOLERANCE:
            return None
        levels.append(level > MIDDLE)
    return levels


@dataclass(frozen=True, slots=True)
class Places:
    """Where a composed picture shows the only site there is: its camera alone, or beside what it shares."""

    alone: Box
    beside: Box
    share: Box


def places(height_px: int) -> Places:
    """Return where things are in a composed picture."""
    person = Attendee("p-1", "A", "central", "chair")
    scene = Scene(0, (person,), frozenset({"p-1"}))
    (alone,) = arrange(scene, height_px).tiles
    boxes = {
        tile.place: tile.box for tile in arrange(replace(scene, content=("p-1", "content")), height_px).tiles
    }
    share = fit(WIDTH_PX, HEIGHT_PX, boxes[Place.MAIN])
    return Places(alone.box, boxes[Place.COLUMN], share)


def pictures(path: Path, near_ms: float) -> Iterator[Read | None]:
    """Decode a file's pictures; of a torn one, those that are there."""
    for frame in frames(path):
        yield read_picture(_luma(frame, None), near_ms)


def film(path: Path, near_ms: float) -> Iterator[tuple[Read | None, Read | None]]:
    """Decode a composed video: what the camera shows in each picture, and what is shared beside it."""
    for frame in frames(path):
        where = places(frame.height)
        if _is_tinted(frame, where.share):
            share = read_picture(_luma(frame, where.share), near_ms)
            yield read_picture(_luma(frame, where.beside), near_ms), share
        else:
            yield read_picture(_luma(frame, where.alone), near_ms), None


def _is_tinted(frame: VideoFrame, box: Box) -> bool:
    blue = frame.to_ndarray(format="yuv420p")[frame.height : frame.height * 5 // 4]
    plane = blue.reshape(frame.height // 2, frame.width // 2)
    row, column = (box.y + box.height // 2) // 2, (box.x + box.width // 2) // 2
    return float(plane[row - 16 : row + 16, column - 16 : column + 16].mean()) < TINTED_BELOW


def _luma(frame: VideoFrame, box: Box | None) -> np.ndarray:
    planes = frame.to_ndarray(format="yuv420p")
    if box is None:
        return planes[: frame.height]
    return planes[box.y : box.y + box.height, box.x : box.x + box.width]


def tones(path: Path) -> Iterator[float | None]:
    """Yield the frequency of each tenth of a second of a file's sound; None where it is silent."""
    samples = list(_samples(path))
    if not samples:
        return
    wave = np.concatenate(samples)
    count = int(SAMPLE_RATE_HZ * WINDOW_S)
    hann = np.hanning(count)
    for start in range(0, len(wave) - count + 1, count):
        spectrum = np.abs(np.fft.rfft(wave[start : start + count] * hann)) * 4 / count
        strongest = int(np.argmax(spectrum))
        yield strongest / WINDOW_S if spectrum[strongest] > HEARD_AMPLITUDE else None


def _samples(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                yield part.to_ndarray()[0]
