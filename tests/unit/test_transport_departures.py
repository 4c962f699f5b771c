"""Transport-wide numbers: in the packets as they arrive, and in the columns of what left."""

from collections.abc import AsyncIterator

import pytest
from ice_client import IceClient, RecordingObserver, open_port

from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.rtp.header import Extension, ExtensionIds, parse_rtp
from bridge.transport import MediaPort, Transport
from bridge.transport.departures import FIRST, MASK, RING, Departures, ranks_of
from bridge.transport.fanout import FEW

IDS = ExtensionIds(
    {3: Extension.ABS_SEND_TIME, 4: Extension.TRANSPORT_SEQUENCE_NUMBER, 5: Extension.AUDIO_LEVEL}
)


@pytest.fixture
async def port() -> AsyncIterator[MediaPort]:
    opened = await open_port()
    yield opened
    await opened.close()


async def connected(port: MediaPort) -> tuple[Transport, IceClient]:
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    await client.connect(port, transport)
    return transport, client


def rows_to(port: MediaPort, transports: list[Transport], wide: list[int]) -> Rows:
    count = len(transports)
    return Rows(
        route=port.fanout.route(transports),
        ssrc=[0xFFFF0000 + row for row in range(count)],
        payload_type=[96] * count,
        abs_send_time_id=[3] * count,
        audio_level_id=[5] * count,
        transport_wide_id=wide,
    )


def packet_of(level: int | None = None) -> MediaPacket:
    return MediaPacket(
        extended_sequence_number=0,
        timestamp=0,
        marker=False,
        payload=b"opus" if level is not None else b"\x10picture",
        arrival=0.0,
        audio_level=level,
    )


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 40])
@pytest.mark.parametrize("level", [None, 30])
async def test_numbers_go_on_over_all_streams_of_a_transport(
    port: MediaPort, count: int, level: int | None
) -> None:
    transport, client = await connected(port)
    row = transport.number_departures()
    assert transport.number_departures() == row
    rows = rows_to(port, [transport] * count, [4] * count)
    for turn in range(2):
        rows.sequence_number[:] = turn
        assert port.fanout.send(packet_of(level), rows, count, now=10.0 + turn) == count
    await client.until(lambda: len(client.rtp) == 2 * count)
    packets = [parse_rtp(data, IDS) for data in client.rtp]
    assert sorted(packet.transport_sequence_number for packet in packets) == list(range(2 * count))
    for packet in packets:
        assert packet.audio_level == level
        assert packet.abs_send_time is None
        assert packet.payload == packet_of(level).payload
    departures = port.departures
    places = departures.places(row, FIRST, 2 * count)
    assert list(departures.sent_at[places]) == [10.0] * count + [11.0] * count
    # As large as what arrived, with the trailer that the decryption has taken off.
    assert set(departures.size_bytes[places]) == {len(client.rtp[0]) + 16}
    await client.close()


@pytest.mark.parametrize("level", [None, 30])
async def test_numbers_and_send_times_stand_side_by_side_in_one_fan(
    port: MediaPort, level: int | None
) -> None:
    wide, wide_client = await connected(port)
    plain, plain_client = await connected(port)
    wide.number_departures()
    targets = [wide, plain, wide, plain, plain]
    rows = rows_to(port, targets, [4, 0, 4, 0, 0])
    # Only those that get the packet are counted: of the second one, the first four.
    assert port.fanout.send(packet_of(level), rows, 5, now=64.5) == 5
    rows.sequence_number[:] = 1
    assert port.fanout.send(packet_of(level), rows, 4, now=64.5) == 4
    await wide_client.until(lambda: len(wide_client.rtp) == 4)
    await plain_client.until(lambda: len(plain_client.rtp) == 5)
    numbers = [parse_rtp(data, IDS).transport_sequence_number for data in wide_client.rtp]
    assert sorted(number for number in numbers if number is not None) == [0, 1, 2, 3]
    for data in plain_client.rtp:
        packet = parse_rtp(data, IDS)
        assert packet.abs_send_time == 1 << 17
        assert packet.transport_sequence_number is None
    await wide_client.close()
    await plain_client.close()


@pytest.mark.parametrize("others", [0, FEW])
async def test_what_cannot_leave_has_no_number(port: MediaPort, others: int) -> None:
    gone = port.create_transport(RecordingObserver())
    gone.number_departures()
    transport, client = await connected(port)
    transport.number_departures()
    rows = rows_to(port, [gone, *[transport] * (others + 1)], [4] * (others + 2))
    assert port.fanout.send(packet_of(), rows, others + 2, now=1.0) == others + 1
    await client.until(lambda: len(client.rtp) == others + 1)
    assert port.departures.next_number[gone.departure_row] == FIRST
    assert port.departures.next_number[transport.departure_row] == FIRST + others + 1
    await client.close()


async def test_a_row_is_free_again_when_its_transport_closes(port: MediaPort) -> None:
    transport = port.create_transport(RecordingObserver())
    row = transport.number_departures()
    transport.close()
    assert transport.departure_row == 0
    assert transport.number_departures() == 0
    other = port.create_transport(RecordingObserver())
    assert other.number_departures() == row


def test_columns_grow_and_keep_what_they_hold() -> None:
    departures = Departures()
    rows = [departures.open() for _ in range(300)]
    assert len(set(rows)) == 300
    assert 0 not in rows
    at = departures.note(1.0, 100)
    first = departures.number_one(rows[0], at)
    more = [departures.open() for _ in range(500)]
    assert not set(more).intersection(rows)
    assert departures.extended(rows[0], first) == FIRST
    assert departures.oldest_since(rows[0], FIRST) == 1.0


def test_what_is_remembered_of_a_transport_is_bounded() -> None:
    departures = Departures()
    row = departures.open()
    for index in range(3 * RING):
        departures.number_one(row, departures.note(float(index), 100))
    newest = 3 * RING - 1
    assert departures.extended(row, newest & 0xFFFF) == FIRST + newest
    assert departures.extended(row, (newest - MASK) & 0xFFFF) == FIRST + newest - MASK
    assert departures.extended(row, (newest - RING) & 0xFFFF) is None
    assert departures.extended(row, (newest + 1) & 0xFFFF) is None
    # More are on their way than are remembered: the oldest known one stands for those.
    assert departures.oldest_since(row, FIRST) == float(newest - MASK)
    around = departures.places(row, FIRST + newest - 10, 11)
    assert list(departures.sent_at[around]) == [float(newest - 10 + n) for n in range(11)]
    departures.forget(row, FIRST + newest - 10, 10)
    assert list(departures.places(row, FIRST + newest - 10, 11) > 0) == [False] * 10 + [True]


def test_forgetting_and_reading_go_round_the_end_of_the_ring() -> None:
    departures = Departures()
    row = departures.open()
    for index in range(RING + 5):
        departures.number_one(row, departures.note(float(index), 100))
    first = FIRST + RING - 5
    places = departures.places(row, first, 10)
    assert list(departures.sent_at[places]) == [float(RING - 5 + n) for n in range(10)]
    departures.forget(row, first, 10)
    assert not departures.places(row, first, 10).any()
    assert departures.places(row, first - 1, 1).all()


def test_ranks_count_within_one_row() -> None:
    assert ranks_of([3, 0, 4, 0]) is None
    ranks = ranks_of([3, 4, 3, 3, 4])
    assert ranks is not None
    assert list(ranks) == [0, 0, 1, 2, 1]
