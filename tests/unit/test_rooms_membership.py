"""Rooms: coming in, waiting, coming back, going."""

from dataclasses import replace

import pytest

from bridge import messages
from bridge.base.errors import NegotiationFailed, Refused
from bridge.base.words import Role, SlotRole, Source
from bridge.conference import requests
from bridge.conference.participants import BEAT_S, CloseCode, LeaveReason
from bridge.conference.room import LET_IN_SLICE
from bridge.messages import (
    Admit,
    Answer,
    Closing,
    FreshToken,
    Knock,
    KnockReason,
    Layers,
    Leave,
    Lock,
    Locked,
    Offer,
    Remove,
    Removed,
    ResumeRequest,
    RosterChange,
    Slots,
    Waiting,
    Welcome,
)
from bridge.tokens import JOIN_GRACE_S, TokenKind
from tests.unit.conference import Conference, channel, leg


def test_a_newcomer_is_told_the_room_as_it_is() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, messages.SendChat("Xin chào"))
    newcomer = conference.knock(Role.EXPERT)
    (welcome,) = channel(newcomer).of(Welcome)
    assert welcome.participant == newcomer.id
    assert welcome.room.title == "Hội chẩn liên viện"
    assert welcome.room.stage.participant == chair.id
    assert {member.participant for member in welcome.roster} == {chair.id, newcomer.id}
    assert welcome.count == 2
    assert [line.text for line in welcome.chat] == ["Xin chào"]
    assert welcome.may_publish
    assert not welcome.resumed
    assert welcome.waiting is None


def test_joins_within_a_moment_are_told_together_and_once() -> None:
    conference = Conference()
    first = conference.knock()
    conference.pass_time(1)
    channel(first).take()
    others = [conference.knock() for _ in range(20)]
    conference.pass_time(1)
    (change,) = channel(first).of(RosterChange)
    assert [member.participant for member in change.joined] == [other.id for other in others]
    assert change.count == 21


def test_a_quiet_room_says_only_that_the_line_is_alive() -> None:
    conference = Conference()
    alone = conference.knock()
    conference.pass_time(1)
    channel(alone).take()
    conference.pass_time(60)
    heard = channel(alone).take()
    assert heard == [messages.Beat()] * len(heard)
    assert 60 / (BEAT_S + 1) < len(heard) <= 60 / BEAT_S


@pytest.mark.parametrize("count", [2, 450, 1000])
def test_no_page_waits_longer_for_a_word_than_it_was_told_whatever_the_size_of_the_room(count: int) -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    pages = [chair, *(conference.knock(Role.OBSERVER) for _ in range(count - 1))]
    conference.ask(chair, Lock(True))
    pages.append(conference.knock())
    (welcome,) = channel(chair).of(Welcome)
    (waiting,) = channel(pages[-1]).of(Waiting)
    assert welcome.beat_s == waiting.beat_s == BEAT_S
    conference.pass_time(2)
    for page in pages:
        channel(page).texts.clear()
    for _ in range(4):
        conference.pass_time(BEAT_S + 0.6, step=0.5)
        assert all(channel(page).texts for page in pages)
        for page in pages:
            channel(page).texts.clear()


def test_a_lost_socket_keeps_the_participant_and_its_media_for_thirty_seconds() -> None:
    conference = Conference()
    away, other = conference.enter(), conference.enter()
    media = leg(away)
    conference.pass_time(1)
    channel(other).take()
    conference.lose_socket(away)
    conference.pass_time(29)
    assert media.closed_reason is None
    assert leg(other).shown(SlotRole.THUMBNAIL)[0] == away.id
    (change,) = channel(other).of(RosterChange)
    assert [(m.participant, m.connected) for m in change.changed] == [(away.id, False)]
    conference.pass_time(3)
    assert media.closed_reason == LeaveReason.DISCONNECTED
    assert leg(other).shown(SlotRole.THUMBNAIL)[0] is None
    assert conference.counters.leaves == {LeaveReason.DISCONNECTED: 1}


def test_who_resumes_is_told_everything_again_and_its_media_never_knew() -> None:
    conference = Conference()
    away, other = conference.enter(), conference.enter()
    leg(away).observer.layers_wanted({"1": ["l"], "3": []})
    leg(away).observer.layers_wanted({"1": ["l", "m"]})
    assert channel(away).of(Layers)[-1] == Layers({"1": ("l", "m")})
    media, offers = leg(away), leg(away).offers
    conference.lose_socket(away)
    conference.pass_time(10)
    back = conference.knock(claims=away.claims, resume=ResumeRequest(away.id, away.secret))
    assert back is away
    assert leg(away) is media
    assert media.offers == offers
    (welcome,) = channel(away).of(Welcome)
    assert welcome.resumed
    assert welcome.participant == away.id
    (slots,) = channel(away).of(Slots)
    assert slots.slots["7"] == messages.Picture(other.id, Source.CAMERA)
    assert len(slots.slots) == 11
    assert channel(away).of(Layers) == [Layers({"1": ("l", "m"), "3": ()})]
    conference.pass_time(60)
    assert away.id in conference.room.participants
    assert conference.counters.resumes == 1


def test_a_second_socket_that_resumes_replaces_the_first() -> None:
    conference = Conference()
    participant = conference.enter()
    first = channel(participant)
    conference.knock(claims=participant.claims, resume=ResumeRequest(participant.id, participant.secret))
    assert first.closed is not None
    assert first.closed[0] == CloseCode.RESUMED_ELSEWHERE
    # The end of the old socket, seen late, does not make the new one absent.
    conference.room.channel_closed(participant, first)
    assert participant.is_connected


@pytest.mark.parametrize("wrong", ["secret", "invitation", "participant"])
def test_a_resume_that_proves_nothing_is_an_ordinary_join(wrong: str) -> None:
    conference = Conference()
    away = conference.enter()
    conference.lose_socket(away)
    claims = conference.claims() if wrong == "invitation" else away.claims
    request = ResumeRequest(
        "p-none" if wrong == "participant" else away.id, "nope" if wrong == "secret" else away.secret
    )
    other = conference.knock(claims=claims, resume=request)
    assert other is not away
    assert not channel(other).of(Welcome)[0].resumed


def test_a_page_loaded_anew_may_resume_with_a_new_peer_connection() -> None:
    conference = Conference()
    page, other = conference.enter(), conference.enter()
    old = leg(page)
    conference.lose_socket(page)
    conference.knock(claims=page.claims, resume=ResumeRequest(page.id, page.secret))
    conference.offer(page, replace=True)
    assert old.closed_reason == "replaced"
    assert leg(page) is not old
    assert leg(other).shown(SlotRole.STAGE) == [None]
    leg(page).send(Source.CAMERA)
    conference.pass_time(0.2)
    assert leg(other).shown(SlotRole.STAGE) == [page.id]
    assert leg(page).shown(SlotRole.STAGE) == [other.id]


def test_a_bad_offer_of_a_new_peer_connection_leaves_the_one_there_is() -> None:
    conference = Conference()
    page, other = conference.enter(), conference.enter()
    old = leg(page)
    leg(page).send(Source.CAMERA)
    conference.pass_time(0.2)
    with pytest.raises(NegotiationFailed, match="bad"):
        conference.ask(page, messages.Offer(1, "bad", {}, {}, True))
    assert leg(page) is old
    assert old.closed_reason is None
    assert leg(other).shown(SlotRole.STAGE) == [page.id]


def test_a_page_whose_media_ended_stays_and_brings_a_new_peer_connection() -> None:
    conference = Conference()
    page, other = conference.enter(), conference.enter()
    leg(page).fail()
    assert page.id in conference.room.participants
    # It is told, as its own checks may find out much later, and by no offer's id.
    told = channel(page).of(messages.Error)[-1]
    assert (told.code, told.for_, told.id) == ("negotiation-failed:media-lost", "offer", None)
    conference.pass_time(0.2)
    assert leg(other).shown(SlotRole.THUMBNAIL)[0] is None
    with pytest.raises(NegotiationFailed, match="media-lost"):
        conference.offer(page)
    # Its socket may have been lost with it.
    resume = ResumeRequest(page.id, page.secret)
    back = conference.knock(claims=page.claims, resume=resume)
    assert channel(back).of(messages.Error)[-1].code == "negotiation-failed:media-lost"
    conference.offer(page, replace=True)
    conference.knock(claims=page.claims, resume=ResumeRequest(page.id, page.secret))
    assert channel(page).of(messages.Error) == []
    leg(page).send(Source.CAMERA)
    conference.pass_time(0.2)
    assert leg(other).shown(SlotRole.THUMBNAIL)[0] == page.id


def test_a_bad_offer_ends_with_itself() -> None:
    conference = Conference()
    page = conference.knock()
    with pytest.raises(NegotiationFailed):
        conference.ask(page, Offer(1, "bad"))
    assert page.leg is None
    conference.offer(page)
    media = leg(page)
    with pytest.raises(NegotiationFailed):
        conference.ask(page, Offer(2, "bad"))
    assert leg(page) is media
    assert media.closed_reason is None


def test_the_answer_comes_before_what_its_slots_show() -> None:
    conference = Conference()
    conference.enter()
    late = conference.enter(camera=False)
    kinds = [type(message) for message in channel(late).take()]
    assert kinds.index(Answer) < kinds.index(Slots)


def test_whoever_leaves_is_gone_with_leg_and_socket() -> None:
    conference = Conference()
    page, other = conference.enter(), conference.enter()
    media, socket = leg(page), channel(page)
    conference.ask(page, Leave())
    assert socket.closed == (CloseCode.LEFT, "left")
    assert media.closed_reason == "left"
    assert page.is_gone
    conference.pass_time(1)
    assert channel(other).of(RosterChange)[-1].left == (page.id,)
    page.leave()
    assert conference.counters.leaves == {LeaveReason.LEFT: 1}


def test_a_locked_room_lets_newcomers_wait_until_a_moderator_admits_them() -> None:
    conference = Conference()
    chair, expert = conference.enter(Role.CHAIR), conference.enter()
    conference.ask(chair, Lock(True))
    assert channel(expert).of(Locked) == [Locked(True)]
    guest = conference.knock(name="BS. Bình")
    assert channel(guest).take() == [Waiting(KnockReason.LOCKED, BEAT_S)]
    assert guest.id not in conference.room.participants
    conference.pass_time(1)
    assert [(w.participant, w.name) for w in channel(chair).of(Knock)[-1].waiting] == [(guest.id, "BS. Bình")]
    assert channel(expert).of(Knock) == []
    with pytest.raises(Refused, match="not-joined"):
        conference.offer(guest)
    conference.ask(chair, Admit(guest.id, True))
    assert channel(guest).of(Welcome)
    conference.pass_time(1)
    assert channel(chair).of(Knock)[-1].waiting == ()
    conference.offer(guest)


def test_a_guest_who_is_not_admitted_is_told_and_goes() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    socket = channel(guest)
    conference.ask(chair, Admit(guest.id, False))
    assert [error.code for error in socket.of(messages.Error)] == ["refused"]
    assert socket.closed is not None
    assert conference.room.lobby.guests == {}
    with pytest.raises(Refused, match="unknown-participant"):
        conference.ask(chair, Admit(guest.id, True))


def test_a_guest_whose_socket_is_lost_no_longer_waits() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    conference.lose_socket(guest)
    conference.pass_time(1)
    assert channel(chair).of(Knock)[-1].waiting == ()


def test_moderators_and_those_who_resume_pass_the_lock() -> None:
    conference = Conference()
    chair, expert = conference.enter(Role.CHAIR), conference.enter()
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    conference.lose_socket(expert)
    conference.knock(claims=expert.claims, resume=ResumeRequest(expert.id, expert.secret))
    assert expert.is_connected
    secretary = conference.knock(Role.SECRETARY)
    (welcome,) = channel(secretary).of(Welcome)
    assert [waiting.participant for waiting in welcome.waiting or ()] == [guest.id]


def test_unlocking_lets_in_all_who_wait_for_that() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    guests = [conference.knock() for _ in range(3)]
    conference.ask(chair, Lock(False))
    assert all(channel(guest).of(Welcome) for guest in guests)


def test_knocks_within_a_moment_are_told_together() -> None:
    conference = Conference(capacity=500, wait_for_chair=True)
    conference.pass_time(1)
    early = [conference.knock() for _ in range(150)]
    chair = conference.enter(Role.CHAIR)
    # Nor do all come in at once: each is work for everybody's lines.
    assert sum(guest.id in conference.room.participants for guest in early) == LET_IN_SLICE
    conference.pass_time(0.5)
    assert all(guest.id in conference.room.participants for guest in early)
    conference.ask(chair, Lock(True))
    conference.pass_time(1)
    channel(chair).take()
    guests = []
    for _ in range(10):
        guests += [conference.knock() for _ in range(10)]
        conference.pass_time(0.1)
    conference.pass_time(1)
    knocks = channel(chair).of(Knock)
    assert len(knocks) <= 4
    assert [waiting.participant for waiting in knocks[-1].waiting] == [guest.id for guest in guests]


def test_guests_for_whom_there_is_no_place_hold_up_none_for_whom_there_is() -> None:
    conference = Conference(capacity=2, wait_for_chair=True)
    experts = [conference.knock() for _ in range(100)]
    chair = conference.enter(Role.CHAIR)
    conference.pass_time(1)
    assert set(conference.room.participants) == {chair.id, experts[0].id}


def test_the_lobby_has_a_bound() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    for _ in range(100):
        conference.knock()
    with pytest.raises(Refused, match="room-locked"):
        conference.knock()


def test_somebody_removed_is_told_and_must_knock_to_come_back() -> None:
    conference = Conference()
    chair, noisy = conference.enter(Role.CHAIR), conference.enter()
    socket = channel(noisy)
    conference.ask(chair, Remove(noisy.id))
    assert socket.of(Removed) == [Removed(chair.id)]
    assert socket.closed is not None
    assert socket.closed[0] == CloseCode.REMOVED
    again = conference.knock(claims=noisy.claims, resume=ResumeRequest(noisy.id, noisy.secret))
    assert again.id in conference.room.lobby.guests
    # Unlocking does not let in who was sent out; admitting does, and forgets it.
    conference.ask(chair, Lock(True))
    conference.ask(chair, Lock(False))
    assert again.id in conference.room.lobby.guests
    conference.ask(chair, Admit(again.id, True))
    assert conference.knock(claims=noisy.claims).id in conference.room.participants


def test_a_removed_secretary_has_to_knock_like_anybody_else() -> None:
    conference = Conference()
    chair, secretary = conference.enter(Role.CHAIR), conference.enter(Role.SECRETARY)
    conference.ask(chair, Remove(secretary.id))
    again = conference.knock(claims=secretary.claims)
    assert channel(again).take() == [Waiting(KnockReason.REMOVED, BEAT_S)]
    with pytest.raises(Refused, match="not-joined"):
        conference.ask(again, Admit(again.id, True))
    conference.ask(chair, Admit(again.id, True))
    assert again.id in conference.room.participants


def test_nobody_removes_a_chair() -> None:
    conference = Conference()
    chair, secretary = conference.enter(Role.CHAIR), conference.enter(Role.SECRETARY)
    with pytest.raises(Refused, match="not-permitted"):
        conference.ask(secretary, Remove(chair.id))


def test_a_full_room_refuses() -> None:
    conference = Conference(capacity=2)
    conference.enter(Role.CHAIR)
    conference.enter()
    with pytest.raises(Refused, match="room-full"):
        conference.knock()


def test_nobody_is_cut_off_when_renewal_ends_but_no_token_comes_any_more() -> None:
    conference = Conference()
    claims = replace(conference.claims(), until=int(conference.wall_now) - JOIN_GRACE_S)
    page = conference.enter(claims=claims)
    conference.pass_time(241, step=1.0)
    assert channel(page).of(FreshToken) == []
    assert not page.is_gone


def test_every_participant_gets_a_fresh_join_token_every_four_minutes() -> None:
    conference = Conference()
    page = conference.knock()
    assert len(channel(page).of(FreshToken)) == 1
    channel(page).take()
    conference.pass_time(600, step=1.0)
    fresh = channel(page).of(FreshToken)
    assert len(fresh) == 2
    claims = conference.tokens.read(fresh[-1].token, TokenKind.JOIN)
    assert (claims.id, claims.site) == (page.claims.id, page.site)


def test_a_device_publishes_like_everybody_else_and_leaves_with_its_leg() -> None:
    conference = Conference()
    page = conference.enter(camera=False)
    device, answer = conference.room.join_device(
        conference.claims(Role.OBSERVER, "Phòng mổ 3", TokenKind.PUBLISH), "v=0", False
    )
    assert answer == "answer 1 to v=0"
    leg(device).observer.leg_connected()
    leg(device).send(Source.CAMERA)
    assert leg(page).shown(SlotRole.STAGE) == [device.id]
    leg(device).fail()
    assert device.is_gone
    assert leg(page).shown(SlotRole.STAGE) == [None]
    assert conference.counters.leaves == {LeaveReason.MEDIA_LOST: 1}


def test_a_watching_device_is_listed_but_cannot_publish() -> None:
    conference = Conference()
    page = conference.enter()
    watcher, _ = conference.room.join_device(
        conference.claims(Role.OBSERVER, "Hội trường", TokenKind.WATCH), "v=0", True
    )
    leg(watcher).send(Source.CAMERA)
    conference.pass_time(0.3)
    assert watcher.id not in leg(page).shown(SlotRole.THUMBNAIL)
    assert leg(watcher).publications[Source.CAMERA].is_muted
    assert channel(page).of(RosterChange)[-1].joined[-1].site == "Hội trường"


def test_a_device_with_a_bad_offer_never_was_in_the_room() -> None:
    conference = Conference()
    with pytest.raises(NegotiationFailed):
        conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "bad", False)
    assert conference.room.participants == {}
    assert conference.counters.joins == 0


def test_a_device_whose_media_never_came_is_not_one_that_lost_it() -> None:
    conference = Conference()
    device, _ = conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", False)
    leg(device).fail()
    assert device.is_gone
    assert conference.counters.leaves == {LeaveReason.NEVER_CONNECTED: 1}


def test_a_page_gets_credentials_of_the_relays_with_each_token() -> None:
    now_s = 0

    def relays(link: str) -> list[messages.IceServer]:
        return [messages.IceServer(("turns:turn.example.vn:443",), str(now_s), "secret")]

    conference = Conference(ice_servers=relays)
    page = conference.enter()
    now_s = 240
    conference.pass_time(241, step=1)
    told = [token.ice_servers[0].username for token in channel(page).of(FreshToken)]
    assert told == ["0", "240"]


def test_a_device_that_never_sends_anything_leaves() -> None:
    conference = Conference()
    device, _ = conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", False)
    conference.pass_time(31)
    assert device.is_gone


def test_a_device_does_not_pass_a_lock() -> None:
    conference = Conference()
    conference.ask(conference.enter(Role.CHAIR), Lock(True))
    with pytest.raises(Refused, match="room-locked"):
        conference.room.join_device(conference.claims(Role.CHAIR, kind=TokenKind.PUBLISH), "v=0", False)


def test_a_room_empty_for_long_closes_and_can_be_opened_again() -> None:
    conference = Conference(empty_close_s=60.0)
    page = conference.enter()
    conference.pass_time(100)
    assert conference.rooms.get("r-1") is conference.room
    page.leave()
    conference.pass_time(61)
    assert conference.rooms.get("r-1") is None
    assert conference.room.is_closed
    assert conference.rooms.open("r-1", "T") is not conference.room


def test_a_room_closes_with_its_devices_when_all_people_have_gone() -> None:
    conference = Conference(empty_close_s=60.0)
    screen, _ = conference.room.join_device(conference.claims(kind=TokenKind.WATCH), "v=0", True)
    screen.has_connected = True
    # Before the first person has come, an encoder may wait for as long as it takes.
    conference.pass_time(200, step=1)
    page = conference.enter()
    page.leave()
    conference.pass_time(62, step=1)
    assert screen.is_gone
    assert conference.rooms.get("r-1") is None


def test_a_list_of_cases_waits_for_the_conference_that_it_was_made_for() -> None:
    conference = Conference(empty_close_s=60.0)
    secretary = conference.enter(Role.SECRETARY)
    conference.ask(secretary, messages.AddCase("BN-1"))
    secretary.leave()
    conference.pass_time(2 * 3600, step=30)
    chair = conference.enter(Role.CHAIR)
    (welcome,) = channel(chair).of(Welcome)
    assert welcome.cases is not None
    assert [case.code for case in welcome.cases] == ["BN-1"]
    # Once it has begun, it ends when all have gone.
    conference.ask(chair, messages.StartCase("C01"))
    chair.leave()
    conference.pass_time(62, step=1)
    assert conference.rooms.get("r-1") is None


def test_a_conference_that_was_held_without_its_cases_does_not_stay_with_its_chat_and_lock() -> None:
    conference = Conference(empty_close_s=60.0)
    chair, expert = conference.enter(Role.CHAIR), conference.enter()
    conference.ask(chair, messages.AddCase("BN-1"))
    conference.ask(chair, Lock(True))
    conference.ask(expert, messages.SendChat("Xin chào"))
    expert.leave()
    chair.leave()
    conference.pass_time(62, step=1)
    assert conference.room.is_closed


@pytest.mark.parametrize("is_page", [True, False])
def test_who_knocks_does_not_keep_a_finished_conference_open(is_page: bool) -> None:
    conference = Conference(empty_close_s=60.0)
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    claims = conference.claims(kind=TokenKind.JOIN if is_page else TokenKind.PUBLISH)
    if is_page:
        conference.knock(claims=claims)
    chair.leave()
    for _ in range(7):
        if not is_page and not conference.room.is_closed:
            with pytest.raises(Refused, match="room-locked"):
                conference.room.join_device(claims, "v=0", False)
        conference.pass_time(10, step=1)
    assert conference.room.is_closed


def test_who_waits_for_the_first_chair_keeps_the_room_open() -> None:
    conference = Conference(empty_close_s=60.0, wait_for_chair=True)
    early = conference.knock()
    conference.pass_time(200, step=1)
    conference.enter(Role.CHAIR)
    assert early.id in conference.room.participants


def test_a_list_that_nobody_comes_for_is_given_up() -> None:
    conference = Conference(empty_close_s=60.0)
    secretary = conference.enter(Role.SECRETARY)
    conference.ask(secretary, messages.AddCase("BN-1"))
    secretary.leave()
    conference.pass_time(12.1 * 3600, step=60)
    assert conference.rooms.get("r-1") is None


def test_closing_a_room_ends_everything_in_it() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    sockets, media = [channel(chair), channel(guest)], leg(chair)
    conference.rooms.close("r-1")
    assert [socket.closed and socket.closed[0] for socket in sockets] == [CloseCode.ROOM_CLOSED] * 2
    assert media.closed_reason == LeaveReason.CLOSED
    assert media.router.is_closed
    with pytest.raises(Refused):
        conference.knock()


def test_a_draining_server_says_so_and_opens_no_more_rooms() -> None:
    conference = Conference()
    page = conference.enter()
    conference.rooms.drain(30)
    assert channel(page).of(Closing) == [Closing(30)]
    with pytest.raises(Refused):
        conference.rooms.open("r-2", "T")


def test_join_latency_is_observed_once_from_join_to_media() -> None:
    conference = Conference()
    page = conference.knock()
    conference.offer(page)
    conference.now += 0.4
    leg(page).observer.leg_connected()
    leg(page).observer.leg_connected()
    assert sum(conference.counters.join_latency_s.counts) == 1
    assert conference.counters.join_latency_s.sum == pytest.approx(0.4)


def test_who_has_gone_acts_no_more() -> None:
    conference = Conference()
    chair, secretary, other = (conference.enter(role) for role in (Role.CHAIR, Role.SECRETARY, Role.EXPERT))
    conference.ask(chair, Remove(secretary.id))
    conference.ask(other, Leave())
    conference.pass_time(1)
    channel(chair).take()
    for gone in (secretary, other):
        for message in (
            messages.RaiseHand(True),
            messages.SendChat("vẫn ở đây"),
            messages.Mute(Source.CAMERA, False),
            messages.Offer(1, "v=0"),
            messages.View(),
            Lock(True),
            Remove(chair.id),
        ):
            with pytest.raises(Refused) as caught:
                conference.ask(gone, message)
            assert caught.value.code == "not-joined"
        conference.ask(gone, Leave())
    conference.pass_time(1)
    assert channel(chair).of(RosterChange) == []
    assert channel(chair).of(messages.Chat) == []
    assert not conference.room.lobby.is_locked
    assert set(conference.room.router.legs) == {chair.id}


@pytest.mark.parametrize("message", list(requests.FOR_MODERATORS))
def test_only_moderators_moderate(message: type[messages.ClientMessage]) -> None:
    conference = Conference()
    presenter = conference.enter(Role.PRESENTER)
    asked = message.__new__(message)
    with pytest.raises(Refused) as caught:
        conference.ask(presenter, asked)
    assert caught.value.code == "not-permitted"


def test_every_message_but_the_first_and_the_last_has_a_handler() -> None:
    handled = {*requests.FOR_ALL, *requests.FOR_MODERATORS}
    assert handled == set(messages.CLIENT_MESSAGES.values()) - {messages.Join, Leave}
    assert not set(requests.FOR_ALL) & set(requests.FOR_MODERATORS)


def test_the_time_in_the_lobby_is_no_latency_of_joining() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    conference.pass_time(1200, step=10)
    conference.ask(chair, Admit(guest.id, True))
    conference.offer(guest)
    conference.now += 0.4
    leg(guest).observer.leg_connected()
    assert conference.counters.join_latency_s.sum < 1


def test_who_resumes_is_told_what_a_moderator_muted_meanwhile() -> None:
    conference = Conference()
    chair, away = conference.enter(Role.CHAIR), conference.enter(microphone=True)
    conference.lose_socket(away)
    conference.ask(chair, messages.MuteAll())
    conference.knock(claims=away.claims, resume=ResumeRequest(away.id, away.secret))
    (welcome,) = channel(away).of(Welcome)
    assert welcome.muted == (messages.MutedSource(Source.MICROPHONE, chair.id),)
    # Once it has unmuted itself there is nothing left to tell.
    conference.ask(away, messages.Mute(Source.MICROPHONE, False))
    conference.ask(away, messages.Mute(Source.MICROPHONE, True))
    conference.lose_socket(away)
    conference.knock(claims=away.claims, resume=ResumeRequest(away.id, away.secret))
    (welcome,) = channel(away).of(Welcome)
    assert welcome.muted == ()
