"""The composed picture: scenes drawn on a canvas, and of each only what changed since the last frame.

Calm and dark, so that the images are the brightest thing to be seen. Words are sites' names, the title,
the case's code and the clock; never a patient's name, because the journal has none.
"""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from bridge.archive.model import PackagePlan, Span
from bridge.archive.plan.programme import Hole, Scene
from bridge.archive.plan.reel import FRAME_MS, Card
from bridge.archive.screen.canvas import Canvas
from bridge.archive.screen.layout import BASE_HEIGHT_PX, Box, Layout, Place, Tile, arrange, fit
from bridge.archive.screen.lettering import Colour, Lettering, plain
from bridge.archive.tracks.feeds import Feeds, Shot

VIETNAM: Final = timezone(timedelta(hours=7))

GROUND: Final[Colour] = (13, 19, 26)
BAND: Final[Colour] = (21, 30, 40)
PANEL: Final[Colour] = (30, 42, 55)
BLACK: Final[Colour] = (0, 0, 0)
TEXT: Final[Colour] = (232, 238, 244)
QUIET: Final[Colour] = (150, 166, 182)
ACCENT: Final[Colour] = (64, 200, 175)

# A camera that sent nothing for this long is not there; images may stand still.
STALE_CAMERA_MS: Final = 3_000.0

SOURCES: Final = {"content": "Hình ảnh / Content", "auxiliary": "Thiết bị / Device"}
HOLES: Final = {
    Hole.PAUSE: ("Tạm dừng ghi", "Recording paused"),
    Hole.CRASH: ("Gián đoạn ghi", "Recording interrupted"),
    Hole.CASE: ("Ca bệnh được lưu thành hồ sơ riêng", "Case filed as a package of its own"),
}
NO_PICTURE: Final = "Không có hình / No picture"


class Screen:
    """Draws one package's picture, frame by frame."""

    def __init__(self, canvas: Canvas, lettering: Lettering, plan: PackagePlan, feeds: Feeds) -> None:
        self._canvas = canvas
        self._lettering = lettering
        self._plan = plan
        self._feeds = feeds
        self._scale = canvas.height_px / BASE_HEIGHT_PX
        self._whole = Box(0, 0, canvas.width_px, canvas.height_px)
        self._scene: Scene | None = None
        self._layout: Layout | None = None
        self._drawn: dict[Box, tuple[str, int] | None] = {}
        self._fitted: dict[Box, Box] = {}
        self._second = -1

    def show(self, scene: Scene, at_ms: float, within: Span) -> None:
        """Draw a moment of a span."""
        layout = self._layout
        if layout is None or scene is not self._scene:
            self._scene, layout = scene, arrange(scene, self._canvas.height_px)
            if layout != self._layout:
                self._layout = layout
                self._feeds.keep({(tile.attendee.participant, tile.source) for tile in layout.tiles})
                self._draw_frame_of(layout, scene)
        for tile in layout.tiles:
            # The picture nearest to the frame's time, before or after.
            moment_ms = at_ms + FRAME_MS / 2
            shot = self._feeds.of(tile.attendee.participant, tile.source).shot_at(moment_ms, within=within)
            if shot is not None and not tile.is_content and moment_ms - shot.at_ms > STALE_CAMERA_MS:
                shot = None
            self._draw_tile(tile, shot)
        self._draw_clock(at_ms)

    def show_card(self, card: Card) -> None:
        """Draw what lies between two spans."""
        self._scene = self._layout = None
        self._canvas.fill(self._whole, plain(GROUND))
        self._draw_header(None)
        vietnamese, english = HOLES[card.hole]
        times = f"{clock(card.start_ms)} – {clock(card.end_ms)}"
        middle = self._canvas.height_px // 2
        for text, size, colour, offset in (
            (vietnamese, 40, TEXT, -84),
            (english, 26, QUIET, -20),
            (times, 26, ACCENT, 36),
        ):
            line = self._lettering.line(
                text,
                self._px(size),
                colour=colour,
                ground=GROUND,
                width_px=self._canvas.width_px,
                is_bold=size == 40,
                align="centre",
            )
            self._canvas.put(line, 0, middle + self._even(offset))

    def _draw_frame_of(self, layout: Layout, scene: Scene) -> None:
        """Draw everything but the pictures."""
        self._drawn.clear()
        self._fitted.clear()
        self._second = -1
        self._canvas.fill(self._whole, plain(GROUND))
        self._draw_header(scene.case)
        for tile in layout.tiles:
            if tile.is_speaking and not tile.is_content:
                self._canvas.outline(tile.box, plain(ACCENT), self._even(4))
            if tile.place is Place.MAIN:
                self._draw_name(tile)
        if layout.others:
            self._canvas.fill(layout.others_box, plain(BAND))
            line = self._lettering.line(
                f"+{layout.others} điểm cầu khác / other sites",
                self._px(14),
                colour=QUIET,
                ground=BAND,
                width_px=layout.others_box.width,
                align="centre",
                padding_px=self._px(8),
            )
            top = layout.others_box.y + (layout.others_box.height - line.height_px) // 4 * 2
            self._canvas.put(line, layout.others_box.x, top)

    def _draw_header(self, case: str | None) -> None:
        height = self._even(44)
        self._canvas.fill(Box(0, 0, self._canvas.width_px, height), plain(BAND))
        size = self._px(19)
        left = self._even(12)
        if case:
            pill = self._lettering.line(
                f"Ca / Case {case}",
                size,
                colour=GROUND,
                ground=ACCENT,
                width_px=self._even(420),
                is_bold=True,
                padding_px=self._px(10),
                is_fitted=True,
            )
            self._canvas.put(pill, left, (height - pill.height_px) // 4 * 2)
            left += pill.width_px + self._even(14)
        line = self._lettering.line(
            self._plan.title,
            size,
            colour=TEXT,
            ground=BAND,
            width_px=self._canvas.width_px - left - self._even(250),
        )
        self._canvas.put(line, left, (height - line.height_px) // 4 * 2)

    def _draw_clock(self, at_ms: float) -> None:
        second = int(at_ms // 1000)
        if second == self._second:
            return
        self._second = second
        width, height = self._even(230), self._even(44)
        line = self._lettering.line(
            moment(second * 1000),
            self._px(19),
            colour=TEXT,
            ground=BAND,
            width_px=width,
            align="right",
            padding_px=self._px(12),
        )
        self._canvas.put(line, self._canvas.width_px - width, (height - line.height_px) // 4 * 2)

    def _draw_name(self, tile: Tile) -> None:
        text = tile.attendee.site
        if tile.is_content:
            text = f"{SOURCES.get(tile.source, tile.source)} · {text}"
        line = self._lettering.line(
            text,
            self._px(21),
            colour=ACCENT if tile.is_speaking else TEXT,
            ground=GROUND,
            width_px=tile.name_box.width,
            is_bold=True,
        )
        top = tile.name_box.y + (tile.name_box.height - line.height_px) // 2 // 2 * 2 + self._even(2)
        self._canvas.put(line, tile.name_box.x, top)

    def _draw_tile(self, tile: Tile, shot: Shot | None) -> None:
        name = shot.name if shot is not None else None
        if tile.box in self._drawn and self._drawn[tile.box] == name:
            return
        self._drawn[tile.box] = name
        if shot is None:
            self._fitted.pop(tile.box, None)
            self._draw_nobody(tile)
        else:
            fitted = fit(shot.frame.width, shot.frame.height, tile.box)
            if self._fitted.get(tile.box) != fitted:
                self._fitted[tile.box] = fitted
                self._canvas.fill(tile.box, plain(BLACK))
            self._canvas.draw(shot.frame, fitted, is_detail=tile.is_content)
        if tile.place is Place.COLUMN:
            self._draw_label(tile)

    def _draw_label(self, tile: Tile) -> None:
        label = self._lettering.line(
            tile.attendee.site,
            self._px(14),
            colour=GROUND if tile.is_speaking else TEXT,
            ground=ACCENT if tile.is_speaking else BAND,
            width_px=tile.name_box.width,
            is_bold=True,
            padding_px=self._px(7),
            is_fitted=True,
            keeps_end=True,
        )
        bottom = tile.name_box.y + tile.name_box.height
        self._canvas.put(label, tile.name_box.x, bottom - label.height_px)

    def _draw_nobody(self, tile: Tile) -> None:
        """Draw the card of somebody without a picture."""
        self._canvas.fill(tile.box, plain(PANEL))
        is_main = tile.place is Place.MAIN
        lines = [(initials(tile.attendee.site), 96 if is_main else 36, TEXT)]
        if is_main:
            lines.append((NO_PICTURE, 20, QUIET))
        top = tile.box.y + tile.box.height // 2 - self._even(90 if is_main else 38)
        for text, size, colour in lines:
            line = self._lettering.line(
                text,
                self._px(size),
                colour=colour,
                ground=PANEL,
                width_px=tile.box.width,
                is_bold=size > 20,
                align="centre",
            )
            self._canvas.put(line, tile.box.x, top // 2 * 2)
            top += line.height_px + self._even(8)

    def _px(self, base: float) -> int:
        return round(base * self._scale)

    def _even(self, base: float) -> int:
        return int(base * self._scale) // 2 * 2


def clock(at_ms: float) -> str:
    """Return the time of day in Vietnam."""
    return _local(at_ms).strftime("%H:%M:%S")


def moment(at_ms: float) -> str:
    """Return date and time of day in Vietnam."""
    return _local(at_ms).strftime("%d/%m/%Y  %H:%M:%S")


def initials(site: str) -> str:
    """Return two letters for a name; the last words tell sites apart, the first say what kind they are."""
    words = [word for word in site.split() if word[:1].isalnum()]
    return "".join(word[0].upper() for word in words[-2:])


def _local(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(VIETNAM)
