"""As the bridge sends without transport-wide feedback: by the receiver's REMB and loss reports, unpaced.

The receiver of the model runs the same delay estimation as `EstimatedFlow` does at the sender, as browsers
did when REMB was what they sent: by send times in the packets, told once a second and at once when it
falls.
"""

from benchmarks.networks.clock import Clock
from benchmarks.networks.flow import Media
from benchmarks.networks.line import Line
from benchmarks.networks.source import Source
from bridge.estimation.acknowledged import AcknowledgedRate
from bridge.estimation.aimd import AimdRate
from bridge.estimation.groups import ArrivalGroups
from bridge.estimation.pacer import Kind
from bridge.estimation.trendline import Trendline
from bridge.media.bandwidth import START_BPS, DownlinkEstimate

REPORT_EVERY_S = 1.0
REPORT_BYTES = 100
# The round trip is longer than the path by more than this: a queue (`bridge/leg/downlink.py`).
QUEUE_S = 0.1


class RembFlow(Media):
    """Today's estimate at the sender, a REMB estimator at the receiver."""

    def __init__(self, clock: Clock, line: Line, source: Source, **where: object) -> None:
        super().__init__(clock, line, source, **where)  # type: ignore[arg-type]
        self.estimate = DownlinkEstimate()
        self.estimate.demand_bps = source.max_bps
        self._groups = ArrivalGroups()
        self._trendline = Trendline()
        self._aimd = AimdRate(START_BPS)
        self._acknowledged = AcknowledgedRate()
        self._number = 0
        self._highest = self._told = self._received = 0
        self._reported_at = 0.0
        self._is_fallen = False
        self._sent_bps = 0.0
        self._round_trip_s = 0.0
        self._shortest_s = float("inf")

    def target_bps(self) -> float:
        now = self.clock.now
        self._sent_bps = sum(
            self.tally.sent_bits.get(index, 0.0) for index in range(int(now * 10) - 10, int(now * 10))
        )
        self.estimate.sent_bps = self._sent_bps
        return self.estimate.available_bps(now)

    def push(self, kind: Kind, size_bytes: int) -> None:
        self._number += 1
        self.transmit(self._number, size_bytes, is_voice=kind is Kind.VOICE)

    def receive(self, waiting_s: float, sent_at: float, size_bytes: int, number: int, is_voice: bool) -> None:
        super().receive(waiting_s, sent_at, size_bytes, number, is_voice)
        now = self.clock.now
        self._highest = max(self._highest, number)
        self._received += 1
        self._round_trip_s = now - sent_at + self._back_s + self._extra_delay_s
        self._acknowledged.add(size_bytes, now)
        delta = self._groups.add(sent_at, now)
        if delta is not None:
            self._trendline.update(*delta)

    def report(self) -> None:
        now = self.clock.now
        self._is_fallen |= self._aimd.update(self._trendline.usage, self._acknowledged.bps, now)
        is_due = now - self._reported_at >= REPORT_EVERY_S - 1e-6
        if is_due or self._is_fallen:
            self._is_fallen = False
            self.send_back(REPORT_BYTES, self._take_remb, self._aimd.bps)
        if is_due:
            self._reported_at = now
            expected = self._highest - self._told
            if expected:
                lost = max(1.0 - self._received / expected, 0.0)
                self.send_back(REPORT_BYTES, self._take_loss, lost, self._round_trip_s)
            self._told, self._received = self._highest, 0

    def _take_remb(self, bps: float) -> None:
        is_queueing = self._round_trip_s > self._shortest_s + QUEUE_S
        self.estimate.remb(bps, self.clock.now, sent_bps=self._sent_bps, is_queueing=is_queueing)

    def _take_loss(self, lost: float, rtt_s: float) -> None:
        self._shortest_s = min(self._shortest_s, rtt_s)
        self.estimate.report(lost, self.clock.now, sent_bps=self._sent_bps)
