"""Many open microphones, one speaker at a time: everybody who listens hears it, whatever places they have.

Pages, encoders and decoders share two cores, so no page knows to the millisecond when it began to speak or
to hear; but each knows between which two looks it was. What is bounded is what must have passed between them,
without the time for which the machine kept anybody waiting. The bridge's part: test_open_microphones.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiortc_peer import AUDIO_FRAME_S, Device, Tone
from av import AudioFrame
from bridge_process import BridgeServer
from pages import PATIENCE_S, PRESSURE, Browsers, Camera, Site, cores_waited_ms
from pictures import RED

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not PRESSURE.exists(), reason="this kernel does not say for how long cores were waited for"
    ),
]

VOICE = Path(__file__).parent / "voice.js"
COUNTS = (4, 5, 6)
# Pages with a voice file; the microphones above that are encoders of their own, which need no page each.
PAGES = 4
SITES = tuple(f"Điểm cầu {number}" for number in range(1, 7))
LISTENER, SCREEN = "Phòng nghe", "Màn hình tường"
HEARD_WITHIN_MS = 300
LOUD = 700
TRIES = 2
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Moment:
    """Something happened after one look and by the next one, milliseconds since the epoch."""

    after: float
    by: float
    # How long the receiver's buffer had held it then, which grows where the machine lets packets come late.
    buffered: float = 0.0


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody with an open microphone, whoever's it is."""

    name: str
    participant: str
    speak: Callable[[], Awaitable[Moment]]
    hush: Callable[[], Awaitable[None]]


class GatedTone(Tone):
    """A microphone that stays open: silence until its owner speaks."""

    def __init__(self, frequency_hz: float) -> None:
        super().__init__(frequency_hz)
        self.is_speaking = False
        self.began = asyncio.get_running_loop().create_future()

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        if not self.is_speaking:
            silent = AudioFrame.from_ndarray(np.zeros_like(frame.to_ndarray()), format="s16", layout="mono")
            silent.sample_rate, silent.pts, silent.time_base = frame.sample_rate, frame.pts, frame.time_base
            return silent
        if not self.began.done():
            self.began.set_result(_now_ms())
        return frame

    async def speak(self) -> Moment:
        self.began = asyncio.get_running_loop().create_future()
        self.is_speaking = True
        at_ms = await self.began
        # The encoder works through a frame before the next one is due.
        return Moment(at_ms, at_ms + AUDIO_FRAME_S * 1000)

    async def hush(self) -> None:
        self.is_speaking = False


class Screen:
    """A WHEP player with one voice: notes when it is loud."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.heard: Moment | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._device.connection.addTransceiver("audio", direction="recvonly")
        await self._device.connect()
        track = self._device.connection.getReceivers()[0].track
        self._task = asyncio.create_task(self._listen(track))

    async def _listen(self, track: Any) -> None:
        while True:
            after = _now_ms()
            frame = await track.recv()
            assert isinstance(frame, AudioFrame)
            if self.heard is None and np.abs(frame.to_ndarray()).max() > LOUD:
                self.heard = Moment(after, _now_ms())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._device.connection.close()


async def test_whoever_speaks_alone_is_heard_by_every_listener(
    server: BridgeServer, started: Browsers
) -> None:
    """Real microphones that stay open; a listener with three voices, one who speaks, a player with one."""
    async with AsyncExitStack() as stack:
        listener = await _page(started, server, LISTENER, stack)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        screen = Screen(Device(session, f"{server.base_url}/whep", server.bearer("watch", SCREEN)))
        stack.push_async_callback(screen.close)
        await screen.connect()
        pages = [listener]
        speakers: list[Speaker] = []
        for count in COUNTS:
            while len(speakers) < count:
                name = SITES[len(speakers)]
                if len(speakers) < PAGES:
                    pages.append(await _page(started, server, name, stack))
                    speakers.append(await _speaker(pages[-1]))
                else:
                    speakers.append(await _encoder(server, session, name, listener, stack))
            await listener.until(
                "[...hoichan.state.roster.values()].filter(({ microphone }) => microphone === 'on')"
                f".length === {count}",
                "open microphones",
            )
            for speaker in speakers:
                await _is_heard(speaker, pages, screen)


async def _is_heard(speaker: Speaker, pages: Sequence[Site], screen: Screen) -> None:
    """There is a second try, for whoever was kept waiting before the first one began."""
    for _ in range(TRIES):
        waited_ms = cores_waited_ms()
        delays_ms = await _speaks(speaker, pages, screen)
        waited_ms = cores_waited_ms() - waited_ms
        print(speaker.name, {name: round(delay) for name, delay in delays_ms.items()}, round(waited_ms))
        if max(delays_ms.values()) < HEARD_WITHIN_MS + waited_ms:
            return
        await asyncio.sleep(1.0)
    pytest.fail(f"{speaker.name}, and the machine kept somebody waiting for {waited_ms:.0f} ms: {delays_ms}")


async def _page(started: Browsers, server: BridgeServer, name: str, stack: AsyncExitStack) -> Site:
    """Open a page of the one browser, without a camera; all but the listener with an open microphone."""
    site = await started.page(name, Camera(RED), script=VOICE)
    stack.push_async_callback(site.context.close)
    await site.open(server.link("presenter", name))
    await site.click("#prejoin-camera")
    await site.join(with_voice=name != LISTENER)
    return site


async def _speaker(page: Site) -> Speaker:
    async def speak() -> Moment:
        return Moment(**await page.evaluate("voice.speak()"))

    async def hush() -> None:
        await page.evaluate("voice.hush()")

    return Speaker(page.name, await page.evaluate("hoichan.state.self"), speak, hush)


async def _encoder(
    server: BridgeServer, session: aiohttp.ClientSession, name: str, listener: Site, stack: AsyncExitStack
) -> Speaker:
    """Open a microphone that is no page's: Opus of an encoder by WHIP."""
    device = Device(session, f"{server.base_url}/whip", server.bearer("publish", name))
    stack.push_async_callback(device.connection.close)
    tone = GatedTone(440.0)
    device.connection.addTrack(tone)
    await device.connect()
    entry = f"[...hoichan.state.roster.values()].find(({{ site }}) => site === '{name}')"
    await listener.until(f"{entry}?.microphone === 'on'", f"the microphone of {name}")
    return Speaker(name, await listener.evaluate(f"{entry}.participant"), tone.speak, tone.hush)


async def _speaks(speaker: Speaker, pages: Sequence[Site], screen: Screen) -> dict[str, float]:
    """Let one speak for a while; return after how many milliseconds at least each of the others heard it."""
    listeners = [page for page in pages if page.name != speaker.name]
    for page in listeners:
        await page.evaluate(f"voice.listen('{speaker.participant}')")
    screen.heard = None
    began = await speaker.speak()
    heard: dict[str, Moment] = {}
    try:
        for page in listeners:
            await page.until("voice.heard() !== null", f"the voice of {speaker.name}")
            heard[page.name] = Moment(**await page.evaluate("voice.heard()"))
        deadline = time.monotonic() + PATIENCE_S
        while screen.heard is None:
            assert time.monotonic() < deadline, f"the screen never heard {speaker.name}"
            await asyncio.sleep(LOOK_EVERY_S)
        heard[SCREEN] = screen.heard
    finally:
        await speaker.hush()
        for page in listeners:
            await page.evaluate("voice.cease()")
    # The last echo must be out of every buffer before the next one speaks.
    await asyncio.sleep(0.8)
    return {name: moment.after - moment.buffered - began.by for name, moment in heard.items()}


def _now_ms() -> float:
    return time.time() * 1000
