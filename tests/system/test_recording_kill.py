"""A process that records is killed: nothing older than a second is missing, and the rest can be decoded."""

import os
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from capture import Recorded, recover
from media import decoded_frames, packet_times_ms

from bridge.base.words import Source

TESTS = Path(__file__).parents[1]
KILLS = 10
MISSING_MS_MAX = 1000


def record_and_kill(folder: Path, after_s: float) -> float:
    """Let a child record for so long; return when it was killed, in Unix milliseconds."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, str(TESTS / "recording_child.py"), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"recording\n"
        time.sleep(after_s)
        killed_ms = time.time() * 1000
        child.kill()
    return killed_ms


@pytest.mark.timeout(180)
def test_nothing_older_than_a_second_is_missing_after_ten_kills(tmp_path: Path) -> None:
    moments = random.Random(20261125)
    missing_ms = []
    for number in range(KILLS):
        folder = tmp_path / f"recordings-{number}"
        killed_ms = record_and_kill(folder, moments.uniform(0.0, 3.0))
        (interrupted,) = recover(folder)
        session = Recorded(interrupted.folder)
        for source, step_ms in ((Source.CAMERA, 40), (Source.MICROPHONE, 20)):
            track = session.track("hue", source)
            (stream,) = track.of("stream")
            times = [time for path in track.segments for time in packet_times_ms(path)]
            assert sum(decoded_frames(path) for path in track.segments) == len(times)
            gaps = {(gap["from_pts_ms"], gap["to_pts_ms"]) for gap in track.of("gap")}
            holes = {
                (before if source is Source.CAMERA else before + 20, after)
                for before, after in pairwise(times)
                if after - before > step_ms
            }
            assert holes <= gaps
            missing_ms.append(killed_ms - stream["at_ms"] - times[-1])
        assert interrupted.ended_ms > killed_ms - MISSING_MS_MAX
    assert max(missing_ms) < MISSING_MS_MAX, [round(one) for one in missing_ms]
    print("missing at most", round(max(missing_ms)), "ms")
