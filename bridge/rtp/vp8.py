"""The VP8 payload descriptor (RFC 7741, 4.2) and the size in a key frame's header (RFC 6386, 9.1)."""

from dataclasses import dataclass
from struct import Struct

from bridge.base.errors import MalformedPacket

START_CODE = b"\x9d\x01\x2a"
_SIZE = Struct("<HH")


@dataclass(slots=True)
class Vp8Descriptor:
    """What stands before the VP8 data of one packet; offsets count from the start of the payload."""

    # Of the descriptor, in bytes: where the VP8 data begins.
    length: int
    # The packet begins the first partition of a frame.
    starts_frame: bool
    # Known only where the frame starts; False in the packets that go on with it.
    is_keyframe: bool
    picture_id: int | None
    picture_id_offset: int
    # 7 or 15; 0 without a picture id.
    picture_id_bits: int
    tl0_picture_index: int | None
    tl0_offset: int
    temporal_id: int
    layer_sync: bool
    # 0 except where a key frame starts.
    width_px: int
    height_px: int


def parse_descriptor(data: bytes, offset: int, end: int) -> Vp8Descriptor:
    """Read the payload `data[offset:end]`; raises `MalformedPacket` if it is cut off."""
    picture_id: int | None = None
    tl0_picture_index: int | None = None
    picture_id_offset = tl0_offset = -1
    picture_id_bits = temporal_id = width_px = height_px = 0
    layer_sync = is_keyframe = False
    # Reading past `end` is caught once, below; past the bytes themselves by the IndexError.
    try:
        first = data[offset]
        position = offset + 1
        if first & 0x80:
            extended = data[position]
            position += 1
            if extended & 0x80:
                picture_id_offset = position - offset
                picture_id = data[position]
                position += 1
                picture_id_bits = 7
                if picture_id & 0x80:
                    picture_id = (picture_id & 0x7F) << 8 | data[position]
                    position += 1
                    picture_id_bits = 15
            if extended & 0x40:
                tl0_offset = position - offset
                tl0_picture_index = data[position]
                position += 1
            if extended & 0x30:
                if extended & 0x20:
                    layers = data[position]
                    temporal_id = layers >> 6
                    layer_sync = layers & 0x20 != 0
                position += 1
        starts_frame = first & 0x17 == 0x10
        # The inverted key frame bit leads the frame header (RFC 6386, 9.1).
        if starts_frame and not data[position] & 0x01:
            is_keyframe = True
            if position + 10 <= end:
                width_px, height_px = picture_size_px(data, position)
    except IndexError:
        raise MalformedPacket("VP8 payload is cut off") from None
    if position >= end:
        raise MalformedPacket("VP8 payload is cut off")
    return Vp8Descriptor(
        position - offset,
        starts_frame,
        is_keyframe,
        picture_id,
        picture_id_offset,
        picture_id_bits,
        tl0_picture_index,
        tl0_offset,
        temporal_id,
        layer_sync,
        width_px,
        height_px,
    )


def picture_size_px(data: bytes, offset: int) -> tuple[int, int]:
    """Return width and height of the key frame whose VP8 data begins at `offset`; (0, 0) if it is cut off."""
    if len(data) < offset + 10 or data[offset + 3 : offset + 6] != START_CODE:
        return 0, 0
    width_px, height_px = _SIZE.unpack_from(data, offset + 6)
    # The upper two bits say how to scale it (RFC 6386, 9.1).
    return width_px & 0x3FFF, height_px & 0x3FFF
