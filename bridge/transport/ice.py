"""ICE-lite (RFC 8445, 2.5) without sockets: credentials, candidates, and connectivity checks as bytes.

We never send checks; we verify those of the client and answer. A check that is not authenticated gets no
answer at all, so the port cannot be used to reflect or to probe. Reading one costs a walk over its
attributes; the HMAC is computed only for a user name fragment that we gave out.
"""

import hmac
import secrets
import struct
from binascii import crc32
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from bridge.base.errors import MalformedPacket

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_HEADER_BYTES = 20
_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_BINDING_RESPONSE = 0x0101
_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 24  # with its attribute header
_FINGERPRINT_BYTES = 8


class Credentials(NamedTuple):
    """A user name fragment and its password (RFC 8445, 5.3)."""

    ufrag: str
    pwd: str


def generate_credentials() -> Credentials:
    """Return fresh credentials: 48 bits to find a transport by, 144 bits that nobody guesses."""
    # The base64 alphabet for URLs has "-" and "_", which are no ice-char (RFC 8839, 5.4).
    return Credentials(secrets.token_hex(6), secrets.token_hex(18))


@dataclass(slots=True)
class BindingRequest:
    """A connectivity check as it came in; not to be believed before `is_authentic`."""

    data: bytes
    transaction_id: bytes
    local_ufrag: bytes
    integrity_offset: int
    nominates: bool

    def is_authentic(self, pwd: bytes) -> bool:
        """Verify MESSAGE-INTEGRITY (RFC 8489, 14.5) with the local password."""
        data = self.data
        offset = self.integrity_offset
        covered = data[:2] + (offset - _HEADER_BYTES + _INTEGRITY_BYTES).to_bytes(2, "big") + data[4:offset]
        return hmac.compare_digest(hmac.digest(pwd, covered, "sha1"), data[offset + 4 : offset + 24])


def parse_binding_request(data: bytes) -> BindingRequest:
    """Read a Binding request; raises MalformedPacket on anything else, or without what ICE requires."""
    size = len(data)
    if size < _HEADER_BYTES:
        raise MalformedPacket("STUN header is truncated")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != size - _HEADER_BYTES or length & 3:
        raise MalformedPacket("not a STUN binding request")
    local_ufrag = b""
    integrity_offset = 0
    nominates = False
    position = _HEADER_BYTES
    while position < size:
        # The length is a multiple of four, so an attribute header always fits.
        attribute, length = _ATTRIBUTE.unpack_from(data, position)
        value = position + 4
        if value + length > size:
            raise MalformedPacket("STUN attribute is truncated")
        if attribute == _FINGERPRINT:
            expected = _fingerprint(data[:2] + (position - 12).to_bytes(2, "big") + data[4:position])
            if data[value : value + length] != expected:
                raise MalformedPacket("STUN fingerprint does not match")
            break
        # What follows MESSAGE-INTEGRITY is not authenticated (RFC 8489, 14.5).
        if not integrity_offset:
            if attribute == _USERNAME:
                local_ufrag = data[value : value + length].partition(b":")[0]
            elif attribute == _USE_CANDIDATE:
                nominates = True
            elif attribute == _MESSAGE_INTEGRITY:
                if length != 20:
                    raise MalformedPacket("STUN message integrity has a wrong length")
                integrity_offset = position
        position = value + ((length + 3) & ~3)
    if not local_ufrag or not integrity_offset:
        raise MalformedPacket("STUN binding request without user name or integrity")
    return BindingRequest(data, transaction_id, local_ufrag, integrity_offset, nominates)


def binding_response(transaction_id: bytes, host: bytes, port: int, *, pwd: bytes) -> bytes:
    """Build the success response: the source's packed address and port, integrity, fingerprint."""
    family = 1 if len(host) == 4 else 2
    pad = _COOKIE.to_bytes(4, "big") + transaction_id
    xored = int.from_bytes(host, "big") ^ int.from_bytes(pad[: len(host)], "big")
    address = struct.pack("!HHBBH", _XOR_MAPPED_ADDRESS, 4 + len(host), 0, family, port ^ (_COOKIE >> 16))
    address += xored.to_bytes(len(host), "big")
    length = len(address) + _INTEGRITY_BYTES
    message = _HEADER.pack(_BINDING_RESPONSE, length, _COOKIE, transaction_id) + address
    digest = hmac.digest(pwd, message, "sha1")
    length += _FINGERPRINT_BYTES
    message = b"".join(
        (message[:2], length.to_bytes(2, "big"), message[4:], b"\x00\x08\x00\x14", digest),
    )
    return message + b"\x80\x28\x00\x04" + _fingerprint(message)


def _fingerprint(message: bytes) -> bytes:
    return (crc32(message) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def host_candidates(addresses: Sequence[str], port: int, *, tcp: bool) -> list[str]:
    """Return the values of a=candidate for each address in order of preference (RFC 8839, 5.1).

    With `tcp`, passive TCP candidates follow (RFC 6544), all below UDP in priority.
    """
    lines = []
    protocols = [("udp", 126 << 24, 0xFFFF, "")]
    if tcp:
        # Direction preference 4 for a passive candidate (RFC 6544, 4.2).
        protocols.append(("tcp", 90 << 24, (4 << 13) + 0x1FFF, " tcptype passive"))
    for number, (protocol, type_preference, local_preference, suffix) in enumerate(protocols):
        for index, address in enumerate(addresses):
            priority = type_preference + ((local_preference - index) << 8) + 255
            foundation = 1 + number * len(addresses) + index
            host = ip_address(address).compressed
            lines.append(f"{foundation} 1 {protocol} {priority} {host} {port} typ host{suffix}")
    return lines
