"""Which of the newest numbers of a stream were taken in already (the replay list of RFC 3711, 3.3.2).

An outgoing number is computed from the incoming one, and encryption must never meet one number with
two payloads. So a number is taken once, whatever a sender puts under it, and never when so many came
after it that nobody knows any more.
"""

# Four thousand packets are the largest key frame that is expected, and seconds of any camera.
REMEMBERED = 1 << 12
_MASK = REMEMBERED - 1


class ReplayWindow:
    """Takes each of the last `REMEMBERED` numbers once."""

    __slots__ = ("_highest", "_taken")

    def __init__(self) -> None:
        self._highest = -1
        self._taken = bytearray(REMEMBERED)

    def take(self, number: int) -> bool:
        """Take an extended number; False when it was taken before or is too old to be known."""
        highest = self._highest
        if number > highest:
            self._highest = number
            if number - highest > 1:
                self._forget(highest + 1, number)
        elif number <= highest - REMEMBERED or self._taken[number & _MASK]:
            return False
        self._taken[number & _MASK] = 1
        return True

    def _forget(self, start: int, end: int) -> None:
        """Clear the places of the numbers from `start` to before `end`."""
        if end - start >= REMEMBERED:
            self._taken = bytearray(REMEMBERED)
            return
        first, last = start & _MASK, end & _MASK
        if first <= last:
            self._taken[first:last] = bytes(last - first)
        else:
            self._taken[first:] = bytes(REMEMBERED - first)
            self._taken[:last] = bytes(last)
