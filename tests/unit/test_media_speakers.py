import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.speakers import SPEAKERS_MAX, DominantSpeaker, LoudestVoices

SILENCE = 127
FRAME_S = 0.02
POLL_S = 0.1

Level = Callable[[float], int | None]


def silent(_: float) -> int:
    return SILENCE


def noise(level: int) -> Level:
    source = random.Random(level)
    return lambda _: level + source.randint(-2, 2)


def talk(*spans: tuple[float, float], level: int = 25, background: int = 70) -> Level:
    """Speech in the given spans: syllables of 180 ms with dips of 20 ms, over some background."""
    source = random.Random(level)

    def at(now: float) -> int:
        if not any(start <= now < end for start, end in spans):
            return background
        return level + 15 if now % 0.2 < 0.02 else level + source.randint(-4, 4)

    return at


def muted(_: float) -> None:
    """No packets at all."""


class Meeting:
    """Runs both mechanisms over some people's levels in virtual time and keeps what they decide."""

    def __init__(self, people: dict[str, Level]) -> None:
        self.people = people
        self.dominant: DominantSpeaker[str] = DominantSpeaker()
        self.voices: LoudestVoices[str] = LoudestVoices(3)
        self.changes: list[tuple[float, str]] = []
        self.heard: list[tuple[float, tuple[str, ...]]] = [(0.0, ())]
        self._step = 0

    def run_until(self, end: float) -> None:
        while (now := round(self._step * FRAME_S, 3)) < end:
            is_due = self._step % round(POLL_S / FRAME_S) == 0
            for key, level in self.people.items():
                value = level(now)
                if value is not None:
                    self.dominant.level(key, value, now)
                    is_due |= self.voices.level(key, value, now)
            if is_due:
                self._poll(now)
            self._step += 1

    def _poll(self, now: float) -> None:
        dominant = self.dominant.poll(now)
        if dominant is not None and dominant not in order(self.changes[-1:]):
            self.changes.append((now, dominant))
        heard = self.voices.loudest(now)
        if heard is not self.heard[-1][1] and heard != self.heard[-1][1]:
            self.heard.append((now, heard))

    def heard_at(self, moment: float) -> tuple[str, ...]:
        return [voices for now, voices in self.heard if now <= moment][-1]


def order(changes: Iterable[tuple[float, str]]) -> list[str]:
    return [key for _, key in changes]


def test_in_a_silent_room_nobody_is_dominant() -> None:
    meeting = Meeting({"a": silent, "b": silent, "c": noise(80)})
    meeting.run_until(10.0)
    assert meeting.changes == []
    assert meeting.dominant.dominant is None


def test_the_first_to_speak_is_dominant_within_half_a_second() -> None:
    meeting = Meeting({"a": silent, "b": talk((2.0, 9.0))})
    meeting.run_until(5.0)
    ((when, who),) = meeting.changes
    assert who == "b"
    assert 2.0 <= when <= 2.5


def test_the_word_passes_on_within_a_second_and_a_half() -> None:
    meeting = Meeting({"a": talk((0.0, 5.0)), "b": talk((5.0, 10.0))})
    meeting.run_until(10.0)
    assert order(meeting.changes) == ["a", "b"]
    assert 5.0 < meeting.changes[1][0] <= 6.5


def test_the_dominant_speaker_stays_while_the_room_is_silent() -> None:
    meeting = Meeting({"a": talk((0.0, 3.0)), "b": silent})
    meeting.run_until(30.0)
    assert order(meeting.changes) == ["a"]
    assert meeting.dominant.poll(30.0) == meeting.dominant.poll(30.05) == "a"


def test_a_cough_does_not_take_the_word() -> None:
    meeting = Meeting({"a": talk((0.0, 5.0), (5.4, 10.0)), "b": talk((5.1, 5.25), level=5)})
    meeting.run_until(10.0)
    assert order(meeting.changes) == ["a"]


def test_a_short_word_of_agreement_does_not_take_the_word() -> None:
    meeting = Meeting({"a": talk((0.0, 20.0)), "b": talk((5.0, 5.5), (8.0, 8.4), level=10)})
    meeting.run_until(20.0)
    assert order(meeting.changes) == ["a"]


def test_pauses_for_breath_do_not_lose_the_word_to_a_noisy_room() -> None:
    spans = [(start, start + 2.2) for start in range(0, 30, 3)]
    meeting = Meeting({"a": talk(*spans), "noisy": noise(48), "b": silent})
    meeting.run_until(30.0)
    assert [who for when, who in meeting.changes if when > 1.0 and who != "a"] == []
    assert meeting.dominant.dominant == "a"


def test_a_loud_ventilator_becomes_background() -> None:
    meeting = Meeting({"fan": noise(40), "a": talk((30.0, 40.0), level=25)})
    meeting.run_until(40.0)
    assert meeting.dominant.dominant == "a"


def test_being_louder_is_no_reason_to_take_over_from_who_is_speaking() -> None:
    meeting = Meeting({"quiet": talk((0.0, 10.0), level=38), "loud": talk((3.0, 10.0), level=8)})
    meeting.run_until(10.0)
    assert order(meeting.changes) == ["quiet"]


def test_a_muted_speaker_loses_the_word_to_the_next_one() -> None:
    def until_muted(now: float) -> int | None:
        return talk((0.0, 5.0))(now) if now < 5.0 else None

    meeting = Meeting({"a": until_muted, "b": talk((6.0, 10.0))})
    meeting.run_until(10.0)
    assert order(meeting.changes) == ["a", "b"]
    assert meeting.changes[1][0] <= 7.0


def test_a_dialogue_is_followed_turn_by_turn() -> None:
    turns = [(float(start), start + 4.0) for start in range(0, 40, 4)]
    meeting = Meeting({"a": talk(*turns[0::2]), "b": talk(*turns[1::2]), "c": noise(75)})
    meeting.run_until(40.0)
    assert order(meeting.changes) == ["a", "b"] * 5


def test_who_left_is_not_dominant_and_the_next_to_speak_is() -> None:
    meeting = Meeting({"a": talk((0.0, 3.0)), "b": talk((4.0, 6.0))})
    meeting.run_until(3.0)
    del meeting.people["a"]
    meeting.dominant.remove("a")
    assert meeting.dominant.dominant is None
    meeting.run_until(5.0)
    assert meeting.dominant.dominant == "b"


def test_decisions_are_at_least_300_ms_apart() -> None:
    dominant: DominantSpeaker[str] = DominantSpeaker()
    assert dominant.poll(0.0) is None
    for step in range(14):
        dominant.level("a", 20, step * FRAME_S)
        assert dominant.poll(step * FRAME_S) is None
    assert dominant.poll(0.3) == "a"


def test_speakers_are_bounded() -> None:
    dominant: DominantSpeaker[int] = DominantSpeaker()
    voices: LoudestVoices[int] = LoudestVoices()
    for key in range(SPEAKERS_MAX + 100):
        dominant.level(key, 20, 0.0)
        voices.level(key, 20, 0.0)
    assert dominant.poll(0.02) is not None
    assert len(voices.loudest(0.0)) == 3


def test_a_voice_is_heard_from_its_first_packet_on_while_seats_are_free() -> None:
    voices: LoudestVoices[str] = LoudestVoices(3)
    assert not voices.level("a", SILENCE, 0.0)
    assert voices.loudest(0.0) == ()
    assert voices.level("a", 30, 0.02)
    assert voices.loudest(0.02) == ("a",)
    assert not voices.level("a", 30, 0.04)


def test_silence_takes_no_seat() -> None:
    meeting = Meeting({"a": silent, "b": noise(90)})
    meeting.run_until(3.0)
    assert meeting.heard_at(3.0) == ()


def test_three_talkers_keep_their_seats_against_equally_loud_ones() -> None:
    people = {key: talk((0.0, 20.0), level=25) for key in "abc"}
    people |= {key: talk((2.0, 20.0), level=25) for key in "def"}
    meeting = Meeting(people)
    meeting.run_until(20.0)
    assert [sorted(voices) for _, voices in meeting.heard[1:]][-1] == ["a", "b", "c"]
    assert len(meeting.heard) <= 4


def test_a_new_talker_is_heard_soon_after_a_seat_falls_silent() -> None:
    people = {key: talk((0.0, 20.0)) for key in "ab"}
    people |= {"c": talk((0.0, 5.0)), "d": talk((5.0, 20.0))}
    meeting = Meeting(people)
    meeting.run_until(10.0)
    assert meeting.heard_at(4.9)[2] == "c"
    assert meeting.heard_at(5.6) == (*meeting.heard_at(4.9)[:2], "d")


def test_three_noisy_rooms_do_not_keep_a_talker_out() -> None:
    people: dict[str, Level] = {key: noise(50) for key in "abc"}
    people["d"] = talk((5.0, 8.0), level=25)
    meeting = Meeting(people)
    meeting.run_until(8.0)
    assert "d" in meeting.heard_at(5.1)


def test_a_pause_of_a_second_keeps_the_seat_and_longer_silence_frees_it() -> None:
    meeting = Meeting({"a": talk((0.0, 3.0), (4.0, 6.0), background=SILENCE)})
    meeting.run_until(15.0)
    assert meeting.heard_at(3.9) == ("a",)
    assert meeting.heard_at(6.9) == ("a",)
    assert meeting.heard_at(10.0) == ()
    assert len(meeting.heard) == 3


def test_a_voice_without_packets_falls_silent_too() -> None:
    voices: LoudestVoices[str] = LoudestVoices(1)
    for step in range(50):
        voices.level("a", 25, step * FRAME_S)
        voices.loudest(step * FRAME_S)
    assert voices.loudest(1.5) == ("a",)
    assert voices.loudest(10.0) == ()


def test_removing_a_voice_frees_its_seat_at_once() -> None:
    voices: LoudestVoices[str] = LoudestVoices(1)
    voices.level("a", 25, 0.0)
    assert voices.loudest(0.0) == ("a",)
    voices.remove("a")
    assert voices.level("b", 40, 0.02)
    assert voices.loudest(0.02) == ("b",)


def test_an_unchanged_decision_is_the_same_object() -> None:
    voices: LoudestVoices[str] = LoudestVoices()
    voices.level("a", 25, 0.0)
    first = voices.loudest(0.0)
    voices.level("a", 25, 0.02)
    assert voices.loudest(0.1) is first


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_a_room_of_forty_changes_seats_rarely(limit: int) -> None:
    people: dict[str, Level] = {f"n{index}": noise(60 + index % 20) for index in range(40)}
    people["a"] = talk((0.0, 30.0))
    meeting = Meeting(people)
    meeting.voices = LoudestVoices(limit)
    meeting.run_until(30.0)
    assert "a" in meeting.heard_at(29.0)
    assert len(meeting.heard) <= 12


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 127), st.floats(0.0, 3.0), st.booleans()),
        max_size=150,
    )
)
def test_whatever_the_levels_seats_hold_at_most_three_different_present_people(
    steps: list[tuple[str, int, float, bool]],
) -> None:
    voices: LoudestVoices[str] = LoudestVoices(3)
    dominant: DominantSpeaker[str] = DominantSpeaker()
    present: set[str] = set()
    now = 0.0
    for key, level, pause_s, is_leaving in steps:
        now += pause_s
        if is_leaving and level > 100:
            voices.remove(key)
            dominant.remove(key)
            present.discard(key)
        else:
            voices.level(key, level, now)
            dominant.level(key, level, now)
            present.add(key)
        heard = voices.loudest(now)
        assert len(heard) == len(set(heard)) <= 3
        assert set(heard) <= present
        decided = dominant.poll(now)
        assert decided is None or decided in present
