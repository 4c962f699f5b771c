"""What is known of segments that harm their decoder, and which one is being decoded now.

Before anything of a segment is opened or decoded, its name and the packet's time stand in a file that is
mapped into memory: whoever looks after a process that died (`judge`) finds there what it was at. A segment
that killed its decoder, or took more of the processor than its length allows, is left out from then on, and
told as a gap. What is written down holds for the decoder that it was found with: a newer one may be mended.
"""

import json
import mmap
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, Final

import av

from bridge.base.errors import BridgeError

LEFT_OUT: Final = "left-out.jsonl"
SUSPECTS: Final = "suspects.jsonl"
# When, and the name, which ends with a zero; no name while nothing is decoded.
_AT: Final = Struct("<d")
NOTE_BYTES: Final = 512
_NAME_BYTES_MAX: Final = NOTE_BYTES - _AT.size - 1
# A track of which so many segments are left out is left out from then on: its sender does nothing else.
LEFT_OUT_MAX: Final = 20
# What decoding a segment may cost in seconds of a processor: this, and so much for each second of it.
# Pictures of 4096 x 2304 at 60 a second cost less than one on a slow machine.
DECODING_S: Final = 20.0
DECODING_S_PER_S: Final = 2.0
# And what a single packet may cost.
PACKET_S: Final = 60
LAST_S: Final = 600.0
DECODER: Final = f"{av.__version__} {av.library_versions}"


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a process keeps its ledger: the package's folder of ledgers, and its own number there."""

    folder: Path
    number: int = 0
    decoding_s: float = DECODING_S
    decoding_s_per_s: float = DECODING_S_PER_S
    packet_s: int = PACKET_S

    @property
    def note(self) -> Path:
        """The file that tells what the process is at."""
        return self.folder / f"at-work-{self.number}"


class TooCostly(BridgeError):
    """A segment has cost more than it may."""


class Ledger:
    """What a process that reads tracks keeps of their segments; without a desk it only keeps the costs."""

    def __init__(self, desk: Desk | None = None, allow_s: Callable[[int], None] = lambda _: None) -> None:
        """`allow_s` sets after how many seconds of its processor this process is ended by the kernel."""
        # Passed by argument.
        self._desk, self._allow_s = desk, allow_s
        # Allocated by this.
        self._costs = desk or Desk(Path())
        self._left_out = frozenset[str]() if desk is None else left_out(desk.folder)
        self._counts = Counter(name.partition("/")[0] for name in self._left_out)
        self._note = None if desk is None else _mapped(desk.note)
        self._begun: set[str] = set()
        self._allowed_s: dict[str, float] = {}
        self._spent_s: dict[str, float] = {}
        self._since_s = 0.0

    def is_left_out(self, segment: str) -> bool:
        """Return whether a segment is not to be opened; it is named by its track's folder and its file."""
        return segment in self._left_out or (
            bool(self._counts) and self._counts[segment.partition("/")[0]] >= LEFT_OUT_MAX
        )

    def open(self, segment: str, media_s: float) -> None:
        """Begin to read a segment of some length."""
        self._allowed_s[segment] = self._costs.decoding_s + self._costs.decoding_s_per_s * max(
            0.0, min(media_s, LAST_S)
        )

    def begin(self, segment: str, at_ms: float) -> None:
        """Note what is done next, before it is done."""
        note = self._note
        if note is not None and self._desk is not None:
            name = segment.encode()[:_NAME_BYTES_MAX] + b"\0"
            _AT.pack_into(note, 0, at_ms)
            note[_AT.size : _AT.size + len(name)] = name
            if segment not in self._begun:
                # Should the whole machine go down, it is found as well.
                self._begun.add(segment)
                note.flush()
            self._allow_s(self._desk.packet_s)
        self._since_s = time.thread_time()

    def end(self, segment: str) -> None:
        """Note that it is done; raises TooCostly when the segment has cost too much by now."""
        spent_s = self._spent_s.get(segment, 0.0) + time.thread_time() - self._since_s
        self._spent_s[segment] = spent_s
        if self._note is not None:
            self._note[_AT.size] = 0
        if spent_s > self._allowed_s.get(segment, self._costs.decoding_s):
            self._leave_out(segment)
            raise TooCostly(f"{segment} took {spent_s:.0f} s of a processor")

    def begin_film(self) -> None:
        """Count costs anew: each film may decode everything once."""
        self._spent_s.clear()

    def _leave_out(self, segment: str) -> None:
        self._left_out |= {segment}
        self._counts[segment.partition("/")[0]] += 1
        if self._desk is not None:
            _append(self._desk.folder / LEFT_OUT, {"segment": segment, "why": "cost", "decoder": DECODER})


def left_out(folder: Path) -> frozenset[str]:
    """Return the segments that are left out because of what this decoder made of them."""
    return frozenset(
        str(line["segment"]) for line in _lines(folder / LEFT_OUT) if line.get("decoder") == DECODER
    )


def note_of(note: Path) -> bytes:
    """Return what tells which packet a process is at; empty while it is at none."""
    try:
        data = note.read_bytes()
    except OSError:
        return b""
    return data if data[_AT.size :].partition(b"\0")[0] else b""


def judge(note: Path, *, is_guilty: bool) -> str | None:
    """Look at the note of a process that ended before its work did; return the segment that is left out now.

    `is_guilty` tells that whatever it was at has ended it. Else another one may have (the kernel for want of
    memory, somebody who stopped the server): then the same packet must be found twice.
    """
    data = note.read_bytes().ljust(NOTE_BYTES, b"\0") if note.exists() else bytes(NOTE_BYTES)
    note.unlink(missing_ok=True)
    (at_ms,) = _AT.unpack_from(data)
    segment = data[_AT.size :].partition(b"\0")[0].decode(errors="replace")
    if not segment or segment in left_out(note.parent):
        return None
    found = {"segment": segment, "at_ms": at_ms, "decoder": DECODER}
    if not is_guilty and found not in list(_lines(note.parent / SUSPECTS)):
        _append(note.parent / SUSPECTS, found)
        return None
    _append(note.parent / LEFT_OUT, {"segment": segment, "why": "killed", "decoder": DECODER})
    return segment


def forgive(folder: Path) -> None:
    """Leave nothing out any more: it was not the segments."""
    (folder / LEFT_OUT).unlink(missing_ok=True)


def judge_all(folder: Path) -> None:
    """Look at what processes have left that ended with the one that had started them."""
    for note in sorted(folder.glob("at-work-*")):
        judge(note, is_guilty=False)


def _mapped(note: Path) -> mmap.mmap:
    with note.open("w+b") as file:
        file.truncate(NOTE_BYTES)
        return mmap.mmap(file.fileno(), NOTE_BYTES)


def _append(path: Path, value: dict[str, Any]) -> None:
    """Add a line, and wait until it is on the disk."""
    with path.open("ab") as file:
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        # A machine that went down may have torn the last one.
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and "segment" in value:
                yield value
