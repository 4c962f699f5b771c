"""Transport-wide feedback: when each packet of one transport arrived, told to its sender.

draft-holmer-rmcat-transport-wide-cc-extensions-01. The sender's congestion control lives on it:
without feedback browsers fall to some tens of kilobits.
"""

from bridge.rtp.rtcp import TransportFeedback

# Units of the format: the reference time counts 64 ms, deltas count 250 µs.
REFERENCE_US = 64_000
DELTA_US = 250
DELTA_TICKS_MAX = 0x7FFF

# Arrivals are remembered this long after they were reported, so that a late packet
# does not make its neighbours look lost in the feedback that reports it.
HISTORY_S = 0.5
HISTORY_MAX = 4096

# A gap longer than this is a sender that restarted, not loss.
GAP_MAX = 2000

# 12 + 8 bytes of headers, and at most 2 bytes of delta and 2 of status a packet.
STATUSES_MAX = 280


class ArrivalLog:
    """The arrivals of one transport since its last feedback."""

    __slots__ = ("_arrivals", "_feedback_count", "_highest", "_origin", "_reference", "_start")

    def __init__(self) -> None:
        self._arrivals: dict[int, float] = {}
        # Extended numbers: the first not yet reported, and the highest received.
        self._start = -1
        self._highest = -1
        self._origin = 0.0
        self._reference = 0
        self._feedback_count = 0

    def add(self, transport_sequence_number: int, arrival: float) -> None:
        """Note the arrival (monotonic seconds) of the packet with that 16-bit number."""
        highest = self._highest
        delta = (transport_sequence_number - highest) & 0xFFFF
        if delta == 1 and highest >= 0:
            self._highest = highest = highest + 1
            self._arrivals[highest] = arrival
            if not highest & 0x3FF:
                self._limit()
        else:
            self._add_out_of_order(transport_sequence_number, arrival)

    def _add_out_of_order(self, transport_sequence_number: int, arrival: float) -> None:
        arrivals = self._arrivals
        if self._start < 0:
            # One cycle up, so that a packet reordered before the first one is positive.
            self._start = self._highest = transport_sequence_number + 0x10000
            self._origin = arrival
            arrivals[self._highest] = arrival
            return
        delta = (transport_sequence_number - self._highest) & 0xFFFF
        if delta < 0x8000:
            if delta > GAP_MAX:
                arrivals.clear()
                self._start = self._highest + delta
            self._highest += delta
            arrivals[self._highest] = arrival
            self._limit()
            return
        extended = self._highest + delta - 0x10000
        if extended in arrivals or extended <= self._highest - GAP_MAX:
            return
        arrivals[extended] = arrival
        self._start = min(self._start, extended)

    def _limit(self) -> None:
        """Start afresh when nobody has asked for feedback for thousands of packets."""
        if self._highest - self._start >= HISTORY_MAX:
            self._arrivals = {self._highest: self._arrivals[self._highest]}
            self._start = self._highest

    def build(self, now: float, sender_ssrc: int, media_ssrc: int) -> list[bytes]:
        """Return the feedback packets for what arrived since the last call; none if nothing did."""
        packets: list[bytes] = []
        while 0 <= self._start <= self._highest:
            packets.append(self._build_one(sender_ssrc, media_ssrc))
        self._forget(now)
        return packets

    def _build_one(self, sender_ssrc: int, media_ssrc: int) -> bytes:
        """Report from `_start` on, up to the packet's size or a delta that does not fit."""
        arrivals, start = self._arrivals, self._start
        end = min(self._highest + 1, start + STATUSES_MAX)
        last_ticks: int | None = None
        statuses: list[tuple[int, int | None]] = []
        for extended in range(start, end):
            arrival = arrivals.get(extended)
            if arrival is None:
                statuses.append((extended & 0xFFFF, None))
                continue
            # Relative to the first arrival, plus a reserve for packets stamped before it.
            ticks = round((arrival - self._origin + 1.024) * (1_000_000 / DELTA_US))
            if last_ticks is None:
                self._reference = ticks * DELTA_US // REFERENCE_US
                last_ticks = self._reference * (REFERENCE_US // DELTA_US)
            delta = ticks - last_ticks
            if not -DELTA_TICKS_MAX <= delta <= DELTA_TICKS_MAX:
                break
            statuses.append((extended & 0xFFFF, delta * DELTA_US))
            last_ticks = ticks
        self._start = start + len(statuses)
        feedback_count, self._feedback_count = self._feedback_count, (self._feedback_count + 1) & 0xFF
        return TransportFeedback(
            sender_ssrc=sender_ssrc,
            media_ssrc=media_ssrc,
            base_sequence_number=start & 0xFFFF,
            reference_time=self._reference,
            feedback_count=feedback_count,
            statuses=tuple(statuses),
        ).pack()

    def _forget(self, now: float) -> None:
        # Keys are in the order of arrival, so the first fresh one ends the search.
        arrivals = self._arrivals
        too_many = len(arrivals) - HISTORY_MAX
        oldest: list[int] = []
        for number, arrival in arrivals.items():
            if len(oldest) >= too_many and now - arrival <= HISTORY_S:
                break
            oldest.append(number)
        for number in oldest:
            del arrivals[number]
