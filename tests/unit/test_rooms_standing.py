"""What moderators decided about people: written down with who did it, and so again after a restart."""

from typing import Any

import pytest

from bridge.base.errors import Refused
from bridge.base.words import ConferenceKind, RecordingPolicy, Role, Source
from bridge.conference.participants import BEAT_S, Participant
from bridge.messages import (
    Admit,
    ChooseStage,
    Floor,
    GiveFloor,
    Knock,
    KnockReason,
    Lock,
    LowerHand,
    Mute,
    MuteAll,
    MuteParticipant,
    RaiseHand,
    Remove,
    SendChat,
    StageMode,
    Waiting,
    WaitingGuest,
    Welcome,
)
from bridge.store.journal import EventKind
from bridge.tokens import TokenKind
from tests.unit.conference import Conference, channel, leg
from tests.unit.fake_record import FakeRecord

POLICIES = dict.fromkeys(ConferenceKind, RecordingPolicy.AUTO)


class Lasting(Conference):
    """A conference with a journal, that a restart interrupts."""

    def __init__(self, record: FakeRecord | None = None, **settings: Any) -> None:
        self.record = record or FakeRecord()
        super().__init__(open_record=self.record.open, policies=POLICIES, **settings)

    def restarted(self, **settings: Any) -> "Lasting":
        return Lasting(FakeRecord(restored=self.record.journal()), **settings)

    def welcome(self, participant: Participant) -> Welcome:
        (welcome,) = channel(participant).of(Welcome)
        assert isinstance(welcome, Welcome)
        return welcome


def test_a_locked_room_is_locked_after_a_restart() -> None:
    before = Lasting()
    chair, expert = before.enter(Role.CHAIR), before.enter()
    before.ask(chair, Lock(True))
    expert.leave()
    after = before.restarted()
    waiting = after.knock(claims=expert.claims)
    assert channel(waiting).take() == [Waiting(KnockReason.LOCKED, BEAT_S)]
    back = after.enter(claims=chair.claims)
    assert after.welcome(back).room.locked
    after.ask(back, Lock(False))
    assert waiting.id in after.room.participants
    assert after.record.of(EventKind.LOCK) == [{"locked": False, "by": back.id}]


@pytest.mark.parametrize("is_planned", [False, True])
def test_a_restart_of_a_locked_room_locks_out_nobody_who_was_in_it(is_planned: bool) -> None:
    before = Lasting()
    chair, expert, removed = before.enter(Role.CHAIR), before.enter(), before.enter()
    device, _ = before.room.join_device(before.claims(kind=TokenKind.PUBLISH), "v=0", False)
    before.ask(chair, Lock(True))
    before.ask(chair, Remove(removed.id))
    stranger = before.knock()
    if is_planned:
        before.rooms.close("r-1", "shutdown")
    after = before.restarted()
    # Before the chair is back.
    assert after.knock(claims=expert.claims).id in after.room.participants
    assert after.room.join_device(device.claims, "v=0", False)[0].id in after.room.participants
    for outside in (removed, stranger):
        assert after.knock(claims=outside.claims).id in after.room.lobby.guests
    # Locked anew, it is locked for whoever has not come back until then.
    later = before.restarted()
    back = later.enter(claims=chair.claims)
    later.ask(back, Lock(False))
    later.ask(back, Lock(True))
    assert later.knock(claims=expert.claims).id in later.room.lobby.guests


def test_who_was_in_a_locked_room_is_let_in_after_two_restarts_in_a_row_too() -> None:
    before = Lasting()
    chair, expert, other = before.enter(Role.CHAIR), before.enter(), before.enter()
    before.ask(chair, Lock(True))
    between = before.restarted()
    between.record.note(EventKind.SESSION_RESUMED, {"after_ms": 0})
    between.enter(claims=other.claims).leave()
    both = [*before.record.journal(), *between.record.journal()]
    after = Lasting(FakeRecord(restored=both))
    assert after.knock(claims=expert.claims).id in after.room.participants
    # Whoever came back between and was sent out has to knock all the same.
    back = between.enter(claims=chair.claims)
    between.ask(back, Remove(between.enter(claims=expert.claims).id))
    both = [*before.record.journal(), *between.record.journal()]
    after = Lasting(FakeRecord(restored=both))
    assert after.knock(claims=expert.claims).id in after.room.lobby.guests


def test_an_unlocked_room_is_not_locked_by_a_restart() -> None:
    before = Lasting()
    chair = before.enter(Role.CHAIR)
    before.ask(chair, Lock(True))
    before.ask(chair, Lock(False))
    assert before.restarted().enter().is_gone is False


def test_who_was_removed_has_to_knock_after_a_restart_too_and_is_told_why() -> None:
    before = Lasting()
    chair, removed, other = before.enter(Role.CHAIR), before.enter(), before.enter()
    before.ask(chair, Remove(removed.id))
    (noted,) = before.record.of(EventKind.REMOVED)
    assert noted == {"participant": removed.id, "link": removed.claims.id, "by": chair.id}
    after = before.restarted()
    back = after.enter(claims=chair.claims)
    assert after.enter(claims=other.claims).id in after.room.participants
    knocking = after.knock(claims=removed.claims)
    assert channel(knocking).take() == [Waiting(KnockReason.REMOVED, BEAT_S)]
    after.pass_time(1)
    (knock,) = channel(back).of(Knock)
    assert knock.waiting == (
        WaitingGuest(knocking.id, knocking.site, knocking.name, KnockReason.REMOVED, False, True),
    )
    after.ask(back, Admit(knocking.id, True))
    assert after.record.of(EventKind.ADMITTED)[-1]["by"] == back.id
    # Once admitted, it is trusted over the next restart.
    later = Lasting(FakeRecord(restored=[*before.record.journal(), *after.record.journal()]))
    assert later.enter(claims=removed.claims).id in later.room.participants


def test_the_floor_follows_the_link_over_a_reload_and_a_restart() -> None:
    before = Lasting()
    chair, presenter, observer = (before.enter(role) for role in (Role.CHAIR, Role.PRESENTER, Role.OBSERVER))
    before.ask(chair, GiveFloor(presenter.id, False))
    before.ask(chair, GiveFloor(observer.id, True))
    presenter.leave()
    again = before.enter(claims=presenter.claims)
    assert not before.welcome(again).may_publish
    with pytest.raises(Refused, match="not-permitted"):
        before.ask(again, Mute(Source.MICROPHONE, False))
    after = before.restarted()
    assert not after.welcome(after.enter(claims=presenter.claims)).may_publish
    granted = after.enter(claims=observer.claims)
    assert after.welcome(granted).may_publish
    # It unmutes itself when it is ready, as whoever has just been given the floor.
    assert not granted.is_sending(Source.CAMERA)
    after.ask(granted, Mute(Source.CAMERA, False))
    assert granted.is_sending(Source.CAMERA)


def test_who_was_on_stage_is_there_again_when_it_is_back() -> None:
    before = Lasting()
    chair, presenter = before.enter(Role.CHAIR), before.enter(Role.PRESENTER)
    before.ask(chair, ChooseStage(presenter.id))
    after = before.restarted()
    back = after.enter(claims=chair.claims)
    assert after.room.sight.stage.participant == back.id
    returned = after.enter(claims=presenter.claims)
    after.speaks(back)
    assert after.room.sight.stage.participant == returned.id
    # Unless somebody else was chosen meanwhile.
    again = before.restarted()
    back = again.enter(claims=chair.claims)
    again.ask(back, ChooseStage(back.id))
    again.enter(claims=presenter.claims)
    assert again.room.sight.stage.participant == back.id


def test_a_device_that_is_back_after_a_restart_does_not_keep_open_what_all_people_have_left() -> None:
    before = Lasting()
    before.enter(Role.CHAIR)
    device, _ = before.room.join_device(before.claims(kind=TokenKind.PUBLISH), "v=0", False)
    after = before.restarted(empty_close_s=60.0)
    again, _ = after.room.join_device(device.claims, "v=0", False)
    again.leg_connected()
    after.pass_time(62, step=1)
    assert after.room.is_closed


def test_a_planned_restart_does_not_forget_who_was_on_stage() -> None:
    before = Lasting()
    chair, presenter = before.enter(Role.CHAIR), before.enter(Role.PRESENTER)
    before.ask(chair, ChooseStage(presenter.id))
    before.rooms.close("r-1", "shutdown")
    after = before.restarted()
    back = after.enter(claims=chair.claims)
    returned = after.enter(claims=presenter.claims)
    after.speaks(back)
    assert after.room.sight.stage.participant == returned.id
    # Nor does a second one; but whoever has left of its own accord is not put there again.
    events = [*before.record.journal(), *after.record.journal()]
    again = Lasting(FakeRecord(restored=events))
    back = again.enter(claims=chair.claims)
    assert again.enter(claims=presenter.claims).id == again.room.sight.stage.participant
    returned.leave()
    last = Lasting(FakeRecord(restored=[*before.record.journal(), *after.record.journal()]))
    back = last.enter(claims=chair.claims)
    last.enter(claims=presenter.claims)
    last.speaks(back)
    assert last.room.sight.stage.mode is StageMode.SPEAKER


def test_the_chat_that_was_written_down_is_there_again() -> None:
    before = Lasting()
    chair = before.enter(Role.CHAIR)
    before.ask(chair, SendChat("Mời Mường Nhé"))
    after = before.restarted()
    (line,) = after.welcome(after.enter()).chat
    assert (line.participant, line.name, line.text) == (chair.id, chair.name, "Mời Mường Nhé")


def test_moderation_is_written_down_with_who_did_it() -> None:
    conference = Lasting()
    chair, secretary, other = (
        conference.enter(role, microphone=True) for role in (Role.CHAIR, Role.SECRETARY, Role.EXPERT)
    )
    conference.ask(secretary, MuteParticipant(other.id, Source.CAMERA))
    conference.ask(chair, MuteAll())
    conference.ask(chair, MuteAll())
    assert conference.record.of(EventKind.MUTED) == [
        {"participant": other.id, "source": "camera", "by": secretary.id},
        {"participant": other.id, "source": "microphone", "by": chair.id},
    ]
    conference.ask(other, RaiseHand(True))
    conference.ask(secretary, LowerHand(other.id))
    assert conference.record.of(EventKind.HAND)[-1]["by"] == secretary.id
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    conference.ask(secretary, Admit(guest.id, False))
    assert conference.record.of(EventKind.ADMITTED) == [
        {"participant": guest.id, "link": guest.claims.id, "admitted": False, "by": secretary.id}
    ]


# A room that waits for its chair.


def test_everybody_waits_for_the_chair_and_comes_in_with_it() -> None:
    conference = Lasting(wait_for_chair=True)
    early = conference.knock()
    assert channel(early).take() == [Waiting(KnockReason.NO_CHAIR, BEAT_S)]
    with pytest.raises(Refused, match="room-locked"):
        conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", False)
    assert not conference.record.is_capturing
    secretary = conference.enter(Role.SECRETARY)
    assert set(conference.room.participants) == {early.id, secretary.id}
    assert conference.room.lobby.guests == {}
    # Nobody waits again when the chair has gone out for a moment, be it over a restart.
    secretary.leave()
    assert conference.knock().id in conference.room.participants
    after = conference.restarted(wait_for_chair=True)
    assert after.knock(claims=early.claims).id in after.room.participants


def test_a_room_that_waits_for_its_chair_has_a_lobby_for_all() -> None:
    conference = Lasting(wait_for_chair=True, capacity=150)
    waiting = [conference.knock() for _ in range(150)]
    conference.enter(Role.CHAIR)
    conference.pass_time(1)
    assert sum(guest.id in conference.room.participants for guest in waiting) == 149


# Devices before a lock.


def test_a_device_before_a_locked_room_is_listed_and_let_in_at_its_next_attempt() -> None:
    conference = Lasting()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    claims = conference.claims(Role.PRESENTER, "Phòng mổ 3", TokenKind.PUBLISH)
    for _ in range(3):
        with pytest.raises(Refused, match="room-locked"):
            conference.room.join_device(claims, "v=0", False)
    conference.pass_time(1)
    knock = channel(chair).of(Knock)[-1]
    (guest,) = knock.waiting
    assert (guest.site, guest.reason, guest.device) == ("Phòng mổ 3", KnockReason.LOCKED, True)
    conference.ask(chair, Admit(guest.participant, True))
    conference.pass_time(1)
    assert channel(chair).of(Knock)[-1].waiting == ()
    device, _ = conference.room.join_device(claims, "v=0", False)
    assert device.id in conference.room.participants
    # A second loss while the room is locked does not have to be admitted again.
    leg(device).fail()
    assert conference.room.join_device(claims, "v=0", False)[0].id in conference.room.participants


def test_a_removed_device_can_be_let_in_again() -> None:
    conference = Lasting()
    chair = conference.enter(Role.CHAIR)
    claims = conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", False)
    conference.ask(chair, Remove(device.id))
    with pytest.raises(Refused, match="room-locked"):
        conference.room.join_device(claims, "v=0", False)
    conference.pass_time(1)
    (guest,) = channel(chair).of(Knock)[-1].waiting
    assert guest.reason is KnockReason.REMOVED
    conference.ask(chair, Admit(guest.participant, True))
    assert conference.room.join_device(claims, "v=0", False)[0].id in conference.room.participants


def test_a_device_that_gave_up_or_was_turned_away_is_not_listed() -> None:
    conference = Lasting()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    claims = conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH)
    with pytest.raises(Refused, match="room-locked"):
        conference.room.join_device(claims, "v=0", False)
    conference.pass_time(70, step=1)
    conference.pass_time(1)
    assert channel(chair).of(Knock)[-1].waiting == ()
    with pytest.raises(Refused, match="room-locked"):
        conference.room.join_device(claims, "v=0", False)
    conference.pass_time(1)
    (guest,) = channel(chair).of(Knock)[-1].waiting
    conference.ask(chair, Admit(guest.participant, False))
    with pytest.raises(Refused, match="refused"):
        conference.room.join_device(claims, "v=0", False)
    conference.pass_time(1)
    assert channel(chair).of(Knock)[-1].waiting == ()
    conference.ask(chair, Lock(False))
    assert conference.room.join_device(claims, "v=0", False)[0].id in conference.room.participants


def test_a_device_is_not_silenced_by_muting_all_and_unmuted_by_the_floor() -> None:
    conference = Lasting()
    chair, page = conference.enter(Role.CHAIR), conference.enter(microphone=True)
    claims = conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", False)
    leg(device).send(Source.MICROPHONE)
    conference.ask(chair, MuteAll())
    assert not page.is_sending(Source.MICROPHONE)
    assert device.is_sending(Source.MICROPHONE)
    conference.ask(chair, MuteParticipant(device.id, Source.MICROPHONE))
    assert not device.is_sending(Source.MICROPHONE)
    assert leg(device).publications[Source.MICROPHONE].is_muted
    conference.ask(chair, GiveFloor(device.id, True))
    assert device.is_sending(Source.MICROPHONE)
    assert not leg(device).publications[Source.MICROPHONE].is_muted
    assert device.muted_by_moderators == ()


def test_a_device_that_was_given_the_floor_again_is_heard() -> None:
    conference = Lasting()
    chair = conference.enter(Role.CHAIR)
    device, _ = conference.room.join_device(
        conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH), "v=0", False
    )
    leg(device).send(Source.CAMERA)
    conference.ask(chair, GiveFloor(device.id, False))
    assert not device.is_sending(Source.CAMERA)
    conference.ask(chair, GiveFloor(device.id, True))
    # It has no switch of its own.
    assert device.is_sending(Source.CAMERA)
    assert not leg(device).publications[Source.CAMERA].is_muted
    assert channel(chair).of(Floor) == []
