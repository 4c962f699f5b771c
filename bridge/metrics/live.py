"""What the conferences of this node are at: media port, legs, rooms, signalling."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.api.signalling import Signalling
from bridge.base.counters import PortCounters, SessionCounters, SfuCounters
from bridge.base.words import Source, Weakness
from bridge.conference.participants import LeaveReason
from bridge.conference.roles import ROOM_ROLES
from bridge.leg.leg import LegStats
from bridge.media.protection import DISTANCE_MAX
from bridge.messages.texts import ERRORS
from bridge.metrics.families import (
    QUANTILES,
    histogram_family,
    labelled_counter,
    labelled_gauge,
    quantile_values,
    quantiles,
)
from bridge.rooms import Rooms

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
        yield histogram_family(
            "hoichan_forwarding_latency_seconds",
            "From the kernel's receive stamp to the return of the call that sent the copies.",
            self._sfu.forwarding_latency_s,
        )

    def _collect_session(self) -> Iterator[Metric]:
        session = self._session
        yield CounterMetricFamily("hoichan_joins", "Participants admitted to a room.", value=session.joins)
        yield labelled_counter(
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
        yield labelled_counter(
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
        yield histogram_family(
            "hoichan_join_latency_seconds",
            "From the join message to the participant's first connected transport.",
            session.join_latency_s,
        )
        yield histogram_family(
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
        yield labelled_gauge(
            "hoichan_participants",
            "Participants in all conferences now.",
            "role",
            [role.value for role in ROOM_ROLES],
            (participant.role.value for participant in participants),
        )

        yield labelled_gauge(
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
        yield labelled_gauge(
            "hoichan_legs",
            "Participants' media connections by protocol; none: not connected yet.",
            "protocol",
            PROTOCOLS,
            (item.protocol or "none" for item in statistics),
        )
        yield labelled_gauge(
            "hoichan_publications",
            "Publications with packets arriving now.",
            "source",
            [source.value for source in Source],
            (source.value for leg in legs for source in Source if _is_arriving(leg.publication(source))),
        )
        yield quantiles(
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


def _collect_statistics(statistics: Sequence[LegStats]) -> Iterator[Metric]:
    connected = [item for item in statistics if item.protocol is not None]
    round_trips_s = [item.rtt_ms / 1000 for item in connected if item.rtt_ms is not None]
    yield quantiles("hoichan_rtt_seconds", "Round trip to connected legs, over the legs.", round_trips_s)
    loss = GaugeMetricFamily(
        "hoichan_loss_ratio",
        "Share of packets lost (0 to 1), over the connected legs; up: from clients, down: to clients.",
        labels=["direction", "quantile"],
    )
    for direction, ratios in (
        ("up", [item.loss_up for item in connected]),
        ("down", [item.loss_down for item in connected]),
    ):
        for quantile, value in quantile_values(ratios, QUANTILES):
            loss.add_metric([direction, quantile], value)
    yield loss
    yield GaugeMetricFamily(
        "hoichan_media_received_bytes_per_second",
        "Media arriving from all legs now.",
        value=sum(item.received_bps for item in connected) / 8,
    )
    yield labelled_gauge(
        "hoichan_voice_slots",
        "Voices that are sent now, by their redundancy: how many packets come once more with each one.",
        "distance",
        [str(distance) for distance in range(DISTANCE_MAX + 1)],
        (str(distance) for item in connected for distance in item.voice_distances),
    )
    yield quantiles(
        "hoichan_available_bytes_per_second",
        "What the bridge believes that legs can receive, over the connected legs; 0 is the thinnest line.",
        [item.available_bps / 8 for item in connected],
        LOW_QUANTILES,
    )
    yield quantiles(
        "hoichan_media_sent_bytes_per_second",
        "What each connected leg is sent now, retransmissions left out.",
        [item.sent_bps / 8 for item in connected],
    )
    waits_s = [item.queue_s for item in connected if item.queue_s is not None]
    yield quantiles(
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
