"""What a composition does to the conference that is held beside it, on the same cores.

The same conference is held with and without a composition running, in turn, on a fresh server each time. The
composition is that of `benchmarks.compose`, over and over for as long as the conference lasts, at the
priority that the archive's workers give themselves.
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
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.conference import confer, scenario

COMPOSE_FOR_EVER = """
from bridge.archive.work.worker import step_back
from benchmarks.compose import main
step_back()
while True:
    main()
"""


@contextmanager
def composing(arguments: list[str]) -> Iterator[None]:
    """A composition in the background until the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMPOSE_FOR_EVER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
        if process.poll() is not None:
            raise SystemExit("the composition ended before the conference")
    finally:
        process.kill()
        process.wait()


def conference(options: argparse.Namespace, cores: tuple[int, int]) -> dict[str, Any]:
    """One conference from start to end."""
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as directory:
        state_dir = Path(directory)
        return confer(
            scenario(options.scenario, options.points),
            state_dir,
            state_dir / "server.log",
            seconds=options.seconds,
            settle_s=options.settle,
            cores=cores,
        )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All pairs, and what they say together."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the bots")
    work = ["--sites", str(options.sites), "--minutes", str(options.minutes)]
    # Made once, and kept, so that the making is not measured.
    subprocess.run([sys.executable, "-m", "benchmarks.compose", *work], check=True, stdout=subprocess.DEVNULL)
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    for number in range(options.pairs):
        # Whoever comes second finds other caches: take turns.
        for is_composing in (False, True) if number % 2 == 0 else (True, False):
            if is_composing:
                with composing(work):
                    beside.append(conference(options, (cores[0], cores[1])))
            else:
                alone.append(conference(options, (cores[0], cores[1])))
    differences = [
        round(two["latency_ms"]["p99"] - one["latency_ms"]["p99"], 2)
        for one, two in zip(alone, beside, strict=True)
    ]
    return {
        "scenario": options.scenario,
        "points": options.points,
        "pairs": options.pairs,
        "seconds": options.seconds,
        "latency_p99_ms": {
            "alone": [one["latency_ms"]["p99"] for one in alone],
            "composing": [one["latency_ms"]["p99"] for one in beside],
        },
        "latency_p99_differences_ms": differences,
        "latency_p99_difference_ms": round(median(differences), 2),
        "loss_ratio": {
            "alone": max(one["loss_ratio"] for one in alone),
            "composing": max(one["loss_ratio"] for one in beside),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=("lecture", "full"), default="lecture")
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each steady window")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds from last join to window")
    parser.add_argument("--pairs", type=int, default=3, help="conferences without and with a composition")
    parser.add_argument("--sites", type=int, default=6, help="of the composition")
    parser.add_argument("--minutes", type=float, default=2.0, help="of the composition")
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:28} {value}")


if __name__ == "__main__":
    main()
