"""Rooms: roles, floor, hands, muting, chat, and the roster that tells of them."""

import json

import pytest

from bridge import messages
from bridge.base.errors import Refused
from bridge.base.words import Role, Source
from bridge.messages import (
    CameraState,
    Chat,
    ChooseStage,
    Floor,
    GiveFloor,
    LowerHand,
    MicrophoneState,
    Mute,
    MuteAll,
    Muted,
    MuteParticipant,
    Quality,
    RaiseHand,
    Remove,
    RosterChange,
    SendChat,
    ShowContent,
    Welcome,
)
from bridge.tokens import TokenKind
from tests.unit.conference import Conference, channel, leg


@pytest.mark.parametrize("role", [Role.PRESENTER, Role.EXPERT, Role.OBSERVER])
def test_only_chair_and_secretary_moderate(role: Role) -> None:
    conference = Conference()
    other, secretary = conference.enter(), conference.enter(Role.SECRETARY)
    actor = conference.enter(role, camera=False)
    requests = [
        ChooseStage(other.id),
        ShowContent(None),
        MuteParticipant(other.id, Source.MICROPHONE),
        MuteAll(),
        LowerHand(other.id),
        GiveFloor(other.id, False),
        Remove(other.id),
        messages.Lock(True),
        messages.Admit("p-1", True),
    ]
    for request in requests:
        with pytest.raises(Refused, match="not-permitted"):
            conference.ask(actor, request)
    conference.ask(secretary, ChooseStage(other.id))
    conference.ask(secretary, MuteAll())


def test_moderating_somebody_who_is_not_there_is_refused() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    for request in (ChooseStage("p-x"), Remove("p-x"), GiveFloor("p-x", True), LowerHand("p-x")):
        with pytest.raises(Refused, match="unknown-participant"):
            conference.ask(chair, request)


def test_joining_twice_on_one_socket_is_refused() -> None:
    conference = Conference()
    with pytest.raises(Refused):
        conference.ask(conference.enter(), messages.Join(1, "t", "An"))


def test_an_observer_is_seen_and_heard_only_with_the_floor() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    observer = conference.enter(Role.OBSERVER, microphone=True)
    assert not channel(observer).of(Welcome)[0].may_publish
    publications = leg(observer).publications
    assert all(publication.is_muted for publication in publications.values())
    assert observer.member().camera is CameraState.OFF
    with pytest.raises(Refused, match="not-permitted"):
        conference.ask(observer, Mute(Source.MICROPHONE, False))
    conference.ask(observer, RaiseHand(True))
    conference.ask(chair, GiveFloor(observer.id, True))
    assert channel(observer).of(Floor) == [Floor(True)]
    assert observer.hand is None
    # The floor is a right, not an open microphone: the observer unmutes itself.
    assert publications[Source.MICROPHONE].is_muted
    conference.ask(observer, Mute(Source.MICROPHONE, False))
    assert not publications[Source.MICROPHONE].is_muted
    assert observer.member().microphone is MicrophoneState.ON
    conference.ask(chair, GiveFloor(observer.id, False))
    assert publications[Source.MICROPHONE].is_muted
    assert observer.member().microphone is MicrophoneState.OFF


def test_the_floor_can_be_taken_from_a_site_that_hogs_it_but_not_from_a_moderator() -> None:
    conference = Conference()
    chair, secretary, expert = (conference.enter(r) for r in (Role.CHAIR, Role.SECRETARY, Role.EXPERT))
    conference.ask(secretary, GiveFloor(expert.id, False))
    assert not expert.is_sending(Source.CAMERA)
    with pytest.raises(Refused, match="not-permitted"):
        conference.ask(secretary, GiveFloor(chair.id, False))


def test_ones_own_mute_stops_forwarding_at_the_bridge() -> None:
    conference = Conference()
    page = conference.enter(microphone=True)
    assert page.member().microphone is MicrophoneState.ON
    conference.ask(page, Mute(Source.MICROPHONE, True))
    assert leg(page).publications[Source.MICROPHONE].is_muted
    assert page.member().microphone is MicrophoneState.MUTED
    conference.ask(page, Mute(Source.MICROPHONE, False))
    assert not leg(page).publications[Source.MICROPHONE].is_muted


def test_a_mute_before_the_offer_holds_after_it() -> None:
    conference = Conference()
    page = conference.knock()
    conference.ask(page, Mute(Source.MICROPHONE, True))
    conference.offer(page)
    assert leg(page).publications[Source.MICROPHONE].is_muted
    assert not leg(page).publications[Source.CAMERA].is_muted


def test_a_moderator_mutes_one_and_the_muted_is_told_by_whom() -> None:
    conference = Conference()
    chair, noisy = conference.enter(Role.CHAIR), conference.enter(microphone=True)
    conference.ask(chair, MuteParticipant(noisy.id, Source.MICROPHONE))
    assert leg(noisy).publications[Source.MICROPHONE].is_muted
    assert channel(noisy).of(Muted) == [Muted(Source.MICROPHONE, chair.id)]
    conference.ask(chair, MuteParticipant(noisy.id, Source.MICROPHONE))
    assert len(channel(noisy).of(Muted)) == 1
    conference.ask(noisy, Mute(Source.MICROPHONE, False))
    assert not leg(noisy).publications[Source.MICROPHONE].is_muted


def test_mute_all_spares_the_moderators() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR, microphone=True)
    secretary = conference.enter(Role.SECRETARY, microphone=True)
    others = [conference.enter(microphone=True) for _ in range(3)]
    conference.ask(secretary, MuteAll())
    assert [other.member().microphone for other in others] == [MicrophoneState.MUTED] * 3
    assert chair.member().microphone is secretary.member().microphone is MicrophoneState.ON
    assert all(not leg(other).publications[Source.CAMERA].is_muted for other in others)


def test_hands_keep_the_order_in_which_they_were_raised() -> None:
    conference = Conference()
    chair, a, b = conference.enter(Role.CHAIR), conference.enter(), conference.enter(Role.OBSERVER)
    conference.ask(b, RaiseHand(True))
    conference.ask(a, RaiseHand(True))
    conference.ask(b, RaiseHand(True))
    assert b.hand is not None
    assert a.hand is not None
    assert b.hand < a.hand
    conference.ask(chair, LowerHand(b.id))
    assert b.hand is None
    conference.ask(b, RaiseHand(True))
    assert b.hand > a.hand
    conference.pass_time(0.3)
    assert {m.participant: m.hand for m in channel(chair).of(RosterChange)[-1].joined}[a.id] == a.hand


def test_chat_reaches_everybody_and_the_last_hundred_lines_are_kept() -> None:
    conference = Conference()
    a, b = conference.enter(), conference.enter(Role.OBSERVER)
    for number in range(120):
        conference.ask(b, SendChat(f"dòng {number}"))
    assert len(channel(a).of(Chat)) == 120
    line = channel(a).of(Chat)[-1]
    assert (line.participant, line.site, line.at_ms) == (b.id, b.site, 1_800_000_000_000)
    kept = channel(conference.knock()).of(Welcome)[0].chat
    assert [kept[0].text, kept[-1].text, len(kept)] == ["dòng 20", "dòng 119", 100]


def test_everybody_hears_of_the_quality_of_its_own_media() -> None:
    conference = Conference()
    page, without_media = conference.enter(), conference.knock()
    conference.pass_time(10.5)
    qualities = channel(page).of(Quality)
    assert 4 <= len(qualities) <= 6
    assert qualities[0] == Quality(12.3, 0.0, 0.01, messages.MediaProtocol.UDP, 2_500_000)
    assert channel(without_media).of(Quality) == []


def test_how_far_the_key_frames_of_a_shown_device_are_apart_is_told_to_those_who_see_it() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    blind = conference.enter(thumbnails=0)
    claims = conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", False)
    leg(device).send(Source.CAMERA)
    conference.pass_time(4.5)
    assert channel(chair).of(Quality)[-1].devices == ()
    leg(device).publication(Source.CAMERA).keyframe_interval_s = 10.0064
    leg(chair).publication(Source.CAMERA).keyframe_interval_s = 33.0
    conference.pass_time(4.5)
    told = messages.DevicePicture(device.id, Source.CAMERA, 10_006)
    assert channel(chair).of(Quality)[-1].devices == (told,)
    conference.ask(chair, ChooseStage(chair.id))
    conference.pass_time(4.5)
    assert channel(blind).of(Quality)[-1].devices == ()


def test_in_a_large_room_the_last_observers_are_counted_and_the_first_hands_are_listed() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    observers = [conference.knock(Role.OBSERVER) for _ in range(300)]
    (welcome,) = channel(observers[-1]).of(Welcome)
    assert len(welcome.roster) == 201
    assert welcome.count == 301
    conference.pass_time(2)
    assert channel(chair).of(RosterChange)[-1].count == 301
    channel(chair).take()
    conference.ask(observers[-1], RaiseHand(True))
    conference.pass_time(2)
    (change,) = channel(chair).of(RosterChange)
    assert [member.participant for member in change.joined] == [observers[-1].id]
    channel(chair).take()
    observers[-2].leave()
    observers[0].leave()
    conference.pass_time(2)
    (change,) = channel(chair).of(RosterChange)
    assert change.left == (observers[0].id,)
    assert change.count == 299


def test_a_thousand_joins_are_not_announced_to_a_thousand() -> None:
    conference = Conference()
    viewer = conference.enter(Role.CHAIR)
    conference.pass_time(1)
    channel(viewer).take()
    for _ in range(10):
        for _ in range(100):
            conference.knock(Role.OBSERVER)
        conference.pass_time(1)
    texts = [text for text in channel(viewer).texts if json.loads(text)["type"] == "roster"]
    assert len(texts) <= 15
    assert sum(len(text) for text in texts) < 100_000


def test_places_in_the_list_go_to_those_who_are_still_there() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    observers = [conference.knock(Role.OBSERVER) for _ in range(300)]
    conference.pass_time(1.1)
    for one in observers[:200]:
        one.leave()
    conference.pass_time(1.1)
    listed: set[str] = set()
    for change in channel(chair).of(RosterChange):
        listed |= {member.participant for member in change.joined}
        listed -= set(change.left)
    assert listed - {chair.id} == {one.id for one in observers[200:]}
    (welcome,) = channel(conference.knock()).of(Welcome)
    assert len(welcome.roster) == welcome.count == 102


def test_a_place_is_free_when_its_holder_does_more_than_watch() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    observers = [conference.knock(Role.OBSERVER) for _ in range(201)]
    conference.pass_time(1.1)
    channel(chair).take()
    conference.ask(observers[0], RaiseHand(True))
    conference.pass_time(1.1)
    (change,) = channel(chair).of(RosterChange)
    assert [member.participant for member in change.joined] == [observers[200].id]
    assert [member.participant for member in change.changed] == [observers[0].id]


def test_presenters_who_only_watch_are_counted_like_observers() -> None:
    conference = Conference()
    chairs = [conference.knock(Role.CHAIR) for _ in range(3)]
    for _ in range(400):
        conference.knock(Role.PRESENTER)
    speaker = conference.enter(Role.PRESENTER)
    (welcome,) = channel(conference.knock(Role.PRESENTER)).of(Welcome)
    assert welcome.count == 405
    assert len(welcome.roster) == 204
    assert {one.id for one in (*chairs, speaker)} <= {member.participant for member in welcome.roster}


def test_a_device_taken_by_a_call_is_interrupted_and_not_muted() -> None:
    conference = Conference()
    chair, caller = conference.enter(Role.CHAIR), conference.enter(microphone=True)
    conference.pass_time(1)

    def told() -> tuple[str, str]:
        conference.pass_time(1)
        changes = [member for change in channel(chair).of(RosterChange) for member in change.changed]
        return changes[-1].microphone, changes[-1].camera

    conference.ask(caller, messages.Interrupt(Source.MICROPHONE, True))
    assert told() == ("interrupted", "on")
    conference.ask(caller, messages.Interrupt(Source.CAMERA, True))
    assert told() == ("interrupted", "interrupted")
    conference.ask(caller, messages.Mute(Source.MICROPHONE, True))
    assert told() == ("muted", "interrupted")
    conference.ask(caller, messages.Mute(Source.MICROPHONE, False))
    conference.ask(caller, messages.Interrupt(Source.MICROPHONE, False))
    conference.ask(caller, messages.Interrupt(Source.CAMERA, False))
    assert told() == ("on", "on")


def test_the_hand_of_somebody_who_is_away_goes_down_but_not_for_a_moment() -> None:
    conference = Conference()
    away = conference.enter()
    conference.ask(away, RaiseHand(True))
    conference.lose_socket(away)
    conference.pass_time(9)
    assert away.hand is not None
    conference.pass_time(2)
    assert away.hand is None
    assert not away.is_gone
