"""A session that a killed server left: people come in beside it, and its gaps are found and told in full."""

import asyncio
import math
import time
from pathlib import Path

import psutil

from benchmarks.long_files import make
from benchmarks.long_session import compared, composing, starting, state_dir


def test_people_come_in_beside_it_and_all_its_gaps_are_told(tmp_path: Path) -> None:
    """As `python -m benchmarks.long_session` does with 8 hours and 40 tracks, and with times."""
    session, made = make(tmp_path / "recordings", 0.075, 4, round(time.time() * 1000))
    assert {gap.reason for gap in made} == {"loss", "damaged"}
    start = asyncio.run(starting(state_dir(tmp_path / "state", session), session.name))
    assert max(start.ready_s, start.in_s, start.in_own_room_s) < math.inf
    assert start.went_on
    # What the tests before have left in this process is not the composition's.
    before_mb = psutil.Process().memory_info().rss / 1e6
    composed, found = composing(session, 0.5)
    assert composed.peak_memory_mb - before_mb < 700
    gaps = compared(made, found)
    assert gaps.fitting == gaps.made == len(made)
    # What a crash took comes on top of what was put in.
    others = [gap for gap in found if gap.reason != "crash"]
    assert len(others) == len(made)
