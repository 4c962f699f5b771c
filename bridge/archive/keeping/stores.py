"""Where packages are kept: the local folder always, an S3-compatible store beside it where that is set up.

A store has a package when it can give all its files back unchanged: everything that is put is read back and
compared. The seal goes last, so that a package with a seal is whole. Deleting is for `deletion`, which asks
first whether it is allowed.
"""

import hashlib
import logging
import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, Protocol

from bridge.archive.folders import PARTIAL, disk_errors
from bridge.archive.model import Progress, Report, Stage
from bridge.archive.package import bag
from bridge.archive.package.seal import SEAL_FILE, parse_seal
from bridge.archive.package.verify import sealed_sums
from bridge.base.errors import ArchiveFailed
from bridge.config import ArchiveConfig

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 1024 * 1024
_LEAVING: Final = ".leaving"
# The store has understood, and will not do it.
_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 411})
# What must not be there yet is there, or is being put there by another one.
_TAKEN: Final = frozenset({409, 412})
_CONNECT_TIMEOUT_S: Final = 30
_ANSWER_TIMEOUT_S: Final = 300


OnBytes = Callable[[int], None]
MayGo = Callable[[], None]


class PackageStore(Protocol):
    """A place where packages are kept; everything raises ArchiveFailed."""

    name: str

    def put(self, package: Path, *, report: Report, may_go: MayGo = lambda: None) -> None:
        """Keep a package, and prove that it is kept; harmless twice.

        `may_go` raises ArchiveFailed when nothing more of it may be put; it is asked before each file.
        """

    def packages(self) -> list[str]:
        """Return the names of all whole packages."""

    def names(self, begin: str) -> list[str]:
        """Return the names of all that is there of packages whose names begin so, whole or not."""

    def fetch(self, package: str, target: Path) -> None:
        """Bring a package into a new folder."""

    def delete(self, package: str, tagmanifest_sha256: str) -> None:
        """Take a package away, known by its name and its tag manifest; harmless twice.

        Called by `deletion` only.
        """


class LocalStore:
    """The folder of sealed packages."""

    def __init__(self, folder: Path) -> None:
        self.name = "local"
        self._folder = folder

    def put(self, package: Path, *, report: Report, may_go: MayGo = lambda: None) -> None:
        """Copy a package in, as when one is brought back from another store."""
        target = self._folder / package.name
        may_go()
        if not target.exists():
            with disk_errors():
                _copy(package, target)
        report(Progress(Stage.SEAL, 1.0))

    def packages(self) -> list[str]:
        """Return the names of all whole packages."""
        with disk_errors():
            return sorted(path.name for path in self._folder.iterdir() if _is_package(path))

    def names(self, begin: str) -> list[str]:
        """Return the names of all that is there of packages whose names begin so, whole or not."""
        with disk_errors():
            return sorted(path.name for path in self._folder.glob(f"{begin}*"))

    def fetch(self, package: str, target: Path) -> None:
        """Copy a package into a new folder."""
        with disk_errors():
            _copy(self._folder / package, target)

    def delete(self, package: str, tagmanifest_sha256: str) -> None:
        """Take a package away; a half of one never bears its name. Whose it is, `deletion` has seen."""
        leaving = self._folder / f"{package}{_LEAVING}"
        with disk_errors():
            if (self._folder / package).exists():
                os.rename(self._folder / package, leaving)
                bag.sync(self._folder)
            if leaving.exists():
                shutil.rmtree(leaving)


class S3Store:
    """A bucket of an S3-compatible store; a package's files are objects below its name."""

    def __init__(self, settings: ArchiveConfig) -> None:
        self.name = f"{settings.s3_endpoint}/{settings.s3_bucket}"
        self._bucket = settings.s3_bucket
        self._client = _client(settings)

    def put(self, package: Path, *, report: Report, may_go: MayGo = lambda: None) -> None:
        """Upload what is not there yet, and read everything back."""
        with disk_errors():
            sums = _sealed_sums(package)
            names = [path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()]
            self._check_ours(package)
            # First what tells whose the rest is, and the seal last.
            names.sort(key=lambda name: (name == SEAL_FILE, name != bag.TAG_MANIFEST, name))
            meter = _Meter(sum((package / name).stat().st_size for name in names), report)
            for name in names:
                may_go()
                meter.finished(self._put_file(package, name, sums.get(name), meter.moved))

    def packages(self) -> list[str]:
        """Return the names of all packages whose seal is there."""
        with self._talking():
            return [name for name in self.names("") if self._size(f"{name}/{SEAL_FILE}") is not None]

    def names(self, begin: str) -> list[str]:
        """Return the names of all that is there of packages whose names begin so, whole or not."""
        with self._talking():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=begin, Delimiter="/"
            )
            return sorted(
                item["Prefix"].rstrip("/") for page in pages for item in page.get("CommonPrefixes", [])
            )

    def fetch(self, package: str, target: Path) -> None:
        """Download a package into a new folder."""
        partial = target.with_name(f"{target.name}{PARTIAL}")
        with disk_errors(), self._talking():
            shutil.rmtree(partial, ignore_errors=True)
            names = list(self._names(package))
            if SEAL_FILE not in names:
                raise ArchiveFailed("store-missing", f"{self.name} has no {package}", is_lasting=True)
            for name in names:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                with (partial / name).open("wb") as file:
                    self._read(f"{package}/{name}", file.write)
                bag.sync(partial / name)
            bag.sync_folders(partial)
            os.rename(partial, target)

    def delete(self, package: str, tagmanifest_sha256: str) -> None:
        """Delete the objects of a package in all their versions, the seal first.

        Another hospital's of the same name stays. Raises ArchiveFailed where the bucket keeps one: a mark of
        deletion alone is no deletion.
        """
        if self._is_theirs(package, tagmanifest_sha256):
            logger.warning("%s has another package of the name %s, which stays", self.name, package)
            return
        with self._talking():
            # Last what tells whose the rest is, for an attempt that breaks off.
            order = {f"{package}/{SEAL_FILE}": 0, f"{package}/{bag.TAG_MANIFEST}": 2}
            for key, version in sorted(self._versions(package), key=lambda found: order.get(found[0], 1)):
                self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _check_ours(self, package: Path) -> None:
        """Raise ArchiveFailed when another package has the name already, such as another hospital's."""
        theirs = self._content(f"{package.name}/{SEAL_FILE}")
        if theirs is not None:
            ours = parse_seal((package / SEAL_FILE).read_bytes())
            with suppress(ValueError):
                # One that cannot be read was damaged there, and is put again.
                if parse_seal(theirs).seal == ours.seal:
                    return
                raise self._other(package.name)
            return
        # Another one is perhaps being put there now; ours of an attempt that broke off is the same.
        begun = self._content(f"{package.name}/{bag.TAG_MANIFEST}")
        if begun is not None and begun != (package / bag.TAG_MANIFEST).read_bytes():
            raise self._other(package.name)

    def _is_theirs(self, package: str, tagmanifest_sha256: str) -> bool:
        """Tell whether what has this name in the bucket is surely not the package of this tag manifest."""
        seal = self._content(f"{package}/{SEAL_FILE}")
        if seal is not None:
            with suppress(ValueError):
                return parse_seal(seal).tagmanifest_sha256 != tagmanifest_sha256
        begun = self._content(f"{package}/{bag.TAG_MANIFEST}")
        return begun is not None and hashlib.sha256(begun).hexdigest() != tagmanifest_sha256

    def _other(self, package: str) -> ArchiveFailed:
        sentence = f"{self.name} has another package of the name {package}; it is not overwritten"
        return ArchiveFailed("store-other-seal", sentence, is_lasting=True)

    def _content(self, key: str) -> bytes | None:
        """Return a small object; None when there is none."""
        content = bytearray()
        with self._talking():
            if self._size(key) is None:
                return None
            self._read(key, content.extend)
        return bytes(content)

    def _put_file(self, package: Path, name: str, sealed_sha256: str | None, on_bytes: OnBytes) -> int:
        path, key = package / name, f"{package.name}/{name}"
        digest = bag.digest(path, on_bytes)
        if sealed_sha256 not in (None, digest.sha256):
            # What the store has may be the last good copy.
            raise ArchiveFailed("package-damaged", f"{key} is not what was sealed", is_lasting=True)
        with self._talking():
            there_bytes = self._size(key)
            if there_bytes != digest.bytes or self._sha256(key, on_bytes) != digest.sha256:
                # Of two that put a package of the same name at the same time, the store itself takes one.
                is_claim = name == bag.TAG_MANIFEST and there_bytes is None
                if name == bag.TAG_MANIFEST and not is_claim:
                    # It may have come since we looked.
                    self._check_ours(package)
                if not self._upload(path, key, digest, on_bytes, is_claim=is_claim):
                    raise self._other(package.name)
                if self._sha256(key, on_bytes) != digest.sha256:
                    raise ArchiveFailed("store-damaged", f"{self.name} gives back something else for {key}")
        return digest.bytes

    def _upload(self, path: Path, key: str, digest: bag.Digest, on_bytes: OnBytes, *, is_claim: bool) -> bool:
        """Upload a file; a claim only where the store has none yet, and False where it has one by now."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if is_claim else {}
        with _WatchedFile(path, on_bytes) as file:
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=file,
                    ContentLength=digest.bytes,
                    ChecksumSHA256=b64encode(bytes.fromhex(digest.sha256)).decode(),
                    **condition,
                )
            except ClientError as error:
                if is_claim and _status(error) in _TAKEN:
                    return False
                raise
        return True

    def _versions(self, package: str) -> Iterator[tuple[str, str]]:
        """Yield key and version of all that there ever was of a package, marks of deletion included."""
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=f"{package}/"
        )
        for page in pages:
            for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                yield str(item["Key"]), str(item["VersionId"])

    def _names(self, package: str) -> Iterator[str]:
        """Yield the file names of a package, relative to it."""
        prefix = f"{package}/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                name = str(item["Key"]).removeprefix(prefix)
                if not bag.is_inside(name):
                    raise ArchiveFailed(
                        "store-damaged", f"{self.name} names a file {name!r}", is_lasting=True
                    )
                yield name

    def _size(self, key: str) -> int | None:
        """Return the size of an object, None if there is none."""
        from botocore.exceptions import ClientError

        try:
            return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def _sha256(self, key: str, on_bytes: OnBytes) -> str:
        digest = hashlib.sha256()

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            on_bytes(len(chunk))

        self._read(key, take)
        return digest.hexdigest()

    def _read(self, key: str, take: Callable[[bytes], object]) -> None:
        body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        try:
            while chunk := body.read(_CHUNK_BYTES):
                take(chunk)
        finally:
            body.close()

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Say of everything that can go wrong with the store whether it is worth another attempt."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            is_refused = _status(error) in _REFUSED
            raise ArchiveFailed(
                "store-refused" if is_refused else "store-unavailable",
                f"{self.name}: {error}",
                is_lasting=is_refused,
            ) from error
        except BotoCoreError as error:
            raise ArchiveFailed("store-unreachable", f"{self.name}: {error}") from error


class _WatchedFile(FileIO):
    """A file that tells how it is read."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._on_bytes(len(data))
        return data


class _Meter:
    """Turns bytes that are hashed, sent and read back, sometimes twice, into a share of the whole."""

    # Once over the disk, and there and back over the line.
    PASSES: Final = 3

    def __init__(self, total_bytes: int, report: Report) -> None:
        self._total_bytes = total_bytes * self.PASSES or 1
        self._finished_bytes = 0
        self._moved_bytes = 0
        self._shown = 0.0
        self._report = report

    def moved(self, count: int) -> None:
        """Note some bytes of the present file."""
        self._moved_bytes += count
        self._tell()

    def finished(self, size_bytes: int) -> None:
        """Note that a file is done."""
        self._finished_bytes += size_bytes * self.PASSES
        self._moved_bytes = self._finished_bytes
        self._tell()

    def _tell(self) -> None:
        # A file that was read once more, to be signed, does not send the whole back afterwards.
        self._shown = max(self._shown, min(self._moved_bytes / self._total_bytes, 1.0))
        self._report(Progress(Stage.SEAL, self._shown))


def stores(settings: ArchiveConfig, packages: Path) -> list[PackageStore]:
    """Return where this archive keeps its packages, the local folder first; raises ArchiveFailed."""
    found: list[PackageStore] = [LocalStore(packages)]
    if settings.s3_endpoint:
        found.append(S3Store(settings))
    return found


def _client(settings: ArchiveConfig) -> Any:
    # Only who keeps packages in S3 needs the library, which is large.
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ArchiveFailed(
            "store-library", "archive.s3_endpoint is set, but boto3 is not installed", is_lasting=True
        ) from error
    try:
        return boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            region_name=settings.s3_region or "us-east-1",
            aws_access_key_id=_secret(settings.s3_access_key_file),
            aws_secret_access_key=_secret(settings.s3_secret_key_file),
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_ANSWER_TIMEOUT_S,
                retries={"mode": "standard", "max_attempts": 3},
                s3={"addressing_style": "path"},
                # What other makers' stores do not know; our own checksum is sent and compared.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except ValueError as error:
        raise ArchiveFailed("store-settings", f"archive.s3_endpoint: {error}", is_lasting=True) from error


def _secret(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveFailed("store-settings", f"{file}: {error}", is_lasting=True) from error


def _status(error: Any) -> int:
    response: Mapping[str, Any] = error.response
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _sealed_sums(package: Path) -> dict[str, str]:
    try:
        return sealed_sums(package)
    except ValueError as error:
        raise ArchiveFailed("package-damaged", f"{package.name}: {error}", is_lasting=True) from error


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, symlinks=True)
    for path in partial.rglob("*"):
        if path.is_file():
            bag.sync(path)
    bag.sync_folders(partial)
    os.rename(partial, target)
    bag.sync(target.parent)


def _is_package(path: Path) -> bool:
    return not path.name.endswith((PARTIAL, _LEAVING)) and (path / SEAL_FILE).is_file()
