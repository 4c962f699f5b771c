"""What a server has recorded and archived, as a test finds it on the disk."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av import VideoFrame
from bridge_process import BridgeServer

from bridge.store.journal import Event, read_journal

RECORDED_WITHIN_S = 20.0


def sessions(server: BridgeServer) -> list[Path]:
    """Return the folders of all recorded sessions, oldest first."""
    return sorted(path for path in (server.state_dir / "recordings").glob("HC-*") if path.is_dir())


def journal(session: Path) -> list[Event]:
    return read_journal(session / "journal.jsonl")


def tracks(session: Path, source: str) -> list[Path]:
    return sorted(session.glob(f"tracks/*-{source}"))


def packages(server: BridgeServer) -> list[Path]:
    """Return all sealed packages, by name."""
    return sorted(path for path in (server.state_dir / "archive" / "packages").glob("HC-*") if path.is_dir()
                  and not path.name.endswith(".partial"))  # fmt: skip


def wait_for_packages(server: BridgeServer, count: int, *, within_s: float) -> list[Path]:
    """Wait until so many packages are sealed and return all of them."""
    deadline = time.monotonic() + within_s
    while len(found := packages(server)) < count:
        assert time.monotonic() < deadline, (
            f"{len(found)} of {count} packages within {within_s:.0f} s:\n{server.log[-6000:]}"
        )
        time.sleep(0.1)
    return found


async def until_recorded(server: BridgeServer, frames_min: int) -> None:
    """Wait until so many frames have been written since the server started."""
    deadline = time.monotonic() + RECORDED_WITHIN_S
    while server.metric("hoichan_recording_frames_total") < frames_min:
        assert time.monotonic() < deadline, server.log[-4000:]
        await asyncio.sleep(0.05)


def parts(package: Path, kind: str = "video") -> list[dict[str, Any]]:
    """Return what a package says of its parts."""
    value = json.loads((package / "data" / kind / "parts.json").read_text(encoding="utf-8"))
    listed: list[dict[str, Any]] = value["parts"] if isinstance(value, dict) else value
    return listed


def frames(path: Path) -> Iterator[VideoFrame]:
    """Decode the pictures of a file; of a torn one, those that are there."""
    try:
        with av.open(str(path)) as container:
            yield from container.decode(video=0)
    except av.error.FFmpegError:
        return
