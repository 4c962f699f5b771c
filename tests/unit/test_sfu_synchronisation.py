"""The sender reports of slots: one clock for sound and picture of one publisher, whatever was switched."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from meeting import Client, Meeting
from network import Network
from receivers import SlotReceiver
from streams import NTP_SECOND, talking

from bridge.base.words import SlotRole
from bridge.rtp.sequence import difference


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def server_time_of_newest(receiver: SlotReceiver) -> tuple[float, float]:
    """When the newest picture or sound was captured: by the slot's last report, and by the sender's clock."""
    _, report = receiver.reports[-1]
    newest = receiver.pictures[-1]
    ticks = difference(newest.timestamp, report.rtp_timestamp, bits=32)
    seconds = report.ntp / NTP_SECOND
    return seconds + ticks / receiver.clock_rate_hz, newest.captured


def skew_s(client: Client) -> float:
    """How far sound and picture of the stage are apart where this client plays them together."""
    picture_at, picture_captured = server_time_of_newest(client.receiver())
    sound_at, sound_captured = server_time_of_newest(client.receiver(SlotRole.VOICE))
    return (picture_at - picture_captured) - (sound_at - sound_captured)


def test_sound_and_picture_stay_together_through_switches(meeting: Meeting) -> None:
    publishers = [meeting.join(name) for name in ("hue", "hanoi", "vinh")]
    for number, publisher in enumerate(publishers):
        assert publisher.voice is not None
        publisher.voice.level = talking
        publisher.up.delay_s = 0.01 + 0.04 * number
    viewer = meeting.join("viewer", sources=())
    meeting.run(1.5)
    for turn in range(7):
        viewer.show(publishers[turn % 3])
        meeting.run(2.2)
        name = publishers[turn % 3].name
        assert viewer.sees() == (name, "h")
        assert viewer.leg.voice_assignment()[viewer.slot(SlotRole.VOICE).mid] == name
        assert abs(skew_s(viewer)) < 0.003
    assert viewer.complaints() == []


def test_sound_and_picture_stay_together_when_the_layer_changes(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.5)
    for height_px in (180, 360, 720, 180):
        viewer.leg.want(viewer.slot().mid, height_px)
        meeting.run(1.6)
        assert abs(skew_s(viewer)) < 0.003


def test_reports_count_what_was_sent(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(5.0)
    receiver = viewer.receiver()
    arrival, report = receiver.reports[-1]
    before = [one for one in receiver.packets() if one.arrival <= arrival]
    assert abs(report.packet_count - len(before)) <= 10
    gaps = [after - before for (before, _), (after, _) in pairwise(receiver.reports)]
    assert min(gaps) > 0.9
    assert max(gaps) < 1.1


def test_the_round_trip_is_measured(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.up.delay_s, viewer.down.delay_s = 0.03, 0.07
    viewer.show(hue)
    meeting.run(5.0)
    rtt_ms = viewer.leg.snapshot().rtt_ms
    assert rtt_ms is not None
    assert rtt_ms == pytest.approx(100, abs=3)
