"""FFmpeg's own WHIP muxer: DTLS by GnuTLS, as server, with H.264 and Opus."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiortc_peer import BLUE, HEIGHT_PX, WIDTH_PX, device, frame_of_colour
from bridge_process import ROOT, BridgeServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.transport import Certificate

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

PATIENCE_S = 30.0


def encoder(server: BridgeServer, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "tests" / "ffmpeg_whip.py")),
            *(f"{server.base_url}/whip", server.bearer("publish"), ",".join(map(str, BLUE)), *options),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def certificate_files(directory: Path) -> list[str]:
    """Write a certificate on P-256, and return the muxer's options for it."""
    made = Certificate.generate()
    assert isinstance(made._key.curve, ec.SECP256R1)
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(made._cert.public_bytes(Encoding.PEM))
    files[1].write_bytes(made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return [f"cert_file={files[0]}", f"key_file={files[1]}"]


async def until_said(server: BridgeServer, words: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while words not in server.log:
        assert time.monotonic() < deadline, server.log[-2000:]
        await asyncio.sleep(0.05)


async def test_ffmpeg_with_a_certificate_on_p256_is_seen_and_heard(
    bridge_server: BridgeServer, tmp_path: Path
) -> None:
    with encoder(bridge_server, *certificate_files(tmp_path)) as process:
        assert process.stdout is not None
        assert (await asyncio.to_thread(process.stdout.readline)).strip() == "live"
        async with device(bridge_server, "whep", "watch") as player:
            sound = player.connection.addTransceiver("audio", direction="recvonly")
            video = player.connection.addTransceiver("video", direction="recvonly")
            await player.connect()
            async with asyncio.timeout(PATIENCE_S):
                frame = await frame_of_colour(video.receiver.track, BLUE)
                while not abs((await sound.receiver.track.recv()).to_ndarray()).max() > 1000:
                    pass
        assert (frame.width, frame.height) == (WIDTH_PX, HEIGHT_PX)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
        await until_said(bridge_server, "left: left")
        assert bridge_server.metric("hoichan_publications", source="camera") == 0


async def test_why_ffmpegs_own_certificate_is_refused_is_told(bridge_server: BridgeServer) -> None:
    """It is on P-224, which OpenSSL 4 does not accept in TLS any more."""
    with encoder(bridge_server) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE_S) != 0
        await until_said(bridge_server, "give it one of its own on P-256")
        assert "ended: dtls-certificate-curve" in bridge_server.log
        assert bridge_server.metric("hoichan_dtls_failures_total", reason="certificate-curve") == 1
