"""What was decided about sealed packages, in files beside the catalogue, so that it outlives the database.

A sealed package cannot be written to, and the catalogue can be lost; a legal hold must not be. One JSON line
with a checksum for each decision, appended and synced before the catalogue says so, and once more in a second
file: what is damaged in one is read from the other. Of a line that is damaged in both nobody knows what it
said; it may have been a withdrawal or a hold, so its package is held back until people decide anew.
"""

import errno
import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bridge.base.errors import ArchiveFailed
from bridge.base.words import Disposition
from bridge.store.checked_lines import checked_line, read_line

logger = logging.getLogger(__name__)

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
_PACKAGE = re.compile(rb'"package":"([^"]*)"')
# What holds of a package whose decision cannot be read.
_UNKNOWN: Final = MappingProxyType({"disposition": Disposition.OPEN.value, "legal_hold": True})


class Decisions:
    """The files of one archive; any thread, any process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copy = path.with_name(f"{path.stem}.copy{path.suffix}")

    def append(
        self, package: str, values: Mapping[str, Any], why: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write down what holds of a package from now on, and who decided it `why`; raises ArchiveFailed."""
        # With a line feed in front as well, so that what a crash has torn spoils no other line.
        line = b"\n" + checked_line({**why, "package": package, **values})
        try:
            is_new = not self._path.exists()
            with open(self._path, "ab", buffering=0, opener=_opener) as file:
                # Both files have the same order.
                fcntl.flock(file, fcntl.LOCK_EX)
                _append(file.fileno(), line)
                # For when the first is damaged, long after; a disk that is full now leaves that one.
                with suppress(OSError):
                    self._append_copy(line)
            if is_new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self._path}: {error.strerror}") from error

    def newest(self) -> dict[str, dict[str, Any]]:
        """Return what holds of each package by all that was decided; raises ArchiveFailed.

        A line that a crash has torn says nothing: the catalogue had not heard of it either.
        """
        try:
            lines = _lines(self._path)
        except OSError as error:
            raise ArchiveFailed("catalogue-unusable", f"{self._path}: {error.strerror}") from error
        copies: list[bytes] = []
        with suppress(OSError):
            # One that cannot be read leaves the first, as one that is not there does.
            copies = _lines(self._copy)
        decided: dict[str, dict[str, Any]] = {}
        for line in _merged(lines, copies):
            value = read_line(line + b"\n")
            if value is not None and isinstance(value.get("package"), str):
                known = {name: value[name] for name in FIELDS & value.keys()}
                decided.setdefault(value["package"], {}).update(known)
            elif copies or line.endswith(b"}"):
                self._hold_back(decided, line)
        return decided

    def _append_copy(self, line: bytes) -> None:
        if not self._copy.exists():
            # Of an older version there is one file only; it has the newest line already. What is torn says
            # nothing, and is left out.
            partial = self._copy.with_name(f"{self._copy.name}.new")
            with open(partial, "wb", opener=_opener) as file:
                for one in _lines(self._path):
                    if _is_whole(one) or one.endswith(b"}"):
                        file.write(one + b"\n")
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._copy)
            _sync_folder(self._copy.parent)
            return
        with open(self._copy, "ab", buffering=0, opener=_opener) as file:
            _append(file.fileno(), line)

    def _hold_back(self, decided: dict[str, dict[str, Any]], line: bytes) -> None:
        """Let nothing go out for which a decision that cannot be read may stand in the way."""
        found = _PACKAGE.search(line)
        name = "" if found is None else found[1].decode(errors="replace")
        logger.error("%s: a decision is damaged, of %s", self._path, name or "an unknown package")
        if name:
            decided.setdefault(name, {}).update(_UNKNOWN)
        # The name may be what is damaged.
        for values in decided.values():
            if values.get("disposition") == Disposition.KEEP.value:
                values.update(disposition=Disposition.OPEN.value)


def _merged(lines: Sequence[bytes], copies: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the lines of both files, each once, whole where one of the files has it whole."""
    if not copies or lines == copies:
        yield from lines
        return
    matcher = SequenceMatcher(None, lines, copies, autojunk=False)
    for _, first, last, first_copy, last_copy in matcher.get_opcodes():
        here, there = lines[first:last], copies[first_copy:last_copy]
        only_here = [line for line in here if _is_whole(line) and line not in there]
        if here == there:
            yield from here
        elif not there:
            # What the first file alone has came before a crash, whole or torn, or the other one was full.
            yield from (line for line in here if _is_whole(line) or line.endswith(b"}"))
        elif here and all(map(_is_whole, here)):
            # The newest of both; of the first last, as that is written first.
            yield from (line for line in there if _is_whole(line) and line not in here)
            yield from here
        elif not only_here and all(map(_is_whole, there)):
            yield from there
        else:
            # Damaged in both; what cannot be read may be the newest.
            yield from filter(_is_whole, there)
            yield from only_here
            yield from (line for line in (*here, *there) if not _is_whole(line))


def _is_whole(line: bytes) -> bool:
    return read_line(line + b"\n") is not None


def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes() if path.exists() else b""
    return [line for line in data.split(b"\n") if line]


def _append(descriptor: int, line: bytes) -> None:
    """Append a line and wait until it is on the disk; raises OSError, and then nothing was appended."""
    size_bytes = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        os.fsync(descriptor)
        if written != len(line):
            # A disk that is nearly full takes a part, and says nothing.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        # Whoever decided is told that it does not hold.
        os.ftruncate(descriptor, size_bytes)
        raise


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
