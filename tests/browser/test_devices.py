"""Devices that fail, are taken away or sleep: what a real page shows of them is what it sends."""

import asyncio
import time

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from pages import PATIENCE_S, VIEWPORT, Browsers, Camera, Site
from pictures import GREEN

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CLINIC = "Trạm y tế Lũng Cú"
# The meter's source cannot be made the first `failing` times, as in Firefox with a headset of another rate.
FAILING_METER = """
(() => {
  const make = AudioContext.prototype.createMediaStreamSource;
  window.metersFailing = %d;
  AudioContext.prototype.createMediaStreamSource = function (stream) {
    if (window.metersFailing-- > 0) throw new DOMException("another rate", "NotSupportedError");
    return make.call(this, stream);
  };
})();
"""
IS_MICROPHONE_ON = "document.querySelector('#controls').dataset.microphone === 'on'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser_of_all(started: Browsers) -> Site:
    """One browser for all the pages of this file."""
    return await started.site(CLINIC, Camera(GREEN, frames_per_s=5))


async def page_with(site: Site, script: str = "") -> Site:
    """Return a fresh page of the same browser that runs a script before its own."""
    context = await site.browser.new_context(viewport=VIEWPORT, reduced_motion="reduce")
    if script:
        await context.add_init_script(script)
    page = await context.new_page()
    fresh = Site(site.name, site.camera, site.browser, context, page)
    page.on("pageerror", lambda error: fresh.errors.append(str(error)))
    return fresh


async def microphones(server: BridgeServer) -> int:
    """Return how many microphones the bridge receives."""
    return int(await asyncio.to_thread(server.metric, "hoichan_publications", source="microphone"))


async def until_microphones(server: BridgeServer, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (seen := await microphones(server)) != count:
        assert time.monotonic() < deadline, f"{seen} microphones, not {count}"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("failing", [1, 99])
async def test_a_page_whose_level_meter_fails_sends_what_it_shows(
    server: BridgeServer, browser_of_all: Site, failing: int
) -> None:
    site = await page_with(browser_of_all, FAILING_METER % failing)
    await site.open(server.link("presenter", CLINIC, room=f"meter-{failing}"))
    assert await site.page.locator("#prejoin-mic").get_attribute("data-on") == "true"
    await site.join()
    await site.until(IS_MICROPHONE_ON, "a microphone that is shown as on")
    await until_microphones(server, 1)
    await site.press("microphone")
    await site.until(f"!({IS_MICROPHONE_ON})", "a microphone that is shown as off")
    await site.press("microphone")
    await site.evaluate("window.metersFailing = 1")
    await site.page.locator("#controls .more").click()
    await site.page.locator("#dialog [data-control=settings]").click()
    await site.until("document.querySelectorAll('#dialog select')[0]?.options.length > 1", "a list")
    await site.page.locator("#dialog select").first.select_option(index=1)
    await site.until(
        "document.querySelector('#toasts .toast')?.textContent.length > 0", "a word on the change"
    )
    assert await site.evaluate(IS_MICROPHONE_ON)
    assert site.errors == []
    await site.context.close()


SELF = "window.hoichan.state?.self ?? null"
IS_CONNECTED = "window.hoichan.peer?.isConnected === true"
MY_MICROPHONE = "window.hoichan.state.me.microphone"
# What a phone does to a page when a call comes in, and when it ends.
INTERRUPT = """
isInterrupted => {
  const track = window.hoichan.sources.track("microphone");
  Object.defineProperty(track, "muted", { value: isInterrupted, configurable: true });
  track.dispatchEvent(new Event(isInterrupted ? "mute" : "unmute"));
}
"""


async def test_a_page_in_the_room_is_interrupted_loaded_anew_and_moved_to_another_tab(
    server: BridgeServer, browser_of_all: Site
) -> None:
    site = await page_with(browser_of_all)
    link = server.link("presenter", CLINIC, room="moves")
    await site.open(link)
    assert "#" not in site.page.url, "the invitation stays in the address"
    await site.join()
    await site.until(f"{MY_MICROPHONE} === 'on'", "a microphone that the bridge lists as on")
    await site.evaluate(INTERRUPT, True)
    await site.until(f"{MY_MICROPHONE} === 'interrupted'", "an interrupted microphone in the list")
    assert await site.page.locator("#muted-hint").is_visible()
    await site.evaluate(INTERRUPT, False)
    await site.until(f"{MY_MICROPHONE} === 'on'", "a microphone that is back in the list")

    await site.press("microphone")
    await site.press("hand")
    await site.until("window.hoichan.state.me.hand !== null", "a raised hand")
    participant = await site.evaluate(SELF)
    await site.page.reload()
    await site.until(IS_CONNECTED, "connected media after loading anew")
    assert await site.evaluate(SELF) == participant
    assert await site.evaluate("window.hoichan.state.me.hand !== null")
    assert not await site.evaluate(IS_MICROPHONE_ON)
    await site.until("window.hoichan.sources.isOn('camera')", "the camera as it was")

    other = Site(site.name, site.camera, site.browser, site.context, await site.context.new_page())
    other.page.on("pageerror", lambda error: other.errors.append(str(error)))
    await other.page.goto(link)
    await other.until(
        "document.querySelector('#notice-title').dataset.text === 'elsewhere.title'", "a question"
    )
    await other.page.locator("#notice-actions .primary").click()
    await other.until(IS_CONNECTED, "connected media in the other tab")
    assert await other.evaluate(SELF) == participant
    assert await site.evaluate("document.querySelector('#notice-title').dataset.text") == "moved.title"
    assert site.errors == other.errors == []
    await site.context.close()
