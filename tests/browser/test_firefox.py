"""Firefox as a browser of the first rank: what a site does in a conference, from a network of its own."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from firefox import FirefoxSite, firefox
from networks import Line, Network, clinic
from pages import Camera, Site, Visitor, browsers
from pictures import BLUE, RED

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the network that Firefox needs"),
]

CHAIR, PROVINCE, CLINIC = "Bệnh viện Bạch Mai", "Bệnh viện đa khoa Hà Giang", "Trạm y tế Lũng Cú"


@dataclass(frozen=True, slots=True)
class Conference:
    """Two Chromium pages with cameras of their own colours, and a Firefox in another network."""

    server: BridgeServer
    chair: Site
    province: Site
    clinic: FirefoxSite
    network: Network
    line: Line


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def conference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Conference]:
    directory = tmp_path_factory.mktemp("firefox")
    with clinic(directory) as network:
        server = BridgeServer(directory / "bridge", environment={"HOICHAN_HTTP_HOST": "0.0.0.0"})
        await asyncio.to_thread(server.start)
        line = Line(server.http_port, host=network.server_host)
        await line.open()
        origin = f"http://{network.server_host}:{line.port}"
        try:
            async with browsers(directory) as started, firefox(CLINIC, network, origin) as fox:
                chair, province = await asyncio.gather(
                    started.site(CHAIR, Camera(RED), pitch_hz=150),
                    started.site(PROVINCE, Camera(BLUE), pitch_hz=230),
                )
                await chair.open(server.link("chair", CHAIR))
                await province.open(server.link("presenter", PROVINCE))
                await fox.open(f"{origin}/room/#i={server.invite('presenter', CLINIC)}")
                for site in (chair, province, fox):
                    await site.join()
                yield Conference(server, chair, province, fox, network, line)
        finally:
            await line.close()
            if server.process is not None:
                server.stop()


async def test_firefox_sees_every_site_under_its_name(conference: Conference) -> None:
    fox = conference.clinic
    expected = {site.name: site.colour for site in (conference.chair, conference.province)}
    await fox.until("probe.thumbnails().filter(({ colour }) => colour).length === 2", "two thumbnails")
    assert await fox.thumbnails() == expected


async def test_the_others_see_and_hear_firefox(conference: Conference) -> None:
    fox, chair = conference.clinic, conference.chair
    own = await fox.evaluate("hoichan.state.self")
    await chair.put_on_stage(CLINIC)
    await chair.until(f"hoichan.state.stage.participant === '{own}'", "Firefox on stage")
    await _pictures_move(
        chair,
        "probe.slots().then(all => Object.values(all).filter("
        f"one => one.participant === '{own}' && one.role !== 'voice'))",
    )
    await chair.until(f"hoichan.state.voices.includes('{own}')", "its tone")


async def test_the_stage_changes_for_firefox_as_for_the_others(conference: Conference) -> None:
    fox = conference.clinic
    for choice in (conference.province, conference.chair, conference.province):
        clicked_ms = await conference.chair.put_on_stage(choice.name)
        # Two engines and three browsers share the machine: how soon is held by test_conference.
        await fox.first_seen_ms("stage", choice.colour, clicked_ms)
    assert (await fox.negotiations())["createOffer"] == 1


async def test_firefox_sees_what_is_shared(conference: Conference) -> None:
    fox, province = conference.clinic, conference.province
    await province.press("share")
    await fox.until("hoichan.state.content?.participant", "a share")
    await fox.until("document.querySelector('.pane.content video.remote')?.videoWidth > 0", "its picture")
    await province.press("share")
    await fox.until("!hoichan.state.content?.participant", "no share")


async def test_media_goes_on_in_firefox_while_its_websocket_is_cut(conference: Conference) -> None:
    fox = conference.clinic
    await fox.evaluate("void (window.kept = hoichan.peer.pc)")
    with conference.line.cut():
        await fox.until("hoichan.connection.state === 'reconnecting'", "a cut", within_s=10)
        await _pictures_move(
            fox, "probe.slots().then(all => Object.values(all).filter(one => one.role !== 'voice'))"
        )
    await fox.until("hoichan.connection.state === 'joined'", "the session")
    assert await fox.evaluate("hoichan.peer.pc === kept")


async def _pictures_move(site: Visitor, pictures: str) -> None:
    """Wait until each of the pictures has got frames since now."""
    before = [one["frames"] for one in await site.evaluate(pictures)]
    assert before
    for number, frames in enumerate(before):
        await site.until(
            f"{pictures}.then(all => all[{number}]?.frames > {frames})", f"frames in picture {number}"
        )
