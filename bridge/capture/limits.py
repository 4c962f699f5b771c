"""What one track may ask of the writer, so that no stream costs others their recording. Pure.

Each limit lies far above what any encoder of a person, an ultrasound or a screen sends.
"""

from bridge.base.rate import Budget
from bridge.rtp.opus import PACKETS_PER_S_MAX

# Pictures of the fastest screens come at 120 a second. Those of some seconds may come at once, when a line
# that stood still catches up.
PICTURES_PER_S = 120.0
FRAMES_AT_ONCE_S = 4.0
# 50 Mbit/s.
BYTES_PER_S = 6_250_000.0
BYTES_AT_ONCE = 25_000_000.0
# Each costs the writer a file. A picture that changes its size, a clock that leaps, or the begin of a case
# may come some times at once.
SEGMENTS_PER_S = 1.0
SEGMENTS_AT_ONCE = 4
# Whoever has gone beyond is left out for so long, and not for every other frame.
REST_S = 1.0


class TrackLimits:
    """The limits of one track."""

    __slots__ = ("_bytes", "_frames", "_rests_until", "_segments")

    def __init__(self, *, is_sound: bool, now: float) -> None:
        frames_per_s = PACKETS_PER_S_MAX if is_sound else PICTURES_PER_S
        self._frames = Budget(per_s=frames_per_s, burst=frames_per_s * FRAMES_AT_ONCE_S, now=now)
        self._bytes = Budget(per_s=BYTES_PER_S, burst=BYTES_AT_ONCE, now=now)
        self._segments = Budget(per_s=SEGMENTS_PER_S, burst=SEGMENTS_AT_ONCE - 1.0, now=now)
        self._rests_until = float("-inf")

    def takes_frame(self, size_bytes: int, now: float) -> bool:
        """Whether a frame may be recorded; it is charged then."""
        if now < self._rests_until:
            return False
        if self._frames.spend(1.0, now) and self._bytes.spend(size_bytes, now):
            return True
        self._rests_until = now + REST_S
        return False

    def takes_segment(self, now: float) -> bool:
        """Whether a segment may begin."""
        return self._segments.wait_s(now) <= 0.0

    def segment_begun(self, now: float) -> None:
        """Charge a segment."""
        self._segments.charge(1.0, now)
