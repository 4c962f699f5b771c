"""The library of recordings over HTTP: who sees what, and what the audit knows of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import library
import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient, TestServer
from library_server import (
    ELSEWHERE,
    OURS,
    SEALED,
    WAITING,
    Archive,
    Client,
    cookie,
    enter,
    filled_archive,
    listed,
    refused,
)

from bridge.api.library.session import COOKIE
from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConsentState, PackageState, Role
from bridge.store.audit import Action
from bridge.store.catalogue import Catalogue
from bridge.tokens import LIBRARY_LIFETIME_S, LIBRARY_TOTAL_S, TokenKind


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
            (morsel,) = response.cookies.values()
            assert morsel.key == ("__Secure-hoichan-archive" if is_secure else COOKIE)
            assert morsel["path"] == "/api/archive"
            assert morsel["samesite"] == "Strict"
            assert morsel["httponly"] is True
            assert bool(morsel["secure"]) is is_secure
            assert int(morsel["max-age"]) == LIBRARY_LIFETIME_S
            assert response.headers["Cache-Control"] == "no-store"
            shown = {"Cookie": f"{morsel.key}={morsel.value}"}
            listed = await client.get("/api/archive/packages", headers=shown)
            assert listed.status == 200


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
        (f"packages/{SEALED}/check", {}),
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
    monkeypatch.setattr("bridge.api.admission.limited_networks", lambda host: (b"\xc0\x00\x02\x01",))
    async with TestClient(TestServer(archive.application(per_minute=3))) as client:
        answers = [
            (
                await client.post("/api/archive/session", json={"invitation": archive.key()}, headers=OURS)
            ).status
            for _ in range(5)
        ]
    assert answers == [200, 200, 200, 429, 429]


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


async def test_a_sealed_package_is_checked_when_somebody_asks(client: Client, archive: Archive) -> None:
    await enter(client, archive.invitation())
    response = await client.post(f"/api/archive/packages/{SEALED}/check", json={}, headers=OURS)
    assert (response.status, (await response.json())["id"]) == (200, SEALED)
    path = f"/api/archive/packages/{WAITING}/check"
    assert await refused(client, path, method="POST", json={}, headers=OURS) == (409, "not-ready")
    assert archive.checked == [SEALED]
    assert Action.CHECK in archive.deeds(SEALED)
    assert Action.CHECK not in archive.deeds(WAITING)


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
    response = await client.get(f"/api/archive/packages/{SEALED}/parts/1")
    assert response.status == 200
    # To its end: the catalogue is closed after the test, and may still be asked for the link meanwhile.
    await response.read()
    assert archive.deeds() == [Action.PLAY]


def put_large_video(archive: Archive) -> int:
    """Make the package's video larger than the buffers between server and client; return its bytes."""
    packages = archive.folder / "packages"
    (packages / SEALED).unlink()
    video = packages / SEALED / "data" / "video"
    video.mkdir(parents=True)
    size_bytes = 64 * 1024 * 1024
    with (video / "part-001.mp4").open("wb") as file:
        file.truncate(size_bytes)
    return size_bytes


@pytest.mark.parametrize("place", ["parts/1", "download"])
async def test_a_link_that_is_revoked_takes_nothing_more(
    client: Client, archive: Archive, place: str
) -> None:
    size_bytes = put_large_video(archive)
    key = archive.key()
    await enter(client, key)
    response = await client.get(f"/api/archive/packages/{SEALED}/{place}")
    assert (response.status, len(await response.content.readexactly(1000))) == (200, 1000)
    archive.revoked.add(archive.tokens.read(key, TokenKind.ARCHIVE).id)
    received = 1000
    with suppress(ClientPayloadError):
        async for piece in response.content.iter_any():
            received += len(piece)
    assert received < size_bytes // 2
    assert await refused(client, f"/api/archive/packages/{SEALED}/{place}") == (401, "revoked-link")


# Consent that is withdrawn afterwards.

WITHDRAWAL = f"/api/archive/packages/{SEALED}/withdrawal"


async def withdraw(client: Client, path: str = WITHDRAWAL) -> Any:
    response = await client.post(path, json={"reason": "đơn của gia đình"}, headers=OURS)
    assert response.status == 200, await response.text()
    return await response.json()


@pytest.mark.parametrize("place", ["parts/1", "download"])
@pytest.mark.parametrize("is_withdrawn", [True, False])
async def test_a_transfer_ends_when_consent_is_withdrawn_or_the_package_deleted_meanwhile(
    client: Client, archive: Archive, place: str, is_withdrawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.api.library.streaming.ASKED_EVERY_S", 0.0)
    size_bytes = put_large_video(archive)
    await enter(client, archive.invitation())
    response = await client.get(f"/api/archive/packages/{SEALED}/{place}")
    assert (response.status, len(await response.content.readexactly(1000))) == (200, 1000)
    if is_withdrawn:
        archive.catalogue.withhold(SEALED, ConsentState.WITHDRAWN, 1, by="command line", reason="đơn")
    else:
        archive.catalogue.set_deleted(SEALED, 1)
    received = 1000
    with suppress(ClientPayloadError):
        async for piece in response.content.iter_any():
            received += len(piece)
    assert received < size_bytes // 2


async def test_who_leads_the_room_withdraws_consent_and_sees_no_more_of_it(
    client: Client, archive: Archive
) -> None:
    await enter(client, archive.invitation())
    shown = await withdraw(client)
    assert (shown["consent"], shown["disposition"]) == ("withdrawn", "open")
    assert shown["consent_ms"] == int(archive.clock.now * 1000)
    assert (shown["video"], shown["files"], shown["attendance"], shown["recorded"]) == ([], [], None, [])
    for what in ("parts/1", "content/1", "files/poster", "download", "gaps"):
        assert await refused(client, f"/api/archive/packages/{SEALED}/{what}") == (403, "withheld")
    assert archive.deeds() == [Action.WITHDRAW]
    # Said twice, it is written down twice, and changes nothing more.
    assert (await withdraw(client))["consent_ms"] == shown["consent_ms"]
    await enter(client, archive.key())
    shown = await (await client.get(f"/api/archive/packages/{SEALED}")).json()
    assert len(shown["video"]) == 2
    assert shown["audit"][1]["detail"] == {"reason": "đơn của gia đình"}
    assert await listed(client, "?undecided=1") == [SEALED]
    assert archive.catalogue.undelivered() == archive.catalogue.unstored() == ()


@pytest.mark.parametrize(
    ("package", "state", "expected"),
    [
        (ELSEWHERE, PackageState.QUEUED, (400, "no-consent")),
        (WAITING, PackageState.RECORDING, (409, "not-ready")),
        (WAITING, PackageState.COMPOSING, (200, "open")),
    ],
)
async def test_consent_is_withdrawn_of_a_case_that_has_ended(
    client: Client, archive: Archive, package: str, state: PackageState, expected: tuple[int, str]
) -> None:
    archive.catalogue.set_state(package, state)
    await enter(client, archive.key())
    path = f"/api/archive/packages/{package}/withdrawal"
    if expected[0] == 200:
        assert (await withdraw(client, path))["disposition"] == "open"
        return
    body = {"reason": "đơn của gia đình"}
    assert await refused(client, path, method="POST", json=body, headers=OURS) == expected
    assert archive.deeds(package) == []


@pytest.mark.parametrize("body", [{}, {"reason": "x"}, {"reason": 1}])
async def test_a_withdrawal_without_its_form_or_from_elsewhere_changes_nothing(
    client: Client, archive: Archive, body: dict[str, str]
) -> None:
    await enter(client, archive.key())
    assert await refused(client, WITHDRAWAL, method="POST", json=body, headers=OURS) == (
        400,
        "invalid-message",
    )
    good = {"reason": "đơn của gia đình"}
    assert await refused(client, WITHDRAWAL, method="POST", json=good) == (403, "not-permitted")
    await enter(client, archive.invitation(room="giao-ban"))
    assert await refused(client, WITHDRAWAL, method="POST", json=good, headers=OURS) == (
        404,
        "unknown-recording",
    )
    assert archive.deeds() == []


async def test_only_1_narrows_the_list_to_what_is_undecided(client: Client, archive: Archive) -> None:
    await enter(client, archive.key())
    assert await listed(client, "?undecided=1") == []
    assert await refused(client, "/api/archive/packages?undecided=yes") == (400, "invalid-message")
