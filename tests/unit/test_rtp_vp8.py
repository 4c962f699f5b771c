from fractions import Fraction

import av
import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.rtp.vp8 import parse_descriptor

DELTA_FRAME = b"\x01\x00\x00"


def encode_key_frame(width_px: int, height_px: int) -> bytes:
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width_px, height_px, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    packets = [*encoder.encode(av.VideoFrame(width_px, height_px, "yuv420p")), *encoder.encode(None)]
    return bytes(packets[0])


def test_descriptor_of_chromium_tells_all_fields() -> None:
    payload = b"\x90\xe0\x81\x23\x07\x60" + DELTA_FRAME
    descriptor = parse_descriptor(payload, 0, len(payload))
    assert descriptor.length == 6
    assert descriptor.starts_frame
    assert not descriptor.is_keyframe
    assert (descriptor.picture_id, descriptor.picture_id_offset, descriptor.picture_id_bits) == (0x123, 2, 15)
    assert (descriptor.tl0_picture_index, descriptor.tl0_offset) == (7, 4)
    assert (descriptor.temporal_id, descriptor.layer_sync) == (1, True)


def test_offsets_count_from_the_start_of_the_payload() -> None:
    payload = b"\x90\xe0\x23\x07\x40" + DELTA_FRAME
    descriptor = parse_descriptor(bytes(32) + payload, 32, 32 + len(payload))
    assert (descriptor.picture_id, descriptor.picture_id_offset, descriptor.picture_id_bits) == (0x23, 2, 7)
    assert (descriptor.tl0_offset, descriptor.length) == (3, 5)


def test_descriptor_without_extensions_is_one_byte() -> None:
    descriptor = parse_descriptor(b"\x10" + DELTA_FRAME, 0, 4)
    assert descriptor.length == 1
    assert descriptor.picture_id is None
    assert descriptor.tl0_picture_index is None
    assert (descriptor.picture_id_offset, descriptor.tl0_offset, descriptor.picture_id_bits) == (-1, -1, 0)
    assert (descriptor.temporal_id, descriptor.layer_sync) == (0, False)


def test_key_index_without_temporal_layer_leaves_the_layer_at_0() -> None:
    descriptor = parse_descriptor(b"\x90\x10\xff" + DELTA_FRAME, 0, 6)
    assert (descriptor.length, descriptor.temporal_id, descriptor.layer_sync) == (3, 0, False)


@pytest.mark.parametrize(("width_px", "height_px"), [(1280, 720), (322, 182)])
def test_size_of_an_encoded_key_frame_is_read(width_px: int, height_px: int) -> None:
    payload = b"\x90\x80\x05" + encode_key_frame(width_px, height_px)
    descriptor = parse_descriptor(payload, 0, len(payload))
    assert descriptor.is_keyframe
    assert (descriptor.width_px, descriptor.height_px) == (width_px, height_px)


def test_later_partitions_and_packets_do_not_start_a_frame() -> None:
    key_frame = encode_key_frame(320, 180)
    for first in (b"\x00", b"\x11", b"\x01"):
        descriptor = parse_descriptor(first + key_frame, 0, 1 + len(key_frame))
        assert not descriptor.starts_frame
        assert not descriptor.is_keyframe
        assert descriptor.width_px == 0


def test_size_is_unknown_without_the_start_code_or_in_a_cut_key_frame() -> None:
    for rest in (b"\x10\x00\x00" + bytes(20), b"\x10\x00\x00\x9d\x01\x2a\x00\x05"):
        descriptor = parse_descriptor(b"\x10" + rest, 0, 1 + len(rest))
        assert descriptor.is_keyframe
        assert (descriptor.width_px, descriptor.height_px) == (0, 0)


@pytest.mark.parametrize("length", range(7))
@pytest.mark.parametrize("has_bytes_behind", [True, False])
def test_payload_cut_before_its_data_is_refused(length: int, has_bytes_behind: bool) -> None:
    payload = b"\x90\xe0\x81\x23\x07\x60" + DELTA_FRAME
    data = payload if has_bytes_behind else payload[:length]
    with pytest.raises(MalformedPacket):
        parse_descriptor(data, 0, length)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=20), st.integers(0, 25), st.integers(0, 25))
def test_no_bytes_raise_anything_but_malformed_packet(data: bytes, offset: int, end: int) -> None:
    end = min(end, len(data))
    try:
        descriptor = parse_descriptor(data, offset, end)
    except MalformedPacket:
        return
    assert 0 < descriptor.length < end - offset
    assert descriptor.picture_id_offset < descriptor.length
    assert descriptor.tl0_offset < descriptor.length
    assert 0 <= descriptor.temporal_id <= 3


@settings(deadline=None)
@given(
    partition_start=st.integers(0, 1),
    partition_id=st.integers(0, 7),
    picture_id=st.none() | st.integers(0, 0x7FFF),
    tl0picidx=st.none() | st.integers(0, 255),
    tid=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 1)),
    keyidx=st.none() | st.integers(0, 31),
)
def test_descriptors_written_by_aiortc_are_read_back(
    partition_start: int,
    partition_id: int,
    picture_id: int | None,
    tl0picidx: int | None,
    tid: tuple[int, int] | None,
    keyidx: int | None,
) -> None:
    written = bytes(
        VpxPayloadDescriptor(
            partition_start=partition_start,
            partition_id=partition_id,
            picture_id=picture_id,
            tl0picidx=tl0picidx,
            tid=tid,
            keyidx=keyidx,
        )
    )
    payload = written + DELTA_FRAME
    descriptor = parse_descriptor(payload, 0, len(payload))
    assert descriptor.length == len(written)
    assert descriptor.starts_frame == (partition_start == 1 and partition_id == 0)
    assert descriptor.picture_id == picture_id
    assert descriptor.tl0_picture_index == tl0picidx
    assert (descriptor.temporal_id, descriptor.layer_sync) == (tid or (0, 0))
    if picture_id is not None:
        # What a rewriting sender relies on: the bytes at the offset are the picture id.
        size = 2 if descriptor.picture_id_bits == 15 else 1
        offset = descriptor.picture_id_offset
        mask = (1 << descriptor.picture_id_bits) - 1
        assert int.from_bytes(payload[offset : offset + size], "big") & mask == picture_id
    if tl0picidx is not None:
        assert payload[descriptor.tl0_offset] == tl0picidx
