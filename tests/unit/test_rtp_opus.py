"""How long an Opus packet sounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import sounds

from bridge.rtp.opus import PACKET_MS_MAX, duration_ms


def test_what_an_encoder_gave_lasts_as_long_as_it_was_told() -> None:
    assert {duration_ms(packet) for packet in sounds()} == {20.0}


@pytest.mark.parametrize(
    ("config", "code", "expected_ms"),
    [
        # SILK, hybrid and CELT, in the order of RFC 6716, table 2; one frame, then two.
        (0, 0, 10.0),
        (3, 0, 60.0),
        (11, 1, 120.0),
        (12, 0, 10.0),
        (15, 2, 40.0),
        (16, 0, 2.5),
        (31, 0, 20.0),
        (31, 1, 40.0),
    ],
)
def test_durations_follow_the_table(config: int, code: int, expected_ms: float) -> None:
    assert duration_ms(bytes((config << 3 | code, 0))) == expected_ms


def test_frames_that_are_counted_in_the_packet_are_counted() -> None:
    assert duration_ms(bytes((31 << 3 | 3, 0x80 | 6))) == 120.0
    # More than a packet may hold, and no count at all.
    assert duration_ms(bytes((31 << 3 | 3, 7))) == 0.0
    assert duration_ms(bytes((31 << 3 | 3,))) == 0.0


@given(st.binary(max_size=4))
def test_bytes_of_any_kind_last_no_longer_than_a_packet_may(payload: bytes) -> None:
    assert 0.0 <= duration_ms(payload) <= PACKET_MS_MAX
