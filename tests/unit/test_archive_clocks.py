"""From senders' clocks to one timeline: drift, late reports, steps, nonsense."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.archive.tracks.clocks import place_streams
from bridge.archive.tracks.stretches import Arrival, Pause, SenderReport, StreamTimes

SERVER_MS = 1_795_575_600_000.0


def sender(
    *,
    began_s: float,
    offset_ms: float = 0.0,
    drift_ppm: float = 0.0,
    delay_ms: float = 20.0,
    first_report_s: float = 0.0,
    seconds: float = 60.0,
    every_s: float = 1.0,
    seed: int = 1,
    rtt_ms: float | None = None,
) -> StreamTimes:
    """A stream that began at a true time; its clock is off and fast, its reports are delayed at random."""
    chance = random.Random(seed)
    rate = 1 + drift_ppm / 1e6
    reports = []
    at_s = began_s + first_report_s
    while at_s < began_s + seconds:
        delay = delay_ms + chance.expovariate(1 / 15)
        reports.append(
            SenderReport(
                (at_s - began_s) * 1000 * rate,
                SERVER_MS + offset_ms + at_s * 1000 * rate,
                SERVER_MS + at_s * 1000 + delay,
                rtt_ms,
            )
        )
        at_s += every_s
    arrival = SERVER_MS + began_s * 1000 + delay_ms
    return StreamTimes("site", reports, [Arrival(0.0, arrival)])


def error_ms(times: StreamTimes, *, began_s: float, drift_ppm: float, at_s: float, delay_ms: float) -> float:
    """How far a frame of a true time is placed from it and the least delay."""
    placement = place_streams({1: times})[1]
    pts_ms = (at_s - began_s) * 1000 * (1 + drift_ppm / 1e6)
    return placement.at_ms(pts_ms) - (SERVER_MS + at_s * 1000 + delay_ms)


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 100.0])
def test_two_hours_of_drift_are_followed(drift_ppm: float) -> None:
    times = sender(began_s=5, offset_ms=9e6, drift_ppm=drift_ppm, seconds=7200, every_s=5)
    for at_s in (5, 100, 3600, 7200):
        error = error_ms(times, began_s=5, drift_ppm=drift_ppm, at_s=at_s, delay_ms=20)
        assert -1 < error < 15


def test_late_first_report_places_what_came_before_it() -> None:
    times = sender(began_s=5, offset_ms=-4e6, drift_ppm=100, first_report_s=12)
    assert abs(error_ms(times, began_s=5, drift_ppm=100, at_s=5, delay_ms=20)) < 15


def test_sound_and_picture_of_one_clock_fit_whatever_the_network_does_to_their_reports() -> None:
    picture = sender(began_s=5, offset_ms=7e6, drift_ppm=60, delay_ms=400, seed=2)
    sound = sender(began_s=6.5, offset_ms=7e6, drift_ppm=60, delay_ms=20, every_s=5, seed=3)
    placed = place_streams({"picture": picture, "sound": sound})
    rate = 1 + 60e-6
    for at_s in (7.0, 30.0, 60.0):
        seen = placed["picture"].at_ms((at_s - 5) * 1000 * rate)
        heard = placed["sound"].at_ms((at_s - 6.5) * 1000 * rate)
        assert abs(seen - heard) < 2


def test_site_behind_a_satellite_fits_the_others() -> None:
    times = sender(began_s=5, delay_ms=300, rtt_ms=600)
    assert -1 < error_ms(times, began_s=5, drift_ppm=0, at_s=30, delay_ms=0) < 15


@pytest.mark.parametrize("rtt_ms", [-5.0, math.nan, math.inf, 60_000.0])
def test_round_trip_that_is_none_moves_nothing(rtt_ms: float) -> None:
    times = sender(began_s=5, delay_ms=20, rtt_ms=rtt_ms)
    assert -1 < error_ms(times, began_s=5, drift_ppm=0, at_s=30, delay_ms=20) < 15


def test_minutes_of_congestion_do_not_move_a_site() -> None:
    times = sender(began_s=0, seconds=1800, every_s=2)
    slow = [
        SenderReport(report.pts_ms, report.ntp_ms, report.at_ms + (900 if 300 < index < 390 else 0))
        for index, report in enumerate(times.reports)
    ]
    congested = StreamTimes("site", slow, times.arrivals)
    assert abs(error_ms(congested, began_s=0, drift_ppm=0, at_s=690, delay_ms=20)) < 40


def test_clock_that_is_set_anew_does_not_move_the_media() -> None:
    times = sender(began_s=0, seconds=60)
    stepped = [
        SenderReport(report.pts_ms, report.ntp_ms + (3_600_000 if index >= 30 else 0), report.at_ms)
        for index, report in enumerate(times.reports)
    ]
    for direction in (1, -1):
        both = [
            SenderReport(
                report.pts_ms, original.ntp_ms + direction * (report.ntp_ms - original.ntp_ms), report.at_ms
            )
            for report, original in zip(stepped, times.reports, strict=True)
        ]
        moved = StreamTimes("site", both, times.arrivals)
        for at_s in (1, 29, 31, 59):
            assert abs(error_ms(moved, began_s=0, drift_ppm=0, at_s=at_s, delay_ms=20)) < 40


@pytest.mark.parametrize("is_reported_before", [True, False])
@pytest.mark.parametrize("is_reported_after", [True, False])
@pytest.mark.parametrize(
    ("first_ms", "second_ms"), [(300, 5_000), (3_000, 2_000), (9_000, 700), (150, 12_000)]
)
def test_a_time_that_is_only_reported_between_two_rests_belongs_to_no_frame(
    first_ms: int, second_ms: int, is_reported_before: bool, is_reported_after: bool
) -> None:
    """The sender's clock stands still twice, and no frame comes between."""
    spoke_ms = 4_000
    stood_ms = first_ms + second_ms

    def reports(from_ms: int, to_ms: int, stood_ms: int) -> list[SenderReport]:
        return [
            SenderReport(at_ms - stood_ms, 1e6 + at_ms, SERVER_MS + 20 + at_ms)
            for at_ms in range(from_ms, to_ms, 500)
        ]

    told = reports(spoke_ms + first_ms + 50, spoke_ms + stood_ms, first_ms)
    if is_reported_before:
        told += reports(200, spoke_ms, 0)
    if is_reported_after:
        told += reports(spoke_ms + stood_ms + 200, 2 * spoke_ms + stood_ms, stood_ms)
    frames = [(float(at_ms), SERVER_MS + 20 + at_ms) for at_ms in (0, spoke_ms - 20)]
    frames += [(pts_ms + 4_020, at_ms + 4_020 + stood_ms) for pts_ms, at_ms in frames]
    pause = Pause(spoke_ms, frames[2][0], frames[2][1])
    times = StreamTimes("site", told, [Arrival(*frame) for frame in frames], [pause])
    placement = place_streams({1: times})[1]
    for pts_ms, at_ms in frames:
        assert placement.at_ms(pts_ms) == pytest.approx(at_ms, abs=60)


def test_stream_without_reports_is_placed_by_its_arrival() -> None:
    times = StreamTimes(
        "site",
        [],
        [
            Arrival(0.0, SERVER_MS + 50),
            Arrival(60_000.0, SERVER_MS + 60_900),
            Arrival(120_000.0, SERVER_MS + 120_055),
        ],
    )
    placement = place_streams({1: times})[1]
    assert placement.at_ms(0) == pytest.approx(SERVER_MS + 50, abs=1)
    assert placement.at_ms(60_000) == pytest.approx(SERVER_MS + 60_050, abs=25)
    assert placement.at_ms(125_000) == pytest.approx(SERVER_MS + 125_055, abs=1)


def test_device_whose_reports_tell_no_time_is_placed_by_its_arrival() -> None:
    reports = [SenderReport(second * 1000, 0.0, SERVER_MS + second * 1000 + 30) for second in range(60)]
    placement = place_streams({1: StreamTimes("site", reports, [Arrival(0.0, SERVER_MS + 25)])})[1]
    assert placement.at_ms(30_000) == pytest.approx(SERVER_MS + 30_025, abs=1)


def test_way_back_from_server_time_is_the_way_there() -> None:
    placement = place_streams({1: sender(began_s=0, offset_ms=5e5, drift_ppm=80)})[1]
    for pts_ms in (-500.0, 0.0, 12_345.0, 59_000.0, 90_000.0):
        back = placement.pts_ms(np.array([placement.at_ms(pts_ms)]))
        assert back[0] == pytest.approx(pts_ms, abs=0.01)


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    st.lists(st.tuples(numbers, numbers, numbers), max_size=12),
    st.lists(st.tuples(numbers, numbers), max_size=4),
    st.lists(st.tuples(numbers, numbers, numbers), max_size=4),
)
def test_nonsense_is_placed_somewhere_and_raises_nothing(
    reports: list[tuple[float, float, float]],
    arrivals: list[tuple[float, float]],
    pauses: list[tuple[float, float, float]],
) -> None:
    times = StreamTimes(
        "site",
        [SenderReport(*report) for report in reports],
        [Arrival(*arrival) for arrival in arrivals],
        [Pause(*pause) for pause in pauses],
    )
    placement = place_streams({1: times})[1]
    assert math.isfinite(placement.at_ms(1000.0))
    assert np.isfinite(placement.pts_ms(np.array([0.0, SERVER_MS]))).all()


@pytest.mark.parametrize("starved_ms", [85.0, 140.0])
@pytest.mark.parametrize("reports_starved", [1, 3])
def test_voice_of_a_starved_sender_is_not_stretched(starved_ms: float, reports_starved: int) -> None:
    """It reports the time now with the last stream time that it came to, and catches up later."""
    times = sender(began_s=0, seconds=20)
    starved = [
        SenderReport(one.pts_ms - starved_ms, one.ntp_ms, one.at_ms)
        if 8 <= index < 8 + reports_starved
        else one
        for index, one in enumerate(times.reports)
    ]
    whole = place_streams({1: times})[1]
    placement = place_streams({1: StreamTimes("site", starved, times.arrivals)})[1]
    moments = np.arange(0.0, 19_000.0, 20.0)
    placed = np.array([placement.at_ms(pts_ms) for pts_ms in moments])
    assert np.abs(np.diff(placed) / 20.0 - 1).max() < 0.025
    # It is off by no more than what that takes to make good, and in the end not at all.
    off_ms = placed - np.array([whole.at_ms(pts_ms) for pts_ms in moments])
    assert np.abs(off_ms).max() < 0.025 * 1000 * (reports_starved + 1)
    assert abs(off_ms[-1]) < 1.0


def test_last_report_of_a_starved_sender_does_not_stretch_its_voice() -> None:
    times = sender(began_s=0, seconds=5)
    last = times.reports[-1]
    starved = [*times.reports[:-1], SenderReport(last.pts_ms - 90, last.ntp_ms, last.at_ms)]
    placement = place_streams({1: StreamTimes("site", starved, times.arrivals)})[1]
    assert placement.at_ms(3900) - placement.at_ms(3100) == pytest.approx(800, rel=0.025)


def test_voice_that_a_starved_sender_catches_up_with_is_not_pressed_together() -> None:
    """Before the pause one report, a quarter of a second late; behind it one that is in time again."""
    times = StreamTimes(
        "site",
        [
            SenderReport(-780, SERVER_MS + 5256, SERVER_MS + 5304),
            SenderReport(320, SERVER_MS + 6681, SERVER_MS + 6689),
            SenderReport(2040, SERVER_MS + 8080, SERVER_MS + 8102),
        ],
        [Arrival(0, SERVER_MS + 6099), Arrival(3320, SERVER_MS + 9352)],
        [Pause(40, 40, SERVER_MS + 6349)],
    )
    placement = place_streams({1: times})[1]
    placed = np.array([placement.at_ms(pts_ms) for pts_ms in np.arange(40.0, 3320.0, 20.0)])
    assert np.abs(np.diff(placed) / 20.0 - 1).max() < 0.025
    for arrival in times.arrivals:
        assert placement.at_ms(arrival.pts_ms) <= arrival.at_ms + 20
