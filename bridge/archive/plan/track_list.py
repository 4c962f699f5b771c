"""Which tracks a session's journal tells of, whatever is left of their folders. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.store.journal import INTERRUPTED, Event, EventKind


@dataclass(frozen=True, slots=True)
class ListedTrack:
    """A track as the journal knows it; times are Unix milliseconds."""

    name: str
    participant: str
    source: str
    codec: str
    start_ms: int
    # The end of what the journal tells, where the track has none of its own.
    end_ms: int
    # It ended as tracks do, so that its log must be there; what a crash cut short may not have come so far.
    has_end: bool = False


def listed_tracks(events: Sequence[Event]) -> Mapping[str, ListedTrack]:
    """Return the tracks that were begun, by their names."""
    found: dict[str, ListedTrack] = {}
    last_ms = events[-1].at_ms if events else 0
    for event in events:
        data = event.data
        name = str(data.get("track", ""))
        if event.kind is EventKind.TRACK_STARTED:
            participant, source, codec = (
                str(data.get(key, "")) for key in ("participant", "source", "codec")
            )
            found[name] = ListedTrack(name, participant, source, codec, event.at_ms, last_ms)
        elif event.kind is EventKind.TRACK_ENDED and name in found:
            has_end = data.get("reason") != INTERRUPTED
            found[name] = replace(found[name], end_ms=event.at_ms, has_end=has_end)
    return found
