"""A running library with its archive: real packages in a real catalogue, and the doors that the pages use."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import library
from aiohttp import web
from bridge_process import free_port
from networks import LOOPBACK

from bridge.api.admission import Admission
from bridge.api.headers import SECURITY_HEADERS
from bridge.api.library.endpoint import ArchiveApi
from bridge.api.library.session import LibrarySessions
from bridge.api.pages import Pages
from bridge.archive.package.verify import verify
from bridge.base.counters import SessionCounters
from bridge.base.words import Level, PackageState, Role
from bridge.store.catalogue import Catalogue
from bridge.tokens import Tokens

WEB = Path(__file__).parents[2] / "web"
SEALED, MAKING, BROKEN = "HC-BV-20260105-01-C01", "HC-BV-20260106-01-C01", "HC-BV-20260107-01-S"
DAY_MS = 86_400_000


@dataclass
class Library:
    """A running library with its archive."""

    folder: Path
    catalogue: Catalogue
    url: str
    tokens: Tokens = field(default_factory=lambda: Tokens(b"s" * 32))

    @property
    def key(self) -> str:
        return self.tokens.archive(
            site="Bệnh viện Bạch Mai", level=Level.CENTRAL, role=Role.SECRETARY, lifetime_s=3600
        )

    def invitation(self, role: Role, room: str = "tim-mach") -> str:
        return self.tokens.invitation(
            room=room,
            title="Hội chẩn tim mạch liên viện",
            site="Bệnh viện Bạch Mai",
            level=Level.CENTRAL,
            role=role,
            lifetime_s=3600,
        )

    def retry(self, package: str) -> None:
        self.catalogue.requeue(package, PackageState.QUEUED)

    def check(self, package: str) -> None:
        problems = verify(self.folder / "packages" / package)
        self.catalogue.set_checked(package, int(time.time() * 1000), is_whole=not problems)


@asynccontextmanager
async def library_served(folder: Path, *, host: str = LOOPBACK) -> AsyncIterator[Library]:
    """Serve one sealed package, one that is being made, and one that failed."""
    port = free_port()
    running = Library(folder, Catalogue(folder), f"http://{host}:{port}")
    await asyncio.to_thread(_fill, running)
    application = web.Application()
    application.on_response_prepare.append(_secure)
    ArchiveApi(
        running.catalogue,
        folder / "packages",
        LibrarySessions(running.tokens, origin=running.url),
        admission=Admission(0, counters=SessionCounters()),
        retry=running.retry,
        check=running.check,
    ).add_routes(application.router)
    Pages(WEB).add_routes(application.router)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield running
    finally:
        await runner.cleanup()
        running.catalogue.close()


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)


def _fill(served: Library) -> None:
    library.seal(served.catalogue, served.folder, library.entry(SEALED))
    start_ms = library.START_MS
    for package, title, days in ((MAKING, "Hội chẩn ung bướu", 1), (BROKEN, "Giao ban Điện Biên", 2)):
        library.add(
            served.catalogue,
            library.entry(
                package, room="khac", title=title, code=f"BN-{days}", started_ms=start_ms + days * DAY_MS
            ),
        )
