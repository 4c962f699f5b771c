"""Matroska with one track (RFC 9559), as bytes: what a segment is made of, and how far a torn one is whole.

Written here and not by FFmpeg's muxer, because that one keeps the open cluster in its own memory until the
next packet comes, and because a block costs it many times as much while it holds the interpreter lock that
forwarding needs. Every cluster is complete and of known size when it is handed out, so whoever writes it
decides what a crash can take. Times are milliseconds.
"""

from dataclasses import dataclass
from struct import Struct

from bridge.leg.encoding import Codec

_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_INFO = 0x1549A966
_TRACKS = 0x1654AE6B
_CLUSTER = 0x1F43B675
_TIMESTAMP = 0xE7
_SIMPLE_BLOCK = 0xA3
_VOID = 0xEC
_DURATION = 0x4489

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
_TRACK_1 = 0x81
_KEYFRAME = 0x80
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
SIZE_BYTES = 8
_DURATION_BYTES = 11
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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a segment's head the numbers stand that are known only at its end."""

    size_at: int
    duration_at: int
    head_bytes: int


@dataclass(frozen=True, slots=True)
class TornCluster:
    """The last cluster of a file, cut off: where its size stands, where its whole blocks begin and end."""

    size_at: int
    size_bytes: int
    start: int
    end: int


def head(track: TrackHeader) -> tuple[bytes, Layout]:
    """Return everything before the first cluster."""
    ebml = _element(
        _EBML,
        _element(0x4286, _unsigned(1))
        + _element(0x42F7, _unsigned(1))
        + _element(0x42F2, _unsigned(4))
        + _element(0x42F3, _unsigned(8))
        + _element(0x4282, b"matroska")
        + _element(0x4287, _unsigned(4))
        + _element(0x4285, _unsigned(2)),
    )
    start = ebml + _id(_SEGMENT)
    fixed = (
        _element(0x2AD7B1, _unsigned(1_000_000))
        + _element(0x4D80, APPLICATION.encode())
        + _element(0x5741, APPLICATION.encode())
    )
    # Takes the place of the duration.
    gap = _element(_VOID, bytes(_DURATION_BYTES - 2))
    info = _element(_INFO, fixed + gap)
    before = start + _UNKNOWN_SIZE + info
    whole = before + _element(_TRACKS, _track_entry(track))
    return whole, Layout(len(start), len(before) - len(gap), len(whole))


def known_size(payload_bytes: int) -> bytes:
    """Return what replaces the unknown size of the segment."""
    return size_of(payload_bytes, SIZE_BYTES)


def size_of(payload_bytes: int, length: int) -> bytes:
    """Return a size written with that many bytes."""
    return (1 << 7 * length | payload_bytes).to_bytes(length, "big")


def duration(duration_ms: float) -> bytes:
    """Return what replaces the gap in the head."""
    return _element(_DURATION, Struct(">d").pack(duration_ms))


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
        header = _BLOCK.pack(_TRACK_1, pts_ms - self._base_ms, _KEYFRAME if is_keyframe else 0)
        start = b"\xa3" + _size(len(header) + len(data)) + header
        self._parts += (start, data)
        self.size_bytes += len(start) + len(data)

    def take(self) -> bytes:
        """Return the whole cluster, and begin another one; empty when there are no frames."""
        if not self._parts:
            return b""
        time = _element(_TIMESTAMP, _unsigned(self._base_ms))
        payload_bytes = len(time) + self.size_bytes
        size = size_of(payload_bytes, 4 if payload_bytes <= _SIZE4_MAX else SIZE_BYTES)
        whole = b"".join((_id(_CLUSTER), size, time, *self._parts))
        self._parts.clear()
        self.size_bytes = 0
        return whole


class Scan:
    """How far the bytes of a segment are whole; damaged ones end the reading and raise nothing."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._end = len(data)
        # Where what is whole ends: behind the last cluster that is not cut off.
        self.whole_bytes = 0
        self.has_tracks = False
        # Whether the segment was ended in order, its size and duration filled in.
        self.is_finished = False
        self.layout = Layout(0, 0, 0)
        # Times of the last two frames.
        self.newest_ms: int | None = None
        self.second_newest_ms: int | None = None
        # If the last cluster is cut off behind at least one whole frame.
        self.torn: TornCluster | None = None
        self._scan()

    def _scan(self) -> None:
        ebml = self._header(0)
        if ebml is None or ebml[0] != _EBML or ebml[1] + ebml[2] > self._end:
            return
        size_at = ebml[1] + ebml[2] + 4
        segment = self._header(ebml[1] + ebml[2])
        if segment is None or segment[0] != _SEGMENT:
            return
        position = segment[1]
        duration_at = 0
        while (element := self._header(position)) is not None:
            kind, start, size = element
            end = start + size
            if kind == _CLUSTER and self.has_tracks:
                whole_to = self._read_blocks(start, min(end, self._end))
                if end > self._end:
                    if whole_to:
                        size_at = position + 4
                        self.torn = TornCluster(size_at, start - size_at, start, whole_to)
                    break
            elif kind in (_INFO, _TRACKS) and end <= self._end:
                self.has_tracks |= kind == _TRACKS
                if kind == _INFO:
                    duration_at = end - _DURATION_BYTES
            else:
                break
            position = self.whole_bytes = end
            if self.has_tracks and not self.layout.head_bytes:
                self.layout = Layout(size_at, duration_at, end)
        declared = bytes(self._data[size_at : size_at + SIZE_BYTES])
        self.is_finished = declared == known_size(self._end - segment[1]) and self.whole_bytes == self._end

    def _read_blocks(self, position: int, end: int) -> int:
        """Take in the whole blocks of a cluster; return where the last one ends, 0 without any."""
        base_ms = whole_to = 0
        while (element := self._header(position)) is not None:
            kind, start, size = element
            position = start + size
            if position > end or kind not in (_TIMESTAMP, _SIMPLE_BLOCK):
                break
            if kind == _TIMESTAMP:
                base_ms = int.from_bytes(self._data[start:position], "big")
            elif size > _BLOCK.size:
                _, relative_ms, _ = _BLOCK.unpack_from(self._data, start)
                self.second_newest_ms, self.newest_ms = self.newest_ms, base_ms + relative_ms
                whole_to = position
        return whole_to

    def _header(self, position: int) -> tuple[int, int, int] | None:
        """Return id, start and size of the element at `position`; an unknown size counts as 0."""
        kind = self._number(position, 4, keeps_marker=True)
        if kind is None:
            return None
        size = self._number(kind[1], 8, keeps_marker=False)
        if size is None:
            return None
        is_unknown = bytes(self._data[kind[1] : size[1]]) == _UNKNOWN_SIZE
        return kind[0], size[1], 0 if is_unknown else size[0]

    def _number(self, position: int, bytes_max: int, *, keeps_marker: bool) -> tuple[int, int] | None:
        if position >= self._end:
            return None
        length = 9 - self._data[position].bit_length()
        if length > bytes_max or position + length > self._end:
            return None
        value = int.from_bytes(self._data[position : position + length], "big")
        return value if keeps_marker else value & ~(1 << 7 * length), position + length


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
