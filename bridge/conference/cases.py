"""The cases of a conference, and when it may be recorded. Pure: decides, and leaves every deed to others.

A case is planned, then active, then finished, and never goes back; at most one is active. Its patient's
consent starts as unknown: silence is not consent.

`decide` is the whole rule of recording, the strongest reason first:

    policy off            off        never
    the record is broken  failed     until the next session
    a moderator stopped   stopped    until a moderator starts
    a moderator paused    paused     until a moderator resumes
    nobody is here        waiting    until somebody comes
    no consent            waiting    while a case is active whose patient has not said yes
    on-consent only       waiting    while no case is active
    the case is in doubt  paused     until a moderator confirms that it goes on (see `leading`)
    else                  recording
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from bridge.base.errors import InvalidMessage, Refused
from bridge.base.words import CaseState, ConsentState, RecordingPolicy, RecordingState, WaitingReason
from bridge.messages import CASES_MAX
from bridge.store.journal import Event, EventKind

# Numbers are never given twice, not even after a removal: packages are named by them.
NUMBER_MAX: Final = 99

_CODE = re.compile(r"[A-Za-z0-9._-]{1,40}")


@dataclass(frozen=True, slots=True)
class Case:
    """One patient's item of the agenda, by number (C01) and pseudonymous code."""

    id: str
    code: str
    site: str | None
    state: CaseState = CaseState.PLANNED
    consent: ConsentState = ConsentState.UNKNOWN


class CaseBook:
    """The cases of one session, in the order in which they were added."""

    __slots__ = ("_cases", "_last_number")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        """Begin with what the events of an interrupted session say."""
        self._cases: dict[str, Case] = {}
        self._last_number = 0
        for event in events:
            self._replay(event)

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases that were not removed."""
        return tuple(self._cases.values())

    @property
    def is_prepared(self) -> bool:
        """Whether there is a list for a conference that has not begun with it."""
        return bool(self._cases) and all(case.state is CaseState.PLANNED for case in self._cases.values())

    @property
    def active(self) -> Case | None:
        """The case that is discussed now."""
        return next((case for case in self._cases.values() if case.state is CaseState.ACTIVE), None)

    def add(self, code: str, site: str | None) -> Case:
        """Add a planned case; raises Refused."""
        if not _CODE.fullmatch(code):
            raise Refused("invalid-case-code", "a code has 1 to 40 of A to Z, a to z, 0 to 9, - . and _")
        if len(self._cases) >= CASES_MAX or self._last_number >= NUMBER_MAX:
            raise Refused("too-many-cases", f"a conference has at most {CASES_MAX} cases")
        if any(_is_open(case) and case.code.casefold() == code.casefold() for case in self._cases.values()):
            raise Refused("case-code-taken", "a case of this code is planned or active")
        self._last_number += 1
        return self._put(Case(f"C{self._last_number:02d}", code, site))

    def remove(self, case_id: str) -> Case:
        """Take a planned case off the list; raises Refused."""
        case = self._in_state(case_id, CaseState.PLANNED)
        del self._cases[case_id]
        return case

    def start(self, case_id: str) -> tuple[Case | None, Case]:
        """Make a planned case the active one; return whom that finished, and the case. Raises Refused."""
        case = self._in_state(case_id, CaseState.PLANNED)
        before = self.active
        finished = None if before is None else self.finish(before.id)
        return finished, self._put(replace(case, state=CaseState.ACTIVE))

    def finish(self, case_id: str) -> Case:
        """End the active case; raises Refused."""
        return self._put(replace(self._in_state(case_id, CaseState.ACTIVE), state=CaseState.FINISHED))

    def check_active(self, case_id: str, code: str) -> None:
        """Raise Refused unless the active case has this number and this code."""
        if self._in_state(case_id, CaseState.ACTIVE).code != code:
            raise Refused("unknown-case", "the case of this number has another code")

    def state_consent(self, case_id: str, consent: ConsentState) -> Case | None:
        """Note what the patient said; return the case when that is news. Raises Refused or InvalidMessage."""
        case = self._get(case_id)
        if consent is ConsentState.UNKNOWN:
            raise InvalidMessage("invalid-message", "state: what was said cannot be unsaid")
        if not _is_open(case) and consent is not ConsentState.WITHDRAWN:
            raise Refused("wrong-case-state", "the case is finished: consent can only be withdrawn")
        if case.consent is consent:
            return None
        if consent is ConsentState.WITHDRAWN and case.consent is not ConsentState.GRANTED:
            raise Refused("no-consent", "there is no consent to withdraw")
        return self._put(replace(case, consent=consent))

    def _get(self, case_id: str) -> Case:
        case = self._cases.get(case_id)
        if case is None:
            raise Refused("unknown-case", "there is no case of this number")
        return case

    def _in_state(self, case_id: str, state: CaseState) -> Case:
        case = self._get(case_id)
        if case.state is not state:
            raise Refused("wrong-case-state", f"the case is {case.state}, not {state}")
        return case

    def _put(self, case: Case) -> Case:
        self._cases[case.id] = case
        return case

    def _replay(self, event: Event) -> None:
        data = event.data
        if event.kind is EventKind.CASE_ADDED:
            self._put(Case(data["case"], data["code"], data["site"]))
            self._last_number = int(data["case"].removeprefix("C"))
            return
        case = self._cases.get(data.get("case", ""))
        if case is None:
            return
        if event.kind is EventKind.CASE_REMOVED:
            del self._cases[case.id]
        elif event.kind is EventKind.CASE_STARTED:
            self._put(replace(case, state=CaseState.ACTIVE))
        elif event.kind is EventKind.CASE_FINISHED:
            self._put(replace(case, state=CaseState.FINISHED))
        elif event.kind is EventKind.CONSENT:
            self._put(replace(case, consent=ConsentState(data["state"])))


def _is_open(case: Case) -> bool:
    return case.state is not CaseState.FINISHED


class Hold(Enum):
    """Whether a moderator holds the recording back."""

    NONE = auto()
    PAUSED = auto()
    STOPPED = auto()


# What a state says of it; `off` and `failed` hide it, and what was held back before them still is.
_HOLDS = {
    RecordingState.PAUSED: Hold.PAUSED,
    RecordingState.STOPPED: Hold.STOPPED,
    RecordingState.WAITING: Hold.NONE,
    RecordingState.RECORDING: Hold.NONE,
}


def hold_after(events: Iterable[Event]) -> Hold:
    """Return how an interrupted session was held back when its events end."""
    hold = Hold.NONE
    for event in events:
        # A case in doubt is paused by nobody.
        if event.kind is EventKind.RECORDING_STATE and event.data.get("reason") is None:
            hold = _HOLDS.get(RecordingState(event.data["state"]), hold)
    return hold


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the recording does now; the reason only while it waits, or for a case to be confirmed."""

    state: RecordingState
    reason: WaitingReason | None = None

    @property
    def is_recording(self) -> bool:
        """Whether media may be captured."""
        return self.state is RecordingState.RECORDING

    @property
    def is_in_doubt(self) -> bool:
        """Whether a case is to be confirmed first, and nothing stronger holds the recording back."""
        return self.state is RecordingState.PAUSED and self.reason is not None


_WITHOUT_CONSENT = {
    # Silence is not consent, whatever the kind of conference.
    ConsentState.UNKNOWN: WaitingReason.NO_CONSENT,
    ConsentState.REFUSED: WaitingReason.CONSENT_REFUSED,
    ConsentState.WITHDRAWN: WaitingReason.CONSENT_WITHDRAWN,
}


def decide(
    policy: RecordingPolicy,
    active: Case | None,
    *,
    hold: Hold,
    is_anybody_here: bool,
    has_failed: bool,
    doubt: WaitingReason | None = None,
) -> Verdict:
    """Return whether the room is recorded, and if not, why not."""
    if policy is RecordingPolicy.OFF:
        return Verdict(RecordingState.OFF)
    if has_failed:
        return Verdict(RecordingState.FAILED)
    if hold is Hold.STOPPED:
        return Verdict(RecordingState.STOPPED)
    if hold is Hold.PAUSED:
        return Verdict(RecordingState.PAUSED)
    reason = _reason_to_wait(policy, active, is_anybody_here)
    if reason is not None:
        return Verdict(RecordingState.WAITING, reason)
    if doubt is not None and active is not None:
        return Verdict(RecordingState.PAUSED, doubt)
    return Verdict(RecordingState.RECORDING)


def _reason_to_wait(
    policy: RecordingPolicy, active: Case | None, is_anybody_here: bool
) -> WaitingReason | None:
    if not is_anybody_here:
        return WaitingReason.NOBODY_HERE
    if active is not None:
        return _WITHOUT_CONSENT.get(active.consent)
    return None if policy is RecordingPolicy.AUTO else WaitingReason.NO_CASE


def strictest(*policies: RecordingPolicy) -> RecordingPolicy:
    """Return the policy that records least."""
    return min(policies, key=list(RecordingPolicy).index)


def policy_after(events: Iterable[Event], otherwise: RecordingPolicy) -> RecordingPolicy:
    """Return the policy of an interrupted session, which links of other kinds may have made stricter."""
    noted = [RecordingPolicy(event.data["policy"]) for event in events if event.kind is EventKind.POLICY]
    return strictest(otherwise, *noted)
