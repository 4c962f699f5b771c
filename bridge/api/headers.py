"""What every answer tells the browser, and what of aiohttp's own lines reaches the log."""

import logging

from aiohttp import web, web_response
from aiohttp.http_exceptions import HttpProcessingError

from bridge.api.clients import is_secure

http_logger = logging.getLogger("bridge.http")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob: mediastream:; connect-src 'self'; object-src 'none'; worker-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Permissions-Policy": (
        "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), "
        "screen-wake-lock=(self), geolocation=(), payment=(), usb=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A year (RFC 6797). Not for other names of the domain: they are not ours to decide about.
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
# Whom it serves need not know which versions it runs on. There is no setting for it, and what aiohttp says to
# those who speak no HTTP passes by all handlers.
vars(web_response)["SERVER_SOFTWARE"] = "hoichan"


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to an answer that is about to be sent."""
    response.headers.update(SECURITY_HEADERS)
    if is_secure(request):
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep what strangers do wrong out of aiohttp's log lines, and the addresses of people, too."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | ConnectionError):
        # No HTTP, or gone before it was answered.
        return False
    if error is not None:
        record.msg, record.args = "a request could not be handled", ()
    return True


http_logger.addFilter(_is_ours)
