"""archive/work/register.py: the catalogue from packages alone, and the end of the chain where it was."""

import shutil
from pathlib import Path

import pytest
import sealed

from bridge.archive.folders import ArchiveFolders
from bridge.archive.keeping.deletion import Approval, destroy
from bridge.archive.keeping.stores import LocalStore
from bridge.archive.package.build import SealedPackage
from bridge.archive.retention import Retention
from bridge.archive.work.register import read_package, register_packages
from bridge.base.errors import ArchiveFailed
from bridge.base.words import PackageState, RetentionClass
from bridge.store.catalogue import Catalogue

FIFTY_YEARS_MS = 50 * 366 * 86_400_000


@pytest.fixture
def folders(tmp_path: Path) -> ArchiveFolders:
    made = ArchiveFolders(tmp_path / "recordings", tmp_path / "archive")
    made.prepare()
    return made


def three(tmp_path: Path, folders: ArchiveFolders) -> list[SealedPackage]:
    """Three packages, each chained to the one before, where the archive keeps them."""
    made = []
    seal: str | None = None
    for number, plan in enumerate((sealed.case_plan(), sealed.second_plan(), sealed.session_plan())):
        root = tmp_path / str(number)
        root.mkdir()
        package = sealed.sealed(root, plan, previous_seal=seal, now_ms=sealed.T0 + 3_600_000 + number)
        folder = folders.packages / package.folder.name
        shutil.move(package.folder, folder)
        made.append(SealedPackage(folder, package.seal))
        seal = package.seal
    return made


def test_an_empty_catalogue_learns_everything_from_the_packages(
    tmp_path: Path, folders: ArchiveFolders
) -> None:
    made = three(tmp_path, folders)
    catalogue = Catalogue(folders.archive)
    assert sorted(register_packages(catalogue, folders)) == sorted(item.folder.name for item in made)
    assert catalogue.last_seal() == made[-1].seal
    case = catalogue.package(made[0].folder.name)
    assert case is not None
    assert (case.state, case.seal, case.code) == (PackageState.SEALED, made[0].seal, sealed.case_plan().code)
    assert case.bytes == sum(path.stat().st_size for path in made[0].folder.rglob("*") if path.is_file())
    assert register_packages(catalogue, folders) == []
    catalogue.close()


def test_a_package_put_back_from_a_backup_does_not_become_the_newest(
    tmp_path: Path, folders: ArchiveFolders
) -> None:
    first, *_, last = three(tmp_path, folders)
    catalogue = Catalogue(folders.archive)
    shutil.move(first.folder, tmp_path / "backup")
    register_packages(catalogue, folders)
    shutil.move(tmp_path / "backup", first.folder)
    assert register_packages(catalogue, folders) == [first.folder.name]
    assert catalogue.last_seal() == last.seal
    catalogue.close()


def test_the_chain_goes_on_behind_a_deleted_package_although_the_catalogue_was_lost(
    tmp_path: Path, folders: ArchiveFolders
) -> None:
    *_, last = three(tmp_path, folders)
    destroy(
        last.folder,
        [LocalStore(folders.packages)],
        folders.certificates,
        retention=Retention(RetentionClass.ORDINARY, "2036-12-31"),
        approval=Approval(("BS. Trần Thị Bình",), "its time has come"),
        now_ms=sealed.T0 + FIFTY_YEARS_MS,
    )
    catalogue = Catalogue(folders.archive)
    register_packages(catalogue, folders)
    assert catalogue.last_seal() == last.seal
    deleted = catalogue.package(last.folder.name)
    assert deleted is not None
    assert deleted.seal == last.seal
    catalogue.close()


def test_what_only_looks_like_a_package_is_left_out(tmp_path: Path, folders: ArchiveFolders) -> None:
    first, second, _ = three(tmp_path, folders)
    (first.folder / "seal" / "seal.json").write_bytes(b"{}")
    (second.folder / "data" / "case.json").write_bytes(b"[1, 2]")
    (folders.packages / "HC-BV-20261125-09-S.partial").mkdir()
    catalogue = Catalogue(folders.archive)
    assert len(register_packages(catalogue, folders)) == 1
    for package in (first, second):
        with pytest.raises(ArchiveFailed) as caught:
            read_package(package.folder)
        assert caught.value.code == "package-broken"
    catalogue.close()


def test_a_package_under_another_name_is_no_package(tmp_path: Path, folders: ArchiveFolders) -> None:
    first, *_ = three(tmp_path, folders)
    renamed = folders.packages / "HC-BV-20261125-77-C01"
    shutil.move(first.folder, renamed)
    with pytest.raises(ArchiveFailed, match="name different packages"):
        read_package(renamed)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"package": "HC-BV-20261125-01-C01"}'])
def test_a_torn_certificate_holds_up_nothing_else(
    tmp_path: Path, folders: ArchiveFolders, content: bytes
) -> None:
    made = three(tmp_path, folders)
    (folders.certificates / "HC-BV-20250101-01-C01.json").write_bytes(content)
    catalogue = Catalogue(folders.archive)
    assert len(register_packages(catalogue, folders)) == len(made)
    catalogue.close()
