"""What publishers send in virtual time: VP8 and H.264 encodings, and voices.

Each payload ends in a `Piece`, which says where it comes from: so a receiver needs no decoder to know
whether a picture could be decoded, and whose it was.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from bridge.rtp import rtcp
from bridge.rtp.header import build_rtp
from bridge.rtp.red import RedundantAudio, RedundantBlock, build_red

VIDEO_HZ = 90_000
AUDIO_HZ = 48_000
NTP_SECOND = 1 << 32

AUDIO_LEVEL_ID, ABS_SEND_TIME_ID, TRANSPORT_CC_ID, MID_ID = 1, 2, 3, 4
RID_ID, REPAIRED_RID_ID = 10, 11
OPUS, RED, VP8, VP8_RTX, H264, H264_RTX = 111, 63, 96, 97, 108, 109

# Bitrate and height by RID, as browsers make them of our layers.
LAYERS = {"l": (150_000, 180), "m": (500_000, 360), "h": (1_700_000, 720), "": (1_500_000, 720)}
PACKET_BYTES_MAX = 1100
# Chromium's three temporal layers: (temporal id, whether it leans on the base layer only, how far back).
PATTERN = ((0, False, 4), (2, True, 1), (1, True, 2), (2, False, 1))

# One frame of 20 ms (RFC 6716, 3.1).
OPUS_HEAD = b"\x78"

_PIECE = Struct("!IIBBBid")


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet's part of a picture, or of a voice."""

    ssrc: int
    picture: int
    part: int
    parts: int
    is_keyframe: bool
    temporal_id: int
    # The picture that this one cannot be decoded without; -1 for none.
    leans_on: int
    captured: float

    def pack(self) -> bytes:
        flags = self.is_keyframe << 7 | self.temporal_id
        return _PIECE.pack(
            self.ssrc, self.picture, self.part, self.parts, flags, self.leans_on, self.captured
        )

    @classmethod
    def of(cls, payload: bytes) -> "Piece":
        ssrc, picture, part, parts, flags, leans_on, captured = _PIECE.unpack(payload[-_PIECE.size :])
        return cls(ssrc, picture, part, parts, flags > 127, flags & 3, leans_on, captured)


class Stream:
    """One SSRC: its numbers and its clock."""

    def __init__(self, *, mid: str, ssrc: int, payload_type: int, clock_rate_hz: int, numbers: int) -> None:
        self.mid = mid
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.clock_rate_hz = clock_rate_hz
        self.sequence_number = numbers & 0xFFFF
        self.first_timestamp = numbers * 7919 & 0xFFFFFFFF
        self.packets = self.octets = 0

    def timestamp(self, captured: float) -> int:
        return self.first_timestamp + round(captured * self.clock_rate_hz) & 0xFFFFFFFF

    def next_packet(
        self,
        payload: bytes,
        captured: float,
        *,
        marker: bool,
        extensions: dict[int, bytes],
        payload_type: int | None = None,
    ) -> bytes:
        self.sequence_number = self.sequence_number + 1 & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return build_rtp(
            payload_type=self.payload_type if payload_type is None else payload_type,
            sequence_number=self.sequence_number,
            timestamp=self.timestamp(captured),
            ssrc=self.ssrc,
            marker=marker,
            payload=payload,
            extensions={MID_ID: self.mid.encode(), **extensions},
        )

    def sender_report(self, ntp: int, captured: float) -> bytes:
        return rtcp.SenderReport(self.ssrc, ntp, self.timestamp(captured), self.packets, self.octets).pack()


class VideoEncoding:
    """One encoding of a camera: a key frame when asked, retransmissions when asked."""

    def __init__(
        self, *, mid: str, rid: str, ssrc: int, codec: str, has_rtx: bool, numbers: int, bitrate_bps: int = 0
    ) -> None:
        self.rid = rid
        self.codec = codec
        self.has_rtx = has_rtx
        self.is_active = True
        self.bitrate_bps = bitrate_bps or LAYERS[rid][0]
        self.height_px = LAYERS[rid][1]
        self.stream = Stream(
            mid=mid,
            ssrc=ssrc,
            payload_type=VP8 if codec == "vp8" else H264,
            clock_rate_hz=VIDEO_HZ,
            numbers=numbers,
        )
        self.rtx = Stream(
            mid=mid,
            ssrc=ssrc + 1,
            payload_type=VP8_RTX if codec == "vp8" else H264_RTX,
            clock_rate_hz=VIDEO_HZ,
            numbers=numbers + 99,
        )
        self.pictures = 0
        self.keyframes = 0
        self.wants_keyframe = True
        # An encoder that ignores requests begins a group of pictures when its own time has come.
        self.obeys = True
        self.starts_group = False
        # Of a screen that does not change: nothing is sent until a key frame is asked for.
        self.is_still = False
        self.retransmitted = 0
        self._since_keyframe = 0
        self._picture_id = numbers & 0x7FFF
        self._tl0 = numbers & 0xFF
        # (number, payload, captured, marker) of what may be asked for again.
        self._history: deque[tuple[int, bytes, float, bool]] = deque(maxlen=600)

    @property
    def ssrc(self) -> int:
        return self.stream.ssrc

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        """Encode one picture; an encoder that was stopped begins with a key frame."""
        if not self.is_active:
            self.wants_keyframe = True
            return []
        if self.is_still and not self.wants_keyframe:
            return []
        is_keyframe = self.starts_group or (self.wants_keyframe and self.obeys)
        self.wants_keyframe = self.starts_group = False
        if is_keyframe:
            self._since_keyframe = 0
            self.keyframes += 1
        temporal_id, layer_sync, back = PATTERN[self._since_keyframe % 4]
        if self.codec != "vp8":
            temporal_id, layer_sync, back = 0, False, 1
        self._since_keyframe += 1
        self.pictures += 1
        self._picture_id = self._picture_id + 1 & 0x7FFF
        if temporal_id == 0:
            self._tl0 = self._tl0 + 1 & 0xFF
        octets = self.bitrate_bps / 8 / rate_hz * (3 if is_keyframe else 1)
        parts = max(math.ceil(octets / PACKET_BYTES_MAX), 1)
        packets = []
        for part in range(parts):
            leans_on = -1 if is_keyframe else self.pictures - back
            piece = Piece(
                self.ssrc, self.pictures, part, parts, is_keyframe, temporal_id, leans_on, captured
            ).pack()
            filler = bytes(max(int(octets / parts) - len(piece), 0))
            if self.codec == "vp8":
                payload = self._vp8_head(part, is_keyframe, temporal_id, layer_sync) + filler + piece
            else:
                payload = _h264(part, is_keyframe, filler + piece)
            packets.append(
                self.stream.next_packet(
                    payload, captured, marker=part == parts - 1, extensions=self._rid_extension(RID_ID)
                )
            )
            self._history.append((self.stream.sequence_number, payload, captured, part == parts - 1))
        return packets

    def repeat(self, sequence_number: int) -> bytes | None:
        """Send a packet again as RTX (RFC 4588)."""
        if not self.has_rtx:
            return None
        for number, payload, captured, marker in reversed(self._history):
            if number == sequence_number:
                self.retransmitted += 1
                self.rtx.first_timestamp = self.stream.first_timestamp
                return self.rtx.next_packet(
                    number.to_bytes(2, "big") + payload,
                    captured,
                    marker=marker,
                    extensions=self._rid_extension(REPAIRED_RID_ID),
                )
        return None

    def _rid_extension(self, number: int) -> dict[int, bytes]:
        return {number: self.rid.encode()} if self.rid else {}

    def _vp8_head(self, part: int, is_keyframe: bool, temporal_id: int, layer_sync: bool) -> bytes:
        descriptor = bytes((0x90 if part == 0 else 0x80, 0xE0))
        descriptor += (self._picture_id | 0x8000).to_bytes(2, "big")
        descriptor += bytes((self._tl0, temporal_id << 6 | layer_sync << 5))
        if part or not is_keyframe:
            return descriptor + b"\x01"
        width_px = self.height_px * 16 // 9
        return (
            descriptor
            + b"\x10\x00\x00\x9d\x01\x2a"
            + width_px.to_bytes(2, "little")
            + self.height_px.to_bytes(2, "little")
        )


def _h264(part: int, is_keyframe: bool, rest: bytes) -> bytes:
    if part:
        return b"\x7c\x05" + rest if is_keyframe else b"\x7c\x01" + rest
    if not is_keyframe:
        return b"\x41\x80" + rest
    units = (bytes.fromhex("6742c01f8c8d40"), bytes.fromhex("68ce3c80"), b"\x65\x80" + rest)
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


class Voice:
    """A microphone: 20 ms of Opus at a time, with its level."""

    def __init__(self, *, mid: str, ssrc: int, numbers: int) -> None:
        self.stream = Stream(mid=mid, ssrc=ssrc, payload_type=OPUS, clock_rate_hz=AUDIO_HZ, numbers=numbers)
        # RFC 6464: 0 is the loudest, 127 silence.
        self.level: Callable[[float], int] = lambda now: 127
        # Most encoders write no levels.
        self.tells_levels = True
        # What it says of the sound (the V bit): some always say that it is voice, some never, some judge.
        self.is_voice: Callable[[int], bool] = lambda level: True
        self.frames = 0
        # How many of the packets before it repeats in each (RFC 2198); None: Opus by itself.
        self.distance: int | None = None
        # Packets that go as they are nevertheless, by their number from 1: browsers do so, too.
        self.sends_plain: Callable[[int], bool] = lambda frame: False
        self._former: deque[tuple[int, bytes]] = deque(maxlen=8)

    @property
    def ssrc(self) -> int:
        return self.stream.ssrc

    def frame(self, captured: float) -> bytes:
        self.frames += 1
        piece = Piece(self.ssrc, self.frames, 0, 1, False, 0, -1, captured).pack()
        level = self.level(captured)
        element = bytes((self.is_voice(level) << 7 | level,))
        extensions = {AUDIO_LEVEL_ID: element} if self.tells_levels else {}
        return self.packet(OPUS_HEAD + bytes(59) + piece, captured, extensions)

    def packet(self, sound: bytes, captured: float, extensions: dict[int, bytes]) -> bytes:
        """Send one packet of sound, with what came before it where that was agreed on."""
        payload, payload_type = sound, OPUS
        if self.distance is not None and not self.sends_plain(self.frames):
            timestamp = self.stream.timestamp(captured)
            former = [
                RedundantBlock(OPUS, offset, data)
                for before, data in list(self._former)[::-1][: self.distance][::-1]
                if (offset := timestamp - before & 0xFFFFFFFF) < 1 << 14
            ]
            payload, payload_type = build_red(RedundantAudio(OPUS, sound, former)), RED
        self._former.append((self.stream.timestamp(captured), sound))
        return self.stream.next_packet(
            payload, captured, marker=False, extensions=extensions, payload_type=payload_type
        )


def talking(now: float) -> int:
    """Syllables of 160 ms with gaps of 80 ms."""
    return 25 if now % 0.24 < 0.16 else 60
