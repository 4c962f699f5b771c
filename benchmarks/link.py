"""One client's way to the server: a UDP socket, connectivity and consent checks, and the DTLS-SRTP keys."""

import secrets
import time
from collections.abc import Callable

import pylibsrtp

from benchmarks.dtls import ClientIdentity, DtlsClient
from benchmarks.offers import Answer
from benchmarks.receiving import open_socket
from benchmarks.wire import stun_check, stun_response_transaction

CONSENT_EVERY_S = 2.5
CHECK_EVERY_S = 0.1


class Link:
    """A controlling full ICE agent with one candidate pair, and a DTLS client on it."""

    def __init__(
        self,
        identity: ClientIdentity,
        on_connected: Callable[[Exception | None], None],
        host: str = "127.0.0.1",
    ) -> None:
        self.sock = open_socket(host)
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(12)
        self.datagrams_unsent = 0
        self.outbound: pylibsrtp.Session | None = None
        self.inbound: pylibsrtp.Session | None = None
        self._identity = identity
        self._on_connected = on_connected
        self._tie_breaker = secrets.randbits(63)
        self._answer = Answer()
        self._dtls: DtlsClient | None = None
        self._is_answered = False
        self._transactions: set[bytes] = set()

    def connect(self, answer: Answer) -> None:
        """Point the socket at the server; `check` does the rest."""
        loopback = [place for place in answer.candidates if place[0].startswith("127.")]
        self.sock.connect((loopback or answer.candidates)[0])
        self._answer = answer
        self._dtls = DtlsClient(self._identity, answer.fingerprint, self.send)

    def send(self, data: bytes) -> None:
        """Send one datagram; what the kernel does not take is counted."""
        try:
            self.sock.send(data)
        except (BlockingIOError, ConnectionRefusedError):
            self.datagrams_unsent += 1

    def check(self) -> float:
        """Send a check; return when the next is due: soon until connected, then for consent (RFC 7675)."""
        assert self._dtls is not None
        transaction_id = secrets.token_bytes(12)
        if not self._is_answered:
            self._transactions.add(transaction_id)
        self.send(
            stun_check(
                transaction_id,
                local_ufrag=self.ufrag,
                remote_ufrag=self._answer.ufrag,
                remote_pwd=self._answer.pwd,
                tie_breaker=self._tie_breaker,
            )
        )
        if self._dtls.is_connected:
            return time.monotonic() + CONSENT_EVERY_S
        self._dtls.retransmit_if_due()
        return time.monotonic() + CHECK_EVERY_S

    def receive(self, data: bytes) -> None:
        """Take STUN and DTLS, told apart by their first byte (RFC 7983)."""
        if self._dtls is None or not data:
            return
        if data[0] < 4:
            self._receive_stun(data)
        elif 20 <= data[0] < 64:
            self._receive_dtls(data)

    def close(self) -> None:
        """Say goodbye and free the port."""
        if self._dtls is not None and self._dtls.is_connected:
            self._dtls.close()
        self.sock.close()

    def _receive_stun(self, data: bytes) -> None:
        if self._is_answered or self._dtls is None:
            return
        if stun_response_transaction(data, self._answer.pwd) in self._transactions:
            self._is_answered = True
            self._transactions.clear()
            self._dtls.start()

    def _receive_dtls(self, data: bytes) -> None:
        assert self._dtls is not None
        was_connected = self._dtls.is_connected
        try:
            self._dtls.receive(data)
        except ConnectionError as error:
            self._on_connected(error)
            return
        if self._dtls.is_connected and not was_connected:
            self.outbound, self.inbound = self._dtls.outbound, self._dtls.inbound
            self._on_connected(None)
