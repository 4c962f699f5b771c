"""What an attack costs the server while a conference goes on, and what the conference notices: one line each.

The lecture of `benchmarks.conference` is held once in peace and once beside each attack of
`benchmarks.attacks`, on a fresh server each time. The attack begins before anybody joins.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.attacks import ATTACKS, NETWORK, STRANGER, Target
from benchmarks.conference import ROOM, Ports, confer, scenario
from bridge.base.words import Level, Role
from bridge.tokens import Tokens, load_secret

HELD = (
    "server_cpu_percent",
    "packets_out_per_s",
    "loss_ratio",
    "latency_ms",
    "join_failures",
    "server_socket_drops",
    "websockets_lost",
)


@contextmanager
def attackers_addresses() -> Iterator[None]:
    """Let the attackers' addresses be this machine's own: loopback's are never limited."""
    routes = [["local", STRANGER, "dev", "lo"], ["local", str(NETWORK), "dev", "lo"]]
    for route in routes:
        subprocess.run(["ip", "route", "replace", *route], check=True)
    try:
        yield
    finally:
        for route in routes:
            subprocess.run(["ip", "route", "del", *route], check=True)


@contextmanager
def attacked(name: str, target: Target, core: int) -> Iterator[list[dict[str, int]]]:
    """Attack until left; what the attack has said of itself is in the list then."""
    said: list[dict[str, int]] = []
    command = [
        sys.executable,
        "-m",
        "benchmarks.attacks",
        "--core",
        str(core),
        name,
        json.dumps(asdict(target)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield said
        if process.poll() is not None:
            raise SystemExit(f"{name} ended before the conference")
    finally:
        process.kill()
        output, _ = process.communicate()
        said.extend(json.loads(line) for line in output.splitlines() if line.endswith(b"}"))


def conference(name: str | None, options: argparse.Namespace, cores: tuple[int, int]) -> dict[str, Any]:
    """One conference from start to end, in peace (None) or attacked."""
    said: list[list[dict[str, int]]] = []
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as directory:
        state_dir = Path(directory)

        @contextmanager
        def beside(ports: Ports) -> Iterator[None]:
            if name is None:
                yield
                return
            target = Target(ports.http, ports.media, invitation(state_dir))
            with attacked(name, target, cores[1]) as lines:
                said.append(lines)
                yield

        seen = confer(
            scenario("lecture", options.points),
            state_dir,
            state_dir / "server.log",
            seconds=options.seconds,
            settle_s=options.settle,
            cores=cores,
            beside=beside,
        )
    last = said[0][-1] if said and said[0] else {}
    return {"attack": name, **last, **{key: seen[key] for key in HELD}}


def invitation(state_dir: Path) -> str:
    """One more point's, of those who only watch and ask."""
    return Tokens(load_secret(state_dir / "token-secret")).invitation(
        room=ROOM,
        title="Bench",
        site="Điểm cầu đáng ngờ",
        level=Level.COMMUNE,
        role=Role.EXPERT,
        lifetime_s=86400,
        name="Insider",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each steady window")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds from last join to window")
    parser.add_argument("--only", choices=ATTACKS, action="append", help="this attack; may be repeated")
    parser.add_argument("--json", action="store_true", help="lines of JSON instead of a table")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the bots")
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {cores[1]})
    if os.geteuid() != 0:
        raise SystemExit("only root can give the attackers addresses of their own")
    with attackers_addresses():
        for name in (None, *(options.only or ATTACKS)):
            result = conference(name, options, (cores[0], cores[1]))
            if options.json:
                print(json.dumps(result, ensure_ascii=False), flush=True)
                continue
            print(
                f"{name or 'in peace':40} core {result['server_cpu_percent']:5.1f} %"
                f"  p99 {result['latency_ms']['p99']} ms  loss {result['loss_ratio']:.4f}"
                f"  sent {result.get('sent', 0)}  refused {result.get('refused', 0)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
