"""What a journal says: packages and their spans, scenes, turns."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.archive.film.captions import chapters
from bridge.archive.model import PackagePlan, Span
from bridge.archive.plan.programme import (
    Hole,
    open_ends,
    plan_packages,
    scenes,
    showings,
    turns,
    why_hole,
)
from bridge.archive.plan.reel import make_reel
from bridge.store.journal import Chain, Event, EventKind

SESSION = "HC-BV-20261125-01"


class Journal:
    """Events, written as they come; times in seconds."""

    def __init__(self) -> None:
        self._chain = Chain()
        self.events: list[Event] = []
        opened = {
            "session": SESSION,
            "room": "r-1",
            "title": "Giao ban",
            "conference_kind": "consultation",
            "site_code": "BV",
            "software": "0",
        }
        self.add(0, EventKind.SESSION_OPENED, **opened)

    def add(self, seconds: float, kind: EventKind, **data: Any) -> None:
        self.events.append(self._chain.append(kind, data, round(seconds * 1000)))

    def join(self, seconds: float, *participants: str) -> None:
        for participant in participants:
            self.add(
                seconds,
                EventKind.PARTICIPANT_JOINED,
                participant=participant,
                site=f"Site {participant}",
                level="district",
                role="expert",
                name="",
                device=False,
            )

    def state(self, seconds: float, state: str, case: str | None = None) -> None:
        self.add(seconds, EventKind.RECORDING_STATE, state=state, by=None, case=case)

    def start(self, seconds: float, case: str) -> None:
        self.add(seconds, EventKind.CASE_STARTED, case=case, by="a")
        self.state(seconds, "recording", case)

    def finish(self, seconds: float, case: str, then: str = "waiting") -> None:
        self.add(seconds, EventKind.CASE_FINISHED, case=case, by="a")
        self.state(seconds, then)

    def close(self, seconds: float, reason: str = "room-closed") -> None:
        self.add(seconds, EventKind.SESSION_CLOSED, reason=reason)

    def plans(self) -> dict[str, PackagePlan]:
        return {plan.package: plan for plan in plan_packages(self.events)}


def spans(plan: PackagePlan) -> list[tuple[float, float]]:
    return [(span.start_ms / 1000, span.end_ms / 1000) for span in plan.spans]


def test_case_is_ready_when_it_is_finished_and_session_when_it_is_closed() -> None:
    journal = Journal()
    journal.add(1, EventKind.CASE_ADDED, case="C01", code="BN-1", site="Mường Nhé")
    journal.start(2, "C01")
    assert journal.plans() == {}
    journal.finish(8, "C01")
    (plan,) = journal.plans().values()
    assert (plan.package, plan.case, plan.code) == (f"{SESSION}-C01", "C01", "BN-1")
    assert plan.presenting_site == "Mường Nhé"
    assert (plan.started_ms, plan.ended_ms, spans(plan)) == (2000, 8000, [(2, 8)])
    journal.close(9)
    assert list(journal.plans()) == [f"{SESSION}-C01", f"{SESSION}-S"]


def test_pause_and_withdrawn_consent_leave_nothing_of_their_span() -> None:
    journal = Journal()
    journal.start(2, "C01")
    journal.state(4, "paused", "C01")
    journal.state(6, "recording", "C01")
    journal.state(7, "stopped", "C01")
    journal.finish(9, "C01")
    assert spans(journal.plans()[f"{SESSION}-C01"]) == [(2, 4), (6, 7)]


def test_nothing_of_one_case_is_in_the_package_of_another_or_of_the_session() -> None:
    journal = Journal()
    journal.state(1, "recording")
    journal.start(3, "C01")
    journal.finish(5, "C01", then="recording")
    journal.start(6, "C02")
    journal.finish(8, "C02", then="recording")
    journal.close(9)
    plans = journal.plans()
    assert spans(plans[f"{SESSION}-C01"]) == [(3, 5)]
    assert spans(plans[f"{SESSION}-C02"]) == [(6, 8)]
    assert spans(plans[f"{SESSION}-S"]) == [(1, 3), (5, 6), (8, 9)]


def test_recording_told_to_be_of_no_case_is_still_the_cases_while_one_is_on() -> None:
    journal = Journal()
    journal.state(1, "recording")
    journal.add(3, EventKind.CASE_STARTED, case="C01", by="a")
    journal.state(3.2, "recording", "C01")
    journal.add(5, EventKind.CASE_FINISHED, case="C01", by="a")
    journal.state(5.2, "recording")
    journal.close(7)
    plans = journal.plans()
    assert spans(plans[f"{SESSION}-C01"]) == [(3.2, 5)]
    assert spans(plans[f"{SESSION}-S"]) == [(1, 3), (5.2, 7)]


def test_recorded_span_ends_with_the_crash_and_a_case_goes_on_after_it() -> None:
    journal = Journal()
    journal.start(2, "C01")
    journal.add(4, EventKind.HAND, participant="a", raised=True)
    journal.add(60, EventKind.SESSION_RESUMED, after_ms=4000)
    journal.state(61, "recording", "C01")
    journal.finish(65, "C01")
    assert spans(journal.plans()[f"{SESSION}-C01"]) == [(2, 4), (61, 65)]
    assert open_ends(journal.events) == {4000: 60_000}
    assert why_hole(journal.events, 4000, 61_000) is Hole.CRASH


def test_crash_right_after_the_start_leaves_an_empty_span_to_be_extended() -> None:
    journal = Journal()
    journal.start(2, "C01")
    journal.close(90, reason="interrupted")
    plans = journal.plans()
    assert spans(plans[f"{SESSION}-C01"]) == [(2, 2)]
    assert spans(plans[f"{SESSION}-S"]) == []
    assert open_ends(journal.events) == {2000: 90_000}


def test_interrupted_session_ends_with_its_last_event_and_closes_its_case() -> None:
    journal = Journal()
    journal.start(2, "C01")
    journal.add(4, EventKind.HAND, participant="a", raised=True)
    journal.close(5000, reason="interrupted")
    plan = journal.plans()[f"{SESSION}-C01"]
    assert (plan.ended_ms, spans(plan)) == (4000, [(2, 4)])


def test_spans_that_touch_are_one() -> None:
    journal = Journal()
    journal.state(1, "recording")
    journal.state(2, "recording")
    journal.close(3)
    assert spans(journal.plans()[f"{SESSION}-S"]) == [(1, 3)]


def test_hole_of_the_session_that_a_case_made_is_told_as_such() -> None:
    journal = Journal()
    journal.state(1, "recording")
    journal.start(3, "C01")
    journal.finish(5, "C01", then="recording")
    journal.state(6, "paused")
    journal.state(7, "recording")
    assert why_hole(journal.events, 3000, 5000) is Hole.CASE
    assert why_hole(journal.events, 6000, 7000) is Hole.PAUSE


def test_stage_falls_back_to_who_spoke_last_and_then_to_who_came_first() -> None:
    journal = Journal()
    journal.join(1, "a", "b", "c")
    journal.add(2, EventKind.SPEAKERS, voices=["b"], dominant="b")
    journal.add(3, EventKind.SPEAKERS, voices=[], dominant=None)
    journal.add(4, EventKind.STAGE, participant="c", mode="chair")
    journal.add(5, EventKind.PARTICIPANT_LEFT, participant="c", reason="left")
    journal.add(6, EventKind.SESSION_RESUMED, after_ms=5000)
    shown = [(scene.at_ms, scene.on_stage and scene.on_stage.participant) for scene in scenes(journal.events)]
    assert shown == [(1000, "a"), (2000, "b"), (3000, "b"), (4000, "c"), (5000, "b"), (6000, None)]


def test_turns_join_short_breaks_but_not_pauses() -> None:
    journal = Journal()
    journal.join(0.5, "a", "b")
    for seconds, voices in ((1, ["a"]), (2, []), (2.5, ["a", "b"]), (4, ["b"]), (6, [])):
        journal.add(seconds, EventKind.SPEAKERS, voices=voices, dominant=None)
    whole = turns(journal.events, [Span(0, 9000)])
    assert [(turn.site, turn.start_ms, turn.end_ms) for turn in whole] == [
        ("Site a", 1000, 4000),
        ("Site b", 2500, 6000),
    ]
    parted = turns(journal.events, [Span(0, 3000), Span(3500, 9000)])
    assert [(turn.participant, turn.start_ms, turn.end_ms) for turn in parted] == [
        ("a", 1000, 3000),
        ("b", 2500, 3000),
        ("a", 3500, 4000),
        ("b", 3500, 6000),
    ]


def test_content_is_on_show_until_it_is_taken_back_and_only_within_the_spans() -> None:
    journal = Journal()
    journal.join(0.5, "a")
    journal.add(1, EventKind.CONTENT, participant="a", source="content")
    journal.add(2, EventKind.SPEAKERS, voices=["a"], dominant="a")
    journal.add(5, EventKind.CONTENT, participant=None, source=None)
    found = showings(journal.events, [Span(0, 3000), Span(4000, 9000)])
    assert [(showing.start_ms, showing.end_ms) for showing in found] == [(1000, 3000), (4000, 5000)]


def test_journal_without_a_beginning_makes_no_package() -> None:
    assert plan_packages([]) == []
    assert plan_packages(Journal().events[1:]) == []


def test_chapters_follow_the_stage_and_not_every_word() -> None:
    journal = Journal()
    journal.join(0.5, "a", "b", "c")
    journal.state(1, "recording")
    journal.add(1, EventKind.STAGE, participant="a", mode="chair")
    # Somebody else for a moment, then for long, with a word here and there.
    journal.add(10, EventKind.STAGE, participant="c", mode="chair")
    journal.add(11, EventKind.STAGE, participant="a", mode="chair")
    journal.add(20, EventKind.STAGE, participant="b", mode="chair")
    for seconds in range(20, 40):
        journal.add(seconds, EventKind.SPEAKERS, voices=["b"] if seconds % 2 else [], dominant=None)
    journal.close(40)
    plan = journal.plans()[f"{SESSION}-S"]
    text = chapters(plan, journal.events, make_reel(plan.spans, journal.events))
    assert re.findall(r"(\S+) --> (\S+)\n(.*)\n", text) == [
        ("00:00:00.000", "00:00:19.000", "Site a"),
        ("00:00:19.000", "00:00:39.000", "Site b"),
    ]


STATES = ("recording", "paused", "waiting", "stopped", "failed")
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        # Most of all what makes a difference.
        st.sampled_from(["start", "finish", "crash", *["recording"] * 4, *STATES]),
        st.sampled_from(["C01", "C02", None]),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([None, "room-closed", "interrupted"]))
def test_no_moment_is_in_two_packages_or_in_one_while_nothing_was_recorded(
    steps: list[tuple[int, str, str | None]], reason: str | None
) -> None:
    journal, seconds = Journal(), 1
    is_recording, open_cases = False, set[str]()
    # What may be in which package, second by second.
    recorded: dict[int, set[str]] = {}
    for wait, step, case in steps:
        for second in range(seconds, seconds + wait):
            recorded[second] = set(open_cases) if is_recording else {"nothing"}
        seconds += wait
        if step == "crash":
            journal.add(seconds + 100, EventKind.SESSION_RESUMED, after_ms=seconds * 1000)
            seconds, is_recording = seconds + 100, False
        elif step in STATES:
            journal.state(seconds, step, case)
            is_recording = step == "recording"
        elif case is not None and step == "start":
            journal.add(seconds, EventKind.CASE_STARTED, case=case, by="a")
            open_cases.add(case)
        elif case is not None and case in open_cases:
            journal.add(seconds, EventKind.CASE_FINISHED, case=case, by="a")
            open_cases.discard(case)
    if reason is not None:
        journal.close(seconds + 1, reason=reason)
    plans = plan_packages(journal.events)
    seen: set[int] = set()
    for plan in plans:
        for span in plan.spans:
            for second in range(span.start_ms // 1000, span.end_ms // 1000):
                assert second not in seen
                seen.add(second)
                allowed = recorded.get(second, set())
                assert allowed != {"nothing"}
                if second in recorded:
                    assert plan.case in allowed if plan.case else not allowed
