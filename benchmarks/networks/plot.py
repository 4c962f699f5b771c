"""A case over time as a picture: rates, the queue, the height of the picture, the voice that was made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import font_roboto
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.networks.line import Schedule
from benchmarks.networks.tally import BIN_S, Tally

if TYPE_CHECKING:
    from benchmarks.networks.chromium import Result
    from benchmarks.networks.live import LiveCase

Points = Sequence[tuple[float, float]]

WIDTH_PX, PANEL_PX, TOP_PX, LEFT_PX, RIGHT_PX, GAP_PX = 1100, 170, 56, 70, 180, 34
# Drawn larger and made smaller, as Pillow's lines have no soft edges.
SCALE = 2
GREY, BLACK, FAINT = (120, 120, 120), (30, 30, 30), (225, 225, 225)
COLOURS = ((0, 90, 181), (220, 50, 32), (30, 140, 60), (170, 80, 200))
CONTROL = (200, 150, 20)
STEP_S = 0.5
# Rates above this are lines that nobody fills: they would flatten all others.
RATE_MOST_BPS = 6e6


class Panel:
    """One of the pictures below each other, all with the time from left to right."""

    def __init__(self, draw: ImageDraw.ImageDraw, index: int, title: str, end_s: float, most: float) -> None:
        self._draw = draw
        self._top = TOP_PX + index * (PANEL_PX + GAP_PX)
        self._end_s = end_s
        self._most = most or 1.0
        self._labels = 0
        self._font = ImageFont.truetype(font_roboto.Roboto, 13 * SCALE)
        for part in (0.0, 0.5, 1.0):
            y = self._y(part * self._most)
            self._line([(LEFT_PX, y), (WIDTH_PX - RIGHT_PX, y)], FAINT, 1)
            self._text((8, y - 8), f"{part * self._most:g}", GREY)
        step_s = 10 if end_s <= 130 else 30
        for second in range(0, int(end_s) + 1, step_s):
            x = self._x(second)
            self._line([(x, self._top), (x, self._top + PANEL_PX)], FAINT, 1)
            self._text((x - 8, self._top + PANEL_PX + 2), str(second), GREY)
        self._text((LEFT_PX, self._top - 18), title, BLACK)

    def _x(self, at: float) -> float:
        return LEFT_PX + (WIDTH_PX - LEFT_PX - RIGHT_PX) * at / self._end_s

    def _y(self, value: float) -> float:
        return self._top + PANEL_PX * (1.0 - min(value / self._most, 1.0))

    def _line(self, points: Points, colour: tuple[int, int, int], width_px: int) -> None:
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], fill=colour, width=width_px * SCALE)

    def _text(self, at: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
        self._draw.text((at[0] * SCALE, at[1] * SCALE), text, fill=colour, font=self._font)

    def show(self, label: str, points: Points, colour: tuple[int, int, int], width_px: int = 2) -> None:
        """Draw one line, and name it at the right."""
        within = [(self._x(at), self._y(value)) for at, value in points if 0.0 <= at <= self._end_s]
        if len(within) > 1:
            self._line(within, colour, width_px)
        self._text((WIDTH_PX - RIGHT_PX + 8, self._top + 16 * self._labels), label, colour)
        self._labels += 1


def _steps(value_at: Callable[[float], float], end_s: float) -> list[tuple[float, float]]:
    times = np.arange(0.0, end_s, BIN_S)
    return [(float(at), value_at(float(at))) for at in times]


def _rates(tally: Tally, end_s: float) -> list[tuple[float, float]]:
    times = np.arange(0.0, end_s, STEP_S)
    return [(float(at), tally.rate_bps(float(at), float(at) + STEP_S) / 1e6) for at in times]


def waits_ms(tally: Tally, end_s: float, percentile: float) -> list[tuple[float, float]]:
    """Return a percentile of each half second's waiting times, in ms."""
    bins: dict[int, list[float]] = {}
    for at, wait_s in tally.waits:
        bins.setdefault(int(at / STEP_S), []).append(wait_s)
    return [
        (index * STEP_S, 1000 * float(np.percentile(waits, percentile)))
        for index, waits in sorted(bins.items())
        if index * STEP_S < end_s
    ]


def plot(live: LiveCase, result: Result, folder: Path) -> Path:
    """Draw a run; return the file."""
    case, end_s = live.case, live.case.duration_s
    rate_bps = Schedule(case.rate)
    height_px = TOP_PX + 4 * (PANEL_PX + GAP_PX)
    image = Image.new("RGB", (WIDTH_PX * SCALE, height_px * SCALE), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(font_roboto.Roboto, 18 * SCALE)
    row = result.row
    draw.text((LEFT_PX * SCALE, 6 * SCALE), f"{live.name}  ({row.get('commit', '')})", fill=BLACK, font=font)
    most_bps = min(max(value for _, value in case.rate), RATE_MOST_BPS)
    rates = Panel(draw, 0, "Mbit/s: line, arrived, the bridge's estimate (thin)", end_s, most_bps * 1.1 / 1e6)
    rates.show("line", _steps(lambda at: rate_bps.at(at) / 1e6, end_s), GREY)
    for number, tally in enumerate(result.tcps):
        rates.show("TCP" if number == 0 else "", _rates(tally, end_s), BLACK)
    waits = Panel(
        draw, 1, "ms in the queue: 95 of 100 (thin: the longest)", end_s, max(1000 * case.queue_s, 50)
    )
    heights = Panel(draw, 2, "height of the picture, lines", end_s, 720)
    voices = Panel(draw, 3, "% of the voice made up", end_s, 50)
    for number, count in enumerate(result.forward):
        colour = COLOURS[number % len(COLOURS)]
        rates.show(f"flow {number + 1}", _rates(count.tally, end_s), colour)
        waits.show(f"flow {number + 1}", waits_ms(count.tally, end_s, 95), colour)
        waits.show("", waits_ms(count.tally, end_s, 100), colour, 1)
    shown = [("control", result.control, CONTROL)]
    shown += [
        (f"receiver {number + 1}", moments, COLOURS[number % len(COLOURS)])
        for number, moments in enumerate(result.receivers)
    ]
    for name, moments, colour in shown:
        if name != "control":
            points = [(one.at, (one.estimate_bps or 0.0) / 1e6) for one in moments]
            rates.show("", points, colour, 1)
        heights.show(name, [(one.at, one.height_px if one.frames else 0) for one in moments], colour)
        voices.show(name, [(one.at, 100 * one.concealed / max(one.samples, 1)) for one in moments], colour)
    path = folder / f"{file_name(live.name)}.png"
    image.resize((WIDTH_PX, height_px), Image.Resampling.LANCZOS).quantize(64).save(path, optimize=True)
    return path


def file_name(name: str) -> str:
    """Return a case's name as that of a file."""
    return "-".join("".join(one if one.isalnum() else " " for one in name).lower().split())
