"""Whether what is lost is lost because too much is sent: a limit by loss that random loss does not pull down.

Two explanations are weighed for what was seen in the last seconds: either the path loses a part p of all
packets whatever is sent (radio, a bad cable), or beside that it carries no more than b and drops what is
beyond. At a rate r the second loses p + (1 - p)(r - b)/r. Which of them is likelier shows only when r has
moved: so one that has no past of its own is believed to be congestion, the rate is cut to what arrives, and
when the loss stays as it was, the path is believed to lose by nature, and the cut is taken back. This is
the idea of the loss-based estimator in today's browsers (an inherent loss besides a bandwidth, by maximum
likelihood); the draft's rule (cut at 10 % whatever the cause, draft-ietf-rmcat-gcc-02, 6) ends every
picture on such a line.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

# An observation is what was sent within so long; so many are looked at, each older one weighs less: browsers'
# values. Five seconds in all.
OBSERVATION_S = 0.25
OBSERVATIONS_MAX = 20
AGE_WEIGHT = 0.9
# Fewer packets than this say nothing; their observation goes on.
PACKETS_MIN = 5

# Draft-ietf-rmcat-gcc-02, 6: below 2 % the rate may grow. Above the inherent loss plus 5 % it is weighed
# anew.
LOSS_LOW = 0.02
LOSS_JUDGED = 0.05
# 8 % a second, as by delay; faster when nothing was lost for two seconds: the limit may be far below the
# path's.
GROWTH = 1.02
GROWTH_UNTOUCHED = 1.08
UNTOUCHED_OBSERVATIONS = 8
# One look is not believed to have seen more than this go.
CUT_MAX = 0.5

INHERENT_START = 0.01
INHERENT_MIN = 0.001
# A path that loses half by nature carries no picture whichever it is.
INHERENT_MAX = 0.5
# What was believed of the inherent loss so far weighs as much as this many packets, and as many where the
# path's queue is seen to stand: then it is no time to learn it.
BELIEF_PACKETS = 30.0
BELIEF_PACKETS_QUEUEING = 300.0
# How far the belief follows each observation: within two seconds.
BELIEF_STEP = 0.15
# Losses come in bursts: ten of them in a row are not ten witnesses.
WITNESS_WEIGHT = 0.5
# The line has become another one when three observations lose so much more than those before.
CHANGED_LOSS = 0.2
CHANGED_OBSERVATIONS = 3
NEWTON_STEPS = 4
# A line on which nothing arrived for once is not one of no rate at all.
LIMIT_MIN_BPS = 10_000.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of the packets that were sent within a quarter second."""

    sent_bps: float
    packets: int
    lost: int

    @property
    def received_bps(self) -> float:
        """What of it arrived."""
        return self.sent_bps * (self.packets - self.lost) / self.packets


class LossLimit:
    """The bitrate beyond which one path drops; None while loss is no reason for any."""

    __slots__ = (
        "_bytes",
        "_lost",
        "_observations",
        "_packets",
        "_started_at",
        "bps",
        "inherent_loss",
    )

    def __init__(self) -> None:
        self.bps: float | None = None
        self.inherent_loss = INHERENT_START
        self._observations: deque[Observation] = deque(maxlen=OBSERVATIONS_MAX)
        self._started_at: float | None = None
        self._packets = self._lost = self._bytes = 0

    @property
    def loss(self) -> float:
        """The fraction of packets lost in the last seconds, the newest weighing most."""
        packets = lost = 0.0
        for weight, observation in self._weighted():
            packets += weight * observation.packets
            lost += weight * observation.lost
        return lost / packets if packets else 0.0

    def repaired(self) -> None:
        """A packet that was called lost has come after all."""
        self._lost = max(self._lost - 1, 0)

    def add(self, sent_at: float, size_bytes: int, *, is_lost: bool, bps: float, is_queueing: bool) -> None:
        """Take what became of one packet; `bps` is the rate that is allowed now."""
        self._observe(sent_at, bps, is_queueing=is_queueing)
        self._packets += 1
        self._lost += is_lost
        self._bytes += size_bytes

    def add_received(self, sent_at: float, packets: int, size_bytes: int, *, bps: float) -> None:
        """Take packets that have all come, the last of which was sent then, over a path without a queue."""
        self._observe(sent_at, bps, is_queueing=False)
        self._packets += packets
        self._bytes += size_bytes

    def _observe(self, sent_at: float, bps: float, *, is_queueing: bool) -> None:
        """Close the observation when its time is over."""
        if self._started_at is None or sent_at < self._started_at:
            self._started_at = sent_at
        elapsed_s = sent_at - self._started_at
        if elapsed_s >= OBSERVATION_S and self._packets >= PACKETS_MIN:
            seen = Observation(self._bytes * 8 / elapsed_s, self._packets, min(self._lost, self._packets))
            self._observations.append(seen)
            self._started_at = sent_at
            self._packets = self._lost = self._bytes = 0
            self._judge(bps, is_queueing=is_queueing)

    def skip(self) -> None:
        """What was under way is not to be counted: the path was interrupted."""
        self._observations.clear()
        self._started_at = None
        self._packets = self._lost = self._bytes = 0

    def _weighted(self) -> Iterable[tuple[float, Observation]]:
        weight = 1.0
        for observation in reversed(self._observations):
            yield weight, observation
            weight *= AGE_WEIGHT

    def _judge(self, bps: float, *, is_queueing: bool) -> None:
        self._forget_former_line()
        loss = self.loss
        excess = loss - self.inherent_loss
        if excess > LOSS_JUDGED:
            self._choose(bps, is_queueing=is_queueing)
            return
        if self.bps is not None and excess < LOSS_LOW:
            newest = list(self._observations)[-UNTOUCHED_OBSERVATIONS:]
            is_untouched = sum(one.lost for one in newest) <= LOSS_LOW * sum(one.packets for one in newest)
            self.bps *= GROWTH_UNTOUCHED if is_untouched else GROWTH
            if self.bps > bps:
                # The other limits are lower by now.
                self.bps = None
        if self.bps is None and not is_queueing:
            self._learn(loss)

    def _learn(self, loss: float) -> None:
        believed = self.inherent_loss + BELIEF_STEP * (loss - self.inherent_loss)
        self.inherent_loss = min(max(believed, INHERENT_MIN), INHERENT_MAX)

    def _forget_former_line(self) -> None:
        observations = self._observations
        if len(observations) <= CHANGED_OBSERVATIONS:
            return
        newest = list(observations)[-CHANGED_OBSERVATIONS:]
        least = min(one.lost / one.packets for one in newest)
        before = list(observations)[:-CHANGED_OBSERVATIONS]
        packets = sum(one.packets for one in before)
        if least > sum(one.lost for one in before) / packets + CHANGED_LOSS:
            observations.clear()
            observations.extend(newest)

    def _choose(self, bps: float, *, is_queueing: bool) -> None:
        """Take the likelier explanation: one of some limits, or none."""
        belief = BELIEF_PACKETS_QUEUEING if is_queueing else BELIEF_PACKETS
        weighted = [(WITNESS_WEIGHT * weight, one) for weight, one in self._weighted()]
        received_bps = sum(one.received_bps for one in list(self._observations)[-2:]) / min(
            2, len(self._observations)
        )
        limit_bps = bps if self.bps is None else min(self.bps, bps)
        received_bps = max(received_bps, CUT_MAX * limit_bps, LIMIT_MIN_BPS)
        candidates = {min(received_bps, bps)}
        if self.bps is not None:
            candidates |= {self.bps, self.bps * GROWTH, max(self.bps * 0.95, min(received_bps, self.bps))}
        best: float | None = None
        inherent, likelihood = _explain(weighted, math.inf, self.inherent_loss, belief)
        for limit_bps in candidates:
            loss, value = _explain(weighted, limit_bps, self.inherent_loss, belief)
            if value > likelihood:
                best, inherent, likelihood = limit_bps, loss, value
        self.bps = best
        if best is None or not is_queueing:
            self._learn(inherent)


def _explain(
    weighted: list[tuple[float, Observation]], limit_bps: float, believed: float, belief: float
) -> tuple[float, float]:
    """Return the likeliest inherent loss if the path carries `limit_bps`, and the logarithm of how likely.

    The logarithm is concave in it, so a few of Newton's steps find the top.
    """
    terms = [
        (weight * one.lost, weight * (one.packets - one.lost), max(1.0 - limit_bps / one.sent_bps, 0.0))
        for weight, one in weighted
    ]
    # The belief is as if so many packets had been seen to be lost, and not, without any limit.
    terms.append((belief * believed, belief * (1.0 - believed), 0.0))
    received = sum(term[1] for term in terms)
    loss = believed
    for _ in range(NEWTON_STEPS):
        # With x beyond the limit q = p + (1 - p) x, of which the derivative is 1 - x.
        slope = -received / (1.0 - loss)
        curve = -received / (1.0 - loss) ** 2
        for lost, _, beyond in terms:
            if lost:
                ratio = (1.0 - beyond) / (loss + (1.0 - loss) * beyond)
                slope += lost * ratio
                curve -= lost * ratio * ratio
        loss = min(max(loss - slope / curve, INHERENT_MIN), INHERENT_MAX)
    value = received * math.log(1.0 - loss)
    for lost, got, beyond in terms:
        if lost:
            value += lost * math.log(loss + (1.0 - loss) * beyond)
        if beyond:
            value += got * math.log(1.0 - beyond)
    return loss, value
