"""`python -m benchmarks.networks`: the scorecard as a table, the bridge's estimator beside today's."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.networks.cases import CASES, FlowType, run
from benchmarks.networks.flow import EstimatedFlow
from benchmarks.networks.remb_flow import RembFlow
from benchmarks.networks.score import Score, score

ESTIMATORS: dict[str, FlowType] = {"transport-wide": EstimatedFlow, "REMB": RembFlow}

COLUMNS: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("used %", lambda s: f"{100 * s.utilisation:.0f}"),
    ("p95 wait ms", lambda s: f"{1000 * s.p95_wait_s:.0f}"),
    ("queue loss %", lambda s: f"{100 * s.queue_loss:.1f}"),
    ("line loss %", lambda s: f"{100 * s.line_loss:.1f}"),
    ("rise 90 % s", lambda s: _seconds(s.rise_s)),
    ("fall 110 % s", lambda s: _seconds(s.fall_s)),
    ("queue < 200 ms s", lambda s: _seconds(s.queue_back_s)),
    ("Jain", lambda s: "" if s.jain is None else f"{s.jain:.2f}"),
    ("beside TCP %", lambda s: "" if s.media_share is None else f"{100 * s.media_share:.0f}"),
)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return "never" if value == float("inf") else f"{value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this")
    parser.add_argument("--json", action="store_true", help="one JSON line for each case and estimator")
    args = parser.parse_args()
    if not args.json:
        names = ["case", "by", *(name for name, _ in COLUMNS)]
        print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    began = time.monotonic()
    for case in CASES:
        if args.only not in case.name:
            continue
        for name, flow_type in ESTIMATORS.items():
            found = score(run(case, flow_type))
            if args.json:
                print(json.dumps({"case": case.name, "by": name, **asdict(found)}), flush=True)
            else:
                cells = [case.name, name, *(show(found) for _, show in COLUMNS)]
                print(f"| {' | '.join(cells)} |", flush=True)
    if not args.json:
        print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
