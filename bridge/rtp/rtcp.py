"""RTCP packets to values and back: RFC 3550, 4585, 5104, 8888, REMB and transport-wide feedback.

Every class packs itself into the bytes of one RTCP packet; a compound is their concatenation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from struct import Struct, unpack_from
from struct import error as StructError
from typing import Protocol

from bridge.base.errors import MalformedPacket
from bridge.rtp.congestion_control_feedback import (
    CONGESTION_CONTROL_FEEDBACK,
    TRANSPORT_LAYER_FEEDBACK,
    parse_congestion_control_feedback,
)
from bridge.rtp.rtcp_writing import HEADER, pack_fields, pack_rtcp

_SENDER_REPORT = 200
_RECEIVER_REPORT = 201
_SOURCE_DESCRIPTION = 202
_GOODBYE = 203
_PAYLOAD_SPECIFIC_FEEDBACK = 206

_NACK = 1
_TRANSPORT_FEEDBACK = 15
_ON_ARRIVALS = frozenset({_TRANSPORT_FEEDBACK, CONGESTION_CONTROL_FEEDBACK})
_PICTURE_LOSS_INDICATION = 1
_FULL_INTRA_REQUEST = 4
_APPLICATION_LAYER_FEEDBACK = 15

_SENDER_INFO = Struct("!IQIII")
_REPORT_BLOCK = Struct("!IIIIII")
_SSRC = Struct("!I")
_SSRC_PAIR = Struct("!II")
_NACK_ITEM = Struct("!HH")
_FIR_ENTRY = Struct("!IB3x")
_TRANSPORT_FEEDBACK_HEADER = Struct("!IIHHI")
_CHUNK = Struct("!H")

_REMB_MANTISSA_MAX = (1 << 18) - 1
# RFC 3550, 6.5.1.
CNAME = 1
# Two bytes of a run can claim 8191 packets, so that a small datagram could ask for a lot of work.
# Real feedback covers 50 to 200 ms. Below 8192, a run always fits one chunk.
TRANSPORT_FEEDBACK_STATUSES_MAX = 4096
_TICK_US = 250


class RtcpPacket(Protocol):
    """What all RTCP packets have in common."""

    def pack(self) -> bytes:
        """Return the packet's bytes; raises ValueError if a field does not fit."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What one receiver says about one source (RFC 3550, 6.4.1)."""

    ssrc: int
    # 0..255: in 256ths, since the last report.
    fraction_lost: int
    # 24 bits, signed: duplicates make it negative.
    cumulative_lost: int
    extended_highest: int
    jitter_ticks: int
    # The middle 32 bits of the NTP time in the last sender report; 0 before the first.
    last_sr: int
    # In 65536ths of a second.
    delay_since_last_sr: int


@dataclass(frozen=True, slots=True)
class SenderReport:
    """RFC 3550, 6.4.1; `ntp` is the 64-bit NTP time stamp (32.32 fixed point seconds)."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()

    def pack(self) -> bytes:
        info = pack_fields(
            _SENDER_INFO, self.ssrc, self.ntp, self.rtp_timestamp, self.packet_count, self.octet_count
        )
        return pack_rtcp(_SENDER_REPORT, len(self.reports), info + _pack_report_blocks(self.reports))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RFC 3550, 6.4.2."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def pack(self) -> bytes:
        body = pack_fields(_SSRC, self.ssrc) + _pack_report_blocks(self.reports)
        return pack_rtcp(_RECEIVER_REPORT, len(self.reports), body)


@dataclass(frozen=True, slots=True)
class SourceDescriptionChunk:
    """The items (type, text) that describe one source."""

    ssrc: int
    items: tuple[tuple[int, str], ...]

    @property
    def cname(self) -> str | None:
        """The source's canonical name; None if the chunk has none."""
        return next((text for kind, text in self.items if kind == CNAME), None)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """RFC 3550, 6.5."""

    chunks: tuple[SourceDescriptionChunk, ...]

    def pack(self) -> bytes:
        body = bytearray()
        for chunk in self.chunks:
            body += pack_fields(_SSRC, chunk.ssrc)
            for kind, text in chunk.items:
                encoded = text.encode()
                if not 0 < kind < 256 or len(encoded) > 255:
                    raise ValueError("SDES item does not fit")
                body += bytes((kind, len(encoded))) + encoded
            # At least one null byte ends the chunk.
            body += bytes(4 - len(body) % 4)
        return pack_rtcp(_SOURCE_DESCRIPTION, len(self.chunks), bytes(body))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """RFC 3550, 6.6."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    def pack(self) -> bytes:
        body = b"".join(pack_fields(_SSRC, ssrc) for ssrc in self.ssrcs)
        if self.reason:
            encoded = self.reason.encode()
            if len(encoded) > 255:
                raise ValueError("reason does not fit")
            body += bytes((len(encoded),)) + encoded
            body += bytes(-len(body) % 4)
        return pack_rtcp(_GOODBYE, len(self.ssrcs), body)


@dataclass(frozen=True, slots=True)
class Nack:
    """Generic NACK (RFC 4585, 6.2.1): the packets of `media_ssrc` that the sender of this misses."""

    sender_ssrc: int
    media_ssrc: int
    sequence_numbers: tuple[int, ...]

    def pack(self) -> bytes:
        """Compress the numbers, which should ascend, into items of a number and the 16 after it."""
        items: list[list[int]] = []
        for number in self.sequence_numbers:
            distance = (number - items[-1][0]) & 0xFFFF if items else 0x10000
            if distance > 16:
                items.append([number, 0])
            elif distance > 0:
                items[-1][1] |= 1 << (distance - 1)
        body = pack_fields(_SSRC_PAIR, self.sender_ssrc, self.media_ssrc)
        body += b"".join(pack_fields(_NACK_ITEM, *item) for item in items)
        return pack_rtcp(TRANSPORT_LAYER_FEEDBACK, _NACK, body)


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """RFC 4585, 6.3.1: asks the sender of `media_ssrc` for a key frame."""

    sender_ssrc: int
    media_ssrc: int

    def pack(self) -> bytes:
        body = pack_fields(_SSRC_PAIR, self.sender_ssrc, self.media_ssrc)
        return pack_rtcp(_PAYLOAD_SPECIFIC_FEEDBACK, _PICTURE_LOSS_INDICATION, body)


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """RFC 5104, 4.3.1; each entry is an SSRC and the number of the command (8 bits)."""

    sender_ssrc: int
    entries: tuple[tuple[int, int], ...]

    def pack(self) -> bytes:
        body = pack_fields(_SSRC_PAIR, self.sender_ssrc, 0)
        body += b"".join(pack_fields(_FIR_ENTRY, *entry) for entry in self.entries)
        return pack_rtcp(_PAYLOAD_SPECIFIC_FEEDBACK, _FULL_INTRA_REQUEST, body)


@dataclass(frozen=True, slots=True)
class ReceiverEstimatedMaximumBitrate:
    """REMB (draft-alvestrand-rmcat-remb-03): packing keeps the 18 highest bits of the rate, rounded down."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]

    def pack(self) -> bytes:
        exponent = max(0, self.bitrate_bps.bit_length() - 18)
        if self.bitrate_bps < 0 or exponent > 63 or len(self.ssrcs) > 255:
            raise ValueError("bitrate or number of SSRCs does not fit")
        rate = exponent << 18 | self.bitrate_bps >> exponent
        body = pack_fields(_SSRC_PAIR, self.sender_ssrc, 0) + b"REMB"
        body += pack_fields(_SSRC, len(self.ssrcs) << 24 | rate)
        body += b"".join(pack_fields(_SSRC, ssrc) for ssrc in self.ssrcs)
        return pack_rtcp(_PAYLOAD_SPECIFIC_FEEDBACK, _APPLICATION_LAYER_FEEDBACK, body)


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """Arrival times of a transport's packets (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).

    `statuses` holds every transport sequence number from `base_sequence_number` on, without gaps,
    with the time in µs (multiples of 250) since the arrival of the one received before it; the
    first received counts from the reference time. None: not received.
    """

    sender_ssrc: int
    media_ssrc: int
    base_sequence_number: int
    # 24 bits, signed, in multiples of 64 ms.
    reference_time: int
    # 8 bits: the number of this feedback packet.
    feedback_count: int
    statuses: tuple[tuple[int, int | None], ...]

    def pack(self) -> bytes:
        """Return the packet's bytes; raises ValueError if a delta is beyond ±8.19 s or numbers have gaps."""
        # One digit for each packet: the size of its delta in bytes is also its symbol (3.1.3).
        symbols = []
        deltas = bytearray()
        expected = self.base_sequence_number
        for number, delta_us in self.statuses:
            if number != expected:
                raise ValueError("transport sequence numbers have a gap")
            expected = (expected + 1) & 0xFFFF
            if delta_us is None:
                symbols.append("0")
                continue
            ticks = delta_us // _TICK_US
            if 0 <= ticks <= 0xFF:
                symbols.append("1")
                deltas.append(ticks)
            elif -0x8000 <= ticks <= 0x7FFF:
                symbols.append("2")
                deltas += ticks.to_bytes(2, "big", signed=True)
            else:
                raise ValueError("receive delta does not fit")
        if not 0 < len(symbols) <= TRANSPORT_FEEDBACK_STATUSES_MAX:
            raise ValueError("number of statuses does not fit")
        body = pack_fields(
            _TRANSPORT_FEEDBACK_HEADER,
            self.sender_ssrc,
            self.media_ssrc,
            self.base_sequence_number,
            len(symbols),
            (self.reference_time & 0xFFFFFF) << 8 | self.feedback_count & 0xFF,
        )
        body += b"".join(_CHUNK.pack(chunk) for chunk in _status_chunks("".join(symbols))) + deltas
        padding_bytes = -len(body) % 4
        if padding_bytes:
            body += bytes(padding_bytes - 1) + bytes((padding_bytes,))
        return pack_rtcp(TRANSPORT_LAYER_FEEDBACK, _TRANSPORT_FEEDBACK, body, has_padding=padding_bytes > 0)


def is_rtcp(data: bytes) -> bool:
    """Tell RTCP from RTP on a multiplexed transport (RFC 5761, 4)."""
    return len(data) >= 2 and data[0] & 0xC0 == 0x80 and 192 <= data[1] <= 223


def parse_rtcp(data: bytes, *, reads_transport_feedback: bool = True) -> tuple[list[RtcpPacket], bool]:
    """Read a decrypted compound; never raises.

    Returns the packets before the first malformed one, and whether there was such a one. Types
    that the bridge does not know are skipped. So is feedback on arrivals, transport-wide or that of
    RFC 8888, when nobody is to use it: each of its packets can have thousands of statuses, and a compound
    dozens of packets. Where it is used, a whole compound may have no more of them than one packet.
    """
    packets: list[RtcpPacket] = []
    statuses_left = TRANSPORT_FEEDBACK_STATUSES_MAX
    position = 0
    size_bytes = len(data)
    try:
        while position < size_bytes:
            if position + 4 > size_bytes:
                raise MalformedPacket("shorter than an RTCP header")
            first, kind, words = HEADER.unpack_from(data, position)
            end = position + 4 + 4 * words
            if first & 0xC0 != 0x80 or end > size_bytes:
                raise MalformedPacket("not RTCP version 2, or cut off")
            body = data[position + 4 : end]
            position = end
            if first & 0x20:
                body = _without_padding(body)
            is_on_arrivals = kind == TRANSPORT_LAYER_FEEDBACK and first & 0x1F in _ON_ARRIVALS
            if is_on_arrivals and not reads_transport_feedback:
                continue
            parse = _PARSERS.get(kind)
            packet = parse(first & 0x1F, body) if parse is not None else None
            if isinstance(packet, TransportFeedback):
                statuses_left -= len(packet.statuses)
                if statuses_left < 0:
                    raise MalformedPacket("feedback on too many packets")
            if packet is not None:
                packets.append(packet)
    except (MalformedPacket, StructError):
        # A field that is read past the end of a body is an error of `struct`.
        return packets, True
    return packets, size_bytes == 0


def _pack_report_blocks(reports: tuple[ReportBlock, ...]) -> bytes:
    blocks = []
    for report in reports:
        if not 0 <= report.fraction_lost < 256 or not -0x800000 <= report.cumulative_lost < 0x800000:
            raise ValueError("loss does not fit")
        blocks.append(
            pack_fields(
                _REPORT_BLOCK,
                report.ssrc,
                report.fraction_lost << 24 | report.cumulative_lost & 0xFFFFFF,
                report.extended_highest,
                report.jitter_ticks,
                report.last_sr,
                report.delay_since_last_sr,
            )
        )
    return b"".join(blocks)


def _without_padding(body: bytes) -> bytes:
    padding_bytes = body[-1] if body else 0
    if not 0 < padding_bytes <= len(body):
        raise MalformedPacket("padding longer than the packet")
    return body[:-padding_bytes]


def _parse_report_blocks(body: bytes, offset: int, count: int) -> tuple[ReportBlock, ...]:
    # What follows the blocks is an extension of some profile (RFC 3550, 6.4.3).
    reports = []
    for position in range(offset, offset + 24 * count, 24):
        ssrc, loss, highest, jitter, last_sr, delay = _REPORT_BLOCK.unpack_from(body, position)
        lost = loss & 0xFFFFFF
        if lost >= 0x800000:
            lost -= 0x1000000
        reports.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))
    return tuple(reports)


def _parse_sender_report(count: int, body: bytes) -> RtcpPacket:
    ssrc, ntp, rtp_timestamp, packet_count, octet_count = _SENDER_INFO.unpack_from(body)
    reports = _parse_report_blocks(body, _SENDER_INFO.size, count)
    return SenderReport(ssrc, ntp, rtp_timestamp, packet_count, octet_count, reports)


def _parse_receiver_report(count: int, body: bytes) -> RtcpPacket:
    (ssrc,) = _SSRC.unpack_from(body)
    return ReceiverReport(ssrc, _parse_report_blocks(body, _SSRC.size, count))


def _parse_source_description(count: int, body: bytes) -> RtcpPacket:
    chunks = []
    position = 0
    for _ in range(count):
        (ssrc,) = _SSRC.unpack_from(body, position)
        position += 4
        items = []
        while True:
            if position >= len(body):
                raise MalformedPacket("SDES chunk is cut off")
            kind = body[position]
            if kind == 0:
                break
            start = position + 2
            # An item that is cut off leads past the end, where the next turn finds it out.
            position = start + body[position + 1] if start <= len(body) else start
            items.append((kind, body[start:position].decode(errors="replace")))
        position += 4 - position % 4
        chunks.append(SourceDescriptionChunk(ssrc, tuple(items)))
    return SourceDescription(tuple(chunks))


def _parse_goodbye(count: int, body: bytes) -> RtcpPacket:
    ssrcs = unpack_from(f"!{count}I", body)
    reason = b""
    if len(body) > 4 * count:
        start = 4 * count + 1
        reason = body[start : start + body[start - 1]]
        if len(reason) < body[start - 1]:
            raise MalformedPacket("reason for leaving is cut off")
    return Goodbye(ssrcs, reason.decode(errors="replace"))


def _parse_transport_layer_feedback(format_: int, body: bytes) -> RtcpPacket | None:
    if format_ == _NACK:
        return _parse_nack(body)
    if format_ == _TRANSPORT_FEEDBACK:
        return _parse_transport_feedback(body)
    if format_ == CONGESTION_CONTROL_FEEDBACK:
        return parse_congestion_control_feedback(body)
    return None


def _parse_nack(body: bytes) -> Nack:
    sender_ssrc, media_ssrc = _SSRC_PAIR.unpack_from(body)
    numbers = []
    for position in range(_SSRC_PAIR.size, len(body), _NACK_ITEM.size):
        first, following = _NACK_ITEM.unpack_from(body, position)
        numbers.append(first)
        number = first
        while following:
            number += 1
            if following & 1:
                numbers.append(number & 0xFFFF)
            following >>= 1
    return Nack(sender_ssrc, media_ssrc, tuple(numbers))


def _parse_transport_feedback(body: bytes) -> TransportFeedback:
    sender_ssrc, media_ssrc, base, count, time_and_number = _TRANSPORT_FEEDBACK_HEADER.unpack_from(body)
    if count > TRANSPORT_FEEDBACK_STATUSES_MAX:
        raise MalformedPacket("feedback on too many packets")
    symbols, position = _parse_status_chunks(body, _TRANSPORT_FEEDBACK_HEADER.size, count)
    # Each symbol is also the size of its delta in bytes.
    if position + sum(symbols) > len(body):
        raise MalformedPacket("receive deltas are cut off")
    statuses: list[tuple[int, int | None]] = []
    number = base
    for size_bytes in symbols:
        delta_us = None
        if size_bytes:
            following = position + size_bytes
            ticks = int.from_bytes(body[position:following], "big", signed=size_bytes == 2)
            delta_us = ticks * _TICK_US
            position = following
        statuses.append((number, delta_us))
        number = (number + 1) & 0xFFFF
    reference_time = time_and_number >> 8
    if reference_time >= 0x800000:
        reference_time -= 0x1000000
    return TransportFeedback(
        sender_ssrc, media_ssrc, base, reference_time, time_and_number & 0xFF, tuple(statuses)
    )


def _parse_status_chunks(body: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Return one symbol for each of `count` packets and where the deltas begin (draft-holmer, 3.1.3)."""
    symbols: list[int] = []
    while len(symbols) < count:
        (chunk,) = _CHUNK.unpack_from(body, position)
        position += 2
        if chunk < 0x8000:
            run = min(chunk & 0x1FFF, count - len(symbols))
            symbols += [chunk >> 13] * run
        elif chunk < 0xC000:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        else:
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
    del symbols[count:]
    if 3 in symbols:
        raise MalformedPacket("reserved packet status")
    return symbols, position


def _status_chunks(symbols: str) -> Iterator[int]:
    """Yield 16-bit chunks: a run where it is longer than what a vector of symbols holds (14 or 7)."""
    size = len(symbols)
    position = run_end = 0
    for symbol, run in groupby(symbols):
        run_end += len(list(run))
        # A vector may have taken the head of this run, or all of it.
        while position < run_end:
            length = run_end - position
            window = symbols[position : position + 14]
            if length >= 14 or run_end == size or (symbol == "2" and length >= 7):
                yield int(symbol) << 13 | length
                position += length
            elif "2" not in window:
                yield 0x8000 | int(window.ljust(14, "0"), 2)
                position += 14
            else:
                yield 0xC000 | int(window[:7].ljust(7, "0"), 4)
                position += 7


def _parse_payload_specific_feedback(format_: int, body: bytes) -> RtcpPacket | None:
    if format_ == _PICTURE_LOSS_INDICATION:
        return PictureLossIndication(*_SSRC_PAIR.unpack_from(body))
    if format_ == _FULL_INTRA_REQUEST:
        sender_ssrc, _ = _SSRC_PAIR.unpack_from(body)
        positions = range(_SSRC_PAIR.size, len(body), _FIR_ENTRY.size)
        entries = tuple(_FIR_ENTRY.unpack_from(body, position) for position in positions)
        return FullIntraRequest(sender_ssrc, entries)
    if format_ == _APPLICATION_LAYER_FEEDBACK and body[8:12] == b"REMB":
        return _parse_remb(body)
    return None


def _parse_remb(body: bytes) -> ReceiverEstimatedMaximumBitrate:
    (sender_ssrc,) = _SSRC.unpack_from(body)
    (rate,) = _SSRC.unpack_from(body, 12)
    count = rate >> 24
    bitrate_bps = (rate & _REMB_MANTISSA_MAX) << (rate >> 18 & 0x3F)
    return ReceiverEstimatedMaximumBitrate(sender_ssrc, bitrate_bps, unpack_from(f"!{count}I", body, 16))


_PARSERS: dict[int, Callable[[int, bytes], RtcpPacket | None]] = {
    _SENDER_REPORT: _parse_sender_report,
    _RECEIVER_REPORT: _parse_receiver_report,
    _SOURCE_DESCRIPTION: _parse_source_description,
    _GOODBYE: _parse_goodbye,
    TRANSPORT_LAYER_FEEDBACK: _parse_transport_layer_feedback,
    _PAYLOAD_SPECIFIC_FEEDBACK: _parse_payload_specific_feedback,
}
