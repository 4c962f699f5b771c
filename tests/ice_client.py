"""A small WebRTC client without SDP: ICE controlling, DTLS, SRTP, over UDP or TCP, on real sockets.

It shares no code with the bridge's transport: checks are made by aioice's STUN, DTLS by aiortc, SRTP by
pylibsrtp's copying calls.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
)

from bridge.base.counters import PortCounters
from bridge.transport import Certificate, MediaPort, Transport, TransportState

CERTIFICATE = RTCCertificate.generateCertificate()
CONNECT_TIMEOUT_S = 10.0


class RecordingObserver:
    """Keeps what a transport reports."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.arrivals: list[float] = []
        self.states: list[TransportState] = []
        # SSRCs that are in use.
        self.in_use: set[int] = set()

    def receives(self, ssrc: int) -> bool:
        return ssrc in self.in_use

    def receive_rtp(self, data: bytes, arrival: float) -> None:
        self.rtp.append(data)
        self.arrivals.append(arrival)

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        self.rtcp.append(data)
        self.arrivals.append(arrival)

    def transport_state(self, state: TransportState) -> None:
        self.states.append(state)


class _Wire:
    """What aiortc's DTLS needs of an ICE transport."""

    role = "controlling"

    def __init__(self, client: "IceClient") -> None:
        self._client = client
        self.records: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def _recv(self) -> bytes:
        data = await self.records.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        for fragment in self._client.fragment_dtls(data):
            self._client.send(fragment)


class IceClient:
    """One client, connected to one transport of a media port."""

    def __init__(
        self,
        *,
        dtls_role: str = "client",
        srtp_profiles: Sequence[SRTPProtectionProfile] | None = None,
    ) -> None:
        self.ufrag = "cl1e"
        self.pwd = "client-password-of-24-ch"
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.stun_responses: list[stun.Message] = []
        # Checks of the bridge, which a full ICE agent answers; clear `answers_checks` to have none answered.
        self.stun_requests: list[stun.Message] = []
        self.answers_checks = True
        self.datagrams_received = 0
        # Set to drop everything that comes in, as a broken network does.
        self.is_deaf = False
        self.fragment_dtls: Callable[[bytes], list[bytes]] = lambda data: [data]
        self._remote_ufrag = ""
        self._remote_pwd = ""
        self._received = asyncio.Event()
        self._socket: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._closing: list[asyncio.StreamWriter] = []
        self._reader_task: asyncio.Task[None] | None = None
        self._wire = _Wire(self)
        self.dtls = RTCDtlsTransport(self._wire, [CERTIFICATE])  # type: ignore[arg-type]
        if srtp_profiles is not None:
            self.dtls._srtp_profiles = list(srtp_profiles)
        self.dtls._set_role(dtls_role)
        self._server_role = "server" if dtls_role == "client" else "client"

    @property
    def fingerprints(self) -> list[tuple[str, str]]:
        return [(one.algorithm, one.value) for one in CERTIFICATE.getFingerprints()]

    @property
    def local_address(self) -> tuple[str, int]:
        if self._socket is not None:
            name = self._socket.getsockname()
        else:
            assert self._writer is not None
            name = self._writer.get_extra_info("sockname")
        return name[0], name[1]

    def start_transport(self, transport: Transport) -> None:
        """Tell the bridge's transport about this client, as an offer does."""
        transport.start(
            remote_ufrag=self.ufrag,
            remote_pwd=self.pwd,
            remote_fingerprints=self.fingerprints,
            dtls_role=self._server_role,  # type: ignore[arg-type]
        )
        self.use_credentials(transport.local_ufrag, transport.local_pwd)

    def use_credentials(self, ufrag: str, pwd: str) -> None:
        self._remote_ufrag, self._remote_pwd = ufrag, pwd

    async def open_path(
        self, host: str, port: int, *, protocol: str = "udp", bound_to: tuple[str, int] | None = None
    ) -> None:
        """Use a new socket from now on, with a local address if one is given."""
        self.close_path()
        if protocol == "tcp":
            reader, self._writer = await asyncio.open_connection(host, port)
            self._reader_task = asyncio.get_running_loop().create_task(self._read_frames(reader))
            return
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setblocking(False)
        if bound_to is not None:
            self._socket.bind(bound_to)
        self._socket.connect((host, port))
        asyncio.get_running_loop().add_reader(self._socket, self._readable, self._socket)

    def close_path(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._writer is not None:
            self._writer.close()
            self._closing.append(self._writer)
            self._writer = None
        if self._reader_task is not None:
            self._reader_task.cancel()
            self._reader_task = None

    def check(self, *, nominates: bool = True, pwd: str | None = None) -> None:
        """Send one connectivity check."""
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self._remote_ufrag}:{self.ufrag}"
        message.attributes["PRIORITY"] = 1853824767
        message.attributes["ICE-CONTROLLING"] = 1234567890
        if nominates:
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity((pwd or self._remote_pwd).encode())
        self.send(bytes(message))

    async def check_until_answered(self, *, nominates: bool = True) -> stun.Message:
        """Send checks, as a browser does, until one is answered."""
        answered = len(self.stun_responses)

        def has_answer() -> bool:
            return len(self.stun_responses) > answered

        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while not has_answer():
                self.check(nominates=nominates)
                try:
                    async with asyncio.timeout(0.2):
                        await self.until(has_answer)
                except TimeoutError:
                    continue
        return self.stun_responses[-1]

    async def shake_hands(self, fingerprint: str) -> None:
        """Do DTLS; `fingerprint` as the port gives it."""
        algorithm, value = fingerprint.split(" ")
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self.dtls.start(RTCDtlsParameters([RTCDtlsFingerprint(algorithm, value)]))

    async def connect(
        self, port: MediaPort, transport: Transport, *, host: str = "127.0.0.1", protocol: str = "udp"
    ) -> None:
        """Do everything from the offer to keys on both sides."""
        self.start_transport(transport)
        await self.open_path(host, port.port, protocol=protocol)
        await self.check_until_answered()
        await self.shake_hands(port.fingerprint)
        # The client is done a moment before the bridge when the bridge ends the handshake.
        await eventually(lambda: transport.state is not TransportState.NEW)
        assert self.dtls.state == "connected", self.dtls.state

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that arrived here makes `condition` true."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while not condition():
                self._received.clear()
                await self._received.wait()

    def send_rtp(self, data: bytes) -> None:
        self.send(self.dtls._tx_srtp.protect(data))

    def send_rtcp(self, data: bytes) -> None:
        self.send(self.dtls._tx_srtp.protect_rtcp(data))

    def send(self, data: bytes) -> None:
        """Send a datagram or frame as it is."""
        if self._writer is not None:
            self._writer.write(struct.pack("!H", len(data)) + data)
        elif self._socket is not None:
            self._socket.send(data)

    async def close(self) -> None:
        """Close politely, with a close_notify."""
        await self.dtls.stop()
        await self.vanish()

    async def vanish(self) -> None:
        """Go without a word."""
        if self.dtls._task is not None:
            self.dtls._task.cancel()
        self._wire.records.put_nowait(None)
        self.close_path()
        for writer in self._closing:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self._closing.clear()
        await asyncio.sleep(0)

    def _readable(self, sock: socket.socket) -> None:
        try:
            while True:
                self._receive(sock.recv(4096))
        except (BlockingIOError, ConnectionRefusedError):
            return

    async def _read_frames(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                self._receive(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _receive(self, data: bytes) -> None:
        if self.is_deaf:
            return
        self.datagrams_received += 1
        first = data[0]
        if first < 4:
            message = stun.parse_message(data)
            if message.message_class is stun.Class.REQUEST:
                self._receive_check(message)
            else:
                assert message.check_message_integrity(self._remote_pwd.encode())
                self.stun_responses.append(message)
        elif first < 64:
            self._wire.records.put_nowait(data)
        elif 192 <= data[1] < 224:
            self.rtcp.append(self.dtls._rx_srtp.unprotect_rtcp(data))
        else:
            try:
                self.rtp.append(self.dtls._rx_srtp.unprotect(data))
            except pylibsrtp.Error as error:
                raise AssertionError("the bridge sent RTP that cannot be unprotected") from error
        self._received.set()

    def _receive_check(self, message: stun.Message) -> None:
        assert message.check_message_integrity(self.pwd.encode())
        assert message.attributes["USERNAME"] == f"{self.ufrag}:{self._remote_ufrag}"
        assert "ICE-CONTROLLED" in message.attributes
        self.stun_requests.append(message)
        if self.answers_checks and self._socket is not None:
            response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
            response.attributes["XOR-MAPPED-ADDRESS"] = self._socket.getpeername()[:2]
            response.add_message_integrity(self.pwd.encode())
            self.send(bytes(response))


async def open_port(**options: Any) -> MediaPort:
    """Open a media port on loopback for a test."""
    settings: dict[str, Any] = {
        "host": None,
        "port": 0,
        "certificate": Certificate.generate(),
        "counters": PortCounters(),
    }
    return await MediaPort.open(**{**settings, **options})


@contextmanager
def drops_counted(counters: PortCounters) -> Iterator[dict[str, int]]:
    """Fill a dictionary, at the end, with what was dropped inside, by reason."""
    before = dict(counters.dropped)
    drops: dict[str, int] = {}
    yield drops
    drops.update({r.value: n - before[r] for r, n in counters.dropped.items() if n != before[r]})


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something on the bridge's side becomes true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_TIMEOUT_S
    # The loop has to go round for the bridge to do anything; there is nothing to be told by.
    while not condition():
        assert loop.time() < deadline, "it never became true"
        await asyncio.sleep(0.001)


def rtp_packet(
    sequence_number: int, *, ssrc: int = 0x1111, payload: bytes = b"media", payload_type: int = 96
) -> bytes:
    """Return a plain RTP packet."""
    return struct.pack("!BBHII", 0x80, payload_type, sequence_number & 0xFFFF, 3000, ssrc) + payload


RECEIVER_REPORT = struct.pack("!BBHI", 0x80, 201, 1, 0x2222)
