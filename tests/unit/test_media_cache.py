from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.cache import CAPACITY_MAX, CAPACITY_MIN, KEPT_BYTES_MAX, KEPT_S, PacketCache


@dataclass(frozen=True)
class Packet:
    payload: bytes = b""
    arrival: float = 0.0


def filled(count: int, per_s: float, size_bytes: int = 10) -> PacketCache[Packet]:
    cache: PacketCache[Packet] = PacketCache()
    for number in range(count):
        cache.put(number, Packet(bytes(size_bytes), number / per_s))
    return cache


def test_what_was_put_is_found_again() -> None:
    cache: PacketCache[Packet] = PacketCache()
    packet = Packet(b"a")
    cache.put(65536, packet)
    assert cache.get(65536) is packet


def test_a_number_never_put_is_absent_even_where_another_packet_lies() -> None:
    cache: PacketCache[Packet] = PacketCache()
    cache.put(3, Packet())
    assert cache.get(3 + CAPACITY_MIN) is None
    assert cache.get(4) is None


def test_a_stream_of_few_packets_is_kept_for_its_time_and_in_little_room() -> None:
    cache = filled(1000, per_s=20.0)
    assert cache.capacity == CAPACITY_MIN
    assert cache.get(999 - int(20 * KEPT_S)) is not None
    assert cache.get(999 - CAPACITY_MIN) is None


def test_a_stream_of_many_packets_is_kept_as_long() -> None:
    for per_s in (200.0, 625.0, 1250.0):
        cache = filled(4000, per_s=per_s)
        kept = [number for number in range(4000) if cache.get(number) is not None]
        assert kept == list(range(kept[0], 4000))
        assert KEPT_S <= len(kept) / per_s <= 4 * KEPT_S


def test_a_large_key_frame_is_kept_whole() -> None:
    """Four thousand packets within one second."""
    cache = filled(4000, per_s=4000.0, size_bytes=1100)
    assert all(cache.get(number) is not None for number in range(4000))


def test_what_is_kept_is_bounded_in_packets_and_bytes() -> None:
    assert filled(20_000, per_s=1e6).capacity == CAPACITY_MAX
    cache = filled(20_000, per_s=1e6, size_bytes=60_000)
    assert cache.capacity < CAPACITY_MAX
    assert cache.size_bytes < 2 * KEPT_BYTES_MAX + 60_000


def test_a_very_late_packet_does_not_displace_a_newer_one() -> None:
    cache = filled(1000, per_s=20.0)
    newest = cache.get(999)
    cache.put(999 - CAPACITY_MIN, Packet(b"old"))
    assert cache.get(999) is newest


def test_a_cleared_cache_is_empty_and_usable() -> None:
    cache = filled(30, per_s=20.0)
    cache.clear()
    assert cache.get(3) is None
    assert cache.size_bytes == 0
    cache.put(3, Packet(b"b"))
    assert cache.get(3) == Packet(b"b")


@given(st.lists(st.tuples(st.integers(0, 600), st.floats(0.0, 1.0)), max_size=200))
def test_what_is_there_is_what_was_put_and_is_counted(puts: list[tuple[int, float]]) -> None:
    cache: PacketCache[Packet] = PacketCache()
    now = 0.0
    for number, pause_s in puts:
        now += pause_s
        cache.put(number, Packet(bytes(number % 7), now))
    there = [packet for number in range(601) if (packet := cache.get(number)) is not None]
    assert cache.size_bytes == sum(len(packet.payload) for packet in there)
    for number in range(601):
        packet = cache.get(number)
        assert packet is None or len(packet.payload) == number % 7
    if puts:
        assert cache.get(max(number for number, _ in puts)) is not None
