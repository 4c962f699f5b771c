"""What the HTTP side does with connections that nobody uses."""

import asyncio
from pathlib import Path

import pytest

from bridge import server as module
from bridge.config import AdminConfig, Config, HttpConfig, MediaConfig, NodeConfig


async def test_a_connection_that_asks_nothing_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(module, "IDLE_CONNECTION_S", 0.2)
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path), drain_s=0),
        http=HttpConfig(host="127.0.0.1", port=unused_tcp_port, tls=False),
        media=MediaConfig(host="127.0.0.1", port=0),
        admin=AdminConfig(port=0),
    )
    running = module.Server(config)
    await running.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        # The beginning of a request is nothing asked either.
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    finally:
        await running.stop()
