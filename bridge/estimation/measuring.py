"""The rate at which a probe's packets arrived, compared with the rate at which they were sent."""

from bridge.estimation.history import PacketResult
from bridge.estimation.probing import Probe

CLUSTERS_MAX = 8
# Of a probe's packets so many must have come; the others may be lost on the way.
RECEIVED_PART_MIN = 0.6
INTERVAL_MAX_S = 1.0
# Arrived so much faster than sent: they waited for each other somewhere, and say nothing.
FASTER_MAX = 2.0
# Arrived slower than sent: that is what the path carries, and a little below leaves its queue empty.
SLOWER = 0.9
FILL = 0.95
# Sent and arrived faster than was meant, as a busy loop sends: not more than this is taken to be shown.
BEYOND_MAX = 1.25


class _Cluster:
    __slots__ = (
        "bytes",
        "count",
        "first_received_at",
        "first_received_bytes",
        "first_sent_at",
        "last_received_at",
        "last_sent_at",
        "last_sent_bytes",
    )

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.first_sent_at = self.first_received_at = float("inf")
        self.last_sent_at = self.last_received_at = float("-inf")
        self.first_received_bytes = self.last_sent_bytes = 0


class ProbeResults:
    """Gathers the packets of the newest probes."""

    __slots__ = ("_clusters",)

    def __init__(self) -> None:
        self._clusters: dict[int, tuple[Probe, _Cluster]] = {}

    def expect(self, probe: Probe) -> None:
        """A probe is going out; the oldest is forgotten for it."""
        if len(self._clusters) >= CLUSTERS_MAX:
            del self._clusters[next(iter(self._clusters))]
        self._clusters[probe.number] = probe, _Cluster()

    def add(self, result: PacketResult) -> float | None:
        """Take a packet of a probe; return the rate in bit/s once enough of them have come."""
        packet, received_at = result.packet, result.received_at
        expected = self._clusters.get(packet.probe_id or 0)
        if expected is None or received_at is None:
            return None
        probe, cluster = expected
        cluster.count += 1
        cluster.bytes += packet.size_bytes
        cluster.first_sent_at = min(cluster.first_sent_at, packet.sent_at)
        if packet.sent_at >= cluster.last_sent_at:
            cluster.last_sent_at = packet.sent_at
            cluster.last_sent_bytes = packet.size_bytes
        if received_at < cluster.first_received_at:
            cluster.first_received_at = received_at
            cluster.first_received_bytes = packet.size_bytes
        cluster.last_received_at = max(cluster.last_received_at, received_at)
        is_enough = (
            cluster.count >= RECEIVED_PART_MIN * probe.packets_min
            and cluster.bytes >= RECEIVED_PART_MIN * probe.size_bytes
        )
        bps = _rate(cluster) if is_enough else None
        return None if bps is None else min(bps, BEYOND_MAX * probe.bps)


def _rate(cluster: _Cluster) -> float | None:
    # Between n packets lie n - 1 intervals: one packet's bytes are left out at one end.
    sending_s = cluster.last_sent_at - cluster.first_sent_at
    receiving_s = cluster.last_received_at - cluster.first_received_at
    if not 0.0 < sending_s <= INTERVAL_MAX_S or not 0.0 < receiving_s <= INTERVAL_MAX_S:
        return None
    sent_bps = (cluster.bytes - cluster.last_sent_bytes) * 8 / sending_s
    received_bps = (cluster.bytes - cluster.first_received_bytes) * 8 / receiving_s
    if received_bps > FASTER_MAX * sent_bps:
        return None
    return FILL * received_bps if received_bps < SLOWER * sent_bps else min(sent_bps, received_bps)
