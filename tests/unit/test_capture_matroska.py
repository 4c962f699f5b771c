"""Segments as others read them, whole and torn, and their repair."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media import decoded_frames, packet_times_ms, pictures, sounds

from bridge.capture.files import SegmentFile
from bridge.capture.frames import FrameBuffer, frame_data
from bridge.capture.matroska import BLOCK_MS_MAX, Cluster, TrackHeader
from bridge.capture.repair import repair_segment
from bridge.capture.scan import FileBytes, Scan
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
    segment.close()
    return ends


def scan(path: Path) -> Scan:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = Scan(FileBytes(descriptor))
        found.read_clusters()
    finally:
        os.close(descriptor)
    return found


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
    segment.close()
    assert packet_times_ms(path) == [number * 33 for number in range(30)]
    assert decoded_frames(path) == 30


def test_opus_is_read_back_and_decoded(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    segment = SegmentFile(path, TrackHeader(Codec.OPUS))
    for number, data in enumerate(sounds()):
        segment.add(number * 20, data, is_keyframe=True)
    segment.flush()
    segment.finish()
    segment.close()
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
    layout = scan(path).layout
    assert layout is not None
    head_bytes = layout.head_bytes
    cut = round(share * len(data))
    torn.write_bytes(data[:cut])
    newest_ms = repair_segment(torn)
    times = packet_times_ms(torn) if torn.exists() else []
    # Not a whole frame less than what is there.
    following = sum(len(one.data) + 8 for one in pictures("vp8", count=30)[: len(times) + 1])
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
    assert layout is not None
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=600))
def test_scanning_bytes_of_any_kind_ends(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "1.mkv"
    path.write_bytes(data)
    assert scan(path).whole_bytes <= len(data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1_000_000), value=st.integers(0, 255), is_finished=st.booleans())
def test_a_damaged_byte_anywhere_costs_no_more_than_the_last_cluster(
    tmp_path: Path, place: int, value: int, is_finished: bool
) -> None:
    whole, path = tmp_path / f"whole-{is_finished}.mkv", tmp_path / "damaged.mkv"
    if not whole.exists():
        vp8_segment(whole, is_finished=is_finished)
    data = bytearray(whole.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    (tmp_path / "damaged" / path.name).unlink(missing_ok=True)
    repair_segment(path)
    if not path.exists():
        assert (tmp_path / "damaged" / path.name).read_bytes() == data
        return
    layout = scan(whole).layout
    assert layout is not None
    repaired = path.read_bytes()
    last_cluster = data.rindex(b"\x1f\x43\xb6\x75", 0, len(data) - 20)
    assert len(repaired) >= (last_cluster if place % len(data) >= last_cluster else len(data))
    # All else is as it was, but for what is filled in.
    behind = min(len(repaired), last_cluster)
    assert repaired[layout.head_bytes : behind] == data[layout.head_bytes : behind]


@pytest.mark.parametrize("is_finished", [False, True])
def test_what_follows_a_damaged_cluster_is_still_read(tmp_path: Path, is_finished: bool) -> None:
    path = tmp_path / "1.mkv"
    ends = vp8_segment(path, is_finished=is_finished)
    data = bytearray(path.read_bytes())
    # The id of the second cluster.
    data[ends[1]] ^= 0xFF
    path.write_bytes(data)
    assert repair_segment(path) == 29 * 33
    assert len(path.read_bytes()) == len(data)
    times = packet_times_ms(path)
    assert set(times) == {number * 33 for number in range(30) if not 8 <= number < 16}
    assert scan(path).holes == [(7 * 33, 16 * 33)]


def test_a_segment_whose_head_is_damaged_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "1.mkv"
    vp8_segment(path, is_finished=False)
    data = bytearray(path.read_bytes())
    data[0] ^= 0x01
    path.write_bytes(data)
    repair_segment(path)
    assert not path.exists()
    assert (tmp_path / "damaged" / "1.mkv").read_bytes() == data
