"""A line with a rate, a queue before it, a delay, and packets that get lost on it."""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks.networks.clock import Clock


class Schedule:
    """A value that changes in steps: pairs of time and value, the first at 0."""

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self._times = [at for at, _ in steps]
        self._values = [value for _, value in steps]

    def at(self, when: float) -> float:
        """Return the value at a time; before the first step it is that of the first."""
        return self._values[max(bisect_right(self._times, when) - 1, 0)]

    def until(self, when: float) -> float:
        """Return when the value of that time ends."""
        index = bisect_right(self._times, when)
        return self._times[index] if index < len(self._times) else float("inf")

    def integral(self, start: float, end: float, most: float = float("inf")) -> float:
        """Return the value, `most` where it is more, times time between two times."""
        total = 0.0
        while start < end:
            step = min(self.until(start), end)
            total += min(self.at(start), most) * (step - start)
            start = step
        return total


class Loss(Protocol):
    """Whether the next packet is lost."""

    def __call__(self, now: float) -> bool: ...


class RandomLoss:
    """Each packet by itself."""

    def __init__(self, part: float, random_: random.Random) -> None:
        self._part = part
        self._random = random_

    def __call__(self, now: float) -> bool:
        return self._random.random() < self._part


class GilbertLoss:
    """Two states, one of which loses all: bursts of `length` packets on average, `part` of all packets."""

    def __init__(self, part: float, length: float, random_: random.Random) -> None:
        self._leave = 1.0 / length
        self._enter = part / (1.0 - part) / length
        self._random = random_
        self._is_bad = False

    def __call__(self, now: float) -> bool:
        chance = self._random.random()
        self._is_bad = chance >= self._leave if self._is_bad else chance < self._enter
        return self._is_bad


class Outages:
    """All that is sent between the given times."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._spans = spans

    def __call__(self, now: float) -> bool:
        return any(start <= now < end for start, end in self._spans)


class Line:
    """One direction: a drop-tail queue in front of the rate, then a delay. A flow's packets stay in order."""

    def __init__(
        self,
        clock: Clock,
        rate_bps: Schedule,
        *,
        queue_s: float = 0.3,
        delay_s: Schedule | None = None,
        jitter_s: float = 0.0,
        losses: Sequence[Loss] = (),
        seed: int = 1,
    ) -> None:
        self.rate_bps = rate_bps
        self.delay_s = delay_s or Schedule([(0.0, 0.05)])
        self._clock = clock
        self._queue_s = queue_s
        self._jitter_s = jitter_s
        self._losses = losses
        self._random = random.Random(seed)
        self._free_at = float("-inf")
        # When the last packet reached the common line's end.
        self._ended_at = float("-inf")

    def send(
        self, size_bytes: int, extra_delay_s: float, deliver: Callable[..., object], *args: Any
    ) -> str | None:
        """Take a packet; return why it is lost, or None and `deliver(waiting_s, *args)` is called later.

        `extra_delay_s` is the rest of that flow's way. What is lost on the line has used it nonetheless.
        """
        now = self._clock.now
        leaves_at = self._finish(max(self._free_at, now), size_bytes * 8)
        if leaves_at - now > self._queue_s + size_bytes * 8 / max(self.rate_bps.at(now), 1e4):
            return "queue"
        self._free_at = leaves_at
        if any(is_lost(now) for is_lost in self._losses):
            return "line"
        jitter_s = self._random.random() * self._jitter_s if self._jitter_s else 0.0
        # Whoever left later never overtakes, however the delay changes.
        self._ended_at = max(leaves_at + self.delay_s.at(leaves_at) + jitter_s, self._ended_at)
        self._clock.at(self._ended_at + extra_delay_s, deliver, leaves_at - now + jitter_s, *args)
        return None

    def _finish(self, start: float, bits: float) -> float:
        """Return when so many bits are through, at rates that may change meanwhile."""
        while True:
            rate_bps, until = self.rate_bps.at(start), self.rate_bps.until(start)
            needed_s = bits / rate_bps if rate_bps > 0.0 else float("inf")
            if start + needed_s <= until:
                return start + needed_s
            bits -= rate_bps * (until - start)
            start = until
