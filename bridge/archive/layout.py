"""Where everything goes in the composed picture; pure numbers from a scene.

One screen high, from the top: a header with title, case and clock; below it the main picture with its name
under it, and a column of the other sites at the right. Content is the main picture whenever there is any,
uncovered and as large as it can be; who speaks about it leads the column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bridge.archive.programme import Attendee, Scene

# All measures are those of a 720 line picture.
BASE_HEIGHT_PX: Final = 720
BASE_WIDTH_PX: Final = 1280
MARGIN: Final = 12
HEADER: Final = 44
NAME: Final = 36
TILE_WIDTH: Final = 216
TILE_HEIGHT: Final = 122
TILE_GAP: Final = 8
COLUMN_TILES: Final = 5


class Place(Enum):
    """What a tile is in the picture."""

    MAIN = auto()
    COLUMN = auto()


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; all numbers are even, as chroma needs."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture on the screen: whose, from which source, and where."""

    box: Box
    name_box: Box
    place: Place
    attendee: Attendee
    source: str
    is_speaking: bool

    @property
    def is_content(self) -> bool:
        """Whether it shows images rather than people."""
        return self.source != "camera"


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole screen; `others` are those who are there and not shown."""

    width_px: int
    height_px: int
    header: Box
    tiles: tuple[Tile, ...]
    others: int
    others_box: Box


def arrange(scene: Scene, height_px: int) -> Layout:
    """Lay out a scene on a canvas of 16:9."""
    scale = height_px / BASE_HEIGHT_PX
    width_px = _even(BASE_WIDTH_PX * scale)
    stage = scene.on_stage
    content = scene.attendee(scene.content[0]) if scene.content else None
    in_column = [person for person in _by_interest(scene) if person is not stage]
    if content is not None and stage is not None:
        in_column.insert(0, stage)
    is_crowded = len(in_column) > COLUMN_TILES
    shown = in_column[: COLUMN_TILES - 1] if is_crowded else in_column
    column_px = _even((TILE_WIDTH + MARGIN) * scale) if in_column else 0

    margin, header, name = (_even(value * scale) for value in (MARGIN, HEADER, NAME))
    area = Box(
        margin, header + margin, width_px - column_px - 2 * margin, height_px - header - 2 * margin - name
    )
    tiles = []
    if content is not None and scene.content is not None:
        tiles.append(_main(area, name, content, scene.content[1], scene))
    elif stage is not None:
        tiles.append(_main(fit(16, 9, area), name, stage, "camera", scene))
    left = width_px - column_px
    boxes = [_column_box(left, header + margin, index, scale) for index in range(COLUMN_TILES)]
    tiles.extend(_in_column(box, person, scene, scale) for box, person in zip(boxes, shown, strict=False))
    return Layout(
        width_px,
        height_px,
        Box(0, 0, width_px, header),
        tuple(tiles),
        len(in_column) - len(shown),
        boxes[-1],
    )


def fit(width: int, height: int, box: Box) -> Box:
    """Return the largest box of a picture's shape within a box, in its middle."""
    scale = min(box.width / max(width, 1), box.height / max(height, 1))
    # To the nearest even number, so that a box made for 16:9 is filled by it.
    inner_width = min(max(_even(width * scale + 1), 2), box.width)
    inner_height = min(max(_even(height * scale + 1), 2), box.height)
    x = box.x + (box.width - inner_width) // 4 * 2
    y = box.y + (box.height - inner_height) // 4 * 2
    return Box(x, y, inner_width, inner_height)


def _by_interest(scene: Scene) -> Sequence[Attendee]:
    """Return who is there, cameras first; in a crowd those who speak, too. Otherwise as they came."""
    if len(scene.attendees) <= COLUMN_TILES + 1:
        return scene.attendees
    return sorted(
        scene.attendees,
        key=lambda person: (
            person.participant not in scene.voices and person.participant != scene.speaker,
            person.participant not in scene.cameras,
        ),
    )


def _main(area: Box, name: int, person: Attendee, source: str, scene: Scene) -> Tile:
    name_box = Box(area.x, area.y + area.height, area.width, name)
    return Tile(area, name_box, Place.MAIN, person, source, person.participant in scene.voices)


def _in_column(box: Box, person: Attendee, scene: Scene, scale: float) -> Tile:
    label = _even(24 * scale)
    name_box = Box(box.x, box.y + box.height - label, box.width, label)
    return Tile(box, name_box, Place.COLUMN, person, "camera", person.participant in scene.voices)


def _column_box(left: int, top: int, index: int, scale: float) -> Box:
    height = _even(TILE_HEIGHT * scale)
    step = height + _even(TILE_GAP * scale)
    return Box(left, top + index * step, _even(TILE_WIDTH * scale), height)


def _even(value: float) -> int:
    return int(value) // 2 * 2
