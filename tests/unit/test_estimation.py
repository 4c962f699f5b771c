"""The parts of send-side bandwidth estimation, each by itself, in virtual time."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.estimation import history
from bridge.estimation.acknowledged import AcknowledgedRate
from bridge.estimation.aimd import DECREASE, AimdRate
from bridge.estimation.alr import IdleDetector
from bridge.estimation.capacity import LinkCapacity
from bridge.estimation.competition import ASIDE_EVERY_S, ASIDE_PART, LOSS_DECREASE, Competition
from bridge.estimation.groups import ArrivalGroups
from bridge.estimation.history import PacketResult, SentHistory, SentPacket
from bridge.estimation.loss import LossLimit
from bridge.estimation.measuring import CLUSTERS_MAX, ProbeResults
from bridge.estimation.probing import Probe, ProbePlan
from bridge.estimation.queueing import QueueDelay
from bridge.estimation.trendline import Trendline, Usage
from bridge.rtp.rtcp import TransportFeedback


def feedback(base: int, *deltas_us: int | None, reference: int = 0) -> TransportFeedback:
    statuses = tuple(((base + position) & 0xFFFF, delta) for position, delta in enumerate(deltas_us))
    return TransportFeedback(1, 2, base, reference, 0, statuses)


class TestSentHistory:
    def test_arrivals_are_told_of_what_was_sent(self) -> None:
        sent = SentHistory()
        for number in range(3):
            sent.sent((65535 + number) & 0xFFFF, 1000 + number, 10.0 + number)
        results = sent.match(feedback(65535, 1000, None, 2000, reference=5))
        assert [result.packet.size_bytes for result in results] == [1000, 1001, 1002]
        first, second, third = (result.received_at for result in results)
        assert second is None
        assert first is not None
        assert third is not None
        # Counted from any origin: only differences mean something.
        assert first % 0.064 == pytest.approx(0.001, abs=1e-6)
        assert third - first == pytest.approx(0.002, abs=1e-6)

    def test_packet_called_lost_may_still_come(self) -> None:
        sent = SentHistory()
        for number in range(3):
            sent.sent(number, 1000, 0.0)
        missed, _ = sent.match(feedback(0, None, 250))
        assert missed.received_at is None
        (result,) = sent.match(feedback(0, 250))
        assert result.was_missed
        assert result.received_at is not None

    def test_feedback_that_comes_twice_counts_once(self) -> None:
        sent = SentHistory()
        sent.sent(0, 1000, 0.0)
        sent.sent(1, 1000, 0.0)
        told = feedback(0, None, 250)
        assert len(sent.match(told)) == 2
        assert sent.match(told) == []

    def test_numbers_that_were_never_sent_are_passed_over(self) -> None:
        sent = SentHistory()
        assert sent.match(feedback(7, 250)) == []
        sent.sent(0, 1000, 0.0)
        assert sent.match(feedback(7, 250)) == []

    def test_in_flight_is_what_was_sent_after_the_newest_told_of(self) -> None:
        sent = SentHistory()
        for number in range(4):
            sent.sent(number, 100, float(number))
        assert sent.in_flight_bytes == 400
        sent.match(feedback(1, 250))
        assert sent.in_flight_bytes == 200
        assert sent.oldest_in_flight_at == 2.0

    def test_what_nobody_tells_of_is_forgotten(self) -> None:
        sent = SentHistory()
        for number in range(2 * history.PACKETS_MAX):
            sent.sent(number & 0xFFFF, 100, number * 1e-5)
        assert len(sent) == history.PACKETS_MAX
        assert sent.in_flight_bytes == 100 * history.PACKETS_MAX
        sent.sent(0, 100, 1e3)
        assert len(sent) == 1
        assert sent.in_flight_bytes == 100


class TestArrivalGroups:
    def test_step_is_taken_from_burst_to_burst(self) -> None:
        groups = ArrivalGroups()
        steps = []
        for frame in range(3):
            for packet in range(3):
                at = frame * 0.033 + packet * 0.001
                steps.append(groups.add(at, 5.0 + at + 0.010 * frame))
        taken = [step for step in steps if step is not None]
        assert len(taken) == 1
        assert taken[0].send_delta_s == pytest.approx(0.033)
        assert taken[0].arrival_delta_s == pytest.approx(0.043)

    def test_packets_let_out_together_are_one_group(self) -> None:
        groups = ArrivalGroups()
        # Held back on the way for 100 ms, then all within 4 ms.
        for packet in range(5):
            assert groups.add(packet * 0.020, 1.0 + packet * 0.001) is None
        assert groups.add(0.2, 1.2) is None

    def test_overtaken_packet_is_left_out(self) -> None:
        groups = ArrivalGroups()
        groups.add(0.0, 1.0)
        groups.add(0.05, 1.05)
        assert groups.add(0.01, 1.06) is None
        step = groups.add(0.10, 1.10)
        assert step is not None
        assert step.arrival_delta_s == pytest.approx(0.05)

    def test_jump_of_the_receivers_clock_begins_anew(self) -> None:
        groups = ArrivalGroups()
        groups.add(0.0, 1.0)
        groups.add(0.05, 1.05)
        groups.add(0.10, 101.1)
        assert groups.add(0.15, 101.15) is None


def steps(trendline: Trendline, count: int, extra_s: float, start: float = 0.0) -> Usage:
    """Feed groups 33 ms apart that arrive `extra_s` further apart each."""
    arrived_at = start
    for _ in range(count):
        arrived_at += 0.033 + extra_s
        trendline.update(0.033, 0.033 + extra_s, arrived_at)
    return trendline.usage


class TestTrendline:
    def test_steady_delay_is_normal(self) -> None:
        assert steps(Trendline(), 100, 0.0) is Usage.NORMAL

    def test_growing_delay_is_overuse(self) -> None:
        assert steps(Trendline(), 60, 0.004) is Usage.OVERUSE

    def test_falling_delay_is_underuse(self) -> None:
        assert steps(Trendline(), 60, -0.004) is Usage.UNDERUSE

    def test_jitter_without_a_trend_is_not_overuse_for_long(self) -> None:
        trendline, random_ = Trendline(), random.Random(1)
        arrived_at, before, overuses = 0.0, 0.0, 0
        for _ in range(3000):
            jitter = random_.uniform(0.0, 0.020)
            arrived_at += 0.033 + jitter - before
            trendline.update(0.033, 0.033 + jitter - before, arrived_at)
            before = jitter
            overuses += trendline.usage is Usage.OVERUSE
        # The threshold has learnt how much the path wavers.
        assert overuses < 60


class TestAcknowledgedRate:
    def test_steady_rate_is_found(self) -> None:
        rate = AcknowledgedRate()
        for packet in range(500):
            rate.add(1250, packet * 0.01)
        assert rate.bps == pytest.approx(1e6, rel=0.02)
        assert rate.recent_bps == pytest.approx(1e6, rel=0.02)

    def test_fall_shows_in_half_a_second_to_whom_asks_for_the_newest(self) -> None:
        rate = AcknowledgedRate()
        for packet in range(500):
            rate.add(1250, packet * 0.01)
        for packet in range(8):
            rate.add(1250, 5.0 + packet * 0.1)
        assert rate.recent_bps == pytest.approx(1e5, rel=0.1)
        assert rate.bps is not None
        assert rate.bps > 2 * rate.recent_bps

    def test_silence_is_not_a_slow_path(self) -> None:
        rate = AcknowledgedRate()
        for packet in range(500):
            rate.add(1250, packet * 0.01)
        for packet in range(100):
            rate.add(1250, 60.0 + packet * 0.01)
        assert rate.bps == pytest.approx(1e6, rel=0.05)


class TestAimdRate:
    def test_calm_path_grows_by_eight_per_cent_a_second(self) -> None:
        aimd = AimdRate(1e6)
        for tick in range(101):
            aimd.update(Usage.NORMAL, 1e6, tick * 0.1)
        # Bounded by what arrives: 1.5 times, and 10 kbit/s.
        assert aimd.bps == pytest.approx(1.51e6)
        aimd = AimdRate(1e6)
        for tick in range(12):
            aimd.update(Usage.NORMAL, 1e6, tick * 0.1)
        assert aimd.bps == pytest.approx(1.08e6, rel=0.01)

    def test_overuse_cuts_to_part_of_what_arrives(self) -> None:
        aimd = AimdRate(2e6)
        assert aimd.update(Usage.OVERUSE, 1e6, 1.0)
        assert aimd.bps == DECREASE * 1e6
        # What came of that shows only a round trip later.
        assert not aimd.update(Usage.OVERUSE, 0.9e6, 1.05)
        assert aimd.update(Usage.OVERUSE, 0.3e6, 1.10)

    def test_growth_near_what_was_full_is_by_steps(self) -> None:
        aimd = AimdRate(2e6)
        aimd.update(Usage.OVERUSE, 1e6, 1.0)
        aimd.update(Usage.NORMAL, 0.85e6, 1.1)
        before = aimd.bps
        for tick in range(10):
            aimd.update(Usage.NORMAL, 0.85e6, 1.2 + tick * 0.1)
        assert 0.0 < aimd.bps - before < 0.06 * before

    def test_nothing_known_of_arrivals_halves(self) -> None:
        aimd = AimdRate(1e6)
        aimd.update(Usage.OVERUSE, None, 1.0)
        assert aimd.bps == 5e5


def test_capacity_knows_how_far_is_near() -> None:
    capacity = LinkCapacity()
    assert capacity.upper_bps == math.inf
    for _ in range(20):
        capacity.overused(1e6)
    assert capacity.bps == pytest.approx(1e6)
    assert 0.9e6 < capacity.lower_bps < 1e6 < capacity.upper_bps < 1.1e6


def lose(limit: LossLimit, rate_of: float, lossy: object, seconds: float, start: float, bps: float) -> float:
    """Send for a while at the smaller of the limit and `rate_of`; `lossy(rate)` is the chance of loss."""
    assert callable(lossy)
    random_ = random.Random(start)
    at = start
    while at < start + seconds:
        rate = min(limit.bps or rate_of, rate_of)
        is_lost = random_.random() < lossy(rate)
        limit.add(at, 1200, is_lost=is_lost, bps=bps, is_queueing=False)
        at += 1200 * 8 / rate
    return at


class TestLossLimit:
    @pytest.mark.parametrize("part", [0.05, 0.1, 0.2, 0.3])
    def test_loss_that_does_not_depend_on_the_rate_is_no_limit(self, part: float) -> None:
        limit = LossLimit()
        at = lose(limit, 2e6, lambda rate: part, 8.0, 0.0, 2e6)
        assert limit.inherent_loss == pytest.approx(part, abs=0.06)
        held = []
        for _ in range(40):
            at = lose(limit, 2e6, lambda rate: part, 0.5, at, 2e6)
            held.append(2e6 if limit.bps is None else limit.bps)
        assert sum(held) / len(held) > 0.8 * 2e6

    def test_path_that_drops_what_is_beyond_its_rate_is_held_to_it(self) -> None:
        limit = LossLimit()
        at = lose(limit, 2e6, lambda rate: max(1 - 1e6 / rate, 0.0), 10.0, 0.0, 2e6)
        rates = []
        for _ in range(40):
            at = lose(limit, 2e6, lambda rate: max(1 - 1e6 / rate, 0.0), 0.5, at, 2e6)
            rates.append(limit.bps or 2e6)
        assert 0.85e6 < sum(rates) / len(rates) < 1.25e6

    def test_limit_goes_when_the_loss_does(self) -> None:
        limit = LossLimit()
        at = lose(limit, 2e6, lambda rate: max(1 - 5e5 / rate, 0.0), 10.0, 0.0, 2e6)
        assert limit.bps is not None
        lose(limit, 2e6, lambda rate: 0.0, 15.0, at, 2e6)
        assert limit.bps is None
        assert limit.loss == 0.0

    def test_repaired_packet_is_no_loss(self) -> None:
        limit = LossLimit()
        limit.add(0.0, 1200, is_lost=True, bps=1e6, is_queueing=False)
        limit.repaired()
        for packet in range(1, 40):
            limit.add(packet * 0.01, 1200, is_lost=False, bps=1e6, is_queueing=False)
        assert limit.loss == 0.0


def test_queue_is_the_delay_beyond_the_shortest() -> None:
    queue = QueueDelay()
    # The receiver's clock is a thousand seconds ahead.
    for packet in range(50):
        queue.add(packet * 0.02, 1000.05 + packet * 0.02)
    assert queue.s == pytest.approx(0.0, abs=1e-9)
    for packet in range(50, 80):
        queue.add(packet * 0.02, 1000.25 + packet * 0.02)
    assert queue.s == pytest.approx(0.2, rel=0.01)


class TestIdleDetector:
    def test_little_is_idle_and_much_is_not(self) -> None:
        idle = IdleDetector()
        for packet in range(100):
            idle.sent(250, 1e6, packet * 0.02)
        assert idle.is_idle
        for packet in range(100):
            idle.sent(2500, 1e6, 2.0 + packet * 0.02)
        assert not idle.is_idle


class TestProbePlan:
    def test_start_tries_three_and_six_times(self) -> None:
        plan = ProbePlan()
        assert [probe.bps for probe in plan.next(3e5, 5e6, 0.0, 0.0)] == [9e5, 1.8e6]
        assert plan.next(3e5, 5e6, 0.0, 0.1) == []

    def test_success_is_asked_for_twice_more_until_nobody_wants_it(self) -> None:
        plan = ProbePlan()
        plan.next(3e5, 2e6, 0.0, 0.0)
        plan.measured(1.8e6)
        (probe,) = plan.next(1.8e6, 2e6, 0.0, 0.3)
        assert probe.bps == 3.6e6
        plan.measured(3.6e6)
        assert [probe.bps for probe in plan.next(3.6e6, 2e6, 0.0, 0.6)] == []

    def test_whoever_is_held_back_on_a_calm_path_tries_twice_as_much(self) -> None:
        plan = ProbePlan()
        plan.next(3e5, 5e6, 0.0, 0.0)
        assert plan.next(5e5, 5e6, 1.0, 6.0) == []
        (probe,) = plan.next(5e5, 5e6, 10.0, 8.0)
        assert probe.bps == 1e6
        assert plan.next(5e5, 5e6, 20.0, 9.0) == []

    def test_whoever_has_enough_tries_nothing(self) -> None:
        plan = ProbePlan()
        plan.next(3e5, 5e6, 0.0, 0.0)
        assert plan.next(5e6, 5e6, 100.0, 100.0) == []

    def test_rate_lost_to_a_passing_burst_is_tried_again(self) -> None:
        plan = ProbePlan()
        plan.next(3e5, 5e6, 0.0, 0.0)
        plan.fell(2e6, 10.0)
        (probe,) = plan.next(1e6, 5e6, 1.5, 12.0)
        assert probe.bps == 1.7e6

    def test_rate_of_a_path_that_is_gone_is_not(self) -> None:
        plan = ProbePlan()
        plan.next(3e5, 5e6, 0.0, 0.0)
        plan.fell(4e6, 10.0)
        assert plan.next(1e5, 5e6, 1.5, 12.0) == []


def probe_packets(sent_step_s: float, received_step_s: float, count: int = 6) -> list[PacketResult]:
    return [
        PacketResult(SentPacket(n, 1000, n * sent_step_s, 7), 50.0 + n * received_step_s, False)
        for n in range(count)
    ]


class TestProbeResults:
    def measure(self, results: list[PacketResult]) -> float | None:
        probes = ProbeResults()
        probes.expect(Probe(7, 2e6, 6000, 6))
        rates = [probes.add(result) for result in results]
        return rates[-1]

    def test_path_that_carries_the_probe_shows_its_rate(self) -> None:
        assert self.measure(probe_packets(0.004, 0.004)) == pytest.approx(2e6)

    def test_path_that_is_slower_shows_a_little_less_than_its_own(self) -> None:
        assert self.measure(probe_packets(0.002, 0.004)) == pytest.approx(0.95 * 2e6)

    def test_packets_that_arrive_all_at_once_show_nothing(self) -> None:
        assert self.measure(probe_packets(0.004, 0.0001)) is None

    def test_too_few_of_it_show_nothing(self) -> None:
        assert self.measure(probe_packets(0.004, 0.004, 3)) is None

    def test_only_the_newest_probes_are_kept(self) -> None:
        probes = ProbeResults()
        for number in range(100):
            probes.expect(Probe(number, 2e6, 5000))
        assert len(probes._clusters) == CLUSTERS_MAX


class TestCompetition:
    def test_queue_that_stands_after_a_cut_and_overflows_is_somebody_elses(self) -> None:
        competition = Competition()
        for tick in range(80):
            now = tick * 0.1
            if tick == 10:
                competition.cut(now)
            if tick == 60:
                competition.lost(now)
            competition.waited(0.2, now)
        assert competition.is_on
        competition.waited(0.01, 8.1)
        assert not competition.is_on

    def test_queue_that_never_overflows_is_that_of_flows_that_give_way(self) -> None:
        competition = Competition()
        competition.cut(0.5)
        for tick in range(200):
            competition.waited(0.2, tick * 0.1)
        assert not competition.is_on

    def test_it_takes_back_on_loss_grows_without_and_steps_aside(self) -> None:
        competition = Competition()
        competition.cut(0.0)
        for tick in range(60):
            competition.lost(tick * 0.1)
            competition.waited(0.2, tick * 0.1)
        assert competition.is_on
        cut_bps = competition.next_bps(1e6, has_lost=True, loss=0.05, rtt_s=0.3, now=8.0)
        assert cut_bps == pytest.approx(LOSS_DECREASE * 1e6)
        grown_bps = competition.next_bps(1e6, has_lost=False, loss=0.0, rtt_s=0.3, now=9.0)
        assert 1e6 < grown_bps < 1.2e6
        assert competition.part(8.0) == 1.0
        assert competition.part(5.0 + ASIDE_EVERY_S + 0.5) == ASIDE_PART


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 0.1), st.floats(-1e5, 1e5), st.integers(1, 1500)), min_size=1, max_size=60
    )
)
def test_arrivals_at_any_time_leave_finite_values(packets: list[tuple[float, float, int]]) -> None:
    groups, trendline, rate, queue = ArrivalGroups(), Trendline(), AcknowledgedRate(), QueueDelay()
    now = 0.0
    for step_s, arrived_at, size_bytes in packets:
        now += step_s
        rate.add(size_bytes, arrived_at)
        queue.add(now, arrived_at)
        step = groups.add(now, arrived_at)
        if step is not None:
            trendline.update(*step)
    assert math.isfinite(queue.s)
    assert rate.bps is None or 0.0 <= rate.bps < 1e9
