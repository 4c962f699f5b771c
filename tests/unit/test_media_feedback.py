import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.feedback import HISTORY_MAX, ArrivalLog
from bridge.rtp.rtcp import TransportFeedback, parse_rtcp

REFERENCE_S = 0.064


def parse(packets: list[bytes]) -> list[TransportFeedback]:
    parsed: list[TransportFeedback] = []
    for data in packets:
        (packet,), is_damaged = parse_rtcp(data)
        assert not is_damaged
        assert isinstance(packet, TransportFeedback)
        parsed.append(packet)
    return parsed


def arrivals(feedbacks: list[TransportFeedback]) -> dict[int, float | None]:
    """What a sender reads: number to seconds since an unknown origin, None if not received."""
    seen: dict[int, float | None] = {}
    for feedback in feedbacks:
        at = feedback.reference_time * REFERENCE_S
        for number, delta_us in feedback.statuses:
            if delta_us is None:
                seen.setdefault(number, None)
            else:
                at += delta_us / 1e6
                seen[number] = at
    return seen


def build(log: ArrivalLog, now: float = 0.0) -> list[TransportFeedback]:
    return parse(log.build(now, 1, 2))


def test_nothing_received_makes_no_feedback() -> None:
    assert build(ArrivalLog()) == []


def test_nothing_new_makes_no_second_feedback() -> None:
    log = ArrivalLog()
    log.add(7, 1.0)
    assert len(build(log, 1.0)) == 1
    assert build(log, 1.1) == []


def test_feedback_names_its_streams_and_counts_itself() -> None:
    log = ArrivalLog()
    log.add(7, 1.0)
    (first,) = build(log, 1.0)
    log.add(8, 1.1)
    (second,) = build(log, 1.1)
    assert (first.sender_ssrc, first.media_ssrc) == (1, 2)
    assert (first.feedback_count, second.feedback_count) == (0, 1)
    assert (first.base_sequence_number, second.base_sequence_number) == (7, 8)


def test_distances_survive_within_a_quarter_millisecond() -> None:
    log = ArrivalLog()
    for number in range(50):
        log.add(number, 100.0 + number * 0.0033)
    seen = arrivals(build(log, 101.0))
    for number in range(1, 50):
        first, later = seen[0], seen[number]
        assert first is not None
        assert later is not None
        assert later - first == pytest.approx(number * 0.0033, abs=0.0003)


def test_distances_survive_from_one_feedback_to_the_next() -> None:
    log = ArrivalLog()
    seen: dict[int, float | None] = {}
    for number in range(1000):
        log.add(number, 5.0 + number * 0.002)
        if number % 40 == 39:
            seen |= arrivals(build(log, 5.0 + number * 0.002))
    first, last = seen[0], seen[999]
    assert first is not None
    assert last is not None
    assert last - first == pytest.approx(1.998, abs=0.0003)


def test_a_missing_packet_is_reported_as_not_received() -> None:
    log = ArrivalLog()
    for number in (65534, 65535, 1, 2):
        log.add(number, 1.0)
    assert [number for number, at in arrivals(build(log, 1.0)).items() if at is None] == [0]


def test_a_packet_lost_between_two_feedbacks_is_reported_by_the_second() -> None:
    log = ArrivalLog()
    log.add(10, 1.0)
    build(log, 1.0)
    log.add(12, 1.1)
    seen = arrivals(build(log, 1.1))
    assert list(seen) == [11, 12]
    assert seen[11] is None


def test_reordered_packets_are_reported_in_the_order_of_their_numbers() -> None:
    log = ArrivalLog()
    for number, arrival in ((10, 1.0), (12, 1.001), (11, 1.002)):
        log.add(number, arrival)
    (feedback,) = build(log, 1.0)
    assert [delta for _, delta in feedback.statuses[1:]] == [2000, -1000]


def test_a_late_packet_is_reported_after_all_and_its_neighbours_do_not_turn_lost() -> None:
    log = ArrivalLog()
    for number in (10, 12, 13):
        log.add(number, 1.0)
    assert arrivals(build(log, 1.0))[11] is None
    log.add(11, 1.1)
    log.add(14, 1.1)
    seen = arrivals(build(log, 1.1))
    assert list(seen) == [11, 12, 13, 14]
    assert None not in seen.values()


def test_a_packet_later_than_the_history_reports_only_what_is_still_known() -> None:
    log = ArrivalLog()
    for number in (10, 12, 13):
        log.add(number, 1.0)
    build(log, 1.0)
    log.add(14, 3.0)
    build(log, 3.0)
    log.add(11, 3.1)
    seen = arrivals(build(log, 3.1))
    assert [number for number, at in seen.items() if at is not None] == [11, 14]


def test_a_packet_reordered_before_the_very_first_one_is_reported() -> None:
    log = ArrivalLog()
    log.add(0, 1.0)
    log.add(65535, 1.001)
    assert list(arrivals(build(log, 1.0))) == [65535, 0]


def test_a_duplicate_keeps_its_first_arrival() -> None:
    log = ArrivalLog()
    for number, arrival in ((10, 1.0), (11, 1.001), (10, 1.5)):
        log.add(number, arrival)
    (feedback,) = build(log, 1.5)
    assert feedback.statuses[1] == (11, 1000)


def test_a_pause_longer_than_a_delta_holds_begins_a_new_packet() -> None:
    log = ArrivalLog()
    log.add(10, 1.0)
    log.add(11, 21.0)
    feedbacks = build(log, 21.0)
    assert [feedback.base_sequence_number for feedback in feedbacks] == [10, 11]
    seen = arrivals(feedbacks)
    assert seen[10] is not None
    assert seen[11] is not None
    assert seen[11] - seen[10] == pytest.approx(20.0, abs=0.001)


def test_many_arrivals_are_split_into_packets_that_fit_a_datagram() -> None:
    log = ArrivalLog()
    for number in range(3000):
        log.add(number, number * 0.07 if number % 2 else 0.0)
    packets = log.build(1.0, 1, 2)
    assert max(map(len, packets)) <= 1200
    assert len(arrivals(parse(packets))) == 3000


def test_a_restarted_sender_is_not_reported_as_thousands_of_losses() -> None:
    log = ArrivalLog()
    log.add(10, 1.0)
    build(log, 1.0)
    log.add(20_000, 1.1)
    log.add(20_001, 1.1)
    assert list(arrivals(build(log, 1.1))) == [20_000, 20_001]


def test_without_anybody_asking_the_log_stays_bounded() -> None:
    log = ArrivalLog()
    for number in range(100_000):
        log.add(number & 0xFFFF, number * 0.001)
    assert sum(len(feedback.statuses) for feedback in build(log, 100.0)) <= HISTORY_MAX + 1024


@given(
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.0, 0.2)), min_size=1, max_size=150),
    st.randoms(use_true_random=False),
)
def test_a_sender_learns_exactly_what_arrived(
    start: int, steps: list[tuple[int, float]], source: random.Random
) -> None:
    log = ArrivalLog()
    number, now = start, 10.0
    sent: dict[int, float] = {}
    seen: dict[int, float | None] = {}
    for step, pause_s in steps:
        now += pause_s
        log.add(number & 0xFFFF, now)
        sent[number & 0xFFFF] = now
        number += step
        if source.random() < 0.1:
            seen |= arrivals(build(log, now))
    seen |= arrivals(build(log, now))
    received = {number: at for number, at in seen.items() if at is not None}
    assert received.keys() == sent.keys()
    shift = received[start] - sent[start]
    for key, at in received.items():
        assert at - sent[key] == pytest.approx(shift, abs=0.0006)
