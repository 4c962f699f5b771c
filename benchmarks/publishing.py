"""What a bot sends: RTP shaped like a browser's camera encodings and microphone, paced like Chromium's."""

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pylibsrtp

from benchmarks.offers import AUDIO_LEVEL_URI, MID_URI, OPUS, RID_URI, TRANSPORT_WIDE_URI, VP8
from benchmarks.wire import (
    STAMP,
    STAMP_MAGIC,
    Filler,
    Vp8Frame,
    rtp_extensions,
    rtp_packet,
    sender_report,
    vp8_head,
)

FRAMES_PER_S = 30
AUDIO_PACKET_S = 0.02
# libwebrtc's pacer sends at 2.5 times the target rate: a frame leaves within 0.4 of its interval.
FRAME_SPREAD = 0.4
KEYFRAME_FACTOR = 4
# The temporal pattern of Chromium's L1T3.
TEMPORAL_PATTERN = (0, 2, 1, 2)
LOUD, QUIET = 28, 110
NTP_EPOCH_OFFSET_S = 2_208_988_800


@dataclass(frozen=True, slots=True)
class VideoShape:
    """One camera encoding: `packets_per_frame` RTP packets of `packet_bytes`, thirty times a second."""

    rid: str | None
    packets_per_frame: int
    packet_bytes: int
    width_px: int
    height_px: int


LECTURE_SHAPE = VideoShape(None, 6, 1100, 1280, 720)
SIMULCAST_SHAPES = (
    VideoShape("l", 1, 620, 320, 180),
    VideoShape("m", 2, 1040, 640, 360),
    VideoShape("h", 6, 1100, 1280, 720),
)
AUDIO_PACKET_BYTES = 160


class Uplink:
    """A bot's way to the server: protects and sends, numbers packets transport-wide, counts."""

    def __init__(self, send: Callable[[bytes], None], publisher: int) -> None:
        self._send = send
        self.publisher = publisher
        self.session: pylibsrtp.Session | None = None
        self._transport_sequence_number = 0
        self.packets_sent = 0

    def next_transport_sequence_number(self) -> bytes:
        self._transport_sequence_number = (self._transport_sequence_number + 1) & 0xFFFF
        return self._transport_sequence_number.to_bytes(2, "big")

    def send_rtp(self, packet: bytes) -> None:
        assert self.session is not None
        self._send(self.session.protect(packet))
        self.packets_sent += 1

    def send_rtcp(self, compound: bytes) -> None:
        assert self.session is not None
        self._send(self.session.protect_rtcp(compound))


class OutgoingStream:
    """One SSRC of a bot; `run` sends a packet whenever resumed and yields when the next one is due."""

    clock_rate_hz = 90_000

    def __init__(
        self, uplink: Uplink, ssrc: int, *, index: int, mid: str, extension_ids: dict[str, int]
    ) -> None:
        self.uplink = uplink
        self.ssrc = ssrc
        self.is_active = True
        # Browsers send MID and RID until the first report about the stream comes back.
        self.is_reported = False
        self._index = index
        self._mid = mid
        self._extension_ids = extension_ids
        self._filler = Filler(struct.pack("!I", ssrc))
        self._sequence_number = ssrc & 0x7FFF
        self._first_timestamp = ssrc
        self._started = time.monotonic()
        self._packet_count = 0
        self._octet_count = 0

    @property
    def has_sent(self) -> bool:
        return self._packet_count > 0

    def run(self) -> Iterator[float]:
        raise NotImplementedError

    def report(self, now: float) -> bytes:
        """Sender report and CNAME (RFC 3550, 6.4.1)."""
        wall_clock_s = time.time()
        ntp = int((wall_clock_s + NTP_EPOCH_OFFSET_S) * (1 << 32))
        return sender_report(self.ssrc, ntp, self._timestamp_at(now), self._packet_count, self._octet_count)

    def _timestamp_at(self, now: float) -> int:
        return self._first_timestamp + int((now - self._started) * self.clock_rate_hz)

    def _elements(self) -> list[tuple[int, bytes]]:
        elements = []
        identifier = self._extension_ids.get(TRANSPORT_WIDE_URI)
        if identifier is not None:
            elements.append((identifier, self.uplink.next_transport_sequence_number()))
        identifier = self._extension_ids.get(MID_URI)
        if identifier is not None and not self.is_reported:
            elements.append((identifier, self._mid.encode()))
        return elements

    def _send(self, head: bytes, size_bytes: int, payload_type: int, marker: bool, timestamp: int) -> None:
        """Send one packet of `size_bytes` in all, its payload being head, filler and stamp."""
        extensions = rtp_extensions(self._elements())
        filler_bytes = max(0, size_bytes - 12 - len(extensions) - len(head) - STAMP.size)
        filler, checksum = self._filler.of(filler_bytes)
        stamp = STAMP.pack(
            STAMP_MAGIC, time.time_ns(), self.uplink.publisher, self._index, self._packet_count, checksum
        )
        payload = head + filler + stamp
        packet = rtp_packet(
            payload,
            payload_type=payload_type,
            marker=marker,
            sequence_number=self._sequence_number,
            timestamp=timestamp,
            ssrc=self.ssrc,
            extensions=extensions,
        )
        self._sequence_number += 1
        self._packet_count += 1
        self._octet_count += len(payload)
        self.uplink.send_rtp(packet)


class Camera(OutgoingStream):
    """VP8-shaped video: three temporal layers, key frames when asked."""

    def __init__(
        self,
        uplink: Uplink,
        ssrc: int,
        shape: VideoShape,
        *,
        index: int,
        mid: str,
        extension_ids: dict[str, int],
    ) -> None:
        super().__init__(uplink, ssrc, index=index, mid=mid, extension_ids=extension_ids)
        self.shape = shape
        self.keyframes_sent = 0
        self._is_keyframe_due = True
        self._picture_id = ssrc & 0x7FFF
        self._tl0_picture_index = ssrc & 0xFF
        self._pattern_index = 0

    def request_keyframe(self) -> None:
        self._is_keyframe_due = True

    def set_active(self, is_active: bool) -> None:
        """A layer that comes back begins with a key frame, as libwebrtc's does."""
        if is_active and not self.is_active:
            self._is_keyframe_due = True
        self.is_active = is_active

    def run(self) -> Iterator[float]:
        interval_s = 1 / FRAMES_PER_S
        frame_at = time.monotonic()
        while True:
            if self.is_active:
                yield from self._frame(frame_at, interval_s)
            frame_at += interval_s
            if time.monotonic() - frame_at > 0.25:
                frame_at = time.monotonic()
            yield frame_at

    def _frame(self, frame_at: float, interval_s: float) -> Iterator[float]:
        frame = self._next_frame()
        packets = self.shape.packets_per_frame * (KEYFRAME_FACTOR if frame.is_keyframe else 1)
        spacing_s = interval_s * (FRAME_SPREAD if not frame.is_keyframe else 1.0) / packets
        timestamp = self._timestamp_at(frame_at)
        for number in range(packets):
            head = vp8_head(frame, is_first=number == 0)
            self._send(head, self.shape.packet_bytes, VP8, number == packets - 1, timestamp)
            if number < packets - 1:
                yield frame_at + (number + 1) * spacing_s

    def _next_frame(self) -> Vp8Frame:
        is_keyframe, self._is_keyframe_due = self._is_keyframe_due, False
        if is_keyframe:
            self._pattern_index = 0
            self.keyframes_sent += 1
        temporal_id = TEMPORAL_PATTERN[self._pattern_index]
        self._pattern_index = (self._pattern_index + 1) % len(TEMPORAL_PATTERN)
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        if temporal_id == 0:
            self._tl0_picture_index = (self._tl0_picture_index + 1) & 0xFF
        return Vp8Frame(
            is_keyframe,
            self._picture_id,
            self._tl0_picture_index,
            temporal_id,
            self.shape.width_px,
            self.shape.height_px,
        )

    def _elements(self) -> list[tuple[int, bytes]]:
        elements = super()._elements()
        identifier = self._extension_ids.get(RID_URI)
        if identifier is not None and self.shape.rid is not None and not self.is_reported:
            elements.append((identifier, self.shape.rid.encode()))
        return elements


class Microphone(OutgoingStream):
    """Opus-shaped audio, 20 ms a packet, with its level (RFC 6464)."""

    clock_rate_hz = 48_000

    def __init__(
        self, uplink: Uplink, ssrc: int, *, index: int, mid: str, extension_ids: dict[str, int]
    ) -> None:
        super().__init__(uplink, ssrc, index=index, mid=mid, extension_ids=extension_ids)
        self.is_talking = False

    def run(self) -> Iterator[float]:
        due = time.monotonic()
        timestamp = self._timestamp_at(due)
        while True:
            self._send(b"\xfc", AUDIO_PACKET_BYTES, OPUS, False, timestamp)
            timestamp += int(AUDIO_PACKET_S * self.clock_rate_hz)
            due += AUDIO_PACKET_S
            if time.monotonic() - due > 0.25:
                due = time.monotonic()
            yield due

    def _elements(self) -> list[tuple[int, bytes]]:
        elements = super()._elements()
        identifier = self._extension_ids.get(AUDIO_LEVEL_URI)
        if identifier is not None:
            level = (LOUD if self.is_talking else QUIET) + self._packet_count % 8
            elements.append((identifier, bytes((0x80 | level,))))
        return elements
