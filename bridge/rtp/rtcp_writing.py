"""The common header of RTCP packets (RFC 3550, 6.4.1) around fields that are checked for their size."""

from struct import Struct
from struct import error as StructError

HEADER = Struct("!BBH")


def pack_fields(fields: Struct, *values: int) -> bytes:
    """Return the fields' bytes; raises ValueError if one does not fit."""
    try:
        return fields.pack(*values)
    except StructError as error:
        raise ValueError(f"field does not fit: {error}") from None


def pack_rtcp(kind: int, count: int, body: bytes, *, has_padding: bool = False) -> bytes:
    """Put the common header before a body of whole words; `count` is the format of a feedback packet."""
    words = len(body) // 4
    if count > 31 or words > 0xFFFF:
        raise ValueError("too many entries for one RTCP packet")
    return HEADER.pack(0x80 | has_padding << 5 | count, kind, words) + body
