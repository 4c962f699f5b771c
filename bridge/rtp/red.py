"""Redundant audio (RFC 2198): what was sent before goes out once more in front of what is new.

A payload is a header for each block, then the blocks in the same order, the oldest first. The last block is
the primary: what the packet would hold by itself. All blocks tell their time by how much earlier they are
than the packet's RTP timestamp; their sequence numbers are told nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.base.errors import MalformedPacket

# What 14 bits of offset, in units of the RTP clock, and 10 bits of length can say.
OFFSET_TICKS_MAX = (1 << 14) - 1
BLOCK_BYTES_MAX = (1 << 10) - 1
# Browsers take as many; no sender has use for more.
BLOCKS_MAX = 32

_HEADER_BYTES = 4


@dataclass(slots=True)
class RedundantBlock:
    """An earlier payload: its type, and how many ticks before the packet it was due."""

    payload_type: int
    offset_ticks: int
    data: bytes


@dataclass(slots=True)
class RedundantAudio:
    """The payload of one packet: the primary, and what came before it, the oldest first."""

    payload_type: int
    data: bytes
    former: Sequence[RedundantBlock]


def parse_red(payload: bytes) -> RedundantAudio:
    """Read a payload (RFC 2198, 3); raises `MalformedPacket`. Blocks may be empty."""
    size_bytes = len(payload)
    headers: list[tuple[int, int, int]] = []
    position = 0
    while True:
        if position >= size_bytes:
            raise MalformedPacket("redundant audio without a primary block")
        first = payload[position]
        if first < 0x80:
            break
        if position + _HEADER_BYTES > size_bytes:
            raise MalformedPacket("header of redundant audio is cut off")
        if len(headers) == BLOCKS_MAX - 1:
            raise MalformedPacket("redundant audio of too many blocks")
        word = int.from_bytes(payload[position + 1 : position + _HEADER_BYTES], "big")
        headers.append((first & 0x7F, word >> 10, word & BLOCK_BYTES_MAX))
        position += _HEADER_BYTES
    primary_type = first
    position += 1
    former = []
    for payload_type, offset_ticks, length in headers:
        end = position + length
        if end > size_bytes:
            raise MalformedPacket("redundant audio is cut off")
        former.append(RedundantBlock(payload_type, offset_ticks, payload[position:end]))
        position = end
    return RedundantAudio(primary_type, payload[position:], former)


def build_red(audio: RedundantAudio) -> bytes:
    """Return the bytes of a payload; raises ValueError if something does not fit."""
    if not 0 <= audio.payload_type < 0x80 or len(audio.former) >= BLOCKS_MAX:
        raise ValueError("payload type or number of blocks does not fit")
    headers = bytearray()
    for block in audio.former:
        if (
            not 0 <= block.payload_type < 0x80
            or not 0 <= block.offset_ticks <= OFFSET_TICKS_MAX
            or len(block.data) > BLOCK_BYTES_MAX
        ):
            raise ValueError("block of redundant audio does not fit")
        headers.append(0x80 | block.payload_type)
        headers += (block.offset_ticks << 10 | len(block.data)).to_bytes(3, "big")
    headers.append(audio.payload_type)
    return b"".join((headers, *(block.data for block in audio.former), audio.data))
