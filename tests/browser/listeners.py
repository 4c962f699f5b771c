"""Sites without a browser: each one only its control channel, so that a room is full and a machine is not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse
from bridge_process import BridgeServer

SUBPROTOCOL = "hoichan.v1"


class Listener:
    """One site that is in the room, hears what it is told, and says what a test lets it say."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self.participant = ""
        self._reading: asyncio.Task[None] | None = None

    async def join(self, token: str, name: str) -> None:
        await self.send(type="join", version=1, token=token, name=name)
        welcome = await self._socket.receive_json()
        self.participant = welcome.get("participant", "")
        self._reading = asyncio.create_task(self._read())

    async def send(self, **message: Any) -> None:
        await self._socket.send_json(message)

    async def close(self) -> None:
        await self._socket.close()
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        async for _ in self._socket:
            pass


@asynccontextmanager
async def listeners(
    server: BridgeServer, sites: Sequence[tuple[str, str]], **claims: str
) -> AsyncIterator[list[Listener]]:
    """Let a listener per role and site join, one after the other."""
    async with ClientSession() as session:
        running: list[Listener] = []
        for role, site in sites:
            invitation = server.invite(role, site, **claims)
            async with session.post(f"{server.base_url}/api/join", json={"invitation": invitation}) as answer:
                token = (await answer.json())["token"]
            listener = Listener(await session.ws_connect(server.ws_url, protocols=(SUBPROTOCOL,)))
            await listener.join(token, f"BS. Nguyễn Thị Thu Hương {len(running) + 1}")
            running.append(listener)
        yield running
        for listener in running:
            await listener.close()
