"""A package goes only when it may, everywhere, and leaves a certificate; fixity checks until then."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sealed
from sealed import T0

from bridge.archive.keeping import fixity
from bridge.archive.keeping.deletion import Approval, deleted_seals, destroy
from bridge.archive.keeping.stores import LocalStore
from bridge.archive.model import Progress
from bridge.archive.package.verify import verify, verify_chain
from bridge.archive.retention import Retention
from bridge.base.errors import ArchiveFailed
from bridge.base.words import RetentionClass

ORDINARY = Retention(RetentionClass.ORDINARY, "2036-12-31")
APPROVAL = Approval(("Trưởng phòng KHTH", "Giám đốc"), "Hết thời hạn lưu trữ")
YEAR_MS = 31_557_600_000
IN_11_YEARS = T0 + 11 * YEAR_MS


class Reluctant(LocalStore):
    """A store that is away whenever something is to be deleted."""

    def delete(self, package: str, tagmanifest_sha256: str) -> None:
        raise ArchiveFailed("store-unreachable", "the store is away")


def ignore(progress: Progress) -> None:
    """Nobody looks."""


def test_package_whose_time_has_come_leaves_only_its_certificate(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path)
    store = LocalStore(tmp_path / "packages")
    certificate = destroy(
        package.folder, [store], tmp_path / "gone", retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS
    )
    assert list((tmp_path / "packages").iterdir()) == []
    assert store.packages() == []
    assert certificate == json.loads((tmp_path / "gone" / f"{package.folder.name}.json").read_text("utf-8"))
    assert certificate["seal"] == package.seal
    assert certificate["approved_by"] == ["Trưởng phòng KHTH", "Giám đốc"]
    assert len(certificate["dicom_instances"]) == 4


@pytest.mark.parametrize(
    ("retention", "now_ms", "code"),
    [
        (ORDINARY, T0 + 9 * YEAR_MS, "retention-runs"),
        (Retention(RetentionClass.DEATH, "2056-12-31"), IN_11_YEARS, "retention-runs"),
        (Retention(RetentionClass.INCIDENT, None), IN_11_YEARS, "kept-for-ever"),
        (replace(ORDINARY, has_legal_hold=True), IN_11_YEARS, "legal-hold"),
        # A shorter period than what was sealed is not believed.
        (Retention(RetentionClass.TRAINING, "2031-12-31"), T0 + 6 * YEAR_MS, "retention-runs"),
    ],
)
def test_package_that_must_be_kept_stays(
    tmp_path: Path, retention: Retention, now_ms: int, code: str
) -> None:
    package = sealed.sealed(tmp_path).folder
    store = LocalStore(tmp_path / "packages")
    with pytest.raises(ArchiveFailed) as failed:
        destroy(package, [store], tmp_path / "gone", retention=retention, approval=APPROVAL, now_ms=now_ms)
    assert failed.value.code == code
    assert verify(package) == []
    assert deleted_seals(tmp_path / "gone") == {}


@pytest.mark.parametrize("approval", [Approval((), "Hết thời hạn"), Approval(("Giám đốc",), "")])
def test_nothing_is_deleted_without_approval_and_reason(tmp_path: Path, approval: Approval) -> None:
    package = sealed.sealed(tmp_path).folder
    store = LocalStore(tmp_path / "packages")
    with pytest.raises(ArchiveFailed, match="not-approved"):
        destroy(
            package, [store], tmp_path / "gone", retention=ORDINARY, approval=approval, now_ms=IN_11_YEARS
        )
    assert package.exists()


def test_interrupted_deletion_is_completed_by_the_next_attempt(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path)

    local, away = LocalStore(tmp_path / "packages"), Reluctant(tmp_path / "packages")
    with pytest.raises(ArchiveFailed):
        destroy(
            package.folder, [local, away], tmp_path / "gone",
            retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS,
        )  # fmt: skip
    assert not package.folder.exists()
    certificate = destroy(
        package.folder, [local, local], tmp_path / "gone",
        retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS + 1,
    )  # fmt: skip
    assert certificate["seal"] == package.seal


def test_hold_stops_a_deletion_that_was_interrupted(tmp_path: Path) -> None:
    package, store = sealed.sealed(tmp_path).folder, Reluctant(tmp_path / "packages")
    with pytest.raises(ArchiveFailed, match="store-unreachable"):
        destroy(
            package, [store], tmp_path / "gone",
            retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS,
        )  # fmt: skip
    with pytest.raises(ArchiveFailed, match="legal-hold"):
        destroy(
            package, [LocalStore(tmp_path / "packages")], tmp_path / "gone",
            retention=replace(ORDINARY, has_legal_hold=True), approval=APPROVAL, now_ms=IN_11_YEARS,
        )  # fmt: skip
    assert verify(package) == []


def test_certificate_of_one_package_is_no_leave_to_delete_another_of_its_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "packages")
    first = sealed.sealed(tmp_path).folder
    destroy(first, [store], tmp_path / "gone", retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS)
    other = sealed.sealed(tmp_path, now_ms=T0 + YEAR_MS).folder
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        destroy(other, [store], tmp_path / "gone", retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS)
    assert verify(other) == []


def test_package_under_the_name_of_another_is_noticed_and_not_deleted_for_it(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path).folder
    swapped = package.rename(package.with_name(sealed.second_plan().package))
    result = fixity.check(swapped, timestamp_url="", now_ms=T0, report=ignore)
    assert [problem.code for problem in result.problems] == ["seal-broken"]
    with pytest.raises(ArchiveFailed, match="seal-broken"):
        sealed.sealed(tmp_path, sealed.second_plan())
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        destroy(
            swapped, [LocalStore(swapped.parent)], tmp_path / "gone",
            retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS,
        )  # fmt: skip
    assert verify(swapped) == []


def test_package_that_lies_elsewhere_is_not_certified_to_be_gone(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path).folder
    (tmp_path / "disk").mkdir()
    elsewhere = package.rename(tmp_path / "disk" / package.name)
    package.symlink_to(elsewhere)
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        destroy(
            package, [LocalStore(package.parent)], tmp_path / "gone",
            retention=ORDINARY, approval=APPROVAL, now_ms=IN_11_YEARS,
        )  # fmt: skip
    assert verify(package) == []
    assert deleted_seals(tmp_path / "gone") == {}


def test_chain_of_seals_is_proven_without_the_package_that_was_deleted(tmp_path: Path) -> None:
    first = sealed.sealed(tmp_path, sealed.case_plan())
    second = sealed.sealed(tmp_path, sealed.second_plan(), previous_seal=first.seal, now_ms=T0 + 4_000_000)
    last = sealed.sealed(tmp_path, sealed.session_plan(), previous_seal=second.seal, now_ms=T0 + 5_000_000)
    destroy(
        second.folder,
        [LocalStore(tmp_path / "packages")],
        tmp_path / "gone",
        retention=ORDINARY,
        approval=APPROVAL,
        now_ms=IN_11_YEARS,
    )
    left = [first.folder, last.folder]
    assert verify_chain(left) != []
    assert verify_chain(left, deleted=deleted_seals(tmp_path / "gone")) == []


def test_package_can_be_brought_back_from_another_folder(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path).folder
    (tmp_path / "second").mkdir()
    second = LocalStore(tmp_path / "second")
    second.put(package, report=ignore)
    second.put(package, report=ignore)
    assert second.packages() == [package.name]
    second.fetch(package.name, tmp_path / "restored")
    assert verify(tmp_path / "restored") == []


def test_fixity_check_finds_a_flipped_bit(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path).folder
    assert fixity.check(package, timestamp_url="", now_ms=T0, report=ignore).is_whole
    video = package / "data/video/part-002.mp4"
    content = bytearray(video.read_bytes())
    content[1000] ^= 0x04
    video.unlink()
    video.write_bytes(content)
    result = fixity.check(package, timestamp_url="", now_ms=T0 + 1, report=ignore)
    assert (result.is_whole, result.checked_ms, result.is_stamped) == (False, T0 + 1, False)
    assert {problem.file for problem in result.problems} >= {"data/video/part-002.mp4"}


def test_package_that_is_gone_is_damaged(tmp_path: Path) -> None:
    result = fixity.check(tmp_path / "nowhere", timestamp_url="", now_ms=T0, report=ignore)
    assert [problem.code for problem in result.problems] == ["not-a-package"]
