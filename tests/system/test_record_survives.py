"""A real server, killed while it records: what was said before is in the archive, without anybody's doing."""

import asyncio
import random
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

KILLS = 10
LOST_MAX_MS = 1000
# The stamp in a picture is rounded down to 20 ms, and a picture is up to 67 ms younger than the next one.
STAMP_MS = 90
ARCHIVE_WITHIN_S = 200.0
ALWAYS_RECORDED = {
    "HOICHAN_RECORDING_CONSULTATION": "auto",
    "HOICHAN_ROOMS_EMPTY_CLOSE_S": "1",
}


class Starvation:
    """How long the machine keeps this process waiting: the server, on the same cores, waits as long."""

    EVERY_S = 0.02

    def __init__(self) -> None:
        self._late_ms = [0.0]

    async def watch(self) -> None:
        while True:
            due = time.monotonic() + self.EVERY_S
            await asyncio.sleep(self.EVERY_S)
            self._late_ms.append((time.monotonic() - due) * 1000)

    def in_last_second_ms(self) -> float:
        return sum(self._late_ms[-round(1 / self.EVERY_S) :])


@asynccontextmanager
async def starvation() -> AsyncIterator[Starvation]:
    watched = Starvation()
    task = asyncio.create_task(watched.watch())
    try:
        yield watched
    finally:
        task.cancel()


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


@pytest.mark.timeout(400)
async def test_nothing_older_than_a_second_is_missing_after_ten_kills(start_bridge: StartBridge) -> None:
    """Conferences begin while those before are repaired, composed and packed; a kill stops that, too."""
    server = start_bridge(**ALWAYS_RECORDED)
    moments = random.Random(20261125)
    killed: list[tuple[Path, float, float]] = []
    for number in range(KILLS):
        # Each in a room of its own: who comes back to an interrupted one goes on with its session.
        async with publisher(server, f"phong-{number}"), starvation() as starved:
            await until_recorded(server, 5)
            await asyncio.sleep(moments.uniform(0.3, 3.0))
            killed_ms = time.time() * 1000
            lost_max_ms = LOST_MAX_MS + STAMP_MS + starved.in_last_second_ms()
            await asyncio.to_thread(server.kill)
        killed.append((sessions(server)[-1], killed_ms, lost_max_ms))
        await asyncio.to_thread(server.start)
    sealed = await asyncio.to_thread(wait_for_packages, server, KILLS, within_s=ARCHIVE_WITHIN_S)
    for session, killed_ms, lost_max_ms in killed:
        (package,) = [one for one in sealed if one.name.startswith(session.name)]
        assert killed_ms - max(stamps_ms(session, killed_ms)) < lost_max_ms
        video = parts(package)
        assert killed_ms - video[-1]["end_ms"] < lost_max_ms
        decoded = sum(1 for part in video for _ in frames(package / "data" / "video" / part["file"]))
        assert decoded == sum(part["frames"] for part in video) > 0
        assert verify(package) == []
        assert journal(session)[-1].data["reason"] == "interrupted"


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
