"""What a journal says of a conference: which packages it makes, who was on stage when, who spoke; pure.

Everything follows from the order of the events. A crash ends what was going on; a recording that a crash
ended may hold a little more than the last event knew of (`open_ends`), which only its tracks can tell.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bridge.archive.model import PackagePlan, Span
from bridge.store.journal import INTERRUPTED, Event, EventKind


@dataclass(frozen=True, slots=True)
class Attendee:
    """Somebody in the conference, as the recording shows them."""

    participant: str
    site: str
    level: str
    role: str
    # Equipment, which may only be watching (WHEP).
    is_device: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What there was to see and hear from `at_ms` on."""

    at_ms: int
    # In the order in which they came.
    attendees: tuple[Attendee, ...] = ()
    cameras: frozenset[str] = frozenset()
    stage: str | None = None
    # (participant, source)
    content: tuple[str, str] | None = None
    voices: frozenset[str] = frozenset()
    # Whoever led the talk last, silent by now or not.
    speaker: str | None = None
    case: str | None = None

    def attendee(self, participant: str | None) -> Attendee | None:
        """Return somebody who is there."""
        return next((person for person in self.attendees if person.participant == participant), None)

    @property
    def on_stage(self) -> Attendee | None:
        """Who is shown large: the stage, else who speaks, else who came first."""
        chosen = self.attendee(self.stage) or self.attendee(self.speaker)
        return chosen or next(iter(self.attendees), None)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch in which a participant was heard."""

    participant: str
    site: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Showing:
    """A stretch in which one content was on show."""

    participant: str
    source: str
    start_ms: int
    end_ms: int


class Hole(StrEnum):
    """Why there is nothing between two spans of a package."""

    PAUSE = "pause"
    CRASH = "crash"
    CASE = "case"


def plan_packages(events: Sequence[Event], session: str = "") -> list[PackagePlan]:
    """Return the packages that can be made now, cases first, in their order.

    They bear the name of the session that the journal tells, unless it is known here as another `session`.

    A case is ready once it is finished, also when the session goes on. The session's own package is ready
    once the session is closed, which finishes an open case as well.
    """
    opened = next((event for event in events if event.kind is EventKind.SESSION_OPENED), None)
    if opened is None:
        return []
    history = _history(events)
    plans = [_case_plan(opened, events, history, case) for case in history.finished()]
    if history.closed_ms is not None:
        plans.append(_session_plan(opened, history))
    if not session:
        return plans
    own = _text(opened, "session")
    return [
        replace(plan, package=session + plan.package.removeprefix(own), session=session) for plan in plans
    ]


def open_ends(events: Sequence[Event]) -> dict[int, int]:
    """Return the span ends that a crash made, each with the time that its tracks cannot pass.

    A span that ends at such a time may go on until the last frame before that bound.
    """
    ends = {}
    last_ms = 0
    for event in events:
        if event.kind is EventKind.SESSION_RESUMED:
            ends[_after_ms(event)] = event.at_ms
        elif event.kind is EventKind.SESSION_CLOSED and event.data.get("reason") == INTERRUPTED:
            ends[last_ms] = max(event.at_ms, last_ms)
        last_ms = event.at_ms
    return ends


def scenes(events: Sequence[Event]) -> list[Scene]:
    """Return what was to be seen and heard, one scene for each change."""
    found: list[Scene] = []
    scene = Scene(0)
    codes: dict[str, str] = {}
    for event in events:
        if event.kind is EventKind.CASE_ADDED:
            codes[_text(event, "case")] = _text(event, "code")
        changed = replace(_next_scene(scene, event, codes), at_ms=scene.at_ms)
        if changed == scene:
            continue
        scene = replace(changed, at_ms=event.at_ms)
        if found and found[-1].at_ms == event.at_ms:
            found.pop()
        found.append(scene)
    return found


def turns(events: Sequence[Event], spans: Sequence[Span], *, merge_ms: int = 1000) -> list[Turn]:
    """Return who was heard when within the spans; short breaks of one speaker are not told."""
    done: list[Turn] = []
    for span in spans:
        last: dict[str, int] = {}
        for scene, end_ms in _stretches(events, [span]):
            for person in scene.attendees:
                if person.participant not in scene.voices:
                    continue
                index = last.get(person.participant)
                if index is not None and scene.at_ms - done[index].end_ms <= merge_ms:
                    done[index] = replace(done[index], end_ms=end_ms)
                else:
                    last[person.participant] = len(done)
                    done.append(Turn(person.participant, person.site, scene.at_ms, end_ms))
    return sorted(done, key=lambda turn: (turn.start_ms, turn.participant))


def showings(events: Sequence[Event], spans: Sequence[Span]) -> list[Showing]:
    """Return which contents were on show within the spans, each stretch by itself."""
    found: list[Showing] = []
    for scene, end_ms in _stretches(events, spans):
        if scene.content is None:
            continue
        last = found[-1] if found else None
        if last and (last.participant, last.source) == scene.content and last.end_ms == scene.at_ms:
            found[-1] = replace(last, end_ms=end_ms)
        else:
            found.append(Showing(*scene.content, scene.at_ms, end_ms))
    return found


def scenes_within(events: Sequence[Event], spans: Sequence[Span]) -> list[tuple[Scene, int]]:
    """Return the scenes of the spans, clipped to them, with their ends."""
    return list(_stretches(events, spans))


def why_hole(events: Sequence[Event], start_ms: int, end_ms: int) -> Hole:
    """Return why a package has nothing between two of its spans."""
    within = [event for event in events if start_ms <= event.at_ms <= end_ms]
    if any(event.kind is EventKind.SESSION_RESUMED for event in within):
        return Hole.CRASH
    started = {_text(event, "case") for event in within if event.kind is EventKind.CASE_STARTED}
    finished = {_text(event, "case") for event in within if event.kind is EventKind.CASE_FINISHED}
    return Hole.CASE if started & finished else Hole.PAUSE


@dataclass(slots=True)
class _History:
    """The intervals that plans are cut from."""

    # (start, end, case or None)
    recorded: list[tuple[int, int, str | None]] = field(default_factory=list)
    # (start, end, case)
    cases: list[tuple[int, int, str]] = field(default_factory=list)
    codes: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    open_cases: dict[str, int] = field(default_factory=dict)
    closed_ms: int | None = None

    def finished(self) -> list[str]:
        return sorted({case for _, _, case in self.cases if case not in self.open_cases})


def _history(events: Sequence[Event]) -> _History:
    history = _History()
    recording: tuple[int, str | None] | None = None
    last_ms = 0

    def stop(at_ms: int) -> None:
        if recording is not None:
            history.recorded.append((recording[0], max(at_ms, recording[0]), recording[1]))

    for event in events:
        match event.kind:
            case EventKind.CASE_ADDED:
                site = event.data.get("site")
                history.codes[_text(event, "case")] = (_text(event, "code"), site)
            case EventKind.CASE_STARTED:
                history.open_cases.setdefault(_text(event, "case"), event.at_ms)
            case EventKind.CASE_FINISHED:
                started_ms = history.open_cases.pop(_text(event, "case"), None)
                if started_ms is not None:
                    history.cases.append((started_ms, event.at_ms, _text(event, "case")))
            case EventKind.RECORDING_STATE:
                stop(event.at_ms)
                case = event.data.get("case")
                recording = (event.at_ms, case) if event.data.get("state") == "recording" else None
            case EventKind.SESSION_RESUMED:
                stop(_after_ms(event))
                recording = None
            case EventKind.SESSION_CLOSED:
                history.closed_ms = last_ms if event.data.get("reason") == INTERRUPTED else event.at_ms
                stop(history.closed_ms)
                recording = None
            case _:
                pass
        last_ms = event.at_ms
    if history.closed_ms is not None:
        for case, started_ms in history.open_cases.items():
            history.cases.append((started_ms, max(history.closed_ms, started_ms), case))
        history.open_cases.clear()
    return history


def _case_plan(opened: Event, events: Sequence[Event], history: _History, case: str) -> PackagePlan:
    stretches = [(start, end) for start, end, name in history.cases if name == case]
    ends = open_ends(events)
    spans = [
        Span(max(start, begin), min(end, finish))
        for begin, finish, recorded_case in history.recorded
        if recorded_case == case
        for start, end in stretches
        if max(start, begin) < min(end, finish)
        or (max(start, begin) == min(end, finish) and min(end, finish) in ends)
    ]
    code, site = history.codes.get(case, (case, None))
    return PackagePlan(
        package=f"{_text(opened, 'session')}-{case}",
        session=_text(opened, "session"),
        room=_text(opened, "room"),
        title=_text(opened, "title"),
        conference_kind=_text(opened, "conference_kind"),
        started_ms=min(start for start, _ in stretches),
        ended_ms=max(end for _, end in stretches),
        spans=_joined(spans),
        case=case,
        code=code,
        presenting_site=site,
    )


def _session_plan(opened: Event, history: _History) -> PackagePlan:
    spans: list[Span] = []
    for begin, finish, case in history.recorded:
        if case is None:
            # Whatever the recording was said to be about: what happens during a case is the case's.
            spans.extend(_without(Span(begin, finish), history.cases))
    return PackagePlan(
        package=f"{_text(opened, 'session')}-S",
        session=_text(opened, "session"),
        room=_text(opened, "room"),
        title=_text(opened, "title"),
        conference_kind=_text(opened, "conference_kind"),
        started_ms=opened.at_ms,
        ended_ms=history.closed_ms if history.closed_ms is not None else opened.at_ms,
        spans=_joined(spans),
    )


def _without(span: Span, cases: Sequence[tuple[int, int, str]]) -> list[Span]:
    if span.start_ms == span.end_ms:
        # Nothing yet, but a crash may have left media behind it.
        return [] if any(start <= span.start_ms <= end for start, end, _ in cases) else [span]
    rest = [span]
    for start, end, _ in cases:
        rest = [
            part
            for whole in rest
            for part in (
                Span(whole.start_ms, min(whole.end_ms, start)),
                Span(max(whole.start_ms, end), whole.end_ms),
            )
            if part.start_ms < part.end_ms
        ]
    return rest


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start_ms, span.end_ms)):
        if joined and span.start_ms <= joined[-1].end_ms:
            joined[-1] = Span(joined[-1].start_ms, max(joined[-1].end_ms, span.end_ms))
        else:
            joined.append(span)
    return tuple(joined)


def _next_scene(scene: Scene, event: Event, codes: Mapping[str, str]) -> Scene:
    data = event.data
    match event.kind:
        case EventKind.SESSION_RESUMED | EventKind.SESSION_CLOSED:
            return Scene(scene.at_ms)
        case EventKind.PARTICIPANT_JOINED:
            person = _attendee(event)
            others = tuple(a for a in scene.attendees if a.participant != person.participant)
            return replace(scene, attendees=(*others, person))
        case EventKind.PARTICIPANT_LEFT:
            gone = _text(event, "participant")
            others = tuple(a for a in scene.attendees if a.participant != gone)
            return replace(
                scene, attendees=others, cameras=scene.cameras - {gone}, voices=scene.voices - {gone}
            )
        case EventKind.STAGE:
            return replace(scene, stage=data.get("participant"))
        case EventKind.CONTENT:
            participant, source = data.get("participant"), data.get("source")
            return replace(scene, content=(participant, source) if participant and source else None)
        case EventKind.SPEAKERS:
            voices = frozenset(data.get("voices") or ())
            return replace(scene, voices=voices, speaker=data.get("dominant") or scene.speaker)
        case EventKind.TRACK_STARTED | EventKind.TRACK_ENDED:
            return _with_camera(scene, event)
        case EventKind.RECORDING_STATE:
            case = data.get("case")
            return replace(scene, case=codes.get(case, case) if case else None)
        case _:
            return scene


def _attendee(event: Event) -> Attendee:
    return Attendee(
        participant=_text(event, "participant"),
        site=_text(event, "site"),
        level=_text(event, "level"),
        role=_text(event, "role"),
        is_device=bool(event.data.get("device")),
    )


def _with_camera(scene: Scene, event: Event) -> Scene:
    """Tracks are named after their participant and source, so that their end needs no memory."""
    _, _, owner = _text(event, "track").partition("-")
    participant, _, source = owner.rpartition("-")
    if source != "camera":
        return scene
    if event.kind is EventKind.TRACK_STARTED:
        return replace(scene, cameras=scene.cameras | {participant})
    return replace(scene, cameras=scene.cameras - {participant})


def _stretches(events: Sequence[Event], spans: Sequence[Span]) -> Iterator[tuple[Scene, int]]:
    all_scenes = [Scene(0), *scenes(events)]
    ends = [scene.at_ms for scene in all_scenes[1:]]
    for span in spans:
        for scene, end_ms in zip(all_scenes, [*ends, span.end_ms], strict=True):
            start_ms, until_ms = max(scene.at_ms, span.start_ms), min(end_ms, span.end_ms)
            if scene is all_scenes[-1]:
                until_ms = span.end_ms
            if start_ms < until_ms:
                yield replace(scene, at_ms=start_ms), until_ms


def _after_ms(event: Event) -> int:
    return int(event.data.get("after_ms", event.at_ms))


def _text(event: Event, key: str) -> str:
    return str(event.data.get(key, ""))
