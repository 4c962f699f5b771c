"""The journal: what happened in a conference, append-only, each line chained to the one before by its hash.

A line is a JSON object `{"seq", "at_ms", "kind", "data", "prev", "hash"}`; `prev` is the former line's
hash (64 zeros before the first), and

    hash = SHA-256 of prev + "\\n" + canonical JSON of [seq, at_ms, kind, data]

so that nothing can be changed, left out or put in later without every following hash showing it. Times are
Unix milliseconds of the server's clock. Attendance, minutes, the composed video and its chapters are derived
from here. `docs/recording.md` lists the kinds and their data.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import Any, Final

from bridge.base.errors import RecordingFailed

GENESIS: Final = "0" * 64
# The reason of an end that was written afterwards, of a session or a track that a crash cut short.
INTERRUPTED: Final = "interrupted"
# The longest legitimate line is a chat line of 2,000 characters.
LINE_MAX_BYTES: Final = 64 * 1024


class EventKind(StrEnum):
    """What can happen in a conference."""

    SESSION_OPENED = "session-opened"
    SESSION_RESUMED = "session-resumed"
    SESSION_CLOSED = "session-closed"
    PARTICIPANT_JOINED = "participant-joined"
    PARTICIPANT_LEFT = "participant-left"
    LOCK = "lock"
    ADMITTED = "admitted"
    REMOVED = "removed"
    MUTED = "muted"
    POLICY = "policy"
    FLOOR = "floor"
    HAND = "hand"
    STAGE = "stage"
    CONTENT = "content"
    SPEAKERS = "speakers"
    CHAT = "chat"
    CASE_ADDED = "case-added"
    CASE_REMOVED = "case-removed"
    CASE_STARTED = "case-started"
    CASE_FINISHED = "case-finished"
    CASE_CONFIRMED = "case-confirmed"
    CONSENT = "consent"
    RECORDING_STATE = "recording-state"
    RECORDING_PROBLEM = "recording-problem"
    TRACK_STARTED = "track-started"
    TRACK_ENDED = "track-ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal."""

    seq: int
    at_ms: int
    kind: EventKind
    data: Mapping[str, Any]
    prev: str
    hash: str

    def line(self) -> bytes:
        """Return the line as it stands in the file, with its line feed."""
        value = {
            "seq": self.seq,
            "at_ms": self.at_ms,
            "kind": self.kind.value,
            "data": self.data,
            "prev": self.prev,
            "hash": self.hash,
        }
        return canonical(value) + b"\n"


class Chain:
    """Numbers and chains events; pure, so that whoever writes the lines decides when and where."""

    __slots__ = ("_head", "_next_seq")

    def __init__(self, last: Event | None = None) -> None:
        self._head = GENESIS if last is None else last.hash
        self._next_seq = 0 if last is None else last.seq + 1

    @property
    def head(self) -> str:
        """The hash of the newest event."""
        return self._head

    def append(self, kind: EventKind, data: Mapping[str, Any], at_ms: int) -> Event:
        """Return the next event."""
        digest = _digest(self._head, self._next_seq, at_ms, kind.value, data)
        event = Event(self._next_seq, at_ms, kind, data, self._head, digest)
        self._head, self._next_seq = digest, self._next_seq + 1
        return event


class JournalFile:
    """A journal on the disk, open for appending; used by one thread at a time.

    Opening an existing one checks its chain and cuts off a torn last line, which a crash leaves.
    """

    def __init__(self, path: Path) -> None:
        self.events, whole_bytes = _read(path)
        try:
            # Whatever the umask of who started the process: others have no business in it.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._file = FileIO(descriptor, "ab")
            if path.stat().st_size != whole_bytes:
                self._file.truncate(whole_bytes)
        except OSError as error:
            raise RecordingFailed(f"{path}: {error.strerror}") from error

    def write(self, events: Iterable[Event]) -> None:
        """Append lines and wait until they are on the disk; raises OSError, and then none of them is."""
        lines = b"".join(event.line() for event in events)
        descriptor = self._file.fileno()
        before_bytes = os.fstat(descriptor).st_size
        try:
            # A full disk takes a part of what it is given.
            if os.write(descriptor, lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before_bytes)
            raise

    def close(self) -> None:
        """Close the file; harmless twice."""
        self._file.close()


def read_journal(path: Path) -> list[Event]:
    """Return the events of a journal; a torn last line is left out.

    Raises RecordingFailed when the file cannot be read or its chain is broken.
    """
    return _read(path)[0]


def canonical(value: Any) -> bytes:
    """Return JSON in the one form that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> tuple[list[Event], int]:
    """Return the events, and how many bytes of the file they take."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise RecordingFailed(f"{path}: {error.strerror}") from error
    events: list[Event] = []
    head = GENESIS
    whole_bytes = 0
    for line in data.splitlines(keepends=True):
        event = parse_event(line)
        if event is None and whole_bytes + len(line) == len(data):
            break
        if event is None or event.seq != len(events) or event.prev != head:
            raise RecordingFailed(f"{path}: the chain is broken at line {len(events) + 1}")
        events.append(event)
        head = event.hash
        whole_bytes += len(line)
    return events, whole_bytes


def parse_event(line: bytes) -> Event | None:
    """Return the event of a line, if it is whole and its hash is right."""
    if len(line) > LINE_MAX_BYTES or not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
        event = Event(
            value["seq"],
            value["at_ms"],
            EventKind(value["kind"]),
            value["data"],
            value["prev"],
            value["hash"],
        )
        if not _is_formed(event):
            return None
        digest = _digest(event.prev, event.seq, event.at_ms, event.kind.value, event.data)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event if digest == event.hash else None


def _is_formed(event: Event) -> bool:
    """Tell whether the fields are what they must be; whoever can hash can give any of them a right hash."""
    return (
        type(event.seq) is int
        and type(event.at_ms) is int
        and isinstance(event.data, dict)
        and isinstance(event.prev, str)
    )


def _digest(prev: str, seq: int, at_ms: int, kind: str, data: Mapping[str, Any]) -> str:
    return hashlib.sha256(prev.encode() + b"\n" + canonical([seq, at_ms, kind, data])).hexdigest()
