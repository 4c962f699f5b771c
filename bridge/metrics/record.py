"""What recording and archive have done, and are at."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bridge.archive.work.supervisor import ArchiveStatus
from bridge.base.counters import ArchiveCounters, GapReason, RecordingCounters
from bridge.base.words import PackageState, RecordingState, RecordProblem
from bridge.confinement.processes import offered
from bridge.messages.objects import RecordingStatus
from bridge.metrics.families import histogram_family, labelled_counter, labelled_gauge

# Attribute, metric name without `_total`, help.
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
        yield labelled_gauge(
            "hoichan_recordings",
            "Rooms by what their recording does now.",
            "state",
            [state.value for state in RecordingState],
            (status.state.value for status in recordings),
        )
        yield labelled_gauge(
            "hoichan_recording_problems",
            "Rooms whose recording is threatened or harmed now, and by what.",
            "problem",
            [problem.value for problem in RecordProblem],
            (status.problem.value for status in recordings if status.problem is not None),
        )
        yield labelled_counter(
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
        yield histogram_family(
            "hoichan_recording_sync_seconds", "Waiting for the disk of the recordings.", recording.sync_s
        )

    def _collect_archive(self) -> Iterator[Metric]:
        status = self._status()
        for attribute, name, text in _ARCHIVE_COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(self._archive, attribute))
        for attribute, name, text in _ARCHIVE_GAUGES:
            yield GaugeMetricFamily(name, text, value=float(getattr(status, attribute)))
        deliveries = {"ok": self._archive.deliveries, "failed": self._archive.deliveries_failed}
        yield labelled_counter(
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
