"""How long a package must be kept, and when it may go; pure.

The classes follow the periods of Circular 33/2025/TT-BYT for medical records, counted from the end of the
calendar year, local time. A package's class may only be raised. A legal hold outlasts everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bridge.archive.calendar import local
from bridge.base.words import RetentionClass

# Years; None is for ever.
YEARS: Final[Mapping[RetentionClass, int | None]] = MappingProxyType(
    {
        RetentionClass.TRAINING: 5,
        RetentionClass.ORDINARY: 10,
        RetentionClass.ACCIDENT: 20,
        RetentionClass.DEATH: 30,
        RetentionClass.TRANSPLANT: 30,
        RetentionClass.INCIDENT: None,
    }
)
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long one package is kept; `until` is the last day, or None for ever."""

    retention_class: RetentionClass
    until: str | None
    has_legal_hold: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a package may not be deleted: a stable code."""

    code: str


@dataclass(frozen=True, slots=True)
class TracksState:
    """What decides whether the tracks of a session are still needed.

    `packages` says of each package of the session when it was sealed and when it was delivered.
    """

    is_closed: bool
    packages: Sequence[tuple[int | None, int | None]]


def retention_until(retention_class: RetentionClass, ended_ms: int) -> str | None:
    """Return the last day of keeping, "YYYY-12-31", or None for ever."""
    years = YEARS[retention_class]
    return None if years is None else f"{local(ended_ms).year + years:04d}-12-31"


def raised(retention: Retention, retention_class: RetentionClass, ended_ms: int) -> Retention:
    """Return the retention under another class; a shorter period than the present one is not taken."""
    until = retention_until(retention_class, ended_ms)
    is_longer = retention.until is not None and (until is None or until > retention.until)
    if not is_longer:
        return retention
    return Retention(retention_class, until, retention.has_legal_hold)


def longest(first: Retention, second: Retention) -> Retention:
    """Return the stricter of what was sealed and what was decided since."""
    is_first = first.until is None or (second.until is not None and first.until >= second.until)
    strict = first if is_first else second
    return Retention(strict.retention_class, strict.until, first.has_legal_hold or second.has_legal_hold)


def may_delete(retention: Retention, now_ms: int) -> Refusal | None:
    """Return None when the package may be deleted, or why not."""
    if retention.has_legal_hold:
        return Refusal("legal-hold")
    if retention.until is None:
        return Refusal("kept-for-ever")
    today = local(now_ms).strftime("%Y-%m-%d")
    return None if today > retention.until else Refusal("retention-runs")


def may_purge_tracks(state: TracksState, *, needs_delivery: bool, keep_days: int, now_ms: int) -> bool:
    """Tell whether the working tracks of a session have served.

    All its packages are sealed, delivered where that is on, and the last of it happened long enough ago.
    """
    if not state.is_closed or not state.packages:
        return False
    done_ms = 0
    for sealed_ms, delivered_ms in state.packages:
        if sealed_ms is None or (needs_delivery and delivered_ms is None):
            return False
        done_ms = max(done_ms, sealed_ms, delivered_ms or 0)
    return now_ms >= done_ms + keep_days * _DAY_MS
