"""What the catalogue knows of sessions, packages and deliveries, and how it is asked; plain values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bridge.base.words import ConferenceKind, ConsentState, Disposition, PackageState, RetentionClass

PAGE_MAX: Final = 200


class SessionState(StrEnum):
    """Where a session's folder stands: written to, complete, or emptied of its tracks after archiving."""

    OPEN = "open"
    CLOSED = "closed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """A conference that was recorded; times are Unix milliseconds."""

    id: str
    room: str
    title: str
    kind: ConferenceKind
    folder: str
    started_ms: int
    ended_ms: int | None
    state: SessionState


@dataclass(frozen=True, slots=True)
class PackageEntry:
    """A package on its way into the archive, or in it; times are Unix milliseconds.

    `progress` (0 to 1) and `remaining_s` are those of the step that `state` names. `attempts` counts the
    failures of that step so far, `next_attempt_ms` tells when it is tried again, `error_code` and `error` why
    it failed last. `stored_ms` tells when the other store had it, if there is one. `damaged_ms` is how much
    of its tracks, all together, could not be read when it was made. `retention_until` is the last day of
    keeping (YYYY-MM-DD), None where a package is kept for ever, and before it is sealed. `consent` is the
    patient's last word and `consent_ms` when it was said; None where there is no patient, or nobody looked
    yet. `disposition` is None as long as there is nothing to decide.
    """

    id: str
    session: str
    room: str
    title: str
    kind: ConferenceKind
    case: str | None
    code: str | None
    sites: tuple[str, ...]
    started_ms: int
    ended_ms: int
    duration_ms: int
    state: PackageState
    progress: float = 0.0
    remaining_s: float | None = None
    attempts: int = 0
    next_attempt_ms: int | None = None
    error_code: str | None = None
    error: str | None = None
    bytes: int = 0
    seal: str | None = None
    sealed_ms: int | None = None
    delivered_ms: int | None = None
    checked_ms: int | None = None
    fixity_ok: bool | None = None
    retention: RetentionClass = RetentionClass.ORDINARY
    retention_until: str | None = None
    legal_hold: bool = False
    deleted_ms: int | None = None
    stored_ms: int | None = None
    damaged_ms: int = 0
    consent: ConsentState | None = None
    consent_ms: int | None = None
    disposition: Disposition | None = None

    @property
    def is_withheld(self) -> bool:
        """Whether the package is shown to the archive alone, and goes nowhere."""
        return self.disposition not in (None, Disposition.KEEP)

    @property
    def is_undecided(self) -> bool:
        """Whether people have to decide what becomes of it, or to finish what they have decided."""
        return self.deleted_ms is None and self.disposition in (Disposition.OPEN, Disposition.DESTROY)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Since when (Unix ms) the oldest package has waited to be made, delivered, and stored elsewhere."""

    made_ms: int | None
    delivered_ms: int | None
    stored_ms: int | None


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """One attempt to deliver a package to the PACS, and how it ended."""

    package: str
    at_ms: int
    method: str
    is_delivered: bool
    error_code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """Which packages somebody looks for. What is empty or None does not narrow; `rooms` None means any room.

    `text` finds words in title, room, sites, case code and identifier, `code` and `site` only there; case and
    diacritics do not matter. `from_ms` and `until_ms` bound the beginning of the package. `is_undecided`
    leaves those that people have to decide about, because their patients do not consent.
    """

    text: str = ""
    code: str = ""
    site: str = ""
    from_ms: int | None = None
    until_ms: int | None = None
    states: tuple[PackageState, ...] = ()
    is_undecided: bool = False
    rooms: tuple[str, ...] | None = None
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what a search has found, the newest first, and how many there are in all."""

    packages: tuple[PackageEntry, ...]
    total: int
