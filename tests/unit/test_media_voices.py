"""Whose voices have a place, and how seldom places change hands."""

import random
from collections.abc import Callable, Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.speakers import SPEAKERS_MAX
from bridge.media.voices import VoiceRanking

SILENCE = 127
FRAME_S = 0.02
POLL_S = 0.1
PLACES = 4

Level = Callable[[float], int | None]


def silent(_: float) -> int:
    return SILENCE


def noise(level: int) -> Level:
    source = random.Random(level)
    return lambda _: level + source.randint(-2, 2)


def talk(*spans: tuple[float, float], level: int = 25, background: int = 90) -> Level:
    """Speech in the given spans: syllables of 180 ms with dips of 20 ms, over some background."""
    source = random.Random(level)

    def at(now: float) -> int:
        if not any(start <= now < end for start, end in spans):
            return background
        return level + 15 if now % 0.2 < 0.02 else level + source.randint(-4, 4)

    return at


class Room:
    """Runs the ranking over some people's levels in virtual time and keeps what it decided."""

    def __init__(
        self, people: dict[str, Level], *, places: int = PLACES, untold: Collection[str] = ()
    ) -> None:
        self.people = people
        self.untold = untold
        self.voices: VoiceRanking[str] = VoiceRanking(places)
        for key in people:
            self.voices.open(key)
        self.rankings: list[tuple[float, tuple[str, ...]]] = [(0.0, self.voices.rank(0.0))]
        self.heard: list[tuple[float, tuple[str, ...]]] = [(0.0, ())]
        self._step = 0

    def run_until(self, end: float) -> None:
        while (now := round(self._step * FRAME_S, 3)) < end:
            is_due = self._step % round(POLL_S / FRAME_S) == 0
            for key, level in self.people.items():
                value = level(now)
                if value is not None:
                    is_due |= self.voices.level(key, value, now, is_told=key not in self.untold)
            if is_due:
                ranking = self.voices.rank(now)
                if ranking is not self.rankings[-1][1]:
                    self.rankings.append((now, ranking))
                if self.voices.heard is not self.heard[-1][1]:
                    self.heard.append((now, self.voices.heard))
            self._step += 1

    def first_at(self, moment: float, count: int) -> tuple[str, ...]:
        """Whom somebody without an open microphone hears in `count` slots."""
        return [ranking for now, ranking in self.rankings if now <= moment][-1][:count]

    def changes(self, count: int) -> int:
        """How often a leg with that many slots had to be given others."""
        sets = [set(ranking[:count]) for _, ranking in self.rankings]
        return sum(before != after for before, after in pairwise(sets))

    def heard_at(self, moment: float) -> tuple[str, ...]:
        return [heard for now, heard in self.heard if now <= moment][-1]


@pytest.mark.parametrize("count", [4, 5, 6])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_whoever_speaks_alone_is_heard_by_everybody(count: int, slots: int) -> None:
    keys = "abcdef"[:count]
    people = {key: talk((2.0 * turn, 2.0 * turn + 2)) for turn, key in enumerate(keys)}
    room = Room(people)
    room.run_until(2.0 * count)
    for turn, key in enumerate(keys):
        assert key in room.first_at(2.0 * turn + 0.25, slots)
        assert key in room.first_at(2.0 * turn + 1.99, slots)


def test_a_soft_voice_after_a_loud_one_is_heard_in_the_only_slot() -> None:
    room = Room({"loud": talk((0.0, 5.0), level=12), "soft": talk((5.0, 8.0), level=55)})
    room.run_until(8.0)
    assert room.first_at(4.9, 1) == ("loud",)
    assert room.first_at(5.3, 1) == ("soft",)


def test_three_rooms_with_a_fan_do_not_keep_a_talker_from_listeners() -> None:
    people: dict[str, Level] = {key: noise(62) for key in "abc"}
    people["d"] = talk((5.0, 8.0))
    people["e"] = talk((10.0, 12.0), level=40)
    room = Room(people)
    room.run_until(12.0)
    for slots in (1, 2, 3):
        assert "d" in room.first_at(5.1, slots)
        assert "e" in room.first_at(10.3, slots)


def test_the_first_places_are_those_of_the_loudest() -> None:
    people = {
        key: talk((0.0, 9.0), level=level)
        for key, level in zip("abcdef", (60, 50, 40, 30, 20, 10), strict=True)
    }
    room = Room(people)
    room.run_until(3.0)
    assert room.voices.ranking == ("f", "e", "d", "c")


def test_nobody_hears_himself_and_speakers_hear_as_many_as_listeners() -> None:
    room = Room({key: talk((0.0, 5.0)) for key in "abcde"})
    room.run_until(3.0)
    ranking = room.voices.ranking
    assert room.voices.first(3, "listener") == ranking[:3]
    assert room.voices.first(3, ranking[0]) == ranking[1:4]
    assert room.voices.first(1, ranking[0]) == ranking[1:2]


def test_open_microphones_fill_the_places_that_nobody_needs() -> None:
    room = Room({"a": silent, "b": silent})
    assert room.voices.ranking == ("a", "b")
    room.run_until(1.0)
    assert room.rankings == [(0.0, ("a", "b"))]
    assert room.voices.heard == ()
    room.voices.open("c")
    assert room.voices.rank(1.0) == ("a", "b", "c")


def test_a_voice_comes_up_with_its_second_packet_where_all_places_are_taken() -> None:
    voices: VoiceRanking[str] = VoiceRanking(1)
    voices.open("a")
    voices.open("b")
    assert voices.rank(0.0) == ("a",)
    assert not voices.level("b", SILENCE, 0.02)
    assert voices.level("b", 30, 0.04)
    assert voices.rank(0.04) == ("b",)
    assert not voices.level("b", 30, 0.06)


def test_three_talkers_keep_their_places_against_equally_loud_ones() -> None:
    people = {key: talk((0.0, 20.0), level=25) for key in "abcd"}
    people |= {key: talk((2.0, 20.0), level=25) for key in "efg"}
    room = Room(people)
    room.run_until(20.0)
    assert set(room.voices.ranking) == set("abcd")
    assert all(room.changes(slots) <= 2 for slots in (1, 2, 3))


def test_pauses_for_breath_lose_no_place_to_somebody_silent() -> None:
    spans = [(start, start + 2.2) for start in range(0, 30, 3)]
    room = Room({"a": talk(*spans), "b": noise(85), "c": silent})
    room.run_until(30.0)
    assert room.rankings == [(0.0, ("a", "b", "c"))]


def test_a_dialogue_changes_a_single_slot_once_a_turn() -> None:
    turns = [(float(start), start + 4.0) for start in range(0, 40, 4)]
    room = Room({"a": talk(*turns[0::2]), "b": talk(*turns[1::2]), "c": noise(85)})
    room.run_until(40.0)
    assert room.changes(1) == len(turns) - 1
    assert room.changes(2) == room.changes(3) == 0


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_room_of_forty_changes_places_rarely(slots: int) -> None:
    people: dict[str, Level] = {f"n{index}": noise(60 + index % 20) for index in range(40)}
    people["a"] = talk((0.0, 30.0))
    room = Room(people)
    room.run_until(30.0)
    assert "a" in room.first_at(29.0, slots)
    assert room.changes(slots) <= 12


def test_heard_is_who_spoke_within_two_seconds_in_the_order_of_beginning() -> None:
    room = Room({"a": talk((4.0, 6.0)), "b": talk((1.0, 3.0)), "c": silent})
    room.run_until(15.0)
    assert room.heard_at(0.9) == ()
    assert room.heard_at(2.0) == room.heard_at(3.5) == ("b",)
    assert room.heard_at(4.5) == ("b", "a")
    assert room.heard_at(7.5) == ("a",)
    assert room.heard_at(10.0) == ()


def test_a_voice_without_packets_falls_silent_too() -> None:
    voices: VoiceRanking[str] = VoiceRanking(1)
    voices.open("b")
    voices.open("a")
    for step in range(50):
        voices.level("a", 25, step * FRAME_S)
        voices.rank(step * FRAME_S)
    assert voices.rank(1.5) == voices.heard == ("a",)
    assert voices.rank(10.0) == ("a",)
    assert voices.heard == ()
    voices.level("b", 40, 10.0)
    voices.level("b", 40, 10.02)
    assert voices.rank(10.02) == ("b",)


def test_whoever_is_muted_leaves_the_place_at_once() -> None:
    voices: VoiceRanking[str] = VoiceRanking(1)
    for step in range(5):
        voices.level("a", 25, step * FRAME_S)
        voices.level("b", 40, step * FRAME_S)
    assert voices.rank(0.1) == ("a",)
    voices.close("a")
    voices.close("a")
    assert voices.ranking == ()
    assert voices.rank(0.1) == voices.heard == ("b",)


def test_an_unchanged_decision_is_the_same_object() -> None:
    voices: VoiceRanking[str] = VoiceRanking(4)
    voices.level("a", 25, 0.0)
    first = voices.rank(0.0)
    voices.level("a", 25, 0.02)
    assert voices.rank(0.1) is first


def test_voices_are_bounded() -> None:
    voices: VoiceRanking[int] = VoiceRanking(4)
    for key in range(SPEAKERS_MAX + 100):
        voices.level(key, 20, 0.0)
    assert len(voices) == SPEAKERS_MAX
    assert len(voices.rank(0.0)) == 4


def test_few_packets_ask_for_a_new_ranking() -> None:
    voices: VoiceRanking[str] = VoiceRanking(4)
    people = {
        key: talk((0.0, 60.0), level=level) for key, level in zip("abcdefgh", range(20, 60, 5), strict=True)
    }
    asked = 0
    for step in range(3000):
        now = step * FRAME_S
        for key, level in people.items():
            value = level(now)
            assert value is not None
            if voices.level(key, value, now):
                asked += 1
                voices.rank(now)
        if step % 5 == 0:
            voices.rank(now)
    assert asked < 3000 * len(people) * 0.03


def sending(_: float) -> int:
    """An encoder at a constant rate that tells no levels: those that the bridge takes it to have."""
    return 30


@pytest.mark.parametrize("devices", [1, 3, 4, 5])
@pytest.mark.parametrize("level", [20, 26, 35, 60])
def test_a_told_voice_is_heard_beside_sources_without_levels(devices: int, level: int) -> None:
    people: dict[str, Level] = {f"device{number}": sending for number in range(devices)}
    bursts, at = [], 5.0
    for number in range(20):
        bursts.append((at, at + (0.3, 1.2, 0.5, 0.8)[number % 4]))
        at = bursts[-1][1] + (0.6, 0.1, 0.3)[number % 3]
    people["doctor"] = talk(*bursts, level=level, background=SILENCE)
    room = Room(people, untold=[key for key in people if key != "doctor"])
    room.run_until(at)
    for slots in (1, 2, 3):
        assert all("doctor" in room.first_at(begin + 0.1, slots) for begin, _ in bursts)
        # Once there, it stays: pauses give the place to nobody of whom it is not known that he speaks.
        assert "doctor" in room.first_at(at, slots)
        assert room.changes(slots) <= 1


def test_sources_without_levels_are_heard_while_open_microphones_are_silent() -> None:
    people: dict[str, Level] = dict.fromkeys("abcd", silent)
    people["device"] = sending
    room = Room(people, untold=["device"])
    room.run_until(1.0)
    assert room.first_at(0.2, 1) == room.first_at(0.9, 1) == ("device",)
    assert room.voices.heard == ("device",)


def test_a_source_without_levels_that_stops_sending_gives_way_to_one_that_sends() -> None:
    people: dict[str, Level] = {"a": lambda now: 30 if now < 5.0 else SILENCE, "b": sending}
    room = Room(people, untold=["a", "b"])
    room.run_until(8.0)
    assert room.first_at(4.9, 1) == ("a",)
    assert room.first_at(5.4, 1) == ("b",)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.integers(0, 127), st.floats(0.0, 3.0), st.booleans(), st.booleans()
        ),
        max_size=150,
    ),
    st.integers(1, 4),
)
def test_whatever_the_levels_places_hold_different_open_microphones(
    steps: list[tuple[str, int, float, bool, bool]], places: int
) -> None:
    voices: VoiceRanking[str] = VoiceRanking(places)
    present: set[str] = set()
    now = 0.0
    for key, level, pause_s, is_leaving, is_told in steps:
        now += pause_s
        if is_leaving and level > 100:
            voices.close(key)
            present.discard(key)
        else:
            voices.level(key, level, now, is_told=is_told)
            present.add(key)
        ranking = voices.rank(now)
        assert len(ranking) == len(set(ranking)) == min(places, len(present))
        assert set(ranking) <= present
        assert set(voices.heard) <= set(ranking)


@given(
    others=st.lists(st.integers(0, 69), max_size=5),
    level=st.integers(0, 66),
    spoke_s=st.floats(0.0, 5.0),
    slots=st.integers(1, 3),
)
def test_whoever_alone_is_above_silence_for_300_ms_has_a_place(
    others: list[int], level: int, spoke_s: float, slots: int
) -> None:
    def until(end: float, level: int) -> Level:
        return lambda now: level if now < end else SILENCE

    people = {f"o{number}": until(spoke_s, other) for number, other in enumerate(others)}
    people["alone"] = lambda now: SILENCE if now < spoke_s else level
    room = Room(people)
    room.run_until(spoke_s + 0.3)
    assert "alone" in room.voices.first(slots, "listener")
