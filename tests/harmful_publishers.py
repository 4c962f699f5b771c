"""Publishers with good keys that ask as much of the recorder as they can, in a process of their own.

Run with the server as JSON; says on its output what each has sent, once its input ends. One changes the size
of its picture with each key frame, one lets its clock leap with each packet, and one sends as much as the
machine takes, up to 200 Mbit/s: less as soon as the kernel drops datagrams, before the server has seen them.
"""

import asyncio
import json
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiortc_peer import Member, member, prefer
from bridge_process import BridgeServer

from bridge.base.words import ConferenceKind, Role

ROOM = "harmful"
PAYLOAD_TYPE = 97
KEY_FRAMES_PER_S = 200
FLOOD_BPS = 200e6
FLOOD_PACKET_BYTES = 1150
FLOOD_FRAME_PACKETS = 20
BURST = 32
LEAP_TICKS = 11 * 90_000

# Of the rate: what the flood begins with, and what is left of it when the kernel had no room.
FLOOD_START, FLOOD_BACK_OFF, FLOOD_STEP_S = 0.2, 0.7, 0.1
FLOOD_GROWTH = 1.02

Packet = Callable[[int], tuple[int, bool, bytes]]


def key_frame(width_px: int, rest: bytes = b"") -> bytes:
    """A VP8 payload descriptor, and the head of a key frame of some width (RFC 6386, 9.1)."""
    return b"\x10" + b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", width_px, 180) + rest.ljust(60, b"\0")


def resized(number: int) -> tuple[int, bool, bytes]:
    """A key frame of another size than the one before."""
    return number * 450, True, key_frame(320 + 2 * (number % 2))


def leaping(number: int) -> tuple[int, bool, bytes]:
    """A key frame, eleven seconds after the one before by its clock."""
    return number * LEAP_TICKS, True, key_frame(320)


def flooding(number: int) -> tuple[int, bool, bytes]:
    """Large pictures, one of them in a hundred a key frame."""
    frame, place = divmod(number, FLOOD_FRAME_PACKETS)
    begins = b"\x10" if place == 0 else b"\x00"
    payload = key_frame(640) if place == 0 and frame % 100 == 0 else begins + b"\x11\x02\x00"
    return frame * 900, place == FLOOD_FRAME_PACKETS - 1, payload.ljust(FLOOD_PACKET_BYTES, b"\x5a")


@asynccontextmanager
async def publisher(server: BridgeServer, site: str) -> AsyncIterator[Member]:
    async with member(server, Role.CHAIR, site, room=ROOM, kind=ConferenceKind.BRIEFING) as person:
        # Without a picture of its own, whose numbers would be in the way.
        person.connection.addTransceiver("video", direction="sendonly")
        prefer(person.connection, "video/VP8")
        await person.offer(publications={"0": "camera"}, slots={})
        while person.connection.connectionState != "connected":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        yield person


def kernel_drops(port: int) -> int:
    """Return how many datagrams the kernel had no room for, of those to a port of this machine."""
    drops = 0
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if int(columns[1].rpartition(":")[2], 16) == port:
                drops += int(columns[-1])
    return drops


class Pace:
    """How many packets are due: as many as the rate says, or as the kernel takes."""

    def __init__(self, packets_per_s: float, port: int | None) -> None:
        self._most = packets_per_s
        self._port = port
        self._rate = packets_per_s if port is None else packets_per_s * FLOOD_START
        self._drops = 0 if port is None else kernel_drops(port)
        self._at = self._looked_at = time.monotonic()
        self._due = 0.0

    def due(self) -> int:
        now = time.monotonic()
        if self._port is not None and now - self._looked_at > FLOOD_STEP_S:
            self._looked_at, drops = now, kernel_drops(self._port)
            self._rate *= FLOOD_BACK_OFF if drops > self._drops else FLOOD_GROWTH
            self._rate, self._drops = min(self._rate, self._most), drops
        # What could not be sent in time is not sent later, in one burst.
        self._due = min(self._due + (now - self._at) * self._rate, BURST)
        self._at = now
        count = int(self._due)
        self._due -= count
        return count


async def publish(person: Member, packet: Packet, pace: Pace, is_over: asyncio.Event) -> dict[str, Any]:
    """Send until it is over, at a pace; return what was sent."""
    sender = person.connection.getTransceivers()[0].sender
    first = random.randrange(1 << 15)
    number = sent_bytes = 0
    began = time.monotonic()
    while not is_over.is_set():
        for _ in range(pace.due()):
            ticks, marker, payload = packet(number)
            header = struct.pack(
                "!BBHII",
                *(0x80, (0x80 if marker else 0) | PAYLOAD_TYPE, (first + number) & 0xFFFF),
                *(ticks & 0xFFFFFFFF, sender._ssrc),
            )
            await sender.transport._send_rtp(header + payload)
            number += 1
            sent_bytes += len(header) + len(payload)
        await asyncio.sleep(0.001)
    seconds = time.monotonic() - began
    return {"packets": number, "packets_per_s": number / seconds, "bps": sent_bytes * 8 / seconds}


async def main(value: dict[str, Any]) -> None:
    server = BridgeServer(Path(value.pop("state_dir")), **value)
    is_over = asyncio.Event()
    flood_per_s = FLOOD_BPS / 8 / (FLOOD_PACKET_BYTES + 12)
    plans = {
        "resized": (resized, KEY_FRAMES_PER_S, None),
        "leaping": (leaping, KEY_FRAMES_PER_S, None),
        "flooding": (flooding, flood_per_s, server.media_port),
    }
    async with AsyncExitStack() as stack:
        people = {name: await stack.enter_async_context(publisher(server, name)) for name in plans}
        running = [
            asyncio.create_task(publish(people[name], packet, Pace(rate, port), is_over))
            for name, (packet, rate, port) in plans.items()
        ]
        print("publishing", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        is_over.set()
        sent = await asyncio.gather(*running)
        print(json.dumps(dict(zip(plans, sent, strict=True))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
