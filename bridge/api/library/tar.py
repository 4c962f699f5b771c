"""A folder as a tar archive whose length is known before its first byte: headers in memory, files on disk."""

import tarfile
from pathlib import Path
from typing import Final

from bridge.api.library.streaming import Body, FileSegment, Segment, tag_of

# A package is a few dozen files. What is larger by far is no package.
FILES_MAX: Final = 20_000


def tar_body(folder: Path) -> Body:
    """Return the folder's regular files as an uncompressed POSIX archive; reads the disk.

    Raises FileNotFoundError when the folder is not there, and ValueError when it holds too many files.
    Links and devices are left out, so that nothing outside of the folder can get in.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        raise FileNotFoundError(folder)
    if len(files) > FILES_MAX:
        raise ValueError(f"{folder.name} holds {len(files)} files")
    segments: list[Segment] = []
    modified_s = 0.0
    for path in files:
        status = path.stat()
        modified_s = max(modified_s, status.st_mtime)
        segments.append(_header(folder, path, status.st_size, int(status.st_mtime)))
        segments.append(FileSegment(path, status.st_size))
        segments.append(bytes(-status.st_size % tarfile.BLOCKSIZE))
    segments.append(bytes(2 * tarfile.BLOCKSIZE))
    tag = tag_of(segment for segment in segments if isinstance(segment, bytes))
    return Body(tuple(segments), tag, modified_s)


def _header(folder: Path, path: Path, size_bytes: int, modified_s: int) -> bytes:
    info = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
    info.size = size_bytes
    info.mtime = modified_s
    info.mode = 0o644
    return info.tobuf(format=tarfile.PAX_FORMAT)
