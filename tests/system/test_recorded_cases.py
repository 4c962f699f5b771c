"""Cases and consent in a real server process, whatever ends it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import pytest
from bridge_process import BridgeServer, StartBridge

from bridge.base.words import ConferenceKind, Role
from bridge.store.journal import EventKind, read_journal


class Page:
    """The control channel of one page."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, welcome: dict[str, Any]) -> None:
        self.websocket = websocket
        self.welcome = welcome

    async def ask(self, type_: str, **fields: Any) -> None:
        await self.websocket.send_json({"type": type_, **fields})

    async def until(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Return the next message of this type with these fields."""
        while True:
            message: dict[str, Any] = await self.websocket.receive_json(timeout=30)
            if message["type"] == type_ and all(message[name] == value for name, value in fields.items()):
                return message


@asynccontextmanager
async def page(
    server: BridgeServer, kind: ConferenceKind = ConferenceKind.CONSULTATION, role: Role = Role.CHAIR
) -> AsyncIterator[Page]:
    """Join the conference of that kind as somebody new."""
    token = await asyncio.to_thread(_join, server, server.invite(role, kind=kind))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.ws_url, protocols=("hoichan.v1",)) as websocket,
    ):
        await websocket.send_json({"type": "join", "version": 1, "token": token, "name": "BS. An"})
        yield Page(websocket, await websocket.receive_json(timeout=30))


def _join(server: BridgeServer, invitation: str) -> str:
    request = Request(f"{server.base_url}/api/join", json.dumps({"invitation": invitation}).encode())
    with urlopen(request, timeout=30) as response:
        token: str = json.load(response)["token"]
    return token


async def begin_a_case(chair: Page) -> None:
    await chair.ask("add_case", code="BN-0423")
    await chair.ask("consent", case="C01", state="granted")
    await chair.ask("start_case", case="C01")
    await chair.until("recording", state="recording", case="C01", code="BN-0423")


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        (ConferenceKind.CONSULTATION, "waiting", "no-case"),
        (ConferenceKind.BRIEFING, "recording", None),
        (ConferenceKind.TRAINING, "off", None),
    ],
)
async def test_the_kind_of_conference_and_the_settings_decide_what_is_recorded(
    start_bridge: StartBridge, kind: ConferenceKind, state: str, reason: str | None
) -> None:
    server = start_bridge(HOICHAN_RECORDING_TRAINING="off")
    async with page(server, kind) as chair:
        recording = chair.welcome["room"]["recording"]
        assert (recording["state"], recording["reason"]) == (state, reason)


async def test_without_recording_nothing_is_recorded(start_bridge: StartBridge) -> None:
    server = start_bridge(HOICHAN_RECORDING_ENABLED="false")
    async with page(server, ConferenceKind.BRIEFING) as chair:
        assert chair.welcome["room"]["recording"]["state"] == "off"
    assert not list(server.state_dir.glob("recordings/HC-*"))


@pytest.mark.parametrize("is_orderly", [True, False])
async def test_a_case_is_recorded_again_after_the_server_has_come_back_and_a_moderator_has_confirmed_it(
    bridge_server: BridgeServer, is_orderly: bool
) -> None:
    async with page(bridge_server) as chair:
        await begin_a_case(chair)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(bridge_server.stop if is_orderly else bridge_server.kill)
    await asyncio.to_thread(bridge_server.start)
    async with page(bridge_server, role=Role.SECRETARY) as secretary:
        recording = secretary.welcome["room"]["recording"]
        assert (recording["state"], recording["reason"]) == ("paused", "case-resumed")
        assert (recording["case"], recording["code"]) == ("C01", "BN-0423")
        assert secretary.welcome["cases"] == [
            {"case": "C01", "code": "BN-0423", "site": None, "state": "active", "consent": "granted"}
        ]
        await secretary.ask("confirm_case", case="C01", code="BN-0423")
        await secretary.until("recording", state="recording", case="C01")
    [session] = bridge_server.state_dir.glob("recordings/HC-*")
    await asyncio.to_thread(bridge_server.stop)
    events = read_journal(session / "journal.jsonl")
    states = [event.data["state"] for event in events if event.kind is EventKind.RECORDING_STATE]
    between = ["waiting"] if is_orderly else []
    assert states[:2] == ["waiting", "recording"]
    assert states[2 : 4 + len(between)] == [*between, "paused", "recording"]
    assert [event.data["case"] for event in events if event.kind is EventKind.CASE_CONFIRMED] == ["C01"]
    assert [event.kind for event in events].count(EventKind.SESSION_OPENED) == 1
    assert [event.kind for event in events].count(EventKind.SESSION_RESUMED) == 1


async def test_a_pause_outlives_a_kill_of_the_server(bridge_server: BridgeServer) -> None:
    async with page(bridge_server) as chair:
        await begin_a_case(chair)
        await chair.ask("record", action="pause")
        await chair.until("recording", state="paused")
        await asyncio.sleep(1.0)
        await asyncio.to_thread(bridge_server.kill)
    await asyncio.to_thread(bridge_server.start)
    async with page(bridge_server) as chair:
        assert chair.welcome["room"]["recording"]["state"] == "paused"
        await chair.ask("record", action="resume")
        await chair.until("recording", state="paused", reason="case-resumed")
        await chair.ask("confirm_case", case="C01", code="BN-0423")
        await chair.until("recording", state="recording", case="C01")
