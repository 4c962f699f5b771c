"""Cases, consent and the recording of a conference, page to page."""

import asyncio
import time
from pathlib import Path

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from pages import PATIENCE_S, Browsers, Camera, Site
from pictures import BLUE, RED, YELLOW
from playwright.async_api import Page
from recorded import journal, sessions

from bridge.store.catalogue import Catalogue

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CHAIR, DIEN_BIEN, OBSERVER = SITES = ("Bệnh viện Bạch Mai", "Bệnh viện Điện Biên", "Trạm y tế Sín Thầu")
# What everybody has to see within a second.
SOON_S = 1.0

Sites = tuple[Site, Site, Site]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(server: BridgeServer, started: Browsers) -> Sites:
    """The chair, a presenter and an observer, in a consultation."""
    chair, presenter, observer = await asyncio.gather(
        *(
            started.site(name, Camera(colour, 320, 180, 8))
            for name, colour in zip(SITES, (RED, BLUE, YELLOW), strict=True)
        )
    )
    for site, role in ((chair, "chair"), (presenter, "presenter")):
        await site.open(server.link(role, site.name))
        await site.join(with_voice=False)
    await _enter(observer.page, server.link("observer", OBSERVER))
    await observer.until("window.hoichan.peer?.isConnected === true", "connected media")
    await chair.press("cases")
    return chair, presenter, observer


async def _enter(page: Page, link: str) -> None:
    """Come in as soon as the page lets one in."""
    await page.goto(link)
    await page.locator("#prejoin-name").fill("BS. Lò Thị Hoa")
    await page.locator("#prejoin-join").click()


def chip(key: str) -> str:
    """Whether the top bar says this of the recording."""
    return f"document.querySelector('#recording-text').dataset.text === '{key}'"


async def _all_see(sites: Sites, key: str) -> None:
    await asyncio.gather(*(site.until(chip(key), key, within_s=SOON_S) for site in sites))


async def _click(chair: Site, focus: str) -> None:
    await chair.page.locator(f'#panel-cases [data-focus="{focus}"]').click()


async def _confirm(chair: Site) -> None:
    await chair.page.locator("#dialog .dialog-actions .button:last-child").click()


async def _add(chair: Site, code: str, number: str) -> None:
    if await chair.page.locator("#case-form").is_hidden():
        await chair.page.locator("#case-add").click()
    await chair.page.locator("#case-code").fill(code)
    await chair.page.locator("#case-code").press("Enter")
    await chair.page.locator(f'#panel-cases [data-case="{number}"]').wait_for()


async def test_people_are_told_before_they_come_in_that_they_may_be_recorded(sites: Sites) -> None:
    for site in sites:
        note = await site.page.locator("#prejoin-recording-text").get_attribute("data-text")
        assert note == "prejoin.recording.on-consent"


async def test_before_any_case_everybody_reads_that_nothing_is_recorded(sites: Sites) -> None:
    await _all_see(sites, "recording.waiting.no-case")


async def test_a_code_that_could_be_a_name_does_not_leave_the_page(sites: Sites) -> None:
    chair, _, _ = sites
    await chair.page.locator("#case-code").fill("Nguyễn Văn A")
    await chair.page.locator("#case-code").press("Enter")
    assert await chair.page.locator("#case-code-problem").text_content()
    assert await chair.page.locator("#case-code").input_value() == "Nguyễn Văn A"
    assert await chair.evaluate("hoichan.state.cases.length") == 0


async def test_a_case_is_recorded_once_it_is_open_and_its_patient_has_consented(sites: Sites) -> None:
    chair, _, _ = sites
    presenter = await chair.evaluate(
        f"[...hoichan.state.roster.values()].find(({{ site }}) => site === '{DIEN_BIEN}').participant"
    )
    await chair.page.locator("#case-site").select_option(presenter)
    await _add(chair, "BN-0423", "C01")
    assert await chair.page.locator("#case-code").input_value() == ""
    assert await chair.evaluate("hoichan.state.cases[0].site") == DIEN_BIEN
    # Nothing is chosen before somebody chooses.
    assert await chair.page.locator('#panel-cases .choice[aria-pressed="true"]').count() == 0
    await _click(chair, "cases.start-C01")
    await _all_see(sites, "recording.waiting.no-consent")
    await _click(chair, "consent-granted-C01")
    await _confirm(chair)
    await _all_see(sites, "recording.recording.case")
    for site in sites:
        assert "C01" in str(await site.page.locator("#recording-text").text_content())


async def test_consent_is_not_granted_by_a_slip(sites: Sites) -> None:
    chair, _, _ = sites
    await _add(chair, "BN-0424", "C02")
    await _click(chair, "consent-granted-C02")
    await chair.page.keyboard.press("Escape")
    await asyncio.sleep(0.3)
    assert await chair.evaluate("hoichan.state.cases[1].consent") == "unknown"


async def test_a_pause_is_seen_by_all_until_the_recording_goes_on(sites: Sites) -> None:
    chair, _, _ = sites
    await _click(chair, "record-pause")
    await _all_see(sites, "recording.paused")
    # By keyboard this time: the focus stays where the button was.
    await chair.page.keyboard.press("Enter")
    await _all_see(sites, "recording.recording.case")


async def test_a_key_that_is_held_down_pauses_once(sites: Sites) -> None:
    chair, _, _ = sites
    await chair.page.locator('#panel-cases [data-focus="record-pause"]').focus()
    await chair.page.keyboard.down("Enter")
    await _all_see(sites, "recording.paused")
    for _ in range(5):
        # Down again without having been up: repeated by the keyboard.
        await chair.page.keyboard.down("Enter")
        await asyncio.sleep(0.1)
    await chair.page.keyboard.up("Enter")
    await _all_see(sites, "recording.paused")
    await _click(chair, "record-pause")
    await _all_see(sites, "recording.recording.case")


async def test_who_comes_late_reads_that_it_is_recorded(sites: Sites, server: BridgeServer) -> None:
    _, presenter, _ = sites
    page = await presenter.context.new_page()
    await _enter(page, server.link("expert", "Bệnh viện Lai Châu"))
    await page.locator('#recording[data-state="recording"]').wait_for()
    await page.locator('#toasts [data-text="announce.recorded"]').wait_for()
    await page.close()


async def test_an_observer_sees_neither_the_cases_nor_how_to_record(sites: Sites) -> None:
    _, presenter, observer = sites
    for site in (presenter, observer):
        assert await site.control("cases").is_hidden()
        assert await site.page.locator("#tab-cases").is_hidden()
        assert await site.evaluate("hoichan.state.cases.length") == 0
        await site.evaluate("hoichan.connection.send({ type: 'record', action: 'stop' })")
        await site.page.locator('#toasts [data-text="error.not-permitted"]').first.wait_for()
    await _all_see(sites, "recording.recording.case")


async def test_a_withdrawn_consent_ends_the_recording_at_once(sites: Sites) -> None:
    chair, _, _ = sites
    await _click(chair, "consent-withdrawn-C01")
    await _confirm(chair)
    await _all_see(sites, "recording.waiting.consent-withdrawn")
    await _click(chair, "consent-granted-C01")
    await _confirm(chair)
    await _all_see(sites, "recording.recording.case")


async def test_a_stopped_recording_is_started_again(sites: Sites) -> None:
    chair, _, _ = sites
    await _click(chair, "record-stop")
    await _confirm(chair)
    await _all_see(sites, "recording.stopped")
    await _click(chair, "record-stop")
    await _all_see(sites, "recording.recording.case")


async def test_finishing_a_case_ends_its_recording(sites: Sites) -> None:
    chair, _, _ = sites
    await _click(chair, "cases.finish-C01")
    await _confirm(chair)
    await _all_see(sites, "recording.waiting.no-case")
    assert await chair.evaluate("hoichan.state.cases[0].state") == "finished"


async def test_consent_is_withdrawn_after_the_case_and_the_archive_holds_it_back(
    sites: Sites, server: BridgeServer
) -> None:
    """By keyboard: the question names the case, and nothing happens to who thinks better of it."""
    chair, _, _ = sites
    button = chair.page.locator('#panel-cases [data-focus="consent-withdrawn-C01"]')
    title = chair.page.locator("#dialog-title")
    await button.focus()
    await chair.page.keyboard.press("Enter")
    assert "C01" in await title.inner_text()
    assert "BN-0423" in await title.inner_text()
    await chair.page.keyboard.press("Escape")
    assert await chair.evaluate("hoichan.state.cases[0].consent") == "granted"
    await button.press("Enter")
    await chair.page.locator("#dialog .dialog-actions .button:last-child").press("Enter")
    await chair.until("hoichan.state.cases[0].consent === 'withdrawn'", "a consent that is withdrawn")
    await button.wait_for(state="detached")
    catalogue = Catalogue(server.state_dir / "archive")
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(catalogue.count_undecided):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        catalogue.close()


async def test_a_removed_case_can_be_had_back_for_a_moment(sites: Sites) -> None:
    chair, _, _ = sites
    await _click(chair, "cases.remove-C02")
    await chair.page.locator('#toasts [data-text="common.undo"]').click()
    await asyncio.sleep(5.5)
    assert await chair.evaluate("hoichan.state.cases.length") == 2
    await _click(chair, "cases.remove-C02")
    await chair.until("hoichan.state.cases.length === 1", "a shorter list")


async def test_the_way_to_the_archive_carries_the_invitation_in_the_fragment(sites: Sites) -> None:
    chair, _, _ = sites
    link = await chair.evaluate("document.querySelector('#panel-cases .case-library').href")
    assert "/library/#i=" in link
    for site in sites:
        assert site.errors == []


async def test_a_case_that_somebody_else_began_meanwhile_is_not_ended_unasked(sites: Sites) -> None:
    chair, _, _ = sites
    for code, number in (("BN-0425", "C03"), ("BN-0426", "C04"), ("BN-0427", "C05")):
        await _add(chair, code, number)
    await _click(chair, "cases.start-C03")
    await chair.until("hoichan.state.active?.case === 'C03'", "the first case")
    await _click(chair, "cases.start-C04")
    await chair.page.locator("#dialog .dialog-actions").wait_for()
    # As the secretary would, on another page.
    await chair.evaluate("hoichan.connection.send({ type: 'start_case', case: 'C05' })")
    await chair.until("hoichan.state.active?.case === 'C05'", "the secretary's case")
    await _confirm(chair)
    question = chair.page.locator("#dialog").get_by_text("C05")
    await question.wait_for()
    await chair.page.keyboard.press("Escape")
    assert await chair.evaluate("hoichan.state.active.case") == "C05"


async def test_what_is_shared_is_hidden_when_the_case_changes_until_the_chair_shows_it(sites: Sites) -> None:
    chair, presenter, observer = sites
    await presenter.press("share")
    await observer.until("hoichan.state.content?.participant", "a share")
    await _click(chair, "cases.start-C04")
    await _confirm(chair)
    await observer.until("!hoichan.state.content?.participant", "no share")
    await presenter.page.locator('#toasts [data-text="room.content.withheld.self"]').wait_for()
    assert await presenter.evaluate("hoichan.sources.isOn('content')")
    await chair.page.locator('#toasts [data-text="people.showContent"]').click()
    await observer.until("hoichan.state.content?.participant", "the share again")
    # And anew, as its owner is told.
    await _click(chair, "cases.finish-C04")
    await observer.until("!hoichan.state.content?.participant", "no share")
    await presenter.press("share")
    await presenter.press("share")
    await observer.until("hoichan.state.content?.participant", "a new share")
    await presenter.press("share")


async def _until_written(server: BridgeServer, case: str) -> None:
    """Wait until the journal on the disk says that the case is recorded: that much outlives a kill."""
    deadline = time.monotonic() + 20.0
    while not any(
        event.data.get("case") == case and event.data.get("state") == "recording"
        for event in journal(sessions(server)[-1])
    ):
        assert time.monotonic() < deadline, server.log[-4000:]
        await asyncio.sleep(0.05)


async def test_a_case_that_a_restart_interrupted_is_confirmed_by_its_code(
    server: BridgeServer, sites: Sites
) -> None:
    chair, presenter, _ = sites
    member = f"[...hoichan.state.roster.values()].find(({{ site }}) => site === '{DIEN_BIEN}').participant"
    await chair.evaluate(
        "participant => hoichan.connection.send({ type: 'add_case', code: 'BN-0428', participant })",
        await chair.evaluate(member),
    )
    await chair.until("hoichan.state.cases.some((one) => one.case === 'C06')", "another case")
    await _click(chair, "consent-granted-C06")
    await _confirm(chair)
    await _click(chair, "cases.start-C06")
    await _all_see(sites, "recording.recording.case")
    await _until_written(server, "C06")
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    title = chair.page.locator("#dialog-title")
    await title.wait_for()
    asked = str(await title.text_content())
    assert all(word in asked for word in ("C06", "BN-0428", DIEN_BIEN))
    await presenter.until(chip("recording.paused.case-resumed"), "the pause")
    assert await presenter.page.locator("#dialog").is_hidden()
    # Not yet: it is asked once, and can be confirmed in the panel.
    await chair.page.locator("#dialog .dialog-actions .button:first-child").click()
    await asyncio.sleep(0.5)
    assert await chair.page.locator("#dialog").is_hidden()
    assert await chair.evaluate("hoichan.state.recording.state") == "paused"
    await _click(chair, "record-pause")
    await _confirm(chair)
    await presenter.until(chip("recording.recording.case"), "the recording")


async def test_a_full_disk_is_shown_to_everybody_and_not_as_a_running_recording(
    started: Browsers, sites: Sites, tmp_path: Path
) -> None:
    limit = "10000000"
    names = ("WARN", "SHED", "STOP")
    full = BridgeServer(tmp_path, (), {f"HOICHAN_RECORDING_{name}_FREE_MB": limit for name in names})
    await asyncio.to_thread(full.start)
    page = await sites[1].context.new_page()
    try:
        await _enter(page, full.link("expert", "Bệnh viện Lai Châu", kind="briefing"))
        await page.locator('#recording-banner[data-tone="bad"]').wait_for()
        shown = await page.locator("#recording-problem").get_attribute("data-text")
        assert shown == "recording.problem.disk-full"
        assert await page.locator("#recording").get_attribute("data-state") == "full"
    finally:
        await page.close()
        await asyncio.to_thread(full.stop)
