"""Keeping packages: one that cannot be checked, stored or purged now holds up no other."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import sealed

from bridge.archive.film.playing import why_unplayable
from bridge.archive.folders import ArchiveFolders, locked
from bridge.archive.keeping.deletion import Approval, destroy
from bridge.archive.keeping.stores import LocalStore, MayGo
from bridge.archive.model import Report
from bridge.archive.retention import Retention
from bridge.archive.work import tasks
from bridge.archive.work.attempts import Archive, now_ms
from bridge.archive.work.jobs import Task
from bridge.archive.work.register import register_packages
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConsentState, RetentionClass
from bridge.capture.sessions import SessionNames
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

pytestmark = pytest.mark.timeout(300)

FIRST, SECOND = f"{sealed.SESSION}-C01", f"{sealed.SESSION}-C02"


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """Two packages that are due to be checked."""
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path)
    folders.prepare()
    first = sealed.sealed(tmp_path)
    sealed.sealed(tmp_path, sealed.second_plan(), previous_seal=first.seal)
    catalogue = Catalogue(tmp_path)
    register_packages(catalogue, folders)
    for package in (FIRST, SECOND):
        catalogue.set_checked(package, 0, is_whole=True)
    yield Archive(folders, ArchiveConfig(), DicomConfig(), catalogue, ArchiveCounters())
    catalogue.close()


def is_whole(archive: Archive, package: str) -> bool | None:
    entry = archive.catalogue.package(package)
    assert entry is not None
    return entry.fixity_ok


async def test_package_that_is_missing_is_damaged_and_the_next_one_is_checked(archive: Archive) -> None:
    (archive.folders.packages / FIRST).rename(archive.folders.archive / "elsewhere")
    supervisor = ArchiveSupervisor(archive)
    overdue = await supervisor._read_status()
    assert overdue.check_overdue_s > 86_400
    for _ in range(2):
        await supervisor._keep_next()
    assert (is_whole(archive, FIRST), is_whole(archive, SECOND)) == (False, True)
    told = await supervisor._read_status()
    assert (told.damaged, told.check_overdue_s) == (1, 0.0)


async def test_package_that_cannot_be_checked_now_is_passed_over(archive: Archive) -> None:
    checked = now_ms()
    supervisor = ArchiveSupervisor(archive)
    with locked(archive.folders.work / f"{FIRST}.lock"):
        for _ in range(3):
            await supervisor._keep_next()
    first, second = (archive.catalogue.package(name) for name in (FIRST, SECOND))
    assert first is not None
    assert second is not None
    assert first.checked_ms == 0
    assert second.checked_ms is not None
    assert second.checked_ms >= checked


async def test_deletion_that_was_cut_short_before_the_catalogue_knew_is_no_damage(archive: Archive) -> None:
    folders = archive.folders
    destroy(
        folders.packages / FIRST,
        [LocalStore(folders.packages)],
        folders.certificates,
        retention=Retention(RetentionClass.ORDINARY, "2036-12-31"),
        approval=Approval(("Giám đốc",), "Hết thời hạn"),
        now_ms=sealed.T0 + 11 * 31_557_600_000,
    )
    supervisor = ArchiveSupervisor(archive)
    # One package for each, in whatever order.
    for _ in range(2):
        await supervisor._keep_next()
    entry = archive.catalogue.package(FIRST)
    assert entry is not None
    assert entry.deleted_ms is not None
    assert archive.catalogue.count_damaged() == 0


async def test_pacs_that_does_not_answer_is_asked_for_one_package_at_a_time(archive: Archive) -> None:
    dicom = DicomConfig(method="stow", stow_url="http://127.0.0.1:9/dicom-web")
    supervisor = ArchiveSupervisor(replace(archive, dicom=dicom))
    for _ in range(3):
        await supervisor._deliver_next()
    assert sorted(len(archive.catalogue.deliveries(package)) for package in (FIRST, SECOND)) == [0, 1]
    assert archive.counters.deliveries_failed == 1
    # Somebody who asks for it is not made to wait.
    supervisor._wake_all()
    await supervisor._deliver_next()
    assert archive.counters.deliveries_failed == 2


def video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 25)
        chance = np.random.default_rng(1)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(chance.integers(0, 255, (48, 64, 3), np.uint8), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_video_is_played_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "part-001.mp4"
    video(path, 50)
    assert why_unplayable(path, 50, lambda: None) == ""
    assert why_unplayable(path, 51, lambda: None) == "50 of 51 pictures can be decoded"
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin + 2000 : begin + 12000] = bytes(10_000)
    path.write_bytes(content)
    assert why_unplayable(path, 50, lambda: None) != ""
    shutil.copy(__file__, path)
    assert why_unplayable(path, 50, lambda: None) != ""


async def test_a_package_that_cannot_be_stored_for_its_own_sake_holds_up_no_other(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = ArchiveSupervisor(replace(archive, archive=ArchiveConfig(s3_endpoint="http://127.0.0.1:9")))
    first, second = (entry.id for entry in archive.catalogue.unstored())
    asked: list[str] = []
    failing = "package-damaged"

    async def store(_: Archive, package: str) -> None:
        asked.append(package)
        if package == first:
            raise ArchiveFailed(failing, "it is not what was sealed", is_lasting=True)
        archive.catalogue.set_stored(package, now_ms())

    monkeypatch.setattr("bridge.archive.work.attempts.store", store)
    for _ in range(3):
        await supervisor._store_next()
    assert asked == [first, second]
    # Where the store is away, all wait.
    failing = "store-unreachable"
    supervisor._wake_all()
    for _ in range(3):
        await supervisor._store_next()
    assert asked == [first, second, first]


def test_what_is_withdrawn_while_it_is_stored_goes_no_further(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Slow(LocalStore):
        def put(self, package: Path, *, report: Report, may_go: MayGo = lambda: None) -> None:
            may_go()
            archive.catalogue.withhold(
                FIRST, ConsentState.WITHDRAWN, now_ms(), by="room", reason="lời bệnh nhân"
            )
            super().put(package, report=report, may_go=may_go)

    (tmp_path / "other").mkdir()
    other = Slow(tmp_path / "other")
    monkeypatch.setattr(
        "bridge.archive.keeping.stores.stores", lambda _, packages: [LocalStore(packages), other]
    )
    with pytest.raises(ArchiveFailed, match="withheld"):
        tasks.store(archive.job(Task.STORE, FIRST), lambda progress: None)
    assert other.packages() == []


async def test_no_session_gets_a_name_that_the_other_store_has(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_ms = sealed.T0
    names = SessionNames("BV", (), installation="ABCDEF")
    day = names.begins(at_ms)
    (tmp_path / "other").mkdir()
    # Whole or half: whoever put it there has the name.
    for name in (f"{day}03-C01", f"{day}12-S", "HC-BV-ZZZZZZ-20261125-40-S"):
        (tmp_path / "other" / name).mkdir()
    here, other = LocalStore(archive.folders.packages), LocalStore(tmp_path / "other")
    monkeypatch.setattr("bridge.archive.keeping.stores.stores", lambda *_: [here, other])
    supervisor = ArchiveSupervisor(replace(archive, archive=ArchiveConfig(s3_endpoint="http://127.0.0.1:9")))
    supervisor.name_by(lambda: names.begins(at_ms), names.pass_over)
    is_away = True

    async def told(_: Archive, begin: str) -> list[str]:
        if is_away:
            raise ArchiveFailed("store-unreachable", "the store is away")
        return list(tasks.names(archive.job(Task.NAMES, begin))["sessions"])

    monkeypatch.setattr("bridge.archive.work.attempts.sessions_elsewhere", told)
    assert not await supervisor._learn_names()
    assert names.next(at_ms) == f"{day}01"
    is_away = False
    supervisor._wake_all()
    assert await supervisor._learn_names()
    assert names.next(at_ms) == f"{day}13"
    # Once a day.
    assert not await supervisor._learn_names()
