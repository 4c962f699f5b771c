"""Where the path was full: the mean and spread of what arrived whenever it was too much.

Draft-ietf-rmcat-gcc-02, 5.5: near that rate the estimate grows by steps, far below it by a factor.
"""

import math

# Weight of a new value: the draft's 0.95 exponential average; a probe measures the rate itself.
OVERUSE_WEIGHT = 0.05
PROBE_WEIGHT = 0.5
# The variance is kept relative to the mean, within what paths show (kbit/s).
VARIANCE_START = 0.4
VARIANCE_MIN = 0.4
VARIANCE_MAX = 2.5
# "Close" is within three standard deviations (5.5).
DEVIATIONS = 3.0


class LinkCapacity:
    """What one path carried when it was full, in bits per second."""

    __slots__ = ("_kbps", "_variance")

    def __init__(self) -> None:
        self._kbps: float | None = None
        self._variance = VARIANCE_START

    @property
    def bps(self) -> float | None:
        """The mean; None where the path was never full, or has changed since."""
        return None if self._kbps is None else self._kbps * 1000.0

    @property
    def upper_bps(self) -> float:
        """More than this means that the path has changed."""
        return math.inf if self._kbps is None else (self._kbps + self._spread_kbps) * 1000.0

    @property
    def lower_bps(self) -> float:
        """Less than this when the path is full means the same."""
        return 0.0 if self._kbps is None else max(self._kbps - self._spread_kbps, 0.0) * 1000.0

    def overused(self, acknowledged_bps: float) -> None:
        """Take what arrived when it was too much."""
        self._update(acknowledged_bps / 1000.0, OVERUSE_WEIGHT)

    def probed(self, bps: float) -> None:
        """Take what a probe measured."""
        self._update(bps / 1000.0, PROBE_WEIGHT)

    def reset(self) -> None:
        """The path is another one."""
        self._kbps = None

    @property
    def _spread_kbps(self) -> float:
        return DEVIATIONS * math.sqrt(self._variance * (self._kbps or 0.0))

    def _update(self, sample_kbps: float, weight: float) -> None:
        if self._kbps is None:
            self._kbps = sample_kbps
        else:
            self._kbps += weight * (sample_kbps - self._kbps)
        error_kbps = self._kbps - sample_kbps
        scaled = error_kbps * error_kbps / max(self._kbps, 1.0)
        variance = (1.0 - weight) * self._variance + weight * scaled
        self._variance = min(max(variance, VARIANCE_MIN), VARIANCE_MAX)
