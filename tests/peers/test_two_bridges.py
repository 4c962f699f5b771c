"""Two bridges with default settings and one bucket: nothing is overwritten, nothing has a wrong name."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiortc_peer import member
from bridge_process import ROOT, BridgeServer, StartBridge, free_port
from recorded import packages, sessions

from bridge.archive.package.seal import SEAL_FILE, parse_seal
from bridge.archive.package.verify import verify
from bridge.base.words import ConferenceKind
from bridge.store.catalogue import Catalogue

pytestmark = [pytest.mark.peer, pytest.mark.timeout(400)]

BUCKET = "hoichan-shared"


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"not in time: {what}")


async def hold(server: BridgeServer, site: str, count: int) -> None:
    """Hold a recorded conference and wait until all there are by then are sealed."""
    async with member(server, "chair", site, kind=ConferenceKind.BRIEFING.value) as chair:
        await chair.say(type="chat", text=f"Giao ban của {site}")
        await chair.say(type="leave")
    await until(lambda: len(packages(server)) == count, f"{count} packages of {site}")


def take_in(server: BridgeServer, session: Path) -> None:
    """Take in a session from a disk of another machine."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "archive", "compose", "--session", str(session)],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HOICHAN_")},
            "HOICHAN_NODE_STATE_DIR": str(server.state_dir),
            **server.environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def seals_of(server: BridgeServer) -> dict[str, str]:
    return {path.name: parse_seal((path / SEAL_FILE).read_bytes()).seal for path in packages(server)}


def stored(server: BridgeServer) -> set[str]:
    """The packages that the catalogue says are in the bucket."""
    catalogue = Catalogue(server.state_dir / "archive")
    entries = [catalogue.package(name) for name in seals_of(server)]
    catalogue.close()
    return {entry.id for entry in entries if entry is not None and entry.stored_ms is not None}


async def test_two_bridges_a_foreign_session_and_a_replaced_disk_share_a_bucket(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    server_module = pytest.importorskip("moto.server", reason="needs moto's server")
    store = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    for name in ("access", "secret"):
        (tmp_path / name).write_text(f"{name}-key\n", encoding="utf-8")
    settings = {
        "HOICHAN_ROOMS_EMPTY_CLOSE_S": "1",
        "HOICHAN_ARCHIVE_S3_ENDPOINT": f"http://{host}:{port}",
        "HOICHAN_ARCHIVE_S3_BUCKET": BUCKET,
        "HOICHAN_ARCHIVE_S3_ACCESS_KEY_FILE": str(tmp_path / "access"),
        "HOICHAN_ARCHIVE_S3_SECRET_KEY_FILE": str(tmp_path / "secret"),
    }
    client: Any = boto3.client(
        "s3",
        endpoint_url=settings["HOICHAN_ARCHIVE_S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=BUCKET)
    ours, theirs = start_bridge(**settings), start_bridge(**settings)
    await asyncio.gather(hold(ours, "Việt Đức", 1), hold(theirs, "Bạch Mai", 1))

    # The disk of our recordings is replaced on the same day.
    await asyncio.to_thread(ours.stop)
    shutil.rmtree(ours.state_dir / "recordings")
    await asyncio.to_thread(ours.start)
    await hold(ours, "Việt Đức", 2)

    # And a session comes over from the other machine's disk.
    (foreign,) = sessions(theirs)
    disk = shutil.copytree(foreign, tmp_path / "disk" / foreign.name)
    await asyncio.to_thread(take_in, ours, disk)
    assert len(packages(ours)) == 3
    # What the command has made is for the server to store, at the latest when it starts.
    await asyncio.to_thread(ours.stop)
    await asyncio.to_thread(ours.start)

    first, second = sorted(name for name in seals_of(ours) if not name.startswith(foreign.name))
    (their_package,) = seals_of(theirs)
    assert (first.rpartition("-")[0][-2:], second.rpartition("-")[0][-2:]) == ("01", "02")
    assert f"{foreign.name}-S" == their_package
    assert their_package in seals_of(ours)
    await until(lambda: stored(ours) >= {first, second}, "ours are in the bucket")
    await until(lambda: stored(theirs) == {their_package}, "theirs is in the bucket")
    # What both have made has the seal of whoever came first, and the other one is told.
    await until(lambda: "store-other-seal" in ours.log, "the second of one name is refused")
    found = {
        name: parse_seal(client.get_object(Bucket=BUCKET, Key=f"{name}/{SEAL_FILE}")["Body"].read()).seal
        for name in (first, second, their_package)
    }
    assert found == {**{name: seals_of(ours)[name] for name in (first, second)}, **seals_of(theirs)}
    assert [verify(path) for path in packages(ours)] == [[], [], []]
    client.close()
    store.stop()
