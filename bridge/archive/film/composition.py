"""A composition as JSON can tell it, between the process that makes it and the one that seals it.

The former has decoded what strangers sent: whatever it tells, only files of the package's own folder are
taken from it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Final

from bridge.archive.model import Composition, Gap, VideoPart

_PARTS: Final = ("video", "content_video")
_FILES: Final = ("captions", "chapters", "poster", "contact_sheet")
# A folder, and a file in it.
_DEPTH: Final = 2


def to_value(composition: Composition) -> dict[str, Any]:
    """Return a composition with its files by their places in its folder."""
    folder = composition.folder
    value: dict[str, Any] = {
        kind: [{**asdict(part), "path": str(part.path.relative_to(folder))} for part in parts]
        for kind, parts in zip(_PARTS, (composition.video, composition.content_video), strict=True)
    }
    for kind in _FILES:
        path: Path | None = getattr(composition, kind)
        value[kind] = None if path is None else str(path.relative_to(folder))
    return {**value, "gaps": [asdict(gap) for gap in composition.gaps]}


def from_value(folder: Path, value: Mapping[str, Any]) -> Composition:
    """Return the composition of a folder; raises ValueError, KeyError or TypeError for what is none of it."""
    video, content = (
        tuple(VideoPart(**{**part, "path": _own(folder, part["path"])}) for part in value[kind])
        for kind in _PARTS
    )
    files = {kind: None if value[kind] is None else _own(folder, value[kind]) for kind in _FILES}
    gaps = tuple(Gap(**gap) for gap in value["gaps"])
    return Composition(folder=folder, video=video, content_video=content, gaps=gaps, **files)


def is_whole(composition: Composition) -> bool:
    """Return whether all its files are there, and the parts as long as they were."""
    files = (composition.captions, composition.chapters, composition.poster, composition.contact_sheet)
    return all(
        part.path.exists() and part.path.stat().st_size == part.bytes
        for part in (*composition.video, *composition.content_video)
    ) and all(path is None or path.exists() for path in files)


def _own(folder: Path, told: str) -> Path:
    place = PurePosixPath(told)
    path = folder / place
    if len(place.parts) != _DEPTH or place.is_absolute() or ".." in place.parts or path.is_symlink():
        raise ValueError(f"{told!r} is no file of the composition")
    return path
