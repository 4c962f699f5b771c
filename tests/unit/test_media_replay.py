"""Each number is taken once, and none that is too old to be known."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.replay import REMEMBERED, ReplayWindow


@given(st.lists(st.integers(-REMEMBERED - 10, 3 * REMEMBERED), max_size=80), st.integers(0, 1 << 20))
def test_a_number_is_taken_once(steps: list[int], start: int) -> None:
    window = ReplayWindow()
    highest = start + REMEMBERED
    assert window.take(highest)
    taken = {highest}
    for step in steps:
        number = highest + step
        assert window.take(number) is (number not in taken and number > highest - REMEMBERED)
        if number > highest - REMEMBERED:
            taken.add(number)
        highest = max(highest, number)


def test_what_is_too_old_is_not_taken() -> None:
    window = ReplayWindow()
    assert window.take(70_000)
    assert window.take(70_000 - REMEMBERED + 1)
    assert not window.take(70_000 - REMEMBERED)


def test_numbers_passed_over_may_still_come_whatever_stood_in_their_places() -> None:
    window = ReplayWindow()
    for number in range(REMEMBERED):
        assert window.take(number)
    assert window.take(REMEMBERED + 100)
    assert window.take(REMEMBERED + 50)
    assert not window.take(REMEMBERED + 50)
    assert window.take(3 * REMEMBERED)
    assert window.take(3 * REMEMBERED - 1)
