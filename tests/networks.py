"""Broken networks for single pages: one without UDP, and a line that can be cut."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = "/usr/bin/chromium"

LOOPBACK = "127.0.0.1"
PREFIX = "hc"
# What a page does to its answers where nobody may make network namespaces.
HIDE_UDP = """
const original = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  return original.call(this, { type, sdp: sdp.replace(/a=candidate:\\S+ 1 udp .*\\r\\n/g, "") });
};
"""
DROP_UDP = """
table inet clinic {
    counter thrown_away { }
    chain leaving {
        type filter hook output priority 0;
        meta l4proto udp counter name thrown_away drop;
    }
    chain coming {
        type filter hook input priority 0;
        meta l4proto udp counter name thrown_away drop;
    }
}
"""


@dataclass(frozen=True, slots=True)
class Network:
    """Where one browser lives: how to start it there, how it reaches this machine, what its UDP meets."""

    chromium: str
    server_host: str
    init_script: str = ""
    # What goes before a command that is to run there, and what its devices and rules are called.
    enter: tuple[str, ...] = ()
    name: str = ""

    @property
    def is_own(self) -> bool:
        """Whether this is a network of its own and not this machine's."""
        return bool(self.enter)

    def drop_udp(self) -> None:
        """Throw away all UDP from now on."""
        _run(*self.enter, "nft", "-f", "-", text=DROP_UDP)

    def lose_udp(self, *, up: float = 0.0, down: float = 0.0) -> None:
        """Lose these shares of all UDP packets from now on, each packet by itself."""
        # Not where packets leave: a browser is told that they did not, and sends them again.
        for enter, device, share in ((self.enter, f"{self.name}b", down), ((), f"{self.name}a", up)):
            _run(
                *enter,
                *("nft", "-f", "-"),
                text=f"""
                    table netdev {self.name}
                    delete table netdev {self.name}
                    table netdev {self.name} {{
                        chain coming {{
                            type filter hook ingress device "{device}" priority 0;
                            ip protocol udp numgen random mod 1000 < {round(1000 * share)} drop;
                        }}
                    }}
                """,
            )

    def udp_dropped(self) -> int:
        """Return how many UDP packets the firewall has thrown away."""
        listed = json.loads(_run(*self.enter, "nft", "--json", "list", "counters"))
        return sum(one["counter"]["packets"] for one in listed["nftables"] if "counter" in one)


@dataclass(frozen=True, slots=True)
class TwoLines:
    """A browser with two networks for its media, as a laptop on a cable and on 4G, and one for the rest."""

    chromium: str
    # This machine's address on the line for HTTP and WebSocket, and on those for media.
    server_host: str
    media_hosts: tuple[str, str]
    # Cuts the line on which this machine has an address.
    cut: Callable[[str], None]


def _run(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=10).stdout


def _delete_left_behind() -> None:
    """Delete the namespaces of test runs that were killed."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        number = name.removeprefix(PREFIX)
        if number != name and number.isdigit() and not Path(f"/proc/{number}").exists():
            _run("ip", "netns", "delete", name)


@contextmanager
def clinic(directory: Path) -> Iterator[Network]:
    """A network namespace of its own, linked to this machine; needs root."""
    _delete_left_behind()
    # Names of interfaces have at most 15 characters; two runs at a time must not meet.
    name = f"{PREFIX}{os.getpid()}"
    third, fourth = os.getpid() >> 6 & 0xFF, (os.getpid() & 0x3F) << 2
    here, there = f"10.213.{third}.{fourth + 1}", f"10.213.{third}.{fourth + 2}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _run("ip", "address", "add", f"{here}/30", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        for device in ("lo", f"{name}b"):
            _run("ip", "-n", name, "link", "set", device, "up")
        _run("ip", "-n", name, "address", "add", f"{there}/30", "dev", f"{name}b")
        chromium = directory / "chromium-in-the-clinic"
        chromium.write_text(f'#!/bin/sh\nexec ip netns exec {name} {CHROMIUM} "$@"\n', encoding="utf-8")
        chromium.chmod(0o755)
        yield Network(str(chromium), here, enter=("ip", "netns", "exec", name), name=name)
    finally:
        # The veth pair goes with the namespace.
        _run("ip", "netns", "delete", name)
        _run("nft", "-f", "-", text=f"table netdev {name}\ndelete table netdev {name}\n")


@contextmanager
def without_udp(directory: Path) -> Iterator[Network]:
    """A network whose firewall drops all UDP.

    Without root the page hides the candidates instead, which leaves out only the time that ICE takes to
    find UDP dead.
    """
    if os.geteuid() != 0:
        yield Network(CHROMIUM, LOOPBACK, HIDE_UDP)
        return
    with clinic(directory) as network:
        network.drop_udp()
        yield network


@contextmanager
def two_lines(directory: Path) -> Iterator[TwoLines]:
    """A network namespace with three lines to this machine, of which one carries no UDP; needs root."""
    _delete_left_behind()
    name = f"{PREFIX}{os.getpid()}"
    third, fourth = os.getpid() >> 5 & 0xFF, (os.getpid() & 0x1F) << 3
    _run("ip", "netns", "add", name)
    devices: dict[str, str] = {}
    try:
        for number, letter in enumerate("cde"):
            here, there = (f"10.{214 + number}.{third}.{fourth + last}" for last in (1, 2))
            outside, inside = f"{name}{letter}", f"{name}{letter.upper()}"
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            _run("ip", "address", "add", f"{here}/30", "dev", outside)
            _run("ip", "link", "set", outside, "up")
            _run("ip", "-n", name, "address", "add", f"{there}/30", "dev", inside)
            _run("ip", "-n", name, "link", "set", inside, "up")
            devices[here] = inside
        _run("ip", "-n", name, "link", "set", "lo", "up")
        page_host, *media_hosts = devices
        _run(
            *("ip", "netns", "exec", name, "nft", "-f", "-"),
            text=f"""
                table inet lines {{
                    chain leaving {{
                        type filter hook output priority 0;
                        oifname "{devices[page_host]}" meta l4proto udp drop;
                    }}
                }}
            """,
        )
        chromium = directory / "chromium-on-two-lines"
        chromium.write_text(f'#!/bin/sh\nexec ip netns exec {name} {CHROMIUM} "$@"\n', encoding="utf-8")
        chromium.chmod(0o755)
        yield TwoLines(
            str(chromium),
            page_host,
            (media_hosts[0], media_hosts[1]),
            lambda host: _run("ip", "-n", name, "link", "set", devices[host], "down") and None,
        )
    finally:
        _run("ip", "netns", "delete", name)


class Line:
    """A TCP line to a port of this machine, for a page's HTTP and WebSocket, that can be cut and mended."""

    def __init__(self, port: int, *, host: str = LOOPBACK) -> None:
        self.port = 0
        self._host = host
        self.connections = 0
        self._server_port = port
        self._is_cut = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Break all connections, and every new one, until the end."""
        self._is_cut = True
        try:
            self._break_all()
            yield
        finally:
            self._is_cut = False

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._break_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_cut:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            onward = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, onward[1])
        self._writers.update(pair)
        await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer))
        self._writers.difference_update(pair)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
