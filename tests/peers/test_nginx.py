"""The shipped nginx sample before a real bridge: what passes, whom limits count, and what is written down."""

import asyncio
import re
import shutil
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from bridge_process import ROOT, BridgeServer, StartBridge, free_port

from bridge.base.words import Level, Role
from bridge.node.certificate import ensure_certificate
from bridge.node.host import token_secret
from bridge.tokens import Tokens

pytestmark = pytest.mark.peer

SAMPLE = ROOT / "configs" / "nginx" / "hoichan.conf"
HOST = "hoichan.example.vn"
JOINS = 5
CONNECTIONS = 3
HERE, THERE = "203.0.113.5", "198.51.100.9"


@dataclass
class Proxy:
    """nginx with the sample; clients say in a header of the test's own where they are."""

    folder: Path
    bridge: BridgeServer
    https_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.https_port}"

    def session(self, address: str) -> aiohttp.ClientSession:
        trusting = ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting, resolver=Here()),
            headers={"X-Test-Address": address},
        )


class Here(aiohttp.abc.AbstractResolver):
    """Finds every name on this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@pytest.fixture
def proxy(tmp_path: Path, start_bridge: StartBridge) -> Iterator[Proxy]:
    https_port, http_port = free_port(), free_port()
    bridge = start_bridge(
        HOICHAN_HTTP_PUBLIC_URL=f"https://{HOST}:{https_port}", HOICHAN_HTTP_JOINS_PER_MINUTE=str(JOINS)
    )
    folder = tmp_path / "nginx"
    folder.mkdir()
    files = ensure_certificate(folder, [HOST], datetime.now(UTC))
    sample = SAMPLE.read_text(encoding="utf-8")
    for pattern, replacement in (
        (r"\n *listen \[::\][^\n]*", ""),
        (r"listen 80;", f"listen 127.0.0.1:{http_port};"),
        (r"listen 443 ssl;", f"listen 127.0.0.1:{https_port} ssl;"),
        (r"/etc/ssl/certs/hoichan.example.vn.pem", str(files.certificate)),
        (r"/etc/ssl/private/hoichan.example.vn.key", str(files.private_key)),
        (r"/var/log/nginx", str(folder)),
        (r"http://127.0.0.1:8080", bridge.base_url),
        (r"limit_conn hoichan_connections \d+;", f"limit_conn hoichan_connections {CONNECTIONS};"),
    ):
        sample, count = re.subn(pattern, replacement, sample)
        assert count, pattern
    (folder / "hoichan.conf").write_text(sample, encoding="utf-8")
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn; user root;
        events {{}}
        http {{
            access_log {folder}/access.log;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            set_real_ip_from 127.0.0.0/8; real_ip_header X-Test-Address;
            include hoichan.conf;
        }}
        """,
        encoding="utf-8",
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program is not None
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command)
    try:
        yield Proxy(folder, bridge, https_port, http_port)
    finally:
        process.terminate()
        process.wait(10)


async def got(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    """Ask and read the whole answer."""
    async with session.get(url, allow_redirects=False) as answer:
        await answer.read()
        return answer


async def opened(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    """Return the answer to the first request that finds nginx listening."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await got(session, url)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


async def test_the_sample_passes_pages_and_sockets_and_tells_the_bridge_who_asks(proxy: Proxy) -> None:
    link = {"invitation": proxy.bridge.invite("chair")}
    async with proxy.session(HERE) as here, proxy.session(THERE) as there:
        page = await opened(here, f"{proxy.url}/room/")
        assert page.status == 200
        assert page.headers.getall("Strict-Transport-Security") == ["max-age=31536000"]
        assert page.headers["Server"] == "nginx"
        start = await got(here, f"{proxy.url}/")
        assert (start.status, start.headers["Location"]) == (308, "/room/")
        redirected = await opened(here, f"http://{HOST}:{proxy.http_port}/library/?q=x")
        assert redirected.status == 308
        assert redirected.headers["Location"] == f"https://{HOST}/library/?q=x"

        # Limits count the client, whatever it says of itself.
        statuses = []
        for number in range(JOINS + 2):
            forged = {"X-Forwarded-For": f"192.0.2.{number}"}
            async with here.post(f"{proxy.url}/api/join", json=link, headers=forged) as answer:
                statuses.append(answer.status)
        assert statuses == [200] * JOINS + [429] * 2
        async with there.post(f"{proxy.url}/api/join", json=link) as answer:
            assert answer.status == 200
            token = (await answer.json())["token"]

        socket = await there.ws_connect(
            f"{proxy.url}/ws", protocols=("hoichan.v1",), headers={"Origin": proxy.url}
        )
        await socket.send_json({"type": "join", "version": 1, "token": token, "name": "BS. An"})
        assert (await socket.receive_json(timeout=30))["type"] == "welcome"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await there.ws_connect(f"{proxy.url}/ws", headers={"Origin": "https://evil.example"})
        assert refused.value.status == 403
        await socket.close()

        # Who opens many connections gets no more of them, and others do.
        async with AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                await stack.enter_async_context(here.ws_connect(f"{proxy.url}/ws"))
            with pytest.raises(aiohttp.WSServerHandshakeError) as full:
                await here.ws_connect(f"{proxy.url}/ws")
            assert full.value.status == 429
            assert (await got(there, f"{proxy.url}/room/")).status == 200


async def test_what_is_asked_of_the_library_is_in_the_audit_and_in_no_log(proxy: Proxy) -> None:
    tokens = Tokens(token_secret(proxy.bridge.state_dir))
    key = tokens.archive(site="Kho", level=Level.CENTRAL, role=Role.SECRETARY, lifetime_s=3600)
    ours = {"X-Requested-With": "hoichan"}
    async with proxy.session(HERE) as here:
        await opened(here, f"{proxy.url}/room/")
        api = f"{proxy.url}/api/archive"
        async with here.post(f"{api}/session", json={"invitation": key}, headers=ours) as answer:
            assert answer.status == 200
            assert answer.cookies["__Secure-hoichan-archive"]["secure"]
        assert (await got(here, f"{api}/packages?q=BN-2026-0412")).status == 200
        assert (await got(here, f"{api}/packages?q=BN-2026-0412&limit=x")).status == 400
    with sqlite3.connect(proxy.bridge.state_dir / "archive" / "catalogue.sqlite3") as database:
        assert database.execute("SELECT DISTINCT network FROM audit").fetchall() == [("203.0.113.0/24",)]
    database.close()
    written = [path for path in proxy.folder.rglob("*.log") if path.is_file()]
    assert written
    for path in [*written, proxy.bridge.log_path]:
        assert "BN-2026-0412" not in path.read_text(encoding="utf-8")
