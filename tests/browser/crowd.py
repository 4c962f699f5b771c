"""Sites that only send: aiortc devices with small pictures, so that a room is full without ten browsers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.contrib.media import MediaStreamError
from aiortc_peer import Device, device, prefer
from av import VideoFrame
from bridge_process import BridgeServer
from pictures import Colour, frame

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 320, 180, 5


class SmallPicture(MediaStreamTrack):
    """One colour and a moving mark, five times per second."""

    kind = "video"

    def __init__(self, colour: Colour) -> None:
        super().__init__()
        self._frames = [
            np.frombuffer(frame(colour, number, WIDTH_PX, HEIGHT_PX, FRAMES_PER_S), np.uint8)
            for number in range(FRAMES_PER_S)
        ]
        self._number = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / FRAMES_PER_S)
        if self.readyState != "live":
            raise MediaStreamError
        pixels = self._frames[self._number % FRAMES_PER_S].reshape(HEIGHT_PX * 3 // 2, WIDTH_PX)
        picture = VideoFrame.from_ndarray(pixels, format="yuv420p")
        self._number += 1
        picture.pts, picture.time_base = self._number, Fraction(1, FRAMES_PER_S)
        return picture


@asynccontextmanager
async def crowd(server: BridgeServer, colours: Sequence[tuple[str, Colour]]) -> AsyncIterator[list[Device]]:
    """Let a device per site publish its colour."""
    async with AsyncExitStack() as stack:
        devices = []
        for site, colour in colours:
            running = await stack.enter_async_context(device(server, "whip", "publish", site))
            running.connection.addTrack(SmallPicture(colour))
            prefer(running.connection, "video/VP8")
            await running.connect()
            devices.append(running)
        yield devices
