"""An encoder that is not ours, GStreamer over WHIP with H.264, on the stage of a real browser."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiortc_peer import Picture, device, frame_of_colour, member, prefer
from bridge_process import ROOT, BridgeServer
from pages import Camera, browsers
from pictures import BLUE, GREEN, RED, Colour

pytestmark = [pytest.mark.browser, pytest.mark.peer, pytest.mark.timeout(150)]

# GStreamer's Python bindings belong to the system's Python.
SYSTEM_PYTHON = "/usr/bin/python3"
OPERATING_ROOM, CHAIR, PROVINCE = "Phòng mổ", "Bệnh viện Bạch Mai", "Bệnh viện đa khoa Hà Giang"
HAS_TILE = "probe.thumbnails().some(({{ site }}) => site === '{}')"
WIDTH_PX, HEIGHT_PX = 640, 360
PATIENCE_S = 30.0
STAGE_DECODER = """
async () => {
  const { peer } = window.hoichan;
  const [{ mid }] = peer.slotsOf("stage");
  const stats = await peer.pc.getStats();
  const line = [...stats.values()].find((one) => one.type === "inbound-rtp" && one.mid === mid);
  return { codec: stats.get(line.codecId)?.mimeType, width_px: line.frameWidth, height_px: line.frameHeight };
}
"""


class Encoder:
    """A GStreamer process that publishes one colour and a tone."""

    def __init__(self, server: BridgeServer, colour: Colour) -> None:
        argb = 0xFF << 24 | colour.red << 16 | colour.green << 8 | colour.blue
        self._process = subprocess.Popen(
            [
                *(SYSTEM_PYTHON, str(ROOT / "tests" / "gstreamer_whip.py")),
                *(f"{server.base_url}/whip", server.bearer("publish", OPERATING_ROOM), hex(argb)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def finish(self) -> int:
        """Have it end its session and return its status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def encoder(server: BridgeServer, colour: Colour) -> Iterator[Encoder]:
    running = Encoder(server, colour)
    try:
        yield running
    finally:
        running.kill()


async def test_gstreamer_is_seen_on_stage_and_played_by_whep_until_it_ends(
    bridge_server: BridgeServer, tmp_path: Path
) -> None:
    with encoder(bridge_server, GREEN) as gstreamer:
        async with (
            browsers(tmp_path) as started,
            member(bridge_server, "expert", PROVINCE) as expert,
            device(bridge_server, "whep", "watch", "Hội trường") as player,
        ):
            expert.connection.addTransceiver(Picture(BLUE.yuv), direction="sendonly")
            prefer(expert.connection, "video/VP8")
            await expert.offer(publications={"0": "camera"}, slots={})
            chair = await started.site(CHAIR, Camera(RED))
            await chair.open(bridge_server.link("chair", CHAIR))
            await chair.join()
            assert (await asyncio.to_thread(gstreamer.line)).startswith("published /whip/")

            for site in (PROVINCE, OPERATING_ROOM):
                await chair.until(HAS_TILE.format(site), f"the tile of {site}")
            clicked_ms = await chair.put_on_stage(PROVINCE)
            await chair.first_seen_ms("stage", BLUE.name, clicked_ms, within_s=PATIENCE_S)
            assert (await chair.evaluate(STAGE_DECODER))["codec"] == "video/VP8"
            # The same slot goes on with the other codec.
            clicked_ms = await chair.put_on_stage(OPERATING_ROOM)
            await chair.first_seen_ms("stage", GREEN.name, clicked_ms, within_s=PATIENCE_S)
            on_stage = await chair.evaluate(STAGE_DECODER)
            assert on_stage == {"codec": "video/H264", "width_px": WIDTH_PX, "height_px": HEIGHT_PX}
            assert await chair.thumbnails() == {PROVINCE: BLUE.name, OPERATING_ROOM: GREEN.name}
            assert (await chair.negotiations())["createOffer"] == 1

            player.connection.addTransceiver("audio", direction="recvonly")
            video = player.connection.addTransceiver("video", direction="recvonly")
            await player.connect()
            async with asyncio.timeout(PATIENCE_S):
                frame = await frame_of_colour(video.receiver.track, GREEN.yuv)
            assert (frame.width, frame.height) == (WIDTH_PX, HEIGHT_PX)

            assert await asyncio.to_thread(gstreamer.finish) == 0
            assert await asyncio.to_thread(gstreamer.line) == "deleted 200"
            await chair.until(f"!({HAS_TILE.format(OPERATING_ROOM)})", "no tile of what has ended")
            await chair.first_seen_ms("stage", BLUE.name, clicked_ms, within_s=PATIENCE_S)
            assert chair.errors == []
