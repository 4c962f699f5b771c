"""Which packets of one stream are missing, and when to ask for them again (RFC 4585, 6.2.1)."""

# A number fewer places behind the highest one, for a shorter time than this, is taken for
# reordered and not for lost. Real paths reorder by one or two places; TCP waits for three, too.
REORDER_PACKETS = 3
REORDER_S = 0.010

# What comes later than this was lost, where nobody can be asked to send it again.
OVERTAKEN_S = 0.15

# A retransmission cannot be here earlier than one round trip after its request; on a
# local network the sender's own pacing takes about this long.
RETRY_MIN_S = 0.020

# More missing numbers at once than this are not repaired: a key frame costs less. It may be lost by a
# fifth itself: one of a large screen has four thousand packets.
MISSING_MAX = 1024
JUMP_MAX = 1000

# Before anything is known of the path, the first answer is waited for this long, then twice as long.
RETRY_UNKNOWN_S = 0.1
GIVE_UP_UNKNOWN_S = 2.0
# What a key frame has made useless to those who watch is still wanted by who records, but not dearly.
USELESS_TRIES_MAX = 3

# On a long path the time limit would end the wait before the second request is answered.
GIVE_UP_ROUND_TRIPS = 2.5


class _Missing:
    """One awaited number."""

    __slots__ = ("first_requested", "noticed", "requested", "tries")

    def __init__(self, noticed: float) -> None:
        self.noticed = noticed
        self.first_requested = 0.0
        self.requested = 0.0
        self.tries = 0


class NackGenerator:
    """Notes the gaps of one stream and tells which numbers to request, retry and give up."""

    __slots__ = (
        "_abandoned",
        "_abandoned_count",
        "_expected",
        "_give_up_s",
        "_has_rtx",
        "_is_asking",
        "_missing",
        "_tries_max",
        "_useless_before",
        "missed_count",
        "repair_s",
    )

    def __init__(
        self,
        *,
        is_asking: bool = True,
        has_rtx: bool = True,
        tries_max: int = 10,
        give_up_s: float = 1.0,
    ) -> None:
        """Where nothing may be asked (no NACK was agreed), only what was overtaken is waited for.

        Without RTX a repair looks like a packet that was late, and tells nothing of the path.
        """
        self._is_asking = is_asking
        self._has_rtx = has_rtx
        self._tries_max = tries_max
        self._give_up_s = give_up_s if is_asking else OVERTAKEN_S
        self._expected = -1
        self._missing: dict[int, _Missing] = {}
        # What was given up: the numbers, as far as they are known, and how many in all.
        self._abandoned: list[int] = []
        self._abandoned_count = 0
        # What is missing before this number does nobody who watches any harm.
        self._useless_before = -1
        # The quickest retransmission after its first request, forgotten slowly; None before the first.
        self.repair_s: float | None = None
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

    def repaired(self, extended_sequence_number: int, now: float) -> None:
        """Note a packet that came because it was asked for."""
        missing = self._missing.get(extended_sequence_number)
        if missing is not None and missing.tries:
            took_s = now - missing.first_requested
            known_s = took_s if self.repair_s is None else self.repair_s
            self.repair_s = min(took_s, known_s + (took_s - known_s) / 64)
        self.received(extended_sequence_number, now)

    def is_missing(self, extended_sequence_number: int) -> bool:
        """Tell whether that number is still awaited, so that its retransmission is welcome."""
        return extended_sequence_number in self._missing

    @property
    def missing_count(self) -> int:
        """How many numbers are awaited."""
        return len(self._missing)

    def due(self, now: float, rtt_s: float | None) -> list[int]:
        """Return the 16-bit numbers to request now; numbers that waited too long are given up.

        `rtt_s` is None while it is not known.
        """
        if not self._missing:
            return []
        overtaken = self._expected - 1 - REORDER_PACKETS
        known_s = max(rtt_s or 0.0, self.repair_s or 0.0)
        is_known = rtt_s is not None or self.repair_s is not None
        retry_s = max(known_s, RETRY_MIN_S) if is_known else RETRY_UNKNOWN_S
        give_up_s = self._give_up_s
        if self._is_asking:
            unknown_s = GIVE_UP_UNKNOWN_S if self._has_rtx else give_up_s
            give_up_s = max(give_up_s, GIVE_UP_ROUND_TRIPS * known_s if is_known else unknown_s)
        due: list[int] = []
        given_up: list[int] = []
        for number, missing in self._missing.items():
            age_s = now - missing.noticed
            if age_s >= give_up_s:
                given_up.append(number)
            elif missing.tries == 0:
                if number <= overtaken or age_s >= REORDER_S:
                    missing.tries, missing.requested, missing.first_requested = 1, now, now
                    self.missed_count += 1
                    if self._is_asking:
                        due.append(number & 0xFFFF)
            elif not self._is_asking:
                continue
            elif now - missing.requested >= (retry_s if is_known else retry_s * 2 ** (missing.tries - 1)):
                tries_max = USELESS_TRIES_MAX if number < self._useless_before else self._tries_max
                if missing.tries >= tries_max:
                    given_up.append(number)
                else:
                    missing.tries += 1
                    missing.requested = now
                    due.append(number & 0xFFFF)
        for number in given_up:
            del self._missing[number]
            if number >= self._useless_before:
                self._abandoned.append(number)
                self._abandoned_count += 1
        return due

    def keyframe(self, extended_sequence_number: int) -> None:
        """A key frame begins with that number: nobody who watches needs what is missing before it."""
        self._useless_before = max(self._useless_before, extended_sequence_number)

    def abandoned(self) -> tuple[int, list[int]]:
        """Return how many numbers were given up since the last call, and which as far as is known."""
        found = self._abandoned_count, self._abandoned
        self._abandoned_count, self._abandoned = 0, []
        return found

    def forget(self) -> None:
        """Stop waiting for what is missing: it is not sent again."""
        self._missing.clear()
