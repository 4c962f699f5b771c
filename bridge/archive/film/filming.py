"""Makes the slices of films: draws each frame, mixes its sound, encodes both.

Whoever makes slices that follow each other keeps the decoders between them. Everything drawn is a function of
the journal, the tracks and the frame's number, so it does not matter who makes which slice, nor when.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np

from bridge.archive.film.encode import PictureEncoder, SoundEncoder
from bridge.archive.film.slices import SliceData, SliceName
from bridge.archive.model import PackagePlan, SessionFolder
from bridge.archive.plan.programme import Scene, Showing, scenes_within
from bridge.archive.plan.reel import (
    AAC_SAMPLES,
    AUDIO_HZ,
    FRAME_MS,
    GROUP_FRAMES,
    SAMPLES_PER_FRAME,
    Card,
    Reel,
)
from bridge.archive.screen.canvas import Canvas, to_jpeg
from bridge.archive.screen.layout import Box, fit
from bridge.archive.screen.lettering import Lettering, plain
from bridge.archive.screen.screen import BLACK, Screen
from bridge.archive.tracks.feeds import Damage, Feed, Feeds
from bridge.archive.tracks.ledger import Ledger
from bridge.archive.tracks.tracks import Track
from bridge.archive.tracks.voices import PER_MS, Limiter, Samples, Voice

# An AAC encoder and the limiter have settled after this many frames of sound.
SOUND_PREROLL: Final = 8
EDGE_SAMPLES: Final = 240
# A track that ended this long before a moment is not opened for it.
OVER_MS: Final = 1_000.0
THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX = 160, 90
THUMBNAIL_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Film:
    """One video to be made: the composed one with sound, or what one content showed."""

    name: str
    reel: Reel
    width_px: int
    height_px: int
    # None is the composed video.
    showing: Showing | None = None
    # A small picture is kept of every so many frames; 0 for none.
    thumbnail_every: int = 0

    def slices(self, slice_frames: int) -> int:
        """Return in how many slices it is made."""
        return -(-self.reel.frames // slice_frames)


class Studio:
    """Makes slices of one package's films, one after the other."""

    def __init__(
        self,
        session: SessionFolder,
        plan: PackagePlan,
        tracks: Sequence[Track],
        ledger: Ledger,
        *,
        folder: Path,
        slice_frames: int,
    ) -> None:
        # Two processes share the machine's cores; threads within would only wait for each other.
        cv2.setNumThreads(1)
        self._session, self._plan, self._tracks, self._ledger = session, plan, tracks, ledger
        self._folder, self._slice_frames = folder, slice_frames
        self._next: SliceName | None = None
        self._feeds = Feeds(tracks)
        self._scenes = scenes_within(session.events, plan.spans)
        self._camera: _Camera | None = None
        self._sound: _Sound | None = None

    def make(self, film: Film, index: int, count: Callable[[int], None]) -> None:
        """Make one slice; `count` is told of frames as they are done."""
        first = index * self._slice_frames
        last = min(first + self._slice_frames, film.reel.frames)
        if self._next != SliceName(film.name, index) or self._camera is None:
            self._begin(film, first)
        assert self._camera is not None
        data = SliceData(first)
        encoder = PictureEncoder(film.width_px, film.height_px, is_detail=film.showing is not None)
        for frame in range(first, last):
            canvas = self._camera.shoot(frame)
            data.pictures.extend(encoder.encode(canvas.frame))
            if film.thumbnail_every and frame % film.thumbnail_every == 0:
                small = canvas.thumbnail(THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)
                data.thumbnails.append((frame, to_jpeg(small, THUMBNAIL_QUALITY)))
            if (frame + 1 - first) % GROUP_FRAMES == 0:
                count(GROUP_FRAMES)
        data.pictures.extend(encoder.finish())
        data.picture_setup = encoder.setup
        if self._sound is not None:
            data.sounds.extend(self._sound.until(last * SAMPLES_PER_FRAME))
            data.sound_setup = self._sound.setup
            data.damages.extend(self._sound.take_damages())
        data.damages.extend(self._feeds.take_damages())
        count((last - first) % GROUP_FRAMES)
        data.write(SliceName(film.name, index).path(self._folder))
        self._next = SliceName(film.name, index + 1)

    def _begin(self, film: Film, first_frame: int) -> None:
        self._feeds.keep(())
        self._ledger.begin_film()
        canvas = Canvas(film.width_px, film.height_px)
        if film.showing is not None:
            feed = self._feeds.of(film.showing.participant, film.showing.source)
            self._camera = _ContentCamera(canvas, film, feed)
            self._sound = None
            return
        screen = Screen(canvas, Lettering(), self._plan, self._feeds)
        self._camera = _ConferenceCamera(canvas, film, screen, self._scenes)
        voices = [Voice(track) for track in self._tracks if track.codec == "opus" and track.segments]
        self._sound = _Sound(film.reel, voices, first_frame * SAMPLES_PER_FRAME)


class _Camera(Protocol):
    """Draws a film's frames, in rising order."""

    def shoot(self, frame: int) -> Canvas:
        """Return the canvas with a frame drawn on it."""


class _ConferenceCamera:
    """The composed picture."""

    def __init__(
        self, canvas: Canvas, film: Film, screen: Screen, scenes: Sequence[tuple[Scene, int]]
    ) -> None:
        self._canvas, self._reel, self._screen = canvas, film.reel, screen
        self._scenes = [scene for scene, _ in scenes]
        self._starts = [scene.at_ms for scene in self._scenes]
        self._card: Card | None = None

    def shoot(self, frame: int) -> Canvas:
        stretch = self._reel.stretch_of(frame)
        if stretch.card is not None:
            if stretch.card is not self._card:
                self._screen.show_card(stretch.card)
        else:
            at_ms = stretch.at_ms(frame)
            scene = self._scenes[max(bisect_right(self._starts, at_ms) - 1, 0)]
            self._screen.show(scene, at_ms, stretch.span)
        self._card = stretch.card
        return self._canvas


class _ContentCamera:
    """One content alone, in its own resolution; when that changes, on the largest one's canvas."""

    def __init__(self, canvas: Canvas, film: Film, feed: Feed) -> None:
        self._canvas, self._reel, self._feed = canvas, film.reel, feed
        self._whole = Box(0, 0, canvas.width_px, canvas.height_px)
        self._shown: tuple[str, int] | None = None
        self._box: Box | None = None
        canvas.fill(self._whole, plain(BLACK))

    def shoot(self, frame: int) -> Canvas:
        stretch = self._reel.stretch_of(frame)
        moment_ms = stretch.at_ms(frame) + FRAME_MS / 2
        shot = self._feed.shot_at(moment_ms, within=stretch.span)
        if shot is not None and shot.name != self._shown:
            self._shown = shot.name
            box = fit(shot.frame.width, shot.frame.height, self._whole)
            if box != self._box:
                self._box = box
                self._canvas.fill(self._whole, plain(BLACK))
            self._canvas.draw(shot.frame, box, is_detail=True)
        return self._canvas


class _Sound:
    """A film's sound, from some sample on."""

    def __init__(self, reel: Reel, voices: Sequence[Voice], first_sample: int) -> None:
        self._reel, self._voices = reel, voices
        self._first = first_sample
        self._position = max(first_sample - SOUND_PREROLL * AAC_SAMPLES, 0)
        self._limiter = Limiter()
        self._encoder = SoundEncoder(self._position)
        # Frames of sound that belong to the next slice.
        self._ahead: list[tuple[int, bytes]] = []
        if first_sample == 0:
            # The encoder's first frame begins before the sound does; decoders need it.
            self._first = -AAC_SAMPLES

    @property
    def setup(self) -> bytes:
        """What a decoder must be told first."""
        return self._encoder.setup

    def until(self, end_sample: int) -> list[tuple[int, bytes]]:
        """Return the frames of sound that begin before a sample."""
        while not self._ahead or self._ahead[-1][0] < end_sample:
            mix = self._mix(self._position, AUDIO_HZ)
            self._position += AUDIO_HZ
            self._ahead.extend(self._encoder.encode(self._limiter.process(mix)))
        taken = [(place, data) for place, data in self._ahead if self._first <= place < end_sample]
        self._ahead = [(place, data) for place, data in self._ahead if place >= end_sample]
        self._first = end_sample
        return taken

    def take_damages(self) -> list[Damage]:
        """Return what was found damaged since the last call."""
        return [damage for voice in self._voices for damage in voice.take_damages()]

    def _mix(self, position: int, count: int) -> Samples:
        mix = np.zeros(count, np.float32)
        for stretch in self._reel.stretches:
            begin = stretch.first_frame * SAMPLES_PER_FRAME
            end = stretch.end_frame * SAMPLES_PER_FRAME
            first, last = max(position, begin), min(position + count, end)
            if stretch.card is not None or first >= last:
                continue
            part = mix[first - position : last - position]
            from_ms = stretch.span.start_ms + (first - begin) / PER_MS
            for voice in self._voices:
                ended_ms = voice.track.ended_ms
                if ended_ms is None or ended_ms + OVER_MS > from_ms:
                    voice.add_to(part, from_ms)
            places = np.arange(first, last)
            part *= np.clip(np.minimum(places - begin, end - places) / EDGE_SAMPLES, 0, 1)
        return mix
