"""What crashes, bad disks and networks leave: it is told, and the rest is composed."""

from pathlib import Path

import pytest
from compositions import composed, is_colour, level, pictures, sound
from recordings import START_MS, VIET_DUC, plain_recording

from bridge.store.journal import EventKind


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 3])
    else:
        for place in range(40, len(data), 7):
            data[place] ^= 0x55
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "flipped"])
@pytest.mark.parametrize("source", ["camera", "microphone"])
def test_damaged_segment_costs_itself_and_is_told(tmp_path: Path, how: str, source: str) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    camera = recording.camera(VIET_DUC, 0.5, 5.0, segment_s=1.5)
    microphone = recording.microphone(VIET_DUC, 0.5, 5.0, segment_s=1.5)
    recording.finish_case(5, "C01")
    session = recording.write()
    track = camera if source == "camera" else microphone
    damage(track.folder / "00002.mkv", how)
    made = composed(session, tmp_path)
    (gap,) = made.gaps
    assert (gap.track, gap.source, gap.reason) == (track.name, source, "damaged")
    assert START_MS + 1900 < gap.start_ms < START_MS + 3000
    assert abs(gap.end_ms - START_MS - 3520) < 60
    assert is_colour(pictures(made)[100], VIET_DUC.colour)
    assert level(sound(made)[round(3.2 * 48_000) : round(4.2 * 48_000)], VIET_DUC.tone_hz) > 0.2


def test_logged_gaps_are_told_in_server_time_within_the_spans(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    track = recording.camera(VIET_DUC, 0.5, 3.0)
    for start, end in ((500, 900), (2300, 9000)):
        track.log("gap", stream=1, from_pts_ms=start, to_pts_ms=end, packets=9, reason="loss")
    recording.finish_case(3, "C01")
    made = composed(recording.write(), tmp_path)
    assert [gap.reason for gap in made.gaps] == ["loss", "loss"]
    times = [time_ms - START_MS for gap in made.gaps for time_ms in (gap.start_ms, gap.end_ms)]
    assert times == pytest.approx([1020, 1420, 2820, 3000], abs=2)


def test_crash_ends_with_the_last_frame_and_the_outage_is_told(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.note(1.5, EventKind.HAND, participant=VIET_DUC.participant, raised=True)
    camera = recording.camera(VIET_DUC, 0.5, 3.5, is_torn=True)
    recording.note(20, EventKind.SESSION_RESUMED, after_ms=recording.at_ms(1.5))
    recording.join(20.5, VIET_DUC)
    recording.state(21, "recording", case="C01")
    recording.camera(VIET_DUC, 21, 23, picture=lambda _: (60, 60, 200))
    recording.finish_case(23, "C01")
    made = composed(recording.write(), tmp_path)
    shown = pictures(made)
    # Three seconds, of which the journal knows one; the card; two more seconds.
    assert abs(len(shown) - (75 + 50 + 50)) <= 2
    assert is_colour(shown[70], VIET_DUC.colour)
    assert is_colour(shown[-20], (60, 60, 200))
    (gap,) = made.gaps
    assert (gap.track, gap.reason, gap.end_ms) == (camera.name, "crash", START_MS + 20_000)
    assert abs(gap.start_ms - START_MS - 3480) < 60


def test_torn_lines_and_files_of_a_crash_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    camera = recording.camera(VIET_DUC, 0.5, 3.5, is_torn=True, segment_s=10)
    recording.note(3.5, EventKind.SESSION_CLOSED, reason="interrupted")
    session = recording.write()
    with (camera.folder / "track.jsonl").open("ab") as log:
        log.write(b'{"k":"clock","stream":1,"pts')
    segment = camera.folder / "00001.mkv"
    segment.write_bytes(segment.read_bytes()[:-700])
    made = composed(session, tmp_path)
    assert is_colour(pictures(made)[20], VIET_DUC.colour)
    assert {gap.reason for gap in made.gaps} <= {"crash", "damaged"}
