"""ICE-lite (RFC 8445, 2.5) without sockets: credentials, candidates, and connectivity checks as bytes.

We look for no paths of our own; we verify the client's checks and answer them. A check that is not
authenticated gets no answer at all, so the port cannot be used to reflect or to probe. Reading one costs a
walk over a few attributes; hashes are computed only for a user name fragment that we gave out. The one
request that we do send asks an address, before media moves there, whether it is the client's.
"""

import hmac
import secrets
import struct
from binascii import crc32
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NamedTuple

from bridge.base.errors import MalformedPacket

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_HEADER_BYTES = 20
_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_BINDING_RESPONSE = 0x0101
_BINDING_ERROR = 0x0111
_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_XOR_MAPPED_ADDRESS = 0x0020
_PRIORITY = 0x0024
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028
_ICE_CONTROLLED = 0x8029
_ICE_CONTROLLING = 0x802A
# Those below must be understood by whoever answers (RFC 8489, 14).
_OPTIONAL_FROM = 0x8000
# What has a meaning in RFC 8489 or RFC 8445, whether it changes anything for a check or not.
_UNDERSTOOD = frozenset(
    {
        *(0x0001, _USERNAME, _MESSAGE_INTEGRITY, _ERROR_CODE, _UNKNOWN_ATTRIBUTES, 0x0014, 0x0015),
        *(0x001C, 0x001D, 0x001E, _XOR_MAPPED_ADDRESS, _PRIORITY, _USE_CANDIDATE),
    }
)
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 24  # with its attribute header
_FINGERPRINT_BYTES = 8
# The IPv6 minimum (RFC 8489, 6.1). Checks have some 100 bytes, but Chromium knows how to put the first
# records of DTLS into them. The size costs next to nothing; the number of attributes does.
CHECK_BYTES_MAX: Final = 1280
ATTRIBUTES_MAX: Final = 16
# Browsers and libraries send USERNAME first; who does not send it early is no client.
_USERNAME_AMONG = 4
# That of a peer-reflexive candidate (RFC 8445, 5.1.2 and 7.1.1).
_PROOF_PRIORITY = (110 << 24) + (0xFFFF << 8) + 255
ROLE_CONFLICT: Final = (487, b"Role Conflict")
UNKNOWN_ATTRIBUTE: Final = (420, b"Unknown Attribute")


class Credentials(NamedTuple):
    """A user name fragment and its password (RFC 8445, 5.3)."""

    ufrag: str
    pwd: str


def generate_credentials() -> Credentials:
    """Return fresh credentials: 48 bits to find a transport by, 144 bits that nobody guesses."""
    # The base64 alphabet for URLs has "-" and "_", which are no ice-char (RFC 8839, 5.4).
    return Credentials(secrets.token_hex(6), secrets.token_hex(18))


@dataclass(slots=True)
class StunMessage:
    """A message of the Binding method as it came in; not to be believed before `is_authentic`."""

    data: bytes
    transaction_id: bytes
    integrity_offset: int
    fingerprint_offset: int

    def is_authentic(self, pwd: bytes) -> bool:
        """Verify MESSAGE-INTEGRITY (RFC 8489, 14.5) with a password, and FINGERPRINT where there is one."""
        data = self.data
        offset = self.integrity_offset
        covered = data[:2] + (offset - _HEADER_BYTES + _INTEGRITY_BYTES).to_bytes(2, "big") + data[4:offset]
        if not hmac.compare_digest(hmac.digest(pwd, covered, "sha1"), data[offset + 4 : offset + 24]):
            return False
        offset = self.fingerprint_offset
        if not offset:
            return True
        covered = data[:2] + (offset - 12).to_bytes(2, "big") + data[4:offset]
        return data[offset + 4 : offset + 8] == _fingerprint(covered)


@dataclass(slots=True)
class BindingRequest(StunMessage):
    """A connectivity check."""

    username: bytes
    nominates: bool
    # The client takes itself for the controlled side, which an ICE-lite agent always is.
    is_controlled: bool
    unknown_attributes: tuple[int, ...]

    @property
    def local_ufrag(self) -> bytes:
        """Our half of the user name."""
        return self.username.partition(b":")[0]

    @property
    def remote_ufrag(self) -> bytes:
        """The client's half of it."""
        return self.username.partition(b":")[2]


def parse_binding_request(data: bytes) -> BindingRequest:
    """Read a Binding request; raises MalformedPacket on anything else, or without what ICE requires."""
    transaction_id = _transaction_id(data, _BINDING_REQUEST)
    username = b""
    integrity_offset = fingerprint_offset = 0
    nominates = is_controlled = False
    unknown: list[int] = []
    for number, (attribute, offset, length) in enumerate(_attributes(data)):
        if attribute == _FINGERPRINT:
            fingerprint_offset = offset
            if length != 4:
                raise MalformedPacket("STUN fingerprint has a wrong length")
            break
        if integrity_offset:
            # What follows MESSAGE-INTEGRITY is not authenticated (RFC 8489, 14.5).
            continue
        if attribute == _USERNAME:
            username = data[offset + 4 : offset + 4 + length]
        elif attribute == _USE_CANDIDATE:
            nominates = True
        elif attribute == _ICE_CONTROLLED:
            is_controlled = True
        elif attribute == _MESSAGE_INTEGRITY:
            integrity_offset = _integrity(offset, length)
        elif attribute < _OPTIONAL_FROM and attribute not in _UNDERSTOOD:
            unknown.append(attribute)
        if not username and number + 1 >= _USERNAME_AMONG:
            raise MalformedPacket("STUN binding request without user name")
    if not username or not integrity_offset:
        raise MalformedPacket("STUN binding request without user name or integrity")
    return BindingRequest(
        data,
        transaction_id,
        integrity_offset,
        fingerprint_offset,
        username=username,
        nominates=nominates,
        is_controlled=is_controlled,
        unknown_attributes=tuple(unknown),
    )


def transaction_of_response(data: bytes) -> bytes | None:
    """Return the transaction that a message claims to answer; None when it is no response."""
    return data[8:20] if data[:2] in (b"\x01\x01", b"\x01\x11") else None


def parse_binding_response(data: bytes) -> StunMessage:
    """Read a success response with integrity; raises MalformedPacket on anything else."""
    transaction_id = _transaction_id(data, _BINDING_RESPONSE)
    integrity_offset = fingerprint_offset = 0
    for attribute, offset, length in _attributes(data):
        if attribute == _MESSAGE_INTEGRITY and not integrity_offset:
            integrity_offset = _integrity(offset, length)
        elif attribute == _FINGERPRINT and length == 4:
            fingerprint_offset = offset
            break
    if not integrity_offset:
        raise MalformedPacket("STUN binding response without integrity")
    return StunMessage(data, transaction_id, integrity_offset, fingerprint_offset)


def binding_response(transaction_id: bytes, host: bytes, port: int, *, pwd: bytes) -> bytes:
    """Build the success response: the source's packed address and port, integrity, fingerprint."""
    family = 1 if len(host) == 4 else 2
    pad = _COOKIE.to_bytes(4, "big") + transaction_id
    xored = int.from_bytes(host, "big") ^ int.from_bytes(pad[: len(host)], "big")
    address = struct.pack("!HHBBH", _XOR_MAPPED_ADDRESS, 4 + len(host), 0, family, port ^ (_COOKIE >> 16))
    return _message(_BINDING_RESPONSE, transaction_id, address + xored.to_bytes(len(host), "big"), pwd)


def binding_error(
    transaction_id: bytes, error: tuple[int, bytes], *, pwd: bytes, unknown: Sequence[int] = ()
) -> bytes:
    """Build an error response (RFC 8489, 14.8): why an authenticated check does not count."""
    code, reason = error
    attributes = _attribute(_ERROR_CODE, struct.pack("!HBB", 0, code // 100, code % 100) + reason)
    if unknown:
        attributes += _attribute(_UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown))
    return _message(_BINDING_ERROR, transaction_id, attributes, pwd)


def binding_request(transaction_id: bytes, username: bytes, *, tie_breaker: int, pwd: bytes) -> bytes:
    """Build a check as the controlled side sends it; user name and password are the client's."""
    attributes = (
        _attribute(_USERNAME, username)
        + _attribute(_PRIORITY, _PROOF_PRIORITY.to_bytes(4, "big"))
        + _attribute(_ICE_CONTROLLED, tie_breaker.to_bytes(8, "big"))
    )
    return _message(_BINDING_REQUEST, transaction_id, attributes, pwd)


def _transaction_id(data: bytes, expected_kind: int) -> bytes:
    size = len(data)
    if size < _HEADER_BYTES:
        raise MalformedPacket("STUN header is truncated")
    if size > CHECK_BYTES_MAX:
        raise MalformedPacket("STUN message is too long")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if kind != expected_kind or cookie != _COOKIE or length != size - _HEADER_BYTES or length & 3:
        raise MalformedPacket("not the STUN message that was expected")
    assert isinstance(transaction_id, bytes)
    return transaction_id


def _attributes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, offset and length of each attribute; raises MalformedPacket when they do not add up."""
    size = len(data)
    offset = _HEADER_BYTES
    count = 0
    while offset < size:
        count += 1
        if count > ATTRIBUTES_MAX:
            raise MalformedPacket("STUN message with too many attributes")
        # The length is a multiple of four, so an attribute header always fits.
        attribute, length = _ATTRIBUTE.unpack_from(data, offset)
        if offset + 4 + length > size:
            raise MalformedPacket("STUN attribute is truncated")
        yield attribute, offset, length
        offset += 4 + ((length + 3) & ~3)


def _integrity(offset: int, length: int) -> int:
    if length != 20:
        raise MalformedPacket("STUN message integrity has a wrong length")
    return offset


def _attribute(attribute: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)


def _message(kind: int, transaction_id: bytes, attributes: bytes, pwd: bytes) -> bytes:
    """Put integrity and fingerprint behind the attributes."""
    length = len(attributes) + _INTEGRITY_BYTES
    message = _HEADER.pack(kind, length, _COOKIE, transaction_id) + attributes
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
