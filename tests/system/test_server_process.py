"""A real server process: what it serves, how it starts, and how it ends."""

import asyncio
import json
import os
import resource
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import psutil
import pytest
from bridge_process import ROOT, START_TIMEOUT_S, BridgeServer, StartBridge, free_port

from bridge.base.words import ConferenceKind
from bridge.capture.sessions import FolderLock
from bridge.node.host import token_secret
from bridge.tokens import TokenKind, Tokens


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def join_token(server: BridgeServer, invitation: str) -> str:
    request = Request(f"{server.base_url}/api/join", json.dumps({"invitation": invitation}).encode())
    with urlopen(request, timeout=30) as response:
        token: str = json.load(response)["token"]
    return token


async def joined(server: BridgeServer, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    """Open a WebSocket and join with a fresh invitation; the welcome has been read."""
    invitation = await asyncio.to_thread(server.invite, "chair", "Bệnh viện Trung ương")
    token = await asyncio.to_thread(join_token, server, invitation)
    websocket = await session.ws_connect(server.ws_url, protocols=("hoichan.v1",))
    await websocket.send_json({"type": "join", "version": 1, "token": token, "name": "BS. An"})
    welcome = await websocket.receive_json(timeout=30)
    assert welcome["type"] == "welcome", welcome
    return websocket


def test_the_page_is_served_under_a_strict_policy(bridge_server: BridgeServer) -> None:
    with urlopen(bridge_server.base_url, timeout=30) as response:
        headers, page = response.headers, response.read().decode()
    assert "<!doctype html>" in page.lower()
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/package.json", "/tests/", "/../pyproject.toml", "/%2e%2e/pyproject.toml", "/.git/config", "/absent"],
)
def test_nothing_but_the_client_is_served(bridge_server: BridgeServer, path: str) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{bridge_server.base_url}{path}", timeout=30)
    assert caught.value.code == 404
    caught.value.close()


async def test_an_invitation_leads_into_the_room(bridge_server: BridgeServer) -> None:
    async with aiohttp.ClientSession() as session:
        websocket = await joined(bridge_server, session)
        assert bridge_server.metric("hoichan_participants", role="chair") == 1
        assert bridge_server.metric("hoichan_rooms") == 1
        await websocket.close()


def test_the_server_may_open_as_many_files_as_the_system_lets_it(
    start_bridge: StartBridge,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        server = start_bridge()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


async def test_participants_are_told_before_the_server_closes(start_bridge: StartBridge) -> None:
    server = start_bridge(HOICHAN_NODE_DRAIN_S="2")
    async with aiohttp.ClientSession() as session:
        websocket = await joined(server, session)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        told = [message.json() async for message in websocket if message.type is aiohttp.WSMsgType.TEXT]
        assert {"type": "closing", "seconds": 2} in told
        assert websocket.close_code == aiohttp.WSCloseCode.SERVICE_RESTART
        assert await stopping == 0


async def test_a_second_signal_closes_at_once(start_bridge: StartBridge) -> None:
    server = start_bridge(HOICHAN_NODE_DRAIN_S="3600")
    async with aiohttp.ClientSession() as session:
        websocket = await joined(server, session)
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.TEXT and message.json()["type"] == "closing":
                break
        assert await asyncio.to_thread(server.stop, signal.SIGINT) == 0


def test_it_ends_with_status_zero_and_says_nothing_bad(bridge_server: BridgeServer) -> None:
    assert bridge_server.stop(signal.SIGINT) == 0
    assert "ERROR" not in bridge_server.log
    assert "Traceback" not in bridge_server.log


def test_a_link_printed_by_the_command_line_is_good(bridge_server: BridgeServer) -> None:
    done = command(
        *("invite", "--room", "tim-mach", "--site", "Trạm Y tế xã Sín Thầu", "--level", "commune"),
        *("--http", "--state-dir", str(bridge_server.state_dir)),
    )
    link, _, invitation = done.stdout.strip().partition("/room/#i=")
    assert link == "http://localhost:8080"
    assert join_token(bridge_server, invitation)


def test_the_command_line_says_what_a_conference_is_for(bridge_server: BridgeServer) -> None:
    done = command(
        *("invite", "--room", "giao-ban", "--site", "Trạm Y tế xã Sín Thầu", "--kind", "briefing"),
        *("--http", "--state-dir", str(bridge_server.state_dir), "--token-only"),
    )
    claims = Tokens(token_secret(bridge_server.state_dir)).read(done.stdout.strip(), TokenKind.INVITATION)
    assert claims.conference_kind is ConferenceKind.BRIEFING


async def test_links_outlive_a_kill_of_the_server(bridge_server: BridgeServer) -> None:
    invitation = await asyncio.to_thread(bridge_server.invite)
    token = await asyncio.to_thread(join_token, bridge_server, invitation)
    bridge_server.kill()
    bridge_server.start()
    async with aiohttp.ClientSession() as session:
        websocket = await session.ws_connect(bridge_server.ws_url, protocols=("hoichan.v1",))
        await websocket.send_json({"type": "join", "version": 1, "token": token, "name": ""})
        assert (await websocket.receive_json(timeout=30))["type"] in ("welcome", "error")
        await websocket.close()
    assert await asyncio.to_thread(join_token, bridge_server, invitation)


def test_https_works_on_a_generated_certificate(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    environment = {"HOICHAN_ADMIN_PORT": str(admin), "HOICHAN_MEDIA_PORT": str(free_port())}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bridge",
            "serve",
            "--demo",
            "--port",
            str(port),
            "--state-dir",
            str(tmp_path),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        links = []
        for line in process.stdout:
            if "/room/#i=" in line:
                links.append(line.strip())
            if "Ctrl-C" in line:
                break
        context = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        with urlopen(f"https://localhost:{port}/", timeout=30, context=context) as response:
            assert response.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        status = process.wait(20)
    assert status == 0
    assert len(links) >= 3
    assert all(link.startswith("https://") and f":{port}/room/#i=" in link for link in links)


def test_a_taken_port_is_told_in_one_line(bridge_server: BridgeServer, tmp_path: Path) -> None:
    done = command(
        *("serve", "--http", "--port", str(bridge_server.http_port), "--state-dir", str(tmp_path / "other")),
        HOICHAN_ADMIN_PORT=str(free_port()),
        HOICHAN_MEDIA_PORT=str(free_port()),
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("hoichan: http.host 127.0.0.1, http.port ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("check-config", "--config", "/absent.toml"), {}, "/absent.toml: cannot be read"),
        (("serve",), {"HOICHAN_MEDIA_PORT": "x"}, "HOICHAN_MEDIA_PORT must be a whole number"),
        (
            ("check-config",),
            {"HOICHAN_HTTP_WEB_DIR": "/absent"},
            "http.web_dir /absent: there is no room/index.html",
        ),
        (
            ("check-config",),
            {"HOICHAN_HTTP_CERTIFICATE_FILE": "/a.pem", "HOICHAN_HTTP_PRIVATE_KEY_FILE": "/b.pem"},
            "/a.pem and /b.pem: cannot be read",
        ),
    ],
)
def test_wrong_settings_end_in_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    done = command(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith("hoichan: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_invitation_that_could_not_be_read_back_is_not_made(tmp_path: Path) -> None:
    done = command("invite", "--room", "r" * 65, "--site", "A", "--state-dir", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_shipped_settings_can_be_used(tmp_path: Path) -> None:
    done = command("check-config", "--config", "configs/bridge.toml", "--state-dir", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.endswith("the settings can be used\n")


async def test_a_start_waits_for_a_command_that_has_the_recordings(tmp_path: Path) -> None:
    """As `archive recover` has them while it ends what was interrupted."""
    server = BridgeServer(tmp_path)
    lock = FolderLock(tmp_path / "recordings")
    try:
        server.launch()
        async with asyncio.timeout(START_TIMEOUT_S):
            while "waiting for it" not in server.log:
                assert server.process is not None
                assert server.process.poll() is None, server.log
                await asyncio.sleep(0.05)
        lock.release()
        await asyncio.to_thread(server.wait_until_ready)
    finally:
        lock.release()
        server.stop()
