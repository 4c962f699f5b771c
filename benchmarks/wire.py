"""What the bots say on the wire: STUN, RTP shaped like Chromium's, RTCP. Pure bytes, no sockets, no clock.

Written apart from `bridge.rtp` on purpose, so that a mistake there is not repeated here.
"""

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STUN_COOKIE = 0x2112A442
STUN_BINDING_REQUEST = 0x0001
STUN_BINDING_RESPONSE = 0x0101

RTCP_SENDER_REPORT = 200
RTCP_RECEIVER_REPORT = 201
RTCP_TRANSPORT_FEEDBACK = 205
RTCP_PAYLOAD_FEEDBACK = 206

STAMP_MAGIC = b"hoichan!"
# Magic, CLOCK_REALTIME in ns, publisher's index, encoding's index, packet counter, CRC-32 of the filler.
STAMP = struct.Struct("!8sQHHII")
VP8_DESCRIPTOR_BYTES = 6


def _stun_attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def stun_check(
    transaction_id: bytes, *, local_ufrag: str, remote_ufrag: str, remote_pwd: str, tie_breaker: int
) -> bytes:
    """A nominating connectivity or consent check of a controlling agent (RFC 8445, 7.2.2; RFC 7675)."""
    body = (
        _stun_attribute(0x0006, f"{remote_ufrag}:{local_ufrag}".encode())
        + _stun_attribute(0x0024, struct.pack("!I", 1853817087))
        + _stun_attribute(0x802A, struct.pack("!Q", tie_breaker))
        + _stun_attribute(0x0025, b"")
    )
    head = struct.pack("!HHI", STUN_BINDING_REQUEST, len(body) + 24, STUN_COOKIE) + transaction_id
    body += _stun_attribute(0x0008, hmac.digest(remote_pwd.encode(), head + body, hashlib.sha1))
    head = struct.pack("!HHI", STUN_BINDING_REQUEST, len(body) + 8, STUN_COOKIE) + transaction_id
    return head + body + _stun_attribute(0x8028, struct.pack("!I", zlib.crc32(head + body) ^ 0x5354554E))


def stun_response_transaction(data: bytes, remote_pwd: str) -> bytes | None:
    """The transaction a success response answers, or None when its MESSAGE-INTEGRITY does not hold."""
    if len(data) < 20 or struct.unpack_from("!H", data)[0] != STUN_BINDING_RESPONSE:
        return None
    position = 20
    while position + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, position)
        if kind == 0x0008:
            head = data[:2] + struct.pack("!H", position + 24 - 20) + data[4:position]
            expected = hmac.digest(remote_pwd.encode(), head, hashlib.sha1)
            return data[8:20] if hmac.compare_digest(expected, data[position + 4 : position + 24]) else None
        position += 4 + length + (-length % 4)
    return None


def rtp_extensions(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """A one-byte-header extension block (RFC 8285, 4.2)."""
    body = b"".join(bytes(((identifier << 4) | (len(value) - 1),)) + value for identifier, value in elements)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", 0xBEDE, len(body) // 4) + body


def rtp_packet(
    payload: bytes,
    *,
    payload_type: int,
    marker: bool,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    extensions: bytes,
) -> bytes:
    """One RTP packet (RFC 3550, 5.1) with a ready extension block."""
    return (
        struct.pack(
            "!BBHII",
            0x90 if extensions else 0x80,
            (marker << 7) | payload_type,
            sequence_number & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + extensions
        + payload
    )


@dataclass(frozen=True, slots=True)
class Vp8Frame:
    """The fields of a frame that its packets carry (RFC 7741)."""

    is_keyframe: bool
    picture_id: int
    tl0_picture_index: int
    temporal_id: int
    width_px: int
    height_px: int


def vp8_head(frame: Vp8Frame, *, is_first: bool) -> bytes:
    """Payload descriptor with 15-bit picture id, and the frame header on the frame's first packet."""
    descriptor = struct.pack(
        "!BBHBB",
        0x90 if is_first else 0x80,
        0xE0,
        0x8000 | (frame.picture_id & 0x7FFF),
        frame.tl0_picture_index & 0xFF,
        (frame.temporal_id << 6) | (0x20 if frame.temporal_id != 1 else 0),
    )
    if not is_first:
        return descriptor
    if frame.is_keyframe:
        size = struct.pack("<HH", frame.width_px, frame.height_px)
        return descriptor + b"\x10\x02\x00\x9d\x01\x2a" + size
    return descriptor + b"\x11\x02\x00"


class Filler:
    """Payload middles by size, with their checksum: what would be the encoder's bits."""

    def __init__(self, seed: bytes) -> None:
        pattern = hashlib.sha256(seed).digest() * 64
        self._pattern = pattern
        self._known: dict[int, tuple[bytes, int]] = {}

    def of(self, size_bytes: int) -> tuple[bytes, int]:
        """Bytes of that length, and their CRC-32."""
        found = self._known.get(size_bytes)
        if found is None:
            filler = self._pattern[:size_bytes]
            found = self._known[size_bytes] = (filler, zlib.crc32(filler))
        return found


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the last bytes of every payload say about its packet."""

    sent_ns: int
    publisher: int
    encoding: int
    counter: int


def read_stamp(payload: bytes, *, is_video: bool) -> Stamp | None:
    """The stamp of a payload that came through whole, or None."""
    if len(payload) < STAMP.size + VP8_DESCRIPTOR_BYTES:
        return None
    magic, sent_ns, publisher, encoding, counter, checksum = STAMP.unpack_from(
        payload, len(payload) - STAMP.size
    )
    if magic != STAMP_MAGIC:
        return None
    # Frame headers come before the filler; only the filler is under the checksum.
    start = 1
    if is_video:
        is_first = bool(payload[0] & 0x10)
        is_keyframe = is_first and not payload[VP8_DESCRIPTOR_BYTES] & 1
        start = VP8_DESCRIPTOR_BYTES + (10 if is_keyframe else 3 if is_first else 0)
    if zlib.crc32(payload[start : -STAMP.size]) != checksum:
        return None
    return Stamp(sent_ns, publisher, encoding, counter)


def rtp_payload(data: bytes) -> bytes:
    """The payload of a clear RTP packet whose sender uses no padding."""
    start = 12 + 4 * (data[0] & 0x0F)
    if data[0] & 0x10:
        start += 4 + 4 * struct.unpack_from("!H", data, start + 2)[0]
    return data[start:]


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """RFC 3550, 6.4.1."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    extended_highest: int
    last_sender_report: int
    delay_since_last: int

    def pack(self) -> bytes:
        return struct.pack(
            "!IIIIII",
            self.ssrc,
            (self.fraction_lost << 24) | (max(0, self.cumulative_lost) & 0x7FFFFF),
            self.extended_highest & 0xFFFFFFFF,
            0,
            self.last_sender_report,
            self.delay_since_last,
        )


def rtcp_packet(count: int, packet_type: int, body: bytes) -> bytes:
    """Header and body of one RTCP packet; the body's length is a multiple of four."""
    return struct.pack("!BBH", 0x80 | count, packet_type, len(body) // 4) + body


def receiver_report(sender_ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """At most 31 blocks fit one report."""
    body = struct.pack("!I", sender_ssrc) + b"".join(block.pack() for block in blocks[:31])
    return rtcp_packet(len(blocks[:31]), RTCP_RECEIVER_REPORT, body)


def sender_report(ssrc: int, ntp: int, rtp_timestamp: int, packet_count: int, octet_count: int) -> bytes:
    """Sender report without blocks, and the SDES CNAME that every compound carries."""
    report = rtcp_packet(
        0,
        RTCP_SENDER_REPORT,
        struct.pack(
            "!IQIII",
            ssrc,
            ntp,
            rtp_timestamp & 0xFFFFFFFF,
            packet_count & 0xFFFFFFFF,
            octet_count & 0xFFFFFFFF,
        ),
    )
    name = b"bot"
    chunk = struct.pack("!IBB", ssrc, 1, len(name)) + name
    chunk += bytes(4 - len(chunk) % 4)
    return report + rtcp_packet(1, 202, chunk)


def receiver_estimated_maximum_bitrate(sender_ssrc: int, bitrate_bps: int, ssrcs: Sequence[int]) -> bytes:
    """REMB (draft-alvestrand-rmcat-remb-03)."""
    exponent = max(0, bitrate_bps.bit_length() - 18)
    mantissa = bitrate_bps >> exponent
    packed = (exponent << 18) | mantissa
    body = struct.pack("!II4sI", sender_ssrc, 0, b"REMB", (len(ssrcs) << 24) | packed)
    return rtcp_packet(15, RTCP_PAYLOAD_FEEDBACK, body + struct.pack(f"!{len(ssrcs)}I", *ssrcs))


def transport_feedback(
    sender_ssrc: int, base: int, feedback_count: int, arrivals_us: Sequence[int | None]
) -> bytes:
    """When each transport-wide number from `base` on arrived (draft-holmer-rmcat-transport-wide-cc, 3.1)."""
    first = next(arrival for arrival in arrivals_us if arrival is not None)
    reference = first // 64_000
    previous = reference * 64_000 // 250
    symbols, deltas = [], bytearray()
    for arrival in arrivals_us:
        ticks = 0 if arrival is None else arrival // 250 - previous
        symbols.append(0 if arrival is None else 1 if 0 <= ticks <= 255 else 2)
        if arrival is not None:
            previous += ticks
            deltas += ticks.to_bytes(symbols[-1], "big", signed=symbols[-1] == 2)
    if set(symbols) == {1}:
        chunks = struct.pack("!H", 0x2000 | len(symbols))
    else:
        vectors = [symbols[at : at + 7] for at in range(0, len(symbols), 7)]
        chunks = b"".join(
            struct.pack("!H", 0xC000 | sum(one << 12 - 2 * n for n, one in enumerate(vector)))
            for vector in vectors
        )
    head = struct.pack("!IIHHI", sender_ssrc, 0, base & 0xFFFF, len(symbols), (reference & 0xFFFFFF) << 8)
    body = bytearray(head + chunks + deltas)
    body[15] = feedback_count & 0xFF
    padding = -len(body) % 4
    body += bytes(max(padding - 1, 0)) + bytes((padding,) if padding else ())
    return rtcp_packet(15 | (0x20 if padding else 0), RTCP_TRANSPORT_FEEDBACK, bytes(body))


@dataclass(frozen=True, slots=True)
class RtcpView:
    """One packet of a compound: its type, its count or format field, and its body after the header."""

    packet_type: int
    count: int
    body: bytes


def rtcp_packets(data: bytes) -> Iterator[RtcpView]:
    """The packets of a compound; stops at the first that does not fit."""
    position = 0
    while position + 4 <= len(data):
        first, packet_type, words = struct.unpack_from("!BBH", data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            return
        yield RtcpView(packet_type, first & 0x1F, data[position + 4 : end])
        position = end


def reported_ssrcs(packet: RtcpView) -> list[int]:
    """Whom the report blocks of a sender or receiver report are about."""
    start = 24 if packet.packet_type == RTCP_SENDER_REPORT else 4
    return [
        struct.unpack_from("!I", packet.body, start + 24 * block)[0]
        for block in range(packet.count)
        if start + 24 * block + 24 <= len(packet.body)
    ]


def keyframe_wanted_ssrcs(packet: RtcpView) -> list[int]:
    """Whom a PLI or FIR (RFC 4585, 6.3.1; RFC 5104, 4.3.1) asks for a key frame."""
    if packet.packet_type != RTCP_PAYLOAD_FEEDBACK:
        return []
    if packet.count == 1 and len(packet.body) >= 8:
        return [struct.unpack_from("!I", packet.body, 4)[0]]
    if packet.count == 4:
        return [struct.unpack_from("!I", packet.body, at)[0] for at in range(8, len(packet.body) - 7, 8)]
    return []
