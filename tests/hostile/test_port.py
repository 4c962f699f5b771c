"""What one client, one stranger, or a crowd may cost the media port: measured in a process of its own."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from aioice import stun
from garbage import stun_of_empty_attributes
from ice_client import CERTIFICATE, IceClient, rtp_packet
from port_process import PortProcess, port_process

pytestmark = pytest.mark.timeout(120)

FINGERPRINTS = [(one.algorithm, one.value) for one in CERTIFICATE.getFingerprints()]
WRONG = "wrong password of 24 char"
CROWD = 100
BACK_WITHIN_S = 15.0
LAG_MAX_S = 0.25
# An attack at the speed of a good line, for a short while.
ATTACK_S = 2.0
DATAGRAMS_PER_S = 20_000
BURSTS_PER_S = 200
CORE_SHARE_MAX = 0.5
HALF_HELLOS = 1000
HALF_HELLO_BYTES_MAX = 200_000


@contextmanager
def port(count: int) -> Iterator[PortProcess]:
    with port_process(count, FINGERPRINTS) as process:
        yield process


async def join(
    process: PortProcess, number: int, *, protocol: str = "udp", host: str = "127.0.0.1"
) -> IceClient:
    client = IceClient()
    client.use_credentials(*process.credentials[number])
    await client.open_path(host, process.port, protocol=protocol)
    await client.check_until_answered()
    await client.shake_hands(process.fingerprint)
    assert client.dtls.state == "connected"
    return client


async def test_a_hundred_sites_with_two_connections_each_come_back_at_once_through_one_address() -> None:
    with port(CROWD) as process:
        spare = [
            await asyncio.to_thread(socket.create_connection, ("127.0.0.1", process.port))
            for _ in range(CROWD)
        ]
        process.report()
        began = time.monotonic()
        clients = await asyncio.gather(*(join(process, number, protocol="tcp") for number in range(CROWD)))
        for client in clients:
            client.send_rtp(rtp_packet(1))
        while (report := process.report())["received"] != [1] * CROWD:
            assert time.monotonic() - began < BACK_WITHIN_S, report
            await asyncio.sleep(0.05)
        assert report["states"] == ["connected"] * CROWD
        assert report["lag_s"] < LAG_MAX_S
        assert report["dropped"] == {}
        for client in clients:
            await client.vanish()
        for one in spare:
            one.close()


def check(credentials: tuple[str, str], *, pwd: str | None = None) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{credentials[0]}:cl1e"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 2
    message.add_message_integrity((pwd or credentials[1]).encode())
    return bytes(message)


def flood(sender: socket.socket, data: bytes, over: Callable[[], bool]) -> int:
    """Send at a steady rate; return how many went out."""
    sent = 0
    due = time.monotonic()
    while not over():
        for _ in range(DATAGRAMS_PER_S // BURSTS_PER_S):
            with suppress(BlockingIOError, ConnectionRefusedError):
                sender.send(data)
                sent += 1
        due = max(due + 1 / BURSTS_PER_S, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))
    return sent


async def attacked(process: PortProcess, attack: Callable[[Callable[[], bool]], int]) -> dict[str, Any]:
    """Attack while somebody else speaks; return what it has cost, and what it was."""
    speaker = await join(process, 0, host="::1")
    before = process.cpu_s()
    process.report()
    began = time.monotonic()
    running = asyncio.create_task(asyncio.to_thread(attack, lambda: time.monotonic() - began > ATTACK_S))
    sent = 0
    while not running.done():
        sent += 1
        speaker.send_rtp(rtp_packet(sent))
        await asyncio.sleep(0.02)
    took_s = time.monotonic() - began
    share = (process.cpu_s() - before) / took_s
    deadline = time.monotonic() + 5.0
    while (report := process.report())["received"][0] < sent:
        assert time.monotonic() < deadline, report
        await asyncio.sleep(0.05)
    await speaker.vanish()
    return {**report, "share": share, "sent": await running, "expected": DATAGRAMS_PER_S * ATTACK_S}


def refused(cost: dict[str, Any]) -> int:
    """Return how many datagrams the port has dropped unread, or had the kernel drop."""
    return sum(cost["dropped"].get(reason, 0) for reason in ("rate-limited", "flood"))


ATTACKS: dict[str, Callable[[PortProcess], bytes]] = {
    "empty attributes": lambda process: stun_of_empty_attributes(2048),
    "empty attributes in one datagram": lambda process: stun_of_empty_attributes(1472),
    "checks with a wrong password": lambda process: check(process.credentials[1], pwd=WRONG),
    "checks for nobody": lambda process: check(("nobody", "password")),
    "noise": lambda process: b"\xff" * 64,
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_stranger_cannot_keep_the_core_busy(name: str) -> None:
    with port(2) as process:
        data = ATTACKS[name](process)

        def attack(over: Callable[[], bool]) -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.setblocking(False)
                stranger.connect(("127.0.0.1", process.port))
                return flood(stranger, data, over)

        cost = await attacked(process, attack)
    assert cost["sent"] > 0.2 * cost["expected"]
    assert refused(cost) > 0.5 * cost["sent"]
    assert cost["share"] < CORE_SHARE_MAX, cost
    assert cost["lag_s"] < LAG_MAX_S


@pytest.mark.parametrize("what", ["media", "forged media", "checks", "forged checks", "DTLS"])
async def test_a_client_cannot_keep_the_core_busy_by_udp(what: str) -> None:
    with port(2) as process:
        client = await join(process, 1)
        data = {
            "media": client.dtls._tx_srtp.protect(rtp_packet(1)),
            "forged media": rtp_packet(1) + bytes(500),
            "checks": check(process.credentials[1]),
            "forged checks": check(process.credentials[1], pwd=WRONG),
            "DTLS": b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x40" + bytes(64),
        }[what]
        sender = client._socket
        assert sender is not None
        cost = await attacked(process, lambda over: flood(sender, data, over))
        await client.vanish()
    assert cost["sent"] > 0.2 * cost["expected"]
    assert refused(cost) > 0.3 * cost["sent"]
    assert cost["share"] < CORE_SHARE_MAX, cost
    assert cost["lag_s"] < LAG_MAX_S


@pytest.mark.parametrize("what", ["empty frames", "frames of one byte", "checks", "media"])
async def test_a_client_cannot_keep_the_core_busy_by_tcp(what: str) -> None:
    with port(2) as process:
        client = await join(process, 1, protocol="tcp")
        assert client._writer is not None
        connection = client._writer.get_extra_info("socket")
        frames = {
            "empty frames": b"\x00\x00" * 100_000,
            "frames of one byte": b"\x00\x01\x55" * 50_000,
            "checks": framed(check(process.credentials[1])) * 1000,
            "media": b"",
        }[what]
        session = client.dtls._tx_srtp

        def attack(over: Callable[[], bool]) -> int:
            sent = number = 0
            while not over():
                data = frames
                if not data:
                    data = b"".join(
                        framed(session.protect(rtp_packet(one))) for one in range(number, number + 200)
                    )
                    number += 200
                try:
                    sent += connection._sock.send(data)
                except BlockingIOError:
                    time.sleep(0.005)
                except OSError:
                    # It was cut off.
                    break
            return sent

        cost = await attacked(process, attack)
        await client.vanish()
    assert cost["sent"] > 0
    assert cost["share"] < CORE_SHARE_MAX, cost
    assert cost["lag_s"] < LAG_MAX_S
    if what == "media":
        # It is not cut off: it has its share, and waits for the rest.
        assert cost["received"][1] > 1000
    else:
        assert cost["dropped"]["tcp-refused"] >= 1


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


async def test_half_a_hello_of_each_of_a_thousand_clients_takes_bounded_memory() -> None:
    with port(HALF_HELLOS) as process:
        before = process.resident_bytes()
        # The first of two fragments of a ClientHello of 1,700 bytes.
        body = (
            b"\x01"
            + (1700).to_bytes(3, "big")
            + bytes(2)
            + bytes(3)
            + (1100).to_bytes(3, "big")
            + bytes(1100)
        )
        half = b"\x16\xfe\xff" + bytes(8) + len(body).to_bytes(2, "big") + body
        sockets = []
        for number, credentials in enumerate(process.credentials):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.connect(("127.0.0.1", process.port))
            one.send(check(credentials))
            one.settimeout(10)
            one.recv(2048)
            one.send(half)
            one.send(half)
            sockets.append(one)
            if number % 100 == 0:
                await asyncio.sleep(0)
        report = process.report()
        grown = process.resident_bytes() - before
        for one in sockets:
            one.close()
    assert report["states"] == ["new"] * HALF_HELLOS
    assert report["lag_s"] < LAG_MAX_S
    assert grown < HALF_HELLOS * HALF_HELLO_BYTES_MAX, grown
