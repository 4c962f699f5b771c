"""A room of ten: what a newcomer costs the others, how soon it sees something, and slots on demand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from crowd import crowd
from pages import Browsers, Camera, Site, browsers, starved
from pictures import COLOURS, GREEN, RED, YELLOW

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CHAIR, SON_LA, LATE = "Bệnh viện Bạch Mai", "Bệnh viện Sơn La", "Trạm y tế Mù Cang Chải"
CROWD = [(f"Bệnh viện huyện {number}", COLOURS[number % len(COLOURS)]) for number in range(7)]
MORE = [(f"Trung tâm y tế {number}", COLOURS[number % len(COLOURS)]) for number in range(3)]
FIRST_PICTURE_LIMIT_MS = 1000
TRIES = 4


@dataclass
class Room:
    server: BridgeServer
    started: Browsers
    pages: list[Site]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """Nine sites: two in browsers, seven that only send."""
    server = BridgeServer(tmp_path_factory.mktemp("bridge"))
    await asyncio.to_thread(server.start)
    try:
        async with browsers(tmp_path_factory.mktemp("sites")) as started, crowd(server, CROWD):
            pages = [
                await started.site(CHAIR, Camera(RED, 320, 180, 10)),
                await started.site(SON_LA, Camera(GREEN, 320, 180, 10)),
            ]
            for page, role in zip(pages, ("chair", "expert"), strict=True):
                await page.open(server.link(role, page.name))
                await page.join(with_voice=False)
            # Shows everybody at once; the strip of the other page shows fewer.
            await pages[0].page.set_viewport_size({"width": 1600, "height": 900})
            await pages[0].press("gallery")
            yield Room(server, started, pages)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_late_tenth_sees_something_within_a_second_and_nobody_else_negotiates(room: Room) -> None:
    for page in room.pages:
        await page.until("hoichan.state.roster.size === 9", "nine sites")
    before = [await page.negotiations() for page in room.pages]
    late = await room.started.site(LATE, Camera(YELLOW, 320, 180, 10))
    try:
        await _join_late(room, late)
        for page in room.pages:
            await page.until("hoichan.state.roster.size === 10", "ten sites")
        # The newcomer is seen, too, and not only in the list.
        await room.pages[0].until(
            f"probe.thumbnails().some(({{ site, colour }}) => site === '{LATE}' && colour)",
            "the newcomer's picture",
        )
        assert [await page.negotiations() for page in room.pages] == before
        assert [counts["createOffer"] for counts in before] == [1, 1]
        await late.until("probe.thumbnails().filter(({ colour }) => colour).length >= 3", "thumbnails")
        colours = dict(CROWD) | {CHAIR: RED, SON_LA: GREEN}
        for site, colour in (await late.thumbnails()).items():
            assert colour in (colours[site].name, "nothing")
    finally:
        await late.leave()
        await late.browser.close()


async def _join_late(room: Room, late: Site) -> None:
    """Join, and again if the machine had no time for it; the first picture comes in time."""
    for _ in range(TRIES):
        await late.open(room.server.link("presenter", LATE))
        await late.evaluate("probe.forget('stage')")
        await late.join(with_voice=False)
        await late.until("probe.firstPictureAt() !== null", "a picture")
        clicked_ms = await late.evaluate("probe.clicks.findLast(({ id }) => id === 'prejoin-join').at")
        first_picture_ms = await late.evaluate("probe.firstPictureAt()") - clicked_ms
        if first_picture_ms < FIRST_PICTURE_LIMIT_MS or not await starved([late]):
            break
        await late.leave()
    assert first_picture_ms < FIRST_PICTURE_LIMIT_MS


async def test_a_page_that_shows_more_than_nine_asks_for_more_slots_once(room: Room) -> None:
    page, other = room.pages
    await page.until("hoichan.state.roster.size === 9", "nine sites")
    async with crowd(room.server, MORE):
        await page.until(
            "probe.thumbnails().filter(({ colour }) => colour).length === 11", "eleven thumbnails at once"
        )
        colours = {site: colour.name for site, colour in (*CROWD, *MORE)} | {SON_LA: GREEN.name}
        assert await page.thumbnails() == colours
        assert (await page.negotiations())["createOffer"] == 2
        assert (await other.negotiations())["createOffer"] == 1
    assert page.errors == other.errors == []
