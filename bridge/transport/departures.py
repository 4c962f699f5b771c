"""Transport-wide sequence numbers, and when and how large what left under each of them was.

A receiver that negotiated the extension (draft-holmer-rmcat-transport-wide-cc-extensions-01, 2) is told a
number in each packet, counted over all streams of its transport, and answers when each number came. Numbers
and history are columns over all transports of a port, so that a fan of receivers costs a few array
operations. All copies of one packet leave at one time with one size: that is noted once, and under each
number stands only where. What the numbers are good for is judged elsewhere (`bridge.estimation`).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Numbers remembered of one transport: four seconds of a receiver of 8 Mbit/s, beyond any round trip.
RING: Final = 4096
MASK: Final = RING - 1
# Packets remembered of the whole port: ten seconds of what one core can send.
LOG: Final = 1 << 17
# Extended numbers begin one cycle up, so that a number before the first one is positive.
FIRST: Final = 1 << 16
ROWS_STEP: Final = 64
# The row of those that are not numbered, or cannot be sent to now: what is written there is nobody's.
NOBODY: Final = 0


class Departures:
    """What the transports of one port have sent, by transport-wide number."""

    __slots__ = ("_at", "_free", "_places", "next_number", "sent_at", "size_bytes")

    def __init__(self) -> None:
        # The number that a transport's next packet gets, by its row.
        self.next_number: NDArray[np.int64] = np.full(ROWS_STEP, FIRST, np.int64)
        # For each row, by number modulo RING, where in the log the packet stands; 0 where that is forgotten.
        self._places: NDArray[np.int32] = np.zeros(ROWS_STEP * RING, np.int32)
        self._free = list(range(ROWS_STEP - 1, NOBODY, -1))
        # The log: monotonic seconds, and bytes of the protected datagram.
        self.sent_at: NDArray[np.float64] = np.zeros(LOG, np.float64)
        self.size_bytes: NDArray[np.int32] = np.zeros(LOG, np.int32)
        self._at = 0

    def open(self) -> int:
        """Return a row for a transport whose packets are to be numbered."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.next_number[row] = FIRST
        self._places[row * RING : (row + 1) * RING] = 0
        return row

    def close(self, row: int) -> None:
        """Give a row back."""
        self._free.append(row)

    def note(self, now: float, size_bytes: int) -> int:
        """Enter a packet that leaves now into the log; return where it stands."""
        self._at = at = self._at % (LOG - 1) + 1
        self.sent_at[at] = now
        self.size_bytes[at] = size_bytes
        return at

    def number_one(self, row: int, at: int) -> int:
        """Return the 16-bit number under which the packet `at` leaves to a transport."""
        number = int(self.next_number[row])
        self.next_number[row] = number + 1
        self._places[row * RING + (number & MASK)] = at
        return number & 0xFFFF

    def number(
        self, rows: NDArray[np.int64], ranks: NDArray[np.int64] | None, bases: NDArray[np.int64], at: int
    ) -> NDArray[np.int64]:
        """Return the numbers under which copies of the packet `at` leave to some transports.

        A row that occurs again has the next number each time: `ranks` says how often it has occurred before.
        `bases` are the rows times RING.
        """
        numbers = self.next_number[rows]
        if ranks is not None:
            numbers += ranks
        # Of a row that occurs again the last one is kept, which is the highest.
        self.next_number[rows] = numbers + 1
        self._places[bases + (numbers & MASK)] = at
        return numbers

    def extended(self, row: int, number: int) -> int | None:
        """Return the extended number that a 16-bit one stands for; None when none such is remembered."""
        newest = int(self.next_number[row]) - 1
        behind = (newest - number) & 0xFFFF
        extended = newest - behind
        return extended if behind < RING and extended >= FIRST else None

    def places(self, row: int, first: int, count: int) -> NDArray[np.int32]:
        """Return where in the log `count` numbers from the extended number `first` on stand."""
        start, base = first & MASK, row * RING
        if start + count <= RING:
            return self._places[base + start : base + start + count]
        wrapped = self._places[base : base + start + count - RING]
        return np.concatenate((self._places[base + start : base + RING], wrapped))

    def left_at(self, row: int, number: int) -> float | None:
        """Return when an extended number left; None where that is forgotten."""
        place = self._places[row * RING + (number & MASK)]
        return float(self.sent_at[place]) if place else None

    def forget(self, row: int, first: int, count: int) -> None:
        """Remember nothing more of some numbers: what became of them is known."""
        start, base = first & MASK, row * RING
        self._places[base + start : base + min(start + count, RING)] = 0
        if start + count > RING:
            self._places[base : base + start + count - RING] = 0

    def oldest_since(self, row: int, first: int) -> float | None:
        """Return when the first number from the extended number `first` on left; None when none has."""
        newest = int(self.next_number[row]) - 1
        first = max(first, newest - MASK)
        if first > newest:
            return None
        return self.left_at(row, first)

    def _grow(self) -> None:
        rows = len(self.next_number)
        more = max(ROWS_STEP, rows // 2)
        self.next_number = np.concatenate((self.next_number, np.full(more, FIRST, np.int64)))
        self._places = np.concatenate((self._places, np.zeros(more * RING, np.int32)))
        self._free = list(range(rows + more - 1, rows - 1, -1))


def ranks_of(rows: list[int]) -> NDArray[np.int64] | None:
    """Return how often each row has occurred before; None when none occurs twice."""
    seen: dict[int, int] = {}
    ranks = []
    for row in rows:
        ranks.append(seen.get(row, 0))
        seen[row] = ranks[-1] + 1
    if all(count == 1 for row, count in seen.items() if row != NOBODY):
        return None
    return np.array(ranks, np.int64)
