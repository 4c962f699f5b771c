"""The composed picture's parts: where tiles go, how words are set, how frames are drawn."""

import unicodedata
from dataclasses import replace

import av
import numpy as np
import pytest

from bridge.archive.plan.programme import Attendee, Scene
from bridge.archive.screen.canvas import Canvas
from bridge.archive.screen.layout import Box, Layout, Place, arrange, fit
from bridge.archive.screen.lettering import Lettering, Planes, plain
from bridge.archive.screen.screen import clock, initials, moment

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def scene(count: int, *, content: bool = False, observers: int = 0) -> Scene:
    people = [Attendee(f"p-{number}", f"Site {number}", "district", "expert") for number in range(count)]
    people += [Attendee(f"o-{number}", "Site", "commune", "observer") for number in range(observers)]
    cameras = frozenset(person.participant for person in people if person.role == "expert")
    return Scene(0, tuple(people), cameras, stage="p-0", content=("p-1", "content") if content else None)


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


@pytest.mark.parametrize("height_px", [720, 1080])
@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 7, 8, 30])
def test_everything_is_on_the_screen_in_even_places_and_nothing_is_covered(
    height_px: int, content: bool, count: int
) -> None:
    layout = arrange(scene(count, content=content, observers=3), height_px)
    boxes = [layout.header, *(tile.box for tile in layout.tiles)]
    boxes += [tile.name_box for tile in layout.tiles if tile.place is Place.MAIN]
    boxes += [layout.others_box] if layout.others else []
    for box in boxes:
        assert not any(value % 2 for value in (box.x, box.y, box.width, box.height))
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= layout.width_px
        assert box.y + box.height <= layout.height_px
    for index, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[index + 1 :])


def main_box(layout: Layout) -> Box:
    (tile,) = (tile for tile in layout.tiles if tile.place is Place.MAIN)
    return tile.box


def test_content_is_the_larger_part_and_its_presenter_beside_it() -> None:
    layout = arrange(scene(4, content=True), 720)
    assert main_box(layout).width >= 1024
    assert main_box(layout).height >= 576
    assert [(tile.attendee.participant, tile.source) for tile in layout.tiles][:2] == [
        ("p-1", "content"),
        ("p-0", "camera"),
    ]


def test_six_sites_are_all_seen_with_content_and_without() -> None:
    for content in (False, True):
        layout = arrange(scene(6, content=content), 720)
        cameras = {tile.attendee.participant for tile in layout.tiles if tile.source == "camera"}
        assert cameras == {f"p-{number}" for number in range(6)}
        assert layout.others == 0


def test_crowd_shows_who_speaks_and_counts_the_rest() -> None:
    crowd = replace(scene(30, observers=2), voices=frozenset({"p-29"}))
    layout = arrange(crowd, 720)
    assert "p-29" in [tile.attendee.participant for tile in layout.tiles]
    assert len(layout.tiles) + layout.others == 32


def test_who_only_watches_is_counted_and_not_shown() -> None:
    layout = arrange(scene(2, observers=3), 720)
    assert [tile.attendee.participant for tile in layout.tiles] == ["p-0", "p-1"]
    assert layout.others == 3


def test_one_site_alone_has_the_screen_to_itself() -> None:
    layout = arrange(scene(1), 720)
    assert main_box(layout).width > 1080
    assert len(layout.tiles) == 1


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (100, 2000), (1, 1), (4000, 10)])
def test_picture_keeps_its_shape_in_its_box(size: tuple[int, int]) -> None:
    box = Box(10, 20, 1028, 578)
    inner = fit(*size, box)
    assert box.x <= inner.x
    assert inner.x + inner.width <= box.x + box.width
    assert box.y <= inner.y
    assert inner.y + inner.height <= box.y + box.height
    assert inner.width in (box.width, pytest.approx(inner.height * size[0] / size[1], abs=3), 2)


def bright(planes: Planes) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    return planes.y > 128


def set_line(text: str, **how: object) -> Planes:
    options = {"colour": WHITE, "ground": BLACK, "width_px": 600, **how}
    return Lettering().line(text, 40, **options)  # type: ignore[arg-type]


def test_vietnamese_letters_have_their_marks_however_they_are_composed() -> None:
    name = "Bệnh viện Hữu nghị Việt Đức, Mường Nhé"
    composed, decomposed = (set_line(unicodedata.normalize(form, name)) for form in ("NFC", "NFD"))
    assert (composed.y == decomposed.y).all()
    assert not (composed.y == set_line("Benh vien Huu nghi Viet Duc, Muong Nhe").y).all()


def test_font_has_every_vietnamese_letter() -> None:
    missing = bright(set_line("\u0e01"))
    for letter in "ăâđêôơưĂÂĐÊÔƠƯắằẳẵặấầẩẫậếềểễệốồổỗộớờởỡợứừửữựỳýỷỹỵ":
        drawn = bright(set_line(letter))
        assert drawn.any()
        assert not (drawn == missing).all()
        base = unicodedata.normalize("NFD", letter)[0]
        assert not (drawn == bright(set_line(base))).all() or letter == base


def test_marks_are_not_cut_off() -> None:
    for letter in "ỆỂẪỠỲỵệ":
        drawn = bright(set_line(letter))
        assert not drawn[0].any()
        assert not drawn[-1].any()


def test_long_names_end_in_an_ellipsis_within_their_width() -> None:
    line = set_line("Trung tâm Y tế " * 20, width_px=300)
    assert line.width_px == 300
    assert not bright(line)[:, -1].any()
    assert (line.y == set_line("Trung tâm Y tế " * 30, width_px=300).y).all()


def test_small_labels_keep_what_tells_sites_apart() -> None:
    names = [f"Bệnh viện Đa khoa tỉnh số {number}" for number in (1, 2)]
    one, other = (set_line(name, width_px=220, keeps_end=True, is_fitted=True) for name in names)
    assert one.width_px <= 220
    assert one.y.shape != other.y.shape or not (one.y == other.y).all()
    assert (set_line("Nhé", keeps_end=True).y == set_line("Nhé").y).all()
    assert set_line("W" * 50, width_px=100, keeps_end=True, is_fitted=True).width_px <= 100


def test_control_characters_in_names_are_not_drawn() -> None:
    assert (set_line("Mường\nNhé\u202e").y == set_line("Mường Nhé").y).all()


def test_frames_are_drawn_into_their_box_and_nowhere_else() -> None:
    canvas = Canvas(320, 180)
    canvas.fill(Box(0, 0, 320, 180), plain(BLACK))
    frame = av.VideoFrame.from_ndarray(np.full((90, 160, 3), 255, np.uint8), "rgb24").reformat(
        format="yuv420p"
    )
    box = Box(40, 20, 200, 100)
    for is_detail in (False, True):
        canvas.draw(frame, box, is_detail=is_detail)
        shown = canvas.frame.to_ndarray(format="gray")
        assert (shown[22:118, 42:238] > 240).all()
        shown[20:120, 40:240] = 0
        assert (shown < 20).all()


def test_times_are_those_of_vietnam() -> None:
    assert clock(1_795_575_600_000) == "10:00:00"
    assert moment(1_795_575_600_000) == "25/11/2026  10:00:00"


def test_initials_are_those_of_the_place() -> None:
    assert initials("Trung tâm Y tế Mường Nhé") == "MN"
    assert initials("Bệnh viện Đức") == "VĐ"
    assert initials("—") == ""
