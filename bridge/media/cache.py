"""The last packets of one stream, kept for retransmission."""

from typing import Generic, Protocol, TypeVar

from bridge.media.replay import REMEMBERED

# Two round trips over a satellite. A large screen's key frame takes as long on a slow uplink.
KEPT_S = 2.0
CAPACITY_MIN = 64
# What nobody can ask for any more need not be kept: see `bridge.media.skips`.
CAPACITY_MAX = REMEMBERED
# Of one stream; 2 s of 20 Mbit/s.
KEPT_BYTES_MAX = 5_000_000


class Kept(Protocol):
    """What the cache needs to know of a packet."""

    @property
    def payload(self) -> bytes:
        """What makes up its size."""

    @property
    def arrival(self) -> float:
        """When it came, in monotonic seconds."""


T = TypeVar("T", bound=Kept)


class PacketCache(Generic[T]):
    """A ring of packets that is asked by extended sequence number.

    Old ones are overwritten in place. The ring grows to twice its size where it would overwrite what came
    less than `KEPT_S` ago, within bounds of packets and bytes.
    """

    __slots__ = ("_mask", "_packets", "size_bytes")

    def __init__(self) -> None:
        self._mask = CAPACITY_MIN - 1
        self._packets: list[tuple[int, T] | None] = [None] * CAPACITY_MIN
        self.size_bytes = 0

    @property
    def capacity(self) -> int:
        """How many packets fit now."""
        return self._mask + 1

    def put(self, extended_sequence_number: int, packet: T) -> None:
        """Keep `packet`; a number older than what stands in its place is not kept."""
        former = self._packets[extended_sequence_number & self._mask]
        if former is not None:
            if former[0] > extended_sequence_number:
                return
            if former[0] != extended_sequence_number and self._must_grow(former[1], packet):
                self._grow()
                self.put(extended_sequence_number, packet)
                return
            self.size_bytes -= len(former[1].payload)
        self._packets[extended_sequence_number & self._mask] = extended_sequence_number, packet
        self.size_bytes += len(packet.payload)

    def get(self, extended_sequence_number: int) -> T | None:
        """Return the packet with that number, if it is still (or was ever) here."""
        found = self._packets[extended_sequence_number & self._mask]
        return found[1] if found is not None and found[0] == extended_sequence_number else None

    def clear(self) -> None:
        """Forget all packets, so that their memory is free before the ring itself is."""
        self._packets = [None] * self.capacity
        self.size_bytes = 0

    def _must_grow(self, former: T, packet: T) -> bool:
        return (
            packet.arrival - former.arrival < KEPT_S
            and self.capacity < CAPACITY_MAX
            and self.size_bytes < KEPT_BYTES_MAX
        )

    def _grow(self) -> None:
        kept = [one for one in self._packets if one is not None]
        self._mask = 2 * self.capacity - 1
        self._packets = [None] * self.capacity
        for one in kept:
            self._packets[one[0] & self._mask] = one
