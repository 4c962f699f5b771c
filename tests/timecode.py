"""Pictures that say when they were taken: sixteen light and dark bars, readable after any encoder."""

import asyncio
import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.contrib.media import MediaStreamError
from av import VideoFrame

WIDTH_PX, HEIGHT_PX = 320, 180
FRAMES_PER_S = 15
BITS = 16
TICK_MS = 20
LIGHT, DARK, MIDDLE = 210, 40, 125
_PERIOD_MS = TICK_MS << BITS


class TimecodeCamera(MediaStreamTrack):
    """Shows the Unix time, in ticks of 20 ms, as Gray code: a picture between two times is one of them."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._began: float | None = None

    async def recv(self) -> VideoFrame:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        await asyncio.sleep(max(0.0, self._began + self._number / FRAMES_PER_S - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        frame = VideoFrame.from_ndarray(self.draw(), format="yuv420p")
        frame.pts, frame.time_base = self._number, Fraction(1, FRAMES_PER_S)
        self._number += 1
        return frame

    def draw(self) -> np.ndarray:
        """Return the planes of the next picture."""
        return picture(time.time() * 1000)


def picture(unix_ms: float) -> np.ndarray:
    """Return the planes of the picture taken at this time, stacked as PyAV wants them."""
    ticks = int(unix_ms) // TICK_MS % (1 << BITS)
    code = ticks ^ ticks >> 1
    bars = np.array([LIGHT if code >> bit & 1 else DARK for bit in reversed(range(BITS))], np.uint8)
    luma = np.tile(np.repeat(bars, WIDTH_PX // BITS), (HEIGHT_PX, 1))
    chroma = np.full((HEIGHT_PX // 2, WIDTH_PX), 128, np.uint8)
    return np.vstack((luma, chroma))


def taken_ms(frame: VideoFrame, near_ms: float) -> float:
    """Return when a decoded picture was taken, of the possible times the one nearest to `near_ms`."""
    luma = frame.to_ndarray(format="gray")
    width = luma.shape[1] // BITS
    band = luma[luma.shape[0] // 3 : -luma.shape[0] // 3].mean(axis=0)
    bars = [
        band[bit * width + width // 4 : (bit + 1) * width - width // 4].mean() > MIDDLE for bit in range(BITS)
    ]
    return time_of_bars(bars, near_ms)


def time_of_bars(bars: Sequence[bool], near_ms: float) -> float:
    """Return the time that bars tell, true for the light ones, of the possible times the nearest."""
    code = 0
    for bar in bars:
        code = code << 1 | bool(bar)
    ticks = 0
    while code:
        ticks ^= code
        code >>= 1
    offset_ms = (ticks * TICK_MS - near_ms) % _PERIOD_MS
    return near_ms + (offset_ms if offset_ms < _PERIOD_MS / 2 else offset_ms - _PERIOD_MS)
