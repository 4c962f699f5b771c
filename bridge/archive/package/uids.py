"""DICOM UIDs of a package, derived once when it is sealed; pure.

They are UUID-derived (2.25., PS3.5 B.2) from the package's name and the hash of the journal's first event:
the same after every crash, and others for another hospital's session of the same name.
"""

from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("6c1ad5b0-5d3c-5d55-9a55-3f7b0a3f2f6e")


def uid(package: str, session_hash: str, thing: str) -> str:
    """Return the UID of one thing of a package, such as "study" or "video/part-001.mp4"."""
    return f"2.25.{uuid5(_NAMESPACE, f'{session_hash}/{package}/{thing}').int}"
