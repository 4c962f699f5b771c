"""What the fake cameras and microphones of the pages show and say."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MARK_PX = 40
RATE_HZ = 48_000
# Two seconds, then again from the start.
LOOP_S = 2


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour that survives a video encoder well enough to be told from the others."""

    name: str
    red: int
    green: int
    blue: int

    def distance(self, seen: list[int]) -> int:
        return max(abs(seen[0] - self.red), abs(seen[1] - self.green), abs(seen[2] - self.blue))

    @property
    def yuv(self) -> tuple[int, int, int]:
        """BT.601 with video range, as a camera gives it."""
        red, green, blue = self.red / 255, self.green / 255, self.blue / 255
        return (
            round(16 + 65.481 * red + 128.553 * green + 24.966 * blue),
            round(128 - 37.797 * red - 74.203 * green + 112.0 * blue),
            round(128 + 112.0 * red - 93.786 * green - 18.214 * blue),
        )


RED = Colour("red", 200, 30, 30)
GREEN = Colour("green", 30, 180, 40)
BLUE = Colour("blue", 40, 60, 210)
YELLOW = Colour("yellow", 210, 200, 40)
GREY = Colour("grey", 130, 130, 130)
COLOURS = (RED, GREEN, BLUE, YELLOW, GREY)


def name_of(seen: list[int] | None) -> str:
    """Return the name of the colour that a page saw; what is far from all of them by its numbers."""
    if seen is None:
        return "nothing"
    nearest = min(COLOURS, key=lambda colour: colour.distance(seen))
    return nearest.name if nearest.distance(seen) < 60 else str(seen)


def frame(colour: Colour, number: int, width_px: int, height_px: int, frames: int) -> bytes:
    """Return one I420 picture: the colour, and a white mark on its way along the upper edge."""
    y, u, v = colour.yuv
    luma = np.full((height_px, width_px), y, np.uint8)
    left = (width_px - MARK_PX) * number // frames
    luma[4 : 4 + MARK_PX // 2, left : left + MARK_PX] = 235
    chroma_size = (height_px // 2) * (width_px // 2)
    return luma.tobytes() + bytes([u]) * chroma_size + bytes([v]) * chroma_size


def write_camera(path: Path, colour: Colour, width_px: int, height_px: int, frames_per_s: int) -> None:
    """Write what a camera shows, as YUV4MPEG2."""
    frames = LOOP_S * frames_per_s
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width_px} H{height_px} F{frames_per_s}:1 Ip A1:1 C420mpeg2\n".encode())
        for number in range(frames):
            file.write(b"FRAME\n" + frame(colour, number, width_px, height_px, frames))


def write_voice(path: Path, pitch_hz: int, amplitude: float) -> None:
    """Write syllables of this pitch as a WAV file: a steady tone would be taken for noise and removed."""
    time_s = np.arange(LOOP_S * RATE_HZ) / RATE_HZ
    voice = sum(np.sin(2 * np.pi * pitch_hz * overtone * time_s) / overtone for overtone in range(1, 6))
    syllables = np.clip(1.6 * np.sin(2 * np.pi * 3 * time_s), 0, 1)
    samples = (voice / 2 * syllables * amplitude * 32767).clip(-32767, 32767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt ")
        for value, size in ((16, 4), (1, 2), (1, 2), (RATE_HZ, 4), (RATE_HZ * 2, 4), (2, 2), (16, 2)):
            file.write(value.to_bytes(size, "little"))
        file.write(b"data" + len(samples).to_bytes(4, "little") + samples)
