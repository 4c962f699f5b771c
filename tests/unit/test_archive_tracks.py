"""Track logs and segments as crashes, bad disks and strangers leave them."""

import json
import math
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import MUONG_NHE, START_MS, VIET_DUC, Recording

from bridge.archive.model import Gap, SessionFolder, Span
from bridge.archive.tracks import feeds
from bridge.archive.tracks import ledger as ledger_module
from bridge.archive.tracks.feeds import Feed
from bridge.archive.tracks.ledger import LEFT_OUT_MAX, Desk, Ledger, judge, judge_all, left_out
from bridge.archive.tracks.tracks import find_gaps, last_frame_ms, lost_gaps, of_case, read_tracks
from bridge.archive.tracks.voices import Voice
from bridge.store.checked_lines import checked_line

EVER = Span(0, 2 * START_MS)


def recording(folder: Path) -> Recording:
    made = Recording(folder)
    made.join(0, VIET_DUC)
    return made


def test_frames_are_placed_where_they_were_taken_and_the_least_delay_later(tmp_path: Path) -> None:
    made = recording(tmp_path)
    made.camera(MUONG_NHE, 1, 4, segment_s=1.6)
    (track,) = read_tracks(made.write())
    begun = [segment.start_ms - START_MS for segment in track.segments]
    assert begun == pytest.approx([1045, 2645], abs=2)
    assert (track.participant, track.source, track.codec) == (MUONG_NHE.participant, "camera", "vp8")
    last = last_frame_ms([track], START_MS, 2 * START_MS)
    assert last == pytest.approx(START_MS + 4005, abs=2)


def test_feed_goes_on_from_one_track_to_the_next_and_shows_nothing_between(tmp_path: Path) -> None:
    made = recording(tmp_path)
    made.camera(VIET_DUC, 1, 2)
    made.camera(VIET_DUC, 6, 7)
    feed = Feed(read_tracks(made.write()))
    shots = {at_s: feed.shot_at(START_MS + at_s * 1000, within=EVER) for at_s in (0.2, 1.5, 3, 5.5, 6.5)}
    # What comes within a moment is shown already.
    assert [at_s for at_s, shot in shots.items() if shot is not None] == [0.2, 1.5, 5.5, 6.5]
    found = shots[6.5]
    assert found is not None
    assert abs(found.at_ms - START_MS - 6500) <= 40


def test_nothing_outside_of_a_span_is_given_out(tmp_path: Path) -> None:
    made = recording(tmp_path)
    made.camera(VIET_DUC, 1, 5)
    feed = Feed(read_tracks(made.write()))
    span = Span(START_MS + 2000, START_MS + 3000)
    for at_s in (1.99, 2.0, 2.5, 2.99, 3.0, 3.5):
        shot = feed.shot_at(START_MS + at_s * 1000, within=span)
        assert shot is None or span.start_ms <= shot.at_ms < span.end_ms


def test_feed_that_was_off_the_screen_comes_back_at_its_last_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recording(tmp_path)
    made.camera(VIET_DUC, 0, 20, fps=5, segment_s=2)
    feed = Feed(read_tracks(made.write()))
    decoded: list[float] = []
    decode = feeds.Tape._decode
    monkeypatch.setattr(
        feeds.Tape, "_decode", lambda tape, at, packet: (decoded.append(at), decode(tape, at, packet))
    )
    for at_s in (1.0, 17.0):
        shot = feed.shot_at(START_MS + at_s * 1000, within=EVER)
        assert shot is not None
        assert abs(shot.at_ms - START_MS - at_s * 1000) <= 200
    # The first second, and what follows the key frame at 16 s.
    assert len(decoded) <= 6 + 6


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_pictures_on_the_way_from_the_last_key_frame_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    """Browsers send key frames when they are asked to: those of a minute took two gigabytes in 720 lines."""
    alive = most = 0

    class Picture:
        def __init__(self, _: av.VideoFrame) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr(feeds, "_planar", Picture)
    made = recording(tmp_path)
    made.camera(VIET_DUC, 0, 20, fps=10, size=(64, 48), segment_s=60, codec=codec)
    feed = Feed(read_tracks(made.write()))
    shot = feed.shot_at(START_MS + 19_000, within=EVER)
    assert shot is not None
    assert abs(shot.at_ms - START_MS - 19_000) <= 100
    assert most <= 20


def test_segment_with_times_far_ahead_does_not_hold_up_the_next(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 0, 6, segment_s=2)
    # Its first frame is told to be in time, but all its packets are an hour later.
    other = recording(tmp_path / "other")
    later = other.camera(VIET_DUC, 0, 6, segment_s=2)
    session = made.write()
    data = (later.folder / "00002.mkv").read_bytes()
    (track.folder / "00002.mkv").write_bytes(_shifted(data, tmp_path, 3_600_000))
    feed = Feed(read_tracks(session))
    taken = [feed.shot_at(START_MS + at * 100, within=EVER) for at in range(60)]
    last = taken[-1]
    assert last is not None
    assert abs(last.at_ms - START_MS - 5900) <= 60


def _shifted(data: bytes, folder: Path, by_ms: int) -> bytes:
    source, target = folder / "in.mkv", folder / "out.mkv"
    source.write_bytes(data)
    with av.open(str(source)) as old, av.open(str(target), "w", format="matroska") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux():
            if packet.size and packet.pts is not None:
                packet.pts = packet.dts = packet.pts + by_ms
                packet.stream = stream
                new.mux(packet)
    return target.read_bytes()


def test_pictures_of_hostile_size_are_damage_and_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recording(tmp_path)
    made.camera(VIET_DUC, 0, 1, size=(640, 360))
    made.camera(VIET_DUC, 2, 3, size=(160, 90))
    monkeypatch.setattr(feeds, "PIXELS_MAX", 320 * 180)
    feed = Feed(read_tracks(made.write()))
    assert feed.shot_at(START_MS + 900, within=Span(START_MS, START_MS + 1000)) is None
    assert feed.shot_at(START_MS + 2900, within=EVER) is not None
    (damage,) = feed.take_damages()
    # As far as it was asked for.
    assert damage.end_ms - damage.start_ms == pytest.approx(880, abs=5)


def test_repaired_crash_is_told_as_a_crash(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 1, 3, is_torn=True)
    track.log("end", at_ms=START_MS + 3000, reason="interrupted")
    tracks = read_tracks(made.write())
    crashes = {START_MS + 3000: START_MS + 60_000}
    (gap,) = find_gaps(tracks, [Span(START_MS, START_MS + 90_000)], crashes)
    assert (gap.reason, gap.end_ms) == ("crash", START_MS + 60_000)
    assert abs(gap.start_ms - START_MS - 2980) < 10


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]\n", b"null\n", b'{"k":7}\n', b"\xff\xfe\n", b'{"k":"gap"}\n']
)
def test_line_that_says_nothing_is_passed_over(tmp_path: Path, line: bytes) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 1, 2)
    session = made.write()
    log = track.folder / "track.jsonl"
    first, *rest = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + line + b"".join(rest) + line)
    (read,) = read_tracks(session)
    assert len(read.segments) == 1


def test_folder_without_a_log_is_no_track(tmp_path: Path) -> None:
    made = recording(tmp_path)
    made.camera(VIET_DUC, 1, 2)
    session = made.write()
    (session.tracks / "lost+found").mkdir()
    (session.tracks / "note.txt").write_text("x")
    assert len(read_tracks(session)) == 1
    assert read_tracks(SessionFolder(session.path / "missing", ())) == []


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=5), st.just([])
)
fields = (
    "stream",
    "pts_ms",
    "ntp_ms",
    "at_ms",
    "rtt_ms",
    "from_pts_ms",
    "to_pts_ms",
    "reason",
    "file",
    "width",
    "height",
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stream", "segment", "clock", "arrival", "pause", "gap", "end", "track"]),
            st.dictionaries(st.sampled_from(fields), values),
        ),
        max_size=8,
    )
)
def test_no_log_whatever_it_says_stops_the_reading(
    tmp_path: Path, lines: list[tuple[str, dict[str, Any]]]
) -> None:
    folder = tmp_path / "tracks" / "t001-p-1-camera"
    folder.mkdir(parents=True, exist_ok=True)
    head = {"k": "track", "participant": "p-1", "source": "camera", "codec": "vp8", "sync": "s"}
    texts = [json.dumps(line) for line in (head, *({"k": k, **data} for k, data in lines))]
    (folder / "track.jsonl").write_text("\n".join(texts) + "\n")
    tracks = read_tracks(SessionFolder(tmp_path, ()))
    spans = [Span(START_MS, START_MS + 1000)]
    for gap in find_gaps(tracks, spans, {}):
        assert START_MS <= gap.start_ms < gap.end_ms <= START_MS + 1000
    for track in tracks:
        assert all(math.isfinite(segment.start_ms) for segment in track.segments)
        Feed([track]).shot_at(START_MS, within=EVER)


def test_track_whose_log_cannot_be_read_now_fails_the_attempt_and_is_told_as_lost_at_the_last(
    tmp_path: Path,
) -> None:
    made = recording(tmp_path)
    made.camera(MUONG_NHE, 1, 4)
    track = made.camera(VIET_DUC, 1, 4)
    session = made.write()
    whole = tmp_path / "whole.jsonl"
    log = track.folder / "track.jsonl"
    log.rename(whole)
    log.symlink_to(log.name)
    # A link to itself: the system refuses to open it, as it does on a bad sector.
    with pytest.raises(OSError, match="symbolic links"):
        read_tracks(session)
    last = replace(session, is_last_try=True)
    left = read_tracks(last)
    assert [one.participant for one in left] == [MUONG_NHE.participant]
    (gap,) = lost_gaps(last, left, [Span(START_MS, START_MS + 3000)])
    assert gap == Gap(
        track.folder.name, VIET_DUC.participant, "camera", START_MS + 1000, START_MS + 3000, "damaged"
    )
    log.unlink()
    whole.rename(log)
    assert len(read_tracks(session)) == 2
    assert list(lost_gaps(session, read_tracks(session), [EVER])) == []


def test_track_that_ended_and_whose_folder_is_missing_is_waited_for_and_then_told(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 1, 4)
    session = made.write()
    shutil.rmtree(track.folder)
    with pytest.raises(FileNotFoundError):
        read_tracks(session)
    last = replace(session, is_last_try=True)
    assert read_tracks(last) == []
    assert [gap.reason for gap in lost_gaps(last, [], [EVER])] == ["damaged"]


def test_damaged_first_line_of_a_log_is_made_good_by_the_journal(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 1, 4)
    session = made.write()
    log = track.folder / "track.jsonl"
    log.write_bytes(b"\xff" + log.read_bytes()[1:])
    (read,) = read_tracks(session)
    assert (read.participant, read.source, read.codec) == (VIET_DUC.participant, "camera", "vp8")
    assert len(read.segments) == 2


def test_read_error_of_a_segment_fails_the_attempt_and_is_damage_at_the_last(tmp_path: Path) -> None:
    made = recording(tmp_path)
    camera = made.camera(VIET_DUC, 0, 6, segment_s=2)
    microphone = made.microphone(VIET_DUC, 0, 6, segment_s=2)
    session = made.write()
    for track in (camera, microphone):
        path = track.folder / "00002.mkv"
        path.unlink()
        path.symlink_to(path.name)
    spans = [Span(START_MS, START_MS + 6000)]
    with pytest.raises(OSError, match="symbolic links"):
        find_gaps(read_tracks(session), spans, {})
    seen, heard = (read for read in read_tracks(session))
    with pytest.raises(OSError, match="symbolic links"):
        Feed([seen]).shot_at(START_MS + 3000, within=EVER)
    with pytest.raises(OSError, match="symbolic links"):
        Voice(heard).add_to(np.zeros(6 * 48_000, np.float32), START_MS)
    gaps = find_gaps(read_tracks(replace(session, is_last_try=True)), spans, {})
    assert [(gap.source, gap.reason) for gap in gaps] == [("camera", "damaged"), ("microphone", "damaged")]


def test_looking_for_gaps_goes_on_before_each_file(tmp_path: Path) -> None:
    made = recording(tmp_path)
    made.microphone(VIET_DUC, 0, 6, segment_s=2)
    steps: list[None] = []
    find_gaps(read_tracks(made.write()), [Span(START_MS, START_MS + 6000)], {}, lambda: steps.append(None))
    assert len(steps) == 3


def test_segment_that_is_cut_short_is_damage_at_once(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 0, 6, segment_s=2)
    session = made.write()
    path = track.folder / "00002.mkv"
    path.write_bytes(path.read_bytes()[:2000])
    (read,) = read_tracks(session)
    feed = Feed([read])
    for at_ms in range(0, 6000, 40):
        feed.shot_at(START_MS + at_ms, within=EVER)
    assert {damage.track for damage in feed.take_damages()} == {track.folder.name}


def reported(folder: Path, number: int, source: str, reports: int, sync: str, delay_ms: int) -> None:
    """Write the log of a track without media that has so many sender reports."""
    track = folder / "tracks" / f"t{number:03d}-p-{number}-{source}"
    track.mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"k": "track", "participant": f"p-{number}", "source": source, "codec": "vp8", "sync": sync},
        {"k": "stream", "stream": 1, "at_ms": START_MS + delay_ms},
        {"k": "segment", "stream": 1, "file": "00001.mkv", "pts_ms": 0, "at_ms": START_MS + delay_ms},
    ]
    lines += [
        {"k": "clock", "stream": 1, "pts_ms": at_ms, "ntp_ms": at_ms, "at_ms": START_MS + at_ms + delay_ms}
        for at_ms in range(0, reports * 1000, 1000)
    ]
    (track / "track.jsonl").write_bytes(b"".join(checked_line(line) for line in lines))


def test_reports_of_one_sender_after_the_other_are_in_memory(tmp_path: Path) -> None:
    """Those of 40 tracks and eight hours took 300 MB, in each process of a composition."""
    peaks = []
    # The first time, what is made once is made.
    for name, senders in (("first", 1), ("one", 1), ("six", 6)):
        folder = tmp_path / name
        for number in range(senders):
            reported(folder, number, "camera", 400, f"clock-{number}", delay_ms=20)
        tracemalloc.start()
        assert len(read_tracks(SessionFolder(folder, ()))) == senders
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2.5 * peaks[1], peaks


def test_tracks_of_one_clock_are_placed_together_and_told_by_name(tmp_path: Path) -> None:
    for number, source, sync, delay_ms in (
        (1, "camera", "a", 400),
        (2, "camera", "b", 30),
        (3, "microphone", "a", 20),
        (4, "microphone", "b", 30),
    ):
        reported(tmp_path, number, source, 60, sync, delay_ms)
    tracks = read_tracks(SessionFolder(tmp_path, ()))
    assert [track.name[:4] for track in tracks] == ["t001", "t002", "t003", "t004"]
    # What is late on its way is placed by what is less so, and shares its clock.
    assert [round(track.start_ms - START_MS) for track in tracks] == [20, 30, 20, 30]


def test_case_has_its_own_segments_gaps_and_crashes(tmp_path: Path) -> None:
    made = recording(tmp_path)
    track = made.camera(VIET_DUC, 1, 3, restarts=[(2.0, (320, 180))], is_torn=True)
    cut = made.camera(VIET_DUC, 2, 3)
    for line in track.lines:
        if line["k"] == "segment":
            line["case"] = "C01" if line["stream"] == 1 else None
    for stream in (1, 2):
        track.log("gap", stream=stream, from_pts_ms=0, to_pts_ms=400, packets=1, reason="loss")
    session = made.write()
    read = read_tracks(session)
    first, session_own, other = (of_case(read, case) for case in ("C01", None, "C02"))
    assert [len(one.segments) for one in read] == [2, 1]
    assert cut.name == read[1].name
    # The second track does not say where it belongs.
    assert [len(one.segments) for one in first] == [1, 1]
    assert [len(one.segments) for one in other] == [0, 1]
    assert [one.segments[0].stream for one in (first[0], session_own[0])] == [1, 2]
    assert [[gap[0] for gap in one[0].logged_gaps] for one in (first, session_own, other)] == [[1], [2], []]
    # Only the last segment was cut short.
    assert [one[0].was_interrupted for one in (first, session_own, other)] == [False, True, False]
    # A track without anything of the case is there all the same, and not told as lost.
    assert list(lost_gaps(session, other, [EVER])) == []


def test_a_segment_without_any_length_by_its_log_may_still_be_decoded() -> None:
    for length_s in (-3600.0, math.nan, math.inf):
        ledger = Ledger()
        ledger.open("t001-x-camera/00001.mkv", length_s)
        ledger.begin("t001-x-camera/00001.mkv", 0.0)
        ledger.end("t001-x-camera/00001.mkv")


def test_who_was_killed_from_outside_is_blamed_for_the_same_packet_alone(tmp_path: Path) -> None:
    """The kernel kills for want of memory, and servers are stopped: that says nothing of a segment."""
    desk = Desk(tmp_path)

    def killed_at(segment: str, at_ms: float) -> str | None:
        Ledger(desk).begin(segment, at_ms)
        return judge(desk.note, is_guilty=False)

    assert killed_at("t001-x-camera/00001.mkv", 40.0) is None
    assert killed_at("t001-x-camera/00001.mkv", 80.0) is None
    assert killed_at("t001-x-camera/00002.mkv", 40.0) is None
    assert left_out(tmp_path) == frozenset()
    assert killed_at("t001-x-camera/00001.mkv", 80.0) == "t001-x-camera/00001.mkv"
    assert left_out(tmp_path) == {"t001-x-camera/00001.mkv"}
    assert Ledger(desk).is_left_out("t001-x-camera/00001.mkv")
    assert not Ledger(desk).is_left_out("t001-x-camera/00002.mkv")


def test_what_an_attempt_left_that_was_killed_as_a_whole_is_looked_at(tmp_path: Path) -> None:
    for _ in range(2):
        Ledger(Desk(tmp_path, 1)).begin("t001-x-camera/00001.mkv", 40.0)
        judge_all(tmp_path)
    assert left_out(tmp_path) == {"t001-x-camera/00001.mkv"}


def test_a_process_that_died_at_nothing_blames_no_segment(tmp_path: Path) -> None:
    ledger = Ledger(Desk(tmp_path))
    ledger.open("t001-x-camera/00001.mkv", 2.0)
    ledger.begin("t001-x-camera/00001.mkv", 40.0)
    ledger.end("t001-x-camera/00001.mkv")
    assert judge(Desk(tmp_path).note, is_guilty=True) is None
    assert judge(Desk(tmp_path, 7).note, is_guilty=True) is None


def test_a_track_that_harms_again_and_again_is_left_out_and_no_other(tmp_path: Path) -> None:
    for number in range(LEFT_OUT_MAX):
        Ledger(Desk(tmp_path)).begin(f"t001-x-camera/{number:05}.mkv", 0.0)
        assert judge(Desk(tmp_path).note, is_guilty=True)
    assert Ledger(Desk(tmp_path)).is_left_out("t001-x-camera/00099.mkv")
    assert not Ledger(Desk(tmp_path)).is_left_out("t002-y-camera/00001.mkv")


def test_another_decoder_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(Desk(tmp_path)).begin("t001-x-camera/00001.mkv", 0.0)
    assert judge(Desk(tmp_path).note, is_guilty=True)
    monkeypatch.setattr(ledger_module, "DECODER", "a newer one")
    assert left_out(tmp_path) == frozenset()
