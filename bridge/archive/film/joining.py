"""Joins slices into the archive's MP4 files, without encoding again.

Each part is playable by itself: it begins with a key frame, and with the frame of sound before its first,
which decoders need. Its index is at the front, and its length is even, as DICOM's items must be.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, Final

import av

from bridge.archive.film.encode import AUDIO_TIME_BASE, TIME_BASE, configure_audio, configure_video
from bridge.archive.film.filming import Film
from bridge.archive.film.slices import SliceData, SliceName, read_slice
from bridge.archive.model import VideoPart
from bridge.archive.plan.reel import AAC_SAMPLES, AUDIO_HZ, FRAME_RATE, SAMPLES_PER_FRAME
from bridge.base.errors import ArchiveFailed

# The index needs at most this much for each picture and each frame of sound, and for itself.
INDEX_BYTES_EACH: Final = 24
INDEX_BYTES: Final = 8192
# An empty box (ISO/IEC 14496-12, 8.1.2) of odd length.
FREE_BOX: Final = b"\x00\x00\x00\x09free\x00"
# A box's length, kind, and its length if the first one says 1.
BOX: Final = Struct(">I4sQ")
READ_BYTES: Final = 1 << 20
# What an attempt fails with whose slices are of two encoders.
SETUP_DIFFERS: Final = "compose-setup"


@dataclass(slots=True)
class _Group:
    """A key frame and what follows it, with its sound."""

    first_frame: int
    pictures: list[bytes] = field(default_factory=list)
    sounds: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        media = sum(map(len, self.pictures)) + sum(len(data) for _, data in self.sounds)
        return media + INDEX_BYTES_EACH * (len(self.pictures) + len(self.sounds))


def join(
    film: Film,
    slices: Path,
    folder: Path,
    *,
    slice_count: int,
    part_max_bytes: int,
    first_number: int,
    count: Callable[[int], None],
) -> list[VideoPart]:
    """Join a film's slices into parts, numbered on from `first_number`; `count` is told of joined frames."""
    parts: list[VideoPart] = []
    part: _Part | None = None
    before: list[tuple[int, bytes]] = []
    for group, data in _groups(film, slices, slice_count):
        if part is not None and part.bytes + group.bytes > part_max_bytes:
            parts.append(part.finish(film))
            part = None
        if part is None:
            path = folder / f"part-{first_number + len(parts):03d}.mp4"
            part = _Part(path, film, group.first_frame)
            part.add_sounds(before)
        part.check(data)
        part.add(group)
        before = group.sounds[-2:]
        count(len(group.pictures))
    if part is not None:
        parts.append(part.finish(film))
    return parts


class _Part:
    """One file in the making."""

    def __init__(self, path: Path, film: Film, first_frame: int) -> None:
        self._path = path
        self._unfinished = path.with_suffix(".unfinished")
        self._first_frame = first_frame
        self._first_sample = first_frame * SAMPLES_PER_FRAME
        self._frames = 0
        self.bytes = INDEX_BYTES
        self._container = av.open(
            str(self._unfinished), "w", format="mp4", options={"movflags": "+faststart"}
        )
        self._video: Any = self._container.add_stream("libx264", rate=FRAME_RATE)
        configure_video(
            self._video.codec_context,
            film.width_px,
            film.height_px,
            is_detail=film.showing is not None,
        )
        self._audio: Any = None
        if film.showing is None:
            self._audio = self._container.add_stream("aac", rate=AUDIO_HZ, layout="stereo")
            configure_audio(self._audio.codec_context)
        self._container.start_encoding()

    def check(self, data: SliceData) -> None:
        """Raise ArchiveFailed for a slice that does not fit the others."""
        self._check(self._video, data.picture_setup)
        self._check(self._audio, data.sound_setup)

    def add_sounds(self, before: Sequence[tuple[int, bytes]]) -> None:
        """Begin with the sound that reaches into the first picture, and with what its decoding needs."""
        for place, data in before:
            if place > self._first_sample - 2 * AAC_SAMPLES:
                self._add_sound(place, data)

    def add(self, group: _Group) -> None:
        """Append a group of pictures and its sound, in the order of time."""
        sounds = iter(group.sounds)
        sound = next(sounds, None)
        for number, data in enumerate(group.pictures):
            frame = group.first_frame + number
            while sound is not None and sound[0] <= frame * SAMPLES_PER_FRAME:
                self._add_sound(*sound)
                sound = next(sounds, None)
            packet = av.Packet(data)
            packet.stream, packet.time_base = self._video, TIME_BASE
            packet.pts = packet.dts = frame - self._first_frame
            packet.duration = 1
            packet.is_keyframe = number == 0
            self._container.mux(packet)
        while sound is not None:
            self._add_sound(*sound)
            sound = next(sounds, None)
        self._frames += len(group.pictures)
        self.bytes += group.bytes

    def finish(self, film: Film) -> VideoPart:
        """Close the file and put it in its place."""
        self._container.close()
        size = self._unfinished.stat().st_size
        with self._unfinished.open("ab") as file:
            if size % 2:
                file.write(FREE_BOX)
                size += len(FREE_BOX)
            file.flush()
            os.fsync(file.fileno())
        if not _is_whole(self._unfinished, self._frames):
            raise ArchiveFailed("compose-part", f"{self._path.name} cannot be read again as it was written")
        self._unfinished.rename(self._path)
        last_frame = self._first_frame + self._frames - 1
        return VideoPart(
            self._path,
            film.reel.at_ms(self._first_frame),
            film.reel.at_ms(last_frame),
            self._frames,
            FRAME_RATE,
            film.width_px,
            film.height_px,
            size,
            _sha256(self._path),
        )

    def _add_sound(self, place: int, data: bytes) -> None:
        packet = av.Packet(data)
        packet.stream, packet.time_base = self._audio, AUDIO_TIME_BASE
        packet.pts = packet.dts = place - self._first_sample
        packet.duration = AAC_SAMPLES
        packet.is_keyframe = True
        self._container.mux(packet)

    def _check(self, stream: Any, setup: bytes) -> None:
        """Slices of another version of the encoder would not play."""
        if stream is None or bytes(stream.codec_context.extradata or b"") == setup:
            return
        self._container.close()
        with suppress(FileNotFoundError):
            self._unfinished.unlink()
        raise ArchiveFailed(SETUP_DIFFERS, "slices were encoded with other settings; compose again")


def _groups(film: Film, slices: Path, slice_count: int) -> Iterator[tuple[_Group, SliceData]]:
    for index in range(slice_count):
        data = read_slice(SliceName(film.name, index).path(slices))
        sounds = iter(data.sounds)
        sound = next(sounds, None)
        starts = [number for number, (_, is_key) in enumerate(data.pictures) if is_key]
        for start, end in zip(starts, [*starts[1:], len(data.pictures)], strict=True):
            group = _Group(data.first_frame + start, [picture for picture, _ in data.pictures[start:end]])
            is_last = end == len(data.pictures)
            while sound is not None and (is_last or sound[0] < (data.first_frame + end) * SAMPLES_PER_FRAME):
                group.sounds.append(sound)
                sound = next(sounds, None)
            yield group, data


def _is_whole(path: Path, frames: int) -> bool:
    """Return whether a part has all its boxes and frames, and can be decoded."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size:
            file.seek(place)
            box_bytes, _, long_bytes = BOX.unpack(file.read(BOX.size).ljust(BOX.size, b"\0"))
            place += long_bytes if box_bytes == 1 else max(box_bytes, 8)
    if place != size:
        return False
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            return video.frames == frames and next(container.decode(video), None) is not None
    except (av.FFmpegError, IndexError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
