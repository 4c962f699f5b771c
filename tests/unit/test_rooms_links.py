"""Links: how many may come with one, who sees that it is shared, what becomes of it when it is revoked."""

import pytest

from bridge import messages
from bridge.base.errors import NegotiationFailed, Refused
from bridge.base.words import Role, SlotRole, Source
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.conference.places import MODERATOR_PLACES
from bridge.messages import Admit, Error, Floor, GiveFloor, Lock, Remove, Removed, RosterChange, Welcome
from bridge.store.journal import EventKind
from bridge.tokens import TokenKind, Tokens
from tests.unit.conference import SECRET, Conference, channel, leg
from tests.unit.fake_record import FakeRecord


def newest(conference: Conference, viewer: Participant, whom: Participant) -> messages.Member:
    """The roster line of somebody as the viewer was told it last."""
    conference.pass_time(1)
    members = [
        member
        for change in channel(viewer).of(RosterChange)
        for member in (*change.joined, *change.changed)
        if member.participant == whom.id
    ]
    return members[-1]  # type: ignore[no-any-return]


def test_a_link_on_two_devices_is_shown_until_one_has_left() -> None:
    conference = Conference()
    chair, site = conference.enter(Role.CHAIR), conference.enter()
    assert not newest(conference, chair, site).shares_link
    twin = conference.enter(claims=site.claims)
    (welcome,) = channel(twin).of(Welcome)
    assert welcome.link_in_use == 1
    assert newest(conference, chair, site).shares_link
    assert newest(conference, chair, twin).shares_link
    twin.leave()
    assert not newest(conference, chair, site).shares_link


def test_removing_takes_everybody_with_that_link_and_all_have_to_knock() -> None:
    conference = Conference()
    record = conference.room.proceedings.record = FakeRecord()
    chair, site = conference.enter(Role.CHAIR), conference.enter()
    twins = [site, *(conference.enter(claims=site.claims) for _ in range(3))]
    sockets = [channel(twin) for twin in twins]
    conference.ask(chair, Remove(twins[2].id))
    assert set(conference.room.participants) == {chair.id}
    assert all(socket.of(Removed) == [Removed(chair.id)] for socket in sockets)
    assert [data["participant"] for data in record.of(EventKind.REMOVED)] == [twin.id for twin in twins]
    assert conference.knock(claims=site.claims).id in conference.room.lobby.guests


def test_a_chair_removes_a_chair_and_nobody_else_does() -> None:
    conference = Conference()
    chair, other, secretary = (conference.enter(role) for role in (Role.CHAIR, Role.CHAIR, Role.SECRETARY))
    with pytest.raises(Refused, match="not-permitted"):
        conference.ask(secretary, Remove(other.id))
    conference.ask(chair, Remove(other.id))
    assert other.is_gone
    assert conference.knock(claims=other.claims).id in conference.room.lobby.guests


def test_a_chair_who_removes_a_second_holder_of_its_own_link_stays_in_and_can_come_back() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    thief = conference.enter(claims=chair.claims)
    conference.ask(chair, Remove(thief.id))
    assert thief.is_gone
    assert not chair.is_gone
    chair.leave()
    assert conference.knock(claims=chair.claims).id in conference.room.participants


def test_one_link_has_a_bounded_number_of_places_in_the_lobby_too() -> None:
    conference = Conference(per_link=3)
    chair, site = conference.enter(Role.CHAIR), conference.enter(Role.OBSERVER)
    for _ in range(2):
        conference.enter(claims=site.claims)
    with pytest.raises(Refused, match="link-full"):
        conference.knock(claims=site.claims)
    conference.ask(chair, Lock(True))
    guest = conference.claims()
    for _ in range(3):
        conference.knock(claims=guest)
    with pytest.raises(Refused, match="link-full"):
        conference.knock(claims=guest)


def test_a_player_that_is_loaded_again_and_again_takes_the_place_of_its_oldest_ghost() -> None:
    conference = Conference(per_link=3)
    chair = conference.enter(Role.CHAIR)
    watch = conference.claims(kind=TokenKind.WATCH)
    players = [conference.room.join_device(watch, "v=0", True)[0] for _ in range(5)]
    assert [player.is_gone for player in players] == [True, True, False, False, False]
    # One that has to knock, or whose offer is bad, takes nobody's.
    with pytest.raises(NegotiationFailed):
        conference.room.join_device(watch, "bad", True)
    conference.ask(chair, Lock(True))
    for _ in range(2):
        with pytest.raises(Refused, match="room-locked"):
            conference.room.join_device(watch, "v=0", True)
    assert set(conference.room.participants) == {chair.id, *(player.id for player in players[2:])}


def test_a_page_that_is_gone_without_a_word_does_not_keep_out_the_one_opened_in_its_place() -> None:
    conference = Conference(per_link=2)
    site = conference.enter()
    pages = [site, conference.enter(claims=site.claims)]
    conference.lose_socket(pages[0])
    third = conference.enter(claims=site.claims)
    assert set(conference.room.participants) == {pages[1].id, third.id}


def test_ones_own_ghost_does_not_hold_the_last_place_of_a_full_room() -> None:
    conference = Conference(capacity=3)
    chair, site, other = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    # A chair more than there are places for.
    second = conference.enter(Role.CHAIR)
    conference.lose_socket(site)
    with pytest.raises(Refused, match="room-full"):
        conference.enter()
    back = conference.enter(claims=site.claims)
    assert set(conference.room.participants) == {chair.id, other.id, second.id, back.id}


def test_moderators_fit_into_a_room_that_observers_have_filled() -> None:
    conference = Conference(capacity=5)
    for _ in range(5):
        conference.enter(Role.OBSERVER)
    with pytest.raises(Refused, match="room-full"):
        conference.enter(Role.PRESENTER)
    for _ in range(MODERATOR_PLACES):
        conference.enter(Role.CHAIR)
    with pytest.raises(Refused, match="room-full"):
        conference.enter(Role.CHAIR)


# The floor of a link that is on several pages.


def test_the_floor_given_to_one_page_of_a_shared_link_is_not_given_to_those_who_come_later() -> None:
    conference = Conference()
    record = conference.room.proceedings.record = FakeRecord()
    chair, observer = conference.enter(Role.CHAIR), conference.enter(Role.OBSERVER)
    twin = conference.enter(claims=observer.claims)
    conference.ask(chair, GiveFloor(observer.id, True))
    later = conference.enter(claims=observer.claims)
    assert [one.may_publish for one in (observer, twin, later)] == [True, False, False]
    # Nor after a restart.
    (noted,) = record.of(EventKind.FLOOR)
    assert (noted["participant"], noted["link"]) == (observer.id, None)


def test_the_floor_taken_from_one_page_of_a_link_is_taken_from_all() -> None:
    conference = Conference()
    record = conference.room.proceedings.record = FakeRecord()
    chair, presenter = conference.enter(Role.CHAIR), conference.enter(Role.PRESENTER)
    twin = conference.enter(claims=presenter.claims)
    conference.ask(chair, Lock(True))
    guest = conference.knock(claims=presenter.claims)
    conference.ask(chair, GiveFloor(presenter.id, False))
    for one in (presenter, twin):
        assert channel(one).of(Floor) == [Floor(False)]
        assert not one.is_sending(Source.CAMERA)
        assert leg(one).publications[Source.CAMERA].is_muted
    assert [data["participant"] for data in record.of(EventKind.FLOOR)] == [presenter.id, twin.id]
    conference.ask(chair, Admit(guest.id, True))
    assert not channel(guest).of(Welcome)[0].may_publish
    # Given back to one, it stays with that one.
    conference.ask(chair, GiveFloor(presenter.id, True))
    assert [one.may_publish for one in (presenter, twin, guest)] == [True, False, False]


# A chair that was sent out, and nobody there to let it in.


def test_a_chair_whom_a_stolen_link_sent_out_leads_again_once_that_link_is_revoked() -> None:
    conference = Conference()
    revoked: set[str] = set()
    conference.room._tokens = Tokens(SECRET, clock=lambda: conference.wall_now, revoked=revoked)
    chair, thief, removed = conference.enter(Role.CHAIR), conference.enter(Role.CHAIR), conference.enter()
    conference.ask(thief, Remove(chair.id))
    conference.ask(thief, Remove(removed.id))
    outside = [conference.knock(claims=one.claims) for one in (chair, chair, removed)]
    assert set(conference.room.lobby.guests) == {one.id for one in outside}
    revoked.add(thief.claims.id)
    conference.rooms.expel_revoked()
    # One is let in; whom it lets in besides is its own decision.
    assert set(conference.room.participants) == {outside[0].id}
    assert set(conference.room.lobby.guests) == {one.id for one in outside[1:]}


def test_a_removed_secretary_comes_in_when_the_chair_has_gone_home() -> None:
    conference = Conference()
    chair, secretary, expert = (conference.enter(role) for role in (Role.CHAIR, Role.SECRETARY, Role.EXPERT))
    conference.ask(chair, Remove(secretary.id))
    waiting = conference.knock(claims=secretary.claims)
    chair.leave()
    assert set(conference.room.participants) == {expert.id, waiting.id}
    waiting.leave()
    again = conference.knock(claims=secretary.claims)
    assert again.id in conference.room.participants
    # A device in a chair's name opens to nobody, and is no moderator who has gone.
    device, _ = conference.room.join_device(
        conference.claims(Role.CHAIR, kind=TokenKind.PUBLISH), "v=0", False
    )
    again.leave()
    assert conference.knock(claims=secretary.claims).id in conference.room.participants
    assert not device.is_gone


# Revoked links.


def test_a_revoked_link_ends_in_room_lobby_and_devices_and_opens_nothing_any_more() -> None:
    conference = Conference()
    revoked: set[str] = set()
    tokens = Tokens(SECRET, clock=lambda: conference.wall_now, revoked=revoked)
    conference.room._tokens = tokens
    chair = conference.enter(Role.CHAIR)
    site = conference.enter()
    twin = conference.enter(claims=site.claims)
    device, _ = conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", False)
    conference.ask(chair, Lock(True))
    guest = conference.knock()
    token = tokens.join(site.claims)
    sockets, media = [channel(one) for one in (site, twin, guest)], leg(device)
    revoked.update(one.claims.id for one in (site, device, guest))
    conference.rooms.expel_revoked()
    assert set(conference.room.participants) == {chair.id}
    assert conference.room.lobby.guests == {}
    for socket in sockets:
        assert [error.code for error in socket.of(Error)] == ["revoked-link"]
        assert socket.closed is not None
        assert socket.closed[0] == CloseCode.REVOKED
    assert media.closed_reason == LeaveReason.REVOKED
    for kind in TokenKind:
        with pytest.raises(Refused, match=r"revoked-link|invalid-token"):
            tokens.read(token, kind)


def test_who_has_gone_negotiates_no_media() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    device, _ = conference.room.join_device(conference.claims(kind=TokenKind.PUBLISH), "v=0", False)
    page = conference.enter()
    for gone in (device, page):
        conference.ask(chair, Remove(gone.id))
        for replace in (False, True):
            with pytest.raises(Refused, match="unknown-participant"):
                gone.negotiate("v=0", replace=replace)
    assert set(conference.room.router.legs) == {chair.id}


# Encoders that come back.


def test_an_encoder_that_comes_back_takes_the_place_of_its_ghost_at_once() -> None:
    conference = Conference()
    viewer = conference.enter(camera=False)
    claims = conference.claims(Role.PRESENTER, "Phòng mổ 3", TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", False)
    leg(device).send(Source.CAMERA)
    for _ in range(5):
        former = leg(device)
        again, _ = conference.room.join_device(claims, "v=0", False)
        assert again is device
        assert former.closed_reason == "replaced"
        leg(device).send(Source.CAMERA)
        assert leg(viewer).shown(SlotRole.STAGE) == [device.id]
    assert len(conference.room.participants) == 2
    assert conference.counters.joins == 2
    # Before a locked room, too: it never was away.
    conference.ask(conference.enter(Role.CHAIR), Lock(True))
    assert conference.room.join_device(claims, "v=0", False)[0] is device


def test_a_bad_offer_leaves_what_works() -> None:
    conference = Conference()
    claims = conference.claims(Role.PRESENTER, kind=TokenKind.PUBLISH)
    device, _ = conference.room.join_device(claims, "v=0", False)
    page = conference.enter()
    working = leg(device), leg(page)
    with pytest.raises(NegotiationFailed):
        conference.room.join_device(claims, "bad", False)
    with pytest.raises(NegotiationFailed):
        page.negotiate("bad", replace=True)
    assert (leg(device), leg(page)) == working
    assert page.is_sending(Source.CAMERA)


def test_a_page_that_crashed_does_not_stand_beside_what_is_left_of_it() -> None:
    conference = Conference()
    claims = conference.claims()
    left = conference.knock(claims=claims, page="tab")
    conference.lose_socket(left)
    back = conference.knock(claims=claims, page="tab")
    assert set(conference.room.participants) == {back.id}
    assert not back.shares_link


def test_nobody_is_taken_for_a_page_that_is_not_theirs() -> None:
    conference = Conference()
    claims = conference.claims()
    first = conference.knock(claims=claims, page="tab")
    # Another tab of the same link, the copy of a tab that is there, and the same word under another link.
    other = conference.knock(claims=claims, page="another")
    copy = conference.knock(claims=claims, page="tab")
    conference.lose_socket(first)
    conference.lose_socket(other)
    stranger = conference.knock(page="tab")
    silent = conference.knock(claims=claims)
    assert set(conference.room.participants) == {one.id for one in (first, other, copy, stranger, silent)}
