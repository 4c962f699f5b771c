from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.bandwidth import CEILING_BPS, FLOOR_BPS, GROWTH_MAX_S, DownlinkEstimate


def test_the_start_is_optimistic() -> None:
    assert DownlinkEstimate().available_bps(0.0) == 2_500_000


def test_a_path_that_was_too_narrow_once_is_tried_by_eight_percent_a_second() -> None:
    estimate = DownlinkEstimate(start_bps=1_500_000)
    estimate.remb(1_000_000, 0.0)
    held = estimate.available_bps(20.0)
    assert estimate.available_bps(21.0) == pytest.approx(held * 1.08, rel=0.001)
    assert estimate.available_bps(22.0) == pytest.approx(held * 1.08**2, rel=0.001)


def test_a_path_that_was_never_too_narrow_is_tried_faster() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.available_bps(0.0)
    assert estimate.available_bps(1.0) == pytest.approx(1_500_000, rel=0.001)
    assert estimate.available_bps(2.0) == pytest.approx(2_250_000, rel=0.001)


def test_what_arrives_without_loss_is_borne() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.sent_bps = 1_500_000
    estimate.report(0.0, 1.0, sent_bps=8_000_000)
    assert estimate.available_bps(1.0) == 8_000_000
    # Not what is half lost.
    lossy = DownlinkEstimate(start_bps=1_000_000)
    lossy.report(0.5, 1.0, sent_bps=8_000_000)
    assert lossy.available_bps(1.0) < 1_000_000


def test_growth_does_not_depend_on_how_often_it_is_asked() -> None:
    often, seldom = DownlinkEstimate(), DownlinkEstimate()
    for step in range(1001):
        often.available_bps(step / 100)
    seldom.available_bps(0.0)
    assert often.available_bps(10.0) == pytest.approx(seldom.available_bps(10.0), rel=1e-6)


def test_growth_ends_at_the_ceiling() -> None:
    estimate = DownlinkEstimate()
    for second in range(100):
        estimate.available_bps(float(second))
    assert estimate.available_bps(100.0) == CEILING_BPS


def test_hours_without_a_question_do_not_count_as_growth() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.available_bps(0.0)
    assert estimate.available_bps(10_000.0) <= 1_000_000 * 1.5**GROWTH_MAX_S


def test_the_first_remb_is_taken_at_its_word() -> None:
    estimate = DownlinkEstimate()
    estimate.remb(476_000, 2.0)
    assert estimate.available_bps(2.0) == 476_000


def test_a_remb_above_the_estimate_lifts_it() -> None:
    estimate = DownlinkEstimate(start_bps=500_000)
    estimate.remb(900_000, 1.0)
    assert estimate.available_bps(1.0) == 900_000


def test_a_falling_remb_is_followed_at_once() -> None:
    estimate = DownlinkEstimate()
    estimate.remb(2_000_000, 1.0)
    estimate.remb(700_000, 2.0)
    assert estimate.available_bps(2.0) == 700_000


def test_a_remb_that_only_mirrors_what_is_sent_is_no_limit() -> None:
    estimate = DownlinkEstimate()
    for second in range(1, 30):
        estimate.remb(300_000, float(second), sent_bps=200_000)
    assert estimate.available_bps(30.0) >= 2_500_000


def test_a_remb_below_what_is_sent_is_a_limit() -> None:
    estimate = DownlinkEstimate()
    estimate.remb(600_000, 1.0, sent_bps=1_800_000)
    assert estimate.available_bps(1.0) == 600_000


def test_a_low_remb_on_a_path_without_queues_is_no_limit() -> None:
    estimate = DownlinkEstimate()
    for second in range(1, 30):
        estimate.remb(20_000, float(second), sent_bps=600_000, is_queueing=False)
    assert estimate.available_bps(30.0) >= 2_500_000


def test_a_low_remb_while_packets_are_lost_is_a_limit() -> None:
    estimate = DownlinkEstimate()
    estimate.report(0.08, 1.0, sent_bps=1_800_000)
    estimate.remb(600_000, 1.5, sent_bps=1_800_000, is_queueing=False)
    assert estimate.available_bps(1.5) == 600_000


def test_a_remb_never_takes_the_last_picture_away() -> None:
    estimate = DownlinkEstimate()
    estimate.remb(20_000, 1.0, sent_bps=40_000)
    assert estimate.available_bps(1.0) >= 2_500_000
    for second in range(2, 10):
        estimate.remb(20_000, float(second), sent_bps=400_000)
    assert estimate.available_bps(10.0) >= 300_000


def test_after_congestion_growth_waits_and_then_goes_on() -> None:
    estimate = DownlinkEstimate()
    estimate.remb(500_000, 1.0)
    assert estimate.available_bps(2.9) == 500_000
    assert estimate.available_bps(6.0) > 600_000


def test_each_failed_try_makes_the_next_one_later() -> None:
    """A bottleneck of 600 kbps; the next layer is tried at 700 kbps and fails each time."""
    estimate = DownlinkEstimate()
    failures: list[float] = []
    for step in range(4000):
        now = step / 10
        if estimate.available_bps(now) > 700_000:
            failures.append(now)
            estimate.remb(500_000, now, sent_bps=700_000)
    distances = [later - earlier for earlier, later in pairwise(failures)]
    assert distances[0] < 10.0
    assert distances[-1] > 30.0
    assert all(later >= earlier - 0.2 for earlier, later in pairwise(distances))


def test_a_minute_of_calm_forgives_past_failures() -> None:
    estimate = DownlinkEstimate()
    for second in range(0, 101, 10):
        estimate.remb(500_000, float(second), sent_bps=700_000)
        estimate.available_bps(second + 9.9)
    estimate.remb(400_000, 300.0, sent_bps=900_000)
    assert estimate.available_bps(303.0) > 400_000


def test_heavy_loss_cuts_the_estimate() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.report(0.3, 1.0)
    assert 700_000 <= estimate.available_bps(1.0) < 1_000_000


def test_total_loss_cuts_to_seven_tenths_a_second_and_not_below_the_floor() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    for second in range(4):
        estimate.report(1.0, float(second))
    assert estimate.available_bps(4.0) == pytest.approx(1_000_000 * 0.75 * 0.7**3, rel=0.05)
    for second in range(4, 100):
        estimate.report(1.0, float(second))
    assert estimate.available_bps(100.0) == FLOOR_BPS


def test_ten_streams_reporting_the_same_loss_cut_once() -> None:
    one, ten = DownlinkEstimate(), DownlinkEstimate()
    one.report(0.4, 1.0)
    for stream in range(10):
        ten.report(0.4, 1.0 + stream / 100)
    assert ten.available_bps(1.2) == pytest.approx(one.available_bps(1.2))


def test_a_cut_starts_from_what_is_sent_when_that_is_less() -> None:
    estimate = DownlinkEstimate(start_bps=2_500_000)
    estimate.report(0.5, 1.0, sent_bps=400_000)
    assert estimate.available_bps(1.0) < 400_000


def test_one_block_with_a_little_too_much_loss_cuts_nothing() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.report(0.15, 1.0)
    assert estimate.available_bps(1.0) == 1_000_000
    estimate.report(0.15, 2.0)
    assert estimate.available_bps(2.0) < 1_000_000


def test_loss_of_voices_alone_leaves_room_for_a_picture() -> None:
    estimate = DownlinkEstimate()
    estimate.report(0.5, 1.0, sent_bps=40_000)
    assert estimate.available_bps(1.0) > 200_000


def test_moderate_loss_neither_cuts_nor_grows() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    for second in range(1, 20):
        estimate.report(0.06, float(second))
    assert estimate.available_bps(20.0) == pytest.approx(1_000_000, rel=0.01)


def test_when_the_loss_is_over_the_estimate_recovers() -> None:
    estimate = DownlinkEstimate(start_bps=1_000_000)
    estimate.report(0.5, 1.0)
    low_bps = estimate.available_bps(1.0)
    for second in range(2, 30):
        estimate.report(0.0, float(second))
    assert estimate.available_bps(30.0) > 2 * low_bps


def bottleneck(capacity_bps: float, seconds: int) -> Iterator[tuple[float, float]]:
    """Send what is available (up to 3 Mbps) to a receiver that answers with REMB and loss."""
    estimate = DownlinkEstimate()
    for step in range(seconds * 2):
        now = step / 2
        sent_bps = min(estimate.available_bps(now), 3_000_000)
        yield now, sent_bps
        if sent_bps > capacity_bps:
            estimate.remb(0.85 * capacity_bps, now + 0.4, sent_bps=sent_bps)
            estimate.report(1.0 - capacity_bps / sent_bps, now + 0.4, sent_bps=sent_bps)
        else:
            estimate.remb(1.5 * sent_bps, now + 0.4, sent_bps=sent_bps)
            estimate.report(0.0, now + 0.4, sent_bps=sent_bps)


@pytest.mark.parametrize("capacity_bps", [300_000, 600_000, 1_200_000])
def test_behind_a_bottleneck_the_estimate_settles_below_and_near_its_capacity(
    capacity_bps: float,
) -> None:
    settled = [sent_bps for now, sent_bps in bottleneck(capacity_bps, 120) if now > 10.0]
    overloaded = sum(sent_bps > capacity_bps for sent_bps in settled)
    assert overloaded / len(settled) < 0.1
    assert sum(settled) / len(settled) > 0.6 * capacity_bps


def test_without_a_bottleneck_everything_is_sent_soon() -> None:
    assert [sent_bps for now, sent_bps in bottleneck(10_000_000, 10)][-1] == 3_000_000


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0.0, 1.0), st.floats(0.0, 10.0), st.none() | st.floats(0.0, 1e8)),
        max_size=60,
    )
)
def test_whatever_is_reported_the_estimate_stays_in_its_bounds(
    steps: list[tuple[bool, float, float, float | None]],
) -> None:
    estimate = DownlinkEstimate()
    now = 0.0
    for is_remb, value, pause_s, sent_bps in steps:
        now += pause_s
        if is_remb:
            estimate.remb(value * 1e9, now, sent_bps=sent_bps)
        else:
            estimate.report(value, now, sent_bps=sent_bps)
        assert FLOOR_BPS <= estimate.available_bps(now) <= CEILING_BPS


def test_growth_goes_no_further_than_what_was_tried() -> None:
    """A minute of voices says nothing about room for cameras."""
    estimate = DownlinkEstimate()
    estimate.sent_bps = 60_000
    assert estimate.available_bps(0.0) == 2_500_000
    for second in range(60):
        estimate.remb(90_000, float(second), sent_bps=60_000, is_queueing=False)
    assert estimate.available_bps(60.0) == 2_500_000


def test_there_is_always_room_for_the_next_step() -> None:
    estimate = DownlinkEstimate()
    estimate.sent_bps, estimate.demand_bps = 0.0, 6_000_000
    for second in range(60):
        estimate.available_bps(float(second))
    assert 1.15 * 6_000_000 < estimate.available_bps(60.0) < 1.5 * 6_000_000
    estimate.sent_bps = 6_000_000
    for second in range(60, 120):
        estimate.available_bps(float(second))
    assert 12_000_000 < estimate.available_bps(120.0) < 18_000_000


def test_what_was_found_out_is_kept_when_less_is_sent() -> None:
    estimate = DownlinkEstimate(start_bps=8_000_000)
    estimate.sent_bps = 8_000_000
    for second in range(20):
        estimate.available_bps(float(second))
    grown = estimate.available_bps(20.0)
    estimate.sent_bps = 60_000
    assert estimate.available_bps(40.0) == grown


def test_time_that_goes_back_a_little_is_not_grown_twice() -> None:
    steady, wavering = DownlinkEstimate(), DownlinkEstimate()
    for step in range(1000):
        steady.available_bps(step / 50)
        wavering.available_bps(step / 50)
        wavering.available_bps(step / 50 - 0.015)
    assert wavering.available_bps(20.0) == pytest.approx(steady.available_bps(20.0))


@pytest.mark.parametrize("loss", [0.12, 0.2])
def test_loss_that_does_not_shrink_with_the_rate_is_no_limit(loss: float) -> None:
    estimate = DownlinkEstimate()
    estimate.demand_bps = 1_700_000
    for second in range(30):
        sent_bps = 1_700_000.0 if estimate.available_bps(second) >= 1_955_000 else 500_000.0
        estimate.sent_bps = sent_bps
        estimate.report(loss, float(second), sent_bps=sent_bps, is_queueing=False)
    assert estimate.available_bps(30.0) >= 2_000_000


@pytest.mark.parametrize("capacity_bps", [100_000, 500_000, 1_000_000])
@pytest.mark.parametrize("is_queueing", [True, False])
def test_loss_of_a_full_path_shrinks_with_the_rate_and_stays_a_limit(
    capacity_bps: int, is_queueing: bool
) -> None:
    estimate = DownlinkEstimate()
    estimate.demand_bps = 1_700_000
    lost = []
    for second in range(60):
        bps = estimate.available_bps(second)
        sent_bps = max(layer for layer in (48_000, 150_000, 500_000, 1_700_000) if layer <= max(bps, 48_000))
        estimate.sent_bps = float(sent_bps)
        lost.append(max(1.0 - capacity_bps / sent_bps, 0.0))
        estimate.report(lost[-1], float(second), sent_bps=float(sent_bps), is_queueing=is_queueing)
    assert sum(lost[20:]) / 40 < 0.1
