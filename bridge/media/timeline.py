"""When something was captured: the publishers' clocks, told on the server's own NTP clock.

A receiver puts sound and picture together by comparing the NTP times of their sender reports
(RFC 3550, 6.4.1). What leaves here comes from many publishers, whose clocks are unrelated. So
each publisher's NTP time is moved by one constant, fixed at its first report:

    server time = publisher's NTP time + constant

The constant contains a delay on the way, the same for all streams of a publisher. It must not be
improved later: a change of some milliseconds looks to receivers like sound and picture drifting
apart. Three things do change what is told of a stream, each by as much as it is off:

* Before its first report a stream is placed by the arrival of its quickest packets. The first report
  of a publisher goes on from there.
* An RTP clock may stand still while nothing is sent (a microphone in Chromium). After a pause the quickest
  packets of a moment show by how much; no report of ours goes out until then.
* A publisher's wall clock may be set. When its reports leave the packets, the packets are right.
"""

from bridge.rtp.sequence import SequenceUnwrapper

# From 1900-01-01, the NTP era 0, to 1970-01-01 (RFC 868).
NTP_EPOCH_S = 2_208_988_800
NTP_MASK = 0xFFFFFFFFFFFFFFFF


def ntp_now(wall_clock_s: float) -> int:
    """Return the 64-bit NTP time (32.32 fixed point) of a Unix time in seconds."""
    return int((wall_clock_s + NTP_EPOCH_S) * 4294967296.0) & NTP_MASK


def unix_ms(ntp: int) -> float:
    """Return the Unix time in milliseconds of a 64-bit NTP time between 1968 and 2104 (RFC 4330, 3)."""
    if ntp < 1 << 63:
        ntp += 1 << 64
    return ntp * 1000 / 4294967296 - NTP_EPOCH_S * 1000.0


def ntp_middle32(ntp: int) -> int:
    """Return the middle 32 bits (16.16 seconds), as report blocks carry them (RFC 3550, 4)."""
    return (ntp >> 16) & 0xFFFFFFFF


def round_trip_s(last_sr: int, delay_since_last_sr: int, received_ntp: int) -> float | None:
    """Return the round trip that a report block measures (RFC 3550, 6.4.1), in seconds.

    None when the block answers no report of ours, or an impossible one.
    """
    if last_sr == 0:
        return None
    ticks = (ntp_middle32(received_ntp) - last_sr - delay_since_last_sr) & 0xFFFFFFFF
    # The receiver rounds its delay; on a fast network that makes the difference slightly negative.
    if ticks >= 0xFFFFFF00:
        return 0.0
    return ticks / 65536.0 if ticks < 60 << 16 else None


class ServerClock:
    """The node's NTP clock: wall time taken once, monotonic from there on, so that it never jumps."""

    __slots__ = ("_ntp_at_start", "_start")

    def __init__(self, wall_clock_s: float, now: float) -> None:
        self._ntp_at_start = ntp_now(wall_clock_s)
        self._start = now

    def ntp(self, now: float) -> int:
        """Return the 64-bit NTP time of the monotonic time `now`."""
        return (self._ntp_at_start + int((now - self._start) * 4294967296.0)) & NTP_MASK

    def unix_ms(self, now: float) -> float:
        """Return the monotonic time `now` in Unix milliseconds."""
        return unix_ms(self._ntp_at_start) + (now - self._start) * 1000.0


class ClockOffset:
    """What to add to one publisher's NTP times for monotonic seconds; shared by all its encodings."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        # None before the publisher's first report.
        self.seconds: float | None = None


# Packets this far apart have a pause between them, and a clock this much off has not just wavered.
PAUSE_S = 0.25
STEP_S = 0.1
# That much off it is another count of timestamps, pause or not.
LEAP_S = 1.0
# How long the quickest packet is looked for: after a pause, and at the very beginning.
SETTLE_S = 0.4
BEGINNING_S = 0.8
# Without reports a clock is followed by arrival, at most so far in so many seconds: quartzes are off by
# 100 ppm, and a queue on the path is no drift.
LOOK_S = 1.0
DRIFT_MAX_S = 0.005
DRIFT_MIN_S = 0.02
REPORTS_REST_S = 30.0
# A first report that is so far from the packets is that of a clock of its own.
UNRELATED_S = 2.0


class SenderClock:
    """The RTP clock of one encoding against the server's clock."""

    __slots__ = (
        "_arrival",
        "_baseline_s",
        "_clock_rate_hz",
        "_constant_s",
        "_least_s",
        "_looked",
        "_offset",
        "_reported",
        "_rests_s",
        "_settles",
        "_timestamp",
        "_transit_s",
        "_unwrapper",
    )

    def __init__(self, clock_rate_hz: int, offset: ClockOffset, *, rests_s: float) -> None:
        """Nothing is told of a stream that has sent nothing for `rests_s`."""
        self._clock_rate_hz = clock_rate_hz
        self._offset = offset
        self._rests_s = rests_s
        self._unwrapper = SequenceUnwrapper(bits=32)
        # When the RTP clock stood at 0, in monotonic seconds; None before anything was heard.
        self._constant_s: float | None = None
        # By how much the quickest packets are later than that says.
        self._baseline_s = 0.0
        # The last packet of another timestamp than the one before: when it came, and how long after the
        # RTP clock's zero.
        self._timestamp = -1
        self._arrival = 0.0
        self._transit_s = 0.0
        # The quickest packet since the last look, and when that was.
        self._least_s = 0.0
        self._looked = 0.0
        # Until when the quickest packet is looked for; None when all is known.
        self._settles: float | None = None
        self._reported: float | None = None

    def packet(self, rtp_timestamp: int, arrival: float) -> None:
        """Take in when a packet came (monotonic seconds), first transmissions only."""
        if rtp_timestamp == self._timestamp:
            return
        transit_s = arrival - self._unwrapper.unwrap(rtp_timestamp) / self._clock_rate_hz
        if self._timestamp < 0:
            self._settles = arrival + BEGINNING_S
            self._least_s = transit_s
            if self._constant_s is None:
                self._constant_s = transit_s
        elif self._settles is None:
            leap_s = abs(transit_s - self._transit_s)
            if leap_s > LEAP_S or (leap_s > STEP_S and arrival - self._arrival > PAUSE_S):
                self._settles = arrival + SETTLE_S
                self._least_s = transit_s
        self._timestamp, self._arrival, self._transit_s = rtp_timestamp, arrival, transit_s
        if transit_s < self._least_s:
            self._least_s = transit_s
        if self._settles is not None:
            if arrival >= self._settles:
                self._settle(arrival)
        elif arrival - self._looked >= LOOK_S:
            self._look(arrival)

    def sender_report(self, ntp: int, rtp_timestamp: int, now: float) -> None:
        """Take over the pair of times of a sender report that arrived at `now`.

        A report without wall clock time (ntp 0, RFC 3550, 6.4.1) says nothing.
        """
        if ntp == 0:
            return
        ticks = self._unwrapper.near(rtp_timestamp)
        if ticks is None:
            ticks = self._unwrapper.unwrap(rtp_timestamp)
        # By this publisher's clock: when the RTP clock stood at 0.
        zero_s = ntp / 4294967296.0 - ticks / self._clock_rate_hz
        if self._offset.seconds is None:
            known_s = self._least_s if self._is_beginning else self._constant_s
            if self._timestamp < 0 or known_s is None:
                known_s = now - ticks / self._clock_rate_hz
            self._offset.seconds = known_s - zero_s
        told_s = zero_s + self._offset.seconds
        if self._timestamp >= 0:
            if self._reported is None:
                if abs(told_s - self._least_s) > UNRELATED_S:
                    return
            elif self._constant_s is not None and abs(told_s - self._constant_s) > STEP_S:
                if now - self._arrival > SETTLE_S:
                    # In a pause nobody can say who is right.
                    return
                expected_s = self._least_s - self._baseline_s
                if abs(expected_s - told_s) > abs(expected_s - self._constant_s):
                    self._offset.seconds += self._constant_s - told_s
                    told_s = self._constant_s
        self._constant_s = told_s
        self._reported = now

    def rtp_at(self, now: float) -> int | None:
        """Return the RTP time at a monotonic time, extended, and meaningful modulo 2^32.

        None while it is not known: before the first packets, after a pause, and in one.
        """
        if self._constant_s is None or now - self._arrival > self._rests_s:
            return None
        if self._settles is not None and not (self._is_beginning and self._reported is not None):
            return None
        return int((now - self._constant_s) * self._clock_rate_hz)

    @property
    def _is_beginning(self) -> bool:
        """Whether the stream is too young to know its quickest packets."""
        return self._settles is not None and self._looked == 0.0

    def _settle(self, arrival: float) -> None:
        """The quickest packet is known: where the clock has stepped, follow it."""
        assert self._constant_s is not None
        if self._looked == 0.0:
            if self._reported is None:
                self._constant_s = self._least_s
            self._baseline_s = self._least_s - self._constant_s
        else:
            step_s = self._least_s - self._constant_s - self._baseline_s
            if abs(step_s) > STEP_S / 2:
                self._constant_s += step_s
        self._settles = None
        self._next_look(arrival)

    def _look(self, arrival: float) -> None:
        """See how late the quickest packet since the last look was."""
        assert self._constant_s is not None
        late_s = self._least_s - self._constant_s
        if self._reported is not None and arrival - self._reported < REPORTS_REST_S:
            self._baseline_s = late_s
        elif abs(late_s - self._baseline_s) > DRIFT_MIN_S:
            self._constant_s += min(max(late_s - self._baseline_s, -DRIFT_MAX_S), DRIFT_MAX_S)
        self._next_look(arrival)

    def _next_look(self, arrival: float) -> None:
        self._looked = arrival
        self._least_s = self._transit_s
