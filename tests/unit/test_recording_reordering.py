"""Encoders that send a picture before others that are shown before it (B-frames), as devices do."""

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from capture import RecordedMeeting
from media import RATE_HZ, RealEncoding, h264_payloads
from network import START_S, Network

from bridge.archive.model import SessionFolder, Span
from bridge.archive.tracks.feeds import Feed
from bridge.archive.tracks.tracks import read_tracks
from bridge.base.words import Source
from bridge.store.journal import EventKind

WALL_MS = 1_800_000_000_000
EVER = Span(0, 2 * WALL_MS)
PICTURES, STEP_PX = 75, 4


@cache
def film() -> list[tuple[int, bytes]]:
    """A bar that moves from picture to picture: the place in the film and the data, as they are sent."""
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 320, 180, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE_HZ), Fraction(RATE_HZ)
    context.max_b_frames, context.thread_count = 2, 1
    context.options = {"x264-params": "b-adapt=0:scenecut=0:keyint=30:b-pyramid=none"}
    packets = []
    for number in range(PICTURES):
        image = np.full((180, 320, 3), 30, np.uint8)
        image[:, number * STEP_PX : number * STEP_PX + 20] = 230
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [(packet.pts, bytes(packet)) for packet in packets]


class Reordering(RealEncoding):
    """Sends its film once."""

    def __init__(self, own: RealEncoding) -> None:
        self.__dict__.update(own.__dict__)
        self.began: float | None = None
        self._left = list(film())

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        if not self._left:
            return []
        if self.began is None:
            self.began = captured
        number, data = self._left.pop(0)
        payloads = h264_payloads(data)
        return [
            self.stream.next_packet(
                payload, self.began + number / rate_hz, marker=payload is payloads[-1], extensions={}
            )
            for payload in payloads
        ]


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[RecordedMeeting]:
    with Network() as network, closing(RecordedMeeting(network, tmp_path, segment_s=1)) as meeting:
        yield meeting


def test_pictures_that_are_sent_out_of_order_are_shown_in_order(meeting: RecordedMeeting) -> None:
    assert [number for number, _ in film()] != sorted(number for number, _ in film())
    hue = meeting.film("hue", codec="h264", voices=0, pictures=())
    ((rid, own),) = hue.encodings[Source.CAMERA].items()
    assert isinstance(own, RealEncoding)
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "chair"})
    meeting.recorder.capture(True)
    meeting.run(1.0)
    camera = hue.encodings[Source.CAMERA][rid] = Reordering(own)
    meeting.run(PICTURES / RATE_HZ + 0.5)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    recorded = meeting.session.track("hue")
    assert recorded.of("gap") == recorded.of("pause") == []
    assert len(recorded.segments) >= 3
    track = next(
        one for one in read_tracks(SessionFolder(meeting.session.folder, ())) if one.source == "camera"
    )
    feed = Feed([track])
    assert camera.began is not None
    # 20 ms on the way, and the middle of a picture.
    began_ms = WALL_MS + (camera.began - START_S) * 1000 + 20 + 17
    for number in range(PICTURES):
        shot = feed.shot_at(began_ms + number * 1000 / RATE_HZ, within=EVER)
        assert shot is not None
        bright = shot.frame.to_ndarray(format="gray")[90] > 150
        assert int(np.argmax(bright)) == pytest.approx(number * STEP_PX, abs=2)
    feed.close()
