"""Whoever comes back without a touch may be refused sound by the browser: it is said, and one press helps."""

import asyncio
import time
from typing import Any

import pytest
from bridge_process import BridgeServer
from pages import PATIENCE_S, Browsers, Camera, Site
from pictures import GREEN, RED
from playwright.async_api import CDPSession

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

# What browsers do as they are installed; the other tests have it switched off. The last one counts.
STRICT = ("--autoplay-policy=document-user-activation-required",)
TOLD_WITHIN_S = 3.0
BUTTON = "document.querySelector('#sound').checkVisibility()"
PLAYERS = "[...document.querySelectorAll('#voices audio')]"


class Untouched:
    """A page that is looked at without touching it: whatever Playwright evaluates counts as a touch."""

    def __init__(self, site: Site, session: CDPSession) -> None:
        self._site = site
        self._session = session

    async def evaluate(self, expression: str) -> Any:
        answer = await self._session.send(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "userGesture": False}
        )
        return answer["result"].get("value")

    async def until(self, expression: str, what: str, *, within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not await self.evaluate(expression):
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}; {self._site.errors}"
            await asyncio.sleep(0.05)


PLAY = f"{PLAYERS}.length > 0 && {PLAYERS}.every((one) => !one.paused && one.currentTime > 0)"


async def test_sound_that_is_refused_after_a_reload_is_one_press_away(
    server: BridgeServer, started: Browsers
) -> None:
    speaker = await started.site("Bệnh viện tỉnh", Camera(RED))
    await speaker.open(server.link(site=speaker.name))
    await speaker.join()
    listener = await started.site("Trạm Y tế xã", Camera(GREEN), flags=STRICT)
    page = Untouched(listener, await listener.context.new_cdp_session(listener.page))
    await listener.goto(server.link("observer", listener.name))
    await listener.until("document.querySelector('#prejoin-name')?.checkVisibility()", "the page before")
    await listener.fill("#prejoin-name", f"BS. {listener.name}")
    await listener.click("#prejoin-join")
    await listener.until(PLAY, "voices")
    assert not await listener.evaluate(BUTTON)

    # As a browser that is started again restores it. A mere reload counts as touched: the page before was.
    await listener.page.goto("about:blank")
    await listener.page.goto(f"{server.base_url}/room/")
    await page.until("window.hoichan?.peer?.isConnected === true", "the room again")
    await page.until(BUTTON, "the button", within_s=TOLD_WITHIN_S)
    await page.until(
        "document.querySelector('#alerter').textContent === document.querySelector('#sound').textContent",
        "what a screen reader says",
    )
    while not await page.evaluate("document.activeElement.id === 'sound'"):
        await listener.page.keyboard.press("Tab")
    await listener.page.keyboard.press("Enter")
    await page.until(PLAY, "voices again")
    await page.until(f"!{BUTTON}", "no button any more")

    # Nor does anything need a press that comes later: here, all voices after a restart of the bridge.
    await page.evaluate("window.kept = hoichan.peer, null")
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await page.until("hoichan.peer !== window.kept && hoichan.peer?.isConnected === true", "media again")
    await page.until(PLAY, "voices of the new session")
    assert not await page.evaluate(BUTTON)
    assert not listener.errors
