"""Signed, short-lived rights to enter a room or the library: invitations, join tokens, bearers for devices.

An invitation travels in a link's fragment and lives as long as its conference. A join token is
made from it, lives ten minutes, is renewed while its holder is in the room, and lets the page come
back after a restart of the server without asking anybody again. Renewal ends some hours after the
invitation, so that who stays connected does not keep its rights for ever.

The library of recordings is opened by an archive token, which shows all of them, or by the invitation of a
chair or secretary, which shows those of its room. Either becomes a library token, which lives in a cookie
for a quarter of an hour, is renewed while the page is open, and for half a day at most.
"""

import os
import secrets
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import jwt

from bridge.base import schema
from bridge.base.errors import InvalidConfig, InvalidMessage, Refused
from bridge.base.names import one_spelling, tidy_name
from bridge.base.schema import Between, Characters
from bridge.base.words import ArchiveScope, ConferenceKind, Level, Role

JOIN_LIFETIME_S = 600
# The longest that a conference goes on after its links have expired; nobody in it may be cut off.
JOIN_GRACE_S = 12 * 3600
LIBRARY_LIFETIME_S = 900
# Somebody's working day in the archive; after it the link is asked for again.
LIBRARY_TOTAL_S = 12 * 3600
SECRET_BYTES = 32
TOKEN_MAX_CHARACTERS = 4096
_ALGORITHM = "HS256"


class TokenKind(StrEnum):
    """What a token is good for; one kind is never accepted in place of another."""

    INVITATION = "invitation"
    JOIN = "join"
    PUBLISH = "publish"
    WATCH = "watch"
    ARCHIVE = "archive"
    LIBRARY = "library"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: who may enter which room, as what, until when.

    `id` names the invitation; the join tokens made from it keep it, so that a removed site's link
    can be told from the others. `exp` is in Unix seconds, and so is `until`, the `exp` of the invitation
    that a join token was made from, or the end of what a library token can be renewed to. `scope` is that of
    a library token. `conference_kind` decides what of the conference may be recorded; a token that does not
    say it is one of a consultation, which is recorded least.
    """

    typ: TokenKind
    room: Annotated[str, Characters(1, 64)]
    title: Annotated[str, Characters(1, 200)]
    site: Annotated[str, Characters(1, 120)]
    level: Level
    role: Role
    id: Annotated[str, Characters(1, 32)]
    exp: Annotated[int, Between(0, 2**40)]
    name: Annotated[str, Characters(1, 80)] | None = None
    until: Annotated[int, Between(0, 2**40)] | None = None
    scope: ArchiveScope | None = None
    conference_kind: ConferenceKind = ConferenceKind.CONSULTATION

    @property
    def kind(self) -> TokenKind:
        """What the token is good for."""
        return self.typ

    @property
    def expires_at(self) -> int:
        """When the token ends, in Unix seconds."""
        return self.exp


def load_secret(path: Path) -> bytes:
    """Return the node's signing secret, made on first use and readable only by its owner.

    Raises InvalidConfig when the file cannot be read, or is no such secret.
    """
    try:
        _create_secret(path)
        secret = path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"token secret {path}: {error.strerror}") from error
    if len(secret) < SECRET_BYTES:
        raise InvalidConfig(f"token secret {path}: shorter than {SECRET_BYTES} bytes")
    return secret


def _create_secret(path: Path) -> None:
    if path.exists():
        return
    # Written aside and linked into place: of two processes that start together both end up with
    # the one whole secret, and a crash never leaves half of one.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink()


class Tokens:
    """Makes and checks tokens with one secret; `clock` gives Unix seconds, `revoked` the dead links."""

    def __init__(
        self, secret: bytes, *, clock: Callable[[], float] = time.time, revoked: Container[str] = ()
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._revoked = revoked

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the link behind these claims was made worthless."""
        return claims.id in self._revoked

    def invitation(
        self,
        *,
        room: str,
        title: str,
        site: str,
        level: Level,
        role: Role,
        lifetime_s: int,
        name: str | None = None,
        conference_kind: ConferenceKind = ConferenceKind.CONSULTATION,
    ) -> str:
        """Return a token for an invitation link."""
        return self._issue(
            TokenKind.INVITATION, room, title, site, level, role, lifetime_s, name, conference_kind
        )

    def device(
        self,
        kind: TokenKind,
        *,
        room: str,
        title: str,
        site: str,
        level: Level,
        role: Role,
        lifetime_s: int,
        name: str | None = None,
        conference_kind: ConferenceKind = ConferenceKind.CONSULTATION,
    ) -> str:
        """Return a bearer token to publish (WHIP) or to watch (WHEP)."""
        return self._issue(kind, room, title, site, level, role, lifetime_s, name, conference_kind)

    def join(self, claims: Claims) -> str:
        """Return a fresh join token with the rights of an invitation or of an earlier join token.

        It lives for `join_lifetime_s`, and is of no use when that is not positive.
        """
        value = {**schema.to_json(claims), "typ": TokenKind.JOIN.value}
        until = _until(claims)
        if until is not None:
            value["until"] = until
        return self._sign(value, self.join_lifetime_s(claims))

    def join_lifetime_s(self, claims: Claims) -> int:
        """Return how long a join token made now would live: ten minutes, but for the invitation's end."""
        until = _until(claims)
        if until is None:
            return JOIN_LIFETIME_S
        return min(JOIN_LIFETIME_S, until + JOIN_GRACE_S - int(self._clock()))

    def archive(
        self, *, site: str, level: Level, role: Role, lifetime_s: int, name: str | None = None
    ) -> str:
        """Return a token that opens the library with the recordings of all rooms."""
        # A token always names a room; that of an archive token is read by nobody.
        return self._issue(TokenKind.ARCHIVE, "archive", "archive", site, level, role, lifetime_s, name)

    def library(self, claims: Claims) -> str:
        """Return a fresh library token with the rights of a key, an invitation or an earlier library token.

        It is of no use when `library_lifetime_s` is not positive.
        """
        scope = ArchiveScope.ALL if claims.kind is TokenKind.ARCHIVE else ArchiveScope.ROOM
        value = {
            **schema.to_json(claims),
            "typ": TokenKind.LIBRARY.value,
            "scope": (claims.scope or scope).value,
            "until": self._library_until(claims),
        }
        return self._sign(value, self.library_lifetime_s(claims))

    def library_lifetime_s(self, claims: Claims) -> int:
        """Return how long a library token made now would live."""
        return min(LIBRARY_LIFETIME_S, self._library_until(claims) - int(self._clock()))

    def _library_until(self, claims: Claims) -> int:
        if claims.kind is TokenKind.LIBRARY:
            return claims.until or claims.exp
        return min(claims.exp, int(self._clock()) + LIBRARY_TOTAL_S)

    def read(self, token: str, kind: TokenKind) -> Claims:
        """Return what the token says; raises Refused: `invalid-token`, `revoked-link` or `expired-token`."""
        claims = self._verify(token)
        if claims.kind is not kind:
            raise Refused("invalid-token", f"a token of kind {claims.kind.value}, not {kind.value}")
        if self.is_revoked(claims):
            raise Refused("revoked-link", "the link behind this token was revoked")
        if claims.expires_at <= self._clock():
            raise Refused("expired-token", "the token has expired")
        # Links of older versions are as they were typed.
        return replace(
            claims,
            title=one_spelling(claims.title),
            site=one_spelling(claims.site),
            name=None if claims.name is None else one_spelling(claims.name),
        )

    def _issue(
        self,
        kind: TokenKind,
        room: str,
        title: str,
        site: str,
        level: Level,
        role: Role,
        lifetime_s: int,
        name: str | None,
        conference_kind: ConferenceKind = ConferenceKind.CONSULTATION,
    ) -> str:
        if role is Role.ARCHIVIST and kind is not TokenKind.ARCHIVE:
            raise InvalidMessage("invalid-message", "an archivist comes into no room")
        # In hexadecimal, because people hand it to `links revoke`: base64 may begin with a dash.
        claims = Claims(
            kind, room, tidy_name(title), tidy_name(site), level, role, secrets.token_hex(12), 0,
            None if name is None else tidy_name(name), conference_kind=conference_kind,
        )  # fmt: skip
        value = schema.to_json(claims)
        # What could not be read back must not be signed: the fault is the caller's, and shows here.
        schema.read(Claims, value)
        return self._sign(value, lifetime_s)

    def _sign(self, value: dict[str, object], lifetime_s: int) -> str:
        value["exp"] = int(self._clock()) + lifetime_s
        return jwt.encode(value, self._secret, algorithm=_ALGORITHM)

    def _verify(self, token: str) -> Claims:
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise Refused("invalid-token", "the token is too long")
        try:
            value = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp"]},
            )
            return schema.read(Claims, value)
        # PyJWT parses the header's JSON before it checks the signature, so that hostile nesting and
        # hostile text reach the JSON decoder.
        except (jwt.PyJWTError, InvalidMessage, ValueError, RecursionError) as error:
            raise Refused("invalid-token", "the token is damaged or not from this server") from error


def _until(claims: Claims) -> int | None:
    """Return when the invitation behind these claims ends, or has ended."""
    return claims.exp if claims.kind is TokenKind.INVITATION else claims.until
