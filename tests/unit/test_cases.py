"""The case book and the rule of recording."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.base.errors import InvalidMessage, Refused, RequestError
from bridge.base.words import CaseState, ConsentState, RecordingPolicy, RecordingState, WaitingReason
from bridge.conference.cases import NUMBER_MAX, Case, CaseBook, Hold, Verdict, decide, hold_after
from bridge.messages import CASES_MAX
from bridge.store.journal import Chain, Event, EventKind

OFF, ON_CONSENT, AUTO = RecordingPolicy
UNKNOWN, GRANTED, REFUSED, WITHDRAWN = ConsentState


def book_with(*codes: str) -> CaseBook:
    book = CaseBook()
    for code in codes:
        book.add(code, None)
    return book


def events(*lines: tuple[EventKind, dict[str, object]]) -> list[Event]:
    chain = Chain()
    return [chain.append(kind, data, 0) for kind, data in lines]


def test_cases_are_numbered_in_the_order_in_which_they_are_added() -> None:
    book = book_with("BN-0423", "BN-0424")
    assert [(case.id, case.code) for case in book.cases] == [("C01", "BN-0423"), ("C02", "BN-0424")]
    assert all(case.state is CaseState.PLANNED and case.consent is UNKNOWN for case in book.cases)


def test_a_removed_cases_number_is_not_given_again() -> None:
    book = book_with("a", "b")
    book.remove("C02")
    assert book.add("c", None).id == "C03"


@pytest.mark.parametrize("code", ["", "Nguyễn Văn A", "BN 0423", "a/b", "../x", "x" * 41, "BN-1\n", "ả"])
def test_a_code_that_could_be_a_name_or_a_path_is_refused(code: str) -> None:
    with pytest.raises(Refused, match="invalid-case-code"):
        CaseBook().add(code, None)


def test_a_code_is_unique_among_the_cases_that_are_not_finished() -> None:
    book = book_with("BN-1")
    with pytest.raises(Refused, match="case-code-taken"):
        book.add("bn-1", None)
    book.start("C01")
    with pytest.raises(Refused, match="case-code-taken"):
        book.add("BN-1", None)
    book.finish("C01")
    assert book.add("BN-1", None).id == "C02"


def test_the_list_of_cases_is_bounded() -> None:
    book = book_with(*(f"n{number}" for number in range(CASES_MAX)))
    with pytest.raises(Refused, match="too-many-cases"):
        book.add("more", None)
    for number in range(CASES_MAX, NUMBER_MAX):
        book.remove(book.cases[0].id)
        book.add(f"n{number}", None)
    book.remove(book.cases[0].id)
    with pytest.raises(Refused, match="too-many-cases"):
        book.add("more", None)


def test_starting_a_case_finishes_the_one_that_was_active() -> None:
    book = book_with("a", "b")
    assert book.start("C01") == (None, Case("C01", "a", None, CaseState.ACTIVE))
    finished, started = book.start("C02")
    assert finished == Case("C01", "a", None, CaseState.FINISHED)
    assert book.active == started == Case("C02", "b", None, CaseState.ACTIVE)


def test_a_case_never_goes_back() -> None:
    book = book_with("a")
    with pytest.raises(Refused, match="wrong-case-state"):
        book.finish("C01")
    book.start("C01")
    for step in (book.start, book.remove):
        with pytest.raises(Refused, match="wrong-case-state"):
            step("C01")
    book.finish("C01")
    for step in (book.start, book.finish, book.remove):
        with pytest.raises(Refused, match="wrong-case-state"):
            step("C01")


def test_a_case_that_is_not_there_is_refused() -> None:
    book = CaseBook()
    for step in (book.start, book.finish, book.remove, lambda case: book.state_consent(case, GRANTED)):
        with pytest.raises(Refused, match="unknown-case"):
            step("C01")


def test_consent_is_stated_changed_and_withdrawn_until_the_case_is_finished() -> None:
    book = book_with("a")
    with pytest.raises(Refused, match="no-consent"):
        book.state_consent("C01", WITHDRAWN)
    assert book.state_consent("C01", GRANTED)
    assert not book.state_consent("C01", GRANTED)
    assert book.state_consent("C01", WITHDRAWN)
    assert book.state_consent("C01", REFUSED)
    with pytest.raises(Refused, match="no-consent"):
        book.state_consent("C01", WITHDRAWN)
    with pytest.raises(InvalidMessage):
        book.state_consent("C01", UNKNOWN)
    book.start("C01")
    assert book.state_consent("C01", GRANTED)
    book.finish("C01")
    with pytest.raises(Refused, match="wrong-case-state"):
        book.state_consent("C01", REFUSED)
    # That stays possible for good, and is the last word.
    assert book.state_consent("C01", WITHDRAWN)
    with pytest.raises(Refused, match="wrong-case-state"):
        book.state_consent("C01", GRANTED)


def test_a_book_is_rebuilt_from_the_journal() -> None:
    book = CaseBook(
        events(
            (EventKind.CASE_ADDED, {"case": "C01", "code": "a", "site": None}),
            (EventKind.CASE_ADDED, {"case": "C02", "code": "b", "site": "TTYT Mường Nhé"}),
            (EventKind.CASE_ADDED, {"case": "C03", "code": "c", "site": None}),
            (EventKind.CONSENT, {"case": "C02", "purpose": "care", "state": "granted", "by": "p-1"}),
            (EventKind.CASE_STARTED, {"case": "C01", "by": "p-1"}),
            (EventKind.CASE_FINISHED, {"case": "C01", "by": "p-1"}),
            (EventKind.CASE_STARTED, {"case": "C02", "by": "p-1"}),
            (EventKind.CASE_REMOVED, {"case": "C03"}),
            (EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": "C02"}),
        )
    )
    assert book.cases == (
        Case("C01", "a", None, CaseState.FINISHED),
        Case("C02", "b", "TTYT Mường Nhé", CaseState.ACTIVE, GRANTED),
    )
    assert book.add("d", None).id == "C04"


def test_a_case_in_doubt_is_paused_by_nobody() -> None:
    doubted = {"state": "paused", "by": None, "case": "C01", "reason": "case-left"}
    paused = {"state": "paused", "by": "p-1", "case": "C01"}
    assert hold_after(events((EventKind.RECORDING_STATE, doubted))) is Hold.NONE
    assert hold_after(events(*[(EventKind.RECORDING_STATE, one) for one in (paused, doubted)])) is Hold.PAUSED


@pytest.mark.parametrize(
    ("states", "hold"),
    [
        ([], Hold.NONE),
        (["recording"], Hold.NONE),
        (["recording", "paused"], Hold.PAUSED),
        (["recording", "paused", "recording"], Hold.NONE),
        (["waiting", "stopped"], Hold.STOPPED),
        (["recording", "failed"], Hold.NONE),
        (["recording", "paused", "failed"], Hold.PAUSED),
        (["stopped", "off"], Hold.STOPPED),
    ],
)
def test_a_pause_or_stop_outlives_a_crash(states: list[str], hold: Hold) -> None:
    lines = [(EventKind.RECORDING_STATE, {"state": state, "by": None, "case": None}) for state in states]
    assert hold_after(events(*lines)) is hold


def verdict(
    policy: RecordingPolicy,
    active: ConsentState | None,
    *,
    hold: Hold = Hold.NONE,
    is_anybody_here: bool = True,
    has_failed: bool = False,
    doubt: WaitingReason | None = None,
) -> tuple[str, str | None]:
    case = None if active is None else Case("C01", "a", None, CaseState.ACTIVE, active)
    said = decide(
        policy, case, hold=hold, is_anybody_here=is_anybody_here, has_failed=has_failed, doubt=doubt
    )
    return said.state.value, said.reason.value if said.reason else None


@pytest.mark.parametrize("active", [None, *ConsentState])
def test_nothing_is_recorded_where_recording_is_off(active: ConsentState | None) -> None:
    assert verdict(OFF, active) == ("off", None)


@pytest.mark.parametrize(
    ("policy", "active", "said"),
    [
        (ON_CONSENT, None, ("waiting", "no-case")),
        (ON_CONSENT, UNKNOWN, ("waiting", "no-consent")),
        (ON_CONSENT, GRANTED, ("recording", None)),
        (ON_CONSENT, REFUSED, ("waiting", "consent-refused")),
        (ON_CONSENT, WITHDRAWN, ("waiting", "consent-withdrawn")),
        (AUTO, None, ("recording", None)),
        (AUTO, UNKNOWN, ("waiting", "no-consent")),
        (AUTO, GRANTED, ("recording", None)),
        (AUTO, REFUSED, ("waiting", "consent-refused")),
        (AUTO, WITHDRAWN, ("waiting", "consent-withdrawn")),
    ],
)
def test_policy_and_consent_decide(
    policy: RecordingPolicy, active: ConsentState | None, said: tuple[str, str | None]
) -> None:
    assert verdict(policy, active) == said


def test_the_stronger_reason_is_the_one_that_is_said() -> None:
    assert verdict(AUTO, REFUSED, is_anybody_here=False) == ("waiting", "nobody-here")
    assert verdict(AUTO, None, hold=Hold.PAUSED, is_anybody_here=False) == ("paused", None)
    assert verdict(AUTO, None, hold=Hold.STOPPED) == ("stopped", None)
    assert verdict(AUTO, None, hold=Hold.STOPPED, has_failed=True) == ("failed", None)
    assert verdict(OFF, None, has_failed=True) == ("off", None)
    for consent, said in ((GRANTED, ("paused", "case-left")), (REFUSED, ("waiting", "consent-refused"))):
        assert verdict(AUTO, consent, doubt=WaitingReason.CASE_LEFT) == said
    assert verdict(AUTO, None, doubt=WaitingReason.CASE_LEFT) == ("recording", None)


@given(
    st.sampled_from(RecordingPolicy),
    st.none() | st.sampled_from(ConsentState),
    st.sampled_from(Hold),
    st.booleans(),
    st.booleans(),
)
def test_a_reason_is_given_exactly_while_it_waits(
    policy: RecordingPolicy, active: ConsentState | None, hold: Hold, is_here: bool, has_failed: bool
) -> None:
    state, reason = verdict(policy, active, hold=hold, is_anybody_here=is_here, has_failed=has_failed)
    assert (state == "waiting") == (reason is not None)


class Consents(RuleBasedStateMachine):
    """Whatever is asked in whatever order, a verdict to record is never without its right."""

    @initialize(policy=st.sampled_from(RecordingPolicy))
    def begin(self, policy: RecordingPolicy) -> None:
        self.policy = policy
        self.book = CaseBook()
        # Kept beside the book, from what was accepted alone.
        self.said: dict[str, ConsentState] = {}
        self.open: str | None = None

    @rule(code=st.sampled_from("ab"))
    def add(self, code: str) -> None:
        try:
            self.said[self.book.add(code, None).id] = UNKNOWN
        except Refused:
            assert len(self.book.cases) > 0

    @rule(number=st.integers(1, 3))
    def remove(self, number: int) -> None:
        try:
            self.book.remove(f"C{number:02d}")
        except Refused:
            return
        assert self.open != f"C{number:02d}"

    @rule(number=st.integers(1, 3))
    def start(self, number: int) -> None:
        try:
            finished, _ = self.book.start(f"C{number:02d}")
        except Refused:
            return
        assert (finished.id if finished else None) == self.open
        self.open = f"C{number:02d}"

    @rule(number=st.integers(1, 3))
    def finish(self, number: int) -> None:
        try:
            self.book.finish(f"C{number:02d}")
        except Refused:
            return
        assert self.open == f"C{number:02d}"
        self.open = None

    @rule(number=st.integers(1, 3), consent=st.sampled_from(ConsentState))
    def consent(self, number: int, consent: ConsentState) -> None:
        try:
            self.book.state_consent(f"C{number:02d}", consent)
        except RequestError:
            return
        self.said[f"C{number:02d}"] = consent

    @invariant()
    def at_most_one_case_is_active(self) -> None:
        active = [case for case in self.book.cases if case.state is CaseState.ACTIVE]
        assert [case.id for case in active] == ([self.open] if self.open else [])

    @invariant()
    def nothing_is_recorded_without_the_right(self) -> None:
        said: Verdict = decide(
            self.policy, self.book.active, hold=Hold.NONE, is_anybody_here=True, has_failed=False
        )
        if said.state is not RecordingState.RECORDING:
            return
        assert self.policy is not RecordingPolicy.OFF
        consent = self.said[self.open] if self.open else None
        if self.policy is RecordingPolicy.ON_CONSENT:
            assert consent is GRANTED
        assert consent not in (REFUSED, WITHDRAWN)

    @invariant()
    def waiting_for_a_case_means_that_none_is_open(self) -> None:
        said = decide(self.policy, self.book.active, hold=Hold.NONE, is_anybody_here=True, has_failed=False)
        if said.reason is WaitingReason.NO_CASE:
            assert self.open is None


TestConsents = Consents.TestCase
TestConsents.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
