"""Network namespaces for pages, each behind one end of a shaped line; needs root and /dev/net/tun.

The line itself is `benchmarks.networks.line`, in a process of its own that moves the kernel's packets through
it (`benchmarks.networks.shaper`). Devices go with that process, namespaces here; what a killed run left
behind goes at the next start.
"""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.networks.shaper import Measured, Setup, shape

PREFIX = "hl"
TUN = Path("/dev/net/tun")
ANSWER_WITHIN_S = 10.0
# Packets that wait in the kernel while the line does not run: a second of 4,000 a second.
QUEUE = "4000"


def lacking() -> str | None:
    """Return what this machine lacks for shaped lines, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if not TUN.exists():
        return "needs /dev/net/tun"
    return None


@dataclass
class Tunnel:
    """A shaped line between this machine and some namespaces."""

    # This machine's address on the line, and that of each namespace.
    host: str
    addresses: tuple[str, ...]
    namespaces: tuple[str, ...]
    _connection: Connection

    def enter(self, site: int) -> tuple[str, ...]:
        """Return what goes before a command that is to run in a site's namespace."""
        return ("ip", "netns", "exec", self.namespaces[site])

    def begin(self, at: float) -> None:
        """Put the case's line in the place of the open one, at that time of its schedule.

        Before 0 it has the first values of its schedule, and loses nothing.
        """
        self._connection.send(("begin", at))
        self._answer()

    def finish(self) -> Measured:
        """Return what went over the line since its time was 0, and open it."""
        self._connection.send(("finish", 0.0))
        measured = self._answer()
        assert isinstance(measured, Measured)
        return measured

    def _answer(self) -> Any:
        if not self._connection.poll(ANSWER_WITHIN_S):
            raise TimeoutError("the line does not answer")
        return self._connection.recv()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


def delete_left_behind() -> None:
    """Delete the namespaces of runs that were killed."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner, _, site = name.removeprefix(PREFIX).partition("s")
        is_ours = name.startswith(PREFIX) and owner.isdigit() and site.isdigit()
        if is_ours and not Path(f"/proc/{owner}").exists():
            for process in _run("ip", "netns", "pids", name).split():
                os.kill(int(process), signal.SIGKILL)
            _run("ip", "netns", "delete", name)


@contextmanager
def tunnel(setup: Setup, extra_delays_s: Sequence[float] = (0.0,)) -> Iterator[Tunnel]:
    """A line to one namespace for each of the extra delays; it is open until it is told to begin."""
    delete_left_behind()
    pid = os.getpid()
    # Two runs at a time must not meet: 2,048 networks of 30 addresses, by the number of the process.
    third, fourth = pid >> 3 & 0xFF, (pid & 0x7) << 5
    host = f"10.219.{third}.{fourth + 1}"
    addresses = tuple(f"10.219.{third}.{fourth + 2 + site}" for site in range(len(extra_delays_s)))
    namespaces = tuple(f"{PREFIX}{pid}s{site}" for site in range(len(extra_delays_s)))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=shape, args=(setup, f"{PREFIX}{pid}", addresses, tuple(extra_delays_s), there), daemon=True
    )
    made: list[str] = []
    process.start()
    there.close()
    try:
        line = Tunnel(host, addresses, namespaces, here)
        devices = line._answer()
        _run("ip", "address", "add", f"{host}/27", "dev", devices[0])
        _run("ip", "link", "set", devices[0], "txqueuelen", QUEUE, "up")
        for device, name, address in zip(devices[1:], namespaces, addresses, strict=True):
            _run("ip", "netns", "add", name)
            made.append(name)
            _run("ip", "link", "set", device, "netns", name)
            _run("ip", "-n", name, "address", "add", f"{address}/27", "dev", device)
            for one in ("lo", device):
                _run("ip", "-n", name, "link", "set", one, "txqueuelen", QUEUE, "up")
        yield line
    finally:
        here.close()
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join()
        for name in made:
            _run("ip", "netns", "delete", name)
