"""Conference members that are not ours: aiortc's peer connections, over the WebSocket or over plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aiohttp
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaStreamError
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.sdp import SessionDescription
from av import AudioFrame, VideoFrame
from bridge_process import BridgeServer

from bridge.base.words import ConferenceKind

# Unless it is told that there are no servers, aiortc asks one of Google's for its address.
DEVICE = RTCConfiguration(iceServers=[])
MEMBER = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)

Yuv = tuple[int, int, int]

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 320, 180, 10
# Colours that nobody mixes up, nor takes for black, in the Y, U and V of BT.601.
ORANGE: Yuv = (140, 60, 190)
BLUE: Yuv = (60, 200, 110)
COLOUR_TOLERANCE = 14

SAMPLE_RATE_HZ = 48000
AUDIO_FRAME_S = 0.02
MESSAGE_TIMEOUT_S = 10.0


class Picture(MediaStreamTrack):
    """One colour, ten times per second."""

    kind = "video"

    def __init__(self, colour: Yuv = ORANGE) -> None:
        super().__init__()
        self._colour = colour
        self._number = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / FRAMES_PER_S)
        if self.readyState != "live":
            raise MediaStreamError
        luma, blue, red = self._colour
        rows = [
            np.full((HEIGHT_PX, WIDTH_PX), luma),
            np.full((HEIGHT_PX // 4, WIDTH_PX), blue),
            np.full((HEIGHT_PX // 4, WIDTH_PX), red),
        ]
        frame = VideoFrame.from_ndarray(np.vstack(rows).astype(np.uint8), format="yuv420p")
        self._number += 1
        frame.pts, frame.time_base = self._number, Fraction(1, FRAMES_PER_S)
        return frame


class Tone(MediaStreamTrack):
    """A sine of one frequency, in frames of 20 ms."""

    kind = "audio"

    def __init__(self, frequency_hz: float) -> None:
        super().__init__()
        self._frequency_hz = frequency_hz
        self._samples_sent = 0
        self._began: float | None = None

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        await asyncio.sleep(max(0.0, self._began + self._samples_sent / SAMPLE_RATE_HZ - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        wave = self.wave(self._samples_sent)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts, frame.time_base = self._samples_sent, Fraction(1, SAMPLE_RATE_HZ)
        self._samples_sent += len(wave)
        return frame

    def wave(self, first_sample: int) -> np.ndarray:
        """Return the samples of the next frame."""
        times = (first_sample + np.arange(int(SAMPLE_RATE_HZ * AUDIO_FRAME_S))) / SAMPLE_RATE_HZ
        return (np.sin(2 * np.pi * self._frequency_hz * times) * 12000).astype(np.int16)


def colour_of(frame: VideoFrame) -> Yuv:
    """Return the Y, U and V of the middle of a decoded frame."""
    planes = frame.to_ndarray(format="yuv420p")
    flat = planes.ravel()
    luma_size = frame.width * frame.height
    chroma_middle = (frame.height // 4) * (frame.width // 2) + frame.width // 4
    return (
        int(planes[frame.height // 2, frame.width // 2]),
        int(flat[luma_size + chroma_middle]),
        int(flat[luma_size * 5 // 4 + chroma_middle]),
    )


def is_colour(found: Yuv, wanted: Yuv) -> bool:
    return all(abs(one - other) <= COLOUR_TOLERANCE for one, other in zip(found, wanted, strict=True))


async def frame_of_colour(track: MediaStreamTrack, colour: Yuv) -> VideoFrame:
    """Return the first decoded frame of this colour."""
    while True:
        frame = await track.recv()
        assert isinstance(frame, VideoFrame)
        if is_colour(colour_of(frame), colour):
            return frame


async def loudest_frequency_hz(track: MediaStreamTrack, seconds: float = 0.5) -> float:
    """Return the strongest frequency of the first stretch of decoded audio that is not silent."""
    heard: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    while sum(len(one) for one in heard) < SAMPLE_RATE_HZ * seconds:
        frame = await track.recv()
        assert isinstance(frame, AudioFrame)
        assert frame.sample_rate == SAMPLE_RATE_HZ
        channels = len(frame.layout.channels)
        samples = frame.to_ndarray().reshape(-1, channels)[:, 0].astype(np.float64)
        if np.abs(samples).max() < 1000:
            heard.clear()
        else:
            heard.append(samples)
    wave = np.concatenate(heard)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE_HZ / len(wave)


def prefer(connection: RTCPeerConnection, mime_type: str) -> None:
    """Offer only one video codec."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    for transceiver in connection.getTransceivers():
        if transceiver.kind == "video":
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == mime_type])


class Device:
    """A peer connection and the HTTP resource that stands for it (WHIP, WHEP)."""

    def __init__(self, session: aiohttp.ClientSession, url: str, bearer: str) -> None:
        self.connection = RTCPeerConnection(DEVICE)
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self.resource = ""

    async def connect(self) -> None:
        """POST the whole offer, candidates and all, and take the answer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        async with self._session.post(
            self._url,
            data=self.connection.localDescription.sdp,
            headers={**self._headers, "Content-Type": "application/sdp"},
        ) as response:
            answer = await response.text()
            assert response.status == 201, answer
            self.resource = "/" + response.headers["Location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))

    async def delete(self, base_url: str) -> int:
        async with self._session.delete(f"{base_url}{self.resource}", headers=self._headers) as response:
            return response.status


@asynccontextmanager
async def device(
    server: BridgeServer, protocol: str, kind: str, site: str = "Phòng mổ"
) -> AsyncIterator[Device]:
    async with aiohttp.ClientSession() as session:
        running = Device(session, f"{server.base_url}/{protocol}", server.bearer(kind, site))
        try:
            yield running
        finally:
            await running.connection.close()


class Member:
    """A participant with a WebSocket, and a peer connection to be filled by the test."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, welcome: dict[str, Any]) -> None:
        self.connection = RTCPeerConnection(MEMBER)
        self.welcome = welcome
        self.participant: str = welcome["participant"]
        self.messages: list[dict[str, Any]] = []
        # What the slots show, by mid, as the bridge said.
        self.pictures: dict[str, Any] = {}
        self._websocket = websocket
        self._arrived = asyncio.Condition()
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._offer_id = 0

    async def say(self, **message: Any) -> None:
        await self.say_text(json.dumps(message))

    async def say_text(self, text: str) -> None:
        await self._websocket.send_str(text)

    async def heard(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the first message of this type with these fields, waiting for it if it has not come."""

        def found() -> dict[str, Any] | None:
            for message in self.messages:
                if message["type"] == kind and fields.items() <= message.items():
                    return message
            return None

        async with asyncio.timeout(MESSAGE_TIMEOUT_S), self._arrived:
            await self._arrived.wait_for(lambda: found() is not None)
        message = found()
        assert message is not None
        return message

    async def told(self, kind: str, **fields: Any) -> None:
        """Wait until the newest message of this type has these fields."""
        await self.until(kind, lambda newest: fields.items() <= newest.items())

    async def until(self, kind: str, is_it: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the newest message of this type is so."""

        def is_told() -> bool:
            newest = next((one for one in reversed(self.messages) if one["type"] == kind), None)
            return newest is not None and is_it(newest)

        async with asyncio.timeout(MESSAGE_TIMEOUT_S), self._arrived:
            await self._arrived.wait_for(is_told)

    async def shown(self, mid: str, picture: dict[str, str] | None) -> None:
        """Wait until the bridge says that a slot shows this, or nothing."""
        async with asyncio.timeout(MESSAGE_TIMEOUT_S), self._arrived:
            await self._arrived.wait_for(lambda: mid in self.pictures and self.pictures[mid] == picture)

    async def offer(self, publications: Mapping[str, str], slots: Mapping[str, str]) -> None:
        """Offer what the peer connection holds; the maps are by index of the transceiver."""
        self._offer_id += 1
        await self.connection.setLocalDescription(await self.connection.createOffer())
        mids = [transceiver.mid for transceiver in self.connection.getTransceivers()]
        await self.say(
            type="offer",
            id=self._offer_id,
            sdp=self.connection.localDescription.sdp,
            publications={mids[int(index)]: source for index, source in publications.items()},
            slots={mids[int(index)]: role for index, role in slots.items()},
        )
        answer = await self.heard("answer", id=self._offer_id)
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=answer["sdp"], type="answer"))
        # Candidates belong to the first section of a bundle (RFC 8843, 7.1.3); aiortc takes the last one's.
        first = SessionDescription.parse(answer["sdp"]).media[0]
        for candidate in first.ice_candidates:
            candidate.sdpMid = first.rtp.muxId
            await self.connection.addIceCandidate(candidate)

    async def close(self) -> None:
        await self.connection.close()
        await self._websocket.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self._websocket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            async with self._arrived:
                self.messages.append(message)
                if message["type"] == "slots":
                    self.pictures.update(message["slots"])
                self._arrived.notify_all()


@asynccontextmanager
async def member(
    server: BridgeServer,
    role: str,
    site: str,
    *,
    room: str = "hoi-chan",
    kind: str = ConferenceKind.CONSULTATION,
    invitation: str = "",
) -> AsyncIterator[Member]:
    """Exchange an invitation, join over the WebSocket; the welcome has been read."""
    async with aiohttp.ClientSession() as session:
        invitation = invitation or server.invite(role, site, room=room, kind=kind)
        async with session.post(f"{server.base_url}/api/join", json={"invitation": invitation}) as response:
            assert response.status == 200, await response.text()
            token = (await response.json())["token"]
        websocket = await session.ws_connect(server.ws_url, protocols=("hoichan.v1",))
        await websocket.send_json({"type": "join", "version": 1, "token": token, "name": f"BS. {site}"})
        welcome = await websocket.receive_json(timeout=MESSAGE_TIMEOUT_S)
        assert welcome["type"] == "welcome", welcome
        running = Member(websocket, welcome)
        try:
            yield running
        finally:
            await running.close()
