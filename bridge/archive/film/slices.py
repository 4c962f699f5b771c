"""Slices of a film on the disk: what the encoders made, kept until the parts are joined from it.

A slice is one file, written under another name and renamed when it is whole and on the disk. So a killed
composition finds each slice either finished or not there. The file is a line of JSON that says what follows,
a line with the SHA-256 of all the rest, and then the encoded pictures and frames of sound, byte by byte.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from bridge.archive.tracks.feeds import Damage
from bridge.base.errors import ArchiveFailed

HEAD_MAX_BYTES: Final = 4 << 20
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SliceName:
    """Which slice of which film."""

    film: str
    index: int

    def path(self, folder: Path) -> Path:
        """Return its file."""
        return folder / f"{self.film}-{self.index:05d}.slice"


@dataclass(frozen=True, slots=True)
class SliceHead:
    """What a slice holds: sizes and places of the data that follows, in their order."""

    first_frame: int
    # (bytes, whether it is a key frame), one for each frame.
    pictures: Sequence[tuple[int, bool]]
    # (place of its first sample in the film, bytes)
    sounds: Sequence[tuple[int, int]]
    # (frame, bytes): small JPEGs for the contact sheet.
    thumbnails: Sequence[tuple[int, int]]
    damages: Sequence[tuple[str, float, float, str]]
    picture_setup: str
    sound_setup: str


@dataclass(slots=True)
class SliceData:
    """A slice in the making, or read back."""

    first_frame: int
    pictures: list[tuple[bytes, bool]] = field(default_factory=list)
    sounds: list[tuple[int, bytes]] = field(default_factory=list)
    thumbnails: list[tuple[int, bytes]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    # What decoders must be told first, of each stream (avcC and AudioSpecificConfig).
    picture_setup: bytes = b""
    sound_setup: bytes = b""

    def write(self, path: Path) -> None:
        """Put the slice on the disk, whole or not at all."""
        head = SliceHead(
            self.first_frame,
            [(len(data), is_key) for data, is_key in self.pictures],
            [(place, len(data)) for place, data in self.sounds],
            [(frame, len(data)) for frame, data in self.thumbnails],
            [(damage.track, damage.start_ms, damage.end_ms, damage.reason) for damage in self.damages],
            self.picture_setup.hex(),
            self.sound_setup.hex(),
        )
        line = json.dumps(asdict(head)).encode() + b"\n"
        digest = hashlib.sha256(line)
        for data in self._blobs():
            digest.update(data)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(line)
            file.write(digest.hexdigest().encode() + b"\n")
            for data in self._blobs():
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)

    def _blobs(self) -> Iterator[bytes]:
        yield from (data for data, _ in self.pictures)
        yield from (data for _, data in self.sounds)
        yield from (data for _, data in self.thumbnails)


def read_slice(path: Path, *, with_media: bool = True) -> SliceData:
    """Read a finished slice, or only what is told about it.

    Raises ArchiveFailed for one that the disk has changed, and takes it away, so that it is made anew.
    """
    try:
        return _read(path, with_media=with_media)
    except (ValueError, KeyError, TypeError) as error:
        path.unlink(missing_ok=True)
        raise ArchiveFailed("slice-damaged", f"{path.name}: {error}") from error


def _read(path: Path, *, with_media: bool) -> SliceData:
    with path.open("rb") as file:
        if with_media:
            _check(file)
        head = _head(file)
        media_bytes = sum(size for size, _ in head.pictures) + sum(size for _, size in head.sounds)
        if not with_media:
            file.seek(media_bytes, os.SEEK_CUR)
        return SliceData(
            head.first_frame,
            [(file.read(size), is_key) for size, is_key in head.pictures] if with_media else [],
            [(place, file.read(size)) for place, size in head.sounds] if with_media else [],
            [(frame, file.read(size)) for frame, size in head.thumbnails],
            [Damage(*damage) for damage in head.damages],
            bytes.fromhex(head.picture_setup),
            bytes.fromhex(head.sound_setup),
        )


def _check(file: BinaryIO) -> None:
    """Compare a slice with its checksum; raises ValueError."""
    digest = hashlib.sha256(file.readline(HEAD_MAX_BYTES))
    expected = file.readline(HEAD_MAX_BYTES).strip().decode("ascii")
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    if digest.hexdigest() != expected:
        raise ValueError("it is not what was written")
    file.seek(0)


def _head(file: BinaryIO) -> SliceHead:
    head = SliceHead(**json.loads(file.readline(HEAD_MAX_BYTES)))
    # The checksum.
    file.readline(HEAD_MAX_BYTES)
    return head
