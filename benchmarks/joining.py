"""How whoever is no browser comes in: an invitation exchanged, and a WebSocket joined."""

import json
from typing import Any

import aiohttp


async def join(session: aiohttp.ClientSession, invitation: str, name: str) -> aiohttp.ClientWebSocketResponse:
    """Exchange an invitation and join; the welcome has been read. The session's base is the server."""
    async with session.post("/api/join", json={"invitation": invitation}) as reply:
        reply.raise_for_status()
        token = (await reply.json())["token"]
    websocket = await session.ws_connect("/ws", protocols=["hoichan.v1"], max_msg_size=1 << 20)
    await websocket.send_json(
        {
            "type": "join",
            "version": 1,
            "token": token,
            "name": name,
            "client": {"agent": "bot", "language": "vi"},
        }
    )
    await answered(websocket, "welcome")
    return websocket


async def answered(websocket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """Return the next message of a kind, the others left out; raises ConnectionError for a refusal."""
    async for frame in websocket:
        message: dict[str, Any] = json.loads(frame.data)
        if message["type"] == kind:
            return message
        if message["type"] == "error":
            raise ConnectionError(message["code"])
    raise ConnectionError("the WebSocket was closed")
