"""What was sent and not yet told of, and its meeting with the feedback that tells of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge.rtp.rtcp import TransportFeedback
from bridge.rtp.sequence import SequenceUnwrapper

# At 50 Mbit/s some 5,000 packets go out a second; three seconds of them cover a satellite's round trip and
# lost feedback, and are a quarter of what 16-bit numbers can tell apart.
PACKETS_MAX = 16_384
AGE_MAX_S = 10.0

# Units of the feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).
_REFERENCE_S = 0.064
_REFERENCE_BITS = 24


@dataclass(slots=True)
class SentPacket:
    """One packet on its way, by its extended transport-wide number."""

    number: int
    # All that the path carries: headers of IP and UDP, if the sender wishes to count them.
    size_bytes: int
    sent_at: float
    probe_id: int | None
    # Feedback has called it lost; a later one may still say that it came.
    is_missed: bool = False


@dataclass(slots=True)
class PacketResult:
    """What feedback says of one packet; the time is the receiver's clock, None: not arrived."""

    packet: SentPacket
    received_at: float | None
    # It had been called lost before.
    was_missed: bool


class SentHistory:
    """The packets of one path between sending and feedback, bounded in number and age."""

    __slots__ = ("_highest_acknowledged", "_in_flight_bytes", "_packets", "_references", "_sent_numbers")

    def __init__(self) -> None:
        # The oldest first.
        self._packets: dict[int, SentPacket] = {}
        self._sent_numbers = SequenceUnwrapper()
        self._references = SequenceUnwrapper(_REFERENCE_BITS)
        self._highest_acknowledged = -1
        self._in_flight_bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def in_flight_bytes(self) -> int:
        """What was sent after the newest packet that any feedback told of."""
        return self._in_flight_bytes

    @property
    def oldest_in_flight_at(self) -> float | None:
        """When the first packet was sent that no feedback reaches yet; None when there is no such one."""
        following = self._packets.get(self._highest_acknowledged + 1)
        if following is not None:
            return following.sent_at
        return next(
            (p.sent_at for p in self._packets.values() if p.number > self._highest_acknowledged), None
        )

    def sent(self, number: int, size_bytes: int, now: float, probe_id: int | None = None) -> None:
        """Remember a packet by its 16-bit number; numbers ascend by one."""
        extended = self._sent_numbers.unwrap(number)
        packets = self._packets
        former = packets.pop(extended, None)
        if former is not None:
            self._forget(former)
        packets[extended] = SentPacket(extended, size_bytes, now, probe_id)
        self._in_flight_bytes += size_bytes if extended > self._highest_acknowledged else 0
        while packets:
            oldest = next(iter(packets.values()))
            if len(packets) <= PACKETS_MAX and now - oldest.sent_at <= AGE_MAX_S:
                return
            del packets[oldest.number]
            self._forget(oldest)

    def match(self, feedback: TransportFeedback) -> list[PacketResult]:
        """Return what is new in a feedback, by ascending number; numbers never sent are passed over."""
        results: list[PacketResult] = []
        for number, received_at in self._arrivals(feedback):
            extended = self._sent_numbers.near(number)
            packet = None if extended is None else self._packets.get(extended)
            if packet is None:
                continue
            if packet.number > self._highest_acknowledged:
                self._acknowledge(packet.number)
            if received_at is None:
                if not packet.is_missed:
                    packet.is_missed = True
                    results.append(PacketResult(packet, None, False))
                continue
            del self._packets[packet.number]
            results.append(PacketResult(packet, received_at, packet.is_missed))
        return results

    def _arrivals(self, feedback: TransportFeedback) -> Iterator[tuple[int, float | None]]:
        at_s = self._references.unwrap(feedback.reference_time) * _REFERENCE_S
        elapsed_us = 0
        for number, delta_us in feedback.statuses:
            if delta_us is None:
                yield number, None
            else:
                elapsed_us += delta_us
                yield number, at_s + elapsed_us * 1e-6

    def _acknowledge(self, number: int) -> None:
        # Numbers ascend by one and old ones are gone, so this walks over each packet once.
        first = max(self._highest_acknowledged + 1, number - PACKETS_MAX)
        for passed in range(first, number + 1):
            packet = self._packets.get(passed)
            if packet is not None:
                self._in_flight_bytes -= packet.size_bytes
        self._highest_acknowledged = number

    def _forget(self, packet: SentPacket) -> None:
        if packet.number > self._highest_acknowledged:
            self._in_flight_bytes -= packet.size_bytes
