"""How a request that could not be carried out is answered over HTTP."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bridge.base.errors import RequestError
from bridge.messages import error_from, to_json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# By the stable code up to its first colon; everything else is the client's mistake.
_STATUS = {
    "invalid-token": 401,
    "expired-token": 401,
    "revoked-link": 401,
    "not-permitted": 403,
    "refused": 403,
    "withheld": 403,
    "room-locked": 503,
    "unknown-participant": 404,
    "unknown-recording": 404,
    "not-ready": 409,
    "unsupported-media-type": 415,
    "precondition-failed": 412,
    "rate-limited": 429,
    "room-full": 503,
    "no-more-rooms": 503,
    "link-full": 503,
    "busy": 503,
    "archive-unavailable": 503,
}
_RETRY_AFTER_S = {429: 5, 503: 30}
# Somebody may be at the door of the room to let it in.
_RETRY_KNOCKING_S = 10


def problem_response(error: RequestError, *, request: str) -> web.Response:
    """Return the error message of the signalling protocol as a body, under the HTTP status that fits."""
    family = error.code.partition(":")[0]
    status = _STATUS.get(family, 400)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in _RETRY_AFTER_S:
        seconds = _RETRY_KNOCKING_S if family == "room-locked" else _RETRY_AFTER_S[status]
        headers["Retry-After"] = str(seconds)
    return web.json_response(to_json(error_from(error, request=request)), status=status, headers=headers)


def answering_problems(handler: Handler, *, request: str) -> Handler:
    """Wrap a handler so that a RequestError ends only its request."""

    async def answer(http_request: web.Request) -> web.StreamResponse:
        try:
            return await handler(http_request)
        except RequestError as error:
            return problem_response(error, request=request)

    return answer
