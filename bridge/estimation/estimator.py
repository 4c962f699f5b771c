"""What may be sent on one path: the rates by delay and by loss put together, with probes, pauses and silence.

The path of a packet through the files here: the sender's history notes it, and `sent` how much it is (alr);
`feedback` matches what came of it (history), measures the rate that arrives (acknowledged) and that of a
probe (measuring), the growth of the queue (groups, trendline) and its length (queueing); moves the rate by
delay (aimd, capacity) and the limit by loss; `tick` says what may be sent now and which probes are due
(probing). Where a report tells of a calm path, `calm_feedback` takes all its packets as one.
"""

from typing import NamedTuple, Protocol

from bridge.estimation.acknowledged import AcknowledgedRate
from bridge.estimation.aimd import CEILING_BPS, FLOOR_BPS, AimdRate
from bridge.estimation.alr import IdleDetector
from bridge.estimation.competition import LOSS_BEYOND_INHERENT, Competition
from bridge.estimation.groups import ArrivalGroups
from bridge.estimation.history import AGE_MAX_S, PacketResult
from bridge.estimation.loss import LOSS_JUDGED, LossLimit
from bridge.estimation.measuring import ProbeResults
from bridge.estimation.probing import NEXT_FACTOR, Probe, ProbePlan
from bridge.estimation.queueing import QueueDelay
from bridge.estimation.trendline import Trendline, Usage
from bridge.rtp.rtcp import TransportFeedback

# What browsers begin with; the probes at the start find the rest within two round trips.
START_BPS = 300_000.0

# After a cut the queue that led to it is let out within about a second, sending down to half the estimate for
# it. If it does not go in four it is somebody else's.
DRAIN_S = 1.0
DRAIN_LASTS_S = 4.0
DRAIN_PART_MIN = 0.5
# Among others in one queue a probe shows more than this flow's share, the less so the more it has: two with
# half each see 1.27 times that. On a path that was full a short while ago only more than this is a path
# that has become wider.
RISEN_FACTOR = 1.5
FULL_REMEMBERED_S = 15.0
# And only when the next probe shows it again: the others may have paused between two pictures.
CONFIRM_S = 3.0
# Where that was wrong nonetheless, probes are no witnesses for so long.
DISTRUST_S = 6.0
# Right after a raise pictures are larger, and their last packets come later for that alone: a step in delay
# of no more than this, and no queue that grows.
STEP_S = 0.025
# The mean of what arrives is that much behind what is sent.
LAG_S = 0.5
# A queue that stands this long makes every loss a suspect.
QUEUEING_S = 0.1
# Unless it has neither grown nor gone for so long: then the path has become longer.
QUEUE_FORGIVEN_S = 10.0
# Where it stands and so much more is lost than the path loses by nature, it is full and need not grow to show
# it.
FULL_LOSS = 0.1

# Browsers send feedback at least every 250 ms: twice that beyond a round trip without any is an interruption.
# While it lasts only what costs little goes out: half as much each time as long.
SILENCE_S = 0.5
RTT_START_S = 0.2
RTT_STEP = 0.1
# When the path is back it may be another one: half of what was known, and a probe for the whole.
RETURN_PART = 0.5

# A packet that waits less than this on a path without losses is no sign of anything: less than two thirds of
# what the trendline begins to take for a growing queue, and what busy receivers add by themselves.
CALM_WAIT_S = 0.008
CALM_PIECE_S = 0.05


class History(Protocol):
    """What was sent on the path, and what is not yet told of it."""

    @property
    def oldest_in_flight_at(self) -> float | None:
        """When the first packet was sent that no feedback reaches yet; None when there is no such one."""

    def match(self, feedback: TransportFeedback) -> list[PacketResult]:
        """Return what is new in a feedback, by ascending number; numbers never sent are passed over."""


class Passage(NamedTuple):
    """One packet's time of sending, and of arrival by the receiver's clock."""

    sent_at: float
    received_at: float


class Plan(NamedTuple):
    """What is to be sent from now on."""

    target_bps: float
    probes: list[Probe]


class Estimator:
    """Send-side bandwidth estimation of one path."""

    __slots__ = (
        "_acknowledged",
        "_aimd",
        "_before_raise_bps",
        "_ceiling_bps",
        "_competition",
        "_distrust_until",
        "_drain_until",
        "_drained_part",
        "_floor_bps",
        "_groups",
        "_history",
        "_idle",
        "_interrupted_at",
        "_last_feedback_at",
        "_loss",
        "_overused_at",
        "_plan",
        "_probes",
        "_queue",
        "_raised_until",
        "_returned_at",
        "_rtt_s",
        "_shown_at",
        "_started_at",
        "_trendline",
        "wanted_bps",
    )

    def __init__(
        self,
        history: History,
        *,
        start_bps: float = START_BPS,
        floor_bps: float = FLOOR_BPS,
        ceiling_bps: float = CEILING_BPS,
    ) -> None:
        # What could be sent if the path carried it; nothing beyond twice this is tried.
        self.wanted_bps = ceiling_bps
        self._floor_bps = floor_bps
        self._ceiling_bps = ceiling_bps
        self._history = history
        self._groups = ArrivalGroups()
        self._trendline = Trendline()
        self._queue = QueueDelay()
        self._acknowledged = AcknowledgedRate()
        self._aimd = AimdRate(start_bps, floor_bps=floor_bps)
        self._loss = LossLimit()
        self._competition = Competition()
        self._idle = IdleDetector()
        self._plan = ProbePlan()
        self._probes = ProbeResults()
        self._rtt_s: float | None = None
        self._started_at: float | None = None
        self._overused_at: float | None = None
        self._drain_until = 0.0
        self._drained_part = 1.0
        # Until then what arrives was sent before the rate was raised.
        self._raised_until = 0.0
        self._before_raise_bps = 0.0
        self._distrust_until = 0.0
        # When a probe last showed a wider path that a second one has yet to confirm.
        self._shown_at = float("-inf")
        self._last_feedback_at: float | None = None
        self._interrupted_at: float | None = None
        # What was sent before this says nothing about loss: the path was interrupted.
        self._returned_at = 0.0

    @property
    def estimate_bps(self) -> float:
        """What the path is held to carry, whatever is to be sent just now."""
        limit_bps = None if self._competition.is_on else self._loss.bps
        bps = self._aimd.bps if limit_bps is None else min(self._aimd.bps, limit_bps)
        return min(max(bps, self._floor_bps), self._ceiling_bps)

    @property
    def acknowledged_bps(self) -> float | None:
        """What arrives; None before there is enough of it."""
        return self._acknowledged.bps

    @property
    def loss(self) -> float:
        """The fraction of packets lost in the last seconds, 0.0 to 1.0."""
        return self._loss.loss

    @property
    def inherent_loss(self) -> float:
        """The part of it that does not go away when less is sent."""
        return self._loss.inherent_loss

    @property
    def queue_delay_s(self) -> float:
        """How long packets wait on the path beyond its shortest time."""
        return self._queue.s

    @property
    def is_idle(self) -> bool:
        """Less is sent than may be."""
        return self._idle.is_idle

    @property
    def is_interrupted(self) -> bool:
        """Nothing has come back for longer than a round trip can take."""
        return self._interrupted_at is not None

    @property
    def rtt_s(self) -> float:
        """The round trip, by reports or by feedback."""
        return RTT_START_S if self._rtt_s is None else self._rtt_s

    def rtt(self, rtt_s: float) -> None:
        """Take a round trip that was measured (RFC 3550, 6.4.1)."""
        if 0.0 <= rtt_s <= AGE_MAX_S:
            self._rtt_s = rtt_s if self._rtt_s is None else self._rtt_s + RTT_STEP * (rtt_s - self._rtt_s)
            self._aimd.rtt_s = self._rtt_s

    def probing(self, probe: Probe) -> None:
        """The packets of a probe are going out."""
        self._probes.expect(probe)

    def sent(self, size_bytes: int, now: float) -> None:
        """Note how much has gone out: one packet, or what has since the last time."""
        if self._started_at is None:
            self._started_at = now
        was_idle = self._idle.is_idle
        self._idle.sent(size_bytes, self.estimate_bps, now)
        if was_idle and not self._idle.is_idle:
            self._acknowledged.expect_change()

    def feedback(self, feedback: TransportFeedback, now: float) -> None:
        """Take what the receiver tells."""
        # Before the report lets it be forgotten.
        self._note_silence(now)
        results = self._history.match(feedback)
        if not results:
            return
        received = [result for result in results if result.received_at is not None]
        if not received:
            # A long interruption is told in more than one report, the first of which name nothing that came.
            if self._interrupted_at is None:
                self._count_losses(results)
            return
        self._last_feedback_at = now
        self._measure_rtt(received, now)
        if self._interrupted_at is not None:
            self._return(now)
        self._count_losses(results)
        received.sort(key=lambda result: (result.received_at or 0.0, result.packet.number))
        probed_bps = self._take_arrivals(received, now)
        excess = 1.0 - len(received) / len(results) - self._loss.inherent_loss
        has_lost = excess > LOSS_BEYOND_INHERENT
        if self._loss.loss < self._loss.inherent_loss + LOSS_JUDGED:
            self._queue.forgive_steady(now)
        usage = self._usage(now)
        if excess > FULL_LOSS and self._queue.s > QUEUEING_S:
            usage = Usage.OVERUSE
        before_bps = self.estimate_bps
        if has_lost:
            self._competition.lost(now)
        if self._competition.is_on:
            self._compete(has_lost, now)
            return
        if self._aimd.update(usage, self._arriving_bps(usage, now), now):
            self._drain_until = now + DRAIN_LASTS_S
            self._competition.cut(now)
        if usage is Usage.OVERUSE:
            self._plan.fell(before_bps, now)
            self._overused_at = now
        elif probed_bps is not None:
            self._probed(probed_bps, now)

    def is_calm(self, last: Passage, now: float) -> bool:
        """Tell whether a report without losses, whose last packet that is, may be taken with others as one.

        Not where anything is under way that looks at single packets, or has to: then `feedback` does.
        """
        return (
            self._interrupted_at is None
            and self._last_feedback_at is not None
            and now - self._last_feedback_at < SILENCE_S
            and self._trendline.usage is Usage.NORMAL
            and self._loss.bps is None
            and not self._competition.is_on
            and self._queue.waited_s(last.sent_at, last.received_at) < CALM_WAIT_S
        )

    def calm_feedback(self, packets: int, size_bytes: int, first: Passage, last: Passage, now: float) -> None:
        """Take reports that `is_calm` has found to be calm: so many packets in order, all of which came.

        `now` is when the last of them was heard.
        """
        self._last_feedback_at = now
        self.rtt(now - last.sent_at)
        # Spread evenly, as both measure rates by when what they are given was sent or came.
        pieces = min(1 + int((last.received_at - first.received_at) / CALM_PIECE_S), packets)
        for piece in range(1, pieces + 1):
            part = piece / pieces
            self._loss.add_received(
                first.sent_at + part * (last.sent_at - first.sent_at),
                packets * piece // pieces - packets * (piece - 1) // pieces,
                size_bytes // pieces,
                bps=self._aimd.bps,
            )
            received_at = first.received_at + part * (last.received_at - first.received_at)
            self._acknowledged.add(size_bytes // pieces, received_at)
        shortest_s = min(self._queue.add(*first), self._queue.add(*last))
        self._competition.waited(shortest_s, now)
        # The last ones of two reports stand for what lies between.
        delta = self._groups.add(*last)
        if delta is not None:
            self._trendline.update(*delta)
        self._aimd.update(Usage.NORMAL, self._acknowledged.bps, now)

    def tick(self, now: float) -> Plan:
        """Return what may be sent, and the probes that are due; to be asked every few milliseconds."""
        self._note_silence(now)
        if self._interrupted_at is not None:
            silences = 1 + int((now - self._interrupted_at) / SILENCE_S)
            return Plan(max(self.estimate_bps * 0.5 ** min(silences, 32), self._floor_bps), [])
        estimate_bps = self.estimate_bps
        wanted_bps = min(self.wanted_bps, self._ceiling_bps)
        calm_since = self._overused_at if self._overused_at is not None else self._started_at
        calm_s = 0.0 if calm_since is None else now - calm_since
        if self._queue.s > QUEUEING_S and calm_s < QUEUE_FORGIVEN_S:
            calm_s = 0.0
        probes = self._plan.next(estimate_bps, wanted_bps, calm_s, now)
        return Plan(self._drained(estimate_bps, now), probes)

    def _compete(self, has_lost: bool, now: float) -> None:
        bps = self._competition.next_bps(
            self._aimd.bps, has_lost=has_lost, loss=self._loss.loss, rtt_s=self.rtt_s, now=now
        )
        self._aimd.set(bps, now)
        self._overused_at = now

    def _usage(self, now: float) -> Usage:
        usage = self._trendline.usage
        is_step = now < self._raised_until and self._queue.s < STEP_S
        return Usage.NORMAL if usage is Usage.OVERUSE and is_step else usage

    def _arriving_bps(self, usage: Usage, now: float) -> float | None:
        """Return what arrives, and in a full path what would arrive of the estimate if it were sent."""
        bps, recent_bps = self._acknowledged.bps, self._acknowledged.recent_bps
        if usage is not Usage.OVERUSE or bps is None or recent_bps is None:
            return bps
        if now < self._raised_until:
            # What the probe saw is not there: other flows had paused for just that moment.
            self._distrust_until = now + DISTRUST_S
            return min(self._aimd.bps, self._before_raise_bps)
        # A burst of others holds back what arrives for a moment: only when the queue goes on growing after a
        # cut is what came last what the path carries.
        is_again = self._overused_at is not None and now - self._overused_at < self.rtt_s + LAG_S
        arriving_bps = recent_bps if is_again else max(bps, recent_bps)
        if now < self._drain_until + self.rtt_s + LAG_S:
            arriving_bps = max(arriving_bps, min(arriving_bps / self._drained_part, self._aimd.bps))
        return arriving_bps

    def _drained(self, bps: float, now: float) -> float:
        if self._competition.is_on:
            return max(self._competition.part(now) * bps, self._floor_bps)
        if now >= self._drain_until:
            return bps
        queued_bps = self._queue.s * (self._acknowledged.recent_bps or bps) / DRAIN_S
        self._drained_part = max(1.0 - queued_bps / bps, DRAIN_PART_MIN)
        return max(self._drained_part * bps, self._floor_bps)

    def _measure_rtt(self, received: list[PacketResult], now: float) -> None:
        # The newest packet waited least for the feedback.
        self.rtt(now - max(result.packet.sent_at for result in received))

    def _count_losses(self, results: list[PacketResult]) -> None:
        bps = self._aimd.bps
        is_queueing = self._queue.s > QUEUEING_S
        for result in results:
            packet = result.packet
            if packet.sent_at < self._returned_at:
                continue
            if result.was_missed:
                self._loss.repaired()
                continue
            self._loss.add(
                packet.sent_at,
                packet.size_bytes,
                is_lost=result.received_at is None,
                bps=bps,
                is_queueing=is_queueing,
            )

    def _take_arrivals(self, received: list[PacketResult], now: float) -> float | None:
        probed_bps = None
        shortest_s = float("inf")
        for result in received:
            packet, received_at = result.packet, result.received_at
            assert received_at is not None
            self._acknowledged.add(packet.size_bytes, received_at)
            shortest_s = min(shortest_s, self._queue.add(packet.sent_at, received_at))
            if packet.probe_id is None:
                delta = self._groups.add(packet.sent_at, received_at)
                if delta is not None:
                    self._trendline.update(*delta)
            else:
                # Sent faster than the path is believed to be: what it queues is the probe's doing, and short.
                probed_bps = self._probes.add(result) or probed_bps
        self._competition.waited(shortest_s, now)
        return probed_bps

    def _probed(self, bps: float, now: float) -> None:
        # What is sent by itself shows that at least as much is carried: less counts only where little is
        # sent.
        was_full = self._overused_at is not None and now - self._overused_at < FULL_REMEMBERED_S
        if was_full and not self._idle.is_idle:
            if bps < RISEN_FACTOR * self._aimd.bps or now < self._distrust_until:
                return
            if now - self._shown_at > CONFIRM_S:
                self._shown_at = now
                self._plan.request(min(bps, NEXT_FACTOR * self._aimd.bps))
                return
        if bps > self._aimd.bps or self._idle.is_idle:
            if bps > self._aimd.bps:
                self._before_raise_bps = self._aimd.bps
                self._raised_until = now + self.rtt_s + LAG_S
                self._acknowledged.expect_change()
            self._aimd.set(bps, now)
            self._aimd.capacity.probed(bps)
        self._plan.measured(bps)

    def _note_silence(self, now: float) -> None:
        oldest = self._history.oldest_in_flight_at
        if self._interrupted_at is not None or oldest is None or self._last_feedback_at is None:
            return
        if now - max(oldest, self._last_feedback_at) > self.rtt_s + SILENCE_S:
            self._interrupted_at = now

    def _return(self, now: float) -> None:
        """The path is back: nothing that was lost meanwhile was too much."""
        before_bps = self._aimd.bps
        self._interrupted_at = None
        self._returned_at = now
        self._loss.skip()
        self._groups.reset()
        self._trendline.reset()
        self._queue.reset()
        self._aimd.set(RETURN_PART * before_bps, now)
        self._plan.request(before_bps)
