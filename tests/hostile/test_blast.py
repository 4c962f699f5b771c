"""Hostile input on every door while a conference goes on, which must not lose a packet.

Twenty seconds of it; `HOSTILE_S=60` makes it a minute, as `make soak` does.

Strangers send random and damaged datagrams and TCP streams to the media port, and nonsense to the web
port; one participant with good keys sends damaged media, control packets and messages, asks for thousands
of packets again, and numbers its own by leaps.
"""

import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import aioice.ice
import psutil
import pylibsrtp
import pytest
from aiortc_peer import Member, Picture, member, prefer
from bridge_process import ROOT, BridgeServer, StartBridge
from garbage import (
    huge_nack,
    random_datagram,
    strange_message,
    strange_rtcp,
    strange_rtp,
    stranger_datagram,
    vp8_packet,
)

pytestmark = [pytest.mark.timeout(150), pytest.mark.filterwarnings("ignore::ResourceWarning")]

BLAST_S = float(os.environ.get("HOSTILE_S", "20"))
POINTS, PUBLISHERS = 4, 2
STRANGERS = 8
DATAGRAMS_PER_S = 2000
BURSTS_PER_S = 100
INSIDER_PACKETS_PER_S = 100
# Far enough that everything in between would be missing, and near enough to be taken for later packets.
LEAP = 30_000
# Fills the buffer of the connection: tens of thousands of frames without a byte, or with one.
EMPTY_FRAMES = b"\x00\x00" * 50_000
TINY_FRAMES = b"\x00\x01\x55" * 50_000
CAPTURED_MIN, CAPTURED_MAX = 120, 400
GROWTH_MAX_BYTES = 80 << 20
SEED = 20_261_122
REASONS = (
    *("unknown-source", "malformed-stun", "bad-integrity", "unexpected-dtls", "tcp-refused"),
    *("unprotect-failed", "malformed-rtp", "malformed-rtcp"),
)


class Tally:
    """How much was sent, so that a silent attacker does not pass for a strong server."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.answered_bytes = 0

    def add(self, what: str, count: int = 1) -> None:
        self.sent[what] = self.sent.get(what, 0) + count


@asynccontextmanager
async def conference(server: BridgeServer, seconds: float) -> AsyncIterator["asyncio.Task[dict[str, Any]]"]:
    """Light bots in a process of their own; the task ends with their books."""
    plan = {
        "url": server.base_url,
        "invitations": [
            server.invite("chair" if number == 0 else "presenter", f"Bệnh viện {number}")
            for number in range(POINTS)
        ],
        "publishers": PUBLISHERS,
        # Exactly the other publishers: the insider comes later, and is on nobody's page.
        "thumbnails": PUBLISHERS - 1,
        "is_simulcast": True,
        "seconds": seconds,
        "settle_s": 2.0,
        "joins_per_s": 5.0,
        "server_pid": server.pid,
        "media_port": server.media_port,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bots", "--core", str((os.cpu_count() or 1) - 1), "-"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    async def books() -> dict[str, Any]:
        output, _ = await process.communicate(json.dumps(plan).encode())
        found: dict[str, Any] = json.loads(output)
        return found

    running = asyncio.create_task(books())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What aiortc clients of this process sent, as somebody on the same network would overhear it."""
    overheard: list[bytes] = []

    def keep(data: bytes) -> None:
        if len(overheard) < CAPTURED_MAX:
            overheard.append(data)

    send_data, send_stun = aioice.ice.StunProtocol.send_data, aioice.ice.StunProtocol.send_stun

    async def overhear_data(self: Any, data: bytes, address: Any) -> None:
        keep(data)
        await send_data(self, data, address)

    def overhear_stun(self: Any, message: Any, address: Any) -> None:
        keep(bytes(message))
        send_stun(self, message, address)

    monkeypatch.setattr(aioice.ice.StunProtocol, "send_data", overhear_data)
    monkeypatch.setattr(aioice.ice.StunProtocol, "send_stun", overhear_stun)
    return overheard


def datagrams_of_strangers(
    port: int, captured: list[bytes], tally: Tally, is_over: Callable[[], bool]
) -> None:
    """Send from several addresses, at a steady rate, and read what comes back."""
    source = random.Random(SEED)
    sockets = []
    for number in range(STRANGERS):
        family, host = (socket.AF_INET6, "::1") if number == 0 else (socket.AF_INET, "127.0.0.1")
        stranger = socket.socket(family, socket.SOCK_DGRAM)
        stranger.setblocking(False)
        stranger.connect((host, port))
        sockets.append(stranger)
    due = time.monotonic()
    while not is_over():
        for _ in range(DATAGRAMS_PER_S // BURSTS_PER_S):
            data = stranger_datagram(captured, source)
            with suppress(BlockingIOError, ConnectionRefusedError):
                source.choice(sockets).send(data)
                tally.add("datagrams")
        for stranger in sockets:
            with suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    tally.answered_bytes += len(stranger.recv(2048))
        due = max(due + 1 / BURSTS_PER_S, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))
    for stranger in sockets:
        stranger.close()


async def streams_of_strangers(port: int, captured: list[bytes], tally: Tally) -> None:
    """Open TCP connections to the media port: nonsense, frames of nonsense, and frames that never end."""
    source = random.Random(SEED + 1)
    idle: list[asyncio.StreamWriter] = []
    try:
        while True:
            await asyncio.sleep(0.05)
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                for _ in range(source.randrange(1, 6)):
                    data = stranger_datagram(captured, source)
                    writer.write(
                        source.choice(
                            (
                                data,
                                len(data).to_bytes(2, "big") + data,
                                source.choice((b"\x00\x00", b"\x00\x01", b"\x05\xdc", b"\xff\xff")) + data,
                                b"GET / HTTP/1.1\r\n\r\n",
                                EMPTY_FRAMES,
                                TINY_FRAMES,
                            )
                        )
                    )
                tally.add("streams")
                idle.append(writer)
            if len(idle) > 40:
                idle.pop(0).transport.abort()
    finally:
        for writer in idle:
            writer.transport.abort()


async def nonsense_for_the_web(server: BridgeServer, tally: Tally) -> None:
    """Send what is no message, no token and no offer to the WebSocket and the HTTP resources."""
    source = random.Random(SEED + 2)
    bearer = {"Authorization": f"Bearer {server.bearer('publish')}", "Content-Type": "application/sdp"}
    async with aiohttp.ClientSession(server.base_url) as session:
        while True:
            await asyncio.sleep(0.1)
            with suppress(aiohttp.ClientError, OSError):
                async with session.ws_connect("/ws", protocols=("hoichan.v1",), max_msg_size=0) as websocket:
                    for _ in range(source.randrange(1, 8)):
                        if source.random() < 0.2:
                            await websocket.send_bytes(source.randbytes(300))
                        else:
                            await websocket.send_str(strange_message(source))
                    tally.add("sockets")
                async with session.post("/api/join", data=strange_message(source)) as response:
                    assert 400 <= response.status < 500
                noise = (
                    strange_message(source)
                    if source.random() < 0.5
                    else f"v=0\r\n{random_datagram(source)!r}"
                )
                async with session.post("/whip", data=noise, headers=bearer) as response:
                    assert 400 <= response.status < 500
                tally.add("requests", 2)


async def insider(person: Member, tally: Tally) -> None:
    """A participant with good keys sends damaged and excessive media, control packets and messages."""
    source = random.Random(SEED + 3)
    sender = person.connection.getTransceivers()[0].sender
    dtls = sender.transport
    ssrc, payload_type, number, leaping = sender._ssrc, 97, 0, 0
    slots = [int(one) for one in re.findall(r"a=ssrc:(\d+) cname", person.connection.remoteDescription.sdp)]
    assert len(slots) >= 3
    # The camera's own packets would be late ones after the first leap.
    sender.replaceTrack(None)
    while True:
        await asyncio.sleep(1 / INSIDER_PACKETS_PER_S)
        number += 1
        with suppress(ConnectionError):
            await dtls._send_rtp(strange_rtp(ssrc + 1, payload_type, number, source))
            await dtls._send_rtp(strange_rtcp(ssrc, source))
            await dtls._send_rtp(huge_nack(ssrc, source.choice(slots), source))
            tally.add("protected", 3)
            leaping += source.choice((1, LEAP))
            # libsrtp refuses the first leaps if they lead back to what the camera has sent.
            with suppress(pylibsrtp.Error):
                await dtls._send_rtp(vp8_packet(ssrc, payload_type, leaping, source))
                tally.add("leaps")
            if number % 5 == 0:
                await dtls.transport._send(random_datagram(source) or b"\x00")
        if number % (INSIDER_PACKETS_PER_S // 5) == 0:
            with suppress(ConnectionError, aiohttp.ClientError):
                await person.say_text(strange_message(source))
                tally.add("messages")


async def test_a_conference_loses_nothing_under_hostile_input(
    start_bridge: StartBridge, captured: list[bytes]
) -> None:
    server = start_bridge()
    tally = Tally()
    async with conference(server, BLAST_S + 4) as books:
        await _until(lambda: server.metric("hoichan_points") == POINTS)
        async with member(server, "expert", "Phòng khám") as person:
            person.connection.addTransceiver(Picture(), direction="sendonly")
            prefer(person.connection, "video/VP8")
            for kind in ("video", "video", "audio"):
                person.connection.addTransceiver(kind, direction="recvonly")
            await person.offer(
                publications={"0": "camera"}, slots={"1": "stage", "2": "thumbnail", "3": "voice"}
            )
            await _until(lambda: person.connection.connectionState == "connected")
            await _until(lambda: len(captured) > CAPTURED_MIN)
            overheard = list(captured)
            process = psutil.Process(server.pid)
            resident_bytes = process.memory_info().rss
            dropped = server.metric("hoichan_packets_dropped_total")
            ends = time.monotonic() + BLAST_S
            attackers = [
                asyncio.create_task(streams_of_strangers(server.media_port, overheard, tally)),
                asyncio.create_task(nonsense_for_the_web(server, tally)),
                asyncio.create_task(insider(person, tally)),
            ]
            await asyncio.to_thread(
                *(datagrams_of_strangers, server.media_port, overheard, tally),
                lambda: time.monotonic() > ends or books.done(),
            )
            ended = [task for task in attackers if task.done()]
            for task in attackers:
                task.cancel()
            await asyncio.gather(*attackers, return_exceptions=True)
            assert [task.exception() for task in ended] == []
        result = await books

    assert tally.sent["datagrams"] > 0.5 * DATAGRAMS_PER_S * BLAST_S, tally.sent
    for what, count in (
        ("streams", 300),
        ("sockets", 50),
        ("protected", 2000),
        ("leaps", 1000),
        ("messages", 50),
    ):
        assert tally.sent[what] > count * BLAST_S / 60, tally.sent
    # Nobody without keys is answered, so nobody can be hit by way of the bridge.
    assert tally.answered_bytes == 0
    assert server.metric("hoichan_packets_dropped_total") - dropped > 0.5 * tally.sent["datagrams"]
    # What was sent has come as far as it was meant to.
    for reason in REASONS:
        assert server.metric("hoichan_packets_dropped_total", reason=reason) > 10, reason

    assert server.metric("hoichan_nacks_received_total") > 100_000 * BLAST_S / 60

    assert result["join_failures"] == 0, result
    assert packets_lost(result) == 0, result
    assert result["samples_damaged"] == 0, result
    assert result["websockets_lost"] == 0, result
    assert result["slots_live"]["stage"] == 1.0, result
    assert result["packets_out_per_s"] > 500, result

    assert process.is_running()
    assert process.memory_info().rss - resident_bytes < GROWTH_MAX_BYTES
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log
    assert server.stop() == 0


def packets_lost(result: dict[str, Any]) -> int:
    """Return what the bots missed, without what their own sockets dropped because they read too late."""
    received = result["packets_out_per_s"] * result["seconds"]
    lost = received * result["loss_ratio"] / (1 - result["loss_ratio"])
    return max(0, round(lost) - int(result["bot_socket_drops"]))


async def _until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.1)
