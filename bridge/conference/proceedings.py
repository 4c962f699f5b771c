"""The proceedings of a room: its cases, whether it is recorded, and what its journal is told.

`cases` decides; here a decision becomes journal events, orders to the record, and news for everybody.
The order at a change is what keeps media without a right out of the files: capture ends before the event
that ends the right is written, and begins after the event that gives it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bridge import messages
from bridge.base.errors import Refused
from bridge.base.words import (
    CaseState,
    ConferenceKind,
    ConsentState,
    RecordAction,
    RecordingPolicy,
    RecordProblem,
    Source,
)
from bridge.conference.cases import (
    CaseBook,
    Hold,
    Verdict,
    decide,
    hold_after,
    policy_after,
    strictest,
)
from bridge.conference.leading import Leading
from bridge.conference.participants import LeaveReason, Participant
from bridge.conference.record import OpenRecord, RoomRecord
from bridge.messages import BridgeMessage, CaseLine, ChatLine, RecordingStatus
from bridge.store.journal import Event, EventKind

if TYPE_CHECKING:
    from bridge.sfu import Router

# The only purpose that consent is asked for: the patient's own care. Any other needs a consent of its own.
PURPOSE = "care"


class Audience(Protocol):
    """Whom the proceedings tell their news."""

    def broadcast(self, message: BridgeMessage) -> None:
        """Tell everybody in the room."""

    def case_changes(self) -> None:
        """A case is about to begin or to end."""

    def tell_moderators(self, message: BridgeMessage) -> None:
        """Tell those who may moderate."""


class Proceedings:
    """What one room's session consists of; owns the record."""

    def __init__(
        self,
        room_id: str,
        title: str,
        *,
        kind: ConferenceKind,
        policies: Mapping[ConferenceKind, RecordingPolicy],
        router: "Router",
        open_record: OpenRecord,
        audience: Audience,
        case_left_s: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        # Passed by argument.
        self._audience = audience
        self._clock = clock
        self._wall_clock = wall_clock
        self._policies = policies
        # Allocated by this.
        self._present: set[str] = set()
        # False after so long without any person that devices alone do not make a conference.
        self._is_attended = True
        self._problem: RecordProblem | None = None
        self._has_failed = False
        self._policy = RecordingPolicy.OFF
        self._book = CaseBook()
        self._hold = Hold.NONE
        self._leading = Leading(case_left_s)
        self._verdict = self._decide()
        self._case_id: str | None = None
        # What the journal says now; it begins, and goes on after a crash, with no word on it.
        self._noted: tuple[str, str | None, str | None] | None = None
        self._since_ms = self._now_ms()
        self.record: RoomRecord | None = None
        # Last, as the record may have something to report while it is opened.
        self.record = open_record(room_id, title, kind, router, self)
        self.kind = kind if self.record is None else _kind(self.record.restored, kind)
        if self.record is not None:
            own = policies.get(self.kind, RecordingPolicy.OFF)
            self._policy = policy_after(self.record.restored, own)
            self._book = CaseBook(self.record.restored)
            self._hold = hold_after(self.record.restored)
            self._leading = Leading(case_left_s, is_resumed=self._book.active is not None)
            self._verdict, self._case_id = self._decide(), self._active_id

    @property
    def restored(self) -> Sequence[Event]:
        """The events so far of an interrupted session that goes on."""
        return () if self.record is None else self.record.restored

    # What everybody may know.

    @property
    def status(self) -> RecordingStatus:
        """Whether the room is recorded, and if not, why not."""
        active = self._book.active
        return RecordingStatus(
            state=self._verdict.state,
            reason=self._verdict.reason,
            case=active.id if active else None,
            code=active.code if active else None,
            problem=self._problem,
            since_ms=self._since_ms,
        )

    @property
    def had_case(self) -> bool:
        """Whether a case has been begun."""
        return any(case.state is not CaseState.PLANNED for case in self._book.cases)

    @property
    def policy(self) -> RecordingPolicy:
        """When the room is recorded, whatever a link says of it."""
        return self._policy

    @property
    def is_prepared(self) -> bool:
        """Whether cases are planned for a conference that has not begun with them."""
        return self._book.is_prepared

    @property
    def cases(self) -> tuple[CaseLine, ...]:
        """The list of cases, for moderators."""
        return tuple(
            CaseLine(case.id, case.code, case.site, case.state, case.consent) for case in self._book.cases
        )

    # What moderators ask for; each raises Refused when it is not possible now.

    def add_case(self, code: str, site: str | None, *, by: Participant) -> None:
        """Put a case on the list."""
        case = self._book.add(code, site)
        self._change((EventKind.CASE_ADDED, {"case": case.id, "code": code, "site": site}), by=by)
        self._tell_cases()

    def remove_case(self, case_id: str, *, by: Participant) -> None:
        """Take a planned case off the list."""
        self._book.remove(case_id)
        self._change((EventKind.CASE_REMOVED, {"case": case_id}), by=by)
        self._tell_cases()

    def start_case(self, case_id: str, *, by: Participant) -> None:
        """Begin a case; another one that is open is finished first."""
        finished, _ = self._book.start(case_id)
        self._leading.case_changed(is_open=True)
        self._audience.case_changes()
        events = [(EventKind.CASE_STARTED, {"case": case_id, "by": by.id})]
        if finished is not None:
            events.insert(0, (EventKind.CASE_FINISHED, {"case": finished.id, "by": by.id}))
        self._change(*events, by=by, changes_case=True, ends_case=finished is not None)
        self._tell_cases()

    def finish_case(self, case_id: str, *, by: Participant) -> None:
        """End a case for good, so that it can be archived while the conference goes on."""
        self._book.finish(case_id)
        self._leading.case_changed(is_open=False)
        self._audience.case_changes()
        self._change(
            (EventKind.CASE_FINISHED, {"case": case_id, "by": by.id}),
            by=by,
            changes_case=True,
            ends_case=True,
        )
        self._tell_cases()

    def confirm_case(self, case_id: str, code: str, *, by: Participant) -> None:
        """Let the open case go on that was left or interrupted; harmless when nobody doubts it."""
        self._book.check_active(case_id, code)
        if self._leading.doubt is not None:
            self._leading.confirm()
            self._change((EventKind.CASE_CONFIRMED, {"case": case_id, "by": by.id}), by=by)

    def state_consent(self, case_id: str, consent: ConsentState, *, by: Participant) -> None:
        """Note what the patient said; it takes effect at once. Raises InvalidMessage for `unknown`."""
        case = self._book.state_consent(case_id, consent)
        if case is None:
            return
        data = {"case": case_id, "purpose": PURPOSE, "state": consent.value, "by": by.id}
        self._change((EventKind.CONSENT, data), by=by)
        if case.state is CaseState.FINISHED and self.record is not None:
            # Its package may be on its way to the PACS by now.
            self.record.hand_over()
        self._tell_cases()

    def control(self, action: RecordAction, *, by: Participant) -> None:
        """Pause, resume, stop or start the recording; harmless when that is done already."""
        wanted = {RecordAction.PAUSE: Hold.PAUSED, RecordAction.STOP: Hold.STOPPED}.get(action, Hold.NONE)
        if action is RecordAction.START and self._has_failed and self._policy is not RecordingPolicy.OFF:
            self._start_again(by)
            return
        if action is RecordAction.RESUME and self._verdict.is_in_doubt:
            raise Refused("case-unconfirmed", "say first, by its code, that the open case goes on")
        if not self._is_possible(action, wanted):
            raise Refused("not-recording", f"the recording is {self._verdict.state}: no {action} now")
        if wanted is not self._hold:
            self._hold = wanted
            self._change(by=by)

    def _is_possible(self, action: RecordAction, wanted: Hold) -> bool:
        if self._policy is RecordingPolicy.OFF or self._has_failed:
            return False
        if wanted is self._hold:
            return True
        if action is RecordAction.PAUSE:
            return self._verdict.is_recording
        if action is RecordAction.RESUME:
            return self._hold is Hold.PAUSED
        return action is RecordAction.STOP or self._hold is Hold.STOPPED

    def _start_again(self, by: Participant) -> None:
        """Record after a failure: the disk may be well again, and only people know."""
        if self.record is None or not self.record.retry():
            raise Refused("not-recording", "the recording cannot be started again in this room")
        self._has_failed = False
        self._hold = Hold.NONE
        self._change(by=by)

    # What happens in the room.

    def participant_joined(self, participant: Participant) -> None:
        """Somebody is about to come in; to be called before they are told of the room."""
        data = {
            "participant": participant.id,
            "site": participant.site,
            "level": participant.claims.level.value,
            "role": participant.role.value,
            "name": participant.name,
            "device": participant.is_device,
            # By it the same site is known again after a restart; nobody can come in with it.
            "link": participant.claims.id,
        }
        # A screen that only watches (WHEP) does not make a conference.
        if not participant.is_device or participant.may_publish:
            self._present.add(participant.id)
        self._is_attended = self._is_attended or not participant.is_device
        self._leading.came(participant, self._clock())
        events: list[tuple[EventKind, Mapping[str, Any]]] = [(EventKind.PARTICIPANT_JOINED, data)]
        policy = strictest(self._policy, self._policies.get(participant.claims.conference_kind, self._policy))
        if policy is not self._policy:
            # Its holder was told, and may have told a patient, that no more than this is recorded.
            self._policy = policy
            events.append((EventKind.POLICY, {"policy": policy.value, "participant": participant.id}))
        self._change(*events)

    def participant_left(self, participant: Participant, reason: LeaveReason) -> None:
        """Somebody is no longer in the room."""
        self._present.discard(participant.id)
        self._leading.left(participant, self._clock())
        self._change((EventKind.PARTICIPANT_LEFT, {"participant": participant.id, "reason": reason.value}))

    def line_lost(self, participant: Participant) -> None:
        """The line of somebody in the room is lost; it may be back, or not."""
        self._leading.left(participant, self._clock())

    def line_back(self, participant: Participant) -> None:
        """Somebody whose line was lost is back; to be called before they are told of the room."""
        self._leading.back(participant, self._clock())
        self._change()

    def nobody_attends(self) -> None:
        """No person has been there for long: devices alone are not recorded."""
        self._is_attended = False
        self._change()

    def poll(self, now: float) -> None:
        """Do what is due."""
        if self._leading.poll(now):
            self._change()

    def chat(self, line: ChatLine) -> None:
        """Somebody wrote a line; it is kept only while the room is recorded."""
        if self._verdict.is_recording:
            data = {"participant": line.participant, "name": line.name, "site": line.site, "text": line.text}
            self.note(EventKind.CHAT, data)

    def note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Write an event into the journal, where there is one."""
        if self.record is not None:
            self.record.note(kind, data)

    def withhold(self, participant: str, source: Source, is_withheld: bool) -> None:
        """Let the record leave out what somebody shares, or no longer."""
        if self.record is not None:
            self.record.withhold(participant, source, is_withheld)

    def close(self, reason: str) -> None:
        """End the session, or leave it to be gone on with; harmless twice."""
        if self.record is not None:
            self.record.close(reason)

    # What the record reports.

    def record_problem_changed(self, problem: RecordProblem | None) -> None:
        """The recording is threatened or harmed, or no longer is; the record journals it itself."""
        if problem is not self._problem:
            self._problem = problem
            self._tell_status()

    def record_failed(self) -> None:
        """Nothing can be captured any more."""
        self._has_failed = True
        self._change()

    # One change.

    def _change(
        self,
        *events: tuple[EventKind, Mapping[str, Any]],
        by: Participant | None = None,
        changes_case: bool = False,
        ends_case: bool = False,
    ) -> None:
        """Carry out what follows from a change that is already in the book, and write it down.

        What was captured belongs to the case that was open then, so nothing is while another one begins.
        """
        before, before_id = self._verdict, self._case_id
        self._verdict, self._case_id = self._decide(), self._active_id
        was_recording, is_recording = before.is_recording, self._verdict.is_recording
        if was_recording and (changes_case or not is_recording):
            self._capture(False)
        for kind, data in events:
            self.note(kind, data)
        if self._news != self._noted:
            self._note_state(by)
        if ends_case and self.record is not None:
            self.record.cut()
        if is_recording and (changes_case or not was_recording):
            self._capture(True)
        if (before, before_id) != (self._verdict, self._case_id):
            self._tell_status()

    def _note_state(self, by: Participant | None) -> None:
        self._noted = self._news
        self._since_ms = self._now_ms()
        data = {
            "state": self._verdict.state.value,
            "by": by.id if by else None,
            "case": self._case_id,
        }
        if self._verdict.is_in_doubt:
            data["reason"] = self._verdict.reason
        self.note(EventKind.RECORDING_STATE, data)

    def _capture(self, is_on: bool) -> None:
        if self.record is not None:
            self.record.capture(is_on)

    def _decide(self) -> Verdict:
        return decide(
            self._policy,
            self._book.active,
            hold=self._hold,
            is_anybody_here=bool(self._present) and self._is_attended,
            has_failed=self._has_failed,
            doubt=self._leading.doubt,
        )

    @property
    def _news(self) -> tuple[str, str | None, str | None]:
        """What the journal is told of the state."""
        verdict = self._verdict
        return verdict.state, self._case_id, verdict.reason if verdict.is_in_doubt else None

    @property
    def _active_id(self) -> str | None:
        active = self._book.active
        return active.id if active else None

    def _tell_status(self) -> None:
        status = self.status
        self._audience.broadcast(
            messages.RecordingChange(
                status.state, status.reason, status.case, status.code, status.problem, status.since_ms
            )
        )

    def _tell_cases(self) -> None:
        self._audience.tell_moderators(messages.Cases(self.cases))

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)


def _kind(restored: Sequence[Event], otherwise: ConferenceKind) -> ConferenceKind:
    """Return what kind a session that goes on has been from its beginning, whatever a link says now."""
    for event in restored:
        if event.kind is EventKind.SESSION_OPENED:
            return ConferenceKind(event.data["conference_kind"])
    return otherwise
