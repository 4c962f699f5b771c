"""`bridge/metrics`: what a scrape says, and what it must never say."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge.archive.work.supervisor import ArchiveStatus
from bridge.base.counters import (
    ArchiveCounters,
    DropReason,
    GapReason,
    PortCounters,
    RecordingCounters,
    SessionCounters,
    SfuCounters,
)
from bridge.base.words import (
    ConferenceKind,
    PackageState,
    RecordingState,
    RecordProblem,
    Role,
    Source,
    Weakness,
)
from bridge.conference.conditions import SiteConditions
from bridge.conference.roles import ROOM_ROLES
from bridge.confinement import seccomp
from bridge.messages import Condition
from bridge.messages.objects import RecordingStatus
from bridge.messages.texts import ERRORS
from bridge.metrics import BridgeCollector, RecordCollector, registry
from tests.unit.conference import Conference, FakeChannel


def leg(keyframe_interval_s: float | None = None, **statistics: Any) -> Any:
    values = {
        "rtt_ms": None,
        "loss_up": 0.0,
        "loss_down": 0.0,
        "received_bps": 0,
        "available_bps": 0,
        "voice_distances": [],
        "sent_bps": 0,
        "queue_s": None,
        "protocol": None,
    }
    encoding = SimpleNamespace(keyframe_interval_s=keyframe_interval_s)
    camera = SimpleNamespace(is_arriving=True, encodings={"": encoding})
    return SimpleNamespace(
        snapshot=lambda: SimpleNamespace(**{**values, **statistics}),
        publication=lambda source: camera if source is Source.CAMERA else None,
    )


def participant(
    site: str,
    role: Role,
    its_leg: Any,
    *,
    is_connected: bool = True,
    is_device: bool = False,
    unsupported_count: int = 0,
) -> Any:
    return SimpleNamespace(
        site=site,
        role=role,
        leg=its_leg,
        is_connected=is_connected,
        is_device=is_device,
        unsupported_count=unsupported_count,
        claims=SimpleNamespace(room="hội chẩn bệnh nhân Nguyễn Văn A"),
        name="BS. Trần Thị B",
    )


class Scrape:
    """A collector over state of the test's choice, and the samples it yields."""

    def __init__(self) -> None:
        self.port = PortCounters()
        self.sfu = SfuCounters()
        self.session = SessionCounters()
        self.conditions = SiteConditions(self.session)
        self.recording = RecordingCounters()
        self.archive = ArchiveCounters()
        self.recordings: list[RecordingStatus] = []
        self.archive_status = ArchiveStatus()
        self.participants: list[Any] = []

    @property
    def text(self) -> str:
        people = dict(enumerate(self.participants))
        rooms: Any = SimpleNamespace(
            rooms={"hội chẩn": SimpleNamespace(participants=people, conditions=self.conditions)}
        )
        signalling: Any = SimpleNamespace(sockets=len(people))
        collector = BridgeCollector(
            port_counters=self.port,
            sfu_counters=self.sfu,
            session_counters=self.session,
            rooms=rooms,
            signalling=signalling,
            receive_overflows=lambda: 17,
            connections=lambda: 23,
        )
        record_collector = RecordCollector(
            recording=self.recording,
            archive=self.archive,
            recordings=lambda: self.recordings,
            status=lambda: self.archive_status,
            thresholds_bytes={"warn": 10_000, "shed": 4_000, "stop": 500},
        )
        return generate_latest(registry(collector, record_collector)).decode()

    def value(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


@pytest.fixture
def scrape() -> Scrape:
    return Scrape()


def test_every_plain_counter_reaches_the_scrape(scrape: Scrape) -> None:
    plain = [
        (counters, name)
        for counters in (scrape.port, scrape.sfu, scrape.session, scrape.recording, scrape.archive)
        for name, value in vars(counters).items()
        if isinstance(value, int)
    ]
    for number, (counters, name) in enumerate(plain, start=1_000_001):
        setattr(counters, name, number)
    found = {
        sample.value for family in text_string_to_metric_families(scrape.text) for sample in family.samples
    }
    missing = [name for number, (_, name) in enumerate(plain, start=1_000_001) if number not in found]
    assert missing == []


def test_drops_are_told_by_place_and_reason(scrape: Scrape) -> None:
    scrape.port.dropped[DropReason.UNKNOWN_UFRAG] = 7
    scrape.sfu.dropped[DropReason.DUPLICATE] = 8
    assert scrape.value("hoichan_packets_dropped_total", at="port", reason="unknown-ufrag") == 7
    assert scrape.value("hoichan_packets_dropped_total", at="sfu", reason="duplicate") == 8


def test_what_the_kernel_dropped_is_told(scrape: Scrape) -> None:
    assert scrape.value("hoichan_port_receive_overflows_total") == 17


def test_refusals_are_counted_by_family_of_codes(scrape: Scrape) -> None:
    scrape.session.joins_refused.update(
        {"negotiation-failed:a": 1, "negotiation-failed:b": 2, "room-full": 4}
    )
    assert scrape.value("hoichan_joins_refused_total", code="negotiation-failed") == 3
    assert scrape.value("hoichan_joins_refused_total", code="room-full") == 4


def test_refusals_and_departures_start_at_zero(scrape: Scrape) -> None:
    assert scrape.value("hoichan_joins_refused_total", code="expired-token") == 0
    assert scrape.value("hoichan_leaves_total", reason="media-lost") == 0


def test_a_histogram_is_cumulative_and_ends_in_infinity(scrape: Scrape) -> None:
    histogram = scrape.sfu.forwarding_latency_s
    histogram.observe(0.0001, 3)
    histogram.observe(0.004)
    histogram.observe(9.0)
    name = "hoichan_forwarding_latency_seconds"
    assert scrape.value(f"{name}_bucket", le="0.0002") == 3
    assert scrape.value(f"{name}_bucket", le="0.005") == 4
    assert scrape.value(f"{name}_bucket", le="+Inf") == 5
    assert scrape.value(f"{name}_count") == 5
    assert scrape.value(f"{name}_sum") == pytest.approx(9.0043)


def test_people_and_points_are_counted(scrape: Scrape) -> None:
    scrape.participants = [
        participant("A", Role.CHAIR, leg(protocol="udp")),
        participant("A", Role.EXPERT, leg(protocol="tcp")),
        participant("B", Role.EXPERT, leg(), is_connected=False),
        participant("C", Role.OBSERVER, None),
    ]
    assert scrape.value("hoichan_participants", role="expert") == 2
    assert scrape.value("hoichan_participants", role="secretary") == 0
    assert scrape.value("hoichan_points") == 2
    assert [scrape.value("hoichan_legs", protocol=protocol) for protocol in ("udp", "tcp", "none")] == [
        1,
        1,
        1,
    ]
    assert scrape.value("hoichan_publications", source="camera") == 3
    assert scrape.value("hoichan_publications", source="content") == 0


def test_the_key_frames_of_devices_are_timed_and_not_those_of_browsers(scrape: Scrape) -> None:
    scrape.participants = [
        participant("A", Role.CHAIR, leg(keyframe_interval_s=600.0)),
        participant("B", Role.PRESENTER, leg(keyframe_interval_s=2.0), is_device=True),
        participant("C", Role.PRESENTER, leg(keyframe_interval_s=10.0), is_device=True),
        participant("D", Role.PRESENTER, leg(), is_device=True),
    ]
    name = "hoichan_device_keyframe_interval_seconds"
    assert scrape.value(name, quantile="1") == 10.0
    assert scrape.value(name, quantile="0.5") == 2.0


def test_what_pages_tell_of_themselves_is_counted_without_their_names(scrape: Scrape) -> None:
    scrape.conditions.told("p-1", Condition(Weakness.UP, 2, 3500, 20_000, 400))
    scrape.conditions.told("p-2", Condition(Weakness.UP))
    scrape.conditions.told("p-3", Condition(Weakness.PROCESSOR))
    scrape.conditions.told("p-3", Condition(None))
    assert scrape.value("hoichan_participants_weak", weakness="up") == 2
    assert scrape.value("hoichan_participants_weak", weakness="processor") == 0
    assert scrape.value("hoichan_client_freezes_total") == 2
    assert scrape.value("hoichan_client_frozen_seconds_total") == 3.5
    assert scrape.value("hoichan_client_heard_seconds_total") == 20
    assert scrape.value("hoichan_client_concealed_seconds_total") == pytest.approx(0.4)
    assert "p-1" not in scrape.text


def test_pictures_that_cannot_be_shown_are_counted(scrape: Scrape) -> None:
    scrape.participants = [
        participant("A", Role.CHAIR, leg(), unsupported_count=2),
        participant("B", Role.OBSERVER, leg(), unsupported_count=1),
    ]
    assert scrape.value("hoichan_slots_unsupported") == 3


def test_quality_is_told_as_quantiles_over_the_connected_legs(scrape: Scrape) -> None:
    scrape.participants = [
        participant(
            str(n), Role.EXPERT, leg(protocol="udp", rtt_ms=10.0 * n, loss_up=n / 100, received_bps=8 * n)
        )
        for n in range(1, 11)
    ]
    scrape.participants.append(participant("new", Role.EXPERT, leg(rtt_ms=5000.0)))
    assert scrape.value("hoichan_rtt_seconds", quantile="0.5") == pytest.approx(0.05)
    assert scrape.value("hoichan_rtt_seconds", quantile="1") == pytest.approx(0.1)
    assert scrape.value("hoichan_loss_ratio", direction="up", quantile="0.95") == pytest.approx(0.1)
    assert scrape.value("hoichan_media_received_bytes_per_second") == 55


def test_the_redundancy_of_voices_is_told_by_distance(scrape: Scrape) -> None:
    scrape.participants = [
        participant("A", Role.CHAIR, leg(protocol="udp", voice_distances=[2, 2, 0])),
        participant("B", Role.EXPERT, leg(protocol="tcp", voice_distances=[0])),
        participant("C", Role.EXPERT, leg(voice_distances=[1])),
    ]
    distances = [scrape.value("hoichan_voice_slots", distance=distance) for distance in "012"]
    assert distances == [2, 0, 2]


def test_without_legs_there_is_no_quality_to_tell(scrape: Scrape) -> None:
    assert scrape.value("hoichan_rtt_seconds", quantile="0.5") is None
    assert scrape.value("hoichan_legs", protocol="udp") == 0


def test_names_carry_the_prefix_and_base_units(scrape: Scrape) -> None:
    own = [
        family.name
        for family in text_string_to_metric_families(scrape.text)
        if not family.name.startswith(("process_", "python_"))
    ]
    assert all(name.startswith("hoichan_") for name in own)
    assert [name for name in own if re.search(r"_(ms|msec|kb|mb|kbps|bps|percent)(_|$)", name)] == []


def test_nobodys_name_is_in_a_label(scrape: Scrape) -> None:
    scrape.participants = [participant("Bệnh viện Đa khoa tỉnh", Role.CHAIR, leg(protocol="udp"))]
    labels = {
        value
        for family in text_string_to_metric_families(scrape.text)
        if family.name.startswith("hoichan_")
        for sample in family.samples
        for value in sample.labels.values()
    }
    assert all(re.fullmatch(r"[a-z0-9.+Inf-]+", value) for value in labels), labels


def test_the_number_of_series_does_not_grow_with_rooms_and_people(scrape: Scrape) -> None:
    def series() -> set[tuple[str, ...]]:
        return {
            (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items())))
            for family in text_string_to_metric_families(scrape.text)
            for sample in family.samples
        }

    scrape.participants = [participant("Trạm Y tế", role, leg(protocol="udp")) for role in ROOM_ROLES]
    few = series()
    scrape.participants = [
        participant(f'Điểm cầu "{number}" \\ \n', role, leg(protocol="udp"))
        for number in range(400)
        for role in ROOM_ROLES
    ]
    assert series() == few


def test_rooms_are_told_by_what_their_recording_does(scrape: Scrape) -> None:
    scrape.recordings = [
        RecordingStatus(state, None, None, None, problem, 0)
        for state, problem in (
            (RecordingState.RECORDING, RecordProblem.DISK_FULL),
            (RecordingState.RECORDING, None),
            (RecordingState.PAUSED, None),
        )
    ]
    assert scrape.value("hoichan_recording_problems", problem="disk-full") == 1
    assert scrape.value("hoichan_recording_problems", problem="disk-low") == 0
    assert scrape.value("hoichan_recordings", state="recording") == 2
    assert scrape.value("hoichan_recordings", state="paused") == 1
    assert scrape.value("hoichan_recordings", state="failed") == 0


def test_the_disk_tells_where_the_settings_draw_its_lines(scrape: Scrape) -> None:
    assert scrape.value("hoichan_recording_disk_threshold_bytes", level="shed") == 4_000


def test_gaps_of_recordings_are_told_by_reason(scrape: Scrape) -> None:
    scrape.recording.gaps[GapReason.DISK] = 3
    assert scrape.value("hoichan_recording_gaps_total", reason="disk") == 3
    assert scrape.value("hoichan_recording_gaps_total", reason="loss") == 0


def test_the_archive_tells_where_it_stands(scrape: Scrape) -> None:
    scrape.archive.deliveries_failed = 4
    scrape.archive_status = ArchiveStatus(
        is_available=True,
        packages={PackageState.FAILED: 2},
        damaged=1,
        undecided=2,
        backlog_s=90.0,
        delivery_waiting_s=7200.0,
        check_overdue_s=86400.0,
        waits_for_room=True,
        free_bytes=5_000_000,
        progress=0.25,
        realtime_factor=3.5,
    )
    assert scrape.value("hoichan_archive_available") == 1
    assert scrape.value("hoichan_archive_packages", state="failed") == 2
    assert scrape.value("hoichan_archive_packages", state="sealed") == 0
    assert scrape.value("hoichan_archive_packages_damaged") == 1
    assert scrape.value("hoichan_archive_packages_undecided") == 2
    assert scrape.value("hoichan_archive_backlog_seconds") == 90
    assert scrape.value("hoichan_archive_delivery_waiting_seconds") == 7200
    assert scrape.value("hoichan_archive_check_overdue_seconds") == 86400
    assert scrape.value("hoichan_archive_waiting_for_disk") == 1
    assert scrape.value("hoichan_archive_disk_free_bytes") == 5_000_000
    assert scrape.value("hoichan_archive_compose_progress_ratio") == 0.25
    assert scrape.value("hoichan_archive_realtime_factor") == 3.5
    assert scrape.value("hoichan_archive_confined", by="seccomp") == seccomp.is_available()
    assert scrape.value("hoichan_archive_deliveries_total", outcome="failed") == 4
    assert scrape.value("hoichan_archive_deliveries_total", outcome="ok") == 0


def test_all_that_the_archive_tells_is_on_the_dashboard(scrape: Scrape) -> None:
    scrape.archive_status = ArchiveStatus(is_available=True, packages=dict.fromkeys(PackageState, 0))
    told = {family.name for family in text_string_to_metric_families(scrape.text)}
    dashboard = (Path(__file__).parents[2] / "configs" / "grafana" / "bridge.json").read_text(
        encoding="utf-8"
    )
    shown = {name.removesuffix("_total") for name in re.findall(r"\bhoichan_[a-z_]+", dashboard)}
    assert {name for name in told if name.startswith("hoichan_archive_")} <= shown


def test_an_archive_that_has_not_begun_is_told_as_such(scrape: Scrape) -> None:
    assert scrape.value("hoichan_archive_available") == 0
    assert scrape.value("hoichan_archive_packages", state="failed") == 0


def test_refused_devices_are_counted_by_endpoint_and_family_of_code(scrape: Scrape) -> None:
    scrape.session.devices_refused["whip", "negotiation-failed"] = 2
    name = "hoichan_devices_refused_total"
    assert scrape.value(name, endpoint="whip", code="negotiation-failed") == 2
    assert scrape.value(name, endpoint="whep", code="invalid-token") == 0
    assert "unsupported-media-type" in ERRORS


def test_two_hundred_rooms_with_any_title_make_no_series_more() -> None:
    conference = Conference(rooms_max=1000)
    scrape = Scrape()

    def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        signalling: Any = SimpleNamespace(sockets=0)
        collector = BridgeCollector(
            port_counters=scrape.port,
            sfu_counters=scrape.sfu,
            session_counters=conference.counters,
            rooms=conference.rooms,
            signalling=signalling,
            receive_overflows=lambda: 0,
            connections=lambda: 0,
        )
        text = generate_latest(registry(collector)).decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    conference.knock(Role.CHAIR)
    before = series()
    for number in range(200):
        title = f'Hội chẩn "{number}"\\ BN Nguyễn Văn A {{room="x"}}'
        room = conference.rooms.open(f"r-{number + 2}", title, ConferenceKind.CONSULTATION)
        for role in ROOM_ROLES:
            claims = replace(conference.claims(role, f"Bệnh viện {number}"), room=room.id, title=title)
            room.join(claims, 'BS. "A"', FakeChannel())
    assert conference.counters.joins >= 200
    assert series() == before
