"""Numbers close up over what is left out, and find their way back."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.skips import REMEMBERED, SkipLog


@given(st.lists(st.booleans(), min_size=1, max_size=3 * REMEMBERED))
def test_each_number_kept_has_one_compact_number_and_comes_back(is_kept: list[bool]) -> None:
    skips = SkipLog()
    compact = {}
    for number, kept in enumerate(is_kept, start=1000):
        if kept:
            compact[number] = number - skips.packets
        else:
            skips.note(number, number % 2)
    assert list(compact.values()) == list(range(1000, 1000 + len(compact)))
    remembered = [number for number in compact if number > 1000 + len(is_kept) - REMEMBERED]
    for number in remembered:
        packets, pictures = skips.before(number)
        assert number - packets == compact[number]
        assert pictures == sum(
            not kept and left % 2 for left, kept in enumerate(is_kept[: number - 1000], 1000)
        )
        assert skips.number_of(compact[number]) == number


def test_a_leap_closes_up_at_once() -> None:
    skips = SkipLog()
    skips.note(5, 1)
    skips.leap(30_000)
    skips.note(30_010, 0)
    assert skips.packets == 30_002
    assert skips.before(30_009) == (30_001, 1)
    assert skips.number_of(30_011 - skips.packets) == 30_011


def test_what_is_remembered_is_bounded() -> None:
    skips = SkipLog()
    for number in range(10 * REMEMBERED):
        skips.note(number, 0)
    assert skips.number_of(0) == 10 * REMEMBERED
    assert len(skips._numbers) < 2 * REMEMBERED
