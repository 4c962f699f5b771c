"""A Transport: the ICE + DTLS + SRTP association with one client, over whichever path it last chose.

    NEW ── DTLS done ──> CONNECTED ──┐
     └───────────────────────────────┴──> CLOSED (once; see `close_reason`)

Nothing is kept for a client but its credentials until a connectivity check with the right password has
come in; then its address is known and DTLS begins. Media follows the client's nominations, to another
address only once that has proved to be the client's (see `paths`). A client proves that it still wants
media by anything it sends that is authenticated; after `consent_timeout_s` of silence the transport closes.
"""

import logging
from collections.abc import Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Final, Protocol
from weakref import ref

from pylibsrtp import Session

from bridge.base.counters import DtlsFailure, PortCounters
from bridge.base.errors import NegotiationFailed, TransportFailed
from bridge.base.rate import Budget
from bridge.transport import srtp
from bridge.transport.departures import NOBODY, Departures
from bridge.transport.dtls import SUPPORTED_HASHES, Certificate, Dtls, DtlsRole, Turns
from bridge.transport.ice import Credentials, generate_credentials
from bridge.transport.mmsg import Endpoint, host_and_port
from bridge.transport.paths import PROOF_S, PathProofs, SelectedPath, UdpPath
from bridge.transport.rollover import UNAUTHENTIC, Rollovers
from bridge.transport.tcp import TcpConnection

logger = logging.getLogger(__name__)

# A client has one candidate per interface and address family, and a NAT may renumber them.
PATHS_MAX: Final = 16
# Restarting ICE again and again must not pile up passwords.
CREDENTIALS_MAX: Final = 4
# So many routes that follow a transport are looked through for dead ones.
FOLLOWERS_MIN: Final = 16
# SSRCs a client may send from, each costing kilobytes in libsrtp: 17 for all its encodings and their
# retransmissions, and room for those of earlier negotiations. Reports may come from other SSRCs, one for
# each section that receives.
STREAMS_MAX: Final = 256
REPORTERS_MAX: Final = 128
# Browsers check a pair every 2.5 s (Chromium) to 5 s (Firefox), and send media and reports in between. An
# address not heard from for longer may go to another client, and a selected path that is silent gives way
# to one that is not.
PATH_SILENCE_S: Final = 6.0
# What one client may have of the core: of each second so much, in seconds. Three transports, which is what
# one link may open, stay below half of it. What is handled of a packet here and in the leg is charged as a
# round number; what its copies to others cost is not its sender's doing.
CORE_SHARE: Final = 0.15
CORE_BURST_S: Final = 0.3
MEDIA_COST_S: Final = 50e-6
DTLS_COST_S: Final = 200e-6
# Browsers pace their checks at 20 per second, and only while they look for a path.
CHECKS_PER_S: Final = 50.0
CHECKS_BURST: Final = 100.0


class TransportState(StrEnum):
    """Where a transport is in its life."""

    NEW = "new"
    CONNECTED = "connected"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why a transport closed."""

    TIMEOUT = "timeout"
    CLOSED_BY_PEER = "closed-by-peer"
    DTLS_TIMEOUT = "dtls-timeout"
    DTLS_CERTIFICATE_CURVE = "dtls-certificate-curve"
    DTLS_NO_CERTIFICATE = "dtls-no-certificate"
    DTLS_FINGERPRINT = "dtls-fingerprint"
    DTLS_NO_COMMON_CIPHER = "dtls-no-common-cipher"
    DTLS_NO_SRTP_PROFILE = "dtls-no-srtp-profile"
    DTLS_VERSION = "dtls-version"
    DTLS_REFUSED_BY_PEER = "dtls-refused-by-peer"
    DTLS_PROTOCOL = "dtls-protocol"
    FAILED = "failed"
    CLOSED = "closed"


# For whoever reads the log; docs/operations.md says more.
ADVICE: Final = {
    DtlsFailure.TIMEOUT: "DTLS did not come to an end; something on the way drops its datagrams",
    DtlsFailure.CERTIFICATE_CURVE: (
        "its DTLS certificate is on a curve that this OpenSSL does not accept (FFmpeg makes one on P-224); "
        "give it one of its own on P-256"
    ),
    DtlsFailure.NO_CERTIFICATE: "it has no DTLS certificate",
    DtlsFailure.FINGERPRINT: "its DTLS certificate is not the one of its offer",
    DtlsFailure.NO_COMMON_CIPHER: "it knows no DTLS cipher that we do; its certificate may not be elliptic",
    DtlsFailure.NO_SRTP_PROFILE: "it knows no SRTP profile that we do",
    DtlsFailure.VERSION: "it knows no version of DTLS that we do",
    DtlsFailure.REFUSED_BY_PEER: "it has refused the handshake of DTLS",
    DtlsFailure.PROTOCOL: "it does not follow the protocol of DTLS",
}


class TransportObserver(Protocol):
    """What hears of a transport. All methods are called on the loop's thread and must not raise.

    What raises all the same is a bug of ours, and costs this one transport (`CloseReason.FAILED`).
    """

    def receive_rtp(self, data: bytes, arrival: float) -> None:
        """Take a decrypted RTP packet; `arrival` is the kernel's stamp in monotonic seconds."""

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        """Take a decrypted compound RTCP packet."""

    def receives(self, ssrc: int) -> bool:
        """Tell whether a stream is in use: what SRTP knows about it must not be forgotten."""

    def transport_state(self, state: TransportState) -> None:
        """CONNECTED when media can flow, then CLOSED exactly once, also after one's own `close`."""


class PortSide(Protocol):
    """What a transport needs of the media port."""

    certificate: Certificate
    counters: PortCounters
    turns: Turns
    proofs: PathProofs
    departures: Departures
    family: int

    def now(self) -> float:
        """Return monotonic seconds."""

    def send(self, data: bytes, path: UdpPath | TcpConnection) -> None:
        """Send a datagram or frame that must not be dropped for want of buffer."""

    def send_rtcp(self, data: bytes, transport: "Transport") -> None:
        """Protect and send a compound packet."""

    def add_credentials(self, credentials: Credentials, transport: "Transport") -> None:
        """Let checks with these credentials reach the transport."""

    def remove_credentials(self, credentials: Credentials) -> None:
        """Forget credentials."""

    def claim(self, name: bytes, transport: "Transport") -> None:
        """Let datagrams of this address reach the transport, and no other one."""

    def release(self, name: bytes, transport: "Transport") -> None:
        """Forget an address, if it is the transport's."""

    def forget(self, transport: "Transport") -> None:
        """Forget the transport itself."""


class FollowingRoute(Protocol):
    """What the fan-out has looked up about a transport, and must look up again when that changes."""

    is_stale: bool


class Transport:
    """The association with one client. Made by `MediaPort.create_transport`."""

    __slots__ = (
        "__weakref__",
        "_credentials",
        "_dtls",
        "_fingerprints",
        "_followers",
        "_followers_max",
        "_has_warned",
        "_observer",
        "_port",
        "_remote",
        "_role",
        "_rx_session",
        "_tx_session",
        "_wanted",
        "budget",
        "checks",
        "close_reason",
        "connections",
        "departure_row",
        "endpoint",
        "first_checked",
        "heard_at",
        "last_received",
        "own_route",
        "path",
        "paths",
        "receive_rtcp",
        "receive_rtp",
        "reporters",
        "rollovers",
        "rx",
        "state",
        "streams",
        "tx",
    )

    def __init__(self, port: PortSide, observer: TransportObserver, now: float) -> None:
        # Given.
        self._port = port
        self._observer = observer
        # The port calls these for every packet.
        self.receive_rtp = observer.receive_rtp
        self.receive_rtcp = observer.receive_rtcp
        self._fingerprints: list[tuple[str, str]] = []
        self._role: DtlsRole = "server"
        # Made.
        self.state = TransportState.NEW
        self.close_reason: CloseReason | None = None
        self.last_received = now
        self.budget = Budget(per_s=CORE_SHARE, burst=CORE_BURST_S, now=now)
        self.checks = Budget(per_s=CHECKS_PER_S, burst=CHECKS_BURST, now=now)
        self.first_checked: float | None = None
        self._credentials = [generate_credentials()]
        # Passwords of the client by its user name fragment, as bytes, newest last.
        self._remote: dict[bytes, bytes] = {}
        self._dtls: Dtls | None = None
        self._rx_session: Session | None = None
        self._tx_session: Session | None = None
        # libsrtp's handles of the two sessions; None until DTLS is done and after closing.
        self.rx: srtp.CData = None
        self.tx: srtp.CData = None
        self.rollovers: Rollovers | None = None
        # Of media that cannot be decrypted; once is enough for the log.
        self._has_warned = False
        # When something last came in from each SSRC, by its four bytes: media, and reports.
        self.streams: dict[bytes, float] = {}
        self.reporters: dict[bytes, float] = {}
        self.path: UdpPath | TcpConnection | None = None
        # By remote address and the control message that tells the local one.
        self.paths: dict[tuple[bytes, bytes], UdpPath] = {}
        # When something authentic last came from each remote address.
        self.heard_at: dict[bytes, float] = {}
        # Where the client wants the media, once the address has proved to be its own.
        self._wanted: UdpPath | None = None
        self.connections: set[TcpConnection] = set()
        # Where the fan-out finds the address; it stays in place when the address changes.
        self.endpoint = Endpoint(port.family)
        # Weak, as routes come and go with each change of who is shown what; the dead are dropped in heaps.
        self._followers: list[ref[FollowingRoute]] = []
        self._followers_max = FOLLOWERS_MIN
        self.own_route: FollowingRoute | None = None
        # Where in the port's columns its transport-wide numbers stand; NOBODY while it has none.
        self.departure_row = NOBODY

    @property
    def local_ufrag(self) -> str:
        """The user name fragment for the next answer."""
        return self._credentials[-1].ufrag

    @property
    def local_pwd(self) -> str:
        """The password for the next answer."""
        return self._credentials[-1].pwd

    @property
    def credentials(self) -> Sequence[Credentials]:
        """All credentials that are valid, newest last."""
        return self._credentials

    @property
    def is_on_tcp(self) -> bool:
        """Whether media goes over TCP now, which repairs and delays by itself."""
        return isinstance(self.path, TcpConnection)

    @property
    def selected_path(self) -> SelectedPath | None:
        """Where media goes now; None before the first check."""
        path = self.path
        if path is None:
            return None
        if isinstance(path, TcpConnection):
            packed, port = path.host, path.port
        else:
            packed, port = host_and_port(path.name)
        family = "ipv4" if len(packed) == 4 else "ipv6"
        return SelectedPath(ip_address(packed).compressed, port, path.protocol, family)

    def start(
        self,
        *,
        remote_ufrag: str,
        remote_pwd: str,
        remote_fingerprints: Sequence[tuple[str, str]],
        dtls_role: DtlsRole,
    ) -> None:
        """Accept checks from now on, and do DTLS in the given role when the first one has passed.

        The remote credentials are for asking an address whether it is the client's. Raises
        NegotiationFailed when no fingerprint has a hash that we support, TransportFailed when closed.
        """
        self._require_open()
        fingerprints = [one for one in remote_fingerprints if one[0].lower() in SUPPORTED_HASHES]
        if not fingerprints:
            raise NegotiationFailed("negotiation-failed", "The offer has no fingerprint that we support.")
        self._fingerprints = fingerprints
        self._role = dtls_role
        self._add_remote(remote_ufrag, remote_pwd)
        self._port.add_credentials(self._credentials[-1], self)

    def restart_ice(self, remote_ufrag: str, remote_pwd: str) -> Credentials:
        """Return new local credentials (RFC 8445, 9); the old ones stay valid, as checks with them go on.

        Raises TransportFailed when closed.
        """
        self._require_open()
        self._add_remote(remote_ufrag, remote_pwd)
        self._credentials.append(generate_credentials())
        self._port.add_credentials(self._credentials[-1], self)
        if len(self._credentials) > CREDENTIALS_MAX:
            self._port.remove_credentials(self._credentials.pop(0))
        return self._credentials[-1]

    def number_departures(self) -> int:
        """Number from now on what is sent to slots that tell it; return the row of the columns."""
        if self.departure_row == NOBODY and self.state is not TransportState.CLOSED:
            self.departure_row = self._port.departures.open()
            self._mark_routes_stale()
        return self.departure_row

    def send_rtcp(self, data: bytes) -> None:
        """Protect and send one compound packet; dropped and counted when there is no path or no key yet."""
        self._port.send_rtcp(data, self)

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Send close_notify, free everything, report CLOSED. Does nothing the second time."""
        if self.state is TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        self.close_reason = reason
        if self._dtls is not None:
            self._dtls.close()
            self._dtls = None
        for credentials in self._credentials:
            self._port.remove_credentials(credentials)
        for path in list(self.paths.values()):
            self._forget_path(path)
        self._wanted = None
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.path = None
        self.rx = self.tx = None
        if self.departure_row != NOBODY:
            self._port.departures.close(self.departure_row)
            self.departure_row = NOBODY
        self._mark_routes_stale()
        # The routes refer to the handles until they notice that they are stale, but never use them.
        self._rx_session = self._tx_session = None
        self.rollovers = None
        self.streams.clear()
        self.reporters.clear()
        self.own_route = None
        self._port.forget(self)
        self._observer.transport_state(TransportState.CLOSED)

    # What follows is called by the port.

    def check_passed(self, path: UdpPath | TcpConnection, *, nominates: bool, now: float) -> None:
        """Note an authenticated check that came over `path`; it may move the media there."""
        self.last_received = now
        if isinstance(path, UdpPath):
            self.heard_at[path.name] = now
        else:
            path.heard_at = now
        current = self.path
        if current is None and self._dtls is None:
            self._select(path)
        elif current is path:
            if nominates:
                self._wanted = None
        elif current is None or nominates or now - self._heard_at(current) > PATH_SILENCE_S:
            self._want(path, now)
        if self._dtls is None:
            self.first_checked = now
            self._dtls = Dtls(
                certificate=self._port.certificate,
                role=self._role,
                fingerprints=self._fingerprints,
                turns=self._port.turns,
                send=self._send_dtls,
                connected=self._dtls_connected,
                ended=self._dtls_ended,
            )

    def udp_path(self, name: bytes, control: bytes, username: bytes) -> UdpPath:
        """Return the path of a remote and a local address, known or new; the longest silent makes room."""
        path = self.paths.get((name, control))
        if path is None:
            if len(self.paths) >= PATHS_MAX:
                others = (one for one in self.paths.values() if one is not self.path)
                self._lose(min(others, key=self._heard_at))
            path = self.paths[name, control] = UdpPath(name, control)
        path.username = username
        return path

    def holds(self, name: bytes, now: float) -> bool:
        """Tell whether an address has proved to be the client's."""
        current = self.path
        if isinstance(current, UdpPath) and current.name == name and self.state is TransportState.CONNECTED:
            return True
        return any(one.name == name and one.proven_until > now for one in self.paths.values())

    def ask(self, path: UdpPath, *, is_wanted: bool) -> None:
        """Ask whether an address is the client's; media moves there if it is, and `is_wanted`."""
        if is_wanted:
            self._wanted = path
        ufrag = path.username.partition(b":")[2]
        if ufrag not in self._remote:
            ufrag = next(reversed(self._remote))
        self._port.proofs.ask(
            path, remote_ufrag=ufrag, remote_pwd=self._remote[ufrag], answered=self._path_proven
        )

    def drop_name(self, name: bytes) -> None:
        """Forget an address, which another client has now."""
        for path in [one for one in self.paths.values() if one.name == name]:
            self._lose(path)

    def add_connection(self, connection: TcpConnection) -> bool:
        """Make a TCP connection one of the paths; False when there are too many."""
        if len(self.connections) >= PATHS_MAX:
            return False
        connection.owner = self
        self.connections.add(connection)
        return True

    def connection_lost(self, connection: TcpConnection) -> None:
        """A TCP connection ended."""
        self.connections.discard(connection)
        self._path_lost(connection)

    def receive_dtls(self, data: bytes) -> bool:
        """Take a DTLS datagram of a known path; False when it had to be dropped."""
        return self._dtls is not None and self._dtls.receive(data)

    def handshake_failed(self, failure: DtlsFailure) -> None:
        """Close because DTLS failed, and say what can be done about it."""
        self._port.counters.dtls_failures[failure] += 1
        logger.warning("a client cannot be connected: %s", ADVICE[failure])
        self.close(CloseReason(f"dtls-{failure}"))

    def admit_stream(self, ssrc: bytes, now: float) -> None:
        """Note a new SSRC that media comes from; of too many, those silent for longest are forgotten.

        A stream that comes again after that fails authentication for ever if it has wrapped meanwhile, so
        never one that is in use.
        """
        streams = self.streams
        if len(streams) >= STREAMS_MAX:
            receives = self._observer.receives
            unused = [one for one in streams if not receives(int.from_bytes(one, "big"))]
            for one in sorted(unused or streams, key=streams.__getitem__)[: STREAMS_MAX // 4]:
                del streams[one]
                srtp.remove_stream(self.rx, int.from_bytes(one, "big"))
        streams[ssrc] = now
        count = 0 if self.rollovers is None else self.rollovers.succeeded(ssrc)
        if count:
            self._port.counters.rollovers_found += 1
            logger.warning(
                "the sequence numbers of SSRC %s had wrapped before its first packet came in: "
                "taken up at rollover %d",
                ssrc.hex(),
                count,
            )

    def admit_reporter(self, ssrc: bytes, now: float) -> None:
        """Note a new SSRC that reports come from; those silent for longest are forgotten."""
        reporters = self.reporters
        if len(reporters) >= REPORTERS_MAX:
            for one in sorted(reporters, key=reporters.__getitem__)[: REPORTERS_MAX // 4]:
                del reporters[one]
                if one not in self.streams:
                    srtp.remove_stream(self.rx, int.from_bytes(one, "big"))
        reporters[ssrc] = now

    def unprotect_failed(self, header: bytes, status: int) -> None:
        """Note that a media packet with this header could not be decrypted."""
        rollovers = self.rollovers
        if (
            rollovers is not None
            and status in UNAUTHENTIC
            and len(header) == 12
            and header[8:12] not in self.streams
            and rollovers.failed(self.rx, header)
        ):
            self._port.counters.streams_unauthentic += 1
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "SRTP authentication fails for SSRC %s, and no rollover fits", header[8:12].hex()
                )

    def _require_open(self) -> None:
        if self.state is TransportState.CLOSED:
            raise TransportFailed(f"the transport is closed ({self.close_reason})")

    def _add_remote(self, ufrag: str, pwd: str) -> None:
        self._remote[ufrag.encode()] = pwd.encode()
        if len(self._remote) > CREDENTIALS_MAX:
            del self._remote[next(iter(self._remote))]

    def _heard_at(self, path: UdpPath | TcpConnection) -> float:
        if isinstance(path, UdpPath):
            return self.heard_at.get(path.name, float("-inf"))
        return path.heard_at

    def _want(self, path: UdpPath | TcpConnection, now: float) -> None:
        """Move the media to a path, at once or when its address has proved to be the client's."""
        if isinstance(path, UdpPath) and not self.holds(path.name, now):
            self.ask(path, is_wanted=True)
            return
        self._wanted = None
        self._select(path)
        self._port.counters.path_changes += 1

    def _path_proven(self, path: UdpPath) -> None:
        now = self._port.now()
        path.proven_until = now + PROOF_S
        self._port.claim(path.name, self)
        if path is self._wanted:
            self._wanted = None
            self.check_passed(path, nominates=True, now=now)

    def _lose(self, path: UdpPath) -> None:
        self._forget_path(path)
        self._path_lost(path)

    def _forget_path(self, path: UdpPath) -> None:
        del self.paths[path.name, path.control]
        self._port.proofs.forget(path)
        if path is self._wanted:
            self._wanted = None
        if not any(one.name == path.name for one in self.paths.values()):
            self.heard_at.pop(path.name, None)
            self._port.release(path.name, self)

    def _path_lost(self, path: UdpPath | TcpConnection) -> None:
        """Media goes on over the path heard from last, if there is another."""
        if path is not self.path:
            return
        self.path = None
        self._mark_routes_stale()
        others: list[UdpPath | TcpConnection] = [*self.paths.values(), *self.connections]
        if others and self._dtls is not None:
            self._want(max(others, key=self._heard_at), self._port.now())

    def _select(self, path: UdpPath | TcpConnection) -> None:
        moved = path is not self.path
        previous, self.path = self.path, path
        if isinstance(path, UdpPath):
            length = self.endpoint.control_bytes
            self.endpoint.point_to(path.name, path.control)
            moved = length != self.endpoint.control_bytes or not isinstance(previous, UdpPath)
        if moved:
            self._mark_routes_stale()

    def follow(self, route: "ref[FollowingRoute]") -> None:
        """Let a route know when it has to look up anew what it has looked up about this transport."""
        self._followers.append(route)
        if len(self._followers) > self._followers_max:
            self._followers = [one for one in self._followers if one() is not None]
            self._followers_max = 2 * len(self._followers) + FOLLOWERS_MIN

    def _mark_routes_stale(self) -> None:
        for follower in self._followers:
            route = follower()
            if route is not None:
                route.is_stale = True

    def _send_dtls(self, data: bytes) -> None:
        if self.path is not None:
            self._port.send(data, self.path)

    def _dtls_connected(self, keys: srtp.Keys) -> None:
        self._port.counters.dtls_handshakes += 1
        self._rx_session, self._tx_session = keys.receiving(), keys.sending()
        self.rx, self.tx = srtp.pointer(self._rx_session), srtp.pointer(self._tx_session)
        self.rollovers = Rollovers(keys)
        if isinstance(self.path, UdpPath):
            # Only who reads there what we send can have come to the end of the handshake.
            self.path.proven_until = self._port.now() + PROOF_S
        self.state = TransportState.CONNECTED
        self._mark_routes_stale()
        self._observer.transport_state(TransportState.CONNECTED)

    def _dtls_ended(self, failure: DtlsFailure | None) -> None:
        if failure is None:
            self.close(CloseReason.CLOSED_BY_PEER)
        else:
            self.handshake_failed(failure)
