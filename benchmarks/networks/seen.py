"""What a receiver's page saw and heard during a case, from the samples of `sampler.js`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# A still that people notice, and one that counts in the floors.
STILL_S = 0.5
FREEZE_S = 1.0
SAMPLE_HZ = 48_000
# The voice is whole again when so little of a half second is made up.
WHOLE = 0.1


@dataclass(frozen=True)
class Moment:
    """Half a second of a page; counts are those since the moment before, times those of the case."""

    at: float
    seconds: float
    samples: float
    concealed: float
    height_px: int
    frames: int
    estimate_bps: float | None
    received_bps: float
    packets: int
    lost: int
    # What the page says of the line, and of the picture.
    line: str
    picture: str
    lag_ms: float


@dataclass(frozen=True)
class Seen:
    """One page in one case; times in seconds, None where the case does not ask."""

    concealed: float
    # Of the ten seconds after each fall of the line.
    fall_concealed: float | None
    stills: int
    stills_s: float
    freezes_per_minute: float
    longest_still_s: float
    frames_per_s: float
    height_px: int
    # For how much of the time which height was shown; 0 is no new picture for half a second.
    heights: dict[int, float]
    # From a rise until the highest picture was there, and until the voice was whole.
    full_picture_s: float | None
    voice_back_s: float | None
    # No new picture for a second, and the page says of it what it said before.
    unsaid_still_s: float
    received_bps: float
    estimate_bps: float
    longest_lag_ms: float
    words: tuple[str, ...]


def moments(samples: Sequence[dict[str, Any]], zero: float) -> list[Moment]:
    """Turn counters into what changed; `zero` is when the case began, by the wall."""
    found: list[Moment] = []
    for before, now in pairwise(samples):
        seconds = now["at"] - before["at"]
        if seconds <= 0.0:
            continue
        is_same = before["connection"] == now["connection"]

        def grown(*path: str, is_same: bool = is_same, pair: Any = (before, now)) -> float:
            old, new = pair
            for name in path:
                old, new = (old or {}).get(name, 0), (new or {}).get(name, 0)
            # A new connection begins to count at nothing.
            return max((new or 0) - ((old or 0) if is_same else 0), 0)

        heard = grown("voice", "samples")
        # Nothing comes out of a connection that is not there.
        missing = max(seconds * SAMPLE_HZ - heard, 0.0) if heard < 0.5 * seconds * SAMPLE_HZ else 0.0
        packets, lost = int(grown("voice", "packets")), int(grown("voice", "lost"))
        found.append(
            Moment(
                at=now["at"] - zero,
                seconds=seconds,
                samples=heard + missing,
                concealed=grown("voice", "concealed") + missing,
                height_px=now["height_px"],
                frames=int(grown("stage", "frames")),
                estimate_bps=now["estimate_bps"],
                received_bps=8 * grown("received_bytes") / seconds,
                packets=packets,
                lost=lost,
                line=now["line"],
                picture=now["picture"],
                lag_ms=now["lag_ms"],
            )
        )
    return found


def stills_s(shown: Sequence[float], start_s: float, end_s: float) -> list[float]:
    """Return how long the picture stood still each time, to the end if it never came back."""
    times = [start_s, *(at for at in shown if start_s < at < end_s), end_s]
    gaps = [after - before for before, after in pairwise(times)]
    return [gap for gap in gaps if gap > STILL_S]


def seen(
    all_moments: Sequence[Moment],
    shown: Sequence[float],
    *,
    spans: Sequence[tuple[float, float]],
    falls: Sequence[float],
    rises: Sequence[float],
    full_px: int,
) -> Seen:
    """Read one page in the spans of time in which it was there; `full_px` is the whole picture's height."""
    within = [one for one in all_moments if any(start <= one.at < end for start, end in spans)]
    total_s = max(sum(one.seconds for one in within), 1e-9)
    still = [gap for start, end in spans for gap in stills_s(shown, start, end)]
    heights: dict[int, float] = {}
    for one in within:
        height_px = one.height_px if one.frames else 0
        heights[height_px] = heights.get(height_px, 0.0) + one.seconds / total_s
    estimates = sorted(one.estimate_bps for one in within if one.estimate_bps is not None)
    words: list[str] = []
    for one in within:
        if (said := f"{one.line} · {one.picture}") not in words:
            words.append(said)

    def first_s(at: float, is_so: Any) -> float:
        return next((one.at - at for one in within if one.at > at and is_so(one)), float("inf"))

    def is_whole(one: Moment) -> bool:
        return one.concealed < WHOLE * one.samples

    return Seen(
        concealed=concealed(within, 0.0, float("inf")),
        fall_concealed=max((concealed(within, at, at + 10.0) for at in falls), default=None),
        stills=len(still),
        stills_s=sum(still),
        freezes_per_minute=60.0 * sum(one > FREEZE_S for one in still) / total_s,
        longest_still_s=max(still, default=0.0),
        frames_per_s=sum(start < at < end for at in shown for start, end in spans) / total_s,
        height_px=within[-1].height_px if within and within[-1].frames else 0,
        heights={height: round(part, 3) for height, part in sorted(heights.items())},
        full_picture_s=max(
            (first_s(at, lambda one: one.frames > 0 and one.height_px >= full_px) for at in rises),
            default=None,
        ),
        voice_back_s=max((first_s(at, is_whole) for at in rises), default=None),
        unsaid_still_s=_unsaid_still_s(all_moments, within),
        received_bps=sum(one.received_bps * one.seconds for one in within) / total_s,
        estimate_bps=estimates[len(estimates) // 2] if estimates else 0.0,
        longest_lag_ms=max((one.lag_ms for one in within), default=0.0),
        words=tuple(words[:20]),
    )


def _unsaid_still_s(all_moments: Sequence[Moment], within: Sequence[Moment]) -> float:
    """Return for how long a picture without new frames was shown with the words of the picture before."""
    usual = next((one.picture for one in reversed(all_moments) if one.at < 0.0), "")
    total_s = still_s = 0.0
    for one in within:
        still_s = 0.0 if one.frames else still_s + one.seconds
        if still_s > FREEZE_S and one.picture == usual and one.height_px:
            total_s += one.seconds
    return total_s


def concealed(within: Sequence[Moment], start_s: float, end_s: float) -> float:
    """Return what share of the voice between two times was made up or missing."""
    those = [one for one in within if start_s <= one.at < end_s]
    return sum(one.concealed for one in those) / max(sum(one.samples for one in those), 1.0)
