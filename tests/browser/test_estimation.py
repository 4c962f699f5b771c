"""Browsers tell when each packet arrived, and what the bridge makes of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from pages import PATIENCE_S, Camera, Site, browsers
from pictures import GREEN, RED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CHAIR, EXPERT = "Bệnh viện Bạch Mai", "Bệnh viện Sơn La"
# What the sections that receive have agreed on, and what arrives in them.
RECEIVING = """
(() => {
  const sections = hoichan.peer.pc.remoteDescription.sdp.split("\\r\\nm=").slice(1);
  return sections.filter((one) => one.includes("a=sendonly"));
})()
"""


@dataclass(frozen=True, slots=True)
class Conference:
    server: BridgeServer
    chair: Site
    expert: Site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def conference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Conference]:
    server = BridgeServer(tmp_path_factory.mktemp("bridge"))
    await asyncio.to_thread(server.start)
    try:
        async with browsers(tmp_path_factory.mktemp("sites")) as started:
            chair = await started.site(CHAIR, Camera(RED, 640, 360, 15))
            expert = await started.site(EXPERT, Camera(GREEN, 640, 360, 15))
            for page, role in ((chair, "chair"), (expert, "expert")):
                await page.open(server.link(role, page.name))
                await page.join()
            yield Conference(server, chair, expert)
    finally:
        await asyncio.to_thread(server.stop)


async def until_metric(server: BridgeServer, name: str, least: float) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (value := server.metric(name)) < least:
        assert asyncio.get_running_loop().time() < deadline, f"{name} is {value}, not {least}"
        await asyncio.sleep(0.1)


async def test_chromium_agrees_to_tell_of_arrivals_and_of_nothing_else(conference: Conference) -> None:
    sections = await conference.expert.evaluate(RECEIVING)
    assert len(sections) > 4
    for section in sections:
        assert "transport-wide-cc" in section
        assert "transport-cc" in section
        assert "goog-remb" not in section
        assert "abs-send-time" not in section


async def test_its_feedback_is_read_and_makes_a_sane_estimate(conference: Conference) -> None:
    await conference.expert.until_colour("stage", RED.name)
    await until_metric(conference.server, "hoichan_legs_telling_arrivals", 2)
    await until_metric(conference.server, "hoichan_feedback_calm_total", 40)
    assert conference.server.metric("hoichan_feedback_single_total") > 0
    # The thinnest line, in bytes: loopback, held to be no narrower than the start.
    assert 250_000 < conference.server.metric("hoichan_available_bytes_per_second", quantile="0") < 6_300_000
