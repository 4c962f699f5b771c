"""The HTTP side: connections that nobody uses, and how it ends."""

import asyncio
import json
import ssl
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from ice_client import RecordingObserver

from bridge import server as module
from bridge.__main__ import main
from bridge.api.clients import TrustedProxies, client_of, is_own_origin
from bridge.conference.participants import CloseCode
from bridge.config import AdminConfig, Config, HttpConfig, MediaConfig, NodeConfig
from bridge.messages import SUBPROTOCOL, Join, serialise
from bridge.tokens import TokenKind
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


@pytest.mark.parametrize("peer_is_trusted", [True, False])
async def test_a_trusted_proxy_is_believed_and_nobody_else(
    config: Config, peer_is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = ("127.0.0.0/8",) if peer_is_trusted else ("192.0.2.0/24",)
    running = module.Server(replace(config, http=replace(config.http, trusted_proxies=proxies)))
    clients: list[str | None] = []

    async def note(signalling: object, request: web.Request) -> web.Response:
        clients.append(client_of(request))
        return web.Response()

    monkeypatch.setattr(module.Signalling, "handle", note)
    await running.start()
    try:
        answer = ""
        # The last hop is the proxy's own word; what comes before may be the client's.
        for said in ("203.0.113.9, 198.51.100.7", "1.1.1.1\r\nX-Forwarded-For: 2.2.2.2"):
            answer = await answer_to(
                config.http.port,
                f"GET /ws HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {said}\r\nX-Forwarded-Proto: https\r\n"
                "Connection: close\r\n\r\n".encode(),
            )
    finally:
        await running.stop()
    assert clients == (["198.51.100.7", "2.2.2.2"] if peer_is_trusted else ["127.0.0.1"] * 2)
    assert ("\r\nStrict-Transport-Security: max-age=31536000\r\n" in answer) is peer_is_trusted


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.7:51234", "198.51.100.7"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        # What names no address is not somebody without limits.
        ("unknown", "192.0.2.9"),
        ("_hidden:7", "192.0.2.9"),
        ("[198.51.100.7", "198.51.100.7"),
        ("", "192.0.2.9"),
    ],
)
async def test_a_port_behind_the_address_is_no_part_of_it(said: str, client: str) -> None:
    async def tell(request: web.Request) -> web.Response:
        return web.Response(text=client_of(request))

    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": said}).clone(remote="192.0.2.9")
    response = await TrustedProxies([ip_network("192.0.2.0/24")]).middleware()(request, tell)
    assert isinstance(response, web.Response)
    assert response.text == client


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        (None, True),
        ("http://here:8443", True),
        ("https://bridge.example", True),
        ("https://elsewhere.example", False),
        ("http://[", False),
        ("http://]", False),
        ("http://[here]:8443", False),
        ("null", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("host", ["here:8443", ""])
def test_what_is_no_origin_is_not_ours(origin: str | None, is_own: bool, host: str) -> None:
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
    request = make_mocked_request("GET", "/ws", headers=headers)
    is_here = host != "" or origin != "http://here:8443"
    assert is_own_origin(request, "bridge.example") is (is_own and is_here)
    assert not (origin == "null" and is_own_origin(request, ""))


async def test_over_tls_browsers_are_told_to_stay_with_it(config: Config) -> None:
    running = module.Server(replace(config, http=replace(config.http, tls=True)))
    await running.start()
    try:
        context = ssl.create_default_context(cafile=str(running.state_dir / "certificate.pem"))
        url = f"https://localhost:{config.http.port}/"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
            assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    finally:
        await running.stop()


async def test_whoever_hangs_up_writes_no_line(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    running = module.Server(config)
    await running.start()
    try:
        for target in ("/api/join", "/api/archive/session", "/absent"):
            _, writer = await asyncio.open_connection("127.0.0.1", config.http.port)
            writer.write(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            # Answered after the one before: what it was sent is being waited for by then.
            await answer_to(config.http.port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            writer.transport.abort()
        connections = running._connections
        assert connections is not None
        async with asyncio.timeout(5):
            while len(connections):  # noqa: ASYNC110, aiohttp tells nobody
                await asyncio.sleep(0.01)
    finally:
        await running.stop()
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_revocations_are_watched_on_after_a_fault(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REVOCATIONS_INTERVAL_S", 0.01)
    expelled = asyncio.Event()
    faults = [ZeroDivisionError("a fault of ours"), ZeroDivisionError("another")]
    expel = module.Rooms.expel_revoked

    def expel_revoked(rooms: module.Rooms) -> None:
        if faults:
            raise faults.pop()
        expel(rooms)
        expelled.set()

    monkeypatch.setattr(module.Rooms, "expel_revoked", expel_revoked)
    running = module.Server(config)
    await running.start()
    try:
        for link in ("one", "another"):
            expelled.clear()
            with (running.state_dir / "revoked").open("a") as file:
                file.write(f"{link}\n")
            async with asyncio.timeout(5):
                await expelled.wait()
    finally:
        await running.stop()
    assert caplog.text.count("could be sent out") == 2


async def test_whoever_is_in_by_a_revoked_link_has_to_go_within_seconds(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line writes, the running server reads."""
    running = module.Server(config)
    await running.start()
    state = ("--state-dir", str(tmp_path))
    try:
        invite = ["invite", *state, "--room", "r", "--site", "BV", "--role", "chair", "--token-only"]
        assert main(invite) == 0
        invitation = capsys.readouterr().out.strip()
        base = f"http://127.0.0.1:{config.http.port}"
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{base}/api/join", json={"invitation": invitation}) as response:
                token = (await response.json())["token"]
            socket = await client.ws_connect(f"{base}/ws", protocols=(SUBPROTOCOL,))
            await socket.send_str(serialise(Join(1, token, "BS. An")))
            assert '"welcome"' in await socket.receive_str(timeout=5)
            revoked = running.tokens.read(invitation, TokenKind.INVITATION).id
            assert main(["links", "revoke", *state, revoked]) == 0
            codes = []
            async with asyncio.timeout(5):
                async for frame in socket:
                    codes += [json.loads(frame.data)["code"]] if '"error"' in frame.data else []
            assert (codes, socket.close_code) == (["revoked-link"], CloseCode.REVOKED)
            async with client.post(f"{base}/api/join", json={"invitation": invitation}) as response:
                assert (response.status, (await response.json())["code"]) == (401, "revoked-link")
    finally:
        await running.stop()
