"""A picture that is drawn on in YUV planes and handed to the encoder as it is; nothing passes through RGB."""

from typing import Any, Final

import av
import cv2
import numpy as np

from bridge.archive.screen.layout import Box
from bridge.archive.screen.lettering import Plane, Planes

# Y, U and V of a plain colour.
Paint = tuple[int, int, int]

# From here on fine lines would alias when they are only sampled.
SHRINK_BY_AREA: Final = 2.0


class Canvas:
    """A frame of even size whose planes are drawn on in place."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px, self.height_px = width_px, height_px
        self.frame = av.VideoFrame(width_px, height_px, "yuv420p")
        self._planes = _views(self.frame)

    def fill(self, box: Box, paint: Paint) -> None:
        """Paint a box."""
        for plane, value, part in zip(self._planes, paint, (1, 2, 2), strict=True):
            _part(plane, box, part)[:] = value

    def put(self, planes: Planes, x: int, y: int) -> None:
        """Lay a prepared picture onto the canvas; what lies outside is left out."""
        width = min(planes.width_px, self.width_px - x)
        height = min(planes.height_px, self.height_px - y)
        if width <= 0 or height <= 0:
            return
        box = Box(x, y, width, height)
        whole = Box(0, 0, width, height)
        for plane, source, part in zip(self._planes, (planes.y, planes.u, planes.v), (1, 2, 2), strict=True):
            _part(plane, box, part)[:] = _part(source, whole, part)

    def draw(self, frame: av.VideoFrame, box: Box, *, is_detail: bool) -> None:
        """Scale a frame into a box of its shape; with `is_detail` for sharpness rather than for speed."""
        shrink = frame.width / box.width
        if shrink == 1 and frame.height == box.height:
            for plane, source, part in zip(self._planes, _views(frame), (1, 2, 2), strict=True):
                _part(plane, box, part)[:] = source
            return
        if shrink > 1 and (is_detail or shrink >= SHRINK_BY_AREA):
            method = cv2.INTER_AREA
        else:
            method = cv2.INTER_CUBIC if is_detail else cv2.INTER_LINEAR
        for plane, source, part in zip(self._planes, _views(frame), (1, 2, 2), strict=True):
            target: Any = _part(plane, box, part)
            cv2.resize(source, (box.width // part, box.height // part), dst=target, interpolation=method)

    def outline(self, box: Box, paint: Paint, thickness_px: int) -> None:
        """Draw a frame around a box, outside of it."""
        t = thickness_px
        left, top = max(box.x - t, 0), max(box.y - t, 0)
        right = min(box.x + box.width + t, self.width_px)
        bottom = min(box.y + box.height + t, self.height_px)
        self.fill(Box(left, top, right - left, box.y - top), paint)
        self.fill(Box(left, box.y + box.height, right - left, bottom - box.y - box.height), paint)
        self.fill(Box(left, box.y, box.x - left, box.height), paint)
        self.fill(Box(box.x + box.width, box.y, right - box.x - box.width, box.height), paint)

    def thumbnail(self, width_px: int, height_px: int) -> Planes:
        """Return a small copy."""
        small = [
            cv2.resize(plane, (width_px // part, height_px // part), interpolation=cv2.INTER_AREA)
            for plane, part in zip(self._planes, (1, 2, 2), strict=True)
        ]
        y, u, v = (np.asarray(plane, np.uint8) for plane in small)
        return Planes(y, u, v)


def to_jpeg(planes: Planes, quality: int) -> bytes:
    """Encode planes as JPEG."""
    packed = np.concatenate([planes.y.reshape(-1), planes.u.reshape(-1), planes.v.reshape(-1)])
    packed = packed.reshape(planes.height_px * 3 // 2, planes.width_px)
    bgr = cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def planes_of(frame: av.VideoFrame) -> Planes:
    """Return a copy of a decoded frame's planes."""
    y, u, v = (np.ascontiguousarray(view) for view in _views(frame))
    return Planes(y, u, v)


def _views(frame: av.VideoFrame) -> list[Plane]:
    views = []
    for plane in frame.planes:
        buffer: Any = plane
        rows = np.frombuffer(buffer, np.uint8)[: plane.line_size * plane.height]
        views.append(rows.reshape(plane.height, plane.line_size)[:, : plane.width])
    return views


def _part(plane: Plane, box: Box, part: int) -> Plane:
    x, y = box.x // part, box.y // part
    return plane[y : y + box.height // part, x : x + box.width // part]
