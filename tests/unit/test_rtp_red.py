"""RFC 2198: redundant audio, read and written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.rtp.red import (
    BLOCK_BYTES_MAX,
    BLOCKS_MAX,
    OFFSET_TICKS_MAX,
    RedundantAudio,
    RedundantBlock,
    build_red,
    parse_red,
)

payload_types = st.integers(0, 127)
blocks = st.builds(
    RedundantBlock,
    payload_types,
    st.integers(0, OFFSET_TICKS_MAX),
    st.binary(max_size=40) | st.just(bytes(BLOCK_BYTES_MAX)),
)


def test_the_layout_is_that_of_the_standard() -> None:
    audio = RedundantAudio(
        111, b"new", [RedundantBlock(111, 1920, b"oldest"), RedundantBlock(111, 960, b"o")]
    )
    payload = bytes.fromhex("EF1E0006 EF0F0001 6F") + b"oldest" + b"o" + b"new"
    assert build_red(audio) == payload
    assert parse_red(payload) == audio


def test_a_primary_alone_has_a_header_of_one_byte() -> None:
    assert parse_red(b"\x6fopus") == RedundantAudio(111, b"opus", [])
    assert build_red(RedundantAudio(111, b"opus", ())) == b"\x6fopus"


@given(payload_types, st.binary(max_size=60), st.lists(blocks, max_size=BLOCKS_MAX - 1))
def test_what_is_written_is_read_again(payload_type: int, data: bytes, former: list[RedundantBlock]) -> None:
    audio = RedundantAudio(payload_type, data, former)
    assert parse_red(build_red(audio)) == audio


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xef\x00\x00\x01\x6f")
@example(b"\xff" * 1200)
def test_arbitrary_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        audio = parse_red(payload)
    except MalformedPacket:
        return
    assert build_red(audio) == payload


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xef\x0f\x00", id="header-cut-off"),
        pytest.param(b"\xef\x0f\x00\x05", id="no-primary-header"),
        pytest.param(b"\xef\x0f\x00\x05\x6f1234", id="block-cut-off"),
        pytest.param(b"\xef\x0f\x00\x00" * BLOCKS_MAX + b"\x6f", id="too-many-blocks"),
    ],
)
def test_malformed_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_red(payload)


@pytest.mark.parametrize(
    "audio",
    [
        pytest.param(RedundantAudio(128, b"", ()), id="payload-type"),
        pytest.param(RedundantAudio(111, b"", [RedundantBlock(128, 0, b"")]), id="type-of-block"),
        pytest.param(RedundantAudio(111, b"", [RedundantBlock(111, 1 << 14, b"")]), id="offset"),
        pytest.param(RedundantAudio(111, b"", [RedundantBlock(111, 0, bytes(1024))]), id="length"),
        pytest.param(RedundantAudio(111, b"", [RedundantBlock(111, 0, b"")] * BLOCKS_MAX), id="blocks"),
    ],
)
def test_what_does_not_fit_is_not_written(audio: RedundantAudio) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        build_red(audio)
