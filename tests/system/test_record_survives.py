"""A real server, killed while it records: what was said before is in the archive, without anybody's doing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiortc_peer import Member, Tone, member, prefer
from bridge_process import BridgeServer, StartBridge
from recorded import (
    frames,
    journal,
    packages,
    parts,
    sessions,
    tracks,
    until_recorded,
    wait_for_packages,
)
from timecode import TimecodeCamera, taken_ms

from bridge.archive.package.verify import verify

pytestmark = [pytest.mark.peer]

ARCHIVE_WITHIN_S = 200.0
ALWAYS_RECORDED = {
    "HOICHAN_RECORDING_CONSULTATION": "auto",
    "HOICHAN_ROOMS_EMPTY_CLOSE_S": "1",
}


@asynccontextmanager
async def publisher(server: BridgeServer, room: str = "hoi-chan") -> AsyncIterator[Member]:
    """A member that sends the time in pictures, and a tone."""
    async with member(server, "chair", "Trung tâm Y tế Mường Nhé", room=room) as person:
        person.connection.addTransceiver(Tone(440.0), direction="sendonly")
        person.connection.addTransceiver(TimecodeCamera(), direction="sendonly")
        prefer(person.connection, "video/VP8")
        await person.offer(publications={"0": "microphone", "1": "camera"}, slots={})
        yield person
        # Otherwise its place is kept for half a minute. A server that was killed does not hear it.
        with suppress(ConnectionError):
            await person.say(type="leave")


def stamps_ms(session: Path, near_ms: float) -> list[float]:
    """Return when the recorded pictures of a session were taken."""
    return [
        taken_ms(frame, near_ms)
        for track in tracks(session, "camera")
        for segment in sorted(track.glob("*.mkv"))
        for frame in frames(segment)
    ]


async def test_a_conference_that_comes_back_after_a_kill_stays_one_session(start_bridge: StartBridge) -> None:
    server = start_bridge(**{**ALWAYS_RECORDED, "HOICHAN_ROOMS_EMPTY_CLOSE_S": "5"})
    async with publisher(server):
        await until_recorded(server, 5)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    async with publisher(server):
        await until_recorded(server, 5)
        await asyncio.sleep(1.0)
    (package,) = await asyncio.to_thread(wait_for_packages, server, 1, within_s=ARCHIVE_WITHIN_S)
    (session,) = sessions(server)
    kinds = [event.kind.value for event in journal(session)]
    assert (
        kinds.count("session-opened") == kinds.count("session-resumed") == kinds.count("session-closed") == 1
    )
    assert packages(server) == [package]
    assert verify(package) == []
    # Both halves are in the video.
    taken = stamps_ms(session, time.time() * 1000)
    video = parts(package)
    length_ms = sum(part["frames"] for part in video) * 40
    assert length_ms > 2000
    assert video[0]["start_ms"] < min(taken) + 500
    assert video[-1]["end_ms"] > max(taken) - 500
