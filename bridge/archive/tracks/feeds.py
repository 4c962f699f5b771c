"""The pictures of a track, decoded in the order of time: whatever was taken last before a given moment.

A feed is what one participant sends from one source; it may come in several tracks, one after the other.
Decoding begins at the last key frame before what is asked for, and damage costs the pictures up to the next.
"""

import math
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import av

from bridge.archive.model import DAMAGED, Span
from bridge.archive.tracks.tracks import DamagedSegment, SegmentReader, Track

# Whoever was off the picture for longer than this is found again by a key frame.
SEEK_MS: Final = 4_000.0
# A first picture is shown this much before its time, rather than none.
EARLY_MS: Final = 1_500.0
# The end of a track is logged by arrival, and its last pictures may be placed after it.
LATE_END_MS: Final = 100.0
# Some encoders send a picture before others that are shown before it (B-frames), by less than this.
AHEAD_MS: Final = 500.0
# A decoder's bitmap of hostile size is never made: 4096 x 2304.
PIXELS_MAX: Final = 4096 * 2304


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a track that could not be read."""

    track: str
    start_ms: float
    end_ms: float
    reason: str = DAMAGED


@dataclass(slots=True)
class Shot:
    """A decoded picture and when it was taken; `name` tells it from all others."""

    frame: av.VideoFrame
    at_ms: float
    name: tuple[str, int]


class Feed:
    """What one participant sent from one source."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tapes = [Tape(track) for track in sorted(tracks, key=lambda track: track.start_ms)]
        self._current: Tape | None = None

    def shot_at(self, at_ms: float, *, within: Span) -> Shot | None:
        """Return the picture of a moment, never one taken outside of the span.

        Moments are asked for in rising order. At the beginning, what comes a little later is shown already.
        """
        tape = self._tape_at(at_ms, within)
        if tape is not self._current and self._current is not None:
            self._current.close()
        self._current = tape
        if tape is None:
            return None
        shot = tape.shot_at(at_ms)
        if shot is None or shot.at_ms < within.start_ms:
            shot = tape.first_until(min(at_ms + EARLY_MS, within.end_ms))
        return shot if shot is not None and within.start_ms <= shot.at_ms < within.end_ms else None

    def _tape_at(self, at_ms: float, within: Span) -> "Tape | None":
        early_ms = min(at_ms + EARLY_MS, within.end_ms)
        begun = [tape for tape in self._tapes if tape.track.start_ms <= at_ms and not tape.has_ended(at_ms)]
        if begun:
            return begun[-1]
        return next((tape for tape in self._tapes if at_ms < tape.track.start_ms < early_ms), None)

    def take_damages(self) -> list[Damage]:
        """Return what was found damaged since the last call."""
        return [damage for tape in self._tapes for damage in tape.take_damages()]

    def close(self) -> None:
        """Close all files; the feed can be used again."""
        for tape in self._tapes:
            tape.close()
        self._current = None


class Feeds:
    """All feeds of a session; those on the screen are open."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        by_owner: defaultdict[tuple[str, str], list[Track]] = defaultdict(list)
        for track in tracks:
            if track.codec != "opus" and track.segments:
                by_owner[track.participant, track.source].append(track)
        self._feeds = {owner: Feed(owned) for owner, owned in by_owner.items()}
        self._nothing = Feed(())

    def of(self, participant: str, source: str) -> Feed:
        """Return a feed; an empty one where nothing was recorded."""
        return self._feeds.get((participant, source), self._nothing)

    def keep(self, owners: Collection[tuple[str, str]]) -> None:
        """Close all other feeds."""
        for owner, feed in self._feeds.items():
            if owner not in owners:
                feed.close()

    def take_damages(self) -> list[Damage]:
        """Return what was found damaged since the last call."""
        return [damage for feed in self._feeds.values() for damage in feed.take_damages()]


class Tape:
    """A video track, played forward."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._index = -1
        self._file: SegmentReader | None = None
        self._packets: Any = iter(())
        self._decoder: Any = None
        # The packet to be decoded next, and when it was taken.
        self._next: tuple[float, Any] | None = None
        self._position_ms = -math.inf
        # How far packets are decoded before their time, so that pictures can be put in order.
        self._ahead_ms = 0.0
        # Decoded pictures whose time has not come.
        self._coming: deque[Shot] = deque()
        self._shot: Shot | None = None
        self._shots = 0
        self._broken_since_ms: float | None = None
        self._broken_reason = DAMAGED
        self._damages: list[Damage] = []

    def shot_at(self, at_ms: float) -> Shot | None:
        """Return the last picture taken up to a moment."""
        if self._index < 0 or (at_ms - self._position_ms > SEEK_MS and not self._is_waiting_for(at_ms)):
            self._seek(at_ms)
        while self._next is not None and (self._next[0] <= at_ms + self._ahead_ms or self._is_held_up(at_ms)):
            if self._next[0] <= at_ms + self._ahead_ms:
                self._decode(*self._next)
            else:
                self._open(self._index + 1)
            self._advance()
            # Each at once: from the last key frame on they may be those of a minute.
            self._show_until(at_ms)
        self._show_until(at_ms)
        self._position_ms = at_ms
        return self._shot

    def _show_until(self, at_ms: float) -> None:
        while self._coming and self._coming[0].at_ms <= at_ms:
            self._shot = self._coming.popleft()

    def first_until(self, at_ms: float) -> Shot | None:
        """Return the next picture, if it was taken before a moment; else the last one."""
        if self._index < 0 and self.track.start_ms < at_ms:
            self._open(0)
            self._advance()
        while self._next is not None and self._next[0] < at_ms and not self._coming:
            self._decode(*self._next)
            self._advance()
            if not self._ahead_ms:
                break
        if self._coming and self._coming[0].at_ms < at_ms:
            self._shot = self._coming.popleft()
        return self._shot

    def has_ended(self, at_ms: float) -> bool:
        """Return whether the track was over before a moment."""
        return self.track.ended_ms is not None and at_ms > self.track.ended_ms + LATE_END_MS

    def take_damages(self) -> list[Damage]:
        """Return the damage found since the last call."""
        self._tell_broken()
        taken, self._damages = self._damages, []
        return taken

    def _tell_broken(self) -> None:
        """Tell damage as far as the tape was played; what comes is told later."""
        since_ms = self._broken_since_ms
        if since_ms is not None and since_ms < self._position_ms and not self._is_told:
            self._tell_until(since_ms, self._position_ms)
            self._broken_since_ms = self._position_ms

    @property
    def _is_told(self) -> bool:
        """Whether what is missing now is a crash's torn tail, which is told otherwise."""
        return self.track.is_torn(self._index) and self._broken_reason == DAMAGED

    def _tell_until(self, since_ms: float, end_ms: float) -> None:
        self._damages.append(Damage(self.track.name, since_ms, end_ms, self._broken_reason))

    def _break(self, since_ms: float, error: Exception) -> None:
        """Note that nothing can be shown from a moment on."""
        self._broken_since_ms = since_ms
        self._broken_reason = error.reason if isinstance(error, DamagedSegment) else DAMAGED

    def close(self) -> None:
        """Close the file; the tape is found again where it is needed next."""
        self._tell_broken()
        self._broken_since_ms = None
        self._close_segment()
        self._coming.clear()
        self._next, self._shot, self._index = None, None, -1
        self._position_ms = -math.inf

    def _is_waiting_for(self, at_ms: float) -> bool:
        """Return whether the next packet is still ahead, so that there is nothing to be found."""
        return self._next is not None and self._next[0] > at_ms

    def _is_held_up(self, at_ms: float) -> bool:
        """Return whether a segment with odd times keeps the next one waiting, whose time has come."""
        following = self._index + 1
        return following < len(self.track.segments) and self.track.segments[following].start_ms <= at_ms

    def _seek(self, at_ms: float) -> None:
        """Go to the last key frame up to a moment."""
        segments = self.track.segments
        index = max((i for i, segment in enumerate(segments) if segment.start_ms <= at_ms), default=-1)
        if index < 0:
            return
        if index < self._index or (0 <= index == self._index and self._next is None):
            return
        key_ms = self._last_key_ms(index, at_ms)
        if index == self._index and self._next is not None and self._next[0] >= key_ms:
            return
        self._open(index)
        self._advance()
        while self._next is not None and self._next[0] < key_ms:
            self._advance()

    def _last_key_ms(self, index: int, at_ms: float) -> float:
        segment = self.track.segments[index]
        found = -math.inf
        try:
            with closing(self.track.open(index)) as file:
                for pts_ms, packet in file.packets():
                    taken_ms = self.track.at_ms(segment.stream, pts_ms)
                    if taken_ms > at_ms:
                        break
                    if packet.is_keyframe:
                        found = taken_ms
        except DamagedSegment:
            # Told when the segment is played.
            return found
        return found

    def _open(self, index: int) -> None:
        self._close_segment()
        self._index = index
        segment = self.track.segments[index]
        self._broken_since_ms = None
        try:
            self._file = self.track.open(index)
        except DamagedSegment as error:
            self._break(segment.start_ms, error)
            return
        self._decoder = self._file.stream.codec_context
        self._decoder.thread_count = 1
        self._decoder.options = {"max_pixels": str(PIXELS_MAX)}
        self._ahead_ms = AHEAD_MS if self._file.has_reordering else 0.0
        if not self._file.has_reordering:
            # As browsers send them: a picture comes out when its packet goes in.
            self._decoder.flags |= av.codec.context.Flags.low_delay
        self._packets = self._file.packets()

    def _advance(self) -> None:
        """Fetch the next packet, from the following segments when this one is over."""
        while True:
            last_ms = self._next[0] if self._next is not None else None
            try:
                pts_ms, packet = next(self._packets)
            except StopIteration:
                self._drain()
                self._note_end()
            except DamagedSegment as error:
                self._break(self._broken_since_ms or last_ms or self._start_ms(), error)
                self._note_end()
            else:
                stream = self.track.segments[self._index].stream
                self._next = (self.track.at_ms(stream, pts_ms), packet)
                return
            if self._index + 1 >= len(self.track.segments):
                self._next = None
                self._packets = iter(())
                return
            self._next = None
            self._open(self._index + 1)

    def _start_ms(self) -> float:
        return self.track.segments[self._index].start_ms if self._index >= 0 else 0.0

    def _note_end(self) -> None:
        """Tell what is missing at the end of a segment."""
        if self._broken_since_ms is not None and not self._is_told:
            self._tell_until(self._broken_since_ms, self.track.end_of(self._index))
        self._broken_since_ms = None

    def _decode(self, taken_ms: float, packet: Any) -> None:
        if self._broken_since_ms is not None:
            if not packet.is_keyframe:
                return
            self._tell_until(self._broken_since_ms, taken_ms)
            self._broken_since_ms = None
        assert self._file is not None
        try:
            frames = self._file.decode(self._decoder, packet, taken_ms)
        except (av.FFmpegError, MemoryError, DamagedSegment) as error:
            self._break(taken_ms, error)
            if isinstance(error, DamagedSegment):
                # Nothing more of this segment.
                self._packets = iter(())
            return
        for frame in frames:
            if frame.is_corrupt:
                self._broken_since_ms, self._broken_reason = taken_ms, DAMAGED
                continue
            self._take(frame, taken_ms)

    def _take(self, frame: av.VideoFrame, taken_ms: float) -> None:
        """Keep a decoded picture for its own time: with reordering that is not its packet's."""
        if self._ahead_ms and frame.pts is not None and self._file is not None:
            stream = self.track.segments[self._index].stream
            taken_ms = self.track.at_ms(stream, float(frame.pts * self._file.stream.time_base * 1000))
        self._shots += 1
        self._coming.append(Shot(_planar(frame), taken_ms, (self.track.name, self._shots)))

    def _drain(self) -> None:
        """Take the pictures that the decoder has held back to put them in order."""
        file = self._file
        if not self._ahead_ms or file is None or self._broken_since_ms is not None:
            return
        with suppress(av.FFmpegError, DamagedSegment):
            for frame in file.decode(self._decoder, None, self._start_ms()):
                if not frame.is_corrupt:
                    self._take(frame, self._start_ms())

    def _close_segment(self) -> None:
        self._packets = iter(())
        self._decoder = None
        if self._file is not None:
            self._file.close()
            self._file = None


def _planar(frame: av.VideoFrame) -> av.VideoFrame:
    # Others, and full range levels (yuvj420p), are rare: some H.264 devices.
    if frame.format.name == "yuv420p":
        return frame
    return frame.reformat(format="yuv420p")
