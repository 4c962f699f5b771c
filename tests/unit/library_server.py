"""One archive with three packages and the library in front of it, for the tests of its HTTP API."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import Morsel
from pathlib import Path
from typing import Any

import library
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from bridge.api.admission import Admission
from bridge.api.library.endpoint import ArchiveApi
from bridge.api.library.session import COOKIE, LibrarySessions
from bridge.base.counters import SessionCounters
from bridge.base.words import Level, Role
from bridge.store.audit import Action
from bridge.store.catalogue import Catalogue
from bridge.tokens import Tokens

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
    checked: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tokens = Tokens(b"s" * 32, clock=self.clock, revoked=self.revoked)

    def application(self, *, origin: str = "http://localhost", per_minute: int = 0) -> web.Application:
        application = web.Application(client_max_size=256 * 1024)
        ArchiveApi(
            self.catalogue,
            self.folder / "packages",
            LibrarySessions(self.tokens, origin=origin),
            admission=Admission(per_minute, counters=SessionCounters()),
            retry=self.retried.append,
            check=self.checked.append,
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


@contextmanager
def filled_archive(folder: Path, sealed_folder: Path) -> Iterator[Archive]:
    """An archive with a sealed package, one that waits, and one of another room."""
    catalogue = Catalogue(folder)
    for package in (
        library.entry(SEALED),
        library.entry(WAITING, case="C02", code="BN-2026-0143", started_ms=library.START_MS + 60_000),
        library.entry(
            ELSEWHERE, room="giao-ban", title="Giao ban Điện Biên", case=None, code=None,
            started_ms=library.START_MS + 86_400_000,
        ),
    ):  # fmt: skip
        library.add(catalogue, package)
    (folder / "packages").mkdir()
    (folder / "packages" / SEALED).symlink_to(sealed_folder)
    catalogue.set_sealed(
        SEALED, seal="5e" * 32, size_bytes=4711, sealed_ms=library.START_MS + 90_000,
        retention=library.entry().retention, retention_until="2036-12-31",
    )  # fmt: skip
    yield Archive(folder, catalogue)
    catalogue.close()


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
