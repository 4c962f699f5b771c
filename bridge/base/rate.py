"""How often a network may ask: token buckets by address, in bounded memory. No clock, no sockets."""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final

KEYS_MAX: Final = 10_000
# A subscriber has a whole /64 (RFC 6177), and may take another address of it for every request.
IPV6_NETWORK_BYTES: Final = 8
# A site is given a /56 or a /48, and all the /64s within: these have limits of their own, wider ones because
# several subscribers may share them.
WIDER: Final = ((7, 2), (6, 4))


class Budget:
    """One token bucket that is asked for every packet: plain numbers, in whatever unit the costs have."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, *, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def spend(self, cost: float, now: float) -> bool:
        """Take `cost`; False, and nothing is taken, when nothing is left. The last one may overdraw."""
        tokens = self._tokens + (now - self._at) * self._per_s
        self._at = now
        if tokens <= 0.0:
            self._tokens = tokens
            return False
        self._tokens = (tokens if tokens < self._burst else self._burst) - cost
        return True

    def charge(self, cost: float, now: float) -> None:
        """Take `cost`, whether it is there or not."""
        tokens = self._tokens + (now - self._at) * self._per_s
        self._at = now
        self._tokens = (tokens if tokens < self._burst else self._burst) - cost

    def wait_s(self, now: float) -> float:
        """Return how long it takes until something is left again."""
        return max(0.0, -(self._tokens + (now - self._at) * self._per_s) / self._per_s)


class RateLimits:
    """One token bucket per key: `burst` at once, and `per_s` on average.

    The key unused for longest is forgotten first when there are too many.
    """

    def __init__(self, *, per_s: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst
        self._keys_max = keys_max
        # Tokens, and when they were counted; the longest unused first.
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def allow(self, key: Hashable, now: float, count: float = 1.0) -> bool:
        """Take so many tokens; False, and none is taken, when there are fewer."""
        tokens = self._tokens(key, now)
        is_allowed = tokens >= count
        self._set(key, tokens - count if is_allowed else tokens, now)
        return is_allowed

    def has(self, key: Hashable, now: float) -> bool:
        """Tell whether there is a token, without taking it."""
        return self._tokens(key, now) >= 1.0

    def charge(self, key: Hashable, count: float, now: float) -> None:
        """Take so many tokens, or all that are there."""
        self._set(key, max(0.0, self._tokens(key, now) - count), now)

    def __len__(self) -> int:
        return len(self._buckets)

    def _tokens(self, key: Hashable, now: float) -> float:
        tokens, at = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + (now - at) * self._per_s)

    def _set(self, key: Hashable, tokens: float, now: float) -> None:
        self._buckets.pop(key, None)
        if len(self._buckets) >= self._keys_max:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens, now)


class NetworkLimits:
    """Token buckets per network, an IPv6 one counting for the wider networks around it as well.

    `per_s` and `burst` are those of an IPv4 address or a /64; see `WIDER` for the others.
    """

    def __init__(self, *, per_s: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._limits = {
            length: RateLimits(per_s=per_s * times, burst=burst * times, keys_max=keys_max)
            for length, times in ((4, 1), (IPV6_NETWORK_BYTES, 1), *WIDER)
        }

    def allow(self, network: bytes, now: float) -> bool:
        """Take a token of `network` (see `network_of`) and of those around it; False when one has none.

        What is refused takes nothing: one busy /64 is not to use up what its /48 has for the others.
        """
        asked = self._asked(network)
        if not all(limits.has(key, now) for limits, key in asked):
            return False
        for limits, key in asked:
            limits.allow(key, now)
        return True

    def charge(self, network: bytes, count: float, now: float) -> None:
        """Take so many tokens, or all that are there."""
        for limits, key in self._asked(network):
            limits.charge(key, count, now)

    def __len__(self) -> int:
        return sum(len(limits) for limits in self._limits.values())

    def _asked(self, network: bytes) -> list[tuple[RateLimits, bytes]]:
        return [(self._limits[len(key)], key) for key, _ in networks_around(network)]


def network_of(packed: bytes) -> bytes:
    """Return the network that a packed address counts for: an IPv4 address itself, the /64 of an IPv6 one."""
    return packed if len(packed) == 4 else packed[:IPV6_NETWORK_BYTES]


def networks_around(network: bytes) -> list[tuple[bytes, int]]:
    """Return what a network counts for, itself first: each key with how many times as much it may have."""
    if len(network) != IPV6_NETWORK_BYTES:
        return [(network, 1)]
    return [(network, 1), *((network[:length], times) for length, times in WIDER)]


def limited_network(host: str | None) -> bytes | None:
    """Return the network of a peer's address as text, or None for what is never limited.

    That is this machine: a proxy on it speaks for everybody, and has limits of its own.
    """
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        # A Unix socket has no address.
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_loopback else network_of(address.packed)
