"""Whether the sender has less to send than it may ("application limited region").

What is sent then says nothing about what the path would carry. The thresholds are those of browsers.
"""

# A budget grows by this part of the estimate, and holds half a second of it.
USED_PART = 0.65
BUDGET_S = 0.5
# Of the whole budget, from minus one to one: unused beyond the first is idle, below the second busy again.
IDLE_ABOVE = 0.80
BUSY_BELOW = 0.50
PAUSE_MAX_S = 1.0


class IdleDetector:
    """Compares what one sender sends with what it may."""

    __slots__ = ("_at", "_bits", "is_idle")

    def __init__(self) -> None:
        self.is_idle = False
        self._bits = 0.0
        self._at: float | None = None

    def sent(self, size_bytes: int, allowed_bps: float, now: float) -> None:
        """Take one packet, or none at all (0 bytes)."""
        elapsed_s = 0.0 if self._at is None else min(max(now - self._at, 0.0), PAUSE_MAX_S)
        self._at = now
        rate_bps = USED_PART * allowed_bps
        most = rate_bps * BUDGET_S
        self._bits = min(self._bits + rate_bps * elapsed_s, most) - 8 * size_bytes
        self._bits = max(self._bits, -most)
        level = self._bits / most if most else 0.0
        if level > IDLE_ABOVE:
            self.is_idle = True
        elif level < BUSY_BELOW:
            self.is_idle = False
