"""Voices with silences between (DTX), in packets of every length: what is heard stays where it was said."""

import itertools
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
from meeting import Client
from network import START_S, Network
from streams import Voice as Sender

from bridge.archive.model import SessionFolder
from bridge.archive.tracks.tracks import Track, read_tracks
from bridge.archive.tracks.voices import Voice
from bridge.base.words import Source

WALL_MS = 1_800_000_000_000
RATE_HZ = 48_000
TICK_MS = 20
# A beep of so long at the beginning of each period.
BEEP_MS, PERIOD_MS = 200, 1_000
COMFORT_MS = 400
FIT_MS = 40


@cache
def packets(
    seconds: int, frame_ms: int, layout: str, has_dtx: bool, application: str = "voip"
) -> list[tuple[int, bytes]]:
    """Return what is sent and when, in ms: of the silence comfort noise alone, as browsers send it."""
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE_HZ, layout, "flt"
    encoder.time_base, encoder.bit_rate = Fraction(1, RATE_HZ), 32_000
    encoder.options = {
        "frame_duration": str(frame_ms), "application": application, "dtx": str(int(has_dtx)), "fec": "1"
    }  # fmt: skip
    channels = 2 if layout == "stereo" else 1
    size = RATE_HZ * frame_ms // 1000
    data = []
    for number in range(seconds * 1000 // frame_ms):
        at = np.arange(number * size, (number + 1) * size) / RATE_HZ
        inside = at * 1000 % PERIOD_MS
        beep = np.where(inside < BEEP_MS, 0.4 * np.sin(2 * np.pi * 1000 * at), 0.0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.repeat(beep, channels).reshape(1, -1), "flt", layout)
        frame.sample_rate, frame.pts = RATE_HZ, number * size
        data += [bytes(packet) for packet in encoder.encode(frame)]
    sent, comfort_at = [], 0
    for number, payload in enumerate(data):
        # Up to three bytes for each 20 ms.
        is_comfort = has_dtx and len(payload) <= 3 * max(frame_ms // TICK_MS, 1)
        if not is_comfort or number * frame_ms >= comfort_at:
            comfort_at = number * frame_ms + COMFORT_MS
            sent.append((number * frame_ms, payload))
    return sent


class Speaker(Sender):
    """A microphone that sends what is due, and nothing in between."""

    def __init__(self, own: Sender, due: list[tuple[int, bytes]]) -> None:
        self.__dict__.update(own.__dict__)
        self._due = dict(due)

    def frame(self, captured: float) -> bytes:
        payload = self._due.get(self.frames * TICK_MS)
        self.frames += 1
        if payload is None:
            return b""
        return self.stream.next_packet(payload, captured, marker=False, extensions={})


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[RecordedMeeting]:
    with Network() as network, closing(RecordedMeeting(network, tmp_path)) as meeting:
        yield meeting


def record(meeting: RecordedMeeting, due: list[tuple[int, bytes]], seconds: int) -> tuple[Track, float]:
    """Record a speaker from the beginning; return the track, and when it began to speak, in server time."""
    client = meeting.join("hue", sources=(Source.MICROPHONE,), voices=0, pictures=())
    send = client.send_rtp
    client.send_rtp = lambda data: send(data) if data else None  # type: ignore[method-assign]
    own, client.voice = client.voice, None
    meeting.recorder.capture(True)
    meeting.run(1.0)
    assert own is not None
    client.voice = Speaker(own, due)
    first = first_frame(meeting, client)
    meeting.run(seconds)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    (track,) = read_tracks(SessionFolder(meeting.session.folder, ()))
    assert track.logged_gaps == ()
    return track, WALL_MS + (first - START_S) * 1000


def first_frame(meeting: RecordedMeeting, client: Client) -> float:
    while client.voice is not None and client.voice.frames == 0:
        meeting.run(0.001)
    return meeting.network.now


def heard(track: Track, from_ms: float, seconds: int) -> "np.ndarray[Any, Any]":
    voice = Voice(track)
    pieces = []
    for second in range(seconds):
        mix = np.zeros(RATE_HZ, np.float32)
        voice.add_to(mix, from_ms + second * 1000)
        pieces.append(mix)
    assert voice.take_damages() == []
    return np.concatenate(pieces)


@pytest.mark.parametrize(
    ("frame_ms", "layout", "has_dtx", "seconds"),
    [(20, "mono", True, 202), (20, "stereo", True, 40), (60, "mono", True, 40), (40, "mono", False, 40)],
)
def test_after_many_silences_a_beep_is_in_its_place(
    meeting: RecordedMeeting, frame_ms: int, layout: str, has_dtx: bool, seconds: int
) -> None:
    due = packets(seconds, frame_ms, layout, has_dtx)
    if has_dtx:
        assert len(due) < seconds * 1000 / frame_ms / 2
    track, began_ms = record(meeting, due, seconds)
    check(heard(track, began_ms, seconds), seconds)


def check(sound: "np.ndarray[Any, Any]", seconds: int) -> None:
    onsets = []
    for second in range(1, seconds - 1):
        # From half a second before: where it begins, and that nothing was heard before.
        piece = np.abs(sound[second * RATE_HZ - RATE_HZ // 2 : second * RATE_HZ + RATE_HZ // 2])
        onsets.append(int(np.argmax(piece > 0.05)) * 1000 / RATE_HZ - 500)
        assert piece[: round(0.45 * RATE_HZ)].max() < 0.01
        assert piece[round(0.55 * RATE_HZ) : round(0.65 * RATE_HZ)].max() > 0.2
    assert -FIT_MS <= min(onsets) <= max(onsets) <= FIT_MS
    assert abs(onsets[-1] - onsets[0]) <= 10


def test_packets_may_change_their_length_on_the_way(meeting: RecordedMeeting) -> None:
    short, long = packets(10, 20, "mono", True), packets(10, 40, "mono", True, "audio")
    longest = packets(10, 60, "stereo", True)
    # Whole periods of each, one after the other.
    due = [
        (at_ms + start_ms, payload)
        for start_ms, kind in zip(itertools.count(0, 9_000), (short, long, longest, short), strict=False)
        for at_ms, payload in kind
        if at_ms < 9_000
    ]
    track, began_ms = record(meeting, due, 36)
    check(heard(track, began_ms, 36), 36)
