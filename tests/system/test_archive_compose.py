"""Composed videos, decoded again: who is seen and heard when, and whether the file is what archives take."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from compositions import boxes, composed, is_colour, level, pictures, share_of_colour, sound
from recordings import (
    CO_TO,
    MUONG_NHE,
    START_MS,
    VIET_DUC,
    Recording,
    captured_in,
    plain_recording,
    tone,
    two_cases,
)

from bridge.archive.film.captions import Cue, web_vtt
from bridge.archive.film.compose import ComposeSettings
from bridge.archive.film.encode import encodable_size
from bridge.archive.model import Composition, SessionFolder

TWO_CASES = ("C01", "C02")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two-cases")


@pytest.fixture(scope="module")
def session(folder: Path) -> SessionFolder:
    return two_cases(folder)


@pytest.fixture(scope="module")
def cases(session: SessionFolder, folder: Path) -> dict[str, Composition]:
    return {case: composed(session, folder, case) for case in (*TWO_CASES, "S")}


def test_right_site_is_on_stage_at_the_right_time(cases: dict[str, Composition]) -> None:
    shown = pictures(cases["C01"])
    # 1 to 4 s, a card of 2 s, 5 to 6.5 s.
    assert len(shown) == 75 + 50 + 38
    assert all(is_colour(picture, VIET_DUC.colour) for picture in shown[:24])
    assert all(is_colour(picture, MUONG_NHE.colour) for picture in shown[26:49])
    # The X-ray, from its dark to its bright side, and its presenter beside it.
    assert np.ptp(shown[60][40, 20:110].mean(axis=-1)) > 150
    assert share_of_colour(shown[60][:, 130:], MUONG_NHE.colour) > 0.08
    assert all(is_colour(picture, CO_TO.colour) for picture in pictures(cases["C02"])[1:])


def test_right_voice_is_heard_at_the_right_time(cases: dict[str, Composition]) -> None:
    heard = sound(cases["C01"])

    def loudest(start_s: float, end_s: float) -> float:
        samples = heard[round(start_s * 48_000) : round(end_s * 48_000)]
        tones = {site.tone_hz: level(samples, site.tone_hz) for site in (VIET_DUC, MUONG_NHE, CO_TO)}
        assert max(tones.values()) > 0.2
        assert sorted(tones.values())[-2] < 0.02
        return max(tones, key=lambda hertz: tones[hertz])

    assert loudest(0.1, 0.95) == VIET_DUC.tone_hz
    assert loudest(1.1, 2.95) == MUONG_NHE.tone_hz
    assert loudest(5.1, 6.4) == MUONG_NHE.tone_hz
    assert np.abs(heard[round(3.05 * 48_000) : round(4.95 * 48_000)]).max() < 0.01


def test_video_is_what_dicom_takes(cases: dict[str, Composition]) -> None:
    (part,) = cases["C01"].video
    assert [kind for kind, _, _ in boxes(part.path)][:2] == ["ftyp", "moov"]
    assert not any(kind in ("moof", "sidx") for kind, _, _ in boxes(part.path))
    assert part.bytes == part.path.stat().st_size
    assert part.bytes % 2 == 0
    with av.open(str(part.path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        # avcC: version 1, High (100), no constraints, level 4.1.
        assert video.codec_context.extradata is not None
        assert video.codec_context.extradata[:4] == bytes((1, 100, 0, 41))
        assert (video.codec_context.pix_fmt, video.sample_aspect_ratio) == ("yuv420p", 1)
        assert (video.average_rate, video.frames) == (25, part.frames)
        assert (audio.codec_context.name, audio.codec_context.profile) == ("aac", "LC")
        assert (audio.rate, audio.codec_context.layout.name) == (48_000, "stereo")
        packets = [packet for packet in container.demux(video) if packet.size]
        step = packets[1].pts - packets[0].pts
        assert [packet.pts for packet in packets] == [number * step for number in range(part.frames)]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        assert keys == list(range(0, part.frames, 50))


def test_parts_say_when_they_begin_and_end(cases: dict[str, Composition]) -> None:
    (part,) = cases["C02"].video
    assert (part.start_ms, part.end_ms) == (START_MS + 7000, START_MS + 10_960)
    assert (part.frames, part.frame_rate, part.width_px, part.height_px) == (100, 25, 1280, 720)


def test_content_video_has_the_sources_own_resolution(cases: dict[str, Composition]) -> None:
    parts = cases["C01"].content_video
    assert [(part.width_px, part.height_px, part.frames) for part in parts] == [(640, 480, 25)] * 2
    assert [(part.start_ms - START_MS) for part in parts] == [3000, 5000]
    with av.open(str(parts[0].path)) as container:
        assert not container.streams.audio
        grey = next(container.decode(video=0)).to_ndarray(format="gray")
        assert grey.shape == (480, 640)
        # Every line of the finest structure is there.
        assert (np.diff(grey[96:384, 320].astype(int)) > 60).sum() == 35


def test_nothing_to_compose_gives_no_files(cases: dict[str, Composition]) -> None:
    nothing = cases["S"]
    assert (nothing.video, nothing.content_video, nothing.captions, nothing.poster) == ((), (), None, None)


def test_captions_and_chapters_tell_who_spoke_and_what_was_shown(cases: dict[str, Composition]) -> None:
    made = cases["C01"]
    assert made.captions is not None
    assert made.chapters is not None
    captions = made.captions.read_text("utf-8")
    assert captions.startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\nBệnh viện Hữu nghị Việt Đức: ")
    assert "\n00:00:05.000 --> 00:00:06.500\nTrung tâm Y tế Mường Nhé: đang nói / speaking\n" in captions
    chapters = made.chapters.read_text("utf-8")
    assert "00:00:03.000 --> 00:00:05.000\nTạm dừng ghi / Recording paused\n" in chapters
    assert "\nC01 BN-0412 · Bệnh viện Hữu nghị Việt Đức\n" in chapters


def test_contact_sheet_and_poster_show_the_video(cases: dict[str, Composition]) -> None:
    made = cases["C02"]
    assert made.contact_sheet is not None
    assert made.poster is not None
    index = json.loads(made.contact_sheet.with_suffix(".json").read_text())
    assert index == {
        "columns": 2,
        "rows": 1,
        "count": 2,
        "tile_width_px": 160,
        "tile_height_px": 90,
        "interval_s": 2.0,
    }
    sheet = cv2.imread(str(made.contact_sheet))
    assert sheet.shape == (90, 320, 3)
    assert is_colour(sheet[:, 160:, ::-1], CO_TO.colour)
    poster = cv2.imread(str(made.poster))
    assert poster.shape == (720, 1280, 3)
    assert is_colour(poster[:, :, ::-1], CO_TO.colour)


def test_cases_and_pauses_leave_nothing_in_one_another(tmp_path: Path) -> None:
    """Even when tracks run through, and hold what must not be seen: each stretch has its colour and tone."""
    stretches = {(0.5, 2.5): "C01", (2.5, 3.5): None, (3.5, 4.5): "C01", (4.5, 5.5): None, (5.5, 7.5): "C02"}
    colours = [(200, 30, 30), (230, 220, 40), (200, 30, 30), (200, 60, 220), (40, 60, 220)]
    tones = [500.0, 700.0, 500.0, 1100.0, 1500.0]
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.state(2.5, "paused", case="C01")
    recording.state(3.5, "recording", case="C01")
    recording.finish_case(4.5, "C01")
    recording.start_case(5.5, "C02")
    recording.finish_case(7.5, "C02")
    recording.close(8)

    def number(seconds: float) -> int:
        begun = [index for index, (start, _) in enumerate(stretches) if start <= seconds + 1e-6]
        return max(begun, default=0)

    def heard(seconds: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        sounds = [tone(hertz, [span]) for hertz, span in zip(tones, stretches, strict=True)]
        return np.sum([make(seconds) for make in sounds], axis=0)

    # No delay at all, so that what belongs to a stretch is placed within it.
    site = replace(VIET_DUC, delay_ms=0)
    # Few pictures, so that the last before a stretch begins is not the first within it.
    recording.camera(site, 0.4, 7.5, picture=lambda seconds: colours[number(seconds)], fps=4)
    recording.microphone(site, 0.5, 7.5, sound=heard)
    session = recording.write()
    own = {"C01": (colours[0], tones[0]), "C02": (colours[4], tones[4])}
    for case, (colour, hertz) in own.items():
        made = composed(session, tmp_path, case)
        shown, samples = pictures(made), sound(made)
        assert share_of_colour(shown[10], colour) > 0.5
        assert level(samples, hertz) > 0.1
        for other, other_hertz in zip(colours, tones, strict=True):
            if other != colour:
                assert max(share_of_colour(picture, other) for picture in shown) < 0.01
                # 20 ms at a case's edge would be some 0.003.
                assert level(samples, other_hertz) < 0.002


@pytest.mark.parametrize("is_named", [True, False])
def test_frame_belongs_to_the_case_its_segment_was_captured_in_whatever_its_clock_says(
    tmp_path: Path, is_named: bool
) -> None:
    """A sender's clock leaps back by the length of a case, so that the next patient seems to be in it."""
    recording = plain_recording(tmp_path)
    recording.start_case(1.0, "C01")
    recording.finish_case(3.0, "C01")
    recording.start_case(3.0, "C02")
    recording.finish_case(5.0, "C02")
    recording.close(6)
    red, blue = (200, 30, 30), (40, 60, 220)
    leapt: list[str | None] = ["C02", None]
    for case, colour, hertz in (("C01", red, 500.0), *((case, blue, 1500.0) for case in leapt)):
        span = (1.0, 3.0)
        made = [
            recording.camera(VIET_DUC, *span, picture=lambda _, colour=colour: colour),
            recording.microphone(VIET_DUC, *span, sound=tone(hertz, [span])),
        ]
        for track in made if is_named else ():
            captured_in(track, case)
    session = recording.write()
    first, second = (composed(session, tmp_path, case) for case in ("C01", "C02"))
    shown, samples = pictures(first), sound(first)
    foreign = max(share_of_colour(picture, blue) for picture in shown)
    if is_named:
        assert all(share_of_colour(picture, red) > 0.5 for picture in shown[2:])
        assert foreign < 0.01
        assert level(samples, 500.0) > 0.1
        assert level(samples, 1500.0) < 0.002
        assert max(share_of_colour(picture, red) for picture in pictures(second)) < 0.01
    else:
        # Recordings that do not say it are told by time, as they always were.
        assert foreign > 0.5
        assert level(samples, 1500.0) > 0.1


def test_clap_is_seen_and_heard_at_once_and_at_the_same_time_for_all_sites(tmp_path: Path) -> None:
    """Three sites with clocks hours apart clap together; one's reports come late, one has two streams."""
    claps = (2.0, 4.4)
    sites = (VIET_DUC, MUONG_NHE, CO_TO)
    recording = Recording(tmp_path)
    for site in sites:
        recording.join(0.1, site)
    recording.start_case(0.5, "C01")
    for index, site in enumerate(sites):
        recording.stage(0.5 + index * 2, site)
        recording.camera(
            site,
            0.5,
            6.5,
            picture=lambda seconds, site=site: (
                (255, 255, 255) if any(clap <= seconds < clap + 0.12 for clap in claps) else (20, 20, 20)
            ),
            fps=25,
            first_report_s=1.7 if site is MUONG_NHE else 0.3,
            restarts=[(3.3, (320, 180))] if site is CO_TO else (),
        )
        spans = [(clap, clap + 0.03) for clap in claps]
        recording.microphone(site, 0.5, 6.5, sound=tone(site.tone_hz * 2, spans))
    recording.finish_case(6.5, "C01")
    recording.close(7)
    made = composed(recording.write(), tmp_path)
    shown, samples = pictures(made), sound(made)
    for clap in claps:
        first = round((clap - 0.5) * 25)
        window = shown[first - 5 : first + 12]
        # The stage, and the two tiles of the column.
        for x, y in ((60, 40), (145, 12), (145, 28)):
            lit = int(np.argmax(window[:, y, x].mean(axis=-1) > 128)) + first - 5
            seen_ms = lit * 40
            begin = (first - 5) * 1920
            heard_ms = (begin + int(np.argmax(np.abs(samples[begin : begin + 24_000]) > 0.05))) / 48
            assert abs(seen_ms - heard_ms) <= 40
            assert abs(seen_ms - (clap - 0.5) * 1000) <= 85


def test_silence_without_packets_moves_nothing(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    talks = [(1.0, 1.5), (3.0, 3.5)]
    recording.microphone(VIET_DUC, 0.5, 4, talks=talks, has_dtx=True)
    recording.finish_case(4, "C01")
    made = composed(recording.write(), tmp_path)
    heard = sound(made)
    blocks = np.abs(heard[: len(heard) // 480 * 480]).reshape(-1, 480).max(axis=1) > 0.05
    starts = [500 + 10 * int(index + 1) for index in np.flatnonzero(~blocks[:-1] & blocks[1:])]
    assert [pytest.approx(start, abs=40) for start in starts] == [1020, 3020]


def test_site_without_a_camera_gets_a_card_with_its_name(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.finish_case(1.5, "C01")
    shown = pictures(composed(recording.write(), tmp_path))
    # A panel, with something bright on it.
    assert share_of_colour(shown[10], (30, 42, 55)) > 0.6
    assert shown[10][35:50, 60:100].max() > 180


def test_camera_that_stops_is_not_shown_for_ever(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.camera(VIET_DUC, 0.5, 1.5, is_torn=True)
    recording.finish_case(6, "C01")
    shown = pictures(composed(recording.write(), tmp_path))
    assert is_colour(shown[40], VIET_DUC.colour)
    assert not is_colour(shown[120], VIET_DUC.colour)


def test_1080_lines_are_within_level_4_1(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.camera(VIET_DUC, 0.5, 1.5)
    recording.finish_case(1.5, "C01")
    made = composed(recording.write(), tmp_path, settings=ComposeSettings(height_px=1080, workers=1))
    (part,) = made.video
    assert (part.width_px, part.height_px) == (1920, 1080)
    with av.open(str(part.path)) as container:
        assert (container.streams.video[0].codec_context.extradata or b"")[:4] == bytes((1, 100, 0, 41))
        assert next(container.decode(video=0)).height == 1080
    assert is_colour(pictures(made)[12], VIET_DUC.colour)


def test_large_screens_are_scaled_into_what_the_level_allows() -> None:
    assert encodable_size(1920, 1080) == (1920, 1080)
    assert encodable_size(641, 481) == (640, 480)
    for size in ((3840, 2160), (2560, 1440), (1080, 2400), (16, 16)):
        width, height = encodable_size(*size)
        assert -(-width // 16) * -(-height // 16) <= 8192
        assert width % 2 == height % 2 == 0
        assert min(size) < 64 or width / height == pytest.approx(size[0] / size[1], rel=0.01)


def test_names_cannot_break_out_of_their_captions() -> None:
    text = web_vtt([Cue(0, 3_723_004, "A --> B\n\n1\n<v Bad>"), Cue(5, 5, "nothing")])
    assert text == "WEBVTT\n\n1\n00:00:00.000 --> 01:02:03.004\nA --&gt; B 1 &lt;v Bad&gt;\n"


def test_still_image_stays_as_long_as_it_is_on_show(tmp_path: Path) -> None:
    """A screen on which nothing moves sends nothing."""
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.content(0.5, VIET_DUC)
    recording.camera(VIET_DUC, 0.6, 0.8, source="content", picture=lambda _: (30, 160, 200), is_torn=True)
    recording.finish_case(5.5, "C01")
    made = composed(recording.write(), tmp_path)
    assert all(is_colour(picture, (30, 160, 200)) for picture in pictures(made)[1:])
    (part,) = made.content_video
    assert part.frames == 125


def test_h264_and_a_change_of_resolution_are_composed_like_any_other(tmp_path: Path) -> None:
    recording = plain_recording(tmp_path)
    recording.start_case(0.5, "C01")
    recording.content(0.5, VIET_DUC, source="auxiliary")
    recording.camera(
        VIET_DUC,
        0.5,
        2.5,
        source="auxiliary",
        codec="h264",
        size=(640, 360),
        restarts=[(1.5, (320, 240))],
    )
    recording.finish_case(2.5, "C01")
    made = composed(recording.write(), tmp_path)
    assert [(part.width_px, part.height_px) for part in made.content_video] == [(640, 360)]
    assert all(is_colour(picture, VIET_DUC.colour) for picture in pictures(made)[1:])
