"""The media port: one UDP socket and one TCP listener that carry all media of a node.

A datagram is told apart by its first byte (RFC 7983): a connectivity check finds its transport by user
name fragment, everything else by the address it comes from, which a check must have passed before. What
fits nowhere is counted and gets no answer.
"""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from bridge.base.counters import DropReason, DtlsFailure, PortCounters
from bridge.base.errors import InvalidConfig, MalformedPacket
from bridge.transport import srtp
from bridge.transport.binding import bind, candidate_addresses
from bridge.transport.dtls import Certificate, Turns
from bridge.transport.fanout import Fanout
from bridge.transport.floods import Floods
from bridge.transport.ice import (
    ROLE_CONFLICT,
    UNKNOWN_ATTRIBUTE,
    BindingRequest,
    Credentials,
    binding_error,
    binding_response,
    host_candidates,
    parse_binding_request,
)
from bridge.transport.mmsg import (
    MTU_BYTES_MAX,
    NAME_BYTES,
    Receiver,
    Sender,
    bytes_at,
    host_and_port,
    new_arena,
    reply_control,
    tune,
)
from bridge.transport.paths import PathProofs, UdpPath
from bridge.transport.strangers import Strangers
from bridge.transport.tcp import TcpConnection, TcpListener
from bridge.transport.transport import (
    CORE_SHARE,
    DTLS_COST_S,
    MEDIA_COST_S,
    PATH_SILENCE_S,
    CloseReason,
    Transport,
    TransportObserver,
    TransportState,
)

logger = logging.getLogger(__name__)

BUFFER_BYTES: Final = 4 * 1024 * 1024
# After so many batches, or so long, other work of the process gets its turn; what waits stays in the
# kernel's buffer.
BATCHES_PER_WAKE_UP: Final = 4
WAKE_UP_S: Final = 0.004
# How long the UDP socket is left alone at a time while strangers flood it.
FLOOD_REST_S: Final = 0.002
RTCP_BYTES_MAX: Final = 1400
DTLS_BYTES_MIN: Final = 13
HANDSHAKE_S: Final = 20.0
FAILURE: Final = "a packet could not be handled; its participant is disconnected"
UNCLOSED: Final = "a transport could not be closed in order"


class MediaPort:
    """All media of a node goes through here. Open it with `MediaPort.open`."""

    def __init__(
        self,
        udp: socket.socket,
        *,
        addresses: Sequence[str],
        certificate: Certificate,
        counters: PortCounters,
        tcp: bool,
        consent_timeout_s: float,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
    ) -> None:
        self.port: int = udp.getsockname()[1]
        self.family = int(udp.family)
        self.certificate = certificate
        self.counters = counters
        self.turns = Turns()
        self.transports: set[Transport] = set()
        self._udp = udp
        self._addresses = addresses
        self._consent_timeout_s = consent_timeout_s
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._receiver = Receiver(udp)
        self._sender = Sender(udp)
        self.fanout = Fanout(self._sender, counters)
        self.departures = self.fanout.departures
        self._listener = TcpListener(self, counters) if tcp else None
        self.proofs = PathProofs(
            send=self.send, later=asyncio.get_running_loop().call_later, given_up=self._proof_given_up
        )
        self._by_ufrag: dict[bytes, tuple[Transport, bytes]] = {}
        self._by_name: dict[bytes, Transport] = {}
        self._strangers = Strangers(self.family)
        self._floods = Floods(udp, counters, later=asyncio.get_running_loop().call_later)
        # Set while the socket is left alone for a moment because strangers flood it.
        self._rest_timer: asyncio.TimerHandle | None = None
        # Memory for one packet outside the batches: RTCP going out, TCP frames coming in.
        self._scratch, scratch_matrix, (self._scratch_row,) = new_arena(1, MTU_BYTES_MAX)
        self._scratch_view = scratch_matrix.reshape(-1).data
        self._scratch_length, length_matrix, _ = new_arena(1, 8)
        self._scratch_length_pointer = srtp.pointer_at(int(length_matrix.ctypes.data), "int *")
        self._sweep_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls,
        *,
        host: str | None,
        port: int,
        certificate: Certificate,
        counters: PortCounters,
        announced: Sequence[str] = (),
        tcp: bool = True,
        consent_timeout_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> "MediaPort":
        """Bind and start reading.

        `host` None means all addresses, of both families where there is IPv6. `port` 0 takes a free one,
        the same for UDP and TCP. `announced` are the addresses for the candidates (those of a NAT, for
        example); without them the interfaces are asked. Raises InvalidConfig when nothing can be bound.
        """
        try:
            udp, listening = bind(host, port, tcp=tcp)
        except (OSError, ValueError) as error:
            where = f"{host or 'all addresses'}, port {port}"
            raise InvalidConfig(f"the media port cannot be opened on {where}: {error}") from error
        tune(
            udp,
            buffer_bytes=BUFFER_BYTES,
            wants_local_address=host is None or ip_address(host).is_unspecified,
        )
        self = cls(
            udp,
            addresses=candidate_addresses(announced, host, udp.family),
            certificate=certificate,
            counters=counters,
            tcp=tcp,
            consent_timeout_s=consent_timeout_s,
            clock=clock,
            cpu_clock=cpu_clock,
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._readable)
        if self._listener is not None and listening is not None:
            self._listener.listen(listening)
        self._sweep()
        return self

    @property
    def fingerprint(self) -> str:
        """The value of a=fingerprint: "sha-256 AB:CD:…"."""
        return self.certificate.fingerprint

    @property
    def receive_overflows(self) -> int:
        """Datagrams that the kernel dropped since the port opened because we read too slowly."""
        return self._floods.overflows

    def candidates(self) -> list[str]:
        """Return the values of a=candidate for an answer: UDP first, then passive TCP."""
        return host_candidates(self._addresses, self.port, tcp=self._listener is not None)

    def create_transport(self, observer: TransportObserver) -> Transport:
        """Return a new transport with fresh credentials; `start` it with what the client offered."""
        transport = Transport(self, observer, self._clock())
        self.transports.add(transport)
        return transport

    async def close(self) -> None:
        """Close all transports, each with a close_notify, then the sockets."""
        for transport in list(self.transports):
            self._close(transport, CloseReason.CLOSED)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        self._floods.close()
        asyncio.get_running_loop().remove_reader(self._udp)
        self._udp.close()
        # Connections close, and handshakes end, in the next rounds of the loop.
        await asyncio.sleep(0)

    # What the transports need of the port (`PortSide`).

    def send(self, data: bytes, path: UdpPath | TcpConnection) -> None:
        """Send a datagram or frame that must not be dropped for want of buffer."""
        counters = self.counters
        if isinstance(path, TcpConnection):
            path.send(data)
        else:
            error = self._sender.send(data, path.name, path.control)
            if error:
                self._count_send_error(error)
                return
        counters.datagrams_sent += 1
        counters.bytes_sent += len(data)

    def send_rtcp(self, data: bytes, transport: Transport) -> None:
        """Protect and send a compound packet."""
        dropped = self.counters.dropped
        path = transport.path
        if transport.tx is None or path is None:
            dropped[DropReason.NOT_CONNECTED] += 1
            return
        if len(data) > RTCP_BYTES_MAX:
            dropped[DropReason.OVERSIZED] += 1
            return
        self._scratch_view[: len(data)] = data
        length = self._scratch_length_pointer
        length[0] = len(data)
        if srtp.protect_rtcp(transport.tx, self._scratch_row, length):
            dropped[DropReason.PROTECT_FAILED] += 1
            return
        protected = bytes_at(self._scratch_row, length[0])
        if isinstance(path, TcpConnection) and not path.send_media(protected):
            dropped[DropReason.TCP_BUFFER_FULL] += 1
            return
        if isinstance(path, UdpPath):
            error = self._sender.send(protected, path.name, path.control)
            if error:
                self._count_send_error(error)
                return
        self.counters.datagrams_sent += 1
        self.counters.bytes_sent += len(protected)

    def add_credentials(self, credentials: Credentials, transport: Transport) -> None:
        """Let checks with these credentials reach the transport."""
        self._by_ufrag[credentials.ufrag.encode()] = (transport, credentials.pwd.encode())

    def remove_credentials(self, credentials: Credentials) -> None:
        """Forget credentials."""
        self._by_ufrag.pop(credentials.ufrag.encode(), None)

    def claim(self, name: bytes, transport: Transport) -> None:
        """Let datagrams of this address reach the transport, and no other one."""
        previous = self._by_name.get(name)
        if previous is not transport:
            if previous is not None:
                previous.drop_name(name)
            self._by_name[name] = transport

    def release(self, name: bytes, transport: Transport) -> None:
        """Forget an address, if it is the transport's."""
        if self._by_name.get(name) is transport:
            del self._by_name[name]

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._clock()

    def forget(self, transport: Transport) -> None:
        """Forget a transport that closed."""
        self.transports.discard(transport)

    # UDP in.

    def _readable(self) -> None:
        receiver = self._receiver
        now = self._clock()
        started = now
        # From the kernel's stamps to the clock that everybody else uses.
        offset = time.time() - now
        for _ in range(BATCHES_PER_WAKE_UP):
            count = receiver.receive()
            if count:
                self._receive_batch(count, now, offset)
            if count < receiver.slots:
                break
            if self._floods.is_overrun:
                self._floods.taken(receiver.sources(count))
            now = self._clock()
            if now - started > WAKE_UP_S:
                break
        self._floods.look(now)
        if self._strangers.is_flooded:
            # To be woken for each datagram costs more than taking it: for this second they come together.
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._udp)
            self._rest_timer = loop.call_later(FLOOD_REST_S, self._read_again)

    def _read_again(self) -> None:
        self._rest_timer = None
        asyncio.get_running_loop().add_reader(self._udp, self._readable)
        self._readable()

    def _receive_batch(self, count: int, now: float, offset: float) -> None:
        """Take the datagrams of one recvmmsg. The hottest loop of the bridge: a few plain steps each."""
        receiver = self._receiver
        view = receiver.view
        data = receiver.data
        words = receiver.header_words
        names = receiver.names
        packets = receiver.packet_pointers
        lengths = receiver.length_pointers
        by_name = self._by_name
        is_flooding = self._strangers.is_flooding
        dropped = self.counters.dropped
        unprotect = srtp.unprotect
        total = 0
        for slot in range(count):
            start = slot * MTU_BYTES_MAX
            length = words[16 * slot + 14]
            total += length
            name = names[slot * NAME_BYTES : slot * NAME_BYTES + NAME_BYTES]
            transport = by_name.get(name)
            try:
                if transport is None and is_flooding(name):
                    self._drop_beyond(name, None, now)
                    continue
                first = view[start]
                if transport is None or not 128 <= first < 192:
                    self._receive_other(slot, bytes(data[start : start + length]), name, transport, now)
                    continue
                if not transport.budget.spend(MEDIA_COST_S, now):
                    self._drop_beyond(name, transport, now)
                    continue
                rx = transport.rx
                if rx is None:
                    dropped[DropReason.NOT_CONNECTED] += 1
                    continue
                # RFC 5761, 4: where RTP has marker and payload type, RTCP has 192 to 223.
                is_rtp = not 192 <= view[start + 1] < 224
                if is_rtp:
                    status = unprotect(rx, packets[slot], lengths[slot])
                else:
                    status = srtp.unprotect_rtcp(rx, packets[slot], lengths[slot])
                if status:
                    self._count_unprotect_error(status)
                    if is_rtp:
                        transport.unprotect_failed(data[start : start + 12], status)
                    continue
                transport.last_received = now
                transport.heard_at[name] = now
                arrival = receiver.stamp(slot) - offset
                if not now - 1.0 < arrival <= now:
                    # The system clock was set between the stamp and now, or there is no stamp.
                    arrival = now
                packet = data[start : start + words[16 * slot + 14]]
                if is_rtp:
                    ssrc = packet[8:12]
                    if ssrc not in transport.streams:
                        transport.admit_stream(ssrc, now)
                    transport.streams[ssrc] = now
                    transport.receive_rtp(packet, arrival)
                else:
                    self._receive_rtcp(transport, packet, arrival, now)
            except Exception:
                logger.exception(FAILURE)
                # A check may have made the address known before it failed.
                self._fail(transport or by_name.get(name))
        self.counters.datagrams_received += count
        self.counters.bytes_received += total

    def _drop_beyond(self, name: bytes, transport: Transport | None, now: float) -> None:
        """Drop a datagram of somebody who sends more than it may; far more, and the kernel drops the next."""
        self.counters.dropped[DropReason.RATE_LIMITED] += 1
        shut_out_s = self._floods.dropped(name, now)
        if shut_out_s and transport is not None:
            # Or it would have saved up meanwhile for another flood. Old debts are paid with it, as they would
            # have it shut out again at once.
            debt = min(0.0, transport.budget.left(now))
            transport.budget.charge(CORE_SHARE * shut_out_s + debt, now)

    def _receive_other(
        self, slot: int, data: bytes, name: bytes, transport: Transport | None, now: float
    ) -> None:
        """Take a datagram that is not media from a known address."""
        dropped = self.counters.dropped
        if self._receiver.is_truncated(slot):
            dropped[DropReason.OVERSIZED] += 1
        elif data and data[0] < 4:
            self._receive_check(data, now, name=name, control=self._receiver.control(slot))
        elif transport is None:
            dropped[DropReason.UNKNOWN_SOURCE] += 1
        elif not transport.budget.spend(DTLS_COST_S, now):
            self._drop_beyond(name, transport, now)
        elif len(data) < DTLS_BYTES_MIN or not 20 <= data[0] < 64 or not transport.receive_dtls(data):
            dropped[DropReason.UNEXPECTED_DTLS] += 1

    def _receive_check(
        self,
        data: bytes,
        now: float,
        *,
        name: bytes = b"",
        control: bytes = b"",
        connection: TcpConnection | None = None,
    ) -> bool:
        """Verify a connectivity check, answer it, and let it move its transport's path.

        Returns False when it was none with keys that we gave out, or one too many.
        """
        counters = self.counters
        source = self._by_name.get(name) if connection is None else self._owner(connection)
        if connection is None:
            is_proof = self.proofs.receive(data, name)
            if is_proof is not None:
                counters.dropped[DropReason.UNKNOWN_SOURCE] += not is_proof
                return is_proof
        if source is not None and not source.checks.spend(1.0, now):
            # Before reading it: what it is cannot be known for less than it costs.
            if connection is None:
                self._drop_beyond(name, source, now)
            else:
                counters.dropped[DropReason.RATE_LIMITED] += 1
            return False
        try:
            request = parse_binding_request(data)
        except MalformedPacket:
            counters.dropped[DropReason.MALFORMED_STUN] += 1
            return False
        found = self._by_ufrag.get(request.local_ufrag)
        if found is None:
            counters.dropped[DropReason.UNKNOWN_UFRAG] += 1
            return False
        transport, pwd = found
        if not request.is_authentic(pwd):
            counters.dropped[DropReason.BAD_INTEGRITY] += 1
            return False
        if transport is not source and not transport.checks.spend(1.0, now):
            counters.dropped[DropReason.RATE_LIMITED] += 1
            return False
        counters.stun_requests += 1
        if connection is not None:
            return self._pass_frame_check(request, connection, transport, pwd, now)
        local = reply_control(control)
        if source is not None and source is not transport and source.holds(name, now):
            # A participant may send checks with the address of another; it must not get it.
            if now - source.heard_at.get(name, now) < PATH_SILENCE_S:
                counters.dropped[DropReason.UNKNOWN_SOURCE] += 1
                return False
            source.drop_name(name)
            source = None
        path = transport.udp_path(name, local, request.username)
        answer, counts = self._answer(request, *host_and_port(name), pwd)
        self.send(answer, path)
        if not counts:
            return False
        if source is None or source is transport:
            self.claim(name, transport)
            transport.check_passed(path, nominates=request.nominates, now=now)
        else:
            # Neither has shown that it can be reached there. Who answers has it.
            transport.ask(path, is_wanted=request.nominates or transport.path is None)
        return True

    def _pass_frame_check(
        self,
        request: BindingRequest,
        connection: TcpConnection,
        transport: Transport,
        pwd: bytes,
        now: float,
    ) -> bool:
        if connection.owner is not transport and not self._adopt(connection, transport):
            self.counters.dropped[DropReason.TCP_REFUSED] += 1
            connection.abort()
            return False
        answer, counts = self._answer(request, connection.host, connection.port, pwd)
        self.send(answer, connection)
        if counts:
            transport.check_passed(connection, nominates=request.nominates, now=now)
        return counts

    def _answer(self, request: BindingRequest, host: bytes, port: int, pwd: bytes) -> tuple[bytes, bool]:
        """Return the answer to an authentic check, and whether the check counts."""
        self.counters.stun_responses += 1
        transaction_id, unknown = request.transaction_id, request.unknown_attributes
        if unknown:
            return binding_error(transaction_id, UNKNOWN_ATTRIBUTE, pwd=pwd, unknown=unknown), False
        if request.is_controlled and not request.nominates:
            # An ICE-lite agent is the controlled one (RFC 8445, 6.1.1). Who nominates all the same controls.
            return binding_error(transaction_id, ROLE_CONFLICT, pwd=pwd), False
        return binding_response(transaction_id, host, port, pwd=pwd), True

    # TCP in.

    def receive_frame(self, connection: TcpConnection, data: bytes) -> bool:
        """Take one packet that came over a TCP connection; False when it was of no use."""
        counters = self.counters
        counters.datagrams_received += 1
        counters.bytes_received += len(data)
        now = self._clock()
        is_of_use = False
        try:
            is_of_use = self._handle_frame(connection, data, now)
        except Exception:
            logger.exception(FAILURE)
            self._fail(self._owner(connection))
        if connection.owner is None:
            # ICE begins with a check that passes.
            connection.abort()
        return is_of_use

    def _handle_frame(self, connection: TcpConnection, data: bytes, now: float) -> bool:
        transport = self._owner(connection)
        if data[0] < 4:
            return self._receive_check(data, now, connection=connection)
        if transport is None:
            self.counters.dropped[DropReason.UNKNOWN_SOURCE] += 1
            return False
        # Nothing is dropped for want of a budget: the connection waits until there is one.
        if len(data) >= 2 and 128 <= data[0] < 192:
            transport.budget.charge(MEDIA_COST_S, now)
            return self._receive_media_frame(connection, transport, data, now)
        transport.budget.charge(DTLS_COST_S, now)
        if len(data) < DTLS_BYTES_MIN or not 20 <= data[0] < 64 or not transport.receive_dtls(data):
            self.counters.dropped[DropReason.UNEXPECTED_DTLS] += 1
            return False
        return True

    @staticmethod
    def _owner(connection: TcpConnection) -> Transport | None:
        owner = connection.owner
        assert owner is None or isinstance(owner, Transport)
        return owner

    def _receive_media_frame(
        self, connection: TcpConnection, transport: Transport, data: bytes, now: float
    ) -> bool:
        rx = transport.rx
        if rx is None:
            self.counters.dropped[DropReason.NOT_CONNECTED] += 1
            return False
        self._scratch_view[: len(data)] = data
        length = self._scratch_length_pointer
        length[0] = len(data)
        is_rtp = not 192 <= data[1] < 224
        unprotect = srtp.unprotect if is_rtp else srtp.unprotect_rtcp
        status = unprotect(rx, self._scratch_row, length)
        if status:
            self._count_unprotect_error(status)
            if is_rtp:
                transport.unprotect_failed(data[:12], status)
            return False
        transport.last_received = now
        connection.heard_at = now
        packet = bytes_at(self._scratch_row, length[0])
        if is_rtp:
            ssrc = packet[8:12]
            if ssrc not in transport.streams:
                transport.admit_stream(ssrc, now)
            transport.streams[ssrc] = now
            transport.receive_rtp(packet, now)
        else:
            self._receive_rtcp(transport, packet, now, now)
        return True

    def _receive_rtcp(self, transport: Transport, packet: bytes, arrival: float, now: float) -> None:
        """Hand on a compound, and charge what it took: one may ask for hundreds of packets again."""
        ssrc = packet[4:8]
        if ssrc not in transport.reporters:
            transport.admit_reporter(ssrc, now)
        transport.reporters[ssrc] = now
        # Time of the processor: on a busy machine the clock on the wall goes on while others work.
        started = self._cpu_clock()
        transport.receive_rtcp(packet, arrival)
        transport.budget.charge(self._cpu_clock() - started, now)

    def _adopt(self, connection: TcpConnection, transport: Transport) -> bool:
        is_taken = connection.owner is not None
        if self._listener is None or is_taken or not transport.add_connection(connection):
            return False
        self._listener.authenticated(connection)
        return True

    # Housekeeping.

    def _proof_given_up(self) -> None:
        self.counters.paths_unproven += 1

    def _fail(self, transport: Transport | None) -> None:
        """Let a bug of ours end the transport that met it, and nobody else's."""
        if transport is not None:
            self._close(transport, CloseReason.FAILED)

    def _close(self, transport: Transport, reason: CloseReason) -> None:
        try:
            transport.close(reason)
        except Exception:
            # It tells its observer last, so that nothing of it is left here.
            logger.exception(UNCLOSED)

    def _sweep(self) -> None:
        """Close the transports that went silent, and those whose handshake does not end."""
        now = self._clock()
        self._strangers.forgive()
        interval_s = min(1.0, self._consent_timeout_s / 4)
        self._sweep_timer = asyncio.get_running_loop().call_later(interval_s, self._sweep)
        for transport in list(self.transports):
            if now - transport.last_received > self._consent_timeout_s:
                self.counters.consent_expired += 1
                self._close(transport, CloseReason.TIMEOUT)
            elif (
                transport.state is TransportState.NEW
                and transport.first_checked is not None
                and now - transport.first_checked > HANDSHAKE_S
            ):
                try:
                    transport.handshake_failed(DtlsFailure.TIMEOUT)
                except Exception:
                    logger.exception(UNCLOSED)
        if self._listener is not None:
            self._listener.sweep()

    def _count_send_error(self, error: int) -> None:
        is_full = error in (errno.EAGAIN, errno.ENOBUFS)
        self.counters.dropped[DropReason.SEND_BUFFER_FULL if is_full else DropReason.SEND_FAILED] += 1

    def _count_unprotect_error(self, status: int) -> None:
        is_replay = status in srtp.REPLAY_ERRORS
        self.counters.dropped[DropReason.REPLAYED if is_replay else DropReason.UNPROTECT_FAILED] += 1
