"""What was captured and written of one case, taken out of its session; the others' stays, and so do the logs.

The segments of a track each belong to the case that they were captured in (`docs/recording.md`). The journal
keeps who was there and what was done; of the chat it keeps only that something was written.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bridge.archive.folders import disk_errors, remove
from bridge.archive.model import Span
from bridge.archive.package import bag
from bridge.archive.plan.extract import case_times, is_within
from bridge.capture.sessions import DAMAGED, JOURNAL, PURGED, TRACK_LOG, TRACKS
from bridge.store.checked_lines import read_line
from bridge.store.journal import Event, EventKind, copy_of, erase_chat, held, is_broken_off


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
            # What stands behind a break was said all the same.
            events = [event for event in events if not is_broken_off([event])]
            if events:
                times.extend(case_times(events, events[-1].at_ms + 1).get(case, ()))
            return _discussing(events, case)

        with held(session) if journals else nullcontext():
            erased = erase_chat(journals, chosen)
        # Whose end was decided before, and has not come to its own.
        remove(session / PURGED)
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


def _discussing(events: Sequence[Event], case: str) -> list[int]:
    """Return the numbers of what was noted while a case was open, by whatever of it can still be read."""
    found, current = [], None
    for event in events:
        match event.kind:
            case EventKind.CASE_STARTED | EventKind.RECORDING_STATE:
                current = event.data.get("case")
            case EventKind.CASE_FINISHED | EventKind.SESSION_CLOSED:
                current = None
        if current == case:
            found.append(event.seq)
    return found


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
