"""Words in the picture: text set once in a real font, kept as YUV planes ready to be laid onto a canvas.

Roboto has all Vietnamese letters; names are composed first, so that every diacritic sits on its letter.
"""

import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import cv2
import font_roboto
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.uint8]
Colour = tuple[int, int, int]

# The clock alone makes 3,600 an hour; what is in use at one time are some 20.
SET_LINES_MAX: Final = 64
ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture in planar YUV 4:2:0; width and height are even."""

    y: Plane
    u: Plane
    v: Plane

    @property
    def width_px(self) -> int:
        """Its width."""
        return int(self.y.shape[1])

    @property
    def height_px(self) -> int:
        """Its height."""
        return int(self.y.shape[0])


def to_planes(rgb: NDArray[Any]) -> Planes:
    """Convert a picture of even size to BT.601 video levels, as browsers send theirs."""
    height, width = rgb.shape[:2]
    packed = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = width * height, width * height // 4
    return Planes(
        packed[:luma].reshape(height, width).astype(np.uint8),
        packed[luma : luma + chroma].reshape(height // 2, width // 2).astype(np.uint8),
        packed[luma + chroma :].reshape(height // 2, width // 2).astype(np.uint8),
    )


def plain(colour: Colour) -> tuple[int, int, int]:
    """Return a colour's Y, U and V."""
    planes = to_planes(np.full((2, 2, 3), colour, np.uint8))
    return int(planes.y[0, 0]), int(planes.u[0, 0]), int(planes.v[0, 0])


class Lettering:
    """Sets lines of text, and remembers the last ones."""

    def __init__(self) -> None:
        self._fonts: dict[tuple[int, bool], Any] = {}
        self._lines: OrderedDict[tuple[Any, ...], Planes] = OrderedDict()

    def line(
        self,
        text: str,
        size_px: int,
        *,
        colour: Colour,
        ground: Colour,
        width_px: int,
        is_bold: bool = False,
        align: str = "left",
        padding_px: int = 0,
        is_fitted: bool = False,
        keeps_end: bool = False,
    ) -> Planes:
        """Return a line on its ground, cut off with an ellipsis where it is wider than `width_px`.

        With `is_fitted` the result is only as wide as the text needs; with `keeps_end` a long text loses
        its first words, because the last ones tell one site from another.
        """
        key = (text, size_px, colour, ground, width_px, is_bold, align, padding_px, is_fitted, keeps_end)
        found = self._lines.get(key)
        if found is None:
            found = self._set(*key)
            self._lines[key] = found
            if len(self._lines) > SET_LINES_MAX:
                self._lines.popitem(last=False)
        else:
            self._lines.move_to_end(key)
        return found

    def _set(
        self,
        text: str,
        size_px: int,
        colour: Colour,
        ground: Colour,
        width_px: int,
        is_bold: bool,
        align: str,
        padding_px: int,
        is_fitted: bool,
        keeps_end: bool,
    ) -> Planes:
        font = self._font(size_px, is_bold)
        fitting = _fitting_end if keeps_end else _fitting
        shown = fitting(_clean(text), font, width_px - 2 * padding_px)
        length_px = round(font.getlength(shown))
        if is_fitted:
            width_px = min(width_px, length_px + 2 * padding_px)
        # Ascent and descent leave room for a hook on a circumflex, and for the dot below.
        height_px = round(size_px * 1.5)
        width_px, height_px = width_px + width_px % 2, height_px + height_px % 2
        image = Image.new("RGB", (width_px, height_px), ground)
        left = padding_px
        if align == "right":
            left = width_px - padding_px - length_px
        elif align == "centre":
            left = (width_px - length_px) // 2
        baseline = round(height_px * 0.5 + size_px * 0.36)
        ImageDraw.Draw(image).text((left, baseline), shown, font=font, fill=colour, anchor="ls")
        return to_planes(np.asarray(image))

    def _font(self, size_px: int, is_bold: bool) -> Any:
        key = (size_px, is_bold)
        if key not in self._fonts:
            path = font_roboto.RobotoMedium if is_bold else font_roboto.Roboto
            self._fonts[key] = ImageFont.truetype(path, size_px)
        return self._fonts[key]


def _clean(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if c.isprintable() else " " for c in composed).split())


def _fitting(text: str, font: Any, width_px: int) -> str:
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(text + ELLIPSIS) > width_px:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def _fitting_end(text: str, font: Any, width_px: int) -> str:
    if font.getlength(text) <= width_px:
        return text
    words = text.split()
    for first in range(1, len(words)):
        shown = f"{ELLIPSIS} {' '.join(words[first:])}"
        if font.getlength(shown) <= width_px:
            return shown
    return _fitting(text, font, width_px)
