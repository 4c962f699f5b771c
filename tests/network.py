"""A network in virtual time: a clock, links that lose, delay and reorder, and a media port without sockets.

The port has just what `Sfu` and its legs use of `MediaPort`; what it sends are real RTP packets, written
without a line of `bridge.transport`. Exceptions from any callback end the test where they happen.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from bridge.media.packet import OutgoingPacket
from bridge.media.rows import Rows
from bridge.rtp import rtcp
from bridge.rtp.header import build_rtp
from bridge.transport import SelectedPath, TransportState
from bridge.transport.departures import Departures

START_S = 1000.0


@dataclass(order=True, slots=True)
class Call:
    """Something that happens at a time; calls of the same time happen in the order they were made."""

    when: float
    number: int
    callback: Callable[..., object] = field(compare=False)
    args: tuple[Any, ...] = field(compare=False)
    is_cancelled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        self.is_cancelled = True


class Network:
    """The clock, and the running loop of whoever asks asyncio for it inside the `with` block."""

    def __init__(self, seed: int = 1) -> None:
        self.now = START_S
        self.random = random.Random(seed)
        self._calls: list[Call] = []
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        asyncio._set_running_loop(self)  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio._set_running_loop(None)

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Call:
        return self.call_at(self.now, callback, *args)

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Call:
        return self.call_at(self.now + delay_s, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Call:
        call = Call(when, next(self._numbers), callback, args)
        heapq.heappush(self._calls, call)
        return call

    def every(self, interval_s: float, callback: Callable[[], object], *, phase_s: float = 0.0) -> None:
        """Call again and again, without drift."""

        def again(when: float) -> None:
            callback()
            self.call_at(when + interval_s, again, when + interval_s)

        first = self.now + phase_s
        self.call_at(first, again, first)

    def run(self, seconds: float = 0.0) -> None:
        """Let this much time pass; zero: whatever is due now."""
        end = self.now + seconds
        while self._calls and self._calls[0].when <= end:
            call = heapq.heappop(self._calls)
            self.now = max(self.now, call.when)
            if not call.is_cancelled:
                call.callback(*call.args)
        self.now = end

    def run_until(self, condition: Callable[[], object], *, within_s: float) -> float:
        """Let time pass until `condition` holds; return how long that took, or fail."""
        start = self.now
        while not condition():
            assert self.now - start < within_s, f"it did not happen within {within_s} s"
            self.run(0.005)
        return self.now - start


class Link:
    """One direction of a path. Change its qualities while it runs."""

    def __init__(
        self,
        network: Network,
        deliver: Callable[[bytes], None],
        *,
        delay_s: float = 0.02,
        loss: float = 0.0,
        jitter_s: float = 0.0,
        rate_bps: float | None = None,
        queue_bytes: int = 30_000,
    ) -> None:
        self.delay_s = delay_s
        self.loss = loss
        # Each packet is delayed by up to this much more, on its own: that reorders them.
        self.jitter_s = jitter_s
        self.rate_bps = rate_bps
        self.queue_bytes = queue_bytes
        # Packets for which this holds are lost, too.
        self.drop_if: Callable[[bytes], bool] = lambda data: False
        self.sent = 0
        self.lost = 0
        self._network = network
        self._deliver = deliver
        self._busy_until = 0.0

    def send(self, data: bytes) -> None:
        self.sent += 1
        network = self._network
        if network.random.random() < self.loss or self.drop_if(data):
            self.lost += 1
            return
        delay_s = self.delay_s + network.random.random() * self.jitter_s
        if self.rate_bps is not None:
            waiting_s = max(self._busy_until - network.now, 0.0)
            if waiting_s * self.rate_bps / 8 > self.queue_bytes:
                self.lost += 1
                return
            waiting_s += 8 * len(data) / self.rate_bps
            self._busy_until = network.now + waiting_s
            delay_s += waiting_s
        network.call_later(delay_s, self._deliver, data)


class MemoryTransport:
    """A transport whose far side is a `Link`."""

    is_on_tcp = False

    def __init__(self, network: Network, observer: Any, number: int, departures: Departures) -> None:
        self.departure_row = 0
        self._departures = departures
        self.local_ufrag = f"ufrag{number}"
        self.local_pwd = f"password-of-transport-{number:08}"
        self.state = TransportState.NEW
        self.close_reason: str | None = None
        self.remote: tuple[str, str] | None = None
        self.down: Link | None = None
        self.last_received = network.now
        self._network = network
        self._observer = observer

    @property
    def selected_path(self) -> SelectedPath | None:
        return None if self.down is None else SelectedPath("192.0.2.1", 5000, "udp", "ipv4")

    def start(
        self, *, remote_ufrag: str, remote_pwd: str, remote_fingerprints: Sequence[Any], dtls_role: str
    ) -> None:
        assert self.remote is None, "started twice"
        self.remote = remote_ufrag, remote_pwd

    def restart_ice(self, remote_ufrag: str, remote_pwd: str) -> tuple[str, str]:
        self.remote = remote_ufrag, remote_pwd
        return self.local_ufrag, self.local_pwd

    def number_departures(self) -> int:
        self.departure_row = self.departure_row or self._departures.open()
        return self.departure_row

    def connect(self, down: Link) -> None:
        self.down = down
        self.state = TransportState.CONNECTED
        self._observer.transport_state(self.state)

    def send_rtcp(self, data: bytes) -> None:
        if self.state is TransportState.CONNECTED and self.down is not None:
            self.down.send(data)

    @property
    def is_ready(self) -> bool:
        return self.state is TransportState.CONNECTED and self.down is not None

    def send_rtp(self, data: bytes) -> bool:
        if not self.is_ready or self.down is None:
            return False
        self.down.send(data)
        return True

    def receive(self, data: bytes) -> None:
        if self.state is not TransportState.CONNECTED:
            return
        self.last_received = self._network.now
        take = self._observer.receive_rtcp if rtcp.is_rtcp(data) else self._observer.receive_rtp
        take(data, self._network.now)

    def close(self, reason: str = "closed") -> None:
        if self.state is TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        self.close_reason = reason
        self._observer.transport_state(self.state)


class MemoryFanout:
    """Writes each row out as an RTP packet of its own."""

    def __init__(self) -> None:
        self.departures = Departures()

    def route(self, transports: Sequence[MemoryTransport]) -> list[MemoryTransport]:
        return list(transports)

    def send(self, packet: OutgoingPacket, rows: Rows, count: int, now: float) -> int:
        sent = at = 0
        for row in range(count):
            payload = bytearray(packet.payload)
            if packet.picture_id_offset >= 0:
                where = packet.picture_id_offset
                picture_id = int(rows.picture_id[row]) & 0x7FFF | 0x8000
                payload[where : where + 2] = picture_id.to_bytes(2, "big")
            if packet.tl0_offset >= 0:
                payload[packet.tl0_offset] = int(rows.tl0_picture_index[row]) & 0xFF
            transport = rows.route[row]
            extensions = _extensions(packet, rows, row, now)
            if rows.transport_wide_id[row]:
                at = at or self.departures.note(now, len(payload) + 36)
                number = self.departures.number_one(transport.departure_row, at) if transport.is_ready else 0
                extensions[int(rows.transport_wide_id[row])] = number.to_bytes(2, "big")
            data = build_rtp(
                payload_type=int(rows.payload_type[row]),
                sequence_number=int(rows.sequence_number[row]),
                timestamp=int(rows.timestamp[row]),
                ssrc=int(rows.ssrc[row]),
                marker=packet.marker,
                payload=bytes(payload),
                extensions=extensions,
            )
            sent += transport.send_rtp(data)
        return sent


def _extensions(packet: OutgoingPacket, rows: Rows, row: int, now: float) -> dict[int, bytes]:
    extensions = {}
    if rows.abs_send_time_id[row] and not rows.transport_wide_id[row]:
        extensions[int(rows.abs_send_time_id[row])] = (int(now * 262144.0) & 0xFFFFFF).to_bytes(3, "big")
    if packet.audio_level is not None and rows.audio_level_id[row]:
        element = packet.is_voice << 7 | packet.audio_level
        extensions[int(rows.audio_level_id[row])] = bytes((element,))
    return extensions


class MemoryPort:
    """What `Sfu` needs of a media port."""

    fingerprint = "sha-256 " + ":".join(["AB"] * 32)

    def __init__(self, network: Network) -> None:
        self.fanout = MemoryFanout()
        self._network = network
        self._numbers = itertools.count(1)

    def candidates(self) -> list[str]:
        return ["1 1 udp 2130706431 192.0.2.1 7882 typ host"]

    def create_transport(self, observer: Any) -> MemoryTransport:
        return MemoryTransport(self._network, observer, next(self._numbers), self.fanout.departures)
