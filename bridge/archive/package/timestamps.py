"""Time stamps of seals (RFC 3161): proof by a time stamp authority that a tag manifest existed at a time.

The token stands in `seal/tagmanifest-sha256.txt.tsr` as the authority sent it, so that `openssl ts -verify`
reads it as well; its checksum beside it shows damage in those of its bytes that nobody signed. A stamp may
come after the sealing: no authority delays a package.

`check` proves that the token stamps this manifest, and was signed by the certificate in it. Whether that
authority can be trusted is for whoever holds its root certificate.
"""

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridge.archive.calendar import utc_text
from bridge.archive.folders import PARTIAL
from bridge.archive.package import bag, der
from bridge.archive.package.der import Element

logger = logging.getLogger(__name__)

STAMP_FILE: Final = f"seal/{bag.TAG_MANIFEST}.tsr"
STAMP_SUM_FILE: Final = f"{STAMP_FILE}.sha256"
STAMP_MAX_BYTES: Final = 256 * 1024
_TIMEOUT_S: Final = 15.0

_SHA256: Final = bytes.fromhex("608648016503040201")
_GRANTED: Final = (0, 1)
_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_SHA256_OID: Final = "2.16.840.1.101.3.4.2.1"
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    _SHA256_OID: hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
# What certificates that nobody can read raise, beside ValueError.
_UNREADABLE: Final = (
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a valid time stamp says: when, and who says so."""

    at: str
    authority: str


@dataclass(frozen=True, slots=True)
class _Signed:
    """The parts of a token that its signature is about."""

    info: bytes
    certificates: tuple[x509.Certificate, ...]
    signer: tuple[Element, ...]


def stamp(folder: Path, url: str) -> bool:
    """Ask for a time stamp of a bag's tag manifest and put it beside the seal; False if none came."""
    content = (folder / bag.TAG_MANIFEST).read_bytes()
    request = Request(
        url,
        data=query(content, secrets.randbits(63)),
        headers={"Content-Type": "application/timestamp-query"},
    )
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:
            answer = response.read(STAMP_MAX_BYTES + 1)
        check(answer, content)
    except (OSError, HTTPException, ValueError) as error:
        logger.warning("no time stamp for %s: %s", folder.name, error)
        return False
    _write(folder, answer)
    return True


def is_stamped(folder: Path) -> bool:
    """Tell whether a package has its time stamp."""
    return (folder / STAMP_FILE).exists()


def sum_line(answer: bytes) -> bytes:
    """Return the checksum file of a token, as `sha256sum --check` reads it."""
    return f"{hashlib.sha256(answer).hexdigest()}  {bag.TAG_MANIFEST}.tsr\n".encode()


def query(content: bytes, nonce: int) -> bytes:
    """Return the request to stamp some content (RFC 3161, 2.4.1), certificate wanted."""
    algorithm = der.encode(der.SEQUENCE, der.encode(der.OBJECT_IDENTIFIER, _SHA256), der.encode(der.NULL))
    imprint = der.encode(
        der.SEQUENCE, algorithm, der.encode(der.OCTET_STRING, hashlib.sha256(content).digest())
    )
    return der.encode(
        der.SEQUENCE,
        der.encode_integer(1),
        imprint,
        der.encode_integer(nonce),
        der.encode(der.BOOLEAN, b"\xff"),
    )


def check(answer: bytes, content: bytes) -> Stamp:
    """Return what the stamp says if it is a valid one of this content; raises ValueError."""
    if len(answer) > STAMP_MAX_BYTES:
        raise ValueError("the answer is too long for a time stamp")
    try:
        signed = _signed(_token(answer))
        at = _stamped_at(signed.info, content)
        authority = _check_signature(signed)
    except (StopIteration, *_UNREADABLE) as error:
        raise ValueError("it is not a time stamp that can be checked") from error
    except InvalidSignature as error:
        raise ValueError("its signature is not right") from error
    return Stamp(at, authority)


def _write(folder: Path, answer: bytes) -> None:
    """Put the token and its checksum in place, the token last; a torn attempt is simply repeated."""
    for name, content in ((STAMP_SUM_FILE, sum_line(answer)), (STAMP_FILE, answer)):
        partial = folder.with_name(f"{folder.name}.stamp{PARTIAL}")
        bag.write(partial, content)
        os.replace(partial, folder / name)
    bag.sync((folder / STAMP_FILE).parent)


def _token(answer: bytes) -> Element:
    """Return the TimeStampToken of a TimeStampResp (2.4.2)."""
    parts = der.parse(answer).expect(der.SEQUENCE).children()
    status = next(next(parts).expect(der.SEQUENCE).children()).integer()
    if status not in _GRANTED:
        raise ValueError(f"the authority refused with status {status}")
    return next(parts)


def _signed(token: Element) -> _Signed:
    """Take a token apart (RFC 5652, 5)."""
    outer = token.expect(der.SEQUENCE).children()
    if next(outer).identifier() != _SIGNED_DATA:
        raise ValueError("the token is not signed data")
    parts = next(next(outer).expect(der.CONTEXT_0).children()).expect(der.SEQUENCE).children()
    next(parts).integer()
    next(parts).expect(der.SET)
    content = next(parts).expect(der.SEQUENCE).children()
    if next(content).identifier() != _TST_INFO:
        raise ValueError("the token is not about a time stamp")
    info = next(next(content).expect(der.CONTEXT_0).children()).expect(der.OCTET_STRING).content
    certificates: tuple[x509.Certificate, ...] = ()
    part = next(parts)
    if part.tag == der.CONTEXT_0:
        certificates = tuple(x509.load_der_x509_certificate(item.encoded) for item in part.children())
        part = next(parts)
    if part.tag == der.CONTEXT_1:
        part = next(parts)
    signer = next(part.expect(der.SET).children()).expect(der.SEQUENCE)
    return _Signed(info, certificates, tuple(signer.children()))


def _stamped_at(info: bytes, content: bytes) -> str:
    """Return the time of a TSTInfo that is about this content."""
    parts = der.parse(info).expect(der.SEQUENCE).children()
    next(parts).integer()
    next(parts).identifier()
    imprint = next(parts).expect(der.SEQUENCE).children()
    algorithm = next(next(imprint).expect(der.SEQUENCE).children()).identifier()
    digest = next(imprint).expect(der.OCTET_STRING).content
    if algorithm != _SHA256_OID or digest != hashlib.sha256(content).digest():
        raise ValueError("it stamps something else")
    next(parts).integer()
    text = next(parts).expect(der.GENERALIZED_TIME).content.decode("ascii")
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return utc_text(int(at.timestamp()) * 1000 + int((fraction + "000")[:3]))


def _check_signature(signed: _Signed) -> str:
    """Check that a certificate for time stamping in the token signed it; return its subject."""
    parts = iter(signed.signer)
    next(parts).integer()
    identity = next(parts)
    hash_algorithm = _hash(next(parts))
    attributes = next(parts).expect(der.CONTEXT_0)
    next(parts)
    signature = next(parts).expect(der.OCTET_STRING).content
    values = _attributes(attributes)
    if values[_CONTENT_TYPE].identifier() != _TST_INFO:
        raise ValueError("the signature is about something else")
    if values[_MESSAGE_DIGEST].expect(der.OCTET_STRING).content != _digest(hash_algorithm, signed.info):
        raise ValueError("the signature is about another time stamp")
    certificate = _signer(signed.certificates, identity)
    # Signed is the set of attributes as a SET, not with the tag it has inside of the token (RFC 5652, 5.4).
    _verify(certificate, signature, der.encode(der.SET, attributes.content), hash_algorithm)
    return certificate.subject.rfc4514_string()


def _attributes(attributes: Element) -> dict[str, Element]:
    values = {}
    for attribute in attributes.children():
        parts = attribute.expect(der.SEQUENCE).children()
        name = next(parts).identifier()
        values[name] = next(next(parts).expect(der.SET).children())
    if _CONTENT_TYPE not in values or _MESSAGE_DIGEST not in values:
        raise ValueError("the signature does not say what it is about")
    return values


def _signer(certificates: tuple[x509.Certificate, ...], identity: Element) -> x509.Certificate:
    """Return the certificate that a SignerInfo names by its issuer and number."""
    parts = identity.expect(der.SEQUENCE).children()
    issuer, number = next(parts).encoded, next(parts).integer()
    for certificate in certificates:
        if certificate.serial_number == number and certificate.issuer.public_bytes() == issuer:
            return _for_time_stamps(certificate)
    raise ValueError("the certificate of the signer is not in it")


def _for_time_stamps(certificate: x509.Certificate) -> x509.Certificate:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise ValueError("the certificate is not one for time stamps") from error
    if ExtendedKeyUsageOID.TIME_STAMPING not in usage:
        raise ValueError("the certificate is not one for time stamps")
    return certificate


def _verify(
    certificate: x509.Certificate, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(algorithm))
    else:
        raise ValueError("keys of this kind are not known for time stamps")


def _hash(algorithm: Element) -> hashes.HashAlgorithm:
    name = next(algorithm.expect(der.SEQUENCE).children()).identifier()
    if name not in _HASHES:
        raise ValueError(f"hash algorithm {name} is not accepted for time stamps")
    return _HASHES[name]


def _digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()
