"""How a transport follows its client: address changes, ICE restarts, silence, TCP."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import pytest
from ice_client import (
    CONNECT_TIMEOUT_S,
    RECEIVER_REPORT,
    IceClient,
    RecordingObserver,
    drops_counted,
    eventually,
    open_port,
    rtp_packet,
)

from bridge.base.counters import DropReason
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.transport import CloseReason, MediaPort, Transport, TransportState
from bridge.transport.tcp import MEDIA_BUFFER_BYTES_MAX, UNAUTHENTICATED_PER_NETWORK_MAX
from bridge.transport.transport import CREDENTIALS_MAX, PATHS_MAX


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def port() -> AsyncIterator[MediaPort]:
    opened = await open_port()
    yield opened
    await opened.close()


async def connected(
    port: MediaPort, *, protocol: str = "udp"
) -> tuple[Transport, RecordingObserver, IceClient]:
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient()
    await client.connect(port, transport, protocol=protocol)
    return transport, observer, client


@pytest.mark.parametrize(
    ("before", "after"), [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp"), ("tcp", "tcp")]
)
async def test_media_moves_with_a_nominating_check(port: MediaPort, before: str, after: str) -> None:
    transport, observer, client = await connected(port, protocol=before)
    rows = one_row(port, transport)
    send_one(port, rows, 1)
    await client.until(lambda: len(client.rtp) == 1)
    await client.open_path("127.0.0.1", port.port, protocol=after)
    await client.check_until_answered()
    await eventually(lambda: leads_to(transport, client))
    assert transport.selected_path is not None
    assert transport.selected_path.protocol == after
    send_one(port, rows, 2)
    await client.until(lambda: len(client.rtp) == 2)
    client.send_rtp(rtp_packet(3))
    await eventually(lambda: observer.rtp == [rtp_packet(3)])
    assert observer.states == [TransportState.CONNECTED]
    await client.close()


async def test_check_that_does_not_nominate_opens_a_path_but_moves_nothing(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    selected = transport.selected_path
    other = IceClient()
    other.use_credentials(transport.local_ufrag, transport.local_pwd)
    await other.open_path("127.0.0.1", port.port)
    await other.check_until_answered(nominates=False)
    assert transport.selected_path == selected
    # Media from there is taken all the same: the client is about to move.
    other.send(client.dtls._tx_srtp.protect(rtp_packet(1)))
    await eventually(lambda: observer.rtp == [rtp_packet(1)])
    await other.vanish()
    await client.close()


async def test_silent_path_gives_way_to_one_that_is_heard() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock)
    transport, _, client = await connected(port)
    await client.open_path("127.0.0.1", port.port)
    clock.now += 7.0
    await client.check_until_answered(nominates=False)
    await eventually(lambda: leads_to(transport, client))
    await client.close()
    await port.close()


async def test_addresses_of_one_client_are_bounded(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    for _ in range(PATHS_MAX + 5):
        await client.open_path("127.0.0.1", port.port)
        await client.check_until_answered()
    assert len(transport.paths) == PATHS_MAX
    client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(observer.rtp) == 1)
    await client.close()


async def test_address_of_a_live_client_cannot_be_taken_by_another(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    thief = port.create_transport(RecordingObserver())
    client.start_transport(thief)
    with drops_counted(port.counters) as drops:
        client.check()
        await eventually(lambda: port.counters.dropped[DropReason.UNKNOWN_SOURCE] == 1)
    assert drops == {"unknown-source": 1}
    client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(observer.rtp) == 1)
    assert transport.selected_path is not None
    await client.close()


async def test_address_of_a_silent_client_goes_to_the_next() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock)
    first, _, client = await connected(port)
    second = port.create_transport(RecordingObserver())
    client.start_transport(second)
    clock.now += 7.0
    await client.check_until_answered()
    assert first.selected_path is None
    assert second.selected_path is not None
    first.send_rtcp(RECEIVER_REPORT)
    assert port.counters.dropped[DropReason.NOT_CONNECTED] == 1
    await client.vanish()
    await port.close()


async def test_ice_restart_gives_new_credentials_and_keeps_the_old_ones(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    old = (transport.local_ufrag, transport.local_pwd)
    new = transport.restart_ice("new-ufrag", "new-password")
    assert new == (transport.local_ufrag, transport.local_pwd)
    assert new != old
    await client.check_until_answered()
    client.use_credentials(*new)
    await client.open_path("127.0.0.1", port.port, protocol="tcp")
    await client.check_until_answered()
    client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(observer.rtp) == 1)
    assert port.counters.dtls_handshakes == 1
    for _ in range(CREDENTIALS_MAX):
        transport.restart_ice("u", "p")
    assert len(transport.credentials) == CREDENTIALS_MAX
    assert old not in transport.credentials
    await client.close()


async def test_silent_client_is_closed_after_the_consent_time() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock, consent_timeout_s=0.1)
    transport, observer, client = await connected(port)
    clock.now += 0.2
    await eventually(lambda: transport.state is TransportState.CLOSED)
    assert transport.close_reason is CloseReason.TIMEOUT
    assert observer.states == [TransportState.CONNECTED, TransportState.CLOSED]
    assert port.counters.consent_expired == 1
    with drops_counted(port.counters) as drops:
        client.check()
        client.send_rtp(rtp_packet(1))
        await eventually(lambda: port.counters.dropped[DropReason.UNKNOWN_SOURCE] == 1)
    assert drops == {"unknown-ufrag": 1, "unknown-source": 1}
    await client.vanish()
    await port.close()


@pytest.mark.parametrize("sign", ["check", "rtp", "rtcp"])
async def test_any_authentic_packet_is_consent(sign: str) -> None:
    clock = SettableClock()
    port = await open_port(clock=clock, consent_timeout_s=0.1)
    transport, _, client = await connected(port)
    clock.now += 0.09
    if sign == "check":
        client.check()
    elif sign == "rtp":
        client.send_rtp(rtp_packet(1))
    else:
        client.send_rtcp(RECEIVER_REPORT)
    await eventually(lambda: transport.last_received == clock.now)
    clock.now += 0.09
    await asyncio.sleep(0.06)  # two sweeps
    assert transport.state is TransportState.CONNECTED
    await client.vanish()
    await port.close()


async def test_forged_media_is_no_consent() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock, consent_timeout_s=0.1)
    transport, _, client = await connected(port)
    clock.now += 0.09
    client.send(rtp_packet(1) + bytes(16))
    await eventually(lambda: port.counters.dropped[DropReason.UNPROTECT_FAILED] == 1)
    clock.now += 0.09
    await eventually(lambda: transport.state is TransportState.CLOSED)
    await client.vanish()
    await port.close()


async def test_handshake_that_never_ends_is_given_up() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock, consent_timeout_s=60.0)
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.start_transport(transport)
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    clock.now += 21.0
    await eventually(lambda: transport.state is TransportState.CLOSED)
    assert transport.close_reason is CloseReason.DTLS_TIMEOUT
    await client.vanish()
    await port.close()


async def test_lost_connection_falls_back_to_the_other_path(port: MediaPort) -> None:
    transport, _, client = await connected(port)
    other = IceClient()
    other.use_credentials(transport.local_ufrag, transport.local_pwd)
    await other.open_path("127.0.0.1", port.port, protocol="tcp")
    await other.check_until_answered()
    assert transport.selected_path is not None
    assert transport.selected_path.protocol == "tcp"
    await other.vanish()
    await eventually(
        lambda: transport.selected_path is not None and transport.selected_path.protocol == "udp"
    )
    transport.send_rtcp(RECEIVER_REPORT)
    await client.until(lambda: bool(client.rtcp))
    await client.close()


async def test_frames_are_put_together_from_any_pieces(port: MediaPort) -> None:
    _, observer, client = await connected(port, protocol="tcp")
    assert client._writer is not None
    packets = [client.dtls._tx_srtp.protect(rtp_packet(number)) for number in range(3)]
    stream = b"".join(struct.pack("!H", len(packet)) + packet for packet in packets)
    for position in range(len(stream)):
        client._writer.write(stream[position : position + 1])
        await client._writer.drain()
        await asyncio.sleep(0)
    await eventually(lambda: len(observer.rtp) == 3)
    await client.close()


async def test_slow_tcp_reader_loses_media_but_not_answers(port: MediaPort) -> None:
    transport, _, client = await connected(port, protocol="tcp")
    assert client._reader_task is not None
    client._reader_task.cancel()
    assert client._writer is not None
    client._writer.transport.pause_reading()  # type: ignore[attr-defined]
    rows = one_row(port, transport)
    number = 0
    while not port.counters.dropped[DropReason.TCP_BUFFER_FULL]:
        number += 1
        send_one(port, rows, number, payload=bytes(1200))
        assert number < 50_000
    path = transport.path
    assert path is not None
    assert path.protocol == "tcp"
    answered = port.counters.stun_responses
    client.check()
    await eventually(lambda: port.counters.stun_responses == answered + 1)
    buffered = path._transport.get_write_buffer_size()  # type: ignore[union-attr]
    assert buffered < MEDIA_BUFFER_BYTES_MAX + 4096
    assert transport.state is TransportState.CONNECTED
    await client.vanish()


async def test_stream_that_is_no_framing_is_cut_off(port: MediaPort) -> None:
    with connection(port) as stream:
        stream.send(b"GET / HTTP/1.1\r\n\r\n")
        await until_cut_off(stream)
    assert port.counters.dropped[DropReason.TCP_REFUSED] == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", DropReason.TCP_REFUSED),
        (b"\x16\xfe\xff" + bytes(60), DropReason.UNKNOWN_SOURCE),
        (bytes(20), DropReason.MALFORMED_STUN),
    ],
)
async def test_stranger_has_one_frame_to_prove_itself(
    port: MediaPort, frame: bytes, reason: DropReason
) -> None:
    with connection(port) as stream, drops_counted(port.counters) as drops:
        stream.send((len(frame).to_bytes(2, "big") + frame) * 200)
        await until_cut_off(stream)
    assert drops == {reason: 1}


async def test_unproved_connections_of_one_address_are_bounded(port: MediaPort) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(connection(port))
        for number in range(UNAUTHENTICATED_PER_NETWORK_MAX):
            await eventually(lambda expected=number + 1: port.counters.tcp_connections == expected)  # type: ignore[misc]
            stack.enter_context(connection(port))
        # The oldest makes room.
        await until_cut_off(first)
    assert port.counters.dropped[DropReason.TCP_REFUSED] == 1


async def test_unproved_connection_is_closed_after_its_time(
    port: MediaPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.transport.tcp.UNAUTHENTICATED_S", -1.0)
    with connection(port) as stream:
        await until_cut_off(stream)
    assert port.counters.dropped[DropReason.TCP_REFUSED] == 1


async def test_connection_cannot_change_hands(port: MediaPort) -> None:
    transport, _, client = await connected(port, protocol="tcp")
    thief = port.create_transport(RecordingObserver())
    client.start_transport(thief)
    client.check()
    await eventually(lambda: transport.selected_path is None)
    assert thief.selected_path is None
    assert port.counters.dropped[DropReason.TCP_REFUSED] == 1
    await client.vanish()


def leads_to(transport: Transport, client: IceClient) -> bool:
    """Tell whether media goes to the client's newest socket."""
    path = transport.selected_path
    return path is not None and (path.address, path.port) == client.local_address


def one_row(port: MediaPort, transport: Transport) -> Rows:
    return Rows(
        route=port.fanout.route([transport]),
        ssrc=[1],
        payload_type=[96],
        abs_send_time_id=[0],
        audio_level_id=[0],
    )


def send_one(port: MediaPort, rows: Rows, number: int, *, payload: bytes = b"media") -> None:
    rows.sequence_number[0] = number
    packet = MediaPacket(
        extended_sequence_number=number, timestamp=0, marker=False, payload=payload, arrival=0.0
    )
    port.fanout.send(packet, rows, 1, 0.0)


def connection(port: MediaPort) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port.port))


async def until_cut_off(stream: socket.socket) -> None:
    """Wait until the other side closed the connection."""
    stream.setblocking(False)
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        with suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(stream, 1) == b""
