"""How often one network may ask to come in. Every such request costs a signature, most of them an answer."""

import logging
import time
from collections.abc import Callable

from aiohttp import web

from bridge.api.clients import client_of
from bridge.api.problems import Handler
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused, RequestError
from bridge.base.rate import NetworkLimits, limited_networks, log_limits
from bridge.store.audit import network_of

logger = logging.getLogger(__name__)

# Links are signed, so that guessing is hopeless; whoever shows us nonsense is only to cost little. A clinic
# with an old link may still try it a hundred times without shutting out its neighbours behind the same NAT.
FAILURE_COST = 4.0
_FAILURES = frozenset({"invalid-token", "expired-token", "revoked-link"})
# The endpoint whose refusals count as those of people; the others are of devices.
JOIN = "join"


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
        self._told = log_limits()

    def limiting(self, handler: Handler, *, endpoint: str | None = None) -> Handler:
        """Wrap a handler so that it is only called within the limit; raises Refused beyond.

        Refusals are counted under the name of the `endpoint` where somebody comes into a room: as joins for
        `JOIN`, and else as those of its devices.
        """

        async def limited(request: web.Request) -> web.StreamResponse:
            networks = limited_networks(client_of(request))
            is_limited = bool(self._per_minute and networks)
            if is_limited and not self._limits.allow(networks, self._clock()):
                self._count("rate-limited", endpoint)
                raise Refused("rate-limited", f"more than {self._per_minute} requests to join per minute")
            try:
                return await handler(request)
            except RequestError as error:
                if error.code in _FAILURES:
                    if is_limited:
                        self._limits.charge(networks, FAILURE_COST, self._clock())
                    self._tell(request, error.code)
                self._count(error.code, endpoint)
                raise

        return limited

    def _count(self, code: str, endpoint: str | None) -> None:
        if endpoint == JOIN:
            self._counters.joins_refused[code] += 1
        elif endpoint is not None:
            self._counters.devices_refused[endpoint, code.partition(":")[0]] += 1

    def _tell(self, request: web.Request, code: str) -> None:
        """Log a link or key that was not right, once per network and minute; the network tells no desk."""
        network = network_of(client_of(request))
        if self._told.allow(network, self._clock()):
            logger.warning("links or keys from %s are refused: %s", network, code)
