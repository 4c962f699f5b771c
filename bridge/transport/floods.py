"""Addresses that send far more than they may: for seconds at a time the kernel drops what comes from them.

To take a datagram out of the socket only to drop it costs microseconds, and while that goes on the socket's
buffer runs over and others lose theirs. A socket filter (classic BPF, which needs no privilege) drops
before the buffer. Each address with its port is judged by itself: others behind one NAT are not touched.
"""

import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final, Protocol

from bridge.base.counters import DropReason, PortCounters
from bridge.base.rate import log_limits
from bridge.transport.filtering import Origin, shut_out
from bridge.transport.mmsg import host_and_port, kernel_drops

logger = logging.getLogger(__name__)

# So many of an address that had to be dropped within a second are a flood. Whoever is a little beyond its
# share loses single packets instead.
DROPS_PER_S: Final = 250
# Whoever goes on as soon as it is let in again is shut out twice as long each time, up to the longest.
SHUT_OUT_S: Final = 1.0
# Its checks are dropped as well: who floods on for as long as consent lasts (RFC 7675) loses its connection.
SHUT_OUT_LONGEST_S: Final = 8.0
AGAIN_S: Final = 2.0
# As many as the memory for a socket's options holds on any kernel (net.core.optmem_max, 20 kB).
SHUT_OUT_MAX: Final = 32
NAMES_MAX: Final = 1000
# How often is looked whether the buffer runs over, and how many times in a row it must have: a process that
# was held up once finds it full, too, and that is nobody's fault.
LOOK_S: Final = 0.1
OVERRUN_LOOKS: Final = 3
# So much of one address meanwhile is no publisher's, not even with camera and screen at their largest:
# where the machine itself is too slow, nobody is to blame.
OVERRUN_PACKETS: Final = 800


class Timer(Protocol):
    """What `later` gives."""

    def cancel(self) -> None:
        """Never call."""


class Floods:
    """Counts what had to be dropped by address, and lets the kernel drop for a while what is too much."""

    def __init__(
        self,
        udp: socket.socket,
        counters: PortCounters,
        *,
        later: Callable[[float, Callable[[bytes], None], bytes], Timer],
    ) -> None:
        self._udp = udp
        self._counters = counters
        self._later = later
        # By sockaddr, since `_since`.
        self._dropped: dict[bytes, int] = {}
        self._since = float("-inf")
        self._shut_out: dict[bytes, Timer] = {}
        # For how long each was shut out last, and until when; the oldest first.
        self._terms: dict[bytes, tuple[float, float]] = {}
        # What the kernel had dropped when the filter was last looked at, and what the filter has dropped.
        self._seen = 0
        self._filtered = 0
        self._logged = log_limits()
        self._looked_at = float("-inf")
        self._overran = 0
        # What came out of the buffer by sockaddr, while it runs over.
        self._taken: Counter[bytes] = Counter()

    def dropped(self, name: bytes, now: float) -> float:
        """Note that a datagram of an address was dropped.

        Returns for how many seconds the address is shut out by that: 0.0 when it is not, or was already.
        """
        counts = self._dropped
        if now - self._since >= 1.0:
            counts.clear()
            self._since = now
        count = counts.get(name, 0) + 1
        if count < DROPS_PER_S:
            if len(counts) < NAMES_MAX or name in counts:
                counts[name] = count
            return 0.0
        term_s = self._shut(name, now)
        if term_s:
            del counts[name]
        return term_s

    @property
    def is_overrun(self) -> bool:
        """Whether the buffer has run over lately, so that what comes out of it must be told by `taken`."""
        return self._overran > 0

    def taken(self, names: Iterable[bytes]) -> None:
        """Note where datagrams have come from."""
        self._taken.update(names)

    def look(self, now: float) -> None:
        """See whether the buffer runs over again and again, and shut out whoever fills most of it.

        That is a flood that a slow or busy machine does not even come to judge by its rate. Call it often.
        """
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        # What the filter drops cannot be told from it.
        runs_over = not self._shut_out and kernel_drops(self._udp) != self._seen
        self._count()
        self._overran = self._overran + 1 if runs_over else 0
        if self._overran > OVERRUN_LOOKS:
            self._overran = 0
            ((name, count),) = self._taken.most_common(1) or [(b"", 0)]
            if count >= OVERRUN_PACKETS and 2 * count > self._taken.total():
                self._shut(name, now)
        if not self._overran:
            self._taken.clear()

    def _shut(self, name: bytes, now: float) -> float:
        # What was already in the socket's buffer still comes out of it.
        if name in self._shut_out or len(self._shut_out) >= SHUT_OUT_MAX:
            return 0.0
        self._count()
        term_s = self._term_s(name, now)
        self._shut_out[name] = self._later(term_s, self._let_in, name)
        shut_out(self._udp, [Origin(*host_and_port(one)) for one in self._shut_out])
        host, port = host_and_port(name)
        if self._logged.allow(host, now):
            logger.warning(
                "%s, port %d, sends far more than it may: the kernel drops what comes from there,"
                " some seconds at a time",
                *(ip_address(host).compressed, port),
            )
        return term_s

    def _term_s(self, name: bytes, now: float) -> float:
        last_s, until = self._terms.pop(name, (0.0, float("-inf")))
        term_s = min(2 * last_s, SHUT_OUT_LONGEST_S) if now - until < AGAIN_S else SHUT_OUT_S
        if len(self._terms) >= NAMES_MAX:
            del self._terms[next(iter(self._terms))]
        self._terms[name] = term_s, now + term_s
        return term_s

    @property
    def overflows(self) -> int:
        """Datagrams that the kernel dropped for want of buffer, as far as they can be told from a flood's."""
        self._count()
        return (kernel_drops(self._udp) - self._filtered) & 0xFFFFFFFF

    def close(self) -> None:
        """Let nobody in any more."""
        for timer in self._shut_out.values():
            timer.cancel()
        self._shut_out.clear()

    def _let_in(self, name: bytes) -> None:
        self._count()
        del self._shut_out[name]
        shut_out(self._udp, [Origin(*host_and_port(one)) for one in self._shut_out])

    def _count(self) -> None:
        """Note what the filter has dropped: while there is one, all that the kernel has."""
        drops = kernel_drops(self._udp)
        if self._shut_out:
            filtered = (drops - self._seen) & 0xFFFFFFFF
            self._filtered += filtered
            self._counters.dropped[DropReason.FLOOD] += filtered
        self._seen = drops
