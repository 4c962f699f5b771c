"""Sessions of the same name: each keeps its own packages, wherever it comes from."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sealed
from recordings import CO_TO, VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders
from bridge.archive.work import tasks
from bridge.archive.work.jobs import Job, Task
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

SESSION = "HC-BV-20261125-01"
OURS, THEIRS = "Hội chẩn của chúng tôi", "Hội chẩn của bệnh viện khác"


@pytest.fixture
def folders(tmp_path: Path) -> ArchiveFolders:
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path / "archive")
    folders.prepare()
    return folders


@pytest.fixture
def catalogue(folders: ArchiveFolders) -> Iterator[Catalogue]:
    catalogue = Catalogue(folders.archive)
    yield catalogue
    catalogue.close()


def record(recordings: Path, title: str) -> Path:
    recording = Recording(recordings, session=SESSION, title=title)
    recording.join(0.0, VIET_DUC)
    recording.join(0.1, CO_TO)
    recording.add_case(0.2, "C01", title, CO_TO)
    recording.start_case(0.5, "C01")
    recording.finish_case(2.5, "C01")
    recording.close(3.0)
    return recording.write().path


def job(folders: ArchiveFolders, task: Task, package: str = "", session: Path | None = None) -> Job:
    return Job(task, folders, ArchiveConfig(), DicomConfig(), package, session)


def test_session_of_another_machine_is_kept_under_a_name_of_its_own(
    folders: ArchiveFolders, catalogue: Catalogue, tmp_path: Path
) -> None:
    record(folders.recordings, OURS)
    tasks.take_in_sessions(job(folders, Task.INTAKE))
    foreign = record(tmp_path / "disk", THEIRS)
    for _ in range(2):
        name = tasks.take_in_sessions(job(folders, Task.INTAKE, session=foreign))["session"]
        assert re.fullmatch(r"HC-BV-[A-Z2-7]{6}-20261125-01", name)
    for session, title in ((SESSION, OURS), (name, THEIRS)):
        packages = catalogue.packages_of(session)
        assert [package.title for package in packages] == [title, title]
        assert packages[0].code == title
    entry = catalogue.session(name)
    assert entry is not None
    # Or the tracks of ours would go with it.
    assert entry.folder != SESSION
    for package, path, title in ((f"{SESSION}-C01", None, OURS), (f"{name}-C01", foreign, THEIRS)):
        making = job(folders, Task.ARCHIVE, package, path)
        session, plan = tasks._planned(making, catalogue, is_last_try=False)
        assert (plan.package, plan.session, plan.title) == (package, package[:-4], title)
        assert session.path.parent == (folders.recordings if path is None else tmp_path / "disk")


def test_replaced_disk_gives_no_session_the_packages_of_another(
    folders: ArchiveFolders, catalogue: Catalogue
) -> None:
    # What is left of the one before is a package; the catalogue is new as well.
    package = sealed.sealed(folders.archive).folder.name
    assert package == f"{SESSION}-C01"
    record(folders.recordings, THEIRS)
    assert tasks.take_in_sessions(job(folders, Task.INTAKE))["broken"] == []
    (session,) = catalogue.sessions()
    other = session.id
    assert (other != SESSION, session.folder) == (True, SESSION)
    assert {entry.title for entry in catalogue.packages_of(other)} == {THEIRS}
    assert [entry.id for entry in catalogue.packages_of(SESSION)] == [package]
    making = job(folders, Task.ARCHIVE, f"{other}-C01")
    assert tasks._planned(making, catalogue, is_last_try=False)[1].title == THEIRS


def test_session_that_is_taken_in_again_keeps_its_name(
    folders: ArchiveFolders, catalogue: Catalogue, tmp_path: Path
) -> None:
    path = record(folders.recordings, OURS)
    tasks.take_in_sessions(job(folders, Task.INTAKE))
    backup = tmp_path / "backup" / SESSION
    shutil.copytree(path, backup)
    assert tasks.take_in_sessions(job(folders, Task.INTAKE, session=backup))["session"] == SESSION
    assert [entry.id for entry in catalogue.sessions()] == [SESSION]
