import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.reception import ReceptionStatistics

SSRC = 0x1234
START = 65_536 + 65_000
CLOCK_RATE_HZ = 90_000


def statistics() -> ReceptionStatistics:
    return ReceptionStatistics(SSRC, CLOCK_RATE_HZ)


def receive(stream: ReceptionStatistics, numbers: range | list[int], size_bytes: int = 1000) -> None:
    """Each number arrives when it was sent: 100 packets a second."""
    for number in numbers:
        stream.received(START + number, number * 900 & 0xFFFFFFFF, number / 100, size_bytes)


def test_before_the_first_packet_the_block_says_nothing() -> None:
    block = statistics().report_block(1.0)
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (SSRC, 0, 0)
    assert (block.extended_highest, block.last_sr, block.delay_since_last_sr) == (0, 0, 0)


def test_a_quarter_lost_is_64_of_256() -> None:
    stream = statistics()
    receive(stream, [number for number in range(1001) if number % 4 != 1])
    block = stream.report_block(10.0)
    assert block.fraction_lost == 63  # 250 of 1001
    assert block.cumulative_lost == 250
    assert block.extended_highest == 65_000 + 1000
    assert stream.fraction_lost == pytest.approx(0.25, abs=0.01)


def test_the_fraction_is_of_the_last_interval_and_the_sum_of_all() -> None:
    stream = statistics()
    receive(stream, [0, 2])
    stream.report_block(0.1)
    receive(stream, [3, 4, 5])
    block = stream.report_block(0.2)
    assert (block.fraction_lost, block.cumulative_lost) == (0, 1)


def test_all_but_the_last_packet_lost_is_a_fraction_below_one() -> None:
    stream = statistics()
    receive(stream, [0])
    stream.report_block(0.1)
    receive(stream, [900])
    assert stream.report_block(9.0).fraction_lost == 255


def test_duplicates_make_the_sum_negative_and_the_fraction_zero() -> None:
    stream = statistics()
    receive(stream, [0, 1, 1, 1])
    block = stream.report_block(0.1)
    assert (block.fraction_lost, block.cumulative_lost) == (0, -2)


def test_a_packet_reordered_before_the_first_one_is_expected() -> None:
    stream = statistics()
    receive(stream, [1, 0, 2])
    assert stream.expected_count == 3
    assert stream.lost_count == 0


def test_even_spacing_has_no_jitter() -> None:
    stream = statistics()
    receive(stream, range(500))
    assert stream.jitter_ticks == 0


def test_jitter_is_the_mean_deviation_of_neighbours() -> None:
    stream = statistics()
    source = random.Random(3)
    for number in range(5000):
        stream.received(START + number, number * 900, number / 100 + source.random() * 0.006, 1000)
    # The mean distance of two equally distributed numbers is a third of their range: 2 ms.
    assert stream.jitter_ms == pytest.approx(2.0, rel=0.5)


def test_the_timestamp_going_round_is_no_jitter() -> None:
    stream = statistics()
    first = 2**32 - 90_000
    for number in range(500):
        stream.received(START + number, (first + number * 900) & 0xFFFFFFFF, number / 100, 1000)
    assert stream.jitter_ticks == 0


def test_the_block_answers_the_last_sender_report() -> None:
    stream = statistics()
    receive(stream, [0])
    stream.sender_report_received(0x11112222_33334444, now=5.0)
    block = stream.report_block(5.5)
    assert block.last_sr == 0x22223333
    assert block.delay_since_last_sr == 32768


def test_the_bitrate_is_that_of_the_last_second() -> None:
    stream = statistics()
    receive(stream, range(500), size_bytes=1250)
    assert stream.bitrate_bps(4.99) == pytest.approx(1_000_000, rel=0.15)
    receive(stream, range(500, 1000), size_bytes=125)
    assert stream.bitrate_bps(9.99) == pytest.approx(100_000, rel=0.15)


def test_the_bitrate_of_a_silent_stream_falls_to_nothing() -> None:
    stream = statistics()
    receive(stream, range(500))
    assert stream.bitrate_bps(5.5) < 500_000
    assert stream.bitrate_bps(6.2) == 0.0


def test_a_young_stream_is_measured_over_its_own_age() -> None:
    stream = statistics()
    receive(stream, range(50), size_bytes=1250)
    assert stream.bitrate_bps(0.5) == pytest.approx(1_000_000, rel=0.2)


@given(st.lists(st.integers(min_value=0, max_value=300), min_size=1, max_size=300))
def test_loss_is_the_span_of_numbers_less_what_arrived(numbers: list[int]) -> None:
    stream = statistics()
    for count, number in enumerate(numbers, start=1):
        receive(stream, [number])
        block = stream.report_block(number / 100)
        so_far = numbers[:count]
        assert block.cumulative_lost == max(so_far) - min(so_far) + 1 - count
        assert 0 <= block.fraction_lost <= 255
