"""Senders that ask too much of the recorder: they get a gap that says so, and cost nobody else anything."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from capture import RecordedMeeting, RecordedTrack
from media import RealEncoding, RealVoice, packet_times_ms, pictures
from meeting import Client
from network import Network
from streams import AUDIO_HZ, VIDEO_HZ

from bridge.base.counters import RecordingCounters
from bridge.base.words import Source
from bridge.capture.files import SessionFile, TrackFile
from bridge.capture.frames import Frame
from bridge.capture.limits import PICTURES_PER_S, SEGMENTS_AT_ONCE, TrackLimits
from bridge.capture.writer import QUEUE_BYTES_MAX, Writer
from bridge.leg.encoding import Codec
from bridge.store.journal import EventKind

RUN_S = 6.0
LEAP_S = 11


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[RecordedMeeting]:
    with Network() as network, closing(RecordedMeeting(network, tmp_path / "recordings")) as meeting:
        yield meeting


class LeapingVoice(RealVoice):
    """A microphone whose clock leaps with each packet."""

    def __init__(self, own: RealVoice) -> None:
        self.__dict__.update(own.__dict__)

    def frame(self, captured: float) -> bytes:
        self.stream.first_timestamp += LEAP_S * AUDIO_HZ
        return super().frame(captured)


class LeapingCamera(RealEncoding):
    """A camera whose clock leaps with each picture."""

    def __init__(self, own: RealEncoding) -> None:
        self.__dict__.update(own.__dict__)

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        self.stream.first_timestamp += LEAP_S * VIDEO_HZ
        self.wants_keyframe = True
        return super().picture(captured, rate_hz)


class ResizingCamera(RealEncoding):
    """A camera that sends key frames only, each of another size than the one before."""

    def __init__(self, own: RealEncoding) -> None:
        self.__dict__.update(own.__dict__)

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        width_px, height_px = ((320, 180), (160, 90))[self.pictures % 2]
        self.film = pictures(self.codec, width_px=width_px, height_px=height_px)
        self.wants_keyframe = True
        return super().picture(captured, rate_hz)


def leap_voice(client: Client) -> None:
    assert isinstance(client.voice, RealVoice)
    client.voice = LeapingVoice(client.voice)


def change_camera(kind: type[RealEncoding]) -> Callable[[Client], None]:
    def change(client: Client) -> None:
        (rid, own), *_ = client.encodings[Source.CAMERA].items()
        client.encodings[Source.CAMERA][rid] = kind(own)  # type: ignore[arg-type]

    return change


def record(meeting: RecordedMeeting, harmful: Client) -> None:
    """Record the one who asks too much on the stage, beside somebody who does not."""
    meeting.film("hue")
    meeting.recorder.note(EventKind.STAGE, {"participant": harmful.name, "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(RUN_S)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)


def assert_all_is_told(track: RecordedTrack) -> None:
    """Each hole between frames, in the server's time, is covered by gaps."""
    begun = {line["stream"]: line["at_ms"] for line in track.of("stream")}
    frames = sorted(
        begun[line["stream"]] + time
        for line in track.of("segment")
        for time in packet_times_ms(track.folder / line["file"])
    )
    gaps = sorted(
        (begun[gap["stream"]] + gap["from_pts_ms"], begun[gap["stream"]] + gap["to_pts_ms"])
        for gap in track.of("gap")
    )
    for before, after in pairwise(frames):
        covered = before
        for start, end in gaps:
            if start <= covered + 100:
                covered = max(covered, end)
        assert after - before < 150 or covered >= after - 150, (before, after, gaps)


def assert_lost_nothing(meeting: RecordedMeeting, name: str) -> None:
    for track in meeting.session.tracks(f"*-{name}-*"):
        assert track.of("gap") == []
        assert len(track.of("stream")) == len(track.segments) == 1


@pytest.mark.parametrize(
    ("source", "harm"),
    [
        (Source.MICROPHONE, leap_voice),
        (Source.CAMERA, change_camera(LeapingCamera)),
        (Source.CAMERA, change_camera(ResizingCamera)),
    ],
)
def test_a_sender_begins_no_more_than_one_segment_in_a_second(
    meeting: RecordedMeeting, source: Source, harm: Callable[[Client], None]
) -> None:
    harmful = meeting.film("harmful")
    harm(harmful)
    record(meeting, harmful)
    track = meeting.session.track("harmful", source)
    most = SEGMENTS_AT_ONCE + RUN_S + 1
    assert SEGMENTS_AT_ONCE < len(track.segments) <= most
    assert len(track.of("stream")) <= most
    assert "overload" in {gap["reason"] for gap in track.of("gap")}
    assert_all_is_told(track)
    assert_lost_nothing(meeting, "hue")


def test_a_thousand_pictures_a_second_are_a_gap_that_says_why(meeting: RecordedMeeting) -> None:
    harmful = meeting.film("harmful", rate_hz=1000.0)
    record(meeting, harmful)
    track = meeting.session.track("harmful")
    recorded = sum(len(packet_times_ms(path)) for path in track.segments)
    assert 0 < recorded < PICTURES_PER_S * (RUN_S + 5)
    assert {gap["reason"] for gap in track.of("gap")} == {"overload"}
    assert_all_is_told(track)
    assert_lost_nothing(meeting, "hue")


def test_of_a_thousand_sender_reports_one_in_a_second_is_written_down(meeting: RecordedMeeting) -> None:
    harmful = meeting.film("harmful")
    meeting.network.every(0.01, harmful._report)
    record(meeting, harmful)
    for track in meeting.session.tracks("*-harmful-*"):
        assert RUN_S - 3 <= len(track.of("clock")) <= RUN_S + 2


def test_no_encoder_of_a_person_is_limited() -> None:
    limits = TrackLimits(is_sound=False, now=0.0)
    # An hour of 60 pictures a second and 25 Mbit/s, with a second in which four seconds come at once.
    for number in range(3600 * 60):
        at = number / 60
        assert limits.takes_frame(52_000, max(at, 104.0) if 100.0 < at < 104.0 else at)
    # A phone that is turned each second.
    for second in range(100):
        assert limits.takes_segment(second)
        limits.segment_begun(second)


def test_a_megabyte_a_frame_is_limited_and_recorded_again_afterwards() -> None:
    limits = TrackLimits(is_sound=False, now=0.0)
    taken = sum(limits.takes_frame(1_000_000, number / 25) for number in range(25 * 60))
    assert 60 * 6 < taken < 60 * 6.25 + 30
    assert limits.takes_frame(1000, 100.0)


def test_one_track_takes_no_more_than_its_part_of_the_queue(tmp_path: Path) -> None:
    writer = Writer(tmp_path, flush_s=0.5, counters=RecordingCounters())
    session = SessionFile(tmp_path / "HC-BV-20270115-01", is_new=True)
    flood, voice = (TrackFile(session, name, Codec.OPUS) for name in ("t001-a-camera", "t002-b-microphone"))
    frame = Frame([], 0, 0.0, 100_000)
    while writer.put_frame(frame.size_bytes, False, flood, 0, frame):
        pass
    assert writer.queued_bytes < QUEUE_BYTES_MAX / 4
    assert writer.put_frame(frame.size_bytes, True, voice, 0, frame)
    writer.work()
    # What is written makes room again.
    assert writer.queued_bytes == 0
    assert writer.put_frame(frame.size_bytes, False, flood, 0, frame)
