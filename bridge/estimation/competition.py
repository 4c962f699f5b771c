"""Whether the queue on the path is somebody else's: then delay says nothing about what is sent too much.

A TCP download fills any queue and keeps it filled. Who gives way to growing delay gives way to it for ever
and ends with nothing (Carlucci et al. 2016 adapt the threshold for that; on deep queues it does not
suffice). So when a queue stands although this flow has cut its rate and let its own part out, the flow goes
by loss, as its competitor does: it adds a packet a round trip for each round trip, and takes back 15 % when
packets are lost. Every few seconds it steps aside for a moment: a queue that empties then was its own all
the time.
"""

# A queue is standing while no packet waits less than this. TCP leaves more even right after
# its own cuts, delay control leaves less.
STANDING_S = 0.05
# All but a second of it after a cut of this flow.
STANDING_FOR_S = 5.0
# Who filled it a minute ago will do it again.
KNOWN_S = 60.0
KNOWN_STANDING_FOR_S = 2.0
# Flows that give way to delay, ours among themselves, never fill a queue until it drops: such a loss is so
# recent.
OVERFLOWN_S = 4.0
# While competing: how often to step aside, for how long, and with which part of the rate.
ASIDE_EVERY_S = 10.0
ASIDE_S = 1.0
ASIDE_PART = 0.5

# An AIMD of one packet a round trip and 15 %.
PACKET_BITS = 1200.0 * 8.0
GROWTH_MAX_PER_S = 0.1
LOSS_DECREASE = 0.85
# One overflow of the queue is one reason: TCP also cuts once in a round trip.
LOSS_INTERVAL_S = 1.0
# On a narrow line the queue overflows every few round trips, and one lost packet says little.
LOSS_INTERVAL_RTT = 5.0
LOSS_BEYOND_INHERENT = 0.02


class Competition:
    """Tells whether one flow shares its queue with traffic that fills it."""

    __slots__ = (
        "_aside_at",
        "_cut_at",
        "_grown_at",
        "_left_at",
        "_lost_at",
        "_overflown_at",
        "_standing_since",
        "is_on",
    )

    def __init__(self) -> None:
        self.is_on = False
        self._standing_since: float | None = None
        self._cut_at: float | None = None
        self._overflown_at: float | None = None
        self._left_at: float | None = None
        self._aside_at = 0.0
        self._lost_at = 0.0
        self._grown_at = 0.0

    def cut(self, now: float) -> None:
        """The rate was cut because delay grew."""
        if self._cut_at is None:
            self._cut_at = now

    def lost(self, now: float) -> None:
        """More was lost than the path loses by nature."""
        self._overflown_at = now

    def waited(self, shortest_s: float, now: float) -> None:
        """Take the shortest waiting time that a report tells of."""
        if shortest_s < STANDING_S:
            self._standing_since = self._cut_at = None
            if self.is_on:
                self.is_on = False
                self._left_at = now
            return
        if self._standing_since is None:
            self._standing_since = now
        if self.is_on or self._cut_at is None:
            return
        stands_s = now - self._standing_since
        is_overflowing = self._overflown_at is not None and now - self._overflown_at <= OVERFLOWN_S
        was_on = self._left_at is not None and now - self._left_at <= KNOWN_S
        after_s = KNOWN_STANDING_FOR_S if was_on else STANDING_FOR_S
        if is_overflowing and stands_s >= after_s and now - self._cut_at >= after_s - 1.0:
            self.is_on = True
            self._aside_at = self._grown_at = self._lost_at = now

    def part(self, now: float) -> float:
        """Return how much of the estimate to send: all of it, or less to see whose queue it is."""
        if not self.is_on:
            return 1.0
        since_s = now - self._aside_at
        if since_s >= ASIDE_EVERY_S + ASIDE_S:
            self._aside_at = now
        return ASIDE_PART if since_s >= ASIDE_EVERY_S else 1.0

    def next_bps(self, bps: float, *, has_lost: bool, loss: float, rtt_s: float, now: float) -> float:
        """Return the rate to go on with; whether a report told of losses, and how large they are of late."""
        if has_lost and now - self._lost_at >= max(LOSS_INTERVAL_S, LOSS_INTERVAL_RTT * rtt_s):
            self._lost_at = self._grown_at = now
            # Far too much is taken back whole.
            return min(LOSS_DECREASE, 1.0 - loss) * bps
        elapsed_s = min(max(now - self._grown_at, 0.0), 1.0)
        self._grown_at = now
        growth_bps = PACKET_BITS / (rtt_s * rtt_s)
        return bps + min(growth_bps, GROWTH_MAX_PER_S * bps) * elapsed_s
