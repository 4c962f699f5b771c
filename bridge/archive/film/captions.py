"""Captions and chapters of a composed video as WebVTT: who spoke when, and what was shown.

Times are those of the video, all parts one after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bridge.archive.model import PackagePlan, Span
from bridge.archive.plan.programme import Scene, scenes_within, turns
from bridge.archive.plan.reel import FRAME_MS, Reel
from bridge.archive.screen.screen import HOLES
from bridge.store.journal import Event

# A change of the picture that is over sooner makes no chapter of its own.
CHAPTER_MIN_MS: Final = 3_000
SPEAKING: Final = "đang nói / speaking"
CONTENT: Final = "hình ảnh / content"


@dataclass(frozen=True, slots=True)
class Cue:
    """A text for a stretch of the video."""

    start_ms: int
    end_ms: int
    text: str


def captions(events: Sequence[Event], spans: Sequence[Span], reel: Reel) -> str:
    """Return who was heard when."""
    cues = [
        Cue(reel.video_ms(turn.start_ms), reel.video_ms(turn.end_ms - 1) + 1, f"{turn.site}: {SPEAKING}")
        for turn in turns(events, spans)
    ]
    return web_vtt(cues)


def chapters(plan: PackagePlan, events: Sequence[Event], reel: Reel) -> str:
    """Return what the video shows, by case, site on stage, and content."""
    cues: list[Cue] = []
    for stretch in reel.stretches:
        if stretch.card is not None:
            start_ms, end_ms = stretch.first_frame * FRAME_MS, stretch.end_frame * FRAME_MS
            cues.append(Cue(start_ms, end_ms, " / ".join(HOLES[stretch.card.hole])))
        else:
            cues.extend(_merged(list(_scene_cues(plan, events, stretch.span, reel))))
    return web_vtt(cues)


def web_vtt(cues: Sequence[Cue]) -> str:
    """Write cues; their text is plain."""
    blocks = [
        f"{number}\n{_time(cue.start_ms)} --> {_time(cue.end_ms)}\n{_plain(cue.text)}\n"
        for number, cue in enumerate(cues, 1)
        if cue.end_ms > cue.start_ms
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _scene_cues(plan: PackagePlan, events: Sequence[Event], span: Span, reel: Reel) -> Iterator[Cue]:
    for scene, end_ms in scenes_within(events, [span]):
        yield Cue(reel.video_ms(scene.at_ms), reel.video_ms(end_ms - 1) + 1, _headline(plan, scene))


def _headline(plan: PackagePlan, scene: Scene) -> str:
    """Say case, and who or whose content is the main picture."""
    content = scene.attendee(scene.content[0]) if scene.content else None
    shown = content or scene.on_stage
    words = [f"{plan.case} {plan.code}"] if plan.case else []
    words.append(shown.site if shown is not None else plan.title)
    if content is not None:
        words.append(CONTENT)
    return " · ".join(words)


def _merged(cues: Sequence[Cue]) -> list[Cue]:
    """Join cues of the same text; what is still too short then is given to its neighbour."""
    joined: list[Cue] = []
    for cue in cues:
        if joined and joined[-1].text == cue.text:
            joined[-1] = Cue(joined[-1].start_ms, cue.end_ms, cue.text)
        else:
            joined.append(cue)
    merged: list[Cue] = []
    for cue in joined:
        last = merged[-1] if merged else None
        if last is not None and (last.text == cue.text or _is_short(cue)):
            merged[-1] = Cue(last.start_ms, cue.end_ms, last.text)
        elif last is not None and _is_short(last):
            merged[-1] = Cue(last.start_ms, cue.end_ms, cue.text)
        else:
            merged.append(cue)
    return merged


def _is_short(cue: Cue) -> bool:
    return cue.end_ms - cue.start_ms < CHAPTER_MIN_MS


def _plain(text: str) -> str:
    """A line feed would end the cue, and a tag would be one."""
    return escape(" ".join(text.split()), quote=False)


def _time(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}"
