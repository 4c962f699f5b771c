"""A laptop with a cable and 4G: the line that carries the media goes away in the middle of a conference."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from aiortc_peer import Picture, member, prefer
from bridge_process import BridgeServer
from networks import two_lines
from pages import Camera, browsers
from pictures import GREEN

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

PATIENCE_S = 30.0
# ICE finds a pair dead after some seconds; the page restarts it. What is ours is a round trip.
BACK_WITHIN_S = 20.0
MEDIA = """
async () => {
  const all = [...(await window.hoichan.peer.pc.getStats()).values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = all.find(({ id }) => id === transport.selectedCandidatePairId);
  const remote = all.find(({ id }) => id === pair?.remoteCandidateId);
  const frames = all.filter((one) => one.type === "inbound-rtp" && one.kind === "video")
    .reduce((sum, one) => sum + (one.framesDecoded ?? 0), 0);
  return { host: remote?.address, protocol: remote?.protocol, frames };
}
"""


async def test_media_goes_on_over_the_other_line_both_ways(tmp_path: Path) -> None:
    with two_lines(tmp_path) as lines:
        server = BridgeServer(
            tmp_path / "bridge",
            environment={
                "HOICHAN_HTTP_HOST": "0.0.0.0",
                "HOICHAN_MEDIA_ANNOUNCED_ADDRESSES": ",".join(lines.media_hosts),
            },
        )
        await asyncio.to_thread(server.start)
        try:
            url = f"http://{lines.server_host}:{server.http_port}"
            async with (
                browsers(tmp_path) as started,
                member(server, "chair", "Bệnh viện Bạch Mai") as chair,
            ):
                chair.connection.addTransceiver(Picture(), direction="sendonly")
                prefer(chair.connection, "video/VP8")
                await chair.offer(publications={"0": "camera"}, slots={})
                site = await started.site(
                    "Trạm y tế Lũng Cú",
                    Camera(GREEN, frames_per_s=10),
                    chromium=lines.chromium,
                    flags=[f"--unsafely-treat-insecure-origin-as-secure={url}"],
                )
                await site.open(f"{url}/#i={server.invite('presenter', site.name)}")
                await site.join()
                before = await _until_frames(site, 10)
                assert before["host"] in lines.media_hosts
                other = next(host for host in lines.media_hosts if host != before["host"])

                lines.cut(before["host"])
                cut_at = time.monotonic()
                while (now := await site.evaluate(MEDIA))["host"] != other:
                    assert time.monotonic() - cut_at < BACK_WITHIN_S, now
                    await asyncio.sleep(0.1)
                received = server.metric("hoichan_rtp_packets_received_total")
                await _until_frames(site, now["frames"] + 20)
                # Its own pictures come in too, beside the chair's.
                assert server.metric("hoichan_rtp_packets_received_total") > received + 40
                assert server.metric("hoichan_path_changes_total") >= 1
                assert server.metric("hoichan_paths_unproven_total") == 0
        finally:
            if server.process is not None:
                server.stop()


async def _until_frames(site: Any, count: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while (now := await site.evaluate(MEDIA))["frames"] < count:
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.1)
    found: dict[str, Any] = now
    return found
