import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.allocation import Choice, Demand, LayerOption, choose

STAGE, CONTENT, THUMBNAIL = 1, 0, 2

CAMERA = (
    LayerOption("l", 2, 150_000, 180),
    LayerOption("m", 2, 500_000, 360),
    LayerOption("h", 2, 1_700_000, 720),
)


def demand(
    key: str,
    priority: int = STAGE,
    *,
    wanted_height_px: int = 720,
    options: tuple[LayerOption, ...] = CAMERA,
    current: tuple[str, int] | None = None,
) -> Demand:
    return Demand(key, priority, wanted_height_px, options, current)


def encodings(choices: list[Choice]) -> list[object]:
    return [choice.encoding_key for choice in choices]


def test_nobody_wanting_anything_gets_nothing() -> None:
    assert choose(1_000_000, []) == []


def test_with_plenty_everybody_gets_the_best() -> None:
    assert encodings(choose(10_000_000, [demand("a"), demand("b")])) == ["h", "h"]


def test_choices_come_in_the_order_of_the_demands() -> None:
    choices = choose(10_000_000, [demand("t", THUMBNAIL), demand("c", CONTENT), demand("s", STAGE)])
    assert [choice.slot_key for choice in choices] == ["t", "c", "s"]


@pytest.mark.parametrize(
    ("wanted_height_px", "encoding"),
    [(0, None), (90, "l"), (180, "l"), (181, "m"), (360, "m"), (540, "h"), (720, "h"), (2160, "h")],
)
def test_a_slot_gets_the_smallest_picture_that_fills_it(wanted_height_px: int, encoding: str | None) -> None:
    assert encodings(choose(10_000_000, [demand("a", wanted_height_px=wanted_height_px)])) == [encoding]


def test_if_all_pictures_are_taller_than_wanted_the_smallest_is_shown() -> None:
    options = CAMERA[1:]
    assert encodings(choose(10_000_000, [demand("a", wanted_height_px=90, options=options)])) == ["m"]


def test_the_stage_is_upgraded_before_the_thumbnails() -> None:
    demands = [demand("s", STAGE), *(demand(f"t{n}", THUMBNAIL, wanted_height_px=360) for n in range(3))]
    assert encodings(choose(1_200_000, demands)) == ["m", "l", "l", "l"]


def test_content_is_served_before_the_stage() -> None:
    assert encodings(choose(1_000_000, [demand("s", STAGE), demand("c", CONTENT)])) == ["l", "m"]


def test_every_slot_gets_its_lowest_layer_before_any_gets_more() -> None:
    demands = [demand("s", STAGE), *(demand(f"t{n}", THUMBNAIL) for n in range(4))]
    assert encodings(choose(900_000, demands)) == ["l"] * 5


def test_the_last_thumbnails_go_dark_first() -> None:
    demands = [demand("c", CONTENT), demand("s", STAGE), *(demand(f"t{n}", THUMBNAIL) for n in range(4))]
    assert encodings(choose(560_000, demands)) == ["l", "l", "l", None, None, None]


@pytest.mark.parametrize(("budget_bps", "thumbnail"), [(120_000, None), (160_000, None), (1_000_000, "l")])
def test_on_a_narrow_line_a_small_thumbnail_does_not_outlive_the_stage(
    budget_bps: int, thumbnail: str | None
) -> None:
    """Half a thumbnail's pictures take less than the stage needs, and are what voices lack."""
    stage = demand("s", options=(LayerOption("", 2, 1_500_000, 720),))
    small = demand("t", THUMBNAIL, wanted_height_px=180, options=(LayerOption("l", 1, 97_000, 180),))
    assert encodings(choose(budget_bps, [stage, small])) == [None, thumbnail]


def test_thumbnails_are_upgraded_in_turns() -> None:
    options = (
        LayerOption("l", 0, 50_000, 180),
        LayerOption("l", 1, 80_000, 180),
        LayerOption("l", 2, 120_000, 180),
    )
    demands = [demand(f"t{n}", THUMBNAIL, options=options) for n in range(3)]
    choices = choose(320_000, demands)
    assert [choice.temporal_limit for choice in choices] == [1, 1, 1]


def test_an_encoding_that_does_not_come_is_wished_for_at_the_price_of_its_stand_in() -> None:
    options = (CAMERA[0], CAMERA[1], LayerOption("h", 2, 500_000, 720))
    assert encodings(choose(600_000, [demand("a", options=options)])) == ["h"]
    assert encodings(choose(400_000, [demand("a", options=options)])) == ["l"]


def test_without_options_the_slot_shows_nothing() -> None:
    assert choose(10_000_000, [demand("a", options=())]) == [Choice("a", None, 0)]


def test_an_option_that_costs_more_and_shows_less_is_never_chosen() -> None:
    options = (LayerOption("h", 0, 300_000, 720), LayerOption("m", 2, 500_000, 360))
    assert encodings(choose(10_000_000, [demand("a", options=options)])) == ["h"]


def test_before_heights_are_known_the_bitrate_decides() -> None:
    options = tuple(LayerOption(option.encoding_key, 2, option.bitrate_bps, 0) for option in CAMERA)
    assert encodings(choose(10_000_000, [demand("a", options=options)])) == ["h"]
    assert encodings(choose(700_000, [demand("a", options=options)])) == ["m"]


def test_an_upgrade_needs_fifteen_percent_in_reserve() -> None:
    shown = ("l", 2)
    assert encodings(choose(570_000, [demand("a", current=shown)])) == ["l"]
    assert encodings(choose(580_000, [demand("a", current=shown)])) == ["m"]


def test_what_is_shown_goes_on_without_reserve() -> None:
    assert encodings(choose(500_000, [demand("a", current=("m", 2))])) == ["m"]
    assert encodings(choose(499_000, [demand("a", current=("m", 2))])) == ["l"]


def test_a_wavering_estimate_does_not_make_the_picture_waver() -> None:
    source = random.Random(5)
    current: tuple[str, int] | None = None
    changes = 0
    for _ in range(500):
        (choice,) = choose(550_000 * source.uniform(0.93, 1.07), [demand("a", current=current)])
        shown = (str(choice.encoding_key), choice.temporal_limit)
        changes += shown != current
        current = shown
    assert changes <= 2


@st.composite
def demands_of_a_page(draw: st.DrawFn) -> list[Demand]:
    demands: list[Demand] = []
    for slot in range(draw(st.integers(0, 8))):
        options = tuple(
            LayerOption(
                encoding,
                temporal,
                draw(st.integers(10_000, 3_000_000)),
                draw(st.sampled_from([0, 90, 180, 360, 720])),
            )
            for encoding in draw(st.sets(st.sampled_from("lmh")))
            for temporal in range(draw(st.integers(1, 3)))
        )
        shown = draw(st.none() | st.tuples(st.sampled_from("lmh"), st.integers(0, 2)))
        height_px = draw(st.sampled_from([0, 90, 180, 360, 1080]))
        demands.append(Demand(slot, draw(st.integers(0, 2)), height_px, options, shown))
    return demands


@given(st.integers(0, 10_000_000), demands_of_a_page())
def test_the_budget_is_never_exceeded_and_only_wanted_options_are_chosen(
    budget_bps: int, demands: list[Demand]
) -> None:
    choices = choose(budget_bps, demands)
    assert [choice.slot_key for choice in choices] == [demand.slot_key for demand in demands]
    assert sum(choice.bitrate_bps for choice in choices) <= budget_bps
    for choice, wish in zip(choices, demands, strict=True):
        if choice.encoding_key is None:
            continue
        assert wish.wanted_height_px > 0
        assert any(
            (option.encoding_key, option.temporal_limit, option.bitrate_bps)
            == (choice.encoding_key, choice.temporal_limit, choice.bitrate_bps)
            for option in wish.options
        )


def shown_by(choices: list[Choice], demands: list[Demand]) -> list[Demand]:
    """The same demands after the choices were carried out."""
    return [
        replace(
            wish,
            current=None if choice.encoding_key is None else (choice.encoding_key, choice.temporal_limit),
        )
        for choice, wish in zip(choices, demands, strict=True)
    ]


@given(st.integers(0, 10_000_000), demands_of_a_page())
def test_with_an_unchanged_budget_the_choices_settle(budget_bps: int, demands: list[Demand]) -> None:
    for _ in range(len(demands) * 3 + 1):
        choices = choose(budget_bps, demands)
        demands = shown_by(choices, demands)
    assert choose(budget_bps, demands) == choices
