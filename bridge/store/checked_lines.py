"""JSON lines that show when they are damaged: each ends with a checksum of what stands before it.

    {"k":"end","at_ms":1795857533989,"reason":"left","crc":"5f0c1a2b"}

The checksum is CRC-32 of the line without it, as `{"k":"end","at_ms":1795857533989,"reason":"left"}`, in
eight hexadecimal digits. One changed byte is always seen: without it, a digit more or less would put an hour
of speech elsewhere, or a patient's picture into another case. Lines that an older version wrote have none.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

_KEY: Final = b',"crc":"'
_END: Final = b'"}\n'
_TAIL_BYTES: Final = len(_KEY) + 8 + len(_END)


def checked_line(value: Mapping[str, Any]) -> bytes:
    """Return the line of a value, with its line feed."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%s%s%08x%s" % (text[:-1], _KEY, zlib.crc32(text), _END)


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None when it is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    tail = line[-_TAIL_BYTES:]
    if tail.startswith(_KEY) and tail.endswith(_END):
        text = line[:-_TAIL_BYTES] + b"}"
        if b"%08x" % zlib.crc32(text) != tail[len(_KEY) : -len(_END)]:
            return None
    else:
        text = line
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
