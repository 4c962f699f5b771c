"""Names of sessions and their tracks, and whose the folder of recordings is."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from bridge.base.errors import InvalidConfig
from bridge.base.words import Source

# All of Vietnam, all year.
LOCAL_TIME = timezone(timedelta(hours=7))
LOCK = ".lock"
# What lies in a session's folder, and in a track's.
JOURNAL = "journal.jsonl"
RESERVE = ".reserve"
TRACKS = "tracks"
# Tracks on their way out.
PURGED = "tracks.purged"
TRACK_LOG = "track.jsonl"
DAMAGED = "damaged"
# With the installation that recorded it; the first versions had none.
_SESSION = re.compile(r"HC-[A-Z0-9]{1,16}(?:-[A-Z2-7]{6})?-(\d{8})-(\d{2,6})")
_TRACK = re.compile(r"t(\d{3,})-.+")


class SessionNames:
    """Hands out the ids of sessions; each is used once, restarts included.

    `installation` keeps those of two machines apart that have the same site code and day.
    """

    def __init__(self, site_code: str, used: Iterable[str], *, installation: str = "") -> None:
        self._place = f"{site_code}-{installation}" if installation else site_code
        self._newest: dict[str, int] = {}
        self.pass_over(used)

    def pass_over(self, used: Iterable[str]) -> None:
        """Hand out no name that is used elsewhere, or was before it."""
        for name in used:
            found = _SESSION.fullmatch(name)
            # Whatever the site code was then: the newest number of that day is passed.
            if found is not None:
                self._newest[found[1]] = max(self._newest.get(found[1], 0), int(found[2]))

    def begins(self, at_ms: int) -> str:
        """Return what all ids of this day begin with."""
        return f"HC-{self._place}-{_day(at_ms)}-"

    def next(self, at_ms: int) -> str:
        """Return the id of a session that begins now."""
        day = _day(at_ms)
        number = self._newest.get(day, 0) + 1
        self._newest[day] = number
        return f"{self.begins(at_ms)}{number:02}"


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(LOCAL_TIME).strftime("%Y%m%d")


def is_session(name: str) -> bool:
    """Whether a folder of that name is a session."""
    return _SESSION.fullmatch(name) is not None


def track_name(number: int, participant: str, source: Source) -> str:
    """Return the name of a session's track."""
    return f"t{number:03}-{participant}-{source.value}"


def track_number(name: str) -> int:
    """Return the number of a track; 0 when the folder is none."""
    found = _TRACK.fullmatch(name)
    return int(found[1]) if found else 0


class FolderTaken(InvalidConfig):
    """Another process has the folder of recordings, for as long as it runs or for a moment."""


class FolderLock:
    """Keeps a second process from taking running sessions for interrupted ones; gone when the process is."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is not there, and lock it; raises FolderTaken, or another InvalidConfig."""
        self._descriptor = -1
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise FolderTaken(f"recording.dir {folder}: another process records there") from error
        except OSError as error:
            self.release()
            raise InvalidConfig(f"recording.dir {folder}: {error.strerror}") from error

    def release(self) -> None:
        """Let others have the folder; harmless twice."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
