"""A receiver's line judged by its transport-wide feedback, through the whole unit in virtual time."""

from collections.abc import Callable, Iterator

import pytest
from meeting import Client, Meeting
from network import Network

from bridge.base.words import SlotRole, Source


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def pair(meeting: Meeting, **options: object) -> tuple[Client, Client]:
    """A publisher of 1.7 Mbit/s and a voice, and who watches it, large and small."""
    hue = meeting.join("hue")
    viewer = meeting.join("viewer", sources=(), thumbnails=1, **options)
    viewer.show(hue)
    viewer.show(hue, SlotRole.THUMBNAIL)
    viewer.leg.want(viewer.slot(SlotRole.THUMBNAIL).mid, 180)
    return hue, viewer


def narrow(viewer: Client, rate_bps: float | None, queue_s: float = 0.25) -> None:
    viewer.down.rate_bps = rate_bps
    if rate_bps is not None:
        viewer.down.queue_bytes = int(queue_s * rate_bps / 8)


def cut(viewer: Client, loss: float) -> None:
    viewer.down.loss = viewer.up.loss = loss


def is_full(viewer: Client) -> Callable[[], bool]:
    """Whether the picture on stage is the largest one."""
    return lambda: viewer.slot().current is not None and viewer.slot().current.rid == "h"


def stays_full(meeting: Meeting, viewer: Client, seconds: float) -> None:
    for _ in range(int(seconds / 0.1)):
        meeting.run(0.1)
        assert is_full(viewer)()


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_loss_that_does_not_come_from_too_much_takes_no_layer_away(meeting: Meeting, loss: float) -> None:
    _, viewer = pair(meeting)
    meeting.run(3.0)
    viewer.down.loss = loss
    stays_full(meeting, viewer, 12.0)
    assert viewer.leg.snapshot().loss_down == pytest.approx(loss, abs=0.06)
    assert viewer.complaints() == []


def test_such_loss_costs_who_tells_of_no_arrivals_the_picture_for_seconds_only(meeting: Meeting) -> None:
    _, viewer = pair(meeting, tells_arrivals=False)
    meeting.run(3.0)
    viewer.down.loss = 0.2
    meeting.run(8.0)
    meeting.network.run_until(is_full(viewer), within_s=5.0)
    stays_full(meeting, viewer, 8.0)


def test_a_satellite_shows_the_full_picture_again_within_ten_seconds(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(3.0)
    viewer.down.loss = 0.01
    viewer.down.delay_s = viewer.up.delay_s = 0.3
    meeting.run(2.0)
    meeting.network.run_until(is_full(viewer), within_s=8.0)
    stays_full(meeting, viewer, 8.0)


@pytest.mark.parametrize("outage_s", [3.0, 10.0])
def test_after_an_outage_the_full_picture_is_back_at_once(meeting: Meeting, outage_s: float) -> None:
    _, viewer = pair(meeting)
    meeting.run(5.0)
    cut(viewer, 1.0)
    meeting.run(outage_s)
    cut(viewer, 0.0)
    back = meeting.network.now
    meeting.network.run_until(
        lambda: (
            any(picture.shown > back for picture in viewer.receiver().pictures)
            and viewer.sees() == ("hue", "h")
        ),
        within_s=10.0,
    )
    stays_full(meeting, viewer, 3.0)


def test_gaps_of_a_fifth_of_a_second_are_no_collapse(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(5.0)
    for _ in range(2):
        # As a satellite hands over: nothing is lost, all comes late.
        viewer.down.delay_s += 0.2
        meeting.run(0.2)
        viewer.down.delay_s -= 0.2
        meeting.network.run_until(is_full(viewer), within_s=5.0)
        stays_full(meeting, viewer, 5.0)


@pytest.mark.parametrize(("rate_bps", "back_s"), [(5e5, 10.0), (1e5, 15.0)])
def test_a_line_that_falls_leaves_the_voice_whole_and_one_that_rises_is_found(
    meeting: Meeting, rate_bps: float, back_s: float
) -> None:
    _, viewer = pair(meeting)
    narrow(viewer, 4e6)
    meeting.run(5.0)
    assert is_full(viewer)()
    voice = viewer.receiver(SlotRole.VOICE)
    narrow(viewer, rate_bps)
    meeting.run(2.5)
    settled = max(voice.heard)
    meeting.run(7.0)
    lost = [number for number in voice.holes if number > settled]
    assert len(lost) <= 0.01 * (max(voice.heard) - settled)
    assert viewer.leg.snapshot().available_bps <= 1.3 * rate_bps
    narrow(viewer, 4e6)
    meeting.network.run_until(is_full(viewer), within_s=back_s)
    stays_full(meeting, viewer, 5.0)


def test_a_narrow_line_is_known_soon_after_the_start(meeting: Meeting) -> None:
    """The start is a guess for a wide line: a queue that is full at once never grows, and tells by losses."""
    hue = meeting.join("hue")
    viewer = meeting.join("viewer", sources=(), connects=False)
    narrow(viewer, 5e5)
    viewer.connect()
    viewer.show(hue)
    meeting.run(3.0)
    assert viewer.leg.snapshot().available_bps < 6e5
    start, lost, sent = meeting.network.now, viewer.down.lost, viewer.down.sent
    meeting.run(8.0)
    assert (viewer.down.lost - lost) / (viewer.down.sent - sent) < 0.03
    assert viewer.receiver().longest_freeze_s(start, meeting.network.now) < 1.0


@pytest.mark.parametrize("tells_arrivals", [True, False])
def test_what_a_publisher_loses_is_not_held_against_those_who_watch(
    meeting: Meeting, tells_arrivals: bool
) -> None:
    hue, viewer = pair(meeting, tells_arrivals=tells_arrivals)
    meeting.run(5.0)
    before_bps = viewer.leg.snapshot().available_bps
    hue.up.loss = 0.1
    stays_full(meeting, viewer, 10.0)
    assert viewer.leg.snapshot().available_bps >= 0.95 * before_bps
    assert viewer.leg.snapshot().loss_down < 0.02


def test_calm_feedback_is_taken_whole_and_any_other_packet_by_packet(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    counters = meeting.counters

    def taken() -> tuple[int, int]:
        calm, single = counters.feedback_calm, counters.feedback_single
        meeting.run(4.0)
        return counters.feedback_calm - calm, counters.feedback_single - single

    meeting.run(5.0)
    calm, single = taken()
    assert calm > 60
    assert single < 10
    viewer.down.loss = 0.1
    _, single = taken()
    assert single > 60


def test_probes_are_packets_that_the_receiver_knows(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(3.0)
    receivers = [viewer.receiver(role) for role in (SlotRole.STAGE, SlotRole.THUMBNAIL)]
    assert sum(receiver.repeated_in_vain for receiver in receivers) >= 5
    assert meeting.counters.probe_packets_sent >= 5
    assert meeting.counters.retransmissions_sent == 0
    assert viewer.complaints() == []


def test_who_agreed_to_tell_of_arrivals_and_does_not_is_judged_by_reports(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    viewer.up.drop_if = lambda data: data[1] == 205
    narrow(viewer, 9e5)
    meeting.run(20.0)
    lost, sent = viewer.down.lost, viewer.down.sent
    meeting.run(5.0)
    assert viewer.leg.snapshot().available_bps < 1.5e6
    assert (viewer.down.lost - lost) / (viewer.down.sent - sent) < 0.1


def test_over_tcp_late_packets_are_no_reason_to_send_less(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    viewer.transport.is_on_tcp = True
    meeting.run(5.0)
    for _ in range(4):
        # What TCP repeats holds up all that comes behind it.
        viewer.down.delay_s += 0.3
        meeting.run(0.5)
        viewer.down.delay_s -= 0.3
        stays_full(meeting, viewer, 1.0)


def test_whoever_sees_nothing_costs_no_probes(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.MICROPHONE,))
    viewer = meeting.join("viewer", sources=())
    meeting.run(5.0)
    assert viewer.hears() == {"hue"}
    assert hue.closed_reason is None
    assert meeting.counters.probe_packets_sent == 0
