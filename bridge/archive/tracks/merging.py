"""Gaps that lie close together told as one, for a line that loses single packets for hours. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bridge.archive.model import Gap

# Losses of one track, for one reason, with less than this between them are one gap.
NEAR_MS: Final = 1000
# Of more than these those that lie closest together are told as one.
GAPS_MAX: Final = 10_000


def merged(gaps: Iterable[Gap], *, most: int = GAPS_MAX) -> list[Gap]:
    """Return the gaps by time, near ones of one track and reason as one.

    Of more than `most`, no more are made one than have to be. What came through between them is counted in
    `between_ms`; overlapping ones are counted once.
    """
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.track, gap.reason, gap.start_ms, gap.end_ms)):
        if found and _are_alike(found[-1], gap) and gap.start_ms - found[-1].end_ms < NEAR_MS:
            found[-1] = _as_one(found[-1], gap)
        else:
            found.append(gap)
    found = _fewer(found, len(found) - most)
    return sorted(found, key=lambda gap: (gap.start_ms, gap.track, gap.end_ms))


def _fewer(gaps: Sequence[Gap], excess: int) -> list[Gap]:
    """Return the gaps less so many, where there are enough of one track and reason: the closest are one."""
    alike = [n for n in range(1, len(gaps)) if _are_alike(gaps[n - 1], gaps[n])]
    alike.sort(key=lambda n: gaps[n].start_ms - gaps[n - 1].end_ms)
    joined = set(alike[: max(excess, 0)])
    found: list[Gap] = []
    for number, gap in enumerate(gaps):
        if number in joined:
            found[-1] = _as_one(found[-1], gap)
        else:
            found.append(gap)
    return found


def _are_alike(gap: Gap, other: Gap) -> bool:
    return (gap.track, gap.reason) == (other.track, other.reason)


def _as_one(gap: Gap, later: Gap) -> Gap:
    between_ms = max(later.start_ms - gap.end_ms, 0)
    return replace(
        gap,
        end_ms=max(gap.end_ms, later.end_ms),
        between_ms=gap.between_ms + between_ms + later.between_ms,
        packets=gap.packets + later.packets,
    )
