"""Signalling over a real aiohttp server, with a forwarding unit that has no packets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from bridge import messages
from bridge.api import signalling
from bridge.api.accounts import Accounts
from bridge.api.signalling import Signalling
from bridge.base.rate import limited_networks
from bridge.base.words import Level, Role, Source
from bridge.conference.participants import CloseCode
from bridge.messages import (
    Answer,
    BridgeMessage,
    Chat,
    ClientMessage,
    Error,
    FreshToken,
    Join,
    Leave,
    Mute,
    Offer,
    RaiseHand,
    ResumeRequest,
    SendChat,
    Slots,
    Welcome,
    parse_bridge_message,
    serialise,
)
from bridge.store.journal import EventKind
from bridge.tokens import TokenKind
from tests.unit.conference import Conference
from tests.unit.fake_record import FakeRecord
from tests.unit.fake_sfu import PAGE_PUBLICATIONS, page_slots

PUBLIC_HOST = "hoichan.example.vn"
Message = TypeVar("Message", bound=BridgeMessage)
Socket = aiohttp.ClientWebSocketResponse


class Node:
    """A server with one room, and clients that talk to it over real sockets."""

    def __init__(self, conference: Conference, client: "TestClient[Any, Any]", served: Signalling) -> None:
        self.conference = conference
        self.client = client
        self.signalling = served

    def token(self, role: Role = Role.EXPERT) -> str:
        return self.conference.tokens.join(self.conference.claims(role))

    async def connect(self) -> Socket:
        return await self.client.ws_connect("/ws", protocols=(messages.SUBPROTOCOL,))

    async def refused(self, **headers: str) -> int:
        """Return the status under which a socket is refused."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await self.client.ws_connect("/ws", headers=headers)
        return caught.value.status

    async def join(self, role: Role = Role.EXPERT) -> tuple[Socket, Welcome]:
        socket = await self.connect()
        await say(socket, Join(1, self.token(role), "BS. An"))
        return socket, await hear(socket, Welcome)


async def say(socket: Socket, message: ClientMessage) -> None:
    await socket.send_str(serialise(message))


async def hear(socket: Socket, cls: type[Message]) -> Message:
    """Return the next message of this type; skips others."""
    async with asyncio.timeout(5):
        while True:
            frame = await socket.receive()
            assert frame.type is WSMsgType.TEXT, frame
            message = parse_bridge_message(frame.data)
            if isinstance(message, cls):
                return message


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    conference = Conference()
    served = Signalling(
        conference.rooms,
        conference.tokens,
        counters=conference.counters,
        accounts=Accounts(per_link=4),
        public_host=PUBLIC_HOST,
    )
    app = web.Application()
    app.router.add_get("/ws", served.handle)
    async with TestClient(TestServer(app)) as client:
        yield Node(conference, client, served)
        await served.close()
        await conference.rooms.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110, the conditions are of many kinds
            await asyncio.sleep(0.01)


async def closed(socket: Socket) -> int | None:
    """Read to the end and return the close code."""
    async with asyncio.timeout(5):
        while not socket.closed:
            frame = await socket.receive()
            if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                break
    return socket.close_code


async def test_a_network_has_a_bounded_number_of_sockets_that_have_not_joined(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling, "limited_networks", lambda host: (b"a network",))
    monkeypatch.setattr(signalling, "NEWCOMERS_PER_NETWORK", 2)
    first, second = await node.connect(), await node.connect()
    await until(lambda: node.signalling.sockets == 2)
    assert await node.refused() == 429
    # Who has joined, or has gone, makes room.
    await say(first, Join(1, node.token(), "BS. An"))
    await hear(first, Welcome)
    third = await node.connect()
    await second.close()
    await until(lambda: node.signalling.sockets == 2)
    fourth = await node.connect()
    for socket in (first, third, fourth):
        await socket.close()


async def test_many_networks_of_one_company_have_no_more_places_than_four(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    subnets = iter(range(0, 0x10000, 0x100))
    monkeypatch.setattr(
        signalling, "limited_networks", lambda host: limited_networks(f"2001:db8:0:{next(subnets):x}::1")
    )
    monkeypatch.setattr(signalling, "NEWCOMERS_PER_NETWORK", 1)
    sockets = [await node.connect() for _ in range(4)]
    await until(lambda: node.signalling.sockets == 4)
    assert await node.refused() == 429
    for socket in sockets:
        await socket.close()


async def test_who_has_not_joined_takes_no_place_of_those_who_have(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling, "NEWCOMERS_MAX", 2)
    joined, _ = await node.join()
    newcomers = [await node.connect() for _ in range(2)]
    await until(lambda: node.signalling.sockets == 3)
    assert await node.refused() == 503
    for socket in (joined, *newcomers):
        await socket.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_somebody_else_opens_no_socket(node: Node, origin: str) -> None:
    assert await node.refused(Origin=origin) == 403


async def test_our_own_page_opens_a_socket_behind_a_proxy_too(node: Node) -> None:
    for headers in (
        {"Origin": f"http://127.0.0.1:{node.client.port}"},
        {"Origin": "https://hoichan.example.vn"},
    ):
        socket = await node.client.ws_connect("/ws", protocols=(messages.SUBPROTOCOL,), headers=headers)
        await socket.close()


async def test_a_page_joins_offers_and_is_answered(node: Node) -> None:
    socket, welcome = await node.join()
    assert socket.protocol == "hoichan.v1"
    assert welcome.version == 1
    fresh = await hear(socket, FreshToken)
    assert node.conference.tokens.read(fresh.token, TokenKind.JOIN).room == "r-1"
    await say(socket, Offer(5, "v=0", PAGE_PUBLICATIONS, page_slots()))
    assert (await hear(socket, Answer)).id == 5
    assert len((await hear(socket, Slots)).slots) == 11


async def test_what_one_says_the_others_hear(node: Node) -> None:
    one, _ = await node.join()
    other, _ = await node.join()
    await say(one, SendChat("Mời Mường Nhé"))
    assert (await hear(other, Chat)).text == "Mời Mường Nhé"


async def test_a_broken_socket_resumes_on_another_one(node: Node) -> None:
    socket, welcome = await node.join()
    token = (await hear(socket, FreshToken)).token
    participant = node.conference.room.participants[welcome.participant]
    assert socket._response.connection is not None
    socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await until(lambda: participant.channel is None)
    back = await node.connect()
    resume = ResumeRequest(welcome.participant, welcome.resume.secret)
    await say(back, Join(1, token, "BS. An", resume))
    again = await hear(back, Welcome)
    assert again.resumed
    assert again.participant == welcome.participant
    assert participant.channel is not None


async def test_leaving_closes_the_socket_with_its_code(node: Node) -> None:
    socket, _ = await node.join()
    await say(socket, Leave())
    assert await closed(socket) == CloseCode.LEFT
    assert node.conference.room.participants == {}
    await until(lambda: node.signalling.sockets == 0)


def expired(node: Node) -> str:
    token = node.token()
    node.conference.wall_now += 3600
    return serialise(Join(1, token, "An"))


def invitation(node: Node) -> str:
    token = node.conference.tokens.invitation(
        room="r-1", title="T", site="S", level=Level.COMMUNE, role=Role.CHAIR, lifetime_s=60
    )
    return serialise(Join(1, token, "An"))


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (lambda node: "nonsense", "invalid-message"),
        (lambda node: serialise(Leave()), "not-joined"),
        (lambda node: serialise(Join(2, node.token(), "An")), "unsupported-version"),
        (lambda node: serialise(Join(1, "x.y.z", "An")), "invalid-token"),
        (invitation, "invalid-token"),
        (expired, "expired-token"),
    ],
)
async def test_who_may_not_join_is_told_why_and_let_go(
    node: Node, first: Callable[[Node], str], code: str
) -> None:
    socket = await node.connect()
    await socket.send_str(first(node))
    error = await hear(socket, Error)
    assert (error.code, error.for_) == (code, "join")
    assert error.message.vi
    assert await closed(socket) == CloseCode.REFUSED
    assert node.conference.counters.joins_refused == {code: 1}


async def test_who_says_nothing_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signalling, "JOIN_WITHIN_S", 0.05)
    socket = await node.connect()
    assert await closed(socket) == CloseCode.NO_JOIN


async def test_a_wrong_message_ends_only_itself(node: Node) -> None:
    socket, _ = await node.join(Role.OBSERVER)
    await socket.send_str("{")
    assert (await hear(socket, Error)).code == "invalid-message"
    await socket.send_bytes(b"\x00\x01")
    assert (await hear(socket, Error)).code == "invalid-message"
    await socket.send_str('{"type":"mute","source":"ears","muted":true}')
    error = await hear(socket, Error)
    assert (error.code, error.for_) == ("invalid-message", "mute")
    await say(socket, Mute(Source.MICROPHONE, False))
    error = await hear(socket, Error)
    assert (error.code, error.for_) == ("not-permitted", "mute")
    await say(socket, Offer(9, "bad"))
    error = await hear(socket, Error)
    assert (error.code, error.for_, error.id) == ("negotiation-failed:bad-offer", "offer", 9)
    await say(socket, RaiseHand(True))
    await until(lambda: any(p.hand for p in node.conference.room.participants.values()))
    assert node.conference.counters.messages_invalid == 3


async def test_a_frame_beyond_the_limit_ends_the_socket_only(node: Node) -> None:
    socket, welcome = await node.join()
    await socket.send_str('"' + "x" * 300_000 + '"')
    assert await closed(socket) == 1009
    await until(lambda: node.conference.room.participants[welcome.participant].channel is None)


async def test_a_flood_is_limited_then_ended(node: Node) -> None:
    socket, _ = await node.join()
    for _ in range(signalling.REFUSALS_MAX + 200):
        await socket.send_str('{"type":"hand","raised":true}')
    assert (await hear(socket, Error)).code == "rate-limited"
    assert await closed(socket) == CloseCode.TOO_MANY_MESSAGES


async def test_a_hand_that_never_rests_does_not_fill_the_journal(node: Node) -> None:
    record = node.conference.room.proceedings.record = FakeRecord()
    socket, _ = await node.join()
    for number in range(50):
        await say(socket, RaiseHand(number % 2 == 0))
    assert (await hear(socket, Error)).code == "rate-limited"
    assert 1 <= len(record.of(EventKind.HAND)) <= 15


async def test_a_flood_is_not_answered_by_a_flood(node: Node) -> None:
    socket, welcome = await node.join()
    before = node.conference.counters.messages_received
    for _ in range(150):
        await socket.send_str('{"type":"view"}')
    await until(lambda: node.conference.counters.messages_received == before + 150)
    node.conference.room.participants[welcome.participant].leave()
    answers = 0
    async with asyncio.timeout(5):
        while (frame := await socket.receive()).type is WSMsgType.TEXT:
            answers += isinstance(parse_bridge_message(frame.data), Error)
    assert 1 <= answers <= 3


async def test_the_page_learns_that_its_offer_was_dropped(node: Node) -> None:
    socket, _ = await node.join()
    for _ in range(80):
        await say(socket, messages.View())
    await say(socket, Offer(41, "v=0", PAGE_PUBLICATIONS, page_slots()))
    async with asyncio.timeout(5):
        while (error := await hear(socket, Error)).id is None:
            pass
    assert (error.code, error.for_, error.id) == ("rate-limited", "offer", 41)


async def test_many_sockets_of_one_link_have_one_budget(node: Node) -> None:
    claims = node.conference.claims(Role.OBSERVER)
    sockets = []
    for _ in range(4):
        socket = await node.connect()
        await say(socket, Join(1, node.conference.tokens.join(claims), "An"))
        await hear(socket, Welcome)
        sockets.append(socket)
    for number in range(5):
        for socket in sockets:
            await say(socket, Offer(number, "bad"))
    refused = 0
    for socket in sockets:
        await say(socket, Leave())
        async with asyncio.timeout(5):
            while (frame := await socket.receive()).type is WSMsgType.TEXT:
                message = parse_bridge_message(frame.data)
                refused += isinstance(message, Error) and message.code == "rate-limited"
    assert 10 <= refused <= 12


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"chat","text":"' + "x" * 1000 + '","more":"' + "x" * 20_000 + '"}',
        '{"type":"chat","text":"offer","more":"' + r"\"offer\"" * 3_000 + '"}',
        serialise(Offer(1, "v=0" + "x" * 70_000, PAGE_PUBLICATIONS, page_slots())),
    ],
)
async def test_only_an_offer_of_many_slots_may_be_long(node: Node, frame: str) -> None:
    socket, _ = await node.join()
    await socket.send_str(frame)
    assert (await hear(socket, Error)).code == "invalid-message"
    await say(socket, Offer(1, "v=0" + "x" * 70_000, PAGE_PUBLICATIONS, page_slots(30)))
    await hear(socket, Answer)


async def test_a_first_frame_is_short(node: Node) -> None:
    socket = await node.connect()
    await socket.send_str('{"type":"join","more":[' + "0," * 50_000 + "0]}")
    assert (await hear(socket, Error)).code == "invalid-message"
    assert await closed(socket) == CloseCode.REFUSED


async def test_a_reader_that_stops_reading_is_cut_off_and_may_resume(node: Node) -> None:
    _, welcome = await node.join()
    participant = node.conference.room.participants[welcome.participant]
    # One turn of the loop: nothing of this can have been read.
    line = Chat(welcome.participant, "An", "BV", "x" * 2000, 1)
    for _ in range(signalling.QUEUE_MAX_FRAMES + 10):
        participant.send(line)
    await until(lambda: participant.channel is None)
    assert not participant.is_gone


@pytest.mark.parametrize("hand_first", [True, False])
async def test_who_leaves_with_a_hand_in_the_same_segment_is_not_listed_again(
    node: Node, hand_first: bool
) -> None:
    stayer, _ = await node.join()
    leaver, welcome = await node.join()
    frames = [serialise(RaiseHand(True)), serialise(Leave())]
    connection = leaver._response.connection
    assert connection is not None
    # Both frames of the client, masked by zeros, in one write.
    segment = b"".join(
        bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text.encode()
        for text in (frames if hand_first else frames[::-1])
    )
    connection.transport.write(segment)  # type: ignore[union-attr]
    assert await closed(leaver) == CloseCode.LEFT
    newcomer, seen = await node.join()
    assert welcome.participant not in {member.participant for member in seen.roster}
    for socket in (stayer, newcomer):
        await socket.close()


async def test_who_was_removed_and_reads_nothing_is_cut_and_says_nothing_more(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling, "GOODBYE_S", 0.3)
    chair, _ = await node.join(Role.CHAIR)
    secretary, welcome = await node.join(Role.SECRETARY)
    participant = node.conference.room.participants[welcome.participant]
    assert secretary._response.connection is not None
    transport = secretary._response.connection.transport
    assert transport is not None
    transport.pause_reading()  # type: ignore[attr-defined]
    # More than the sockets between the two hold, so that the writer waits for the reader.
    line = Chat(welcome.participant, "An", "BV", "x" * 2000, 1)
    for _ in range(20):
        for _ in range(400):
            participant.send(line)
        await asyncio.sleep(0.01)
        if participant.channel is None or len(participant.channel._queue) > 300:  # type: ignore[attr-defined]
            break
    await say(chair, messages.Remove(welcome.participant))
    await until(lambda: participant.is_gone)
    await say(secretary, messages.Lock(True))
    await until(lambda: node.signalling.sockets == 1)
    assert not node.conference.room.lobby.is_locked
    transport.close()
    await chair.close()


async def test_a_draining_server_lets_in_only_who_is_back(node: Node) -> None:
    socket, welcome = await node.join()
    token = (await hear(socket, FreshToken)).token
    participant = node.conference.room.participants[welcome.participant]
    node.conference.rooms.drain(5)
    newcomer = await node.connect()
    await say(newcomer, Join(1, node.token(), "An"))
    assert await closed(newcomer) == CloseCode.RESTART
    assert socket._response.connection is not None
    socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await until(lambda: participant.channel is None)
    back = await node.connect()
    await say(back, Join(1, token, "BS. An", ResumeRequest(welcome.participant, welcome.resume.secret)))
    assert (await hear(back, Welcome)).resumed
    reading = asyncio.create_task(closed(back))
    await node.signalling.close()
    assert await reading == CloseCode.RESTART
    assert node.signalling.sockets == 0


async def test_after_a_restart_the_page_comes_back_with_its_token_alone(node: Node) -> None:
    socket, welcome = await node.join(Role.CHAIR)
    token = (await hear(socket, FreshToken)).token
    await node.conference.rooms.stop()
    assert await closed(socket) == CloseCode.ROOM_CLOSED
    assert node.conference.rooms.rooms == {}
    back = await node.connect()
    resume = ResumeRequest(welcome.participant, welcome.resume.secret)
    await say(back, Join(1, token, "BS. An", resume))
    again = await hear(back, Welcome)
    assert not again.resumed
    assert (again.room.id, again.room.title, again.role) == ("r-1", "Hội chẩn liên viện", Role.CHAIR)


async def test_the_wire_is_plain_json(node: Node) -> None:
    socket = await node.connect()
    await socket.send_str(json.dumps({"type": "join", "version": 1, "token": node.token(), "name": "An"}))
    value = json.loads((await socket.receive(timeout=5)).data)
    assert value["type"] == "welcome"
    assert value["roster"][0]["name"] == "An"
    assert value["resume"]["seconds"] == 30
