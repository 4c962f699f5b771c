"""The disk of the recordings runs full: the conference goes on and says so, what was written is kept."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCRtpTransceiver
from aiortc_peer import BLUE, ORANGE, Member, Picture, Tone, frame_of_colour, member, prefer
from bridge_process import StartBridge
from recorded import frames, journal, parts, until_recorded, wait_for_packages

from bridge.archive.package.verify import verify

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]

DISK_MB = 24
PROBLEM_WITHIN_S = 15.0


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left, as a neighbour on the same disk would.

    At once: a neighbour who goes on writing would take what the recording gives back to end in order.
    """
    filler = disk / "filler"
    with filler.open("wb") as file:
        left = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_bsize)
    return filler


async def sending(person: Member, colour: tuple[int, int, int], tone_hz: float) -> RTCRtpTransceiver:
    """Publish, and return the stage that is received."""
    connection = person.connection
    connection.addTransceiver(Tone(tone_hz), direction="sendonly")
    connection.addTransceiver(Picture(colour), direction="sendonly")
    prefer(connection, "video/VP8")
    stage: RTCRtpTransceiver = connection.addTransceiver("video", direction="recvonly")
    await person.offer(publications={"0": "microphone", "1": "camera"}, slots={"2": "stage"})
    await person.say(type="view", heights={stage.mid: 720})
    return stage


async def until_problem(person: Member, problem: str | None) -> dict[str, Any]:
    """Wait until the newest news of the recording speaks of this problem."""
    deadline = time.monotonic() + PROBLEM_WITHIN_S
    while True:
        news = [message for message in person.messages if message["type"] == "recording"]
        if news and news[-1]["problem"] == problem:
            return news[-1]
        assert time.monotonic() < deadline, news[-3:]
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("is_freed", [False, True], ids=["stays-full", "freed-again"])
async def test_a_full_disk_harms_the_recording_only(
    tmp_path: Path, start_bridge: StartBridge, is_freed: bool
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        server = start_bridge(
            HOICHAN_RECORDING_CONSULTATION="auto",
            HOICHAN_RECORDING_DIR=str(disk),
            HOICHAN_RECORDING_WARN_FREE_MB="3",
            HOICHAN_RECORDING_SHED_FREE_MB="2",
            HOICHAN_RECORDING_STOP_FREE_MB="1",
            HOICHAN_ROOMS_EMPTY_CLOSE_S="1",
        )
        async with (
            member(server, "chair", "Bệnh viện Trung ương") as chair,
            member(server, "expert", "Bệnh viện tỉnh") as expert,
        ):
            stage = await sending(chair, ORANGE, 440.0)
            await sending(expert, BLUE, 1200.0)
            await chair.say(type="stage", participant=expert.participant)
            await until_recorded(server, 40)
            filler = await asyncio.to_thread(fill, disk)
            await until_problem(chair, "disk-full")
            # People go on seeing each other.
            async with asyncio.timeout(10):
                for _ in range(20):
                    await frame_of_colour(stage.receiver.track, BLUE)
            if is_freed:
                filler.unlink()
                await until_problem(chair, None)
                before = server.metric("hoichan_recording_frames_total")
                await until_recorded(server, int(before) + 40)
            for person in (chair, expert):
                await person.say(type="leave")
        (package,) = await asyncio.to_thread(wait_for_packages, server, 1, within_s=90)
        (session,) = (path for path in disk.glob("HC-*") if path.is_dir())
        kinds = [event.kind.value for event in journal(session)]
        assert "session-closed" in kinds
        assert "recording-problem" in kinds
        assert verify(package) == []
        video = parts(package)
        assert video[0]["frames"] > 50
        assert sum(1 for _ in frames(package / "data" / "video" / video[0]["file"])) == video[0]["frames"]
