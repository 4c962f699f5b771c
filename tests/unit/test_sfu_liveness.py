"""When a publication is live, when it only pauses, and when it has ended for the others."""

from collections.abc import Iterator

import pytest
from meeting import Client, Meeting
from network import Network
from streams import talking

from bridge.base.words import SlotRole, Source
from bridge.leg.publication import PublicationState
from bridge.rtp import rtcp


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def slow(meeting: Meeting, name: str, rate_hz: float, *sources: Source) -> Client:
    """Somebody whose pictures come rarely, and are none the larger for it."""
    client = meeting.join(name, sources=sources, rate_hz=rate_hz)
    for encodings in client.encodings.values():
        for encoding in encodings.values():
            encoding.bitrate_bps = int(encoding.bitrate_bps * rate_hz / 30)
    return client


def told(client: Client) -> dict[Source, list[bool]]:
    """What the leg reports of each source from now on."""
    seen: dict[Source, list[bool]] = {source: [] for source in Source}
    report = client.publication_live

    def noted(source: Source, is_live: bool) -> None:
        seen[source].append(is_live)
        report(source, is_live)

    client.publication_live = noted  # type: ignore[method-assign]
    return seen


def test_a_line_that_is_cut_ends_what_it_carried_and_brings_it_back(meeting: Meeting) -> None:
    hue, other = meeting.join("hue"), meeting.join("other")
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    for client in (hue, other):
        assert client.voice is not None
        client.voice.level = talking
    meeting.run(1.0)
    reports = told(hue)
    hue.up.loss = 1.0
    meeting.run(0.5)
    assert hue.publication().state is PublicationState.PAUSED
    assert hue.publication().is_live
    assert not hue.publication().is_arriving
    assert reports[Source.CAMERA] == []
    meeting.run(2.0)
    # A voice that does not come needs no place.
    assert "hue" not in viewer.leg.voice_assignment().values()
    meeting.run(2.0)
    assert reports == {**{source: [] for source in Source}, Source.CAMERA: [False]}
    # Silence that is not sent is told by reports alone, and these come every few seconds.
    meeting.run(4.0)
    assert reports[Source.MICROPHONE] == [False]
    assert hue.publication().state is hue.publication(Source.MICROPHONE).state is PublicationState.ENDED
    hue.up.loss = 0.0
    meeting.run(0.5)
    assert reports[Source.CAMERA] == reports[Source.MICROPHONE] == [False, True]
    assert viewer.hears() == {"hue", "other"}
    assert viewer.sees() is not None


def test_a_shared_screen_that_does_not_change_stays(meeting: Meeting) -> None:
    hue = slow(meeting, "hue", 0.2, Source.MICROPHONE, Source.CONTENT)
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(6.0)
    reports, stalled = told(hue), meeting.counters.layers_stalled
    assert viewer.sees(SlotRole.CONTENT) is not None
    meeting.run(25.0)
    # And for a whole minute nothing at all comes of it, while its microphone goes on.
    for encoding in hue.encodings[Source.CONTENT].values():
        encoding.is_active = False
    meeting.run(60.0)
    assert reports[Source.CONTENT] == []
    assert hue.publication(Source.CONTENT).is_live
    assert meeting.counters.layers_stalled == stalled
    # Who comes now asks for a key frame.
    asked = len(hue.plis)
    newcomer = meeting.join("newcomer", sources=())
    newcomer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(0.3)
    assert len(hue.plis) > asked
    for encoding in hue.encodings[Source.CONTENT].values():
        encoding.is_active = True
    meeting.network.run_until(lambda: newcomer.sees(SlotRole.CONTENT) is not None, within_s=6.0)
    assert viewer.complaints() == newcomer.complaints() == []


def test_the_upper_layer_of_a_screen_that_stops_is_left_for_the_one_that_goes_on(meeting: Meeting) -> None:
    hue = slow(meeting, "hue", 2.0, Source.CONTENT)
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(4.0)
    assert viewer.sees(SlotRole.CONTENT) == ("hue", "h")
    hue.obeys_layers = False
    hue.encodings[Source.CONTENT]["l"].is_active = True
    hue.encodings[Source.CONTENT]["h"].is_active = False
    meeting.network.run_until(lambda: viewer.sees(SlotRole.CONTENT) == ("hue", "l"), within_s=4.0)


def test_a_camera_of_one_picture_in_two_seconds_does_not_end(meeting: Meeting) -> None:
    hue, viewer = slow(meeting, "hue", 0.5, Source.CAMERA), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(5.0)
    reports = told(hue)
    meeting.run(30.0)
    assert reports[Source.CAMERA] == []


def test_a_camera_that_was_switched_off_because_nobody_watches_has_not_ended(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    reports = told(hue)
    viewer.show(None)
    meeting.run(20.0)
    assert hue.publication().state is PublicationState.PAUSED
    viewer.show(hue)
    meeting.run(2.0)
    assert viewer.sees() is not None
    assert hue.publication().is_arriving
    assert reports[Source.CAMERA] == []


def test_a_microphone_that_sends_nothing_in_silence_only_pauses_while_it_reports(meeting: Meeting) -> None:
    device = meeting.join("device", sources=(Source.MICROPHONE,), voices=0, is_device=True)
    listener = meeting.join("listener", sources=())
    assert device.voice is not None
    device.voice.level = talking
    meeting.run(1.0)
    reports, voice = told(device), device.voice
    device.voice = None
    # As rarely as RFC 3550 lets them come.
    for _ in range(4):
        meeting.run(7.4)
        device.send_rtcp(rtcp.SenderReport(voice.ssrc, device.ntp(meeting.network.now), 1, 1, 1))
    assert reports[Source.MICROPHONE] == []
    assert device.publication(Source.MICROPHONE).state is PublicationState.PAUSED
    device.voice = voice
    meeting.network.run_until(lambda: listener.hears() == {"device"}, within_s=0.2)
