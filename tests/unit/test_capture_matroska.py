"""Segments as others read them, whole and torn, and their repair."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media import decoded_frames, packet_times_ms, pictures, sounds

from bridge.capture.files import SegmentFile
from bridge.capture.frames import FrameBuffer, frame_data
from bridge.capture.matroska import BLOCK_MS_MAX, Cluster, Scan, TrackHeader
from bridge.capture.repair import repair_segment
from bridge.leg.encoding import Codec
from tests.unit.test_media_frames import h264, hopeful

CLUSTER_FRAMES = 8


def vp8_segment(path: Path, *, count: int = 30, is_finished: bool = True, start_ms: int = 0) -> list[int]:
    """Write a segment of real pictures; return where its clusters end."""
    segment = SegmentFile(path, TrackHeader(Codec.VP8, 320, 180))
    ends = [path.stat().st_size]
    for number, one in enumerate(pictures("vp8", count=count)):
        segment.add(start_ms + number * 33, one.data, is_keyframe=one.is_keyframe)
        if number % CLUSTER_FRAMES == CLUSTER_FRAMES - 1:
            segment.flush()
            ends.append(path.stat().st_size)
    segment.flush()
    if path.stat().st_size != ends[-1]:
        ends.append(path.stat().st_size)
    if is_finished:
        segment.finish()
    else:
        segment.close()
    return ends


def scan(path: Path) -> Scan:
    return Scan(memoryview(path.read_bytes()))


def test_vp8_is_read_back_and_decoded(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    vp8_segment(path, start_ms=60_000)
    assert packet_times_ms(path) == [60_000 + number * 33 for number in range(30)]
    assert decoded_frames(path) == 30


def test_h264_is_read_back_and_decoded(tmp_path: Path) -> None:
    buffer = FrameBuffer(Codec.H264, is_hoped=hopeful)
    buffer.start(100)
    frames = [
        frame
        for packet in h264([one.data for one in pictures("h264")])
        for frame in buffer.receive(packet, 0.0)
    ]
    path = tmp_path / "1.mkv"
    first = frames[0]
    segment = SegmentFile(path, TrackHeader(Codec.H264, 320, 180, first.parameter_sets))
    for number, frame in enumerate(frames):
        segment.add(number * 33, frame_data(Codec.H264, frame.packets), is_keyframe=frame.is_keyframe)
    segment.flush()
    segment.finish()
    assert packet_times_ms(path) == [number * 33 for number in range(30)]
    assert decoded_frames(path) == 30


def test_opus_is_read_back_and_decoded(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    segment = SegmentFile(path, TrackHeader(Codec.OPUS))
    for number, data in enumerate(sounds()):
        segment.add(number * 20, data, is_keyframe=True)
    segment.flush()
    segment.finish()
    assert packet_times_ms(path) == [number * 20 for number in range(len(sounds()))]
    assert decoded_frames(path) == len(sounds())


def test_a_segment_that_is_still_open_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    vp8_segment(path, is_finished=False)
    assert decoded_frames(path) == 30


def test_times_that_do_not_fit_into_a_cluster_are_refused(tmp_path: Path) -> None:
    cluster = Cluster()
    assert cluster.takes(5_000_000)
    cluster.add(5_000_000, b"x", is_keyframe=True)
    assert cluster.takes(5_000_000 + BLOCK_MS_MAX)
    assert not cluster.takes(5_000_001 + BLOCK_MS_MAX)
    # Pictures that are shown before one that comes earlier.
    assert cluster.takes(4_999_900)
    assert cluster.take() != b""
    assert cluster.take() == b""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_torn_anywhere_everything_up_to_the_tear_is_kept(tmp_path: Path, share: float) -> None:
    path, torn = tmp_path / "whole.mkv", tmp_path / "torn.mkv"
    if not path.exists():
        vp8_segment(path, is_finished=False)
    data = path.read_bytes()
    head_bytes = scan(path).layout.head_bytes
    cut = round(share * len(data))
    torn.write_bytes(data[:cut])
    newest_ms = repair_segment(torn)
    times = packet_times_ms(torn) if torn.exists() else []
    # Not a whole frame less than what is there.
    following = sum(len(one.data) + 8 for one in pictures("vp8")[: len(times) + 1])
    assert cut - head_bytes < following + 16 * (len(times) // CLUSTER_FRAMES + 2)
    assert newest_ms == (times[-1] if times else None)
    if not times:
        return
    assert scan(torn).is_finished
    assert times == [number * 33 for number in range(len(times))]
    assert decoded_frames(torn) == len(times)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 100, b"\x1f\x43\xb6\x75", b"\xa3\x80garbage"])
def test_rubbish_at_the_end_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "1.mkv"
    ends = vp8_segment(path, is_finished=False)
    with path.open("ab") as file:
        file.write(tail)
    repair_segment(path)
    assert path.stat().st_size == ends[-1]
    assert decoded_frames(path) == 30


def test_repairing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    ends = vp8_segment(path, is_finished=False)
    data = path.read_bytes()
    for cut in ((ends[1] + ends[2]) // 2, ends[2], ends[3] + 20):
        path.write_bytes(data[:cut])
        newest_ms = repair_segment(path)
        once = path.read_bytes()
        assert repair_segment(path) == newest_ms
        assert path.read_bytes() == once


def test_a_repair_that_was_killed_itself_is_done_again(tmp_path: Path) -> None:
    path, other = tmp_path / "1.mkv", tmp_path / "2.mkv"
    ends = vp8_segment(path, is_finished=False)
    data = path.read_bytes()[: (ends[1] + ends[2]) // 2]
    path.write_bytes(data)
    torn = scan(path).torn
    assert torn is not None
    repair_segment(path)
    whole = path.read_bytes()
    # Killed after the truncation, after the cluster's size, after the duration.
    layout = scan(path).layout
    truncated = data[: torn.end]
    resized = (
        truncated[: torn.size_at] + whole[torn.size_at : torn.size_at + 4] + truncated[torn.size_at + 4 :]
    )
    told = resized[: layout.duration_at] + whole[layout.duration_at : layout.duration_at + 11]
    told += resized[layout.duration_at + 11 :]
    for state in (truncated, resized, told):
        other.write_bytes(state)
        repair_segment(other)
        assert other.read_bytes() == whole


def test_a_whole_segment_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    vp8_segment(path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert repair_segment(path) == 29 * 33
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@given(data=st.binary(max_size=300))
def test_scanning_bytes_of_any_kind_ends(data: bytes) -> None:
    assert Scan(memoryview(data)).whole_bytes <= len(data)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_costs_at_most_what_follows(tmp_path: Path, place: int, value: int) -> None:
    path = tmp_path / "1.mkv"
    if not path.exists():
        vp8_segment(path, count=10)
        shutil.copy(path, tmp_path / "2.mkv")
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    seen = Scan(memoryview(bytes(data)))
    assert seen.whole_bytes <= len(data)
