"""Which packets of a stream a slot leaves out, so that the numbers of the others can close up."""

from bisect import bisect_right

# At 30 pictures a second and a handful of packets each, some four seconds of skipped
# packets: longer than a receiver goes on asking.
REMEMBERED = 1024


class SkipLog:
    """Counts the packets (and pictures) left out so far, and knows how many there were before a late one.

    A number is compact when all packets left out before it are taken off: compact = number - packets.
    """

    __slots__ = ("_keys", "_numbers", "_pictures_before", "packets", "pictures")

    def __init__(self) -> None:
        self.packets = 0
        self.pictures = 0
        # Of each remembered skip, in rising order: its number, the compact number that follows it,
        # and the pictures left out before it.
        self._numbers: list[int] = []
        self._keys: list[int] = []
        self._pictures_before: list[int] = []

    def note(self, number: int, pictures: int) -> None:
        """Leave out a packet, the newest so far, with which `pictures` (0 or 1) begin."""
        self._numbers.append(number)
        self._keys.append(number - self.packets)
        self._pictures_before.append(self.pictures)
        self.packets += 1
        self.pictures += pictures
        if len(self._numbers) >= 2 * REMEMBERED:
            del self._numbers[:REMEMBERED]
            del self._keys[:REMEMBERED]
            del self._pictures_before[:REMEMBERED]

    def leap(self, packets: int) -> None:
        """Leave out that many numbers at once, and forget what was before them."""
        self.packets += packets
        self._numbers.clear()
        self._keys.clear()
        self._pictures_before.clear()

    def before(self, number: int) -> tuple[int, int]:
        """Return how many packets and pictures had been left out before this number."""
        place = bisect_right(self._numbers, number)
        after = len(self._numbers) - place
        return self.packets - after, self._pictures_before[place] if after else self.pictures

    def number_of(self, compact_number: int) -> int:
        """Return the number that became `compact_number`: the way back."""
        after = len(self._keys) - bisect_right(self._keys, compact_number)
        return compact_number + self.packets - after
