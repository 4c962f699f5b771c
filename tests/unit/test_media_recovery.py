"""Which number a redundant block is given, and when it is given none."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.recovery import REACH, LossRecovery, Recovered
from bridge.rtp.red import OFFSET_TICKS_MAX, RedundantBlock

OPUS = 111
# One frame of 20 ms, and one of 10 ms (RFC 6716, 3.1).
SOUND, SHORT = b"\x78", b"\x70"
FRAME = 960
START = 0xFFFF_FE00


class Sender:
    """Sends packets one after the other, the last ones once more in each."""

    def __init__(self, distance: int = 2) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.timestamp = START
        self._distance = distance

    def send(self, *, pause: int = 0, sound: bytes = SOUND) -> int:
        """Return the number of what is sent, `pause` ticks after the end of the packet before."""
        self.timestamp += pause
        self.sent.append((self.timestamp & 0xFFFFFFFF, sound + len(self.sent).to_bytes(2, "big")))
        self.timestamp += FRAME if sound == SOUND else FRAME // 2
        return len(self.sent) - 1

    def former(self, number: int) -> list[RedundantBlock]:
        timestamp = self.sent[number][0]
        blocks = [
            RedundantBlock(OPUS, timestamp - before & 0xFFFFFFFF, data)
            for before, data in self.sent[max(number - self._distance, 0) : number]
        ]
        return [block for block in blocks if block.offset_ticks <= OFFSET_TICKS_MAX]

    def arrive(self, recovery: LossRecovery, number: int, *, is_plain: bool = False) -> list[int]:
        timestamp, data = self.sent[number]
        found = recovery.take(1000 + number, timestamp, data, () if is_plain else self.former(number))
        for one in found:
            assert (one.timestamp, one.data) == self.sent[one.extended_sequence_number - 1000]
        return [one.extended_sequence_number - 1000 for one in found]


def test_a_packet_that_is_missing_comes_with_the_next_one() -> None:
    sender, recovery = Sender(distance=1), LossRecovery()
    for _ in range(4):
        sender.send()
    assert sender.arrive(recovery, 0) == []
    assert sender.arrive(recovery, 1) == []
    assert sender.arrive(recovery, 3) == [2]


def test_how_late_it_is_is_told() -> None:
    recovery = LossRecovery()
    recovery.take(1, 0, SOUND)
    block = RedundantBlock(OPUS, FRAME, SOUND)
    assert recovery.take(3, 2 * FRAME, SOUND, [block]) == [Recovered(2, FRAME, SOUND, 0.02)]


def test_two_that_are_missing_come_in_order_and_the_third_stays_missing() -> None:
    sender, recovery = Sender(), LossRecovery()
    for _ in range(6):
        sender.send()
    sender.arrive(recovery, 0)
    assert sender.arrive(recovery, 4) == [2, 3]
    assert sender.arrive(recovery, 5) == []


def test_what_has_come_is_not_found_again() -> None:
    sender, recovery = Sender(), LossRecovery()
    for _ in range(5):
        sender.send()
    for number in (0, 2, 1, 4, 3):
        found = sender.arrive(recovery, number)
        # What a later packet brings first is missing no more when it comes itself.
        assert found == {2: [1], 4: [3]}.get(number, [])


def test_a_sender_that_sends_some_packets_as_they_are_is_understood() -> None:
    sender, recovery = Sender(), LossRecovery()
    for _ in range(5):
        sender.send()
    sender.arrive(recovery, 0)
    sender.arrive(recovery, 1, is_plain=True)
    assert sender.arrive(recovery, 3, is_plain=True) == []
    assert sender.arrive(recovery, 4) == [2]


def test_of_many_none_is_lost_whose_successor_came() -> None:
    sender, recovery, chance = Sender(distance=1), LossRecovery(), random.Random(1)
    came: set[int] = set()
    found: set[int] = set()
    for _ in range(2000):
        number = sender.send()
        if chance.random() >= 0.2:
            came.add(number)
            found.update(sender.arrive(recovery, number))
    assert found == {number - 1 for number in came if 0 < number > min(came)}.difference(came)


def test_nothing_before_the_first_packet_is_made_up() -> None:
    sender, recovery = Sender(), LossRecovery()
    for _ in range(4):
        sender.send()
    assert sender.arrive(recovery, 3) == []


def test_nothing_before_it_was_told_to_forget_comes_back() -> None:
    sender, recovery = Sender(), LossRecovery()
    for _ in range(6):
        sender.send()
    sender.arrive(recovery, 0)
    recovery.forget()
    assert sender.arrive(recovery, 3) == []
    assert sender.arrive(recovery, 5) == [4]


def test_the_only_one_between_two_is_known_across_a_pause() -> None:
    sender, recovery = Sender(distance=1), LossRecovery()
    sender.send()
    sender.send(pause=5 * FRAME)
    sender.send(pause=3 * FRAME)
    sender.arrive(recovery, 0)
    assert sender.arrive(recovery, 2) == [1]


def test_what_follows_the_packet_below_is_known_although_a_pause_follows_it() -> None:
    sender, recovery = Sender(distance=3), LossRecovery()
    sender.send()
    sender.send()
    sender.send(pause=5 * FRAME)
    sender.send(pause=5 * FRAME)
    sender.arrive(recovery, 0)
    assert sender.arrive(recovery, 3) == [1, 2]


def test_which_of_several_it_is_in_a_pause_is_not_guessed() -> None:
    sender, recovery = Sender(distance=1), LossRecovery()
    sender.send()
    sender.send(pause=4 * FRAME)
    sender.send(pause=4 * FRAME)
    sender.send(pause=4 * FRAME)
    sender.arrive(recovery, 0)
    assert sender.arrive(recovery, 3) == []


def test_packets_of_other_lengths_are_told_apart_by_their_own() -> None:
    sender, recovery = Sender(), LossRecovery()
    for sound in (SOUND, SHORT, SOUND, SHORT, SOUND):
        sender.send(sound=sound)
    sender.arrive(recovery, 0)
    assert sender.arrive(recovery, 3) == [1, 2]


def test_a_block_that_is_no_sound_is_not_taken() -> None:
    recovery = LossRecovery()
    recovery.take(1, 0, SOUND)
    assert recovery.take(3, 2 * FRAME, SOUND, [RedundantBlock(OPUS, FRAME, b"")]) == []


def test_numbers_that_leap_leave_no_more_open_than_can_come() -> None:
    recovery = LossRecovery()
    for number in range(0, 1_000_000, 10_000):
        recovery.take(number, number * FRAME & 0xFFFFFFFF, SOUND)
    assert len(recovery._missing) <= 66 * REACH
    assert len(recovery._known) <= 2 * REACH + 1


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from((0, 0, 0, 960, 9600, 20_000))), min_size=3, max_size=60
    ),
    st.integers(0, 4),
    st.integers(0, 1 << 20),
)
def test_whatever_is_lost_and_overtaken_each_block_gets_its_own_number_or_none(
    packets: list[tuple[bool, int]], distance: int, seed: int
) -> None:
    sender, recovery = Sender(distance), LossRecovery()
    order = []
    for arrives, pause in packets:
        number = sender.send(pause=pause)
        if arrives or number == 0:
            order.append(number)
    # Some overtake the one before.
    for place in range(1, len(order) - 1):
        if seed >> place % 20 & 1 and place % 3 == 0:
            order[place], order[place + 1] = order[place + 1], order[place]
    taken: set[int] = set()
    for number in order:
        if number in taken:
            continue
        taken.add(number)
        found = sender.arrive(recovery, number)
        assert taken.isdisjoint(found)
        taken.update(found)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, (1 << 32) - 1),
            st.binary(max_size=3),
            st.lists(
                st.builds(
                    RedundantBlock, st.just(OPUS), st.integers(0, OFFSET_TICKS_MAX), st.binary(max_size=3)
                ),
                max_size=5,
            ),
        ),
        max_size=40,
    )
)
def test_a_hostile_sender_is_given_each_missing_number_once(
    packets: Sequence[tuple[int, int, bytes, list[RedundantBlock]]],
) -> None:
    recovery = LossRecovery()
    taken: set[int] = set()
    first = None
    for number, timestamp, data, former in packets:
        if number in taken:
            continue
        first = number if first is None else first
        taken.add(number)
        for one in recovery.take(number, timestamp, data, former):
            assert one.extended_sequence_number not in taken
            assert one.extended_sequence_number > first
            taken.add(one.extended_sequence_number)
    assert len(recovery._known) <= 200
