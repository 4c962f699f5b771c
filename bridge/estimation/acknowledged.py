"""The rate that arrives, smoothed by how much each sample is to be trusted.

A sample is the rate over 150 ms. It is a noisy view of the true rate, the more so the further it lies from
what was believed: then it counts for less, and a single burst or hole does not move the belief. This is the
one-dimensional Bayesian update that browsers use; the draft only asks for R_hat over 0.5 to 1 s (5.5).
"""

from collections import deque

# The first sample takes its time: it is believed whole.
FIRST_WINDOW_S = 0.5
WINDOW_S = 0.15
# Relative deviation to standard deviation of a sample; and how much the belief may drift from sample to
# sample.
DEVIATION_SCALE = 10.0
DRIFT_VARIANCE = 5.0
FIRST_VARIANCE = 50.0
# After a pause in which little was sent the old belief says little about the new rate.
AFTER_PAUSE_VARIANCE = 200.0
# Where the path is seen to be full, what it carries is what came in so many samples: belief is too slow for a
# line that has just lost most of its rate.
RECENT_SAMPLES = 3
# A hole longer than this is silence and not slowness.
SILENCE_S = 2.0


class AcknowledgedRate:
    """The rate at which one path delivers, in bits per second, by the receiver's clock."""

    __slots__ = ("_bytes", "_kbps", "_last_at", "_recent", "_variance", "_window_at", "_window_s")

    def __init__(self) -> None:
        self._kbps: float | None = None
        self._variance = FIRST_VARIANCE
        self._window_s = FIRST_WINDOW_S
        self._window_at: float | None = None
        self._last_at = 0.0
        self._bytes = 0
        # Bits and seconds of the newest samples.
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_SAMPLES)

    @property
    def bps(self) -> float | None:
        """What arrives; None before the first half second has."""
        return None if self._kbps is None else self._kbps * 1000.0

    @property
    def recent_bps(self) -> float | None:
        """What has arrived in the last half second; None before."""
        if not self._recent:
            return None
        return sum(bits for bits, _ in self._recent) / sum(seconds for _, seconds in self._recent)

    def expect_change(self) -> None:
        """The rate that is sent has just become another one."""
        self._variance += AFTER_PAUSE_VARIANCE

    def add(self, size_bytes: int, arrived_at: float) -> None:
        """Take one packet, in the order of arrival."""
        if self._window_at is None or not 0.0 <= arrived_at - self._last_at <= SILENCE_S:
            self._window_at = arrived_at
            self._bytes = 0
            self._recent.clear()
        self._last_at = arrived_at
        elapsed_s = arrived_at - self._window_at
        if elapsed_s >= self._window_s:
            # The packet that ends a window opens the next.
            self._recent.append((self._bytes * 8.0, elapsed_s))
            self._sample(self._bytes * 8e-3 / elapsed_s)
            self._window_at = arrived_at
            self._bytes = 0
            self._window_s = WINDOW_S
        self._bytes += size_bytes

    def _sample(self, sample_kbps: float) -> None:
        believed = self._kbps
        if believed is None:
            self._kbps = sample_kbps
            return
        deviation = DEVIATION_SCALE * abs(believed - sample_kbps) / max(believed + sample_kbps, 1.0)
        sample_variance = deviation * deviation
        predicted = self._variance + DRIFT_VARIANCE
        weight = predicted / (sample_variance + predicted)
        self._kbps = max(believed + weight * (sample_kbps - believed), 0.0)
        self._variance = (1.0 - weight) * predicted
