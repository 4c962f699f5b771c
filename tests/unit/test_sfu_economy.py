"""What a publisher is asked for: once, by who needs it, and no more than a path or an encoder can answer."""

from collections.abc import Iterator

import pytest
from meeting import Client, Meeting
from network import Network
from streams import Piece, VideoEncoding

from bridge.base.words import SlotRole, Source
from bridge.media.bandwidth import DownlinkEstimate
from bridge.rtp import rtcp
from bridge.rtp.header import ExtensionIds, parse_rtp


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def asked(client: Client, rid: str = "h") -> list[float]:
    return [at for at, _, of in client.plis if of == rid]


def test_a_late_packet_of_the_stream_before_does_not_end_the_one_there_is(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    former = hue.encodings[Source.CAMERA]["h"]
    late = former.picture(meeting.network.now, 30.0)
    hue.start_sending(Source.CAMERA)
    meeting.run(0.5)
    present = hue.publication().encodings["h"]
    assert present.ssrc == hue.encodings[Source.CAMERA]["h"].ssrc
    hue.plis.clear()
    for data in late:
        hue.send_rtp(data)
        meeting.run(0.05)
    assert hue.publication().encodings["h"] is present
    assert meeting.dropped()["unknown-ssrc"] == len(late)
    assert hue.plis == []
    assert viewer.complaints() == []
    # An encoder that comes back to it after a while is not refused.
    meeting.run(5.5)
    hue.encodings[Source.CAMERA]["h"] = former
    former.wants_keyframe = True
    meeting.run(0.5)
    assert hue.publication().encodings["h"].ssrc == former.ssrc
    assert viewer.sees() == ("hue", "h")


def drop_once(client: Client, ssrc: int, pick: object) -> list[bytes]:
    """Lose the first packet whose piece is picked, and its retransmissions."""
    lost: list[bytes] = []
    ids = ExtensionIds({})

    def drops(data: bytes) -> bool:
        if rtcp.is_rtcp(data):
            return False
        packet = parse_rtp(data, ids)
        if packet.ssrc not in (ssrc, ssrc + 1):
            return False
        piece = Piece.of(packet.payload)
        if lost:
            return piece == Piece.of(lost[0])
        if pick(piece):  # type: ignore[operator]
            lost.append(packet.payload)
        return bool(lost)

    client.up.drop_if = drops
    return lost


@pytest.mark.parametrize("temporal_id", [0, 1, 2])
@pytest.mark.parametrize("has_many_parts", [True, False])
def test_what_only_upper_temporal_layers_lost_costs_no_key_frame(
    meeting: Meeting, temporal_id: int, has_many_parts: bool
) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    if not has_many_parts:
        viewer.leg.want(viewer.slot().mid, 180)
    meeting.run(1.5)
    rid = "h" if has_many_parts else "l"
    hue.plis.clear()
    ssrc = hue.encodings[Source.CAMERA][rid].ssrc
    lost = drop_once(hue, ssrc, lambda piece: piece.temporal_id == temporal_id and not piece.is_keyframe)
    # Longer than it is asked for again, shorter than the receiver's own patience with the base layer.
    viewer.up.drop_if = lambda data: rtcp.is_rtcp(data) and data[1] == 206
    meeting.run(2.5)
    assert lost
    assert (len(asked(hue, rid)) > 0) is (temporal_id == 0)
    if temporal_id:
        assert viewer.receiver().longest_freeze_s(meeting.network.now - 2.4, meeting.network.now) < 0.25


def test_a_loss_just_before_a_key_frame_costs_no_second_one(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.5)
    encoding = hue.encodings[Source.CAMERA]["h"]
    lost = drop_once(hue, encoding.ssrc, lambda piece: piece.temporal_id == 0)
    meeting.run(0.2)
    assert lost
    encoding.wants_keyframe = True
    meeting.run(0.1)
    hue.plis.clear()
    meeting.run(3.0)
    assert asked(hue) == []
    assert hue.nacks_received <= 4


def test_one_bad_line_does_not_tax_everybody(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewers = [meeting.join(f"v{number}", sources=()) for number in range(3)]
    for viewer in viewers:
        viewer.show(hue)
    meeting.run(2.0)
    hue.plis.clear()
    for _ in range(500):
        viewers[0].send_rtcp(rtcp.PictureLossIndication(1, viewers[0].receiver().ssrc))
        meeting.run(0.02)
    assert 5 <= len(asked(hue)) <= 11


def test_who_joins_in_a_rush_waits_for_the_next_key_frame(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), rate_hz=10)
    first = meeting.join("first", sources=())
    first.show(hue)
    meeting.run(2.0)
    hue.plis.clear()
    began = meeting.network.now
    joined: list[tuple[Client, float]] = []
    for number in range(100):
        viewer = meeting.join(f"v{number}", sources=(), voices=0, pictures=(SlotRole.STAGE,))
        viewer.show(hue)
        joined.append((viewer, meeting.network.now))
        meeting.run(0.06)
    meeting.run(2.5)
    seconds = meeting.network.now - began
    assert len(asked(hue)) <= 3 + seconds
    for viewer, at in joined:
        pictures = viewer.receiver().pictures
        assert pictures
        assert pictures[0].shown - at < 1.5


@pytest.mark.parametrize("loss", [0.0, 0.005])
def test_an_encoder_that_ignores_requests_is_asked_with_patience(meeting: Meeting, loss: float) -> None:
    """H.264 with ten seconds between key frames: repairs first, and the picture comes with the next one."""
    device = meeting.join("device", sources=(Source.CAMERA,), codec="h264", voices=0, pictures=(), rate_hz=25)
    viewer = meeting.join("viewer", sources=())
    viewer.show(device)
    meeting.run(1.0)
    encoding: VideoEncoding = device.encodings[Source.CAMERA][""]
    assert encoding.pictures > 20
    encoding.obeys = False
    device.plis.clear()
    device.up.loss = loss
    late = meeting.join("late", sources=())
    late.show(device)
    start = meeting.network.now
    meeting.run(9.5)
    # Whoever came first has its picture all the time: by retransmission, not by key frames.
    assert viewer.receiver().longest_freeze_s(start, meeting.network.now) < 0.5
    assert late.receiver().pictures == []
    asked_at = asked(device, "")
    assert 3 <= len(asked_at) <= 9.5
    encoding.starts_group = True
    meeting.run(0.5)
    assert late.receiver().pictures
    assert viewer.complaints() == []
    assert late.complaints() == []


def test_a_device_behind_a_satellite_is_asked_at_its_pace(meeting: Meeting) -> None:
    device = meeting.join("device", sources=(Source.CAMERA,), voices=0, pictures=())
    device.up.delay_s = device.down.delay_s = 0.3
    viewer = meeting.join("viewer", sources=())
    viewer.show(device)
    meeting.run(4.0)
    device.up.loss = 0.02
    meeting.run(3.0)
    nacks, lost = device.nacks_received, device.up.lost
    meeting.run(8.0)
    # Each loss once, and again what was lost again.
    assert device.nacks_received - nacks < 1.3 * (device.up.lost - lost)
    assert device.leg.rtt_ms == pytest.approx(600, abs=40)
    # What was lost twice comes later than the viewer waits; that is one loss in fifty.
    assert viewer.receiver().abandoned < 0.1 * device.up.lost


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_camera_that_was_off_is_shown_from_its_first_key_frame_on(meeting: Meeting, codec: str) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), codec=codec)
    other = meeting.join("other", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(other)
    # Until nobody has watched for so long that the page was told to send nothing.
    meeting.run(8.0)
    encodings = hue.encodings[Source.CAMERA].values()
    assert not any(encoding.is_active for encoding in encodings)
    hue.plis.clear()
    made = sum(encoding.keyframes for encoding in encodings)
    viewer.show(hue)
    meeting.network.run_until(lambda: viewer.sees() == ("hue", hue.publication().rids[-1]), within_s=1.0)
    meeting.run(2.0)
    assert hue.plis == []
    assert sum(encoding.keyframes for encoding in encodings) == made + 1
    assert viewer.complaints() == []


def test_a_layer_that_a_page_wants_again_is_shown_from_its_first_key_frame_on(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    viewer.leg.want(viewer.slot().mid, 180)
    meeting.run(8.0)
    assert not hue.encodings[Source.CAMERA]["h"].is_active
    hue.plis.clear()
    viewer.leg.want(viewer.slot().mid, 720)
    meeting.network.run_until(lambda: viewer.sees() == ("hue", "h"), within_s=1.0)
    meeting.run(2.0)
    assert asked(hue) == []
    assert viewer.complaints() == []


def test_a_layer_that_was_absent_is_given_to_no_link_that_cannot_bear_it(meeting: Meeting) -> None:
    """While it was absent, a slot may have wished for it at the price of its stand-in, a tenth."""
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    other = meeting.join("other", sources=(Source.CONTENT,))
    hue.obeys_layers = False
    viewer = meeting.join("viewer", sources=(), tells_arrivals=False)
    # Enough for one large picture, not for two.
    viewer.leg._downlink.estimate = DownlinkEstimate(ceiling_bps=2_500_000)
    viewer.show(other, SlotRole.CONTENT, source=Source.CONTENT)
    viewer.show(hue)
    meeting.run(2.0)
    assert viewer.sees() != ("hue", "h")
    for rid in ("m", "h"):
        hue.encodings[Source.CAMERA][rid].is_active = False
    slot = viewer.slot()
    meeting.network.run_until(lambda: slot.desired is not None and slot.desired[0] == "h", within_s=2.0)
    assert viewer.sees() == ("hue", "l")
    began = meeting.network.now
    hue.encodings[Source.CAMERA]["h"].is_active = True
    meeting.run(0.5)
    seen = {meeting.origins[one.ssrc][2] for one in viewer.receiver().pictures if one.shown > began}
    assert seen == {"l"}
