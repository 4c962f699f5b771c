"""How many datagrams come from addresses that have passed no check, by network. No clock, no sockets."""

from socket import AF_INET6
from typing import Final

from bridge.transport.mmsg import MAPPED_PREFIX

# By IPv4 address or IPv6 /48. A hundred clients behind one NAT send a fifth of it while they all look for a
# path at once.
PER_S: Final = 1000
NETWORKS_MAX: Final = 10_000


class Strangers:
    """Counts since the last second began. What is beyond costs no more than taking it out of the socket."""

    __slots__ = ("_counts", "_is_ipv6", "is_flooded")

    def __init__(self, family: int) -> None:
        self._is_ipv6 = family == AF_INET6
        self._counts: dict[bytes, int] = {}
        # Whether anybody has sent too many this second.
        self.is_flooded = False

    def is_flooding(self, name: bytes) -> bool:
        """Count a datagram by its sockaddr; True when its network has sent too many this second.

        One count holds for a /48: whoever has one has a thousand addresses as easily as one.
        """
        if not self._is_ipv6:
            network = name[4:8]
        elif name[8:20] == MAPPED_PREFIX:
            network = name[20:24]
        else:
            network = name[8:14]
        counts = self._counts
        count = counts.get(network, 0) + 1
        if count > PER_S:
            self.is_flooded = True
            return True
        if len(counts) < NETWORKS_MAX or network in counts:
            counts[network] = count
        return False

    def forgive(self) -> None:
        """Begin another second."""
        self._counts.clear()
        self.is_flooded = False
