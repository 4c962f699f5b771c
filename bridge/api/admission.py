"""How often one network may ask to come in. Every such request costs a signature, most of them an answer."""

import time
from collections.abc import Callable

from aiohttp import web

from bridge.api.problems import Handler
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused
from bridge.base.rate import NetworkLimits, limited_network

# Links are signed, so that guessing is hopeless; whoever shows us nonsense is only to cost little. A clinic
# with an old link may still try it a hundred times without shutting out its neighbours behind the same NAT.
FAILURE_COST = 4.0
_FAILURES = frozenset({"invalid-token", "expired-token", "revoked-link"})


class Admission:
    """Refuses with `rate-limited` what one network asks beyond `per_minute`; 0 lets everything through."""

    def __init__(
        self,
        per_minute: int,
        *,
        counters: SessionCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_minute = per_minute
        self._counters = counters
        self._clock = clock
        self._limits = NetworkLimits(per_s=per_minute / 60, burst=per_minute)

    def limiting(self, handler: Handler) -> Handler:
        """Wrap a handler so that it is only called within the limit; raises Refused beyond."""
        if not self._per_minute:
            return handler

        async def limited(request: web.Request) -> web.StreamResponse:
            network = limited_network(request.remote)
            if network is None:
                return await handler(request)
            if not self._limits.allow(network, self._clock()):
                refused = self._counters.joins_refused
                refused["rate-limited"] = refused.get("rate-limited", 0) + 1
                raise Refused("rate-limited", f"more than {self._per_minute} requests to join per minute")
            try:
                return await handler(request)
            except Refused as error:
                if error.code in _FAILURES:
                    self._limits.charge(network, FAILURE_COST, self._clock())
                raise

        return limited
