"""The pictures of a track, decoded in the order of time: whatever was taken last before a given moment.

A feed is what one participant sends from one source; it may come in several tracks, one after the other.
Decoding begins at the last key frame before what is asked for, and damage costs the pictures up to the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import av

from bridge.archive.tracks import SHORT_MS, Track, packets

# Whoever was off the picture for longer than this is found again by a key frame.
SEEK_MS: Final = 4_000.0
# A decoder's bitmap of hostile size is never made: 4096 x 2304.
PIXELS_MAX: Final = 4096 * 2304


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a track that could not be read."""

    track: str
    start_ms: float
    end_ms: float


@dataclass(slots=True)
class Shot:
    """A decoded picture and when it was taken; `number` tells it from the others of its feed."""

    frame: av.VideoFrame
    at_ms: float
    number: int


class Feed:
    """What one participant sent from one source."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tapes = [Tape(track) for track in sorted(tracks, key=lambda track: track.start_ms)]
        self._current: Tape | None = None

    def shot_at(self, at_ms: float) -> Shot | None:
        """Return the picture of a moment; moments are asked for in rising order."""
        tape = next((tape for tape in reversed(self._tapes) if tape.track.start_ms <= at_ms), None)
        if tape is not self._current and self._current is not None:
            self._current.close()
        self._current = tape
        return tape.shot_at(at_ms) if tape is not None else None

    def damages(self) -> list[Damage]:
        """Return what was found damaged since the last call."""
        return [damage for tape in self._tapes for damage in tape.take_damages()]

    def close(self) -> None:
        """Close all files."""
        for tape in self._tapes:
            tape.close()


class Tape:
    """A video track, played forward."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._index = -1
        self._container: Any = None
        self._packets: Any = iter(())
        self._decoder: Any = None
        # The packet to be decoded next, and when it was taken.
        self._next: tuple[float, av.Packet] | None = None
        self._position_ms = -math.inf
        self._shot: Shot | None = None
        self._shots = 0
        self._broken_since_ms: float | None = None
        self._damages: list[Damage] = []

    def shot_at(self, at_ms: float) -> Shot | None:
        """Return the last picture taken up to a moment."""
        if at_ms - self._position_ms > SEEK_MS and not self._is_waiting_for(at_ms):
            self._seek(at_ms)
        while self._next is not None and self._next[0] <= at_ms:
            self._decode(*self._next)
            self._advance()
        self._position_ms = at_ms
        return self._shot

    def take_damages(self) -> list[Damage]:
        """Return the damage found since the last call."""
        taken, self._damages = self._damages, []
        return taken

    def close(self) -> None:
        """Close the file; the tape is found again where it is needed next."""
        self._close_segment()
        self._next, self._shot, self._index = None, None, -1
        self._position_ms = -math.inf

    def _is_waiting_for(self, at_ms: float) -> bool:
        """Return whether the next packet is still ahead, so that there is nothing to be found."""
        return self._next is not None and self._next[0] > at_ms

    def _seek(self, at_ms: float) -> None:
        """Go to the last key frame up to a moment."""
        segments = self.track.segments
        index = max((i for i, segment in enumerate(segments) if segment.start_ms <= at_ms), default=-1)
        if index < 0:
            return
        if index < self._index or (index == self._index and self._next is None):
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
            with av.open(str(segment.path)) as container:
                if not container.streams.video:
                    return found
                for pts_ms, packet in packets(container):
                    taken_ms = self.track.at_ms(segment.stream, pts_ms)
                    if taken_ms > at_ms:
                        break
                    if packet.is_keyframe:
                        found = taken_ms
        except (av.FFmpegError, OSError):
            # Told as damage when the segment is played.
            return found
        return found

    def _open(self, index: int) -> None:
        self._close_segment()
        self._index = index
        segment = self.track.segments[index]
        self._broken_since_ms = None
        try:
            self._container = av.open(str(segment.path))
            stream = self._container.streams.video[0]
            self._decoder = stream.codec_context
            self._decoder.thread_count = 1
            # No reordering in what browsers send: a picture comes out when its packet goes in.
            self._decoder.flags |= av.codec.context.Flags.low_delay
            self._packets = packets(self._container)
        except (av.FFmpegError, OSError, IndexError):
            self._broken_since_ms = segment.start_ms
            self._packets = iter(())

    def _advance(self) -> None:
        """Fetch the next packet, from the following segments when this one is over."""
        while True:
            last_ms = self._next[0] if self._next is not None else None
            try:
                pts_ms, packet = next(self._packets)
            except StopIteration:
                self._note_end(last_ms)
            except av.FFmpegError:
                self._broken_since_ms = self._broken_since_ms or last_ms or self._start_ms()
                self._note_end(last_ms)
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

    def _note_end(self, last_ms: float | None) -> None:
        """Tell what is missing at the end of a segment."""
        if self._index < 0:
            return
        end_ms = self.track.end_of(self._index)
        if self._is_short(last_ms, end_ms):
            self._broken_since_ms = self._broken_since_ms or last_ms
        is_torn_tail = math.isinf(end_ms)
        if self._broken_since_ms is not None and not is_torn_tail:
            self._damages.append(Damage(self.track.name, self._broken_since_ms, end_ms))
        self._broken_since_ms = None

    def _is_short(self, last_ms: float | None, end_ms: float) -> bool:
        """Return whether a segment ends well before it should, and no gap, stream or pause explains it."""
        following = self._index + 1
        if last_ms is None or following >= len(self.track.segments):
            return False
        this, then = self.track.segments[self._index], self.track.segments[following]
        explained = any(
            stream == this.stream
            and self.track.at_ms(stream, from_ms) <= last_ms + SHORT_MS
            and self.track.at_ms(stream, to_ms) >= end_ms - SHORT_MS
            for stream, from_ms, to_ms, _ in self.track.logged_gaps
        )
        return this.stream == then.stream and end_ms - last_ms > SHORT_MS and not explained

    def _decode(self, taken_ms: float, packet: av.Packet) -> None:
        if self._broken_since_ms is not None:
            if not packet.is_keyframe:
                return
            self._damages.append(Damage(self.track.name, self._broken_since_ms, taken_ms))
            self._broken_since_ms = None
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, MemoryError):
            self._broken_since_ms = taken_ms
            return
        for frame in frames:
            if frame.is_corrupt or frame.width * frame.height > PIXELS_MAX:
                self._broken_since_ms = taken_ms
                continue
            self._shots += 1
            self._shot = Shot(_planar(frame), taken_ms, self._shots)

    def _close_segment(self) -> None:
        self._packets = iter(())
        self._decoder = None
        if self._container is not None:
            self._container.close()
            self._container = None


def _planar(frame: av.VideoFrame) -> av.VideoFrame:
    if frame.format.name in ("yuv420p", "yuvj420p"):
        return frame
    return frame.reformat(format="yuv420p")
