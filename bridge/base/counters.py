"""Plain integers that hot code adds to; the metrics collector reads them when scraped."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum


class GapReason(StrEnum):
    """Why something that was to be recorded is not."""

    LOSS = "loss"
    DISK = "disk"
    OVERLOAD = "overload"
    # Pictures came, and none that a recording could begin with.
    KEYFRAME = "keyframe"


class DropReason(StrEnum):
    """Why something that arrived, or was about to leave, went nowhere."""

    # The media port.
    UNKNOWN_SOURCE = "unknown-source"
    UNKNOWN_UFRAG = "unknown-ufrag"
    BAD_INTEGRITY = "bad-integrity"
    MALFORMED_STUN = "malformed-stun"
    UNEXPECTED_DTLS = "unexpected-dtls"
    UNPROTECT_FAILED = "unprotect-failed"
    REPLAYED = "replayed"
    PROTECT_FAILED = "protect-failed"
    NOT_CONNECTED = "not-connected"
    OVERSIZED = "oversized"
    SEND_BUFFER_FULL = "send-buffer-full"
    SEND_FAILED = "send-failed"
    TCP_BUFFER_FULL = "tcp-buffer-full"
    TCP_REFUSED = "tcp-refused"
    RATE_LIMITED = "rate-limited"
    # By the kernel, from addresses that send far more than they may.
    FLOOD = "flood"
    # The forwarding unit.
    MALFORMED_RTP = "malformed-rtp"
    MALFORMED_RTCP = "malformed-rtcp"
    MALFORMED_PAYLOAD = "malformed-payload"
    UNKNOWN_SSRC = "unknown-ssrc"
    UNKNOWN_PAYLOAD_TYPE = "unknown-payload-type"
    DUPLICATE = "duplicate"
    PADDING = "padding"


class DtlsFailure(StrEnum):
    """Why a DTLS handshake failed."""

    TIMEOUT = "timeout"
    CERTIFICATE_CURVE = "certificate-curve"
    NO_CERTIFICATE = "no-certificate"
    FINGERPRINT = "fingerprint"
    NO_COMMON_CIPHER = "no-common-cipher"
    NO_SRTP_PROFILE = "no-srtp-profile"
    VERSION = "version"
    REFUSED_BY_PEER = "refused-by-peer"
    PROTOCOL = "protocol"


class Histogram:
    """Counts of observations by upper bound, as Prometheus wants them; cheap enough for every packet."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Add `count` observations of `value` (in the unit of the bounds)."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count


def _no_drops() -> dict[DropReason, int]:
    return dict.fromkeys(DropReason, 0)


class PortCounters:
    """What the media port has seen since it opened."""

    def __init__(self) -> None:
        self.datagrams_received = 0
        self.bytes_received = 0
        self.datagrams_sent = 0
        self.bytes_sent = 0
        self.stun_requests = 0
        self.stun_responses = 0
        self.tcp_connections = 0
        self.dtls_handshakes = 0
        self.dtls_failures = dict.fromkeys(DtlsFailure, 0)
        self.path_changes = 0
        self.paths_unproven = 0
        self.rollovers_found = 0
        self.streams_unauthentic = 0
        self.consent_expired = 0
        self.dropped = _no_drops()


class SfuCounters:
    """What the forwarding unit has done since it started."""

    def __init__(self) -> None:
        self.rtp_received = 0
        self.rtp_received_bytes = 0
        self.rtp_forwarded = 0
        self.rtp_forwarded_bytes = 0
        self.rtcp_received = 0
        self.rtcp_sent = 0
        self.nacks_received = 0
        self.nacks_sent = 0
        self.retransmissions_received = 0
        self.retransmissions_sent = 0
        self.retransmissions_suppressed = 0
        self.probe_packets_sent = 0
        # Transport-wide feedback, taken as one sample or packet by packet.
        self.feedback_calm = 0
        self.feedback_single = 0
        # Times that a slot began to show less than its page would like because of the line, and stopped to.
        self.slots_limited = 0
        self.slots_freed = 0
        self.packets_lost = 0
        self.voices_recovered = 0
        self.packets_abandoned = 0
        self.plis_received = 0
        self.plis_sent = 0
        self.keyframes_received = 0
        self.switches = 0
        self.legs_closed = 0
        self.layers_stalled = 0
        self.dropped = _no_drops()
        # From the kernel's receive stamp to the return of the system call that sent the copies.
        self.forwarding_latency_s = Histogram(
            (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
        )


class SessionCounters:
    """What signalling and rooms have done since the server started."""

    def __init__(self) -> None:
        self.joins = 0
        self.joins_refused: Counter[str] = Counter()
        # Devices by endpoint and code.
        self.devices_refused: Counter[tuple[str, str]] = Counter()
        self.resumes = 0
        self.leaves: dict[str, int] = {}
        self.messages_received = 0
        self.messages_invalid = 0
        # HTTP connections that had to make room for newer ones, or found none.
        self.connections_evicted = 0
        self.connections_refused = 0
        # HTTP requests that waited because their network had asked too many.
        self.requests_delayed = 0
        # Times that no file descriptor was free.
        self.descriptors_lacking = 0
        # What pages tell: pictures that stood still, and voices that were made up where packets were missing.
        self.client_freezes = 0
        self.client_frozen_s = 0.0
        self.client_heard_s = 0.0
        self.client_concealed_s = 0.0
        # From the `join` message to the first connected transport of that participant.
        self.join_latency_s = Histogram((0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0))
        self.event_loop_lag_s = Histogram((0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0))


class RecordingCounters:
    """What recording has done since the server started."""

    def __init__(self) -> None:
        self.frames_written = 0
        self.bytes_written = 0
        self.gaps = dict.fromkeys(GapReason, 0)
        # Frames that the writer's queue had no room for.
        self.queue_dropped = 0
        # Events that a full disk kept waiting for too long.
        self.events_dropped = 0
        self.sessions_open = 0
        self.recordings_failed = 0
        # Interrupted sessions that could not be repaired yet.
        self.sessions_aside = 0
        self.disk_free_bytes = 0
        # Whether the machine's clock is kept in step with others; None when nobody knows.
        self.clock_synchronised: bool | None = None
        # How long ago everything that had come was last known to be on the disk.
        self.sync_age_s = 0.0
        # Waiting for the disk, for all files together.
        self.sync_s = Histogram((0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5))


class ArchiveCounters:
    """What the archive has done since the server started."""

    def __init__(self) -> None:
        self.packages_sealed = 0
        self.attempts_failed = 0
        self.workers_crashed = 0
        self.deliveries = 0
        self.deliveries_failed = 0
        self.fixity_checks = 0
        self.fixity_failures = 0
        self.sessions_purged = 0
