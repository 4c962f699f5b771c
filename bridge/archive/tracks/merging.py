"""Gaps that lie close together told as one, for a line that loses single packets for hours. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bridge.archive.model import Gap

# Losses of one track, for one reason, with less than this between them are one gap.
NEAR_MS: Final = 1000
# A package that would tell of more than this is told in fewer, wider gaps.
GAPS_MAX: Final = 10_000
WIDER: Final = 4


def merged(gaps: Iterable[Gap], *, most: int = GAPS_MAX) -> list[Gap]:
    """Return the gaps by time, near ones of one track and reason as one, and never more than `most` if a
    wider view of them can help.

    What came through between them is counted in `between_ms`; overlapping ones are counted once.
    """
    found = _merged(sorted(gaps, key=lambda gap: (gap.track, gap.reason, gap.start_ms, gap.end_ms)), NEAR_MS)
    near_ms, whole_ms = NEAR_MS, max((gap.end_ms for gap in found), default=0)
    while len(found) > most and near_ms < whole_ms:
        near_ms *= WIDER
        found = _merged(found, near_ms)
    return sorted(found, key=lambda gap: (gap.start_ms, gap.track, gap.end_ms))


def _merged(gaps: Sequence[Gap], near_ms: int) -> list[Gap]:
    found: list[Gap] = []
    for gap in gaps:
        last = found[-1] if found else None
        is_near = (
            last is not None
            and (last.track, last.reason) == (gap.track, gap.reason)
            and gap.start_ms - last.end_ms < near_ms
        )
        if last is None or not is_near:
            found.append(gap)
            continue
        between_ms = max(gap.start_ms - last.end_ms, 0)
        found[-1] = replace(
            last,
            end_ms=max(last.end_ms, gap.end_ms),
            between_ms=last.between_ms + between_ms + gap.between_ms,
            packets=last.packets + gap.packets,
        )
    return found
