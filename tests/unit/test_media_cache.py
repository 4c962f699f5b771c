import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.cache import PacketCache


def test_what_was_put_is_found_again() -> None:
    cache: PacketCache[bytes] = PacketCache(8)
    cache.put(65536, b"a")
    assert cache.get(65536) == b"a"


def test_a_number_never_put_is_absent_even_where_another_packet_lies() -> None:
    cache: PacketCache[bytes] = PacketCache(8)
    cache.put(3, b"a")
    assert cache.get(11) is None
    assert cache.get(4) is None


def test_a_packet_is_overwritten_by_the_one_a_capacity_later() -> None:
    cache: PacketCache[bytes] = PacketCache(8)
    cache.put(3, b"old")
    cache.put(11, b"new")
    assert cache.get(3) is None
    assert cache.get(11) == b"new"


def test_a_very_late_packet_does_not_displace_a_newer_one() -> None:
    cache: PacketCache[bytes] = PacketCache(8)
    cache.put(11, b"new")
    cache.put(3, b"old")
    assert cache.get(11) == b"new"


def test_a_cleared_cache_is_empty_and_usable() -> None:
    cache: PacketCache[bytes] = PacketCache(8)
    cache.put(3, b"a")
    cache.clear()
    assert cache.get(3) is None
    cache.put(3, b"b")
    assert cache.get(3) == b"b"


@pytest.mark.parametrize("capacity", [0, -8, 3, 1000])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        PacketCache(capacity)


@given(st.lists(st.integers(min_value=0, max_value=200), max_size=100))
def test_the_cache_holds_the_newest_packet_of_each_place(numbers: list[int]) -> None:
    cache: PacketCache[int] = PacketCache(16)
    for number in numbers:
        cache.put(number, number)
    for number in range(201):
        same_place = [other for other in numbers if other % 16 == number % 16]
        expected = number if same_place and max(same_place) == number else None
        assert cache.get(number) == expected
