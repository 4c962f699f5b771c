"""What happens to cameras and microphones in a conference: flash and beep fit in its film afterwards.

One room for all: each site has a colour and a pitch of its own, and claps every two seconds (`clap.js`). One
browser stands still for 20 seconds, one camera is turned twice, one loses its devices and takes others, one
sends nothing between words, and of one the network lets no sender report through.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from bridge_process import BridgeServer, free_port
from pages import AWAKE, Browsers, Camera, Site, browsers
from pictures import BLUE, GREEN, RED, YELLOW, Colour
from recorded import frames, parts, sessions, wait_for_packages
from standing import processes_of, stopped

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(420)]

CLAP_JS = Path(__file__).parent / "clap.js"
MAGENTA = Colour("magenta", 200, 30, 200)
SLEEPER, TURNED, ROBBED, SPARING, UNREPORTED = "ngủ", "xoay", "mất", "lặng", "câm"
LOOKS = {
    SLEEPER: (RED, 700),
    TURNED: (GREEN, 1_100),
    ROBBED: (BLUE, 1_700),
    SPARING: (YELLOW, 2_500),
    UNREPORTED: (MAGENTA, 3_600),
}
# Longer than ICE's consent lasts, so that the bridge has given the sleeper's media up.
ASLEEP_S = 20.0
ROBBED_S = 3.0
BEFORE_S, AFTERWARDS_S = 5.0, 7.0
FIT_MS = 80
SEALED_WITHIN_S = 240.0
FRAME_MS = 40
RATE_HZ, HOP, WINDOW = 48_000, 240, 960
# The recorder is the only one who looks at these cameras: five pages with four others each are too much.
NOBODY_LOOKS = """
(() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (text) {
    const message = JSON.parse(text);
    for (const mid of Object.keys(message.heights ?? {})) message.heights[mid] = 0;
    return send.call(this, message.type === "view" ? JSON.stringify(message) : text);
  };
})();
"""
# What the bridge answers, changed on its way to the browser.
ANSWER = """
(() => {
  const set = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return set.call(this, { type, sdp: sdp.split("\\r\\n").flatMap((line) => %s).join("\\r\\n") });
  };
})();
"""
# Opus has been told to send nothing but a word now and then while nobody speaks (RFC 7587, 6.1).
USE_DTX = ANSWER % "line.replace(/^(a=fmtp:\\d+ .*useinbandfec=1.*)$/, '$1;usedtx=1')"
BEHIND = ANSWER % (
    "/^a=candidate.* tcp /i.test(line) ? [] : "
    "line.replace(/^(a=candidate:.* udp \\d+ \\S+) \\d+/i, '$1 {port}')"
)
LOSE = """
async () => {
  for (const source of ["microphone", "camera"]) {
    const track = hoichan.sources.track(source);
    track.stop();
    track.dispatchEvent(new Event("ended"));
  }
}
"""
TURN = "void ([clapper.canvas.width, clapper.canvas.height] = [clapper.canvas.height, clapper.canvas.width])"


class Relay(asyncio.DatagramProtocol):
    """A way to the media port on which sender reports get lost: SRTCP leaves clear which packets are ones."""

    SENDER_REPORT = 200

    def __init__(self, media_port: int) -> None:
        self._media_port = media_port
        self._near: asyncio.DatagramTransport | None = None
        self._far: dict[Any, asyncio.DatagramTransport | None] = {}
        self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._near = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: Any) -> None:
        if data[0] >> 6 == 2 and data[1] == self.SENDER_REPORT:
            self.lost += 1
        elif address not in self._far:
            # A check that comes before the way is there is repeated.
            self._far[address] = None
            self._beginning = asyncio.get_running_loop().create_task(self._begin(address))
        elif (far := self._far[address]) is not None:
            far.sendto(data)

    async def _begin(self, address: Any) -> None:
        assert self._near is not None
        back = _Back(partial(self._near.sendto, addr=address))
        far, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: back, remote_addr=("127.0.0.1", self._media_port)
        )
        self._far[address] = far

    def close(self) -> None:
        for transport in (self._near, *self._far.values()):
            if transport is not None:
                transport.close()


class _Back(asyncio.DatagramProtocol):
    def __init__(self, send: Any) -> None:
        self._send = send

    def datagram_received(self, data: bytes, _: Any) -> None:
        self._send(data)


@asynccontextmanager
async def relay(media_port: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay, and its port."""
    running, port = Relay(media_port), free_port()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: running, local_addr=("0.0.0.0", port))
    try:
        yield running, port
    finally:
        running.close()


@dataclass(frozen=True, slots=True)
class Shown:
    """The film of the conference, and the track logs of each site by their source."""

    film: "Film"
    recorded: dict[str, dict[str, list[dict[str, Any]]]]
    # When in the film what happened to a site was over.
    over_ms: dict[str, float]
    reports_lost: int
    # Packets a second of the microphone that spares them.
    sparing_per_s: float


class Film:
    """When each site's picture flashed and its pitch began, in milliseconds of the film."""

    def __init__(self, package: Path) -> None:
        (part,) = parts(package)
        path = package / "data" / "video" / part["file"]
        self.flashes = _flashes(path)
        self.beeps = _beeps(path)

    def apart_ms(self, site: str, since_ms: float = 0.0) -> list[int]:
        """Return how much later than the next beep each flash was seen."""
        found = []
        for at_ms in self.flashes[site]:
            nearest = min((at_ms - beep for beep in self.beeps[site]), key=abs, default=np.inf)
            if at_ms >= since_ms and abs(nearest) < 900:
                found.append(round(nearest))
        return found


def _flashes(path: Path) -> dict[str, list[float]]:
    """A flash is where a colour that is there before and after is gone, wherever its picture stands."""
    counts: dict[str, list[int]] = {site: [] for site in LOOKS}
    for frame in frames(path):
        small = frame.to_ndarray(format="rgb24")[::8, ::8].astype(int)
        for site, (colour, _) in LOOKS.items():
            near = np.abs(small - (colour.red, colour.green, colour.blue)).max(axis=2) < 60
            counts[site].append(int(near.sum()))
    found: dict[str, list[float]] = {}
    for site, seen in counts.items():
        found[site] = [
            n * FRAME_MS
            for n in range(1, len(seen) - 6)
            if seen[n] < 0.3 * seen[n - 1] and max(seen[n + 1 : n + 6]) > 0.7 * seen[n - 1] > 20
        ]
    return found


def _beeps(path: Path) -> dict[str, list[float]]:
    with av.open(str(path)) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP] * np.hanning(WINDOW)
    places = np.arange(WINDOW) / RATE_HZ
    found: dict[str, list[float]] = {}
    for site, (_, hz) in LOOKS.items():
        strength = np.abs(windows @ np.exp(-2j * np.pi * hz * places))
        loud = np.flatnonzero(strength > strength.max() / 2)
        begins = [n for i, n in enumerate(loud) if i == 0 or n - loud[i - 1] > RATE_HZ // HOP]
        # Half as loud in the middle of the window.
        found[site] = [(n * HOP + WINDOW / 2) * 1000 / RATE_HZ for n in begins]
    return found


async def entered(started: Browsers, server: BridgeServer, name: str, *scripts: str) -> Site:
    """Let a clapping site join."""
    colour, hz = LOOKS[name]
    camera = Camera(colour, 320, 180, 5)
    if name == SLEEPER:
        # What stands still is a browser.
        site = await started.site(name, camera, flags=AWAKE)
        await site.context.add_init_script(path=CLAP_JS)
    else:
        site = await started.page(name, camera, script=CLAP_JS)
    painted = f"rgb({colour.red}, {colour.green}, {colour.blue})"
    look = {"hz": hz, "colour": painted, "width": 320, "height": 180}
    for script in (f"window.clap = {json.dumps(look)};", NOBODY_LOOKS, *scripts):
        await site.context.add_init_script(script)
    await site.open(server.link("chair" if name == TURNED else "presenter", name))
    await site.join()
    return site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    """Hold the conference, once for all that is asked of its film."""
    server = BridgeServer(
        tmp_path_factory.mktemp("bridge"),
        environment={"HOICHAN_RECORDING_CONSULTATION": "auto", "HOICHAN_ROOMS_EMPTY_CLOSE_S": "1"},
    )
    await asyncio.to_thread(server.start)
    over: dict[str, float] = {}
    try:
        async with (
            browsers(tmp_path_factory.mktemp("sites")) as started,
            relay(server.media_port) as (way, port),
        ):
            turned = await entered(started, server, TURNED)
            # One after the other: five pages that start at once are late on a small machine.
            others = [
                await entered(started, server, SLEEPER),
                await entered(started, server, ROBBED),
                await entered(started, server, SPARING, USE_DTX),
                await entered(started, server, UNREPORTED, BEHIND.replace("{port}", str(port))),
            ]
            sleeper, robbed = others[:2]
            people = {site.name: await site.evaluate("hoichan.state.self") for site in (turned, *others)}
            stage = {"type": "stage", "participant": people[TURNED]}
            await turned.evaluate("message => hoichan.connection.send(message)", stage)
            await asyncio.sleep(BEFORE_S)
            await sleeper.evaluate("window.kept = hoichan.peer, null")
            with stopped(await processes_of(sleeper)):
                slept = time.monotonic()
                await turned.evaluate(TURN)
                await robbed.evaluate(LOSE)
                await robbed.until(
                    "!hoichan.sources.isOn('camera') && !hoichan.sources.isOn('microphone')", "a loss"
                )
                await asyncio.sleep(ROBBED_S)
                for control in ("microphone", "camera"):
                    await robbed.press(control)
                over[ROBBED] = time.time() * 1000
                await asyncio.sleep(max(0.0, slept + ASLEEP_S / 2 - time.monotonic()))
                await turned.evaluate(TURN)
                over[TURNED] = time.time() * 1000
                await asyncio.sleep(max(0.0, slept + ASLEEP_S - time.monotonic()))
            await sleeper.until(
                "hoichan.peer !== kept && hoichan.peer?.isConnected === true", "its place again"
            )
            over[SLEEPER] = time.time() * 1000
            await asyncio.sleep(AFTERWARDS_S)
            for site in (turned, *others):
                await site.evaluate("hoichan.connection.send({ type: 'leave' })")
                assert site.errors == []
        (package,) = await asyncio.to_thread(wait_for_packages, server, 1, within_s=SEALED_WITHIN_S)
        (session,) = sessions(server)
        recorded = {name: _recorded(session, person) for name, person in people.items()}
        started_ms = _started_ms(package)
        yield Shown(
            await asyncio.to_thread(Film, package),
            recorded,
            {name: over.get(name, started_ms) - started_ms for name in LOOKS},
            way.lost,
            _packets_per_s(session, people[SPARING]),
        )
    finally:
        await asyncio.to_thread(server.stop)


def _recorded(session: Path, person: str) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of a site's track logs, by source."""
    return {
        source: [
            json.loads(line)
            for log in sorted(session.glob(f"tracks/*-{person}-{source}/track.jsonl"))
            for line in log.read_text(encoding="utf-8").splitlines()
        ]
        for source in ("camera", "microphone")
    }


def _started_ms(package: Path) -> float:
    document = json.loads((package / "data" / "session.json").read_text(encoding="utf-8"))
    (span,) = document["recorded"]
    return datetime.fromisoformat(span["from"]).timestamp() * 1000


def _packets_per_s(session: Path, person: str) -> float:
    times_ms = [
        float(packet.pts * packet.time_base) * 1000
        for segment in sorted(session.glob(f"tracks/*-{person}-microphone/*.mkv"))
        for packet in _packets(segment)
    ]
    return len(times_ms) * 1000 / (max(times_ms) - min(times_ms))


def _packets(segment: Path) -> list[Any]:
    with av.open(str(segment)) as container:
        return [packet for packet in container.demux() if packet.size]


@pytest.mark.parametrize("site", LOOKS)
async def test_flash_and_beep_fit_in_the_film(shown: Shown, site: str) -> None:
    film, over_ms = shown.film, shown.over_ms[site]
    told = f"{film.flashes[site]}, {film.beeps[site]}, over at {over_ms:.0f}"
    afterwards = film.apart_ms(site, over_ms)
    assert len(afterwards) >= 2, told
    assert abs(float(np.median(afterwards))) <= FIT_MS, (afterwards, told)


async def test_what_was_to_happen_to_each_site_has_happened(shown: Shown) -> None:
    """Or the film would tell nothing."""
    recorded = shown.recorded
    assert len(_of(recorded[SLEEPER]["camera"], "track")) == 2
    upright = {line["height"] > line["width"] for line in _of(recorded[TURNED]["camera"], "segment")}
    assert upright == {True, False}
    # Fifty a second, unless nothing is sent in silence.
    assert shown.sparing_per_s < 15
    assert shown.reports_lost > 5
    for source, lines in recorded[UNREPORTED].items():
        assert _of(lines, "clock") == [], source
        assert _of(recorded[TURNED][source], "clock"), source


def _of(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["k"] == kind]
