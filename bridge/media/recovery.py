"""Which missing packets of a stream of sound the redundancy of its later packets stands for (RFC 2198).

A redundant block tells its time and no number. A number is filled only where the two are tied together by
what is known: the block lies in time between the packets beside it, and

    its sound ends where the packet above it begins: then it is the one before that,
    or it begins where the sound of the packet below it ends: then it is the one after that,
    or just one number is missing between the two.

What a sender of pauses (DTX) or of other blocks leaves open stays missing. A number that is filled wrongly
would harm nobody but the sender's own voice: each number is taken once, here as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.base.errors import MalformedPacket
from bridge.rtp.opus import CLOCK_RATE_HZ, duration_ms
from bridge.rtp.red import RedundantBlock, parse_red
from bridge.rtp.sequence import difference

# How many numbers back a packet may still be missing: a third of a second, which is as far as an offset
# reaches, has 17 of the usual 20 ms.
REACH = 32
_TICKS_PER_MS = CLOCK_RATE_HZ // 1000
# Between two sounds that lie closer than the shortest packet, 2.5 ms, there is no other one; senders round.
_CLOSE_TICKS = 120


@dataclass(frozen=True, slots=True)
class Recovered:
    """A packet that had not come, and how many seconds before the one that brought it it was due."""

    extended_sequence_number: int
    timestamp: int
    data: bytes
    age_s: float


class LossRecovery:
    """Remembers the newest packets of one stream, and finds those that are missing between them."""

    __slots__ = ("_highest", "_known", "_missing")

    def __init__(self) -> None:
        self._highest = -1
        # RTP time and duration in ticks, by extended number.
        self._known: dict[int, tuple[int, int]] = {}
        self._missing: set[int] = set()

    def forget(self) -> None:
        """Find nothing any more of what was sent before the next packet that comes."""
        self._highest = -1
        self._known.clear()
        self._missing.clear()

    def read(
        self, number: int, timestamp: int, payload: bytes, payload_type: int
    ) -> tuple[bytes, list[Recovered]]:
        """Return the sound of a packet of redundant audio, and what it brings that was missing.

        The sound is empty where there is none of that type, or where the payload cannot be read.
        """
        try:
            audio = parse_red(payload)
        except MalformedPacket:
            return b"", []
        if audio.payload_type != payload_type or not audio.data:
            return b"", []
        former = [block for block in audio.former if block.payload_type == payload_type]
        return audio.data, self.take(number, timestamp, audio.data, former)

    def take(
        self, number: int, timestamp: int, payload: bytes, former: Sequence[RedundantBlock] = ()
    ) -> list[Recovered]:
        """Note a packet and return what its redundancy brings that was missing, the oldest first."""
        if number > self._highest:
            if self._highest >= 0:
                self._missing.update(range(max(self._highest + 1, number - REACH), number))
            self._highest = number
            if len(self._known) > 2 * REACH:
                self._prune()
        elif not self._missing:
            return []
        known, missing = self._known, self._missing
        known[number] = timestamp, round(duration_ms(payload) * _TICKS_PER_MS)
        missing.discard(number)
        if not missing or not former:
            return []
        found = []
        # Backwards from the packet itself, and then forwards from what came before the gap.
        for block in (*reversed(former), *former):
            place = self._place(timestamp, block)
            if place is not None:
                before = timestamp - block.offset_ticks & 0xFFFFFFFF
                known[place] = before, round(duration_ms(block.data) * _TICKS_PER_MS)
                missing.discard(place)
                found.append(Recovered(place, before, block.data, block.offset_ticks / CLOCK_RATE_HZ))
        return sorted(found, key=lambda one: one.extended_sequence_number)

    def _place(self, timestamp: int, block: RedundantBlock) -> int | None:
        """Return which missing number a block has; None where it is none, or nobody can tell."""
        ticks = round(duration_ms(block.data) * _TICKS_PER_MS)
        if not ticks:
            return None
        at = -block.offset_ticks
        # Relative to the packet, so that times may wrap: the nearest ones on both sides.
        above: tuple[int, int] | None = None
        below: tuple[int, int, int] | None = None
        for number, (other, other_ticks) in self._known.items():
            other_at = difference(other, timestamp, bits=32)
            if other_at == at:
                return None
            if other_at > at:
                if above is None or other_at < above[0]:
                    above = other_at, number
            elif below is None or other_at > below[0]:
                below = other_at, number, other_ticks
        if above is None:
            return None
        place = None
        if abs(at + ticks - above[0]) < _CLOSE_TICKS:
            place = above[1] - 1
        elif below is not None and (abs(below[0] + below[2] - at) < _CLOSE_TICKS or below[1] + 2 == above[1]):
            place = below[1] + 1
        if place is None or place not in self._missing or place >= above[1]:
            return None
        return place if below is None or below[1] < place else None

    def _prune(self) -> None:
        oldest = self._highest - REACH
        self._known = {number: one for number, one in self._known.items() if number >= oldest}
        self._missing = {number for number in self._missing if number >= oldest}
