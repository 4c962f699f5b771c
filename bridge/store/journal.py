"""The journal: what happened in a conference, append-only, each line chained to the one before by its hash.

A line is a JSON object `{"seq", "at_ms", "kind", "data", "prev", "hash"}`; `prev` is the former line's
hash (64 zeros before the first), and

    hash = SHA-256 of prev + "\\n" + canonical JSON of [seq, at_ms, kind, data]

so that nothing can be changed, left out or put in later without every following hash showing it. Of what a
patient has taken back the words are erased: such a line keeps its place and its hash, says that it is erased,
and proves itself no more; the lines around it still do. Each line
stands in two files, because none can be done without: what is damaged in one is read from the other. Times
are Unix milliseconds of the server's clock. Attendance, minutes, the composed video and its chapters are
derived from here. `docs/recording.md` lists the kinds and their data.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bridge.base.errors import RecordingFailed

GENESIS: Final = "0" * 64
# The reason of an end that was written afterwards, of a session or a track that a crash cut short.
INTERRUPTED: Final = "interrupted"
# The reason of the end of a session whose journal is broken from there on in both files; `until_ms` is the
# time of the last line that can still be read behind the break.
DAMAGED: Final = "damaged"
# The data of a line of the chat whose words are no longer there.
ERASED: Final = MappingProxyType({"erased": True})
# The longest legitimate line is a chat line of 2,000 characters.
LINE_MAX_BYTES: Final = 64 * 1024

_HASH = re.compile(r"[0-9a-f]{64}")


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

    @property
    def is_erased(self) -> bool:
        """Whether its words were taken out."""
        return self.data == ERASED

    def line(self) -> bytes:
        """Return the line as it stands in the file, with its line feed."""
        value = {
            "seq": self.seq,
            "at_ms": self.at_ms,
            "kind": self.kind.value,
            "data": dict(self.data),
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

    Opening an existing one checks its chain, makes both files whole, and cuts off a torn last line, which
    a crash leaves.
    """

    def __init__(self, path: Path) -> None:
        """Raises RecordingFailed when the journal cannot be opened, or its chain is broken."""
        try:
            with held(path.parent):
                self.events, whole = _read(path)
                self._file, self._copy = (_opened(file, whole) for file in (path, copy_of(path)))
        except OSError as error:
            raise RecordingFailed(f"{path}: {error.strerror}") from error

    def write(self, events: Iterable[Event]) -> None:
        """Append lines and wait until they are on the disk; raises OSError, and then none of them is."""
        lines = b"".join(event.line() for event in events)
        _append(self._file, lines, is_synced=True)
        # For when the first file is damaged, long after; a power cut leaves that one.
        with suppress(OSError):
            _append(self._copy, lines)

    def close(self) -> None:
        """Close the files; harmless twice."""
        if not self._copy.closed:
            with suppress(OSError):
                os.fsync(self._copy.fileno())
        self._copy.close()
        self._file.close()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep who erases in a journal and who writes it anew apart while the body runs; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def copy_of(path: Path) -> Path:
    """Return the second file of a journal."""
    return path.with_name(f"{path.stem}.copy{path.suffix}")


def read_journal(path: Path) -> list[Event]:
    """Return the events of a journal; a torn last line is left out.

    Raises RecordingFailed when the files cannot be read or the chain is broken.
    """
    return _read(path)[0]


def first_event(path: Path) -> Event | None:
    """Return the first event of a journal; None when neither file tells it."""
    for file in (path, copy_of(path)):
        with suppress(OSError), file.open("rb") as lines:
            event = parse_event(lines.readline(LINE_MAX_BYTES + 1))
            if event is not None:
                return event
    return None


def is_closed(path: Path) -> bool:
    """Whether the last line of one of a journal's files says that its session has ended."""
    return any(_says_closed(file) for file in (path, copy_of(path)))


def salvaged(path: Path) -> list[Event]:
    """Return the events of a broken journal up to the break, and an end there; none when nothing can be read.

    What follows cannot be trusted: whether a recording was paused or consent withdrawn may stand in the line
    that is broken.
    """
    events = _chained(_parsed(_bytes(path)) + _parsed(_bytes(copy_of(path))))
    if not events or events[-1].kind is EventKind.SESSION_CLOSED:
        return events
    at_ms = events[-1].at_ms
    known = [one.at_ms for file in (path, copy_of(path)) for one in _parsed(_bytes(file))]
    data = {"reason": DAMAGED, "until_ms": max(known)}
    return [*events, Chain(events[-1]).append(EventKind.SESSION_CLOSED, data, at_ms)]


def is_broken_off(events: Sequence[Event]) -> bool:
    """Whether these are the events of a broken journal, up to the break."""
    return events[-1].kind is EventKind.SESSION_CLOSED and events[-1].data.get("reason") == DAMAGED


def set_right(path: Path, events: Iterable[Event], aside: Path) -> None:
    """Write a journal anew with these events, and move its files into a folder; raises OSError."""
    aside.mkdir(mode=0o700, exist_ok=True)
    files = (path, copy_of(path))
    with held(path.parent):
        # Since these events were read, words may have been taken out.
        erased = {event.seq for file in files for event in _parsed(_bytes(file)) if event.is_erased}
        whole = b"".join(
            (replace(event, data=ERASED) if event.seq in erased else event).line() for event in events
        )
        for file in files:
            if file.exists():
                # A second name first, so that at no time there is none.
                os.link(file, _free_name(aside / file.name))
            _write_anew(file, whole)


def erase_chat(files: Sequence[Path], chosen: Callable[[Sequence[Event]], Collection[int]]) -> int:
    """Take the words out of lines of the chat; return how many there were. Raises OSError.

    `files` are all that there are of one journal, those set aside as damaged included; `chosen` returns the
    numbers of the lines among which they are, of all that can be read. In place, as the recorder may be
    appending meanwhile; harmless twice, and again after a crash.
    """
    found = {event.seq: event for file in files for event in _parsed(_bytes(file))}
    numbers = set(chosen([found[seq] for seq in sorted(found)]))
    chat = {seq for seq in numbers if found[seq].kind is EventKind.CHAT}
    for file in files:
        _erase_in(file, chat, numbers)
    return len([seq for seq in chat if not found[seq].is_erased])


def canonical(value: Any) -> bytes:
    """Return JSON in the one form that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> tuple[list[Event], bytes]:
    """Return the events, and their lines."""
    try:
        data = _bytes(path)
    except OSError as error:
        # The other one may be on a sector that can be read.
        try:
            data = _bytes(copy_of(path))
        except OSError:
            data = b""
        if not data:
            raise RecordingFailed(f"{path}: {error.strerror}") from error
    try:
        copy = _bytes(copy_of(path))
    except OSError:
        copy = b""
    found = _parsed(data)
    if not data.startswith(copy):
        found += _parsed(copy)
    events = _chained(found)
    lines = max(data.count(b"\n"), copy.count(b"\n"))
    # The last line alone may be a torn one.
    if len(events) < lines - 1 or any(event.seq >= len(events) for event in found):
        raise RecordingFailed(f"{path}: the chain is broken at line {len(events) + 1}")
    return events, b"".join(event.line() for event in events)


def _erase_in(path: Path, chat: Collection[int], among: Collection[int]) -> None:
    lines = _bytes(path).split(b"\n")[:-1]
    events = [parse_event(line + b"\n") for line in lines]
    missing = set(chat) - {event.seq for event in events if event is not None}
    offset, is_among = 0, False
    with path.open("r+b") as file:
        for line, event in zip(lines, events, strict=True):
            new = line
            if event is not None:
                is_among = event.seq in among
                if event.seq in chat and not event.is_erased:
                    new = replace(event, data=ERASED).line().rstrip(b"\n").ljust(len(line))
            elif missing or is_among:
                # One of these may be what is damaged: its words can still be read by people.
                new = b" " * len(line)
            if new != line:
                file.seek(offset)
                file.write(new)
            offset += len(line) + 1
        file.flush()
        os.fsync(file.fileno())


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _parsed(data: bytes) -> list[Event]:
    events = [parse_event(line + b"\n") for line in data.split(b"\n")[:-1]]
    return [event for event in events if event is not None]


def _chained(found: Iterable[Event]) -> list[Event]:
    """Return the events that follow each other from the first on."""
    candidates: dict[tuple[int, str], list[Event]] = {}
    for one in found:
        candidates.setdefault((one.seq, one.prev), []).append(one)
    following: dict[tuple[int, str], Event] = {}
    for key, ones in candidates.items():
        # The hash of an erased line proves nothing of itself: the next line does.
        best = max(ones, key=lambda one: ((one.seq + 1, one.hash) in candidates, one.is_erased))
        if any(one.is_erased for one in ones) and best.kind is EventKind.CHAT:
            best = replace(best, data=ERASED)
        following[key] = best
    events: list[Event] = []
    head = GENESIS
    while (event := following.get((len(events), head))) is not None:
        events.append(event)
        head = event.hash
    return events


def _says_closed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(size_bytes - 2 * LINE_MAX_BYTES, 0))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        # Whoever takes it up will find that out.
        return False
    try:
        return bool(lines) and json.loads(lines[-1]).get("kind") == EventKind.SESSION_CLOSED.value
    except (ValueError, AttributeError):
        return False


def _opened(path: Path, whole: bytes) -> FileIO:
    """Open a file of a journal whose lines are these, for appending; raises OSError."""
    there = _bytes(path)
    if not there.startswith(whole):
        _write_anew(path, whole)
    # Whatever the umask of who started the process: others have no business in it.
    file = FileIO(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    if len(there) > len(whole) and there.startswith(whole):
        file.truncate(len(whole))
    return file


def _append(file: FileIO, lines: bytes, *, is_synced: bool = False) -> None:
    """Append lines; raises OSError, and then none of them is there."""
    descriptor = file.fileno()
    before_bytes = os.fstat(descriptor).st_size
    try:
        # A full disk takes a part of what it is given.
        if os.write(descriptor, lines) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if is_synced:
            os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before_bytes)
        raise


def _write_anew(path: Path, whole: bytes) -> None:
    """Put other content in a file's place, all or nothing; raises OSError."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.write(descriptor, whole) != len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)


def _free_name(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.partition('~')[0]}~{number}")
    return path


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
    if event.kind is EventKind.CHAT and event.is_erased:
        # What its hash was made of is gone; the next line holds it.
        return event if _HASH.fullmatch(event.hash) else None
    return event if digest == event.hash else None


def _is_formed(event: Event) -> bool:
    """Tell whether the fields are what they must be; whoever can hash can give any of them a right hash."""
    return (
        type(event.seq) is int
        and type(event.at_ms) is int
        and isinstance(event.data, dict)
        and isinstance(event.prev, str)
        and isinstance(event.hash, str)
    )


def _digest(prev: str, seq: int, at_ms: int, kind: str, data: Mapping[str, Any]) -> str:
    return hashlib.sha256(prev.encode() + b"\n" + canonical([seq, at_ms, kind, data])).hexdigest()
