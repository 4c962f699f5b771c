"""Where media goes when a client's address changes, and when somebody only says that it did."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from ice_client import IceClient, RecordingObserver, eventually, open_port, rtp_packet

from bridge.base.counters import DropReason
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.transport import MediaPort, Transport, TransportState
from bridge.transport.paths import QUESTION_INTERVALS_S
from bridge.transport.transport import PATH_SILENCE_S


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Moving:
    """A connected client with further sockets, as a laptop with several networks has them."""

    def __init__(self, port: MediaPort, stack: AsyncExitStack) -> None:
        self.port = port
        self.observer = RecordingObserver()
        self.transport = port.create_transport(self.observer)
        self.client = IceClient()
        self._stack = stack
        self._rows: Rows | None = None
        self._number = 0

    async def socket(self, host: str = "127.0.0.1", *, protocol: str = "udp") -> IceClient:
        other = IceClient()
        other.use_credentials(self.transport.local_ufrag, self.transport.local_pwd)
        # It takes media with the keys of the first one.
        other.dtls = self.client.dtls
        await other.open_path(host, self.port.port, protocol=protocol)
        self._stack.push_async_callback(other.vanish)
        return other

    def send_media(self) -> None:
        """Let the bridge send the next packet to the client."""
        if self._rows is None:
            self._rows = Rows(
                route=self.port.fanout.route([self.transport]),
                ssrc=[1],
                payload_type=[96],
                abs_send_time_id=[0],
                audio_level_id=[0],
            )
        self._number += 1
        self._rows.sequence_number[0] = self._number
        packet = MediaPacket(
            extended_sequence_number=self._number, timestamp=0, marker=False, payload=b"media", arrival=0.0
        )
        self.port.fanout.send(packet, self._rows, 1, 0.0)

    def leads_to(self, client: IceClient) -> bool:
        path = self.transport.selected_path
        return path is not None and (path.address, path.port) == client.local_address


@pytest.fixture
async def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def moving(clock: SettableClock) -> AsyncIterator[Moving]:
    port = await open_port(clock=clock, consent_timeout_s=60.0)
    async with AsyncExitStack() as stack:
        found = Moving(port, stack)
        await found.client.connect(port, found.transport)
        yield found
        await found.client.vanish()
    await port.close()


async def test_media_does_not_move_to_an_address_that_does_not_answer_for_it(moving: Moving) -> None:
    """An insider writes somebody else's address on a check with good keys."""
    victim = await moving.socket("127.0.0.1")
    victim.answers_checks = False
    for _ in range(5):
        await victim.check_until_answered()
        moving.send_media()
    await moving.client.until(lambda: len(moving.client.rtp) == 5)
    assert moving.leads_to(moving.client)
    assert victim.rtp == []
    # It was asked, a few times, by what is no larger than the checks were.
    await eventually(lambda: moving.port.counters.paths_unproven == 1)
    assert len(victim.stun_requests) == len(QUESTION_INTERVALS_S)
    assert len(moving.port.proofs) == 0


async def test_an_answer_with_the_wrong_keys_or_from_elsewhere_proves_nothing(moving: Moving) -> None:
    """The victim is a client of another transport, and answers checks as every ICE agent does."""
    victim = await moving.socket()
    victim.pwd = "the password of the victim"
    victim._receive_check = victim.stun_requests.append  # type: ignore[method-assign]
    await victim.check_until_answered()
    await victim.until(lambda: bool(victim.stun_requests))
    asked = victim.stun_requests[0]
    for sender, pwd in ((victim, victim.pwd), (moving.client, moving.client.pwd)):
        answer = type(asked)(asked.message_method, type(asked.message_class).RESPONSE, asked.transaction_id)
        answer.add_message_integrity(pwd.encode())
        before = moving.port.counters.dropped[DropReason.UNKNOWN_SOURCE]
        sender.send(bytes(answer))
        await eventually(lambda seen=before: moving.port.counters.dropped[DropReason.UNKNOWN_SOURCE] > seen)  # type: ignore[misc]
    assert moving.leads_to(moving.client)


async def test_media_follows_nominations_back_and_forth_without_a_loss(moving: Moving) -> None:
    sockets = [moving.client, *[await moving.socket() for _ in range(2)]]
    route = moving.port.fanout.route([moving.transport] * 2)
    route.refresh()
    for number in [1, 2, 0, 1, 0, 2, 1, 0] * 3:
        sockets[number].check()
        await eventually(lambda to=sockets[number]: moving.leads_to(to))  # type: ignore[misc]
        moving.send_media()
    await eventually(lambda: sum(len(one.rtp) for one in sockets) == 24)
    # Each address was asked once: what has answered lately need not answer again.
    assert [len(one.stun_requests) for one in sockets[1:]] == [1, 1]
    assert not route.is_stale
    assert moving.observer.states == [TransportState.CONNECTED]
    assert moving.port.counters.dropped[DropReason.REPLAYED] == 0


async def test_alternating_nominations_of_two_paths_keep_media_flowing_both_ways(moving: Moving) -> None:
    other = await moving.socket()
    await other.check_until_answered(nominates=False)
    for number in range(60):
        (moving.client, other)[number % 2].check()
        (other, moving.client)[number % 2].send(
            moving.client.dtls._tx_srtp.protect(rtp_packet(number, ssrc=7))
        )
        moving.send_media()
        await asyncio.sleep(0)
    await eventually(lambda: len(moving.observer.rtp) == 60)
    await eventually(lambda: len(moving.client.rtp) + len(other.rtp) == 60)
    assert moving.port.counters.dropped[DropReason.REPLAYED] == 0


async def test_tcp_then_udp(moving: Moving) -> None:
    stream = await moving.socket(protocol="tcp")
    stream.check()
    await eventually(lambda: moving.leads_to(stream))
    # A handshake of TCP went there and back: it need not be asked.
    assert stream.stun_requests == []
    moving.client.check()
    await eventually(lambda: moving.leads_to(moving.client))


async def test_a_copy_with_wrong_integrity_changes_nothing(moving: Moving) -> None:
    attacker = await moving.socket()
    attacker.check(pwd="not the password at all")
    await eventually(lambda: moving.port.counters.dropped[DropReason.BAD_INTEGRITY] == 1)
    assert moving.leads_to(moving.client)
    assert attacker.datagrams_received == 0
    assert len(moving.transport.paths) == 1


async def test_media_that_arrives_keeps_a_path_though_its_checks_are_lost(
    moving: Moving, clock: SettableClock
) -> None:
    other = await moving.socket()
    await other.check_until_answered(nominates=False)
    clock.now += PATH_SILENCE_S - 1
    moving.client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(moving.observer.rtp) == 1)
    clock.now += PATH_SILENCE_S - 1
    await other.check_until_answered(nominates=False)
    assert moving.leads_to(moving.client)
    assert other.stun_requests == []
    # Silent altogether, it gives way without a nomination.
    clock.now += 2.0
    await other.check_until_answered(nominates=False)
    await eventually(lambda: moving.leads_to(other))


async def test_an_address_that_sends_media_is_not_given_to_another_client(
    moving: Moving, clock: SettableClock
) -> None:
    thief = moving.port.create_transport(RecordingObserver())
    clock.now += PATH_SILENCE_S - 1
    moving.client.send_rtp(rtp_packet(1))
    await eventually(lambda: len(moving.observer.rtp) == 1)
    clock.now += PATH_SILENCE_S - 1
    moving.client.start_transport(thief)
    moving.client.check()
    await eventually(lambda: moving.port.counters.dropped[DropReason.UNKNOWN_SOURCE] == 1)
    assert thief.selected_path is None
    assert moving.leads_to(moving.client)


async def test_checks_to_another_local_address_move_media_only_when_they_nominate(moving: Moving) -> None:
    """A server with two addresses: a browser checks both of them from one socket."""
    both = await moving.socket()
    assert both._socket is not None
    both.check()
    await eventually(lambda: moving.leads_to(both))
    chosen = moving.transport.path
    # A socket that is not connected may talk to both.
    name = both.local_address
    both.close_path()
    await both.open_path("127.0.0.2", moving.port.port, bound_to=name)
    await both.check_until_answered(nominates=False)
    assert moving.transport.path is chosen
    await both.check_until_answered()
    assert moving.transport.path is not chosen
    assert moving.leads_to(both)
    moving.send_media()
    await both.until(lambda: len(both.rtp) == 1)


async def test_who_squats_on_an_address_loses_it_to_the_one_who_answers_there() -> None:
    port = await open_port()
    victim, squatter = IceClient(), IceClient()
    squatted = port.create_transport(RecordingObserver())
    squatter.start_transport(squatted)
    await victim.open_path("127.0.0.1", port.port)
    # Written on the squatter's check by raw sockets; here it borrows the victim's.
    squatter._socket = victim._socket
    squatter.check()
    await eventually(lambda: squatted.selected_path is not None)
    transport = port.create_transport(RecordingObserver())
    victim.start_transport(transport)
    victim.stun_responses.clear()
    victim.check()
    await eventually(lambda: transport.selected_path is not None)
    await eventually(lambda: squatted.selected_path is None)
    squatter.check()
    squatter._socket = None
    await victim.shake_hands(port.fingerprint)
    await eventually(lambda: transport.state is TransportState.CONNECTED)
    await victim.close()
    await port.close()


async def test_a_first_path_lost_in_the_handshake_is_not_replaced_by_a_mere_claim() -> None:
    """Media would go to whoever was named between the handshake's last two flights."""
    port = await open_port()
    client, victim = IceClient(), IceClient()
    transport = port.create_transport(RecordingObserver())
    client.start_transport(transport)
    victim.use_credentials(transport.local_ufrag, transport.local_pwd)
    victim.answers_checks = False
    await client.open_path("127.0.0.1", port.port, protocol="tcp")
    await client.check_until_answered()
    client.close_path()
    await eventually(lambda: transport.selected_path is None)
    await victim.open_path("127.0.0.1", port.port)
    await victim.check_until_answered()
    assert transport.selected_path is None
    await victim.vanish()
    await client.vanish()
    await port.close()


async def test_a_closed_transport_asks_no_more(moving: Moving) -> None:
    other = await moving.socket()
    other.answers_checks = False
    await other.check_until_answered()
    assert len(moving.port.proofs) == 1
    transport: Transport = moving.transport
    transport.close()
    assert len(moving.port.proofs) == 0
