"""The estimator as a whole: what it says about any path, and that no feedback leads it out of its bounds."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks.clock import Clock
from benchmarks.networks.flow import EstimatedFlow
from benchmarks.networks.line import Line, Outages, Schedule
from benchmarks.networks.source import Encoder
from bridge.estimation.aimd import CEILING_BPS, FLOOR_BPS
from bridge.estimation.estimator import Estimator
from bridge.estimation.history import PACKETS_MAX, SentHistory
from bridge.estimation.measuring import CLUSTERS_MAX
from bridge.rtp.rtcp import TransportFeedback, parse_rtcp


def is_sound(estimator: Estimator, history: SentHistory, now: float) -> bool:
    """Tell whether all that the estimator says is within its bounds, and what it keeps as well."""
    plan = estimator.tick(now)
    rates = [plan.target_bps, estimator.estimate_bps, *(probe.bps for probe in plan.probes)]
    return (
        all(math.isfinite(rate) for rate in rates)
        and FLOOR_BPS <= plan.target_bps <= CEILING_BPS
        and FLOOR_BPS <= estimator.estimate_bps <= CEILING_BPS
        and all(probe.bps <= 2 * CEILING_BPS for probe in plan.probes)
        and 0.0 <= estimator.loss <= 1.0
        and math.isfinite(estimator.queue_delay_s)
        and math.isfinite(estimator.rtt_s)
        and len(history) <= PACKETS_MAX
        and len(estimator._probes._clusters) <= CLUSTERS_MAX
    )


def torment(random_: random.Random, rounds: int) -> int:
    """Send packets and answer with feedback of random numbers and times; return how many packets matched."""
    history = SentHistory()
    estimator = Estimator(history)
    now = 1000.0
    number = random_.randrange(1 << 16)
    matched = 0
    for _ in range(rounds):
        for _ in range(random_.randrange(6)):
            size_bytes = random_.randrange(1500)
            history.sent(number, size_bytes, now, random_.choice((None, None, 1, 2)))
            estimator.sent(size_bytes, now)
            number = (number + 1) & 0xFFFF
            now += random_.choice((0.0, 0.001, 0.02))
        count = random_.randrange(1, 12)
        base = number - random_.randrange(30) if random_.random() < 0.9 else random_.randrange(1 << 16)
        ticks = (None, 0, 4, 40, random_.randrange(-0x8000, 0x8000))
        statuses = tuple(
            ((base + n) & 0xFFFF, None if (t := random_.choice(ticks)) is None else 250 * t)
            for n in range(count)
        )
        reference = int(now / 0.064) if random_.random() < 0.9 else random_.randrange(-0x800000, 0x800000)
        reference = (reference + 0x800000) % 0x1000000 - 0x800000
        feedback = TransportFeedback(1, 2, base & 0xFFFF, reference, 0, statuses)
        before = len(history)
        # By way of its bytes, as it would come.
        for packet in parse_rtcp(feedback.pack())[0]:
            assert isinstance(packet, TransportFeedback)
            estimator.feedback(packet, now)
        matched += before - len(history)
        now += random_.choice((0.0, 0.05, 0.1, 0.1, 2.0))
        assert is_sound(estimator, history, now)
        for probe in estimator.tick(now).probes:
            estimator.probing(probe)
    return matched


def test_random_feedback_leads_nowhere_out_of_bounds() -> None:
    assert torment(random.Random(8), 3_000) > 3_000


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 32))
def test_feedback_of_any_seed_leads_nowhere_out_of_bounds(seed: int) -> None:
    torment(random.Random(seed), 60)


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_round_trip_that_cannot_be_is_not_believed(rtt_s: float) -> None:
    estimator = Estimator(SentHistory())
    estimator.rtt(rtt_s)
    assert 0.0 <= estimator.rtt_s <= 10.0


def call(rate: list[tuple[float, float]], end_s: float, **line: object) -> EstimatedFlow:
    clock = Clock()
    flow = EstimatedFlow(clock, Line(clock, Schedule(rate), **line), Encoder(20e6))  # type: ignore[arg-type]
    clock.run(end_s)
    return flow


def test_wide_path_is_known_within_two_seconds() -> None:
    flow = call([(0.0, 5e6)], 2.0)
    assert flow.estimator.estimate_bps > 3e6


def test_nothing_grows_while_the_path_is_interrupted_and_it_is_back_at_once() -> None:
    flow = call([(0.0, 4e6)], 14.0, losses=[Outages([(10.0, 13.0)])])
    before_bps = flow.tally.target_at(9.9)
    assert flow.tally.target_at(12.9) < before_bps / 8
    assert flow.estimator.estimate_bps > 0.4 * before_bps


def test_estimate_stays_below_what_anybody_wants_twice_over() -> None:
    clock = Clock()
    source = Encoder(5e5)
    flow = EstimatedFlow(clock, Line(clock, Schedule([(0.0, 50e6)])), source)
    clock.run(10.0)
    assert flow.estimator.is_idle
    assert source.max_bps < flow.estimator.estimate_bps <= 2 * source.max_bps
