"""The slots that show one encoding now, as columns, so that a packet is renumbered for all of them at once.

How numbers stay continuous. A slot's outgoing sequence number is the incoming one plus an
offset fixed when the slot took up the encoding. Where a slot leaves out the upper temporal
layers, the packets it never gets would tear holes; so the fan counts, for each temporal limit,
how many packets (and pictures) were skipped so far. Counted this way the numbers of the
remaining packets are compact, and are the same for every slot with that limit:

    outgoing = incoming - skips[limit].packets + offset of the slot

Skips are counted as packets arrive in order. A number missing at that moment is taken as one
to be forwarded; if it then turns out to belong to a layer the slot leaves out, one hole stays.
A late packet is numbered as if it had come in time: the skips after it are taken off again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.media.skips import SkipLog

if TYPE_CHECKING:
    from bridge.leg.forwarder import Span

ALL_TEMPORAL_LAYERS = 3
# A gap of more packets than this is not repaired (`NackGenerator` gives it up at once).
LEAP_MIN = 1000

MakeRoute = Callable[[Sequence[Any]], Any]


class Fan:
    """Renumbers the packets of one encoding for every slot that shows it."""

    __slots__ = (
        "_count_by_temporal_id",
        "_is_stale",
        "_limit_changes",
        "_limited",
        "_make_route",
        "_oldest",
        "_picture_offset",
        "_rows",
        "_sequence_offset",
        "_spans",
        "_timestamp_offset",
        "_tl0_offset",
        "arrival",
        "clock_rate_hz",
        "highest",
        "octets",
        "packets",
        "picture_id",
        "skips",
        "source",
        "timestamp",
        "tl0_picture_index",
    )

    def __init__(self, *, source: Any, clock_rate_hz: int, make_route: MakeRoute) -> None:
        # Whoever owns this fan; handed back to those who find a packet's origin by its span.
        self.source = source
        self.clock_rate_hz = clock_rate_hz
        self._make_route = make_route
        # Where the incoming stream is: its newest packet in order.
        self.highest = -1
        self.timestamp = 0
        self.picture_id = -1
        self.tl0_picture_index = -1
        self.arrival = 0.0
        # Earlier numbers lie before a leap of the sender and are forgotten.
        self._oldest = -1
        # By temporal limit, 0 to ALL_TEMPORAL_LAYERS.
        self.skips = tuple(SkipLog() for _ in range(ALL_TEMPORAL_LAYERS + 1))
        self.packets = [0] * (ALL_TEMPORAL_LAYERS + 1)
        self.octets = [0] * (ALL_TEMPORAL_LAYERS + 1)
        # Ordered by temporal limit, highest first: whoever gets a temporal layer is a prefix.
        self._spans: list[Span] = []
        self._limit_changes: dict[Span, int] = {}
        self._is_stale = False
        self._rows: Rows | None = None
        self._count_by_temporal_id = [0] * (ALL_TEMPORAL_LAYERS + 1)
        self._limited: list[tuple[slice, int]] = []
        self._sequence_offset: NDArray[np.int64] = np.zeros(0, np.int64)
        self._timestamp_offset: NDArray[np.int64] = np.zeros(0, np.int64)
        self._picture_offset: NDArray[np.int64] = np.zeros(0, np.int64)
        self._tl0_offset: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def spans(self) -> Sequence[Span]:
        """The stretches of output that this fan feeds now."""
        return self._spans

    def attach(self, span: Span) -> None:
        """Send the packets from now on to `span` too."""
        self._spans.append(span)
        self._is_stale = True

    def detach(self, span: Span) -> None:
        """Send nothing more to `span`."""
        self._spans.remove(span)
        self._limit_changes.pop(span, None)
        self._is_stale = True

    def change_limit(self, span: Span, temporal_limit: int) -> None:
        """Let `span` have more or fewer temporal layers, at the next picture where that is possible."""
        if temporal_limit == span.temporal_limit:
            self._limit_changes.pop(span, None)
        else:
            self._limit_changes[span] = temporal_limit

    def forward(self, packet: MediaPacket) -> tuple[Rows, int] | None:
        """Return the rows of those who get `packet`, and how many of them from the first on."""
        extended = packet.extended_sequence_number
        if extended <= self.highest:
            return self._forward_late(packet)
        if self._limit_changes and packet.starts_frame:
            self._apply_limit_changes(packet)
        self.leap(extended)
        begins_picture = packet.picture_id != self.picture_id
        self.highest = extended
        self.timestamp = packet.timestamp
        self.picture_id = packet.picture_id
        self.tl0_picture_index = packet.tl0_picture_index
        self.arrival = packet.arrival
        temporal_id = packet.temporal_id
        for limit in range(temporal_id):
            self.skips[limit].note(extended, int(begins_picture))
        octets = len(packet.payload)
        for limit in range(temporal_id, ALL_TEMPORAL_LAYERS + 1):
            self.packets[limit] += 1
            self.octets[limit] += octets
        if self._is_stale:
            self._rebuild()
        count = self._count_by_temporal_id[temporal_id]
        rows = self._rows
        if not count or rows is None:
            return None
        self._number(packet, rows)
        for where, limit in self._limited:
            skips = self.skips[limit]
            if skips.packets:
                rows.sequence_number[where] -= skips.packets
                rows.picture_id[where] -= skips.pictures
        return rows, count

    def skip(self, extended_sequence_number: int) -> None:
        """Close the gap that a packet nobody needs (padding) would leave."""
        if extended_sequence_number <= self.highest:
            return
        self.leap(extended_sequence_number)
        self.highest = extended_sequence_number
        for skips in self.skips:
            skips.note(extended_sequence_number, 0)

    def original(self, limit: int, compact_number: int) -> int:
        """Return the incoming extended number that became `compact_number`; -1 when that is forgotten."""
        extended = self.skips[limit].number_of(compact_number)
        return extended if extended >= self._oldest else -1

    def leap(self, extended: int) -> None:
        """Close the gap that a sender's jump to `extended` would leave; before anybody begins there.

        Receivers could not follow it: SRTP takes no packet that lies 2^15 ahead (RFC 3711, 3.3.1),
        and neither would they take those of the next source in the same slot.
        """
        gap = extended - self.highest - 1
        if gap > LEAP_MIN and self.highest >= 0:
            self.highest = extended - 1
            self._oldest = extended
            for skips in self.skips:
                skips.leap(gap)

    def _number(self, packet: MediaPacket, rows: Rows) -> None:
        """Fill the columns for all spans, as if none of them had left anything out."""
        np.add(self._sequence_offset, packet.extended_sequence_number, out=rows.sequence_number)
        np.add(self._timestamp_offset, packet.timestamp, out=rows.timestamp)
        if packet.picture_id_offset >= 0:
            np.add(self._picture_offset, packet.picture_id, out=rows.picture_id)
        if packet.tl0_offset >= 0:
            np.add(self._tl0_offset, packet.tl0_picture_index, out=rows.tl0_picture_index)

    def forward_again(self, packet: MediaPacket, spans: Sequence[Span]) -> tuple[Rows, int] | None:
        """Return the rows of those of `spans` that get `packet`, which came before they did."""
        return self._rows_of_late(
            packet, [span for span in spans if span.temporal_limit >= packet.temporal_id]
        )

    def first_rows(self, packet: MediaPacket, spans: Sequence[Span]) -> Rows:
        """Return the rows of `packet` as the very first one of each of `spans`."""
        rows = _rows(spans, self._make_route)
        for row, span in enumerate(spans):
            rows.sequence_number[row] = span.first
            rows.timestamp[row] = packet.timestamp + span.timestamp_offset
        return rows

    def _forward_late(self, packet: MediaPacket) -> tuple[Rows, int] | None:
        extended = packet.extended_sequence_number
        if extended < self._oldest:
            return None
        if self._is_stale:
            self._rebuild()
        count = self._count_by_temporal_id[packet.temporal_id]
        spans = [span for span in self._spans[:count] if span.start <= extended]
        if not spans:
            return None
        octets = len(packet.payload)
        for limit in range(packet.temporal_id, ALL_TEMPORAL_LAYERS + 1):
            self.packets[limit] += 1
            self.octets[limit] += octets
        rows = self._rows
        if len(spans) < count or rows is None:
            return self._rows_of_late(packet, spans)
        self._number(packet, rows)
        for where, limit in self._limited:
            packets, pictures = self.skips[limit].before(extended)
            rows.sequence_number[where] -= packets
            rows.picture_id[where] -= pictures
        return rows, count

    def _rows_of_late(self, packet: MediaPacket, spans: Sequence[Span]) -> tuple[Rows, int] | None:
        if not spans:
            return None
        extended = packet.extended_sequence_number
        rows = _rows(spans, self._make_route)
        limits = {span.temporal_limit for span in spans}
        compact = {limit: self.skips[limit].before(extended) for limit in limits}
        for row, span in enumerate(spans):
            packets, pictures = compact[span.temporal_limit]
            rows.sequence_number[row] = extended - packets + span.sequence_offset
            rows.timestamp[row] = packet.timestamp + span.timestamp_offset
            rows.picture_id[row] = packet.picture_id - pictures + span.picture_offset
            rows.tl0_picture_index[row] = packet.tl0_picture_index + span.tl0_offset
        return rows, len(spans)

    def _apply_limit_changes(self, packet: MediaPacket) -> None:
        for span, wanted in list(self._limit_changes.items()):
            limit = span.temporal_limit
            if wanted < limit or packet.is_keyframe:
                limit = wanted
            elif packet.layer_sync and packet.temporal_id == limit + 1:
                # Only a picture that leans on nothing but the base layer may be the first of
                # its layer (RFC 7741, 4.2, the Y bit); so the way up is one layer at a time.
                limit = packet.temporal_id if packet.temporal_id < 2 else wanted
            else:
                continue
            del self._limit_changes[span]
            successor = span.forwarder.relimit(limit)
            if wanted > limit:
                self._limit_changes[successor] = wanted

    def _rebuild(self) -> None:
        self._is_stale = False
        self._spans.sort(key=lambda span: -span.temporal_limit)
        spans = self._spans
        limits = [span.temporal_limit for span in spans]
        self._count_by_temporal_id = [
            sum(limit >= temporal_id for limit in limits) for temporal_id in range(ALL_TEMPORAL_LAYERS + 1)
        ]
        self._limited = [
            (slice(limits.index(limit), limits.index(limit) + limits.count(limit)), limit)
            for limit in sorted(set(limits))
        ]
        self._rows = _rows(spans, self._make_route) if spans else None
        self._sequence_offset = np.array([span.sequence_offset for span in spans], np.int64)
        self._timestamp_offset = np.array([span.timestamp_offset for span in spans], np.int64)
        self._picture_offset = np.array([span.picture_offset for span in spans], np.int64)
        self._tl0_offset = np.array([span.tl0_offset for span in spans], np.int64)


def _rows(spans: Sequence[Span], make_route: MakeRoute) -> Rows:
    forwarders = [span.forwarder for span in spans]
    return Rows(
        route=make_route([forwarder.destination for forwarder in forwarders]),
        ssrc=[forwarder.ssrc for forwarder in forwarders],
        payload_type=[span.payload_type for span in spans],
        abs_send_time_id=[forwarder.abs_send_time_id for forwarder in forwarders],
        audio_level_id=[forwarder.audio_level_id for forwarder in forwarders],
    )
