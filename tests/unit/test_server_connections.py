"""The HTTP side: connections that nobody uses, and how it ends."""

import asyncio
from pathlib import Path

import pytest
from ice_client import RecordingObserver

from bridge import server as module
from bridge.config import AdminConfig, Config, HttpConfig, MediaConfig, NodeConfig
from bridge.transport import TransportState


@pytest.fixture
def config(tmp_path: Path, unused_tcp_port: int) -> Config:
    return Config(
        node=NodeConfig(state_dir=str(tmp_path), drain_s=0),
        http=HttpConfig(host="127.0.0.1", port=unused_tcp_port, tls=False),
        media=MediaConfig(host="127.0.0.1", port=0),
        admin=AdminConfig(port=0),
    )


async def test_a_connection_that_asks_nothing_is_closed(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_CONNECTION_S", 0.2)
    running = module.Server(config)
    await running.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", config.http.port)
        # The beginning of a request is nothing asked either.
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    finally:
        await running.stop()


async def answer_to(port: int, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_errors_tell_no_versions_and_carry_the_security_headers(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = module.Server(config)

    async def fail(signalling: object, request: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(module.Signalling, "handle", fail)
    await running.start()
    try:
        for target, status in (("/absent", 404), ("/whip", 405), ("/ws", 500)):
            answer = await answer_to(
                config.http.port,
                f"{'DELETE' if status == 405 else 'GET'} {target} HTTP/1.1\r\nHost: a\r\n"
                "Connection: close\r\n\r\n".encode(),
            )
            assert answer.startswith(f"HTTP/1.1 {status} ")
            assert "\r\nServer: hoichan\r\n" in answer
            assert "\r\nX-Content-Type-Options: nosniff\r\n" in answer
            assert "\r\nContent-Security-Policy: default-src 'self'; " in answer
        assert "a fault of ours" in caplog.text
        caplog.clear()
        answer = await answer_to(config.http.port, b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert answer.startswith("HTTP/1.0 400 ")
        assert "\r\nServer: hoichan\r\n" in answer
        assert "aiohttp" not in answer
    finally:
        await running.stop()
    # Strangers cannot fill the log, and it holds no addresses of people.
    assert "Error handling" not in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_what_cannot_be_closed_does_not_keep_the_rest_open(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = module.Server(config)
    await running.start()
    transport = running.port.create_transport(RecordingObserver())

    async def fail() -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(running, "_closers", [*running._closers, fail])
    await running.stop()
    assert transport.state is TransportState.CLOSED
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", config.http.port)
    assert "a fault of ours" in caplog.text
