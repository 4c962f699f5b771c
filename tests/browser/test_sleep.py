"""A laptop that sleeps in the middle of a conference and wakes: its browser stands still and goes on."""

import asyncio
import time

import pytest
from bridge_process import BridgeServer
from pages import PATIENCE_S, PRESSURE, Browsers, Camera, Site, cores_waited_ms
from pictures import BLUE, GREEN, RED
from standing import processes_of, stopped

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not PRESSURE.exists(), reason="this kernel does not say for how long cores were waited for"
    ),
]

CHAIR, SLEEPER, OTHER, LATE = "Bệnh viện tỉnh", "Trạm Y tế xã", "Bệnh viện huyện", "Phòng khám"
# Longer than ICE's consent lasts, so that the bridge has given the sleeper's media up.
ASLEEP_S = 20.0
BACK_WITHIN_S = 10.0
LOOK_EVERY_S = 2.0
MICROPHONES = "[...hoichan.state.roster.values()].map(({ site, microphone }) => `${site}: ${microphone}`)"


async def test_a_browser_that_stood_still_is_back_and_nobody_else_suffered(
    server: BridgeServer, started: Browsers
) -> None:
    chair, sleeper, other = [
        await _joined(started, server, name, camera)
        for name, camera in ((CHAIR, RED), (SLEEPER, GREEN), (OTHER, BLUE))
    ]
    everybody = {site.name: site.colour for site in (chair, sleeper, other)}
    for site in (chair, sleeper, other):
        await _sees(site, everybody)
    await chair.put_on_stage(SLEEPER)
    await chair.until_colour("stage", sleeper.colour)
    await sleeper.press("microphone")
    await chair.until(f"{MICROPHONES}.includes('{SLEEPER}: muted')", "the sleeper's muted microphone")
    await sleeper.evaluate("window.kept = hoichan.peer, null")

    processes = await processes_of(sleeper)
    with stopped(processes):
        slept = time.monotonic()
        clicked_ms = await chair.put_on_stage(OTHER)
        await chair.first_seen_ms("stage", other.colour, clicked_ms)
        late = await _joined(started, server, LATE, RED)
        await late.until_colour("stage", other.colour)
        while time.monotonic() < slept + ASLEEP_S:
            before = [await _frames(site) for site in (chair, other)]
            await asyncio.sleep(LOOK_EVERY_S)
            after = [await _frames(site) for site in (chair, other)]
            assert all(b < a for b, a in zip(before, after, strict=True)), (before, after)
        # What stands still is not shown as if it were live.
        seen = await chair.thumbnails()
        assert seen.get(SLEEPER) != sleeper.colour, seen
    waited_ms, woke = cores_waited_ms(), time.monotonic()

    await sleeper.until(
        "hoichan.connection.state === 'joined' && hoichan.peer !== kept && hoichan.peer.isConnected",
        "its place",
    )
    await sleeper.until_colour("stage", other.colour)
    await _sees(sleeper, {CHAIR: chair.colour, OTHER: other.colour, LATE: late.colour})
    for site in (chair, other, late):
        await _sees(site, {SLEEPER: sleeper.colour})
    took_ms = (time.monotonic() - woke) * 1000
    waited_ms = cores_waited_ms() - waited_ms
    print(f"back after {took_ms:.0f} ms, of which somebody waited {waited_ms:.0f} ms")
    assert took_ms < BACK_WITHIN_S * 1000 + waited_ms
    entries = await chair.evaluate(MICROPHONES)
    assert [entry for entry in entries if entry.startswith(SLEEPER)] == [f"{SLEEPER}: muted"], entries
    assert server.metric("hoichan_participants") == 4
    for site in (chair, sleeper, other, late):
        assert site.errors == []


async def _joined(started: Browsers, server: BridgeServer, name: str, colour: object) -> Site:
    site = await started.site(name, Camera(colour, frames_per_s=10))  # type: ignore[arg-type]
    await site.open(server.link("chair" if name == CHAIR else "presenter", name))
    await site.join()
    return site


async def _sees(site: Site, colours: dict[str, str]) -> None:
    """Wait until a site sees these others in the colours of their cameras."""
    wanted = {name: colour for name, colour in colours.items() if name != site.name}
    deadline = time.monotonic() + PATIENCE_S
    while not wanted.items() <= (seen := await site.thumbnails()).items():
        assert time.monotonic() < deadline, f"{site.name} sees {seen}"
        await asyncio.sleep(0.1)


async def _frames(site: Site) -> int:
    """How many pictures of others came so far."""
    return sum(slot["frames"] for slot in (await site.slots()).values() if slot["role"] != "voice")
