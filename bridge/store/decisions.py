"""What was decided about sealed packages, in a file beside the catalogue, so that it outlives the database.

A sealed package cannot be written to, and the catalogue can be lost; a legal hold must not be. One JSON line
for each decision, appended and synced before the catalogue says so.
"""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bridge.base.errors import ArchiveFailed
from bridge.store.journal import canonical

FILE_NAME: Final = "decisions.jsonl"
# What can be decided, which is what a catalogue made anew must know again.
FIELDS: Final = frozenset(
    {
        "retention",
        "retention_until",
        "legal_hold",
        "delivered_ms",
        "deleted_ms",
        "consent",
        "consent_ms",
        "disposition",
    }
)


class Decisions:
    """The file of one archive; any thread, any process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(
        self, package: str, values: Mapping[str, Any], why: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write down what holds of a package from now on, and who decided it `why`; raises ArchiveFailed."""
        # With a line feed in front as well, so that what a crash has torn spoils no other line.
        line = b"\n" + canonical({**why, "package": package, **values}) + b"\n"
        try:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # One write of one short line: the kernel keeps those of several processes apart.
                written = os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if written != len(line):
                # A disk that is nearly full takes a part, and says nothing.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if is_new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self._path}: {error.strerror}") from error

    def newest(self) -> dict[str, dict[str, Any]]:
        """Return what holds of each package by all that was decided; raises ArchiveFailed.

        A line that a crash has torn says nothing: the catalogue had not heard of it either.
        """
        try:
            lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self._path}: {error.strerror}") from error
        decided: dict[str, dict[str, Any]] = {}
        for line in lines:
            try:
                value = json.loads(line)
                known = {name: value[name] for name in FIELDS & value.keys()}
                decided.setdefault(str(value["package"]), {}).update(known)
            except (ValueError, KeyError, AttributeError, TypeError):
                continue
        return decided


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
