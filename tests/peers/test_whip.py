"""WHIP and WHEP with peers that are not ours: aiortc's peer connections over plain HTTP."""

import asyncio

import pytest
from aiortc import RTCDtlsTransport, rtcrtpsender
from aiortc.mediastreams import AudioStreamTrack
from aiortc_peer import HEIGHT_PX, ORANGE, WIDTH_PX, Picture, device, frame_of_colour, member, prefer
from bridge_process import BridgeServer

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]


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
        # Offered sendrecv; a device that publishes is sent nothing.
        assert {one.currentDirection for one in encoder.connection.getTransceivers()} == {"sendonly"}
        player.connection.addTransceiver("audio", direction="recvonly")
        video = player.connection.addTransceiver("video", direction="recvonly")
        await player.connect()
        async with asyncio.timeout(30):
            frame = await frame_of_colour(video.receiver.track, ORANGE)
        assert (frame.width, frame.height) == (WIDTH_PX, HEIGHT_PX)
        assert bridge_server.metric("hoichan_publications", source="camera") == 1
        assert await encoder.delete(bridge_server.base_url) == 200
        assert bridge_server.metric("hoichan_publications", source="camera") == 0
        assert await encoder.delete(bridge_server.base_url) == 404


async def test_an_encoder_whose_numbers_wrapped_before_its_first_packet_came_in_is_seen(
    bridge_server: BridgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder libraries start anywhere in 16 bits, and the first packets are easily lost."""
    monkeypatch.setattr(rtcrtpsender, "random_sequence_number", lambda: 65_530)
    send_rtp = RTCDtlsTransport._send_rtp
    sent: dict[bytes, int] = {}

    async def send_but_the_first(self: RTCDtlsTransport, data: bytes) -> None:
        if 192 <= data[1] < 224:
            await send_rtp(self, data)
            return
        ssrc = data[8:12]
        sent[ssrc] = sent.get(ssrc, 0) + 1
        if sent[ssrc] > 10:
            await send_rtp(self, data)
        else:
            self._tx_srtp.protect(data)

    monkeypatch.setattr(RTCDtlsTransport, "_send_rtp", send_but_the_first)
    async with (
        device(bridge_server, "whip", "publish") as encoder,
        device(bridge_server, "whep", "watch") as player,
    ):
        encoder.connection.addTrack(AudioStreamTrack())
        encoder.connection.addTrack(Picture())
        prefer(encoder.connection, "video/VP8")
        await encoder.connect()
        video = player.connection.addTransceiver("video", direction="recvonly")
        await player.connect()
        async with asyncio.timeout(30):
            await frame_of_colour(video.receiver.track, ORANGE)
        assert bridge_server.metric("hoichan_srtp_rollovers_found_total") == 2
        assert "had wrapped before its first packet came in" in bridge_server.log


async def test_a_device_is_in_the_roster_like_everybody_else(bridge_server: BridgeServer) -> None:
    async with device(bridge_server, "whip", "publish") as encoder:
        encoder.connection.addTrack(Picture())
        await encoder.connect()
        async with member(bridge_server, "chair", "Bệnh viện Trung ương") as chair:
            assert "Phòng mổ" in [one["site"] for one in chair.welcome["roster"]]
