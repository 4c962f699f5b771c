"""Later offers: m-lines that stop, start again, or become another publication."""

from collections.abc import Iterator

import pytest
from meeting import Client, Meeting, offer
from network import Network
from sdp_samples import sample
from streams import Voice

from bridge.base.words import SlotRole, Source
from bridge.rtp.header import build_rtp

CAMERA = ("video", ("vp8",), ("l", "m", "h"))
STAGE, VOICE = "13", "10"


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def changed(text: str, mid: str, direction: str) -> str:
    """Give one m-line of an offer another direction."""
    head, _, tail = text.partition(f"a=mid:{mid}\r\n")
    before, _, rest = tail.partition("only\r\n")
    assert before in ("a=send", "a=recv")
    return f"{head}a=mid:{mid}\r\na={direction}\r\n{rest}"


def block(answer: str, mid: str) -> str:
    return next(part for part in answer.split("\r\nm=") if f"a=mid:{mid}\r\n" in part + "\r\n")


def sent_to(meeting: Meeting, client: Client, seconds: float = 1.0) -> int:
    before = client.down.sent
    meeting.run(seconds)
    return client.down.sent - before


@pytest.mark.parametrize("direction", ["inactive", "sendonly"])
def test_a_slot_that_receives_no_more_is_sent_nothing_and_may_come_back(
    meeting: Meeting, direction: str
) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=(), voices=3)
    viewer.show(hue)
    meeting.run(1.0)
    assert viewer.sees() == ("hue", "h")
    whole = viewer._offer(("vp8", "h264"))
    ssrc = viewer.slot().ssrc
    stopped = viewer.leg.negotiate(changed(whole, STAGE, direction), {}, viewer.slot_roles)
    assert "a=inactive" in block(stopped, STAGE)
    assert viewer.leg.slots(SlotRole.STAGE) == []
    assert not hue.publication().watchers
    # Reports at most.
    assert sent_to(meeting, viewer) < 10
    viewer.leg.negotiate(whole, {}, viewer.slot_roles)
    slot = viewer.slot()
    assert slot.ssrc == ssrc
    assert list(viewer.leg._negotiation.slots) == list(viewer.slot_roles)
    viewer.show(hue)
    assert sent_to(meeting, viewer) > 30
    assert viewer.complaints() == []


def test_a_slot_whose_line_was_stopped_for_good_is_sent_nothing(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    head, lines = viewer._offer(("vp8", "h264")).split("m=audio", 1)
    parts = ("m=audio" + lines).split("m=video 9")
    text = head + parts[0] + "m=video 0" + parts[1] + "m=video 9".join(["", *parts[2:]])
    viewer.leg.negotiate(text, {}, {mid: role for mid, role in viewer.slot_roles.items() if mid != STAGE})
    assert sent_to(meeting, viewer) < 10


def moved(old: str, new: str) -> str:
    """An offer whose camera has gone from one m-line to another."""
    return changed(offer({old: CAMERA, new: CAMERA}, {}), old, "inactive")


def test_a_camera_may_move_to_another_line(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), voices=0, pictures=())
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    former = hue.publication()
    answer = hue.leg.negotiate(moved("1", "5"), {"5": Source.CAMERA}, {})
    assert "a=inactive" in block(answer, "1")
    assert "a=recvonly" in block(answer, "5")
    assert hue.publication() is not former
    assert hue.live == {Source.CAMERA: False}
    assert former.watchers == set()
    assert former.encodings == {}
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.stream.mid = encoding.rtx.mid = "5"
    meeting.run(0.5)
    assert hue.live == {Source.CAMERA: True}
    viewer.show(hue)
    meeting.run(1.0)
    assert viewer.sees() == ("hue", "h")
    assert viewer.complaints() == []


def test_a_publication_that_stopped_may_start_again_on_its_line(meeting: Meeting) -> None:
    hue = meeting.join("hue", voices=0, pictures=())
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    whole = hue._offer(("vp8",))
    hue.leg.negotiate(changed(whole, "0", "inactive"), hue.mids, {})
    assert hue.leg.publication(Source.MICROPHONE) is None
    meeting.run(0.2)
    assert viewer.hears() == set()
    # The camera is as it was.
    assert viewer.sees() == ("hue", "h")
    hue.leg.negotiate(whole, hue.mids, {})
    assert isinstance(hue.voice, Voice)
    meeting.run(0.5)
    assert viewer.hears() == {"hue"}
    assert viewer.complaints() == []


def test_the_dtls_role_of_the_first_answer_is_kept(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), voices=0, pictures=(), connects=False)
    text = offer({"1": CAMERA}, {})
    for first, role in (("passive", "active"), ("active", "passive"), ("actpass", "passive")):
        leg = meeting.router.create_leg(f"other-{first}", hue)
        for setup in (first, "actpass"):
            assert f"a=setup:{role}" in leg.negotiate(text.replace("actpass", setup), {}, {})
        leg.close("left")


@pytest.mark.parametrize("has_ssrcs", [True, False])
def test_identifiers_that_are_counted_anew_in_each_line_put_no_picture_in_the_place_of_sound(
    meeting: Meeting, has_ssrcs: bool
) -> None:
    device = meeting.join("device", sources=(), voices=0, pictures=(SlotRole.STAGE,), connects=False)
    head, video = sample("obs_whip").split("m=video")
    head += "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
    head += "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    text = head + "m=video" + video + "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    ssrcs = {"audio": 3388068600, "video": 3388068601}
    if not has_ssrcs:
        text = "".join(line + "\r\n" for line in text.split("\r\n") if line and "ssrc:" not in line)
        ssrcs = {"audio": 5, "video": 6}
    leg = meeting.router.create_leg("encoder", device)
    leg.negotiate(text, None, {})
    # One that names its section, which for the other section would be a level, or another section.
    for number in range(4):
        packets = {
            "audio": (111, {1: b"\x20", 2: b"0"}, b"opus"),
            "video": (96, {1: b"0" if number else b"1"}, b"\x65\x80"),
        }
        for kind, (payload_type, extensions, payload) in packets.items():
            leg.receive_rtp(
                build_rtp(
                    payload_type=payload_type,
                    sequence_number=number,
                    timestamp=number,
                    ssrc=ssrcs[kind],
                    marker=True,
                    payload=payload,
                    extensions=extensions,
                ),
                meeting.network.now,
            )
    for source, kind in ((Source.MICROPHONE, "audio"), (Source.CAMERA, "video")):
        publication = leg.publication(source)
        assert publication is not None
        assert {one.ssrc for one in publication.encodings.values()} == {ssrcs[kind]}
        assert publication.encodings[""].reception.packets_received == 4
    leg.close("left")
