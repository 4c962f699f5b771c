"""Whoever sends far more than it may is shut out by the kernel for a second, and nobody else is."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from ice_client import IceClient, RecordingObserver, eventually, open_port, rtp_packet

from bridge.base.counters import DropReason, PortCounters
from bridge.transport.floods import DROPS_PER_S, LOOK_S, OVERRUN_LOOKS, SHUT_OUT_MAX, SHUT_OUT_S, Floods
from bridge.transport.transport import CORE_BURST_S, CORE_SHARE, MEDIA_COST_S


class Later:
    """What is to be called when the second is over."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, delay_s: float, call: Callable[[bytes], None], name: bytes) -> "Later":
        assert delay_s >= SHUT_OUT_S
        self.calls.append(lambda: call(name))
        return self

    def cancel(self) -> None:
        self.calls.clear()


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, family: int, host: str) -> socket.socket:
    udp = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    if family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind((host, 0))
    udp.setblocking(False)
    return udp


def name_of(sender: socket.socket, *, is_mapped: bool = False) -> bytes:
    """Return the sockaddr that the kernel gives for what a socket sends."""
    host, port = sender.getsockname()[:2]
    if sender.family == socket.AF_INET and not is_mapped:
        return b"\x02\x00" + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(20)
    packed = (
        bytes(10) + b"\xff\xff" + socket.inet_aton(host)
        if is_mapped
        else socket.inet_pton(sender.family, host)
    )
    return b"\x0a\x00" + port.to_bytes(2, "big") + bytes(4) + packed + bytes(4)


def taken(udp: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(udp.recv(2048))
        except BlockingIOError:
            return found


def flood(floods: Floods, name: bytes, now: float = 0.0) -> float:
    """Return for how long it is shut out by that."""
    return [floods.dropped(name, now) for _ in range(DROPS_PER_S)][-1]


FAMILIES = [
    (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    (socket.AF_INET6, "::", "127.0.0.1"),
    (socket.AF_INET6, "::", "::1"),
]


@pytest.mark.parametrize(("family", "bound", "host"), FAMILIES)
def test_the_kernel_drops_what_comes_from_that_address_and_port_alone(
    sockets: ExitStack, family: int, bound: str, host: str
) -> None:
    udp = opened(sockets, family, bound)
    port = udp.getsockname()[1]
    own = socket.AF_INET if host == "127.0.0.1" else socket.AF_INET6
    busy, beside = (opened(sockets, own, host) for _ in range(2))
    # The same port of another address.
    elsewhere_host = "127.0.0.2" if own == socket.AF_INET else "127.0.0.1"
    elsewhere = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    elsewhere.bind((elsewhere_host, busy.getsockname()[1]))
    counters, later = PortCounters(), Later()
    floods = Floods(udp, counters, later=later)
    assert flood(floods, name_of(busy, is_mapped=family != own))
    for number in range(100):
        busy.sendto(b"flood", (host, port))
        beside.sendto(b"beside %d" % number, (host, port))
    elsewhere.sendto(b"elsewhere", ("127.0.0.1", port))
    assert taken(udp) == [*(b"beside %d" % number for number in range(100)), b"elsewhere"]
    # Those are not told as what the buffer had no room for.
    assert floods.overflows == 0
    assert counters.dropped[DropReason.FLOOD] == 100
    later.calls.pop()()
    busy.sendto(b"in peace", (host, port))
    assert taken(udp) == [b"in peace"]
    assert (floods.overflows, counters.dropped[DropReason.FLOOD]) == (0, 100)


def test_what_the_buffer_has_no_room_for_is_told_before_and_after_a_flood(sockets: ExitStack) -> None:
    udp = opened(sockets, socket.AF_INET, "127.0.0.1")
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sender = opened(sockets, socket.AF_INET, "127.0.0.1")
    counters, later = PortCounters(), Later()
    floods = Floods(udp, counters, later=later)

    def overflow() -> int:
        for _ in range(100):
            sender.sendto(bytes(1000), udp.getsockname())
        return 100 - len(taken(udp))

    before = overflow()
    assert before > 50
    assert floods.overflows == before
    assert flood(floods, name_of(sender))
    assert overflow() == 100
    later.calls.pop()()
    assert floods.overflows == before
    again = overflow()
    assert floods.overflows == before + again
    assert counters.dropped[DropReason.FLOOD] == 100


def test_who_goes_on_when_it_is_let_in_is_shut_out_for_longer_each_time(sockets: ExitStack) -> None:
    udp = opened(sockets, socket.AF_INET, "127.0.0.1")
    later = Later()
    floods = Floods(udp, PortCounters(), later=later)
    name = name_of(udp)
    now, terms = 0.0, []
    for _ in range(6):
        terms.append(flood(floods, name, now))
        now += terms[-1] + 0.5
        later.calls.pop()()
    assert terms == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    # Who has kept quiet for a while begins anew, as does who never flooded.
    assert flood(floods, name, now + 2.0) == SHUT_OUT_S
    assert flood(floods, name_of(opened(sockets, socket.AF_INET, "127.0.0.1")), now) == SHUT_OUT_S


def test_a_little_too_much_in_a_second_is_no_flood(sockets: ExitStack) -> None:
    udp = opened(sockets, socket.AF_INET, "127.0.0.1")
    floods = Floods(udp, PortCounters(), later=Later())
    name = name_of(udp)
    for second in range(10):
        assert not any(floods.dropped(name, float(second)) for _ in range(DROPS_PER_S - 1))


def test_addresses_shut_out_at_once_and_counted_are_bounded(
    sockets: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    udp = opened(sockets, socket.AF_INET6, "::")
    later = Later()
    floods = Floods(udp, PortCounters(), later=later)
    names = [b"\x0a\x00" + number.to_bytes(2, "big") + bytes(24) for number in range(1, 3000)]
    for name in names:
        floods.dropped(name, 0.0)
    assert len(floods._dropped) <= 1000
    assert sum(flood(floods, name, 1.0) for name in names[: 2 * SHUT_OUT_MAX]) == SHUT_OUT_MAX
    # The kernel has taken the longest program; one address has one line a minute.
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["::"]
    floods.close()
    assert not later.calls


@pytest.mark.parametrize(
    ("packets", "share", "is_shut_out"),
    [(500, 0.9, True), (500, 0.4, False), (200, 0.9, False)],
    ids=["a flood", "a crowd", "a slow machine"],
)
def test_who_fills_most_of_a_buffer_that_runs_over_again_and_again_is_shut_out(
    sockets: ExitStack, packets: int, share: float, is_shut_out: bool
) -> None:
    udp = opened(sockets, socket.AF_INET, "127.0.0.1")
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    senders = [opened(sockets, socket.AF_INET, "127.0.0.1") for _ in range(3)]
    later = Later()
    floods = Floods(udp, PortCounters(), later=later)

    def overrun(now: float) -> None:
        for _ in range(100):
            senders[0].sendto(bytes(1000), udp.getsockname())
        taken(udp)
        if floods.is_overrun:
            others = [name_of(one) for one in senders[1:]]
            floods.taken([name_of(senders[0])] * round(packets * share))
            floods.taken(others * round(packets * (1 - share) / 2))
        floods.look(now)

    # Once, when the process was held up, and in peace again.
    overrun(0.0)
    floods.look(LOOK_S)
    assert not floods.is_overrun
    for look in range(2, 3 + OVERRUN_LOOKS):
        assert not later.calls
        overrun(look * 1.01 * LOOK_S)
    assert bool(later.calls) is is_shut_out
    senders[0].sendto(b"more", udp.getsockname())
    senders[1].sendto(b"beside", udp.getsockname())
    assert taken(udp) == [*([] if is_shut_out else [b"more"]), b"beside"]


async def test_a_client_that_floods_is_heard_again_and_costs_others_nothing() -> None:
    now = [1000.0]
    port = await open_port(clock=lambda: now[0], consent_timeout_s=60.0)
    later = Later()
    port._floods._later = later
    observers = [RecordingObserver() for _ in range(2)]
    clients = [IceClient() for _ in range(2)]
    for observer, client in zip(observers, clients, strict=True):
        await client.connect(port, port.create_transport(observer))
    (flooding, flooded), (other, others) = zip(clients, observers, strict=True)
    number = 0
    while not later.calls:
        flooding.send_rtp(rtp_packet(number))
        number += 1
        if number % 100 == 0:
            handled = number
            await eventually(
                lambda handled=handled: (  # type: ignore[misc]
                    later.calls
                    or len(flooded.rtp) + port.counters.dropped[DropReason.RATE_LIMITED] >= handled
                )
            )
    assert len(flooded.rtp) <= CORE_BURST_S / MEDIA_COST_S
    before = port.counters.datagrams_received
    for sent in range(200):
        flooding.send_rtp(rtp_packet(number + sent))
        other.send_rtp(rtp_packet(sent))
    await eventually(lambda: len(others.rtp) == 200)
    # Not even read.
    assert port.counters.datagrams_received - before == 200
    now[0] += SHUT_OUT_S
    later.calls.pop()()
    # It has not saved up for another second of flood: a hundredth of one later it has that much and no more.
    now[0] += 0.01
    taken_before = len(flooded.rtp)
    for sent in range(100):
        flooding.send_rtp(rtp_packet(number + 200 + sent))
    await eventually(lambda: port.counters.datagrams_received - before == 300)
    assert 0 < len(flooded.rtp) - taken_before <= 0.01 * CORE_SHARE / MEDIA_COST_S + 1
    assert port.counters.dropped[DropReason.FLOOD] == 200
    assert port.receive_overflows == 0
    for client in clients:
        await client.close()
    await port.close()


async def test_who_was_in_debt_is_heard_as_soon_as_it_is_let_in() -> None:
    """A slow machine charges what its own slowness costs: nobody is shut out again and again for that."""
    now = [1000.0]
    port = await open_port(clock=lambda: now[0], consent_timeout_s=60.0)
    later = Later()
    port._floods._later = later
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient()
    await client.connect(port, transport)
    transport.budget.charge(CORE_BURST_S + 0.4, now[0])
    for number in range(DROPS_PER_S):
        client.send_rtp(rtp_packet(number))
    await eventually(lambda: bool(later.calls))
    assert observer.rtp == []
    now[0] += SHUT_OUT_S + 0.01
    later.calls.pop()()
    client.send_rtp(rtp_packet(DROPS_PER_S))
    await eventually(lambda: len(observer.rtp) == 1)
    await client.close()
    await port.close()
