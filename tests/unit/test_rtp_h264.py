from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.rtp import h264
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


def exp_golomb(code: int) -> str:
    bits = f"{code + 1:b}"
    return "0" * (len(bits) - 1) + bits


def signed_code(value: int) -> int:
    return 2 * value - 1 if value > 0 else -2 * value


def scaling_list(scales: list[int], size: int) -> str:
    """Code the steps between scales, modulo 256 (ITU-T H.264, 7.3.2.1.1.1)."""
    bits = ""
    last = 8
    for scale in scales if len(scales) == size else [*scales, 0]:
        bits += exp_golomb(signed_code((scale - last + 128) % 256 - 128))
        last = scale
    return bits


def prevent_emulation(rbsp: bytes) -> bytes:
    """Put a 3 between two zero bytes and a byte of at most 3 (ITU-T H.264, 7.4.1)."""
    unit = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            unit.append(3)
            zeros = 0
        unit.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(unit)


SPS = encode_sps(640, 360)


@pytest.mark.parametrize("profile", ["baseline", "main", "high", "high422", "high444"])
@pytest.mark.parametrize(("width_px", "height_px"), [(1280, 720), (1920, 1080), (322, 182)])
def test_size_is_read_from_the_sps_of_every_profile(profile: str, width_px: int, height_px: int) -> None:
    found = inspect(encode_sps(width_px, height_px, profile))
    assert found == H264Payload(True, True, width_px, height_px)


def test_size_of_interlaced_pictures_is_read() -> None:
    sps = encode_sps(720, 576, "high", **{"x264-params": "interlaced=1"})
    assert inspect(sps) == H264Payload(True, True, 720, 576)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from((1, 3)), st.data())
def test_size_behind_scaling_lists_is_read(chroma_format: int, data: st.DataObject) -> None:
    bits = exp_golomb(0) + exp_golomb(chroma_format) + "0" * (chroma_format == 3)
    # 8 bits a sample, no transform bypass, scaling lists.
    bits += exp_golomb(0) + exp_golomb(0) + "01"
    for index in range(12 if chroma_format == 3 else 8):
        size = 16 if index < 6 else 64
        # A scale of 0 ends a list early: the last scale holds for the rest of it.
        scales = data.draw(st.none() | st.binary(max_size=size))
        bits += "0" if scales is None else "1" + scaling_list([scale or 1 for scale in scales], size)
    # Frame numbers of 4 bits, order count type 2, one reference frame, no gaps, then as below.
    bits += exp_golomb(0) + exp_golomb(2) + exp_golomb(1) + "0" + exp_golomb(39) + exp_golomb(22) + "11001"
    bits += "0" * (-len(bits) % 8)
    rbsp = b"\xf4\x00\x1f" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert inspect(b"\x67" + prevent_emulation(rbsp)) == H264Payload(True, True, 640, 368)


@settings(deadline=None)
@given(
    st.integers(1, 512),
    st.integers(1, 512),
    st.integers(-(1 << 31) + 1, (1 << 31) - 1),
    st.lists(st.integers(-40, 40), max_size=4),
)
def test_size_is_read_behind_long_codes_with_emulation_prevention(
    width: int, height: int, offset: int, cycle: list[int]
) -> None:
    codes = [0, 0, 1, signed_code(offset), signed_code(0), len(cycle), *map(signed_code, cycle)]
    # After pic_order_cnt_type 1 comes a flag, the only field in between that is not a code.
    bits = "".join(map(exp_golomb, codes[:3])) + "0" + "".join(map(exp_golomb, codes[3:]))
    # One reference frame, no gaps, the size in macroblocks, frames only, no cropping, no VUI, stop.
    bits += exp_golomb(1) + "0" + exp_golomb(width - 1) + exp_golomb(height - 1) + "11001"
    bits += "0" * (-len(bits) % 8)
    rbsp = b"\x42\x00\x00" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert inspect(b"\x67" + prevent_emulation(rbsp)) == H264Payload(True, True, 16 * width, 16 * height)


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


def test_an_sps_of_zeros_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    bits = h264._BitReader.bits

    def count(reader: h264._BitReader, number: int) -> int:
        nonlocal looked_at
        looked_at += 1
        return bits(reader, number)

    monkeypatch.setattr(h264._BitReader, "bits", count)
    assert inspect(b"\x67" + bytes(1100)) == H264Payload(True, True, 0, 0)
    assert looked_at < 40


def test_an_sps_of_endless_order_counts_is_not_read_to_its_end() -> None:
    # Baseline, frame numbers of 4 bits, order count type 1, and a cycle of as many frames as can be written.
    bits = exp_golomb(0) + exp_golomb(0) + exp_golomb(1) + "0" + exp_golomb(0) * 2 + exp_golomb(1 << 20)
    bits += "1" * (4000 - len(bits))
    sps = b"\x67\x42\x00\x1f" + int(bits, 2).to_bytes(500, "big")
    reads = 0
    original = h264._BitReader.bits

    def counted(reader: h264._BitReader, count: int) -> int:
        nonlocal reads
        reads += 1
        return original(reader, count)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(h264._BitReader, "bits", counted)
        assert inspect(sps) == H264Payload(True, True, 0, 0)
    assert reads < 200


def test_an_aggregation_of_more_units_than_any_picture_has_is_refused() -> None:
    assert inspect(aggregate(*[PPS] * 60)).starts_frame
    with pytest.raises(MalformedPacket):
        inspect(aggregate(*[PPS] * 65))
