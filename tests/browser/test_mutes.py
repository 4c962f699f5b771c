"""What is heard and seen fits before and after each mute, in a real page and the archive's video."""

import asyncio
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from bridge_process import StartBridge
from pages import Camera, browsers
from pictures import GREEN, RED
from recorded import frames, parts, wait_for_packages

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHAIR, HA_GIANG = "Bệnh viện Bạch Mai", "Bệnh viện đa khoa Hà Giang"
RATE_HZ = 48_000
FRAME_MS = 40
SEALED_WITHIN_S = 90.0
CLAP_LIMIT_MS = 40
CLAPPING_S = 14.0
# No multiples of the two seconds from clap to clap.
MUTES_S = (5.3, 3.1, 5.3)
SPEAKING_S, MUTED_LIMIT_MS = 6, 80
CLAP_JS = Path(__file__).parent / "clap.js"


async def test_claps_fit_on_both_sides_of_every_mute(start_bridge: StartBridge, tmp_path: Path) -> None:
    """Chromium stops the RTP clock of a microphone that sends nothing, and not that of the camera.

    Before the first mute they fit the closest.
    """
    server = start_bridge(HOICHAN_RECORDING_CONSULTATION="auto", HOICHAN_ROOMS_EMPTY_CLOSE_S="1")
    async with browsers(tmp_path) as started:
        chair, clapping = await asyncio.gather(
            started.site(CHAIR, Camera(RED, 320, 180, 8)), started.site(HA_GIANG, Camera(GREEN))
        )
        await clapping.context.add_init_script(path=CLAP_JS)
        for site, role in ((chair, "chair"), (clapping, "presenter")):
            await site.open(server.link(role, site.name))
            await site.join(with_voice=site is clapping)
        await chair.until("hoichan.state.cameras.length === 1", "the other camera")
        await chair.put_on_stage(HA_GIANG)
        await asyncio.sleep(CLAPPING_S)
        for muted_s in MUTES_S:
            await clapping.press("microphone")
            await asyncio.sleep(muted_s)
            await clapping.press("microphone")
            await asyncio.sleep(SPEAKING_S)
        for site in (chair, clapping):
            await site.evaluate("hoichan.connection.send({ type: 'leave' })")
    (package,) = await asyncio.to_thread(wait_for_packages, server, 1, within_s=SEALED_WITHIN_S)
    seen_ms, heard_ms = flashes_ms(package), bursts_ms(package)
    apart_ms = [min((seen - heard for seen in seen_ms), key=abs) for heard in heard_ms]
    told = f"{[round(apart) for apart in apart_ms]} at {[round(heard) for heard in heard_ms]}"
    assert len(heard_ms) >= (len(MUTES_S) + 1) * (SPEAKING_S // 2 - 1), told
    # What is heard between two pauses in hearing, one after the other.
    begins = [0, *(n for n in range(1, len(heard_ms)) if heard_ms[n] - heard_ms[n - 1] > 3000), len(heard_ms)]
    assert len(begins) == len(MUTES_S) + 2, told
    for first, last in pairwise(begins):
        limit_ms = MUTED_LIMIT_MS if first else CLAP_LIMIT_MS
        assert abs(float(np.median(apart_ms[first:last]))) <= limit_ms, told


def flashes_ms(package: Path) -> list[float]:
    """Return when the picture on stage turned white."""
    (part,) = parts(package)
    bright = [
        float(frame.to_ndarray(format="gray")[::8, ::8].mean())
        for frame in frames(package / "data" / "video" / part["file"])
    ]
    middle = (min(bright) + max(bright)) / 2
    return [n * FRAME_MS for n in range(1, len(bright)) if bright[n - 1] < middle <= bright[n]]


def bursts_ms(package: Path) -> list[float]:
    """Return when the sound became loud."""
    with av.open(str(package / "data" / "video" / parts(package)[0]["file"])) as container:
        wave = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]))
    loud = wave > wave.max() / 4
    found: list[float] = []
    for number in np.flatnonzero(loud):
        at_ms = float(number) * 1000 / RATE_HZ
        if not found or at_ms - found[-1] > 1000:
            found.append(at_ms)
    return found
