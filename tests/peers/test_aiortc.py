"""aiortc's peer connections as members of a conference: real WebSocket, VP8 or H.264, and Opus."""

import asyncio

import pytest
from aiortc import RTCRtpTransceiver
from aiortc_peer import (
    BLUE,
    HEIGHT_PX,
    ORANGE,
    WIDTH_PX,
    Member,
    Picture,
    Tone,
    Yuv,
    frame_of_colour,
    loudest_frequency_hz,
    member,
    prefer,
)
from bridge_process import BridgeServer

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

CHAIR_TONE_HZ, EXPERT_TONE_HZ = 440.0, 1200.0
MEDIA_TIMEOUT_S = 30.0


class Seat:
    """A member's slots: one voice, the stage, one thumbnail."""

    def __init__(self, person: Member, colour: Yuv, tone_hz: float, mime_type: str) -> None:
        self.person = person
        connection = person.connection
        connection.addTransceiver(Tone(tone_hz), direction="sendonly")
        connection.addTransceiver(Picture(colour), direction="sendonly")
        prefer(connection, mime_type)
        self.voice: RTCRtpTransceiver = connection.addTransceiver("audio", direction="recvonly")
        self.stage: RTCRtpTransceiver = connection.addTransceiver("video", direction="recvonly")
        self.thumbnail: RTCRtpTransceiver = connection.addTransceiver("video", direction="recvonly")

    async def connect(self) -> None:
        await self.person.offer(
            publications={"0": "microphone", "1": "camera"},
            slots={"2": "voice", "3": "stage", "4": "thumbnail"},
        )
        await self.person.say(
            type="view",
            heights={self.stage.mid: 720, self.thumbnail.mid: 180},
            thumbnails={"first": 0, "count": 1},
        )


@pytest.mark.parametrize("expert_codec", ["video/VP8", "video/H264"])
async def test_two_aiortc_members_see_and_hear_each_other(
    bridge_server: BridgeServer, expert_codec: str
) -> None:
    async with (
        member(bridge_server, "chair", "Bệnh viện Trung ương") as chair,
        member(bridge_server, "expert", "Bệnh viện tỉnh") as expert,
    ):
        chair_seat = Seat(chair, ORANGE, CHAIR_TONE_HZ, "video/VP8")
        expert_seat = Seat(expert, BLUE, EXPERT_TONE_HZ, expert_codec)
        await chair_seat.connect()
        await expert_seat.connect()
        await chair.say(type="stage", participant=expert.participant)
        async with asyncio.timeout(MEDIA_TIMEOUT_S):
            on_stage, beside, reflected, heard_by_chair, heard_by_expert = await asyncio.gather(
                frame_of_colour(chair_seat.stage.receiver.track, BLUE),
                frame_of_colour(chair_seat.thumbnail.receiver.track, BLUE),
                # The expert does not see itself on stage, but the other one.
                frame_of_colour(expert_seat.thumbnail.receiver.track, ORANGE),
                loudest_frequency_hz(chair_seat.voice.receiver.track),
                loudest_frequency_hz(expert_seat.voice.receiver.track),
            )
        for frame in (on_stage, beside, reflected):
            assert (frame.width, frame.height) == (WIDTH_PX, HEIGHT_PX)
        assert heard_by_chair == pytest.approx(EXPERT_TONE_HZ, abs=5)
        assert heard_by_expert == pytest.approx(CHAIR_TONE_HZ, abs=5)
        await chair.shown(chair_seat.stage.mid, {"participant": expert.participant, "source": "camera"})
        assert [message for message in chair.messages + expert.messages if message["type"] == "error"] == []
        assert bridge_server.metric("hoichan_publications", source="camera") == 2
        assert bridge_server.metric("hoichan_publications", source="microphone") == 2


async def test_a_muted_camera_is_forwarded_to_nobody(bridge_server: BridgeServer) -> None:
    async with (
        member(bridge_server, "chair", "Bệnh viện Trung ương") as chair,
        member(bridge_server, "expert", "Bệnh viện tỉnh") as expert,
    ):
        chair_seat = Seat(chair, ORANGE, CHAIR_TONE_HZ, "video/VP8")
        expert_seat = Seat(expert, BLUE, EXPERT_TONE_HZ, "video/VP8")
        await chair_seat.connect()
        await expert_seat.connect()
        track = chair_seat.thumbnail.receiver.track
        async with asyncio.timeout(MEDIA_TIMEOUT_S):
            await frame_of_colour(track, BLUE)
        await expert.say(type="mute", source="camera", muted=True)
        await chair.shown(chair_seat.thumbnail.mid, None)
        before = await _video_packets(chair_seat.thumbnail)
        # Aiortc sends on; nothing of it may come out on the other side.
        await asyncio.sleep(1.0)
        assert await _video_packets(chair_seat.thumbnail) - before <= 1
        await expert.say(type="mute", source="camera", muted=False)
        async with asyncio.timeout(MEDIA_TIMEOUT_S):
            await frame_of_colour(track, BLUE)


async def _video_packets(transceiver: RTCRtpTransceiver) -> int:
    report = await transceiver.receiver.getStats()
    return sum(stats.packetsReceived for stats in report.values() if stats.type == "inbound-rtp")
