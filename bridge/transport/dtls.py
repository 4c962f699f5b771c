"""DTLS-SRTP (RFC 5764): aiortc's RTCDtlsTransport without its ICE, its RTP and its one-packet writes.

aiortc does the handshake and checks the fingerprint. We give it a wire instead of an ICE transport, feed
it nothing but DTLS records, and take the SRTP keys when it is connected: its own sessions would protect two
packets under one number, and its handshake does not say why it failed. This touches private names of
aiortc (`_set_role`, `_set_state`, `_srtp_profiles`, `_ssl`, `_role`, `_do_handshake`, `_write_ssl`,
`_validate_peer_identity`, `_setup_srtp`, `_task`, `_create_ssl_context`): here and nowhere else, guarded by
tests/unit/test_dtls_seam.py.
"""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias, cast

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTP_PROFILES,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from aiortc.rtcicetransport import RTCIceTransport
from OpenSSL import SSL

from bridge.base.counters import DtlsFailure
from bridge.transport.srtp import Keys

logger = logging.getLogger(__name__)

DtlsRole: TypeAlias = Literal["server", "client"]

# In order of preference. 128 before 256: equally safe here and a little cheaper. SHA1_80 is what every
# WebRTC endpoint must know (RFC 8827, 6.5), at two microseconds more per packet.
PROFILES: Final = [
    profile
    for profile in (SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80)
    if profile in SRTP_PROFILES
]
SUPPORTED_HASHES: Final = frozenset({"sha-256", "sha-384", "sha-512"})

# The first flight of a client is two or three fragments; anything beyond this bound is noise.
RECORDS_QUEUED_MAX = 32
# Below every path MTU that occurs on the Internet (IPv6 guarantees 1280, with 48 for IP and UDP).
DATAGRAM_BYTES_MAX = 1200
_RECORD_HEADER_BYTES = 13


# What the reasons of OpenSSL mean, by a part of them; the first that fits.
_FAILURES: Final = (
    ("wrong curve", DtlsFailure.CERTIFICATE_CURVE),
    ("alert", DtlsFailure.REFUSED_BY_PEER),
    ("no shared cipher", DtlsFailure.NO_COMMON_CIPHER),
    ("no suitable", DtlsFailure.NO_COMMON_CIPHER),
    ("unsupported protocol", DtlsFailure.VERSION),
    ("version", DtlsFailure.VERSION),
    ("peer did not return a certificate", DtlsFailure.NO_CERTIFICATE),
)


class Certificate(RTCCertificate):
    """The certificate of this node: one for all its peers, with one OpenSSL context."""

    _context: SSL.Context | None = None

    @classmethod
    def generate(cls) -> "Certificate":
        """Make a fresh self-signed certificate; its fingerprint goes into each answer."""
        return cls.generateCertificate()

    @property
    def fingerprint(self) -> str:
        """As in a=fingerprint: "sha-256 AB:CD:…" (RFC 8122, 5)."""
        first = next(one for one in self.getFingerprints() if one.algorithm == "sha-256")
        return f"{first.algorithm} {first.value}"

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        # Parsing key and certificate anew for each peer costs more than the elliptic curves do.
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class Turns:
    """Lets one DTLS handshake take one step per round of the event loop.

    A step costs up to a millisecond of elliptic curves. When a whole conference joins at once, media
    is read between any two steps instead of waiting for all of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Complete `waiter` when its turn comes."""
        self._waiting.append(waiter)
        if not self._is_scheduled:
            self._is_scheduled = True
            waiter.get_loop().call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        self._is_scheduled = bool(self._waiting)
        if self._is_scheduled:
            self._waiting[0].get_loop().call_soon(self._next)


class _Wire:
    """What RTCDtlsTransport needs of an ICE transport: `role`, `_recv` and `_send`."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None], turns: Turns) -> None:
        self.is_closed = False
        self._send_now = send
        self._turns = turns
        self._records: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def receive(self, data: bytes) -> bool:
        if self.is_closed or len(self._records) >= RECORDS_QUEUED_MAX:
            return False
        self._records.append(data)
        self._wake()
        return True

    def close(self) -> None:
        self.is_closed = True
        self._records.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._turns.wake(self._waiter)
            self._waiter = None

    async def turn(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._turns.wake(waiter)
        await waiter

    async def _recv(self) -> bytes:
        while not self._records:
            if self.is_closed:
                raise ConnectionError
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                # aiortc's retransmission timer. In a burst of joins those of all run out together,
                # so sending a flight again has to wait for its turn as well.
                self._waiter = None
                if self.is_closed:
                    raise
                await self.turn()
                if not self._records:
                    raise
        return self._records.popleft()

    async def _send(self, data: bytes) -> None:
        self._send_now(data)


class _Transport(RTCDtlsTransport):
    """aiortc's transport, writing whole records in datagrams that fit any path."""

    def __init__(self, wire: _Wire, certificate: Certificate) -> None:
        super().__init__(cast(RTCIceTransport, wire), [certificate])
        self._srtp_profiles = PROFILES
        self.keys: Keys | None = None
        self.failure = DtlsFailure.PROTOCOL

    async def _do_handshake(self) -> None:
        """Shake hands until it is done, or until OpenSSL says why not.

        aiortc's own reads as if for data, and forgets the reason.
        """
        assert self._ssl is not None
        try:
            while True:
                try:
                    self._ssl.do_handshake()
                    break
                except SSL.WantReadError:
                    await self._write_ssl()
                    await self._read_flight()
            self.encrypted = True
            await self._write_ssl()
        except SSL.Error as error:
            reasons = ", ".join(words for entry in error.args[:1] for *_, words in entry)
            self.failure = next(
                (failure for words, failure in _FAILURES if words in reasons), DtlsFailure.PROTOCOL
            )
            logger.info("DTLS failed: %s", reasons)
            # The alert that tells the peer.
            await self._write_ssl()
            self._set_state(State.FAILED)
        except ConnectionError:
            self._set_state(State.FAILED)

    async def _read_flight(self) -> None:
        """Give OpenSSL the next datagram, or have it send its flight again when it is time (1 s at first)."""
        assert self._ssl is not None
        try:
            data = await asyncio.wait_for(self.transport._recv(), timeout=self._ssl.DTLSv1_get_timeout())
        except TimeoutError:
            self._ssl.DTLSv1_handle_timeout()
        else:
            self._ssl.bio_write(data)

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        self.failure = DtlsFailure.FINGERPRINT
        super()._validate_peer_identity(remoteParameters)

    def _setup_srtp(self) -> None:
        assert self._ssl is not None
        selected = self._ssl.get_selected_srtp_profile()
        profile = next((one for one in self._srtp_profiles if one.openssl_profile == selected), None)
        if profile is None:
            self.failure = DtlsFailure.NO_SRTP_PROFILE
            self._set_state(State.FAILED)
            return
        # RFC 5764, 4.2: client's key, server's key, client's salt, server's salt.
        view = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length)
        )
        client, server = profile.get_key_and_salt(view, 0), profile.get_key_and_salt(view, 1)
        rx, tx = (client, server) if self._role == "server" else (server, client)
        self.keys = Keys(profile.libsrtp_profile, rx, tx)

    async def _write_ssl(self) -> None:
        for datagram in split_records(self.take_output()):
            await self.transport._send(datagram)

    def take_output(self) -> bytes:
        """Return what OpenSSL wants sent, as one run of records."""
        chunks = []
        try:
            while self._ssl is not None:
                chunks.append(self._ssl.bio_read(16384))
        except SSL.Error:
            # Nothing more to read; OpenSSL says so by WantReadError.
            pass
        return b"".join(chunks)

    def shut_down(self) -> bytes:
        """End the association; return the records that tell the peer (close_notify)."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._ssl is None:
            return b""
        try:
            self._ssl.shutdown()
        except SSL.Error:
            # In the middle of a handshake there is no association to end yet.
            pass
        return self.take_output()


def split_records(data: bytes) -> Iterator[bytes]:
    """Cut a run of DTLS records (RFC 6347, 4.1) into datagrams, never inside a record."""
    start = position = 0
    while position + _RECORD_HEADER_BYTES <= len(data):
        (length,) = struct.unpack_from("!H", data, position + 11)
        end = position + _RECORD_HEADER_BYTES + length
        if end - start > DATAGRAM_BYTES_MAX and position > start:
            yield data[start:position]
            start = position
        position = end
    if start < len(data):
        yield data[start:]


class Dtls:
    """One DTLS association with a peer, from its first record to close_notify.

    `connected` is called with the keys for SRTP, `ended` with the reason
    when the handshake failed and with None when the peer closed; neither after `close`.
    """

    def __init__(
        self,
        *,
        certificate: Certificate,
        role: DtlsRole,
        fingerprints: Sequence[tuple[str, str]],
        turns: Turns,
        send: Callable[[bytes], None],
        connected: Callable[[Keys], None],
        ended: Callable[[DtlsFailure | None], None],
    ) -> None:
        self._send = send
        self._connected = connected
        self._ended = ended
        self._wire = _Wire(send, turns)
        self._transport = _Transport(self._wire, certificate)
        self._transport._set_role(role)
        self._transport.on("statechange", self._state_changed)
        parameters = RTCDtlsParameters(
            [RTCDtlsFingerprint(algorithm=algorithm, value=value) for algorithm, value in fingerprints]
        )
        self._task = asyncio.get_running_loop().create_task(self._run(parameters))

    def receive(self, data: bytes) -> bool:
        """Take a datagram of DTLS records; False when it was dropped because too many wait."""
        return self._wire.receive(data)

    def close(self) -> None:
        """Tell the peer, and forget the association. May be called at any time, more than once."""
        if self._wire.is_closed:
            return
        self._wire.close()
        for datagram in split_records(self._transport.shut_down()):
            self._send(datagram)
        # OpenSSL's side is large: without the ring of references it goes now, not when the
        # garbage collector comes round.
        self._transport.remove_all_listeners()

    async def _run(self, parameters: RTCDtlsParameters) -> None:
        await self._wire.turn()
        if self._wire.is_closed:
            return
        try:
            await self._transport.start(parameters)
        except Exception:
            # A fault of ours: nobody waits for this task, and the client would wait for the handshake.
            logger.exception("a DTLS handshake could not be done")
            self._end(DtlsFailure.PROTOCOL)

    def _state_changed(self) -> None:
        if self._wire.is_closed:
            return
        state = self._transport.state
        if state == "connected":
            assert self._transport.keys is not None
            self._connected(self._transport.keys)
        elif state in ("failed", "closed"):
            self._end(self._transport.failure if state == "failed" else None)

    def _end(self, failure: DtlsFailure | None) -> None:
        if not self._wire.is_closed:
            self._wire.close()
            self._transport.remove_all_listeners()
            self._ended(failure)
