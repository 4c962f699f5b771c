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

Where a line loses voices, its span is protected: the same packets under the same numbers, with redundancy
in front of them (`bridge.media.protection`). Protected spans stand in columns of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from bridge.media.packet import MediaPacket
from bridge.media.protection import DISTANCE_MAX
from bridge.media.rows import Rows
from bridge.media.skips import SkipLog
from bridge.transport import FanoutRows, Route, Transport

ALL_TEMPORAL_LAYERS = 3
# A gap of more packets than this is not repaired (`NackGenerator` gives it up at once).
LEAP_MIN = 1000

S = TypeVar("S")
MakeRoute = Callable[[Sequence[Transport]], Route]


class SpanOwner(Protocol[S]):
    """Whose output a span is a stretch of."""

    def relimit(self, temporal_limit: int) -> Span[S]:
        """Go on in another span, with another temporal limit; called by the fan between pictures."""

    def stop(self) -> None:
        """Show nothing more; detaches the span."""


class Span(Generic[S]):
    """A stretch of a slot's output that came from one fan, with constant offsets."""

    __slots__ = (
        "_octets_before",
        "_packets_before",
        "_redundant_before",
        "_redundant_octets",
        "abs_send_time_id",
        "audio_level_id",
        "destination",
        "distance",
        "fan",
        "first",
        "owner",
        "payload_type",
        "picture_offset",
        "prelude",
        "red_payload_type",
        "sequence_offset",
        "ssrc",
        "start",
        "temporal_limit",
        "timestamp_offset",
        "tl0_offset",
        "transport_wide_id",
    )

    def __init__(
        self,
        owner: SpanOwner[S],
        fan: Fan[S],
        *,
        destination: Transport,
        ssrc: int,
        payload_type: int,
        abs_send_time_id: int,
        audio_level_id: int,
        transport_wide_id: int = 0,
        temporal_limit: int,
        first: int,
        sequence_offset: int,
        timestamp_offset: int,
        picture_offset: int,
        tl0_offset: int,
        start: int,
        prelude: MediaPacket | None = None,
        red_payload_type: int | None = None,
    ) -> None:
        self.owner = owner
        self.fan = fan
        # What all its packets bear.
        self.destination = destination
        self.ssrc = ssrc
        self.payload_type = payload_type
        # Of redundant audio; None where it must not be sent. How many packets it holds beside the newest.
        self.red_payload_type = red_payload_type
        self.distance = 0
        self.abs_send_time_id = abs_send_time_id
        self.audio_level_id = audio_level_id
        self.transport_wide_id = transport_wide_id
        self.temporal_limit = temporal_limit
        # The first outgoing number, and the incoming one from which on packets belong to it.
        self.first = first
        self.start = start
        # What has the first outgoing number, where that is not the first incoming packet.
        self.prelude = prelude
        self.sequence_offset = sequence_offset
        self.timestamp_offset = timestamp_offset
        self.picture_offset = picture_offset
        self.tl0_offset = tl0_offset
        self._packets_before = fan.packets[temporal_limit]
        self._octets_before = fan.octets[temporal_limit]
        # What redundancy took, at other distances and before this one.
        self._redundant_octets = 0
        self._redundant_before = 0

    @property
    def packets(self) -> int:
        """How many packets this span has carried, without retransmissions."""
        return self.fan.packets[self.temporal_limit] - self._packets_before

    @property
    def octets(self) -> int:
        """How many payload bytes this span has carried, without retransmissions."""
        redundant = self.fan.redundant_octets[self.distance] - self._redundant_before
        return self.fan.octets[self.temporal_limit] - self._octets_before + self._redundant_octets + redundant

    def protect(self, distance: int) -> None:
        """Go on at another distance; called by the fan between packets."""
        fan = self.fan
        self._redundant_octets += fan.redundant_octets[self.distance] - self._redundant_before
        self.distance = distance
        self._redundant_before = fan.redundant_octets[distance]


def ranked(spans: Iterable[Span[S]]) -> list[Span[S]]:
    """Return spans with the highest temporal limit first: whoever gets a temporal layer is a prefix."""
    return sorted(spans, key=lambda span: -span.temporal_limit)


class Columns:
    """Some spans of a fan side by side, in the order of `ranked`, and the rows of their packets."""

    __slots__ = (
        "_limited",
        "_picture_offset",
        "_sequence_offset",
        "_timestamp_offset",
        "_tl0_offset",
        "count_by_temporal_id",
        "rows",
    )

    def __init__(
        self, ordered: Sequence[Span[S]], make_route: MakeRoute, *, is_protected: bool = False
    ) -> None:
        limits = [span.temporal_limit for span in ordered]
        self.rows: FanoutRows = Rows(
            route=make_route([span.destination for span in ordered]),
            ssrc=[span.ssrc for span in ordered],
            payload_type=[
                (span.red_payload_type if is_protected else None) or span.payload_type for span in ordered
            ],
            abs_send_time_id=[span.abs_send_time_id for span in ordered],
            audio_level_id=[span.audio_level_id for span in ordered],
            transport_wide_id=[span.transport_wide_id for span in ordered],
        )
        counts = [limits.count(limit) for limit in range(ALL_TEMPORAL_LAYERS + 1)]
        self.count_by_temporal_id = [sum(counts[temporal_id:]) for temporal_id in range(len(counts))]
        self._limited = [
            (slice(limits.index(limit), limits.index(limit) + limits.count(limit)), limit)
            for limit in sorted(set(limits))
        ]
        self._sequence_offset = np.array([span.sequence_offset for span in ordered], np.int64)
        self._timestamp_offset = np.array([span.timestamp_offset for span in ordered], np.int64)
        self._picture_offset = np.array([span.picture_offset for span in ordered], np.int64)
        self._tl0_offset = np.array([span.tl0_offset for span in ordered], np.int64)

    def number(self, packet: MediaPacket, skips: Sequence[SkipLog], *, is_late: bool) -> None:
        """Fill the rows for the newest packet, or for an earlier one as if it had come in time."""
        rows = self.rows
        np.add(self._sequence_offset, packet.extended_sequence_number, out=rows.sequence_number)
        np.add(self._timestamp_offset, packet.timestamp, out=rows.timestamp)
        if packet.picture_id_offset >= 0:
            np.add(self._picture_offset, packet.picture_id, out=rows.picture_id)
        if packet.tl0_offset >= 0:
            np.add(self._tl0_offset, packet.tl0_picture_index, out=rows.tl0_picture_index)
        for where, limit in self._limited:
            skipped = skips[limit]
            if not skipped.packets:
                continue
            packets, pictures = skipped.packets, skipped.pictures
            if is_late:
                packets, pictures = skipped.before(packet.extended_sequence_number)
            rows.sequence_number[where] -= packets
            rows.picture_id[where] -= pictures


class ProtectedSpans(Generic[S]):
    """Those of a fan's spans that are sent the same redundancy."""

    __slots__ = ("_make_route", "_plain", "_spans", "columns", "distance", "payload_type")

    def __init__(self, spans: Iterable[Span[S]], make_route: MakeRoute) -> None:
        self._spans = ranked(spans)
        self._make_route = make_route
        self._plain: Columns | None = None
        self.distance = self._spans[0].distance
        # Of the blocks that the redundant audio consists of.
        self.payload_type = self._spans[0].payload_type
        self.columns = Columns(self._spans, make_route, is_protected=True)

    @property
    def plain(self) -> Columns:
        """For a packet that no redundancy fits, and that goes as it is."""
        if self._plain is None:
            self._plain = Columns(self._spans, self._make_route)
        return self._plain


class Fan(Generic[S]):
    """Renumbers the packets of one encoding for every slot that shows it."""

    __slots__ = (
        "_columns",
        "_distance_changes",
        "_is_stale",
        "_late",
        "_limit_changes",
        "_make_route",
        "_newest_start",
        "_oldest",
        "_spans",
        "arrival",
        "clock_rate_hz",
        "highest",
        "octets",
        "packets",
        "picture_id",
        "protected",
        "redundant_octets",
        "skips",
        "source",
        "timestamp",
        "tl0_picture_index",
    )

    def __init__(self, *, source: S, clock_rate_hz: int, make_route: MakeRoute) -> None:
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
        # In the order in which they came.
        self._spans: dict[Span[S], None] = {}
        self._limit_changes: dict[Span[S], int] = {}
        self._distance_changes: dict[Span[S], int] = {}
        # Those that get redundancy; `forward` has rows for the others alone.
        self.protected: Sequence[ProtectedSpans[S]] = ()
        # How many bytes redundancy has added so far to what each distance was sent.
        self.redundant_octets = [0] * (DISTANCE_MAX + 1)
        self._is_stale = False
        # None while there are no spans; `_late` are those of the spans that had begun by a late packet, with
        # how many these were: the same ones for one late packet after the other.
        self._columns: Columns | None = None
        self._late: tuple[int, Columns] | None = None
        self._newest_start = -1

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def spans(self) -> Collection[Span[S]]:
        """The stretches of output that this fan feeds now."""
        return self._spans.keys()

    def attach(self, span: Span[S]) -> None:
        """Send the packets from now on to `span` too."""
        self._spans[span] = None
        self._is_stale = True

    def detach(self, span: Span[S]) -> None:
        """Send nothing more to `span`."""
        del self._spans[span]
        self._limit_changes.pop(span, None)
        self._distance_changes.pop(span, None)
        self._is_stale = True

    def change_limit(self, span: Span[S], temporal_limit: int) -> None:
        """Let `span` have more or fewer temporal layers, at the next picture where that is possible."""
        if temporal_limit == span.temporal_limit:
            self._limit_changes.pop(span, None)
        else:
            self._limit_changes[span] = temporal_limit

    def change_distance(self, span: Span[S], distance: int) -> None:
        """Let `span` have so many packets again with each one, as soon as it has been sent that many."""
        if distance == span.distance or span.red_payload_type is None:
            self._distance_changes.pop(span, None)
        else:
            self._distance_changes[span] = distance

    def forward(self, packet: MediaPacket) -> tuple[FanoutRows, int] | None:
        """Return the rows of those who get `packet` as it is, and how many of them from the first on."""
        extended = packet.extended_sequence_number
        if extended <= self.highest:
            return self._forward_late(packet)
        if self._limit_changes and packet.starts_frame:
            self._apply_limit_changes(packet)
        if self._distance_changes:
            self._apply_distance_changes(extended)
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
        columns = self._build() if self._is_stale else self._columns
        if columns is None:
            return None
        count = columns.count_by_temporal_id[temporal_id]
        if not count:
            return None
        columns.number(packet, self.skips, is_late=False)
        return columns.rows, count

    def forward_protected(
        self, packet: MediaPacket, *, is_plain: bool
    ) -> Iterator[tuple[ProtectedSpans[S], FanoutRows, int]]:
        """Yield protected spans and their rows for the newest packet; if it `is_plain`, for it alone."""
        for spans in self.protected:
            columns = spans.plain if is_plain else spans.columns
            columns.number(packet, self.skips, is_late=False)
            yield spans, columns.rows, columns.count_by_temporal_id[packet.temporal_id]

    def late_columns(self, spans: Iterable[Span[S]]) -> Columns:
        """Return the columns of some spans that are to get packets which came before they did."""
        return Columns(ranked(spans), self._make_route)

    def forward_again(self, packet: MediaPacket, columns: Columns) -> tuple[FanoutRows, int] | None:
        """Return the rows of those of `late_columns` that get `packet`."""
        count = columns.count_by_temporal_id[packet.temporal_id]
        if not count:
            return None
        columns.number(packet, self.skips, is_late=True)
        return columns.rows, count

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

    def first_rows(self, packet: MediaPacket, spans: Sequence[Span[S]]) -> FanoutRows:
        """Return the rows of `packet` as the very first one of each of `spans`."""
        ordered = ranked(spans)
        rows = Columns(ordered, self._make_route).rows
        for row, span in enumerate(ordered):
            rows.sequence_number[row] = span.first
            rows.timestamp[row] = packet.timestamp + span.timestamp_offset
        return rows

    def _forward_late(self, packet: MediaPacket) -> tuple[FanoutRows, int] | None:
        extended = packet.extended_sequence_number
        if extended < self._oldest:
            return None
        columns = self._build() if self._is_stale else self._columns
        if columns is None and not self.protected:
            return None
        # Whoever is protected gets a late packet as it is: what came before it has been sent again already.
        if columns is None or self.protected or extended < self._newest_start:
            begun = [span for span in self._spans if span.start <= extended]
            if not begun:
                return None
            # Whoever had begun by one packet had by a later one, too: as many are the same ones.
            if self._late is None or self._late[0] != len(begun):
                self._late = len(begun), self.late_columns(begun)
            _, columns = self._late
        watched = self.forward_again(packet, columns)
        if watched is None:
            return None
        octets = len(packet.payload)
        for limit in range(packet.temporal_id, ALL_TEMPORAL_LAYERS + 1):
            self.packets[limit] += 1
            self.octets[limit] += octets
        return watched

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
            successor = span.owner.relimit(limit)
            if wanted > limit:
                self._limit_changes[successor] = wanted

    def _apply_distance_changes(self, extended: int) -> None:
        """Change the distances of spans that have been sent all that they would be sent again."""
        for span, distance in list(self._distance_changes.items()):
            if span.start + distance <= extended:
                del self._distance_changes[span]
                span.protect(distance)
                self._is_stale = True

    def _build(self) -> Columns | None:
        self._is_stale = False
        self._late = None
        self._newest_start = max((span.start for span in self._spans), default=-1)
        plain = [span for span in self._spans if not span.distance]
        self._columns = Columns(ranked(plain), self._make_route) if plain else None
        if self.protected or len(plain) < len(self._spans):
            alike: dict[tuple[int, int], list[Span[S]]] = {}
            for span in self._spans:
                if span.distance:
                    alike.setdefault((span.distance, span.payload_type), []).append(span)
            self.protected = [ProtectedSpans(spans, self._make_route) for spans in alike.values()]
        return self._columns
