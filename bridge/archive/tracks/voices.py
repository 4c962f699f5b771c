"""The sound of a recording: every voice at its place in time, mixed and limited.

Each output sample asks every track for the moment that it shows, so that drift between a sender's sample
clock and the conference's timeline is taken up by reading a little faster or slower, without seams. Where
nothing was sent there is silence.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from bridge.archive.model import DAMAGED
from bridge.archive.plan.reel import AUDIO_HZ
from bridge.archive.tracks.feeds import Damage
from bridge.archive.tracks.tracks import DamagedSegment, SegmentReader, Track, UndecodableSegment

Samples = NDArray[np.float32]

PER_MS: Final = AUDIO_HZ // 1000
# Opus needs this much before its output is right (RFC 7845, 4.6).
PREROLL_MS: Final = 80.0
# Timestamps in whole milliseconds, and senders that round: nearer packets follow each other.
JOIN_MS: Final = 3.0
# Between two packets that follow each other in the sender's time and not in ours: its clock stood still.
PAUSE_MS: Final = 30.0
# Beyond a window, so that reading between samples has neighbours, and ends are known as ends.
MARGIN_MS: Final = 150.0
# After a gap a decoder is not right at once.
FADE_IN_SAMPLES: Final = 20 * PER_MS
FADE_OUT_SAMPLES: Final = 120

# The limiter works in blocks of 5 ms and lets go within a quarter of a second.
BLOCK: Final = 240
CEILING: Final = 0.89
RELEASE_PER_BLOCK: Final = 10 ** (6 / 20 / 50)


@dataclass(slots=True)
class _Chunk:
    """A decoded packet."""

    stream: int
    pts_ms: float
    samples: Samples

    # When it was said.
    at_ms: float

    @property
    def end_pts_ms(self) -> float:
        return self.pts_ms + len(self.samples) / PER_MS

    @property
    def end_ms(self) -> float:
        # Not by its placement: right after it the sender's clock may have stood still.
        return self.at_ms + len(self.samples) / PER_MS

    def is_followed_by(self, other: "_Chunk") -> bool:
        """Return whether there is nothing between this packet and another."""
        return (
            other.stream == self.stream
            and abs(other.pts_ms - self.end_pts_ms) <= JOIN_MS
            and abs(other.at_ms - self.end_ms) <= PAUSE_MS
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """A packet, and the segment it was read from."""

    stream: int
    pts_ms: float
    packet: Any
    file: SegmentReader


class Voice:
    """One track of sound, read forward."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._packets: Iterator[_Read] = iter(())
        self._next: _Read | None = None
        self._decoder: Any = None
        self._chunks: deque[_Chunk] = deque()
        self._is_open = False
        self._damages: list[Damage] = []

    def add_to(self, mix: Samples, from_ms: float) -> None:
        """Add what is heard from a moment on; moments are asked for in rising order."""
        to_ms = from_ms + len(mix) / PER_MS
        if self.track.start_ms > to_ms + MARGIN_MS:
            return
        if not self._is_open:
            self._start(from_ms - PREROLL_MS - MARGIN_MS)
        while self._next is not None and self._at_ms(self._next) < to_ms + MARGIN_MS:
            if self._at_ms(self._next) >= from_ms - MARGIN_MS - PREROLL_MS:
                self._decode(self._next)
            self._next = next(self._packets, None)
        while self._chunks and self._chunks[0].end_ms < from_ms - MARGIN_MS:
            self._chunks.popleft()
        for run in _runs(self._chunks):
            self._add_run(mix, from_ms, run)

    def take_damages(self) -> list[Damage]:
        """Return the damage found since the last call."""
        taken, self._damages = self._damages, []
        return taken

    def _start(self, from_ms: float) -> None:
        self._is_open = True
        segments = self.track.segments
        index = max((i for i, segment in enumerate(segments) if segment.start_ms <= from_ms), default=0)
        self._packets = self._from_segment(index)
        self._next = next(self._packets, None)
        while self._next is not None and self._at_ms(self._next) < from_ms:
            self._next = next(self._packets, None)

    def _from_segment(self, first: int) -> Iterator["_Read"]:
        for index in range(first, len(self.track.segments)):
            segment = self.track.segments[index]
            last_ms = segment.start_ms
            try:
                file = self.track.open(index)
                try:
                    for pts_ms, packet in file.packets():
                        last_ms = self.track.at_ms(segment.stream, pts_ms)
                        yield _Read(segment.stream, pts_ms, packet, file)
                        if self.track.is_left_out(index):
                            raise UndecodableSegment(f"{segment.path.name}: is left out by now")
                finally:
                    file.close()
            except DamagedSegment as error:
                if error.reason != DAMAGED or not self.track.is_torn(index):
                    end_ms = self.track.end_of(index)
                    self._damages.append(Damage(self.track.name, last_ms, end_ms, error.reason))

    def _decode(self, read: "_Read") -> None:
        stream, pts_ms = read.stream, read.pts_ms
        # Kept over gaps: what it knows of before fits better than nothing (RFC 6716, 4.5).
        if self._decoder is None:
            self._decoder = _opus_decoder()
        # Without what the container says of it: the pre-skip belongs to the stream, not to each file.
        data = av.Packet(bytes(read.packet))
        try:
            frames = read.file.decode(self._decoder, data, pts_ms)
        except UndecodableSegment:
            # Told with the rest of the segment.
            return
        except av.FFmpegError:
            at_ms = self.track.at_ms(stream, pts_ms)
            self._damages.append(Damage(self.track.name, at_ms, at_ms + 20))
            self._decoder = None
            return
        if frames:
            samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
            at_ms = self.track.at_ms(stream, pts_ms)
            self._chunks.append(_Chunk(stream, pts_ms, samples.astype(np.float32, copy=False), at_ms))

    def _add_run(self, mix: Samples, from_ms: float, run: Sequence[_Chunk]) -> None:
        placement = self.track.placements[run[0].stream]
        samples = np.concatenate([chunk.samples for chunk in run])
        first = max(int(np.ceil((run[0].at_ms - from_ms) * PER_MS)), 0)
        last = min(int((run[-1].end_ms - from_ms) * PER_MS), len(mix))
        if first >= last:
            return
        moments = from_ms + np.arange(first, last) / PER_MS
        positions = (placement.pts_ms(moments) - run[0].pts_ms) * PER_MS
        mix[first:last] += _read_between(samples, positions) * _edges(positions, len(samples))

    def _at_ms(self, read: "_Read") -> float:
        return self.track.at_ms(read.stream, read.pts_ms)


class Limiter:
    """Keeps the sum of voices below full scale, looking one block ahead, so that nothing is cut off hard."""

    def __init__(self) -> None:
        self._gain = 1.0
        self._held: Samples = np.zeros(0, np.float32)

    def process(self, mix: Samples) -> Samples:
        """Return the samples one block later than they came; lengths are whole blocks."""
        both = np.concatenate([self._held, mix]) if len(self._held) else mix
        peaks = np.abs(both).reshape(-1, BLOCK).max(axis=1)
        targets = np.minimum(1.0, CEILING / np.maximum(peaks, 1e-6))
        count = len(targets) - 1
        gains = np.empty(count + 1, np.float64)
        gains[0] = min(self._gain, targets[0])
        for index in range(count):
            wanted = min(targets[index], targets[index + 1])
            gains[index + 1] = min(wanted, gains[index] * RELEASE_PER_BLOCK)
        # From block to block in a straight line; each block ends at a gain that suits it and the next.
        ramps = np.linspace(gains[:-1], gains[1:], BLOCK, axis=1)
        self._gain = float(gains[-1])
        self._held = both[-BLOCK:]
        limited = both[:-BLOCK] * ramps.reshape(-1)
        return np.clip(limited, -1, 1).astype(np.float32)


def _opus_decoder() -> Any:
    decoder: Any = av.CodecContext.create("opus", "r")
    decoder.sample_rate, decoder.layout = AUDIO_HZ, "mono"
    decoder.thread_count = 1
    return decoder


def _runs(chunks: Sequence[_Chunk]) -> Iterator[list[_Chunk]]:
    """Yield chunks that follow each other without a gap."""
    run: list[_Chunk] = []
    for chunk in chunks:
        if run and not run[-1].is_followed_by(chunk):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _read_between(samples: Samples, positions: NDArray[np.float64]) -> Samples:
    """Read at places between samples, by cubic interpolation (Catmull and Rom)."""
    padded = np.concatenate([samples[:1], samples, samples[-1:], samples[-1:]])
    whole = np.clip(np.floor(positions).astype(np.int64), 0, len(samples) - 1)
    t = (positions - whole).astype(np.float32)
    before, here = padded[whole], padded[whole + 1]
    after, beyond = padded[whole + 2], padded[whole + 3]
    slope, next_slope = (after - before) / 2, (beyond - here) / 2
    bend = 2 * (here - after) + slope + next_slope
    result: Samples = here + t * (slope + t * (3 * (after - here) - 2 * slope - next_slope + t * bend))
    return result


def _edges(positions: NDArray[np.float64], length: int) -> Samples:
    """Return the fades at both ends of a run, so that gaps do not click."""
    fade = np.minimum(positions / FADE_IN_SAMPLES, (length - 1 - positions) / FADE_OUT_SAMPLES)
    result: Samples = np.clip(fade, 0, 1).astype(np.float32)
    return result
