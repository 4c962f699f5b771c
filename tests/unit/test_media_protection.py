"""How much redundancy a line needs, and the payloads that carry it."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.packet import MediaPacket
from bridge.media.protection import PAYLOAD_BYTES_MAX, Protection, protected
from bridge.rtp.red import parse_red

OPUS = 111
FRAME = 960


def after(
    loss: float, *, seconds: int = 30, bearable: int = 2, protection: Protection | None = None
) -> list[int]:
    """Return the distances chosen, one report of fifty packets after the other."""
    protection = protection or Protection()
    began = protection._noted
    chosen = []
    for second in range(1, seconds + 1):
        protection.note(50 * loss, 50, began + second)
        chosen.append(protection.choose(began + second, bearable=bearable))
    return chosen


@pytest.mark.parametrize(
    ("loss", "distance"), [(0.0, 0), (0.004, 0), (0.02, 1), (0.05, 2), (0.1, 2), (0.2, 2), (1.0, 2)]
)
def test_the_distance_follows_the_loss_from_the_first_report_on(loss: float, distance: int) -> None:
    assert set(after(loss)) == {distance}


def test_a_line_that_is_good_again_is_trusted_step_by_step() -> None:
    protection = Protection()
    after(0.1, protection=protection)
    chosen = after(0.0, seconds=60, protection=protection)
    assert chosen == sorted(chosen, reverse=True)
    assert 10 <= chosen.count(2) <= 15
    assert 20 <= chosen.count(1) <= 22
    assert chosen[-1] == 0


def test_a_loss_now_and_then_does_not_make_it_flap() -> None:
    protection, chance = Protection(), random.Random(1)
    chosen = []
    for second in range(1, 301):
        lost = sum(chance.random() < 0.03 for _ in range(50))
        protection.note(lost, 50, float(second))
        chosen.append(protection.choose(float(second)))
    changes = sum(before != later for before, later in pairwise(chosen))
    assert changes <= 20
    assert 0 not in chosen[10:]


def test_a_few_packets_of_a_thumbnail_say_nothing() -> None:
    protection = Protection()
    protection.note(1, 8, 1.0)
    assert protection.choose(1.0) == 0
    assert protection.loss == 0.0


def test_redundancy_never_feeds_a_queue() -> None:
    assert set(after(0.3, bearable=1)) == {1}
    protection = Protection()
    assert after(0.3, seconds=3, protection=protection)[-1] == 2
    assert after(0.3, seconds=3, bearable=0, protection=protection) == [0, 0, 0]


def test_what_a_line_did_not_bear_is_tried_again_more_and_more_rarely() -> None:
    protection, now, tried = Protection(), 0.0, []
    for _ in range(1000):
        now += 1.0
        protection.note(5, 50, now)
        before = protection.distance
        if protection.choose(now, bearable=0 if before else 2) > before:
            tried.append(now)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 10
    assert len(tried) <= 8


def test_redundancy_that_fills_the_line_is_taken_back() -> None:
    protection = Protection()
    protection.note(1, 50, 1.0)
    assert protection.choose(1.0, round_trip_s=0.05) == 1
    protection.note(20, 50, 2.0)
    assert protection.choose(2.0, round_trip_s=0.3) == 0
    # Losses of a path that only became a longer one are answered after a while.
    for second in range(3, 30):
        protection.note(5, 50, float(second))
        distance = protection.choose(float(second), round_trip_s=0.3)
    assert distance == 2


def test_a_queue_that_others_made_takes_nothing_back() -> None:
    protection = Protection()
    assert after(0.1, seconds=3, protection=protection)[-1] == 2
    protection.note(6, 50, 4.0)
    assert protection.choose(4.0, round_trip_s=0.4) == 2


@given(
    st.lists(
        st.tuples(st.floats(-10, 1e6), st.floats(0, 1e6), st.floats(0, 1e3), st.integers(0, 2)), max_size=40
    )
)
def test_any_report_leaves_a_distance_that_can_be_sent(
    reports: list[tuple[float, float, float, int]],
) -> None:
    protection, now = Protection(), 0.0
    for lost, expected, passed_s, bearable in reports:
        now += passed_s
        protection.note(lost, expected, now)
        assert 0 <= protection.choose(now, bearable=bearable) <= bearable
        assert 0.0 <= protection.loss <= 1.0


def voice(number: int, *, timestamp: int | None = None, size_bytes: int = 80) -> MediaPacket:
    return MediaPacket(
        number,
        (number * FRAME if timestamp is None else timestamp) & 0xFFFFFFFF,
        False,
        bytes((0x78, number & 0xFF)) + bytes(size_bytes - 2),
        0.0,
        30,
        is_voice=True,
    )


def test_the_payload_has_what_came_before_in_order() -> None:
    packets = [voice(number) for number in (7, 8, 9)]
    wrapped = protected(packets[2], [packets[1], packets[0]], OPUS)
    audio = parse_red(wrapped.payload)
    assert audio.data == packets[2].payload
    assert [(block.payload_type, block.offset_ticks, block.data) for block in audio.former] == [
        (OPUS, 2 * FRAME, packets[0].payload),
        (OPUS, FRAME, packets[1].payload),
    ]
    assert (wrapped.audio_level, wrapped.is_voice, wrapped.marker) == (30, True, False)


def test_time_that_wraps_is_an_offset_like_any_other() -> None:
    wrapped = protected(voice(2, timestamp=400), [voice(1, timestamp=-560)], OPUS)
    assert parse_red(wrapped.payload).former[0].offset_ticks == FRAME


def test_what_was_said_before_a_pause_is_not_said_again() -> None:
    wrapped = protected(voice(3, timestamp=20_000), [voice(2, timestamp=1_000)], OPUS)
    assert parse_red(wrapped.payload).former == []


@given(st.integers(1, PAYLOAD_BYTES_MAX - 1), st.lists(st.integers(2, 1275), max_size=3))
def test_no_packet_grows_beyond_what_fits_any_path(size_bytes: int, sizes: list[int]) -> None:
    former = [voice(90 + place, size_bytes=size) for place, size in enumerate(sizes)]
    packet = voice(90 + len(sizes), size_bytes=max(size_bytes, 2))
    payload = protected(packet, former, OPUS).payload
    assert len(payload) <= max(PAYLOAD_BYTES_MAX, len(packet.payload) + 1)
    assert parse_red(payload).data == packet.payload


def test_the_newest_of_what_does_not_fit_is_what_is_kept() -> None:
    former = [voice(1, size_bytes=700), voice(2, size_bytes=700)]
    audio = parse_red(protected(voice(3, size_bytes=400), former, OPUS).payload)
    assert [block.data for block in audio.former] == [former[1].payload]
