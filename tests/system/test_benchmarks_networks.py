"""Floors of the scorecard, in virtual time: what the estimator must reach on lines that are known."""

import random

import pytest

from benchmarks.networks.cases import CASES, Case, Run, Shape, run
from benchmarks.networks.clock import Clock
from benchmarks.networks.flow import EstimatedFlow
from benchmarks.networks.line import GilbertLoss, Line, RandomLoss, Schedule
from benchmarks.networks.remb_flow import RembFlow
from benchmarks.networks.score import jain, score

BY_NAME = {case.name: case for case in CASES}


def media_bps(run_: Run, start_s: float, end_s: float) -> float:
    return sum(flow.tally.rate_bps(start_s, end_s) for flow in run_.flows)


def shortened(name: str, duration_s: float, settled_s: float) -> Case:
    """Return a case of the scorecard that ends earlier."""
    case = BY_NAME[name]
    fields = {field: getattr(case, field) for field in case.__dataclass_fields__}
    return Case(**{**fields, "duration_s": duration_s, "settled_s": settled_s})


class TestFloors:
    """The first four are the floors that another project publishes for its own estimator."""

    def test_ten_megabits_carry_five_after_twenty_seconds(self) -> None:
        done = run(shortened("10 Mbit/s", 22.0, 10.0), EstimatedFlow)
        assert media_bps(done, 20.0, 22.0) >= 5e6

    def test_narrow_line_with_jitter_carries_five_eighths_after_five_seconds(self) -> None:
        done = run(shortened("800 k, 20 ms jitter", 15.0, 5.0), EstimatedFlow)
        assert media_bps(done, 5.0, 15.0) >= 5e5

    def test_path_recovers_to_three_megabits_within_forty_seconds(self) -> None:
        done = run(BY_NAME["4 M to 100 k and back"], EstimatedFlow)
        assert max(media_bps(done, at, at + 1.0) for at in range(40, 59)) >= 3e6

    @pytest.mark.parametrize(
        "name", ["5 M, 10 % random loss", "5 M, 20 % random loss", "5 M, 10 % in bursts"]
    )
    def test_loss_does_not_end_the_picture(self, name: str) -> None:
        done = run(shortened(name, 20.0, 8.0), EstimatedFlow)
        assert media_bps(done, 8.0, 20.0) >= 1e6

    def test_one_flow_uses_its_line_without_delaying_itself(self) -> None:
        found = score(run(BY_NAME["RFC 8867 5.1 one flow"], EstimatedFlow))
        assert found.utilisation >= 0.8
        assert found.p95_wait_s <= 0.15

    def test_three_flows_share_alike(self) -> None:
        found = score(run(BY_NAME["RFC 8867 5.4 three flows"], EstimatedFlow))
        assert found.jain is not None
        assert found.jain >= 0.9

    def test_beside_a_long_download_neither_starves(self) -> None:
        found = score(run(shortened("RFC 8867 5.6 one long TCP", 90.0, 20.0), EstimatedFlow))
        assert found.media_share is not None
        assert 0.25 <= found.media_share <= 0.75

    def test_fall_is_followed_and_a_rise_is_found(self) -> None:
        done = run(BY_NAME["4 M to 500 k and back"], EstimatedFlow)
        found = score(done)
        assert found.queue_back_s is not None
        assert found.queue_back_s <= 2.0
        assert found.rise_s is not None
        assert found.rise_s <= 10.0
        # Voice is never held back by pictures for longer than the queue's first overflow.
        assert done.flows[0].voice.wait_s(22.0, 40.0) < 0.2

    def test_highest_step_of_a_ladder_is_back_within_ten_seconds(self) -> None:
        found = score(run(BY_NAME["ladder, 600 k to 4 M"], EstimatedFlow))
        assert found.rise_s is not None
        assert found.rise_s <= 10.0

    def test_satellite_is_used(self) -> None:
        found = score(run(BY_NAME["GEO satellite"], EstimatedFlow))
        assert found.utilisation >= 0.7
        assert found.p95_wait_s <= 0.15

    def test_one_gap_is_no_collapse(self) -> None:
        done = run(shortened("Starlink", 32.0, 14.0), EstimatedFlow)
        for gap in (15.0, 30.0):
            before = media_bps(done, gap - 2.0, gap)
            assert min(media_bps(done, gap + 0.5, gap + 1.5), before) >= 0.5 * before


def test_floors_tell_estimators_apart() -> None:
    """By REMB and loss alone random loss leaves little: a floor that everybody passes holds nothing."""
    done = run(shortened("5 M, 20 % random loss", 30.0, 20.0), RembFlow)
    assert media_bps(done, 20.0, 30.0) < 0.7e6


def test_two_runs_are_equal() -> None:
    case = Case("short", [(0.0, 1e6)], 5.0, flows=(Shape(), Shape()), jitter_s=0.005)
    first, second = (run(case, EstimatedFlow) for _ in range(2))
    assert [flow.tally.waits for flow in first.flows] == [flow.tally.waits for flow in second.flows]


def test_line_takes_the_time_of_its_rate_and_drops_what_does_not_fit() -> None:
    clock = Clock()
    line = Line(clock, Schedule([(0.0, 1e5), (1.0, 0.0), (2.0, 1e6)]), queue_s=2.0)
    arrivals: list[tuple[float, float]] = []
    for _ in range(3):
        assert line.send(5000, 0.0, lambda wait_s: arrivals.append((clock.now, wait_s))) is None
    clock.run(10.0)
    # 40,000 bits each: two before the rate is gone, the rest of the third when it is back tenfold.
    assert [at for at, _ in arrivals] == pytest.approx([0.45, 0.85, 2.07])
    line = Line(clock, Schedule([(0.0, 1e5)]), queue_s=0.3)
    assert [line.send(1250, 0.0, lambda wait_s: None) for _ in range(6)][-2:] == ["queue", "queue"]


def test_losses_have_the_part_they_are_named_for() -> None:
    count = 20_000
    assert sum(map(RandomLoss(0.1, random.Random(1)), [0.0] * count)) / count == pytest.approx(0.1, abs=0.01)
    bursts = list(map(GilbertLoss(0.1, 4.0, random.Random(1)), [0.0] * count))
    assert sum(bursts) / count == pytest.approx(0.1, abs=0.02)
    starts = sum(bad and not before for before, bad in zip([False, *bursts], bursts, strict=False))
    assert sum(bursts) / starts == pytest.approx(4.0, rel=0.1)


def test_fairness_index() -> None:
    assert jain([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0]) == pytest.approx(1 / 3)
