"""A slot's mind: which encoding it shows, and how its numbers go on when that changes.

A receiver sees one SSRC for the whole conference. What it carries is a sequence of spans, each
fed by one encoding (through its `Fan`) with offsets fixed when the span began, chosen so that
sequence numbers, picture ids and TL0PICIDX go on by one and the timestamp by the time that passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from bridge.leg.fan import Fan, Span
from bridge.media.cache import PacketCache
from bridge.media.packet import MediaPacket
from bridge.transport import FanoutRows, Transport


class Origin(Protocol):
    """Where the packets of a span come from."""

    @property
    def cache(self) -> PacketCache[MediaPacket]:
        """Those that may be sent again."""


S = TypeVar("S", bound=Origin)

# Twenty switches in a few seconds still leave the packets of the last one to be asked for.
SPANS_REMEMBERED = 8


class Forwarder(Generic[S]):
    """Continues one outgoing stream over changes of its source."""

    __slots__ = (
        "_octets",
        "_packets",
        "_picture_id",
        "_sent_at",
        "_sequence_number",
        "_spans",
        "_timestamp",
        "_tl0_picture_index",
        "abs_send_time_id",
        "audio_level_id",
        "begins_at",
        "destination",
        "distance",
        "payload_types",
        "red_payload_type",
        "span",
        "ssrc",
        "transport_wide_id",
    )

    def __init__(
        self,
        *,
        destination: Transport,
        ssrc: int,
        payload_types: Mapping[str, int],
        abs_send_time_id: int,
        audio_level_id: int,
        transport_wide_id: int = 0,
        first_sequence_number: int,
        first_timestamp: int,
        red_payload_type: int | None = None,
    ) -> None:
        self.destination = destination
        self.ssrc = ssrc
        self.payload_types = dict(payload_types)
        # Of redundant audio; None where the receiver has not agreed to it.
        self.red_payload_type = red_payload_type
        # How many packets are sent once more with each one, whatever is shown.
        self.distance = 0
        self.abs_send_time_id = abs_send_time_id
        self.audio_level_id = audio_level_id
        # Who has one is told transport-wide numbers in the place of send times.
        self.transport_wide_id = transport_wide_id
        self.span: Span[S] | None = None
        # The outgoing RTP time of the first picture since the last switch.
        self.begins_at = first_timestamp
        self._spans: deque[Span[S]] = deque(maxlen=SPANS_REMEMBERED)
        # The last numbers sent, while no span is open.
        self._sequence_number = first_sequence_number - 1
        self._timestamp = first_timestamp
        self._picture_id = 0
        self._tl0_picture_index = 0
        self._sent_at: float | None = None
        self._packets = 0
        self._octets = 0

    @property
    def packets(self) -> int:
        """Packets sent so far, without retransmissions (a sender report's packet count)."""
        return self._packets + (self.span.packets if self.span else 0)

    @property
    def octets(self) -> int:
        """Payload bytes sent so far, without retransmissions (a sender report's octet count)."""
        return self._octets + (self.span.octets if self.span else 0)

    def switch(
        self,
        fan: Fan[S],
        packet: MediaPacket,
        *,
        codec: str,
        temporal_limit: int,
        prelude: MediaPacket | None = None,
    ) -> Span[S]:
        """Show `fan` from `packet` on, which the fan has not forwarded yet.

        For video the packet must be the first of a key frame. Where it came late, the span begins in the
        past: what came since is to be sent again to this forwarder. A `prelude` is to be sent before it.
        """
        self.stop()
        extended = packet.extended_sequence_number
        arrival = packet.arrival
        if extended <= fan.highest:
            # When it should have come: the time that passed until the newest packet is in their timestamps.
            arrival = fan.arrival - ((fan.timestamp - packet.timestamp) & 0xFFFFFFFF) / fan.clock_rate_hz
        elapsed_s = max(arrival - self._sent_at, 0.0) if self._sent_at is not None else 0.0
        timestamp = self._timestamp + max(int(elapsed_s * fan.clock_rate_hz), 1)
        self.begins_at = timestamp & 0xFFFFFFFF
        first = self._sequence_number + 1
        skipped, skipped_pictures = fan.skips[temporal_limit].before(extended)
        if prelude is not None:
            self._packets += 1
            self._octets += len(prelude.payload)
        return self._open(
            fan,
            codec_payload_type=self.payload_types[codec],
            temporal_limit=temporal_limit,
            first=first,
            sequence_offset=first + (prelude is not None) - (extended - skipped),
            timestamp_offset=timestamp - packet.timestamp,
            picture_offset=self._picture_id + 1 - packet.picture_id + skipped_pictures,
            tl0_offset=self._tl0_picture_index + 1 - packet.tl0_picture_index,
            start=extended,
            prelude=prelude,
        )

    def relimit(self, temporal_limit: int) -> Span[S]:
        """Go on with the same encoding and another temporal limit; called by the fan between pictures."""
        span = self.span
        if span is None:
            raise ValueError("a forwarder that shows nothing has no temporal limit")
        fan = span.fan
        self.stop()
        return self._open(
            fan,
            codec_payload_type=span.payload_type,
            temporal_limit=temporal_limit,
            first=self._sequence_number + 1,
            sequence_offset=self._sequence_number - (fan.highest - fan.skips[temporal_limit].packets),
            timestamp_offset=span.timestamp_offset,
            picture_offset=self._picture_id - (fan.picture_id - fan.skips[temporal_limit].pictures),
            tl0_offset=span.tl0_offset,
            start=fan.highest + 1,
        )

    def limit(self, temporal_limit: int) -> None:
        """Ask for more or fewer temporal layers (0 to `ALL_TEMPORAL_LAYERS`) of what is shown."""
        if self.span is not None:
            self.span.fan.change_limit(self.span, temporal_limit)

    def protect(self, distance: int) -> None:
        """Send so many packets once more with each one, where the receiver has agreed to that."""
        if self.red_payload_type is None or distance == self.distance:
            return
        self.distance = distance
        if self.span is not None:
            self.span.fan.change_distance(self.span, distance)

    def stop(self) -> None:
        """Show nothing; what comes next goes on from here."""
        span = self.span
        if span is None:
            return
        fan, limit = span.fan, span.temporal_limit
        if fan.highest >= span.start:
            self._sequence_number = fan.highest - fan.skips[limit].packets + span.sequence_offset
            self._timestamp = fan.timestamp + span.timestamp_offset
            self._sent_at = fan.arrival
            if fan.picture_id >= 0:
                self._picture_id = fan.picture_id - fan.skips[limit].pictures + span.picture_offset
            if fan.tl0_picture_index >= 0:
                self._tl0_picture_index = fan.tl0_picture_index + span.tl0_offset
        self._packets += span.packets
        self._octets += span.octets
        fan.detach(span)
        self.span = None

    def original(self, sequence_number: int) -> tuple[Span[S], int] | None:
        """Return the span and the incoming extended number of a 16-bit outgoing number, if remembered."""
        newest = self.newest
        outgoing = newest - ((newest - sequence_number) & 0xFFFF)
        for span in reversed(self._spans):
            if span.first <= outgoing:
                extended = span.fan.original(span.temporal_limit, outgoing - span.sequence_offset)
                return span, extended
        return None

    def remembered(self, sequence_number: int) -> tuple[Span[S], MediaPacket] | None:
        """Return the span and the packet that went out under a 16-bit number, while the packet is kept."""
        found = self.original(sequence_number)
        if found is None:
            return None
        span, extended = found
        packet = span.fan.source.cache.get(extended)
        if span.prelude is not None and sequence_number == span.first & 0xFFFF:
            packet = span.prelude
        if packet is None or packet.temporal_id > span.temporal_limit:
            return None
        return span, packet

    def repeat(self, span: Span[S], packet: MediaPacket, rows: FanoutRows) -> int:
        """Fill the first of `rows` with what `packet` was sent as; return its 16-bit outgoing number."""
        rows.timestamp[0] = packet.timestamp + span.timestamp_offset
        if packet is span.prelude:
            return span.first & 0xFFFF
        packets, pictures = span.fan.skips[span.temporal_limit].before(packet.extended_sequence_number)
        rows.picture_id[0] = packet.picture_id - pictures + span.picture_offset
        rows.tl0_picture_index[0] = packet.tl0_picture_index + span.tl0_offset
        return (packet.extended_sequence_number - packets + span.sequence_offset) & 0xFFFF

    @property
    def newest(self) -> int:
        """The last outgoing sequence number, extended: it counts on over all changes of source."""
        span = self.span
        if span is None or span.fan.highest < span.start:
            return self._sequence_number
        return span.fan.highest - span.fan.skips[span.temporal_limit].packets + span.sequence_offset

    def _open(
        self,
        fan: Fan[S],
        *,
        codec_payload_type: int,
        temporal_limit: int,
        first: int,
        sequence_offset: int,
        timestamp_offset: int,
        picture_offset: int,
        tl0_offset: int,
        start: int,
        prelude: MediaPacket | None = None,
    ) -> Span[S]:
        span = Span(
            self,
            fan,
            destination=self.destination,
            ssrc=self.ssrc,
            payload_type=codec_payload_type,
            abs_send_time_id=self.abs_send_time_id,
            audio_level_id=self.audio_level_id,
            transport_wide_id=self.transport_wide_id,
            temporal_limit=temporal_limit,
            first=first,
            sequence_offset=sequence_offset,
            timestamp_offset=timestamp_offset,
            picture_offset=picture_offset,
            tl0_offset=tl0_offset,
            start=start,
            prelude=prelude,
            red_payload_type=self.red_payload_type,
        )
        self.span = span
        self._spans.append(span)
        fan.attach(span)
        if self.distance:
            fan.change_distance(span, self.distance)
        return span
