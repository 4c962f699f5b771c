"""POST /api/join: an invitation, taken from the link, becomes a short-lived join token."""

from dataclasses import dataclass
from typing import Annotated

from aiohttp import web

from bridge.api.admission import JOIN, Admission
from bridge.api.problems import answering_problems
from bridge.api.relays import Relays
from bridge.base import schema
from bridge.base.errors import InvalidMessage
from bridge.base.schema import Characters
from bridge.rooms import Rooms
from bridge.tokens import TokenKind, Tokens


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """The body of the request."""

    invitation: Annotated[str, Characters(1, 4096)]


class JoinApi:
    """Exchanges invitations for join tokens."""

    def __init__(
        self,
        tokens: Tokens,
        relays: Relays,
        *,
        admission: Admission,
        rooms: Rooms,
    ) -> None:
        self._tokens = tokens
        self._relays = relays
        self._admission = admission
        self._rooms = rooms

    def add_routes(self, router: web.UrlDispatcher) -> None:
        join = self._admission.limiting(self._join, endpoint=JOIN)
        router.add_post("/api/join", answering_problems(join, request="join"))

    async def _join(self, request: web.Request) -> web.Response:
        try:
            text = (await request.read()).decode()
        except UnicodeDecodeError as error:
            raise InvalidMessage("invalid-message", "the body is not UTF-8 text") from error
        body = schema.read(JoinRequest, schema.read_json(text))
        claims = self._tokens.read(body.invitation, TokenKind.INVITATION)
        answer = {
            "token": self._tokens.join(claims),
            "expires_s": self._tokens.join_lifetime_s(claims),
            "room": {"id": claims.room, "title": claims.title},
            "site": claims.site,
            "level": claims.level,
            "role": claims.role,
            "name": claims.name,
            # People learn before they come in whether they may be recorded.
            "recording": self._rooms.recording_policy(claims.room, claims.conference_kind),
            # And whether they are in already, in another tab or on another device.
            "link_in_use": self._rooms.link_in_use(claims),
            "ice_servers": [credential.as_json() for credential in self._relays.credentials(claims.id)],
        }
        return web.json_response(answer, headers={"Cache-Control": "no-store"})
