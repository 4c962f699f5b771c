"""The certificate of the page: a generated one in the state directory, or the operator's PEM files.

Browsers give camera and microphone to https pages only, so a first start without any preparation needs a
certificate. A generated one is self-signed: browsers warn once, and a hospital replaces it by its own.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLError, TLSVersion

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bridge.base.errors import InvalidConfig

# Browsers refuse server certificates that live longer than 398 days.
LIFETIME = timedelta(days=397)
RENEWED_BEFORE_EXPIRY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the chain and its private key are."""

    certificate: Path
    private_key: Path


def ensure_certificate(state_dir: Path, hosts: Sequence[str], now: datetime) -> CertificateFiles:
    """Return the generated certificate, made anew when missing, damaged, near expiry, or lacking a host.

    `hosts` are DNS names and addresses; `now` is an aware time. Raises OSError when the state directory
    cannot be written.
    """
    files = CertificateFiles(state_dir / "certificate.pem", state_dir / "private-key.pem")
    if not _is_usable(files, hosts, now):
        _generate(files, hosts, now)
    return files


def server_context(files: CertificateFiles) -> SSLContext:
    """Return a TLS server context over the files; raises InvalidConfig when they cannot be used."""
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.minimum_version = TLSVersion.TLSv1_2
    load_into(context, files)
    return context


def load_into(context: SSLContext, files: CertificateFiles) -> None:
    """Load the files into the context: new connections get them. Raises InvalidConfig."""
    try:
        context.load_cert_chain(files.certificate, files.private_key)
    except SSLError as error:
        reason = error.reason or "not a matching pair in PEM form"
        raise InvalidConfig(f"{files.certificate} and {files.private_key}: {reason}") from error
    except OSError as error:
        raise InvalidConfig(
            f"{files.certificate} and {files.private_key}: cannot be read: {error.strerror}"
        ) from error


def _is_usable(files: CertificateFiles, hosts: Sequence[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.private_key.read_bytes(), password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    if certificate.public_key() != key.public_key():
        return False
    covered = {str(name.value) for name in names}
    return certificate.not_valid_after_utc - now > RENEWED_BEFORE_EXPIRY and covered.issuperset(hosts)


def _generate(files: CertificateFiles, hosts: Sequence[str], now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hoichan bridge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, because a client's clock may be behind ours.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private_bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(files.private_key, private_bytes)
    _write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _general_name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(host))
    return x509.DNSName(host)


def _write_private(path: Path, content: bytes) -> None:
    """Write through a temporary file, readable by the owner only, so that no reader sees half of it."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    os.replace(temporary, path)
