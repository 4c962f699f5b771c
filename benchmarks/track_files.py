"""Tracks as files: real VP8, H.264 and Opus in segments, with a log beside them; for tests and benches."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from bridge.store.checked_lines import checked_line

# 25 November 2026, 10:00 in Vietnam.
START_MS = 1_795_575_600_000
MILLISECONDS = Fraction(1, 1000)
AUDIO_HZ = 48_000
OPUS_SAMPLES = 960

Colour = tuple[int, int, int]
# What a camera sees, or a microphone hears, at a true time in seconds.
Picture = Callable[[float], "np.ndarray[Any, Any] | Colour | av.VideoFrame"]
Sound = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A participant, with what tells it from the others in picture and sound."""

    participant: str
    name: str
    colour: Colour
    tone_hz: float
    level: str = "district"
    role: str = "expert"
    clock_offset_ms: float = 0.0
    drift_ppm: float = 0.0
    delay_ms: float = 20.0


class Clock:
    """A site's clock and network: what a true time becomes there, and when the bridge hears of it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rate = 1 + site.drift_ppm / 1e6

    def ntp_ms(self, true_ms: float) -> float:
        return START_MS + self._site.clock_offset_ms + (true_ms - START_MS) * self._rate

    def elapsed_ms(self, from_ms: float, to_ms: float) -> float:
        return (to_ms - from_ms) * self._rate

    def arrival_ms(self, true_ms: float, number: int = 0) -> int:
        # Queues add up to 12 ms, in a pattern that repeats so that tests do.
        return round(true_ms + self._site.delay_ms + (0, 5, 12, 2, 8)[number % 5])


@dataclass(slots=True)
class Track:
    """One track in the making: its folder and its log."""

    folder: Path
    site: Site
    source: str
    codec: str
    sync: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    streams: int = 0
    segments: int = 0

    @property
    def name(self) -> str:
        return self.folder.name

    def log(self, k: str, **values: Any) -> None:
        self.lines.append({"k": k, **values})

    def next_segment(self) -> Path:
        self.segments += 1
        return self.folder / f"{self.segments:05d}.mkv"

    def write(self) -> None:
        # In the order in which the bridge learnt of them.
        lines = self.lines[:1] + sorted(self.lines[1:], key=lambda line: line.get("at_ms", math.inf))
        (self.folder / "track.jsonl").write_bytes(b"".join(checked_line(line) for line in lines))


class Lens:
    """One encoder's frames."""

    def __init__(self, picture: Picture, size: tuple[int, int], fps: int) -> None:
        self._picture, self._size, self._fps = picture, size, fps
        self._plain: dict[Colour, av.VideoFrame] = {}

    def times(self, start_s: float, first_s: float, last_s: float) -> Iterator[float]:
        """Yield the frames' true times; all are on one grid from the stream's start on."""
        number = round((first_s - start_s) * self._fps)
        while start_s + number / self._fps < last_s - 1e-6:
            yield start_s + number / self._fps
            number += 1

    def frames(self, start_s: float, first_s: float, last_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
        for seconds in self.times(start_s, first_s, last_s):
            yield seconds, self._frame(seconds)

    def _frame(self, seconds: float) -> av.VideoFrame:
        shown = self._picture(seconds)
        if isinstance(shown, tuple):
            if shown not in self._plain:
                flat = np.full((self._size[1], self._size[0], 3), shown, np.uint8)
                self._plain[shown] = av.VideoFrame.from_ndarray(flat, "rgb24").reformat(format="yuv420p")
            return self._plain[shown]
        frame = shown if isinstance(shown, av.VideoFrame) else av.VideoFrame.from_ndarray(shown, "rgb24")
        return frame.reformat(width=self._size[0], height=self._size[1], format="yuv420p")


def _encoded_stream(
    container: av.container.OutputContainer, codec: str, size: tuple[int, int], fps: int, bitrate_bps: int
) -> tuple[Any, Any]:
    """Return a container's stream and an encoder as a browser has it: real time, key frames on request."""
    if codec == "vp8":
        stream: Any = container.add_mux_stream("vp8", rate=fps, width=size[0], height=size[1])
        encoder: Any = av.CodecContext.create("libvpx", "w")
        encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": "9999"}
    else:
        stream = container.add_stream("libx264", rate=fps)
        encoder = stream.codec_context
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "9999"}
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = MILLISECONDS
    encoder.framerate = Fraction(fps)
    encoder.bit_rate = bitrate_bps
    encoder.thread_count = 1
    return stream, encoder


def write_video(
    track: Track,
    clock: Clock,
    first_ms: int,
    frames: Iterator[tuple[float, av.VideoFrame]],
    size: tuple[int, int],
    fps: int,
    bitrate_bps: int,
) -> None:
    """Write one segment, which begins with a key frame because its encoder does."""
    path = track.next_segment()
    is_first = True
    with av.open(str(path), "w", format="matroska") as container:
        stream, encoder = _encoded_stream(container, track.codec, size, fps, bitrate_bps)
        for seconds, frame in frames:
            true_ms = START_MS + seconds * 1000
            pts_ms = round(clock.elapsed_ms(first_ms, true_ms))
            if is_first:
                is_first = False
                track.log(
                    "segment",
                    file=path.name,
                    stream=track.streams,
                    pts_ms=pts_ms,
                    at_ms=clock.arrival_ms(true_ms),
                    width=size[0],
                    height=size[1],
                )
            frame.pts, frame.time_base = pts_ms, MILLISECONDS
            frame.pict_type = PictureType.NONE
            for packet in encoder.encode(frame):
                packet.stream, packet.time_base = stream, MILLISECONDS
                container.mux(packet)
        for packet in encoder.encode(None):
            packet.stream, packet.time_base = stream, MILLISECONDS
            container.mux(packet)


def opus_packets(
    sound: Sound,
    clock: Clock,
    first_ms: int,
    seconds: float,
    *,
    only: Sequence[tuple[float, float]] | None,
) -> Iterator[tuple[int, bytes]]:
    """Yield 20 ms packets, by the site's sample clock; with `only` nothing outside of these true times."""
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = AUDIO_HZ, "mono", "flt"
    encoder.bit_rate = 48_000
    encoder.time_base = Fraction(1, AUDIO_HZ)
    rate = clock.elapsed_ms(0, 1)
    # The encoder delays by its look-ahead (312 samples); what is heard is asked for that much earlier.
    for number in range(int(seconds * 1000 / 20)):
        at_s = (first_ms - START_MS) / 1000 + number * 0.02 / rate
        if only is not None and not any(start - 0.02 <= at_s < end for start, end in only):
            continue
        samples = np.arange(number * OPUS_SAMPLES, (number + 1) * OPUS_SAMPLES) + 312
        true_s = (first_ms - START_MS) / 1000 + samples / AUDIO_HZ / rate
        data = sound(true_s).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, "flt", "mono")
        frame.sample_rate, frame.pts = AUDIO_HZ, number * OPUS_SAMPLES
        for packet in encoder.encode(frame):
            yield number * 20, bytes(packet)


def write_sound(
    track: Track, clock: Clock, first_ms: int, packets: Iterator[tuple[int, bytes]], segment_s: float
) -> None:
    container: Any = None
    opened_ms = 0
    for pts_ms, data in packets:
        true_ms = first_ms + pts_ms / clock.elapsed_ms(0, 1)
        if container is None or pts_ms - opened_ms >= segment_s * 1000:
            if container is not None:
                container.close()
            path, opened_ms = track.next_segment(), pts_ms
            container = av.open(str(path), "w", format="matroska")
            stream = container.add_stream("libopus", rate=AUDIO_HZ, layout="mono")
            track.log(
                "segment",
                file=path.name,
                stream=track.streams,
                pts_ms=pts_ms,
                at_ms=clock.arrival_ms(true_ms),
                width=0,
                height=0,
            )
        packet = av.Packet(data)
        packet.stream, packet.time_base = stream, MILLISECONDS
        packet.pts = packet.dts = pts_ms
        packet.duration = 20
        container.mux(packet)
    if container is not None:
        container.close()


def cuts(start_s: float, end_s: float, every_s: float) -> Iterator[tuple[float, float]]:
    first_s = start_s
    while first_s < end_s - 1e-6:
        yield first_s, min(first_s + every_s, end_s)
        first_s += every_s
