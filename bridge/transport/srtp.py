"""SRTP in place: libsrtp as bundled with pylibsrtp, called without the copies of `Session.protect`.

Everything here touches private names of pylibsrtp (`_binding`, `Session._srtp`); the test of the DTLS
seam fails loudly when they move. Lengths are passed as pointers to 32-bit integers which libsrtp changes
in place, so a caller may point it straight at the length field of a system call's message header.
"""

from dataclasses import dataclass
from socket import htonl
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pylibsrtp import Policy, Session
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

# How far back a packet may come late, in numbers.
WINDOW: Final = 1024

# srtp_err_status_replay_fail, _replay_old and _pkt_idx_old of srtp.h.
REPLAY_ERRORS = frozenset({9, 10, 26})


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an association: master key and salt of each direction, and the profile they are for."""

    profile: int
    rx_key: bytes
    tx_key: bytes

    def receiving(self) -> Session:
        """Return the session that takes in what the client sends."""
        return _session(self.profile, self.rx_key, Policy.SSRC_ANY_INBOUND)

    def sending(self) -> Session:
        """Return the session that protects what we send.

        It refuses a number that was used before: under one number of one stream two payloads would be
        encrypted with one nonce, which gives away both, and with AES-GCM the key of the authentication.
        Who wants to send a packet again without RTX (RFC 4588) keeps its protected bytes and sends those.
        """
        return _session(self.profile, self.tx_key, Policy.SSRC_ANY_OUTBOUND)

    def twin(self) -> Session:
        """Return a session that protects as the client does."""
        return _session(self.profile, self.rx_key, Policy.SSRC_ANY_OUTBOUND)


def _session(profile: int, key: bytes, direction: int) -> Session:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=profile)
    policy.allow_repeat_tx = False
    policy.window_size = WINDOW
    return Session(policy)


def take_in(srtp: CData, packet: bytes) -> int:
    """Unprotect a packet nobody is to see; return the status."""
    memory = ffi.new("unsigned char[]", packet)
    return int(unprotect(srtp, memory, ffi.new("int *", len(packet))))


def pointer(session: Session) -> CData:
    """Return libsrtp's handle of a session; it is valid as long as the session is referenced."""
    return session._srtp[0]


def pointer_at(address: int, type_name: str) -> CData:
    """Return memory at `address` as a cffi pointer of the given C type."""
    return ffi.cast(type_name, address)


def pointers_at(addresses: NDArray[np.uint64], type_name: str) -> list[CData]:
    """As `pointer_at`, for many addresses at a twentieth of the time."""
    table = ffi.cast(f"{type_name} *", ffi.from_buffer(addresses))
    found: list[CData] = ffi.unpack(table, len(addresses))
    return found


def remove_stream(srtp: CData, ssrc: int) -> None:
    """Forget what the session keeps for one SSRC (some kilobytes)."""
    lib.srtp_remove_stream(srtp, htonl(ssrc))
