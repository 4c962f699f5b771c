"""Which packets of a stream a slot leaves out, so that the numbers of the others can close up."""

from array import array
from bisect import bisect_right

from bridge.media.replay import REMEMBERED

# How many skips are noted between two looks for those that are too old.
TIDIED_EACH = 1024


class SkipLog:
    """Counts the packets (and pictures) left out so far, and knows how many there were before a late one.

    A number is compact when all packets left out before it are taken off: compact = number - packets.
    """

    __slots__ = ("_keys", "_numbers", "_pictures_before", "packets", "pictures")

    def __init__(self) -> None:
        self.packets = 0
        self.pictures = 0
        # Of each remembered skip, in rising order: its number, the compact number that follows it,
        # and the pictures left out before it. All skips among the numbers that a late packet may still
        # have are here: with one forgotten, it would be given the number of another packet.
        self._numbers = array("q")
        self._keys = array("q")
        self._pictures_before = array("q")

    def note(self, number: int, pictures: int) -> None:
        """Leave out a packet, the newest so far, with which `pictures` (0 or 1) begin."""
        self._numbers.append(number)
        self._keys.append(number - self.packets)
        self._pictures_before.append(self.pictures)
        self.packets += 1
        self.pictures += pictures
        if len(self._numbers) % TIDIED_EACH == 0:
            old = bisect_right(self._numbers, number - REMEMBERED)
            del self._numbers[:old]
            del self._keys[:old]
            del self._pictures_before[:old]

    def leap(self, packets: int) -> None:
        """Leave out that many numbers at once, and forget what was before them."""
        self.packets += packets
        del self._numbers[:]
        del self._keys[:]
        del self._pictures_before[:]

    def before(self, number: int) -> tuple[int, int]:
        """Return how many packets and pictures had been left out before this number."""
        place = bisect_right(self._numbers, number)
        after = len(self._numbers) - place
        return self.packets - after, self._pictures_before[place] if after else self.pictures

    def number_of(self, compact_number: int) -> int:
        """Return the number that became `compact_number`: the way back."""
        after = len(self._keys) - bisect_right(self._keys, compact_number)
        return compact_number + self.packets - after
