"""How often a network may ask: token buckets by address, in bounded memory. No clock, no sockets."""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final

KEYS_MAX: Final = 10_000
# A subscriber has a whole /64 (RFC 6177), and may take another address of it for every request.
IPV6_NETWORK_BYTES: Final = 8
# How many times as much a /64, the /56 around it and the /48 around that may have, in this order.
NETWORK_SHARES: Final = (1, 2, 4)


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

    def allow(self, key: Hashable, now: float) -> bool:
        """Take a token; False when there is none."""
        tokens = self._tokens(key, now)
        is_allowed = tokens >= 1.0
        self._set(key, tokens - 1.0 if is_allowed else tokens, now)
        return is_allowed

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


def network_of(packed: bytes) -> bytes:
    """Return the network that a packed address counts for: an IPv4 address itself, the /64 of an IPv6 one."""
    return packed if len(packed) == 4 else packed[:IPV6_NETWORK_BYTES]


def networks_of(packed: bytes) -> tuple[bytes, ...]:
    """Return all networks that a packed address counts for, the smallest first.

    Homes have a /56 and companies a /48 (RFC 6177): they may ask from many /64s, but not from each anew.
    """
    if len(packed) == 4:
        return (packed,)
    return tuple(packed[: IPV6_NETWORK_BYTES - wider] for wider in range(len(NETWORK_SHARES)))


def limited_networks(host: str | None) -> tuple[bytes, ...]:
    """Return the networks of a peer's address as text, or none for what is never limited.

    That is this machine: who asks from it without saying for whom needs no network to do harm.
    """
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        # A Unix socket has no address.
        return ()
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return () if address.is_loopback else networks_of(address.packed)
