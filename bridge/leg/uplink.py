"""What one leg sends: its streams, their repair, and the feedback that its encoders live on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.errors import MalformedPacket
from bridge.leg.encoding import Encoding
from bridge.leg.negotiation import Negotiation
from bridge.leg.publication import Publication
from bridge.media.dependence import is_missed
from bridge.media.feedback import ArrivalLog
from bridge.media.packet import MediaPacket
from bridge.rtp import rtcp
from bridge.rtp.header import RtpPacket, parse_rtp

TRANSPORT_FEEDBACK_S = 0.1
RECEIVER_REPORT_S = 1.0
# A leg's publications have at most 3 encodings with RTX each; restarts of senders add some.
STREAMS_MAX = 64
REPORT_BLOCKS_MAX = 31
# A packet of the stream before that was late must not end the one that there is now.
RETIRED_S = 5.0

# Takes one compound, packed.
SendRtcp = Callable[[bytes], None]


class Uplink:
    """The streams of one leg on their way in; what is due to the publisher goes out by `send_rtcp`."""

    __slots__ = (
        "_arrivals",
        "_counters",
        "_feedback_due",
        "_negotiation",
        "_receiver_report_due",
        "_retired",
        "_send_rtcp",
        "_streams",
    )

    def __init__(
        self, *, negotiation: Negotiation, counters: SfuCounters, send_rtcp: SendRtcp, due: float
    ) -> None:
        self._negotiation = negotiation
        self._counters = counters
        self._send_rtcp = send_rtcp
        # SSRCs whose sender began anew, and until when nothing is taken from them.
        self._retired: dict[int, float] = {}
        # By SSRC: the encoding, and whether this stream is its retransmission (RFC 4588).
        self._streams: dict[int, tuple[Encoding, bool]] = {}
        self._arrivals = ArrivalLog()
        self._feedback_due = due
        self._receiver_report_due = due

    @property
    def is_silent(self) -> bool:
        """Whether nothing has ever arrived."""
        return not self._streams

    def encodings(self) -> list[Encoding]:
        """The streams that have arrived, without their retransmissions."""
        return [encoding for encoding, is_retransmission in self._streams.values() if not is_retransmission]

    def receives(self, ssrc: int) -> bool:
        """Tell whether an SSRC is one of the streams."""
        return ssrc in self._streams

    def clear(self) -> None:
        """Forget all streams."""
        self._streams.clear()

    def forget(self, publication: Publication) -> None:
        """End the streams of a publication."""
        for encoding in publication.encodings.values():
            self._release(encoding)
        publication.encodings.clear()

    def receive(self, data: bytes, arrival: float) -> tuple[Encoding, MediaPacket] | None:
        """Take in one decrypted packet; None when nobody is to see it."""
        counters = self._counters
        counters.rtp_received += 1
        counters.rtp_received_bytes += len(data)
        try:
            packet = parse_rtp(data, self._negotiation.extension_ids)
        except MalformedPacket:
            counters.dropped[DropReason.MALFORMED_RTP] += 1
            return None
        if packet.transport_sequence_number is not None:
            self._arrivals.add(packet.transport_sequence_number, arrival)
        stream = self._streams.get(packet.ssrc) or self._bind(packet, arrival)
        if stream is None:
            counters.dropped[DropReason.UNKNOWN_SSRC] += 1
            return None
        encoding, is_retransmission = stream
        if is_retransmission:
            media = encoding.receive_retransmission(packet, arrival)
        else:
            media = encoding.receive(packet, arrival)
        return None if media is None else (encoding, media)

    def sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        """Take in what the publisher's clocks say."""
        stream = self._streams.get(report.ssrc)
        if stream is not None and not stream[1]:
            stream[0].sender_report(report.ntp, report.rtp_timestamp, now)

    def repair(self, now: float, rtt_s: float | None) -> list[Encoding]:
        """Ask again for what is missing; return the encodings that need a key frame instead.

        `rtt_s` is None while it is not known otherwise than by how soon repairs come.
        """
        broken = []
        for encoding in self.encodings():
            if encoding.is_audio:
                # Opus carries the last packet again in the next one (in-band FEC): nothing to ask for.
                encoding.losses.forget()
                continue
            if encoding.losses.missing_count:
                missed_before = encoding.losses.missed_count
                numbers = encoding.losses.due(now, rtt_s)
                self._counters.packets_lost += encoding.losses.missed_count - missed_before
                if numbers:
                    self._counters.nacks_sent += len(numbers)
                    nack = rtcp.Nack(self._negotiation.ssrc, encoding.ssrc, tuple(numbers))
                    self._send_rtcp(self._negotiation.feedback(nack.pack()))
            abandoned, numbers = encoding.losses.abandoned()
            self._counters.packets_abandoned += abandoned
            if not abandoned or not (len(encoding.fan) or encoding.tap is not None):
                continue
            if len(numbers) < abandoned or any(is_missed(encoding.cache, one) for one in numbers):
                broken.append(encoding)
        return broken

    def report(self, now: float) -> bool:
        """Send the feedback and reports that are due; tell whether it was time for feedback."""
        if now >= self._receiver_report_due:
            self._receiver_report_due = now + RECEIVER_REPORT_S
            blocks = [_report_block(encoding, now) for encoding in self.encodings()]
            for start in range(0, len(blocks), REPORT_BLOCKS_MAX):
                part = tuple(blocks[start : start + REPORT_BLOCKS_MAX])
                ssrc = self._negotiation.ssrc
                report = rtcp.ReceiverReport(ssrc, part).pack()
                self._send_rtcp(report + self._negotiation.description((ssrc,)))
        if now < self._feedback_due or self.is_silent:
            return False
        self._feedback_due = now + TRANSPORT_FEEDBACK_S
        media_ssrc = next(iter(self._streams))
        for feedback in self._arrivals.build(now, self._negotiation.ssrc, media_ssrc):
            self._send_rtcp(self._negotiation.feedback(feedback))
        return True

    @property
    def repair_s(self) -> float | None:
        """How soon the quickest repair comes after its request: a round trip, as far as is known."""
        known = [one.losses.repair_s for one in self.encodings() if one.losses.repair_s is not None]
        return min(known, default=None)

    def _bind(self, packet: RtpPacket, arrival: float) -> tuple[Encoding, bool] | None:
        """Find what an unknown SSRC belongs to, and remember it."""
        if arrival < self._retired.get(packet.ssrc, 0.0):
            return None
        found = self._negotiation.identify(packet)
        if found is None or len(self._streams) >= STREAMS_MAX:
            return None
        publication, rid, is_retransmission = found
        if is_retransmission:
            encoding = publication.encodings.get(rid)
            if encoding is None:
                return None
        else:
            encoding = self._new_encoding(publication, rid, packet.ssrc, arrival)
        stream = encoding, is_retransmission
        self._streams[packet.ssrc] = stream
        return stream

    def _new_encoding(self, publication: Publication, rid: str, ssrc: int, arrival: float) -> Encoding:
        former = publication.encodings.get(rid)
        if former is not None:
            # The sender started anew: its numbers and its clock have nothing to do with the old ones.
            self._retire(former, arrival)
        encoding = self._negotiation.make_encoding(publication, rid, ssrc)
        publication.encodings[rid] = encoding
        return encoding

    def _retire(self, former: Encoding, arrival: float) -> None:
        """Let go of an encoding whose sender began anew; for a while nothing is taken from its SSRCs."""
        for ssrc in self._release(former):
            self._retired.pop(ssrc, None)
            self._retired[ssrc] = arrival + RETIRED_S
        while len(self._retired) > STREAMS_MAX:
            del self._retired[next(iter(self._retired))]

    def _release(self, encoding: Encoding) -> list[int]:
        """Close an encoding; return its SSRCs."""
        encoding.close()
        ssrcs = [ssrc for ssrc, stream in self._streams.items() if stream[0] is encoding]
        for ssrc in ssrcs:
            del self._streams[ssrc]
        return ssrcs


def _report_block(encoding: Encoding, now: float) -> rtcp.ReportBlock:
    """Tell how a stream arrives.

    Encoders put as much redundancy into Opus (RFC 6716, 2.1.7) as the share lost since the last report calls
    for. It has to last up to the ears: of a voice the line of a listener counts, too, where only the encoder
    can help. How many packets were lost in all, by which browsers judge their own line, is told as it is.
    """
    block = encoding.reception.report_block(now)
    if not encoding.is_audio:
        return block
    fraction_lost = min(int(encoding.publication.unprotected_loss * 256), 255)
    return replace(block, fraction_lost=max(block.fraction_lost, fraction_lost))
