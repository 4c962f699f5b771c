"""Rooms and their record: what is journaled, when media is captured, and who is told."""

from typing import Any

import pytest

from bridge import messages
from bridge.base.errors import InvalidMessage, Refused
from bridge.base.words import (
    CaseState,
    ConferenceKind,
    ConsentState,
    RecordAction,
    RecordingPolicy,
    RecordingState,
    RecordProblem,
    Role,
    Source,
    WaitingReason,
)
from bridge.conference.attendance import UNATTENDED_S
from bridge.conference.leading import CASE_LEFT_S
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.messages import (
    AddCase,
    CaseLine,
    Cases,
    ChooseStage,
    ConfirmCase,
    FinishCase,
    GiveFloor,
    RaiseHand,
    Record,
    RecordingChange,
    RemoveCase,
    ResumeRequest,
    SendChat,
    ShowContent,
    StartCase,
    StateConsent,
    Welcome,
)
from bridge.store.journal import Chain, EventKind
from bridge.tokens import TokenKind
from tests.unit.conference import Conference, channel, leg
from tests.unit.fake_record import CAPTURE_OFF, CAPTURE_ON, CUT, HAND_OVER, FakeRecord

POLICIES = {
    ConferenceKind.CONSULTATION: RecordingPolicy.ON_CONSENT,
    ConferenceKind.BRIEFING: RecordingPolicy.AUTO,
    ConferenceKind.TRAINING: RecordingPolicy.OFF,
}
GRANTED, REFUSED, WITHDRAWN = ConsentState.GRANTED, ConsentState.REFUSED, ConsentState.WITHDRAWN


class Recorded(Conference):
    """A conference with a record and a chair in it."""

    def __init__(
        self, kind: ConferenceKind = ConferenceKind.CONSULTATION, record: FakeRecord | None = None
    ) -> None:
        self.record = record or FakeRecord()
        super().__init__(kind=kind, open_record=self.record.open, policies=POLICIES)
        self.chair = self.enter(Role.CHAIR)
        self.record.take()

    def asks(self, message: messages.ClientMessage) -> list[str]:
        """What follows when the chair asks for this, in order."""
        self.ask(self.chair, message)
        return self.record.take()

    def begin(self, code: str = "BN-1", consent: ConsentState | None = GRANTED) -> str:
        """Add a case, state its consent, and start it."""
        self.ask(self.chair, AddCase(code))
        case = self.room.proceedings.cases[-1].case
        if consent is not None:
            self.ask(self.chair, StateConsent(case, consent))
        self.ask(self.chair, StartCase(case))
        self.record.take()
        return case


def auto() -> Recorded:
    return Recorded(ConferenceKind.BRIEFING)


def told(participant: Participant, cls: type[Any]) -> Any:
    """The newest message of a class that the participant was sent."""
    return channel(participant).of(cls)[-1]


# When media is captured.


def test_a_consultation_is_recorded_once_its_case_is_open_and_its_patient_has_consented() -> None:
    conference = Recorded()
    assert conference.asks(AddCase("BN-1")) == ["case-added"]
    assert conference.asks(StartCase("C01")) == ["case-started", "recording-state waiting"]
    assert conference.asks(StateConsent("C01", GRANTED)) == [
        "consent granted",
        "recording-state recording",
        CAPTURE_ON,
    ]
    assert conference.record.of(EventKind.RECORDING_STATE)[-1] == {
        "state": "recording",
        "by": conference.chair.id,
        "case": "C01",
    }


def test_capture_ends_before_the_end_of_the_right_is_written() -> None:
    conference = Recorded()
    conference.begin()
    assert conference.asks(StateConsent("C01", WITHDRAWN)) == [
        CAPTURE_OFF,
        "consent withdrawn",
        "recording-state waiting",
    ]
    assert told(conference.chair, RecordingChange).reason is WaitingReason.CONSENT_WITHDRAWN


def test_a_finished_case_is_cut_off_so_that_it_can_be_archived() -> None:
    conference = Recorded()
    conference.begin()
    assert conference.asks(FinishCase("C01")) == [
        CAPTURE_OFF,
        "case-finished",
        "recording-state waiting",
        CUT,
    ]
    assert told(conference.chair, RecordingChange).reason is WaitingReason.NO_CASE


def test_the_next_case_begins_with_segments_of_its_own() -> None:
    conference = Recorded()
    conference.begin("BN-1")
    conference.asks(AddCase("BN-2"))
    conference.asks(StateConsent("C02", GRANTED))
    assert conference.asks(StartCase("C02")) == [
        CAPTURE_OFF,
        "case-finished",
        "case-started",
        "recording-state recording",
        CUT,
        CAPTURE_ON,
    ]
    assert conference.record.of(EventKind.RECORDING_STATE)[-1]["case"] == "C02"


def test_a_case_without_consent_is_not_recorded_after_one_with_it() -> None:
    conference = Recorded()
    conference.begin("BN-1")
    conference.asks(AddCase("BN-2"))
    log = conference.asks(StartCase("C02"))
    assert log == [CAPTURE_OFF, "case-finished", "case-started", "recording-state waiting", CUT]
    assert not conference.record.is_capturing


def test_a_pause_captures_nothing_until_a_moderator_resumes() -> None:
    conference = Recorded()
    conference.begin()
    assert conference.asks(Record(RecordAction.PAUSE)) == [CAPTURE_OFF, "recording-state paused"]
    assert conference.asks(Record(RecordAction.PAUSE)) == []
    assert conference.asks(Record(RecordAction.RESUME)) == ["recording-state recording", CAPTURE_ON]


def test_a_pause_goes_on_over_the_end_of_a_case() -> None:
    conference = Recorded()
    conference.begin("BN-1")
    conference.asks(Record(RecordAction.PAUSE))
    assert conference.asks(FinishCase("C01")) == ["case-finished", "recording-state paused", CUT]
    conference.begin("BN-2")
    assert not conference.record.is_capturing
    assert conference.asks(Record(RecordAction.RESUME)) == ["recording-state recording", CAPTURE_ON]


def test_a_stopped_recording_can_be_started_again() -> None:
    conference = Recorded()
    conference.begin()
    assert conference.asks(Record(RecordAction.STOP)) == [CAPTURE_OFF, "recording-state stopped"]
    with pytest.raises(Refused, match="not-recording"):
        conference.ask(conference.chair, Record(RecordAction.RESUME))
    assert conference.asks(Record(RecordAction.START)) == ["recording-state recording", CAPTURE_ON]


def test_only_a_running_recording_can_be_paused() -> None:
    conference = Recorded()
    with pytest.raises(Refused, match="not-recording"):
        conference.ask(conference.chair, Record(RecordAction.PAUSE))
    conference.asks(Record(RecordAction.STOP))
    with pytest.raises(Refused, match="not-recording"):
        conference.ask(conference.chair, Record(RecordAction.PAUSE))


def test_a_briefing_is_recorded_from_the_first_participant_to_the_last() -> None:
    record = FakeRecord()
    conference = Recorded(ConferenceKind.BRIEFING, record)
    assert record.is_capturing
    conference.room.leave(conference.chair, LeaveReason.LEFT, CloseCode.LEFT)
    assert record.take()[:3] == [CAPTURE_OFF, "participant-left", "recording-state waiting"]
    conference.enter()
    assert record.take()[:3] == ["participant-joined", "recording-state recording", CAPTURE_ON]


def test_a_briefing_goes_on_being_recorded_between_cases_in_segments_of_its_own() -> None:
    conference = auto()
    conference.asks(AddCase("BN-1"))
    conference.asks(StateConsent("C01", GRANTED))
    assert conference.asks(StartCase("C01")) == [
        CAPTURE_OFF,
        "case-started",
        "recording-state recording",
        CAPTURE_ON,
    ]
    assert conference.record.of(EventKind.RECORDING_STATE)[-1]["case"] == "C01"
    assert conference.asks(FinishCase("C01")) == [
        CAPTURE_OFF,
        "case-finished",
        "recording-state recording",
        CUT,
        CAPTURE_ON,
    ]
    assert conference.record.of(EventKind.RECORDING_STATE)[-1]["case"] is None


def test_a_refusal_ends_the_recording_of_a_briefing_for_that_case() -> None:
    conference = auto()
    conference.begin()
    assert conference.asks(StateConsent("C01", REFUSED)) == [
        CAPTURE_OFF,
        "consent refused",
        "recording-state waiting",
    ]
    assert conference.asks(FinishCase("C01")) == [
        "case-finished",
        "recording-state recording",
        CUT,
        CAPTURE_ON,
    ]


def test_a_screen_that_only_watches_does_not_keep_a_recording_going() -> None:
    conference = auto()
    conference.room.join_device(conference.claims(Role.OBSERVER, kind=TokenKind.WATCH), "v=0", watch=True)
    conference.room.leave(conference.chair, LeaveReason.LEFT, CloseCode.LEFT)
    assert not conference.record.is_capturing
    conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", watch=False)
    assert conference.record.is_capturing


def test_somebody_who_lost_the_socket_is_recorded_for_as_long_as_the_media_may_flow() -> None:
    conference = auto()
    conference.lose_socket(conference.chair)
    conference.pass_time(messages.RESUME_WINDOW_S - 1)
    assert conference.record.is_capturing
    conference.pass_time(2)
    assert not conference.record.is_capturing


def test_nothing_is_recorded_where_the_kind_of_conference_is_never_recorded() -> None:
    conference = Recorded(ConferenceKind.TRAINING)
    conference.begin()
    assert not conference.record.is_capturing
    assert conference.room.proceedings.status.state is RecordingState.OFF
    with pytest.raises(Refused, match="not-recording"):
        conference.ask(conference.chair, Record(RecordAction.STOP))


def test_without_a_record_cases_can_be_kept_but_nothing_is_recorded() -> None:
    conference = Conference(policies=POLICIES)
    chair = conference.enter(Role.CHAIR)
    for message in (AddCase("BN-1"), StateConsent("C01", GRANTED), StartCase("C01")):
        conference.ask(chair, message)
    status = conference.room.proceedings.status
    assert (status.state, status.case) == (RecordingState.OFF, "C01")


def test_a_failed_record_ends_the_recording_and_not_the_conference() -> None:
    conference = auto()
    other = conference.enter()
    conference.record.take()
    conference.room.proceedings.record_failed()
    assert conference.record.take() == [CAPTURE_OFF, "recording-state failed"]
    assert told(other, RecordingChange).state is RecordingState.FAILED
    conference.ask(other, SendChat("vẫn nghe rõ"))
    assert not conference.room.is_closed


def test_a_failed_recording_is_started_again_by_a_moderator() -> None:
    conference = auto()
    conference.room.proceedings.record_failed()
    for action in (RecordAction.PAUSE, RecordAction.RESUME, RecordAction.STOP):
        with pytest.raises(Refused, match="not-recording"):
            conference.ask(conference.chair, Record(action))
    conference.record.take()
    conference.ask(conference.chair, Record(RecordAction.START))
    assert conference.record.take() == ["recording-state recording", CAPTURE_ON]
    # It may fail again, and a record that was broken by a bug of ours stays as it is.
    conference.room.proceedings.record_failed()
    conference.record.is_mendable = False
    with pytest.raises(Refused, match="not-recording"):
        conference.ask(conference.chair, Record(RecordAction.START))
    assert conference.room.proceedings.status.state is RecordingState.FAILED


def test_a_failed_recording_that_is_started_again_still_needs_consent() -> None:
    conference = Recorded()
    conference.room.proceedings.record_failed()
    conference.ask(conference.chair, Record(RecordAction.START))
    assert conference.room.proceedings.status.state is RecordingState.WAITING
    assert not conference.record.is_capturing


def test_whoever_opens_a_room_decides_its_kind_and_other_links_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    conference = Recorded()
    room = conference.rooms.open("r-1", "Hội chẩn liên viện", ConferenceKind.BRIEFING)
    assert room is conference.room
    assert not conference.record.is_capturing
    assert "room r-1 is a consultation, but a link calls it a briefing" in caplog.text


def test_unknown_consent_is_no_consent_in_a_room_that_is_recorded_by_itself() -> None:
    conference = auto()
    conference.asks(AddCase("BN-1"))
    assert conference.asks(StartCase("C01")) == [CAPTURE_OFF, "case-started", "recording-state waiting"]
    assert conference.room.proceedings.status.reason is WaitingReason.NO_CONSENT
    assert conference.asks(StateConsent("C01", GRANTED)) == [
        "consent granted",
        "recording-state recording",
        CAPTURE_ON,
    ]


@pytest.mark.parametrize("kind", ConferenceKind)
@pytest.mark.parametrize("policy", [RecordingPolicy.AUTO, RecordingPolicy.ON_CONSENT])
def test_unknown_consent_is_no_consent_whatever_the_kind_and_after_a_restart(
    kind: ConferenceKind, policy: RecordingPolicy
) -> None:
    policies = dict.fromkeys(ConferenceKind, policy)
    record = FakeRecord()
    conference = Conference(kind=kind, open_record=record.open, policies=policies)
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, AddCase("BN-1"))
    conference.ask(chair, StartCase("C01"))
    assert not record.is_capturing
    record = FakeRecord(restored=record.journal())
    after = Conference(kind=kind, open_record=record.open, policies=policies)
    back = after.enter(Role.CHAIR)
    after.ask(back, ConfirmCase("C01", "BN-1"))
    assert not record.is_capturing
    assert after.room.proceedings.status.reason is WaitingReason.NO_CONSENT
    after.ask(back, StateConsent("C01", GRANTED))
    assert record.is_capturing


def test_a_link_of_another_kind_never_loosens_what_may_be_recorded() -> None:
    """A link of an old training opens the room before the consultation it was not made for."""
    record = FakeRecord()
    conference = Conference(kind=ConferenceKind.BRIEFING, open_record=record.open, policies=POLICIES)
    observer = conference.enter(Role.OBSERVER)
    assert record.is_capturing
    record.take()
    chair = conference.enter(
        claims=conference.claims(Role.CHAIR, conference_kind=ConferenceKind.CONSULTATION)
    )
    assert record.take()[:4] == [CAPTURE_OFF, "participant-joined", "policy", "recording-state waiting"]
    assert told(observer, RecordingChange).reason is WaitingReason.NO_CASE
    conference.ask(chair, AddCase("BN-1"))
    conference.ask(chair, StartCase("C01"))
    assert not record.is_capturing
    # Over a restart, too, whoever comes first.
    record = FakeRecord(restored=record.journal())
    after = Conference(kind=ConferenceKind.BRIEFING, open_record=record.open, policies=POLICIES)
    after.ask(after.enter(Role.CHAIR), FinishCase("C01"))
    assert not record.is_capturing
    assert after.rooms.recording_policy("r-1", ConferenceKind.BRIEFING) is RecordingPolicy.ON_CONSENT


def test_a_looser_link_changes_nothing_in_a_stricter_room() -> None:
    conference = Recorded()
    conference.enter(claims=conference.claims(Role.CHAIR, conference_kind=ConferenceKind.BRIEFING))
    assert conference.record.of(EventKind.POLICY) == []
    assert not conference.record.is_capturing


def test_consent_can_be_withdrawn_after_the_case() -> None:
    conference = Recorded()
    conference.begin()
    conference.asks(FinishCase("C01"))
    with pytest.raises(Refused, match="wrong-case-state"):
        conference.ask(conference.chair, StateConsent("C01", REFUSED))
    # The archive hears of it at once: the package may be on its way to the PACS.
    assert conference.asks(StateConsent("C01", WITHDRAWN)) == ["consent withdrawn", HAND_OVER]
    assert conference.record.of(EventKind.CONSENT)[-1]["by"] == conference.chair.id
    assert conference.room.proceedings.cases[0].consent is WITHDRAWN
    conference.begin("BN-2", consent=None)
    conference.asks(FinishCase("C02"))
    with pytest.raises(Refused, match="no-consent"):
        conference.ask(conference.chair, StateConsent("C02", WITHDRAWN))


# Nobody but devices.


def encoder(conference: Recorded) -> Participant:
    claims = conference.claims(Role.PRESENTER, "Phòng mổ 3", TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", watch=False)
    device.has_connected = True
    return device


def test_a_case_left_open_is_held_when_only_devices_are_left() -> None:
    conference = Recorded()
    conference.begin()
    encoder(conference)
    conference.chair.leave()
    conference.pass_time(CASE_LEFT_S - 1, step=1)
    assert conference.record.is_capturing
    conference.pass_time(3, step=1)
    assert not conference.record.is_capturing
    back = conference.enter(claims=conference.chair.claims)
    (welcome,) = channel(back).of(Welcome)
    assert welcome.room.recording.state is RecordingState.PAUSED
    assert not conference.record.is_capturing
    conference.ask(back, ConfirmCase("C01", "BN-1"))
    assert conference.record.is_capturing


def test_a_short_absence_of_all_people_holds_nothing() -> None:
    conference = Recorded()
    conference.begin()
    encoder(conference)
    conference.chair.leave()
    for _ in range(3):
        conference.pass_time(CASE_LEFT_S - 10, step=1)
        again = conference.enter(claims=conference.chair.claims)
        conference.pass_time(60, step=1)
        again.leave()
    assert conference.record.is_capturing


# A case that was left, or interrupted.


def test_a_case_without_a_moderator_is_held_until_one_confirms_it() -> None:
    conference = Recorded()
    conference.begin("BN-0423")
    expert = conference.enter()
    conference.chair.leave()
    conference.pass_time(CASE_LEFT_S - 1, step=1)
    assert conference.record.is_capturing
    conference.record.take()
    conference.pass_time(3, step=1)
    assert conference.record.take() == [CAPTURE_OFF, "recording-state paused"]
    assert conference.record.of(EventKind.RECORDING_STATE)[-1] == {
        "state": "paused",
        "by": None,
        "case": "C01",
        "reason": "case-left",
    }
    change = told(expert, RecordingChange)
    assert (change.state, change.reason) == (RecordingState.PAUSED, WaitingReason.CASE_LEFT)
    # Not by coming back alone, nor with what ends a pause that a moderator wants.
    back = conference.enter(claims=conference.chair.claims)
    assert not conference.record.is_capturing
    with pytest.raises(Refused, match="case-unconfirmed"):
        conference.ask(back, Record(RecordAction.RESUME))
    for wrong, code in (
        (ConfirmCase("C01", "BN-0424"), "unknown-case"),
        (ConfirmCase("C02", "x"), "unknown"),
    ):
        with pytest.raises(Refused, match=code):
            conference.ask(back, wrong)
    with pytest.raises(Refused, match="not-permitted"):
        conference.ask(expert, ConfirmCase("C01", "BN-0423"))
    conference.record.take()
    conference.ask(back, ConfirmCase("C01", "BN-0423"))
    assert conference.record.take() == ["case-confirmed", "recording-state recording", CAPTURE_ON]
    assert conference.record.of(EventKind.CASE_CONFIRMED) == [{"case": "C01", "by": back.id}]
    conference.ask(back, ConfirmCase("C01", "BN-0423"))
    assert conference.record.take() == []


def test_the_next_people_in_a_room_that_all_have_left_are_not_in_the_case_of_those_before() -> None:
    conference = Recorded()
    conference.begin("BN-A")
    conference.chair.leave()
    conference.pass_time(1)
    observer = conference.enter(Role.OBSERVER)
    assert not conference.record.is_capturing
    assert channel(observer).of(Welcome)[0].room.recording.reason is WaitingReason.CASE_LEFT
    other = conference.enter(Role.CHAIR)
    conference.pass_time(1)
    assert not conference.record.is_capturing
    # The patient whom they have come for is another one.
    conference.ask(other, FinishCase("C01"))
    for message in (AddCase("BN-B"), StateConsent("C02", GRANTED), StartCase("C02")):
        conference.ask(other, message)
    assert conference.record.is_capturing
    assert conference.record.of(EventKind.RECORDING_STATE)[-1]["case"] == "C02"
    assert conference.record.of(EventKind.CASE_CONFIRMED) == []


def test_another_chair_than_those_who_led_the_case_confirms_it_however_soon() -> None:
    conference = Recorded()
    conference.begin("BN-A")
    conference.enter()
    conference.chair.leave()
    assert conference.record.is_capturing
    other = conference.enter(Role.CHAIR)
    assert not conference.record.is_capturing
    # Who led it before does not decide by coming.
    conference.enter(claims=conference.chair.claims)
    assert not conference.record.is_capturing
    conference.ask(other, ConfirmCase("C01", "BN-A"))
    other.leave()
    conference.pass_time(1)
    assert conference.record.is_capturing


def test_a_page_that_is_loaded_anew_interrupts_no_case() -> None:
    conference = Recorded()
    conference.begin()
    conference.chair.leave()
    conference.pass_time(5)
    # Somebody else may be there sooner.
    conference.enter(Role.OBSERVER)
    assert not conference.record.is_capturing
    conference.enter(claims=conference.chair.claims)
    assert conference.record.is_capturing
    # But not after it was gone for long, however many came and went meanwhile.
    conference = Recorded()
    conference.begin()
    conference.chair.leave()
    for _ in range(4):
        conference.enter().leave()
        conference.pass_time(CASE_LEFT_S / 3, step=1)
    conference.enter(claims=conference.chair.claims)
    assert not conference.record.is_capturing


def test_who_closed_the_page_a_moment_ago_does_not_lead_the_next_people_into_the_case() -> None:
    conference = Recorded()
    conference.begin("BN-A")
    # Its place is kept, as it may be back.
    conference.lose_socket(conference.chair)
    other = conference.enter(Role.CHAIR)
    assert not conference.record.is_capturing
    assert channel(other).of(Welcome)[0].room.recording.reason is WaitingReason.CASE_LEFT
    conference.pass_time(60, step=1)
    assert not conference.record.is_capturing
    conference.ask(other, ConfirmCase("C01", "BN-A"))
    assert conference.record.is_capturing


def test_lines_that_break_for_a_moment_interrupt_no_case() -> None:
    conference = Recorded()
    guest = conference.enter()
    conference.begin()

    def resume(participant: Participant) -> None:
        ticket = ResumeRequest(participant.id, participant.secret)
        assert conference.knock(claims=participant.claims, resume=ticket) is participant

    conference.record.take()
    for participant in (conference.chair, guest):
        conference.lose_socket(participant)
    conference.pass_time(10, step=1)
    resume(guest)
    resume(conference.chair)
    conference.pass_time(CASE_LEFT_S * 2, step=1)
    assert CAPTURE_OFF not in conference.record.take()
    # Somebody new who comes meanwhile is asked about no more than if the chair had left.
    conference.lose_socket(conference.chair)
    conference.lose_socket(guest)
    conference.enter(Role.OBSERVER)
    assert not conference.record.is_capturing
    resume(conference.chair)
    assert conference.record.is_capturing
    assert channel(conference.chair).of(Welcome)[-1].room.recording.state is RecordingState.RECORDING


def test_a_secretary_who_stays_keeps_the_case_open() -> None:
    conference = Recorded()
    secretary = conference.enter(Role.SECRETARY)
    conference.begin()
    conference.chair.leave()
    conference.pass_time(CASE_LEFT_S * 3, step=1)
    assert conference.record.is_capturing
    secretary.leave()
    assert not conference.record.is_capturing
    conference.enter(Role.OBSERVER)
    assert not conference.record.is_capturing


def test_how_long_a_case_may_be_without_a_moderator_is_a_setting() -> None:
    record = FakeRecord()
    conference = Conference(open_record=record.open, policies=POLICIES, case_left_s=20)
    chair = conference.enter(Role.CHAIR)
    conference.enter()
    for message in (AddCase("BN-1"), StateConsent("C01", GRANTED), StartCase("C01")):
        conference.ask(chair, message)
    chair.leave()
    conference.pass_time(19, step=1)
    assert record.is_capturing
    conference.pass_time(3, step=1)
    assert not record.is_capturing


def test_what_a_moderator_held_back_is_still_held_back_after_the_case_is_confirmed() -> None:
    conference = Recorded()
    conference.begin("BN-1")
    conference.asks(Record(RecordAction.PAUSE))
    record = FakeRecord(restored=conference.record.journal())
    after = Conference(open_record=record.open, policies=POLICIES)
    chair = after.enter(Role.CHAIR)
    after.ask(chair, ConfirmCase("C01", "BN-1"))
    assert not record.is_capturing
    after.ask(chair, Record(RecordAction.RESUME))
    assert record.is_capturing
    # And a pause alone is no confirmation.
    record = FakeRecord(restored=conference.record.journal())
    after = Conference(open_record=record.open, policies=POLICIES)
    chair = after.enter(Role.CHAIR)
    after.ask(chair, Record(RecordAction.RESUME))
    assert not record.is_capturing
    assert told(chair, RecordingChange).reason is WaitingReason.CASE_RESUMED


def test_a_recording_between_cases_needs_nobody_to_confirm_it() -> None:
    conference = auto()
    conference.begin()
    conference.asks(FinishCase("C01"))
    conference.chair.leave()
    conference.enter(Role.OBSERVER)
    assert conference.record.is_capturing


def test_an_encoder_alone_is_not_recorded_for_long() -> None:
    conference = auto()
    device = encoder(conference)
    conference.chair.leave()
    assert conference.record.is_capturing
    conference.pass_time(UNATTENDED_S + 2, step=1)
    assert not conference.record.is_capturing
    conference.enter(Role.OBSERVER)
    assert conference.record.is_capturing
    assert not device.is_gone


# Who may, and who is told.


def test_only_chair_and_secretary_decide_on_cases_and_recording() -> None:
    conference = Recorded()
    conference.asks(AddCase("BN-1"))
    requests = [
        AddCase("BN-2"),
        RemoveCase("C01"),
        StartCase("C01"),
        FinishCase("C01"),
        StateConsent("C01", GRANTED),
        Record(RecordAction.STOP),
    ]
    for role in (Role.PRESENTER, Role.EXPERT, Role.OBSERVER):
        other = conference.enter(role)
        conference.record.take()
        for request in requests:
            with pytest.raises(Refused, match="not-permitted"):
                conference.ask(other, request)
    assert conference.record.take() == []
    secretary = conference.enter(Role.SECRETARY)
    for request in (AddCase("BN-2"), RemoveCase("C02"), StateConsent("C01", GRANTED), StartCase("C01")):
        conference.ask(secretary, request)
    assert conference.record.is_capturing


def test_everybody_hears_of_the_recording_and_only_moderators_of_the_list() -> None:
    conference = Recorded()
    observer = conference.enter(Role.OBSERVER)
    conference.begin("BN-0423")
    change = told(observer, RecordingChange)
    assert (change.state, change.case, change.code) == (RecordingState.RECORDING, "C01", "BN-0423")
    assert channel(observer).of(Cases) == []
    assert told(conference.chair, Cases).cases == (
        CaseLine("C01", "BN-0423", None, CaseState.ACTIVE, GRANTED),
    )


def test_who_comes_late_is_told_in_the_welcome() -> None:
    conference = Recorded()
    conference.begin("BN-0423")
    late, secretary = conference.enter(), conference.enter(Role.SECRETARY)
    assert isinstance(channel(late).take()[0], Welcome)
    welcome = channel(secretary).of(Welcome)[0]
    assert welcome.room.recording.state is RecordingState.RECORDING
    assert welcome.room.recording.since_ms == int(conference.wall_now * 1000)
    assert [line.code for line in welcome.cases] == ["BN-0423"]


def test_the_welcome_of_others_has_no_list_of_cases() -> None:
    conference = Recorded()
    conference.begin()
    assert channel(conference.enter(Role.OBSERVER)).of(Welcome)[0].cases is None


def test_a_change_that_changes_nothing_for_the_room_is_not_told_to_it() -> None:
    conference = Recorded()
    observer = conference.enter(Role.OBSERVER)
    channel(observer).take()
    conference.asks(AddCase("BN-1"))
    conference.asks(StateConsent("C01", REFUSED))
    assert channel(observer).of(RecordingChange) == []


def test_the_presenting_site_is_chosen_among_those_present() -> None:
    conference = Recorded()
    presenter = conference.enter(claims=conference.claims(site="TTYT huyện Mường Nhé"))
    conference.asks(AddCase("BN-1", presenter.id))
    assert conference.record.of(EventKind.CASE_ADDED) == [
        {"case": "C01", "code": "BN-1", "site": "TTYT huyện Mường Nhé"}
    ]
    with pytest.raises(Refused, match="unknown-participant"):
        conference.ask(conference.chair, AddCase("BN-2", "p-nobody"))


def test_a_refused_request_leaves_no_trace() -> None:
    conference = Recorded()
    conference.begin()
    before = conference.room.proceedings.cases
    for request, error in (
        (AddCase("Nguyễn Văn A"), Refused),
        (RemoveCase("C01"), Refused),
        (FinishCase("C02"), Refused),
        (StateConsent("C01", ConsentState.UNKNOWN), InvalidMessage),
    ):
        with pytest.raises(error):
            conference.ask(conference.chair, request)
    assert conference.record.take() == []
    assert conference.room.proceedings.cases == before


def test_a_problem_of_the_record_is_shown_to_everybody_until_it_is_over() -> None:
    conference = Recorded()
    observer = conference.enter(Role.OBSERVER)
    conference.room.proceedings.record_problem_changed(RecordProblem.DISK_FULL)
    assert told(observer, RecordingChange).problem is RecordProblem.DISK_FULL
    late = conference.enter()
    assert channel(late).of(Welcome)[0].room.recording.problem is RecordProblem.DISK_FULL
    conference.room.proceedings.record_problem_changed(None)
    assert told(observer, RecordingChange).problem is None


def test_a_record_may_report_while_it_is_opened() -> None:
    class Full(FakeRecord):
        def open(self, room: str, title: str, kind: ConferenceKind, router: Any, observer: Any) -> FakeRecord:
            observer.record_problem_changed(RecordProblem.DISK_LOW)
            observer.record_failed()
            return super().open(room, title, kind, router, observer)

    conference = Recorded(record=Full())
    status = conference.room.proceedings.status
    assert (status.state, status.problem) == (RecordingState.FAILED, RecordProblem.DISK_LOW)


# What is written down.


def test_the_journal_says_who_came_and_went() -> None:
    conference = Recorded()
    guest = conference.enter(
        Role.PRESENTER, claims=conference.claims(Role.PRESENTER, site="Trạm Y tế Sín Thầu")
    )
    assert conference.record.of(EventKind.PARTICIPANT_JOINED)[-1] == {
        "participant": guest.id,
        "site": "Trạm Y tế Sín Thầu",
        "level": "district",
        "role": "presenter",
        "name": "BS. An",
        "device": False,
        "link": guest.claims.id,
    }
    conference.room.leave(guest, LeaveReason.REMOVED, CloseCode.REMOVED)
    assert conference.record.of(EventKind.PARTICIPANT_LEFT) == [
        {"participant": guest.id, "reason": "removed"}
    ]


def test_the_journal_says_who_was_on_stage_and_what_was_shown() -> None:
    conference = Recorded()
    presenter = conference.enter(Role.PRESENTER)
    conference.ask(conference.chair, ChooseStage(presenter.id))
    leg(presenter).send(Source.CONTENT)
    assert conference.record.of(EventKind.STAGE)[-1] == {
        "participant": presenter.id,
        "mode": "chair",
        "by": conference.chair.id,
        "link": presenter.claims.id,
    }
    assert conference.record.of(EventKind.CONTENT)[-1] == {"participant": presenter.id, "source": "content"}
    conference.ask(conference.chair, ShowContent(presenter.id))
    conference.ask(conference.chair, ShowContent(None))
    conference.room.leave(presenter, LeaveReason.LEFT, CloseCode.LEFT)
    assert conference.record.of(EventKind.STAGE)[-1] == {
        "participant": conference.chair.id,
        "mode": "speaker",
    }
    assert conference.record.of(EventKind.CONTENT)[-1] == {"participant": None, "source": None}


def test_the_journal_says_who_asked_for_the_floor_got_it_and_spoke() -> None:
    conference = Recorded()
    observer = conference.enter(Role.OBSERVER)
    conference.ask(observer, RaiseHand(True))
    conference.ask(conference.chair, GiveFloor(observer.id, True))
    conference.room.voices_changed((observer.id,))
    conference.speaks(observer)
    conference.pass_time(1)
    record = conference.record
    assert record.of(EventKind.HAND) == [
        {"participant": observer.id, "raised": True},
        {"participant": observer.id, "raised": False, "by": conference.chair.id},
    ]
    assert record.of(EventKind.FLOOR) == [
        {
            "participant": observer.id,
            "link": observer.claims.id,
            "granted": True,
            "by": conference.chair.id,
        }
    ]
    assert record.of(EventKind.SPEAKERS) == [{"voices": [observer.id], "dominant": observer.id}]


def test_chat_is_written_down_only_while_recording() -> None:
    conference = Recorded()
    conference.ask(conference.chair, SendChat("chưa ghi"))
    conference.begin()
    conference.ask(conference.chair, SendChat("đang ghi"))
    conference.ask(conference.chair, Record(RecordAction.PAUSE))
    conference.ask(conference.chair, SendChat("tạm dừng"))
    assert [line["text"] for line in conference.record.of(EventKind.CHAT)] == ["đang ghi"]


def test_the_journal_says_of_every_recording_state_who_caused_it() -> None:
    conference = Recorded()
    conference.begin()
    secretary = conference.enter(Role.SECRETARY)
    conference.ask(secretary, Record(RecordAction.PAUSE))
    assert conference.record.of(EventKind.RECORDING_STATE)[-1]["by"] == secretary.id
    assert conference.record.of(EventKind.RECORDING_STATE)[0]["by"] is None


# The end, and going on after it.


def test_a_room_that_closes_ends_its_session() -> None:
    conference = auto()
    conference.rooms.close("r-1")
    assert conference.record.closed == "room-closed"
    assert not conference.record.is_capturing
    assert conference.record.of(EventKind.PARTICIPANT_LEFT)[-1]["reason"] == "closed"


def test_an_empty_room_ends_its_session_when_it_is_given_up() -> None:
    conference = auto()
    conference.room.leave(conference.chair, LeaveReason.LEFT, CloseCode.LEFT)
    conference.pass_time(599, step=1.0)
    assert conference.record.closed is None
    conference.pass_time(3, step=1.0)
    assert conference.record.closed == "room-closed"


async def test_a_server_that_stops_leaves_the_session_to_be_gone_on_with() -> None:
    conference = auto()
    await conference.rooms.stop()
    assert conference.record.closed == "shutdown"
    assert not conference.record.is_capturing


def test_after_a_crash_an_open_case_is_recorded_again_when_a_moderator_has_confirmed_it() -> None:
    before = Recorded()
    before.begin("BN-1")
    before.asks(FinishCase("C01"))
    before.begin("BN-2")
    record = FakeRecord(restored=before.record.journal())
    after = Conference(open_record=record.open, policies=POLICIES)
    assert record.take() == []
    # Whoever chaired it before the crash, too: the room may be another team's by now.
    chair = after.enter(claims=before.chair.claims)
    assert record.take()[:2] == ["participant-joined", "recording-state paused"]
    (welcome,) = channel(chair).of(Welcome)
    assert welcome.room.recording.reason is WaitingReason.CASE_RESUMED
    assert welcome.cases == (
        CaseLine("C01", "BN-1", None, CaseState.FINISHED, GRANTED),
        CaseLine("C02", "BN-2", None, CaseState.ACTIVE, GRANTED),
    )
    after.ask(chair, ConfirmCase("C02", "BN-2"))
    assert record.take()[-3:] == ["case-confirmed", "recording-state recording", CAPTURE_ON]
    # Each restart asks again.
    record = FakeRecord(restored=[*before.record.journal(), *record.journal()])
    again = Conference(open_record=record.open, policies=POLICIES)
    again.enter(claims=before.chair.claims)
    assert not record.is_capturing


def test_after_a_crash_a_conference_is_of_the_kind_that_it_was_whatever_the_first_link_says() -> None:
    opened = {"session": "HC-BV-20261125-01", "conference_kind": ConferenceKind.CONSULTATION.value}
    record = FakeRecord(restored=[Chain().append(EventKind.SESSION_OPENED, opened, 1_800_000_000_000)])
    after = Conference(kind=ConferenceKind.BRIEFING, open_record=record.open, policies=POLICIES)
    after.enter(Role.CHAIR)
    assert after.room.kind is ConferenceKind.CONSULTATION
    assert not record.is_capturing


@pytest.mark.parametrize("action", [RecordAction.PAUSE, RecordAction.STOP])
def test_after_a_crash_a_recording_that_was_held_back_stays_so(action: RecordAction) -> None:
    before = auto()
    before.asks(Record(action))
    record = FakeRecord(restored=before.record.journal())
    after = Conference(kind=ConferenceKind.BRIEFING, open_record=record.open, policies=POLICIES)
    after.enter(Role.SECRETARY)
    assert not record.is_capturing


def test_after_a_crash_a_withdrawn_consent_is_still_withdrawn() -> None:
    before = Recorded()
    before.begin()
    before.asks(StateConsent("C01", WITHDRAWN))
    record = FakeRecord(restored=before.record.journal())
    after = Conference(open_record=record.open, policies=POLICIES)
    after.enter(Role.CHAIR)
    assert not record.is_capturing
    assert after.room.proceedings.status.reason is WaitingReason.CONSENT_WITHDRAWN
