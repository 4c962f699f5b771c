"""Hardware encoders have habits that browsers have not: GStreamer takes them on, one by one."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiortc_peer import Yuv, colour_of, device, frame_of_colour, is_colour
from bridge_process import ROOT, BridgeServer
from recorded import frames, sessions

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

# GStreamer's Python bindings belong to the system's Python.
SYSTEM_PYTHON = "/usr/bin/python3"
PATIENCE_S = 40.0
# As ARGB, and what BT.601 makes of it.
GREEN, GREEN_YUV = 0xFF00A040, (100, 98, 64)
KILLS = 5

HABITS: dict[str, dict[str, Any]] = {
    "parameter sets once": {"sets": "once"},
    "parameter sets in the SDP alone": {"sets": "sdp"},
    "four slices to a picture": {"slices": 4},
    "250 pictures to a key frame, and deaf": {"gop": 250, "rate": 50, "hears": False},
    "another MID id in each section": {"mid_ids": {"video": 3, "audio": 5}},
}


class Encoder:
    """A GStreamer process that publishes one colour and a tone."""

    def __init__(self, server: BridgeServer, bearer: str, habits: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [
                *(SYSTEM_PYTHON, str(ROOT / "tests" / "gstreamer_whip.py")),
                *(f"{server.base_url}/whip", bearer, hex(GREEN), json.dumps(habits)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def said(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.to_thread(self._process.stdout.readline)).strip()

    async def finish(self) -> None:
        """Have it end its session."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await asyncio.to_thread(self._process.wait, PATIENCE_S) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def encoder(server: BridgeServer, bearer: str, habits: dict[str, Any]) -> Iterator[Encoder]:
    running = Encoder(server, bearer, habits)
    try:
        yield running
    finally:
        running.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BridgeServer]:
    running = BridgeServer(
        tmp_path_factory.mktemp("bridge"), environment={"HOICHAN_RECORDING_CONSULTATION": "auto"}
    )
    await asyncio.to_thread(running.start)
    yield running
    await asyncio.to_thread(running.stop)


@asynccontextmanager
async def player(server: BridgeServer) -> AsyncIterator[Any]:
    """A WHEP player that shows whoever is on stage; yields its picture."""
    async with device(server, "whep", "watch", "Màn hình tường") as screen:
        video = screen.connection.addTransceiver("video", direction="recvonly")
        await screen.connect()
        yield video.receiver.track


async def seen(track: Any, colour: Yuv) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await frame_of_colour(track, colour)


def tracks_of_cameras(server: BridgeServer) -> set[Path]:
    return {track for session in sessions(server) for track in session.glob("tracks/*-camera")}


def _holds_colour(track: Path) -> bool:
    return any(
        is_colour(colour_of(frame), GREEN_YUV)
        for segment in sorted(track.glob("*.mkv"))
        for frame in frames(segment)
    )


async def recorded(server: BridgeServer, before: set[Path]) -> None:
    """Wait until a track that was not there before holds the picture."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            new = tracks_of_cameras(server) - before
            if any([await asyncio.to_thread(_holds_colour, track) for track in new]):
                return
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("habit", HABITS)
async def test_its_picture_is_live_and_in_the_record(server: BridgeServer, habit: str) -> None:
    before = tracks_of_cameras(server)
    with encoder(server, server.bearer("publish", f"Phòng mổ: {habit}"), HABITS[habit]) as gstreamer:
        assert (await gstreamer.said()).startswith("published")
        # Who comes later needs a key frame that nobody can ask for.
        async with player(server) as picture:
            await seen(picture, GREEN_YUV)
        await recorded(server, before)
        await gstreamer.finish()


async def test_a_payload_type_that_looks_like_rtcp_is_refused_with_the_reason(
    server: BridgeServer,
) -> None:
    """With the marker, type 72 cannot be told from a sender report on the same port (RFC 5761, 4)."""
    with encoder(server, server.bearer("publish"), {"payload_type": 72}) as gstreamer:
        said = await gstreamer.said()
    assert said.startswith("refused 400"), said
    assert "only payload types 64 to 95" in said


async def test_killed_and_started_five_times_it_is_one_participant_and_seen_each_time(
    server: BridgeServer,
) -> None:
    # One link, as an engineer enters it into the device once and for all.
    bearer = server.bearer("publish", "Phòng mổ số 3")
    async with player(server) as picture:
        for _ in range(KILLS):
            before = tracks_of_cameras(server)
            with encoder(server, bearer, {}) as gstreamer:
                assert (await gstreamer.said()).startswith("published")
                await recorded(server, before)
                await seen(picture, GREEN_YUV)
                assert await asyncio.to_thread(server.metric, "hoichan_participants") == 2
