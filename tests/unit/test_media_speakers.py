import random
from collections.abc import Callable, Collection, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.speakers import SPEAKERS_MAX, DominantSpeaker

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
    """Runs the mechanism over some people's levels in virtual time and keeps what it decides."""

    def __init__(self, people: dict[str, Level], *, untold: Collection[str] = ()) -> None:
        self.people = people
        self.untold = untold
        self.dominant: DominantSpeaker[str] = DominantSpeaker()
        self.changes: list[tuple[float, str]] = []
        self._step = 0

    def run_until(self, end: float) -> None:
        while (now := round(self._step * FRAME_S, 3)) < end:
            is_due = self._step % round(POLL_S / FRAME_S) == 0
            for key, level in self.people.items():
                value = level(now)
                if value is not None:
                    self.dominant.level(key, value, now, is_told=key not in self.untold)
            if is_due:
                self._poll(now)
            self._step += 1

    def _poll(self, now: float) -> None:
        dominant = self.dominant.poll(now)
        if dominant is not None and dominant not in order(self.changes[-1:]):
            self.changes.append((now, dominant))


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


def sending(_: float) -> int:
    """An encoder at a constant rate that tells no levels: those that the bridge takes it to have."""
    return 30


@pytest.mark.parametrize("devices", [1, 3, 4, 5])
@pytest.mark.parametrize("level", [20, 30, 35])
def test_sources_without_levels_do_not_hold_the_word_against_somebody_who_speaks(
    devices: int, level: int
) -> None:
    people: dict[str, Level] = {f"device{number}": sending for number in range(devices)}
    bursts, at = [], 5.0
    while at < 50.0:
        bursts.append((at, at + (0.3, 1.2, 0.5, 0.8)[len(bursts) % 4]))
        at = bursts[-1][1] + (0.6, 0.1, 0.3)[len(bursts) % 3]
    people["doctor"] = talk(*bursts, level=level, background=SILENCE)
    meeting = Meeting(people, untold=[key for key in people if key != "doctor"])
    meeting.run_until(50.0)
    (chosen, first), (when, second) = meeting.changes
    # Alone in speaking, as far as anybody knows, a device may be chosen.
    assert first == "device0"
    assert chosen <= 2.0
    assert second == "doctor"
    assert when <= 7.5


def test_a_cough_does_not_take_the_word_from_a_source_without_levels() -> None:
    meeting = Meeting({"device": sending, "b": talk((5.0, 5.15), level=5)}, untold=["device"])
    meeting.run_until(10.0)
    assert order(meeting.changes) == ["device"]


def test_a_source_without_levels_has_the_word_again_when_nobody_speaks_any_more() -> None:
    meeting = Meeting({"lecturer": sending, "b": talk((5.0, 9.0), (12.0, 15.0))}, untold=["lecturer"])
    meeting.run_until(40.0)
    assert order(meeting.changes) == ["lecturer", "b", "lecturer"]
    assert 25.0 <= meeting.changes[2][0] <= 26.5


def test_a_source_without_levels_that_sends_silence_does_not_get_the_word() -> None:
    meeting = Meeting({"device": silent, "other": sending}, untold=["device", "other"])
    meeting.run_until(5.0)
    assert order(meeting.changes) == ["other"]


def test_speakers_are_bounded() -> None:
    dominant: DominantSpeaker[int] = DominantSpeaker()
    for key in range(SPEAKERS_MAX + 100):
        dominant.level(key, 20, 0.0)
    assert dominant.poll(0.02) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.integers(0, 127), st.floats(0.0, 3.0), st.booleans(), st.booleans()
        ),
        max_size=150,
    )
)
def test_whatever_the_levels_the_word_is_with_somebody_present(
    steps: list[tuple[str, int, float, bool, bool]],
) -> None:
    dominant: DominantSpeaker[str] = DominantSpeaker()
    present: set[str] = set()
    now = 0.0
    for key, level, pause_s, is_leaving, is_told in steps:
        now += pause_s
        if is_leaving and level > 100:
            dominant.remove(key)
            present.discard(key)
        else:
            dominant.level(key, level, now, is_told=is_told)
            present.add(key)
        decided = dominant.poll(now)
        assert decided is None or decided in present
