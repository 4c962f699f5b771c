from typing import Any

import pytest
from aiortc.rtp import RtpPacket as AiortcPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.rtp.header import EXTENSION_URIS, Extension, ExtensionIds, RtpPacket, build_rtp, parse_rtp

IDS = ExtensionIds(
    {
        4: Extension.MID,
        10: Extension.RID,
        11: Extension.REPAIRED_RID,
        14: Extension.AUDIO_LEVEL,
        3: Extension.TRANSPORT_SEQUENCE_NUMBER,
        2: Extension.ABS_SEND_TIME,
    }
)
UINT32 = st.integers(0, 0xFFFFFFFF)


def build(**fields: Any) -> bytes:
    defaults: dict[str, Any] = {
        "payload_type": 96,
        "sequence_number": 1,
        "timestamp": 2,
        "ssrc": 3,
        "marker": False,
        "payload": b"payload",
    }
    return build_rtp(**{**defaults, **fields})


def parse_with_block(form: int, elements: bytes) -> RtpPacket:
    elements += bytes(-len(elements) % 4)
    block = form.to_bytes(2, "big") + (len(elements) // 4).to_bytes(2, "big") + elements
    plain = build(payload=b"")
    return parse_rtp(bytes((plain[0] | 0x10,)) + plain[1:] + block + b"payload", IDS)


def test_all_extensions_of_a_packet_are_read() -> None:
    elements = {4: b"1", 10: b"h", 11: b"q", 14: b"\xaa", 3: b"\x12\x34", 2: b"\x01\x02\x03", 5: b"?"}
    packet = parse_rtp(build(marker=True, extensions=elements), IDS)
    assert (packet.mid, packet.rid, packet.repaired_rid) == ("1", "h", "q")
    assert packet.audio_level == 0x2A
    assert packet.transport_sequence_number == 0x1234
    assert packet.abs_send_time == 0x010203
    assert packet.marker
    assert packet.payload == b"payload"


@pytest.mark.parametrize("form", [0xBEDE, 0x1000])
@pytest.mark.parametrize("is_voice", [False, True])
@pytest.mark.parametrize("level", [0, 62, 127])
def test_the_voice_bit_is_read_beside_the_level(form: int, is_voice: bool, level: int) -> None:
    value = is_voice << 7 | level
    element = bytes((14 << 4, value)) if form == 0xBEDE else bytes((14, 1, value))
    packet = parse_with_block(form, element)
    assert (packet.audio_level, packet.is_voice) == (level, is_voice)


def test_long_elements_use_the_two_byte_form() -> None:
    data = build(extensions={4: b"a-mid-of-more-than-16-bytes", 200: b"", 3: b"\x00\x07"})
    packet = parse_rtp(data, IDS)
    assert data[12:14] == b"\x10\x00"
    assert packet.mid == "a-mid-of-more-than-16-bytes"
    assert packet.transport_sequence_number == 7


def test_application_bits_of_the_two_byte_form_are_ignored() -> None:
    assert parse_with_block(0x100F, b"\x04\x011").mid == "1"


def test_unknown_extension_form_is_skipped() -> None:
    packet = parse_with_block(0x4242, b"\x40\x31\x00\x00")
    assert packet.mid is None
    assert packet.payload == b"payload"


@pytest.mark.parametrize("stop", [b"\xf0\x00", b"\x01\x00\x00"], ids=["id 15", "id 0 with a length"])
def test_elements_behind_a_stop_are_not_read(stop: bytes) -> None:
    packet = parse_with_block(0xBEDE, b"\x40\x31" + stop + b"\xa0h")
    assert (packet.mid, packet.rid) == ("1", None)


def test_padding_between_elements_is_skipped() -> None:
    for form, elements in ((0xBEDE, b"\x00\x00\x40\x31"), (0x1000, b"\x00\x04\x01\x31")):
        assert parse_with_block(form, elements).mid == "1"


def test_element_of_the_wrong_length_is_skipped() -> None:
    packet = parse_with_block(0xBEDE, b"\x30\x01\xe1\x00\x00\x20\x01\x40\x31")
    assert packet.transport_sequence_number is None
    assert packet.audio_level is None
    assert packet.abs_send_time is None
    assert packet.mid == "1"


def test_padding_is_not_part_of_the_payload() -> None:
    packet = parse_rtp(build(payload=b"abc", padding_bytes=5), IDS)
    assert packet.payload == b"abc"
    only_padding = parse_rtp(build(payload=b"", padding_bytes=255), IDS)
    assert only_padding.payload_offset == only_padding.payload_end


@pytest.mark.parametrize(
    "data",
    [
        b"",
        build()[:11],
        b"\x40" + build()[1:],
        b"\x8f" + build(payload=b"")[1:],
        b"\x90" + build(payload=b"")[1:],
        b"\x90" + build(payload=b"\xbe\xde\x00\x02abcd")[1:],
        b"\x90" + build(payload=b"\xbe\xde\x00\x01\x00\x00\x42a")[1:],
        b"\x90" + build(payload=b"\x10\x00\x00\x01\x00\x00\x00\x04")[1:],
        b"\x90" + build(payload=b"\xbe\xde\x00\x01\x40\xff\x00\x00")[1:],
        b"\xa0" + build(payload=b"\x00")[1:],
        b"\xa0" + build(payload=b"\x02")[1:],
        b"\xa0" + build(payload=b"")[1:],
    ],
    ids=[
        "empty",
        "short header",
        "version 1",
        "CSRCs cut off",
        "no extension header",
        "extension cut off",
        "one-byte element cut off",
        "two-byte element cut off",
        "mid not ASCII",
        "no padding bytes",
        "more padding than packet",
        "padding flag without payload",
    ],
)
def test_malformed_packet_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_rtp(data, IDS)


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=80)
    | st.builds(
        lambda first, rest, form, tail: bytes((first,)) + rest + form + tail,
        st.integers(0x80, 0xBF),
        st.binary(min_size=11, max_size=11),
        st.sampled_from((b"\xbe\xde\x00\x03", b"\x10\x00\x00\x03", b"\xbe\xde\x00\x00")),
        st.binary(max_size=24),
    )
)
def test_no_bytes_raise_anything_but_malformed_packet(data: bytes) -> None:
    try:
        packet = parse_rtp(data, IDS)
    except MalformedPacket:
        return
    assert 12 <= packet.payload_offset <= packet.payload_end <= len(data)


@settings(deadline=None)
@given(
    payload_type=st.integers(0, 127),
    sequence_number=st.integers(0, 0xFFFF),
    timestamp=UINT32,
    ssrc=UINT32,
    marker=st.booleans(),
    payload=st.binary(max_size=50),
    csrcs=st.lists(UINT32, max_size=15),
    padding_bytes=st.integers(0, 255),
    mid=st.none() | st.text("abc019", min_size=1, max_size=20),
    transport_sequence_number=st.none() | st.integers(0, 0xFFFF),
)
def test_built_packets_parse_to_what_they_were_built_from(
    mid: str | None, transport_sequence_number: int | None, **fields: Any
) -> None:
    extensions = {}
    if mid is not None:
        extensions[4] = mid.encode()
    if transport_sequence_number is not None:
        extensions[3] = transport_sequence_number.to_bytes(2, "big")
    packet = parse_rtp(build_rtp(**fields, extensions=extensions), IDS)
    for name in ("payload_type", "sequence_number", "timestamp", "ssrc", "marker", "payload"):
        assert getattr(packet, name) == fields[name]
    assert packet.mid == mid
    assert packet.transport_sequence_number == transport_sequence_number


def test_aiortc_reads_built_packets_alike() -> None:
    data = build(marker=True, csrcs=(7, 8), extensions={4: b"1", 3: b"\x00\x01"}, padding_bytes=4)
    theirs, ours = AiortcPacket.parse(data), parse_rtp(data, IDS)
    assert theirs.payload == ours.payload
    assert theirs.csrc == [7, 8]
    assert (theirs.ssrc, theirs.marker) == (ours.ssrc, 1)


def test_numbers_that_count_on_are_wrapped_when_built() -> None:
    packet = parse_rtp(build(sequence_number=0x10005, timestamp=0x1_0000_0006), IDS)
    assert (packet.sequence_number, packet.timestamp) == (5, 6)


@pytest.mark.parametrize(
    "fields",
    [
        {"payload_type": 128},
        {"ssrc": 1 << 32},
        {"padding_bytes": 256},
        {"csrcs": (0,) * 16},
        {"csrcs": (-1,)},
        {"extensions": {0: b"a"}},
        {"extensions": {1: bytes(256)}},
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fit"):
        build(**fields)


def test_ids_that_cannot_be_in_a_packet_count_as_not_negotiated() -> None:
    ids = ExtensionIds({4097: Extension.MID, 0: Extension.RID, 1: Extension.AUDIO_LEVEL})
    assert {number: one for number, one in enumerate(ids.by_id) if one is not None} == {
        1: Extension.AUDIO_LEVEL
    }


def test_every_extension_has_a_uri() -> None:
    assert set(EXTENSION_URIS.values()) == set(Extension)
