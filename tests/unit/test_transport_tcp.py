"""The framing of TCP connections (RFC 4571), fed as a network would: in any pieces, and with anything."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.base.counters import DropReason, PortCounters
from bridge.transport.tcp import (
    FRAME_BYTES_MAX,
    UNAUTHENTICATED_PER_NETWORK_MAX,
    TcpConnection,
    TcpListener,
)

FRAMES = st.lists(
    st.binary(max_size=200) | st.binary(min_size=FRAME_BYTES_MAX, max_size=FRAME_BYTES_MAX), max_size=8
)


class FakeSocket:
    def setsockopt(self, *_: int) -> None:
        pass


class FakeStream(asyncio.Transport):
    """What asyncio gives to a protocol; remembers whether it was aborted."""

    def __init__(self, host: str = "192.0.2.7") -> None:
        super().__init__({"peername": (host, 50000), "socket": FakeSocket()})
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class Opening:
    """One accepted connection, the frames that came out of it, and the listener that it belongs to."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.counters = PortCounters()
        self.receiver = self
        self.stream = FakeStream()
        listener: Any = self
        self.connection = TcpConnection(listener)
        self.connection.connection_made(self.stream)

    def opened(self, connection: TcpConnection) -> None:
        pass

    def receive_frame(self, connection: TcpConnection, data: bytes) -> None:
        assert connection is self.connection
        self.frames.append(data)

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Give the pieces to the connection until it has been aborted, as asyncio does."""
        for piece in pieces:
            if self.stream.is_aborted:
                return
            self.connection.data_received(piece)


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


@given(FRAMES, st.integers(FRAME_BYTES_MAX + 1, 0xFFFF), st.binary(max_size=50))
def test_a_frame_that_claims_too_much_ends_the_connection_at_once(
    frames: list[bytes], claimed: int, rest: bytes
) -> None:
    opening = Opening()
    opening.feed([framed(frames) + claimed.to_bytes(2, "big") + rest])
    assert opening.frames == frames
    assert opening.stream.is_aborted


def test_nothing_is_read_any_more_once_the_receiver_has_refused_a_frame() -> None:
    opening = Opening()

    def refuse(connection: Any, data: bytes) -> None:
        opening.frames.append(data)
        connection.abort()

    opening.receive_frame = refuse  # type: ignore[method-assign]
    opening.feed([framed([b"first", b"second"])])
    assert opening.frames == [b"first"]
