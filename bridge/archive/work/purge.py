"""The archive's disk in the long run: tracks that have served go, and what is free is told."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bridge.archive.folders import disk_errors, remove
from bridge.archive.retention import TracksState, may_purge_tracks
from bridge.archive.work.attempts import Archive
from bridge.capture.sessions import PURGED, TRACKS, is_session
from bridge.store.entries import PackageEntry, SessionEntry, SessionState

# Twice what a package takes at 720 lines: docs/operations.md.
MAKING_BYTES_PER_S: Final = 600_000


@dataclass(frozen=True, slots=True)
class Served:
    """A session whose tracks are no longer needed, once its packages are proven."""

    session: SessionEntry
    packages: tuple[PackageEntry, ...]


def purgeable(archive: Archive, now_ms: int, resting: Collection[str] = ()) -> Served | None:
    """Return a session that was sealed, and delivered where that is on, long ago; raises ArchiveFailed.

    Those that are `resting` are passed over.
    """
    for session in archive.catalogue.sessions(SessionState.CLOSED):
        if session.id in resting:
            continue
        packages = archive.catalogue.packages_of(session.id)
        if _may_purge(archive, packages, now_ms):
            return Served(session, tuple(entry for entry in packages if entry.deleted_ms is None))
    return None


def purge_tracks(archive: Archive, served: Served) -> None:
    """Delete the tracks of a session; the journal stays.

    Raises ArchiveFailed when the disk keeps any of them, and then all else has gone; harmless again.
    """
    session = served.session
    if not is_session(session.folder):
        return
    folder = archive.folders.recordings / session.folder
    tracks, leaving = folder / TRACKS, folder / PURGED
    with disk_errors():
        if tracks.exists():
            # Renamed first, so that half of the tracks is never taken for all of them.
            remove(leaving)
            os.rename(tracks, leaving)
        remove(leaving)
    archive.catalogue.put_session(replace(session, state=SessionState.PURGED))


def is_same_disk(folder: Path, other: Path) -> bool:
    """Return whether what one folder takes is missing to the other; raises ArchiveFailed."""
    with disk_errors():
        return folder.exists() and folder.stat().st_dev == other.stat().st_dev


def making_bytes(duration_ms: int, height_px: int) -> int:
    """Return about what a package takes while it is made: its slices, and its parts beside them."""
    return round(duration_ms / 1000 * MAKING_BYTES_PER_S * (height_px / 720) ** 2)


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder; raises ArchiveFailed."""
    with disk_errors():
        return shutil.disk_usage(folder).free


def _may_purge(archive: Archive, packages: tuple[PackageEntry, ...], now_ms: int) -> bool:
    kept = [entry for entry in packages if entry.deleted_ms is None]
    # Damaged packages may have to be made again from the tracks, and people may have to decide about them.
    if any(entry.fixity_ok is False or entry.is_undecided for entry in kept):
        return False
    if archive.archive.s3_endpoint and any(entry.stored_ms is None for entry in kept):
        return False
    # What belongs to no patient is not delivered, nor what patients do not let go.
    times = [
        (
            entry.sealed_ms,
            entry.sealed_ms if entry.case is None or entry.is_withheld else entry.delivered_ms,
        )
        for entry in kept
    ]
    return may_purge_tracks(
        TracksState(is_closed=True, packages=times),
        needs_delivery=archive.dicom.method != "off",
        keep_days=archive.archive.keep_tracks_days,
        now_ms=now_ms,
    )
