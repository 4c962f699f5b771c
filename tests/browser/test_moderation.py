"""What people do in a conference, page to page: share, mute, ask for the floor, write, lock, remove."""

import asyncio

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from pages import Browsers, Camera, Site
from pictures import BLUE, GREY, RED, YELLOW

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CHAIR, DIEN_BIEN, LAI_CHAU = SITES = ("Bệnh viện Bạch Mai", "Bệnh viện Điện Biên", "Bệnh viện Lai Châu")
GUEST = "Trạm y tế Mường Tè"

Sites = tuple[Site, Site, Site]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(server: BridgeServer, started: Browsers) -> Sites:
    """The chair and two others, microphones on."""
    chair, first, second = await asyncio.gather(
        *(
            started.site(name, Camera(colour, 320, 180, 8), pitch_hz=pitch_hz)
            for name, colour, pitch_hz in zip(SITES, (RED, BLUE, YELLOW), (150, 200, 250), strict=True)
        )
    )
    for site, role in ((chair, "chair"), (first, "presenter"), (second, "expert")):
        await site.open(server.link(role, site.name))
        await site.join()
    return chair, first, second


def text(key: str) -> str:
    """The element that carries a text of the page, in whatever language."""
    return f'[data-text="{key}"]'


async def _open_panel(site: Site, panel: str) -> None:
    if await site.page.locator(f"#panel-{panel}").is_hidden():
        await site.press(panel)


async def _unfold(chair: Site, other: Site) -> None:
    """Show what the chair can do with a site."""
    await _open_panel(chair, "people")
    participant = await other.evaluate("hoichan.state.self")
    unfold = chair.page.locator(f"[data-focus=unfold-all-{participant}]")
    if await unfold.get_attribute("aria-expanded") != "true":
        await unfold.click()


def _member(site: str, field: str, value: str) -> str:
    roster = "[...hoichan.state.roster.values()]"
    return f"{roster}.some((member) => member.site === '{site}' && member.{field} === {value})"


async def test_a_shared_screen_is_the_second_picture_of_the_others(sites: Sites) -> None:
    chair, presenter, other = sites
    await presenter.press("share")
    for viewer in (chair, other):
        # Chromium's imitation of a screen is 1280x720; no camera here is.
        await viewer.until(
            "document.querySelector('.pane.content:not([hidden]) video.remote')?.videoHeight >= 360",
            "the screen",
        )
        content = "Object.values(await probe.slots()).find(({ role }) => role === 'content').frames"
        before = await viewer.evaluate(f"async () => {content}")
        await viewer.until(f"(async () => {content} > {before} + 3)()", "more of the screen")
        assert await viewer.evaluate("document.querySelector('.pane.content .pane-site').textContent") != ""
        # The stage is there as before.
        assert await viewer.colour_of("stage") in (RED.name, BLUE.name, YELLOW.name)
    await presenter.press("share")
    for site in sites:
        await site.until("document.querySelector('.pane.content').hidden", "no second picture")


async def test_an_auxiliary_camera_is_the_second_picture_too(sites: Sites) -> None:
    chair, presenter, other = sites
    await presenter.press("auxiliary")
    for viewer in (chair, other):
        await viewer.until("hoichan.state.content?.source === 'auxiliary'", "the auxiliary camera")
        # The fake device knows one picture only.
        await viewer.until_colour("content", presenter.colour)
    await presenter.press("auxiliary")
    for site in sites:
        await site.until("document.querySelector('.pane.content').hidden", "no second picture")


async def test_a_muted_microphone_and_a_switched_off_camera_are_seen_by_all(sites: Sites) -> None:
    chair, presenter, other = sites
    await presenter.press("microphone")
    await presenter.press("camera")
    for viewer in (chair, other):
        await viewer.until(_member(DIEN_BIEN, "microphone", "'muted'"), "a muted microphone")
        await viewer.until(_member(DIEN_BIEN, "camera", "'off'"), "a camera off")
    assert "off" in str(await presenter.page.locator("#controls").get_attribute("data-microphone"))
    await presenter.press("microphone")
    await presenter.press("camera")
    for viewer in (chair, other):
        await viewer.until(_member(DIEN_BIEN, "microphone", "'on'"), "the microphone again")
        await viewer.until(
            f"probe.thumbnails().some(({{ site, colour }}) => site === '{DIEN_BIEN}' && colour)",
            "the picture again",
        )


async def test_a_raised_hand_reaches_the_chair_who_lowers_it(sites: Sites) -> None:
    chair, presenter, _ = sites
    await presenter.press("hand")
    await chair.until("hoichan.state.hands.length === 1", "a raised hand")
    await _unfold(chair, presenter)
    await chair.page.locator(f"#panel-people {text('people.lowerHand')}:visible").first.click()
    for site in (chair, presenter):
        await site.until("hoichan.state.hands.length === 0", "no raised hand")
    await presenter.until(
        "document.querySelector('[data-control=hand] .control-text').dataset.text === 'controls.hand'",
        "a button to raise it again",
    )


async def test_chat_shows_what_was_written_and_never_runs_it(sites: Sites) -> None:
    chair, _, other = sites
    line = "Bệnh nhân đã tỉnh <img src=x onerror=window.harmed=1>"
    await _open_panel(other, "chat")
    await other.page.locator("#panel-chat textarea").fill(line)
    await other.page.locator("#panel-chat textarea").press("Enter")
    await chair.until(
        "document.querySelector('[data-control=chat] .control-badge').textContent === '1'", "a mark"
    )
    await _open_panel(chair, "chat")
    await chair.until("document.querySelectorAll('.chat-line').length === 1", "a line")
    assert await chair.page.locator(".chat-line .chat-text").text_content() == line
    assert await chair.page.locator(".chat-line .chat-site").text_content() == LAI_CHAU
    assert await chair.evaluate("window.harmed === undefined")


async def test_mute_all_mutes_all_but_the_chair(sites: Sites) -> None:
    chair, presenter, other = sites
    await _open_panel(chair, "people")
    await chair.page.locator(f"#panel-people {text('people.muteAll')}:visible").click()
    await chair.page.locator(f"#dialog {text('people.muteAll')}").click()
    for site in (presenter, other):
        await site.until(
            "document.querySelector('#controls').dataset.microphone === 'off'", "a muted microphone"
        )
    await chair.until(_member(LAI_CHAU, "microphone", "'muted'"), "muted in the list")
    assert await chair.page.locator("#controls").get_attribute("data-microphone") == "on"
    await presenter.press("microphone")
    await chair.until(_member(DIEN_BIEN, "microphone", "'on'"), "one who unmuted again")


async def test_whoever_is_on_stage_is_told_so(sites: Sites) -> None:
    chair, presenter, other = sites
    await chair.put_on_stage(DIEN_BIEN)
    await presenter.page.locator(f"#toasts {text('room.stage.self')}").wait_for()
    await presenter.page.locator(f"#tiles .tile.self.on-stage {text('sites.onStage.self')}").wait_for()
    # What its own page shows large is another site, and nobody chose that one.
    await presenter.until_colour("stage", RED.name, YELLOW.name)
    assert await presenter.page.locator(f".pane.stage {text('room.stage.other')}").is_visible()
    assert await presenter.page.locator("#tiles .tile.on-stage:not(.self)").count() == 0
    await other.page.locator(f".pane.stage {text('room.pinned')}").wait_for()
    assert await other.page.locator("#tiles .tile.self.on-stage").count() == 0
    await chair.evaluate("hoichan.connection.send({ type: 'stage', participant: null })")
    await chair.until("hoichan.state.stage.mode === 'speaker'", "a stage that follows the speaker")


async def test_the_language_changes_in_place(sites: Sites) -> None:
    chair, _, _ = sites
    leave = chair.control("leave")
    assert await chair.evaluate("document.documentElement.lang") == "vi"
    vietnamese = await leave.get_attribute("title")
    await chair.page.locator("#controls .more").click()
    await chair.page.locator("#dialog [data-control=language]").click()
    await chair.until("document.documentElement.lang === 'en'", "English")
    english = await leave.get_attribute("title")
    assert english
    assert english != vietnamese
    await chair.page.locator("#controls .more").click()
    await chair.page.locator("#dialog [data-control=language]").click()
    await chair.until("document.documentElement.lang === 'vi'", "Vietnamese again")
    assert await leave.get_attribute("title") == vietnamese


async def test_a_locked_room_lets_in_whom_the_chair_admits(
    server: BridgeServer, started: Browsers, sites: Sites
) -> None:
    chair, _, _ = sites
    await _open_panel(chair, "people")
    await chair.page.locator(f"#panel-people {text('people.lock')}:visible").click()
    await chair.until("hoichan.state.isLocked", "a locked room")
    guest = await started.site(GUEST, Camera(GREY, 320, 180, 8))
    await guest.open(server.link("presenter", GUEST))
    await guest.page.locator("#prejoin-join").click()
    await guest.until(
        "document.querySelector('#notice-title').dataset.text === 'waiting.title'", "a waiting room"
    )
    await chair.page.locator(f"#panel-people {text('people.admit')}:visible").click()
    await guest.until("window.hoichan.peer?.isConnected === true", "connected media")
    await chair.until(
        f"probe.thumbnails().some(({{ site, colour }}) => site === '{GUEST}' && colour)",
        "the guest's picture",
    )
    await chair.page.locator(f"#panel-people {text('people.unlock')}:visible").click()
    await chair.until("!hoichan.state.isLocked", "an open room")
    await guest.browser.close()


async def test_who_is_removed_is_told_so_and_does_not_come_back_by_itself(sites: Sites) -> None:
    chair, _, other = sites
    await _unfold(chair, other)
    await chair.page.locator(f"#panel-people {text('people.remove')}:visible").click()
    await other.until(
        "document.querySelector('#notice-title').dataset.text === 'removed.title'", "a last page"
    )
    await chair.until(f"!({_member(LAI_CHAU, 'connected', 'true')})", "a room without it")
    await asyncio.sleep(2)
    assert await other.evaluate("document.body.dataset.page") == "notice"
    assert not await chair.evaluate(_member(LAI_CHAU, "connected", "true"))
    for site in sites:
        assert site.errors == []


@pytest.mark.parametrize("link", ["/", "/#i=damaged.invitation.link"])
async def test_a_bad_link_is_explained(
    server: BridgeServer, started: Browsers, sites: Sites, link: str
) -> None:
    page = await sites[0].context.new_page()
    await page.goto(f"{server.base_url}{link}")
    notice = page.locator("#notice-link")
    await notice.wait_for()
    title = await page.locator("#notice-title").text_content()
    assert title
    assert await page.locator("#prejoin").is_hidden()
    await page.close()
