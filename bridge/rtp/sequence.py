"""Arithmetic on numbers that wrap round: sequence numbers, picture ids, RTP timestamps."""


def difference(left: int, right: int, *, bits: int = 16) -> int:
    """Return `left - right` by the shorter way round, negative if `left` is the older one."""
    half = 1 << (bits - 1)
    return ((left - right + half) & ((1 << bits) - 1)) - half


class SequenceUnwrapper:
    """Turns wrapping numbers (RFC 3550, 5.1: packets 16 bits, timestamps 32) into ever-growing ones."""

    __slots__ = ("_cycle", "_half", "_highest", "_mask")

    def __init__(self, bits: int = 16) -> None:
        self._cycle = 1 << bits
        self._half = self._cycle >> 1
        self._mask = self._cycle - 1
        self._highest: int | None = None

    @property
    def highest(self) -> int | None:
        """The highest extended number so far; None before the first."""
        return self._highest

    def near(self, number: int) -> int | None:
        """Return what `unwrap` would, and remember nothing; None before the first number."""
        if self._highest is None:
            return None
        delta = (number - self._highest) & self._mask
        return self._highest + (delta if delta < self._half else delta - self._cycle)

    def unwrap(self, number: int) -> int:
        """Return the extended number closest to the highest one seen; of two equally close, the lower."""
        highest = self._highest
        if highest is None:
            # One cycle up, so that a packet reordered before the very first
            # one still gets a positive number.
            self._highest = first = (number & self._mask) + self._cycle
            return first
        delta = (number - highest) & self._mask
        if delta < self._half:
            self._highest = extended = highest + delta
            return extended
        return highest + delta - self._cycle
