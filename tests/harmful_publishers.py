"""Publishers with good keys that ask as much of the recorder as they can, in a process of their own.

Run with the server as JSON; says on its output what each has sent, once its input ends. One changes the size
of its picture with each key frame, one lets its clock leap with each packet, and one sends 200 Mbit/s, or as
much as the machine takes.
"""

import asyncio
import json
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
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
BURST = 64
LEAP_TICKS = 11 * 90_000

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


class Pace:
    """How many packets are due. What could not be sent in time is not sent later, in one burst."""

    def __init__(self, packets_per_s: float) -> None:
        self._rate = packets_per_s
        self._at = time.monotonic()
        self._due = 0.0

    def due(self) -> int:
        now = time.monotonic()
        self._due = min(self._due + (now - self._at) * self._rate, BURST)
        self._at = now
        count = int(self._due)
        self._due -= count
        return count


def sending(person: Member) -> Callable[[bytes], None]:
    """Return what encrypts a packet and gives it to the kernel, with nothing in between that takes long."""
    dtls = person.connection.getTransceivers()[0].sender.transport
    pair = dtls.transport._connection._nominated[1]
    # Its own, as it goes on when the bridge has given the connection up.
    udp = pair.protocol.transport.get_extra_info("socket")._sock.dup()
    address, protect = pair.remote_addr, dtls._tx_srtp.protect

    def send(packet: bytes) -> None:
        with suppress(BlockingIOError):
            udp.sendto(protect(packet), address)

    return send


async def publish(person: Member, packet: Packet, pace: Pace, is_over: asyncio.Event) -> dict[str, Any]:
    """Send until it is over, at a pace; return what was sent."""
    sender = person.connection.getTransceivers()[0].sender
    first = random.randrange(1 << 15)
    send = sending(person)
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
            send(header + payload)
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
        "resized": (resized, KEY_FRAMES_PER_S),
        "leaping": (leaping, KEY_FRAMES_PER_S),
        "flooding": (flooding, flood_per_s),
    }
    async with AsyncExitStack() as stack:
        people = {name: await stack.enter_async_context(publisher(server, name)) for name in plans}
        running = [
            asyncio.create_task(publish(people[name], packet, Pace(rate), is_over))
            for name, (packet, rate) in plans.items()
        ]
        print("publishing", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        is_over.set()
        sent = await asyncio.gather(*running)
        print(json.dumps(dict(zip(plans, sent, strict=True))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
