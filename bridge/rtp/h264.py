"""H.264 payloads (RFC 6184), packetization modes 0 and 1: what forwarding must know, and their NAL units."""

from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from bridge.base.errors import MalformedPacket

IDR_SLICE = 5
SPS = 7
PPS = 8
_STAP_A = 24
FU_A = 28
# Non-IDR slice, data partition A and IDR slice begin with first_mb_in_slice (ITU-T H.264, 7.3.3).
_SLICES = frozenset((1, 2, IDR_SLICE))
# SEI, SPS, PPS and access unit delimiter stand before the first slice of a picture (7.4.1.2.3).
_BEFORE_SLICES = frozenset((6, SPS, PPS, 9))
_PROFILES_WITH_CHROMA_FORMAT = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
# Level 6.2 allows 16888 (ITU-T H.264, table A-1 and A.3.1); more is a misread SPS.
_SIDE_PX_MAX = 16888
# Where the size of a picture stands even behind long scaling lists, and the longest code of an id.
_SPS_BYTES_MAX = 512
_ID_BYTES_MAX = 3
# No field that is read has a longer code (ITU-T H.264, 7.4.2.1.1: at most 2^32 - 2).
_ZEROS_MAX = 32
_SPROP_UNITS_MAX = 16
# An encoder puts some parameter sets and slices together; a thousand empty units are work and nothing else.
_AGGREGATED_MAX = 64
# Reference frames in a cycle of picture order counts (ITU-T H.264, 7.4.2.1.1).
_ORDER_CYCLES_MAX = 255


@dataclass(slots=True)
class H264Payload:
    """What one packet holds of an H.264 stream."""

    # A guess: the packet begins with parameter sets or with macroblock 0. Parameter sets sent in a
    # packet of their own and the picture after them both look like a start.
    starts_frame: bool
    # The packet has an SPS, or an IDR slice or its beginning.
    is_keyframe: bool
    # From the SPS, cropped; 0 if the packet has none that can be read.
    width_px: int
    height_px: int


def inspect(payload: bytes) -> H264Payload:
    """Look at the NAL units of one payload; raises `MalformedPacket` if it is empty or one is cut off."""
    if not payload:
        raise MalformedPacket("H.264 payload is empty")
    kind = payload[0] & 0x1F
    if kind == FU_A:
        if len(payload) < 3:
            raise MalformedPacket("H.264 fragment is cut off")
        if not payload[1] & 0x80:
            return H264Payload(False, False, 0, 0)
        return _inspect_unit(payload[1] & 0x1F, payload[1:])
    if kind != _STAP_A:
        return _inspect_unit(kind, payload)

    found = H264Payload(False, False, 0, 0)
    for nal_unit in _aggregated(payload):
        unit = _inspect_unit(nal_unit[0] & 0x1F, nal_unit)
        found.starts_frame |= unit.starts_frame
        found.is_keyframe |= unit.is_keyframe
        if unit.width_px:
            found.width_px, found.height_px = unit.width_px, unit.height_px
    return found


def nal_units(payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the NAL units of a picture from its packets in order; what is damaged is left out.

    Of an aggregation that is what lies before the damage.
    """
    fragments: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F if payload else 0
        if kind == FU_A and len(payload) > 2:
            if payload[1] & 0x80:
                fragments = [bytes((payload[0] & 0xE0 | payload[1] & 0x1F,))]
            if fragments:
                fragments.append(payload[2:])
                if payload[1] & 0x40:
                    yield b"".join(fragments)
                    fragments = []
        elif kind == _STAP_A:
            with suppress(MalformedPacket):
                yield from _aggregated(payload)
        elif 0 < kind < _STAP_A:
            yield payload


def _aggregated(payload: bytes) -> Iterator[bytes]:
    """Yield the units of a STAP-A (RFC 6184, 5.7.1); raises `MalformedPacket` where it is damaged."""
    position = 1
    left = _AGGREGATED_MAX
    while position < len(payload):
        left -= 1
        if left < 0:
            raise MalformedPacket("H.264 aggregation has too many units")
        start = position + 2
        position = start + int.from_bytes(payload[position:start], "big")
        if start >= position or position > len(payload):
            raise MalformedPacket("H.264 aggregation is cut off")
        yield payload[start:position]


def _inspect_unit(kind: int, unit: bytes) -> H264Payload:
    """Judge a NAL unit, or the beginning of one; `unit` has one byte of header."""
    if kind == SPS:
        width_px, height_px = _picture_size_px(unit)
        return H264Payload(True, True, width_px, height_px)
    # A first_mb_in_slice of 0 is coded as a single 1 bit.
    starts_frame = kind in _BEFORE_SLICES or (kind in _SLICES and len(unit) > 1 and unit[1] & 0x80 != 0)
    return H264Payload(starts_frame, kind == IDR_SLICE, 0, 0)


def parameter_set_id(unit: bytes) -> int | None:
    """Return the id of an SPS or PPS (ITU-T H.264, 7.4.2); None for anything else, and what is cut off."""
    kind = unit[0] & 0x1F if unit else 0
    # Three bytes of profile and level stand before an SPS's.
    start = {SPS: 4, PPS: 1}.get(kind)
    if start is None or len(unit) <= start:
        return None
    try:
        number = _BitReader(unit[start : start + _ID_BYTES_MAX]).unsigned()
    except IndexError:
        return None
    return number if number < (32 if kind == SPS else 256) else None


def sprop_parameter_sets(value: str) -> tuple[bytes, ...]:
    """Return the parameter sets of an SDP's sprop-parameter-sets (RFC 6184, 8.1), without what is no such."""
    units = []
    for part in value.split(",")[:_SPROP_UNITS_MAX]:
        try:
            unit = b64decode(part, validate=True)
        except ValueError:
            continue
        if parameter_set_id(unit) is not None:
            units.append(unit)
    return tuple(units)


class _BitReader:
    """Reads the fields of a raw byte sequence payload (ITU-T H.264, 7.2); raises IndexError at its end."""

    __slots__ = ("_bits", "_left")

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        if count > self._left:
            raise IndexError
        self._left -= count
        return self._bits >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """Exp-Golomb, ue(v), 9.1."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > _ZEROS_MAX:
                raise IndexError
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        """Exp-Golomb, se(v), 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _picture_size_px(sps: bytes) -> tuple[int, int]:
    """Return width and height; (0, 0) if the SPS cannot be read: the decoder is the judge of it, not we."""
    reader = _BitReader(sps[1:_SPS_BYTES_MAX].replace(b"\x00\x00\x03", b"\x00\x00"))
    try:
        width_px, height_px = _read_picture_size_px(reader)
    except IndexError:
        return 0, 0
    if not (0 < width_px <= _SIDE_PX_MAX and 0 < height_px <= _SIDE_PX_MAX):
        return 0, 0
    return width_px, height_px


def _read_picture_size_px(reader: _BitReader) -> tuple[int, int]:
    """Read seq_parameter_set_data (ITU-T H.264, 7.3.2.1.1) up to the cropping rectangle."""
    profile = reader.bits(8)
    reader.bits(16)
    reader.unsigned()
    chroma_format = 1
    if profile in _PROFILES_WITH_CHROMA_FORMAT:
        chroma_format = reader.unsigned()
        if chroma_format == 3:
            # separate_colour_plane_flag: cropping counts in luma samples either way.
            reader.bits(1)
        reader.unsigned()
        reader.unsigned()
        reader.bits(1)
        if reader.bits(1):
            for index in range(8 if chroma_format != 3 else 12):
                if reader.bits(1):
                    _skip_scaling_list(reader, 16 if index < 6 else 64)
    reader.unsigned()
    order_count_type = reader.unsigned()
    if order_count_type == 0:
        reader.unsigned()
    elif order_count_type == 1:
        reader.bits(1)
        reader.signed()
        reader.signed()
        cycles = reader.unsigned()
        if cycles > _ORDER_CYCLES_MAX:
            raise IndexError
        for _ in range(cycles):
            reader.signed()
    reader.unsigned()
    reader.bits(1)
    width = 16 * (reader.unsigned() + 1)
    map_units = reader.unsigned() + 1
    is_frame_only = reader.bits(1)
    height = 16 * map_units * (2 - is_frame_only)
    if not is_frame_only:
        reader.bits(1)
    reader.bits(1)
    if reader.bits(1):
        # Cropping counts in chroma samples (table 6-1), and in field lines unless frame-only.
        unit_x = 2 if chroma_format in (1, 2) else 1
        unit_y = (2 if chroma_format == 1 else 1) * (2 - is_frame_only)
        width -= unit_x * (reader.unsigned() + reader.unsigned())
        height -= unit_y * (reader.unsigned() + reader.unsigned())
    return width, height


def _skip_scaling_list(reader: _BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + reader.signed()) & 0xFF
        last = following or last
