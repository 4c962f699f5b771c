"""Random and mutated input for everything that a stranger, or a participant gone mad, can reach."""

import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

# What RFC 7983 tells apart by the first byte: STUN, ZRTP, DTLS, TURN channels, RTP and RTCP, and the rest.
FIRST_BYTES = (0, 1, 3, 16, 20, 22, 23, 25, 63, 64, 79, 128, 144, 160, 191, 192, 255)
# Behind MESSAGE-INTEGRITY comes FINGERPRINT, which a check may lack: damaged only there, it is a good check.
FINGERPRINT_BYTES = 8
DATAGRAM_BYTES_MAX = 1400
KEYS = (
    *(
        "type",
        "id",
        "sdp",
        "publications",
        "slots",
        "heights",
        "thumbnails",
        "participant",
        "source",
        "muted",
    ),
    *(
        "text",
        "raised",
        "granted",
        "locked",
        "token",
        "name",
        "version",
        "resume",
        "replace",
        "first",
        "count",
    ),
)
TYPES = (
    *(
        "join",
        "offer",
        "view",
        "mute",
        "hand",
        "chat",
        "stage",
        "show_content",
        "mute_participant",
        "mute_all",
    ),
    *("lower_hand", "floor", "remove", "lock", "admit", "welcome", "", "JOIN", "view\u0000"),
)


def mutated(data: bytes, source: random.Random, *, spare_end: int = 0) -> bytes:
    """Return the data with some damage, at least one bit of it before the last `spare_end` bytes."""
    damaged = bytearray(data)
    reach = max(1, len(damaged) - spare_end)
    for _ in range(source.choice((1, 1, 2, 8))):
        damaged[source.randrange(reach)] ^= 1 << source.randrange(8)
    if damaged[:reach] == data[:reach]:
        damaged[0] ^= 1
    fate = source.random()
    if fate < 0.15:
        del damaged[source.randrange(len(damaged)) :]
    elif fate < 0.3:
        damaged += source.randbytes(source.randrange(1, 200))
    elif fate < 0.4:
        at = source.randrange(reach)
        damaged[at:at] = source.randbytes(source.randrange(1, 8))
    elif fate < 0.5 and len(damaged) > 4:
        # A length field, more often than not.
        at = source.randrange(min(20, len(damaged) - 2))
        damaged[at : at + 2] = source.choice((b"\x00\x00", b"\xff\xff", b"\x7f\xff", b"\x00\x01"))
    return bytes(damaged)


def random_datagram(source: random.Random) -> bytes:
    """Return bytes that mean nothing, often with a first byte that means something."""
    length = source.choice((0, 1, 2, 3, 4, 7, 8, 12, 19, 20, 21, 28, 100, 500, 1200, DATAGRAM_BYTES_MAX))
    data = source.randbytes(length)
    if length and source.random() < 0.8:
        data = bytes([source.choice(FIRST_BYTES)]) + data[1:]
    return data


def stranger_datagram(captured: Sequence[bytes], source: random.Random) -> bytes:
    """Return what somebody without keys may send: nonsense, or a damaged copy of what was overheard."""
    if source.random() < 0.02:
        return stun_of_empty_attributes(source.choice((548, 1232, 2048)))
    if not captured or source.random() < 0.3:
        return random_datagram(source)
    original = source.choice(captured)
    if original[0] >= 4:
        return mutated(original, source)
    if source.random() < 0.5:
        return mutated(original, source, spare_end=FINGERPRINT_BYTES)
    return forged_check(original, source)


def stun_of_empty_attributes(size: int) -> bytes:
    """Return a Binding request of nothing but attributes without a value, as costly to read as any."""
    return b"\x00\x01" + (size - 20).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12 + size - 20)


def forged_check(original: bytes, source: random.Random) -> bytes:
    """Return a captured STUN message with damage that only its MESSAGE-INTEGRITY tells."""
    forged = bytearray(original[:-FINGERPRINT_BYTES])
    # In the code itself, so that the check still has its form and its addressee.
    at = source.randrange(len(forged) - 20, len(forged))
    forged[at] ^= 1 << source.randrange(8)
    checksum = zlib.crc32(forged) ^ 0x5354554E
    return bytes(forged) + struct.pack("!HHI", 0x8028, 4, checksum)


def strange_rtp(ssrc: int, payload_type: int, sequence_number: int, source: random.Random) -> bytes:
    """Return RTP that libsrtp will protect, with anything in it."""
    first = 0x80 | source.choice((0, 0, 0x10, 0x10, 0x20, 0x30))
    header = struct.pack(
        "!BBHII",
        first,
        source.choice((0, 0x80)) | payload_type,
        (sequence_number + source.choice((0, 0, 0, 0, 1, -1, 40))) & 0xFFFF,
        source.getrandbits(32),
        ssrc if source.random() < 0.9 else source.getrandbits(32),
    )
    if first & 0x10:
        words = source.choice((0, 1, 2, 3))
        profile = source.choice((0xBEDE, 0x1000, 0x1001, source.getrandbits(16)))
        header += struct.pack("!HH", profile, words) + source.randbytes(4 * words)
    descriptor = source.choice(
        (b"\x90\x80\x01", b"\x90\xe0\x81\x02\x03\x20", b"\x10", b"\xff", b"\x90\x80", b"")
    )
    keyframe = source.choice((b"", b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xb4\x00"))
    payload = descriptor + keyframe + source.randbytes(source.randrange(0, 200))
    if first & 0x20:
        payload += bytes([source.randrange(256)])
    return header + payload


def strange_rtcp(ssrc: int, source: random.Random) -> bytes:
    """Return a compound that libsrtp will protect: known types with anything in them."""
    packets = []
    for _ in range(source.randrange(1, 4)):
        words = source.randrange(0, 12)
        claimed = words + 1 if source.random() < 0.8 else source.getrandbits(16)
        first = 0x80 | source.choice((0, 0x20)) | source.randrange(32)
        kind = source.randrange(200, 208)
        packets.append(struct.pack("!BBHI", first, kind, claimed, ssrc) + source.randbytes(4 * words))
    return b"".join(packets)


def huge_nack(sender_ssrc: int, media_ssrc: int, source: random.Random) -> bytes:
    """Return a valid generic NACK (RFC 4585, 6.2.1) for thousands of packets, as many as a datagram holds."""
    entries = [(source.getrandbits(16), source.choice((0xFFFF, source.getrandbits(16)))) for _ in range(330)]
    header = struct.pack("!BBHII", 0x81, 205, 2 + len(entries), sender_ssrc, media_ssrc)
    return header + b"".join(struct.pack("!HH", *entry) for entry in entries)


def vp8_packet(ssrc: int, payload_type: int, sequence_number: int, source: random.Random) -> bytes:
    """Return a packet without fault, the whole of a small key frame."""
    header = struct.pack(
        "!BBHII", 0x80, 0x80 | payload_type, sequence_number & 0xFFFF, source.getrandbits(32), ssrc
    )
    return header + b"\x10" + b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xb4\x00" + source.randbytes(100)


def strange_message(source: random.Random) -> str:
    """Return a text frame: now and then JSON, seldom a message."""
    fate = source.random()
    if fate < 0.15:
        return "".join(chr(source.choice((source.randrange(32, 127), 0x1EC7, 0x1F600))) for _ in range(80))
    if fate < 0.2:
        return "[" * 5000 + "]" * 5000
    if fate < 0.25:
        return '{"type":"chat","text":"' + "x" * 100_000 + '"}'
    if fate < 0.3:
        return '{"type":"offer","id":1e400,"sdp":NaN}'
    message: dict[str, Any] = {"type": source.choice(TYPES)}
    for key in source.sample(KEYS, source.randrange(0, 6)):
        message[key] = _strange_value(source, 3)
    return json.dumps(message)


def _strange_value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(9 if depth else 6)
    match kind:
        case 0:
            return None
        case 1:
            return source.choice((True, False))
        case 2:
            return source.choice((0, -1, 1, 49, 50, 1 << 31, 1 << 80, 0.5, 1e300))
        case 3:
            return source.choice(("", "p-00000000", "camera", "stage", "v=0\r\n", "\u0000", "x" * 3000))
        case 4 | 5:
            return source.choice(("microphone", "chair", "content", "1", "a" * 33))
        case 6 | 7:
            return {
                source.choice(KEYS): _strange_value(source, depth - 1) for _ in range(source.randrange(4))
            }
        case _:
            return [_strange_value(source, depth - 1) for _ in range(source.randrange(4))]
