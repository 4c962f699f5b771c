"""What an encoding makes of the packets of one stream."""

from itertools import pairwise

from bridge.base.counters import SfuCounters
from bridge.base.words import Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.publication import Publication
from bridge.media.timeline import ClockOffset
from bridge.rtp.header import ExtensionIds, RtpPacket, build_rtp, parse_rtp

NO_EXTENSIONS = ExtensionIds({})


def encoding() -> Encoding:
    publication = Publication(leg_id="a", mid="1", source=Source.CAMERA, codec=Codec.VP8, rids=())
    return Encoding(
        publication=publication,
        rid="",
        ssrc=1,
        payload_type=96,
        rtx_payload_type=97,
        codec=Codec.VP8,
        clock_rate_hz=90_000,
        clock_offset=ClockOffset(),
        make_route=lambda transports: None,
        counters=SfuCounters(),
    )


def vp8(number: int, picture_id: int) -> RtpPacket:
    """One picture in one packet, its descriptor with a picture id of seven bits (RFC 7741, 4.2)."""
    data = build_rtp(
        payload_type=96,
        sequence_number=number,
        timestamp=3000 * number,
        ssrc=1,
        marker=True,
        payload=bytes((0x90, 0x80, picture_id & 0x7F, 0x11, 0, 0)),
    )
    return parse_rtp(data, NO_EXTENSIONS)


def test_picture_ids_of_seven_bits_count_on_when_they_go_round() -> None:
    camera = encoding()
    packets = [camera.receive(vp8(number, number), number / 30) for number in range(1, 300)]
    ids = [packet.picture_id for packet in packets if packet is not None]
    assert len(ids) == 299
    assert all(after - before == 1 for before, after in pairwise(ids))
    # Written in fifteen bits, so that the fan-out can patch them.
    assert {packet.payload[2] & 0x80 for packet in packets if packet is not None} == {0x80}


def test_what_stands_before_the_data_of_a_picture_is_counted_as_it_goes_out() -> None:
    camera = encoding()
    media = camera.receive(vp8(1, 9), 0.0)
    assert media is not None
    # The picture id has become wider by a byte.
    assert media.payload[media.descriptor_bytes :] == b"\x11\x00\x00"


def test_a_late_picture_id_of_seven_bits_stays_in_its_round() -> None:
    camera = encoding()
    first = camera.receive(vp8(1, 126), 0.0)
    third = camera.receive(vp8(3, 128), 0.0)
    second = camera.receive(vp8(2, 127), 0.0)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.picture_id - first.picture_id, third.picture_id - first.picture_id) == (1, 2)


def test_key_frames_are_timed_whatever_comes_between_them() -> None:
    camera = encoding()
    assert camera.keyframe_interval_s is None
    for number in range(1, 22):
        data = build_rtp(
            payload_type=96,
            sequence_number=number,
            # Two packets to a picture, both of which begin one of the partitions of a key frame.
            timestamp=3000 * (number // 2),
            ssrc=1,
            marker=bool(number % 2),
            payload=bytes((0x10, 0x10 if number in (2, 3, 20, 21) else 0x11, 0, 0)),
        )
        camera.receive(parse_rtp(data, NO_EXTENSIONS), number * 0.5)
    assert camera.keyframe_interval_s == 9.0
