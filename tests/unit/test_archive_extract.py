"""What of a journal goes into which package, for conferences that go any way they like."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.archive.model import PackagePlan, Span
from bridge.archive.package.attendance import attendees
from bridge.archive.plan.extract import (
    belonging,
    case_times,
    floor_turns,
    package_times,
    presences,
    recorded_contents,
)
from bridge.archive.plan.programme import plan_packages
from bridge.store.journal import Chain, Event, EventKind

CASES = ("C01", "C02", "C03")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "start",
                "finish",
                "record",
                "pause",
                "chat",
                "join",
                "leave",
                "crash",
                "confirm",
                "floor",
                "stage",
            ]
        ),
        st.integers(0, 2),
        st.integers(0, 3000),
    ),
    max_size=60,
)


class Journal:
    """Writes a conference as rooms do: the recording state is said anew whenever the case changes."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.chat_case: dict[str, str | None] = {}
        self._chain = Chain()
        self._now_ms = 1000
        self._case: str | None = None
        self._is_recording = False
        self._add(
            EventKind.SESSION_OPENED,
            session="HC-BV-20261125-01",
            room="r",
            title="t",
            conference_kind="consultation",
        )
        for case in CASES:
            self._add(EventKind.CASE_ADDED, case=case, code=f"code-{case}", site="s")

    def _add(self, kind: EventKind, **data: object) -> None:
        self.events.append(self._chain.append(kind, data, self._now_ms))

    def _state(self) -> None:
        state = "recording" if self._is_recording else "paused"
        self._add(EventKind.RECORDING_STATE, state=state, by=None, case=self._case)

    def step(self, what: str, number: int, later_ms: int) -> None:
        self._now_ms += later_ms
        if what == "start":
            self._finish()
            self._case = CASES[number]
            self._add(EventKind.CASE_STARTED, case=self._case, by="p")
            self._state()
        elif what == "finish":
            self._finish()
            self._state()
        elif what in ("record", "pause"):
            self._is_recording = what == "record"
            self._state()
        elif what == "chat":
            text = f"word-{len(self.events)}"
            if self._is_recording:
                self.chat_case[text] = self._case
                self._add(EventKind.CHAT, participant="p", name="n", site="s", text=text)
        elif what == "confirm":
            if self._case is not None:
                self._add(EventKind.CASE_CONFIRMED, case=self._case, by="p")
                self._state()
        elif what == "crash":
            after_ms = self.events[-1].at_ms
            self._now_ms += 1
            self._add(EventKind.SESSION_RESUMED, after_ms=after_ms)
            self._state()
        else:
            self._add_presence(what, f"p-{number}")

    def _add_presence(self, what: str, participant: str) -> None:
        if what == "join":
            self._add(
                EventKind.PARTICIPANT_JOINED,
                participant=participant,
                site="s",
                level="district",
                role="expert",
                name=participant,
                device=False,
            )
        elif what == "leave":
            self._add(EventKind.PARTICIPANT_LEFT, participant=participant, reason="left")
        elif what == "floor":
            self._add(EventKind.FLOOR, participant=participant, granted=self._now_ms % 2 == 0, by="p")
        else:
            self._add(EventKind.STAGE, participant=participant, mode="chair")

    def _finish(self) -> None:
        if self._case is not None:
            self._add(EventKind.CASE_FINISHED, case=self._case, by="p")
            self._case = None

    def close(self) -> None:
        self._now_ms += 1
        self._finish()
        self._add(EventKind.SESSION_CLOSED, reason="room-closed")


def conference(steps: Sequence[tuple[str, int, int]]) -> Journal:
    journal = Journal()
    for step in steps:
        journal.step(*step)
    journal.close()
    return journal


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_nothing_of_a_case_is_in_any_other_package(steps: list[tuple[str, int, int]]) -> None:
    journal = conference(steps)
    for plan in plan_packages(journal.events):
        extract = list(belonging(journal.events, plan))
        text = json.dumps([[event.kind, event.data] for event in extract])
        for case in CASES:
            if case != plan.case:
                assert case not in text
        for event in extract:
            if event.kind is EventKind.CHAT:
                assert journal.chat_case[event.data["text"]] == plan.case


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_extract_is_in_order_and_unchanged(steps: list[tuple[str, int, int]]) -> None:
    journal = conference(steps)
    for plan in plan_packages(journal.events):
        numbers = [event.seq for event in belonging(journal.events, plan)]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 0


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_times_of_packages_do_not_overlap(steps: list[tuple[str, int, int]]) -> None:
    journal = conference(steps)
    spans = [span for plan in plan_packages(journal.events) for span in package_times(journal.events, plan)]
    spans.sort(key=lambda span: span.start_ms)
    assert all(first.end_ms <= second.start_ms for first, second in pairwise(spans))


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_nobody_is_present_longer_than_the_package_lasts(steps: list[tuple[str, int, int]]) -> None:
    journal = conference(steps)
    stays = presences(journal.events, journal.events[-1].at_ms)
    assert all(stay.joined_ms <= stay.left_ms for stay in stays)
    for plan in plan_packages(journal.events):
        times = package_times(journal.events, plan)
        total_ms = sum(span.end_ms - span.start_ms for span in times)
        for person in attendees(stays, times):
            assert 0 <= person.present_ms <= total_ms
            ends = [end for stay in person.stays for end in (stay.start_ms, stay.end_ms)]
            assert ends == sorted(ends)


def test_words_at_the_very_moment_between_two_cases_go_to_their_own() -> None:
    """The chair goes on to the next case in the millisecond in which somebody presses return."""
    journal = conference(
        [("record", 0, 0), ("start", 0, 0), ("chat", 0, 9), ("start", 1, 0), ("chat", 0, 0), ("chat", 0, 9)]
    )
    found = {
        event.data["text"]: plan.case
        for plan in plan_packages(journal.events)
        for event in recorded_contents(journal.events, plan.case)
    }
    assert found == journal.chat_case
    assert list(found.values()) == ["C01", "C02", "C02"]


def journal_of(*steps: tuple[str, int, int]) -> tuple[list[Event], PackagePlan]:
    journal = conference(steps)
    return journal.events, plan_packages(journal.events)[0]


def test_case_taken_up_again_has_two_times() -> None:
    events, plan = journal_of(("start", 0, 0), ("start", 1, 1000), ("start", 0, 500))
    assert case_times(events, plan.ended_ms)["C01"] == [Span(1000, 2000), Span(2500, 2501)]


def test_crash_ends_presence_at_the_last_word_before_it() -> None:
    events, plan = journal_of(("join", 0, 0), ("floor", 0, 1000), ("crash", 0, 60_000))
    [stay] = presences(events, plan.ended_ms)
    assert (stay.joined_ms, stay.left_ms, stay.left_seq) == (1000, 2000, None)


def test_whoever_leaves_gives_the_floor_back() -> None:
    events, plan = journal_of(("join", 0, 0), ("floor", 0, 0), ("leave", 0, 700))
    [turn] = floor_turns(events, plan.ended_ms)
    assert (turn.start_ms, turn.end_ms) == (1000, 1700)


@pytest.mark.parametrize(("away_ms", "stays", "returns"), [(60_000, 1, 1), (180_000, 2, 0)])
def test_short_absence_is_a_reconnection_and_a_long_one_is_not(
    away_ms: int, stays: int, returns: int
) -> None:
    events, plan = journal_of(
        ("join", 0, 0), ("leave", 0, 10_000), ("join", 0, away_ms), ("leave", 0, 10_000)
    )
    [person] = attendees(presences(events, plan.ended_ms), [Span(plan.started_ms, plan.ended_ms)])
    assert (len(person.stays), person.reconnections) == (stays, returns)


def test_whoever_leaves_at_once_did_not_attend_and_stops_no_package() -> None:
    events, plan = journal_of(
        ("start", 0, 1), ("join", 1, 100), ("leave", 1, 0), ("join", 2, 100), ("finish", 0, 100)
    )
    people = attendees(presences(events, plan.ended_ms), package_times(events, plan))
    assert [person.name for person in people] == ["p-2"]
