"""Sites behind one address, over TCP alone, that come back by themselves: a process of its own.

Its plan comes as JSON in its argument; on its output it writes a line each time a site has media, and each
time one is refused. What it does when its server goes away is what the page does: the same delays.
"""

import asyncio
import json
import random
import secrets
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp
from ice_client import IceClient, rtp_packet
from light_member import connect

from benchmarks.joining import join
from benchmarks.offers import OfferedLine

FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 5.0
ATTEMPT_S = 10.0
SPEAKS_EVERY_S = 0.5
OPUS = 111
# As rarely as an encoder speaks that sends next to nothing in silence.
SILENCE = b"\xf8\xff\xfe"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the server is, and one invitation for each site."""

    host: str
    http_port: int
    media_port: int
    invitations: list[str]


class Visitor:
    """One site: joins, speaks a little, hears the others, and comes back whenever it lost the server."""

    def __init__(self, number: int, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._number = number
        self._plan = plan
        self._session = session
        self._ssrc = 1 + secrets.randbits(31)
        self._sequence_number = 0
        self._address = plan.host, plan.media_port
        self._lines = [
            OfferedLine("audio", source="microphone", ssrcs=(self._ssrc,)),
            *[OfferedLine("audio", role="voice") for _ in range(3)],
        ]

    async def stay(self) -> None:
        attempt = 0
        while True:
            try:
                await self._visit()
                attempt = 0
            except (OSError, aiohttp.ClientError, TimeoutError, ConnectionError, AssertionError) as error:
                say(site=self._number, refused=f"{type(error).__name__}: {error}")
            delay_s = min(FIRST_DELAY_S * 2**attempt, LONGEST_DELAY_S)
            attempt += 1
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.25))

    async def _visit(self) -> None:
        client = IceClient()
        try:
            async with asyncio.timeout(ATTEMPT_S) as attempt:
                invitation = self._plan.invitations[self._number]
                websocket = await join(self._session, invitation, f"BS. Số {self._number}")
                await connect(client, websocket, self._lines, self._address, protocol="tcp")
                attempt.reschedule(None)
                reading = asyncio.create_task(_until_closed(websocket))
                was_told = False
                while not reading.done():
                    self._speak(client)
                    if (client.rtp or client.rtcp) and not was_told:
                        was_told = True
                        say(site=self._number, media=True)
                    client.rtp.clear()
                    client.rtcp.clear()
                    await asyncio.wait([reading], timeout=SPEAKS_EVERY_S)
        finally:
            await client.vanish()

    def _speak(self, client: IceClient) -> None:
        self._sequence_number += 1
        client.check()
        client.send_rtp(
            rtp_packet(self._sequence_number, ssrc=self._ssrc, payload=SILENCE, payload_type=OPUS)
        )


async def _until_closed(websocket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in websocket:
        pass


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def main(plan: Plan) -> None:
    """Stay until the process is ended."""
    base = f"http://{plan.host}:{plan.http_port}"
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(base, connector=connector) as session,
        asyncio.TaskGroup() as visitors,
    ):
        for number in range(len(plan.invitations)):
            visitors.create_task(Visitor(number, plan, session).stay())


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
