"""What was captured of one case, taken out of its session's tracks; the others' stays, and so do the logs.

The segments of a track each belong to the case that they were captured in (`docs/recording.md`).
"""

from pathlib import Path

from bridge.archive.folders import disk_errors
from bridge.archive.package import bag
from bridge.capture.sessions import DAMAGED, TRACK_LOG
from bridge.store.checked_lines import read_line


def erase_case(tracks: Path, case: str) -> int:
    """Delete the segments of a case below a session's folder of tracks; return how many there were.

    Raises ArchiveFailed. Harmless twice, and where the tracks have gone already.
    """
    erased = 0
    with disk_errors():
        for log in sorted(tracks.glob(f"*/{TRACK_LOG}")):
            names = _segments(log, case)
            # A segment that nobody could read was set aside, and still holds what was captured.
            for folder in (log.parent, log.parent / DAMAGED):
                there = [path for name in names if (path := folder / name).exists()]
                for path in there:
                    path.unlink()
                if there:
                    bag.sync(folder)
                erased += len(there)
    return erased


def _segments(log: Path, case: str) -> list[str]:
    """Return the names of the files that a track's log says were captured in a case."""
    names = []
    for line in log.read_bytes().splitlines(keepends=True):
        # A damaged line may name a file of another case; what it should have named goes with the tracks.
        value = read_line(line)
        if value is not None and value.get("k") == "segment" and value.get("case") == case:
            # Of the name's last part only, so that no log leads out of its folder.
            name = Path(str(value.get("file"))).name
            if name.endswith(".mkv"):
                names.append(name)
    return names
