"""The media of a member without a browser and without codecs: an `IceClient` beside its WebSocket."""

from collections.abc import Sequence

import aiohttp
from ice_client import IceClient

from benchmarks.joining import answered
from benchmarks.offers import OfferedLine, build_offer, parse_answer


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
    answer = parse_answer((await answered(websocket, "answer"))["sdp"])
    if any(line.source == "microphone" for line in lines):
        await websocket.send_json({"type": "mute", "source": "microphone", "muted": False})
    client.use_credentials(answer.ufrag, answer.pwd)
    await client.open_path(*address, protocol=protocol)
    await client.check_until_answered()
    await client.shake_hands(f"sha-256 {answer.fingerprint}")
