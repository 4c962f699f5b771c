from hypothesis import given
from hypothesis import strategies as st

from bridge.rtp.sequence import SequenceUnwrapper, difference


def test_packet_reordered_across_the_wrap_keeps_its_place() -> None:
    unwrapper = SequenceUnwrapper()
    assert [unwrapper.unwrap(n) for n in (65534, 0, 65535)] == [131070, 131072, 131071]


def test_packet_reordered_before_the_first_one_stays_positive() -> None:
    unwrapper = SequenceUnwrapper()
    assert [unwrapper.unwrap(n) for n in (0, 65535)] == [65536, 65535]


def test_number_half_a_cycle_away_counts_as_late() -> None:
    unwrapper = SequenceUnwrapper()
    assert [unwrapper.unwrap(n) for n in (0, 0x8000)] == [0x10000, 0x8000]


def test_late_packet_does_not_lower_the_highest() -> None:
    unwrapper = SequenceUnwrapper()
    assert unwrapper.highest is None
    for number in (10, 12, 11):
        unwrapper.unwrap(number)
    assert unwrapper.highest == 65536 + 12


def test_timestamps_unwrap_at_32_bits() -> None:
    unwrapper = SequenceUnwrapper(bits=32)
    assert [unwrapper.unwrap(n) for n in (0xFFFFFFFF, 2999)] == [0x1FFFFFFFF, 0x200000000 + 2999]


@given(st.sampled_from((7, 15, 16, 32)), st.data())
def test_steps_of_less_than_half_a_cycle_are_followed(bits: int, data: st.DataObject) -> None:
    half = 1 << (bits - 1)
    steps = data.draw(st.lists(st.integers(1 - half, half - 1), max_size=50))
    unwrapper = SequenceUnwrapper(bits)
    highest = true = data.draw(st.integers(half * 4, half * 8))
    offset = unwrapper.unwrap(true % (2 * half)) - true
    for step in steps:
        true = highest + step
        assert unwrapper.unwrap(true % (2 * half)) == true + offset
        highest = max(highest, true)


def test_the_difference_goes_the_shorter_way_round() -> None:
    assert difference(2, 65535) == 3
    assert difference(65535, 2) == -3
    assert difference(1, 127, bits=7) == 2


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_difference_leads_from_one_number_to_the_other(left: int, right: int) -> None:
    distance = difference(left, right)
    assert -0x8000 <= distance < 0x8000
    assert (right + distance) & 0xFFFF == left
