"""The client's pages over HTTP: a folder each, old addresses redirected, nothing for developers served."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bridge.api.pages import Pages

Client = TestClient[web.Request, web.Application]

WEB = Path(__file__).parents[2] / "web"
# Beside a page and below it: what is for developers stays with them at any depth.
HIDDEN = (
    "package.json",
    "tests/layout.js",
    "room/tests/layout.js",
    "room/node_modules/typescript/index.js",
    "library/tsconfig.json",
    "library/.hidden.js",
    "room/notes.md",
)


@pytest_asyncio.fixture
async def real() -> AsyncIterator[Client]:
    async with _client(WEB) as client:
        yield client


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[Client]:
    for name in ("room/index.html", "room/main.js", *HIDDEN):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    async with _client(tmp_path) as client:
        yield client


def _client(directory: Path) -> Client:
    application = web.Application()
    Pages(directory).add_routes(application.router)
    return TestClient(TestServer(application))


@pytest.mark.parametrize("page", ["room", "library"])
async def test_a_page_is_the_index_of_its_folder(real: Client, page: str) -> None:
    response = await real.get(f"/{page}/", allow_redirects=False)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert await response.text() == (WEB / page / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "page"),
    [
        ("/", "/room/"),
        ("/index.html", "/room/"),
        ("/room", "/room/"),
        ("/archive.html", "/library/"),
        ("/library", "/library/"),
    ],
)
async def test_an_address_without_its_slash_or_of_old_is_redirected(
    real: Client, asked: str, page: str
) -> None:
    response = await real.get(asked, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (308, page)
    # A browser that kept the answer for ever could never be sent elsewhere.
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("asked", ["/shared", "/shared/", "/room/absent.js", "/rooms", "/room/index"])
async def test_what_is_no_page_is_not_found(real: Client, asked: str) -> None:
    assert (await real.get(asked, allow_redirects=False)).status == 404


@pytest.mark.parametrize("name", HIDDEN)
async def test_what_lies_there_for_developers_is_not_served(small: Client, name: str) -> None:
    assert (await small.get("/room/main.js")).status == 200
    assert (await small.get(f"/{name}")).status == 404


async def test_what_has_not_changed_is_not_sent_again(small: Client) -> None:
    first = await small.get("/room/main.js")
    again = await small.get("/room/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert {again.headers["Cache-Control"], first.headers["Cache-Control"]} == {"no-cache"}
    other = await small.get("/room/", headers={"If-None-Match": first.headers["ETag"]})
    assert (other.status, await other.text()) == (200, "room/index.html")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip ; q=0.0, br", None),
    ],
)
async def test_text_is_sent_compressed_to_those_who_take_it(
    real: Client, accepted: str, encoding: str | None
) -> None:
    response = await real.get("/room/room.css", headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == encoding
    assert response.headers["Vary"] == "Accept-Encoding"
    text = (WEB / "room" / "room.css").read_text(encoding="utf-8")
    assert await response.text() == text
    length = int(response.headers["Content-Length"])
    assert length < len(text) / 2 if encoding else length == len(text.encode())


async def test_pictures_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG" + bytes(1000))
    async with _client(tmp_path) as client:
        response = await client.get("/logo.png", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in response.headers
        assert await response.read() == b"\x89PNG" + bytes(1000)
        head = await client.head("/logo.png")
        assert (head.status, head.headers["Content-Length"]) == (200, "1004")
