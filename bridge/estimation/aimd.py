"""The rate by delay: up while the path is calm, down when its queue grows (draft-ietf-rmcat-gcc-02, 5.5)."""

import math

from bridge.estimation.capacity import LinkCapacity
from bridge.estimation.trendline import Usage

FLOOR_BPS = 30_000.0
CEILING_BPS = 50_000_000.0

# Draft-ietf-rmcat-gcc-02, 5.5 and table 1: eta, beta, and the distance to what arrives.
GROWTH_PER_S = 1.08
DECREASE = 0.85
BEYOND_ACKNOWLEDGED = 1.5
BEYOND_ACKNOWLEDGED_BPS = 10_000.0
# Near convergence: about half a packet a response time, which is the round trip and what detection takes
# (5.5).
DETECTION_S = 0.1
FRAMES_PER_S = 30.0
PACKET_BITS = 1200.0 * 8.0
ADDITIVE_MIN_BPS_PER_S = 4_000.0
# In a queue shared with others what arrives changes with their rates as well: growth by a factor, which
# takes most for those who have most, waits until the path has not been full for so long.
FULL_REMEMBERED_S = 5.0
# Growth over a pause is not owed.
STEP_MAX_S = 1.0
# After a cut the path answers only a round trip later; within that only half the rate is another reason to
# cut.
REDUCE_MAX_S = 1.0
# Nothing has come back yet that a cut could be measured by.
BLIND_DECREASE = 0.5
BLIND_INTERVAL_S = 0.2


class AimdRate:
    """The bitrate that one path's delay allows."""

    __slots__ = ("_changed_at", "_floor_bps", "_is_increasing", "_reduced_at", "bps", "capacity", "rtt_s")

    def __init__(self, start_bps: float, *, floor_bps: float = FLOOR_BPS) -> None:
        self.bps = start_bps
        self.rtt_s = 0.2
        self.capacity = LinkCapacity()
        self._floor_bps = floor_bps
        self._is_increasing = False
        self._changed_at: float | None = None
        self._reduced_at: float | None = None

    def set(self, bps: float, now: float) -> None:
        """Take a rate that was measured otherwise."""
        self.bps = min(max(bps, self._floor_bps), CEILING_BPS)
        self._changed_at = now

    def update(self, usage: Usage, acknowledged_bps: float | None, now: float) -> bool:
        """Move with what the path does; tell whether the rate was cut."""
        since_s = 0.0 if self._changed_at is None else min(max(now - self._changed_at, 0.0), STEP_MAX_S)
        self._changed_at = now
        if usage is Usage.OVERUSE:
            self._is_increasing = False
            return self._decrease(acknowledged_bps, now)
        if usage is Usage.UNDERUSE:
            # The queue empties: let it (the draft's Hold).
            self._is_increasing = False
        elif not self._is_increasing:
            self._is_increasing = True
        else:
            self._increase(acknowledged_bps, since_s, now)
        return False

    def _increase(self, acknowledged_bps: float | None, since_s: float, now: float) -> None:
        if acknowledged_bps is not None and acknowledged_bps > self.capacity.upper_bps:
            self.capacity.reset()
        was_full = self._reduced_at is not None and now - self._reduced_at < FULL_REMEMBERED_S
        if self.capacity.bps is None and not was_full:
            bps = self.bps * math.pow(GROWTH_PER_S, since_s)
        else:
            bps = self.bps + self._additive_bps_per_s() * since_s
        limit_bps = CEILING_BPS
        if acknowledged_bps is not None:
            limit_bps = BEYOND_ACKNOWLEDGED * acknowledged_bps + BEYOND_ACKNOWLEDGED_BPS
        # What is not sent is not known to be carried; what was known stays.
        self.bps = min(max(self.bps, min(bps, limit_bps)), CEILING_BPS)

    def _additive_bps_per_s(self) -> float:
        frame_bits = self.bps / FRAMES_PER_S
        packet_bits = frame_bits / math.ceil(frame_bits / PACKET_BITS)
        return max(packet_bits / (self.rtt_s + DETECTION_S), ADDITIVE_MIN_BPS_PER_S)

    def _decrease(self, acknowledged_bps: float | None, now: float) -> bool:
        if not self._may_reduce(acknowledged_bps, now):
            return False
        self._reduced_at = now
        if acknowledged_bps is None:
            self.bps = max(self.bps * BLIND_DECREASE, self._floor_bps)
            return True
        bps = DECREASE * acknowledged_bps
        if bps > self.bps and self.capacity.bps is not None:
            bps = DECREASE * self.capacity.bps
        self.bps = max(min(self.bps, bps), self._floor_bps)
        if acknowledged_bps < self.capacity.lower_bps:
            self.capacity.reset()
        self.capacity.overused(acknowledged_bps)
        return True

    def _may_reduce(self, acknowledged_bps: float | None, now: float) -> bool:
        if self._reduced_at is None:
            return True
        if acknowledged_bps is None:
            return now - self._reduced_at >= BLIND_INTERVAL_S
        if now - self._reduced_at >= min(self.rtt_s + DETECTION_S, REDUCE_MAX_S):
            return True
        return acknowledged_bps < 0.5 * self.bps
