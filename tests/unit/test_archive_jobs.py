"""bridge/archive/work/jobs.py and retry.py: what a worker and its parent say, and when it is tried again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.archive.folders import ArchiveFolders
from bridge.archive.model import Progress, Stage
from bridge.archive.work.jobs import (
    SENTENCE_MAX,
    Job,
    Task,
    failure_line,
    parse_job,
    parse_line,
    progress_line,
    result_line,
)
from bridge.archive.work.retry import PATIENT_CODES, PATIENT_PAUSE_MAX_S, PAUSES_S, pause_s
from bridge.base.errors import ArchiveFailed
from bridge.config import ArchiveConfig, DicomConfig


def test_a_job_arrives_as_it_was_sent() -> None:
    job = Job(
        Task.ARCHIVE,
        ArchiveFolders(Path("/đĩa/recordings"), Path("/đĩa/archive")),
        ArchiveConfig(site_code="A1", part_max_mb=7),
        DicomConfig(method="stow", stow_url="https://pacs.example.vn"),
        "HC-A1-20261125-01-C01",
        Path("/usb/HC-A1-20261125-01"),
    )
    line = job.line()
    assert line.count(b"\n") == 1
    assert parse_job(line) == job


@pytest.mark.parametrize("progress", [Progress(Stage.COMPOSE, 0.25, 90.0), Progress(Stage.SEAL, 1.0)])
def test_progress_arrives_as_it_was_said(progress: Progress) -> None:
    assert parse_line(progress_line(progress)) == progress


def test_a_result_and_a_failure_arrive_as_they_were_said() -> None:
    assert parse_line(result_line({"seal": "abc"})) == {"seal": "abc"}
    failed = parse_line(failure_line(ArchiveFailed("disk-full", "Ổ đĩa " * 1000, is_lasting=True)))
    assert isinstance(failed, ArchiveFailed)
    assert (failed.code, len(failed.sentence), failed.is_lasting) == ("disk-full", SENTENCE_MAX, True)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_broken_worker_says_is_told_by_few_errors(line: bytes) -> None:
    try:
        parse_line(line)
    except (ValueError, KeyError, TypeError):
        pass


def test_a_failure_is_tried_again_with_growing_pauses_and_then_left() -> None:
    error = ArchiveFailed("worker-crashed", "killed")
    pauses = [pause_s(error, attempts) for attempts in range(1, len(PAUSES_S) + 2)]
    assert pauses == [*PAUSES_S, None]
    assert list(PAUSES_S) == sorted(PAUSES_S)


@pytest.mark.parametrize("code", sorted(PATIENT_CODES))
def test_what_time_can_heal_is_tried_for_ever(code: str) -> None:
    error = ArchiveFailed(code, "later")
    assert pause_s(error, 1) == 5.0
    assert pause_s(error, 10_000) == PATIENT_PAUSE_MAX_S


def test_what_cannot_be_healed_is_not_tried_again() -> None:
    assert pause_s(ArchiveFailed("disk-full", "x", is_lasting=True), 1) is None
