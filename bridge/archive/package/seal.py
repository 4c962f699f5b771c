"""The seal of a package: one hash over its tag manifest, chained to the package sealed before it; pure.

    seal = SHA-256 of canonical JSON of [package, tagmanifest_sha256, previous_seal, sealed_at]

`seal/seal.json` holds these in the one form that is hashed, so that any changed byte shows. It is written
after the tag manifest and not listed in it; BagIt allows further tag files.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from bridge.store.journal import canonical

SEAL_FILE: Final = "seal/seal.json"
SEAL_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Seal:
    """What seal.json says; `previous_seal` is None for the first package of an archive."""

    package: str
    tagmanifest_sha256: str
    previous_seal: str | None
    sealed_at: str
    seal: str

    def content(self) -> bytes:
        """Return the file."""
        return canonical(asdict(self)) + b"\n"


def make_seal(package: str, tagmanifest_sha256: str, *, previous_seal: str | None, sealed_at: str) -> Seal:
    """Seal a package."""
    digest = _digest(package, tagmanifest_sha256, previous_seal, sealed_at)
    return Seal(package, tagmanifest_sha256, previous_seal, sealed_at, digest)


def parse_seal(content: bytes) -> Seal:
    """Return the seal if the file is one and its hash is right; raises ValueError."""
    try:
        value = json.loads(content)
        seal = Seal(**value)
        if not all(isinstance(text, str) for text in (seal.package, seal.tagmanifest_sha256, seal.sealed_at)):
            raise ValueError("a field is not a text")
        if not isinstance(seal.previous_seal, str | None):
            raise ValueError("the former seal is not a text")
        digest = _digest(seal.package, seal.tagmanifest_sha256, seal.previous_seal, seal.sealed_at)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("it is not a seal") from error
    if content != seal.content():
        raise ValueError("it is not in the form in which seals are written")
    if digest != seal.seal:
        raise ValueError("its hash does not fit what it says")
    return seal


def _digest(package: str, tagmanifest_sha256: str, previous_seal: str | None, sealed_at: str) -> str:
    sealed = canonical([package, tagmanifest_sha256, previous_seal, sealed_at])
    return hashlib.sha256(sealed).hexdigest()
