"""The library of recordings over HTTP: what is found, told and sent."""

import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import library
import pytest
from aiohttp.test_utils import TestClient, TestServer
from library_server import (
    ELSEWHERE,
    OURS,
    SEALED,
    WAITING,
    Archive,
    Client,
    Clock,
    enter,
    filled_archive,
    listed,
    refused,
)
from yarl import URL

from bridge.api.library.visits import VISIT_S, Visits
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState
from bridge.store.entries import DeliveryEntry


@pytest.fixture(scope="module")
def sealed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package's files, encoded once."""
    folder = tmp_path_factory.mktemp("sealed") / SEALED
    library.write_package(folder, library.entry(SEALED))
    return folder


@pytest.fixture
def archive(tmp_path: Path, sealed_folder: Path) -> Iterator[Archive]:
    with filled_archive(tmp_path, sealed_folder) as filled:
        yield filled


@pytest.fixture
async def client(archive: Archive) -> AsyncIterator[Client]:
    async with TestClient(TestServer(archive.application())) as running:
        yield running


# What is found.


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=dien+bien", [ELSEWHERE, WAITING, SEALED]),
        ("?q=bn-2026-0142", [SEALED]),
        ("?q=giao+ban", [ELSEWHERE]),
        ("?q=kh%C3%B4ng+c%C3%B3", []),
        ("?q=%25", []),
        ("?from=2026-01-06", [ELSEWHERE]),
        ("?to=2026-01-05", [WAITING, SEALED]),
        ("?from=2026-01-05&to=2026-01-05", [WAITING, SEALED]),
        ("?state=sealed", [SEALED]),
        ("?state=queued,composing", [ELSEWHERE, WAITING]),
        ("?state=failed", []),
    ],
)
async def test_packages_are_found_by_words_days_and_states(
    client: Client, archive: Archive, query: str, found: list[str]
) -> None:
    await enter(client, archive.key())
    assert await listed(client, query) == found


async def test_a_day_begins_at_midnight_in_vietnam(client: Client, archive: Archive) -> None:
    midnight_ms = 1_767_546_000_000 + 86_400_000  # 2026-01-06T00:00+07:00
    library.add(archive.catalogue, library.entry("HC-BV-20260106-02-S", started_ms=midnight_ms))
    library.add(archive.catalogue, library.entry("HC-BV-20260105-09-S", started_ms=midnight_ms - 1))
    await enter(client, archive.key())
    assert "HC-BV-20260106-02-S" in await listed(client, "?from=2026-01-06")
    assert "HC-BV-20260105-09-S" in await listed(client, "?to=2026-01-05")
    assert "HC-BV-20260105-09-S" not in await listed(client, "?from=2026-01-06")


@pytest.mark.parametrize(
    "query",
    [
        "q=" + "x" * 201,
        "from=yesterday",
        "to=2026-02-30",
        "to=9999-12-31",
        "from=0001-01-01",
        "state=lost",
        "state=" + "sealed," * 40,
        "cursor=-1",
        "cursor=1e3",
        "cursor=" + "9" * 50,
        "room=giao-ban",
    ],
)
async def test_questions_of_odd_form_are_refused(client: Client, archive: Archive, query: str) -> None:
    await enter(client, archive.key())
    assert await refused(client, f"/api/archive/packages?{query}") == (400, "invalid-message")


async def test_a_long_list_comes_in_pages_that_hold_every_package_once(
    client: Client, archive: Archive
) -> None:
    for number in range(60):
        library.add(
            archive.catalogue,
            library.entry(f"HC-BV-20251201-{number:02d}-S", started_ms=library.START_MS - number * 1000),
        )
    await enter(client, archive.key())
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await (await client.get(f"/api/archive/packages?cursor={cursor}")).json()
        assert page["total"] == 63
        seen += [package["id"] for package in page["packages"]]
        cursor = page["cursor"]
    assert len(seen) == len(set(seen)) == 63


async def test_a_line_of_the_list_tells_state_progress_and_the_reason_of_a_failure(
    client: Client, archive: Archive
) -> None:
    archive.catalogue.set_step(WAITING, PackageState.COMPOSING, 0.25, 90.0)
    archive.catalogue.set_failed(
        ELSEWHERE, PackageState.FAILED, ArchiveFailed("disk-full", "no space"), next_attempt_ms=5
    )
    await enter(client, archive.key())
    failed, composing, sealed = (await (await client.get("/api/archive/packages")).json())["packages"]
    assert (composing["state"], composing["progress"], composing["remaining_s"]) == ("composing", 0.25, 90.0)
    assert composing["error"] is None
    assert (failed["state"], failed["error"]) == ("failed", {"code": "disk-full", "sentence": "no space"})
    assert (sealed["state"], sealed["is_sealed"], sealed["bytes"]) == ("sealed", True, 4711)


async def test_progress_tells_what_moves_in_the_rooms_of_the_session(
    client: Client, archive: Archive
) -> None:
    archive.catalogue.set_step(WAITING, PackageState.COMPOSING, 0.5, 30.0)
    await enter(client, archive.invitation())
    progress = await (await client.get("/api/archive/progress")).json()
    assert [(package["id"], package["progress"]) for package in progress["packages"]] == [(WAITING, 0.5)]
    assert progress["total"] == 2


# One package.


async def test_a_package_tells_its_parts_gaps_attendance_and_keeping(
    client: Client, archive: Archive
) -> None:
    archive.catalogue.add_delivery(DeliveryEntry(SEALED, 1, "stow", False, "unreachable", "no answer"))
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{SEALED}")).json()
    assert [(part["number"], part["frames"], part["fps"]) for part in shown["video"]] == [
        (1, 200, 25),
        (2, 150, 25),
    ]
    assert [part["number"] for part in shown["content"]] == [1]
    assert shown["recorded"][1] == {
        "start_ms": library.START_MS + 16_000,
        "end_ms": library.START_MS + 20_000,
    }
    (gap,) = shown["gaps"]
    assert shown["gap_count"] == 1
    assert gap["end_ms"] - gap["start_ms"] == 1200
    assert (gap["site"], gap["source"], gap["reason"]) == (
        "Bệnh viện Đa khoa tỉnh Điện Biên", "microphone", "loss",
    )  # fmt: skip
    assert [site["site"] for site in shown["attendance"]["sites"]] == list(library.entry().sites)
    assert set(shown["files"]) == {"captions", "chapters", "poster", "contact-sheet", "attendance"}
    assert shown["sheet"]["columns"] == 2
    assert (shown["seal"], shown["retention"], shown["retention_until"]) == (
        "5e" * 32,
        "ordinary",
        "2036-12-31",
    )
    assert shown["deliveries"][0]["error"] == "no answer"


async def test_a_package_that_is_not_sealed_shows_what_is_known_and_sends_nothing(
    client: Client, archive: Archive
) -> None:
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{WAITING}")).json()
    assert (shown["state"], shown["video"], shown["attendance"]) == ("queued", [], None)
    for path in ("parts/1", "files/poster", "download", "gaps"):
        assert await refused(client, f"/api/archive/packages/{WAITING}/{path}") == (409, "not-ready")


async def test_a_package_whose_documents_are_damaged_can_still_be_looked_at(
    client: Client, archive: Archive
) -> None:
    folder = archive.folder / "packages" / WAITING
    for name, content in (
        ("data/video/parts.json", "["),
        ("data/gaps.json", '[{"from": "never"}, 7]'),
        ("data/attendance.json", "[]"),
        ("data/case.json", "{}" + " " * 9_000_000),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    archive.catalogue.set_sealed(
        WAITING, seal="aa" * 32, size_bytes=1, sealed_ms=2, retention=library.entry().retention,
        retention_until=None,
    )  # fmt: skip
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{WAITING}")).json()
    assert (shown["video"], shown["gaps"], shown["attendance"], shown["recorded"]) == ([], [], None, [])
    # Not the same as nothing missing.
    assert shown["gap_count"] is None


async def test_gaps_of_a_bad_night_are_counted_and_come_in_pages(client: Client, archive: Archive) -> None:
    path = archive.folder / "packages" / SEALED / "data" / "gaps.json"
    (known,) = json.loads(path.read_text("utf-8"))
    path.unlink()
    # More than eight megabytes, as packages of before have them.
    path.write_text(json.dumps([{**known, "source": f"s{number}"} for number in range(30_000)]))
    assert path.stat().st_size > 8_388_608
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{SEALED}")).json()
    assert (shown["gap_count"], len(shown["gaps"])) == (30_000, 200)
    page = await (await client.get(f"/api/archive/packages/{SEALED}/gaps?offset=29900")).json()
    assert (page["gap_count"], len(page["gaps"]), page["gaps"][-1]["source"]) == (30_000, 100, "s29999")
    for offset in ("-1", "x", "1" * 10):
        assert await refused(client, f"/api/archive/packages/{SEALED}/gaps?offset={offset}") == (
            400,
            "invalid-message",
        )


async def test_the_audit_is_shown_to_the_archive_only(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{SEALED}")).json()
    assert [line["action"] for line in shown["audit"]] == ["view"]
    assert "CN. Lan" in shown["audit"][0]["who"]
    await enter(client, archive.invitation())
    assert "audit" not in await (await client.get(f"/api/archive/packages/{SEALED}")).json()


async def test_a_deleted_package_is_gone_for_everybody(client: Client, archive: Archive) -> None:
    archive.catalogue.set_deleted(SEALED, 5)
    await enter(client, archive.key())
    for path in ("", "/parts/1", "/download"):
        assert await refused(client, f"/api/archive/packages/{SEALED}{path}") == (404, "unknown-recording")


@pytest.mark.parametrize(
    "path",
    [
        "packages/..%2F..%2Fcatalogue.sqlite3",
        "packages/%2E%2E",
        "packages/HC-BV-20260105-01-C01%2F..",
        "packages/HC-BV-20260105-01-C01%00",
        "packages/hc-bv-20260105-01-c01",
        "packages/" + "H" * 5000,
        f"packages/{SEALED}/parts/0",
        f"packages/{SEALED}/parts/3",
        f"packages/{SEALED}/parts/1000",
        f"packages/{SEALED}/parts/..%2Fparts.json",
        f"packages/{SEALED}/parts/%D9%A1",
        f"packages/{SEALED}/content/2",
        f"packages/{SEALED}/files/..%2F..%2Fcase.json",
        f"packages/{SEALED}/files/case.json",
        f"packages/{SEALED}/nothing",
        "nothing",
    ],
)
async def test_addresses_of_odd_form_lead_nowhere(client: Client, archive: Archive, path: str) -> None:
    await enter(client, archive.key())
    url = URL(f"/api/archive/{path}", encoded=True)
    assert await refused(client, url) == (404, "unknown-recording")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"hold": 1, "reason": "abc"}',
        b'{"hold": true}',
        b'{"hold": true, "reason": "x"}',
    ],
)
async def test_a_hold_without_the_right_form_changes_nothing(
    client: Client, archive: Archive, body: bytes
) -> None:
    await enter(client, archive.key())
    path = f"/api/archive/packages/{SEALED}/hold"
    assert await refused(client, path, method="POST", data=body, headers=OURS) == (400, "invalid-message")
    assert archive.deeds() == []


# Media.


async def test_a_player_gets_the_range_it_asks_for(client: Client, archive: Archive) -> None:
    content = (archive.folder / "packages" / SEALED / "data/video/part-001.mp4").read_bytes()
    await enter(client, archive.invitation())
    path = f"/api/archive/packages/{SEALED}/parts/1"
    whole = await client.get(path)
    assert (whole.status, await whole.read()) == (200, content)
    assert whole.headers["Cache-Control"] == "private, no-store"
    assert whole.headers["Content-Type"] == "video/mp4"
    assert "Content-Disposition" not in whole.headers
    tag = whole.headers["ETag"]
    for start in (0, 100, len(content) - 10):
        headers = {"Range": f"bytes={start}-", "If-Range": tag}
        part = await client.get(path, headers=headers)
        assert (part.status, await part.read()) == (206, content[start:])


async def test_files_have_their_types_and_downloads_their_names(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    base = f"/api/archive/packages/{SEALED}"
    for path, content_type, name in (
        ("files/captions", "text/vtt", None),
        ("files/chapters", "text/vtt", None),
        ("files/poster", "image/jpeg", None),
        ("files/contact-sheet", "image/jpeg", None),
        ("files/attendance", "text/csv", f"{SEALED}-attendance.csv"),
        ("content/1", "video/mp4", None),
        ("parts/2?save", "video/mp4", f"{SEALED}-video-002.mp4"),
        ("download", "application/x-tar", f"{SEALED}.tar"),
    ):
        response = await client.get(f"{base}/{path}")
        assert (response.status, response.content_type) == (200, content_type)
        assert response.headers.get("Content-Disposition") == (
            f'attachment; filename="{name}"' if name else None
        )
        assert len(await response.read()) == int(response.headers["Content-Length"]) > 0


async def test_a_downloaded_package_holds_every_file(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    response = await client.get(f"/api/archive/packages/{SEALED}/download")
    with tarfile.open(fileobj=io.BytesIO(await response.read())) as tar:
        names = set(tar.getnames())
    folder = archive.folder / "packages" / SEALED
    assert names == {
        f"{SEALED}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*") if path.is_file()
    }


def test_visits_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.api.library.visits.VISITS_MAX", 3)
    clock = Clock()
    visits = Visits(clock)
    for deed in range(4):
        visits.begin(deed)
    assert [visits.goes_on(deed) for deed in range(4)] == [False, True, True, True]
    clock.now += VISIT_S
    assert not visits.goes_on(3)


# The document.


def test_the_document_tells_of_every_address_and_of_no_other(archive: Archive) -> None:
    document = (Path(__file__).parents[2] / "docs/archive-api.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`((?:GET|POST|DELETE) /api/archive/[^`]*)`", document))
    there = {
        f"{route.method} {path}"
        for route in archive.application().router.routes()
        if route.method in ("GET", "POST", "DELETE")
        for path in _addresses(route.resource.canonical if route.resource is not None else "")
    }
    assert told == there


def _addresses(path: str) -> list[str]:
    return (
        [path.replace("{series}", series) for series in ("parts", "content")]
        if "{series}" in path
        else [path]
    )
