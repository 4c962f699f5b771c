"""WHIP and WHEP with peers that are not ours: aiortc's peer connections over plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import aiohttp
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaStreamError
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtcrtpsender import RTCRtpSender
from av import VideoFrame
from bridge_process import BridgeServer

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 320, 180, 10
# A picture that a receiver can tell from black, in the Y, U and V of BT.601.
ORANGE_YUV = (140, 60, 190)


class Picture(MediaStreamTrack):
    """One colour, ten times per second."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / FRAMES_PER_S)
        if self.readyState != "live":
            raise MediaStreamError
        rows = [
            np.full((HEIGHT_PX, WIDTH_PX), ORANGE_YUV[0]),
            np.full((HEIGHT_PX // 4, WIDTH_PX), ORANGE_YUV[1]),
            np.full((HEIGHT_PX // 4, WIDTH_PX), ORANGE_YUV[2]),
        ]
        frame = VideoFrame.from_ndarray(np.vstack(rows).astype(np.uint8), format="yuv420p")
        self._number += 1
        frame.pts, frame.time_base = self._number, Fraction(1, FRAMES_PER_S)
        return frame


class Device:
    """A peer connection and the HTTP resource that stands for it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, bearer: str) -> None:
        self.connection = RTCPeerConnection()
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
            self.resource = response.headers["Location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))

    async def delete(self, base_url: str) -> int:
        async with self._session.delete(f"{base_url}{self.resource}", headers=self._headers) as response:
            return response.status


@asynccontextmanager
async def device(server: BridgeServer, protocol: str, kind: str) -> AsyncIterator[Device]:
    async with aiohttp.ClientSession() as session:
        running = Device(session, f"{server.base_url}/{protocol}", server.bearer(kind))
        try:
            yield running
        finally:
            await running.connection.close()


def prefer(connection: RTCPeerConnection, mime_type: str) -> None:
    codecs = RTCRtpSender.getCapabilities("video").codecs
    for transceiver in connection.getTransceivers():
        if transceiver.kind == "video":
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == mime_type])


async def frames_until_orange(track: MediaStreamTrack) -> VideoFrame:
    while True:
        frame = await track.recv()
        assert isinstance(frame, VideoFrame)
        planes = frame.to_ndarray(format="yuv420p")
        if abs(int(planes[frame.height // 2, frame.width // 2]) - ORANGE_YUV[0]) < 12:
            return frame


@pytest.mark.parametrize("mime_type", ["video/VP8", "video/H264"])
async def test_what_an_encoder_publishes_a_player_sees(bridge_server: BridgeServer, mime_type: str) -> None:
    async with (
        device(bridge_server, "whip", "publish") as encoder,
        device(bridge_server, "whep", "watch") as player,
    ):
        encoder.connection.addTrack(AudioStreamTrack())
        encoder.connection.addTrack(Picture())
        prefer(encoder.connection, mime_type)
        await encoder.connect()
        player.connection.addTransceiver("audio", direction="recvonly")
        video = player.connection.addTransceiver("video", direction="recvonly")
        await player.connect()
        async with asyncio.timeout(30):
            frame = await frames_until_orange(video.receiver.track)
        assert (frame.width, frame.height) == (WIDTH_PX, HEIGHT_PX)
        assert bridge_server.metric("hoichan_publications", source="camera") == 1
        assert await encoder.delete(bridge_server.base_url) == 200
        assert bridge_server.metric("hoichan_publications", source="camera") == 0
        assert await encoder.delete(bridge_server.base_url) == 404


async def test_a_device_is_in_the_roster_like_everybody_else(bridge_server: BridgeServer) -> None:
    async with device(bridge_server, "whip", "publish") as encoder, aiohttp.ClientSession() as session:
        encoder.connection.addTrack(Picture())
        await encoder.connect()
        async with session.post(
            f"{bridge_server.base_url}/api/join", json={"invitation": bridge_server.invite("chair")}
        ) as response:
            token = json.loads(await response.text())["token"]
        async with session.ws_connect(bridge_server.ws_url, protocols=("hoichan.v1",)) as websocket:
            await websocket.send_json({"type": "join", "version": 1, "token": token, "name": "BS. An"})
            welcome = await websocket.receive_json(timeout=5)
        assert "Phòng mổ" in [member["site"] for member in welcome["roster"]]
