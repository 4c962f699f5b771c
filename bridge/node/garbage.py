"""When Python's cyclic garbage collector makes its full passes: not while packets would have to wait for it.

A full pass looks at every object there is, the caches' hundred thousand packets included, and held
up a conference of thirty points for 60 to 240 ms several times a minute. What the hot path makes is
freed by reference counts alone; cycles are made by people who come and go. So the passes over young
objects stay as Python makes them, and full passes run when nobody is there, after many have left,
or at long last anyway.
"""

import gc

# Never by itself: the other two thresholds stay as they are.
FULL_PASS_NEVER = 1 << 30
# A leg that has closed holds some hundred kilobytes until the next full pass.
CLOSED_MAX = 100
INTERVAL_MAX_S = 3600.0
# An idle node needs one pass after the last participant left, not one a minute.
IDLE_CLOSED_MIN = 1


class GarbageSchedule:
    """Decides when a full pass is due; `now` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._closed = 0

    def is_due(self, now: float, *, participants: int, closed: int) -> bool:
        """Tell whether to collect now, given who is there and how many legs have ever closed."""
        departed = closed - self._closed
        is_due = (
            departed >= CLOSED_MAX
            or (participants == 0 and departed >= IDLE_CLOSED_MIN)
            or now - self._last >= INTERVAL_MAX_S
        )
        if is_due:
            self._last, self._closed = now, closed
        return is_due


def take_over() -> None:
    """Stop automatic full passes, and take what exists now out of all later ones.

    Called once, when everything that lives as long as the process is there.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_PASS_NEVER)


def hand_back() -> None:
    """Give the collector back to Python as it was found."""
    gc.unfreeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 10)
