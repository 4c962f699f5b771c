"""From a recorded session to a watched recording: a real server makes the package while the page looks on."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
import recordings
from bridge_process import BridgeServer
from pages import CHROMIUM, FLAGS
from playwright.async_api import Page, async_playwright
from recordings import MUONG_NHE, VIET_DUC
from watching import until, until_colour

from bridge.base.words import Level, Role
from bridge.node.host import token_secret
from bridge.tokens import Tokens

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CASE = "HC-BV-20261125-01-C01"
XRAY = (240, 240, 240)
MAKING_S = 200.0

# Within the large picture of the composed video, whatever stands beside it.
LARGE = (60, 45)


def record(folder: Path) -> None:
    """Forty seconds about one case: the chair, then a site that shows an X-ray, with a pause in between."""
    recording = recordings.Recording(folder)
    for site in (VIET_DUC, MUONG_NHE):
        recording.join(0.1, site)
    recording.stage(0.3, VIET_DUC)
    recording.add_case(0.4, "C01", "BN-0412", MUONG_NHE)
    recording.start_case(1.0, "C01")
    recording.speakers(1.0, VIET_DUC)
    recording.stage(11.0, MUONG_NHE)
    recording.speakers(11.0, MUONG_NHE)
    recording.state(21.0, "paused", case="C01")
    recording.state(26.0, "recording", case="C01")
    recording.content(31.0, MUONG_NHE)
    recording.finish_case(41.0, "C01")
    for site in (VIET_DUC, MUONG_NHE):
        for from_s, to_s in ((1.0, 21.0), (26.0, 41.0)):
            recording.camera(site, from_s, to_s, fps=12)
            recording.microphone(site, from_s, to_s)
    recording.camera(MUONG_NHE, 31.0, 41.0, source="content", picture=lambda _: XRAY, size=(640, 480), fps=5)
    recording.close(41.5)
    recording.write()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """The library of a server that finds a session on its disk when it starts."""
    state_dir = tmp_path_factory.mktemp("bridge")
    await asyncio.to_thread(record, state_dir / "recordings")
    # Large, so that the page has something to look on at.
    server = BridgeServer(state_dir, environment={"HOICHAN_ARCHIVE_VIDEO_HEIGHT_PX": "1080"})
    key = Tokens(token_secret(state_dir)).archive(
        site="BV Bạch Mai", level=Level.CENTRAL, role=Role.SECRETARY, lifetime_s=3600
    )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        opened = await browser.new_page(viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
        await asyncio.to_thread(server.start)
        await opened.goto(f"{server.base_url}/library/#i={key}")
        yield opened
        await browser.close()
        await asyncio.to_thread(server.stop)


async def test_the_page_shows_a_real_composition_advance_until_it_is_sealed(page: Page) -> None:
    row = f"document.querySelector('[data-package=\"{CASE}\"]')"
    seen: list[float] = []
    deadline = time.monotonic() + MAKING_S
    while time.monotonic() < deadline:
        state, done = await page.evaluate(
            f"[{row}?.dataset.state, {row}?.querySelector('progress')?.value ?? null]"
        )
        if state == "composing" and done is not None and (not seen or done != seen[-1]):
            seen.append(done)
        if state == "sealed":
            break
        assert state != "failed", await page.evaluate(f"{row}.innerText")
        await asyncio.sleep(0.1)
    assert state == "sealed"
    assert len(seen) >= 2, seen
    assert all(before < after for before, after in pairwise(seen)), seen
    assert seen[-1] <= 1.0


async def test_the_recording_is_found_played_and_sought_by_its_chapters(page: Page) -> None:
    await page.locator("#search-text").fill("chan thuong so nao 0412")
    await page.locator(f'.recording[data-package="{CASE}"] a').click()
    await page.locator("#watching").wait_for()
    await page.keyboard.press("Space")
    await until(page, "!video.paused && video.currentTime > 0.5", "a playing video")
    await page.keyboard.press("Space")
    chapters = page.locator("#chapters button")
    texts = await chapters.all_inner_texts()
    assert [text.split("\n")[-1] for text in texts] == [
        VIET_DUC.name,
        MUONG_NHE.name,
        "Tạm dừng ghi",
        MUONG_NHE.name,
        f"{MUONG_NHE.name} · hình ảnh",
    ]
    await chapters.nth(0).click()
    await until_colour(page, VIET_DUC.colour, place=LARGE)
    await chapters.nth(1).click()
    await until_colour(page, MUONG_NHE.colour, place=LARGE)
    # Twenty seconds, and two of the card that tells of the pause.
    await chapters.nth(4).click()
    assert await until(page, "!video.seeking && video.currentTime", "a place") == pytest.approx(27, abs=0.3)


async def test_the_medical_image_alone_has_its_own_size_and_its_own_time(page: Page) -> None:
    await page.keyboard.press("v")
    await until(page, "video.src.endsWith('/content/1') && video.readyState >= 2", "the content alone")
    await until_colour(page, XRAY)
    assert await page.evaluate("[video.videoWidth, video.videoHeight]") == [640, 480]
    assert await page.evaluate("video.currentTime") < 1
    await page.keyboard.press("v")
    await until(page, "video.src.endsWith('/parts/1') && video.readyState >= 2", "everything again")
    assert await page.evaluate("video.currentTime") == pytest.approx(27, abs=0.5)


async def test_who_looked_is_in_the_access_log_beside_what_the_server_did(page: Page) -> None:
    await page.reload()
    await page.locator("[data-card=audit]").wait_for()
    log = await page.locator("[data-card=audit]").inner_text()
    assert "Phát video" in log
    assert "Niêm phong" in log
    assert "Thư ký, BV Bạch Mai" in log
