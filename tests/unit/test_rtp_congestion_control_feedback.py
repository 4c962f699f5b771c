"""Feedback on arrivals: that of RFC 8888 to values and back, and bounds on what a datagram may ask for."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.rtp.congestion_control_feedback import (
    OFFSET_UNKNOWN,
    CongestionControlFeedback,
    PacketMetric,
    StreamMetrics,
)
from bridge.rtp.rtcp import PictureLossIndication, TransportFeedback, parse_rtcp

UINT16 = st.integers(0, 0xFFFF)
UINT32 = st.integers(0, 0xFFFFFFFF)
METRICS = st.lists(
    st.none() | st.builds(PacketMetric, st.integers(0, 3), st.integers(0, OFFSET_UNKNOWN)), max_size=40
).map(tuple)
FEEDBACK = st.builds(
    CongestionControlFeedback,
    UINT32,
    st.lists(st.builds(StreamMetrics, UINT32, UINT16, METRICS), max_size=6).map(tuple),
    UINT32,
)


def test_feedback_as_the_rfc_draws_it_is_read() -> None:
    # Three packets from 65535 on: arrived a quarter second ago with CE, lost, arrived at an unknown time.
    body = struct.pack("!IIHHHHHHI", 1, 2, 65535, 3, 0xE100, 0x0000, 0x9FFF, 0, 0xAABBCCDD)
    data = struct.pack("!BBH", 0x8B, 205, len(body) // 4) + body
    metrics = (PacketMetric(3, 256), None, PacketMetric(0, OFFSET_UNKNOWN))
    expected = CongestionControlFeedback(1, (StreamMetrics(2, 65535, metrics),), 0xAABBCCDD)
    assert parse_rtcp(data) == ([expected], False)
    assert expected.pack() == data


@settings(deadline=None)
@given(FEEDBACK)
def test_feedback_is_read_as_it_was_written(feedback: CongestionControlFeedback) -> None:
    pli = PictureLossIndication(3, 4)
    assert parse_rtcp(feedback.pack() + pli.pack()) == ([feedback, pli], False)


@settings(deadline=None)
@given(FEEDBACK.filter(lambda feedback: feedback.streams), st.data())
def test_feedback_cut_off_is_malformed(feedback: CongestionControlFeedback, data: st.DataObject) -> None:
    words = len(feedback.pack()) // 4
    last = 1 + (len(feedback.streams[-1].metrics) + 1) // 2
    # Without its time stamp's word another word is taken for it, so what is missing is a block's end.
    kept = words - data.draw(st.integers(1, last))
    cut = bytearray(feedback.pack()[: 4 * kept])
    cut[2:4] = (kept - 1).to_bytes(2, "big")
    assert parse_rtcp(bytes(cut)) == ([], True)


@pytest.mark.parametrize(
    "feedback",
    [
        CongestionControlFeedback(1 << 32, (), 0),
        CongestionControlFeedback(1, (), 1 << 32),
        CongestionControlFeedback(1, (StreamMetrics(1, 1 << 16, ()),), 0),
        CongestionControlFeedback(1, (StreamMetrics(1, 0, (PacketMetric(4, 0),)),), 0),
        CongestionControlFeedback(1, (StreamMetrics(1, 0, (PacketMetric(0, 1 << 13),)),), 0),
        CongestionControlFeedback(1, (StreamMetrics(1, 0, (None,) * 16_385),), 0),
    ],
)
def test_fields_that_do_not_fit_are_refused(feedback: CongestionControlFeedback) -> None:
    with pytest.raises(ValueError, match=r"fit|too many"):
        feedback.pack()


def test_block_claiming_more_than_there_is_is_malformed() -> None:
    body = struct.pack("!IIHHI", 1, 2, 0, 0xFFFF, 0)
    data = struct.pack("!BBH", 0x8B, 205, len(body) // 4) + body
    assert parse_rtcp(data) == ([], True)


def test_nobody_reads_it_where_feedback_is_of_no_use() -> None:
    malformed = struct.pack("!BBHIII", 0x8B, 205, 3, 1, 2, 3)
    pli = PictureLossIndication(3, 4)
    assert parse_rtcp(malformed + pli.pack()) == ([], True)
    assert parse_rtcp(malformed + pli.pack(), reads_transport_feedback=False) == ([pli], False)


def test_one_compound_has_no_more_statuses_than_one_packet_may_have() -> None:
    # Runs of packets that were not received: four thousand statuses in 24 bytes, sixty times in a datagram.
    body = struct.pack("!IIHHIHH", 1, 2, 0, 4096, 0, 4096, 0)
    flood = struct.pack("!BBH", 0x8F, 205, len(body) // 4) + body
    packets, is_damaged = parse_rtcp(flood * 60)
    assert is_damaged
    assert [len(packet.statuses) for packet in packets if isinstance(packet, TransportFeedback)] == [4096]


def random_feedback(random_: random.Random) -> bytes:
    """Return one packet of either format: a right header, and anything behind it."""
    words = random_.randrange(24)
    body = random_.randbytes(4 * words)
    if random_.random() < 0.5 and words >= 3:
        # Small counts, so that not every packet fails at the first look.
        body = body[:8] + struct.pack("!HH", random_.randrange(1 << 16), random_.randrange(40)) + body[12:]
    first = random_.choice((0x8B, 0x8F, 0xAB, 0xAF))
    return struct.pack("!BBH", first, 205, words) + body


def test_random_feedback_never_raises_and_stays_small() -> None:
    random_ = random.Random(20261128)
    read = 0
    for _ in range(5_000):
        packets, _ = parse_rtcp(random_feedback(random_))
        read += len(packets)
        for packet in packets:
            if isinstance(packet, TransportFeedback):
                assert 0 <= len(packet.statuses) <= 4096
            else:
                assert isinstance(packet, CongestionControlFeedback)
                assert sum(len(stream.metrics) for stream in packet.streams) <= 48
    # Enough of them were right to have been read.
    assert read > 100
