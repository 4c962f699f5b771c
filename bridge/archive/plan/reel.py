"""From a package's spans to the frames of its video, and back; pure numbers.

The video is the spans in their order, each at 25 frames a second, with a short card wherever something lies
between two of them. It is made in slices, which begin with a key frame and with an audio frame: eight
seconds are 200 pictures, 4 groups of pictures and 375 frames of AAC.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.archive.model import Span
from bridge.archive.plan.programme import Hole, why_hole
from bridge.store.journal import Event

FRAME_RATE: Final = 25
FRAME_MS: Final = 1000 // FRAME_RATE
GROUP_FRAMES: Final = 2 * FRAME_RATE
AUDIO_HZ: Final = 48_000
SAMPLES_PER_FRAME: Final = AUDIO_HZ // FRAME_RATE
AAC_SAMPLES: Final = 1024
# The least number of frames that whole groups of pictures and whole AAC frames both fill.
GRID_FRAMES: Final = 200
CARD_FRAMES: Final = 2 * FRAME_RATE
# A shorter break is a cut that nobody needs to be told of.
CARD_FROM_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Card:
    """What is said where something lies between two spans."""

    hole: Hole
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames that follow each other in time: a span, or a card."""

    first_frame: int
    frames: int
    span: Span
    card: Card | None = None

    @property
    def end_frame(self) -> int:
        """The frame after the last."""
        return self.first_frame + self.frames

    def at_ms(self, frame: int) -> float:
        """Return the server time of a frame."""
        return self.span.start_ms + (frame - self.first_frame) * FRAME_MS


@dataclass(frozen=True, slots=True)
class Reel:
    """All stretches of one video."""

    stretches: tuple[Stretch, ...]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return self.stretches[-1].end_frame if self.stretches else 0

    def stretch_of(self, frame: int) -> Stretch:
        """Return the stretch that a frame belongs to."""
        starts = [stretch.first_frame for stretch in self.stretches]
        return self.stretches[max(bisect_right(starts, frame) - 1, 0)]

    def at_ms(self, frame: int) -> int:
        """Return the server time of a frame; of a card's frames, that of what follows."""
        stretch = self.stretch_of(frame)
        return stretch.span.start_ms if stretch.card else round(stretch.at_ms(frame))

    def video_ms(self, at_ms: float) -> int:
        """Return where in the video a moment is; a moment outside is where the next begins."""
        for stretch in self.stretches:
            if stretch.card is None and at_ms < stretch.span.end_ms:
                inside_ms = max(at_ms - stretch.span.start_ms, 0)
                return round(stretch.first_frame * FRAME_MS + min(inside_ms, stretch.frames * FRAME_MS))
        return self.frames * FRAME_MS


def make_reel(spans: Sequence[Span], events: Sequence[Event]) -> Reel:
    """Return the reel of a package's video."""
    stretches: list[Stretch] = []
    frame = 0
    last: Span | None = None
    for span in spans:
        count = round((span.end_ms - span.start_ms) / FRAME_MS)
        if count <= 0:
            continue
        if last is not None and span.start_ms - last.end_ms >= CARD_FROM_MS:
            hole = why_hole(events, last.end_ms, span.start_ms)
            card = Card(hole, last.end_ms, span.start_ms)
            stretches.append(Stretch(frame, CARD_FRAMES, Span(span.start_ms, span.start_ms), card))
            frame += CARD_FRAMES
        stretches.append(Stretch(frame, count, span))
        frame += count
        last = span
    return Reel(tuple(stretches))
