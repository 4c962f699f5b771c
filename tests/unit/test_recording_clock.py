"""The machine's clock: whether somebody keeps it right is known, and stands in each session."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from capture import RecordedMeeting
from faults import make_faults
from network import Network
from prometheus_client import CollectorRegistry, generate_latest

from bridge.archive.work.supervisor import ArchiveStatus
from bridge.base.counters import ArchiveCounters, RecordingCounters
from bridge.capture.wall_clock import is_synchronised
from bridge.metrics import RecordCollector

STA_PLL, STA_UNSYNC = 0x0001, 0x0040


@pytest.mark.parametrize(("status", "said"), [(STA_PLL, "True"), (STA_PLL | STA_UNSYNC, "False")])
def test_the_kernel_is_asked_whether_the_clock_is_right(tmp_path: Path, status: int, said: str) -> None:
    faults = make_faults(tmp_path)
    faults.set(f"adjtimex clock {status}")
    code = "from bridge.capture.wall_clock import is_synchronised; print(is_synchronised())"
    told = subprocess.check_output(
        [sys.executable, "-c", code], env={**os.environ, **faults.environment}, text=True
    )
    assert told.strip() == said


def test_each_session_says_whether_its_clock_was_right(tmp_path: Path) -> None:
    with Network() as network, closing(RecordedMeeting(network, tmp_path / "recordings")) as meeting:
        meeting.run(1.0)
        assert meeting.session.events[0].data["clock_synchronised"] is is_synchronised()
        assert meeting.recording_counters.clock_synchronised is is_synchronised()


@pytest.mark.parametrize(("is_right", "line"), [(True, "1.0"), (False, "0.0"), (None, None)])
def test_a_clock_that_nobody_keeps_right_is_a_metric(is_right: bool | None, line: str | None) -> None:
    counters = RecordingCounters()
    counters.clock_synchronised = is_right
    registry = CollectorRegistry()
    registry.register(
        RecordCollector(
            recording=counters,
            archive=ArchiveCounters(),
            recordings=lambda: (),
            status=ArchiveStatus,
            thresholds_bytes={},
        )
    )
    lines = generate_latest(registry).decode().splitlines()
    told = [one.split()[1] for one in lines if one.startswith("hoichan_clock_synchronised ")]
    assert told == ([] if line is None else [line])
