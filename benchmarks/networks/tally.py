"""What became of one flow's packets: rates in tenths of a second, waiting times, losses by cause."""

from collections import defaultdict

import numpy as np

from benchmarks.networks.clock import Clock

BIN_S = 0.1


class Tally:
    """Counts for one flow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.bits: dict[int, float] = defaultdict(float)
        self.sent_bits: dict[int, float] = defaultdict(float)
        self.waits: list[tuple[float, float]] = []
        self.targets: list[tuple[float, float]] = []
        self.packets = 0
        self.losses: dict[str, int] = defaultdict(int)

    def __getstate__(self) -> dict[str, object]:
        """Return what was counted, for another process: the clock stays here."""
        return {**self.__dict__, "_clock": None}

    def sent(self, size_bytes: int) -> None:
        """One packet has left its sender."""
        self.packets += 1
        self.sent_bits[int(self._clock.now / BIN_S)] += 8 * size_bytes

    def lost(self, cause: str) -> None:
        """It was lost: in a queue that was full, or on the line."""
        self.losses[cause] += 1

    def arrived(self, size_bytes: int, waiting_s: float) -> None:
        """It has come, having waited so long beyond the line's delay."""
        self.bits[int(self._clock.now / BIN_S)] += 8 * size_bytes
        self.waits.append((self._clock.now, waiting_s))

    def target(self, bps: float) -> None:
        """This much may be sent from now on."""
        self.targets.append((self._clock.now, bps))

    def rate_bps(self, start_s: float, end_s: float) -> float:
        """Return what arrived between two times."""
        bins = range(round(start_s / BIN_S), round(end_s / BIN_S))
        return sum(self.bits.get(index, 0.0) for index in bins) / max(end_s - start_s, BIN_S)

    def wait_s(self, start_s: float, end_s: float, percentile: float = 95.0) -> float:
        """Return a percentile of the waiting times of what arrived between two times."""
        waits = [wait for at, wait in self.waits if start_s <= at < end_s]
        return float(np.percentile(waits, percentile)) if waits else 0.0

    def target_at(self, when: float) -> float:
        """Return what might be sent at a time."""
        return next((bps for at, bps in reversed(self.targets) if at <= when), 0.0)
