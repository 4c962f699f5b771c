"""One Prometheus collector that reads plain counters and the live objects when it is scraped.

Nothing is measured here and no label is free text: label values come from closed sets, so that neither a
patient's nor a hospital's name can reach a time series.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.api.signalling import Signalling
from bridge.archive.work.supervisor import ArchiveStatus
from bridge.base.counters import (
    ArchiveCounters,
    GapReason,
    Histogram,
    PortCounters,
    RecordingCounters,
    SessionCounters,
    SfuCounters,
)
from bridge.base.words import PackageState, RecordingState, RecordProblem, Source, Weakness
from bridge.conference.participants import LeaveReason
from bridge.conference.roles import ROOM_ROLES
from bridge.confinement.processes import offered
from bridge.leg.leg import LegStats
from bridge.media.protection import DISTANCE_MAX
from bridge.messages.objects import RecordingStatus
from bridge.messages.texts import ERRORS
from bridge.rooms import Rooms

QUANTILES = (0.5, 0.95, 1.0)
LOW_QUANTILES = (0.0, 0.05, 0.5)
ENDPOINTS = ("whip", "whep")
PROTOCOLS = ("udp", "tcp", "none")

# Attribute, metric name without `_total`, help.
_PORT_COUNTERS = (
    ("datagrams_received", "hoichan_port_datagrams_received", "Datagrams and TCP frames at the media port."),
    ("bytes_received", "hoichan_port_received_bytes", "Bytes at the media port, without IP and UDP headers."),
    ("datagrams_sent", "hoichan_port_datagrams_sent", "Datagrams and TCP frames sent from the media port."),
    ("bytes_sent", "hoichan_port_sent_bytes", "Bytes sent from the media port, without IP and UDP headers."),
    ("stun_requests", "hoichan_stun_requests", "STUN binding requests with valid integrity."),
    ("stun_responses", "hoichan_stun_responses", "STUN binding responses sent."),
    ("tcp_connections", "hoichan_tcp_connections", "TCP connections accepted at the media port."),
    ("dtls_handshakes", "hoichan_dtls_handshakes", "DTLS handshakes completed."),
    ("path_changes", "hoichan_path_changes", "Legs that went on from another address or protocol."),
    (
        "paths_unproven",
        "hoichan_paths_unproven",
        "Addresses media was to move to that did not answer for it.",
    ),
    ("rollovers_found", "hoichan_srtp_rollovers_found", "Streams that had wrapped before they came in."),
    (
        "streams_unauthentic",
        "hoichan_srtp_streams_unauthentic",
        "Streams given up: SRTP authentication fails.",
    ),
    ("consent_expired", "hoichan_consent_expired", "Legs that ended because nothing arrived any more."),
)
_SFU_COUNTERS = (
    ("rtp_received", "hoichan_rtp_packets_received", "RTP packets received from publishers."),
    ("rtp_received_bytes", "hoichan_rtp_received_bytes", "Bytes of RTP received from publishers."),
    ("rtp_forwarded", "hoichan_rtp_packets_forwarded", "RTP packets sent to receivers."),
    ("rtp_forwarded_bytes", "hoichan_rtp_forwarded_bytes", "Bytes of RTP sent to receivers."),
    ("rtcp_received", "hoichan_rtcp_packets_received", "RTCP compounds received."),
    ("rtcp_sent", "hoichan_rtcp_packets_sent", "RTCP compounds sent."),
    ("nacks_received", "hoichan_nacks_received", "Packets that receivers asked for again."),
    ("nacks_sent", "hoichan_nacks_sent", "Packets that the bridge asked publishers for again."),
    ("retransmissions_received", "hoichan_retransmissions_received", "Lost packets that publishers resent."),
    ("retransmissions_sent", "hoichan_retransmissions_sent", "Packets sent again to receivers."),
    (
        "retransmissions_suppressed",
        "hoichan_retransmissions_suppressed",
        "Requests not answered: over the leg's budget, or repeated within a round trip.",
    ),
    ("probe_packets_sent", "hoichan_probe_packets", "Packets sent to try what a receiver's line carries."),
    ("feedback_calm", "hoichan_feedback_calm", "Transport-wide feedback that told of a calm path."),
    ("feedback_single", "hoichan_feedback_single", "Transport-wide feedback taken packet by packet."),
    (
        "slots_limited",
        "hoichan_slots_limited",
        "Times a receiver's line left a slot less than it would show.",
    ),
    (
        "slots_freed",
        "hoichan_slots_freed",
        "Times a slot shows all again after its receiver's line was too thin.",
    ),
    ("packets_lost", "hoichan_packets_lost", "Packets from publishers that were missed at first."),
    ("packets_abandoned", "hoichan_packets_abandoned", "Packets from publishers that never came."),
    (
        "voices_recovered",
        "hoichan_voices_recovered",
        "Packets of publishers' voices that were lost and came as redundancy of later ones (RFC 2198).",
    ),
    ("plis_received", "hoichan_plis_received", "Key frames that receivers asked for (PLI and FIR)."),
    ("plis_sent", "hoichan_plis_sent", "Key frames that the bridge asked publishers for."),
    ("keyframes_received", "hoichan_keyframes_received", "Key frames received from publishers."),
    ("switches", "hoichan_slot_switches", "Times a slot went on with another source or layer."),
    ("legs_closed", "hoichan_legs_closed", "Media connections that ended, replaced ones included."),
    ("layers_stalled", "hoichan_layers_stalled", "Layers that fell silent while somebody watched them."),
)
_RECORDING_COUNTERS = (
    ("frames_written", "hoichan_recording_frames", "Frames written into recordings."),
    ("bytes_written", "hoichan_recording_written_bytes", "Bytes of media written into recordings."),
    ("queue_dropped", "hoichan_recording_frames_dropped", "Frames that the disk was too slow for."),
    ("events_dropped", "hoichan_recording_events_dropped", "Events that a full disk did not take in time."),
    ("recordings_failed", "hoichan_recordings_failed", "Recordings that could not go on."),
)
_ARCHIVE_COUNTERS = (
    ("packages_sealed", "hoichan_archive_packages_sealed", "Packages sealed."),
    (
        "attempts_failed",
        "hoichan_archive_attempts_failed",
        "Attempts to make or deliver a package that failed.",
    ),
    ("workers_crashed", "hoichan_archive_workers_crashed", "Workers that died or hung, and were replaced."),
    ("fixity_checks", "hoichan_archive_fixity_checks", "Packages compared with their checksums."),
    ("fixity_failures", "hoichan_archive_fixity_failures", "Comparisons that found a package damaged."),
    (
        "sessions_purged",
        "hoichan_archive_sessions_purged",
        "Sessions whose tracks had served and were deleted.",
    ),
)
_ARCHIVE_GAUGES = (
    (
        "is_available",
        "hoichan_archive_available",
        "Whether the archive can work: its disk and its catalogue.",
    ),
    ("damaged", "hoichan_archive_packages_damaged", "Packages that differed from their checksums last time."),
    (
        "undecided",
        "hoichan_archive_packages_undecided",
        "Packages held back for want of consent until people decide what becomes of them.",
    ),
    ("backlog_s", "hoichan_archive_backlog_seconds", "Age of the oldest recording that is not sealed yet."),
    (
        "delivery_waiting_s",
        "hoichan_archive_delivery_waiting_seconds",
        "Age of the oldest package that is still to be delivered to the PACS.",
    ),
    (
        "store_waiting_s",
        "hoichan_archive_store_waiting_seconds",
        "Age of the oldest package that is still to be put into the other store.",
    ),
    (
        "check_overdue_s",
        "hoichan_archive_check_overdue_seconds",
        "How much later than archive.fixity_days a package waits to be compared with its checksums.",
    ),
    ("free_bytes", "hoichan_archive_disk_free_bytes", "Free on the disk of the archive."),
    (
        "waits_for_room",
        "hoichan_archive_waiting_for_disk",
        "Whether composing waits because the disk is needed for recording.",
    ),
    (
        "progress",
        "hoichan_archive_compose_progress_ratio",
        "How far the composition that runs now is, 0 to 1.",
    ),
    (
        "realtime_factor",
        "hoichan_archive_realtime_factor",
        "Seconds of conference that the last package took one second for.",
    ),
)


class BridgeCollector(Collector):
    """Turns the counters and the live objects of one node into metric families."""

    def __init__(
        self,
        *,
        port_counters: PortCounters,
        sfu_counters: SfuCounters,
        session_counters: SessionCounters,
        rooms: Rooms,
        signalling: Signalling,
        receive_overflows: Callable[[], int],
        connections: Callable[[], int],
    ) -> None:
        self._port = port_counters
        self._sfu = sfu_counters
        self._session = session_counters
        self._rooms = rooms
        self._signalling = signalling
        self._receive_overflows = receive_overflows
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("hoichan_build_info", "The running version; always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._collect_counters()
        yield from self._collect_rooms()
        yield from self._collect_legs()

    def _collect_counters(self) -> Iterator[Metric]:
        for attribute, name, text in _PORT_COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(self._port, attribute))
        for attribute, name, text in _SFU_COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(self._sfu, attribute))
        yield from self._collect_session()
        yield CounterMetricFamily(
            "hoichan_port_receive_overflows",
            "Datagrams that the kernel dropped because the bridge did not read fast enough.",
            value=self._receive_overflows(),
        )
        failures = CounterMetricFamily(
            "hoichan_dtls_failures", "DTLS handshakes that failed, and why.", labels=["reason"]
        )
        for failure, count in self._port.dtls_failures.items():
            failures.add_metric([failure.value], count)
        yield failures
        dropped = CounterMetricFamily(
            "hoichan_packets_dropped", "Packets that went nowhere, and why.", labels=["at", "reason"]
        )
        for at, counts in (("port", self._port.dropped), ("sfu", self._sfu.dropped)):
            for reason, count in counts.items():
                dropped.add_metric([at, reason.value], count)
        yield dropped
        yield _histogram(
            "hoichan_forwarding_latency_seconds",
            "From the kernel's receive stamp to the return of the call that sent the copies.",
            self._sfu.forwarding_latency_s,
        )

    def _collect_session(self) -> Iterator[Metric]:
        session = self._session
        yield CounterMetricFamily("hoichan_joins", "Participants admitted to a room.", value=session.joins)
        yield _labelled_counter(
            "hoichan_joins_refused",
            "Attempts to join that were refused.",
            "code",
            ERRORS,
            session.joins_refused,
        )
        devices = CounterMetricFamily(
            "hoichan_devices_refused",
            "Encoders (whip) and players (whep) that were refused.",
            labels=["endpoint", "code"],
        )
        for endpoint in ENDPOINTS:
            for code in ERRORS:
                devices.add_metric([endpoint, code], session.devices_refused[endpoint, code])
        yield devices
        yield CounterMetricFamily(
            "hoichan_resumes", "Participants whose WebSocket came back in time.", value=session.resumes
        )
        yield _labelled_counter(
            "hoichan_leaves",
            "Participants gone.",
            "reason",
            (reason.value for reason in LeaveReason),
            session.leaves,
        )
        yield CounterMetricFamily(
            "hoichan_messages_received", "Signalling messages received.", value=session.messages_received
        )
        yield CounterMetricFamily(
            "hoichan_messages_invalid",
            "Signalling messages that did not have the protocol's form.",
            value=session.messages_invalid,
        )
        for value, name, text in (
            (session.client_freezes, "freezes", "Times that pictures stood still, as pages tell."),
            (session.client_frozen_s, "frozen_seconds", "How long pictures stood still, as pages tell."),
            (session.client_heard_s, "heard_seconds", "Sound that pages played, all voices together."),
            (
                session.client_concealed_s,
                "concealed_seconds",
                "Sound that pages made up where packets were missing.",
            ),
        ):
            yield CounterMetricFamily(f"hoichan_client_{name}", text, value=value)
        for value, name, text in (
            (session.connections_evicted, "evicted", "Idle HTTP connections closed to make room for others."),
            (session.connections_refused, "refused", "HTTP connections that found no room."),
        ):
            yield CounterMetricFamily(f"hoichan_http_connections_{name}", text, value=value)
        yield CounterMetricFamily(
            "hoichan_http_requests_delayed",
            "HTTP requests that waited because their network had asked too many.",
            value=session.requests_delayed,
        )
        yield CounterMetricFamily(
            "hoichan_descriptors_lacking",
            "Times that no file descriptor was free.",
            value=session.descriptors_lacking,
        )
        yield _histogram(
            "hoichan_join_latency_seconds",
            "From the join message to the participant's first connected transport.",
            session.join_latency_s,
        )
        yield _histogram(
            "hoichan_event_loop_lag_seconds",
            "How much later than asked a timer of the event loop fires.",
            session.event_loop_lag_s,
        )

    def _collect_rooms(self) -> Iterator[Metric]:
        rooms = list(self._rooms.rooms.values())
        participants = [participant for room in rooms for participant in room.participants.values()]
        yield GaugeMetricFamily("hoichan_rooms", "Conferences open now.", value=len(rooms))
        yield GaugeMetricFamily(
            "hoichan_http_connections", "HTTP connections open now.", value=self._connections()
        )
        yield GaugeMetricFamily(
            "hoichan_websockets", "Signalling connections open now.", value=self._signalling.sockets
        )
        yield GaugeMetricFamily(
            "hoichan_points",
            "Bridge points connected now: distinct sites of each conference.",
            value=len({(item.claims.room, item.site) for item in participants if item.is_connected}),
        )
        yield _labelled_gauge(
            "hoichan_participants",
            "Participants in all conferences now.",
            "role",
            [role.value for role in ROOM_ROLES],
            (participant.role.value for participant in participants),
        )

        yield _labelled_gauge(
            "hoichan_participants_weak",
            "Participants whose media is not good now, by what is weak.",
            "weakness",
            [weakness.value for weakness in Weakness],
            (weakness.value for room in rooms for weakness in room.conditions.weaknesses()),
        )
        yield GaugeMetricFamily(
            "hoichan_slots_unsupported",
            "Places on pages and players that stay empty now because they cannot decode what is to be there.",
            value=sum(participant.unsupported_count for participant in participants),
        )

    def _collect_legs(self) -> Iterator[Metric]:
        legs = [
            participant.leg
            for room in self._rooms.rooms.values()
            for participant in room.participants.values()
            if participant.leg is not None
        ]
        statistics = [leg.snapshot() for leg in legs]
        yield _labelled_gauge(
            "hoichan_legs",
            "Participants' media connections by protocol; none: not connected yet.",
            "protocol",
            PROTOCOLS,
            (item.protocol or "none" for item in statistics),
        )
        yield _labelled_gauge(
            "hoichan_publications",
            "Publications with packets arriving now.",
            "source",
            [source.value for source in Source],
            (source.value for leg in legs for source in Source if _is_arriving(leg.publication(source))),
        )
        yield _quantiles(
            "hoichan_device_keyframe_interval_seconds",
            "From one key frame to the next, over what devices (WHIP) send now; 1 is the longest.",
            self._device_keyframe_intervals_s(),
        )
        yield from _collect_statistics(statistics)

    def _device_keyframe_intervals_s(self) -> Iterator[float]:
        """Of devices only: a browser makes a key frame when it is asked for, and hardly any other."""
        for room in self._rooms.rooms.values():
            for participant in room.participants.values():
                if participant.leg is None or not participant.is_device:
                    continue
                for source in Source:
                    publication = participant.leg.publication(source)
                    if publication is None or not publication.is_arriving:
                        continue
                    for encoding in publication.encodings.values():
                        if encoding.keyframe_interval_s is not None:
                            yield encoding.keyframe_interval_s


class RecordCollector(Collector):
    """Turns what recording and archive have done, and are at, into metric families."""

    def __init__(
        self,
        *,
        recording: RecordingCounters,
        archive: ArchiveCounters,
        recordings: Callable[[], Iterable[RecordingStatus]],
        status: Callable[[], ArchiveStatus],
        thresholds_bytes: Mapping[str, int],
    ) -> None:
        """`thresholds_bytes` are those of the disk of the recordings, by what happens below them."""
        self._thresholds_bytes = thresholds_bytes
        self._recording = recording
        self._archive = archive
        self._recordings = recordings
        self._status = status
        # Allocated by this: what does not change as long as the kernel runs.
        self._offered = offered()

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_recording()
        yield from self._collect_archive()

    def _collect_recording(self) -> Iterator[Metric]:
        recording = self._recording
        for attribute, name, text in _RECORDING_COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(recording, attribute))
        recordings = list(self._recordings())
        yield _labelled_gauge(
            "hoichan_recordings",
            "Rooms by what their recording does now.",
            "state",
            [state.value for state in RecordingState],
            (status.state.value for status in recordings),
        )
        yield _labelled_gauge(
            "hoichan_recording_problems",
            "Rooms whose recording is threatened or harmed now, and by what.",
            "problem",
            [problem.value for problem in RecordProblem],
            (status.problem.value for status in recordings if status.problem is not None),
        )
        yield _labelled_counter(
            "hoichan_recording_gaps",
            "Stretches that are missing in recordings, and why.",
            "reason",
            [reason.value for reason in GapReason],
            {reason.value: count for reason, count in recording.gaps.items()},
        )
        yield GaugeMetricFamily(
            "hoichan_recording_sessions", "Sessions being recorded now.", value=recording.sessions_open
        )
        yield GaugeMetricFamily(
            "hoichan_recording_sessions_aside",
            "Interrupted sessions that could not be repaired yet.",
            value=recording.sessions_aside,
        )
        if recording.clock_synchronised is not None:
            yield GaugeMetricFamily(
                "hoichan_clock_synchronised",
                "Whether the machine's clock is kept in step with others.",
                value=int(recording.clock_synchronised),
            )
        yield GaugeMetricFamily(
            "hoichan_recording_sync_age_seconds",
            "How long ago all that had come was last on the disk.",
            value=recording.sync_age_s,
        )
        yield GaugeMetricFamily(
            "hoichan_recording_disk_free_bytes",
            "Free on the disk of the recordings.",
            value=recording.disk_free_bytes,
        )
        thresholds = GaugeMetricFamily(
            "hoichan_recording_disk_threshold_bytes",
            "Free space below which is warned, small pictures are left out, or nothing is recorded.",
            labels=["level"],
        )
        for level, size_bytes in self._thresholds_bytes.items():
            thresholds.add_metric([level], size_bytes)
        yield thresholds
        yield _histogram(
            "hoichan_recording_sync_seconds", "Waiting for the disk of the recordings.", recording.sync_s
        )

    def _collect_archive(self) -> Iterator[Metric]:
        status = self._status()
        for attribute, name, text in _ARCHIVE_COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(self._archive, attribute))
        for attribute, name, text in _ARCHIVE_GAUGES:
            yield GaugeMetricFamily(name, text, value=float(getattr(status, attribute)))
        deliveries = {"ok": self._archive.deliveries, "failed": self._archive.deliveries_failed}
        yield _labelled_counter(
            "hoichan_archive_deliveries",
            "Attempts to deliver a package to the PACS, by their end.",
            "outcome",
            deliveries,
            deliveries,
        )
        family = GaugeMetricFamily(
            "hoichan_archive_packages", "Packages by state, deleted ones left out.", labels=["state"]
        )
        for state in PackageState:
            family.add_metric([state.value], (status.packages or {}).get(state, 0))
        yield family
        confined = GaugeMetricFamily(
            "hoichan_archive_confined",
            "Whether the kernel confines what decodes recordings, by its means.",
            labels=["by"],
        )
        confined.add_metric(["landlock"], float(self._offered.landlock > 0))
        confined.add_metric(["seccomp"], float(self._offered.seccomp))
        yield confined


def registry(*collectors: Collector) -> CollectorRegistry:
    """Return a registry with the bridge's own metrics and those of the process."""
    result = CollectorRegistry()
    for collector in collectors:
        result.register(collector)
    ProcessCollector(registry=result)
    PlatformCollector(registry=result)
    GCCollector(registry=result)
    return result


def _collect_statistics(statistics: Sequence[LegStats]) -> Iterator[Metric]:
    connected = [item for item in statistics if item.protocol is not None]
    round_trips_s = [item.rtt_ms / 1000 for item in connected if item.rtt_ms is not None]
    yield _quantiles("hoichan_rtt_seconds", "Round trip to connected legs, over the legs.", round_trips_s)
    loss = GaugeMetricFamily(
        "hoichan_loss_ratio",
        "Share of packets lost (0 to 1), over the connected legs; up: from clients, down: to clients.",
        labels=["direction", "quantile"],
    )
    for direction, ratios in (
        ("up", [item.loss_up for item in connected]),
        ("down", [item.loss_down for item in connected]),
    ):
        for quantile, value in _quantile_values(ratios, QUANTILES):
            loss.add_metric([direction, quantile], value)
    yield loss
    yield GaugeMetricFamily(
        "hoichan_media_received_bytes_per_second",
        "Media arriving from all legs now.",
        value=sum(item.received_bps for item in connected) / 8,
    )
    yield _labelled_gauge(
        "hoichan_voice_slots",
        "Voices that are sent now, by their redundancy: how many packets come once more with each one.",
        "distance",
        [str(distance) for distance in range(DISTANCE_MAX + 1)],
        (str(distance) for item in connected for distance in item.voice_distances),
    )
    yield _quantiles(
        "hoichan_available_bytes_per_second",
        "What the bridge believes that legs can receive, over the connected legs; 0 is the thinnest line.",
        [item.available_bps / 8 for item in connected],
        LOW_QUANTILES,
    )
    yield _quantiles(
        "hoichan_media_sent_bytes_per_second",
        "What each connected leg is sent now, retransmissions left out.",
        [item.sent_bps / 8 for item in connected],
    )
    waits_s = [item.queue_s for item in connected if item.queue_s is not None]
    yield _quantiles(
        "hoichan_queue_seconds",
        "How long packets wait on the way to a leg beyond its shortest time, over the legs that tell.",
        waits_s,
    )
    yield GaugeMetricFamily(
        "hoichan_legs_telling_arrivals",
        "Connected legs whose line is judged by transport-wide feedback; others are by REMB and reports.",
        value=len(waits_s),
    )


def _is_arriving(publication: object) -> bool:
    return publication is not None and bool(getattr(publication, "is_arriving", False))


def _quantile_values(values: Iterable[float], quantiles: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Nearest-rank quantiles; none over an empty collection, for there is no such value."""
    ordered = sorted(values)
    for quantile in quantiles if ordered else ():
        rank = max(1, math.ceil(quantile * len(ordered)))
        yield f"{quantile:g}", ordered[rank - 1]


def _quantiles(
    name: str, text: str, values: Iterable[float], quantiles: Sequence[float] = QUANTILES
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["quantile"])
    for quantile, value in _quantile_values(values, quantiles):
        family.add_metric([quantile], value)
    return family


def _labelled_counter(
    name: str, text: str, label: str, words: Iterable[str], counts: Mapping[str, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    # From zero on, because Prometheus does not see a series that begins at one as an increase.
    totals = Counter(dict.fromkeys(words, 0))
    for key, count in counts.items():
        # negotiation-failed:<which> counts with its family.
        totals[key.partition(":")[0]] += count
    for key, count in totals.items():
        family.add_metric([key], count)
    return family


def _labelled_gauge(name: str, text: str, label: str, words: Iterable[str], found: Iterable[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    counts = Counter(found)
    for word in words:
        family.add_metric([word], counts[word])
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
