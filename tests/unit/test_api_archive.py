"""The library of recordings over HTTP: who sees what, what is told of it, and what the audit knows of it."""

import io
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.cookies import Morsel
from pathlib import Path
from typing import Any

import library
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from bridge.api.admission import Admission
from bridge.api.archive import ArchiveApi
from bridge.api.archive_session import COOKIE, LibrarySessions
from bridge.api.visits import VISIT_S, Visits
from bridge.counters import SessionCounters
from bridge.errors import ArchiveFailed
from bridge.store.audit import Action
from bridge.store.catalogue import Catalogue
from bridge.store.entries import DeliveryEntry
from bridge.tokens import LIBRARY_LIFETIME_S, LIBRARY_TOTAL_S, TokenKind, Tokens
from bridge.words import Level, PackageState, Role

Client = TestClient[web.Request, web.Application]

OURS = {"X-Requested-With": "hoichan"}
SEALED, WAITING, ELSEWHERE = "HC-BV-20260105-01-C01", "HC-BV-20260105-01-C02", "HC-BV-20260106-01-S"
HOUR_S = 3600


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Archive:
    """One archive with three packages, and the library in front of it."""

    folder: Path
    catalogue: Catalogue
    clock: Clock = field(default_factory=Clock)
    retried: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = Tokens(b"s" * 32, clock=self.clock)

    def application(self, *, origin: str = "http://localhost", per_minute: int = 0) -> web.Application:
        application = web.Application(client_max_size=256 * 1024)
        ArchiveApi(
            self.catalogue,
            self.folder / "packages",
            LibrarySessions(self.tokens, origin=origin),
            admission=Admission(per_minute, counters=SessionCounters()),
            retry=self.retried.append,
            wall_clock=self.clock,
        ).add_routes(application.router)
        return application

    def key(self, *, lifetime_s: int = 30 * 86_400) -> str:
        return self.tokens.archive(
            site="BV Bạch Mai",
            level=Level.CENTRAL,
            role=Role.SECRETARY,
            lifetime_s=lifetime_s,
            name="CN. Lan",
        )

    def invitation(self, role: Role = Role.CHAIR, room: str = "tim-mach", *, lifetime_s: int = HOUR_S) -> str:
        return self.tokens.invitation(
            room=room,
            title="Hội chẩn",
            site="BV Bạch Mai",
            level=Level.CENTRAL,
            role=role,
            lifetime_s=lifetime_s,
        )

    def deeds(self, package: str | None = SEALED) -> list[Action]:
        entries = self.catalogue.audit.entries(package=package)
        return [entry.action for entry in reversed(entries)]


@pytest.fixture(scope="module")
def sealed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package's files, encoded once."""
    folder = tmp_path_factory.mktemp("sealed") / SEALED
    library.write_package(folder, library.entry(SEALED))
    return folder


@pytest.fixture
def archive(tmp_path: Path, sealed_folder: Path) -> Iterator[Archive]:
    catalogue = Catalogue(tmp_path)
    for package in (
        library.entry(SEALED),
        library.entry(WAITING, case="C02", code="BN-2026-0143", started_ms=library.START_MS + 60_000),
        library.entry(
            ELSEWHERE, room="giao-ban", title="Giao ban Điện Biên", case=None, code=None,
            started_ms=library.START_MS + 86_400_000,
        ),
    ):  # fmt: skip
        library.add(catalogue, package)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / SEALED).symlink_to(sealed_folder)
    catalogue.set_sealed(
        SEALED, seal="5e" * 32, size_bytes=4711, sealed_ms=library.START_MS + 90_000,
        retention=library.entry().retention, retention_until="2036-12-31",
    )  # fmt: skip
    yield Archive(tmp_path, catalogue)
    catalogue.close()


@pytest.fixture
async def client(archive: Archive) -> AsyncIterator[Client]:
    async with TestClient(TestServer(archive.application())) as running:
        yield running


async def enter(client: Client, token: str) -> dict[str, Any]:
    response = await client.post("/api/archive/session", json={"invitation": token}, headers=OURS)
    assert response.status == 200, await response.text()
    body: dict[str, Any] = await response.json()
    return body


async def refused(client: Client, path: str | URL, *, method: str = "GET", **request: Any) -> tuple[int, str]:
    response = await client.request(method, path, **request)
    body = await response.json()
    assert set(body["message"]) == {"vi", "en"}
    return response.status, body["code"]


def cookie(client: Client) -> "Morsel[str] | None":
    return client.session.cookie_jar.filter_cookies(client.make_url("/api/archive/packages")).get(COOKIE)


async def listed(client: Client, query: str = "") -> list[str]:
    response = await client.get(f"/api/archive/packages{query}")
    assert response.status == 200, await response.text()
    return [package["id"] for package in (await response.json())["packages"]]


# Who may come in.


async def test_a_key_opens_all_rooms_and_the_answer_says_so(client: Client, archive: Archive) -> None:
    session = await enter(client, archive.key())
    assert (session["scope"], session["room"], session["role"]) == ("all", None, "secretary")
    assert session["expires_s"] == LIBRARY_LIFETIME_S
    assert await listed(client) == [ELSEWHERE, WAITING, SEALED]


@pytest.mark.parametrize("role", [Role.CHAIR, Role.SECRETARY])
async def test_who_leads_a_room_sees_its_recordings_only(
    client: Client, archive: Archive, role: Role
) -> None:
    session = await enter(client, archive.invitation(role))
    assert (session["scope"], session["room"]["id"]) == ("room", "tim-mach")
    assert await listed(client) == [WAITING, SEALED]
    assert await refused(client, f"/api/archive/packages/{ELSEWHERE}") == (404, "unknown-recording")


@pytest.mark.parametrize("role", [Role.PRESENTER, Role.EXPERT, Role.OBSERVER])
async def test_other_roles_are_refused_and_get_no_session(
    client: Client, archive: Archive, role: Role
) -> None:
    invitation = archive.invitation(role)
    assert await refused(
        client, "/api/archive/session", method="POST", json={"invitation": invitation}, headers=OURS
    ) == (403, "not-permitted")
    assert cookie(client) is None


async def test_tokens_of_other_kinds_and_old_ones_open_nothing(client: Client, archive: Archive) -> None:
    claims = archive.tokens.read(archive.invitation(), TokenKind.INVITATION)
    for token, code in (
        (archive.tokens.join(claims), "invalid-token"),
        (archive.tokens.library(claims), "invalid-token"),
        (archive.key(lifetime_s=-1), "expired-token"),
        (archive.invitation(lifetime_s=-1), "expired-token"),
        ("nonsense", "invalid-token"),
    ):
        assert await refused(
            client, "/api/archive/session", method="POST", json={"invitation": token}, headers=OURS
        ) == (401, code)


PATHS = (
    "/api/archive/packages",
    "/api/archive/progress",
    f"/api/archive/packages/{SEALED}",
    f"/api/archive/packages/{SEALED}/parts/1",
    f"/api/archive/packages/{SEALED}/content/1",
    f"/api/archive/packages/{SEALED}/files/poster",
    f"/api/archive/packages/{SEALED}/download",
)


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_shown_without_a_session(client: Client, path: str) -> None:
    assert await refused(client, path) == (401, "invalid-token")


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_shown_when_the_session_has_ended(
    client: Client, archive: Archive, path: str
) -> None:
    await enter(client, archive.key())
    archive.clock.now += LIBRARY_LIFETIME_S
    assert await refused(client, path) == (401, "expired-token")


@pytest.mark.parametrize("part", PATHS[2:])
async def test_who_may_not_see_a_package_is_told_that_there_is_none(
    client: Client, archive: Archive, part: str
) -> None:
    await enter(client, archive.invitation(room="giao-ban"))
    assert await refused(client, part) == (404, "unknown-recording")
    assert archive.deeds() == []


async def test_the_cookie_is_for_this_api_and_no_script_can_read_it(archive: Archive) -> None:
    for origin, is_secure in (("http://localhost", False), ("https://hoichan.example.vn", True)):
        async with TestClient(TestServer(archive.application(origin=origin))) as client:
            response = await client.post(
                "/api/archive/session", json={"invitation": archive.key()}, headers=OURS
            )
            morsel = response.cookies[COOKIE]
            assert morsel["path"] == "/api/archive"
            assert morsel["samesite"] == "Strict"
            assert morsel["httponly"] is True
            assert bool(morsel["secure"]) is is_secure
            assert int(morsel["max-age"]) == LIBRARY_LIFETIME_S
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_session_is_renewed_while_its_page_is_open_but_not_for_ever(
    client: Client, archive: Archive
) -> None:
    began = archive.clock.now
    await enter(client, archive.key())
    answers = []
    while archive.clock.now < began + LIBRARY_TOTAL_S + 2 * LIBRARY_LIFETIME_S:
        archive.clock.now += LIBRARY_LIFETIME_S - 60
        response = await client.post("/api/archive/session", json={}, headers=OURS)
        answers.append(response.status)
        if response.status != 200:
            break
    assert answers[-1] == 401
    assert set(answers[:-1]) == {200}
    assert began + LIBRARY_TOTAL_S - LIBRARY_LIFETIME_S < archive.clock.now
    assert archive.clock.now < began + LIBRARY_TOTAL_S + LIBRARY_LIFETIME_S


async def test_who_leaves_takes_the_session_along(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    response = await client.delete("/api/archive/session", headers=OURS)
    assert response.status == 204
    assert await refused(client, "/api/archive/packages") == (401, "invalid-token")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Requested-With": "XMLHttpRequest"}, 403),
        ({**OURS, "Origin": "https://evil.example"}, 403),
        ({**OURS, "Origin": "null"}, 403),
        ({**OURS, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**OURS, "Sec-Fetch-Site": "same-site"}, 403),
        ({**OURS, "Sec-Fetch-Site": "same-origin", "Origin": "https://hoichan.example.vn"}, 200),
        (OURS, 200),
    ],
)
async def test_another_sites_page_can_change_nothing(
    client: Client, archive: Archive, headers: dict[str, str], status: int
) -> None:
    await enter(client, archive.key())
    archive.catalogue.set_failed(
        WAITING, PackageState.FAILED, ArchiveFailed("disk-full", "no space"), next_attempt_ms=None
    )
    for path, body in (
        ("session", {}),
        (f"packages/{WAITING}/retry", {}),
        (f"packages/{SEALED}/hold", {"hold": True, "reason": "khiếu nại"}),
    ):
        response = await client.post(f"/api/archive/{path}", json=body, headers=headers)
        assert response.status == status, path
    assert archive.retried == ([WAITING] if status == 200 else [])
    held = archive.catalogue.package(SEALED)
    assert held is not None
    assert held.legal_hold is (status == 200)


async def test_asking_to_come_in_is_limited(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client of this test is the machine itself, which is never limited.
    monkeypatch.setattr("bridge.api.admission.limited_network", lambda host: b"\xc0\x00\x02\x01")
    async with TestClient(TestServer(archive.application(per_minute=3))) as client:
        answers = [
            (
                await client.post("/api/archive/session", json={"invitation": archive.key()}, headers=OURS)
            ).status
            for _ in range(5)
        ]
    assert answers == [200, 200, 200, 429, 429]


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
    archive.catalogue.set_state(WAITING, PackageState.COMPOSING)
    archive.catalogue.set_progress(WAITING, 0.25, 90.0)
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
    archive.catalogue.set_state(WAITING, PackageState.COMPOSING)
    archive.catalogue.set_progress(WAITING, 0.5, 30.0)
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
    for path in ("parts/1", "files/poster", "download"):
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


# What is written down.


async def test_every_access_is_in_the_audit_and_a_visit_is_there_once(
    client: Client, archive: Archive
) -> None:
    await enter(client, archive.key())
    base = f"/api/archive/packages/{SEALED}"
    for _ in range(3):
        await client.get(base)
        await client.get(f"{base}/parts/1", headers={"Range": "bytes=0-99"})
        await client.get(f"{base}/parts/2", headers={"Range": "bytes=50-"})
    assert archive.deeds() == [Action.VIEW, Action.PLAY]
    archive.clock.now += 601
    await client.get(base)
    assert archive.deeds() == [Action.VIEW, Action.PLAY, Action.VIEW]


async def test_every_export_is_in_the_audit_but_its_continuation_is_not(
    client: Client, archive: Archive
) -> None:
    await enter(client, archive.key())
    base = f"/api/archive/packages/{SEALED}"
    for path in ("download", "download", "parts/1?save", "files/attendance"):
        await (await client.get(f"{base}/{path}")).read()
    await (await client.get(f"{base}/download", headers={"Range": "bytes=1000-"})).read()
    assert archive.deeds() == [Action.DOWNLOAD, Action.DOWNLOAD, Action.EXPORT, Action.EXPORT]
    entry = archive.catalogue.audit.entries(package=SEALED)[0]
    assert entry.who == "secretary, BV Bạch Mai, CN. Lan"
    assert entry.network == "127.0.0.0/24"


async def test_who_begins_in_the_middle_is_in_the_audit_as_well(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    path = f"/api/archive/packages/{SEALED}/download"
    await (await client.get(path, headers={"Range": "bytes=1-"})).read()
    assert archive.deeds() == [Action.DOWNLOAD]


async def test_a_failed_package_is_tried_again_and_one_that_runs_is_left_alone(
    client: Client, archive: Archive
) -> None:
    archive.catalogue.set_failed(
        WAITING, PackageState.FAILED, ArchiveFailed("disk-full", "no space"), next_attempt_ms=None
    )
    await enter(client, archive.invitation())
    for package in (WAITING, SEALED):
        response = await client.post(f"/api/archive/packages/{package}/retry", json={}, headers=OURS)
        assert (response.status, (await response.json())["id"]) == (200, package)
    assert archive.retried == [WAITING]
    assert Action.RETRY in archive.deeds(WAITING)
    assert Action.RETRY not in archive.deeds(SEALED)


async def test_who_leads_a_room_may_hold_its_recordings_but_only_the_archive_lets_go(
    client: Client, archive: Archive
) -> None:
    path = f"/api/archive/packages/{SEALED}/hold"
    release = {"hold": False, "reason": "đã giải quyết"}
    await enter(client, archive.invitation())
    response = await client.post(path, json={"hold": True, "reason": "khiếu nại 12/2026"}, headers=OURS)
    assert (await response.json())["legal_hold"] is True
    assert await refused(client, path, method="POST", json=release, headers=OURS) == (403, "not-permitted")
    await enter(client, archive.key())
    response = await client.post(path, json=release, headers=OURS)
    assert (await response.json())["legal_hold"] is False
    assert archive.deeds() == [Action.HOLD, Action.RELEASE]
    assert archive.catalogue.audit.entries(package=SEALED)[1].detail == {"reason": "khiếu nại 12/2026"}


async def test_an_archive_that_cannot_be_read_is_an_answer_and_comes_back(
    tmp_path: Path, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file in the place of a directory")
    broken = Catalogue(tmp_path / "file")
    archive.catalogue.close()
    async with TestClient(TestServer(Archive(tmp_path, broken).application())) as client:
        await enter(client, archive.key())
        assert await refused(client, "/api/archive/packages") == (503, "archive-unavailable")
    assert "cannot be read" in caplog.text


async def test_nothing_is_sent_that_could_not_be_written_down(
    client: Client, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(client, archive.key())

    def full(*_: Any, **__: Any) -> None:
        raise ArchiveFailed("catalogue-unusable", "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(archive.catalogue.audit, "append", full)
        for path in ("parts/1", "download", "files/poster"):
            assert await refused(client, f"/api/archive/packages/{SEALED}/{path}") == (
                503,
                "archive-unavailable",
            )
    assert (await client.get(f"/api/archive/packages/{SEALED}/parts/1")).status == 200
    assert archive.deeds() == [Action.PLAY]


def test_visits_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.api.visits.VISITS_MAX", 3)
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
