"""What WHIP (RFC 9725) and WHEP share: one HTTP resource is one device's session in a room.

A device is an ordinary participant; only its way in differs. Its bearer token says room, site and role.
"""

import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from bridge.api.accounts import Accounts
from bridge.api.admission import Admission
from bridge.api.devices.trickle import fragment_of, ice_ufrag_of, parse_fragment, with_credentials
from bridge.api.problems import answering_problems
from bridge.api.relays import Relays
from bridge.base.errors import InvalidMessage, Refused, RequestError
from bridge.conference.participants import Participant
from bridge.rooms import Rooms
from bridge.tokens import Claims, TokenKind, Tokens

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
# A restart takes about that long.
RETRY_AFTER_S = 5
# A device has a few m-lines.
OFFER_MAX_CHARACTERS = 64 * 1024


@dataclass(slots=True)
class Session:
    """One device in a room, from its POST to its DELETE or the end of its media."""

    participant: Participant
    link: str
    bearer: str
    offer: str
    ice_generation: str
    # The fragment of the newest ICE restart and its answer, which may have been lost on its way.
    restart: tuple[str, str] | None = None


class DeviceEndpoint:
    """The endpoint and the session resources of one of the two protocols."""

    def __init__(
        self,
        path: str,
        kind: TokenKind,
        *,
        rooms: Rooms,
        tokens: Tokens,
        relays: Relays,
        admission: Admission,
        accounts: Accounts,
    ) -> None:
        self._accounts = accounts
        self._path = path
        self._kind = kind
        self._rooms = rooms
        self._tokens = tokens
        self._relays = relays
        self._admission = admission
        # Bounded by the participants that the rooms admit: ended ones go before a new one comes.
        self._sessions: dict[str, Session] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        name = self._path.strip("/")
        session = f"{self._path}/{{session}}"
        # Without a token it costs nothing; reading one costs a signature like any other way in.
        self._describe_to_holder = self._admission.limiting(self._describe_with_relays)
        router.add_options(self._path, self._describe)
        create = self._admission.limiting(self._create, endpoint=name)
        router.add_post(self._path, answering_problems(create, request=name))
        router.add_options(session, self._describe_session)
        router.add_patch(session, answering_problems(self._patch, request=name))
        router.add_delete(session, answering_problems(self._delete, request=name))

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        """OPTIONS: what may be posted, and the relays for a device that shows its token (4.4)."""
        if "Authorization" in request.headers:
            # A token that is not right, or one too many, leaves what everybody may know.
            with suppress(RequestError):
                return await self._describe_to_holder(request)
        return _description()

    async def _describe_with_relays(self, request: web.Request) -> web.Response:
        claims = self._tokens.read(_bearer(request), self._kind)
        response = _description()
        self._add_links(response, claims)
        return response

    async def _describe_session(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"})

    async def _create(self, request: web.Request) -> web.Response:
        # Before the body, which nobody may send us without a token.
        bearer = _bearer(request)
        self._tokens.read(bearer, self._kind)
        offer = await _body(request, SDP)
        await self._rooms.until_ready(self._tokens.read(bearer, self._kind).room)
        # And after it: it may take its time, and the link may be revoked or the server stopped meanwhile.
        claims = self._tokens.read(bearer, self._kind)
        if self._rooms.is_draining:
            return web.Response(status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
        if len(offer) > OFFER_MAX_CHARACTERS:
            raise InvalidMessage(
                "invalid-message", f"an offer of more than {OFFER_MAX_CHARACTERS} characters"
            )
        self._charge_offer(claims.id)
        is_watching = self._kind is TokenKind.WATCH
        # A bad offer opens no room, and begins no session of its recordings.
        self._rooms.check_device_offer(offer, watch=is_watching)
        room = self._rooms.open(claims.room, claims.title, claims.conference_kind)
        participant, answer = room.join_device(claims, offer, watch=is_watching)
        # An encoder that has come back has a new session, and its earlier one is not to end it.
        self._forget_ended(participant)
        session_id = secrets.token_urlsafe(16)
        session = Session(participant, claims.id, bearer, offer, ice_ufrag_of(answer))
        self._sessions[session_id] = session
        # Relative to what was asked for, so that it holds below whatever prefix a proxy has put before it.
        location = f"{self._path.strip('/')}/{session_id}"
        response = _described(answer, SDP, session, status=201)
        response.headers["Location"] = location
        self._add_links(response, claims)
        return response

    async def _patch(self, request: web.Request) -> web.Response:
        """Trickle (204, nothing to do) or ICE restart (200 with the bridge's new fragment)."""
        self._session(request)
        body = await _body(request, FRAGMENT)
        # Again: a moderator may have removed the device while its body came.
        session = self._session(request)
        if session.restart is not None and session.restart[0] == body:
            return _described(session.restart[1], FRAGMENT, session)
        fragment = parse_fragment(body)
        if fragment.ice_ufrag == ice_ufrag_of(session.offer):
            # Encoders in the field trickle without If-Match; the candidates are ignored in any case.
            _check_if_match(request, session)
            return web.Response(status=204)
        self._charge_offer(session.link)
        offer = with_credentials(session.offer, fragment)
        answer = session.participant.negotiate(offer)
        session.offer = offer
        session.ice_generation = ice_ufrag_of(answer)
        session.restart = (body, fragment_of(answer))
        return _described(session.restart[1], FRAGMENT, session)

    async def _delete(self, request: web.Request) -> web.Response:
        session = self._session(request)
        del self._sessions[request.match_info["session"]]
        session.participant.leave()
        return web.Response(status=200)

    def _charge_offer(self, link: str) -> None:
        if not self._accounts.allow_offer(link):
            raise Refused("rate-limited", "more offers than a device makes, with this token")

    def _session(self, request: web.Request) -> Session:
        """Return the session of the path, for the holder of the token that made it.

        The token itself may have expired since: whoever began a session may always end it.
        """
        session = self._sessions.get(request.match_info["session"])
        if session is None or session.participant.is_gone:
            raise Refused("unknown-participant", "there is no such session, or it has ended")
        if not hmac.compare_digest(session.bearer.encode(), _bearer(request).encode()):
            raise Refused("invalid-token", "this is not the token that created the session")
        return session

    def _forget_ended(self, returned: Participant) -> None:
        for session_id, session in list(self._sessions.items()):
            if session.participant.is_gone or session.participant is returned:
                del self._sessions[session_id]

    def _add_links(self, response: web.Response, claims: Claims) -> None:
        for credential in self._relays.credentials(claims.id):
            for link in credential.as_links():
                response.headers.add("Link", link)


def _description() -> web.Response:
    return web.Response(status=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})


def _described(text: str, media_type: str, session: Session, *, status: int = 200) -> web.Response:
    # Encoders in the field compare the media type as a whole: no charset behind it.
    headers = {"Content-Type": media_type, "ETag": _etag(session)}
    return web.Response(status=status, body=text.encode(), headers=headers)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused("invalid-token", "an Authorization header with a Bearer token is needed")
    return token.strip()


async def _body(request: web.Request, media_type: str) -> str:
    if request.content_type != media_type:
        raise InvalidMessage("unsupported-media-type", f"the body must be {media_type}")
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid-message", "the body is not UTF-8 text") from error


def _etag(session: Session) -> str:
    return f'"{session.ice_generation}"'


def _check_if_match(request: web.Request, session: Session) -> None:
    expected = request.headers.get("If-Match", "*")
    if expected not in ("*", _etag(session)):
        raise Refused("precondition-failed", "the ICE generation has changed since")
