"""What recording a conference costs: CPU per recorded stream-minute, and what it does to forwarding.

The same conference is held with recording off and on, in turn, on a fresh server each time, so that whatever
else the machine does falls on both. The bots' pictures cannot be decoded, which makes no difference to a
recorder that does not decode.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.conference import Scenario, confer

POLICY = "HOICHAN_RECORDING_CONSULTATION"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a conference left in the folder of recordings."""

    tracks: int
    bytes: int
    gaps: Counter[str]


def read_recording(folder: Path) -> Recorded:
    """Count the tracks below the folder, their bytes, and their gaps by reason."""
    logs = list(folder.glob("HC-*/tracks/*/track.jsonl"))
    gaps: Counter[str] = Counter()
    for log in logs:
        lines = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
        gaps.update(line["reason"] for line in lines if line["k"] == "gap")
    segments = folder.glob("HC-*/tracks/*/*.mkv")
    return Recorded(len(logs), sum(path.stat().st_size for path in segments), gaps)


def conference(
    policy: str, options: argparse.Namespace, cores: tuple[int, int]
) -> tuple[dict[str, Any], Recorded]:
    """One conference with recording off or on, from start to end."""
    chosen = Scenario(options.points, 0, min(options.points - 1, 9), True, 5.0)
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-", dir=options.dir or None) as directory:
        state_dir = Path(directory)
        seen = confer(
            chosen,
            state_dir,
            state_dir / "server.log",
            seconds=options.seconds,
            settle_s=options.settle,
            cores=cores,
            settings={POLICY: policy},
        )
        return seen, read_recording(state_dir / "recordings")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All pairs, and what they say together."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the bots")
    off: list[dict[str, Any]] = []
    on: list[dict[str, Any]] = []
    recorded: list[Recorded] = []
    for number in range(options.pairs):
        # Whoever comes second finds other caches: take turns.
        for policy in ("off", "auto") if number % 2 == 0 else ("auto", "off"):
            seen, found = conference(policy, options, (cores[0], cores[1]))
            (off if policy == "off" else on).append(seen)
            if policy == "auto":
                recorded.append(found)
    tracks = median(one.tracks for one in recorded)
    cpu_percent = {"off": _median(off, "server_cpu_percent"), "on": _median(on, "server_cpu_percent")}
    extra_cores = median(
        (with_recording["server_cpu_percent"] - without["server_cpu_percent"]) / 100
        for without, with_recording in zip(off, on, strict=True)
    )
    return {
        "points": options.points,
        "pairs": options.pairs,
        "seconds": options.seconds,
        "recorded_streams": tracks,
        "recorded_bytes": median(one.bytes for one in recorded),
        "server_cpu_percent": cpu_percent,
        "cpu_ms_per_stream_minute": round(extra_cores * 60_000 / max(tracks, 1), 1),
        "packets_in_per_s": {"off": _median(off, "packets_in_per_s"), "on": _median(on, "packets_in_per_s")},
        "latency_ms": {"off": _latencies(off), "on": _latencies(on)},
        "latency_p99_difference_ms": round(
            median(
                with_recording["latency_ms"]["p99"] - without["latency_ms"]["p99"]
                for without, with_recording in zip(off, on, strict=True)
            ),
            2,
        ),
        "loss_ratio": {"off": _median(off, "loss_ratio"), "on": _median(on, "loss_ratio")},
        "gaps": dict(sum((one.gaps for one in recorded), Counter[str]())),
        "join_failures": sum(seen["join_failures"] for seen in off + on),
    }


def _median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return round(median(seen[name] for seen in runs), 6)


def _latencies(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        name: round(median(seen["latency_ms"][name] for seen in runs), 2) for name in runs[0]["latency_ms"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=12, help="participants, all with camera and microphone")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each steady window")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds from last join to window")
    parser.add_argument("--pairs", type=int, default=2, help="conferences without and with recording")
    parser.add_argument("--dir", default="", help="where to record; a temporary directory unless given")
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    result = measure(options)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for key, value in result.items():
            print(f"{key:28} {value}")
    sys.exit(1 if result["join_failures"] else 0)


if __name__ == "__main__":
    main()
