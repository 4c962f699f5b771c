"""What an encoding makes of the packets of one stream."""

from itertools import pairwise

import pytest

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.words import Source
from bridge.leg.encoding import (
    PICTURE_BURST_S,
    PICTURE_BYTES_PER_S,
    PICTURE_PACKET_BYTES_MIN,
    Codec,
    Encoding,
)
from bridge.leg.publication import Publication
from bridge.media.timeline import ClockOffset
from bridge.rtp.header import ExtensionIds, RtpPacket, build_rtp, parse_rtp

NO_EXTENSIONS = ExtensionIds({})


def encoding(feedback: frozenset[str] = frozenset()) -> Encoding:
    publication = Publication(leg_id="a", mid="1", source=Source.CAMERA, codec=Codec.VP8, rids=())
    return Encoding(
        publication=publication,
        rid="",
        ssrc=1,
        payload_type=96,
        rtx_payload_type=97,
        feedback=feedback,
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


def camera_packet(number: int, payload_bytes: int, *, repeats: int | None = None) -> RtpPacket:
    """A part of a picture, or its retransmission (RFC 4588) under a number of another stream."""
    payload = b"\x00".ljust(payload_bytes, b"\x5a")
    data = build_rtp(
        payload_type=96 if repeats is None else 97,
        sequence_number=number & 0xFFFF,
        timestamp=number,
        ssrc=1 if repeats is None else 2,
        marker=False,
        payload=payload if repeats is None else (repeats & 0xFFFF).to_bytes(2, "big") + payload,
    )
    return parse_rtp(data, NO_EXTENSIONS)


def test_a_camera_of_4k_with_large_key_frames_is_passed_on_whole() -> None:
    camera = encoding()
    number = 0
    # 20 Mbit/s, most of it in one key frame of 4,000 packets every three seconds, at the speed of the line.
    for second in range(0, 30, 3):
        for at in (*[0.0] * 4000, *(step / 1000 for step in range(2000))):
            number += 1
            assert camera.receive(camera_packet(number, 1180), second + at) is not None


@pytest.mark.parametrize("payload_bytes", [20, 1180])
def test_more_pictures_than_there_can_be_go_to_nobody(payload_bytes: int) -> None:
    camera = encoding()
    counters = camera._counters
    passed = 0
    for number in range(1, 60_001):
        passed += camera.receive(camera_packet(number, payload_bytes), number / 10_000) is not None
    most = (6 + PICTURE_BURST_S) * PICTURE_BYTES_PER_S / PICTURE_PACKET_BYTES_MIN
    assert 0.98 * most < passed <= most + 1
    assert counters.dropped[DropReason.RATE_LIMITED] == 60_000 - passed
    # Whoever decodes it sees that something is missing; nobody asks the sender for it.
    assert camera.losses.missing_count == 0
    assert camera.receive(camera_packet(60_001, payload_bytes), 8.0) is not None


def test_what_is_sent_again_counts_as_well() -> None:
    camera = encoding(feedback=frozenset({"nack"}))
    missed = range(20, 6001, 20)
    for number in range(1, 6002):
        if number not in missed:
            camera.receive(camera_packet(number, 1180), 0.0)
    dropped = camera._counters.dropped
    assert dropped[DropReason.RATE_LIMITED] > 300
    first, second = (camera_packet(at, 1180, repeats=missed[-at]) for at in (1, 2))
    assert camera.receive_retransmission(first, 0.0) is None
    assert camera.receive_retransmission(second, 1.0) is not None
    # They were waited for.
    assert dropped[DropReason.DUPLICATE] == 0
