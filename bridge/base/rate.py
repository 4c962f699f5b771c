"""How much may be had, and how often: token buckets, alone and by address, in bounded memory; no clock."""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final

KEYS_MAX: Final = 10_000
# What goes wrong again and again has one line in so many seconds.
LOGGED_EVERY_S: Final = 60.0
# A subscriber has a whole /64 (RFC 6177), and may take another address of it for every request.
IPV6_NETWORK_BYTES: Final = 8
# How many times as much a /64, the /56 around it and the /48 around that may have, in this order.
NETWORK_SHARES: Final = (1, 2, 4)


class Budget:
    """One token bucket, full at first: plain numbers, in whatever unit the costs have.

    Time that goes backwards, as receive stamps do where the loop was held up, takes and gives nothing.
    """

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, *, per_s: float, burst: float, now: float = 0.0) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Take `cost`; False, and nothing is taken, when there is less."""
        tokens = self._tokens = self.left(now)
        self._at = max(self._at, now)
        if tokens < cost:
            return False
        self._tokens = tokens - cost
        return True

    def spend(self, cost: float, now: float) -> bool:
        """Take `cost`; False, and nothing is taken, when nothing is left. The last one may overdraw."""
        tokens = self._tokens
        if now > self._at:
            tokens += (now - self._at) * self._per_s
            self._at = now
        if tokens <= 0.0:
            self._tokens = tokens
            return False
        self._tokens = (tokens if tokens < self._burst else self._burst) - cost
        return True

    def charge(self, cost: float, now: float) -> None:
        """Take `cost`, whether it is there or not."""
        tokens = self._tokens
        if now > self._at:
            tokens += (now - self._at) * self._per_s
            self._at = now
        self._tokens = (tokens if tokens < self._burst else self._burst) - cost

    def earn(self, amount: float) -> None:
        """Put in what was earned otherwise than by waiting."""
        self._tokens += amount

    def left(self, now: float) -> float:
        """Return how much there is; less than nothing when it is overdrawn."""
        return min(self._tokens + max(0.0, now - self._at) * self._per_s, self._burst)

    def wait_s(self, now: float) -> float:
        """Return how long it takes until something is left again."""
        return max(0.0, -self.left(now) / self._per_s)


class RateLimits:
    """One token bucket per key: `burst` at once, and `per_s` on average.

    The key unused for longest is forgotten first when there are too many.
    """

    def __init__(self, *, per_s: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst
        self._keys_max = keys_max
        # The longest unused first.
        self._buckets: dict[Hashable, Budget] = {}

    def allow(self, key: Hashable, now: float, count: float = 1.0) -> bool:
        """Take so many tokens; False, and none is taken, when there are fewer."""
        return self._use(key, now).take(count, now)

    def has(self, key: Hashable, now: float, count: float = 1.0) -> bool:
        """Tell whether there are so many tokens, without taking them."""
        return self._left(key, now) >= count

    def charge(self, key: Hashable, count: float, now: float) -> None:
        """Take so many tokens, or all that are there."""
        bucket = self._use(key, now)
        bucket.charge(max(0.0, min(count, bucket.left(now))), now)

    def wait_s(self, key: Hashable, now: float, count: float = 1.0) -> float:
        """Return after how long so many tokens will be there that have not been promised to others."""
        return max(0.0, (count - self._left(key, now)) / self._per_s)

    def promise(self, key: Hashable, now: float, count: float = 1.0) -> None:
        """Take so many tokens, or the next that will be there."""
        self._use(key, now).charge(count, now)

    def __len__(self) -> int:
        return len(self._buckets)

    def _left(self, key: Hashable, now: float) -> float:
        bucket = self._buckets.get(key)
        return self._burst if bucket is None else bucket.left(now)

    def _use(self, key: Hashable, now: float) -> Budget:
        """Return the bucket of a key, which from now on is the newest used one."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = Budget(per_s=self._per_s, burst=self._burst, now=now)
            if len(self._buckets) >= self._keys_max:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket


def log_limits() -> RateLimits:
    """Return what lets one line a minute about each key into the log: to be seen, and not to fill it."""
    return RateLimits(per_s=1 / LOGGED_EVERY_S, burst=1)


class NetworkLimits:
    """Token buckets for all the networks that an address counts for, the wider ones with larger shares.

    `per_s` and `burst` are those of an IPv4 address or a /64; see `NETWORK_SHARES` for the others.
    """

    def __init__(self, *, per_s: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._limits = [
            RateLimits(per_s=per_s * share, burst=burst * share, keys_max=keys_max)
            for share in NETWORK_SHARES
        ]

    def allow(self, networks: tuple[bytes, ...], now: float, count: float = 1.0) -> bool:
        """Take so many tokens of each network (see `networks_of`); False when one has fewer.

        What is refused takes nothing: one busy /64 is not to use up what its /48 has for the others.
        """
        asked = list(zip(self._limits, networks, strict=False))
        if not all(limits.has(network, now, count) for limits, network in asked):
            return False
        for limits, network in asked:
            limits.allow(network, now, count)
        return True

    def wait_s(self, networks: tuple[bytes, ...], now: float, count: float = 1.0) -> float:
        """Return after how long so many tokens of each network will be there, promised to nobody else."""
        asked = zip(self._limits, networks, strict=False)
        return max((limits.wait_s(network, now, count) for limits, network in asked), default=0.0)

    def promise(self, networks: tuple[bytes, ...], now: float, count: float = 1.0) -> None:
        """Take so many tokens of each network, or the next that will be there."""
        for limits, network in zip(self._limits, networks, strict=False):
            limits.promise(network, now, count)

    def charge(self, networks: tuple[bytes, ...], count: float, now: float) -> None:
        """Take so many tokens of each, or all that are there."""
        for limits, network in zip(self._limits, networks, strict=False):
            limits.charge(network, count, now)

    def __len__(self) -> int:
        return sum(len(limits) for limits in self._limits)


def networks_of(packed: bytes) -> tuple[bytes, ...]:
    """Return all networks that a packed address counts for, the smallest first.

    An IPv4 address stands for itself. Homes have a /56 and companies a /48 of IPv6 (RFC 6177): they may ask
    from many /64s, but not from each anew.
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
