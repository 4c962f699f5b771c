"""Real pictures and sound for publishers in virtual time: encoded by FFmpeg, packetised as browsers do it."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from streams import RID_ID, VideoEncoding, Voice

PAYLOAD_BYTES_MAX = 1100
RATE_HZ = 30
OPUS_S = 0.02


@dataclass(frozen=True, slots=True)
class Encoded:
    """One frame as an encoder gives it."""

    data: bytes
    is_keyframe: bool


@cache
def pictures(codec: str, *, width_px: int = 320, height_px: int = 180, count: int = 30) -> list[Encoded]:
    """A moving bar; the first picture is a key frame, and the only one."""
    name = {"vp8": "libvpx", "h264": "libx264"}[codec]
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width_px, height_px, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE_HZ), Fraction(RATE_HZ)
    context.bit_rate, context.gop_size, context.thread_count = 300_000, 10_000, 1
    context.options = (
        {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        if codec == "vp8"
        else {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    )
    packets = []
    for number in range(count):
        image = np.full((height_px, width_px, 3), 40, np.uint8)
        image[:, number * width_px // count : number * width_px // count + 12] = 220
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [Encoded(bytes(packet), packet.is_keyframe) for packet in packets]


@cache
def sounds(count: int = 50) -> list[bytes]:
    """A tone of 440 Hz in Opus packets of 20 ms."""
    context: Any = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = 48_000, "stereo", "s16"
    context.time_base, context.bit_rate = Fraction(1, 48_000), 48_000
    packets = []
    for number in range(count):
        at = np.arange(number * 960, (number + 1) * 960) / 48_000
        wave = (np.sin(2 * math.pi * 440 * at) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, number * 960
        packets += context.encode(frame)
    return [bytes(packet) for packet in packets]


def vp8_payloads(data: bytes, *, picture_id: int) -> list[bytes]:
    """RFC 7741, with a picture id of 15 bits."""
    count = max(math.ceil(len(data) / PAYLOAD_BYTES_MAX), 1)
    size = math.ceil(len(data) / count)
    wide = (0x8000 | picture_id & 0x7FFF).to_bytes(2, "big")
    return [
        bytes((0x90 if start == 0 else 0x80, 0x80)) + wide + data[start : start + size]
        for start in range(0, len(data), size)
    ]


def h264_payloads(data: bytes) -> list[bytes]:
    """RFC 6184, packetization mode 1, from Annex B: small units together, large ones in fragments."""
    units = [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    small = [unit for unit in units if unit[0] & 0x1F in (6, 7, 8)]
    payloads = []
    if len(small) > 1:
        payloads.append(b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in small))
    else:
        payloads += small
    for unit in units:
        if unit in small:
            continue
        if len(unit) <= PAYLOAD_BYTES_MAX:
            payloads.append(unit)
            continue
        head, rest = unit[0], unit[1:]
        starts = range(0, len(rest), PAYLOAD_BYTES_MAX)
        for start in starts:
            flags = (0x80 if start == 0 else 0) | (0x40 if start == starts[-1] else 0)
            fragment = rest[start : start + PAYLOAD_BYTES_MAX]
            payloads.append(bytes((head & 0xE0 | 28, flags | head & 0x1F)) + fragment)
    return payloads


class RealEncoding(VideoEncoding):
    """A camera whose pictures can be decoded; begins its film anew when a key frame is asked for."""

    def __init__(self, *, width_px: int = 320, height_px: int = 180, **options: Any) -> None:
        super().__init__(**options)
        self.film = pictures(self.codec, width_px=width_px, height_px=height_px)
        self._at = 0

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        if not self.is_active:
            self.wants_keyframe = True
            return []
        if self.wants_keyframe or self._at == len(self.film):
            self._at, self.wants_keyframe = 0, False
            self.keyframes += 1
        data = self.film[self._at].data
        self._at += 1
        self.pictures += 1
        payloads = (
            vp8_payloads(data, picture_id=self.pictures) if self.codec == "vp8" else h264_payloads(data)
        )
        packets = []
        for number, payload in enumerate(payloads):
            is_last = number == len(payloads) - 1
            extensions = {RID_ID: self.rid.encode()} if self.rid else {}
            packets.append(self.stream.next_packet(payload, captured, marker=is_last, extensions=extensions))
            self._history.append((self.stream.sequence_number, payload, captured, is_last))
        return packets


class RealVoice(Voice):
    """A microphone that hears a tone."""

    def frame(self, captured: float) -> bytes:
        data = sounds()[self.frames % len(sounds())]
        self.frames += 1
        return self.packet(data, captured, {})


def packet_times_ms(segment: Path) -> list[int]:
    """When the packets of a segment are to be shown, in its own time."""
    with av.open(str(segment)) as container:
        return [round(packet.pts * packet.time_base * 1000) for packet in container.demux() if packet.size]


def decoded_frames(segment: Path) -> int:
    """How many frames a strict decoder makes of a segment."""
    with av.open(str(segment)) as container:
        stream = container.streams[0]
        stream.codec_context.options = {"err_detect": "explode"}
        return sum(1 for _ in container.decode(stream))
