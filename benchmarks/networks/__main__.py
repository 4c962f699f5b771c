"""`python -m benchmarks.networks`: the scorecard as a table, the bridge's estimator beside today's."""

import argparse
import json
import time
from dataclasses import asdict

from benchmarks.networks.cases import CASES, FlowType, is_chosen, run
from benchmarks.networks.columns import VIRTUAL
from benchmarks.networks.flow import EstimatedFlow
from benchmarks.networks.remb_flow import RembFlow
from benchmarks.networks.score import plain, score

ESTIMATORS: dict[str, FlowType] = {"transport-wide": EstimatedFlow, "REMB": RembFlow}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT;TEXT", help="cases whose name holds one of these")
    parser.add_argument("--json", action="store_true", help="one JSON line for each case and estimator")
    args = parser.parse_args()
    if not args.json:
        names = ["case", "by", *(name for name, _ in VIRTUAL)]
        print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    began = time.monotonic()
    for case in CASES:
        if not is_chosen(case.name, args.only):
            continue
        for name, flow_type in ESTIMATORS.items():
            found = score(run(case, flow_type))
            if args.json:
                print(json.dumps({"case": case.name, "by": name, **plain(asdict(found))}), flush=True)
            else:
                cells = [case.name, name, *(show(found) for _, show in VIRTUAL)]
                print(f"| {' | '.join(cells)} |", flush=True)
    if not args.json:
        print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
