"""Stored files over HTTP: ranges, preconditions, archives made on the way, and what goes wrong on it."""

import asyncio
import contextlib
import io
import os
import tarfile
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.library.ranges import ByteRange, Unsatisfiable, byte_range, may_continue
from bridge.api.library.streaming import CHUNK_BYTES, Body, FileSegment, Holder, Pace, Transfers, file_body
from bridge.api.library.tar import tar_body
from bridge.api.problems import answering_problems

Client = TestClient[web.Request, web.Application]

CONTENT = bytes(range(256)) * 2048 + b"the odd end"
SIZE = len(CONTENT)


@asynccontextmanager
async def serving(body: Body, transfers: Transfers | None = None) -> AsyncIterator[Client]:
    sender = transfers or Transfers()

    async def serve(request: web.Request) -> web.StreamResponse:
        headers = {"Cache-Control": "private, no-store"}
        holder = Holder(
            request.query.get("holder", "somebody"), is_revoked=lambda: False, is_withheld=lambda: False
        )
        return await sender.answer(request, body, holder=holder, content_type="video/mp4", headers=headers)

    application = web.Application()
    application.router.add_get("/file", answering_problems(serve, request="archive"))
    async with TestClient(TestServer(application)) as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "part-001.mp4"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=10-", ByteRange(10, 90)),
        ("Bytes=10-19", ByteRange(10, 10)),
        ("bytes=90-1000", ByteRange(90, 10)),
        ("bytes=-7", ByteRange(93, 7)),
        ("bytes=-1000", ByteRange(0, 100)),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("items=0-5", None),
        ("bytes=-", None),
        ("bytes=1-2-3", None),
        ("bytes=\u0661-", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_a_range_header_is_read_as_rfc_9110_says(header: str | None, expected: ByteRange | None) -> None:
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "size_bytes"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)]
)
def test_a_range_outside_of_the_file_is_unsatisfiable(header: str, size_bytes: int) -> None:
    with pytest.raises(Unsatisfiable):
        byte_range(header, size_bytes)


@given(st.text(max_size=40), st.integers(0, 10_000))
def test_no_header_leads_outside_of_the_file(text: str, size_bytes: int) -> None:
    try:
        wanted = byte_range(f"bytes={text}", size_bytes)
    except Unsatisfiable:
        return
    assert wanted is None or 0 <= wanted.start < wanted.start + wanted.length <= size_bytes


@pytest.mark.parametrize(
    ("if_range", "is_current"),
    [
        (None, True),
        ('"now"', True),
        ('"before"', False),
        ('W/"now"', False),
        ("Mon, 01 Jan 2024 00:00:00 GMT", True),
        ("Tue, 02 Jan 2024 00:00:00 GMT", False),
    ],
)
def test_a_range_of_another_version_is_not_continued(if_range: str | None, is_current: bool) -> None:
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    assert may_continue(if_range, etag='"now"', last_modified=modified) is is_current


async def test_the_whole_file_comes_with_its_length_and_may_not_be_kept(path: Path) -> None:
    async with serving(file_body(path)) as client:
        response = await client.get("/file")
        assert response.status == 200
        assert await response.read() == CONTENT
        assert response.headers["Content-Length"] == str(SIZE)
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Content-Type"] == "video/mp4"
        assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=-11", SIZE - 11, SIZE),
        (f"bytes={CHUNK_BYTES - 1}-{CHUNK_BYTES}", CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        ("bytes=7-", 7, SIZE),
    ],
)
async def test_a_range_is_answered_with_exactly_its_bytes(
    path: Path, header: str, start: int, end: int
) -> None:
    async with serving(file_body(path)) as client:
        response = await client.get("/file", headers={"Range": header})
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert await response.read() == CONTENT[start:end]


async def test_a_range_behind_the_end_is_told_the_size(path: Path) -> None:
    async with serving(file_body(path)) as client:
        response = await client.get("/file", headers={"Range": f"bytes={SIZE}-"})
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"
        assert await response.read() == b""


async def test_several_ranges_at_once_are_answered_with_everything(path: Path) -> None:
    async with serving(file_body(path)) as client:
        response = await client.get("/file", headers={"Range": "bytes=0-1,8-9"})
        assert (response.status, len(await response.read())) == (200, SIZE)


async def test_a_range_of_an_older_file_is_answered_with_the_whole_new_one(path: Path) -> None:
    async with serving(file_body(path)) as client:
        tag = (await client.get("/file")).headers["ETag"]
        for if_range, status in ((tag, 206), ('"older"', 200), (f"W/{tag}", 200)):
            response = await client.get("/file", headers={"Range": "bytes=0-1", "If-Range": if_range})
            assert response.status == status


async def test_preconditions_end_a_request_without_a_body(path: Path) -> None:
    async with serving(file_body(path)) as client:
        async with client.get("/file") as whole:
            tag = whole.headers["ETag"]
            await whole.read()
        for header, value, status in (
            ("If-None-Match", tag, 304),
            ("If-None-Match", '"older"', 200),
            ("If-Match", '"older"', 412),
            ("If-Match", tag, 200),
            ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
            ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ):
            async with client.get("/file", headers={header: value}) as response:
                await response.read()
            assert response.status == status, (header, value)


async def test_head_tells_the_length_and_sends_nothing(path: Path) -> None:
    async with serving(file_body(path)) as client:
        response = await client.head("/file")
        assert (response.status, response.headers["Content-Length"]) == (200, str(SIZE))
        assert await response.read() == b""


async def test_a_file_that_became_shorter_breaks_the_connection_and_never_passes_for_whole(
    path: Path,
) -> None:
    body = file_body(path)
    os.truncate(path, SIZE // 2)
    async with serving(body) as client:
        response = await client.get("/file")
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_beyond_its_limit_of_transfers_the_server_is_busy(path: Path) -> None:
    async with serving(file_body(path), Transfers(transfers_max=0)) as client:
        response = await client.get("/file")
        assert response.status == 503
        assert (await response.json())["code"] == "busy"
        assert "Retry-After" in response.headers


async def test_one_link_does_not_take_all_transfers(path: Path) -> None:
    transfers = Transfers(transfers_max=3, per_holder_max=2)
    transfers._running.update(["greedy", "greedy"])
    async with serving(file_body(path), transfers) as client:
        response = await client.get("/file?holder=greedy")
        assert (response.status, (await response.json())["code"]) == (503, "busy")
        for _ in range(2):
            response = await client.get("/file?holder=other")
            assert (response.status, len(await response.read())) == (200, SIZE)
        transfers._running.update(["other"])
        assert (await client.get("/file?holder=third")).status == 503
    assert transfers._running == {"greedy": 2, "other": 1}


async def test_a_transfer_that_is_over_makes_room_for_the_next(path: Path) -> None:
    async with serving(file_body(path), Transfers(transfers_max=1)) as client:
        for _ in range(3):
            response = await client.get("/file")
            assert (response.status, len(await response.read())) == (200, SIZE)


async def test_who_stops_reading_is_cut_off_and_keeps_no_place(tmp_path: Path) -> None:
    # More than all buffers between the two hold.
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    transfers = Transfers(transfers_max=1, stalled_s=0.3, pace_bytes_per_s=10**10)
    async with serving(file_body(path), transfers) as client:
        reader, writer = await asyncio.open_connection(client.host, client.port, limit=1024)
        writer.write(b"GET /file HTTP/1.1\r\nHost: here\r\n\r\n")
        assert b"200" in await reader.readline()
        for _ in range(200):
            response = await client.get("/file", headers={"Range": "bytes=0-9"})
            if response.status == 206:
                break
            await asyncio.sleep(0.05)
        assert (response.status, await response.read()) == (206, bytes(10))
        with contextlib.suppress(ConnectionError):
            received = await reader.read(-1)
            assert len(received) < 64 * 1024 * 1024
        writer.close()


async def test_a_large_file_passes_through_little_memory(tmp_path: Path) -> None:
    size_bytes = 96 * 1024 * 1024
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    received = 0
    async with serving(file_body(path), Transfers(pace_bytes_per_s=10**10)) as client:
        response = await client.get("/file")
        tracemalloc.start()
        try:
            async for piece in response.content.iter_chunked(64 * 1024):
                received += len(piece)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert received == size_bytes
    # A few pieces here, a few in the buffers of the client beside it.
    assert peak_bytes < 16 * CHUNK_BYTES


def test_all_transfers_share_one_rate() -> None:
    pace = Pace(1000)
    assert pace.delay_s(500, 10.0) == 0.0
    assert pace.delay_s(500, 10.0) == pytest.approx(0.5)
    assert pace.delay_s(500, 10.6) == pytest.approx(0.4)
    assert pace.delay_s(500, 20.0) == 0.0


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "HC-BV-20260105-01-C01"
    (folder / "data" / "video").mkdir(parents=True)
    (folder / "data" / "video" / "part-001.mp4").write_bytes(CONTENT)
    (folder / "data" / "case.json").write_text('{"title": "Hội chẩn"}', encoding="utf-8")
    long = folder / "data" / "minutes" / ("biên bản " * 12) / ("trang " * 14)
    long.mkdir(parents=True)
    (long / "1.txt").write_text("dài", encoding="utf-8")
    (folder / "bagit.txt").write_bytes(b"")
    return folder


def sizes_in(folder: Path) -> dict[str, int]:
    return {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_package_is_a_tar_archive_of_known_length(package: Path) -> None:
    body = tar_body(package)
    async with serving(body) as client:
        response = await client.get("/file")
        archive = await response.read()
    assert len(archive) == body.size_bytes == int(response.headers["Content-Length"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {member.name: member.size for member in tar}
        part = tar.extractfile(f"{package.name}/data/video/part-001.mp4")
        assert part is not None
        assert part.read() == CONTENT
    assert found == sizes_in(package)


async def test_a_download_of_a_package_that_broke_off_can_be_continued(package: Path) -> None:
    async with serving(tar_body(package)) as client:
        whole = await (await client.get("/file")).read()
        response = await client.get("/file", headers={"Range": "bytes=1000-"})
        assert (response.status, await response.read()) == (206, whole[1000:])


@given(st.data())
def test_every_range_of_several_segments_is_cut_from_the_right_ones(data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.binary(max_size=20), min_size=1, max_size=6))
    whole = b"".join(pieces)
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, len(whole) - start))
    body = Body(tuple(pieces), "tag", 0.0)
    found = b""
    for segment, stretch in body.cut(ByteRange(start, length)):
        assert isinstance(segment, bytes)
        found += segment[stretch.start : stretch.start + stretch.length]
    assert found == whole[start : start + length]


def test_what_a_link_points_to_stays_out_of_the_archive(package: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    (package / "data" / "link").symlink_to(secret)
    (package / "data" / "folder").symlink_to(tmp_path)
    names = [segment.path.name for segment in tar_body(package).segments if isinstance(segment, FileSegment)]
    assert "link" not in names
    assert "secret" not in names


def test_a_folder_that_is_gone_is_not_an_empty_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tar_body(tmp_path / "gone")
