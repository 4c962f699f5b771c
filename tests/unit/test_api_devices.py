"""WHIP (RFC 9725) and WHEP: the HTTP side, over rooms that only note what they are asked."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bridge.api.accounts import Accounts
from bridge.api.admission import Admission
from bridge.api.devices import endpoint as device_endpoint
from bridge.api.devices.trickle import Fragment, ice_ufrag_of, parse_fragment
from bridge.api.devices.whep import whep_endpoint
from bridge.api.devices.whip import whip_endpoint
from bridge.api.relays import Relays
from bridge.base.counters import SessionCounters
from bridge.base.errors import NegotiationFailed, Refused
from bridge.base.words import ConferenceKind, Level, Role
from bridge.tokens import Claims, TokenKind, Tokens

Client = TestClient[web.Request, web.Application]

PASSWORD = "p" * 24


def description(ufrag: str) -> str:
    return (
        f"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\n"
    )


def fragment(ufrag: str) -> str:
    return f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"


class NotingParticipant:
    """Answers each offer with a new ICE generation."""

    def __init__(self) -> None:
        self.offers: list[str] = []
        self.is_gone = False

    def negotiate(self, sdp: str) -> str:
        self.offers.append(sdp)
        return description(f"bridge{len(self.offers)}")

    def leave(self) -> None:
        self.is_gone = True


class NotingRooms:
    """Stands for Rooms and for each Room."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str]] = []
        self.joined: list[tuple[Claims, bool]] = []
        self.participants: list[NotingParticipant] = []
        self.refusal: Refused | None = None
        self.returning: NotingParticipant | None = None
        self.is_draining = False
        self.awaited: list[str] = []

    def check_device_offer(self, sdp: str, *, watch: bool) -> None:
        if "a=ice-ufrag" not in sdp:
            raise NegotiationFailed("negotiation-failed:malformed", "there is no a=ice-ufrag")

    async def until_ready(self, room_id: str) -> None:
        self.awaited.append(room_id)

    def open(self, room_id: str, title: str, kind: ConferenceKind) -> "NotingRooms":
        # Its interrupted session was given the time to be repaired.
        assert self.awaited[-1] == room_id
        self.opened.append((room_id, title))
        return self

    def join_device(self, claims: Claims, sdp: str, watch: bool) -> tuple[NotingParticipant, str]:
        if self.refusal is not None:
            raise self.refusal
        participant = self.returning or NotingParticipant()
        answer = participant.negotiate(sdp)
        self.participants.append(participant)
        self.joined.append((claims, watch))
        return participant, answer


@pytest.fixture
def revoked() -> set[str]:
    return set()


@pytest.fixture
def tokens(revoked: set[str]) -> Tokens:
    return Tokens(b"s" * 32, revoked=revoked)


@pytest.fixture
def rooms() -> NotingRooms:
    return NotingRooms()


@pytest.fixture
def counters() -> SessionCounters:
    return SessionCounters()


@pytest.fixture
async def client(tokens: Tokens, rooms: NotingRooms, counters: SessionCounters) -> AsyncIterator[Client]:
    relays = Relays(("turn:turn.example.vn:3478",), b"shared", lifetime_s=60, wall_clock=lambda: 1000.0)
    application = web.Application()
    noting: Any = rooms
    for endpoint in (whip_endpoint, whep_endpoint):
        admission = Admission(0, counters=counters)
        endpoint(noting, tokens, relays, admission, Accounts(per_link=4)).add_routes(application.router)
    async with TestClient(TestServer(application)) as running:
        yield running


def bearer(tokens: Tokens, kind: TokenKind = TokenKind.PUBLISH) -> dict[str, str]:
    token = tokens.device(
        kind,
        room="tim-mach",
        title="Hội chẩn",
        site="Phòng mổ 3",
        level=Level.CENTRAL,
        role=Role.PRESENTER,
        lifetime_s=60,
    )
    return {"Authorization": f"Bearer {token}"}


async def post(client: Client, headers: dict[str, str], *, path: str = "/whip", body: str = "") -> Any:
    return await client.post(
        path, data=body or description("device"), headers={"Content-Type": "application/sdp", **headers}
    )


def location_of(response: Any) -> str:
    return str(urlsplit(urljoin(str(response.url), response.headers["Location"])).path)


async def patch(client: Client, location: str, headers: dict[str, str], body: str) -> Any:
    return await client.patch(
        location, data=body, headers={"Content-Type": "application/trickle-ice-sdpfrag", **headers}
    )


async def test_an_offer_is_answered_with_a_session_resource(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    response = await post(client, bearer(tokens))
    assert response.status == 201
    assert response.headers["Content-Type"] == "application/sdp"
    # Relative: it holds below the prefix of a proxy, too.
    assert response.headers["Location"].startswith("whip/")
    assert response.headers["ETag"] == '"bridge1"'
    assert ice_ufrag_of(await response.text()) == "bridge1"
    assert rooms.opened == [("tim-mach", "Hội chẩn")]
    ((claims, watch),) = rooms.joined
    assert (claims.site, watch) == ("Phòng mổ 3", False)


async def test_a_watcher_joins_by_the_same_path(client: Client, tokens: Tokens, rooms: NotingRooms) -> None:
    response = await post(client, bearer(tokens, TokenKind.WATCH), path="/whep")
    assert response.status == 201
    assert response.headers["Location"].startswith("whep/")
    assert [watch for _, watch in rooms.joined] == [True]


async def test_a_devices_token_opens_one_endpoint_only(client: Client, tokens: Tokens) -> None:
    assert (await post(client, bearer(tokens, TokenKind.WATCH))).status == 401
    assert (await post(client, bearer(tokens), path="/whep")).status == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic Zm9v"}, {"Authorization": "Bearer"}])
async def test_without_a_bearer_token_nothing_happens(
    client: Client, rooms: NotingRooms, headers: dict[str, str]
) -> None:
    response = await post(client, headers)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert rooms.joined == []


async def test_another_media_type_is_refused(client: Client, tokens: Tokens) -> None:
    response = await post(client, {**bearer(tokens), "Content-Type": "application/json"})
    assert response.status == 415


async def test_an_unusable_offer_is_refused_with_its_code(client: Client, tokens: Tokens) -> None:
    response = await post(client, bearer(tokens), body="v=0\r\n")
    assert response.status == 400
    assert (await response.json())["code"] == "negotiation-failed:malformed"


async def test_a_bad_offer_opens_no_room(client: Client, tokens: Tokens, rooms: NotingRooms) -> None:
    assert (await post(client, bearer(tokens), body="v=0\r\n")).status == 400
    assert rooms.opened == []


@pytest.mark.parametrize(
    ("code", "seconds"), [("room-locked", "10"), ("link-full", "30"), ("no-more-rooms", "30")]
)
async def test_a_device_is_told_when_to_ask_again(
    client: Client, tokens: Tokens, rooms: NotingRooms, code: str, seconds: str
) -> None:
    rooms.refusal = Refused(code, "not now")
    response = await post(client, bearer(tokens))
    assert (response.status, response.headers["Retry-After"]) == (503, seconds)


async def test_an_encoder_that_came_back_is_not_ended_by_its_former_session(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    headers = bearer(tokens)
    former = location_of(await post(client, headers))
    rooms.returning = rooms.participants[0]
    for _ in range(5):
        response = await post(client, headers)
        assert response.status == 201
    assert (await client.delete(former, headers=headers)).status == 404
    assert not rooms.participants[0].is_gone
    newest = location_of(response)
    assert (await client.delete(newest, headers=headers)).status == 200
    assert (await client.delete(newest, headers=headers)).status == 404


async def test_spellings_of_the_field_are_taken(client: Client, tokens: Tokens) -> None:
    token = bearer(tokens)["Authorization"]
    for headers, body in (
        ({"content-type": "application/sdp;charset=UTF-8", "authorization": token}, description("d")),
        ({"Content-Type": "Application/SDP", "Authorization": token}, description("d")),
        ({"Authorization": token.replace("Bearer", "bearer")}, description("d").replace("\r\n", "\n")),
    ):
        assert (await post(client, headers, body=body)).status == 201, headers


async def test_an_ice_restart_whose_answer_was_lost_is_answered_again(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    answers = [await patch(client, location, headers, fragment("moved")) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert await answers[0].text() == await answers[1].text()
    assert len(rooms.participants[0].offers) == 2


async def test_a_full_room_is_a_temporary_refusal(client: Client, tokens: Tokens, rooms: NotingRooms) -> None:
    rooms.refusal = Refused("room-full", "the room has its 2 participants")
    response = await post(client, bearer(tokens))
    assert response.status == 503
    assert "Retry-After" in response.headers


async def test_a_closing_server_sends_devices_away_for_a_moment(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    rooms.is_draining = True
    response = await post(client, bearer(tokens))
    assert response.status == 503
    assert "Retry-After" in response.headers
    assert rooms.joined == []


def while_the_body_comes(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen between the head of each request and the end of its body."""
    read = device_endpoint._body

    async def slowly(request: web.Request, media_type: str) -> str:
        body = await read(request, media_type)
        happens()
        return body

    monkeypatch.setattr(device_endpoint, "_body", slowly)


async def test_a_device_removed_while_its_request_comes_negotiates_nothing(
    client: Client, tokens: Tokens, rooms: NotingRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    (device,) = rooms.participants
    while_the_body_comes(monkeypatch, device.leave)
    assert (await patch(client, location, headers, fragment("moved"))).status == 404
    assert len(device.offers) == 1


async def test_a_link_revoked_while_its_offer_comes_opens_nothing(
    client: Client,
    tokens: Tokens,
    revoked: set[str],
    rooms: NotingRooms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = bearer(tokens)
    holder = tokens.read(headers["Authorization"].removeprefix("Bearer "), TokenKind.PUBLISH).id
    while_the_body_comes(monkeypatch, lambda: revoked.add(holder))
    response = await post(client, headers)
    assert (response.status, (await response.json())["code"]) == (401, "revoked-link")
    assert rooms.opened == []


async def test_a_server_that_closes_while_an_offer_comes_lets_nobody_in(
    client: Client, tokens: Tokens, rooms: NotingRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_the_body_comes(monkeypatch, lambda: setattr(rooms, "is_draining", True))
    assert (await post(client, bearer(tokens))).status == 503
    assert rooms.joined == []


async def test_a_reader_of_the_endpoint_is_told_that_there_is_nothing_to_get(client: Client) -> None:
    assert (await client.get("/whip")).status == 405


async def test_options_name_the_media_type_and_show_relays_to_token_holders_only(
    client: Client, tokens: Tokens
) -> None:
    stranger = await client.options("/whip")
    assert (stranger.status, stranger.headers["Accept-Post"]) == (204, "application/sdp")
    assert "Link" not in stranger.headers
    headers = bearer(tokens)
    device = await client.options("/whip", headers=headers)
    holder = tokens.read(headers["Authorization"].removeprefix("Bearer "), TokenKind.PUBLISH).id
    assert device.headers["Link"].startswith(
        f'<turn:turn.example.vn:3478>; rel="ice-server"; username="1060:{holder}";'
    )


async def test_delete_ends_the_session_once(client: Client, tokens: Tokens, rooms: NotingRooms) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    assert (await client.delete(location, headers=headers)).status == 200
    assert rooms.participants[0].is_gone
    assert (await client.delete(location, headers=headers)).status == 404


async def test_only_the_token_that_began_a_session_ends_it(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    location = location_of(await post(client, bearer(tokens)))
    assert (await client.delete(location, headers=bearer(tokens))).status == 401
    assert (await client.delete(location)).status == 401
    assert not rooms.participants[0].is_gone


async def test_a_session_whose_media_ended_is_gone(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    rooms.participants[0].is_gone = True
    assert (await client.delete(location, headers=headers)).status == 404


async def test_trickled_candidates_change_nothing(client: Client, tokens: Tokens, rooms: NotingRooms) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    for more in ({}, {"If-Match": '"bridge1"'}, {"If-Match": "*"}):
        assert (await patch(client, location, {**headers, **more}, fragment("device"))).status == 204
    assert len(rooms.participants[0].offers) == 1


async def test_trickling_into_an_older_ice_generation_fails(client: Client, tokens: Tokens) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    response = await patch(client, location, {**headers, "If-Match": '"older"'}, fragment("device"))
    assert response.status == 412


async def test_new_credentials_restart_ice_on_the_same_offer(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    response = await patch(client, location, {**headers, "If-Match": "*"}, fragment("moved"))
    assert response.status == 200
    assert response.content_type == "application/trickle-ice-sdpfrag"
    assert response.headers["ETag"] == '"bridge2"'
    assert parse_fragment(await response.text()) == Fragment("bridge2", PASSWORD)
    assert rooms.participants[0].offers[1] == description("moved")


async def test_a_patch_of_another_kind_is_refused(client: Client, tokens: Tokens) -> None:
    headers = bearer(tokens)
    location = location_of(await post(client, headers))
    response = await patch(client, location, {**headers, "Content-Type": "application/sdp"}, "v=0\r\n")
    assert response.status == 415
    assert (await patch(client, location, headers, "nonsense")).status == 400


async def test_offers_of_one_token_are_bounded_whatever_becomes_of_them(
    client: Client, tokens: Tokens, rooms: NotingRooms
) -> None:
    headers = bearer(tokens)
    rooms.refusal = Refused("room-full", "full")
    statuses = [(await post(client, headers)).status for _ in range(10)]
    assert statuses == [503] * 8 + [429] * 2
    rooms.refusal = None
    assert (await post(client, bearer(tokens))).status == 201
    response = await post(client, bearer(tokens), body=description("d") + "a=x\r\n" * 20_000)
    assert response.status == 400


async def test_refusals_of_devices_are_counted(
    client: Client, tokens: Tokens, rooms: NotingRooms, counters: SessionCounters
) -> None:
    await post(client, {})
    rooms.refusal = Refused("room-full", "full")
    await post(client, bearer(tokens))
    assert counters.devices_refused == {("whip", "invalid-token"): 1, ("whip", "room-full"): 1}
    assert counters.joins_refused == {}


async def test_guessing_tokens_by_options_is_limited_like_any_way_in(
    tokens: Tokens, rooms: NotingRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.api.admission.limited_networks", lambda host: (b"a network",))
    reads: list[str] = []
    read = tokens.read
    monkeypatch.setattr(tokens, "read", lambda token, kind: reads.append(token) or read(token, kind))
    relays = Relays(("turn:turn.example.vn:3478",), b"shared", lifetime_s=60, wall_clock=lambda: 1000.0)
    admission = Admission(10, counters=SessionCounters(), clock=lambda: 0.0)
    application = web.Application()
    noting: Any = rooms
    whip_endpoint(noting, tokens, relays, admission, Accounts(per_link=4)).add_routes(application.router)
    async with TestClient(TestServer(application)) as client:
        for _ in range(9):
            response = await client.options("/whip", headers={"Authorization": "Bearer guessed"})
            assert (response.status, response.headers["Accept-Post"]) == (204, "application/sdp")
        assert len(reads) == 2
        response = await client.options("/whip", headers=bearer(tokens))
        assert (response.status, "Link" in response.headers) == (204, False)
        assert (await client.options("/whip")).status == 204
