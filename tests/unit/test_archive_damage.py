"""What a bad disk takes of a recording: tried again first, then sealed and told."""

import json
from pathlib import Path

import pytest
from recordings import MUONG_NHE, VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders
from bridge.archive.work import tasks
from bridge.archive.work.jobs import Job, Task
from bridge.archive.work.retry import PAUSES_S, is_last
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

PACKAGE = "HC-BV-20261125-01-S"


def job(folder: Path, task: Task) -> Job:
    folders = ArchiveFolders(folder / "recordings", folder / "archive")
    folders.prepare()
    return Job(task, folders, ArchiveConfig(video_height_px="360"), DicomConfig(), PACKAGE, None)


def test_package_with_a_track_that_stays_unreadable_is_sealed_at_the_last_attempt_and_says_so(
    tmp_path: Path,
) -> None:
    made = Recording(tmp_path / "recordings")
    made.join(0, VIET_DUC)
    made.join(0, MUONG_NHE)
    made.state(0, "recording")
    made.microphone(MUONG_NHE, 0, 2)
    log = made.microphone(VIET_DUC, 0, 2).folder / "track.jsonl"
    made.close(2)
    made.write()
    log.unlink()
    log.symlink_to(log.name)
    tasks.take_in_sessions(job(tmp_path, Task.INTAKE))
    catalogue = Catalogue(tmp_path / "archive")
    making = job(tmp_path, Task.ARCHIVE)
    for _ in PAUSES_S:
        with pytest.raises(OSError, match="symbolic links"):
            tasks.archive(making, lambda _: None)
        error = ArchiveFailed("disk-error", "a bad sector")
        catalogue.set_failed(PACKAGE, PackageState.QUEUED, error, next_attempt_ms=None)
    tasks.archive(making, lambda _: None)
    gaps = json.loads((tmp_path / "archive" / "packages" / PACKAGE / "data" / "gaps.json").read_bytes())
    assert [(gap["participant"], gap["reason"]) for gap in gaps] == [(VIET_DUC.participant, "damaged")]
    entry = catalogue.package(PACKAGE)
    assert entry is not None
    assert (entry.state, entry.damaged_ms) == (PackageState.SEALED, 2000)


def test_disk_that_was_full_before_does_not_use_up_the_attempts_to_read() -> None:
    assert not is_last(len(PAUSES_S) + 3, "disk-full")
    assert not is_last(len(PAUSES_S) - 1, "disk-error")
    assert is_last(len(PAUSES_S), "disk-error")
