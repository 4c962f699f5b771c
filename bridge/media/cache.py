"""The last packets of one stream, kept for retransmission and for the recognition of duplicates."""

from typing import Generic, TypeVar

T = TypeVar("T")


class PacketCache(Generic[T]):
    """A ring of packets that is asked by extended sequence number; old ones are overwritten in place."""

    __slots__ = ("_mask", "_numbers", "_packets")

    def __init__(self, capacity: int = 1024) -> None:
        """Keep up to `capacity` packets, a power of two.

        1024 packets are one second of 10 Mbps video, longer than a receiver waits for a repair.
        """
        if capacity <= 0 or capacity & (capacity - 1):
            raise ValueError("the capacity must be a power of two")
        self._mask = capacity - 1
        self._numbers = [-1] * capacity
        self._packets: list[T | None] = [None] * capacity

    def put(self, extended_sequence_number: int, packet: T) -> None:
        """Keep `packet`; a number (never negative) older than the whole ring is not kept."""
        index = extended_sequence_number & self._mask
        numbers = self._numbers
        if numbers[index] <= extended_sequence_number:
            numbers[index] = extended_sequence_number
            self._packets[index] = packet

    def get(self, extended_sequence_number: int) -> T | None:
        """Return the packet with that number, if it is still (or was ever) here."""
        index = extended_sequence_number & self._mask
        if self._numbers[index] == extended_sequence_number:
            return self._packets[index]
        return None

    def clear(self) -> None:
        """Forget all packets, so that their memory is free before the ring itself is."""
        capacity = self._mask + 1
        self._numbers = [-1] * capacity
        self._packets = [None] * capacity
