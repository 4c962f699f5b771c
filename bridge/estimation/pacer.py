"""When each packet of one path may go: a leaky bucket that voice never waits for.

Pictures come in frames of dozens of packets; sent at once they queue in the narrowest router of the path, and
voice behind them. So they leave at some times the target rate, while a frame that is small for the path still
goes out as one burst. The queue is bounded in time: who fills it is told so, and sends a lower layer. Probes
raise the rate for their few packets, and where nothing waits they ask for padding.
"""

from collections import deque
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from bridge.base.rate import Budget
from bridge.estimation.probing import Probe

Item = TypeVar("Item")

# Browsers pace at 2.5 times the target, and fill the queue of a path that carries just that with each frame:
# voice waits there, and larger frames look like a growing queue. At 1.5 a frame of 1/30 s is out in 22 ms.
PACING_FACTOR = 1.5
# What may go at once: the burst that feedback takes for one group.
BURST_S = 0.005
# Beyond this nothing more is taken in: a picture that waited longer is of no use to those who talk.
QUEUE_MAX_S = 0.5
# A queue of this length is more than frames make: a lower layer is due.
QUEUE_LONG_S = 0.1
# Of the target so much may go into repeating what was lost, and so much of it at once.
RETRANSMISSION_PART = 0.3
RETRANSMISSION_BURST_S = 1.0
RETRANSMISSION_MIN_BPS = 64_000.0
PADDING_BYTES = 1_100
PROBES_MAX = 4
# A probe that does not get away (nothing is polled) is given up.
PROBE_MAX_S = 1.0


class Kind(IntEnum):
    """What goes first: the lower number."""

    VOICE = 0
    RETRANSMISSION = 1
    PICTURE = 2


class Departure(NamedTuple, Generic[Item]):
    """What goes out now; without an item that many bytes of padding."""

    item: Item | None
    size_bytes: int
    probe_id: int | None


class _ActiveProbe:
    __slots__ = ("bytes_left", "packets_left", "probe", "since", "until")

    def __init__(self, probe: Probe, now: float) -> None:
        self.probe = probe
        self.since = now
        self.packets_left = probe.packets_min
        self.bytes_left = probe.size_bytes
        self.until = now + PROBE_MAX_S


class Pacer(Generic[Item]):
    """The outgoing packets of one path, in the order and at the pace in which they leave."""

    __slots__ = ("_free_at", "_probes", "_queued_bytes", "_queues", "_repeats", "_target_bps", "refused")

    def __init__(self, target_bps: float, now: float) -> None:
        self._queues: tuple[deque[tuple[Item, int]], ...] = tuple(deque() for _ in Kind)
        self._queued_bytes = 0
        # When the bucket is empty again.
        self._free_at = now
        self._target_bps = target_bps
        self._repeats = Budget(per_s=1.0, burst=RETRANSMISSION_BURST_S, now=now)
        self._probes: deque[_ActiveProbe] = deque()
        self.refused = 0

    @property
    def queue_s(self) -> float:
        """How long what waits takes to leave."""
        return self._queued_bytes * 8 / self._rate_bps

    @property
    def is_full(self) -> bool:
        """More waits than a frame or two: a lower layer is due."""
        return self.queue_s > QUEUE_LONG_S

    def set_target(self, bps: float) -> None:
        """Pace for this rate from now on."""
        self._target_bps = bps

    def probe(self, probe: Probe, now: float) -> bool:
        """Send a probe as soon as those before it are out; False when there are too many."""
        if len(self._probes) >= PROBES_MAX:
            return False
        self._probes.append(_ActiveProbe(probe, now))
        return True

    def push(self, kind: Kind, item: Item, size_bytes: int, now: float) -> bool:
        """Take a packet in; False when there is no room in time for it, or too much has been repeated."""
        if kind is Kind.RETRANSMISSION:
            allowed_bps = max(RETRANSMISSION_PART * self._target_bps, RETRANSMISSION_MIN_BPS)
            if not self._repeats.spend(size_bytes * 8 / allowed_bps, now):
                self.refused += 1
                return False
        if kind is not Kind.VOICE:
            if self.queue_s > QUEUE_MAX_S:
                self.refused += 1
                return False
            self._queued_bytes += size_bytes
        self._queues[kind].append((item, size_bytes))
        return True

    def pop(self, now: float) -> Departure[Item] | None:
        """Return the next packet that may leave now; None: ask again at `due`."""
        voice = self._queues[Kind.VOICE]
        if voice:
            item, size_bytes = voice.popleft()
            # It does not wait for the others, but they for it.
            self._spend(size_bytes, now)
            return Departure(item, size_bytes, None)
        active = self._active_probe(now)
        if self._free_at > now + (0.0 if active is not None else BURST_S):
            return None
        for kind in (Kind.RETRANSMISSION, Kind.PICTURE):
            if self._queues[kind]:
                item, size_bytes = self._queues[kind].popleft()
                self._queued_bytes -= size_bytes
                self._spend(size_bytes, now)
                return Departure(item, size_bytes, self._count_probe(active, size_bytes))
        if active is None:
            return None
        self._spend(PADDING_BYTES, now)
        return Departure(None, PADDING_BYTES, self._count_probe(active, PADDING_BYTES))

    def due(self, now: float) -> float | None:
        """Return when `pop` has something again; None while nothing waits."""
        if self._queues[Kind.VOICE]:
            return now
        active = self._active_probe(now)
        if active is not None:
            return max(self._free_at, now)
        if self._queues[Kind.RETRANSMISSION] or self._queues[Kind.PICTURE]:
            return max(self._free_at - BURST_S, now)
        return None

    @property
    def _rate_bps(self) -> float:
        rate_bps = PACING_FACTOR * self._target_bps
        return max(rate_bps, self._probes[0].probe.bps) if self._probes else rate_bps

    def _spend(self, size_bytes: int, now: float) -> None:
        rate_bps = self._probes[0].probe.bps if self._probes else PACING_FACTOR * self._target_bps
        self._free_at = max(self._free_at, now) + size_bytes * 8 / rate_bps

    def _active_probe(self, now: float) -> _ActiveProbe | None:
        probes = self._probes
        while probes and now > probes[0].until:
            probes.popleft()
        return probes[0] if probes else None

    def _count_probe(self, active: _ActiveProbe | None, size_bytes: int) -> int | None:
        if active is None:
            return None
        active.packets_left -= 1
        active.bytes_left -= size_bytes
        if active.packets_left <= 0 and active.bytes_left <= 0:
            self._probes.popleft()
            # The next one has its own time.
            if self._probes:
                self._probes[0].until = active.until + PROBE_MAX_S
        return active.probe.number
