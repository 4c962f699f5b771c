"""What was captured and written of one case, taken out of its session; the others' stays, and so do the logs.

The segments of a track each belong to the case that they were captured in (`docs/recording.md`). The journal
keeps who was there and what was done; of the chat it keeps only that something was written.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from bridge.archive.folders import disk_errors
from bridge.archive.model import Span
from bridge.archive.package import bag
from bridge.archive.plan.extract import case_times, is_within, recorded_contents
from bridge.capture.sessions import DAMAGED, JOURNAL, TRACK_LOG, TRACKS
from bridge.store.checked_lines import read_line
from bridge.store.journal import Event, EventKind, copy_of, erase_chat


def erase_case(session: Path, case: str) -> int:
    """Delete the segments of a case of a session, and what was written in it; return how many there were.

    Raises ArchiveFailed. Harmless twice, and where the tracks have gone already.
    """
    with disk_errors():
        journals = [
            path
            for folder in (session, session / DAMAGED)
            for path in (*folder.glob(f"{JOURNAL}*"), *folder.glob(f"{copy_of(session / JOURNAL).name}*"))
            if path.is_file()
        ]
        times: list[Span] = []

        def chosen(events: Sequence[Event]) -> Collection[int]:
            if events:
                times.extend(case_times(events, events[-1].at_ms + 1).get(case, ()))
            return [event.seq for event in recorded_contents(events, case) if event.kind is EventKind.CHAT]

        erased = erase_chat(journals, chosen)
        for log in sorted((session / TRACKS).glob(f"*/{TRACK_LOG}")):
            names = _segments(log, lambda line: _is_of(line, case, times))
            # A segment that nobody could read was set aside, and still holds what was captured.
            for folder in (log.parent, log.parent / DAMAGED):
                there = [path for name in names if (path := folder / name).exists()]
                for path in there:
                    path.unlink()
                if there:
                    bag.sync(folder)
                erased += len(there)
    return erased


def _is_of(line: dict[str, Any], case: str, times: Sequence[Span]) -> bool:
    """Whether a segment was captured in a case; older versions did not write it down, but cut at each."""
    if "case" in line:
        return bool(line["case"] == case)
    at_ms = line.get("at_ms")
    return isinstance(at_ms, int) and is_within(at_ms, times)


def _segments(log: Path, is_ours: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Return the names of the files that a track's log tells of."""
    names = []
    for line in log.read_bytes().splitlines(keepends=True):
        # A damaged line may name a file of another case; what it should have named goes with the tracks.
        value = read_line(line)
        if value is not None and value.get("k") == "segment" and is_ours(value):
            # Of the name's last part only, so that no log leads out of its folder.
            name = Path(str(value.get("file"))).name
            if name.endswith(".mkv"):
                names.append(name)
    return names
