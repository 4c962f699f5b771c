"""Voices of real browsers over a line that loses packets: what redundancy (RFC 2198) repairs, both ways."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from networks import Network, clinic
from pages import PATIENCE_S, Camera, Site, browsers
from pictures import BLUE, RED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

HOSPITAL, STATION = "Bệnh viện Bạch Mai", "Trạm y tế Lũng Cú"
LOSS = 0.2
MEASURED_S = 6.0
HEARD = """
async () => {
  const stats = [...(await window.hoichan.peer.pc.getStats()).values()];
  const heard = stats.filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  const sum = (name) => heard.reduce((total, one) => total + (one[name] ?? 0), 0);
  return {
    received: sum("packetsReceived"),
    lost: sum("packetsLost"),
    samples: sum("totalSamplesReceived"),
    concealed: sum("concealedSamples") - sum("silentConcealedSamples"),
  };
}
"""
AUDIO_LINES = """
window.hoichan.peer.pc.remoteDescription.sdp.split("\\r\\n").filter((line) => line.startsWith("m=audio"))
"""


@dataclass(frozen=True, slots=True)
class Conference:
    """A hospital beside the server, and a station behind a line that loses what it is told to."""

    server: BridgeServer
    network: Network
    hospital: Site
    station: Site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def conference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Conference]:
    directory = tmp_path_factory.mktemp("voices")
    with clinic(directory) as network:
        server = BridgeServer(directory / "bridge", environment={"HOICHAN_HTTP_HOST": "0.0.0.0"})
        await asyncio.to_thread(server.start)
        origin = f"http://{network.server_host}:{server.http_port}"
        trusted = [f"--unsafely-treat-insecure-origin-as-secure={origin}"]
        try:
            async with browsers(directory) as started:
                hospital, station = await asyncio.gather(
                    started.site(HOSPITAL, Camera(RED), pitch_hz=150),
                    started.site(
                        STATION, Camera(BLUE), pitch_hz=230, chromium=network.chromium, flags=trusted
                    ),
                )
                await asyncio.gather(
                    hospital.open(server.link("chair", HOSPITAL)),
                    station.open(f"{origin}/room/#i={server.invite('presenter', STATION)}"),
                )
                await asyncio.gather(hospital.join(), station.join())
                yield Conference(server, network, hospital, station)
        finally:
            await asyncio.to_thread(server.stop)


async def shares(site: Site, seconds: float) -> tuple[float, float]:
    """Return which shares of the packets of voices are lost, and of what is heard made up."""
    before: dict[str, Any] = await site.evaluate(HEARD)
    await asyncio.sleep(seconds)
    after: dict[str, Any] = await site.evaluate(HEARD)
    passed = {name: after[name] - before[name] for name in after}
    lost = passed["lost"] / max(passed["lost"] + passed["received"], 1)
    return lost, passed["concealed"] / max(passed["samples"], 1)


async def until_metric(server: BridgeServer, name: str, value: float, **labels: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (seen := await asyncio.to_thread(server.metric, name, **labels)) < value:
        assert asyncio.get_running_loop().time() < deadline, f"{name} is {seen}, not {value}"
        await asyncio.sleep(0.2)


async def test_browsers_agree_on_redundancy_both_ways(conference: Conference) -> None:
    for site in (conference.hospital, conference.station):
        sending, *receiving = await site.evaluate(AUDIO_LINES)
        assert sending.endswith(" 63 111")
        assert {line.rpartition("SAVPF")[2] for line in receiving} == {" 111 63"}


async def test_what_a_listeners_line_loses_is_heard_all_the_same(conference: Conference) -> None:
    conference.network.lose_udp(down=LOSS)
    await until_metric(conference.server, "hoichan_voice_slots", 1, distance="2")
    lost, concealed = await shares(conference.station, MEASURED_S)
    assert lost > LOSS / 2
    # What is left of three in a row, and what a page on a busy machine has no time for.
    assert concealed < lost / 2
    assert not conference.station.errors


async def test_what_a_speakers_line_loses_is_heard_by_the_others(conference: Conference) -> None:
    conference.network.lose_udp(up=LOSS)
    # Of fifty packets a second ten are lost, of which the next one brings eight.
    await until_metric(conference.server, "hoichan_voices_recovered_total", 20)
    lost, _ = await shares(conference.hospital, MEASURED_S)
    assert lost < LOSS / 2
    assert not conference.hospital.errors
