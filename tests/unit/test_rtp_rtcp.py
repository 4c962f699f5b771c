import struct

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.rtp.rtcp import (
    CNAME,
    TRANSPORT_FEEDBACK_STATUSES_MAX,
    FullIntraRequest,
    Goodbye,
    Nack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    SourceDescriptionChunk,
    TransportFeedback,
    is_rtcp,
    parse_rtcp,
)

UINT8 = st.integers(0, 0xFF)
UINT16 = st.integers(0, 0xFFFF)
UINT32 = st.integers(0, 0xFFFFFFFF)
SHORT_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
REPORT_BLOCKS = st.lists(
    st.builds(ReportBlock, UINT32, UINT8, st.integers(-0x800000, 0x7FFFFF), UINT32, UINT32, UINT32, UINT32),
    max_size=31,
).map(tuple)


@st.composite
def ascending_nacks(draw: st.DrawFn) -> Nack:
    steps = draw(st.lists(st.integers(1, 40), max_size=60))
    numbers = [draw(UINT16)]
    for step in steps:
        numbers.append((numbers[-1] + step) & 0xFFFF)
    return Nack(draw(UINT32), draw(UINT32), tuple(numbers))


@st.composite
def transport_feedbacks(draw: st.DrawFn) -> TransportFeedback:
    base = draw(UINT16)
    ticks = st.none() | st.integers(0, 255) | st.integers(-0x8000, 0x7FFF)
    # Runs as well as mixtures, so that all kinds of status chunks are written.
    runs = draw(st.lists(st.tuples(ticks, st.integers(1, 30)), min_size=1, max_size=20))
    deltas = [delta for delta, length in runs for _ in range(length)]
    statuses = tuple(
        ((base + position) & 0xFFFF, None if delta is None else 250 * delta)
        for position, delta in enumerate(deltas)
    )
    reference_time = draw(st.integers(-0x800000, 0x7FFFFF))
    return TransportFeedback(draw(UINT32), draw(UINT32), base, reference_time, draw(UINT8), statuses)


RTCP_PACKETS: st.SearchStrategy[RtcpPacket] = st.one_of(
    st.builds(SenderReport, UINT32, st.integers(0, (1 << 64) - 1), UINT32, UINT32, UINT32, REPORT_BLOCKS),
    st.builds(ReceiverReport, UINT32, REPORT_BLOCKS),
    st.builds(
        SourceDescription,
        st.lists(
            st.builds(
                SourceDescriptionChunk,
                UINT32,
                st.lists(st.tuples(st.integers(1, 255), SHORT_TEXT), max_size=4).map(tuple),
            ),
            max_size=31,
        ).map(tuple),
    ),
    st.builds(Goodbye, st.lists(UINT32, max_size=31).map(tuple), SHORT_TEXT),
    ascending_nacks(),
    st.builds(PictureLossIndication, UINT32, UINT32),
    st.builds(FullIntraRequest, UINT32, st.lists(st.tuples(UINT32, UINT8), max_size=20).map(tuple)),
    st.builds(
        ReceiverEstimatedMaximumBitrate,
        UINT32,
        st.builds(
            lambda mantissa, exponent: mantissa << exponent, st.integers(0, 0x3FFFF), st.integers(0, 63)
        ),
        st.lists(UINT32, max_size=255).map(tuple),
    ),
    transport_feedbacks(),
)


def parse_one(data: bytes) -> RtcpPacket:
    packets, is_damaged = parse_rtcp(data)
    assert not is_damaged
    assert len(packets) == 1
    return packets[0]


@settings(deadline=None, max_examples=300)
@given(st.lists(RTCP_PACKETS, min_size=1, max_size=5))
def test_compound_parses_to_what_it_was_packed_from(packets: list[RtcpPacket]) -> None:
    data = b"".join(packet.pack() for packet in packets)
    assert len(data) % 4 == 0
    assert is_rtcp(data)
    assert parse_rtcp(data) == (packets, False)


@settings(deadline=None, max_examples=300)
@given(st.lists(RTCP_PACKETS, min_size=1, max_size=3), st.data())
def test_damaged_compound_never_raises(packets: list[RtcpPacket], data: st.DataObject) -> None:
    compound = bytearray(b"".join(packet.pack() for packet in packets))
    for _ in range(data.draw(st.integers(1, 4))):
        compound[data.draw(st.integers(0, len(compound) - 1))] = data.draw(UINT8)
    size = data.draw(st.integers(0, len(compound)))
    parsed, _ = parse_rtcp(bytes(compound[:size]))
    assert len(parsed) <= size // 4


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=60)
    | st.builds(
        lambda first, kind, body: bytes((first, kind, 0, len(body) // 4)) + body[: len(body) // 4 * 4],
        st.integers(0x80, 0xBF),
        st.integers(200, 207),
        st.binary(max_size=60),
    )
)
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    parse_rtcp(data)


def test_packets_before_a_malformed_one_are_kept() -> None:
    pli = PictureLossIndication(1, 2)
    assert parse_rtcp(pli.pack() + b"\x81\xc8\x00\x01abcd" + pli.pack()) == ([pli], True)
    assert parse_rtcp(pli.pack() + b"\x80\xc9") == ([pli], True)
    assert parse_rtcp(b"") == ([], True)


def test_unknown_types_and_formats_inside_a_compound_are_skipped() -> None:
    pli = PictureLossIndication(1, 2)
    extended_report = b"\x80\xcf\x00\x01abcd"
    unknown_feedback = b"\x9e\xcd\x00\x02abcdefgh"
    unknown_application_feedback = b"\x8f\xce\x00\x03abcdefghGOOG"
    compound = extended_report + unknown_feedback + unknown_application_feedback + pli.pack()
    assert parse_rtcp(compound) == ([pli], False)


def test_padding_is_honoured() -> None:
    # As Chromium pads transport-wide feedback; aiortc loses the whole compound over it.
    nack = Nack(1, 2, (5,))
    plain = nack.pack()
    padded = bytes((plain[0] | 0x20,)) + plain[1:3] + b"\x04" + plain[4:] + b"\x00\x00\x00\x04"
    assert parse_one(padded) == nack
    assert parse_rtcp(padded[:-1] + b"\x00") == ([], True)
    assert parse_rtcp(padded[:-1] + b"\x15") == ([], True)


def test_only_packet_types_of_rtcp_are_taken_for_it() -> None:
    assert is_rtcp(b"\x80\xc8")
    assert is_rtcp(b"\x80\xce")
    # Payload type 96, with and without the marker; STUN; nothing.
    assert not is_rtcp(b"\x80\x60")
    assert not is_rtcp(b"\x80\xe0")
    assert not is_rtcp(b"\x00\xc8")
    assert not is_rtcp(b"\x80")


def test_nack_compresses_numbers_into_items_across_the_wrap() -> None:
    nack = Nack(1, 2, (65530, 65535, 0, 10, 27))
    # 65530..10 lie within 16 of the first; 27 needs an item of its own.
    assert len(nack.pack()) == 12 + 2 * 4
    assert parse_one(nack.pack()) == nack


def test_nack_mentions_repeated_numbers_once() -> None:
    assert parse_one(Nack(1, 2, (7, 7, 8, 8)).pack()) == Nack(1, 2, (7, 8))


def test_remb_rounds_the_bitrate_down() -> None:
    packet = parse_one(ReceiverEstimatedMaximumBitrate(1, 0xFFFFFFF, (2,)).pack())
    assert packet == ReceiverEstimatedMaximumBitrate(1, 0xFFFFC00, (2,))


def test_cname_is_found_among_the_items() -> None:
    assert SourceDescriptionChunk(1, ((2, "name"), (CNAME, "cname"))).cname == "cname"
    assert SourceDescriptionChunk(1, ()).cname is None


def test_text_that_is_not_utf8_does_not_cost_the_compound() -> None:
    packet = parse_one(b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x01\xff\x00")
    assert packet == SourceDescription((SourceDescriptionChunk(1, ((CNAME, "\N{REPLACEMENT CHARACTER}"),)),))


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x09ab",
        b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x02ab",
        b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x01a\x01",
        b"\x81\xcb\x00\x02\x00\x00\x00\x01\x09abc",
    ],
    ids=["item cut off", "chunk without end", "item without length", "reason cut off"],
)
def test_cut_off_text_is_malformed(data: bytes) -> None:
    assert parse_rtcp(data) == ([], True)


def test_transport_feedback_of_the_draft_is_read() -> None:
    # A run of two packets with small deltas, then a vector of one bit for each: received, missing.
    data = (
        b"\xaf\xcd\x00\x06\x00\x00\x00\x01\x00\x00\x00\x02"
        b"\x00\x0a\x00\x04\x00\x00\x03\x07"
        b"\x20\x02\xa0\x00\x04\x08\x0c\x01"
    )
    expected = ((10, 1000), (11, 2000), (12, 3000), (13, None))
    assert parse_one(data) == TransportFeedback(1, 2, 10, 3, 7, expected)


def test_transport_feedback_claiming_too_many_packets_is_malformed() -> None:
    statuses = tuple((number, None) for number in range(TRANSPORT_FEEDBACK_STATUSES_MAX))
    data = bytearray(TransportFeedback(1, 2, 0, 0, 0, statuses).pack())
    assert not parse_rtcp(bytes(data))[1]
    data[14:16] = (TRANSPORT_FEEDBACK_STATUSES_MAX + 1).to_bytes(2, "big")
    assert parse_rtcp(bytes(data)) == ([], True)


def test_reserved_packet_status_is_malformed() -> None:
    header = b"\x8f\xcd\x00\x06\x00\x00\x00\x01\x00\x00\x00\x02\x00\x0a\x00\x01\x00\x00\x03\x07"
    assert parse_rtcp(header + b"\x60\x01" + bytes(6)) == ([], True)
    assert parse_rtcp(header + b"\xf0\x00" + bytes(6)) == ([], True)


def test_long_run_of_received_packets_costs_one_chunk() -> None:
    statuses = tuple((number, 250) for number in range(100))
    assert len(TransportFeedback(1, 2, 0, 0, 0, statuses).pack()) == 20 + 2 + 100 + 2


@pytest.mark.parametrize(
    "packet",
    [
        PictureLossIndication(1 << 32, 0),
        ReceiverReport(1, (ReportBlock(1, 0, 0, 0, 0, 0, 0),) * 32),
        ReceiverReport(1, (ReportBlock(1, 256, 0, 0, 0, 0, 0),)),
        ReceiverReport(1, (ReportBlock(1, 0, 0x800000, 0, 0, 0, 0),)),
        SourceDescription((SourceDescriptionChunk(1, ((0, "a"),)),)),
        SourceDescription((SourceDescriptionChunk(1, ((1, "a" * 256),)),)),
        Goodbye((1,), "a" * 256),
        ReceiverEstimatedMaximumBitrate(1, 1 << 82, ()),
        ReceiverEstimatedMaximumBitrate(1, 1, (0,) * 256),
        TransportFeedback(1, 2, 0, 0, 0, ()),
        TransportFeedback(1, 2, 0, 0, 0, ((0, 250 * 0x8000),)),
    ],
)
def test_fields_that_do_not_fit_are_refused(packet: RtcpPacket) -> None:
    with pytest.raises(ValueError, match=r"fit|too many"):
        packet.pack()


def test_transport_feedback_with_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="gap"):
        TransportFeedback(1, 2, 0, 0, 0, ((0, 250), (2, 250))).pack()


def test_aiortc_reads_packed_reports_alike() -> None:
    block = ReportBlock(7, 8, -9, 10, 11, 12, 13)
    report = SenderReport(1, 2 << 32, 3, 4, 5, (block,))
    (theirs,) = aiortc_rtp.RtcpPacket.parse(report.pack())
    assert isinstance(theirs, aiortc_rtp.RtcpSrPacket)
    assert (theirs.ssrc, theirs.sender_info.ntp_timestamp) == (1, 2 << 32)
    assert (theirs.reports[0].packets_lost, theirs.reports[0].dlsr) == (-9, 13)
    assert parse_one(bytes(theirs)) == report


def test_aiortc_reads_packed_feedback_alike() -> None:
    nack = Nack(1, 2, (5, 6, 30))
    (theirs,) = aiortc_rtp.RtcpPacket.parse(nack.pack())
    assert isinstance(theirs, aiortc_rtp.RtcpRtpfbPacket)
    assert theirs.lost == [5, 6, 30]
    remb = ReceiverEstimatedMaximumBitrate(1, 250_000, (2, 3))
    (theirs,) = aiortc_rtp.RtcpPacket.parse(remb.pack())
    assert isinstance(theirs, aiortc_rtp.RtcpPsfbPacket)
    assert aiortc_rtp.unpack_remb_fci(theirs.fci) == (250_000, [2, 3])
    description = SourceDescription((SourceDescriptionChunk(1, ((CNAME, "cname"),)),))
    (theirs,) = aiortc_rtp.RtcpPacket.parse(description.pack())
    assert isinstance(theirs, aiortc_rtp.RtcpSdesPacket)
    assert theirs.chunks[0].items == [(CNAME, b"cname")]


def test_feedback_that_nobody_uses_is_passed_over_unread() -> None:
    claims_many = TransportFeedback(1, 2, 0, 0, 0, ((0, None),)).pack()
    # One run of 4096 packets that were not received: a status each, in 24 bytes.
    body = struct.pack("!IIHHIHH", 1, 2, 0, 4096, 0, 4096, 0)
    flood = b"\x8f\xcd" + (len(body) // 4).to_bytes(2, "big") + body
    pli = PictureLossIndication(3, 4)
    compound = flood * 58 + claims_many + pli.pack()
    assert parse_rtcp(compound, reads_transport_feedback=False) == ([pli], False)
    # Not even its inside is looked at, but its length must be right.
    damaged = b"\x8f\xcd\x00\x02" + bytes(8) + pli.pack()
    assert parse_rtcp(damaged, reads_transport_feedback=False) == ([pli], False)
    assert parse_rtcp(damaged[:8], reads_transport_feedback=False) == ([], True)
    statuses = [len(one.statuses) for one in parse_rtcp(flood)[0] if isinstance(one, TransportFeedback)]
    assert statuses == [4096]
