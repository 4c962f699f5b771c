"""Long and slow: numbers that wrap, a day of still pictures, pauses of minutes."""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from capture import RecordedMeeting
from media import packet_times_ms
from meeting import Client
from network import START_S, Network
from streams import VIDEO_HZ, Piece, VideoEncoding

from bridge.archive.model import SessionFolder
from bridge.archive.tracks.tracks import read_tracks
from bridge.base.words import SlotRole, Source

WALL_MS = 1_800_000_000_000
FIT_MS = 100.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def meeting(network: Network, tmp_path: Path) -> Iterator[RecordedMeeting]:
    with closing(RecordedMeeting(network, tmp_path, segment_s=900)) as meeting:
        yield meeting


@pytest.mark.parametrize(
    ("first_ticks", "hours", "every_s"), [((1 << 32) - 90_000, 24, 4), ((1 << 31) - 90_000, 2, 1)]
)
def test_a_day_of_few_pictures(meeting: RecordedMeeting, first_ticks: int, hours: int, every_s: int) -> None:
    """Numbers from 65,000 and timestamps up to their wrap; twelve minutes of nothing in the middle.

    The clock is set from picture to picture and nothing else runs: a day would take minutes otherwise.
    """
    network = meeting.network
    hue = meeting.join("hue", codec="h264", sources=(Source.CONTENT,), voices=0, pictures=())
    (encoding,) = hue.encodings[Source.CONTENT].values()
    encoding.bitrate_bps = 1
    encoding.stream.sequence_number = 65_000
    encoding.stream.first_timestamp = first_ticks - round(network.now * VIDEO_HZ) & 0xFFFFFFFF
    meeting.recorder.capture(True)
    # What may have been said before is passed by.
    network.now += 0.5
    sent = 0
    middle = hours * 1800
    for second in range(1, hours * 3600, every_s):
        network.now = START_S + second
        if not middle <= second < middle + 720:
            encoding.wants_keyframe = second % 60 == 1
            for packet in encoding.picture(network.now, 1.0):
                sent += 1
                hue.transport.receive(packet)
        if second % 300 == 33:
            hue.transport.receive(encoding.stream.sender_report(hue.ntp(network.now), network.now))
            meeting.write()
            meeting.router.poll(network.now)
    meeting.recorder.close("room-closed")
    meeting.write()
    (recorded,) = meeting.session.tracks()
    assert len(recorded.of("stream")) == 1
    assert recorded.of("gap") == recorded.of("pause") == []
    (track,) = read_tracks(SessionFolder(meeting.session.folder, ()))
    found = 0
    for index, segment in enumerate(track.segments):
        with closing(track.open(index)) as file:
            for pts_ms, packet in file.packets():
                captured = Piece.of(bytes(packet)).captured
                late_ms = track.at_ms(segment.stream, pts_ms) - WALL_MS - (captured - START_S) * 1000
                assert abs(late_ms) <= FIT_MS
                found += 1
    assert found == sent


class Still(VideoEncoding):
    """A screen that rests: a picture when there is something new, and when a key frame is asked for."""

    def __init__(self, own: VideoEncoding, client: Client) -> None:
        self._client = client
        self.__dict__.update(
            {name: value for name, value in own.__dict__.items() if name != "wants_keyframe"}
        )
        self._wants_keyframe = True

    @property
    def wants_keyframe(self) -> bool:  # type: ignore[override]
        return self._wants_keyframe

    @wants_keyframe.setter
    def wants_keyframe(self, value: bool) -> None:
        self._wants_keyframe = value
        if value:
            self._client.meeting.network.call_later(0.05, self.answer)

    def answer(self) -> None:
        if self._wants_keyframe:
            self._client._capture()


def test_a_screen_that_does_not_change_is_seen_by_newcomers_and_in_the_record(
    meeting: RecordedMeeting,
) -> None:
    """A picture every five seconds, and none for a minute."""
    hue = meeting.join(
        "hue", codec="h264", sources=(Source.MICROPHONE, Source.CONTENT), voices=0, pictures=(), rate_hz=0.2
    )
    (rid,) = hue.encodings[Source.CONTENT]
    still = hue.encodings[Source.CONTENT][rid] = Still(hue.encodings[Source.CONTENT][rid], hue)
    still.bitrate_bps = 2_000
    meeting.run(20.0)
    newcomer = meeting.join("hanoi", sources=(), voices=0)
    newcomer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    waited_s = meeting.network.run_until(lambda: newcomer.receiver(SlotRole.CONTENT).pictures, within_s=2.0)
    assert waited_s < 2.0
    meeting.run(8.0)
    begun = meeting.network.now
    meeting.recorder.capture(True)
    meeting.run(12.0)
    # Nothing new: only who asks for a key frame is answered.
    hue.encodings = {}
    meeting.run(60.0)
    hue.encodings = {Source.CONTENT: {rid: still}}
    meeting.run(12.0)
    ended = meeting.network.now
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    recorded = meeting.session.track("hue", Source.CONTENT)
    assert len(recorded.of("stream")) == 1
    assert recorded.of("gap") == []
    # No more is asked of the sender than its first pictures, and some when it was silent for long.
    assert len([at for at, _, _ in hue.plis if at > begun + 5]) <= 10
    tracks = read_tracks(SessionFolder(meeting.session.folder, ()))
    track = next(track for track in tracks if track.source == "content")
    taken = [
        track.at_ms(segment.stream, pts_ms)
        for segment in track.segments
        for pts_ms in packet_times_ms(segment.path)
    ]
    assert taken[0] - WALL_MS - (begun - START_S) * 1000 < 2_000
    assert max(after - before for before, after in pairwise(taken)) == pytest.approx(62_500, abs=2_600)
    # What was taken last is shown until there is something new, or the track ends.
    assert track.ended_ms == pytest.approx(WALL_MS + (ended - START_S) * 1000, abs=20)
