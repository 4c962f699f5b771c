"""How much further apart bursts of packets arrived than they were sent (draft-ietf-rmcat-gcc-02, 5.2, 5.3).

Packets of one burst leave at nearly the same time and queue behind each other on purpose: only from burst to
burst does growing delay mean that the path is too narrow.
"""

from dataclasses import dataclass
from typing import NamedTuple

# Packets sent within so long are one group ("burst_time" of the draft).
BURST_S = 0.005
# A later packet that was delivered right behind the group belongs to it (the draft's pre-filter): something
# on the path, a busy radio for one, let several out at once. But no group goes on for ever.
GROUP_MAX_S = 0.1
# Arrivals jumped so far that the receiver's clock did, or it slept.
CLOCK_JUMP_S = 3.0
# So many groups in a row arrived before the one sent earlier: the same.
REORDERED_MAX = 3


class GroupDelta(NamedTuple):
    """From one complete group to the next; all in seconds."""

    send_delta_s: float
    arrival_delta_s: float
    arrived_at: float


@dataclass(slots=True)
class _Group:
    first_sent_at: float
    last_sent_at: float
    first_arrived_at: float
    last_arrived_at: float


class ArrivalGroups:
    """Puts packets into groups, in the order of their arrival."""

    __slots__ = ("_current", "_former", "_reordered")

    def __init__(self) -> None:
        self._current: _Group | None = None
        self._former: _Group | None = None
        self._reordered = 0

    def add(self, sent_at: float, arrived_at: float) -> GroupDelta | None:
        """Take one packet; return the step between two groups when this packet begins a third."""
        group = self._current
        if group is None:
            self._current = _Group(sent_at, sent_at, arrived_at, arrived_at)
            return None
        if sent_at < group.first_sent_at:
            # Overtaken: its group is closed.
            return None
        if self._belongs(group, sent_at, arrived_at):
            group.last_sent_at = max(group.last_sent_at, sent_at)
            group.last_arrived_at = max(group.last_arrived_at, arrived_at)
            return None
        delta = self._step(group)
        if delta is not None and delta.arrival_delta_s < 0.0:
            self._reordered += 1
            if self._reordered >= REORDERED_MAX:
                self.reset()
                return None
            delta = None
        else:
            self._reordered = 0
        if arrived_at - group.last_arrived_at > sent_at - group.last_sent_at + CLOCK_JUMP_S:
            self.reset()
        else:
            self._former = group
        self._current = _Group(sent_at, sent_at, arrived_at, arrived_at)
        return delta

    def reset(self) -> None:
        """Begin anew: what comes next has no group before it."""
        self._current = self._former = None
        self._reordered = 0

    def _belongs(self, group: _Group, sent_at: float, arrived_at: float) -> bool:
        if sent_at - group.first_sent_at <= BURST_S:
            return True
        arrival_delta_s = arrived_at - group.last_arrived_at
        is_catching_up = arrival_delta_s < sent_at - group.last_sent_at
        return (
            is_catching_up
            and arrival_delta_s <= BURST_S
            and arrived_at - group.first_arrived_at < GROUP_MAX_S
        )

    def _step(self, group: _Group) -> GroupDelta | None:
        former = self._former
        if former is None:
            return None
        arrived_at = group.last_arrived_at
        return GroupDelta(
            group.last_sent_at - former.last_sent_at, arrived_at - former.last_arrived_at, arrived_at
        )
