"""Copies of one packet to many receivers, as they arrive there."""

import socket
import struct
from collections.abc import AsyncIterator
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ice_client import IceClient, RecordingObserver, eventually, open_port

from bridge.base.counters import DropReason
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.rtp.header import Extension, ExtensionIds, parse_rtp
from bridge.transport import MediaPort, Transport
from bridge.transport.fanout import FEW
from bridge.transport.mmsg import host_and_port, reply_control
from bridge.transport.transport import FOLLOWERS_MIN

IDS = ExtensionIds({3: Extension.ABS_SEND_TIME, 5: Extension.AUDIO_LEVEL})
# Few rows are written one by one, more by column: all that holds for one must hold for the other.
COUNTS = [1, FEW, FEW + 1, 40]


@pytest.fixture
async def port() -> AsyncIterator[MediaPort]:
    opened = await open_port()
    yield opened
    await opened.close()


async def connected(port: MediaPort, *, protocol: str = "udp") -> tuple[Transport, IceClient]:
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    await client.connect(port, transport, protocol=protocol)
    return transport, client


def rows_to(
    port: MediaPort, transports: list[Transport], *, abs_send_time_id: int = 3, audio_level_id: int = 0
) -> Rows:
    count = len(transports)
    return Rows(
        route=port.fanout.route(transports),
        ssrc=[0xFFFF0000 + row for row in range(count)],
        payload_type=[96 + row % 30 for row in range(count)],
        abs_send_time_id=[abs_send_time_id] * count,
        audio_level_id=[audio_level_id] * count,
    )


def video(payload: bytes = b"\x90\x80\x80\x00\x00rest of the frame", **fields: int | bool) -> MediaPacket:
    return MediaPacket(
        extended_sequence_number=0,
        timestamp=0,
        marker=bool(fields.pop("marker", False)),
        payload=payload,
        arrival=0.0,
        **fields,  # type: ignore[arg-type]
    )


def audio(level: int, *, is_voice: bool = False) -> MediaPacket:
    return MediaPacket(
        extended_sequence_number=0,
        timestamp=0,
        marker=False,
        payload=b"opus",
        arrival=0.0,
        audio_level=level,
        is_voice=is_voice,
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("marker", [False, True])
async def test_each_row_has_its_own_header(port: MediaPort, count: int, marker: bool) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * count)
    rows.sequence_number[:] = [0xFFFF + row for row in range(count)]
    rows.timestamp[:] = [0xFFFFFFFF + 7 * row for row in range(count)]
    assert port.fanout.send(video(marker=marker), rows, count, now=64.5) == count
    await client.until(lambda: len(client.rtp) == count)
    for row, data in enumerate(client.rtp):
        packet = parse_rtp(data, IDS)
        assert packet.marker is marker
        assert packet.payload_type == 96 + row % 30
        assert packet.sequence_number == (0xFFFF + row) & 0xFFFF
        assert packet.timestamp == (0xFFFFFFFF + 7 * row) & 0xFFFFFFFF
        assert packet.ssrc == 0xFFFF0000 + row
        assert packet.payload == b"\x90\x80\x80\x00\x00rest of the frame"
        # 6.18 fixed point seconds, modulo 64 s.
        assert packet.abs_send_time == 1 << 17
        assert packet.audio_level is None
    await client.close()


@pytest.mark.parametrize("count", COUNTS)
async def test_picture_id_and_tl0_are_patched_modulo_their_size(port: MediaPort, count: int) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * count)
    rows.picture_id[:] = [0x7FFF + row for row in range(count)]
    rows.tl0_picture_index[:] = [255 + row for row in range(count)]
    packet = video(b"\x90\xe0\x80\x00\x00" + b"rest", picture_id_offset=2, tl0_offset=4)
    assert port.fanout.send(packet, rows, count, now=0.0) == count
    await client.until(lambda: len(client.rtp) == count)
    for row, data in enumerate(client.rtp):
        picture_id = (0x7FFF + row) & 0x7FFF | 0x8000
        expected = b"\x90\xe0" + struct.pack("!HB", picture_id, (255 + row) & 0xFF) + b"rest"
        assert parse_rtp(data, IDS).payload == expected
    # The packet is shared by the cache and must not have changed.
    assert packet.payload == b"\x90\xe0\x80\x00\x00rest"
    await client.close()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("abs_send_time_id", [0, 3])
@pytest.mark.parametrize("audio_level_id", [0, 5])
@pytest.mark.parametrize("is_voice", [False, True])
async def test_receivers_read_exactly_the_extensions_they_negotiated(
    port: MediaPort, count: int, abs_send_time_id: int, audio_level_id: int, is_voice: bool
) -> None:
    transport, client = await connected(port)
    rows = rows_to(
        port, [transport] * count, abs_send_time_id=abs_send_time_id, audio_level_id=audio_level_id
    )
    # A level of 48 would be an element with id 3 if it stood where an element begins.
    assert port.fanout.send(audio(48, is_voice=is_voice), rows, count, now=1.0) == count
    await client.until(lambda: len(client.rtp) == count)
    for data in client.rtp:
        packet = parse_rtp(data, IDS)
        assert packet.payload == b"opus"
        assert packet.audio_level == (48 if audio_level_id else None)
        assert packet.is_voice is (is_voice and audio_level_id > 0)
        assert packet.abs_send_time == (1 << 18 if abs_send_time_id else None)
    await client.close()


async def test_only_the_first_rows_are_sent(port: MediaPort) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * 10)
    assert port.fanout.send(video(), rows, 0, now=0.0) == 0
    assert port.fanout.send(video(), rows, 7, now=0.0) == 7
    await client.until(lambda: len(client.rtp) == 7)
    assert [parse_rtp(data, IDS).ssrc for data in client.rtp] == [0xFFFF0000 + row for row in range(7)]
    await client.close()


async def test_more_rows_than_the_kernel_takes_at_once_are_all_sent(port: MediaPort) -> None:
    transport, client = await connected(port)
    count = 1024 + 30
    rows = rows_to(port, [transport] * count)
    rows.sequence_number[:] = range(count)
    assert port.fanout.send(video(b"short"), rows, count, now=0.0) == count
    await client.until(lambda: len(client.rtp) == count)
    assert [parse_rtp(data, IDS).sequence_number for data in client.rtp] == list(range(count))
    await client.close()


async def test_udp_tcp_and_absent_receivers_stand_in_one_fan(port: MediaPort) -> None:
    first, first_client = await connected(port)
    over_tcp, tcp_client = await connected(port, protocol="tcp")
    absent = port.create_transport(RecordingObserver())
    gone, gone_client = await connected(port)
    last, last_client = await connected(port)
    rows = rows_to(port, [first, over_tcp, absent, gone, last, over_tcp])
    gone.close()
    rows.sequence_number[:] = range(6)
    assert port.fanout.send(video(), rows, 6, now=0.0) == 4
    assert port.counters.dropped[DropReason.NOT_CONNECTED] == 2
    await first_client.until(lambda: len(first_client.rtp) == 1)
    await last_client.until(lambda: len(last_client.rtp) == 1)
    await tcp_client.until(lambda: len(tcp_client.rtp) == 2)
    assert parse_rtp(first_client.rtp[0], IDS).sequence_number == 0
    assert parse_rtp(last_client.rtp[0], IDS).sequence_number == 4
    assert [parse_rtp(data, IDS).sequence_number for data in tcp_client.rtp] == [1, 5]
    assert gone_client.rtp == []
    for client in (first_client, tcp_client, last_client):
        await client.close()
    await gone_client.vanish()


async def test_receiver_that_connects_later_is_sent_to_by_the_same_route(port: MediaPort) -> None:
    first, first_client = await connected(port)
    transport = port.create_transport(RecordingObserver())
    rows = rows_to(port, [first, transport])
    assert port.fanout.send(video(), rows, 2, now=0.0) == 1
    client = IceClient()
    await client.connect(port, transport)
    rows.sequence_number += 1
    assert port.fanout.send(video(), rows, 2, now=0.0) == 2
    await client.until(lambda: len(client.rtp) == 1)
    await client.close()
    await first_client.close()


async def test_row_that_libsrtp_refuses_does_not_hold_up_the_others(port: MediaPort) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * 5)
    rows.sequence_number[:] = 5000
    assert port.fanout.send(video(), rows, 5, now=0.0) == 5
    # Too far back for the replay window.
    rows.sequence_number[:] = [5001, 1000, 5001, 5001, 1000]
    assert port.fanout.send(video(), rows, 5, now=0.0) == 3
    assert port.counters.dropped[DropReason.PROTECT_FAILED] == 2
    await client.until(lambda: len(client.rtp) == 8)
    assert [parse_rtp(data, IDS).ssrc & 0xF for data in client.rtp[5:]] == [0, 2, 3]
    await client.close()


async def test_address_that_cannot_be_reached_does_not_hold_up_the_others(port: MediaPort) -> None:
    transport, client = await connected(port)
    broken, broken_client = await connected(port)
    assert broken.path is not None
    broken.endpoint.point_to(
        socket.AF_INET6.to_bytes(2, "little") + bytes(6) + bytes(10) + b"\xff\xff\x7f\0\0\1" + bytes(4), b""
    )
    rows = rows_to(port, [broken, transport, broken, transport])
    assert port.fanout.send(video(), rows, 4, now=0.0) == 2
    assert port.counters.dropped[DropReason.SEND_FAILED] == 2
    await client.until(lambda: len(client.rtp) == 2)
    await client.close()
    await broken_client.vanish()


async def test_payload_that_fits_no_datagram_is_dropped(port: MediaPort) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * 2)
    assert port.fanout.send(video(bytes(1500)), rows, 2, now=0.0) == 0
    assert port.counters.dropped[DropReason.OVERSIZED] == 2
    assert port.fanout.send(video(bytes(1400)), rows, 2, now=0.0) == 2
    await client.until(lambda: len(client.rtp) == 2)
    await client.close()


async def test_route_is_forgotten_with_its_last_user(port: MediaPort) -> None:
    transport, client = await connected(port)
    rows = rows_to(port, [transport] * 3)
    route = ref(rows.route)
    del rows
    assert route() is None
    for _ in range(1000):
        rows_to(port, [transport] * 3)
    assert len(transport._followers) <= 2 * FOLLOWERS_MIN + 3
    assert port.fanout.route([transport]) is port.fanout.route([transport])
    await client.close()


async def test_sent_packets_are_counted(port: MediaPort) -> None:
    transport, client = await connected(port)
    before = port.counters.datagrams_sent, port.counters.bytes_sent
    port.fanout.send(video(bytes(100)), rows_to(port, [transport] * 6), 6, now=0.0)
    assert port.counters.datagrams_sent - before[0] == 6
    assert port.counters.bytes_sent - before[1] == 6 * (20 + 100 + 16)
    await client.until(lambda: len(client.rtp) == 6)
    await eventually(lambda: client.datagrams_received > 6)
    await client.close()


def test_mapped_addresses_are_told_as_ipv4() -> None:
    mapped = struct.pack("<H", socket.AF_INET6) + struct.pack("!HI", 4321, 0)
    mapped += socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1") + bytes(4)
    assert host_and_port(mapped) == (bytes([192, 0, 2, 1]), 4321)
    plain = struct.pack("<H", socket.AF_INET) + struct.pack("!H", 4321) + bytes([192, 0, 2, 1]) + bytes(20)
    assert host_and_port(plain) == (bytes([192, 0, 2, 1]), 4321)
    ipv6 = struct.pack("<H", socket.AF_INET6) + struct.pack("!HI", 4321, 0)
    ipv6 += socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(4)
    assert host_and_port(ipv6) == (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 4321)


def test_only_a_link_local_answer_is_bound_to_its_interface() -> None:
    def received(address: str) -> bytes:
        info = socket.inet_pton(socket.AF_INET6, address) + (7).to_bytes(4, "little")
        return struct.pack("=Qii", 36, socket.IPPROTO_IPV6, 50) + info + bytes(4)

    assert reply_control(received("fe80::1")) == received("fe80::1")
    assert reply_control(received("2001:db8::1"))[32:36] == bytes(4)
    assert reply_control(received("2001:db8::1"))[:32] == received("2001:db8::1")[:32]
    assert reply_control(b"") == b""


@given(st.binary(max_size=128))
def test_any_control_bytes_give_an_answer_or_none(control: bytes) -> None:
    assert len(reply_control(control)) in (0, 32, 40)
