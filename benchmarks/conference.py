"""How much a conference costs the server, and how well it is served: one JSON line.

Starts a real server process on one core and light bots (`benchmarks.bots`) in another process on another
core, measures the floor (`benchmarks.floor`) in the same run, and reads the server's CPU time over the
steady window.
"""

import argparse
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks import floor
from benchmarks.bots import Plan
from bridge.base.words import Level, Role
from bridge.tokens import Tokens, load_secret

START_TIMEOUT_S = 20.0
ROOM = "bench"
SATURATED_PER_S = 69_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who is in the conference; `receivers` come on top of the publishers."""

    publishers: int
    receivers: int
    thumbnails: int
    is_simulcast: bool
    joins_per_s: float


def scenario(name: str, points: int) -> Scenario:
    """The three conferences of the bench."""
    if name == "full":
        return Scenario(points, 0, 9, True, 5.0)
    return Scenario(1, points, 0, False, 20.0)


@dataclass(frozen=True, slots=True)
class Ports:
    """Free loopback ports for one server."""

    http: int
    media: int
    admin: int


def free_ports() -> Ports:
    """Three ports that were free a moment ago, for TCP and UDP alike."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < 3:
            tcp = stack.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                found.append(port)
    return Ports(*found)


def invitations(state_dir: Path, count: int, publishers: int) -> list[str]:
    """The chair's invitation first; those who only watch are observers."""
    tokens = Tokens(load_secret(state_dir / "token-secret"))
    roles = [Role.CHAIR, *[Role.EXPERT] * (publishers - 1), *[Role.OBSERVER] * (count - publishers)]
    return [
        tokens.invitation(
            room=ROOM,
            title="Bench",
            site=f"Điểm cầu {index}",
            level=Level.PROVINCE if index else Level.CENTRAL,
            role=role,
            lifetime_s=86400,
            name=f"Bot {index}",
        )
        for index, role in enumerate(roles)
    ]


@contextlib.contextmanager
def running_server(
    ports: Ports, state_dir: Path, core: int, log: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process on one core, ready when yielded, ended by SIGTERM; `settings` by their variables."""
    with launched(ports, state_dir, log, settings, core=core) as process:
        _wait_until_ready(process, f"http://127.0.0.1:{ports.admin}/readyz", log)
        yield process


@contextlib.contextmanager
def launched(
    ports: Ports, state_dir: Path, log: Path, settings: Mapping[str, str], *, core: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that has just been started, ended by SIGTERM."""
    cores = os.sched_getaffinity(0) if core is None else {core}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOICHAN_")}
    environment |= {
        "HOICHAN_NODE_STATE_DIR": str(state_dir),
        "HOICHAN_NODE_DRAIN_S": "0",
        "HOICHAN_HTTP_PORT": str(ports.http),
        "HOICHAN_MEDIA_PORT": str(ports.media),
        "HOICHAN_ADMIN_PORT": str(ports.admin),
        "HOICHAN_ROOMS_PARTICIPANTS_MAX": "5000",
        **settings,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "serve", "--http"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=1) as reply:
            if reply.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server did not become ready:\n{log.read_text(errors='replace')[-4000:]}")


def run_bots(plan: Plan, core: int) -> dict[str, Any]:
    """Run the bots to their end and return what they saw."""
    command = [sys.executable, "-m", "benchmarks.bots", "--core", str(core), "-"]
    process = subprocess.run(
        command, input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=False
    )
    lines = process.stdout.splitlines()
    if not lines:
        raise SystemExit("the bots ended without a result")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def confer(
    chosen: Scenario,
    state_dir: Path,
    log: Path,
    *,
    seconds: float,
    settle_s: float,
    cores: tuple[int, int],
    settings: Mapping[str, str] = MappingProxyType({}),
    beside: Callable[[Ports], AbstractContextManager[None]] = lambda _: contextlib.nullcontext(),
) -> dict[str, Any]:
    """Hold one conference; return what its bots saw.

    `cores` are the server's and the bots'. `beside` is what goes on at the same time: entered when the
    server is ready, left when the bots have gone.
    """
    ports = free_ports()
    plan = Plan(
        url=f"http://127.0.0.1:{ports.http}",
        invitations=invitations(state_dir, chosen.publishers + chosen.receivers, chosen.publishers),
        publishers=chosen.publishers,
        thumbnails=chosen.thumbnails,
        is_simulcast=chosen.is_simulcast,
        seconds=seconds,
        settle_s=settle_s,
        joins_per_s=chosen.joins_per_s,
        server_pid=0,
        media_port=ports.media,
    )
    with running_server(ports, state_dir, cores[0], log, settings) as server, beside(ports):
        return run_bots(replace(plan, server_pid=server.pid), cores[1])


def measure(name: str, points: int, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """One scenario from start to end."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the bots")
    chosen = scenario(name, points)
    if options.joins_per_s:
        chosen = replace(chosen, joins_per_s=options.joins_per_s)
    server_core, bots_core = cores[0], cores[1]
    paced = floor.in_child(points, options.floor_seconds, speed=1.0)
    saturated = floor.in_child(
        points, options.floor_seconds, speed=max(1.0, SATURATED_PER_S / (230 * points))
    )
    os.sched_setaffinity(0, {bots_core})
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as directory:
        state_dir = Path(directory)
        log = Path(options.log) if options.log else state_dir / "server.log"
        seen = confer(
            chosen, state_dir, log, seconds=seconds, settle_s=options.settle, cores=(server_core, bots_core)
        )
    forwarded_us = seen["server_cpu_us_per_forwarded_packet"]
    return {
        "scenario": name,
        **seen,
        "points": points,
        "floor_us_per_packet": round(paced.us_per_packet, 2),
        "floor_protect_us": round(paced.protect_us, 2),
        "floor_send_us": round(paced.send_us, 2),
        "floor_saturated_us_per_packet": round(saturated.us_per_packet, 2),
        "times_the_floor": round(forwarded_us / paced.us_per_packet, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=("lecture", "full", "ceremony"), default="lecture")
    parser.add_argument("--points", type=int, default=30, help="receivers; in full, participants")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the steady window")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds from last join to window")
    parser.add_argument("--floor-seconds", type=float, default=3.0, help="length of each floor measurement")
    parser.add_argument("--joins-per-s", type=float, default=0.0, help="0: the scenario's own")
    parser.add_argument("--log", default="", help="keep the server's output here")
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    result = measure(options.scenario, options.points, options.seconds, options)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for key, value in result.items():
            print(f"{key:36} {value}")
    sys.exit(1 if result["join_failures"] else 0)


if __name__ == "__main__":
    main()
