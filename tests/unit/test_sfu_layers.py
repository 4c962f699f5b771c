"""Which encodings are sent up and down: silence of an encoder, pages that scroll, links that narrow."""

from collections.abc import Iterator
from types import SimpleNamespace

import meeting as meeting_module
import pytest
import streams
from meeting import Client, Meeting
from network import Network

from bridge.base.words import SlotRole, Source
from bridge.leg.downlink import _demand
from bridge.leg.encoding import Codec
from bridge.leg.publication import UNWATCHED_S, Publication


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
    # Less than half a second, which the receiver would take for a fault of the timestamps.
    viewer.down.queue_bytes = 18_000
    viewer.down.rate_bps = 330_000
    viewer.remb_bps = 300_000
    meeting.run(14.0)
    assert viewer.sees() == ("p0", "l")
    assert 0 < thumbnails_shown(meeting, viewer, 4) < 4
    viewer.down.rate_bps = None
    viewer.remb_bps = 6_000_000
    meeting.run(40.0)
    assert viewer.sees() == ("p0", "h")
    assert thumbnails_shown(meeting, viewer, 4) == 4
    assert viewer.complaints() == []


def booked_bps(meeting: Meeting, client: Client) -> dict[tuple[str, int], float]:
    """What the allocator books for each option of a client's stage."""
    wish = _demand(client.slot(), client.slot().shown, meeting.network.now)  # type: ignore[arg-type]
    return {(str(one.encoding_key), one.temporal_limit): one.bitrate_bps for one in wish.options}


def test_what_is_booked_is_what_is_sent(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    hue.obeys_layers = False
    viewer = viewer_of(meeting, hue)
    meeting.run(9.0)
    for (rid, limit), bps in booked_bps(meeting, viewer).items():
        encoding = hue.publication().encodings[rid]
        before = encoding.fan.octets[limit]
        meeting.run(2.0)
        sent_bps = (encoding.fan.octets[limit] - before) * 4
        assert bps == pytest.approx(sent_bps, rel=0.35), (rid, limit)


@pytest.mark.parametrize(
    ("pattern", "limits"),
    [
        (((0, False, 4), (2, True, 1), (1, True, 2), (2, False, 1)), [1, 3]),
        (((0, False, 2), (1, True, 1)), [0, 3]),
        (((0, False, 1),), [3]),
    ],
    ids=["three layers", "two layers", "one layer"],
)
def test_half_the_pictures_are_a_step_only_where_they_save_something(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, pattern: tuple[object, ...], limits: list[int]
) -> None:
    monkeypatch.setattr(streams, "PATTERN", (pattern * 4)[:4])
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(6.0)
    booked = booked_bps(meeting, viewer)
    assert [limit for rid, limit in booked if rid == "l"] == limits
    if len(limits) > 1:
        assert booked["l", limits[0]] < 0.7 * booked["l", 3]


def test_h264_without_layers_has_no_such_step(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), codec="h264")
    viewer = viewer_of(meeting, hue)
    meeting.run(0.3)
    assert [limit for _, limit in booked_bps(meeting, viewer)] == [3]
    meeting.run(6.0)
    assert [limit for _, limit in booked_bps(meeting, viewer)] == [3]


def test_a_thumbnail_waits_for_the_small_layer_instead_of_starting_the_large_one(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    stage = viewer_of(meeting, hue)
    meeting.run(UNWATCHED_S + 2.0)
    # Only what the stage shows is on.
    assert hue.layers[-1][1]["1"] == ["h"]
    assert stage.sees() == ("hue", "h")
    viewer = meeting.join("late", sources=(), thumbnails=1)
    viewer.show(hue, SlotRole.THUMBNAIL)
    meeting.run(1.0)
    shown = [meeting.origins[one.ssrc][2] for one in viewer.receiver(SlotRole.THUMBNAIL).pictures]
    assert shown
    assert set(shown) == {"l"}


def test_a_sender_of_the_large_layer_alone_is_shown_and_booked_as_such(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    hue.obeys_layers = False
    for rid in ("l", "m"):
        hue.encodings[Source.CAMERA][rid].is_active = False
    viewer = meeting.join("viewer", sources=(), thumbnails=1)
    viewer.show(hue, SlotRole.THUMBNAIL)
    meeting.run(4.0)
    assert viewer.sees(SlotRole.THUMBNAIL) == ("hue", "h")
    wish = _demand(viewer.slot(SlotRole.THUMBNAIL), hue.publication(), meeting.network.now)
    assert min(one.bitrate_bps for one in wish.options if one.temporal_limit == 3) > 1_000_000


@pytest.mark.parametrize(
    "rids", [("l", "m", "h"), ("h", "m", "l"), ("f", "h", "q"), ("q", "h", "f"), ("0", "1", "2")]
)
@pytest.mark.parametrize("is_portrait", [False, True])
def test_layers_are_ranked_by_what_arrives_of_them(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, rids: tuple[str, str, str], is_portrait: bool
) -> None:
    """Whatever a sender calls its layers, and in whichever order it offers them."""
    lowest_first = rids if rids in (("l", "m", "h"), ("q", "h", "f"), ("0", "1", "2")) else rids[::-1]
    scale = 16 / 9 if is_portrait else 1
    sizes = {
        rid: (bps, int(height * scale))
        for rid, (bps, height) in zip(
            lowest_first, ((150_000, 180), (500_000, 360), (1_700_000, 720)), strict=True
        )
    }
    monkeypatch.setattr(streams, "LAYERS", sizes)
    monkeypatch.setitem(meeting_module.RIDS, Source.CAMERA, rids)
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=(), thumbnails=1)
    viewer.show(hue)
    viewer.show(hue, SlotRole.THUMBNAIL)
    meeting.run(4.0)
    assert hue.publication().ranked_rids == lowest_first
    assert viewer.sees() == ("hue", lowest_first[2])
    assert viewer.sees(SlotRole.THUMBNAIL) == ("hue", lowest_first[0])
    # The large layer goes, and the next best is shown; comes back, and is shown again.
    hue.obeys_layers = False
    hue.encodings[Source.CAMERA][lowest_first[2]].is_active = False
    meeting.run(3.0)
    assert viewer.sees() == ("hue", lowest_first[1])
    hue.encodings[Source.CAMERA][lowest_first[2]].is_active = True
    meeting.run(2.0)
    assert viewer.sees() == ("hue", lowest_first[2])
    assert viewer.complaints() == []


def test_layers_of_one_size_are_ranked_by_their_bitrates() -> None:
    publication = Publication(leg_id="a", mid="1", source=Source.CAMERA, codec=Codec.VP8, rids=("a", "b"))
    for rid, bps in (("a", 900_000.0), ("b", 200_000.0)):
        publication.encodings[rid] = SimpleNamespace(height_px=720, rates=SimpleNamespace(usual_bps=bps))  # type: ignore[assignment]
    assert publication.ranked_rids == ("b", "a")


def test_a_large_layer_that_goes_off_and_on_costs_about_one_request_a_second(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue)
    meeting.run(3.0)
    hue.obeys_layers = False
    hue.plis.clear()
    began = meeting.network.now
    for _ in range(3):
        hue.encodings[Source.CAMERA]["h"].is_active = False
        meeting.run(5.0)
        assert viewer.sees() == ("hue", "m")
        hue.encodings[Source.CAMERA]["h"].is_active = True
        meeting.run(5.0)
        assert viewer.sees() == ("hue", "h")
    assert len(hue.plis) <= meeting.network.now - began
    assert viewer.complaints() == []


def test_a_screen_that_rests_stays_and_a_newcomer_sees_it(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CONTENT,), rate_hz=30)
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(2.0)
    content = hue.encodings[Source.CONTENT]
    hue.obeys_layers = False
    for encoding in content.values():
        encoding.is_still = True
    hue.plis.clear()
    meeting.run(20.0)
    assert viewer.slot(SlotRole.CONTENT).shown is not None
    assert len(hue.plis) <= 2
    late = meeting.join("late", sources=())
    late.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(2.0)
    assert late.sees(SlotRole.CONTENT) is not None
    assert late.complaints() == []


def test_a_slow_camera_is_not_taken_for_one_that_stalls(meeting: Meeting) -> None:
    """Two pictures a second: what is shown does not change between any two of them."""
    hue = meeting.join("hue", sources=(Source.CAMERA,), rate_hz=2)
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.bitrate_bps //= 4
    viewer = viewer_of(meeting, hue)
    meeting.run(12.0)
    hue.plis.clear()
    stalled = meeting.counters.layers_stalled
    meeting.run(20.0)
    assert meeting.counters.layers_stalled - stalled <= 2
    assert len(hue.plis) <= 3
    assert viewer.sees() == ("hue", "h")


def test_voices_alone_do_not_make_a_line_look_wide(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.MICROPHONE,))
    assert hue.voice is not None
    viewer = meeting.join("viewer", sources=(), tells_arrivals=False)
    viewer.remb_bps = 90_000
    meeting.run(40.0)
    assert viewer.hears() == {"hue"}
    assert viewer.leg.snapshot().available_bps <= 2_500_000


def test_heavy_loss_alone_leads_to_a_lower_layer(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = viewer_of(meeting, hue, tells_arrivals=False)
    meeting.run(2.0)
    # More than any line loses by nature and carries pictures all the same.
    viewer.down.loss = 0.5
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


def test_a_key_frame_does_not_price_out_those_it_was_made_for(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer_of(meeting, hue)
    meeting.run(5.0)
    publication, stream = hue.publication(), hue.encodings[Source.CAMERA]["h"]
    usual_bps = publication.price_bps("h", meeting.network.now)
    stream.bitrate_bps *= 6
    meeting.run(0.2)
    stream.bitrate_bps //= 6
    assert publication.encodings["h"].reception.bitrate_bps(meeting.network.now) > 1.5 * usual_bps
    assert publication.price_bps("h", meeting.network.now) < 1.2 * usual_bps
