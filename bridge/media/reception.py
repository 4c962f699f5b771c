"""Reception statistics of one incoming stream (RFC 3550, 6.4.1 and appendices A.3 and A.8)."""

from collections import deque

from bridge.rtp.rtcp import ReportBlock

# The bitrate is measured over this window, in buckets.
WINDOW_S = 1.0
BUCKET_S = 0.1

# A stream younger than this is not yet measured over its own age: the first
# burst of a key frame would look like tens of megabits.
AGE_MIN_S = 0.25


class ReceptionStatistics:
    """Counts what arrived on one SSRC, and says so in a report block.

    Packets that came as retransmissions on another SSRC (RFC 4588) do not belong here:
    they would hide the loss and their delay is not the path's jitter.
    """

    __slots__ = (
        "_base",
        "_bucket_bytes",
        "_bucket_end",
        "_buckets",
        "_cycles_before",
        "_first_arrival",
        "_highest",
        "_jitter",
        "_last_sr_middle",
        "_last_sr_time",
        "_prior_expected",
        "_prior_received",
        "_transit",
        "bytes_received",
        "clock_rate_hz",
        "fraction_lost",
        "last_arrival",
        "packets_received",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_rate_hz: int) -> None:
        self.ssrc = ssrc
        self.clock_rate_hz = clock_rate_hz
        self.packets_received = 0
        self.bytes_received = 0
        self.last_arrival = 0.0
        # Of the last report interval, 0.0 to 1.0.
        self.fraction_lost = 0.0
        self._base = -1
        self._highest = -1
        self._cycles_before = 0
        self._transit = 0.0
        self._jitter = 0.0
        self._prior_expected = 0
        self._prior_received = 0
        self._last_sr_middle = 0
        self._last_sr_time = 0.0
        self._first_arrival = 0.0
        self._bucket_end = 0.0
        self._bucket_bytes = 0
        self._buckets: deque[tuple[float, int]] = deque(maxlen=round(WINDOW_S / BUCKET_S))

    def received(self, extended: int, rtp_timestamp: int, arrival: float, size_bytes: int) -> None:
        """Count one packet: its extended number, its timestamp (32 bits or extended), when it came."""
        self.packets_received += 1
        self.bytes_received += size_bytes
        self.last_arrival = arrival
        if arrival >= self._bucket_end:
            self._turn_bucket(arrival)
        self._bucket_bytes += size_bytes
        transit = arrival * self.clock_rate_hz - rtp_timestamp
        difference = transit - self._transit
        self._transit = transit
        if extended > self._highest:
            if self._base < 0:
                self._base = self._highest = extended
                # A stream begins in its first cycle of numbers, whatever ours are.
                self._cycles_before = extended & ~0xFFFF
                self._first_arrival = arrival
                return
            self._highest = extended
        elif extended < self._base:
            # Reordered before the very first packet: the count starts with it.
            self._base = extended
        if difference < 0.0:
            difference = -difference
        if difference > 2147483648.0:
            # The 32-bit timestamp went round between the two packets.
            difference = abs(4294967296.0 - difference)
        self._jitter += (difference - self._jitter) * 0.0625

    def _turn_bucket(self, arrival: float) -> None:
        if self._bucket_bytes:
            self._buckets.append((self._bucket_end, self._bucket_bytes))
        self._bucket_end = arrival + BUCKET_S
        self._bucket_bytes = 0

    def sender_report_received(self, ntp: int, now: float) -> None:
        """Note the sender's report (its 64-bit NTP time), which the next report block answers."""
        self._last_sr_middle = (ntp >> 16) & 0xFFFFFFFF
        self._last_sr_time = now

    @property
    def jitter_ticks(self) -> int:
        """Interarrival jitter in units of the RTP clock (RFC 3550, A.8)."""
        return int(self._jitter)

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter in milliseconds."""
        return self._jitter * 1000.0 / self.clock_rate_hz

    @property
    def highest(self) -> int:
        """The highest extended sequence number, -1 before the first packet."""
        return self._highest

    @property
    def expected_count(self) -> int:
        """How many packets were sent, judged by their numbers."""
        return self._highest - self._base + 1 if self._base >= 0 else 0

    @property
    def lost_count(self) -> int:
        """Packets lost since the beginning; duplicates can make it negative (RFC 3550, A.3)."""
        return self.expected_count - self.packets_received

    def bitrate_bps(self, now: float) -> float:
        """Return the bitrate over the last second; 0.0 when nothing came in it."""
        since = now - WINDOW_S
        size_bytes = self._bucket_bytes if self._bucket_end > since else 0
        for end, bucket_bytes in self._buckets:
            if end > since:
                size_bytes += bucket_bytes
        age_s = now - self._first_arrival
        return size_bytes * 8.0 / min(max(age_s, AGE_MIN_S), WINDOW_S)

    def report_block(self, now: float) -> ReportBlock:
        """Return the block for a receiver report, and begin the next report interval."""
        expected, received = self.expected_count, self.packets_received
        expected_interval = expected - self._prior_expected
        lost_interval = expected_interval - (received - self._prior_received)
        self._prior_expected, self._prior_received = expected, received
        if expected_interval <= 0 or lost_interval <= 0:
            fraction = 0
        else:
            fraction = min((lost_interval << 8) // expected_interval, 255)
        self.fraction_lost = fraction / 256.0
        delay = 0
        if self._last_sr_middle:
            delay = min(max(int((now - self._last_sr_time) * 65536.0), 0), 0xFFFFFFFF)
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            cumulative_lost=min(max(expected - received, -0x800000), 0x7FFFFF),
            extended_highest=max(self._highest - self._cycles_before, 0) & 0xFFFFFFFF,
            jitter_ticks=min(int(self._jitter), 0xFFFFFFFF),
            last_sr=self._last_sr_middle,
            delay_since_last_sr=delay,
        )
