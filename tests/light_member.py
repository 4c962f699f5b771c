"""A member without a browser and without codecs: the WebSocket, and an `IceClient` for its media."""

import json
from collections.abc import Sequence
from typing import Any

import aiohttp
from ice_client import IceClient

from benchmarks.offers import OfferedLine, build_offer, parse_answer


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
            "client": {"agent": "light member", "language": "vi"},
        }
    )
    await _answer(websocket, "welcome")
    return websocket


async def connect(
    client: IceClient,
    websocket: aiohttp.ClientWebSocketResponse,
    lines: Sequence[OfferedLine],
    address: tuple[str, int],
    *,
    protocol: str = "udp",
) -> None:
    """Offer these lines and connect to the media port, up to the keys."""
    fingerprint = next(value for name, value in client.fingerprints if name == "sha-256")
    offer = build_offer(lines, ufrag=client.ufrag, pwd=client.pwd, fingerprint=fingerprint)
    await websocket.send_json(
        {
            "type": "offer",
            "id": 1,
            "sdp": offer.sdp,
            "publications": offer.publications,
            "slots": offer.slots,
        }
    )
    answer = parse_answer((await _answer(websocket, "answer"))["sdp"])
    if any(line.source == "microphone" for line in lines):
        await websocket.send_json({"type": "mute", "source": "microphone", "muted": False})
    client.use_credentials(answer.ufrag, answer.pwd)
    await client.open_path(*address, protocol=protocol)
    await client.check_until_answered()
    await client.shake_hands(f"sha-256 {answer.fingerprint}")


async def _answer(websocket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async for frame in websocket:
        message: dict[str, Any] = json.loads(frame.data)
        if message["type"] == kind:
            return message
        if message["type"] == "error":
            raise ConnectionError(message["code"])
    raise ConnectionError("the WebSocket was closed")
