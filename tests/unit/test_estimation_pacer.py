"""When each packet of one path may go."""

import pytest

from bridge.estimation.pacer import (
    PACING_FACTOR,
    PADDING_BYTES,
    PROBES_MAX,
    QUEUE_MAX_S,
    RETRANSMISSION_PART,
    Departure,
    Kind,
    Pacer,
)
from bridge.estimation.probing import Probe


def depart(pacer: Pacer[str], start: float, end: float) -> list[tuple[float, Departure[str]]]:
    """Ask for packets when they are due, until `end`."""
    gone = []
    now = start
    while now <= end:
        while (departure := pacer.pop(now)) is not None:
            gone.append((now, departure))
        due = pacer.due(now)
        if due is None:
            return gone
        now = max(due, now + 1e-6)
    return gone


def test_frame_leaves_at_the_pace_of_the_target() -> None:
    pacer: Pacer[str] = Pacer(1e6, 0.0)
    for number in range(20):
        assert pacer.push(Kind.PICTURE, f"p{number}", 1000, 0.0)
    gone = depart(pacer, 0.0, 1.0)
    assert [departure.item for _, departure in gone] == [f"p{number}" for number in range(20)]
    assert gone[-1][0] == pytest.approx(19 * 8000 / (PACING_FACTOR * 1e6), abs=0.006)


def test_voice_waits_for_nothing() -> None:
    pacer: Pacer[str] = Pacer(1e5, 0.0)
    for _ in range(10):
        pacer.push(Kind.PICTURE, "picture", 1000, 0.0)
    while pacer.pop(0.0) is not None:
        pass
    pacer.push(Kind.VOICE, "voice", 100, 0.001)
    assert pacer.due(0.001) == 0.001
    departure = pacer.pop(0.001)
    assert departure is not None
    assert departure.item == "voice"


def test_what_is_repeated_goes_before_what_is_new() -> None:
    pacer: Pacer[str] = Pacer(1e6, 0.0)
    pacer.push(Kind.PICTURE, "new", 1000, 0.0)
    pacer.push(Kind.RETRANSMISSION, "old", 1000, 0.0)
    assert [departure.item for _, departure in depart(pacer, 0.0, 1.0)] == ["old", "new"]


def test_repeating_takes_no_more_than_its_part() -> None:
    pacer: Pacer[str] = Pacer(1e6, 0.0)
    taken = 0
    for tick in range(1000):
        now = tick * 0.01
        taken += pacer.push(Kind.RETRANSMISSION, "old", 1000, now)
        while pacer.pop(now) is not None:
            pass
    assert taken * 8000 <= RETRANSMISSION_PART * 1e6 * 11.1
    assert pacer.refused == 1000 - taken


def test_queue_is_bounded_in_time() -> None:
    pacer: Pacer[str] = Pacer(1e5, 0.0)
    taken = sum(pacer.push(Kind.PICTURE, "picture", 1000, 0.0) for _ in range(1000))
    assert taken * 8000 <= PACING_FACTOR * 1e5 * QUEUE_MAX_S + 2 * 8000
    assert pacer.is_full
    assert pacer.push(Kind.VOICE, "voice", 100, 0.0)


def test_probe_is_made_of_pictures_and_of_padding_after_them() -> None:
    pacer: Pacer[str] = Pacer(1e5, 0.0)
    pacer.push(Kind.PICTURE, "picture", 1000, 0.0)
    assert pacer.probe(Probe(7, 2e6, 6000), 0.0)
    gone = depart(pacer, 0.0, 1.0)
    assert [departure.probe_id for _, departure in gone] == [7] * len(gone)
    assert [departure.item for _, departure in gone] == ["picture"] + [None] * (len(gone) - 1)
    assert gone[-1][1].size_bytes == PADDING_BYTES
    sent_bytes = sum(departure.size_bytes for _, departure in gone)
    assert 6000 <= sent_bytes < 6000 + PADDING_BYTES
    assert (sent_bytes - PADDING_BYTES) * 8 / gone[-1][0] == pytest.approx(2e6, rel=0.05)


def test_without_a_probe_nothing_is_padded() -> None:
    pacer: Pacer[str] = Pacer(1e6, 0.0)
    assert pacer.pop(1.0) is None
    assert pacer.due(1.0) is None


def test_probes_do_not_heap_up() -> None:
    pacer: Pacer[str] = Pacer(1e6, 0.0)
    assert sum(pacer.probe(Probe(number, 2e6, 5000), 0.0) for number in range(50)) == PROBES_MAX
    # Nobody asked for packets meanwhile: those probes are of no use any more.
    assert pacer.pop(10.0) is None
