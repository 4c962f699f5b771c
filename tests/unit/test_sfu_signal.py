"""What is told of a line that is dead, and why no picture comes in a slot."""

from collections.abc import Iterator

import pytest
from meeting import Client, Meeting
from network import Network
from streams import talking

from bridge.base.words import PauseReason, SlotRole, Source
from bridge.leg.publication import PublicationState
from bridge.rtp import rtcp

# Everybody is to be told within two seconds: what the room's ticks and the roster take comes on top.
TOLD_WITHIN_S = 1.3


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def speaker(meeting: Meeting, name: str, *sources: Source) -> Client:
    client = meeting.join(name, sources=sources or (Source.MICROPHONE, Source.CAMERA))
    if client.voice is not None:
        client.voice.level = talking
    return client


def test_a_dead_presenter_is_told_and_no_longer_named_as_speaking(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(4.0)
    assert meeting.dominants[-1] == "hue"
    assert meeting.voices == ("hue",)
    assert viewer.slot().pause is None
    hue.up.loss = 1.0
    meeting.network.run_until(lambda: hue.cuts == [True], within_s=TOLD_WITHIN_S)
    meeting.run(0.3)
    assert meeting.dominants[-1] is None
    assert meeting.voices == ()
    assert "hue" not in viewer.leg.voice_assignment().values()
    assert viewer.slot().pause is PauseReason.NO_SIGNAL
    # It is not named again by what is left of its words, and stays dead when its publications have ended.
    meeting.run(11.0)
    assert hue.cuts == [True]
    assert meeting.dominants[-1] is None
    assert meeting.voices == ()
    hue.up.loss = 0.0
    meeting.network.run_until(lambda: hue.cuts == [True, False], within_s=0.5)
    meeting.network.run_until(lambda: viewer.hears() == {"hue"}, within_s=0.5)
    meeting.network.run_until(lambda: meeting.dominants[-1] == "hue", within_s=3.0)
    assert meeting.voices == ("hue",)


def test_a_line_whose_media_ends_is_dead_although_reports_come(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    hue.up.drop_if = lambda data: not rtcp.is_rtcp(data)
    meeting.network.run_until(lambda: hue.cuts == [True], within_s=TOLD_WITHIN_S)


def test_only_the_microphone_of_a_page_is_sent_and_its_line_dies(meeting: Meeting) -> None:
    hue = speaker(meeting, "hue", Source.MICROPHONE)
    meeting.join("viewer", sources=())
    meeting.run(2.0)
    assert meeting.voices == ("hue",)
    hue.up.loss = 1.0
    meeting.network.run_until(lambda: hue.cuts == [True], within_s=1.7)
    meeting.network.run_until(lambda: meeting.voices == (), within_s=0.2)


def test_silence_that_is_sent_rarely_is_no_dead_line(meeting: Meeting) -> None:
    """Discontinuous transmission: a packet of comfort noise each 0.4 s, and no camera."""
    hue = speaker(meeting, "hue", Source.MICROPHONE)
    meeting.run(1.0)
    voice, hue.voice = hue.voice, None
    assert voice is not None
    voice.level = lambda captured: 127
    for _ in range(40):
        meeting.run(0.4)
        hue.send_rtp(voice.frame(meeting.network.now))
    assert hue.cuts == []


def test_a_device_that_sends_nothing_in_silence_is_no_dead_line(meeting: Meeting) -> None:
    device = meeting.join("device", sources=(Source.MICROPHONE,), voices=0, is_device=True)
    assert device.voice is not None
    device.voice.level = talking
    meeting.run(1.0)
    voice, device.voice = device.voice, None
    for _ in range(4):
        meeting.run(5.0)
        device.send_rtcp(rtcp.SenderReport(voice.ssrc, device.ntp(meeting.network.now), 1, 1, 1))
    assert device.cuts == []


def test_whoever_is_muted_and_unseen_is_no_dead_line(meeting: Meeting) -> None:
    hue = speaker(meeting, "hue")
    meeting.run(6.0)
    # Nobody watches the camera, and the microphone is muted and no longer sent.
    hue.leg.set_muted(Source.MICROPHONE, True)
    hue.voice = None
    for _ in range(5):
        meeting.run(5.0)
        hue.send_rtcp(rtcp.ReceiverReport(1, ()))
    assert hue.cuts == []


def test_whoever_begins_to_send_after_a_long_silence_is_no_dead_line(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    meeting.run(6.0)
    hue.leg.set_muted(Source.MICROPHONE, True)
    voice, hue.voice = hue.voice, None
    hue.up.drop_if = rtcp.is_rtcp
    meeting.run(3.0)
    assert hue.publication().state is PublicationState.PAUSED
    # The word that it is unmuted, or watched, comes before the first packet.
    hue.leg.set_muted(Source.MICROPHONE, False)
    viewer.show(hue)
    meeting.run(0.4)
    hue.voice = voice
    meeting.run(2.0)
    assert hue.cuts == []
    assert viewer.sees() is not None


def test_a_camera_that_stops_alone_is_told_as_such(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.is_active = False
    hue.obeys_layers = False
    meeting.network.run_until(lambda: viewer.slot().pause is PauseReason.NO_PICTURE, within_s=0.6)
    meeting.run(1.5)
    assert hue.cuts == []
    assert meeting.voices == ("hue",)
    hue.encodings[Source.CAMERA]["l"].is_active = True
    meeting.network.run_until(lambda: viewer.slot().pause is None, within_s=1.5)


def test_a_shared_screen_that_does_not_change_is_not_paused_until_its_line_is_dead(meeting: Meeting) -> None:
    hue = speaker(meeting, "hue", Source.MICROPHONE, Source.CONTENT)
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(2.0)
    for encoding in hue.encodings[Source.CONTENT].values():
        encoding.is_still = True
    meeting.run(20.0)
    assert viewer.slot(SlotRole.CONTENT).pause is None
    hue.up.loss = 1.0
    content = viewer.slot(SlotRole.CONTENT)
    meeting.network.run_until(lambda: content.pause is PauseReason.NO_SIGNAL, within_s=2.0)


def test_a_picture_that_the_receivers_line_does_not_bear_is_told_as_paused(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    changes = viewer.slots_changes
    viewer.down.rate_bps = 60_000.0
    viewer.remb_bps = 50_000
    meeting.network.run_until(lambda: viewer.slot().pause is PauseReason.LINE, within_s=15.0)
    assert viewer.slots_changes > changes
    viewer.down.rate_bps = None
    viewer.remb_bps = 5_000_000
    meeting.network.run_until(lambda: viewer.slot().pause is None, within_s=60.0)
    assert viewer.sees() is not None


def test_who_waits_for_a_key_frame_is_told_so(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.obeys = False
    meeting.run(1.0)
    viewer.show(hue)
    meeting.run(1.2)
    assert viewer.slot().pause is PauseReason.KEYFRAME
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.starts_group = True
    meeting.run(1.2)
    assert viewer.slot().pause is None


def test_a_picture_that_the_page_does_not_show_is_not_paused(meeting: Meeting) -> None:
    hue, viewer = speaker(meeting, "hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    viewer.leg.want(viewer.slot().mid, 0)
    hue.up.loss = 1.0
    meeting.run(3.0)
    assert viewer.slot().pause is None
