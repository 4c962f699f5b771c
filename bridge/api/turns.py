"""How fast the HTTP requests of one network are answered: beyond its share they wait for their turn.

A request costs some tenths of a millisecond of the core that forwards media. Waiting costs nobody the answer:
a hundred pages that a hospital opens at once through one address are all served, a few seconds later.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.api.clients import client_of
from bridge.api.problems import Handler, problem_response
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused
from bridge.base.rate import NetworkLimits, limited_networks

# A quarter of a core, slow as cores are that people have. A page takes some seventy, those it has not cached;
# thirty pages at once do not wait.
REQUESTS_PER_S: Final = 200.0
REQUESTS_BURST: Final = 2_000.0
# Only behind a trusted proxy can so many be waiting: without it, connections run out first.
WAIT_MAX_S: Final = 10.0


class Turns:
    """Whose turn it is, by network; see `limited_networks` for who never waits."""

    def __init__(self, *, counters: SessionCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._limits = NetworkLimits(per_s=REQUESTS_PER_S, burst=REQUESTS_BURST)

    def middleware(self) -> Middleware:
        """Return what lets requests wait; it needs the note that `TrustedProxies` has made of the client."""

        @web.middleware
        async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
            networks = limited_networks(client_of(request))
            wait_s = self._limits.reserve(networks, self._clock(), wait_max_s=WAIT_MAX_S)
            if wait_s is None:
                refused = Refused("rate-limited", "too many requests of this network are waiting")
                return problem_response(refused, request="http")
            if wait_s > 0.0:
                self._counters.requests_delayed += 1
                await asyncio.sleep(wait_s)
            return await handler(request)

        return in_turn
