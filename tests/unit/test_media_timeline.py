import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.timeline import (
    ClockOffset,
    SenderClock,
    ServerClock,
    ntp_middle32,
    ntp_now,
    round_trip_s,
)

SECOND_NTP = 1 << 32
WALL_CLOCK_S = 1_800_000_000.0


def publisher_ntp(seconds: float) -> int:
    """The time of a publisher whose clock is decades wrong."""
    return int((1000.0 + seconds) * SECOND_NTP)


def clocks() -> tuple[ServerClock, SenderClock, SenderClock]:
    server = ServerClock(WALL_CLOCK_S, now=50.0)
    offset = ClockOffset(server)
    return server, SenderClock(48_000, offset), SenderClock(90_000, offset)


def test_ntp_counts_from_1900() -> None:
    assert ntp_now(0.0) >> 32 == 2_208_988_800
    assert ntp_now(0.5) & 0xFFFFFFFF == 1 << 31


def test_the_middle_of_an_ntp_time_is_sixteen_and_sixteen_bits() -> None:
    assert ntp_middle32(0x11112222_33334444) == 0x22223333


def test_the_server_clock_goes_on_from_the_wall_clock() -> None:
    server = ServerClock(WALL_CLOCK_S, now=50.0)
    assert server.ntp(50.0) == ntp_now(WALL_CLOCK_S)
    assert server.ntp(52.5) - server.ntp(50.0) == 5 * SECOND_NTP // 2


def test_before_a_sender_report_nothing_is_known() -> None:
    server, audio, _ = clocks()
    assert audio.rtp_at(server.ntp(50.0)) is None


def test_a_report_without_wall_clock_time_says_nothing() -> None:
    server, audio, _ = clocks()
    audio.sender_report(0, 4711, now=50.0)
    assert audio.rtp_at(server.ntp(50.0)) is None


def test_rtp_time_is_extrapolated_by_the_clock_rate_both_ways() -> None:
    server, audio, _ = clocks()
    audio.sender_report(publisher_ntp(0.0), 100_000, now=50.0)
    at_report = audio.rtp_at(server.ntp(50.0))
    later = audio.rtp_at(server.ntp(51.0))
    earlier = audio.rtp_at(server.ntp(49.0))
    assert at_report is not None
    assert later is not None
    assert earlier is not None
    assert at_report & 0xFFFFFFFF == 100_000
    assert later - at_report == 48_000
    assert at_report - earlier == pytest.approx(48_000, abs=1)


def test_sound_and_picture_captured_together_stay_together() -> None:
    server, audio, video = clocks()
    audio.sender_report(publisher_ntp(0.0), 1_000, now=50.0)
    # The video's report comes 300 ms later, and takes 200 ms longer on its way.
    video.sender_report(publisher_ntp(0.3), 5_000, now=50.5)
    moment = server.ntp(50.0) + int(0.3 * SECOND_NTP)
    audio_ticks, video_ticks = audio.rtp_at(moment), video.rtp_at(moment)
    assert audio_ticks is not None
    assert video_ticks is not None
    assert audio_ticks & 0xFFFFFFFF == pytest.approx(1_000 + 14_400, abs=1)
    assert video_ticks & 0xFFFFFFFF == pytest.approx(5_000, abs=1)


def test_a_report_that_was_fast_or_slow_on_its_way_moves_nothing() -> None:
    server, audio, _ = clocks()
    audio.sender_report(publisher_ntp(0.0), 0, now=50.0)
    before = audio.rtp_at(server.ntp(60.0))
    for second, delay_s in ((1, 0.4), (2, -0.05), (3, 1.0)):
        audio.sender_report(publisher_ntp(float(second)), second * 48_000, now=50.0 + second + delay_s)
        assert audio.rtp_at(server.ntp(60.0)) == before


def test_a_drifting_sampling_clock_is_followed_from_report_to_report() -> None:
    server, audio, _ = clocks()
    audio.sender_report(publisher_ntp(0.0), 0, now=50.0)
    audio.sender_report(publisher_ntp(10.0), 480_048, now=60.0)
    ticks = audio.rtp_at(server.ntp(60.0))
    assert ticks is not None
    assert ticks & 0xFFFFFFFF == 480_048


def test_timestamps_going_round_do_not_jump() -> None:
    server, _, video = clocks()
    first = 2**32 - 45_000
    video.sender_report(publisher_ntp(0.0), first, now=50.0)
    before = video.rtp_at(server.ntp(51.0))
    video.sender_report(publisher_ntp(1.0), (first + 90_000) & 0xFFFFFFFF, now=51.0)
    assert video.rtp_at(server.ntp(51.0)) == before


def test_the_offset_is_fixed_by_the_first_report_of_any_stream() -> None:
    offset = ClockOffset(ServerClock(WALL_CLOCK_S, now=0.0))
    assert not offset.is_fixed
    first = offset.server_ntp(publisher_ntp(0.0), now=3.0)
    assert offset.is_fixed
    assert offset.server_ntp(publisher_ntp(1.0), now=99.0) - first == SECOND_NTP


@given(
    st.integers(min_value=0, max_value=2**64 - 1),
    st.floats(min_value=0.0, max_value=5.0),
    st.floats(min_value=0.0, max_value=30.0),
)
def test_a_round_trip_is_measured_from_a_report_block(sent_ntp: int, rtt_s: float, held_s: float) -> None:
    last_sr = ntp_middle32(sent_ntp)
    received_ntp = (sent_ntp + int((rtt_s + held_s) * SECOND_NTP)) & (2**64 - 1)
    measured_s = round_trip_s(last_sr, int(held_s * 65536), received_ntp)
    if last_sr:
        assert measured_s == pytest.approx(rtt_s, abs=0.0001)
    else:
        assert measured_s is None


def test_a_block_that_answers_no_report_measures_nothing() -> None:
    assert round_trip_s(0, 0, ntp_now(WALL_CLOCK_S)) is None


def test_an_impossible_delay_measures_nothing() -> None:
    ntp = ntp_now(WALL_CLOCK_S)
    assert round_trip_s(ntp_middle32(ntp), 10 << 16, ntp + SECOND_NTP) is None


def test_rounding_to_slightly_less_than_nothing_is_nothing() -> None:
    ntp = ntp_now(WALL_CLOCK_S)
    assert round_trip_s(ntp_middle32(ntp), 2, ntp) == 0.0
