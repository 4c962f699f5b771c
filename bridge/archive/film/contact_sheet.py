"""Still pictures of a composed video: the contact sheet to scrub on, and the poster."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from bridge.archive.film.filming import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Film
from bridge.archive.film.slices import SliceName, read_slice
from bridge.archive.model import VideoPart
from bridge.archive.plan.reel import FRAME_RATE, GROUP_FRAMES
from bridge.archive.screen.canvas import planes_of, to_jpeg

COLUMNS: Final = 10
TILES_MAX: Final = 200
QUALITY: Final = 82
# Where in the video the poster is taken: the conference has begun, and nobody has said goodbye.
POSTER_AT: Final = 0.25


def thumbnail_every(frames: int) -> int:
    """Return how many frames lie between two tiles: whole groups, and not too many tiles."""
    groups = -(-frames // (GROUP_FRAMES * TILES_MAX))
    return max(groups, 1) * GROUP_FRAMES


def write_contact_sheet(film: Film, slices: Path, folder: Path, *, slice_count: int) -> Path:
    """Lay out all tiles on `contact-sheet.jpg`, and say in `contact-sheet.json` how to read it."""
    count = -(-film.reel.frames // film.thumbnail_every)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * THUMBNAIL_HEIGHT_PX, columns * THUMBNAIL_WIDTH_PX, 3), np.uint8)
    for index in range(slice_count):
        path = SliceName(film.name, index).path(slices)
        for frame, data in read_slice(path, with_media=False).thumbnails:
            row, column = divmod(frame // film.thumbnail_every, columns)
            top, left = row * THUMBNAIL_HEIGHT_PX, column * THUMBNAIL_WIDTH_PX
            tile: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            sheet[top : top + THUMBNAIL_HEIGHT_PX, left : left + THUMBNAIL_WIDTH_PX] = tile
    path = folder / "contact-sheet.jpg"
    path.write_bytes(bytes(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]))
    index_of = {
        "columns": columns,
        "rows": rows,
        "count": count,
        "tile_width_px": THUMBNAIL_WIDTH_PX,
        "tile_height_px": THUMBNAIL_HEIGHT_PX,
        "interval_s": film.thumbnail_every / FRAME_RATE,
    }
    (folder / "contact-sheet.json").write_text(json.dumps(index_of, indent=2) + "\n")
    return path


def write_poster(parts: Sequence[VideoPart], folder: Path) -> Path:
    """Take one picture out of the video."""
    wanted = int(sum(part.frames for part in parts) * POSTER_AT)
    chosen = parts[0]
    for part in parts:
        chosen = part
        if wanted < part.frames:
            break
        wanted -= part.frames
    path = folder / "poster.jpg"
    with av.open(str(chosen.path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(int(wanted / FRAME_RATE / stream.time_base), stream=stream)
        frame = next(container.decode(stream))
        path.write_bytes(to_jpeg(planes_of(frame), QUALITY + 5))
    return path
