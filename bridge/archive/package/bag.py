"""The outer form of a package: BagIt 1.0 (RFC 8493), its manifests written and read strictly.

Every file is read once for both checksums, and is on the disk when its line of the manifest is written.
What the files mean is for `package` and `verify`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.archive.calendar import local

BAGIT_FILE: Final = "bagit.txt"
INFO_FILE: Final = "bag-info.txt"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"
MANIFESTS: Final = {"sha256": "manifest-sha256.txt", "sha512": "manifest-sha512.txt"}
PAYLOAD: Final = "data"

DECLARATION: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_CHUNK_BYTES: Final = 1024 * 1024
# A package has some dozens of files; a manifest longer than this is none.
MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file holds."""

    sha256: str
    sha512: str
    bytes: int


def digest(path: Path, on_bytes: Callable[[int], None] | None = None) -> Digest:
    """Read a file once; `on_bytes` hears of each chunk."""
    sha256, sha512, total_bytes = hashlib.sha256(), hashlib.sha512(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            sha512.update(chunk)
            total_bytes += len(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return Digest(sha256.hexdigest(), sha512.hexdigest(), total_bytes)


def payload_files(folder: Path) -> Iterator[str]:
    """Yield the names of everything below data/ that is not a folder, relative to the bag."""
    for path in sorted((folder / PAYLOAD).rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def write_tags(folder: Path, digests: Mapping[str, Digest], *, info: Mapping[str, str], now_ms: int) -> str:
    """Write everything beside the payload, and return the SHA-256 of the tag manifest."""
    total_bytes = sum(item.bytes for item in digests.values())
    lines = {
        "Bagging-Date": local(now_ms).strftime("%Y-%m-%d"),
        **info,
        "Payload-Oxum": f"{total_bytes}.{len(digests)}",
    }
    tags = {
        BAGIT_FILE: DECLARATION,
        INFO_FILE: "".join(f"{name}: {value}\n" for name, value in lines.items()).encode(),
        MANIFESTS["sha256"]: manifest({name: item.sha256 for name, item in digests.items()}),
        MANIFESTS["sha512"]: manifest({name: item.sha512 for name, item in digests.items()}),
    }
    for name, content in tags.items():
        write(folder / name, content)
    tag_manifest = manifest({name: hashlib.sha256(content).hexdigest() for name, content in tags.items()})
    write(folder / TAG_MANIFEST, tag_manifest)
    return hashlib.sha256(tag_manifest).hexdigest()


def manifest(sums: Mapping[str, str]) -> bytes:
    """Return a manifest, sorted by file name."""
    return "".join(f"{value}  {name}\n" for name, value in sorted(sums.items())).encode()


def parse_manifest(content: bytes, hex_digits: int) -> dict[str, str]:
    """Return the sums by file name; raises ValueError for anything that `manifest` does not write."""
    sums: dict[str, str] = {}
    for line in content.decode("utf-8").splitlines():
        value, separator, name = line.partition("  ")
        if not separator or len(value) != hex_digits or not is_inside(name):
            raise ValueError(f"line {len(sums) + 1} is not a checksum and a file name")
        sums[name] = value
    if manifest(sums) != content:
        raise ValueError("the lines are not sorted, or not unique")
    return sums


def parse_info(content: bytes) -> dict[str, str]:
    """Return the fields of bag-info.txt; raises ValueError."""
    fields: dict[str, str] = {}
    for line in content.decode("utf-8").splitlines():
        name, separator, value = line.partition(": ")
        if not separator:
            raise ValueError(f"line {len(fields) + 1} is not a name and a value")
        fields[name] = value
    return fields


def is_inside(name: str) -> bool:
    """Tell whether a file name stays inside of the bag."""
    steps = name.split("/")
    return "\\" not in name and name.isprintable() and not any(step in ("", ".", "..") for step in steps)


def write(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path) -> None:
    """Wait until all names of a tree are on the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync(path)
    sync(folder)
