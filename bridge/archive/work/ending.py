"""The end of sessions that were interrupted, when there is no server that could go on with them.

The server does the same by itself for sessions whose room nobody comes back to (`bridge.recording`).
"""

from pathlib import Path

from bridge.archive.folders import disk_error
from bridge.base.errors import ArchiveFailed, InvalidConfig, RecordingFailed
from bridge.capture.repair import find_interrupted, repair_session
from bridge.capture.sessions import JOURNAL, FolderLock, FolderTaken
from bridge.store.journal import INTERRUPTED, Chain, EventKind, JournalFile


def end_interrupted(recordings: Path, only: Path | None = None) -> list[str]:
    """Repair and end all sessions without an end, or one; return their names.

    Raises ArchiveFailed: `recording` when a server records there, which knows better what goes on. One that
    starts meanwhile waits.
    """
    try:
        if not recordings.is_dir() or not _found(recordings, only):
            return []
        lock = FolderLock(recordings)
    except FolderTaken as error:
        raise ArchiveFailed("recording", str(error)) from error
    except InvalidConfig as error:
        raise ArchiveFailed("disk-error", str(error)) from error
    except OSError as error:
        raise disk_error(error) from error
    try:
        return [path.name for path in _found(recordings, only) if _end(path)]
    except OSError as error:
        raise disk_error(error) from error
    finally:
        lock.release()


def _found(recordings: Path, only: Path | None) -> list[Path]:
    return [path for path in find_interrupted(recordings) if only in (None, path)]


def _end(path: Path) -> bool:
    """End one session as of its last event or frame; tell whether there was one."""
    try:
        interrupted = repair_session(path)
        if interrupted is None:
            path.rmdir()
            return False
        if interrupted.is_closed:
            return True
        chain = Chain(interrupted.events[-1])
        at_ms = interrupted.ended_ms
        events = [
            chain.append(EventKind.TRACK_ENDED, {"track": track, "reason": INTERRUPTED}, at_ms)
            for track in interrupted.open_tracks
        ]
        events.append(chain.append(EventKind.SESSION_CLOSED, {"reason": INTERRUPTED}, at_ms))
        journal = JournalFile(path / JOURNAL)
        journal.write(events)
        journal.close()
    except RecordingFailed as error:
        # Its journal cannot be trusted; the intake tells people so.
        if isinstance(error.__cause__, OSError):
            raise disk_error(error.__cause__) from error
        return False
    return True
