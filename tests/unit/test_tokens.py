"""Tokens: who may enter what, and for how long."""

import base64
import json
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.base.errors import InvalidConfig, InvalidMessage, Refused
from bridge.base.words import ArchiveScope, ConferenceKind, Level, Role
from bridge.tokens import (
    JOIN_GRACE_S,
    JOIN_LIFETIME_S,
    LIBRARY_LIFETIME_S,
    LIBRARY_TOTAL_S,
    TokenKind,
    Tokens,
    load_secret,
)

SECRET = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def invitation(tokens: Tokens, lifetime_s: int = 86_400) -> str:
    return tokens.invitation(
        room="r-1", title="Giao ban", site="TTYT Mường Nhé", level=Level.DISTRICT, role=Role.PRESENTER,
        lifetime_s=lifetime_s,
    )  # fmt: skip


def code_of(tokens: Tokens, token: str, kind: TokenKind = TokenKind.JOIN) -> str:
    with pytest.raises(Refused) as caught:
        tokens.read(token, kind)
    return caught.value.code


def test_a_join_token_carries_the_rights_of_its_invitation() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    claims = tokens.read(invitation(tokens), TokenKind.INVITATION)
    joined = tokens.read(tokens.join(claims), TokenKind.JOIN)
    assert (joined.room, joined.title, joined.site) == ("r-1", "Giao ban", "TTYT Mường Nhé")
    assert (joined.level, joined.role, joined.name) == (Level.DISTRICT, Role.PRESENTER, None)
    assert joined.id == claims.id


def test_a_join_token_ends_after_ten_minutes_and_can_be_renewed_before() -> None:
    clock = Clock()
    tokens = Tokens(SECRET, clock=clock)
    token = tokens.join(tokens.read(invitation(tokens), TokenKind.INVITATION))
    clock.now += JOIN_LIFETIME_S - 1
    renewed = tokens.join(tokens.read(token, TokenKind.JOIN))
    clock.now += 2
    assert code_of(tokens, token) == "expired-token"
    assert tokens.read(renewed, TokenKind.JOIN).site == "TTYT Mường Nhé"


def test_renewal_ends_some_hours_after_the_invitation_and_not_before() -> None:
    clock = Clock()
    tokens = Tokens(SECRET, clock=clock)
    claims = tokens.read(invitation(tokens, lifetime_s=3600), TokenKind.INVITATION)
    ends = clock.now + 3600 + JOIN_GRACE_S
    while clock.now + 240 < ends:
        token = tokens.join(claims)
        claims = tokens.read(token, TokenKind.JOIN)
        assert claims.exp == min(clock.now + JOIN_LIFETIME_S, ends)
        clock.now += 240
    clock.now = ends - 1
    assert tokens.join_lifetime_s(claims) == 1
    clock.now = ends
    assert tokens.join_lifetime_s(claims) == 0
    assert code_of(tokens, token) == code_of(tokens, tokens.join(claims)) == "expired-token"


def test_a_token_survives_a_restart_with_the_same_secret_only() -> None:
    clock = Clock()
    token = invitation(Tokens(SECRET, clock=clock))
    assert Tokens(SECRET, clock=clock).read(token, TokenKind.INVITATION).room == "r-1"
    assert code_of(Tokens(b"x" * 32, clock=clock), token, TokenKind.INVITATION) == "invalid-token"


def test_one_kind_of_token_does_not_pass_for_another() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    watch = tokens.device(
        TokenKind.WATCH,
        room="r-1",
        title="T",
        site="S",
        level=Level.COMMUNE,
        role=Role.OBSERVER,
        lifetime_s=60,
    )
    assert tokens.read(watch, TokenKind.WATCH).kind is TokenKind.WATCH
    assert code_of(tokens, watch, TokenKind.PUBLISH) == "invalid-token"
    assert code_of(tokens, invitation(tokens)) == "invalid-token"


def test_a_join_token_says_what_the_conference_is_for() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    token = tokens.invitation(
        room="r-1", title="T", site="S", level=Level.COMMUNE, role=Role.CHAIR, lifetime_s=60,
        conference_kind=ConferenceKind.TRAINING,
    )  # fmt: skip
    joined = tokens.read(tokens.join(tokens.read(token, TokenKind.INVITATION)), TokenKind.JOIN)
    assert joined.conference_kind is ConferenceKind.TRAINING


def test_a_token_that_does_not_say_what_the_conference_is_for_is_one_of_a_consultation() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    value = jwt.decode(invitation(tokens), SECRET, algorithms=["HS256"], options={"verify_exp": False})
    del value["conference_kind"]
    claims = tokens.read(jwt.encode(value, SECRET, algorithm="HS256"), TokenKind.INVITATION)
    assert claims.conference_kind is ConferenceKind.CONSULTATION


def test_unsigned_and_foreign_tokens_are_refused() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    claims = {"typ": "join", "room": "r-1", "exp": 4_000_000_000}
    assert code_of(tokens, jwt.encode(claims, None, algorithm="none")) == "invalid-token"
    assert code_of(tokens, jwt.encode(claims, SECRET + b"x" * 32, algorithm="HS512")) == "invalid-token"
    # Signed with our secret, but not saying what our tokens say.
    assert code_of(tokens, jwt.encode(claims, SECRET, algorithm="HS256")) == "invalid-token"
    assert code_of(tokens, "a" * 5000) == "invalid-token"


def test_hostile_nesting_in_the_header_is_refused() -> None:
    header = base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=")
    assert code_of(Tokens(SECRET), f"{header}.e30.AAAA") == "invalid-token"


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_no_text_raises_anything_but_refused(text: str) -> None:
    assert code_of(Tokens(SECRET), text) == "invalid-token"


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_no_signed_claims_raise_anything_but_refused(claims: dict[str, object]) -> None:
    payload = json.dumps(claims).encode()
    token = jwt.api_jws.encode(payload, SECRET, algorithm="HS256")
    assert code_of(Tokens(SECRET), token) == "invalid-token"


def test_claims_that_could_not_be_read_back_are_not_signed() -> None:
    with pytest.raises(InvalidMessage):
        Tokens(SECRET).invitation(
            room="", title="T", site="S", level=Level.COMMUNE, role=Role.CHAIR, lifetime_s=60
        )


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = load_secret(path)
    assert len(secret) == 32
    assert load_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_secret_or_a_missing_directory_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"123")
    with pytest.raises(InvalidConfig):
        load_secret(tmp_path / "short")
    with pytest.raises(InvalidConfig):
        load_secret(tmp_path / "nowhere" / "secret")


def test_an_archive_token_opens_the_recordings_of_all_rooms() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    key = tokens.archive(
        site="BV Bạch Mai", level=Level.CENTRAL, role=Role.SECRETARY, lifetime_s=86_400, name="CN. Lan"
    )
    library = tokens.read(tokens.library(tokens.read(key, TokenKind.ARCHIVE)), TokenKind.LIBRARY)
    assert (library.scope, library.role, library.site) == (ArchiveScope.ALL, Role.SECRETARY, "BV Bạch Mai")
    for kind in (TokenKind.INVITATION, TokenKind.JOIN, TokenKind.PUBLISH):
        assert code_of(tokens, key, kind) == "invalid-token"


def test_an_invitation_opens_the_recordings_of_its_room_only() -> None:
    tokens = Tokens(SECRET, clock=Clock())
    claims = tokens.read(invitation(tokens), TokenKind.INVITATION)
    library = tokens.read(tokens.library(claims), TokenKind.LIBRARY)
    assert (library.scope, library.room) == (ArchiveScope.ROOM, "r-1")
    assert tokens.read(tokens.library(library), TokenKind.LIBRARY).scope is ArchiveScope.ROOM


@pytest.mark.parametrize(("lifetime_s", "total_s"), [(86_400, LIBRARY_TOTAL_S), (3_600, 3_600)])
def test_a_library_token_is_renewed_for_half_a_day_or_the_links_life_at_most(
    lifetime_s: int, total_s: int
) -> None:
    clock = Clock()
    began = clock.now
    tokens = Tokens(SECRET, clock=clock)
    claims = tokens.read(invitation(tokens, lifetime_s), TokenKind.INVITATION)
    claims = tokens.read(tokens.library(claims), TokenKind.LIBRARY)
    assert claims.expires_at == began + LIBRARY_LIFETIME_S
    while tokens.library_lifetime_s(claims) > 0:
        claims = tokens.read(tokens.library(claims), TokenKind.LIBRARY)
        clock.now = claims.expires_at - 1
        if claims.expires_at == began + total_s:
            break
    assert claims.expires_at == began + total_s
    assert tokens.read(tokens.library(claims), TokenKind.LIBRARY).expires_at == began + total_s
