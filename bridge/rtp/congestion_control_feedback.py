"""Congestion control feedback of RFC 8888: which packets of each stream arrived, when, and how marked.

Unlike transport-wide feedback it needs no header extension: packets go by SSRC and RTP sequence number.
"""

from dataclasses import dataclass
from struct import Struct, unpack_from

from bridge.base.errors import MalformedPacket
from bridge.rtp.rtcp_writing import pack_fields, pack_rtcp

TRANSPORT_LAYER_FEEDBACK = 205
CONGESTION_CONTROL_FEEDBACK = 11

_SSRC = Struct("!I")
_STREAM = Struct("!IHH")
_TIMESTAMP = Struct("!I")

# RFC 8888, 3.1: what one stream's block may cover at most.
METRICS_MAX = 16_384
# Arrival offsets count 1/1024 s backwards from the report's time stamp.
OFFSET_HZ = 1024
# The last two say "that long ago or longer" and "after the time stamp, or not known".
OFFSET_MAX = 0x1FFD
OFFSET_LONG_AGO = 0x1FFE
OFFSET_UNKNOWN = 0x1FFF


@dataclass(frozen=True, slots=True)
class PacketMetric:
    """One packet that arrived: the ECN bits of its IP header, and how long before the report."""

    ecn: int
    # In 1/1024 s, or one of the two special values.
    arrival_offset: int


@dataclass(frozen=True, slots=True)
class StreamMetrics:
    """What arrived of one stream, number by number from `begin_sequence_number` on; None did not."""

    ssrc: int
    begin_sequence_number: int
    metrics: tuple[PacketMetric | None, ...]


@dataclass(frozen=True, slots=True)
class CongestionControlFeedback:
    """RFC 8888, 3.1; `report_timestamp` is the middle 32 bits of an NTP time."""

    sender_ssrc: int
    streams: tuple[StreamMetrics, ...]
    report_timestamp: int

    def pack(self) -> bytes:
        """Return the packet's bytes; raises ValueError if a field does not fit."""
        body = bytearray(pack_fields(_SSRC, self.sender_ssrc))
        for stream in self.streams:
            count = len(stream.metrics)
            if count > METRICS_MAX:
                raise ValueError("too many packets for one stream's block")
            body += pack_fields(_STREAM, stream.ssrc, stream.begin_sequence_number, count)
            words = [_pack_metric(metric) for metric in stream.metrics]
            body += pack_fields(Struct(f"!{count}H"), *words)
            # An odd number of metrics is filled up to a whole word.
            body += bytes(-len(body) % 4)
        body += pack_fields(_TIMESTAMP, self.report_timestamp)
        return pack_rtcp(TRANSPORT_LAYER_FEEDBACK, CONGESTION_CONTROL_FEEDBACK, bytes(body))


def parse_congestion_control_feedback(body: bytes) -> CongestionControlFeedback:
    """Read what follows the common header; raises `MalformedPacket`, or struct's error past the end."""
    (sender_ssrc,) = _SSRC.unpack_from(body)
    end = len(body) - _TIMESTAMP.size
    (report_timestamp,) = _TIMESTAMP.unpack_from(body, max(end, _SSRC.size))
    streams = []
    position = _SSRC.size
    while position < end:
        ssrc, begin, count = _STREAM.unpack_from(body, position)
        position += _STREAM.size
        following = position + 2 * count + 2 * (count & 1)
        if count > METRICS_MAX or following > end:
            raise MalformedPacket("packet metrics are cut off, or too many")
        metrics = tuple(map(_metric, unpack_from(f"!{count}H", body, position)))
        streams.append(StreamMetrics(ssrc, begin, metrics))
        position = following
    return CongestionControlFeedback(sender_ssrc, tuple(streams), report_timestamp)


def _pack_metric(metric: PacketMetric | None) -> int:
    if metric is None:
        return 0
    if not 0 <= metric.ecn < 4 or not 0 <= metric.arrival_offset <= OFFSET_UNKNOWN:
        raise ValueError("ECN or arrival offset does not fit")
    return 0x8000 | metric.ecn << 13 | metric.arrival_offset


def _metric(word: int) -> PacketMetric | None:
    # Without the first bit the others say nothing (RFC 8888, 3.1).
    return PacketMetric(word >> 13 & 3, word & 0x1FFF) if word & 0x8000 else None
