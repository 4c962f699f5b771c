"""Packages in an S3-compatible store: moto's server over real HTTP."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import sealed
from bridge_process import free_port

from bridge.archive.keeping.deletion import Approval, destroy
from bridge.archive.keeping.stores import LocalStore, S3Store, stores
from bridge.archive.model import Progress
from bridge.archive.package.verify import verify
from bridge.archive.retention import Retention
from bridge.base.errors import ArchiveFailed
from bridge.base.words import RetentionClass
from bridge.config import ArchiveConfig

pytestmark = [pytest.mark.peer]

BUCKET = "hoichan-archive"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server", reason="needs moto's server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Any]:
    """The bucket as another client sees it."""
    resource = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    bucket = resource.create_bucket(Bucket=BUCKET)
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    resource.meta.client.close()


@pytest.fixture
def settings(endpoint: str, tmp_path: Path) -> ArchiveConfig:
    for name in ("access", "secret"):
        (tmp_path / name).write_text(f"{name}-key\n", encoding="utf-8")
    return ArchiveConfig(
        s3_endpoint=endpoint,
        s3_bucket=BUCKET,
        s3_access_key_file=str(tmp_path / "access"),
        s3_secret_key_file=str(tmp_path / "secret"),
    )


@pytest.fixture
def store(bucket: Any, settings: ArchiveConfig) -> Iterator[S3Store]:
    store = S3Store(settings)
    yield store
    store.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return sealed.sealed(tmp_path).folder


def ignore(progress: Progress) -> None:
    """Nobody looks."""


def keys(bucket: Any) -> set[str]:
    return {item.key for item in bucket.objects.all()}


def test_package_put_into_the_store_comes_back_proven(store: S3Store, package: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    store.put(package, report=lambda progress: seen.append(progress.done))
    assert store.packages() == store.names("HC-") == [package.name]
    assert store.names(f"{package.name}0") == []
    store.fetch(package.name, tmp_path / "back")
    assert verify(tmp_path / "back") == []
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_may_go_no_further_has_no_seal_in_the_store(store: S3Store, bucket: Any, package: Path) -> None:
    asked = 0

    def may_go() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise ArchiveFailed("withheld", "the patient does not consent", is_lasting=True)

    with pytest.raises(ArchiveFailed, match="withheld"):
        store.put(package, report=ignore, may_go=may_go)
    assert len(keys(bucket)) == 3
    assert store.packages() == []


def test_putting_twice_uploads_nothing_again(store: S3Store, bucket: Any, package: Path) -> None:
    store.put(package, report=ignore)
    before = {item.key: item.last_modified for item in bucket.objects.all()}
    store.put(package, report=ignore)
    assert {item.key: item.last_modified for item in bucket.objects.all()} == before


def test_object_that_was_damaged_in_the_store_is_put_again(
    store: S3Store, bucket: Any, package: Path, tmp_path: Path
) -> None:
    store.put(package, report=ignore)
    key = f"{package.name}/data/video/part-001.mp4"
    content = bytearray((package / "data/video/part-001.mp4").read_bytes())
    content[100] ^= 0x01
    bucket.put_object(Key=key, Body=bytes(content))
    store.fetch(package.name, tmp_path / "damaged")
    assert [problem.file for problem in verify(tmp_path / "damaged")][:1] == ["data/video/part-001.mp4"]
    store.put(package, report=ignore)
    store.fetch(package.name, tmp_path / "mended")
    assert verify(tmp_path / "mended") == []


def test_package_of_another_hospital_with_the_same_name_is_not_overwritten(
    store: S3Store, bucket: Any, package: Path, tmp_path: Path
) -> None:
    store.put(package, report=ignore)
    (tmp_path / "other").mkdir()
    other = sealed.sealed(tmp_path / "other", replace(sealed.case_plan(), title="Bệnh viện khác")).folder
    assert other.name == package.name
    with pytest.raises(ArchiveFailed, match="store-other-seal"):
        store.put(other, report=ignore)
    store.fetch(package.name, tmp_path / "back")
    assert (tmp_path / "back/seal/seal.json").read_bytes() == (package / "seal/seal.json").read_bytes()
    assert verify(tmp_path / "back") == []
    # One whose seal is still to come is not, either.
    bucket.Object(f"{package.name}/seal/seal.json").delete()
    with pytest.raises(ArchiveFailed, match="store-other-seal"):
        store.put(other, report=ignore)
    store.put(package, report=ignore)
    assert store.packages() == [package.name]


@pytest.mark.parametrize(("step", "is_late"), [("_check_ours", True), ("_upload", False)])
def test_of_two_packages_of_the_same_name_that_are_put_at_once_one_is_refused(
    store: S3Store, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, is_late: bool
) -> None:
    """The other one comes after we have looked for one, or when we are about to put the first file."""
    (tmp_path / "other").mkdir()
    other = sealed.sealed(tmp_path / "other", replace(sealed.case_plan(), title="Bệnh viện khác")).folder
    done = getattr(store, step)

    def others_come(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        result = done(*args, **options) if is_late else None
        store.put(other, report=ignore)
        return result if is_late else done(*args, **options)

    monkeypatch.setattr(store, step, others_come)
    with pytest.raises(ArchiveFailed, match="store-other-seal"):
        store.put(package, report=ignore)
    store.fetch(package.name, tmp_path / "back")
    assert (tmp_path / "back/seal/seal.json").read_bytes() == (other / "seal/seal.json").read_bytes()
    assert verify(tmp_path / "back") == []


def test_seal_that_was_damaged_in_the_store_is_put_again(store: S3Store, bucket: Any, package: Path) -> None:
    store.put(package, report=ignore)
    bucket.put_object(Key=f"{package.name}/seal/seal.json", Body=b"{")
    store.put(package, report=ignore)
    body = bucket.Object(f"{package.name}/seal/seal.json").get()["Body"].read()
    assert body == (package / "seal/seal.json").read_bytes()


@pytest.mark.parametrize(
    "name", ["data/video/part-001.mp4", "data/case.json", "bag-info.txt", "seal/seal.json"]
)
def test_damage_here_does_not_reach_the_good_copy_in_the_store(
    store: S3Store, package: Path, tmp_path: Path, name: str
) -> None:
    store.put(package, report=ignore)
    content = bytearray((package / name).read_bytes())
    content[10] ^= 0x01
    (package / name).unlink()
    (package / name).write_bytes(content)
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        store.put(package, report=ignore)
    store.fetch(package.name, tmp_path / "back")
    assert verify(tmp_path / "back") == []


def test_package_counts_only_when_its_seal_is_there(store: S3Store, bucket: Any, package: Path) -> None:
    store.put(package, report=ignore)
    bucket.Object(f"{package.name}/seal/seal.json").delete()
    assert store.packages() == []


def test_fetching_what_is_not_there_says_so_and_leaves_nothing(store: S3Store, tmp_path: Path) -> None:
    with pytest.raises(ArchiveFailed, match="store-missing"):
        store.fetch("HC-BV-20260101-01-C01", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_name_that_leads_out_of_the_package_is_not_followed(
    store: S3Store, bucket: Any, package: Path, tmp_path: Path
) -> None:
    store.put(package, report=ignore)
    bucket.put_object(Key=f"{package.name}/data/../../../outside", Body=b"x")
    with pytest.raises(ArchiveFailed, match="store-damaged"):
        store.fetch(package.name, tmp_path / "back")
    assert not (tmp_path / "outside").exists()


def test_deletion_takes_the_package_out_of_the_store_too(store: S3Store, bucket: Any, package: Path) -> None:
    store.put(package, report=ignore)
    bucket.put_object(Key=f"{package.name}0/data/other", Body=b"x")
    destroy(
        package,
        [store, LocalStore(package.parent)],
        package.parent.parent / "gone",
        retention=Retention(RetentionClass.ORDINARY, "2036-12-31"),
        approval=Approval(("Giám đốc",), "Hết thời hạn"),
        now_ms=sealed.T0 + 11 * 31_557_600_000,
    )
    assert keys(bucket) == {f"{package.name}0/data/other"}
    assert not package.exists()


def tag_manifest_sha256(package: Path) -> str:
    return hashlib.sha256((package / "tagmanifest-sha256.txt").read_bytes()).hexdigest()


def test_deletion_leaves_the_package_of_another_hospital_with_the_same_name(
    store: S3Store, bucket: Any, package: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = sealed.sealed(tmp_path / "other", replace(sealed.case_plan(), title="Bệnh viện khác")).folder
    store.put(other, report=ignore)
    theirs = keys(bucket)
    store.delete(package.name, tag_manifest_sha256(package))
    assert keys(bucket) == theirs
    # One whose seal is still to come, too.
    bucket.Object(f"{package.name}/seal/seal.json").delete()
    store.delete(package.name, tag_manifest_sha256(package))
    assert len(keys(bucket)) == len(theirs) - 1
    store.delete(package.name, tag_manifest_sha256(other))
    assert keys(bucket) == set()


def test_deletion_leaves_no_version_in_a_bucket_that_keeps_them(
    store: S3Store, bucket: Any, package: Path
) -> None:
    bucket.Versioning().enable()
    store.put(package, report=ignore)
    sums = tag_manifest_sha256(package)
    store.delete(package.name, sums)
    assert list(bucket.object_versions.all()) == []
    store.delete(package.name, sums)
    bucket.Versioning().suspend()


@pytest.mark.parametrize(
    ("change", "code", "is_lasting"),
    [
        (lambda settings: replace(settings, s3_bucket="no-such-bucket"), "store-refused", True),
        (lambda settings: replace(settings, s3_endpoint="http://127.0.0.1:9"), "store-unreachable", False),
        (lambda settings: replace(settings, s3_secret_key_file="/nowhere"), "store-settings", True),
    ],
)
def test_store_that_cannot_be_used_says_why_and_whether_to_try_again(
    bucket: Any,
    settings: ArchiveConfig,
    package: Path,
    change: Callable[[ArchiveConfig], ArchiveConfig],
    code: str,
    is_lasting: bool,
) -> None:
    with pytest.raises(ArchiveFailed) as failed:
        S3Store(change(settings)).put(package, report=ignore)
    assert (failed.value.code, failed.value.is_lasting) == (code, is_lasting)
    assert "secret-key" not in str(failed.value)


def test_local_folder_is_always_a_store(settings: ArchiveConfig, tmp_path: Path) -> None:
    assert [store.name for store in stores(ArchiveConfig(), tmp_path)] == ["local"]
    assert [type(store) for store in stores(settings, tmp_path)] == [LocalStore, S3Store]
