"""Rooms: the one task that does what is due."""

import asyncio
import logging

import pytest

from bridge import rooms
from bridge.base.words import Role, SlotRole
from bridge.messages import ChooseStage
from tests.unit.conference import Conference, leg


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


async def test_a_stopped_node_does_not_start_again() -> None:
    conference = Conference()
    conference.rooms.start()
    await conference.rooms.stop()
    before = asyncio.all_tasks()
    await turns()
    assert asyncio.all_tasks() == before
