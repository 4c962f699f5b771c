"""What the steps of archiving hand to each other; plain values that survive as JSON between processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from bridge.store.journal import Event


class Stage(StrEnum):
    """The steps of archiving a package, in their order."""

    READ = "read"
    COMPOSE = "compose"
    SEAL = "seal"
    DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is: `done` from 0 to 1, and the seconds that remain as far as can be told."""

    stage: Stage
    done: float
    remaining_s: float | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the conference's time, in Unix milliseconds; the end is not part of it."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """One package to be made: what it is about, and which spans of the recording belong to it.

    `case` is the case's number in its session ("C01"), `code` the hospital's pseudonymous code of the
    patient; both are None for the session's own package. `spans` are the recorded stretches, without
    pauses and without anything that belongs to another package; they may be empty.
    """

    package: str
    session: str
    room: str
    title: str
    conference_kind: str
    started_ms: int
    ended_ms: int
    spans: tuple[Span, ...]
    case: str | None = None
    code: str | None = None
    presenting_site: str | None = None


@dataclass(frozen=True, slots=True)
class VideoPart:
    """One playable file of a composed video; times are Unix milliseconds of its first and last picture."""

    path: Path
    start_ms: int
    end_ms: int
    frames: int
    frame_rate: int
    width_px: int
    height_px: int
    bytes: int
    sha256: str


# What a delivery fails with when the PACS does not answer at all.
PACS_UNREACHABLE: Final = "pacs-unreachable"
# What a delivery fails with when the patient does not consent, or no longer.
WITHHELD: Final = "withheld"
# Why there is a gap where the disk gave something else back than was written, or nothing.
DAMAGED: Final = "damaged"
# And where decoding it ended the decoder, or would not end.
UNDECODABLE: Final = "undecodable"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of a track that is not in the recording, and why (a `GapReason`, "crash",
    "damaged", "undecodable").

    Of losses that were merged, `between_ms` is what came through between them. `packets` is 0 where nobody
    counted them.
    """

    track: str
    participant: str
    source: str
    start_ms: int
    end_ms: int
    reason: str
    between_ms: int = 0
    packets: int = 0

    @property
    def missing_ms(self) -> int:
        """How much is missing."""
        return self.end_ms - self.start_ms - self.between_ms


@dataclass(frozen=True, slots=True)
class Composition:
    """What composing a package has produced, all below one folder; absent files are None."""

    folder: Path
    video: tuple[VideoPart, ...]
    content_video: tuple[VideoPart, ...]
    captions: Path | None
    chapters: Path | None
    poster: Path | None
    contact_sheet: Path | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """Where a session was recorded, and what happened in it."""

    path: Path
    events: Sequence[Event]
    # What cannot be read now is told as lost, instead of being tried again.
    is_last_try: bool = False

    @property
    def tracks(self) -> Path:
        """The folder of its tracks."""
        return self.path / "tracks"
