import random
from itertools import pairwise

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
from bridge.rtp.sequence import difference

SECOND_NTP = 1 << 32
WALL_CLOCK_S = 1_800_000_000.0


class Publisher:
    """Sound and picture of one sender in virtual time, each with its path, and reports of both."""

    def __init__(self, *, rng: int = 1) -> None:
        self.offset = ClockOffset()
        self.clocks = {48_000: SenderClock(48_000, self.offset, rests_s=0.5)}
        self.clocks[90_000] = SenderClock(90_000, self.offset, rests_s=10.0)
        self.random = random.Random(rng)
        self.ntp_at_zero_s = 1000.0
        self.delay_s = 0.02
        self.jitter_s = dict.fromkeys(self.clocks, 0.002)
        self.report_s: dict[int, float | None] = dict.fromkeys(self.clocks, 5.0)
        self.first_report_s = 0.4
        self.speed = 1.0
        # By how much each RTP clock is behind, because it stood still.
        self.stood_s = dict.fromkeys(self.clocks, 0.0)
        self.is_sending = dict.fromkeys(self.clocks, True)
        self.now = 100.0
        self.start = self.now
        # By how much each of our reports was off its packets.
        self.errors: dict[int, list[float]] = {rate: [] for rate in self.clocks}
        self.told = dict.fromkeys(self.clocks, 0)

    def ticks(self, rate: int, at: float) -> int:
        """The RTP time of what was captured at a time, extended."""
        return 77_000_000 + round((at * self.speed - self.stood_s[rate]) * rate)

    def run(self, seconds: float) -> None:
        """Let 20 ms of sound and a picture each 40 ms be sent, and a report of ours each second."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            step = round((self.now - self.start) / 0.02)
            for rate, clock in self.clocks.items():
                if self.is_sending[rate] and (rate == 48_000 or step % 2 == 0):
                    late = self.delay_s + self.random.random() * self.jitter_s[rate]
                    clock.packet(self.ticks(rate, self.now) & 0xFFFFFFFF, self.now + late)
                self._report(rate, step)
                if step % 50 == 49:
                    self._ask(rate)
            self.now += 0.02

    def _report(self, rate: int, step: int) -> None:
        every = self.report_s[rate]
        after = self.now - self.start - self.first_report_s
        if every is None or not self.is_sending[rate] or after < -1e-9:
            return
        if round(after / 0.02) % round(every / 0.02) == 0:
            ntp = int((self.ntp_at_zero_s + self.now) * SECOND_NTP) & (1 << 64) - 1
            rtp = self.ticks(rate, self.now) & 0xFFFFFFFF
            self.clocks[rate].sender_report(ntp, rtp, self.now + self.delay_s)

    def _ask(self, rate: int) -> None:
        told = self.clocks[rate].rtp_at(self.now)
        if told is not None:
            self.told[rate] += 1
            truth = self.ticks(rate, self.now) & 0xFFFFFFFF
            self.errors[rate].append(difference(told & 0xFFFFFFFF, truth, bits=32) / rate)

    def pause(self, rate: int, seconds: float, *, stands_still: bool) -> None:
        """Send nothing for a while; a clock that stands still goes on by one packet afterwards."""
        self.is_sending[rate] = False
        self.run(seconds)
        self.is_sending[rate] = True
        if stands_still:
            self.stood_s[rate] += seconds


def test_ntp_counts_from_1900() -> None:
    assert ntp_now(0.0) >> 32 == 2_208_988_800
    assert ntp_now(0.5) & 0xFFFFFFFF == 1 << 31


def test_the_middle_of_an_ntp_time_is_sixteen_and_sixteen_bits() -> None:
    assert ntp_middle32(0x11112222_33334444) == 0x22223333


def test_the_server_clock_goes_on_from_the_wall_clock() -> None:
    server = ServerClock(WALL_CLOCK_S, now=50.0)
    assert server.ntp(50.0) == ntp_now(WALL_CLOCK_S)
    assert server.ntp(52.5) - server.ntp(50.0) == 5 * SECOND_NTP // 2


def test_before_the_first_packets_nothing_is_known() -> None:
    clock = SenderClock(48_000, ClockOffset(), rests_s=0.5)
    assert clock.rtp_at(50.0) is None
    clock.sender_report(0, 4711, 50.0)
    assert clock.rtp_at(50.0) is None


@pytest.mark.parametrize("mute_s", [0.3, 1.0, 3.0, 6.0, 9.9, 10.1, 60.0])
@pytest.mark.parametrize("report_s", [1.0, 5.0, None])
def test_no_report_is_off_its_packets_after_a_mute(mute_s: float, report_s: float | None) -> None:
    """Chromium's microphone: its RTP clock stands still while nothing is sent; the camera's runs on."""
    publisher = Publisher()
    publisher.report_s[48_000] = report_s
    publisher.run(7.0)
    for _ in range(3):
        told = publisher.told[48_000]
        publisher.pause(48_000, mute_s, stands_still=True)
        # One at most, of what was sent just before.
        assert publisher.told[48_000] <= told + 1
        publisher.run(4.0)
        assert publisher.told[48_000] >= told + 2
    assert max(map(abs, publisher.errors[48_000])) < 0.1
    assert max(map(abs, publisher.errors[90_000])) < 0.1


@pytest.mark.parametrize("mute_s", [1.0, 6.0, 30.0])
def test_a_clock_that_runs_on_in_a_pause_is_not_moved(mute_s: float) -> None:
    publisher = Publisher()
    publisher.run(7.0)
    publisher.pause(90_000, mute_s, stands_still=False)
    publisher.run(7.0)
    assert max(map(abs, publisher.errors[90_000])) < 0.03
    assert publisher.told[90_000] > 12


def test_a_path_that_stalls_and_then_brings_all_at_once_moves_nothing() -> None:
    publisher = Publisher()
    publisher.run(7.0)
    clock, rate = publisher.clocks[48_000], 48_000
    before = clock.rtp_at(publisher.now)
    start = publisher.now
    # Three seconds of packets come within a tenth of a second, as a queue empties.
    for number in range(150):
        clock.packet(publisher.ticks(rate, start + number * 0.02) & 0xFFFFFFFF, start + 3.0 + number * 0.0007)
    publisher.now = start + 3.12
    publisher.run(4.0)
    after = clock.rtp_at(publisher.now)
    assert before is not None
    assert after is not None
    assert (after - before) / rate == pytest.approx(publisher.now - start, abs=0.01)


@pytest.mark.parametrize("step_s", [600.0, -600.0, 0.4, 3e9, -1000.0 - 100])
def test_a_wall_clock_that_is_set_moves_neither_sound_nor_picture(step_s: float) -> None:
    publisher = Publisher()
    publisher.run(12.0)
    apart_s = publisher.errors[48_000][-1] - publisher.errors[90_000][-1]
    publisher.ntp_at_zero_s += step_s
    publisher.run(30.0)
    for errors in publisher.errors.values():
        assert max(map(abs, errors)) < 0.03
    # Together as before: both went by the same constant.
    assert publisher.errors[48_000][-1] - publisher.errors[90_000][-1] == pytest.approx(apart_s, abs=0.005)


@pytest.mark.parametrize("ntp_at_zero_s", [0.5, 2_208_988_800.0, float(2**32 - 110), 4_000_000_000.0])
def test_sound_and_picture_captured_together_stay_together_whatever_the_date(ntp_at_zero_s: float) -> None:
    publisher = Publisher()
    publisher.ntp_at_zero_s = ntp_at_zero_s
    # The camera's packets take longer to be made.
    publisher.jitter_s[90_000] = 0.15
    publisher.run(40.0)
    late = [
        abs(sound - picture)
        for sound, picture in zip(publisher.errors[48_000][5:], publisher.errors[90_000][5:], strict=False)
    ]
    assert max(late) < 0.003


@pytest.mark.parametrize(
    ("sound_s", "picture_s", "first_s"),
    [(None, None, 0.4), (5.0, None, 0.4), (None, 5.0, 0.4), (5.0, 5.0, 60.0), (1.0, 5.0, 60.0)],
    ids=["none", "sound only", "picture only", "both after a minute", "often after a minute"],
)
def test_without_reports_arrival_places_a_stream(
    sound_s: float | None, picture_s: float | None, first_s: float
) -> None:
    publisher = Publisher()
    publisher.report_s = {48_000: sound_s, 90_000: picture_s}
    publisher.first_report_s = first_s
    publisher.jitter_s[90_000] = 0.2
    publisher.run(80.0)
    for errors in publisher.errors.values():
        # The first ones are told within two seconds, with reports or without.
        assert len(errors) >= 78
        assert max(map(abs, errors)) < 0.1
        # And nothing jumps when the first report comes.
        assert max(abs(after - before) for before, after in pairwise(errors)) < 0.08


@pytest.mark.parametrize("report_s", [5.0, None])
def test_a_fast_clock_is_followed(report_s: float | None) -> None:
    publisher = Publisher()
    publisher.speed = 1.001
    publisher.report_s = {48_000: report_s, 90_000: None}
    publisher.run(300.0)
    for errors in publisher.errors.values():
        assert max(map(abs, errors)) < 0.1


def test_a_report_that_was_fast_or_slow_on_its_way_moves_nothing() -> None:
    publisher = Publisher()
    publisher.run(3.0)
    clock = publisher.clocks[48_000]
    before = clock.rtp_at(publisher.now)
    for delay_s in (0.4, -0.05, 1.0):
        ntp = int((publisher.ntp_at_zero_s + publisher.now) * SECOND_NTP)
        clock.sender_report(ntp, publisher.ticks(48_000, publisher.now) & 0xFFFFFFFF, publisher.now + delay_s)
        assert clock.rtp_at(publisher.now) == pytest.approx(before, abs=2)


def test_timestamps_going_round_do_not_jump() -> None:
    publisher = Publisher()
    publisher.stood_s[90_000] = -(2**32 - 77_000_000) / 90_000 + 110.0
    publisher.run(25.0)
    assert len(publisher.errors[90_000]) > 22
    assert max(map(abs, publisher.errors[90_000])) < 0.03


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
