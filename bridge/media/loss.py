"""Which packets of one stream are missing, and when to ask for them again (RFC 4585, 6.2.1)."""

# A number fewer places behind the highest one, for a shorter time than this, is taken for
# reordered and not for lost. Real paths reorder by one or two places; TCP waits for three, too.
REORDER_PACKETS = 3
REORDER_S = 0.010

# A retransmission cannot be here earlier than one round trip after its request; on a
# local network the sender's own pacing takes about this long.
RETRY_MIN_S = 0.020

# More missing numbers at once than this are not repaired: a key frame costs less.
MISSING_MAX = 512
JUMP_MAX = 1000

# On a long path the time limit would end the wait before the second request is answered.
GIVE_UP_ROUND_TRIPS = 2.5


class _Missing:
    """One awaited number."""

    __slots__ = ("noticed", "requested", "tries")

    def __init__(self, noticed: float) -> None:
        self.noticed = noticed
        self.requested = 0.0
        self.tries = 0


class NackGenerator:
    """Notes the gaps of one stream and tells which numbers to request, retry and give up."""

    __slots__ = ("_abandoned_count", "_expected", "_give_up_s", "_missing", "_tries_max", "missed_count")

    def __init__(self, *, tries_max: int = 10, give_up_s: float = 1.0) -> None:
        self._tries_max = tries_max
        self._give_up_s = give_up_s
        self._expected = -1
        self._missing: dict[int, _Missing] = {}
        self._abandoned_count = 0
        # Numbers that were requested so far, however often: packets lost, or much delayed, at first.
        self.missed_count = 0

    def received(self, extended_sequence_number: int, now: float) -> None:
        """Note a packet that arrived, whether on the stream itself or as its retransmission."""
        expected = self._expected
        if extended_sequence_number == expected:
            self._expected = expected + 1
        elif extended_sequence_number < expected:
            if self._missing:
                self._missing.pop(extended_sequence_number, None)
        else:
            self._jumped(extended_sequence_number, now)

    def _jumped(self, extended_sequence_number: int, now: float) -> None:
        expected, self._expected = self._expected, extended_sequence_number + 1
        if expected < 0:
            return
        gap = extended_sequence_number - expected
        if gap > JUMP_MAX:
            self._abandoned_count += gap + len(self._missing)
            self._missing.clear()
            return
        missing = self._missing
        for number in range(expected, extended_sequence_number):
            missing[number] = _Missing(now)
        # Numbers are added in rising order, so the first keys are the oldest.
        while len(missing) > MISSING_MAX:
            del missing[next(iter(missing))]
            self._abandoned_count += 1

    def is_missing(self, extended_sequence_number: int) -> bool:
        """Tell whether that number is still awaited, so that its retransmission is welcome."""
        return extended_sequence_number in self._missing

    @property
    def missing_count(self) -> int:
        """How many numbers are awaited."""
        return len(self._missing)

    def due(self, now: float, rtt_s: float) -> list[int]:
        """Return the 16-bit numbers to request now; numbers that waited too long are given up."""
        if not self._missing:
            return []
        overtaken = self._expected - 1 - REORDER_PACKETS
        retry_s = max(rtt_s, RETRY_MIN_S)
        give_up_s = max(self._give_up_s, GIVE_UP_ROUND_TRIPS * rtt_s)
        due: list[int] = []
        given_up: list[int] = []
        for number, missing in self._missing.items():
            age_s = now - missing.noticed
            if age_s >= give_up_s:
                given_up.append(number)
            elif missing.tries == 0:
                if number <= overtaken or age_s >= REORDER_S:
                    missing.tries, missing.requested = 1, now
                    self.missed_count += 1
                    due.append(number & 0xFFFF)
            elif now - missing.requested >= retry_s:
                if missing.tries >= self._tries_max:
                    given_up.append(number)
                else:
                    missing.tries += 1
                    missing.requested = now
                    due.append(number & 0xFFFF)
        for number in given_up:
            del self._missing[number]
        self._abandoned_count += len(given_up)
        return due

    def abandoned(self, now: float) -> int:
        """Return how many numbers were given up since the last call; any means: ask for a key frame."""
        count, self._abandoned_count = self._abandoned_count, 0
        return count

    def forget(self) -> None:
        """Stop waiting for what is missing, because a key frame has made it useless."""
        self._missing.clear()
