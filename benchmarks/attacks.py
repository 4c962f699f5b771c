"""What one stranger, or one who holds a link, may do to a server: floods, each until it is ended.

Run by `benchmarks.doors` in a process of its own; takes its target as JSON, prints each second how much it
has sent as one JSON line. Attackers have addresses of their own, so that what they are charged is
theirs.
"""

import argparse
import asyncio
import ipaddress
import itertools
import json
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.dtls import ClientIdentity
from benchmarks.joining import answered, join
from benchmarks.link import Link
from benchmarks.offers import OfferedLine, build_offer, parse_answer
from benchmarks.wire import rtcp_packet, rtp_packet, stun_check

# Nobody's, being documentation's (RFC 5737, RFC 3849); the kernel must take both for this machine's own.
STRANGER = "198.51.100.66"
NETWORK = ipaddress.IPv6Network("2001:db8:bad::/48")
# From linux/in6.h; Python has no name for it.
IPV6_FREEBIND = 78
DATAGRAMS_PER_S = 20_000
BURSTS_PER_S = 200
CONNECTIONS = 50
NACKS = 250
OPUS = 111


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is, and an invitation to the conference that is attacked."""

    http_port: int
    media_port: int
    invitation: str

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@dataclass(slots=True)
class Tally:
    """How often the attack has been tried, and what was answered otherwise than by silence."""

    sent: int = 0
    refused: int = 0


Attack = Callable[[Target, Tally], Coroutine[Any, Any, None]]


async def paced(send: Callable[[], object], tally: Tally) -> None:
    """Call `send` at the speed of a good line, for ever."""
    due = time.monotonic()
    while True:
        for _ in range(DATAGRAMS_PER_S // BURSTS_PER_S):
            with suppress(BlockingIOError, ConnectionRefusedError):
                send()
                tally.sent += 1
        due = max(due + 1 / BURSTS_PER_S, time.monotonic() - 0.1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


# Strangers.


def datagrams(data: Callable[[], bytes]) -> Attack:
    """A flood from one address."""

    async def attack(target: Target, tally: Tally) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.bind((STRANGER, 0))
            stranger.connect(("127.0.0.1", target.media_port))
            await paced(lambda: stranger.send(data()), tally)

    return attack


def check_for_nobody() -> bytes:
    """A well-formed connectivity check (RFC 8445) that no session of the server knows."""
    return stun_check(
        secrets.token_bytes(12),
        local_ufrag="evil",
        remote_ufrag=secrets.token_hex(4),
        remote_pwd="wrong password of 24 char",
        tie_breaker=1,
    )


def empty_attributes() -> bytes:
    """A STUN message of as many attributes without a value as fit into a datagram (RFC 8489)."""
    attributes = b"\x7f\xff\x00\x00" * 360
    return b"\x00\x01" + len(attributes).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + attributes


async def checks_from_a_network(target: Target, tally: Tally) -> None:
    """Each datagram from another address of one /48."""
    sockets = []
    for _ in range(200):
        one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        one.bind((str(NETWORK[random.getrandbits(80)]), 0))
        one.connect(("::1", target.media_port))
        sockets.append(one)
    turns = itertools.cycle(sockets)
    await paced(lambda: next(turns).send(check_for_nobody()), tally)


async def media_connections(target: Target, tally: Tally) -> None:
    """Open connections to the media port and leave them (RFC 6544)."""

    async def one() -> None:
        while True:
            tally.sent += 1
            with suppress(OSError):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", target.media_port, local_addr=(STRANGER, 0)
                )
                writer.write(b"\x00\x01\x55")
                writer.close()
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def requests(send: Callable[[aiohttp.ClientSession], Awaitable[int]], *, is_new: bool = False) -> Attack:
    """The same request over and over, on many connections, or on a new one each time."""

    async def attack(target: Target, tally: Tally) -> None:
        async def one(session: aiohttp.ClientSession) -> None:
            while True:
                tally.sent += 1
                try:
                    tally.refused += await send(session) in (429, 503)
                except (aiohttp.ClientError, OSError):
                    tally.refused += 1

        connector = aiohttp.TCPConnector(limit=0, local_addr=(STRANGER, 0), force_close=is_new)
        async with aiohttp.ClientSession(target.base, connector=connector) as session:
            await asyncio.gather(*(one(session) for _ in range(CONNECTIONS)))

    return attack


async def get_page(session: aiohttp.ClientSession) -> int:
    async with session.get("/room/") as reply:
        await reply.read()
        return reply.status


async def guess_invitation(session: aiohttp.ClientSession) -> int:
    async with session.post("/api/join", json={"invitation": "a" * 1000}) as reply:
        return reply.status


async def open_websocket(session: aiohttp.ClientSession) -> int:
    with suppress(aiohttp.WSServerHandshakeError):
        websocket = await session.ws_connect("/ws", protocols=["hoichan.v1"])
        await websocket.send_str("{" * 1000)
        await websocket.close()
        return 101
    return 429


# Those who hold a link.


@dataclass(slots=True)
class Insider:
    """Somebody who sits in the conference with a microphone."""

    websocket: aiohttp.ClientWebSocketResponse
    link: Link
    ssrc: int


@asynccontextmanager
async def insider(target: Target) -> AsyncIterator[Insider]:
    """Join, and be connected."""
    connected = asyncio.get_running_loop().create_future()

    def told(error: Exception | None) -> None:
        if not connected.done():
            connected.set_result(error)

    identity = ClientIdentity()
    link, ssrc = Link(identity, told, STRANGER), 1 + secrets.randbits(31)
    connector = aiohttp.TCPConnector(limit=0, local_addr=(STRANGER, 0))
    async with aiohttp.ClientSession(target.base, connector=connector) as session:
        websocket = await join(session, target.invitation, "BS. Insider")
        lines = [OfferedLine("audio", source="microphone", ssrcs=(ssrc,)), OfferedLine("audio", role="voice")]
        offer = build_offer(lines, ufrag=link.ufrag, pwd=link.pwd, fingerprint=identity.fingerprint)
        await websocket.send_json(
            {
                "type": "offer",
                "id": 1,
                "sdp": offer.sdp,
                "publications": offer.publications,
                "slots": offer.slots,
            }
        )
        link.connect(parse_answer((await answered(websocket, "answer"))["sdp"]))
        keeping = [asyncio.create_task(one) for one in (keep(link), keep_reading(websocket))]
        try:
            error = await asyncio.wait_for(connected, 10)
            if error is not None:
                raise error
            await websocket.send_json({"type": "mute", "source": "microphone", "muted": False})
            yield Insider(websocket, link, ssrc)
        finally:
            for task in keeping:
                task.cancel()
            link.close()


async def keep(link: Link) -> None:
    """Check, and read what comes."""
    due = 0.0
    while True:
        if time.monotonic() >= due:
            due = link.check()
        with suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                link.receive(link.sock.recv(2048))
        await asyncio.sleep(0.01)


async def keep_reading(websocket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in websocket:
        pass


def speech(one: Insider) -> Iterator[bytes]:
    assert one.link.outbound is not None
    for number in itertools.count():
        yield one.link.outbound.protect(
            rtp_packet(
                bytes(60),
                payload_type=OPUS,
                marker=False,
                sequence_number=number,
                timestamp=number * 960,
                ssrc=one.ssrc,
                extensions=b"",
            )
        )


def forged(one: Insider) -> Iterator[bytes]:
    while True:
        yield b"\x80\x6f" + secrets.token_bytes(2) + bytes(4) + one.ssrc.to_bytes(4, "big") + bytes(200)


def nacks(one: Insider) -> Iterator[bytes]:
    """Requests for thousands of packets each (RFC 4585, 6.2.1), of all streams that it knows or guesses."""
    assert one.link.outbound is not None
    while True:
        first = random.getrandbits(16)
        entries = b"".join(
            (first + 17 * one & 0xFFFF).to_bytes(2, "big") + b"\xff\xff" for one in range(NACKS)
        )
        body = one.ssrc.to_bytes(4, "big") + secrets.token_bytes(4) + entries
        yield one.link.outbound.protect_rtcp(rtcp_packet(1, 205, body))


def media(make: Callable[[Insider], Iterator[bytes]]) -> Attack:
    """A flood over the insider's own path."""

    async def attack(target: Target, tally: Tally) -> None:
        async with insider(target) as one:
            data = make(one)
            await paced(lambda: one.link.sock.send(next(data)), tally)

    return attack


def messages(make: Callable[[int], dict[str, Any]]) -> Attack:
    """Messages over the insider's WebSocket, as fast as they go; who is thrown out comes back."""

    async def attack(target: Target, tally: Tally) -> None:
        while True:
            with suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
                async with insider(target) as one:
                    for number in itertools.count():
                        await one.websocket.send_json(make(number))
                        tally.sent += 1
                        if number % 50 == 0:
                            await asyncio.sleep(0.002)
            tally.refused += 1
            await asyncio.sleep(0.1)

    return attack


async def joins(target: Target, tally: Tally) -> None:
    """The same invitation, joined again and again."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(STRANGER, 0))

    async def one(session: aiohttp.ClientSession) -> None:
        while True:
            tally.sent += 1
            try:
                await (await join(session, target.invitation, "BS. Insider")).close()
            except (ConnectionError, aiohttp.ClientError, OSError):
                tally.refused += 1
                await asyncio.sleep(0.01)

    async with aiohttp.ClientSession(target.base, connector=connector) as session:
        await asyncio.gather(*(one(session) for _ in range(10)))


ATTACKS: dict[str, Attack] = {
    "a stranger's noise": datagrams(lambda: b"\xff" * 64),
    "a stranger's checks": datagrams(check_for_nobody),
    "a stranger's empty attributes": datagrams(empty_attributes),
    "checks from one /48": checks_from_a_network,
    "a stranger's media connections": media_connections,
    "a stranger's requests for the page": requests(get_page),
    "a stranger's requests on new connections": requests(get_page, is_new=True),
    "a stranger's guesses of an invitation": requests(guess_invitation),
    "a stranger's WebSockets": requests(open_websocket),
    "an insider's media": media(speech),
    "an insider's forged media": media(forged),
    "an insider's NACKs": media(nacks),
    "an insider's chat": messages(lambda number: {"type": "chat", "text": f"dòng {number} " + "a" * 400}),
    "an insider's hands": messages(lambda number: {"type": "hand", "raised": number % 2 == 0}),
    "an insider's views": messages(
        lambda number: {"type": "view", "heights": {}, "thumbnails": {"first": number % 20, "count": 10}}
    ),
    "an insider's joins": joins,
}


async def main(name: str, target: Target) -> None:
    """Attack until the process is ended, at low priority: the bots on this core are not to wait for us."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(5)
    tally = Tally()
    attack = asyncio.create_task(ATTACKS[name](target, tally))
    while not attack.done():
        await asyncio.wait([attack], timeout=1.0)
        print(json.dumps({"sent": tally.sent, "refused": tally.refused}), flush=True)
    await attack


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, required=True, help="the core to stay on")
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("target", help="a Target as JSON")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    asyncio.run(main(options.name, Target(**json.loads(options.target))))
