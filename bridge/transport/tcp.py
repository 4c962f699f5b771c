"""Media over TCP for networks that drop UDP: passive candidates (RFC 6544), frames of RFC 4571.

Each STUN, DTLS, RTP or RTCP packet is a frame: two bytes of length, then the packet. A connection that
has not passed a connectivity check within seconds is closed, and there are never many of those.
"""

import asyncio
import socket
from collections import Counter
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, cast

from bridge.base.counters import DropReason, PortCounters
from bridge.base.rate import network_of

if TYPE_CHECKING:
    from bridge.transport.transport import Transport

FRAME_BYTES_MAX: Final = 2048
# A province may join from behind one NAT, each browser with two connections; it takes them a round trip
# to prove themselves.
UNAUTHENTICATED_MAX: Final = 1024
UNAUTHENTICATED_PER_NETWORK_MAX: Final = 128
UNAUTHENTICATED_S: Final = 10.0
# Some 200 ms of a good video stream: what waits longer than that is better lost and asked for again.
MEDIA_BUFFER_BYTES_MAX: Final = 256 * 1024
# Answers and DTLS always go into the buffer; a client that asks on and on but never reads is cut off.
BUFFER_BYTES_MAX: Final = 1024 * 1024


class FrameReceiver(Protocol):
    """Who takes the frames."""

    def receive_frame(self, connection: "TcpConnection", data: bytes) -> None:
        """Take one packet that came over a connection."""


class TcpConnection(asyncio.Protocol):
    """One accepted connection: cuts the stream into frames, and writes frames without ever waiting."""

    protocol: ClassVar[str] = "tcp"

    def __init__(self, listener: "TcpListener") -> None:
        self._listener = listener
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        # The association that passed a check over this connection.
        self.owner: Transport | None = None
        self.host = b""
        self.network = b""
        self.port = 0
        self.opened_at = 0.0
        self.heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is None:
            # The peer was gone before we came to accept.
            self._transport.abort()
            return
        address = ip_address(peer[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        self.host = (mapped or address).packed
        self.network = network_of(self.host)
        self.port = peer[1]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        received = self._received
        received += data
        position = 0
        while len(received) - position >= 2:
            length = int.from_bytes(received[position : position + 2], "big")
            if length > FRAME_BYTES_MAX:
                # Not our framing: a web browser, a port scan, or a stream out of step.
                self._listener.counters.dropped[DropReason.TCP_REFUSED] += 1
                self.abort()
                return
            end = position + 2 + length
            if end > len(received):
                break
            self._listener.receiver.receive_frame(self, bytes(received[position + 2 : end]))
            position = end
            if self._transport is None:
                return
        del received[:position]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
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
        """Close after what is in the buffer was sent."""
        self.owner = None
        if self._transport is not None:
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
        self._server: asyncio.Server | None = None
        self._connections: set[TcpConnection] = set()
        # In order of age; values are unused.
        self._unauthenticated: dict[TcpConnection, None] = {}
        self._by_network: Counter[bytes] = Counter()

    async def listen(self, listening: socket.socket) -> None:
        """Start accepting on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpConnection(self), sock=listening, backlog=1024)

    def close(self) -> None:
        """Stop accepting, and end all connections once their buffers are sent."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def opened(self, connection: TcpConnection) -> None:
        """Note a new connection; the oldest unproved one makes room for it."""
        self.counters.tcp_connections += 1
        connection.opened_at = asyncio.get_running_loop().time()
        self._connections.add(connection)
        if self._by_network[connection.network] >= UNAUTHENTICATED_PER_NETWORK_MAX:
            self._refuse(next(one for one in self._unauthenticated if one.network == connection.network))
        elif len(self._unauthenticated) >= UNAUTHENTICATED_MAX:
            self._refuse(next(iter(self._unauthenticated)))
        self._unauthenticated[connection] = None
        self._by_network[connection.network] += 1

    def authenticated(self, connection: TcpConnection) -> None:
        """Note that a check passed over the connection."""
        if connection in self._unauthenticated:
            del self._unauthenticated[connection]
            self._by_network[connection.network] -= 1
            if not self._by_network[connection.network]:
                del self._by_network[connection.network]

    def closed(self, connection: TcpConnection) -> None:
        """Forget a connection."""
        self.authenticated(connection)
        self._connections.discard(connection)

    def sweep(self) -> None:
        """Close the connections that had their time to pass a check."""
        latest = asyncio.get_running_loop().time() - UNAUTHENTICATED_S
        while self._unauthenticated:
            oldest = next(iter(self._unauthenticated))
            if oldest.opened_at > latest:
                break
            self._refuse(oldest)

    def _refuse(self, connection: TcpConnection) -> None:
        self.authenticated(connection)
        self.counters.dropped[DropReason.TCP_REFUSED] += 1
        connection.abort()
