"""Matroska with one track (RFC 9559), as bytes: what a segment is made of.

Written here and not by FFmpeg's muxer, because that one keeps the open cluster in its own memory until the
next packet comes, and because a block costs it many times as much while it holds the interpreter lock that
forwarding needs. Every cluster is complete and of known size when it is handed out, so whoever writes it
decides what a crash can take. Times are milliseconds.
"""

from dataclasses import dataclass
from struct import Struct

from bridge.capture.elements import (
    CLUSTER,
    DURATION_BYTES,
    EBML,
    INFO,
    SEGMENT,
    SIZE_BYTES,
    TIMESTAMP,
    TRACK_1,
    TRACKS,
    UNKNOWN_SIZE,
    VOID,
    Layout,
    size_of,
)
from bridge.leg.encoding import Codec

APPLICATION = "hoichan"
CODEC_IDS = {Codec.VP8: "V_VP8", Codec.H264: "V_MPEG4/ISO/AVC", Codec.OPUS: "A_OPUS"}
OPUS_HZ = 48_000
OPUS_CHANNELS = 2
# What a decoder needs to be in step after a seek (RFC 9559, 5.1.4.1.5.2; RFC 7845, 4.6: 80 ms).
OPUS_PREROLL_NS = 80_000_000
HIGH_PROFILE = 100

# A block's time is 16 bits, signed, from its cluster's.
BLOCK_MS_MAX = 32_767
_BLOCK = Struct(">BhB")
_KEYFRAME = 0x80
# Of the cluster's own header: id, a size of four bytes, and the element with its time.
_SIZE4_MAX = (1 << 28) - 2


@dataclass(frozen=True, slots=True)
class TrackHeader:
    """What a segment says of its only track."""

    codec: Codec
    width_px: int = 0
    height_px: int = 0
    # H.264: SPS and PPS.
    parameter_sets: tuple[bytes, bytes] | None = None


def head(track: TrackHeader) -> tuple[bytes, Layout]:
    """Return everything before the first cluster."""
    ebml = _element(
        EBML,
        _element(0x4286, _unsigned(1))
        + _element(0x42F7, _unsigned(1))
        + _element(0x42F2, _unsigned(4))
        + _element(0x42F3, _unsigned(8))
        + _element(0x4282, b"matroska")
        + _element(0x4287, _unsigned(4))
        + _element(0x4285, _unsigned(2)),
    )
    start = ebml + _id(SEGMENT)
    fixed = (
        _element(0x2AD7B1, _unsigned(1_000_000))
        + _element(0x4D80, APPLICATION.encode())
        + _element(0x5741, APPLICATION.encode())
    )
    # Takes the place of the duration.
    gap = _element(VOID, bytes(DURATION_BYTES - 2))
    info = _element(INFO, fixed + gap)
    before = start + UNKNOWN_SIZE + info
    whole = before + _element(TRACKS, _track_entry(track))
    return whole, Layout(len(start), len(before) - len(gap), len(whole))


class Cluster:
    """Frames on their way into one cluster."""

    __slots__ = ("_base_ms", "_parts", "size_bytes")

    def __init__(self) -> None:
        self._base_ms = 0
        self._parts: list[bytes | memoryview] = []
        self.size_bytes = 0

    def takes(self, pts_ms: int) -> bool:
        """Whether a frame of that time can be told in this cluster."""
        return not self._parts or abs(pts_ms - self._base_ms) <= BLOCK_MS_MAX

    def add(self, pts_ms: int, data: bytes | memoryview, *, is_keyframe: bool) -> None:
        """Put a frame behind the others."""
        if not self._parts:
            self._base_ms = max(pts_ms, 0)
        header = _BLOCK.pack(TRACK_1, pts_ms - self._base_ms, _KEYFRAME if is_keyframe else 0)
        start = b"\xa3" + _size(len(header) + len(data)) + header
        self._parts += (start, data)
        self.size_bytes += len(start) + len(data)

    def take(self) -> bytes:
        """Return the whole cluster, and begin another one; empty when there are no frames."""
        if not self._parts:
            return b""
        time = _element(TIMESTAMP, _unsigned(self._base_ms))
        payload_bytes = len(time) + self.size_bytes
        size = size_of(payload_bytes, 4 if payload_bytes <= _SIZE4_MAX else SIZE_BYTES)
        whole = b"".join((_id(CLUSTER), size, time, *self._parts))
        self._parts.clear()
        self.size_bytes = 0
        return whole


def _track_entry(track: TrackHeader) -> bytes:
    is_sound = track.codec is Codec.OPUS
    entry = (
        _element(0xD7, _unsigned(1))
        + _element(0x73C5, _unsigned(1))
        + _element(0x83, _unsigned(2 if is_sound else 1))
        + _element(0x9C, _unsigned(0))
        + _element(0x86, CODEC_IDS[track.codec].encode())
    )
    if is_sound:
        entry += _element(0x63A2, _opus_head()) + _element(0x56BB, _unsigned(OPUS_PREROLL_NS))
        settings = _element(0xB5, Struct(">d").pack(OPUS_HZ)) + _element(0x9F, _unsigned(OPUS_CHANNELS))
        return _element(0xAE, entry + _element(0xE1, settings))
    if track.parameter_sets is not None:
        entry += _element(0x63A2, _avc_configuration(*track.parameter_sets))
    settings = _element(0xB0, _unsigned(track.width_px)) + _element(0xBA, _unsigned(track.height_px))
    return _element(0xAE, entry + _element(0xE0, settings))


def _opus_head() -> bytes:
    """RFC 7845, 5.1; nothing is skipped, because what is recorded begins in the middle of a stream."""
    return Struct("<8sBBHIhB").pack(b"OpusHead", 1, OPUS_CHANNELS, 0, OPUS_HZ, 0, 0)


def _avc_configuration(sps: bytes, pps: bytes) -> bytes:
    """AVCDecoderConfigurationRecord (ISO 14496-15, 5.3.3.1), with lengths of four bytes."""
    record = bytes((1, sps[1], sps[2], sps[3], 0xFF, 0xE1)) + len(sps).to_bytes(2, "big") + sps
    record += b"\x01" + len(pps).to_bytes(2, "big") + pps
    if sps[1] == HIGH_PROFILE:
        # 4:2:0 and 8 bits, which that profile is limited to; no SPS extensions.
        record += b"\xfd\xf8\xf8\x00"
    return record


def _id(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _size(value: int) -> bytes:
    length = 1
    while value >= (1 << 7 * length) - 1:
        length += 1
    return size_of(value, length)


def _unsigned(value: int) -> bytes:
    return value.to_bytes(max((value.bit_length() + 7) // 8, 1), "big")


def _element(number: int, data: bytes) -> bytes:
    return _id(number) + _size(len(data)) + data
