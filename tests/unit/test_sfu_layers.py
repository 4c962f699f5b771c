"""Which encodings are sent up and down: silence of an encoder, pages that scroll, links that narrow."""

from collections.abc import Iterator

import pytest
from meeting import Client, Meeting
from network import Network

from bridge.base.words import SlotRole, Source
from bridge.leg.publication import UNWATCHED_S


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def viewer_of(meeting: Meeting, publisher: Client, name: str = "viewer", **options: object) -> Client:
    viewer = meeting.join(name, sources=(), **options)
    viewer.show(publisher)
    return viewer


def test_a_layer_that_falls_silent_is_replaced_within_400_ms(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewers = [viewer_of(meeting, hue, name) for name in ("a", "b", "c")]
    meeting.run(2.0)
    hue.obeys_layers = False
    hue.encodings[Source.CAMERA]["h"].is_active = False
    silent = meeting.network.now
    hue.plis.clear()
    meeting.run(0.4)
    assert "m" in [rid for _, _, rid in hue.plis]
    # One round trip until the key frame is here.
    meeting.run(0.15)
    for viewer in viewers:
        assert viewer.sees() == ("hue", "m")
        assert viewer.receiver().longest_freeze_s(silent, meeting.network.now) < 0.55
    hue.plis.clear()
    meeting.run(6.0)
    assert not [rid for _, _, rid in hue.plis if rid == "h"]
    assert len(hue.plis) <= 1
    for viewer in viewers:
        assert viewer.complaints() == []
        assert viewer.receiver().holes == []


def test_a_layer_that_comes_back_is_shown_again(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(2.0)
    hue.obeys_layers = False
    hue.encodings[Source.CAMERA]["h"].is_active = False
    meeting.run(5.0)
    assert viewer.sees() == ("hue", "m")
    hue.encodings[Source.CAMERA]["h"].is_active = True
    meeting.network.run_until(lambda: viewer.sees() == ("hue", "h"), within_s=1.0)
    meeting.run(1.0)
    assert viewer.sees() == ("hue", "h")
    assert viewer.complaints() == []


def test_all_layers_silent_and_back(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(2.0)
    hue.up.loss = 1.0
    meeting.run(4.0)
    hue.plis.clear()
    hue.up.loss = 0.0
    took_s = meeting.network.run_until(
        lambda: meeting.network.now - viewer.receiver().pictures[-1].shown < 0.1, within_s=1.5
    )
    assert took_s < 1.0
    meeting.run(1.0)
    assert viewer.sees() == ("hue", "h")
    assert viewer.complaints() == []


def test_layers_nobody_watches_are_switched_off_after_a_while(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=(), thumbnails=1)
    viewer.show(hue, SlotRole.THUMBNAIL)
    joined = meeting.network.now
    meeting.run(UNWATCHED_S + 1.5)
    assert viewer.sees(SlotRole.THUMBNAIL) == ("hue", "l")
    assert [layers for _, layers in hue.layers] == [{"1": ["l"]}]
    assert UNWATCHED_S <= hue.layers[0][0] - joined <= UNWATCHED_S + 1.0
    sent = {rid: encoding.pictures for rid, encoding in hue.encodings[Source.CAMERA].items()}
    meeting.run(1.0)
    assert hue.encodings[Source.CAMERA]["h"].pictures == sent["h"]
    assert hue.encodings[Source.CAMERA]["l"].pictures > sent["l"]


def test_a_layer_that_is_wanted_again_is_switched_on_at_once(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=(), thumbnails=1)
    viewer.show(hue, SlotRole.THUMBNAIL)
    meeting.run(UNWATCHED_S + 2.0)
    viewer.show(hue)
    asked = meeting.network.now
    # The layer below is there in the meantime.
    meeting.network.run_until(lambda: viewer.sees() is not None, within_s=0.3)
    meeting.network.run_until(lambda: viewer.sees() == ("hue", "h"), within_s=0.8)
    assert hue.layers[-1][0] - asked < 0.15
    assert set(hue.layers[-1][1]["1"]) == {"l", "h"}
    assert viewer.complaints() == []


def test_a_hidden_picture_costs_nothing_and_comes_back(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(1.0)
    mid = viewer.slot().mid
    viewer.leg.want(mid, 0)
    meeting.run(0.1)
    heard = len(viewer.receiver().heard)
    meeting.run(1.0)
    assert len(viewer.receiver().heard) == heard
    viewer.leg.want(mid, 360)
    meeting.network.run_until(lambda: viewer.sees() == ("hue", "m"), within_s=0.4)
    meeting.run(0.5)
    assert viewer.complaints() == []


def gallery(meeting: Meeting, count: int) -> tuple[list[Client], Client]:
    """A viewer with a stage and thumbnails; ten pictures a second keep the test quick."""
    publishers = [meeting.join(f"p{number}", sources=(Source.CAMERA,), rate_hz=10) for number in range(count)]
    viewer = meeting.join("viewer", sources=(), thumbnails=count)
    viewer.show(publishers[0])
    for index, publisher in enumerate(publishers):
        viewer.show(publisher, SlotRole.THUMBNAIL, index)
    return publishers, viewer


def thumbnails_shown(meeting: Meeting, viewer: Client, count: int) -> int:
    receivers = [viewer.receiver(SlotRole.THUMBNAIL, index) for index in range(count)]
    return sum(bool(one.pictures) and meeting.network.now - one.pictures[-1].shown < 0.6 for one in receivers)


def test_a_narrow_link_leads_to_lower_layers_then_fewer_thumbnails_and_back(meeting: Meeting) -> None:
    _, viewer = gallery(meeting, 4)
    meeting.run(3.0)
    assert viewer.sees() == ("p0", "h")
    assert thumbnails_shown(meeting, viewer, 4) == 4
    viewer.down.queue_bytes = 60_000
    viewer.down.rate_bps = 1_600_000
    viewer.remb_bps = 1_500_000
    meeting.run(6.0)
    assert viewer.sees() == ("p0", "m")
    assert thumbnails_shown(meeting, viewer, 4) == 4
    viewer.down.queue_bytes = 20_000
    viewer.down.rate_bps = 450_000
    viewer.remb_bps = 400_000
    meeting.run(14.0)
    assert viewer.sees() == ("p0", "l")
    assert 0 < thumbnails_shown(meeting, viewer, 4) < 4
    viewer.down.rate_bps = None
    viewer.remb_bps = 6_000_000
    meeting.run(40.0)
    assert viewer.sees() == ("p0", "h")
    assert thumbnails_shown(meeting, viewer, 4) == 4
    assert viewer.complaints() == []


def test_heavy_loss_alone_leads_to_a_lower_layer(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(2.0)
    viewer.down.loss = 0.3
    meeting.run(6.0)
    assert viewer.leg.snapshot().loss_down > 0.0
    assert viewer.sees() is not None
    current = viewer.slot().current
    assert current is not None
    assert current.rid != "h"
    viewer.down.loss = 0.0
    meeting.network.run_until(lambda: viewer.sees() == ("hue", "h"), within_s=60.0)


def test_a_bottleneck_is_lived_with(meeting: Meeting) -> None:
    """900 kbit/s, a short queue, no REMB: losses alone must lead below the bottleneck, and keep to it."""
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    viewer.down.rate_bps = 900_000
    meeting.run(20.0)
    start = meeting.network.now
    sent, lost = viewer.down.sent, viewer.down.lost
    meeting.run(8.0)
    assert viewer.sees() == ("hue", "m")
    assert (viewer.down.lost - lost) / (viewer.down.sent - sent) < 0.05
    assert viewer.receiver().longest_freeze_s(start, meeting.network.now) < 1.0


def test_a_layer_that_dies_before_its_key_frame_is_asked_no_longer(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    hue.obeys_layers = False
    viewer = viewer_of(meeting, hue)
    viewer.leg.want(viewer.slot().mid, 180)
    meeting.run(2.0)
    # The request is lost, and then the layer.
    hue.down.loss = 1.0
    viewer.leg.want(viewer.slot().mid, 720)
    meeting.run(0.05)
    hue.encodings[Source.CAMERA]["h"].is_active = False
    meeting.run(1.0)
    hue.down.loss = 0.0
    hue.plis.clear()
    meeting.run(8.0)
    assert viewer.sees() == ("hue", "m")
    assert not [rid for _, _, rid in hue.plis if rid == "h"]
    assert viewer.complaints() == []
