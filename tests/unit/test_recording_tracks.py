"""What of a room's media is recorded, and what stands in the track logs."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from capture import RecordedMeeting, RecordedTrack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media import RealEncoding, decoded_frames, packet_times_ms, pictures
from meeting import Client
from network import Network
from streams import VideoEncoding

from bridge.base.counters import DropReason
from bridge.base.words import Source
from bridge.store.journal import EventKind

WALL_MS = 1_800_000_000_000
START_S = 1000.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def open_meeting(network: Network, tmp_path: Path) -> Iterator[Callable[..., RecordedMeeting]]:
    meetings: list[RecordedMeeting] = []

    def open_one(**settings: Any) -> RecordedMeeting:
        meetings.append(RecordedMeeting(network, tmp_path, **settings))
        return meetings[-1]

    yield open_one
    for meeting in meetings:
        meeting.close()


@pytest.fixture
def meeting(open_meeting: Callable[..., RecordedMeeting]) -> RecordedMeeting:
    return open_meeting()


def at_ms(now: float) -> float:
    return WALL_MS + (now - START_S) * 1000


def finish(meeting: RecordedMeeting) -> None:
    meeting.recorder.close("room-closed")
    meeting.run(1.0)


def put_on_stage(meeting: RecordedMeeting, client: Client | None) -> None:
    participant = client.name if client else None
    meeting.recorder.note(EventKind.STAGE, {"participant": participant, "mode": "speaker"})


def camera_of(client: Client) -> VideoEncoding:
    return next(iter(client.encodings[Source.CAMERA].values()))


def frame_times_ms(track: RecordedTrack) -> list[int]:
    return [time for segment in track.segments for time in packet_times_ms(segment)]


def frame_count(track: RecordedTrack) -> int:
    return sum(decoded_frames(segment) for segment in track.segments)


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_pictures_and_voice_are_recorded_whole(meeting: RecordedMeeting, codec: str) -> None:
    hue = meeting.film("hue", codec=codec)
    put_on_stage(meeting, hue)
    meeting.run(0.5)
    meeting.recorder.capture(True)
    meeting.run(5.0)
    finish(meeting)
    camera, voice = meeting.session.track("hue"), meeting.session.track("hue", Source.MICROPHONE)
    times = frame_times_ms(camera)
    # Less two round trips: what arrives within the first one may have been said before.
    assert 130 <= len(times) <= 150
    assert all(32 <= after - before <= 34 for before, after in pairwise(times))
    assert frame_count(camera) == len(times)
    assert [after - before for before, after in pairwise(frame_times_ms(voice))] == [20] * (
        frame_count(voice) - 1
    )
    assert 230 <= frame_count(voice) <= 250
    assert camera.of("gap") == voice.of("gap") == []
    # The report had come before the first picture.
    assert [line["k"] for line in camera.lines[:4]] == ["track", "stream", "clock", "segment"]
    assert camera.lines[2]["pts_ms"] < 0
    assert camera.lines[-1] == {"k": "end", "at_ms": at_ms(1005.5), "reason": "room-closed"}
    assert camera.lines[0] | {"sync": ""} == {
        "k": "track",
        "track": camera.folder.name,
        "participant": "hue",
        "source": "camera",
        "codec": codec,
        "sync": "",
    }
    assert camera.lines[0]["sync"] == voice.lines[0]["sync"]
    (segment,) = camera.of("segment")
    assert (segment["file"], segment["width"], segment["height"]) == ("00001.mkv", 320, 180)


def test_a_track_that_begins_before_anything_is_written_is_recorded(meeting: RecordedMeeting) -> None:
    """As on a disk that answers late."""
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.has_thread = True
    meeting.run(3.0)
    meeting.has_thread = False
    meeting.run(1.0)
    finish(meeting)
    assert meeting.observer.failures == 0
    assert frame_count(meeting.session.track("hue")) > 100


def test_nothing_is_recorded_before_it_is_said(meeting: RecordedMeeting) -> None:
    meeting.film("hue")
    meeting.run(2.0)
    finish(meeting)
    assert meeting.session.tracks() == []
    assert meeting.session.kinds() == ["session-opened", "session-closed"]


def test_sender_reports_are_written_as_they_came(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(4.0)
    finish(meeting)
    camera = meeting.session.track("hue")
    (stream,) = camera.of("stream")
    clocks = camera.of("clock")
    assert len(clocks) >= 4
    for line in clocks:
        # The clock of a client that has nothing to do with anybody else's.
        captured = START_S + (line["ntp_ms"] - clocks[0]["ntp_ms"]) / 1000
        assert line["pts_ms"] == pytest.approx((captured - START_S) * 1000 + clocks[0]["pts_ms"], abs=0.01)
        assert line["rtt_ms"] is None or line["rtt_ms"] == pytest.approx(40, abs=15)
        # 20 ms on the way, for reports and pictures alike.
        assert line["at_ms"] - stream["at_ms"] == pytest.approx(line["pts_ms"], abs=2)


def test_losses_are_repaired_before_anything_is_missing(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.run(1.0)
    meeting.recorder.capture(True)
    meeting.run(0.5)
    hue.up.loss = 0.10
    meeting.run(20.0)
    hue.up.loss = 0.0
    meeting.run(2.0)
    finish(meeting)
    assert hue.up.lost > 50
    camera = meeting.session.track("hue")
    assert camera.of("gap") == []
    assert all(32 <= after - before <= 34 for before, after in pairwise(frame_times_ms(camera)))
    assert frame_count(camera) == len(frame_times_ms(camera)) > 650


def test_losses_of_sound_are_in_the_log_and_nowhere_else(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    meeting.run(0.5)
    meeting.recorder.capture(True)
    meeting.run(0.5)
    hue.up.loss = 0.10
    meeting.run(10.0)
    hue.up.loss = 0.0
    meeting.run(1.0)
    finish(meeting)
    voice = meeting.session.track("hue", Source.MICROPHONE)
    holes = [
        (before + 20, after, (after - before) // 20 - 1)
        for before, after in pairwise(frame_times_ms(voice))
        if after - before != 20
    ]
    gaps = [(gap["from_pts_ms"], gap["to_pts_ms"], gap["packets"]) for gap in voice.of("gap")]
    assert gaps == holes
    assert len(gaps) > 20
    assert {gap["reason"] for gap in voice.of("gap")} == {"loss"}


def test_a_gap_that_cannot_be_repaired_ends_at_a_key_frame(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue", has_rtx=False)
    # So long that it does not begin anew by itself.
    (encoding,) = hue.encodings[Source.CAMERA].values()
    assert isinstance(encoding, RealEncoding)
    encoding.film = pictures("vp8", count=150)
    put_on_stage(meeting, hue)
    meeting.run(1.0)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    lost_at = meeting.network.now
    plis = len(hue.plis)
    hue.up.loss = 1.0
    meeting.run(0.05)
    hue.up.loss = 0.0
    meeting.run(4.0)
    finish(meeting)
    assert len(hue.plis) > plis
    camera = meeting.session.track("hue")
    (gap,) = camera.of("gap")
    (stream,) = camera.of("stream")
    from_ms = stream["at_ms"] + gap["from_pts_ms"]
    assert at_ms(lost_at) - 60 <= from_ms <= at_ms(lost_at) + 60
    # NACKs are given up after ten tries or a second, then a key frame is asked for.
    assert 300 < gap["to_pts_ms"] - gap["from_pts_ms"] < 1500
    assert 1 <= gap["packets"] <= 6
    assert gap["reason"] == "loss"
    times = frame_times_ms(camera)
    assert not [time for time in times if gap["from_pts_ms"] < time < gap["to_pts_ms"]]
    assert gap["to_pts_ms"] in times
    # A strict decoder takes all of it.
    assert frame_count(camera) == len(times)


def test_sound_beyond_what_there_can_be_is_a_gap_and_no_silence(meeting: RecordedMeeting) -> None:
    """A line that stood still gives all at once; what is too much of that was said all the same."""
    flushed = meeting.film("hue", pictures=())
    meeting.recorder.capture(True)
    meeting.run(1.0)
    assert flushed.voice is not None
    for _ in range(1000):
        flushed.send_rtp(flushed.voice.frame(meeting.network.now))
    meeting.run(2.0)
    finish(meeting)
    voice = meeting.session.track("hue", Source.MICROPHONE)
    assert {gap["reason"] for gap in voice.of("gap")} == {"loss"}
    assert 150 < sum(gap["packets"] for gap in voice.of("gap")) <= 250


def test_a_gap_that_lasts_to_the_end_is_in_the_log(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue", has_rtx=False)
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    hue.up.loss = 1.0
    meeting.run(0.05)
    hue.up.loss = 0.0
    meeting.run(0.3)
    finish(meeting)
    camera = meeting.session.track("hue")
    (gap,) = camera.of("gap")
    assert 300 <= gap["to_pts_ms"] - gap["from_pts_ms"] <= 420
    assert [line["k"] for line in camera.lines[-2:]] == ["gap", "end"]


def test_segments_change_at_key_frames_that_are_asked_for(
    open_meeting: Callable[..., RecordedMeeting],
) -> None:
    meeting = open_meeting(segment_s=2)
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(9.0)
    finish(meeting)
    for source in (Source.CAMERA, Source.MICROPHONE):
        track = meeting.session.track("hue", source)
        assert len(track.segments) >= 4
        assert [line["file"] for line in track.of("segment")] == [path.name for path in track.segments]
        starts = [line["pts_ms"] for line in track.of("segment")]
        assert starts == [packet_times_ms(segment)[0] for segment in track.segments]
        assert all(after - before < 2600 for before, after in pairwise(starts))
        # Each can be decoded without the others, and nothing is missing between them.
        times = frame_times_ms(track)
        assert frame_count(track) == len(times)
        assert max(after - before for before, after in pairwise(times)) <= 34
        assert len(track.of("stream")) == 1


def test_a_pause_leaves_nothing_of_its_span(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    # Whoever hears somebody has a round trip that is known.
    meeting.film("hanoi", sources=(Source.MICROPHONE,))
    # What was said in the pause is still on the way when it ends.
    hue.up.delay_s = 0.3
    hue.up.jitter_s = 0.05
    put_on_stage(meeting, hue)
    meeting.run(6.0)
    meeting.recorder.capture(True)
    meeting.run(4.0)
    pause_from = meeting.network.now
    meeting.recorder.capture(False)
    meeting.run(5.0)
    pause_to = meeting.network.now
    meeting.recorder.capture(True)
    meeting.run(4.0)
    finish(meeting)
    for source in (Source.CAMERA, Source.MICROPHONE):
        track = meeting.session.track("hue", source)
        assert len(track.of("stream")) == 2
        assert len(track.segments) == 2
        begun = {line["stream"]: line["at_ms"] for line in track.of("stream")}
        captured = [
            begun[line["stream"]] - 300 + time
            for line, segment in zip(track.of("segment"), track.segments, strict=True)
            for time in packet_times_ms(segment)
        ]
        # A stream's first frame may be one that came late: that is a jitter's length of doubt.
        inside = [time for time in captured if at_ms(pause_from) <= time <= at_ms(pause_to) - 50]
        assert inside == []
        assert [time for time in captured if time > at_ms(pause_to)]


def test_what_waits_for_a_lost_packet_is_not_written_into_a_pause(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue", has_rtx=False)
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    hue.up.loss = 1.0
    meeting.run(0.04)
    hue.up.loss = 0.0
    meeting.run(0.3)
    meeting.recorder.capture(False)
    written = sum(len(packet_times_ms(path)) for path in meeting.session.track("hue").segments)
    meeting.run(3.0)
    assert sum(len(packet_times_ms(path)) for path in meeting.session.track("hue").segments) <= written + 8


def test_stage_is_recorded_in_its_best_encoding_and_others_in_their_smallest(
    meeting: RecordedMeeting,
) -> None:
    hue, hanoi = meeting.join("hue"), meeting.join("hanoi")
    put_on_stage(meeting, hue)
    meeting.run(1.0)
    meeting.recorder.capture(True)
    meeting.run(3.0)
    put_on_stage(meeting, hanoi)
    meeting.run(3.0)
    rids = {
        name: [line["rid"] for line in meeting.session.track(name).of("stream")] for name in ("hue", "hanoi")
    }
    # Who left the stage may come back: the best encoding goes on for a while.
    assert rids == {"hue": ["h"], "hanoi": ["l", "h"]}
    meeting.run(12.0)
    finish(meeting)
    camera = meeting.session.track("hue")
    assert [line["rid"] for line in camera.of("stream")] == ["h", "l"]
    first, second = camera.of("stream")
    ended_ms = first["at_ms"] + packet_times_ms(camera.segments[0])[-1]
    # The former encoding is kept until the key frame of the next one.
    assert 0 <= second["at_ms"] - ended_ms <= 60
    assert camera.of("gap") == []


def test_only_encodings_that_somebody_needs_are_kept_on(meeting: RecordedMeeting) -> None:
    hue = meeting.join("hue")
    meeting.run(6.0)
    assert hue.layers[-1][1] == {"1": []}
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    assert "h" in hue.layers[-1][1]["1"]
    meeting.run(6.0)
    assert hue.layers[-1][1] == {"1": ["h"]}
    meeting.recorder.capture(False)
    meeting.run(6.0)
    assert hue.layers[-1][1] == {"1": []}


def test_each_segment_names_the_case_that_it_was_captured_in(meeting: RecordedMeeting) -> None:
    meeting.join("hue")

    def go_on(case: str | None) -> None:
        meeting.recorder.capture(False)
        meeting.recorder.note(EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": case})
        meeting.recorder.capture(True)
        meeting.run(3.0)

    for case in ("C01", None, "C02"):
        go_on(case)
    finish(meeting)
    for track in meeting.session.tracks():
        assert [line["case"] for line in track.of("segment")] == ["C01", None, "C02"]
        # One stream each, so that gaps and clocks are told apart as well.
        assert len({line["stream"] for line in track.of("segment")}) == 3


def test_nothing_is_recorded_of_what_is_withheld_until_it_no_longer_is(meeting: RecordedMeeting) -> None:
    meeting.join("hanoi", sources=(Source.CAMERA, Source.CONTENT))
    meeting.recorder.capture(True)
    meeting.run(3.0)
    meeting.recorder.withhold("hanoi", Source.CONTENT, True)
    withheld_at = meeting.network.now
    meeting.recorder.capture(False)
    meeting.recorder.cut()
    meeting.recorder.capture(True)
    meeting.run(5.0)
    meeting.recorder.withhold("hanoi", Source.CONTENT, False)
    shown_at = meeting.network.now
    meeting.run(3.0)
    finish(meeting)
    # The camera goes on at once, and the content in a segment of its own when it is let go.
    assert meeting.session.track("hanoi").of("segment")[1]["at_ms"] < at_ms(withheld_at + 2.0)
    content = meeting.session.track("hanoi", Source.CONTENT)
    before, after = content.of("segment")
    assert before["at_ms"] < at_ms(withheld_at)
    assert after["at_ms"] > at_ms(shown_at)


def test_what_is_withheld_from_its_beginning_becomes_no_track(meeting: RecordedMeeting) -> None:
    meeting.recorder.withhold("hanoi", Source.CONTENT, True)
    meeting.join("hanoi", sources=(Source.CAMERA, Source.CONTENT))
    meeting.recorder.capture(True)
    meeting.run(3.0)
    finish(meeting)
    assert meeting.session.tracks("*-content") == []


def test_cameras_off_stage_are_left_out_if_the_settings_say_so(
    open_meeting: Callable[..., RecordedMeeting],
) -> None:
    meeting = open_meeting(thumbnail_cameras=False)
    hue = meeting.join("hue")
    meeting.join("hanoi", sources=(Source.CAMERA, Source.CONTENT))
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(3.0)
    finish(meeting)
    recorded = {
        track.lines[0]["participant"] + "-" + track.lines[0]["source"] for track in meeting.session.tracks()
    }
    assert recorded == {"hue-camera", "hue-microphone", "hanoi-content"}
    assert meeting.session.track("hanoi", Source.CONTENT).of("stream")[0]["rid"] == "h"


def test_a_layer_that_stalls_is_left_for_a_living_one(meeting: RecordedMeeting) -> None:
    hue = meeting.join("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(4.0)
    hue.obeys_layers = False
    hue.encodings[Source.CAMERA]["h"].is_active = False
    meeting.run(2.0)
    hue.encodings[Source.CAMERA]["h"].is_active = True
    meeting.run(5.0)
    finish(meeting)
    camera = meeting.session.track("hue")
    rids = [line["rid"] for line in camera.of("stream")]
    assert rids[-1] == "h"
    assert rids[1] in ("m", "l")
    first, second = camera.of("stream")[:2]
    ended_ms = first["at_ms"] + packet_times_ms(camera.segments[0])[-1]
    assert second["at_ms"] - ended_ms < 600


def test_a_restarted_sender_is_another_stream_of_the_same_track(meeting: RecordedMeeting) -> None:
    hue = meeting.join("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(3.0)
    hue.start_sending(Source.CAMERA)
    hue.start_sending(Source.MICROPHONE)
    meeting.run(3.0)
    finish(meeting)
    for source in (Source.CAMERA, Source.MICROPHONE):
        track = meeting.session.track("hue", source)
        ssrcs = [line["ssrc"] for line in track.of("stream")]
        assert len(ssrcs) >= 2
        assert len(set(ssrcs)) == len(ssrcs)
        assert [line["stream"] for line in track.of("stream")] == list(range(1, len(ssrcs) + 1))
        assert {packet_times_ms(segment)[0] for segment in track.segments} == {0}
        assert track.of("gap") == []


def test_a_clock_that_leaps_begins_another_stream(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(3.0)
    camera_of(hue).stream.first_timestamp += 90_000 * 3600
    assert hue.voice is not None
    hue.voice.stream.first_timestamp -= 48_000 * 3600
    meeting.run(3.0)
    finish(meeting)
    for source in (Source.CAMERA, Source.MICROPHONE):
        track = meeting.session.track("hue", source)
        assert len(track.of("stream")) == 2
        assert max(frame_times_ms(track)) < 4000
        # No report on the one count of timestamps is taken for one on the other.
        assert all(abs(line["pts_ms"]) < 8000 for line in track.of("clock"))
        assert frame_count(track) == len(frame_times_ms(track))


def test_timestamps_that_wrap_go_on(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    stream = camera_of(hue).stream
    # Wraps after two seconds.
    stream.first_timestamp = -round((meeting.network.now + 2.0) * 90_000) & 0xFFFFFFFF
    meeting.recorder.capture(True)
    meeting.run(5.0)
    finish(meeting)
    camera = meeting.session.track("hue")
    assert len(camera.of("stream")) == 1
    assert all(32 <= after - before <= 34 for before, after in pairwise(frame_times_ms(camera)))


def test_a_muted_microphone_is_not_recorded(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue", codec="vp8")
    meeting.recorder.capture(True)
    meeting.run(2.0)
    muted_from = meeting.network.now
    hue.leg.set_muted(Source.MICROPHONE, True)
    meeting.run(2.0)
    hue.leg.set_muted(Source.MICROPHONE, False)
    muted_to = meeting.network.now
    meeting.run(2.0)
    finish(meeting)
    voice = meeting.session.track("hue", Source.MICROPHONE)
    (stream,) = voice.of("stream")
    arrived = [stream["at_ms"] + time for time in frame_times_ms(voice)]
    assert not [time for time in arrived if at_ms(muted_from) + 1 < time < at_ms(muted_to) - 1]
    assert [time for time in arrived if time < at_ms(muted_from)]
    assert [time for time in arrived if time > at_ms(muted_to)]
    assert voice.of("gap") == []


def test_a_camera_that_is_switched_off_is_not_recorded(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(2.0)
    hue.leg.set_muted(Source.CAMERA, True)
    meeting.run(2.0)
    hue.leg.set_muted(Source.CAMERA, False)
    meeting.run(2.0)
    finish(meeting)
    camera = meeting.session.track("hue")
    first, second = camera.of("stream")
    assert second["at_ms"] - first["at_ms"] - packet_times_ms(camera.segments[0])[-1] > 1900
    assert camera.of("gap") == []


def test_who_leaves_ends_the_tracks(meeting: RecordedMeeting) -> None:
    hue = meeting.film("hue")
    meeting.recorder.capture(True)
    meeting.run(2.0)
    hue.leave()
    meeting.run(1.0)
    tracks = meeting.session.tracks()
    assert len(tracks) == 2
    assert {track.lines[-1]["k"] for track in tracks} == {"end"}
    assert {track.lines[-1]["reason"] for track in tracks} == {"left"}
    kinds = meeting.session.kinds()
    assert kinds.count("track-started") == kinds.count("track-ended") == 2
    # Whoever comes back is somebody else's clock.
    meeting.film("hue")
    meeting.run(2.0)
    finish(meeting)
    syncs = {track.lines[0]["sync"] for track in meeting.session.tracks("*-hue-camera")}
    assert len(syncs) == 2


def test_recording_costs_viewers_nothing(meeting: RecordedMeeting) -> None:
    hue = meeting.join("hue")
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    hue.up.loss = 0.03
    meeting.run(2.0)
    meeting.recorder.capture(True)
    meeting.run(4.0)
    meeting.recorder.capture(False)
    hue.up.loss = 0.0
    meeting.run(2.0)
    assert viewer.complaints() == []
    assert viewer.receiver().longest_freeze_s(START_S + 1, meeting.network.now) < 0.5


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_another_picture_size_begins_another_segment(meeting: RecordedMeeting, codec: str) -> None:
    hue = meeting.film("hue", codec=codec)
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    meeting.run(3.0)
    camera = camera_of(hue)
    assert isinstance(camera, RealEncoding)
    camera.film = pictures(codec, width_px=160, height_px=90)
    camera.wants_keyframe = True
    meeting.run(2.0)
    finish(meeting)
    track = meeting.session.track("hue")
    sizes = [(line["width"], line["height"]) for line in track.of("segment")]
    assert sizes == [(320, 180), (160, 90)]
    assert len(track.of("stream")) == 1
    assert frame_count(track) == len(frame_times_ms(track))
    assert max(after - before for before, after in pairwise(frame_times_ms(track))) <= 34


def test_padding_between_pictures_is_no_gap(meeting: RecordedMeeting, network: Network) -> None:
    hue = meeting.film("hue")
    put_on_stage(meeting, hue)
    meeting.recorder.capture(True)
    stream = camera_of(hue).stream
    # Browsers send empty packets to probe for bandwidth; here they are reordered as well.
    network.every(
        0.1, lambda: hue.send_rtp(stream.next_packet(b"", network.now, marker=False, extensions={}))
    )
    hue.up.jitter_s = 0.02
    meeting.run(5.0)
    finish(meeting)
    assert meeting.drops(DropReason.PADDING) > 40
    camera = meeting.session.track("hue")
    assert camera.of("gap") == []
    assert frame_count(camera) == len(frame_times_ms(camera)) > 120


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 20),
    codec=st.sampled_from(("vp8", "h264")),
    has_rtx=st.booleans(),
    acts=st.lists(
        st.sampled_from(("burst", "lossy", "clean", "jitter", "mute", "unmute", "off", "on", "cut", "leap")),
        min_size=3,
        max_size=12,
    ),
)
def test_whatever_happens_every_hole_is_in_the_log_and_the_rest_decodes(
    seed: int, codec: str, has_rtx: bool, acts: list[str]
) -> None:
    with Network(seed) as network, TemporaryDirectory() as folder:
        meeting = RecordedMeeting(network, Path(folder), segment_s=3)
        hue = meeting.film("hue", codec=codec, has_rtx=has_rtx)
        put_on_stage(meeting, hue)
        meeting.recorder.capture(True)
        meeting.run(1.0)
        for act in acts:
            play(meeting, hue, act)
            meeting.run(network.random.uniform(0.05, 1.5))
        play(meeting, hue, "clean")
        meeting.run(3.0)
        finish(meeting)
        for track in meeting.session.tracks():
            is_sound = track.lines[0]["source"] == "microphone"
            check_track(track, is_sound=is_sound, has_silences=is_sound and "mute" in acts)
        meeting.close()


def play(meeting: RecordedMeeting, client: Client, act: str) -> None:
    """Let something happen to a recorded client."""
    match act:
        case "burst":
            client.up.loss = 1.0
            meeting.run(meeting.network.random.uniform(0.01, 0.4))
            client.up.loss = 0.0
        case "lossy":
            client.up.loss = 0.08
        case "clean":
            client.up.loss = client.up.jitter_s = 0.0
        case "jitter":
            client.up.jitter_s = 0.03
        case "mute" | "unmute":
            for source in (Source.CAMERA, Source.MICROPHONE):
                client.leg.set_muted(source, act == "mute")
        case "off" | "on":
            meeting.recorder.capture(act == "on")
        case "cut":
            meeting.recorder.cut()
        case "leap":
            camera_of(client).stream.first_timestamp += 90_000 * 1000


def check_track(track: RecordedTrack, *, is_sound: bool, has_silences: bool) -> None:
    """Every segment decodes whole, and within each stream all that is missing is in the log.

    A microphone that was muted leaves silences in its stream, which are no gaps.
    """
    times: dict[int, list[int]] = {}
    for line in track.of("segment"):
        segment = track.folder / line["file"]
        found = packet_times_ms(segment)
        assert found[0] == line["pts_ms"]
        assert decoded_frames(segment) == len(found) > 0
        times.setdefault(line["stream"], []).extend(found)
    assert list(times) == [line["stream"] for line in track.of("stream")]
    gaps = {(gap["stream"], gap["from_pts_ms"], gap["to_pts_ms"]) for gap in track.of("gap")}
    step_ms = 20 if is_sound else 34
    for stream, found in times.items():
        assert found == sorted(set(found))
        for before, after in pairwise(found):
            if after - before > step_ms and not has_silences:
                assert (stream, before + 20 if is_sound else before, after) in gaps
