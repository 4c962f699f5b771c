"""Three sites in real browsers: one without UDP, one behind a line that breaks, and a server that dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from networks import LOOPBACK, Line, Network, without_udp
from pages import Camera, Site, browsers
from pictures import BLUE, GREEN, RED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CHAIR, CLINIC, PROVINCE = "Bệnh viện Bạch Mai", "Trạm y tế Lũng Cú", "Bệnh viện đa khoa Hà Giang"
CUT_S = 10.0
RESUME_LIMIT_S = 30.0
REJOIN_LIMIT_S = 10.0
# A picture that hung on the WebSocket would stand still for all of the cut; a busy machine may stutter.
STILL_LIMIT_MS = 3000
LOOK_EVERY_S = 2.0
TRANSPORT_WORDS = "document.querySelector('#transport-text').textContent"
BANNER_WORDS = "(banner => banner.hidden ? '' : banner.textContent)(document.querySelector('#banner'))"
SELECTED_PAIR = """
async () => {
  const stats = await window.hoichan.peer.pc.getStats();
  const transport = [...stats.values()].find(({ type }) => type === "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  return [stats.get(pair.localCandidateId).protocol, stats.get(pair.remoteCandidateId).protocol];
}
"""


@dataclass(frozen=True, slots=True)
class Conference:
    """The server, the sites, and what can be broken."""

    server: BridgeServer
    chair: Site
    clinic: Site
    province: Site
    network: Network
    line: Line

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.chair, self.clinic, self.province

    def others(self, site: Site) -> dict[str, str]:
        return {other.name: other.colour for other in self.sites if other is not site}

    async def pictures_flow(self, site: Site, *, within_s: float) -> None:
        """Wait until a site sees all others in the colours of their cameras."""
        deadline = time.monotonic() + within_s
        while (seen := await site.thumbnails()) != self.others(site):
            assert time.monotonic() < deadline, f"{site.name} sees {seen}"
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def conference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Conference]:
    """The chair on a good line; the clinic without UDP; the province behind a line that can be cut."""
    directory = tmp_path_factory.mktemp("resilience")
    # The network has to be there before the server looks for its addresses.
    with without_udp(directory) as network:
        server = BridgeServer(directory / "bridge", environment={"HOICHAN_HTTP_HOST": "0.0.0.0"})
        await asyncio.to_thread(server.start)
        line = Line(server.http_port)
        try:
            await line.open()
            async with browsers(directory) as started:
                clinic_url = f"http://{network.server_host}:{server.http_port}"
                chair, clinic, province = await asyncio.gather(
                    started.site(CHAIR, Camera(RED, frames_per_s=10), pitch_hz=150),
                    started.site(
                        CLINIC,
                        Camera(GREEN, frames_per_s=10),
                        pitch_hz=190,
                        chromium=network.chromium,
                        flags=[f"--unsafely-treat-insecure-origin-as-secure={clinic_url}"],
                    ),
                    started.site(PROVINCE, Camera(BLUE, frames_per_s=10), pitch_hz=230),
                )
                if network.init_script:
                    await clinic.context.add_init_script(network.init_script)
                await chair.open(server.link("chair", CHAIR))
                await clinic.open(f"{clinic_url}/room/#i={server.invite('presenter', CLINIC)}")
                await province.open(
                    f"http://{LOOPBACK}:{line.port}/room/#i={server.invite('presenter', PROVINCE)}"
                )
                for site in (chair, clinic, province):
                    await site.join()
                yield Conference(server, chair, clinic, province, network, line)
        finally:
            await line.close()
            if server.process is not None:
                server.stop()


async def test_a_page_without_udp_joins_over_tcp_sees_and_is_seen_and_says_so(conference: Conference) -> None:
    clinic, server = conference.clinic, conference.server
    for site in conference.sites:
        await conference.pictures_flow(site, within_s=30)
    if conference.network.is_own:
        assert conference.network.udp_dropped() > 0
    assert await clinic.evaluate(SELECTED_PAIR) == ["tcp", "tcp"]
    assert await conference.chair.evaluate(SELECTED_PAIR) == ["udp", "udp"]
    assert server.metric("hoichan_legs", protocol="tcp") == 1
    assert server.metric("hoichan_legs", protocol="udp") == 2

    clicked_ms = await conference.chair.put_on_stage(CLINIC)
    for site in (conference.chair, conference.province):
        await site.first_seen_ms("stage", clinic.colour, clicked_ms)
    clicked_ms = await conference.chair.put_on_stage(PROVINCE)
    await clinic.first_seen_ms("stage", conference.province.colour, clicked_ms)

    await clinic.until(f"{TRANSPORT_WORDS} === 'UDP bị chặn ở đây: đang dùng TCP'", "words about TCP")
    await clinic.evaluate("import('/shared/text/text.js').then(({ setLanguage }) => setLanguage('en'))")
    assert await clinic.evaluate(TRANSPORT_WORDS) == "UDP blocked here: using TCP"
    assert "TCP" not in await conference.chair.evaluate(TRANSPORT_WORDS)


async def test_media_never_stops_while_a_websocket_is_cut_and_the_session_is_resumed(
    conference: Conference,
) -> None:
    province, chair = conference.province, conference.chair
    clicked_ms = await chair.put_on_stage(CLINIC)
    await province.first_seen_ms("stage", conference.clinic.colour, clicked_ms)
    await province.evaluate(
        "window.kept = { pc: hoichan.peer.pc, self: hoichan.state.self }; probe.forget('stage')"
    )
    await chair.evaluate("probe.forget('stage')")
    negotiations = await province.negotiations()

    with conference.line.cut():
        ends = time.monotonic() + CUT_S
        words = "Mất kết nối với máy chủ, đang tự nối lại…"
        await province.until(f"{BANNER_WORDS} === '{words}'", "words about the cut", within_s=5)
        seen, seen_by_chair = await province.slots(), await chair.slots()
        while time.monotonic() < ends:
            await asyncio.sleep(LOOK_EVERY_S)
            seen = _all_pictures_moved(seen, await province.slots())
            seen_by_chair = _all_pictures_moved(seen_by_chair, await chair.slots())
            assert await province.evaluate("hoichan.connection.state") == "reconnecting"
        assert await province.evaluate("probe.longestGap_ms('stage')") < STILL_LIMIT_MS
        assert await chair.evaluate("probe.longestGap_ms('stage')") < STILL_LIMIT_MS

    await province.until(
        "hoichan.connection.state === 'joined'", "the session", within_s=RESUME_LIMIT_S - CUT_S
    )
    await province.until(f"!{BANNER_WORDS}.includes('Mất kết nối')", "no banner")
    assert await province.evaluate("hoichan.peer.pc === kept.pc && hoichan.state.self === kept.self")
    assert await province.negotiations() == negotiations
    # Control works again, in both directions.
    clicked_ms = await chair.put_on_stage(PROVINCE)
    await chair.first_seen_ms("stage", province.colour, clicked_ms)
    await province.until("hoichan.state.stage.participant === kept.self", "news of the stage", within_s=5)
    _all_pictures_moved(seen, await province.slots())


async def test_all_pages_are_back_by_themselves_after_the_server_was_killed(conference: Conference) -> None:
    for site in conference.sites:
        await site.evaluate("window.kept = { peer: hoichan.peer, self: hoichan.state.self }")
    await asyncio.to_thread(conference.server.kill)
    for site in conference.sites:
        await site.until("hoichan.connection.state === 'reconnecting'", "a lost connection", within_s=5)
    await asyncio.to_thread(conference.server.start)
    started = time.monotonic()

    async def back(site: Site) -> float:
        await site.until(
            "hoichan.connection.state === 'joined' && hoichan.peer !== kept.peer && hoichan.peer.isConnected",
            "a new place in the room",
            within_s=REJOIN_LIMIT_S,
        )
        await conference.pictures_flow(site, within_s=REJOIN_LIMIT_S - (time.monotonic() - started))
        return time.monotonic() - started

    took_s = await asyncio.gather(*(back(site) for site in conference.sites))
    assert max(took_s) < REJOIN_LIMIT_S
    assert conference.server.metric("hoichan_participants") == len(conference.sites)
    assert conference.server.metric("hoichan_legs", protocol="tcp") == 1
    before = [await site.slots() for site in conference.sites]
    await asyncio.sleep(2)
    for site, seen in zip(conference.sites, before, strict=True):
        assert len(_pictures(seen)) >= 2
        _all_pictures_moved(seen, await site.slots())
        assert site.errors == []


def _pictures(slots: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {mid: slot["frames"] for mid, slot in slots.items() if slot["role"] != "voice"}


def _all_pictures_moved(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Assert that every picture that was shown still is, and has got new frames."""
    earlier, later = _pictures(before), _pictures(after)
    assert set() != earlier.keys() <= later.keys()
    still = [mid for mid in earlier if later[mid] <= earlier[mid]]
    assert still == [], (before, after)
    return after
