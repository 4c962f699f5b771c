"""A server and its clients on a machine without any IPv4 address: a process of its own, in such a network.

Its argument is the server's folder. It writes what it found as JSON, and fails where nothing connects.
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from bridge_process import BridgeServer
from ice_client import IceClient, rtp_packet
from light_member import connect

from benchmarks.joining import join
from benchmarks.offers import OPUS, OfferedLine, build_offer

ADDRESS = "2001:db8::1"
HTTP_PORT, MEDIA_PORT, ADMIN_PORT = 10080, 10090, 10070


async def main(folder: Path) -> None:
    """Send a voice by UDP and by TCP, each to a listener that came by the other."""
    server = BridgeServer(
        folder, host=ADDRESS, http_port=HTTP_PORT, media_port=MEDIA_PORT, admin_port=ADMIN_PORT
    )
    server.start()
    try:
        async with aiohttp.ClientSession(server.base_url) as session:
            for speaking, listening in (("udp", "tcp"), ("tcp", "udp")):
                await _talk(server, session, speaking, listening)
            print(json.dumps(await _candidates(server, session)))
    finally:
        server.stop()


async def _talk(server: BridgeServer, session: aiohttp.ClientSession, speaking: str, listening: str) -> None:
    room = f"phong-{speaking}"
    clients = []
    for site, protocol, line in (
        ("Trạm A", speaking, OfferedLine("audio", source="microphone", ssrcs=(7,))),
        ("Trạm B", listening, OfferedLine("audio", role="voice")),
    ):
        client = IceClient()
        websocket = await join(session, server.invite("presenter", site, room=room), f"BS. {site}")
        await connect(client, websocket, [line], (ADDRESS, MEDIA_PORT), protocol=protocol)
        clients.append(client)
    speaker, listener = clients
    number = 0
    while not listener.rtp:
        speaker.send_rtp(rtp_packet(number, ssrc=7, payload=b"\xf8" + bytes(60), payload_type=OPUS))
        number += 1
        await asyncio.sleep(0.02)
    for client in clients:
        await client.vanish()


async def _candidates(server: BridgeServer, session: aiohttp.ClientSession) -> list[list[str]]:
    """Return protocol and address of each candidate that a player is given."""
    client = IceClient()
    fingerprint = next(value for kind, value in client.fingerprints if kind == "sha-256")
    lines = [OfferedLine("audio", role="voice")]
    offer = build_offer(lines, ufrag=client.ufrag, pwd=client.pwd, fingerprint=fingerprint)
    headers = {"Authorization": f"Bearer {server.bearer('watch')}", "Content-Type": "application/sdp"}
    async with session.post("/whep", data=offer.sdp, headers=headers) as reply:
        assert reply.status == 201, await reply.text()
        answer = await reply.text()
    found = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    return [[fields[2], fields[4]] for fields in found]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
