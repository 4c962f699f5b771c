"""Sites as a test sees them: a real Chromium with its own camera and microphone on the conference page."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from networks import CHROMIUM
from pictures import Colour, name_of, write_camera, write_voice
from playwright.async_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Playwright,
    async_playwright,
)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
# Pages that share a browser are not to be put to sleep while another one is in front.
AWAKE = (
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)
PROBE = Path(__file__).parent / "probe.js"
# How long to wait for what is not measured: a starting browser on a busy machine takes its time.
PATIENCE_S = 40.0
VIEWPORT = {"width": 1280, "height": 720}
# A page whose timers come that late was kept waiting by the machine: what it measured says little.
STARVED_MS = 80
# Pressure stall information: proc(5).
PRESSURE = Path("/proc/pressure/cpu")


@dataclass(frozen=True, slots=True)
class Camera:
    """What a site's camera shows, and how large."""

    colour: Colour
    width_px: int = 640
    height_px: int = 360
    frames_per_s: int = 12


class Visitor(ABC):
    """One bridge point's page, in whichever browser: what a test does there, and what it reads there."""

    name: str
    errors: list[str]

    @abstractmethod
    async def goto(self, link: str) -> None: ...

    @abstractmethod
    async def evaluate(self, expression: str, argument: Any = None) -> Any: ...

    @abstractmethod
    async def click(self, selector: str) -> None: ...

    @abstractmethod
    async def fill(self, selector: str, text: str) -> None: ...

    async def open(self, link: str) -> None:
        """Open the link and wait until camera and microphone are there."""
        await self.goto(link)
        await self.until("document.querySelector('#prejoin-name')?.checkVisibility()", "the page before")
        await self.until("!document.querySelector('#preview-video').paused", "a preview")
        await self.fill("#prejoin-name", f"BS. {self.name}")

    async def join(self, *, with_voice: bool = True) -> None:
        """Click on join and wait until media flows; voices are what costs a machine with many pages most."""
        if not with_voice:
            await self.click("#prejoin-mic")
        await self.click("#prejoin-join")
        await self.until("window.hoichan.peer?.isConnected === true", "connected media")

    async def until(self, expression: str, what: str, *, within_s: float = PATIENCE_S) -> None:
        """Wait until an expression is true in the page."""
        # The page's security policy forbids what Playwright's own wait_for_function does.
        deadline = time.monotonic() + within_s
        while not await self.evaluate(expression):
            assert time.monotonic() < deadline, (
                f"{self.name}: not within {within_s:.0f} s: {what}; {self.errors}"
            )
            await asyncio.sleep(0.05)

    async def colour_of(self, role: str) -> str:
        """Return the name of the colour of the `stage` or `content` picture."""
        return name_of(await self.evaluate("role => probe.colour(role)", role))

    async def until_colour(self, role: str, *colours: str) -> None:
        """Wait until the `stage` or `content` picture has one of these colours."""
        deadline = time.monotonic() + PATIENCE_S
        while (seen := await self.colour_of(role)) not in colours:
            assert time.monotonic() < deadline, f"{self.name}: {role} is {seen}, not {colours}; {self.errors}"
            await asyncio.sleep(0.05)

    async def thumbnails(self) -> dict[str, str]:
        """Return the colour of each small picture, by the site that the page names."""
        seen = await self.evaluate("probe.thumbnails()")
        return {one["site"]: name_of(one["colour"]) for one in seen}

    async def slots(self) -> dict[str, dict[str, Any]]:
        """Return what arrived so far, by mid, of the slots that show something."""
        found: dict[str, dict[str, Any]] = await self.evaluate("probe.slots()")
        return found

    async def negotiations(self) -> dict[str, int]:
        counts: dict[str, int] = await self.evaluate("probe.negotiations")
        return counts

    async def press(self, control: str) -> None:
        """Operate a button of the bar of controls."""
        await self.click(f"#controls [data-control={control}]")

    async def put_on_stage(self, site: str) -> float:
        """Click on a site's tile as the chair; return when the click was, in milliseconds."""
        tile = f'#tiles .tile:not([hidden])[data-site="{site}"] .tile-stage'
        await self.until(f"document.querySelector('{tile}')", f"the tile of {site}")
        # The page shows the button only to a mouse over the tile.
        await self.evaluate(f"void document.querySelector('{tile}').click()")
        clicked: float = await self.evaluate("probe.clicks.at(-1).at")
        return clicked

    async def first_seen_ms(self, role: str, colour: str, since_ms: float, *, within_s: float = 5.0) -> float:
        """Return how long after `since_ms` the picture had this colour first; 0 if it had it already."""
        deadline = time.monotonic() + within_s
        history: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            history = await self.evaluate("([role, since]) => probe.history(role, since)", [role, since_ms])
            for change in history:
                if name_of(change["colour"]) == colour:
                    return max(0.0, change["at"] - since_ms)
            await asyncio.sleep(0.05)
        seen = [(round(change["at"] - since_ms), name_of(change["colour"])) for change in history]
        raise AssertionError(f"{self.name} never saw {colour} as {role}, but {seen}")


@dataclass
class Site(Visitor):
    """One bridge point's Chromium, with a camera of its own colour."""

    name: str
    camera: Camera
    browser: Browser
    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)

    @property
    def colour(self) -> str:
        return self.camera.colour.name

    async def leave(self) -> None:
        """Leave for good: whoever only goes to another page is waited for."""
        await self.evaluate("hoichan.connection.leave()")
        await self.until("document.body.dataset.page === 'notice'", "the last page")
        await self.page.goto("about:blank")

    async def goto(self, link: str) -> None:
        await self.page.goto(link)

    async def evaluate(self, expression: str, argument: Any = None) -> Any:
        return await self.page.evaluate(expression, argument)

    async def click(self, selector: str) -> None:
        await self.page.locator(selector).click()

    async def fill(self, selector: str, text: str) -> None:
        await self.page.locator(selector).fill(text)

    def control(self, control: str) -> Locator:
        return self.page.locator(f"#controls [data-control={control}]")


async def starved(sites: Iterable[Visitor]) -> bool:
    """Whether the machine had no time for one of these pages since its measurements began."""
    lags_ms = [await site.evaluate("probe.longestLag_ms()") for site in sites]
    return max(lags_ms) > STARVED_MS


def cores_waited_ms() -> float:
    """For how long since it started somebody had to wait for a core of this machine, or the machine for one.

    No chain of processes can have been kept waiting longer than this grew.
    """
    some = PRESSURE.read_text(encoding="ascii").splitlines()[0]
    stolen = int(Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)[8])
    return int(some.rpartition("=")[2]) / 1000 + stolen * 1000 / os.sysconf("SC_CLK_TCK")


class Browsers:
    """Starts a browser per site, as the fake camera is a property of the process; closes them all."""

    def __init__(self, playwright: Playwright, directory: Path) -> None:
        self._playwright = playwright
        self._directory = directory
        self._sites: list[Site] = []
        self._shared: Browser | None = None

    async def site(
        self,
        name: str,
        camera: Camera,
        *,
        pitch_hz: int = 180,
        amplitude: float = 0.6,
        flags: Sequence[str] = (),
        chromium: str = CHROMIUM,
        picture: Path | None = None,
        script: Path = PROBE,
    ) -> Site:
        """Start one site's browser, with an empty page; its camera shows its colour, or a `picture` (y4m)."""
        voice = self._directory / f"voice-{name}.wav"
        if picture is None:
            picture = self._directory / f"camera-{name}.y4m"
            write_camera(picture, camera.colour, camera.width_px, camera.height_px, camera.frames_per_s)
        write_voice(voice, pitch_hz, amplitude)
        browser = await self._playwright.chromium.launch(
            executable_path=chromium,
            args=[
                *FLAGS,
                f"--use-file-for-fake-video-capture={picture}",
                f"--use-file-for-fake-audio-capture={voice}",
                *flags,
            ],
        )
        context = await browser.new_context(viewport=VIEWPORT, reduced_motion="reduce")
        await context.add_init_script(path=script)
        page = await context.new_page()
        site = Site(name, camera, browser, context, page)
        page.on("pageerror", lambda error: site.errors.append(str(error)))
        self._sites.append(site)
        return site

    async def page(self, name: str, camera: Camera, *, script: Path) -> Site:
        """Open one more page in the browser of the first such page: for sites that differ in no device."""
        if self._shared is None:
            self._shared = (await self.site(name, camera, flags=AWAKE)).browser
        context = await self._shared.new_context(viewport=VIEWPORT, reduced_motion="reduce")
        await context.add_init_script(path=PROBE)
        await context.add_init_script(path=script)
        page = await context.new_page()
        site = Site(name, camera, self._shared, context, page)
        page.on("pageerror", lambda error: site.errors.append(str(error)))
        return site

    async def close(self) -> None:
        await asyncio.gather(*(site.browser.close() for site in self._sites), return_exceptions=True)


@asynccontextmanager
async def browsers(directory: Path) -> AsyncIterator[Browsers]:
    """Everything that is started inside is closed at the end."""
    async with async_playwright() as playwright:
        running = Browsers(playwright, directory)
        try:
            yield running
        finally:
            await running.close()
