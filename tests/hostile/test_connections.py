"""A server process with few file descriptors, and somebody who takes all that he can get."""

import asyncio
import json
from pathlib import Path

import aiohttp
import psutil
from bridge_process import BridgeServer

DESCRIPTORS = 256
SAID = (
    b"",
    b"GET / HTTP/1.1\r\n",
    b"POST /api/join HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
)
JOURNAL = "recordings/*/journal.jsonl"


async def join(
    server: BridgeServer, session: aiohttp.ClientSession, site: str
) -> aiohttp.ClientWebSocketResponse:
    async with session.post(
        f"{server.base_url}/api/join", json={"invitation": server.invite("chair", site, kind="training")}
    ) as response:
        token = (await response.json())["token"]
    socket = await session.ws_connect(server.ws_url, protocols=("hoichan.v1",))
    await socket.send_json({"type": "join", "version": 1, "token": token, "name": "BS. An"})
    assert (await socket.receive_json(timeout=30))["type"] == "welcome"
    return socket


async def test_idle_connections_close_no_door_and_end_no_recording(tmp_path: Path) -> None:
    server = BridgeServer(tmp_path / "bridge", descriptors=DESCRIPTORS)
    await asyncio.to_thread(server.start)
    idle: list[asyncio.StreamWriter] = []
    try:
        async with aiohttp.ClientSession() as session:
            chair = await join(server, session, "Bệnh viện A")
            for number in range(2 * DESCRIPTORS):
                _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
                # Some say nothing, some begin a request, some announce a body that does not come.
                said = (
                    "",
                    "GET / HTTP/1.1\r\n",
                    "POST /api/join HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
                )
                writer.write(said[number % 3].encode())
                idle.append(writer)
            # Somebody new comes in, operators see it, and what happened is in the journal.
            other = await join(server, session, "Bệnh viện B")
            assert (
                await asyncio.to_thread(server.metric, "hoichan_http_connections_evicted_total") > DESCRIPTORS
            )
            await chair.send_json({"type": "chat", "text": "còn nghe rõ"})
            async with asyncio.timeout(30):
                while (await other.receive_json())["type"] != "chat":
                    pass
            files = await asyncio.to_thread(psutil.Process(server.pid).num_fds)
            assert files <= DESCRIPTORS - 32
            await chair.close()
            await other.close()
    finally:
        for writer in idle:
            writer.close()
        await asyncio.to_thread(server.stop)
    (journal,) = server.state_dir.glob(JOURNAL)
    joined = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert sum(event["kind"] == "participant-joined" for event in joined) == 2
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log
