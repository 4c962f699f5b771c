"""Whoever asks too much over HTTP waits, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from bridge.api import turns as module
from bridge.api.clients import TrustedProxies
from bridge.api.turns import Turns
from bridge.base.counters import SessionCounters

BURST, BURST_BUSY, HANDSHAKE_COST = 5, 2, 4.0
HOSPITAL, OTHER = "192.0.2.1", "192.0.2.2"


class Door:
    """A server behind a proxy that says for whom it asks; time stands still unless it is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_busy = False
        self.counters = SessionCounters()
        application = web.Application(
            middlewares=[
                TrustedProxies([ip_network("127.0.0.0/8")]).middleware(),
                Turns(
                    counters=self.counters, is_busy=lambda: self.is_busy, clock=lambda: self.now
                ).middleware(),
            ]
        )
        application.router.add_get("/", self._answer)
        application.router.add_get("/ws", self._open)
        self.server = TestServer(application)

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _open(self, request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.close()
        return websocket

    async def somebody_waits(self) -> None:
        async with asyncio.timeout(10):
            while self.counters.requests_delayed == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def ask(self, session: ClientSession, client: str | None) -> int:
        headers = {} if client is None else {"X-Forwarded-For": client}
        async with session.get(self.server.make_url("/"), headers=headers) as reply:
            return reply.status


@pytest_asyncio.fixture
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    monkeypatch.setattr(module, "REQUESTS_BURST", BURST)
    monkeypatch.setattr(module, "REQUESTS_BURST_BUSY", BURST_BUSY)
    monkeypatch.setattr(module, "HANDSHAKE_COST", HANDSHAKE_COST)
    monkeypatch.setattr(module, "REQUESTS_PER_S", 1 / 60)
    monkeypatch.setattr(module, "WAIT_MAX_S", 90.0)
    opened = Door()
    await opened.server.start_server(shutdown_timeout=0.1)
    yield opened
    await opened.server.close()


@pytest.mark.parametrize("client", [HOSPITAL, "2001:db8::1"])
async def test_who_asks_too_much_waits_and_others_do_not(door: Door, client: str) -> None:
    async with ClientSession() as session:
        assert [await door.ask(session, client) for _ in range(BURST)] == [200] * BURST
        assert door.counters.requests_delayed == 0
        waiting = asyncio.create_task(door.ask(session, client))
        await door.somebody_waits()
        assert await door.ask(session, OTHER) == 200
        assert not waiting.done()
        waiting.cancel()


async def test_a_turn_comes_with_time(door: Door) -> None:
    async with ClientSession() as session:
        for _ in range(BURST):
            await door.ask(session, HOSPITAL)
        door.now += 60.0
        assert await door.ask(session, HOSPITAL) == 200
        assert door.counters.requests_delayed == 0


async def test_what_would_wait_too_long_is_refused(door: Door) -> None:
    async with ClientSession() as session:
        for _ in range(BURST):
            await door.ask(session, HOSPITAL)
        waiting = asyncio.create_task(door.ask(session, HOSPITAL))
        await door.somebody_waits()
        assert await door.ask(session, HOSPITAL) == 429
        # What was refused has promised nothing: the next in time is served.
        door.now += 60.0
        waiting.cancel()
        door.now += 60.0
        assert await door.ask(session, HOSPITAL) == 200


async def test_this_machine_never_waits(door: Door) -> None:
    async with ClientSession() as session:
        assert [await door.ask(session, None) for _ in range(3 * BURST)] == [200] * 3 * BURST


async def test_nobody_asks_much_at_once_while_the_core_is_busy(door: Door) -> None:
    async with ClientSession() as session:
        door.is_busy = True
        assert [await door.ask(session, HOSPITAL) for _ in range(BURST_BUSY)] == [200] * BURST_BUSY
        assert door.counters.requests_delayed == 0
        waiting = asyncio.create_task(door.ask(session, HOSPITAL))
        await door.somebody_waits()
        assert await door.ask(session, OTHER) == 200
        assert not waiting.done()
        waiting.cancel()


async def test_a_handshake_of_a_websocket_counts_as_several_requests(door: Door) -> None:
    async with ClientSession(headers={"X-Forwarded-For": HOSPITAL}) as session:
        async with session.ws_connect(door.server.make_url("/ws")):
            pass
        assert [await door.ask(session, HOSPITAL) for _ in range(BURST - 4)] == [200] * (BURST - 4)
        waiting = asyncio.create_task(door.ask(session, HOSPITAL))
        await door.somebody_waits()
        assert not waiting.done()
        waiting.cancel()
