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

# A fifth of a core, slow as cores are that people have. A page takes some seventy, those it has not cached;
# thirty pages at once do not wait while the core has time for them.
REQUESTS_PER_S: Final = 200.0
REQUESTS_BURST: Final = 2_000.0
# One page at once, when it has not.
REQUESTS_BURST_BUSY: Final = 100.0
# What a handshake of a WebSocket costs, with what follows it, in requests.
HANDSHAKE_COST: Final = 4.0
SIGNALLING: Final = "/ws"
# Pages give a handshake up after ten seconds, and its turn would be nobody's.
HANDSHAKE_WAIT_MAX_S: Final = 8.0
# Only behind a trusted proxy can so many be waiting: without it, connections run out first. A page is dead of
# which one file is refused.
WAIT_MAX_S: Final = 30.0


class Turns:
    """Whose turn it is, by network; see `limited_networks` for who never waits."""

    def __init__(
        self,
        *,
        counters: SessionCounters,
        is_busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._is_busy = is_busy
        self._clock = clock
        self._limits = NetworkLimits(per_s=REQUESTS_PER_S, burst=REQUESTS_BURST)
        self._limits_busy = NetworkLimits(per_s=REQUESTS_PER_S, burst=REQUESTS_BURST_BUSY)

    def middleware(self) -> Middleware:
        """Return what lets requests wait; it needs the note that `TrustedProxies` has made of the client."""

        @web.middleware
        async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
            networks = limited_networks(client_of(request))
            is_handshake = request.path == SIGNALLING
            wait_s = self._reserve(
                networks,
                cost=HANDSHAKE_COST if is_handshake else 1.0,
                wait_max_s=HANDSHAKE_WAIT_MAX_S if is_handshake else WAIT_MAX_S,
            )
            if wait_s is None:
                refused = Refused("rate-limited", "too many requests of this network are waiting")
                return problem_response(refused, request="http")
            if wait_s > 0.0:
                self._counters.requests_delayed += 1
                await asyncio.sleep(wait_s)
            return await handler(request)

        return in_turn

    def _reserve(self, networks: tuple[bytes, ...], *, cost: float, wait_max_s: float) -> float | None:
        """Return after how long it is their turn; None, and nothing is promised, when that is too long."""
        now = self._clock()
        asked = (self._limits, self._limits_busy) if self._is_busy() else (self._limits,)
        wait_s = max(limits.wait_s(networks, now, cost) for limits in asked)
        if wait_s > wait_max_s:
            return None
        for limits in asked:
            limits.promise(networks, now, cost)
        return wait_s
