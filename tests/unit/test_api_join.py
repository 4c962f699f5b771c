"""POST /api/join: invitations become join tokens."""

from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha1
from hmac import HMAC
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.api.admission import Admission
from bridge.api.join import JoinApi
from bridge.api.problems import problem_response
from bridge.api.relays import Relays
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused, RequestError
from bridge.base.words import ConferenceKind, Level, RecordingPolicy, Role
from bridge.rooms import Rooms
from bridge.tokens import JOIN_LIFETIME_S, TokenKind, Tokens
from tests.unit.conference import FakeChannel
from tests.unit.fake_record import FakeRecord
from tests.unit.fake_sfu import FakeSfu

Client = TestClient[web.Request, web.Application]

NOW_S = 1_800_000_000.0
POLICIES = {
    ConferenceKind.CONSULTATION: RecordingPolicy.ON_CONSENT,
    ConferenceKind.BRIEFING: RecordingPolicy.AUTO,
    ConferenceKind.TRAINING: RecordingPolicy.OFF,
}
RELAY_URL = "turns:turn.example.vn:443?transport=tcp"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"s" * 32, clock=lambda: NOW_S)


@pytest.fixture
def counters() -> SessionCounters:
    return SessionCounters()


@pytest.fixture
def rooms(tokens: Tokens, counters: SessionCounters) -> Rooms:
    record: Any = FakeRecord().open
    sfu: Any = FakeSfu()
    return Rooms(sfu, tokens, counters=counters, policies=POLICIES, open_record=record)


@pytest.fixture
async def client(tokens: Tokens, counters: SessionCounters, rooms: Rooms) -> AsyncIterator[Client]:
    relays = Relays((RELAY_URL,), b"shared", lifetime_s=3600, wall_clock=lambda: NOW_S)
    application = web.Application(client_max_size=256 * 1024)
    api = JoinApi(tokens, relays, admission=Admission(0, counters=counters), rooms=rooms)
    api.add_routes(application.router)
    async with TestClient(TestServer(application)) as running:
        yield running


def invitation(
    tokens: Tokens, *, lifetime_s: int = 3600, kind: ConferenceKind = ConferenceKind.CONSULTATION
) -> str:
    return tokens.invitation(
        room="tim-mach",
        title="Hội chẩn tim mạch",
        site="Trung tâm Y tế huyện Mường Nhé",
        level=Level.DISTRICT,
        role=Role.PRESENTER,
        lifetime_s=lifetime_s,
        conference_kind=kind,
    )


@pytest.mark.parametrize(("kind", "policy"), POLICIES.items())
async def test_the_answer_says_whether_the_conference_may_be_recorded(
    client: Client, tokens: Tokens, kind: ConferenceKind, policy: RecordingPolicy
) -> None:
    response = await client.post("/api/join", json={"invitation": invitation(tokens, kind=kind)})
    assert (await response.json())["recording"] == policy


async def test_an_invitation_becomes_a_join_token_with_the_same_rights(
    client: Client, tokens: Tokens
) -> None:
    response = await client.post("/api/join", json={"invitation": invitation(tokens)})
    assert response.status == 200
    body = await response.json()
    claims = tokens.read(body["token"], TokenKind.JOIN)
    assert (claims.room, claims.role, claims.level) == ("tim-mach", Role.PRESENTER, Level.DISTRICT)
    assert claims.expires_at == NOW_S + JOIN_LIFETIME_S
    assert body["expires_s"] == JOIN_LIFETIME_S
    assert body["room"] == {"id": "tim-mach", "title": "Hội chẩn tim mạch"}
    assert (body["site"], body["role"], body["level"], body["name"]) == (
        "Trung tâm Y tế huyện Mường Nhé",
        "presenter",
        "district",
        None,
    )


async def test_the_answer_carries_time_limited_relay_credentials(client: Client, tokens: Tokens) -> None:
    token = invitation(tokens)
    response = await client.post("/api/join", json={"invitation": token})
    (relay,) = (await response.json())["ice_servers"]
    assert relay["urls"] == [RELAY_URL]
    # The relay's log tells whose traffic it was: the link's id.
    expiry, _, holder = relay["username"].partition(":")
    assert int(expiry) == int(NOW_S) + 3600
    assert holder == tokens.read(token, TokenKind.INVITATION).id
    digest = HMAC(b"shared", relay["username"].encode(), sha1).digest()
    assert relay["credential"] == b64encode(digest).decode()


async def test_an_answer_with_a_token_is_not_stored_by_caches(client: Client, tokens: Tokens) -> None:
    response = await client.post("/api/join", json={"invitation": invitation(tokens)})
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("lifetime_s", [0, -5])
async def test_an_expired_invitation_is_refused_in_both_languages(
    client: Client, tokens: Tokens, counters: SessionCounters, lifetime_s: int
) -> None:
    response = await client.post("/api/join", json={"invitation": invitation(tokens, lifetime_s=lifetime_s)})
    assert response.status == 401
    body = await response.json()
    assert body["code"] == "expired-token"
    assert set(body["message"]) == {"vi", "en"}
    assert counters.joins_refused == {"expired-token": 1}


async def test_a_token_of_another_kind_is_refused(client: Client, tokens: Tokens) -> None:
    claims = tokens.read(invitation(tokens), TokenKind.INVITATION)
    response = await client.post("/api/join", json={"invitation": tokens.join(claims)})
    assert response.status == 401
    assert (await response.json())["code"] == "invalid-token"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"invitation": 1}', b"\xff\xfe", b'{"invitation": ""}']
)
async def test_a_body_without_the_right_form_is_a_bad_request(client: Client, body: bytes) -> None:
    response = await client.post("/api/join", data=body)
    assert response.status == 400
    assert (await response.json())["code"] == "invalid-message"


async def test_an_enormous_body_is_cut_off(client: Client) -> None:
    response = await client.post("/api/join", data=b"x" * 300_000)
    assert response.status == 413


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=200))
def test_no_text_is_mistaken_for_an_invitation(tokens: Tokens, text: str) -> None:
    with pytest.raises(Refused):
        tokens.read(text, TokenKind.INVITATION)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid-message", 400),
        ("negotiation-failed:no-bundle", 400),
        ("expired-token", 401),
        ("not-permitted", 403),
        ("unknown-participant", 404),
        ("rate-limited", 429),
        ("room-full", 503),
    ],
)
def test_every_code_has_its_http_status(code: str, status: int) -> None:
    response = problem_response(RequestError(code, "why"), request="join")
    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert ("Retry-After" in response.headers) == (status in (429, 503))


async def test_people_are_told_the_rule_of_the_open_room_and_whether_they_are_in_already(
    client: Client, tokens: Tokens, rooms: Rooms
) -> None:
    """The rule that will hold once they are in: the stricter one of the room's and their link's."""

    async def told(kind: ConferenceKind) -> tuple[str, int]:
        response = await client.post("/api/join", json={"invitation": invitation(tokens, kind=kind)})
        answer = await response.json()
        return answer["recording"], answer["link_in_use"]

    assert await told(ConferenceKind.BRIEFING) == ("auto", 0)
    link = invitation(tokens)
    claims = tokens.read(tokens.join(tokens.read(link, TokenKind.INVITATION)), TokenKind.JOIN)
    rooms.open(claims.room, claims.title, claims.conference_kind).join(claims, "BS. An", FakeChannel())
    assert await told(ConferenceKind.BRIEFING) == ("on-consent", 0)
    assert await told(ConferenceKind.TRAINING) == ("off", 0)
    response = await client.post("/api/join", json={"invitation": link})
    assert (await response.json())["link_in_use"] == 1
