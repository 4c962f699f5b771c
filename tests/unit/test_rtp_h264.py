from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import MalformedPacket
from bridge.rtp.h264 import H264Payload, inspect

START_CODE = b"\x00\x00\x00\x01"
PPS = b"\x68\xce\x38\x80"
DELTA_SLICE = b"\x61\x9a\x00"
IDR_SLICE = b"\x65\x88\x80"


def encode_sps(width_px: int, height_px: int, profile: str = "baseline", **options: str) -> bytes:
    """Return the SPS that libx264 writes for a picture of that size."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.options = {"profile": profile, **options}
    pixel_format = {"high422": "yuv422p", "high444": "yuv444p"}.get(profile, "yuv420p")
    encoder.width, encoder.height, encoder.pix_fmt = width_px, height_px, pixel_format
    encoder.time_base = Fraction(1, 30)
    frame = av.VideoFrame(width_px, height_px, pixel_format)
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    units = stream.replace(START_CODE, START_CODE[1:]).split(START_CODE[1:])
    return next(unit for unit in units if unit and unit[0] & 0x1F == 7)


def aggregate(*units: bytes) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


SPS = encode_sps(640, 360)


@pytest.mark.parametrize("profile", ["baseline", "main", "high", "high422", "high444"])
@pytest.mark.parametrize(("width_px", "height_px"), [(1280, 720), (1920, 1080), (322, 182)])
def test_size_is_read_from_the_sps_of_every_profile(profile: str, width_px: int, height_px: int) -> None:
    found = inspect(encode_sps(width_px, height_px, profile))
    assert found == H264Payload(True, True, width_px, height_px)


def test_size_of_interlaced_pictures_and_behind_scaling_lists_is_read() -> None:
    sps = encode_sps(720, 576, "high", **{"x264-params": "interlaced=1:cqm=jvt"})
    assert inspect(sps) == H264Payload(True, True, 720, 576)


def test_aggregation_with_parameter_sets_is_a_key_frame() -> None:
    assert inspect(aggregate(SPS, PPS)) == H264Payload(True, True, 640, 360)
    assert inspect(aggregate(PPS, IDR_SLICE)) == H264Payload(True, True, 0, 0)
    assert inspect(aggregate(DELTA_SLICE, DELTA_SLICE)) == H264Payload(True, False, 0, 0)


def test_first_fragment_of_an_idr_slice_is_a_key_frame_and_later_ones_are_not() -> None:
    assert inspect(b"\x7c\x85\x88\x80") == H264Payload(True, True, 0, 0)
    assert inspect(b"\x7c\x05\x88\x80") == H264Payload(False, False, 0, 0)
    assert inspect(b"\x7c\x45\x88\x80") == H264Payload(False, False, 0, 0)


def test_first_fragment_of_another_slice_is_no_key_frame() -> None:
    assert inspect(b"\x7c\x81\x9a\x00") == H264Payload(True, False, 0, 0)


def test_slice_that_does_not_begin_with_macroblock_0_does_not_start_a_frame() -> None:
    assert not inspect(b"\x61\x40\x00").starts_frame
    assert inspect(DELTA_SLICE).starts_frame


def test_single_units_are_judged_by_their_type() -> None:
    assert inspect(IDR_SLICE) == H264Payload(True, True, 0, 0)
    assert inspect(PPS) == H264Payload(True, False, 0, 0)
    assert inspect(b"\x0c\xff") == H264Payload(False, False, 0, 0)


def test_sps_that_cannot_be_read_has_no_size() -> None:
    assert inspect(SPS[:5]) == H264Payload(True, True, 0, 0)
    assert inspect(b"\x67" + bytes(40)) == H264Payload(True, True, 0, 0)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x7c\x85", b"\x78\x00", b"\x78\x00\x00", b"\x78\x00\x05\x65", aggregate(SPS, PPS)[:-1]],
)
def test_payload_that_is_cut_off_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        inspect(payload)


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=60)
    | st.builds(
        lambda start, rest: start + rest, st.sampled_from((b"\x67", b"\x67\x64", SPS[:8])), st.binary()
    )
    | st.lists(st.binary(max_size=20), max_size=4).map(lambda units: aggregate(*units))
)
def test_no_bytes_raise_anything_but_malformed_packet(payload: bytes) -> None:
    try:
        found = inspect(payload)
    except MalformedPacket:
        return
    assert (found.width_px == 0) == (found.height_px == 0)
    assert found.is_keyframe or not found.width_px
