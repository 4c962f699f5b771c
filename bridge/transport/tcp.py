"""Media over TCP for networks that drop UDP: passive candidates (RFC 6544), frames of RFC 4571.

Each STUN, DTLS, RTP or RTCP packet is a frame: two bytes of length, then the packet. A connection that
has not passed a connectivity check within seconds is closed, and there are never many of those. What one
connection may cost is bounded: a few frames per round of the event loop, no more while its owner's budget
is overdrawn, and an end to it when too many of its frames are of no use.
"""

import asyncio
import errno
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import ClassVar, Final, Protocol, cast

from bridge.base.counters import DropReason, PortCounters
from bridge.base.rate import NETWORK_SHARES, Budget, NetworkLimits, networks_of
from bridge.transport.filtering import Origin, shut_out

logger = logging.getLogger(__name__)

FRAME_BYTES_MAX: Final = 2048
# Frames handled in one go; at some 50 microseconds each, other work of the process waits two milliseconds.
FRAMES_AT_ONCE: Final = 32
# Frames of no use: media that was sent before the keys were there, or twice, comes in handfuls.
USELESS_FRAMES_MAX: Final = 100
USELESS_FRAMES_PER_S: Final = 10.0
# A province may join from behind one NAT, each browser with two connections; it takes them a round trip
# to prove themselves.
UNAUTHENTICATED_MAX: Final = 2048
UNAUTHENTICATED_PER_NETWORK_MAX: Final = 512
UNAUTHENTICATED_S: Final = 10.0
CONNECTIONS_PER_S: Final = 100.0
CONNECTIONS_BURST: Final = 600.0
ACCEPTED_AT_ONCE: Final = 16
# So many of a network that had to be refused within a second are a flood, whose next ones the kernel drops.
REFUSED_PER_S: Final = 100
SHUT_OUT_S: Final = 1.0
SHUT_OUT_MAX: Final = 32
# Out of descriptors or memory, it is no use to try again at once.
ACCEPT_PAUSE_S: Final = 0.5
# Some 200 ms of a good video stream: what waits longer than that is better lost and asked for again.
MEDIA_BUFFER_BYTES_MAX: Final = 256 * 1024
# Answers and DTLS always go into the buffer; a client that asks on and on but never reads is cut off.
BUFFER_BYTES_MAX: Final = 1024 * 1024
# For the last words (close_notify) of a connection that is closed.
DRAIN_S: Final = 2.0
_RESET: Final = struct.pack("ii", 1, 0)
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class FrameReceiver(Protocol):
    """Who takes the frames."""

    def receive_frame(self, connection: "TcpConnection", data: bytes) -> bool:
        """Take one packet that came over a connection; False when it was of no use."""


class PathOwner(Protocol):
    """The association that a connection belongs to."""

    budget: Budget

    def connection_lost(self, connection: "TcpConnection") -> None:
        """A connection of it ended."""


class ConnectionKeeper(Protocol):
    """What a connection needs of the listener that accepted it."""

    counters: PortCounters
    receiver: FrameReceiver

    def clock(self) -> float:
        """Return monotonic seconds."""

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back in so many seconds; at 0, in the next round of the event loop."""

    def opened(self, connection: "TcpConnection") -> None:
        """Note a new connection."""

    def closed(self, connection: "TcpConnection") -> None:
        """Forget a connection."""


class TcpConnection(asyncio.Protocol):
    """One accepted connection: cuts the stream into frames, and writes frames without ever waiting."""

    protocol: ClassVar[str] = "tcp"

    def __init__(self, listener: ConnectionKeeper) -> None:
        self._listener = listener
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._useless = Budget(per_s=USELESS_FRAMES_PER_S, burst=USELESS_FRAMES_MAX, now=listener.clock())
        # Set while frames wait for their turn, and nothing more is read.
        self._resumes: asyncio.Handle | None = None
        self._drains: asyncio.Handle | None = None
        # The association that passed a check over this connection.
        self.owner: PathOwner | None = None
        self.host = b""
        self.networks: tuple[bytes, ...] = ()
        self.port = 0
        self.opened_at = listener.clock()
        self.heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is None:
            # The peer was gone before we came to accept.
            self._transport.abort()
            return
        self.host = packed_host(peer[0])
        self.networks = networks_of(self.host)
        self.port = peer[1]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        if self._resumes is None:
            self._take_frames()

    def _take_frames(self) -> None:
        """Hand on what has come in, some frames at a time: the rest waits, and so does the sender."""
        received = self._received
        listener = self._listener
        position = 0
        for _ in range(FRAMES_AT_ONCE):
            available = len(received) - position - 2
            if available < 0:
                break
            length = int.from_bytes(received[position : position + 2], "big")
            if not 0 < length <= FRAME_BYTES_MAX:
                # Not our framing: a web browser, a port scan, or a stream out of step. Frames without a byte
                # cost their sender nothing: tens of thousands fit into what is read at once.
                self._refuse()
                return
            if length > available:
                break
            end = position + 2 + length
            is_of_use = listener.receiver.receive_frame(self, bytes(received[position + 2 : end]))
            if not is_of_use and not self._useless.spend(1.0, listener.clock()):
                self._refuse()
            position = end
            if self._transport is None:
                return
        del received[:position]
        wait_s = 0.0 if self.owner is None else self.owner.budget.wait_s(listener.clock())
        if wait_s > 0.0 or self._has_frame():
            self._pause(wait_s)

    def _has_frame(self) -> bool:
        received = self._received
        return len(received) >= 2 and len(received) - 2 >= int.from_bytes(received[:2], "big")

    def _pause(self, wait_s: float) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._resumes = self._listener.later(wait_s, self._resume)

    def _resume(self) -> None:
        self._resumes = None
        if self._transport is None or self._transport.is_closing():
            return
        self._take_frames()
        if self._resumes is None and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _refuse(self) -> None:
        self._listener.counters.dropped[DropReason.TCP_REFUSED] += 1
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        for handle in (self._resumes, self._drains):
            if handle is not None:
                handle.cancel()
        self._listener.closed(self)
        if self.owner is not None:
            self.owner.connection_lost(self)
            self.owner = None

    def send(self, data: bytes) -> None:
        """Send a frame that is needed to keep the connection: never dropped."""
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            self._listener.counters.dropped[DropReason.TCP_BUFFER_FULL] += 1
            self.abort()
            return
        transport.write(len(data).to_bytes(2, "big") + data)

    def send_media(self, data: bytes) -> bool:
        """Send a frame of media; False when it was dropped because the peer reads too slowly."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MEDIA_BUFFER_BYTES_MAX:
            return False
        transport.write(len(data).to_bytes(2, "big") + data)
        return True

    def close(self) -> None:
        """Close after what is in the buffer was sent, or could not be sent for `DRAIN_S`."""
        self.owner = None
        if self._transport is not None and self._drains is None:
            self._drains = self._listener.later(DRAIN_S, self.abort)
            self._transport.close()

    def abort(self) -> None:
        """Close at once; `connection_lost` follows."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


class TcpListener:
    """Accepts connections, and bounds those that have not proved themselves."""

    def __init__(self, receiver: FrameReceiver, counters: PortCounters) -> None:
        self.receiver = receiver
        self.counters = counters
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._is_closed = False
        self._accepts_again: asyncio.Handle | None = None
        # Accepted, on their way to `connection_made`.
        self._opening: set[asyncio.Task[object]] = set()
        self._connections: set[TcpConnection] = set()
        # In order of age; values are unused.
        self._unauthenticated: dict[TcpConnection, None] = {}
        self._by_network: Counter[bytes] = Counter()
        self._limits = NetworkLimits(per_s=CONNECTIONS_PER_S, burst=CONNECTIONS_BURST)
        # By network, since `_refused_since`.
        self._refused: Counter[bytes] = Counter()
        self._refused_since = float("-inf")
        self._shut_out: dict[bytes, asyncio.Handle] = {}

    def listen(self, listening: socket.socket) -> None:
        """Start accepting on a bound socket, which is the listener's to close from now on."""
        listening.listen(1024)
        self._socket = listening
        self._loop.add_reader(listening, self._acceptable)

    def close(self) -> None:
        """Stop accepting, and end all connections once their buffers are sent."""
        self._is_closed = True
        if self._accepts_again is not None:
            self._accepts_again.cancel()
        for ends in self._shut_out.values():
            ends.cancel()
        self._shut_out.clear()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for connection in list(self._connections):
            connection.close()

    # What the connections need of it (`ConnectionKeeper`).

    def clock(self) -> float:
        """Return monotonic seconds."""
        return self._loop.time()

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back in so many seconds; at 0, in the next round of the event loop."""
        return self._loop.call_later(delay_s, callback) if delay_s else self._loop.call_soon(callback)

    def opened(self, connection: TcpConnection) -> None:
        """Note a new connection; the oldest unproved one makes room for it."""
        self.counters.tcp_connections += 1
        self._connections.add(connection)
        if self._is_closed:
            connection.close()
            return
        for network, share in zip(connection.networks, NETWORK_SHARES, strict=False):
            if self._by_network[network] >= UNAUTHENTICATED_PER_NETWORK_MAX * share:
                self._refuse(next(one for one in self._unauthenticated if network in one.networks))
        if len(self._unauthenticated) >= UNAUTHENTICATED_MAX:
            self._refuse(next(iter(self._unauthenticated)))
        self._unauthenticated[connection] = None
        for network in connection.networks:
            self._by_network[network] += 1

    def authenticated(self, connection: TcpConnection) -> None:
        """Note that a check passed over the connection."""
        if connection in self._unauthenticated:
            del self._unauthenticated[connection]
            for network in connection.networks:
                self._by_network[network] -= 1
                if not self._by_network[network]:
                    del self._by_network[network]

    def closed(self, connection: TcpConnection) -> None:
        """Forget a connection."""
        self.authenticated(connection)
        self._connections.discard(connection)

    def sweep(self) -> None:
        """Close the connections that had their time to pass a check."""
        latest = self._loop.time() - UNAUTHENTICATED_S
        while self._unauthenticated:
            oldest = next(iter(self._unauthenticated))
            if oldest.opened_at > latest:
                break
            self._refuse(oldest)

    def _acceptable(self) -> None:
        """Accept a few: a thousand that arrive together must not hold up the media."""
        assert self._socket is not None
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    logger.warning("a connection could not be accepted: %s", error)
                self._pause_accepting()
                return
            accepted.setblocking(False)
            networks = networks_of(packed_host(peer[0]))
            if not self._limits.allow(networks, self._loop.time()):
                self.counters.dropped[DropReason.TCP_REFUSED] += 1
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                accepted.close()
                self._note_refusal(networks, self._loop.time())
                continue
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _note_refusal(self, networks: tuple[bytes, ...], now: float) -> None:
        """To accept connections only to refuse them costs more than all else about them."""
        if now - self._refused_since >= 1.0:
            self._refused.clear()
            self._refused_since = now
        self._refused.update(networks)
        for network, share in zip(networks, NETWORK_SHARES, strict=False):
            is_flooding = self._refused[network] >= REFUSED_PER_S * share
            if is_flooding and network not in self._shut_out and len(self._shut_out) < SHUT_OUT_MAX:
                self._shut_out[network] = self._loop.call_later(SHUT_OUT_S, self._let_in, network)
                self._filter()

    def _let_in(self, network: bytes) -> None:
        del self._shut_out[network]
        self._filter()

    def _filter(self) -> None:
        if self._socket is not None:
            shut_out(self._socket, [Origin(network) for network in self._shut_out])

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: TcpConnection(self), accepted)
        except OSError:
            # The peer was gone before we came to it.
            accepted.close()

    def _pause_accepting(self) -> None:
        """Out of descriptors or memory: the oldest that proved nothing gives back one of each."""
        self.counters.dropped[DropReason.TCP_REFUSED] += 1
        if self._unauthenticated:
            self._refuse(next(iter(self._unauthenticated)))
        assert self._socket is not None
        self._loop.remove_reader(self._socket)
        self._accepts_again = self._loop.call_later(ACCEPT_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._acceptable)

    def _refuse(self, connection: TcpConnection) -> None:
        self.authenticated(connection)
        self.counters.dropped[DropReason.TCP_REFUSED] += 1
        connection.abort()


def packed_host(host: str) -> bytes:
    """Return the packed address of a peer; a mapped IPv4 address as IPv4."""
    address = ip_address(host.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).packed
