"""Where everything goes in the composed picture; pure numbers from a scene.

One screen high, from the top: a header with title, case and clock; below it the main picture with its name
under it, and a column of the other sites at the right. Content is the main picture whenever there is any,
uncovered and as large as it can be; who speaks about it leads the column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bridge.archive.plan.programme import Attendee, Scene
from bridge.base.words import Role

# All measures are those of a 720 line picture.
BASE_HEIGHT_PX: Final = 720
BASE_WIDTH_PX: Final = 1280
MARGIN: Final = 12
HEADER: Final = 44
NAME: Final = 36
TILE_GAP: Final = 8
# (tiles, width, height): larger ones as long as there is room for everybody.
COLUMNS: Final = ((5, 216, 122), (6, 176, 100))


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
    watching = len(scene.attendees) - len(in_column) - (stage is not None)
    if content is not None and stage is not None:
        in_column.insert(0, stage)
    count, tile_width, tile_height = next(
        (column for column in COLUMNS if len(in_column) <= column[0]), COLUMNS[-1]
    )
    is_crowded = len(in_column) > count
    shown = in_column[: count - 1] if is_crowded else in_column
    tile = Box(0, 0, _even(tile_width * scale), _even(tile_height * scale))
    column_px = tile.width + _even(MARGIN * scale) if in_column else 0

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
    step = tile.height + _even(TILE_GAP * scale)
    boxes = [Box(left, header + margin + index * step, tile.width, tile.height) for index in range(count)]
    tiles.extend(_in_column(box, person, scene, scale) for box, person in zip(boxes, shown, strict=False))
    return Layout(
        width_px,
        height_px,
        Box(0, 0, width_px, header),
        tuple(tiles),
        # Told where there is room for it.
        len(in_column) - len(shown) + watching if 0 < len(shown) < count else 0,
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
    """Return who is to be shown: as they came, but in a crowd those first who speak or have a camera."""
    people = [person for person in scene.attendees if _is_shown(person, scene)]
    if len(people) > COLUMNS[-1][0]:
        people.sort(key=lambda person: (not _is_heard(person, scene), not _has_camera(person, scene)))
    return people


def _is_shown(person: Attendee, scene: Scene) -> bool:
    """Observers and equipment without a camera only watch."""
    only_watches = person.role == Role.OBSERVER or person.is_device
    is_on_stage = person is scene.on_stage
    return not only_watches or is_on_stage or _has_camera(person, scene) or _is_heard(person, scene)


def _is_heard(person: Attendee, scene: Scene) -> bool:
    return person.participant in scene.voices or person.participant == scene.speaker


def _has_camera(person: Attendee, scene: Scene) -> bool:
    return person.participant in scene.cameras


def _main(area: Box, name: int, person: Attendee, source: str, scene: Scene) -> Tile:
    name_box = Box(area.x, area.y + area.height, area.width, name)
    return Tile(area, name_box, Place.MAIN, person, source, person.participant in scene.voices)


def _in_column(box: Box, person: Attendee, scene: Scene, scale: float) -> Tile:
    label = _even(24 * scale)
    name_box = Box(box.x, box.y + box.height - label, box.width, label)
    return Tile(box, name_box, Place.COLUMN, person, "camera", person.participant in scene.voices)


def _even(value: float) -> int:
    return int(value) // 2 * 2
