"""Disks that run short, are full, or refuse: what is left out first, what stays, and who hears of it."""

import errno
import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from capture import RecordedMeeting
from media import decoded_frames, packet_times_ms
from meeting import Client
from network import Network

from bridge.base.counters import RecordingCounters
from bridge.base.words import RecordProblem, Source
from bridge.capture.disk import MB, DiskGuard, DiskLevel, Thresholds, Value
from bridge.capture.files import SessionFile, TrackFile
from bridge.capture.frames import Frame
from bridge.capture.writer import QUEUE_BYTES_MAX, QUEUE_SOUND_BYTES_MAX, TRACK_BYTES_MAX, Writer
from bridge.leg.encoding import Codec
from bridge.store.journal import EventKind, read_journal

Open = Callable[..., RecordedMeeting]
# The disk itself says that it is full, not the guard.
NOBODY = SessionFile(Path("nowhere"), is_new=True)
UNGUARDED = {"warn_free_mb": 0, "shed_free_mb": 0, "stop_free_mb": 0, "thumbnail_cameras": False}


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def open_meeting(network: Network) -> Iterator[Open]:
    meetings: list[RecordedMeeting] = []

    def open_one(folder: Path, **settings: Any) -> RecordedMeeting:
        meetings.append(RecordedMeeting(network, folder, **settings))
        return meetings[-1]

    yield open_one
    for meeting in meetings:
        meeting.close()


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def put_much(writer: Writer, size_bytes: int, *, is_sound: bool = False) -> None:
    """Fill the queue with frames of many tracks."""
    for start in range(0, size_bytes, TRACK_BYTES_MAX):
        file = TrackFile(NOBODY, "t001-a-camera", Codec.OPUS)
        frame = Frame([], 0, 0.0, min(TRACK_BYTES_MAX, size_bytes - start))
        assert writer.put_frame(frame.size_bytes, is_sound, file, 0, frame)


def watching(meeting: RecordedMeeting) -> Client:
    """Somebody who watches somebody, neither of them recorded."""
    hanoi = meeting.join("hanoi", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hanoi)
    return viewer


def fill(folder: Path, *, leaving_bytes: int) -> Path:
    """Take all but so many bytes of the disk."""
    path = folder / "filler"
    path.write_bytes(b"x" * (free_bytes(folder) - leaving_bytes))
    return path


def test_the_disk_is_told_to_run_short_step_by_step() -> None:
    guard = DiskGuard(Thresholds(warn_mb=1000, shed_mb=400, stop_mb=80))
    levels = [guard.measure(free * MB) for free in (2000, 999, 399, 319, 239, 159, 79, 0)]
    assert levels == [*DiskLevel, DiskLevel.FULL]
    assert [level.problem for level in DiskLevel] == [
        None,
        RecordProblem.DISK_LOW,
        *[RecordProblem.DISK_SHEDDING] * 4,
        RecordProblem.DISK_FULL,
    ]


def test_at_a_threshold_nothing_goes_to_and_fro() -> None:
    guard = DiskGuard(Thresholds(warn_mb=1000, shed_mb=400, stop_mb=80))
    assert guard.measure(399 * MB) is DiskLevel.SHED_THUMBNAILS
    assert guard.measure(401 * MB) is DiskLevel.SHED_THUMBNAILS
    assert guard.measure(399 * MB) is DiskLevel.SHED_THUMBNAILS
    assert guard.measure(421 * MB) is DiskLevel.LOW
    assert guard.measure(2000 * MB) is DiskLevel.ENOUGH


def test_voices_are_spared_until_nothing_is() -> None:
    spared = {level: [value for value in Value if level.spares(value)] for level in DiskLevel}
    assert spared[DiskLevel.LOW] == list(Value)
    assert spared[DiskLevel.SHED_THUMBNAILS] == [Value.CAMERA, Value.STAGE, Value.CONTENT, Value.VOICE]
    assert spared[DiskLevel.SHED_STAGE] == [Value.CONTENT, Value.VOICE]
    assert spared[DiskLevel.SHED_CONTENT] == [Value.VOICE]
    assert spared[DiskLevel.FULL] == []


def test_the_least_valuable_tracks_are_left_out_first(open_meeting: Open, disk: Path) -> None:
    meeting = open_meeting(disk / "recordings", warn_free_mb=3, shed_free_mb=3, stop_free_mb=1)
    meeting.film("hue")
    meeting.film("hanoi")
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(2.0)
    filler = fill(disk, leaving_bytes=2_300_000)
    meeting.run(3.0)
    assert meeting.observer.problems == [RecordProblem.DISK_SHEDDING]
    filler.unlink()
    meeting.run(3.0)
    assert meeting.observer.problems[-1] is None
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    shed = meeting.session.track("hanoi")
    (gap,) = shed.of("gap")
    assert gap["reason"] == "disk"
    first, second = shed.of("stream")
    assert gap["stream"] == 1
    assert gap["from_pts_ms"] == pytest.approx(packet_times_ms(shed.segments[0])[-1], abs=40)
    # The end of the gap is the beginning of what follows, on the first stream's time.
    assert gap["to_pts_ms"] == pytest.approx(second["at_ms"] - first["at_ms"], abs=60)
    spared = [meeting.session.track("hue"), meeting.session.track("hue", Source.MICROPHONE),
              meeting.session.track("hanoi", Source.MICROPHONE)]  # fmt: skip
    for track in spared:
        assert track.of("gap") == []
        assert len(track.of("stream")) == 1
    problems = [event.data for event in meeting.session.events if event.kind is EventKind.RECORDING_PROBLEM]
    assert problems[0] == {"problem": "disk-shedding"}


def test_below_the_last_threshold_all_recording_stops_and_goes_on_by_itself(
    open_meeting: Open, disk: Path
) -> None:
    meeting = open_meeting(disk / "recordings")
    meeting.film("hue")
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(2.0)
    filler = fill(disk, leaving_bytes=900_000)
    meeting.run(4.0)
    assert meeting.observer.problems[-1] is RecordProblem.DISK_FULL
    size_bytes = sum(path.stat().st_size for path in meeting.session.folder.rglob("*.mkv"))
    meeting.run(3.0)
    assert sum(path.stat().st_size for path in meeting.session.folder.rglob("*.mkv")) == size_bytes
    filler.unlink()
    meeting.run(4.0)
    assert meeting.observer.problems[-1] is None
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    for track in meeting.session.tracks():
        assert [gap["reason"] for gap in track.of("gap")] == ["disk"]
        assert len(track.of("stream")) == 2


@pytest.mark.parametrize("leaving_bytes", [0, 4096, 8192, 12_288, 24_576, 40_960, 65_536])
def test_a_disk_that_fills_up_anywhere_takes_nothing_that_was_there(
    open_meeting: Open, disk: Path, leaving_bytes: int
) -> None:
    meeting = open_meeting(disk / "recordings", segment_s=2, **UNGUARDED)
    meeting.film("hue")
    viewer = watching(meeting)
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(3.3)
    camera = meeting.session.track("hue")
    there = {path: packet_times_ms(path) for path in camera.segments}
    filler = fill(disk, leaving_bytes=leaving_bytes)
    meeting.run(12.0)
    assert meeting.observer.problems[0] is RecordProblem.DISK_FULL
    assert meeting.observer.failures == 0
    # The conference goes on, and what happens in it is not forgotten.
    meeting.recorder.note(EventKind.HAND, {"participant": "hue", "raised": True})
    assert viewer.receiver().longest_freeze_s(1004.0, meeting.network.now) < 0.5
    filler.unlink()
    meeting.run(8.0)
    assert meeting.observer.problems[-1] is None
    meeting.run(3.0)
    meeting.recorder.close("room-closed")
    meeting.run(2.0)
    assert meeting.archivable == [meeting.session.folder]
    camera = meeting.session.track("hue")
    for path, times in there.items():
        assert packet_times_ms(path)[: len(times)] == times
    for track in meeting.session.tracks():
        for path in track.segments:
            assert decoded_frames(path) == len(packet_times_ms(path)) > 0
        assert track.lines[-1]["k"] == "end"
        assert {gap["reason"] for gap in track.of("gap")} == {"disk"}
    assert_every_hole_is_in_the_log(camera)
    assert "hand" in meeting.session.kinds()
    assert [event.seq for event in meeting.session.events] == list(range(len(meeting.session.events)))


def assert_every_hole_is_in_the_log(track: Any) -> None:
    """Compare what is missing between the frames of the track with its gaps, on the server's time."""
    begun = {line["stream"]: line["at_ms"] for line in track.of("stream")}
    frames = sorted(
        begun[line["stream"]] + time
        for line in track.of("segment")
        if (track.folder / line["file"]).exists()
        for time in packet_times_ms(track.folder / line["file"])
    )
    gaps = [
        (begun[gap["stream"]] + gap["from_pts_ms"], begun[gap["stream"]] + gap["to_pts_ms"])
        for gap in track.of("gap")
    ]
    holes = [(before, after) for before, after in pairwise(frames) if after - before > 150]
    assert holes
    for before, after in holes:
        covered = before
        for start, end in sorted(gaps):
            if start <= covered + 100 < end:
                covered = end
        assert covered >= after - 150, (before, after, gaps)


def test_a_disk_that_is_full_from_the_start_only_delays_the_journal(open_meeting: Open, disk: Path) -> None:
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(disk) - 4096)
    (disk / "recordings").mkdir()
    meeting = open_meeting(disk / "recordings", **UNGUARDED)
    while free_bytes(disk):
        (disk / f"more-{free_bytes(disk)}").write_bytes(b"x" * 4096)
    meeting.film("hue")
    meeting.recorder.capture(True)
    meeting.run(3.0)
    meeting.recorder.note(EventKind.HAND, {"participant": "hue", "raised": True})
    assert meeting.observer.problems == [RecordProblem.DISK_FULL]
    filler.unlink()
    meeting.run(10.0)
    meeting.recorder.close("room-closed")
    meeting.run(2.0)
    kinds = meeting.session.kinds()
    assert kinds[0] == "session-opened"
    assert "hand" in kinds
    assert kinds[-1] == "session-closed"


def test_a_folder_that_refuses_fails_the_recording_once_and_nothing_else(
    open_meeting: Open, tmp_path: Path
) -> None:
    meeting = open_meeting(tmp_path / "recordings", thumbnail_cameras=False)
    meeting.film("hue")
    viewer = watching(meeting)
    meeting.run(1.0)
    # Where the folder of the tracks ought to be, there is a file.
    (meeting.session.folder / "tracks").touch()
    meeting.recorder.capture(True)
    meeting.run(3.0)
    assert meeting.observer.failures == 1
    assert meeting.recording_counters.recordings_failed == 1
    meeting.recorder.capture(True)
    meeting.run(1.0)
    assert meeting.observer.failures == 1
    # When it is well again, a moderator starts it anew in the same session.
    (meeting.session.folder / "tracks").unlink()
    assert meeting.recorder.retry()
    meeting.recorder.capture(True)
    meeting.run(3.0)
    assert meeting.observer.failures == 1
    assert meeting.session.tracks("*-hue-microphone")[-1].segments
    assert viewer.receiver().longest_freeze_s(1001.0, meeting.network.now) < 0.5


@pytest.mark.parametrize("reason", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_passes_leaves_a_gap_and_never_ends_the_recording(
    open_meeting: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    meeting = open_meeting(tmp_path / "recordings", segment_s=2, thumbnail_cameras=False)
    meeting.film("hue")
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(3.0)
    real, refusals = os.open, 0

    def refuse(*args: Any, **options: Any) -> int:
        nonlocal refusals
        refusals += 1
        raise OSError(reason, "for a moment")

    monkeypatch.setattr("bridge.capture.files.os.open", refuse)
    meeting.run(4.0)
    assert refusals
    assert meeting.starved
    assert set(meeting.observer.problems) <= {RecordProblem.WRITER_BEHIND, None}
    monkeypatch.setattr("bridge.capture.files.os.open", real)
    meeting.run(5.0)
    assert meeting.observer.failures == 0
    assert meeting.observer.problems[0] is RecordProblem.WRITER_BEHIND
    assert meeting.observer.problems[-1] is None
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    camera = meeting.session.track("hue")
    assert {gap["reason"] for gap in camera.of("gap")} == {"disk"}
    assert_every_hole_is_in_the_log(camera)
    assert packet_times_ms(camera.segments[-1])
    assert [event.seq for event in meeting.session.events] == list(range(len(meeting.session.events)))


def test_a_full_queue_leaves_out_pictures_before_sound_and_says_so(
    open_meeting: Open, tmp_path: Path
) -> None:
    meeting = open_meeting(tmp_path / "recordings")
    meeting.film("hue")
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(3.0)
    # A disk that does not answer: the thread takes nothing, and the queue is nearly full.
    written, meeting.writer.work = meeting.writer.work, lambda: None  # type: ignore[method-assign]
    put_much(meeting.writer, QUEUE_BYTES_MAX - 20_000)
    meeting.run(3.0)
    assert meeting.observer.problems == [RecordProblem.WRITER_BEHIND]
    meeting.writer.work = written  # type: ignore[method-assign]
    meeting.run(3.0)
    assert meeting.observer.problems == [RecordProblem.WRITER_BEHIND, None]
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    camera = meeting.session.track("hue")
    gap = max(camera.of("gap"), key=lambda gap: gap["to_pts_ms"] - gap["from_pts_ms"])
    assert {gap["reason"] for gap in camera.of("gap")} == {"overload"}
    assert gap["packets"] > 0
    assert gap["to_pts_ms"] - gap["from_pts_ms"] > 1000
    times = [time for path in camera.segments for time in packet_times_ms(path)]
    assert not [time for time in times if gap["from_pts_ms"] < time < gap["to_pts_ms"]]
    assert sum(decoded_frames(path) for path in camera.segments) == len(times)
    assert meeting.session.track("hue", Source.MICROPHONE).of("gap") == []
    assert meeting.recording_counters.queue_dropped > 0


def test_the_queue_is_bounded_for_sound_as_well(tmp_path: Path) -> None:
    counters = RecordingCounters()
    writer = Writer(tmp_path, flush_s=0.5, counters=counters)
    put_much(writer, QUEUE_BYTES_MAX)
    file, frame = TrackFile(NOBODY, "t001-a-microphone", Codec.OPUS), Frame([], 0, 0.0, 1)
    assert not writer.put_frame(1, False, file, 0, frame)
    put_much(writer, QUEUE_SOUND_BYTES_MAX - QUEUE_BYTES_MAX, is_sound=True)
    assert not writer.put_frame(1, True, file, 0, frame)
    assert counters.queue_dropped == 2
    writer.work()
    assert writer.queued_bytes == 0


def test_a_bug_in_one_job_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(tmp_path, flush_s=0.1, counters=RecordingCounters())
    session = SessionFile(tmp_path / "HC-BV-20270115-01", is_new=True)
    done: list[str] = []
    writer.open(session, lambda track, error: done.append(os.strerror(error.errno or errno.EIO)))
    writer.put(lambda: 1 / 0)
    writer.put(session.end)
    writer.when_written(session, lambda: done.append("written"))
    writer.start()
    writer.stop()
    writer.poll()
    assert done == ["written"]
    assert "ZeroDivisionError" in caplog.text
    assert read_journal(tmp_path / "HC-BV-20270115-01" / "journal.jsonl") == []


def test_a_bug_in_the_recorder_ends_the_recording_and_not_the_conference(
    open_meeting: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = open_meeting(tmp_path / "recordings")
    meeting.film("hue")
    viewer = watching(meeting)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    # Frames go to something that is no writer.
    meeting.recorder._around.writer._jobs = None  # type: ignore[assignment]
    jobs, meeting.has_thread = meeting.writer._jobs, True
    meeting.run(2.0)
    assert jobs is None
    assert meeting.observer.failures == 1
    assert "could not be recorded" in caplog.text
    assert viewer.receiver().longest_freeze_s(1001.5, meeting.network.now) < 0.5
    meeting.writer._jobs = deque()
    meeting.has_thread = False
    assert not any(
        encoding.tap
        for leg in meeting.router.legs.values()
        for publication in leg.publications()
        for encoding in publication.encodings.values()
    )
