"""A room asked for anything in any order never captures without a right, and its journal tells all of it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.base.errors import RequestError
from bridge.base.words import ConferenceKind, ConsentState, RecordAction, RecordingPolicy, Role
from bridge.conference.cases import CaseBook
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.messages import (
    AddCase,
    ClientMessage,
    ConfirmCase,
    FinishCase,
    Record,
    RecordingChange,
    RemoveCase,
    StartCase,
    StateConsent,
    Welcome,
)
from bridge.store.journal import EventKind
from tests.unit.conference import Conference, channel
from tests.unit.fake_record import CAPTURE_OFF, CAPTURE_ON, CUT, FakeRecord

# Few enough that the requests of one run meet each other.
NUMBERS = st.integers(1, 3).map("C{:02d}".format)


class AnyOrder(RuleBasedStateMachine):
    """One room, its people, and a record that is read back after a crash."""

    @initialize(policy=st.sampled_from([RecordingPolicy.ON_CONSENT, RecordingPolicy.AUTO]))
    def begin(self, policy: RecordingPolicy) -> None:
        self.policy = policy
        self.record = FakeRecord()
        self.people: list[Participant] = []
        self.is_held = False
        # Kept beside the room, from what happened alone.
        self.is_doubted = False
        self.open()

    def open(self) -> None:
        policies = {ConferenceKind.CONSULTATION: self.policy}
        self.conference = Conference(open_record=self.record.open, policies=policies)

    @rule()
    def somebody_comes(self) -> None:
        if len(self.people) < 3:
            self.people.append(self.conference.enter(Role.CHAIR))

    @precondition(lambda self: self.people)
    @rule()
    def somebody_goes(self) -> None:
        self.conference.room.leave(self.people.pop(), LeaveReason.LEFT, CloseCode.LEFT)
        # Each of them comes with a link of its own.
        if not self.people:
            self.is_doubted = True

    @rule(code=st.sampled_from("ab"))
    def add(self, code: str) -> None:
        self.ask(AddCase(code))

    @rule(case=NUMBERS)
    def start(self, case: str) -> None:
        if self.ask(StartCase(case)):
            self.is_doubted = False

    @rule(case=NUMBERS, consent=st.sampled_from(ConsentState))
    def say(self, case: str, consent: ConsentState) -> None:
        self.ask(StateConsent(case, consent))

    @rule(consent=st.sampled_from(ConsentState))
    def say_of_the_open_case(self, consent: ConsentState) -> None:
        self.ask(StateConsent(self.conference.room.proceedings.status.case or "C01", consent))

    @rule(case=NUMBERS, ending=st.sampled_from([FinishCase, RemoveCase]))
    def end(self, case: str, ending: type[FinishCase | RemoveCase]) -> None:
        self.ask(ending(case))

    @rule()
    def confirm_the_open_case(self) -> None:
        active = next((c for c in self.conference.room.proceedings.cases if c.state == "active"), None)
        if active is not None and self.ask(ConfirmCase(active.case, active.code)):
            self.is_doubted = False

    @rule(action=st.sampled_from(RecordAction))
    def control(self, action: RecordAction) -> None:
        if self.ask(Record(action)):
            self.is_held = action in (RecordAction.PAUSE, RecordAction.STOP)

    # At other times it would only keep a run from going anywhere.
    @precondition(lambda self: self.is_held)
    @rule()
    def the_disk_breaks(self) -> None:
        assert self.record.observer is not None
        self.record.observer.record_failed()

    def ask(self, request: ClientMessage) -> bool:
        """Let a moderator ask, who comes for it if nobody is there; a refusal leaves no trace."""
        if not self.people:
            self.somebody_comes()
        before = len(self.record.events)
        try:
            self.conference.ask(self.people[0], request)
        except RequestError:
            assert len(self.record.events) == before
            return False
        return True

    @rule()
    def the_server_crashes(self) -> None:
        earlier = self.record
        self.record = FakeRecord(restored=earlier.journal())
        self.record.events += earlier.events
        self.people.clear()
        self.is_doubted = True
        self.open()

    @invariant()
    def media_is_captured_only_within_recorded_spans(self) -> None:
        """Reads the log as it is: what was ordered, and what was written down, in order."""
        is_capturing = is_recorded = False
        for line in self.record.log:
            if line == CAPTURE_ON:
                assert is_recorded
                is_capturing = True
            elif line == CAPTURE_OFF:
                is_capturing = False
            elif line.startswith("recording-state"):
                is_recorded = line == "recording-state recording"
                assert is_recorded or not is_capturing
            elif line in ("case-finished", CUT):
                assert not is_capturing
        assert is_capturing == is_recorded == self.record.is_capturing

    @invariant()
    def nothing_is_captured_while_one_case_follows_another(self) -> None:
        is_capturing = False
        for line in self.record.log:
            is_capturing = line == CAPTURE_ON or (is_capturing and line != CAPTURE_OFF)
            assert not (is_capturing and line in ("case-started", "case-finished"))

    @invariant()
    def nothing_that_was_held_back_is_captured(self) -> None:
        assert not (self.is_held and self.record.is_capturing)

    @invariant()
    def no_case_goes_on_by_itself(self) -> None:
        status = self.conference.room.proceedings.status
        assert not (self.is_doubted and status.case and self.record.is_capturing)

    @invariant()
    def what_is_captured_has_a_right(self) -> None:
        if not self.record.is_capturing:
            return
        assert self.people
        active: str | None = None
        consents: dict[str, str] = {}
        for kind, data in self.record.events:
            if kind is EventKind.CASE_STARTED:
                active = data["case"]
            elif kind is EventKind.CASE_FINISHED:
                active = None
            elif kind is EventKind.CONSENT:
                consents[data["case"]] = data["state"]
        said = consents.get(active) if active else None
        assert said == "granted" or (active is None and self.policy is RecordingPolicy.AUTO)

    @invariant()
    def the_journal_has_every_case(self) -> None:
        book = CaseBook(self.record.journal())
        lines = [(case.id, case.code, case.state, case.consent) for case in book.cases]
        told = self.conference.room.proceedings.cases
        assert lines == [(line.case, line.code, line.state, line.consent) for line in told]

    @invariant()
    def everybody_knows_what_is_so(self) -> None:
        status = self.conference.room.proceedings.status
        assert (status.state == "recording") == self.record.is_capturing
        for one in self.people:
            heard = channel(one).of(RecordingChange)
            news = heard[-1] if heard else channel(one).of(Welcome)[0].room.recording
            assert (news.state, news.reason, news.case) == (status.state, status.reason, status.case)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
