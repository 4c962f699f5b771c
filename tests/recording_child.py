"""A process that records a room of one site at the pace of real time, until it is killed.

Prints a line when pictures are on the disk, when there is another problem or none any more, and when the
recording has failed. Run with the folder of the recordings.
"""

import sys
import time
from pathlib import Path

from capture import RecordedMeeting
from network import Network

from bridge.store.journal import EventKind

STEP_S = 0.01


def main(folder: Path) -> None:
    with Network() as network:
        started = time.monotonic() - network.now
        meeting = RecordedMeeting(network, folder, wall_s=time.time(), segment_s=2)
        meeting.start_thread()
        hue = meeting.film("hue")
        hue.up.loss = 0.05
        meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
        meeting.recorder.capture(True)
        is_told = has_failed = False
        problems = 0
        while True:
            late_s = time.monotonic() - started - network.now
            if late_s > 0:
                network.run(late_s)
            if not is_told and meeting.recording_counters.frames_written > 20:
                is_told = True
                print("recording", flush=True)
            while problems < len(meeting.observer.problems):
                print("problem", meeting.observer.problems[problems], flush=True)
                problems += 1
            if not has_failed and meeting.observer.failures:
                has_failed = True
                print("failed", flush=True)
            time.sleep(STEP_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
