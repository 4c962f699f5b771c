"""Which bytes of a stored file a request asks for (RFC 9110, sections 13 and 14). Pure.

One range is answered with 206. What a server may ignore is ignored: other units, malformed ranges, and
several ranges at once, for which no player and no download asks us.
"""

import re
from dataclasses import dataclass

# More digits than any file has bytes; what is longer is no range of ours.
_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]{1,20})-([0-9]{0,20})|-([0-9]{1,20}))[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A stretch of a file."""

    start: int
    length: int


class Unsatisfiable(ValueError):
    """The range lies outside of the file: 416."""


def byte_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """Return what a Range header asks for, None for everything; raises Unsatisfiable."""
    match = _RANGE.fullmatch(header) if header else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size_bytes)
        if length == 0:
            raise Unsatisfiable
        return ByteRange(size_bytes - length, length)
    start = int(first)
    end = int(last) if last else size_bytes - 1
    if last and end < start:
        return None
    if start >= size_bytes:
        raise Unsatisfiable
    return ByteRange(start, min(end, size_bytes - 1) - start + 1)


def may_continue(if_range: str | None, *, etag: str, last_modified: str) -> bool:
    """Whether a range may be sent although the client has the rest already (If-Range, 13.1.5).

    The tag is compared strongly, a date exactly.
    """
    return if_range is None or if_range.strip() in (etag, last_modified)


def content_range(wanted: ByteRange, size_bytes: int) -> str:
    """Return the Content-Range of a 206."""
    return f"bytes {wanted.start}-{wanted.start + wanted.length - 1}/{size_bytes}"
