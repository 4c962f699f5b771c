"""A TCP sender as other traffic: CUBIC's window (RFC 9438), slow start, one cut a round trip, timeouts."""

from benchmarks.networks.clock import Clock
from benchmarks.networks.line import Line
from benchmarks.networks.tally import Tally

SEGMENT_BYTES = 1500
FIRST_WINDOW = 10.0
BETA = 0.7
CUBIC_C = 0.4
RTO_MIN_S = 0.3


class Tcp:
    """Sends `size_bytes`, or for ever; selective acknowledgements are taken for granted."""

    def __init__(
        self,
        clock: Clock,
        line: Line,
        *,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        size_bytes: float = float("inf"),
        back_s: float = 0.05,
    ) -> None:
        self.tally = Tally(clock)
        self._clock = clock
        self._line = line
        self._end_s = end_s
        self._left_bytes = size_bytes
        self._back_s = back_s
        self._window = FIRST_WINDOW
        self._threshold = float("inf")
        self._window_max = 0.0
        self._cut_at = float("-inf")
        self._in_flight = 0
        self._rtt_s = 2 * back_s
        self._acknowledged_at = 0.0
        clock.at(start_s, self._begin)

    def _begin(self) -> None:
        self._acknowledged_at = self._clock.now
        self._fill()
        self._watch()

    def _fill(self) -> None:
        while self._in_flight < int(self._window) and self._left_bytes > 0 and self._clock.now < self._end_s:
            now = self._clock.now
            self._in_flight += 1
            self._left_bytes -= SEGMENT_BYTES
            self.tally.sent(SEGMENT_BYTES)
            lost = self._line.send(SEGMENT_BYTES, 0.0, self._arrive, now)
            if lost is not None:
                self.tally.lost(lost)
                # Known a round trip later by the acknowledgements of those behind it.
                self._clock.after(self._rtt_s, self._lost, now)

    def _arrive(self, waiting_s: float, sent_at: float) -> None:
        self.tally.arrived(SEGMENT_BYTES, waiting_s)
        self._clock.after(self._back_s, self._acknowledge, sent_at)

    def _acknowledge(self, sent_at: float) -> None:
        now = self._clock.now
        self._in_flight = max(self._in_flight - 1, 0)
        self._rtt_s += 0.125 * (now - sent_at - self._rtt_s)
        self._acknowledged_at = now
        if self._window < self._threshold:
            self._window += 1.0
        else:
            since_s = now - self._cut_at
            crossing_s = (self._window_max * (1.0 - BETA) / CUBIC_C) ** (1.0 / 3.0)
            cubic = CUBIC_C * (since_s - crossing_s) ** 3 + self._window_max
            # No slower than Reno (RFC 9438, 4.3).
            reno = self._window_max * BETA + 3.0 * (1.0 - BETA) / (1.0 + BETA) * since_s / self._rtt_s
            target = min(max(cubic, reno), 1.5 * self._window)
            self._window += max(target - self._window, 0.01) / self._window
        self._fill()

    def _lost(self, sent_at: float) -> None:
        self._in_flight = max(self._in_flight - 1, 0)
        self._left_bytes += SEGMENT_BYTES
        if sent_at > self._cut_at:
            self._cut_at = self._clock.now
            # Fast convergence (RFC 9438, 4.7).
            shrunk = self._window < self._window_max
            self._window_max = self._window * (1.0 + BETA) / 2.0 if shrunk else self._window
            self._window = self._threshold = max(self._window * BETA, 2.0)
        self._fill()

    def _watch(self) -> None:
        now = self._clock.now
        if now >= self._end_s or (self._left_bytes <= 0 and not self._in_flight):
            return
        if now - self._acknowledged_at > max(2.0 * self._rtt_s, RTO_MIN_S):
            self._threshold = max(self._window / 2.0, 2.0)
            self._window = 1.0
            self._in_flight = 0
            self._acknowledged_at = now
            self._fill()
        self._clock.after(0.1, self._watch)
