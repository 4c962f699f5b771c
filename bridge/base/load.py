"""How busy the event loop's thread is: what can wait asks before it takes more of media's core."""

import time
from collections.abc import Callable
from typing import Final

# Of a core. A lecture of thirty points takes half of this; beyond it what is left is media's.
BUSY_SHARE: Final = 0.4
# Long enough for the coarse clocks of threads, short enough that a burst is seen before media is late.
WINDOW_S: Final = 0.1
# Whoever makes the core busy is held back, and with that it is busy no more: it counts as busy for a while.
RESTS_S: Final = 5.0


class Load:
    """Whether the calling thread's core has been busy of late; asked often or rarely, it costs two clocks."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._since = clock()
        self._spent_before = cpu_clock()
        self._busy_until = float("-inf")

    @property
    def is_busy(self) -> bool:
        """Whether more than `BUSY_SHARE` of the core was used in any window of the last `RESTS_S`."""
        now = self._clock()
        elapsed = now - self._since
        if elapsed >= WINDOW_S:
            spent = self._cpu_clock()
            if spent - self._spent_before > BUSY_SHARE * elapsed:
                self._busy_until = now + RESTS_S
            self._since, self._spent_before = now, spent
        return now < self._busy_until
