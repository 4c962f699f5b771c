"""Who may use the library of recordings, and how a page shows it: a short-lived token in a cookie.

A cookie, because `<video src>` and a download carry no headers. It is sent to this API alone, by pages of
this site alone, and no script can read it. What changes something must come with a header besides, which no
foreign page can send, and from this origin as far as the browser says.
"""

from urllib.parse import urlsplit

from aiohttp import web

from bridge.api.clients import is_own_origin
from bridge.base.errors import Refused
from bridge.conference.roles import ARCHIVE_ROLES
from bridge.tokens import Claims, TokenKind, Tokens

COOKIE = "hoichan-archive"
# Browsers take it over TLS only (RFC 6265bis, 4.1.3); `__Host-` would have them send it everywhere.
SECURE_PREFIX = "__Secure-"
PATH = "/api/archive"
# The header that only our own page sends.
REQUEST_HEADER, REQUEST_VALUE = "X-Requested-With", "hoichan"


class LibrarySessions:
    """Opens, renews, checks and ends sessions; nothing of them is kept here. `origin` is the public one."""

    def __init__(self, tokens: Tokens, *, origin: str) -> None:
        self._tokens = tokens
        self._host = urlsplit(origin).netloc
        self._is_secure = urlsplit(origin).scheme == "https"
        self._cookie = f"{SECURE_PREFIX if self._is_secure else ''}{COOKIE}"

    def admit(self, invitation: str) -> Claims:
        """Return the claims of a new session; raises Refused for tokens and roles that open no library."""
        try:
            claims = self._tokens.read(invitation, TokenKind.ARCHIVE)
        except Refused as error:
            if error.code != "invalid-token":
                raise
            claims = self._tokens.read(invitation, TokenKind.INVITATION)
        if claims.role not in ARCHIVE_ROLES:
            raise Refused("not-permitted", f"the role {claims.role.value} does not open recordings")
        return self._renewed(claims)

    def renew(self, request: web.Request) -> Claims:
        """Return the claims of the request's session with a new end; raises Refused."""
        return self._renewed(self.claims(request))

    def claims(self, request: web.Request) -> Claims:
        """Return what the request's cookie says; raises Refused when there is no valid one."""
        token = request.cookies.get(self._cookie)
        if token is None:
            raise Refused("invalid-token", "there is no session of the library")
        return self._tokens.read(token, TokenKind.LIBRARY)

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the link or key behind a session was made worthless since."""
        return self._tokens.is_revoked(claims)

    def check_origin(self, request: web.Request) -> None:
        """Refuse what another site's page may have made the browser send."""
        if request.headers.get(REQUEST_HEADER) != REQUEST_VALUE:
            raise Refused("not-permitted", f"the header {REQUEST_HEADER}: {REQUEST_VALUE} is missing")
        # Told by browsers on https and loopback; the origin is told by all of them.
        site = request.headers.get("Sec-Fetch-Site")
        is_ours = is_own_origin(request, self._host) if site is None else site == "same-origin"
        if not is_ours:
            raise Refused("not-permitted", "the request comes from another site")

    def remember(self, response: web.Response, claims: Claims) -> None:
        """Give the browser the session."""
        response.set_cookie(
            self._cookie,
            self._tokens.library(claims),
            max_age=self._tokens.library_lifetime_s(claims),
            path=PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )

    def forget(self, response: web.Response) -> None:
        """Take the session from the browser."""
        response.del_cookie(self._cookie, path=PATH, secure=self._is_secure, httponly=True, samesite="Strict")

    def lifetime_s(self, claims: Claims) -> int:
        """Return how long the session lives unless it is renewed."""
        return self._tokens.library_lifetime_s(claims)

    def _renewed(self, claims: Claims) -> Claims:
        if self._tokens.library_lifetime_s(claims) <= 0:
            raise Refused("expired-token", "the session of the library has reached its end")
        return self._tokens.read(self._tokens.library(claims), TokenKind.LIBRARY)
