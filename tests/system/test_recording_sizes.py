"""Pictures that change their size on the way: a phone that is turned, an encoder that adapts, odd numbers."""

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
from compositions import composed
from media import RATE_HZ, Encoded, RealEncoding, decoded_frames
from network import Network

from bridge.archive.film.compose import ComposeSettings
from bridge.archive.model import SessionFolder
from bridge.base.words import Source
from bridge.store.journal import EventKind

Size = tuple[int, int]
SETTINGS = ComposeSettings(height_px=360, slice_s=8, workers=1)
STAY_S = 0.8
# After a loss the sender is asked for a key frame, once there is no hope for the lost one.
STAY_LOST_S, LOST_S = 2.0, 1.3
# Left and right above, left and right below.
CORNERS = ((210, 30, 30), (30, 200, 30), (40, 40, 220), (235, 235, 235))


@cache
def film(codec: str, size: Size) -> list[Encoded]:
    """A second of a still picture, a colour in each quarter, as an encoder begins anew with it."""
    width_px, height_px = size
    image = np.zeros((height_px, width_px, 3), np.uint8)
    for number, colour in enumerate(CORNERS):
        rows = slice(0, height_px // 2) if number < 2 else slice(height_px // 2, None)
        columns = slice(width_px // 2, None) if number % 2 else slice(0, width_px // 2)
        image[rows, columns] = colour
    context: Any = av.CodecContext.create({"vp8": "libvpx", "h264": "libx264"}[codec], "w")
    context.width, context.height, context.pix_fmt = width_px, height_px, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE_HZ), Fraction(RATE_HZ)
    context.bit_rate, context.gop_size, context.thread_count = 400_000, 10_000, 1
    context.options = (
        {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        if codec == "vp8"
        else {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    )
    packets = []
    for number in range(RATE_HZ):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += context.encode(frame)
    return [Encoded(bytes(packet), packet.is_keyframe) for packet in [*packets, *context.encode(None)]]


class Turning(RealEncoding):
    """A camera that can be turned."""

    def __init__(self, own: RealEncoding) -> None:
        self.__dict__.update(own.__dict__)

    def turn(self, size: Size) -> None:
        self.film, self._at = film(self.codec, size), 0


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[RecordedMeeting]:
    with Network() as network, closing(RecordedMeeting(network, tmp_path / "recordings")) as meeting:
        yield meeting


WIDE, HIGH, SMALL = (320, 180), (180, 320), (160, 90)


@pytest.mark.parametrize(
    ("codec", "sizes", "loses"),
    [
        ("vp8", (WIDE, HIGH, SMALL, WIDE), False),
        ("h264", (WIDE, HIGH, SMALL, WIDE), False),
        ("vp8", ((161, 91), (91, 161), (322, 181)), False),
        # Of 1088 lines eight are cut off.
        ("h264", ((480, 1080), (1080, 480)), False),
        ("vp8", (WIDE, HIGH), True),
        ("h264", (WIDE, HIGH), True),
    ],
)
def test_pictures_of_changing_size_stay_upright_and_in_shape(
    meeting: RecordedMeeting, tmp_path: Path, codec: str, sizes: tuple[Size, ...], loses: bool
) -> None:
    hue = meeting.film("hue", codec=codec, voices=0, pictures=())
    ((rid, own),) = hue.encodings[Source.CAMERA].items()
    assert isinstance(own, RealEncoding)
    camera = hue.encodings[Source.CAMERA][rid] = Turning(own)
    camera.turn(sizes[0])
    note = meeting.recorder.note
    about = {"site": "Huế", "level": "district", "role": "expert", "name": "hue", "device": False}
    note(EventKind.PARTICIPANT_JOINED, {"participant": "hue", **about})
    note(EventKind.STAGE, {"participant": "hue", "mode": "chair"})
    meeting.run(1.0)
    note(EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": None})
    meeting.recorder.capture(True)
    begun, stay_s = meeting.network.now, STAY_LOST_S if loses else STAY_S
    turned = []
    for size in sizes:
        camera.turn(size)
        turned.append((meeting.network.now - begun, size))
        if loses and size is not sizes[0]:
            # The key frame of the new size, and what would repair it.
            hue.has_rtx = camera.has_rtx = False
            hue.up.loss = 1.0
            meeting.run(0.04)
            hue.up.loss = 0.0
        meeting.run(stay_s)
    meeting.recorder.capture(False)
    note(EventKind.RECORDING_STATE, {"state": "stopped", "by": None, "case": None})
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    track = meeting.session.track("hue")
    declared = [(line["width"], line["height"]) for line in track.of("segment")]
    assert [size for index, size in enumerate(declared) if index == 0 or size != declared[index - 1]] == list(
        sizes
    )
    assert all(decoded_frames(segment) for segment in track.segments)
    session = SessionFolder(meeting.session.folder, meeting.session.events)
    (tmp_path / "work").mkdir()
    (part,) = composed(session, tmp_path / "work", "S", SETTINGS).video
    with av.open(str(part.path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    settled_s = LOST_S if loses else 0.25
    for from_s, size in turned:
        for frame in shown[round((from_s + settled_s) * 25) : round((from_s + stay_s - 0.05) * 25) : 3]:
            check(frame, size)


def check(frame: "np.ndarray[Any, Any]", size: Size) -> None:
    """Look for each corner's colour where it belongs, and for nothing between."""
    pixels = frame[40:].astype(int)
    masks = [np.abs(pixels - colour).max(axis=2) < 60 for colour in CORNERS]
    picture = np.any(masks, axis=0)
    # White letters of names and clock are few.
    rows, columns = (np.flatnonzero(picture.sum(axis=axis) > 40) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    width, height = right - left, bottom - top
    assert width / height == pytest.approx(size[0] / size[1], rel=0.06)
    middle_row, middle_column = (top + bottom) // 2, (left + right) // 2
    for number, mask in enumerate(masks):
        rows_, columns_ = np.nonzero(mask[top:bottom, left:right])
        assert len(rows_) > 0.2 * width * height
        assert (np.median(rows_) + top > middle_row) == (number >= 2)
        assert (np.median(columns_) + left > middle_column) == bool(number % 2)
    assert picture[top:bottom, left:right].mean() > 0.9
