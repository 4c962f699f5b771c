"""Rooms: the one task that does what is due."""

import asyncio
import logging

import pytest

from bridge import rooms
from bridge.base.words import Role, SlotRole, Source
from bridge.conference.participants import Participant
from bridge.messages import ChooseStage
from tests.unit.conference import Conference, channel, leg
from tests.unit.fake_record import FakeRecord


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "TICK_S", 0.0)
    monkeypatch.setattr(rooms, "RESTART_AFTER_S", 0.0)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_rest_of_a_large_room_is_shown_in_the_following_turns_of_the_loop() -> None:
    conference = Conference()
    chair, expert = conference.enter(Role.CHAIR), conference.enter()
    viewers = [conference.enter(Role.OBSERVER, camera=False) for _ in range(200)]
    conference.ask(chair, ChooseStage(expert.id))
    conference.rooms.start()
    await turns()
    assert all(leg(viewer).shown(SlotRole.STAGE) == [expert.id] for viewer in viewers)
    await conference.rooms.stop()


async def test_a_fault_in_one_tick_is_reported_and_the_rooms_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    conference = Conference()
    polls: list[float] = []

    def poll(now: float) -> None:
        polls.append(now)
        if len(polls) == 1:
            raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(conference.rooms, "poll", poll)
    with caplog.at_level(logging.ERROR):
        conference.rooms.start()
        await turns()
    assert len(polls) > 2
    assert "a fault of ours" in caplog.text
    await conference.rooms.stop()


async def test_a_fault_met_by_one_room_is_reported_and_the_rooms_behind_it_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rooms_ = Conference().rooms
    broken, sound = rooms_.open("broken", "A"), rooms_.open("sound", "B")
    polled: list[float] = []

    def fail(*_: object) -> bool:
        raise ZeroDivisionError("a fault of ours")

    for attribute in ("poll", "close"):
        monkeypatch.setattr(broken, attribute, fail)
    monkeypatch.setattr(broken.sight, "show_more", fail)
    monkeypatch.setattr(sound, "poll", polled.append)
    rooms_.start()
    await turns()
    assert len(polled) > 2
    assert "housekeeping of room broken failed" in caplog.text
    assert "room broken could not show everybody" in caplog.text
    await rooms_.stop()
    assert sound.is_closed


def test_a_room_that_somebody_cannot_leave_in_order_ends_its_record_and_its_media(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    conference = Conference()
    record = conference.room.proceedings.record = FakeRecord()
    bad, other = conference.enter(), conference.enter()
    socket, router = channel(other), conference.room.router

    def fails(participant: Participant) -> None:
        if participant is bad:
            raise RuntimeError("a bug of ours")

    def close() -> None:
        is_closed.append(True)

    is_closed: list[bool] = []
    monkeypatch.setattr(conference.room.sight, "participant_left", fails)
    # The fake one would insist that all legs were closed before it.
    monkeypatch.setattr(router, "close", close)
    conference.rooms.close("r-1", "room-closed")
    assert socket.closed is not None
    assert record.closed == "room-closed"
    assert is_closed == [True]
    assert "could not leave in order" in caplog.text
    # Nor does a record that cannot be ended keep the media open.
    monkeypatch.undo()
    broken = conference.rooms.open("r-2", "T")
    monkeypatch.setattr(broken.proceedings, "close", lambda reason: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        conference.rooms.close("r-2")
    assert broken.router.is_closed  # type: ignore[attr-defined]


async def test_a_stopped_node_does_not_start_again() -> None:
    conference = Conference()
    conference.rooms.start()
    await conference.rooms.stop()
    before = asyncio.all_tasks()
    await turns()
    assert asyncio.all_tasks() == before


def test_a_page_that_cannot_be_told_its_slots_is_tried_once_and_not_in_every_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conference = Conference()
    bad, other = conference.enter(), conference.enter()
    conference.pass_time(1)
    tried: list[None] = []

    def fails() -> None:
        tried.append(None)
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(bad, "tell_slots", fails)
    conference.room.voices_shown_changed(bad)
    channel(other).texts.clear()
    conference.pass_time(5)
    assert len(tried) == 1
    assert channel(other).texts


def test_a_viewer_that_cannot_be_shown_anything_does_not_hold_up_its_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conference = Conference()
    bad, others = conference.enter(), [conference.enter() for _ in range(3)]

    def fails(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(leg(bad), "show", fails)
    conference.room.participants[others[0].id].set_muted(Source.CAMERA, True)
    with pytest.raises(RuntimeError):
        conference.room.sending_changed(others[0])
    for _ in range(20):
        conference.now += 1.0
        conference.rooms.poll(conference.now)
    # Roster, beats and time-outs come after what is shown.
    channel(others[1]).texts.clear()
    conference.pass_time(5)
    assert channel(others[1]).texts
