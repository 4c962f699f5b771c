"""The folders of one archive, and the locks that keep two processes from one package."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.base.errors import ArchiveFailed
from bridge.capture.sessions import JOURNAL, is_session
from bridge.store.journal import copy_of

# Ends the name of what is not whole yet, and is renamed when it is.
PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class ArchiveFolders:
    """Where sessions are recorded, and where their archive is."""

    recordings: Path
    archive: Path

    @property
    def packages(self) -> Path:
        """Sealed packages."""
        return self.archive / "packages"

    @property
    def work(self) -> Path:
        """What composing has finished so far, a folder for each package, and the locks."""
        return self.archive / "work"

    @property
    def certificates(self) -> Path:
        """What is left of packages that were deleted."""
        return self.archive / "certificates"

    def prepare(self) -> None:
        """Make the folders; raises ArchiveFailed."""
        with disk_errors():
            for folder in (self.archive, self.packages, self.work, self.certificates):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def archived_sessions(self) -> frozenset[str]:
        """Return the names of sessions of which there are packages, or certificates of deleted ones."""
        found = []
        for folder in (self.packages, self.certificates):
            # An archive that is away is no reason not to record.
            with suppress(OSError):
                found += [path.name.partition(".")[0] for path in folder.iterdir()]
        return frozenset(name.rpartition("-")[0] for name in found)

    def sessions(self) -> list[Path]:
        """Return the folders of all sessions that have a journal, by name; raises ArchiveFailed."""
        with disk_errors():
            found = list(self.recordings.iterdir()) if self.recordings.exists() else []
            return sorted(path for path in found if is_session(path.name) and _has_journal(path))


def _has_journal(session: Path) -> bool:
    return (session / JOURNAL).exists() or copy_of(session / JOURNAL).exists()


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock that ends with the process at the latest.

    Raises ArchiveFailed with `busy` when another process holds it and `wait` is false.
    """
    with disk_errors():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError as error:
        raise ArchiveFailed("busy", f"another process works on {path.stem}") from error
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Delete a folder, where it is there; what refuses keeps nothing else. Raises OSError when any did."""
    refused: list[OSError] = []

    def note(_: object, __: str, error: tuple[type[BaseException], BaseException, object]) -> None:
        if isinstance(error[1], OSError) and not isinstance(error[1], FileNotFoundError):
            refused.append(error[1])

    shutil.rmtree(folder, onerror=note)
    if refused:
        raise refused[0]


def disk_error(error: OSError) -> ArchiveFailed:
    """Return what a failure of the disk means for the archive."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArchiveFailed("disk-full", str(error))
    return ArchiveFailed("disk-error", str(error))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise what the disk refuses as ArchiveFailed."""
    try:
        yield
    except OSError as error:
        raise disk_error(error) from error
