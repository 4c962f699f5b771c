"""Who has sent a request: the peer, or whom a trusted proxy names."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.api.problems import Handler

Network: TypeAlias = IPv4Network | IPv6Network

CLIENT: Final = web.RequestKey("client", str)
IS_SECURE: Final = web.RequestKey("is_secure", bool)


class TrustedProxies:
    """The proxies that are believed when they say for whom they ask. Everybody else's word is ignored."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def __contains__(self, host: str | None) -> bool:
        try:
            address = ip_address((host or "").partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def middleware(self) -> Middleware:
        """Return what notes the client's address and whether it came over TLS, for `client_of` and others."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[IS_SECURE] = request.secure
            if request.remote in self:
                client = _address(_last(request, "X-Forwarded-For"))
                if client is not None:
                    request[CLIENT] = client
                if _last(request, "X-Forwarded-Proto") == "https":
                    request[IS_SECURE] = True
            return await handler(request)

        return note


def client_of(request: web.Request) -> str | None:
    """Return the address of who has sent the request, as text; None when there is none."""
    return request.get(CLIENT) or request.remote


def is_secure(request: web.Request) -> bool:
    """Whether the request came over TLS, as far as we and the trusted proxies can tell."""
    return request.get(IS_SECURE) or request.secure


def is_own_origin(request: web.Request, public_host: str) -> bool:
    """Whether the page that has made the browser ask is one of ours; what is no browser does not say.

    A proxy may have written another host into the request, therefore `public_host`.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        # No browser's word.
        return False
    # A page without an origin says "null", which names no host.
    return bool(host) and host in (request.host, public_host)


def _address(hop: str | None) -> str | None:
    """Return the address of a hop, which some proxies write with its port; None for what is none."""
    text = hop or ""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _last(request: web.Request, header: str) -> str | None:
    """Return what the nearest proxy has added to a list: all before it may be the client's invention."""
    values = request.headers.getall(header, ())
    return values[-1].rpartition(",")[2].strip() or None if values else None
