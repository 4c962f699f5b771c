"""Whether the machine's clock is kept in step with others, on which the times in a journal hang.

The kernel knows, because whoever keeps the clock (chrony, systemd-timesyncd, ntpd) tells it by adjtimex(2).
"""

import ctypes
import sys

# struct timex of 64-bit Linux: status stands behind modes and four longs, and the whole has 208 bytes.
_LONG = ctypes.sizeof(ctypes.c_long)
_STATUS_AT = 5 * _LONG
_TIMEX_BYTES = 208
_STA_UNSYNC = 0x0040


def is_synchronised() -> bool | None:
    """Return what the kernel says; None when it cannot be asked."""
    if _LONG != 8:
        return None
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        # Without any mode, nothing is changed, and no right is needed.
        state: int = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder)
    return not status & _STA_UNSYNC
