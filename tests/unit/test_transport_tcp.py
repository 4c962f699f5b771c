"""The framing of TCP connections (RFC 4571), fed as a network would: in any pieces, and with anything."""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ice_client import eventually

from bridge.base.counters import DropReason, PortCounters
from bridge.base.rate import Budget
from bridge.transport.tcp import (
    DRAIN_S,
    FRAME_BYTES_MAX,
    FRAMES_AT_ONCE,
    UNAUTHENTICATED_MAX,
    UNAUTHENTICATED_PER_NETWORK_MAX,
    USELESS_FRAMES_MAX,
    TcpConnection,
    TcpListener,
)

# The state of a connection whose request nobody has answered: linux/tcp_states.h.
TCP_SYN_SENT = b"\x02"

FRAMES = st.lists(
    st.binary(min_size=1, max_size=200)
    | st.integers(0, 255).map(lambda byte: bytes([byte]) * FRAME_BYTES_MAX),
    max_size=8,
)


class FakeSocket:
    def setsockopt(self, *_: int) -> None:
        pass


class FakeStream(asyncio.Transport):
    """What asyncio gives to a protocol; remembers whether it was aborted."""

    def __init__(self, host: str = "192.0.2.7") -> None:
        super().__init__({"peername": (host, 50000), "socket": FakeSocket()})
        self.is_aborted = False
        self.is_reading = True
        self._is_closing = False

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class FakeHandle:
    def cancel(self) -> None:
        pass


class Opening:
    """One accepted connection, the frames that came out of it, and the listener that it belongs to."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.counters = PortCounters()
        self.receiver = self
        self.stream = FakeStream()
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        listener: Any = self
        self.connection = TcpConnection(listener)
        self.connection.connection_made(self.stream)

    def opened(self, connection: TcpConnection) -> None:
        pass

    def clock(self) -> float:
        return self.now

    def later(self, delay_s: float, callback: Callable[[], None]) -> FakeHandle:
        self.due.append((self.now + delay_s, callback))
        return FakeHandle()

    def receive_frame(self, connection: TcpConnection, data: bytes) -> bool:
        assert connection is self.connection
        self.frames.append(data)
        return True

    def go_round(self) -> None:
        """One round of the event loop: what is due by now."""
        due = [callback for at, callback in self.due if at <= self.now]
        self.due = [(at, callback) for at, callback in self.due if at > self.now]
        for callback in due:
            callback()

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Give the pieces to the connection until it has been aborted, as asyncio does."""
        for piece in pieces:
            while not self.stream.is_reading and not self.stream.is_aborted:
                self.go_round()
            if self.stream.is_aborted:
                return
            self.connection.data_received(piece)
        while not self.stream.is_reading and not self.stream.is_aborted:
            self.go_round()


async def test_unproved_connections_from_one_ipv6_network_are_bounded_together() -> None:
    receiver: Any = None
    listener = TcpListener(receiver, PortCounters())
    streams = [FakeStream(f"2001:db8::{number:x}") for number in range(UNAUTHENTICATED_PER_NETWORK_MAX + 1)]
    for stream in (*streams, FakeStream("2001:db8:0:1::1"), FakeStream("::ffff:192.0.2.7")):
        TcpConnection(listener).connection_made(stream)
    assert [stream.is_aborted for stream in streams] == [True] + [False] * UNAUTHENTICATED_PER_NETWORK_MAX
    assert listener.counters.dropped[DropReason.TCP_REFUSED] == 1


def framed(frames: Sequence[bytes]) -> bytes:
    return b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(FRAMES, st.lists(st.integers(0, 20_000), max_size=12))
def test_frames_come_out_whole_however_the_stream_was_cut(frames: list[bytes], at: list[int]) -> None:
    opening = Opening()
    opening.feed(cut(framed(frames), at))
    assert opening.frames == frames
    assert not opening.stream.is_aborted


@given(FRAMES, st.binary(max_size=FRAME_BYTES_MAX))
def test_an_unfinished_frame_waits_without_holding_up_those_before_it(
    frames: list[bytes], begun: bytes
) -> None:
    opening = Opening()
    opening.feed([framed(frames) + (len(begun) + 1).to_bytes(2, "big") + begun])
    assert opening.frames == frames


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_no_bytes_raise_anything_and_what_is_not_our_framing_is_refused(pieces: list[bytes]) -> None:
    opening = Opening()
    opening.feed(pieces)
    assert all(len(frame) <= FRAME_BYTES_MAX for frame in opening.frames)
    assert opening.counters.dropped[DropReason.TCP_REFUSED] == opening.stream.is_aborted


@given(FRAMES, st.integers(FRAME_BYTES_MAX + 1, 0xFFFF), st.binary(max_size=20))
def test_a_frame_that_claims_too_much_ends_the_connection_at_once(
    frames: list[bytes], claimed: int, rest: bytes
) -> None:
    opening = Opening()
    opening.feed([framed(frames) + claimed.to_bytes(2, "big") + rest])
    assert opening.frames == frames
    assert opening.stream.is_aborted


def test_nothing_is_read_any_more_once_the_receiver_has_refused_a_frame() -> None:
    opening = Opening()

    def refuse(connection: Any, data: bytes) -> bool:
        opening.frames.append(data)
        connection.abort()
        return False

    opening.receive_frame = refuse  # type: ignore[method-assign]
    opening.feed([framed([b"first", b"second"])])
    assert opening.frames == [b"first"]


def test_the_first_frame_without_a_byte_ends_the_connection() -> None:
    opening = Opening()
    opening.connection.data_received(framed([b"first"]) + b"\x00\x00" * 128_000)
    assert opening.frames == [b"first"]
    assert opening.stream.is_aborted
    assert opening.counters.dropped[DropReason.TCP_REFUSED] == 1


def test_frames_that_came_together_are_taken_a_few_at_a_time_and_nothing_more_is_read() -> None:
    opening = Opening()
    opening.connection.data_received(framed([b"x"] * 10_000))
    assert len(opening.frames) == FRAMES_AT_ONCE
    assert not opening.stream.is_reading
    rounds = 1
    while not opening.stream.is_reading:
        opening.go_round()
        rounds += 1
        assert len(opening.frames) <= rounds * FRAMES_AT_ONCE
    assert len(opening.frames) == 10_000
    assert rounds == -(-10_000 // FRAMES_AT_ONCE)


def test_a_connection_waits_while_its_owner_has_used_up_its_share_of_the_core() -> None:
    opening = Opening()

    class Owner:
        budget = Budget(per_s=0.1, burst=0.5, now=0.0)

        def connection_lost(self, connection: TcpConnection) -> None:
            pass

    owner = Owner()
    opening.connection.owner = owner

    def costly(connection: Any, data: bytes) -> bool:
        opening.frames.append(data)
        owner.budget.charge(0.1, opening.now)
        return True

    opening.receive_frame = costly  # type: ignore[method-assign]
    opening.connection.data_received(framed([b"frame"] * 8))
    assert (len(opening.frames), opening.stream.is_reading) == (8, False)
    # Overdrawn by 0.3 s at a tenth of the core.
    opening.now = 2.9
    opening.go_round()
    assert not opening.stream.is_reading
    opening.now = 3.1
    opening.go_round()
    assert opening.stream.is_reading


def test_a_connection_whose_frames_are_of_no_use_is_ended_but_not_for_a_handful() -> None:
    opening = Opening()
    kept: list[bytes] = []

    def useless(connection: Any, data: bytes) -> bool:
        kept.append(data)
        return False

    opening.receive_frame = useless  # type: ignore[method-assign]
    opening.feed([framed([b"junk"] * USELESS_FRAMES_MAX)])
    assert not opening.stream.is_aborted
    # It has its time: a stream that loses one now and then goes on for ever.
    for _ in range(200):
        opening.now += 1.0
        opening.feed([framed([b"junk"] * 5)])
    assert not opening.stream.is_aborted
    opening.feed([framed([b"junk"] * 1000)])
    assert opening.stream.is_aborted
    assert len(kept) <= 2 * USELESS_FRAMES_MAX + 1000 + 1


def test_who_never_reads_is_cut_off_some_seconds_after_closing() -> None:
    opening = Opening()
    opening.connection.close()
    opening.connection.close()
    opening.now = DRAIN_S - 0.1
    opening.go_round()
    assert not opening.stream.is_aborted
    opening.now = DRAIN_S + 0.1
    opening.go_round()
    assert opening.stream.is_aborted


async def test_two_connections_of_each_of_a_hundred_sites_behind_one_address_fit() -> None:
    receiver: Any = None
    listener = TcpListener(receiver, PortCounters())
    streams = [FakeStream() for _ in range(200)]
    for stream in streams:
        TcpConnection(listener).connection_made(stream)
    assert not any(stream.is_aborted for stream in streams)


async def test_unproved_connections_of_a_whole_48_are_bounded() -> None:
    receiver: Any = None
    listener = TcpListener(receiver, PortCounters())
    streams = [FakeStream(f"2001:db8:0:{number:x}::1") for number in range(UNAUTHENTICATED_MAX + 100)]
    for stream in streams:
        TcpConnection(listener).connection_made(stream)
    # The neighbour's connection was the first, and is still there.
    open_ones = sum(not stream.is_aborted for stream in streams)
    assert open_ones <= UNAUTHENTICATED_MAX
    assert listener.counters.dropped[DropReason.TCP_REFUSED] >= 100


async def test_who_connects_too_often_is_dropped_by_the_kernel_for_a_while_and_nobody_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.transport.tcp.CONNECTIONS_PER_S", 0.01)
    monkeypatch.setattr("bridge.transport.tcp.CONNECTIONS_BURST", 3.0)
    monkeypatch.setattr("bridge.transport.tcp.REFUSED_PER_S", 5)
    monkeypatch.setattr("bridge.transport.tcp.SHUT_OUT_S", 0.5)
    receiver: Any = None
    listener = TcpListener(receiver, PortCounters())
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    listener.listen(listening)
    address = listening.getsockname()

    def connect(host: str) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        client.bind((host, 0))
        client.connect_ex(address)
        return client

    counters = listener.counters

    def refused() -> int:
        return counters.dropped[DropReason.TCP_REFUSED]

    clients = []
    for number in range(1, 9):
        clients.append(connect("127.0.0.1"))
        await eventually(lambda number=number: counters.tcp_connections + refused() == number)  # type: ignore[misc]
    assert (counters.tcp_connections, refused()) == (3, 5)
    with connect("127.0.0.1") as flooding, connect("127.0.0.2"):
        await eventually(lambda: counters.tcp_connections == 4)
        assert flooding.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == TCP_SYN_SENT
        # Once the time is over, the kernel's next try gets an answer.
        await eventually(lambda: refused() == 6)
    for client in clients:
        client.close()
    listener.close()


async def test_running_out_of_descriptors_costs_the_oldest_stranger_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver: Any = None
    listener = TcpListener(receiver, PortCounters())
    stream = FakeStream()
    TcpConnection(listener).connection_made(stream)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)

    class Exhausted:
        is_exhausted = True

        def accept(self) -> Any:
            if self.is_exhausted:
                raise OSError(errno.EMFILE, "Too many open files")
            return listening.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(listening, name)

    exhausted: Any = Exhausted()
    monkeypatch.setattr("bridge.transport.tcp.ACCEPT_PAUSE_S", 0.01)
    listener.listen(exhausted)
    with socket.create_connection(listening.getsockname()):
        await eventually(lambda: stream.is_aborted)
        exhausted.is_exhausted = False
        await eventually(lambda: listener.counters.tcp_connections == 2)
    listener.close()
