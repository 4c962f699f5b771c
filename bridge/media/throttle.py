"""Limits for what receivers may ask again: key frames and retransmissions."""

from bridge.base.rate import Budget


class KeyframeRequests:
    """Decides when a key frame request (PLI or FIR) goes to the publisher of one encoding.

    However many receivers ask, the publisher is asked at most once per interval, and again until
    the key frame is here: requests get lost, and an encoding that was just switched on ignores
    the first ones. The interval doubles each time, up to its maximum, because an encoding that is
    switched off never answers, and neither do many encoders. Everybody pays for a key frame: in the
    long run there is one a second, and one that repairs what somebody lost waits for its second.
    """

    __slots__ = (
        "_allowance",
        "_interval_max_s",
        "_interval_min_s",
        "_interval_s",
        "_last",
        "_not_before",
        "_received",
        "_repair_s",
        "_tries",
        "is_wanted",
    )

    def __init__(
        self,
        *,
        interval_min_s: float = 0.3,
        interval_max_s: float = 2.0,
        repair_s: float = 1.0,
        burst: int = 3,
        per_s: float = 1.0,
    ) -> None:
        self._interval_min_s = interval_min_s
        self._interval_max_s = interval_max_s
        self._interval_s = interval_min_s
        self._repair_s = repair_s
        self._allowance = Budget(per_s=per_s, burst=burst)
        # When the last request went out, and when the last key frame came.
        self._last: float | None = None
        self._received: float | None = None
        self._not_before = 0.0
        self._tries = 0
        self.is_wanted = False

    def request(self, now: float, *, is_repair: bool = False) -> bool:
        """Somebody needs a key frame, to begin with or to go on with; tell whether to send a request now."""
        not_before = 0.0
        if is_repair:
            former = [at for at in (self._last, self._received) if at is not None]
            not_before = max(former, default=now - self._repair_s) + self._repair_s
        if not self.is_wanted:
            self.is_wanted = True
            self._tries = 0
            self._interval_s = self._interval_min_s
            self._not_before = not_before
        self._not_before = min(self._not_before, not_before)
        return self.due(now)

    def due(self, now: float) -> bool:
        """Tell whether to send a request now: the first one, or one more."""
        if not self.is_wanted or now < self._not_before:
            return False
        if self._last is not None and now - self._last < self._interval_s:
            return False
        if not self._allowance.take(1.0, now):
            return False
        if self._tries:
            self._interval_s = min(self._interval_s * 2.0, self._interval_max_s)
        self._tries += 1
        self._last = now
        return True

    def keyframe_received(self, now: float) -> None:
        """The wish is fulfilled."""
        self.is_wanted = False
        self._received = now

    def cancel(self) -> None:
        """Nobody waits for the key frame any more."""
        self.is_wanted = False


class SentRecently:
    """Remembers which packets were repeated to one receiver, to not repeat them within a round trip."""

    __slots__ = ("_capacity", "_sent")

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._sent: dict[int, float] = {}

    def is_recent(self, number: int, now: float, rtt_s: float) -> bool:
        """Tell whether `number` was repeated less than a round trip ago."""
        last = self._sent.get(number)
        return last is not None and now - last < rtt_s

    def note(self, number: int, now: float) -> None:
        """Remember that `number` is repeated now."""
        sent = self._sent
        sent.pop(number, None)
        # The first key is the one repeated longest ago.
        if len(sent) >= self._capacity:
            del sent[next(iter(sent))]
        sent[number] = now
