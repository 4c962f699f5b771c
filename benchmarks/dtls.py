"""A small DTLS-SRTP client over a memory BIO: no event loop, one object per bot, one certificate for all."""

import datetime
import hashlib
from collections.abc import Callable

import pylibsrtp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

DATAGRAM_BYTES_MAX = 1200
KEY_BYTES = 16
SALT_BYTES = 12


class ClientIdentity:
    """A self-signed certificate and the OpenSSL context that all bots of a process share."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bot")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = fingerprint_of(certificate)
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        self.context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.context.use_certificate(certificate)
        self.context.use_privatekey(key)
        self.context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 fingerprint as SDP writes it (RFC 8122, 5)."""
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def srtp_session(key_and_salt: bytes, *, is_outbound: bool) -> pylibsrtp.Session:
    """An AES-128-GCM session for any SSRC (RFC 7714)."""
    policy = pylibsrtp.Policy(
        key=key_and_salt,
        ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND if is_outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND,
        srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    )
    policy.allow_repeat_tx = is_outbound
    policy.window_size = 1024
    return pylibsrtp.Session(policy)


class DtlsClient:
    """One handshake as DTLS client; `outbound` and `inbound` exist once it is done."""

    def __init__(self, identity: ClientIdentity, fingerprint: str, send: Callable[[bytes], None]) -> None:
        self._fingerprint = fingerprint
        self._send = send
        self._ssl = SSL.Connection(identity.context, None)
        self._ssl.set_connect_state()
        self._ssl.set_ciphertext_mtu(DATAGRAM_BYTES_MAX)
        self.outbound: pylibsrtp.Session | None = None
        self.inbound: pylibsrtp.Session | None = None

    @property
    def is_connected(self) -> bool:
        return self.inbound is not None

    def start(self) -> None:
        """Send the first flight."""
        self._advance()

    def receive(self, data: bytes) -> None:
        """Take one datagram whose first byte is 20 to 63 (RFC 7983)."""
        self._ssl.bio_write(data)
        if self.is_connected:
            try:
                self._ssl.recv(1500)
            except SSL.Error:
                pass
            self._flush()
        else:
            self._advance()

    def retransmit_if_due(self) -> None:
        """Call every few hundred milliseconds until connected."""
        timeout = self._ssl.DTLSv1_get_timeout()
        if not self.is_connected and timeout is not None and timeout <= 0:
            self._ssl.DTLSv1_handle_timeout()
            self._flush()

    def close(self) -> None:
        """Send close_notify."""
        try:
            self._ssl.shutdown()
        except SSL.Error:
            pass
        self._flush()

    def _advance(self) -> None:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        self._flush()
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        if certificate is None or fingerprint_of(certificate) != self._fingerprint.upper():
            raise ConnectionError("the server's certificate is not the one in its answer")
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (KEY_BYTES + SALT_BYTES))
        keys, salts = material[: 2 * KEY_BYTES], material[2 * KEY_BYTES :]
        self.outbound = srtp_session(keys[:KEY_BYTES] + salts[:SALT_BYTES], is_outbound=True)
        self.inbound = srtp_session(keys[KEY_BYTES:] + salts[SALT_BYTES:], is_outbound=False)

    def _flush(self) -> None:
        """A memory BIO forgets where datagrams end: cut at record headers (RFC 6347, 4.1)."""
        try:
            data = self._ssl.bio_read(65536)
        except SSL.Error:
            return
        start = end = 0
        while end + 13 <= len(data):
            record_end = end + 13 + int.from_bytes(data[end + 11 : end + 13], "big")
            if record_end - start > DATAGRAM_BYTES_MAX and end > start:
                self._send(data[start:end])
                start = end
            end = record_end
        if end > start:
            self._send(data[start:end])
