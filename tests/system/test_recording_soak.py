"""Forty minutes of conference in half a minute: the recorder's memory, files and queue stay as they were."""

import gc
import os
from pathlib import Path

import psutil
import pytest
from capture import RecordedMeeting
from media import RealEncoding
from network import Network

from bridge.base.words import Source
from bridge.store.journal import EventKind

MINUTES = 40
WARM_MINUTES = 15
STEP_S = 0.1
VOICES_PER_STEP = 5
GROWTH_BYTES_MAX = 8 << 20


def resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.timeout(400)
def test_forty_minutes_take_no_more_memory_than_fifteen(tmp_path: Path) -> None:
    with Network() as network:
        meeting = RecordedMeeting(network, tmp_path)
        hue = meeting.film("hue")
        camera = next(iter(hue.encodings[Source.CAMERA].values()))
        voice = hue.voice
        assert isinstance(camera, RealEncoding)
        assert voice is not None
        meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
        meeting.recorder.capture(True)
        meeting.run(1.0)
        # From here on the test hands over what the client would send.
        hue.is_gone = True
        leg = hue.leg
        warm_bytes = descriptors = 0
        for step in range(round(MINUTES * 60 / STEP_S)):
            now = network.now
            for data in camera.picture(now, 10.0):
                leg.receive_rtp(data, now)
            for place in range(VOICES_PER_STEP):
                leg.receive_rtp(voice.frame(now + place * 0.02), now)
            if step % 10 == 0:
                leg.receive_rtcp(camera.stream.sender_report(hue.ntp(now), now), now)
            meeting.run(STEP_S)
            if step == round(WARM_MINUTES * 60 / STEP_S):
                warm_bytes, descriptors = resident_bytes(), len(os.listdir("/proc/self/fd"))
        assert resident_bytes() - warm_bytes < GROWTH_BYTES_MAX
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        assert meeting.writer.queued_bytes < 1 << 20
        meeting.recorder.close("room-closed")
        meeting.run(1.0)
        track = meeting.session.track("hue")
        assert len(track.segments) >= MINUTES - 5
        assert track.of("gap") == []
        assert meeting.recording_counters.frames_written >= MINUTES * 60 * 60 * 0.99
        meeting.close()
