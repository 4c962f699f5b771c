"""When something was captured: the publishers' sender reports, told on the server's own NTP clock.

A receiver puts sound and picture together by comparing the NTP times of their sender reports
(RFC 3550, 6.4.1). What leaves here comes from many publishers, whose clocks are unrelated. So
each publisher's NTP time is moved by one constant, fixed at its first report:

    server NTP = publisher NTP + constant

The constant contains that first report's delay on the way, the same for all its streams. It
must never be improved later: a change of some milliseconds looks to receivers like sound and
picture drifting apart.
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
    """What to add to one publisher's NTP times; shared by all its encodings."""

    __slots__ = ("_offset_ntp", "_server_clock")

    def __init__(self, server_clock: ServerClock) -> None:
        self._server_clock = server_clock
        self._offset_ntp: int | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the publisher has sent a report."""
        return self._offset_ntp is not None

    def server_ntp(self, publisher_ntp: int, now: float) -> int:
        """Return the server's time of a publisher's time; the first call fixes the offset."""
        if self._offset_ntp is None:
            self._offset_ntp = self._server_clock.ntp(now) - publisher_ntp
        return (publisher_ntp + self._offset_ntp) & NTP_MASK


class SenderClock:
    """The RTP clock of one encoding against the server's NTP clock."""

    __slots__ = ("_clock_rate_hz", "_offset", "_report_ntp", "_report_ticks", "_unwrapper")

    def __init__(self, clock_rate_hz: int, offset: ClockOffset) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._offset = offset
        self._unwrapper = SequenceUnwrapper(bits=32)
        self._report_ntp: int | None = None
        self._report_ticks = 0

    def sender_report(self, ntp: int, rtp_timestamp: int, now: float) -> None:
        """Take over the pair of times of a sender report that arrived at `now`.

        A report without wall clock time (ntp 0, RFC 3550, 6.4.1) says nothing.
        """
        if ntp == 0:
            return
        self._report_ntp = self._offset.server_ntp(ntp, now)
        self._report_ticks = self._unwrapper.unwrap(rtp_timestamp)

    def rtp_at(self, server_ntp: int) -> int | None:
        """Return the RTP time at a time of the server's clock, extrapolated from the last report.

        The result is extended, and meaningful modulo 2^32. None before the first report.
        """
        if self._report_ntp is None:
            return None
        elapsed = (server_ntp - self._report_ntp) & NTP_MASK
        if elapsed >= 1 << 63:
            elapsed -= 1 << 64
        return self._report_ticks + (elapsed * self._clock_rate_hz >> 32)
