"""Every page that exists, in both languages: its texts can be read at the sizes that hospitals have, and what
axe-core judges by rules (WCAG and good practice) finds nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiortc_peer import Tone, device
from bridge_process import BridgeServer
from listeners import Listener, listeners
from pages import Browsers, Camera, Site, browsers
from pictures import RED
from playwright.async_api import Page
from shelf import BROKEN, SEALED, Library, library_served
from watching import until

from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

FIT = (Path(__file__).parent / "fit.js").read_text(encoding="utf-8")
AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
SIZES = {"hospital": (1366, 768), "phone": (390, 844)}
LANGUAGES = ("vi", "en")
MORE = "#controls .more >> nth=0"
CHAIR = "Bệnh viện Trung ương Quân đội 108 (điểm chủ trì)"
OTHERS = (
    ("secretary", "Bệnh viện Đa khoa khu vực Nghĩa Lộ"),
    ("expert", "Bệnh viện Đa khoa tỉnh Điện Biên"),
    ("presenter", "Trung tâm Y tế khu vực Mường Nhé"),
    ("presenter", "Trạm Y tế xã Nậm Kè"),
    ("observer", "Trạm Y tế xã Huổi Lếch"),
    ("observer", "Phòng khám Đa khoa khu vực Chà Cang"),
)
SPEAKER = "Bệnh viện Đa khoa khu vực Tây Bắc, phòng mổ số 2"
TITLE = "Hội chẩn trực tuyến liên viện về chấn thương sọ não và cột sống, phiên thứ ba"


@dataclass
class World:
    """A chair's page in a full room, a page at the door, and a library."""

    server: BridgeServer
    chair: Site
    door: Page
    others: list[Listener]
    library: Library


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    server = BridgeServer(tmp_path_factory.mktemp("bridge"))
    await asyncio.to_thread(server.start)
    try:
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(library_served(tmp_path_factory.mktemp("archive")))
            started: Browsers = await stack.enter_async_context(browsers(tmp_path_factory.mktemp("sites")))
            chair = await started.site(CHAIR, Camera(RED, 320, 180, 5))
            await chair.open(server.link("chair", CHAIR, title=TITLE))
            await chair.join(with_voice=False)
            others = await stack.enter_async_context(listeners(server, OTHERS, title=TITLE))
            speaker = await stack.enter_async_context(device(server, "whip", "publish", SPEAKER))
            speaker.connection.addTrack(Tone(300))
            await speaker.connect()
            await _fill(server, served, chair, others)
            await chair.until("hoichan.state.dominant !== null", "somebody who speaks")
            yield World(server, chair, await chair.context.new_page(), others, served)
    finally:
        await asyncio.to_thread(server.stop)


async def _fill(server: BridgeServer, served: Library, chair: Site, others: list[Listener]) -> None:
    """Hands, chat, cases in every state, a locked room; a package that failed."""
    for number, (code, other) in enumerate(
        zip(("BN-2026-0412", "BN-2026-0413-CT"), others[2:], strict=False)
    ):
        await _send(chair, type="add_case", code=code, participant=other.participant)
        await chair.until(f"hoichan.state.cases.length === {number + 1}", "a case")
    await _send(chair, type="start_case", case="C01")
    await chair.until("hoichan.state.active", "an open case")
    for other in others[3:5]:
        await other.send(type="hand", raised=True)
        await other.send(
            type="chat", text="Điểm cầu chúng tôi xin phát biểu sau ca này, đường truyền đang tốt."
        )
    await _send(chair, type="stage", participant=others[1].participant)
    await _send(chair, type="lock", locked=True)
    await chair.until("hoichan.state.isLocked && hoichan.state.hands.length === 2", "hands and a locked room")
    error = ArchiveFailed("disk-full", "no space left on device")
    await asyncio.to_thread(
        served.catalogue.set_failed, BROKEN, PackageState.FAILED, error, next_attempt_ms=None
    )


async def _send(site: Site, **message: Any) -> None:
    await site.evaluate("message => hoichan.connection.send(message)", message)


# What there is to see: each brings a page there, and returns it.


def _panel(name: str | None) -> Callable[[World], Awaitable[Page]]:
    async def go(world: World) -> Page:
        page = world.chair.page
        await page.keyboard.press("Escape")
        if await page.locator("#panel").is_visible():
            await page.locator("#panel-close").click()
        if name is not None:
            await page.keyboard.press({"people": "p", "chat": "c", "cases": "b"}[name])
            await page.locator(f"#panel-{name}").wait_for()
        return page

    return go


def _dialog(*openers: str) -> Callable[[World], Awaitable[Page]]:
    async def go(world: World) -> Page:
        page = await _panel(None)(world)
        for opener in openers:
            await page.locator(opener).click()
        await page.locator("#dialog[open]").wait_for()
        return page

    return go


async def _question(world: World) -> Page:
    page = await _panel("people")(world)
    await page.locator("#panel-people [data-text='people.muteAll']").click()
    await page.locator("#dialog[open]").wait_for()
    return page


async def _gallery(world: World) -> Page:
    page = await _panel(None)(world)
    if await page.locator("#pictures").get_attribute("data-view") != "gallery":
        await page.keyboard.press("g")
    return page


async def _actions(world: World) -> Page:
    page = await _panel("people")(world)
    unfold = page.locator(f"[data-focus=unfold-all-{world.others[5].participant}]")
    if await unfold.get_attribute("aria-expanded") != "true":
        await unfold.click()
    return page


async def _notice(world: World) -> Page:
    await world.door.goto(f"{world.server.base_url}/room/")
    # A tab remembers the invitation it came by.
    await world.door.evaluate("sessionStorage.clear()")
    await world.door.reload()
    await world.door.locator("#notice-link").wait_for()
    return world.door


async def _prejoin(world: World) -> Page:
    await world.door.goto("about:blank")
    await world.door.goto(world.server.link("presenter", OTHERS[2][1], room="khac", title=TITLE))
    await world.door.locator("#prejoin-name").wait_for()
    return world.door


async def _observer(world: World) -> Page:
    await world.door.goto("about:blank")
    await world.door.goto(world.server.link("observer", OTHERS[4][1], title=TITLE))
    await world.door.locator("#prejoin-name").wait_for()
    return world.door


async def _lobby(world: World) -> Page:
    await _observer(world)
    await world.door.locator("#prejoin-name").fill("BS. Lò Thị Hoa")
    await world.door.locator("#prejoin-join").click()
    await world.door.locator("[data-text='waiting.title']").wait_for()
    return world.door


async def _library_notice(world: World) -> Page:
    await world.door.goto("about:blank")
    await world.door.context.clear_cookies()
    await world.door.goto(f"{world.library.url}/library/")
    await world.door.locator("#notice-link").wait_for()
    return world.door


async def _library_list(world: World) -> Page:
    await world.door.goto("about:blank")
    await world.door.goto(f"{world.library.url}/library/#i={world.library.key}")
    await world.door.locator(f'.recording[data-package="{SEALED}"]').wait_for()
    return world.door


async def _library_recording(world: World) -> Page:
    await world.door.goto("about:blank")
    await world.door.goto(f"{world.library.url}/library/#i={world.library.key}&p={SEALED}")
    await world.door.locator("#watching").wait_for()
    return world.door


PLACES: dict[str, Callable[[World], Awaitable[Page]]] = {
    "room": _panel(None),
    "people": _panel("people"),
    "actions of a site": _actions,
    "chat": _panel("chat"),
    "cases": _panel("cases"),
    "more": _dialog(MORE),
    "help": _dialog(MORE, "#dialog [data-control=help]"),
    "devices": _dialog(MORE, "#dialog [data-control=settings]"),
    "connection": _dialog("#transport"),
    "a question": _question,
    "gallery": _gallery,
    "notice": _notice,
    "pre-join": _prejoin,
    "pre-join of an observer": _observer,
    "lobby": _lobby,
    "library without a key": _library_notice,
    "list of recordings": _library_list,
    "recording": _library_recording,
}


async def _speak(page: Page, language: str) -> None:
    await page.evaluate(
        "language => import('/shared/text/text.js').then((text) => text.setLanguage(language))", language
    )
    await _drawn(page)


async def _settled(page: Page) -> None:
    """Wait until no toast is left: it goes by itself, and lies over whatever is under it."""
    await until(page, "document.querySelector('.toast') === null", "a page without toasts")


async def _drawn(page: Page) -> None:
    """Wait for what a change of size or words brings: a frame that measures, and one that draws."""
    frame = "new Promise((done) => requestAnimationFrame(done))"
    for _ in range(3):
        await page.evaluate(frame)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
async def test_no_text_lies_over_another_or_is_cut_off(world: World, place: str, size: str) -> None:
    width, height = SIZES[size]
    for page in (world.chair.page, world.door):
        await page.set_viewport_size({"width": width, "height": height})
    page = await PLACES[place](world)
    await _settled(page)
    found = {}
    for language in LANGUAGES:
        await _speak(page, language)
        found[language] = await page.evaluate(FIT)
    assert found == {"vi": [], "en": []}, json.dumps(found, ensure_ascii=False, indent=1)


async def test_the_gallery_stays_in_its_place_at_every_size(world: World) -> None:
    page = await _gallery(world)
    for width, height in ((390, 844), (1366, 768), (768, 1024), (1920, 1080)):
        await page.set_viewport_size({"width": width, "height": height})
        await _drawn(page)
        outside = await page.evaluate(
            """() => {
              const { top, bottom } = document.getElementById("pictures").getBoundingClientRect();
              const body = document.querySelector(".room-body").getBoundingClientRect();
              const boxes = [...document.querySelectorAll("#tiles .tile:not([hidden])")]
                .map((tile) => tile.getBoundingClientRect());
              return [body.top, top, ...boxes.map((box) => box.top)].some((edge) => edge < body.top - 1)
                || [bottom, ...boxes.map((box) => box.bottom)].some((edge) => edge > body.bottom + 1);
            }"""
        )
        assert not outside, (width, height)


@pytest.mark.parametrize("place", PLACES)
async def test_axe_finds_nothing(world: World, place: str) -> None:
    for page in (world.chair.page, world.door):
        await page.set_viewport_size({"width": 1366, "height": 768})
    page = await PLACES[place](world)
    # As an expression: the page's security policy takes no script of others.
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for language in LANGUAGES:
        await _speak(page, language)
        results = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        found[language] = [
            f"{one['impact']} {one['id']}: {node['target']} {node['failureSummary']}"
            for one in results["violations"]
            for node in one["nodes"]
        ]
    assert found == {"vi": [], "en": []}, json.dumps(found, ensure_ascii=False, indent=1)


async def _focused(page: Page) -> str:
    focused: str = await page.evaluate("document.activeElement.id || document.activeElement.dataset.control")
    return focused


async def test_the_panel_takes_the_focus_and_gives_it_back(world: World) -> None:
    page = await _panel(None)(world)
    await page.set_viewport_size({"width": 1366, "height": 768})
    await page.locator("#controls [data-control=hand]").focus()
    await page.keyboard.press("p")
    assert await _focused(page) == "tab-people"
    await page.keyboard.press("ArrowLeft")
    assert await _focused(page) == "tab-cases"
    assert await page.locator("#panel-cases").is_visible()
    await page.keyboard.press("Home")
    assert await _focused(page) == "tab-people"
    await page.keyboard.press("Tab")
    assert await _focused(page) == "panel-close"
    await page.keyboard.press("Escape")
    assert await page.locator("#panel").is_hidden()
    assert await _focused(page) == "hand"
    # From the box that takes letters, the next key is a shortcut again.
    await page.keyboard.press("c")
    await page.keyboard.press("Escape")
    await page.keyboard.press("b")
    assert await page.locator("#panel-cases").is_visible()


ZOOMED = {"200 %": (683, 384), "400 %": (342, 192)}


@pytest.mark.parametrize("zoom", ZOOMED)
@pytest.mark.parametrize("panel", [None, "people", "cases"])
async def test_recording_state_and_own_microphone_stay_in_sight(
    world: World, zoom: str, panel: str | None
) -> None:
    page = await _panel(panel)(world)
    width, height = ZOOMED[zoom]
    await page.set_viewport_size({"width": width, "height": height})
    await _drawn(page)
    for place in ("#recording-text", "#controls [data-control=microphone]"):
        is_seen = await page.locator(place).evaluate(
            """(node) => {
              const { left, right, top, bottom } = node.getBoundingClientRect();
              const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
              const isInside = left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
              return isInside && node.contains(seen);
            }"""
        )
        assert is_seen, place
    # What the zoom leaves to the pictures or to the panel is worth having.
    body = await page.locator(".room-body").bounding_box()
    assert body is not None
    assert body["height"] >= 0.4 * height


async def test_a_row_of_the_panel_stays_while_others_change(world: World) -> None:
    """A press that began on a button must end on it, whoever raises a hand meanwhile."""
    page = await _panel("people")(world)
    selector = f"[data-focus=unfold-all-{world.others[5].participant}]"
    button = await page.locator(selector).element_handle()
    assert button is not None
    await world.others[0].send(type="hand", raised=True)
    await until(
        page, "document.querySelectorAll('#panel-people .person-order:not([hidden])').length === 3", "a hand"
    )
    assert await button.evaluate(
        "(button, selector) => button === document.querySelector(selector)", selector
    )
    await world.others[0].send(type="hand", raised=False)
    await until(
        page, "document.querySelectorAll('#panel-people .person-order:not([hidden])').length === 2", "no hand"
    )
    assert await button.evaluate(
        "(button, selector) => button === document.querySelector(selector)", selector
    )
    # Nobody is told of hands by what lies over the faces.
    assert await page.locator(".toast").count() == 0


async def test_a_crowd_that_comes_and_goes_is_told_in_few_messages(world: World) -> None:
    page = await _panel(None)(world)
    await page.evaluate(
        """() => {
          window.told = [];
          const note = () => told.push(performance.now());
          for (const region of document.querySelectorAll("[aria-live=polite]")) {
            new MutationObserver(note).observe(region, { childList: true });
          }
        }"""
    )
    await _send(world.chair, type="lock", locked=False)
    async with listeners(
        world.server, [("observer", f"Trạm Y tế xã số {n}") for n in range(12)], title=TITLE
    ):
        await until(page, "hoichan.state.roster.size === 20", "twelve more")
    await until(page, "hoichan.state.roster.size === 8", "twelve less")
    await _send(world.chair, type="lock", locked=True)
    await until(page, "told.length > 1", "what is told")
    told = await page.evaluate("told")
    assert all(after - before >= 1900 for before, after in pairwise(told)), told
