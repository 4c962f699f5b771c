import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.media.loss import JUMP_MAX, MISSING_MAX, OVERTAKEN_S, USELESS_TRIES_MAX, NackGenerator

START = 65_536 + 65_400  # The numbers go round 2^16 soon after the start.


def receive(generator: NackGenerator, numbers: Iterable[int], now: float = 0.0) -> None:
    for number in numbers:
        generator.received(START + number, now)


def sixteen_bits(*numbers: int) -> list[int]:
    return [(START + number) & 0xFFFF for number in numbers]


def test_a_stream_without_gaps_asks_for_nothing() -> None:
    generator = NackGenerator()
    receive(generator, range(300))
    assert generator.due(10.0, 0.05) == []
    assert generator.abandoned()[0] == 0


def test_a_gap_is_requested_as_soon_as_three_later_packets_are_here() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2, 3))
    assert generator.due(0.001, 0.05) == []
    receive(generator, (4,))
    assert generator.due(0.002, 0.05) == sixteen_bits(1)


def test_a_gap_before_the_last_packet_is_requested_after_ten_milliseconds() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2))
    assert generator.due(0.009, 0.05) == []
    assert generator.due(0.011, 0.05) == sixteen_bits(1)


def test_packets_reordered_by_two_places_are_not_requested() -> None:
    generator = NackGenerator()
    receive(generator, (0, 3))
    assert generator.due(0.001, 0.05) == []
    receive(generator, (1, 2, 4))
    assert generator.due(0.5, 0.05) == []


def test_requests_name_numbers_across_the_wrap() -> None:
    generator = NackGenerator()
    receive(generator, (0, 140))
    assert generator.due(0.02, 0.05) == [(START + number) & 0xFFFF for number in range(1, 140)]


def test_a_request_is_repeated_after_a_round_trip_and_not_before() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2, 3, 4))
    assert generator.due(0.0, 0.1) == sixteen_bits(1)
    assert generator.due(0.09, 0.1) == []
    assert generator.due(0.1, 0.1) == sixteen_bits(1)


def test_on_a_fast_network_requests_are_twenty_milliseconds_apart() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2, 3, 4))
    assert generator.due(0.0, 0.0) == sixteen_bits(1)
    assert generator.due(0.019, 0.0) == []
    assert generator.due(0.021, 0.0) == sixteen_bits(1)


def test_only_an_awaited_retransmission_is_welcome() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2))
    assert generator.is_missing(START + 1)
    assert not generator.is_missing(START + 2)
    receive(generator, (1,))
    assert not generator.is_missing(START + 1)


def test_after_ten_tries_a_number_is_abandoned_and_told_once() -> None:
    generator = NackGenerator(tries_max=10, give_up_s=100.0)
    receive(generator, (0, 2, 3, 4))
    tries = sum(len(generator.due(step * 0.05, 0.05)) for step in range(40))
    assert tries == 10
    assert generator.abandoned()[0] == 1
    assert generator.abandoned()[0] == 0
    assert not generator.is_missing(START + 1)


def test_after_a_second_a_number_is_abandoned() -> None:
    generator = NackGenerator(tries_max=1000)
    receive(generator, (0, 2))
    generator.due(0.99, 0.05)
    assert generator.abandoned()[0] == 0
    generator.due(1.01, 0.05)
    assert generator.abandoned()[0] == 1


def test_a_path_of_one_second_round_trip_gets_a_second_request() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2))
    requested = [step for step in range(400) if generator.due(step * 0.01, 1.0)]
    assert len(requested) >= 2
    assert generator.abandoned()[0] == 1


def test_a_jump_resets_instead_of_requesting_a_thousand_packets() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2, JUMP_MAX + 10))
    assert generator.due(0.1, 0.05) == []
    assert generator.abandoned()[0] > JUMP_MAX
    receive(generator, (JUMP_MAX + 11, JUMP_MAX + 13))
    assert generator.due(0.2, 0.05) == sixteen_bits(JUMP_MAX + 12)


def test_forgetting_ends_the_wait_without_counting_as_abandoned() -> None:
    generator = NackGenerator()
    receive(generator, (0, 5))
    generator.forget()
    assert generator.due(5.0, 0.05) == []
    assert generator.abandoned()[0] == 0


@given(st.lists(st.integers(min_value=0, max_value=5000), max_size=200))
def test_whatever_arrives_the_missing_set_is_bounded_and_never_holds_what_came(numbers: list[int]) -> None:
    generator = NackGenerator()
    for number in numbers:
        generator.received(number, 0.0)
        assert generator.missing_count <= MISSING_MAX
        assert not generator.is_missing(number)


class Path:
    """A sender at 1000 packets a second, behind a path that loses, delays and reorders; it answers NACKs."""

    def __init__(self, *, rtt_s: float, is_lost: Callable[[int], bool], jitter_s: float = 0.0) -> None:
        self._rtt_s = rtt_s
        self._is_lost = is_lost
        self._jitter_s = jitter_s
        self._random = random.Random(1)
        self._sent_count = 0
        self.requested_count = 0
        self.generator = NackGenerator()
        self.received: set[int] = set()
        self.flying: list[tuple[float, int]] = []

    def run(self, packets: int) -> None:
        for step in range(packets + 2000):
            now = step / 1000
            if step < packets:
                self._send(START + step, now + self._rtt_s / 2)
            if step == packets:
                # A receiver cannot miss what was last: something has to follow.
                self.flying.extend((now + self._rtt_s + n / 1000, START + packets + n) for n in range(3))
            self._deliver(now)
            if step % 10 == 0:
                for number in self.generator.due(now, self._rtt_s):
                    self.requested_count += 1
                    self._send(START + ((number - START) & 0xFFFF), now + self._rtt_s)

    def _send(self, number: int, arrival: float) -> None:
        self._sent_count += 1
        if not self._is_lost(self._sent_count):
            self.flying.append((arrival + self._random.random() * self._jitter_s, number))

    def _deliver(self, now: float) -> None:
        for arrival, number in sorted(item for item in self.flying if item[0] <= now):
            self.generator.received(number, arrival)
            self.received.add(number)
        self.flying = [item for item in self.flying if item[0] > now]


def random_loss(share: float) -> Callable[[int], bool]:
    source = random.Random(7)
    return lambda _: source.random() < share


def bursts(*, length: int, every: int) -> Callable[[int], bool]:
    return lambda count: count > 100 and count % every < length


@pytest.mark.parametrize("rtt_s", [0.0, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.15])
def test_random_loss_is_repaired_whatever_the_round_trip(rtt_s: float, share: float) -> None:
    path = Path(rtt_s=rtt_s, is_lost=random_loss(share))
    path.run(1500)
    lost = set(range(START, START + 1500)) - path.received
    assert len(lost) <= (5 if rtt_s == 0.3 else 0)
    assert path.requested_count < 1500 * share * 2.5


@pytest.mark.parametrize("rtt_s", [0.02, 0.15])
def test_bursts_of_fifty_packets_are_repaired(rtt_s: float) -> None:
    path = Path(rtt_s=rtt_s, is_lost=bursts(length=50, every=500))
    path.run(1500)
    assert set(range(START, START + 1500)) <= path.received
    assert path.generator.abandoned()[0] == 0


def test_light_reordering_costs_no_requests() -> None:
    path = Path(rtt_s=0.05, is_lost=lambda _: False, jitter_s=0.002)
    path.run(1000)
    assert path.requested_count == 0


def test_a_dead_path_ends_in_abandonment_and_silence() -> None:
    path = Path(rtt_s=0.05, is_lost=lambda count: count > 300)
    path.run(1000)
    assert path.generator.missing_count == 0
    assert path.generator.abandoned()[0] > 0


@settings(max_examples=50)
@given(st.permutations(list(range(12))), st.floats(min_value=0.0, max_value=0.5))
def test_in_whatever_order_all_packets_come_nothing_stays_missing(order: list[int], rtt_s: float) -> None:
    generator = NackGenerator()
    generator.received(START - 1, 0.0)
    for number in order:
        generator.received(START + number, 0.0)
    assert generator.due(0.5, rtt_s) == []
    assert generator.missing_count == 0


def test_what_is_missing_before_a_key_frame_is_asked_less_and_costs_no_other() -> None:
    generator = NackGenerator()
    receive(generator, (0, 2, 3, 4))
    generator.keyframe(START + 4)
    asked = [at / 100 for at in range(300) if generator.due(at / 100, 0.1)]
    assert len(asked) == USELESS_TRIES_MAX
    assert generator.abandoned() == (0, [])
    # Whoever records may still have it until then, and nobody waits for it afterwards.
    assert generator.missing_count == 0


def test_what_is_missing_after_a_key_frame_costs_another() -> None:
    generator = NackGenerator()
    receive(generator, (0, 1, 3, 4))
    generator.keyframe(START + 1)
    for at in range(300):
        generator.due(at / 100, 0.1)
    assert generator.abandoned() == (1, [START + 2])
    assert generator.abandoned() == (0, [])


@pytest.mark.parametrize("path_s", [0.01, 0.15, 0.6, 1.2])
def test_a_path_that_only_repairs_can_measure_is_not_asked_faster_than_it_can_answer(path_s: float) -> None:
    """A device that is sent nothing answers no report: only its retransmissions tell the round trip."""
    generator = NackGenerator()
    generator.received(START, 0.0)
    answers: list[tuple[float, int]] = []
    requests: dict[int, int] = {}
    for step in range(3000):
        now, number = step / 100, step + 1
        for due_at, answered in [one for one in answers if one[0] <= now]:
            answers.remove((due_at, answered))
            generator.repaired(answered, now)
        if step % 100 != 50:
            generator.received(START + number, now)
        for asked in generator.due(now, None):
            extended = START + ((asked - START) & 0xFFFF)
            requests[extended] = requests.get(extended, 0) + 1
            answers.append((now + path_s, extended))
    assert generator.repair_s == pytest.approx(path_s, abs=0.03)
    # The first losses are asked for without knowing; all later ones once, as nothing is lost twice here.
    later = [count for extended, count in requests.items() if extended > START + 500]
    assert len(later) > 20
    assert max(later) == 1
    assert max(requests.values()) <= 5
    assert generator.abandoned()[0] == 0


def test_a_sender_that_cannot_be_asked_is_given_up_when_nothing_overtakes_so_late() -> None:
    generator = NackGenerator(is_asking=False)
    receive(generator, (0, 2, 3, 4, 5))
    assert generator.due(0.02, 0.05) == []
    assert generator.abandoned()[0] == 0
    assert generator.is_missing(START + 1)
    assert generator.due(OVERTAKEN_S + 0.01, 0.05) == []
    assert generator.abandoned()[0] == 1
