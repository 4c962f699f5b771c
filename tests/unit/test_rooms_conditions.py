"""What pages tell of themselves: moderators see which side of which site is weak, technicians see sums."""

import json

import pytest

from bridge import messages
from bridge.base.errors import InvalidMessage
from bridge.base.words import Role, Weakness
from tests.unit.conference import Conference, channel, leg


def weak(conference: Conference, participant: object) -> list[dict[str, Weakness | None]]:
    """What a participant is told from now on within the next second."""
    channel(participant).take()  # type: ignore[arg-type]
    conference.pass_time(1.2)
    return [dict(one.weak) for one in channel(participant).of(messages.Conditions)]  # type: ignore[arg-type]


def test_moderators_alone_are_told_what_is_weak_at_which_site() -> None:
    conference = Conference()
    chair, hue, hanoi = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    conference.ask(hue, messages.Condition(Weakness.UP))
    assert weak(conference, chair) == [{hue.id: Weakness.UP}]
    assert channel(hanoi).of(messages.Conditions) == []
    # The same again is no news.
    conference.ask(hue, messages.Condition(Weakness.UP))
    assert weak(conference, chair) == []
    conference.ask(hue, messages.Condition(None))
    assert weak(conference, chair) == [{hue.id: None}]


def test_a_moderator_who_comes_later_is_told_all_of_it_and_nothing_of_who_has_left() -> None:
    conference = Conference()
    hue, hanoi = conference.enter(), conference.enter()
    conference.ask(hue, messages.Condition(Weakness.WIFI))
    conference.ask(hanoi, messages.Condition(Weakness.PROCESSOR))
    conference.pass_time(2.0)
    hanoi.leave()
    secretary = conference.enter(Role.SECRETARY)
    assert channel(secretary).of(messages.Conditions) == [messages.Conditions({hue.id: Weakness.WIFI})]
    observer = conference.enter(Role.OBSERVER)
    assert channel(observer).of(messages.Conditions) == []


def test_a_wavering_page_is_told_of_once_a_second() -> None:
    conference = Conference()
    chair, hue = conference.enter(Role.CHAIR), conference.enter()
    conference.pass_time(2.0)
    channel(chair).take()
    for turn in range(30):
        conference.ask(hue, messages.Condition(Weakness.DOWN if turn % 2 else None))
        conference.pass_time(0.1)
    assert 2 <= len(channel(chair).of(messages.Conditions)) <= 4


def test_a_device_is_judged_by_what_the_bridge_sees_of_it() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    device, _ = conference.room.join_device(conference.claims(), "v=0", watch=False)
    device.has_connected = True
    conference.pass_time(3.0)
    channel(chair).take()
    snapshot = leg(device).snapshot()
    snapshot.loss_up = 0.2
    leg(device).snapshot = lambda: snapshot  # type: ignore[method-assign]
    conference.pass_time(4.0)
    assert channel(chair).of(messages.Conditions) == [messages.Conditions({device.id: Weakness.UP})]


def test_what_pages_count_is_added_up_and_never_more_concealed_than_heard() -> None:
    conference = Conference()
    hue = conference.enter()
    conference.ask(
        hue, messages.Condition(None, freezes=2, frozen_ms=3500, heard_ms=20_000, concealed_ms=400)
    )
    conference.ask(hue, messages.Condition(None, heard_ms=100, concealed_ms=9_000))
    counters = conference.counters
    assert (counters.client_freezes, counters.client_frozen_s) == (2, 3.5)
    assert round(counters.client_heard_s, 3) == 20.1
    assert round(counters.client_concealed_s, 3) == 0.5


@pytest.mark.parametrize(
    ("field", "value"), [("freezes", 1001), ("frozen_ms", 600_001), ("heard_ms", -1), ("concealed_ms", 1e9)]
)
def test_more_than_a_page_can_have_counted_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidMessage, match=field):
        messages.parse_client_message(json.dumps({"type": "condition", "weakness": None, field: value}))
