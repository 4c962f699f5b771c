"""What real pages showed and said in two cases is in two packages: the right sites in time, and no more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc_peer import Picture, Tone, member, prefer
from bridge_process import BridgeServer, StartBridge
from pages import Browsers, Camera, Site, browsers
from pictures import BLUE, COLOURS, GREEN, RED, YELLOW, Colour
from recorded import frames, parts, sessions, tracks, wait_for_packages

from bridge.archive.package.verify import verify

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHAIR, HA_GIANG, MEO_VAC = "Bệnh viện Bạch Mai", "Bệnh viện đa khoa Hà Giang", "Bệnh viện Mèo Vạc"
PITCHES_HZ = {HA_GIANG: 190, MEO_VAC: 310}
RATE_HZ = 48_000
FRAME_MS = 40
# After a click: the switch itself, and the key frame that the recorder waits for.
SETTLED_MS = 1500
SPAN_S = 4.0
# What the video shows where the recording was paused.
CARD_MS = 2000
SEALED_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What was on stage and who spoke, from one moment to another in Unix milliseconds."""

    colour: Colour
    speaker: str | None
    start_ms: float
    end_ms: float


def now_ms() -> float:
    return time.time() * 1000


async def say(site: Site, **message: Any) -> None:
    await site.evaluate("message => hoichan.connection.send(message)", message)


async def until_state(site: Site, state: str) -> None:
    await site.until(f"hoichan.state.recording.state === '{state}'", f"recording {state}")


async def scene(chair: Site, on_stage: Site, speaker: Site | None) -> Scene:
    """Put a site on stage, let one speak, and keep it so for a while."""
    participant = await on_stage.evaluate("hoichan.state.self")
    await say(chair, type="stage", participant=participant)
    if speaker is not None:
        await speaker.press("microphone")
    start_ms = now_ms()
    await asyncio.sleep(SPAN_S)
    end_ms = now_ms()
    if speaker is not None:
        await speaker.press("microphone")
    return Scene(on_stage.camera.colour, speaker.name if speaker else None, start_ms, end_ms)


@asynccontextmanager
async def stranger(server: BridgeServer) -> AsyncIterator[str]:
    """A yellow site that is there only while nothing may be recorded."""
    async with member(server, "expert", "Bệnh viện Lạ") as person:
        person.connection.addTransceiver(Tone(700.0), direction="sendonly")
        person.connection.addTransceiver(Picture(YELLOW.yuv), direction="sendonly")
        prefer(person.connection, "video/VP8")
        await person.offer(publications={"0": "microphone", "1": "camera"}, slots={})
        await asyncio.sleep(2.0)
        yield person.participant


def areas(picture: np.ndarray) -> dict[str, int]:
    """Return how many pixels of an RGB picture have each of the sites' colours."""
    return {
        colour.name: int(
            (np.abs(picture.astype(int) - (colour.red, colour.green, colour.blue)).max(axis=2) < 50).sum()
        )
        for colour in COLOURS[:4]
    }


def pictures(package: Path) -> list[tuple[float, dict[str, int]]]:
    """Return the time and the colours of every fifth picture of a package's video."""
    seen = []
    for part in parts(package):
        for number, frame in enumerate(frames(package / "data" / "video" / part["file"])):
            if number % 5 == 0:
                place_ms = number * FRAME_MS
                seen.append((place_ms, areas(frame.to_ndarray(format="rgb24")[::4, ::4])))
    return seen


def samples(package: Path) -> np.ndarray:
    """Return the sound of a package's first part, one channel, as floats."""
    with av.open(str(package / "data" / "video" / parts(package)[0]["file"])) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def pitch_hz(wave: np.ndarray) -> int:
    """Return which of the sites' voices this is, by the strength of its harmonics."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)

    def strength(pitch: int) -> float:
        return sum(float(spectrum[np.abs(hz - pitch * n) < 6].max()) for n in (1, 2, 3))

    return max(PITCHES_HZ.values(), key=strength)


async def enter(started: Browsers, server: BridgeServer) -> tuple[Site, Site, Site]:
    chair, ha_giang, meo_vac = await asyncio.gather(
        started.site(CHAIR, Camera(RED)),
        started.site(HA_GIANG, Camera(GREEN), pitch_hz=PITCHES_HZ[HA_GIANG]),
        started.site(MEO_VAC, Camera(BLUE), pitch_hz=PITCHES_HZ[MEO_VAC]),
    )
    for site, role in ((chair, "chair"), (ha_giang, "presenter"), (meo_vac, "presenter")):
        await site.open(server.link(role, site.name))
        await site.join(with_voice=False)
    for site in (chair, ha_giang, meo_vac):
        await site.until("probe.thumbnails().filter(({ colour }) => colour).length === 2", "thumbnails")
    return chair, ha_giang, meo_vac


async def test_two_cases_a_pause_and_a_withdrawal_give_two_packages_with_nothing_else(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    server = start_bridge()
    async with browsers(tmp_path) as started:
        chair, ha_giang, meo_vac = await enter(started, server)
        await say(chair, type="add_case", code="BN-0001")
        await say(chair, type="add_case", code="BN-0002")
        await say(chair, type="consent", case="C01", state="granted")
        await say(chair, type="consent", case="C02", state="granted")
        await say(chair, type="start_case", case="C01")
        await until_state(chair, "recording")
        first = await scene(chair, ha_giang, ha_giang)
        await say(chair, type="record", action="pause")
        await until_state(meo_vac, "paused")
        async with stranger(server) as yellow:
            await say(chair, type="stage", participant=yellow)
            await asyncio.sleep(2.0)
        await say(chair, type="record", action="resume")
        await until_state(chair, "recording")
        second = await scene(chair, meo_vac, meo_vac)
        await say(chair, type="start_case", case="C02")
        third = await scene(chair, chair, None)
        await say(chair, type="consent", case="C02", state="withdrawn")
        await until_state(chair, "waiting")
        async with stranger(server) as yellow:
            await say(chair, type="stage", participant=yellow)
            await asyncio.sleep(2.0)
        await say(chair, type="finish_case", case="C02")
        # While everybody is still in the room.
        one, two = await asyncio.to_thread(wait_for_packages, server, 2, within_s=SEALED_WITHIN_S)
    assert (one.name[-4:], two.name[-4:]) == ("-C01", "-C02")
    _nothing_of_the_stranger(server, one, two)
    assert verify(one) == verify(two) == []

    seen = pictures(one)
    for showing in (first, second):
        _shows(one, seen, showing)
    wave = samples(one)
    for showing in (first, second):
        assert showing.speaker is not None
        place_ms = _place_ms(one, showing)
        start, end = (
            int((place_ms + offset_ms) * RATE_HZ / 1000)
            for offset_ms in (SETTLED_MS, showing.end_ms - showing.start_ms - 300)
        )
        assert pitch_hz(wave[start:end]) == PITCHES_HZ[showing.speaker]
    _shows(two, pictures(two), third)
    for path in two.rglob("*"):
        assert not path.is_file() or b"BN-0001" not in path.read_bytes(), path
    for path in one.rglob("*"):
        assert not path.is_file() or b"BN-0002" not in path.read_bytes(), path


def _place_ms(package: Path, showing: Scene) -> float:
    """Return where in the package's video a scene begins: spans one after the other, with cards between."""
    case = json.loads((package / "data" / "case.json").read_text(encoding="utf-8"))
    place_ms = 0.0
    for span in case["recorded"]:
        start_ms, end_ms = (datetime.fromisoformat(span[key]).timestamp() * 1000 for key in ("from", "to"))
        if start_ms <= showing.start_ms < end_ms:
            return place_ms + showing.start_ms - start_ms
        place_ms += end_ms - start_ms + CARD_MS
    raise AssertionError(f"{showing} is not recorded in {case['recorded']}")


def _shows(package: Path, seen: list[tuple[float, dict[str, int]]], showing: Scene) -> None:
    """Assert that the scene's site is the largest picture from when it had settled to its end."""
    begins_ms = _place_ms(package, showing)
    lasts_ms = showing.end_ms - showing.start_ms
    within = [
        colours for at_ms, colours in seen if begins_ms + SETTLED_MS <= at_ms <= begins_ms + lasts_ms - 300
    ]
    assert len(within) > 5
    largest = {max(colours, key=lambda name: colours[name]) for colours in within}
    assert largest == {showing.colour.name}


def _nothing_of_the_stranger(server: BridgeServer, *found: Path) -> None:
    (session,) = sessions(server)
    colours = [areas(frame.to_ndarray(format="rgb24")) for track in tracks(session, "camera")
               for segment in track.glob("*.mkv") for frame in frames(segment)]  # fmt: skip
    assert len(colours) > 100
    assert max(one[YELLOW.name] for one in colours) < 200
    for package in found:
        assert max(colours[YELLOW.name] for _, colours in pictures(package)) < 50
