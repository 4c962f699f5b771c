"""The media port on real sockets: who gets in, who does not, and what comes out."""

import asyncio
import errno
import gc
import ipaddress
import socket
import time
import weakref
from collections.abc import AsyncIterator

import pytest
from aioice import stun
from aiortc.rtcdtlstransport import RTCDtlsTransport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ice_client import (
    RECEIVER_REPORT,
    IceClient,
    RecordingObserver,
    drops_counted,
    eventually,
    open_port,
    rtp_packet,
)

from bridge.base.counters import DropReason
from bridge.base.errors import InvalidConfig, NegotiationFailed, TransportFailed
from bridge.transport import Certificate, CloseReason, MediaPort, Transport, TransportState
from bridge.transport.floods import DROPS_PER_S
from bridge.transport.strangers import NETWORKS_MAX, PER_S, Strangers
from bridge.transport.transport import CHECKS_BURST, CORE_BURST_S, MEDIA_COST_S, STREAMS_MAX

PROBE = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": "nobody:knows"})
PROBE.add_message_integrity(b"password")
WAYS = [("127.0.0.1", "udp"), ("::1", "udp"), ("127.0.0.1", "tcp"), ("::1", "tcp")]


@pytest.fixture
async def port() -> AsyncIterator[MediaPort]:
    opened = await open_port()
    yield opened
    await opened.close()


async def connected(port: MediaPort, **options: str) -> tuple[Transport, RecordingObserver, IceClient]:
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient()
    await client.connect(port, transport, **options)
    return transport, observer, client


async def settle(port: MediaPort) -> None:
    """Wait until everything that was sent to the port before has been handled."""
    seen = port.counters.dropped[DropReason.UNKNOWN_UFRAG]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(bytes(PROBE), ("127.0.0.1", port.port))
    await eventually(lambda: port.counters.dropped[DropReason.UNKNOWN_UFRAG] > seen)


@pytest.mark.parametrize(("host", "protocol"), WAYS)
async def test_media_flows_both_ways(port: MediaPort, host: str, protocol: str) -> None:
    transport, observer, client = await connected(port, host=host, protocol=protocol)
    assert observer.states == [TransportState.CONNECTED]
    path = transport.selected_path
    assert path is not None
    assert (path.address, path.port) == client.local_address
    assert (path.protocol, path.family) == (protocol, "ipv6" if ":" in host else "ipv4")
    assert client.stun_responses[0].attributes["XOR-MAPPED-ADDRESS"] == client.local_address

    sent = [rtp_packet(number, payload=bytes([number])) for number in range(100)]
    for packet in sent:
        client.send_rtp(packet)
    client.send_rtcp(RECEIVER_REPORT)
    await eventually(lambda: bool(observer.rtcp))
    assert observer.rtp == sent
    assert observer.rtcp == [RECEIVER_REPORT]
    transport.send_rtcp(RECEIVER_REPORT)
    await client.until(lambda: client.rtcp == [RECEIVER_REPORT])
    await client.close()
    await eventually(lambda: transport.state is TransportState.CLOSED)
    assert transport.close_reason is CloseReason.CLOSED_BY_PEER
    assert observer.states == [TransportState.CONNECTED, TransportState.CLOSED]


async def test_arrival_is_the_kernels_stamp_on_the_monotonic_clock(port: MediaPort) -> None:
    _, observer, client = await connected(port)
    before = time.monotonic()
    client.send_rtp(rtp_packet(1))
    after = time.monotonic()
    # The process is busy for a while: the stamp does not move.
    time.sleep(0.05)  # noqa: ASYNC251
    await eventually(lambda: bool(observer.rtp))
    assert before - 0.002 <= observer.arrivals[0] <= after + 0.002
    await client.close()


async def test_closing_here_tells_the_client_and_reports_once(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    transport.close()
    transport.close()
    assert observer.states == [TransportState.CONNECTED, TransportState.CLOSED]
    assert transport.close_reason is CloseReason.CLOSED
    assert not port.transports
    await eventually(lambda: client.dtls.state == "closed")
    await client.vanish()


async def test_closed_transport_takes_no_more_offers(port: MediaPort) -> None:
    transport = port.create_transport(RecordingObserver())
    transport.close()
    with pytest.raises(TransportFailed):
        transport.restart_ice("u", "p")
    with pytest.raises(TransportFailed):
        IceClient().start_transport(transport)


async def test_closed_transport_is_freed_without_the_garbage_collector(port: MediaPort) -> None:
    transport, _, client = await connected(port)
    port.fanout.route([transport])
    assert transport._dtls is not None
    traces = [weakref.ref(transport), weakref.ref(transport._dtls._transport)]
    gc.disable()
    try:
        transport.close()
        del transport
        await eventually(lambda: all(trace() is None for trace in traces))
    finally:
        gc.enable()
    await client.vanish()


async def test_closing_the_port_closes_everybody() -> None:
    port = await open_port()
    first, _, client = await connected(port)
    second, _, tcp_client = await connected(port, protocol="tcp")
    await port.close()
    assert first.state is second.state is TransportState.CLOSED
    await eventually(lambda: client.dtls.state == "closed" and tcp_client.dtls.state == "closed")
    await client.vanish()
    await tcp_client.vanish()


async def test_nothing_is_sent_or_allocated_before_an_authentic_check(
    port: MediaPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient()
    made: list[object] = []
    monkeypatch.setattr(RTCDtlsTransport, "__init__", lambda self, *_: made.append(self))
    client.start_transport(transport)
    await client.open_path("127.0.0.1", port.port)
    with drops_counted(port.counters) as drops:
        client.check(pwd="a wrong password of 24 ch")
        client.send(b"\x16\xfe\xff" + bytes(60))
        client.send(rtp_packet(1))
        client.send(b"\x50" + bytes(30))
        client.use_credentials("nobody", transport.local_pwd)
        client.check()
        await settle(port)
    assert drops == {"bad-integrity": 1, "unknown-source": 3, "unknown-ufrag": 2}
    assert client.datagrams_received == 0
    assert made == []
    assert transport.first_checked is None
    assert transport.selected_path is None
    assert observer.states == []
    await client.vanish()


async def test_check_before_the_offer_was_taken_in_is_not_answered(port: MediaPort) -> None:
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.use_credentials(transport.local_ufrag, transport.local_pwd)
    await client.open_path("127.0.0.1", port.port)
    client.check()
    await settle(port)
    assert client.datagrams_received == 0
    await client.vanish()


async def test_offer_without_a_usable_fingerprint_is_refused(port: MediaPort) -> None:
    transport = port.create_transport(RecordingObserver())
    with pytest.raises(NegotiationFailed):
        transport.start(
            remote_ufrag="u", remote_pwd="p", remote_fingerprints=[("md5", "00")], dtls_role="server"
        )


async def test_media_before_the_keys_are_there_is_dropped(port: MediaPort) -> None:
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.start_transport(transport)
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    with drops_counted(port.counters) as drops:
        client.send(rtp_packet(1))
        transport.send_rtcp(RECEIVER_REPORT)
        await eventually(lambda: port.counters.dropped[DropReason.NOT_CONNECTED] == 2)
    assert drops == {"not-connected": 2}
    await client.vanish()


async def test_forged_and_replayed_media_is_dropped(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    protected = client.dtls._tx_srtp.protect(rtp_packet(7))
    with drops_counted(port.counters) as drops:
        client.send(protected)
        client.send(protected)
        client.send(rtp_packet(8) + bytes(16))
        client.send(b"\x80\xc9" + bytes(40))
        client.send(b"\x80")
        client.send(b"\x80\x60\x00")
        await settle(port)
    assert drops == {"replayed": 1, "unprotect-failed": 4, "unknown-ufrag": 1}
    assert observer.rtp == [rtp_packet(7)]
    assert transport.state is TransportState.CONNECTED
    await client.close()


class FaultyObserver(RecordingObserver):
    """An observer with a bug: it raises what it must not."""

    def receive_rtp(self, data: bytes, arrival: float) -> None:
        raise ZeroDivisionError("a fault of ours")

    def transport_state(self, state: TransportState) -> None:
        super().transport_state(state)
        if state is TransportState.CLOSED:
            raise ZeroDivisionError("another fault of ours")


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_fault_met_by_one_client_costs_the_others_no_packet(
    port: MediaPort, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, observer, other = await connected(port)
    faulty = FaultyObserver()
    transport = port.create_transport(faulty)
    client = IceClient()
    await client.connect(port, transport, protocol=protocol)
    # One batch: nothing is read in between.
    sent = [rtp_packet(number) for number in range(20)]
    for packet in sent:
        client.send_rtp(packet)
        other.send_rtp(packet)
    await eventually(lambda: len(observer.rtp) == 20)
    await eventually(lambda: transport.state is TransportState.CLOSED)
    assert observer.rtp == sent
    assert transport.close_reason is CloseReason.FAILED
    assert faulty.states == [TransportState.CONNECTED, TransportState.CLOSED]
    assert "a fault of ours" in caplog.text
    assert "another fault of ours" in caplog.text
    await client.vanish()
    await other.close()


async def test_client_with_ever_new_ssrcs_takes_bounded_memory(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    for number in range(3 * STREAMS_MAX):
        client.send_rtp(rtp_packet(number, ssrc=number))
    await eventually(lambda: len(observer.rtp) == 3 * STREAMS_MAX)
    assert len(transport.streams) <= STREAMS_MAX
    await client.close()


async def test_random_datagrams_change_nothing_but_counters(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.connect(("127.0.0.1", port.port))
    stranger.setblocking(False)
    path = transport.selected_path

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.one_of(
            st.binary(max_size=1500),
            st.tuples(
                st.sampled_from([0, 1, 20, 22, 63, 64, 127, 128, 144, 191, 255]), st.binary(max_size=60)
            ).map(lambda parts: bytes([parts[0]]) + parts[1]),
        )
    )
    def blast(data: bytes) -> None:
        stranger.send(data)
        client.send(data)

    with drops_counted(port.counters) as drops:
        blast()
        stranger.send(bytes(5000))
        await settle(port)
    assert sum(drops.values()) > 200
    assert drops["oversized"] == 1
    with pytest.raises(BlockingIOError):
        stranger.recv(2048)
    stranger.close()
    assert transport.selected_path == path
    assert observer.rtp == observer.rtcp == []
    assert transport.state is TransportState.CONNECTED
    client.send_rtp(rtp_packet(1))
    await eventually(lambda: observer.rtp == [rtp_packet(1)])
    await client.close()


async def test_many_clients_join_at_once(port: MediaPort) -> None:
    joined = await asyncio.gather(*(connected(port) for _ in range(40)))
    assert port.counters.dtls_handshakes == 40
    assert all(transport.state is TransportState.CONNECTED for transport, _, _ in joined)
    for number, (_, _, client) in enumerate(joined):
        client.send_rtp(rtp_packet(number))
    await eventually(lambda: all(observer.rtp for _, observer, _ in joined))
    for number, (_, observer, client) in enumerate(joined):
        assert observer.rtp == [rtp_packet(number)]
        await client.vanish()


async def test_port_works_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *arguments: int, **options: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *arguments, **options)

    monkeypatch.setattr("bridge.transport.binding.socket.socket", without_ipv6)
    port = await open_port()
    monkeypatch.undo()
    assert not any(":" in line for line in port.candidates())
    _, observer, client = await connected(port)
    client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(observer.rtp) == 1)
    await client.close()
    _, observer, client = await connected(port, protocol="tcp")
    await client.close()
    await port.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_port_on_one_address_offers_that_one(host: str) -> None:
    port = await open_port(host=host)
    assert [line.split()[4] for line in port.candidates()] == [host, host]
    _, _, client = await connected(port, host=host)
    await client.close()
    await port.close()


async def test_announced_addresses_replace_those_of_the_interfaces() -> None:
    port = await open_port(announced=["203.0.113.7"], tcp=False)
    assert [line.split()[2:6] for line in port.candidates()] == [
        ["udp", "2130706431", "203.0.113.7", str(port.port)]
    ]
    await port.close()


async def test_each_address_is_announced_once_by_udp_and_tcp_whichever_family() -> None:
    port = await open_port(announced=["203.0.113.7", "2001:db8::1", "2001:DB8:0::1", "203.0.113.7"])
    assert [line.split()[2:5:2] for line in port.candidates()] == [
        ["udp", "203.0.113.7"],
        ["udp", "2001:db8::1"],
        ["tcp", "203.0.113.7"],
        ["tcp", "2001:db8::1"],
    ]
    await port.close()


async def test_no_link_local_address_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["192.0.2.1", "169.254.7.7", "fe80::1", "fe80::1%eth0", "2001:db8::1", "192.0.2.1"]
    monkeypatch.setattr("bridge.transport.binding.get_host_addresses", lambda **_: found)
    port = await open_port(tcp=False)
    hosts = [line.split()[4] for line in port.candidates()]
    assert hosts[:3] == ["192.0.2.1", "2001:db8::1", "127.0.0.1"]
    assert len(hosts) == len(set(hosts))
    await port.close()


async def test_answers_leave_from_the_address_the_client_talked_to(port: MediaPort) -> None:
    # A connected socket takes nothing from any other address; 127.0.0.2 is as local as 127.0.0.1.
    transport, _, client = await connected(port, host="127.0.0.2")
    transport.send_rtcp(RECEIVER_REPORT)
    await client.until(lambda: bool(client.rtcp))
    await client.close()


@pytest.mark.parametrize("host", ["192.0.2.250", "not an address"])
async def test_address_that_cannot_be_bound_is_named(host: str) -> None:
    with pytest.raises(InvalidConfig, match=host):
        await open_port(host=host)


async def test_port_in_use_is_named() -> None:
    port = await open_port(host="127.0.0.1")
    with pytest.raises(InvalidConfig, match=str(port.port)):
        await open_port(host="127.0.0.1", port=port.port, certificate=Certificate.generate())
    await port.close()


async def test_receive_overflows_are_read_from_the_kernel(port: MediaPort) -> None:
    assert port.receive_overflows == 0


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_one_client_has_its_share_of_the_core_and_no_more() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock)
    _, busy_observer, busy = await connected(port)
    _, observer, other = await connected(port)
    count = round(CORE_BURST_S / MEDIA_COST_S)
    with drops_counted(port.counters) as drops:
        # Fewer than what the kernel is told to drop.
        for number in range(count + DROPS_PER_S - 50):
            busy.send_rtp(rtp_packet(number))
            if number % 100 == 99:
                await eventually(
                    lambda sent=number: (  # type: ignore[misc]
                        len(busy_observer.rtp) + port.counters.dropped[DropReason.RATE_LIMITED] > sent
                    )
                )
        other.send_rtp(rtp_packet(1))
        await eventually(lambda: len(observer.rtp) == 1)
    # A little of it went into the handshake.
    assert count - 50 <= len(busy_observer.rtp) <= count
    assert drops == {"rate-limited": count + DROPS_PER_S - 50 - len(busy_observer.rtp)}
    clock.now += 1.0
    taken = len(busy_observer.rtp)
    busy.send_rtp(rtp_packet(count + DROPS_PER_S))
    await eventually(lambda: len(busy_observer.rtp) == taken + 1)
    await busy.close()
    await other.close()
    await port.close()


async def test_control_packets_are_charged_what_they_take() -> None:
    clock = SettableClock()

    class Slow(RecordingObserver):
        def receive_rtcp(self, data: bytes, arrival: float) -> None:
            super().receive_rtcp(data, arrival)
            clock.now += 0.08

    port = await open_port(clock=clock, cpu_clock=clock)
    observer = Slow()
    transport = port.create_transport(observer)
    client = IceClient()
    await client.connect(port, transport)
    # Each takes 0.08 s of a core of which it has 15 %: after the burst, one in half a second.
    for sent in range(1, 40):
        client.send_rtcp(RECEIVER_REPORT)
        await eventually(
            lambda sent=sent: len(observer.rtcp) + port.counters.dropped[DropReason.RATE_LIMITED] == sent  # type: ignore[misc]
        )
    assert len(observer.rtcp) <= 1 + CORE_BURST_S / 0.08 + 39 * 0.08 * 0.15 / 0.08
    assert port.counters.dropped[DropReason.RATE_LIMITED] > 20
    await client.vanish()
    await port.close()


@pytest.mark.parametrize("pwd", [None, "a wrong password of 24 ch"])
async def test_checks_of_one_client_are_bounded(pwd: str | None) -> None:
    clock = SettableClock()
    port = await open_port(clock=clock)
    _, _, client = await connected(port)
    handled = (port.counters.stun_requests, port.counters.dropped[DropReason.BAD_INTEGRITY])
    for _ in range(300):
        client.check(pwd=pwd)
    await eventually(lambda: port.counters.dropped[DropReason.RATE_LIMITED] >= 300 - CHECKS_BURST)
    after = (port.counters.stun_requests, port.counters.dropped[DropReason.BAD_INTEGRITY])
    assert sum(after) - sum(handled) <= CHECKS_BURST
    clock.now += 1.0
    await client.check_until_answered()
    await client.close()
    await port.close()


async def test_a_connection_that_floods_with_checks_is_ended(port: MediaPort) -> None:
    transport, _, client = await connected(port, protocol="tcp")
    for _ in range(1000):
        client.check()
    await eventually(lambda: transport.selected_path is None)
    assert port.counters.stun_requests < 400
    await client.vanish()


async def test_strangers_of_one_network_are_bounded_and_others_come_in_meanwhile() -> None:
    clock = SettableClock()
    port = await open_port(clock=clock, consent_timeout_s=60.0)
    # The second does not end before we say so.
    assert port._sweep_timer is not None
    port._sweep_timer.cancel()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", port.port))
        # Fewer than what the kernel is told to drop.
        for number in range(PER_S + 200):
            stranger.send(bytes(PROBE) if number % 2 else b"\x16 nonsense")
            if number % 100 == 99:
                await eventually(lambda sent=number: port.counters.datagrams_received > sent)  # type: ignore[misc]
    assert port.counters.dropped[DropReason.RATE_LIMITED] == 200
    # Each datagram of a flood would wake the loop otherwise: the socket is left alone for a moment at a time.
    assert port._rest_timer is not None
    # Other networks are not touched by it, and this one is forgiven with the next second.
    _, _, client = await connected(port, host="::1")
    await client.close()
    port._sweep()
    _, _, client = await connected(port)
    await client.close()
    await eventually(lambda: port._rest_timer is None)
    await port.close()


def test_strangers_are_counted_by_ipv4_address_and_by_48_and_in_bounded_memory() -> None:
    strangers = Strangers(socket.AF_INET6)

    def name(address: str) -> bytes:
        parsed = ipaddress.ip_address(address)
        host = parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed
        return b"\x0a\x00" + bytes(6) + host + bytes(4)

    for number in range(PER_S):
        assert not strangers.is_flooding(name(f"2001:db8:1:{number:x}::1"))
    assert strangers.is_flooding(name("2001:db8:1:ffff::1"))
    assert not strangers.is_flooding(name("2001:db8:2::1"))
    for _ in range(PER_S):
        assert not strangers.is_flooding(name("192.0.2.1"))
    assert strangers.is_flooding(name("192.0.2.1"))
    assert not strangers.is_flooding(name("192.0.2.2"))
    for number in range(2 * NETWORKS_MAX):
        strangers.is_flooding(name(str(ipaddress.ip_address(0x0A000000 + number))))
    assert len(strangers._counts) <= NETWORKS_MAX
    strangers.forgive()
    assert not strangers.is_flooding(name("192.0.2.1"))
