"""What the muxer and the repair of segments both know of Matroska (RFC 9559); how a segment is finished."""

import os
from dataclasses import dataclass
from struct import Struct

EBML = 0x1A45DFA3
SEGMENT = 0x18538067
INFO = 0x1549A966
TRACKS = 0x1654AE6B
CLUSTER = 0x1F43B675
TIMESTAMP = 0xE7
SIMPLE_BLOCK = 0xA3
VOID = 0xEC
# With its size: eight bytes.
_DURATION = b"\x44\x89\x88"

# The only track's number, as a block has it.
TRACK_1 = 0x81
# Of a segment that is not finished, and how many bytes it takes.
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
SIZE_BYTES = 8
DURATION_BYTES = 11
LAST_FRAME_MS_MAX = 100


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a segment's head the numbers stand that are known only at its end."""

    size_at: int
    duration_at: int
    head_bytes: int


def size_of(payload_bytes: int, length: int) -> bytes:
    """Return a size written with that many bytes."""
    return (1 << 7 * length | payload_bytes).to_bytes(length, "big")


def known_size(payload_bytes: int) -> bytes:
    """Return what replaces the unknown size of the segment."""
    return size_of(payload_bytes, SIZE_BYTES)


def end_ms(newest_ms: int, second_newest_ms: int) -> int:
    """Return when the last frame ends: it lasts as long as the one before, but not as long as a pause."""
    return newest_ms + min(max(newest_ms - second_newest_ms, 0), LAST_FRAME_MS_MAX)


def finish(descriptor: int, layout: Layout, *, file_bytes: int, duration_ms: float) -> None:
    """Fill in what is known at the end of a segment; the size last, which says that the rest is there."""
    os.pwrite(descriptor, _DURATION + Struct(">d").pack(duration_ms), layout.duration_at)
    os.pwrite(descriptor, known_size(file_bytes - layout.size_at - SIZE_BYTES), layout.size_at)
