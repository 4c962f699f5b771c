"""How many HTTP connections there may be, from where, and how long one may take."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Any

import pytest
from aiohttp import web

from bridge.api import connections as module
from bridge.api.connections import CONNECTIONS, Connections, Places, bodies_in_time, held
from bridge.base.counters import SessionCounters
from bridge.base.rate import limited_networks
from bridge.node.certificate import ensure_certificate, server_context

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """A listener whose peers' addresses are what the test says."""

    def __init__(self, places: Places, context: SSLContext | None = None) -> None:
        self.address = "192.0.2.1"
        self.counters = SessionCounters()
        self.release = asyncio.Event()
        self.within = asyncio.Event()
        self.connections = Connections(
            places=places,
            networks=lambda peer: limited_networks(self.address),
            counters=self.counters,
            context=context,
            settings={"access_log": None, "keepalive_timeout": 75.0, "lingering_time": 0.05},
        )
        self.application = web.Application(middlewares=[bodies_in_time])
        self.application[CONNECTIONS] = self.connections
        self.application.router.add_get("/", self._answer)
        self.application.router.add_post("/", self._read)
        self.application.router.add_get("/held", self._hold)
        self.application.router.add_get("/large", self._large)
        self.application.router.add_get("/slow", self._wait)
        self.port = 0
        self._open: list[asyncio.StreamWriter] = []

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(text="here")

    async def _large(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(64 << 20))

    async def _read(self, request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def _hold(self, request: web.Request) -> web.Response:
        with held(request):
            self.within.set()
            await self.release.wait()
        return web.Response(text="held")

    async def _wait(self, request: web.Request) -> web.Response:
        self.within.set()
        await self.release.wait()
        return web.Response(text="slow")

    async def connect(self, address: str | None = None, **options: Any) -> Stream:
        """Connect as if from that address, and wait until it was noticed."""
        if address is not None:
            self.address = address
        stream = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self._open.append(stream[1])
        # The listener has taken it before it answers this one's question, or closed it.
        return stream

    async def ask(self, stream: Stream, path: str = "/") -> str:
        stream[1].write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return await answer_of(stream)

    async def close(self) -> None:
        for writer in self._open:
            writer.close()


async def answer_of(stream: Stream) -> str:
    """Return the status and the body of the answer, or nothing when the connection was closed."""
    async with asyncio.timeout(5):
        try:
            head = (await stream[0].readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if "Content-Length" in line)
        return f"{head.split()[1]} {(await stream[0].readexactly(length)).decode()}"


async def is_closed(stream: Stream) -> bool:
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            return await stream[0].read() == b""
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110, the conditions are of many kinds
            await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(places: Places, context: SSLContext | None = None) -> AsyncIterator[Door]:
    door = Door(places, context)
    runner = web.AppRunner(door.application, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    door.connections.listen(runner.server, "127.0.0.1", 0)
    (listener,) = door.connections._listeners
    door.port = listener.getsockname()[1]
    try:
        yield door
    finally:
        await door.connections.close()
        await door.close()
        await runner.cleanup()
        await until(lambda: not len(door.connections))


@pytest.mark.parametrize(
    ("addresses", "most"),
    [
        (["192.0.2.1"], 4),
        # A home with a /56, and a company with a /48: more than a /64, but not as often as it has /64s.
        ([f"2001:db8::{subnet:x}:0:0:0:1" for subnet in range(0x100)], 8),
        ([f"2001:db8:0:{subnet:x}00::1" for subnet in range(0x100)], 16),
    ],
)
async def test_the_oldest_of_a_network_makes_room_and_others_stay(addresses: list[str], most: int) -> None:
    async with opened(Places(strangers_per_network=4, strangers=100, connections=100)) as door:
        other = await door.connect("198.51.100.7")
        assert await door.ask(other) == "200 here"
        streams = []
        for number in range(most + 3):
            streams.append(await door.connect(addresses[number % len(addresses)]))
            assert await door.ask(streams[-1]) == "200 here"
        for stream in streams[:3]:
            assert await is_closed(stream)
        for stream in [*streams[3:], other]:
            assert await door.ask(stream) == "200 here"
        assert door.counters.connections_evicted == 3
        assert len(door.connections) == most + 1


async def test_the_oldest_of_all_strangers_makes_room_in_the_end() -> None:
    async with opened(Places(strangers_per_network=4, strangers=6, connections=100)) as door:
        streams = []
        for number in range(9):
            streams.append(await door.connect(f"192.0.2.{number}"))
            assert await door.ask(streams[-1]) == "200 here"
        assert [await is_closed(stream) for stream in streams[:3]] == [True] * 3
        assert [await door.ask(stream) for stream in streams[3:]] == ["200 here"] * 6


async def test_an_idle_connection_makes_room_before_one_that_is_being_answered() -> None:
    async with opened(Places(strangers_per_network=4, strangers=9, connections=9)) as door:
        busy, waiting = await door.connect(), await door.connect()
        idle = [await door.connect() for _ in range(2)]
        for stream in idle:
            assert await door.ask(stream) == "200 here"
        busy[1].write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            await door.within.wait()
        # Who asks again is idle no more, and who has asked nothing yet may be about to.
        newcomers = [await door.connect()]
        assert await is_closed(idle[0])
        newcomers.append(await door.connect())
        assert await is_closed(idle[1])
        door.release.set()
        assert await answer_of(busy) == "200 slow"
        assert [await door.ask(stream) for stream in (waiting, *newcomers)] == ["200 here"] * 3
        assert door.counters.connections_evicted == 2


async def test_without_idle_ones_the_oldest_makes_room_whatever_it_does() -> None:
    async with opened(Places(strangers_per_network=2, strangers=9, connections=9)) as door:
        streams = []
        for _ in range(2):
            door.within.clear()
            streams.append(await door.connect())
            streams[-1][1].write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(5):
                await door.within.wait()
        assert await door.ask(await door.connect()) == "200 here"
        assert await is_closed(streams[0])
        door.release.set()
        assert await answer_of(streams[1]) == "200 slow"


async def test_who_has_shown_a_link_is_no_stranger_until_it_was_answered() -> None:
    async with opened(Places(strangers_per_network=2, strangers=2, connections=3)) as door:
        held_stream = await door.connect()
        held_stream[1].write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            await door.within.wait()
        for _ in range(6):
            assert await door.ask(await door.connect()) == "200 here"
        door.release.set()
        assert await answer_of(held_stream) == "200 held"
        # Three places in all: it is a stranger like the others again, and the youngest of them.
        for _ in range(2):
            assert await door.ask(await door.connect()) == "200 here"
        assert await is_closed(held_stream)


async def test_when_all_places_are_held_a_newcomer_finds_none() -> None:
    async with opened(Places(strangers_per_network=9, strangers=9, connections=2)) as door:
        for _ in range(2):
            door.within.clear()
            stream = await door.connect()
            stream[1].write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(5):
                await door.within.wait()
        assert await is_closed(await door.connect())
        assert door.counters.connections_refused == 1
        door.release.set()


async def test_a_proxy_is_no_network_but_counts_in_all() -> None:
    async with opened(Places(strangers_per_network=1, strangers=1, connections=5)) as door:
        streams = []
        for _ in range(5):
            streams.append(await door.connect("127.0.0.1"))
            assert await door.ask(streams[-1]) == "200 here"
        assert [await door.ask(stream) for stream in streams] == ["200 here"] * 5
        assert await door.ask(await door.connect()) == "200 here"
        assert await is_closed(streams[0])


@pytest.mark.parametrize("sent", [b"", b"x", b"x" * 99])
async def test_a_body_that_does_not_come_ends_the_connection(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_S", 0.1)
    async with opened(Places()) as door:
        for target in ("/", "/absent"):
            stream = await door.connect()
            stream[1].write(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n".encode())
            stream[1].write(sent)
            async with asyncio.timeout(5):
                answer = b""
                with suppress(ConnectionError):
                    answer = await stream[0].read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 404")
        whole = await door.connect()
        whole[1].write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert await answer_of(whole) == "200 3"


async def test_an_answer_that_nobody_reads_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    async with opened(Places()) as door:
        stream = await door.connect(limit=1024)
        stream[1].write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(door.connections) == 1)
        await until(lambda: not len(door.connections))


async def test_a_handshake_that_does_not_come_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.2)
    files = ensure_certificate(tmp_path, ["127.0.0.1"], datetime.now(UTC))
    async with opened(Places(strangers_per_network=2), server_context(files)) as door:
        assert await is_closed(await door.connect())
        no_tls = await door.connect()
        no_tls[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert b"HTTP" not in await no_tls[0].read()
        await until(lambda: not len(door.connections))
        # Those that are still shaking hands make room as well.
        waiting = [await door.connect() for _ in range(3)]
        await until(lambda: door.counters.connections_evicted == 1)
        assert await is_closed(waiting[0])
        trusting = create_default_context(cafile=str(files.certificate))
        stream = await door.connect(ssl=trusting)
        assert await door.ask(stream) == "200 here"


async def test_without_a_descriptor_strangers_make_room_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STARVED_S", 0.02)
    async with opened(Places()) as door:
        idle = await door.connect()
        assert await door.ask(idle) == "200 here"
        refusals = [errno.EMFILE, errno.ENFILE]
        real = socket.socket.accept

        def accept(listener: socket.socket) -> Any:
            if refusals:
                raise OSError(refusals.pop(), "none is free")
            return real(listener)

        monkeypatch.setattr(socket.socket, "accept", accept)
        assert await door.ask(await door.connect()) == "200 here"
        assert await is_closed(idle)
        assert door.counters.descriptors_lacking == 2
        assert len(caplog.records) == 1


def test_places_leave_descriptors_to_media_and_recordings() -> None:
    assert Places.within(65_000) == Places()
    for descriptors in (0, 100, 200, 900):
        places = Places.within(descriptors)
        assert 8 <= places.connections <= max(8, descriptors - module.RESERVE)
        assert places.strangers == places.connections


async def test_an_address_that_this_machine_has_not_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*addresses: str) -> Any:
        return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]

    async with opened(Places()) as door:
        await door.connections.close()
        server = door.connections._server
        assert server is not None
        monkeypatch.setattr(socket, "getaddrinfo", found("240.0.0.1", "127.0.0.1"))
        door.connections.listen(server, "bridge.example", 0)
        (listener,) = door.connections._listeners
        assert listener.getsockname()[0] == "127.0.0.1"
        await door.connections.close()
        monkeypatch.setattr(socket, "getaddrinfo", found("240.0.0.1", "240.0.0.2"))
        with pytest.raises(OSError, match=f"Errno {errno.EADDRNOTAVAIL}"):
            door.connections.listen(server, "bridge.example", 0)
