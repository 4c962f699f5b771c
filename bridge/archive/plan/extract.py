"""What of a session's journal belongs to one package; pure.

A case's package gets its own case events and consent, who was present, and what happened while it was
recorded. The session's package gets what lies outside of all cases, and no case's name or code. Every event
keeps its number and its hashes, so that each line proves itself although its neighbours are elsewhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge.archive.model import PackagePlan, Span
from bridge.store.journal import Event, EventKind

# Events that tell what was seen and heard: they are kept exactly where the recording is.
_CONTENTS = frozenset(
    {
        EventKind.FLOOR,
        EventKind.HAND,
        EventKind.STAGE,
        EventKind.CONTENT,
        EventKind.SPEAKERS,
        EventKind.CHAT,
    }
)
_CASE = frozenset(
    {
        EventKind.CASE_ADDED,
        EventKind.CASE_REMOVED,
        EventKind.CASE_STARTED,
        EventKind.CASE_FINISHED,
        EventKind.CASE_CONFIRMED,
        EventKind.CONSENT,
    }
)
# What ends a recorded stretch; where it goes on, the next recording state says so.
_ENDS = frozenset(
    {
        EventKind.CASE_STARTED,
        EventKind.CASE_FINISHED,
        EventKind.SESSION_RESUMED,
        EventKind.SESSION_CLOSED,
    }
)
_PRESENCE = frozenset({EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_LEFT})
_TECHNICAL = frozenset({EventKind.RECORDING_PROBLEM, EventKind.TRACK_STARTED, EventKind.TRACK_ENDED})


@dataclass(frozen=True, slots=True)
class Presence:
    """One stay of a participant in the room, from joining to leaving."""

    participant: str
    name: str
    site: str
    level: str
    role: str
    is_device: bool
    joined_ms: int
    left_ms: int
    joined_seq: int
    left_seq: int | None

    def overlaps(self, times: Iterable[Span]) -> bool:
        """Tell whether the participant was there for some of these times, be it one millisecond."""
        return any(max(self.joined_ms, time.start_ms) < min(self.left_ms, time.end_ms) for time in times)


@dataclass(frozen=True, slots=True)
class FloorTurn:
    """One turn of speaking with the floor."""

    participant: str
    start_ms: int
    end_ms: int
    by: str | None


def case_times(events: Sequence[Event], ended_ms: int) -> dict[str, list[Span]]:
    """Return when each case was being discussed; a case may be taken up again."""
    times: dict[str, list[Span]] = {}
    active: tuple[str, int] | None = None
    for event in events:
        ends = event.kind in (EventKind.CASE_STARTED, EventKind.CASE_FINISHED, EventKind.SESSION_CLOSED)
        if active is not None and ends:
            times.setdefault(active[0], []).append(Span(active[1], event.at_ms))
            active = None
        if event.kind is EventKind.CASE_STARTED:
            active = _text(event, "case"), event.at_ms
    if active is not None and active[1] < ended_ms:
        times.setdefault(active[0], []).append(Span(active[1], ended_ms))
    return times


def package_times(events: Sequence[Event], plan: PackagePlan) -> tuple[Span, ...]:
    """Return the times a package is about: its case's, or what is left of the session beside all cases."""
    whole = Span(plan.started_ms, plan.ended_ms)
    times = case_times(events, plan.ended_ms)
    if plan.case is not None:
        return clip(times.get(plan.case, [whole]), [whole])
    return _without(whole, sorted((span for spans in times.values() for span in spans), key=_start))


def presences(events: Sequence[Event], ended_ms: int) -> list[Presence]:
    """Return all stays in the order of joining; a crash of the server ends those that it interrupted."""
    joined: dict[str, Event] = {}
    stays: list[Presence] = []
    for event in events:
        if event.kind is EventKind.PARTICIPANT_JOINED:
            joined.setdefault(_text(event, "participant"), event)
        elif event.kind is EventKind.PARTICIPANT_LEFT:
            start = joined.pop(_text(event, "participant"), None)
            if start is not None:
                stays.append(_stay(start, event.at_ms, event.seq))
        elif event.kind is EventKind.SESSION_RESUMED:
            stays += [_stay(start, _after_ms(event), None) for start in joined.values()]
            joined.clear()
    stays += [_stay(start, max(ended_ms, start.at_ms), None) for start in joined.values()]
    return sorted(stays, key=lambda stay: stay.joined_seq)


def floor_turns(events: Sequence[Event], ended_ms: int) -> list[FloorTurn]:
    """Return who had the floor, and when."""
    turns: list[FloorTurn] = []
    open_turns: dict[str, Event] = {}

    def end(participant: str, at_ms: int) -> None:
        start = open_turns.pop(participant, None)
        if start is not None and at_ms > start.at_ms:
            turns.append(FloorTurn(participant, start.at_ms, at_ms, start.data.get("by")))

    for event in events:
        if event.kind is EventKind.FLOOR and event.data.get("granted"):
            open_turns.setdefault(_text(event, "participant"), event)
        elif event.kind in (EventKind.FLOOR, EventKind.PARTICIPANT_LEFT):
            end(_text(event, "participant"), event.at_ms)
        elif event.kind is EventKind.SESSION_RESUMED:
            for participant in tuple(open_turns):
                end(participant, _after_ms(event))
    for participant in tuple(open_turns):
        end(participant, ended_ms)
    return sorted(turns, key=lambda turn: turn.start_ms)


def belonging(events: Sequence[Event], plan: PackagePlan) -> Iterator[Event]:
    """Yield the events of a package, in their order."""
    times = package_times(events, plan)
    contents = {event.seq for event in recorded_contents(events, plan.case)}
    stays = [stay for stay in presences(events, plan.ended_ms) if stay.overlaps(times)]
    numbers = {stay.joined_seq for stay in stays} | {stay.left_seq for stay in stays}
    for event in events:
        if event.kind in _PRESENCE:
            is_ours = event.seq in numbers and (plan.case is not None or is_within(event.at_ms, times))
        elif event.kind in _CONTENTS:
            is_ours = event.seq in contents
        elif event.kind in _CASE:
            is_ours = plan.case is not None and event.data.get("case") == plan.case
        elif event.kind is EventKind.RECORDING_STATE:
            is_ours = event.data.get("case") == plan.case and _touches(event.at_ms, times)
        elif event.kind in _TECHNICAL:
            is_ours = is_within(event.at_ms, times)
        elif event.kind is EventKind.SESSION_OPENED:
            is_ours = True
        else:
            is_ours = plan.case is None or _touches(event.at_ms, times)
        if is_ours:
            yield event


def recorded_contents(events: Iterable[Event], case: str | None) -> Iterator[Event]:
    """Yield what was seen, heard and written while it was recorded for a case, or for none.

    By the order of the journal: the last word of one case and the first of the next may bear the same time.
    """
    is_ours = False
    for event in events:
        if event.kind is EventKind.RECORDING_STATE:
            is_ours = event.data.get("state") == "recording" and event.data.get("case") == case
        elif event.kind in _ENDS:
            is_ours = False
        elif is_ours and event.kind in _CONTENTS:
            yield event


def is_within(at_ms: int, times: Iterable[Span]) -> bool:
    """Tell whether a moment lies in one of the spans."""
    return any(time.start_ms <= at_ms < time.end_ms for time in times)


def clip(spans: Iterable[Span], times: Iterable[Span]) -> tuple[Span, ...]:
    """Return what the spans have in common with the times."""
    times = tuple(times)
    cut = (
        Span(max(span.start_ms, time.start_ms), min(span.end_ms, time.end_ms))
        for span in spans
        for time in times
    )
    return tuple(span for span in cut if span.start_ms < span.end_ms)


def _touches(at_ms: int, times: Iterable[Span]) -> bool:
    """Like `is_within`, with the very end: a state that is written because the case ends is still its own."""
    return any(time.start_ms <= at_ms <= time.end_ms for time in times)


def _stay(start: Event, left_ms: int, left_seq: int | None) -> Presence:
    return Presence(
        participant=_text(start, "participant"),
        name=_text(start, "name"),
        site=_text(start, "site"),
        level=_text(start, "level"),
        role=_text(start, "role"),
        is_device=bool(start.data.get("device", False)),
        joined_ms=start.at_ms,
        left_ms=left_ms,
        joined_seq=start.seq,
        left_seq=left_seq,
    )


def _without(whole: Span, taken: Iterable[Span]) -> tuple[Span, ...]:
    """Return what is left of `whole`; `taken` is in order of its beginnings."""
    left: list[Span] = []
    start_ms = whole.start_ms
    for span in taken:
        if span.start_ms > start_ms:
            left.append(Span(start_ms, min(span.start_ms, whole.end_ms)))
        start_ms = max(start_ms, span.end_ms)
    if start_ms < whole.end_ms:
        left.append(Span(start_ms, whole.end_ms))
    return tuple(span for span in left if span.start_ms < span.end_ms)


def _after_ms(event: Event) -> int:
    return int(event.data.get("after_ms", event.at_ms))


def _text(event: Event, key: str) -> str:
    """Return a text of an event; one that an older version did not write is empty."""
    return str(event.data.get(key, ""))


def _start(span: Span) -> int:
    return span.start_ms
