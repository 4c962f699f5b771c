"""Copies of one packet to many receivers: patched as columns, protected in place, one system call.

The seam for a compiled version: plain numbers in (`bridge.media.rows`), datagrams out. All copies share
one layout, so what differs is written by numpy as columns of a matrix with one packet per row:

    0                   12                20 or 24
    RTP header (12)     extension block   payload, with the VP8 picture id and TL0PICIDX patched
    video: 0xBEDE, 1 word:  [abs-send-time 1+3]
    audio: 0xBEDE, 2 words: [audio level 1+1][abs-send-time 1+3][padding 2]

An abs-send-time that a receiver did not negotiate is written with id 15, at which receivers stop
reading (RFC 8285, 4.2); an audio level that it did not negotiate becomes padding. Who negotiated
transport-wide numbers is told one in the place of the abs-send-time: [number 1+2][padding 1].
"""

import errno
import struct
from collections.abc import Sequence
from typing import Final, TypeAlias
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from bridge.base.counters import DropReason, PortCounters
from bridge.media.packet import OutgoingPacket
from bridge.media.rows import Rows
from bridge.transport import srtp
from bridge.transport.departures import NOBODY, RING, Departures, ranks_of
from bridge.transport.mmsg import Messages, Sender, address_of, bytes_at, new_arena
from bridge.transport.paths import UdpPath
from bridge.transport.tcp import TcpConnection
from bridge.transport.transport import FollowingRoute, Transport

STRIDE_BYTES: Final = 1536
# Rows per system call; the kernel takes no more than 1024 (UIO_MAXIOV).
ROWS_MAX: Final = 1024

_VIDEO_PREFIX: Final = bytes.fromhex("90000000 00000000 00000000 BEDE0001")
_AUDIO_PREFIX: Final = bytes.fromhex("90000000 00000000 00000000 BEDE0002 1000")
# The V bit beside the level (RFC 6464, 3).
_IS_VOICE: Final = 0x80
# Up to here writing row by row is quicker than by column.
FEW: Final = 3

_VIDEO_HEADER: Final = struct.Struct("!BBHIIHHI")
_AUDIO_HEADER: Final = struct.Struct("!BBHIIHHHIH")
_PAYLOAD_BYTES_MAX: Final = STRIDE_BYTES - 24 - srtp.TRAILER_BYTES_MAX
_ABS_SEND_TIME_HEADER: Final = np.array([0xF2] + [(n & 15) << 4 | 2 for n in range(1, 256)], dtype=np.uint8)


class _Block:
    """Up to ROWS_MAX rows of a route: message headers for the UDP ones, connections for the TCP ones."""

    __slots__ = (
        "_transports",
        "departure_bases",
        "departure_ranks",
        "departure_rows",
        "lengths",
        "messages",
        "packets",
        "ready_before",
        "sessions",
        "tcp",
        "tcp_before",
        "tcp_messages",
        "udp_before",
        "udp_numbers",
    )

    def __init__(self, transports: Sequence[Transport], arena_rows: Sequence[srtp.CData]) -> None:
        self._transports = transports
        self.messages = Messages(len(transports))
        self.refresh(arena_rows)

    def refresh(self, arena_rows: Sequence[srtp.CData]) -> None:
        """Look up again which transports can be sent to, and how."""
        # Columns over the rows that can be sent to, in the order of the rows; `udp_numbers` is a
        # row's place among the messages, -1 for TCP.
        self.sessions: list[srtp.CData] = []
        self.packets: list[srtp.CData] = []
        self.lengths: list[srtp.CData] = []
        self.udp_numbers: list[int] = []
        self.tcp: list[tuple[TcpConnection, int]] = []
        self.tcp_messages: Messages | None = None
        # How many rows before row i can be sent to: at all, by UDP, by TCP.
        self.ready_before = [0]
        self.udp_before = [0]
        self.tcp_before = [0]
        headers: list[tuple[int, int, int, int, int]] = []
        departure_rows: list[int] = []
        pointers = self.messages.length_pointers
        for transport, packet in zip(self._transports, arena_rows, strict=False):
            path = transport.path
            is_ready = transport.tx is not None and path is not None
            # What does not leave has no number: to the receiver it would be lost.
            departure_rows.append(transport.departure_row if is_ready else NOBODY)
            if transport.tx is not None and path is not None:
                if isinstance(path, UdpPath):
                    end = transport.endpoint
                    self.udp_numbers.append(len(headers))
                    self.lengths.append(pointers[len(headers)])
                    headers.append(
                        (
                            end.name_address,
                            end.name_bytes,
                            end.control_address,
                            end.control_bytes,
                            address_of(packet),
                        )
                    )
                else:
                    if self.tcp_messages is None:
                        self.tcp_messages = Messages(len(self._transports))
                    self.udp_numbers.append(-1)
                    self.lengths.append(self.tcp_messages.length_pointers[len(self.tcp)])
                    self.tcp.append((path, len(self.sessions)))
                self.sessions.append(transport.tx)
                self.packets.append(packet)
            self.ready_before.append(len(self.sessions))
            self.udp_before.append(len(headers))
            self.tcp_before.append(len(self.tcp))
        if headers:
            self.messages.address(np.array(headers, dtype=np.uint64))
        self.departure_rows = np.array(departure_rows, np.int64)
        self.departure_bases = self.departure_rows * RING
        # One transport may show one camera twice, large and small.
        self.departure_ranks = ranks_of(departure_rows)


class Route:
    """The transports of a `Rows`, with everything looked up that sending needs. Made by `Fanout.route`."""

    __slots__ = ("__weakref__", "_arena_rows", "blocks", "is_stale")

    def __init__(self, transports: Sequence[Transport], arena_rows: Sequence[srtp.CData]) -> None:
        self._arena_rows = arena_rows
        self.is_stale = False
        self.blocks = [
            _Block(transports[first : first + ROWS_MAX], arena_rows)
            for first in range(0, len(transports), ROWS_MAX)
        ]

    def refresh(self) -> None:
        """Catch up with transports that connected, closed, or moved between UDP and TCP."""
        self.is_stale = False
        for block in self.blocks:
            block.refresh(self._arena_rows)


class _Prepared:
    """The bytes of the headers of some rows that are the same in each packet, bytes 8 to 16 in one piece."""

    __slots__ = ("audio", "element", "is_wide", "video", "wants_level", "wide")

    def __init__(self, rows: "FanoutRows") -> None:
        count = len(rows.ssrc)
        ssrc = rows.ssrc.astype(">u4").view(np.uint8).reshape(count, 4)
        is_wide = rows.transport_wide_id > 0
        # The rows that are told a transport-wide number, and whether all are.
        self.wide: NDArray[np.int64] = np.flatnonzero(is_wide)
        self.is_wide = bool(is_wide.all())
        # The first byte of the last element: of the transport-wide number, or of the abs-send-time.
        self.element: NDArray[np.uint8] = np.where(
            is_wide, rows.transport_wide_id << 4 | 1, _ABS_SEND_TIME_HEADER[rows.abs_send_time_id]
        ).astype(np.uint8)
        self.wants_level = (rows.audio_level_id > 0).astype(np.uint8)
        self.video: NDArray[np.uint8] = np.empty((count, 9), np.uint8)
        self.video[:, :4] = ssrc
        self.video[:, 4:8] = np.frombuffer(_VIDEO_PREFIX[12:16], np.uint8)
        self.video[:, 8] = self.element
        self.audio: NDArray[np.uint8] = np.empty((count, 9), np.uint8)
        self.audio[:, :4] = ssrc
        self.audio[:, 4:8] = np.frombuffer(_AUDIO_PREFIX[12:16], np.uint8)
        self.audio[:, 8] = rows.audio_level_id << 4


FanoutRows: TypeAlias = Rows[Route, _Prepared]


class Fanout:
    """Sends copies of a packet through one media port."""

    def __init__(self, sender: Sender, counters: PortCounters) -> None:
        self._sender = sender
        self._counters = counters
        # What was sent to those who are told transport-wide numbers.
        self.departures = Departures()
        self._arena, matrix, self._arena_rows = new_arena(ROWS_MAX, STRIDE_BYTES)
        self._matrix = matrix
        self._view = memoryview(self._matrix.reshape(-1).data)
        self._second_byte = matrix[:, 1]
        self._sequence_number = self._column(2, ">u2")
        self._timestamp = self._column(4, ">u4")
        self._video_number = self._column(17, ">u2")
        self._audio_number = self._column(19, ">u2")
        # By offset in the packet: at most STRIDE_BYTES of them, a handful in practice.
        self._picture_id: dict[int, NDArray[np.uint16]] = {}

    def route(self, transports: Sequence[Transport]) -> Route:
        """Prepare the way to these transports, in the order of the rows to be sent."""
        if len(transports) == 1:
            # Retransmissions ask for the same one again and again.
            (transport,) = transports
            route = transport.own_route
            if not isinstance(route, Route):
                route = transport.own_route = Route([transport], self._arena_rows)
                transport.follow(ref(route))
            return route
        route = Route(list(transports), self._arena_rows)
        follower: ref[FollowingRoute] = ref(route)
        for transport in transports:
            transport.follow(follower)
        return route

    def send(self, packet: OutgoingPacket, rows: FanoutRows, count: int, now: float) -> int:
        """Send `packet` to the first `count` rows; return how many datagrams and frames went out.

        `now` (monotonic seconds) becomes the abs-send-time. Rows that cannot be sent to are counted
        in the port's drops by reason, and the others go on.
        """
        route = rows.route
        if route.is_stale:
            route.refresh()
        if len(packet.payload) > _PAYLOAD_BYTES_MAX:
            self._counters.dropped[DropReason.OVERSIZED] += count
            return 0
        if count <= ROWS_MAX:
            return self._send_block(route.blocks[0], packet, rows, 0, count, now) if count else 0
        return sum(
            self._send_block(block, packet, rows, first, min(count - first, ROWS_MAX), now)
            for block, first in zip(route.blocks, range(0, count, ROWS_MAX), strict=False)
        )

    def _send_block(
        self, block: _Block, packet: OutgoingPacket, rows: FanoutRows, first: int, count: int, now: float
    ) -> int:
        ready = block.ready_before[count]
        dropped = self._counters.dropped
        if ready != count:
            dropped[DropReason.NOT_CONNECTED] += count - ready
            if not ready:
                return 0
        if count <= FEW:
            length = self._write_few(block, packet, rows, first, count, now)
        else:
            length = self._write(block, packet, rows, first, count, now)
        udp = block.udp_before[count]
        block.messages.lengths[:udp] = length
        if udp != ready and block.tcp_messages is not None:
            block.tcp_messages.lengths[: ready - udp] = length
        statuses = list(
            map(srtp.protect, block.sessions[:ready], block.packets[:ready], block.lengths[:ready])
        )
        errors: dict[int, int] = {}
        if any(statuses):
            sent = self._send_protected(block, udp, statuses, errors)
        else:
            sent = self._sender.send_many(block.messages.headers, 0, udp, errors)
        for error, failed in errors.items():
            is_full = error in (errno.EAGAIN, errno.ENOBUFS)
            dropped[DropReason.SEND_BUFFER_FULL if is_full else DropReason.SEND_FAILED] += failed
        if udp != ready:
            sent += self._send_tcp(block, block.tcp_before[count], statuses)
        self._counters.datagrams_sent += sent
        self._counters.bytes_sent += sent * (length + srtp.TRAILER_BYTES_MAX)
        return sent

    def _send_protected(
        self, block: _Block, udp: int, statuses: Sequence[int], errors: dict[int, int]
    ) -> int:
        """Send the rows between those that libsrtp refused."""
        sent = start = 0
        for number, status in zip(block.udp_numbers, statuses, strict=False):
            if status:
                self._counters.dropped[DropReason.PROTECT_FAILED] += 1
                if number >= 0:
                    sent += self._sender.send_many(block.messages.headers, start, number, errors)
                    start = number + 1
        return sent + self._sender.send_many(block.messages.headers, start, udp, errors)

    def _send_tcp(self, block: _Block, count: int, statuses: Sequence[int]) -> int:
        sent = 0
        for connection, number in block.tcp[:count]:
            if statuses[number]:
                continue
            if connection.send_media(bytes_at(block.packets[number], block.lengths[number][0])):
                sent += 1
            else:
                self._counters.dropped[DropReason.TCP_BUFFER_FULL] += 1
        return sent

    def _write(
        self, block: _Block, packet: OutgoingPacket, rows: FanoutRows, first: int, count: int, now: float
    ) -> int:
        """Write `count` copies into the arena, column by column; return the length of each."""
        last = first + count
        payload = packet.payload
        abs_send_time = (int(now * 262144.0) & 0xFFFFFF).to_bytes(3, "big")
        level = packet.audio_level
        if packet.is_voice and level is not None:
            level |= _IS_VOICE
        if level is None:
            source = b"".join((_VIDEO_PREFIX, b"\x00", abs_send_time, payload))
            start = 20
        else:
            source = b"".join((_AUDIO_PREFIX, b"\x00", abs_send_time, b"\x00\x00", payload))
            start = 24
        length = len(source)
        matrix = self._matrix
        matrix[:count, :length] = np.frombuffer(source, np.uint8)
        if packet.marker:
            np.bitwise_or(rows.payload_type[first:last], 0x80, out=self._second_byte[:count])
        else:
            self._second_byte[:count] = rows.payload_type[first:last]
        self._sequence_number[:count] = rows.sequence_number[first:last]
        self._timestamp[:count] = rows.timestamp[first:last]
        if rows.prepared is None:
            rows.prepared = _Prepared(rows)
        if level is None:
            matrix[:count, 8:17] = rows.prepared.video[first:last]
        else:
            matrix[:count, 8:17] = rows.prepared.audio[first:last]
            np.multiply(rows.prepared.wants_level[first:last], level, out=matrix[:count, 17])
            matrix[:count, 18] = rows.prepared.element[first:last]
        if len(rows.prepared.wide):
            self._number(block, rows.prepared, first, count, is_video=level is None, now=now, length=length)
        if packet.picture_id_offset >= 0:
            offset = start + packet.picture_id_offset
            column = self._picture_id.get(offset)
            if column is None:
                column = self._picture_id[offset] = self._column(offset, ">u2")
            np.bitwise_or(rows.picture_id[first:last], 0x8000, out=column[:count], casting="unsafe")
        if packet.tl0_offset >= 0:
            matrix[:count, start + packet.tl0_offset] = rows.tl0_picture_index[first:last]
        return length

    def _number(
        self,
        block: _Block,
        prepared: _Prepared,
        first: int,
        count: int,
        *,
        is_video: bool,
        now: float,
        length: int,
    ) -> None:
        """Write transport-wide numbers over the abs-send-times of those who are told them."""
        departures = self.departures
        at = departures.note(now, length + srtp.TRAILER_BYTES_MAX)
        column, padding = (self._video_number, 19) if is_video else (self._audio_number, 21)
        rows, bases, ranks = block.departure_rows, block.departure_bases, block.departure_ranks
        if prepared.is_wide:
            here = None if ranks is None else ranks[:count]
            column[:count] = departures.number(rows[:count], here, bases[:count], at)
            self._matrix[:count, padding] = 0
            return
        wide = prepared.wide
        wide = wide[(wide >= first) & (wide < first + count)] - first
        column[wide] = departures.number(rows[wide], None if ranks is None else ranks[wide], bases[wide], at)
        self._matrix[wide, padding] = 0

    def _write_few(
        self, block: _Block, packet: OutgoingPacket, rows: FanoutRows, first: int, count: int, now: float
    ) -> int:
        """As `_write`, row by row: for one or two rows numpy costs more than it saves."""
        payload = packet.payload
        abs_send_time = int(now * 262144.0) & 0xFFFFFF
        level = packet.audio_level
        if packet.is_voice and level is not None:
            level |= _IS_VOICE
        start = 20 if level is None else 24
        length = start + len(payload)
        marker = 0x80 if packet.marker else 0
        at = 0
        for row in range(count):
            base = row * STRIDE_BYTES
            number = first + row
            head = (
                0x90,
                marker | int(rows.payload_type[number]),
                int(rows.sequence_number[number]) & 0xFFFF,
                int(rows.timestamp[number]) & 0xFFFFFFFF,
                int(rows.ssrc[number]),
                0xBEDE,
            )
            wide_id = int(rows.transport_wide_id[number])
            if wide_id:
                at = at or self.departures.note(now, length + srtp.TRAILER_BYTES_MAX)
                wide = self.departures.number_one(int(block.departure_rows[row]), at)
                element = (wide_id << 4 | 1) << 24 | wide << 8
            else:
                element = int(_ABS_SEND_TIME_HEADER[rows.abs_send_time_id[number]]) << 24 | abs_send_time
            if level is None:
                _VIDEO_HEADER.pack_into(self._view, base, *head, 1, element)
            else:
                level_id = int(rows.audio_level_id[number])
                level_word = level_id << 12 | level if level_id else 0
                _AUDIO_HEADER.pack_into(self._view, base, *head, 2, level_word, element, 0)
            payload_at = base + start
            self._view[payload_at : base + length] = payload
            if packet.picture_id_offset >= 0:
                position = payload_at + packet.picture_id_offset
                picture_id = int(rows.picture_id[number]) & 0x7FFF | 0x8000
                self._view[position : position + 2] = picture_id.to_bytes(2, "big")
            if packet.tl0_offset >= 0:
                self._view[payload_at + packet.tl0_offset] = int(rows.tl0_picture_index[number]) & 0xFF
        return length

    def _column(self, offset: int, dtype: str) -> NDArray[np.uint16]:
        """Return big-endian numbers at `offset` of each row of the arena as one array."""
        return np.ndarray(
            (ROWS_MAX,), dtype=dtype, buffer=self._matrix.data, offset=offset, strides=(STRIDE_BYTES,)
        )
