"""Virtual time: what happens next happens now."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Clock:
    """Calls in the order of their times; those of one time in the order they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back at that time, or now if it is over."""
        heapq.heappush(self._calls, (max(when, self.now), next(self._numbers), callback, args))

    def after(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back so much later."""
        self.at(self.now + delay_s, callback, *args)

    def run(self, until: float) -> None:
        """Let time pass."""
        calls = self._calls
        while calls and calls[0][0] <= until:
            when, _, callback, args = heapq.heappop(calls)
            self.now = when
            callback(*args)
        self.now = until
