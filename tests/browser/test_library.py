"""The library as a secretary sees it: real pages in real Chromium, real packages in a real catalogue.

The test itself is the archive that works on the packages; everything else is what a hospital runs.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import library
import pytest
import pytest_asyncio
from pages import CHROMIUM, FLAGS, PATIENCE_S
from playwright.async_api import Browser, Page, Route, async_playwright
from shelf import BROKEN, MAKING, SEALED, Library, library_served
from watching import until, until_colour

from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConsentState, Disposition, PackageState, Role
from bridge.store.audit import Action

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Library]:
    async with library_served(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of a person who was never here before."""
    context = await browser.new_context(viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_S * 1000)
    opened = await context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    await context.close()
    assert errors == []


async def enter(page: Page, served: Library, token: str, *, package: str = "") -> None:
    await page.goto(f"{served.url}/library/#i={token}{'&p=' if package else ''}{package}")


async def open_sealed(page: Page, served: Library) -> None:
    await enter(page, served, served.key, package=SEALED)
    await page.locator("#watching").wait_for()
    await until(page, "video.readyState >= 2", "a picture")


async def titles(page: Page) -> list[str]:
    return await page.locator(".recording").evaluate_all("rows => rows.map((row) => row.dataset.package)")


def row(page: Page, package: str) -> Any:
    return page.locator(f'.recording[data-package="{package}"]')


async def position_s(page: Page) -> float:
    """Where the player is, as its seek bar says."""
    return float(await page.locator("#seek").get_attribute("aria-valuenow") or -1)


async def test_the_link_opens_the_library_and_leaves_no_token_in_the_address(
    page: Page, served: Library
) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    assert await titles(page) == [BROKEN, MAKING, SEALED]
    assert page.url == f"{served.url}/library/"
    assert await page.evaluate("document.cookie") == ""
    stored = await page.evaluate("JSON.stringify([localStorage, sessionStorage, history.state])")
    assert served.key[:20] not in stored
    await page.reload()
    await row(page, SEALED).wait_for()


async def test_words_without_diacritics_find_a_recording_and_others_find_none(
    page: Page, served: Library
) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("giao ban dien bien")
    await until(page, "document.querySelectorAll('.recording').length === 1", "one recording")
    assert await titles(page) == [BROKEN]
    await page.locator("#search-text").fill("khong co gi")
    await page.locator("#list-empty").wait_for()
    assert "Không tìm thấy" in await page.locator("#list-empty-title").inner_text()
    await page.locator("#search-clear").click()
    await until(page, "document.querySelectorAll('.recording').length === 3", "everything again")


async def test_a_state_and_a_day_narrow_the_list(page: Page, served: Library) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    await page.locator("#search-state").select_option("archived")
    await until(page, "document.querySelectorAll('.recording').length === 1", "what is archived")
    assert await titles(page) == [SEALED]
    await page.locator("#search-state").select_option("all")
    await page.locator("input[name=to]").fill("2026-01-06")
    await until(page, "document.querySelectorAll('.recording').length === 2", "two days")
    assert await titles(page) == [MAKING, SEALED]


async def test_a_recording_is_opened_and_plays_over_all_its_parts(page: Page, served: Library) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).locator("a").click()
    await page.locator("#watching").wait_for()
    assert page.url.endswith(f"#p={SEALED}")
    await until(page, "video.readyState >= 2", "a picture")
    await page.keyboard.press("Space")
    await until(page, "!video.paused && video.currentTime > 0.3", "a playing video")
    await until_colour(page, library.RED)
    # Near the end of the first part: the second one starts by itself.
    await page.evaluate("video.currentTime = 7.5")
    await until(page, "video.src.endsWith('/parts/2')", "the second part")
    await until(page, "!video.paused && video.currentTime > 0.2", "the second part playing")
    assert await position_s(page) >= 8
    assert Action.PLAY in [line.action for line in served.catalogue.audit.entries(package=SEALED)]


async def test_a_chapter_is_sought_by_click_and_by_keyboard(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    chapters = page.locator("#chapters button")
    assert await chapters.count() == 4
    await chapters.nth(1).click()
    await until_colour(page, library.GREEN)
    assert abs(await page.evaluate("video.currentTime") - 4) < 0.1
    assert await chapters.nth(1).get_attribute("aria-current") == "true"
    assert "hình ảnh" in await chapters.nth(1).inner_text()
    assert "content" not in await chapters.nth(1).inner_text()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await until_colour(page, library.BLUE)
    # Two seconds into the second part.
    assert abs(await page.evaluate("video.currentTime") - 2) < 0.1
    assert await position_s(page) == 10
    await page.keyboard.press("p")
    await until_colour(page, library.GREY)
    await page.keyboard.press("n")
    await until_colour(page, library.BLUE)


async def test_a_click_on_the_bar_seeks_and_the_pointer_shows_the_tile_of_its_place(
    page: Page, served: Library
) -> None:
    await open_sealed(page, served)
    box = await page.locator("#seek").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 12 / 14, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.locator(".seek-preview").wait_for()
    place = await page.locator(".seek-tile").evaluate("tile => tile.style.backgroundPosition")
    # The seventh tile of two in a row.
    assert place in ("-0px -270px", "0px -270px")
    await page.mouse.down()
    await page.mouse.up()
    await until_colour(page, library.BLUE)
    assert abs(await position_s(page) - 12) <= 1


async def test_the_medical_image_alone_is_shown_at_the_same_moment(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    await page.locator("#chapters button").nth(1).click()
    await until_colour(page, library.GREEN)
    await page.keyboard.press("v")
    await until_colour(page, library.YELLOW)
    assert await page.evaluate("video.src.endsWith('/content/1') && video.currentTime") < 0.5
    await page.keyboard.press("v")
    await until_colour(page, library.GREEN)
    assert abs(await page.evaluate("video.currentTime") - 4) < 0.2


async def test_captions_say_who_speaks_when_they_are_wanted(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    await page.locator("#chapters button").first.click()
    assert await page.evaluate("video.textTracks[0].mode") == "hidden"
    await page.keyboard.press("c")
    shown = "video.textTracks[0].mode === 'showing' && video.textTracks[0].activeCues?.[0]?.text"
    assert await until(page, shown, "a caption") == "Bệnh viện Bạch Mai: đang nói"
    await page.keyboard.press("c")
    assert await page.evaluate("video.textTracks[0].mode") == "hidden"


async def test_what_is_missing_is_said_in_words_and_marked_on_the_bar(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    gap = page.locator(".gap")
    assert "Thiếu 1,2 giây tiếng của BVĐK tỉnh Điện Biên – mất gói" in await gap.inner_text()
    mark = await page.locator(".seek-gap").evaluate("mark => [mark.style.left, mark.style.width]")
    assert [round(float(text.rstrip("%"))) for text in mark] == [round(500 / 14), round(120 / 14)]
    await gap.click()
    await until_colour(page, library.GREEN)
    assert abs(await page.evaluate("video.currentTime") - 5) < 0.1


async def test_progress_of_a_running_composition_is_seen_and_rises_until_it_can_be_watched(
    page: Page, served: Library
) -> None:
    catalogue = served.catalogue
    await asyncio.to_thread(catalogue.set_step, MAKING, PackageState.COMPOSING, 0.1, 90.0)
    await enter(page, served, served.key)
    await row(page, MAKING).locator("progress").wait_for()
    assert "10 %" in await row(page, MAKING).inner_text()
    seen = []
    for done in (0.35, 0.8):
        await asyncio.to_thread(catalogue.set_step, MAKING, PackageState.COMPOSING, done, 30.0)
        await until(page, f"document.querySelector('.recording progress')?.value === {done}", f"{done}")
        seen.append(await row(page, MAKING).locator("progress").evaluate("bar => bar.value"))
    assert seen == [0.35, 0.8]
    await row(page, MAKING).locator("a").click()
    await page.locator("#making progress").wait_for()
    assert await page.locator("#watching").is_hidden()
    await asyncio.to_thread(
        library.seal, catalogue, served.folder, catalogue.package(MAKING) or library.entry(MAKING)
    )
    await page.locator("#watching").wait_for()
    await until(page, "video.readyState >= 2", "the picture of the new package")
    await page.locator("#back").click()
    await until(
        page,
        f"document.querySelector('[data-package=\"{MAKING}\"]')?.dataset.state === 'sealed'",
        "a sealed package in the list",
    )


async def test_a_failed_package_says_why_and_is_tried_again(page: Page, served: Library) -> None:
    error = ArchiveFailed("disk-full", "no space left on device")
    await asyncio.to_thread(
        served.catalogue.set_failed, BROKEN, PackageState.FAILED, error, next_attempt_ms=None
    )
    await enter(page, served, served.key)
    await row(page, BROKEN).locator(".failure").wait_for()
    assert "Ổ đĩa đã đầy" in await row(page, BROKEN).inner_text()
    await row(page, BROKEN).locator("button").click()
    await until(
        page,
        f"document.querySelector('[data-package=\"{BROKEN}\"]').dataset.state === 'queued'",
        "a package that waits again",
    )
    await row(page, BROKEN).locator(".failure").wait_for(state="detached")
    entry = await asyncio.to_thread(served.catalogue.package, BROKEN)
    assert entry is not None
    assert (entry.state, entry.error) == (PackageState.QUEUED, None)
    assert Action.RETRY in [line.action for line in served.catalogue.audit.entries(package=BROKEN)]


async def test_a_legal_hold_needs_a_reason_and_is_shown(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    await page.locator("[data-action=hold]").click()
    await page.locator("#dialog [type=submit]").click()
    assert await page.locator("#dialog").is_visible()
    await page.locator("#dialog textarea").fill("Khiếu nại số 12/2026")
    await page.locator("#dialog [type=submit]").click()
    await page.locator("#recording-chips .hold").wait_for()
    entry = await asyncio.to_thread(served.catalogue.package, SEALED)
    assert entry is not None
    assert entry.legal_hold


async def test_a_recording_is_checked_when_somebody_asks_and_the_page_says_what_came_of_it(
    page: Page, served: Library
) -> None:
    await open_sealed(page, served)
    await page.locator("[data-action=check]").click()
    # Nobody can ask twice meanwhile.
    await page.locator("[data-action=check]:disabled").wait_for()
    await page.locator("[data-action=check]:enabled").wait_for()
    entry = await asyncio.to_thread(served.catalogue.package, SEALED)
    assert entry is not None
    assert entry.checked_ms is not None
    told = page.locator(".keeping-facts dd").nth(2)
    assert ("nguyên vẹn" in await told.inner_text()) is entry.fixity_ok
    assert Action.CHECK in [line.action for line in served.catalogue.audit.entries(package=SEALED)]


async def test_a_part_is_downloaded_under_its_own_name(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    async with page.expect_download() as expected:
        await page.locator(".download").first.click()
    download = await expected.value
    assert download.suggested_filename == f"{SEALED}-video-001.mp4"
    taken = await asyncio.to_thread(Path(await download.path()).read_bytes)
    part = served.folder / "packages" / SEALED / "data/video/part-001.mp4"
    assert taken == await asyncio.to_thread(part.read_bytes)


async def test_a_session_that_ran_out_is_opened_again_with_the_link(page: Page, served: Library) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    await page.context.clear_cookies()
    await row(page, SEALED).locator("a").click()
    await page.locator("#watching").wait_for()
    # Without the link, which only the memory of the first page had, it is asked for.
    await page.context.clear_cookies()
    await page.reload()
    await page.locator("#notice-link").wait_for()
    await page.locator("#notice-link-input").fill(served.key)
    await page.locator("#notice-link [type=submit]").click()
    await page.locator("#watching").wait_for()


async def test_what_is_watched_goes_on_when_the_session_ran_out(page: Page, served: Library) -> None:
    await open_sealed(page, served)
    await page.locator("#chapters button").nth(1).click()
    await until_colour(page, library.GREEN)
    # The page has asked for progress at least once.
    await asyncio.sleep(1)
    await page.context.clear_cookies()
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    deadline = time.monotonic() + PATIENCE_S
    while not await page.context.cookies(f"{served.url}/api/archive/packages"):
        assert time.monotonic() < deadline, "no new session"
        await asyncio.sleep(0.1)
    assert abs(await page.evaluate("video.currentTime") - 4) < 0.1
    assert await page.locator("#watching").is_visible()


async def test_a_browser_without_cookies_is_told_so_and_does_not_ask_for_ever(
    page: Page, served: Library
) -> None:
    asked = 0

    async def without_cookie(route: Route) -> None:
        nonlocal asked
        asked += 1
        answer = await route.fetch()
        headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
        # Fetching has given it to the context.
        await page.context.clear_cookies()
        await route.fulfill(response=answer, headers=headers)

    await page.route("**/api/archive/session", without_cookie)
    await enter(page, served, served.key)
    await page.locator("#notice-link").wait_for()
    assert "cookie" in await page.locator("#notice-title").inner_text()
    await asyncio.sleep(1)
    assert asked <= 2


async def test_a_server_that_is_away_is_said_and_comes_back_by_itself(page: Page, served: Library) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    await page.route("**/api/archive/**", lambda route: route.abort())
    await page.locator("#search-text").fill("tim mach")
    await page.locator("#list-problem").wait_for()
    await page.locator("#banner").wait_for(timeout=30_000)
    await page.unroute("**/api/archive/**")
    await page.locator("#banner").wait_for(state="hidden", timeout=30_000)
    await page.locator("#search-text").press("Enter")
    await page.locator("#list-problem").wait_for(state="hidden")


@pytest.mark.parametrize("role", [Role.EXPERT, Role.OBSERVER])
async def test_a_role_without_the_right_is_refused_and_told_whom_to_ask(
    page: Page, served: Library, role: Role
) -> None:
    await enter(page, served, served.invitation(role))
    await page.locator("#notice-link").wait_for()
    assert "không được xem" in await page.locator("#notice-title").inner_text()
    assert "thư ký" in await page.locator("#notice-text").inner_text()
    assert await page.locator(".recording").count() == 0


async def test_a_chair_sees_its_own_room_and_no_other(page: Page, served: Library) -> None:
    await enter(page, served, served.invitation(Role.CHAIR))
    await row(page, SEALED).wait_for()
    assert await titles(page) == [SEALED]
    await page.goto(f"{served.url}/library/#p={MAKING}")
    await page.locator("#recording-problem").wait_for()
    assert "Không tìm thấy" in await page.locator("#recording-problem-text").inner_text()


async def test_consent_that_is_withdrawn_takes_the_recording_from_the_room_and_not_from_the_archive(
    page: Page, served: Library
) -> None:
    await asyncio.to_thread(served.catalogue.set_consent, SEALED, ConsentState.GRANTED, library.START_MS)
    await enter(page, served, served.invitation(Role.CHAIR), package=SEALED)
    await page.locator("#watching").wait_for()
    assert "đã đồng ý" in await page.locator("[data-card=consent]").inner_text()
    withdraw = page.locator("[data-action=withdraw]")
    await withdraw.press("Enter")
    await page.locator("#dialog textarea").press("Escape")
    await withdraw.press("Enter")
    await page.locator("#dialog textarea").fill("Đơn của gia đình số 3")
    await page.locator("#dialog [type=submit]").press("Enter")
    await page.locator('#recording-chips [data-consent="withheld"]').wait_for()
    await page.locator("#watching").wait_for(state="hidden")
    assert "chỉ phòng lưu trữ" in await page.locator("#making").inner_text()
    for gone in ("[data-card=downloads]", "[data-action=withdraw]"):
        await page.locator(gone).wait_for(state="detached")
    entry = await asyncio.to_thread(served.catalogue.package, SEALED)
    assert entry is not None
    assert (entry.consent, entry.disposition) == (ConsentState.WITHDRAWN, Disposition.OPEN)
    await page.context.clear_cookies()
    await page.goto("about:blank")
    await enter(page, served, served.key)
    await page.locator("#search-state").select_option("undecided")
    await until(page, "document.querySelectorAll('.recording').length === 1", "one that is undecided")
    assert "chờ quyết định" in await row(page, SEALED).inner_text()
    await row(page, SEALED).locator("a").click()
    await page.locator("#watching").wait_for()
    with served.catalogue.deciding():
        served.catalogue.set_disposition(SEALED, Disposition.KEEP, by=["BS. An"], reason="nhầm", at_ms=0)


async def test_who_closes_the_library_has_closed_it(page: Page, served: Library) -> None:
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    await page.locator("#leave").click()
    await page.locator("#notice-link").wait_for()
    await page.reload()
    await page.locator("#notice-link").wait_for()
    assert await page.locator(".recording").count() == 0


async def test_english_is_one_click_away_and_stays(page: Page, served: Library) -> None:
    await enter(page, served, served.key, package=SEALED)
    await page.locator("#watching").wait_for()
    await page.locator("#topbar [data-action=language]").click()
    assert await page.locator("#chapters-title").inner_text() == "Chapters"
    assert "content" in await page.locator("#chapters button").nth(1).inner_text()
    await page.reload()
    await page.locator("#watching").wait_for()
    assert "missing" in await page.locator(".gap").inner_text()


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1366, 768), (390, 844)])
async def test_nothing_is_wider_than_the_screen(page: Page, served: Library, width: int, height: int) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await enter(page, served, served.key)
    await row(page, SEALED).wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await row(page, SEALED).locator("a").click()
    await page.locator("#watching").wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    # Picture, seek bar and controls are on the screen together.
    bottom = await page.locator("#player-controls").evaluate("node => node.getBoundingClientRect().bottom")
    assert bottom <= height
