"""How long packets wait on the path: the delay of each beyond the shortest of the last two minutes."""

from collections import deque

# Clocks drift by up to 50 ppm: 6 ms in two minutes. A download stands in the queue for that long, and what
# is then forgotten is the path without it; a path that became longer is taken for a queue until then.
BASE_S = 120.0
BUCKET_S = 10.0
# The mean of what feedback tells: follows within three reports.
STEP = 0.3
# What waits for so long, and always as long, waits in no queue: those of others move by more within seconds,
# and one of our own as soon as less is sent.
STEADY_WAIT_S = 0.05
STEADY_SPREAD_S = 0.01
STEADY_FOR_S = 3.0


class QueueDelay:
    """The waiting time on one path, from sending and arrival times of two clocks."""

    __slots__ = ("_bucket_at", "_minima", "_steady_at", "_steady_s", "s")

    def __init__(self) -> None:
        self.s = 0.0
        self._minima: deque[float] = deque(maxlen=int(BASE_S / BUCKET_S))
        self._bucket_at: float | None = None
        # Since when the mean is near this.
        self._steady_s = 0.0
        self._steady_at: float | None = None

    def add(self, sent_at: float, arrived_at: float) -> float:
        """Take one packet; return how long it waited."""
        delay_s = arrived_at - sent_at
        if self._bucket_at is None or not 0.0 <= sent_at - self._bucket_at < BUCKET_S:
            self._bucket_at = sent_at
            self._minima.append(delay_s)
        elif delay_s < self._minima[-1]:
            self._minima[-1] = delay_s
        waited_s = delay_s - min(self._minima)
        self.s += STEP * (waited_s - self.s)
        return waited_s

    def forgive_steady(self, now: float) -> None:
        """Take a path whose packets all wait as long for seconds as one that has become longer."""
        is_steady = self.s > STEADY_WAIT_S and abs(self.s - self._steady_s) <= STEADY_SPREAD_S
        if not is_steady or self._steady_at is None:
            self._steady_s, self._steady_at = self.s, now
        elif now - self._steady_at >= STEADY_FOR_S:
            self.reset()

    def waited_s(self, sent_at: float, arrived_at: float) -> float:
        """Return how long a packet waited, and take nothing; nothing when nothing is known."""
        return arrived_at - sent_at - min(self._minima) if self._minima else 0.0

    def reset(self) -> None:
        """The path or the receiver's clock is another one."""
        self.s = 0.0
        self._minima.clear()
        self._bucket_at = self._steady_at = None
