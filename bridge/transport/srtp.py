"""SRTP in place: libsrtp as bundled with pylibsrtp, called without the copies of `Session.protect`.

Everything here touches private names of pylibsrtp (`_binding`, `Session._srtp`); the test of the DTLS
seam fails loudly when they move. Lengths are passed as pointers to 32-bit integers which libsrtp changes
in place, so a caller may point it straight at the length field of a system call's message header.
"""

from socket import htonl
from typing import Any, TypeAlias

from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib

# A pointer or array owned by cffi, which has no types of its own.
CData: TypeAlias = Any

# int protect(srtp_t, void *packet, int *length): 0 or an error number. The packet grows by at most
# TRAILER_BYTES_MAX, and SRTCP by four bytes more.
protect = lib.srtp_protect
protect_rtcp = lib.srtp_protect_rtcp
unprotect = lib.srtp_unprotect
unprotect_rtcp = lib.srtp_unprotect_rtcp
TRAILER_BYTES_MAX = 16
RTCP_TRAILER_BYTES_MAX = 20

# srtp_err_status_replay_fail, _replay_old and _pkt_idx_old of srtp.h.
REPLAY_ERRORS = frozenset({9, 10, 26})


def pointer(session: Session) -> CData:
    """Return libsrtp's handle of a session; it is valid as long as the session is referenced."""
    return session._srtp[0]


def pointer_at(address: int, type_name: str) -> CData:
    """Return memory at `address` as a cffi pointer of the given C type."""
    return ffi.cast(type_name, address)


def remove_stream(srtp: CData, ssrc: int) -> None:
    """Forget what the session keeps for one SSRC (some kilobytes)."""
    lib.srtp_remove_stream(srtp, htonl(ssrc))
