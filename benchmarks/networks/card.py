"""`python -m benchmarks.networks.card`: puts what was measured into the committed scorecard, JSON and table.

The last column is what floors are held against. A floor that is missed is red in the tests unless it is
written down, by hand, in `known_misses.json`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.networks import columns
from benchmarks.networks.cases import CASES
from benchmarks.networks.columns import NEVER
from benchmarks.networks.floors import Judged, is_noisy, judge, medians
from benchmarks.networks.live import LIVE
from benchmarks.networks.plot import file_name
from benchmarks.networks.score import Score

HERE = Path(__file__).parent
CARD = HERE / "scorecard.json"
TABLE = HERE / "scorecard.md"
KNOWN_MISSES = HERE / "known_misses.json"
PLOTS = HERE / "plots"

Row = dict[str, Any]


def read_card() -> dict[str, Any]:
    """Return the committed scorecard, or an empty one."""
    if not CARD.exists():
        return {"virtual": [], "columns": []}
    found: dict[str, Any] = json.loads(CARD.read_text(encoding="utf-8"))
    return found


def read_known_misses() -> dict[tuple[str, str, float], float | None]:
    """Return the floors that are known to be missed, by case, measure and bound, and what was measured."""
    listed = json.loads(KNOWN_MISSES.read_text(encoding="utf-8")) if KNOWN_MISSES.exists() else []
    return {
        (one["case"], one["measure"], one["bound"]): NEVER if one["measured"] == "never" else one["measured"]
        for one in listed
    }


def _read_lines(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def merge(rows: Sequence[Row], newer: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return the rows, those of cases that were measured anew replaced."""
    measured = {tuple(row[key] for key in keys) for row in newer}
    return [row for row in rows if tuple(row[key] for key in keys) not in measured] + list(newer)


def write_card(card: Mapping[str, Any]) -> None:
    """Write the scorecard, a line for each run."""

    def listed(rows: Sequence[Row], indent: str) -> str:
        return "[\n" + ",\n".join(indent + json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"

    written = ",\n".join(
        f'{{"label": {json.dumps(column["label"])}, "rows": {listed(column["rows"], "  ")}}}'
        for column in card["columns"]
    )
    text = f'{{"virtual": {listed(card["virtual"], "  ")},\n"columns": [\n{written}\n]}}\n'
    CARD.write_text(text, encoding="utf-8")


def _verdict(judged: Judged) -> str:
    floor = judged.floor
    sign = "≤" if floor.is_most else "≥"
    value = (
        "not measured" if judged.value is None else "never" if judged.value == NEVER else f"{judged.value:g}"
    )
    verdict = "not measured" if judged.value is None else "missed" if judged.is_missed else "held"
    return f"| {floor.case} | {floor.measure} | {sign} {floor.bound:g} | {value} | {verdict} |"


def _virtual(rows: Sequence[Row]) -> list[str]:
    names = ["case", "by", *(name for name, _ in columns.VIRTUAL)]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        values = {name: NEVER if value == "never" else value for name, value in row.items()}
        case, by = str(values.pop("case")), str(values.pop("by"))
        found = Score(**values)
        lines.append(f"| {' | '.join([case, by, *(show(found) for _, show in columns.VIRTUAL)])} |")
    return lines


def _runs(rows: Sequence[Row]) -> str:
    noisy = sum(map(is_noisy, rows))
    return f"{len(rows)}, noisy: {noisy}" if noisy else str(len(rows))


def table(card: Mapping[str, Any]) -> str:
    """Return the scorecard for people."""
    names = ["case", "by", "runs", *(name for name, _, _ in columns.LIVE)]
    lines = [
        "# The scorecard",
        "",
        "Written by `make scorecard`; [README.md](README.md) tells what columns mean.",
        "",
        "## In virtual time",
        "",
        "The same on any machine.",
        "",
        *_virtual(card["virtual"]),
        "",
        "## With real pages",
        "",
        "Medians of the runs, without those that the machine spoiled where there are others; of several",
        "receivers the worst.",
        "",
        f"| {' | '.join(names)} |",
        f"|{'---|' * len(names)}",
    ]
    for name in (live.name for live in LIVE):
        for column in card["columns"]:
            rows = [row for row in column["rows"] if row["case"] == name]
            if not rows:
                continue
            found = medians(rows)
            cells = [show(found[key]) if key in found else "" for _, key, show in columns.LIVE]
            lines.append(f"| {' | '.join([name, column['label'], _runs(rows), *cells])} |")
    lines += ["", "What was measured, and on what:", ""]
    for column in card["columns"]:
        rows = column["rows"]
        commits = ", ".join(sorted({row["commit"] for row in rows}))
        dates = sorted({row["at"][:10] for row in rows})
        browsers = ", ".join(sorted({row["chromium"].split(" built")[0] for row in rows}))
        loads = [row["load"][0] for row in rows]
        lines.append(
            f"* {column['label']}: {dates[0]} to {dates[-1]}, commit {commits}, {browsers}, load average "
            f"{min(loads):.1f} to {max(loads):.1f}, median {median(loads):.1f}"
        )
    scaled = [f"{live.name}: {live.scaled}" for live in LIVE if live.scaled]
    lines += ["", f"Scaled: {'; '.join(scaled)}.", "", "## Floors, with real pages", ""]
    lines += ["| case | measure | floor | measured | |", "|---|---|---|---|---|"]
    lines += [_verdict(one) for one in judge(card["columns"][-1]["rows"])] if card["columns"] else []
    lines += ["", "## Over time", ""]
    lines += [
        f"![{live.name}](plots/{path.name})"
        for live in LIVE
        if (path := PLOTS / f"{file_name(live.name)}.png").exists()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks.card", description=__doc__)
    parser.add_argument("--label", default="now", help="the column that was measured; a new one comes last")
    parser.add_argument("--live", type=Path, metavar="JSONL", help="runs with real pages")
    parser.add_argument("--virtual", type=Path, metavar="JSONL", help="runs in virtual time")
    args = parser.parse_args()
    card = read_card()
    order = [case.name for case in CASES]
    virtual = merge(card["virtual"], _read_lines(args.virtual), ("case", "by"))
    card["virtual"] = sorted(virtual, key=lambda row: order.index(row["case"]))
    live = _read_lines(args.live)
    for row in live:
        # What pages said is for whoever looks at one run.
        for page in (*row["receivers"], row["control"]):
            page.pop("words", None)
    column = next((one for one in card["columns"] if one["label"] == args.label), None)
    if column is None and live:
        column = {"label": args.label, "rows": []}
        card["columns"].append(column)
    if column is not None:
        column["rows"] = merge(column["rows"], live, ("case",))
    write_card(card)
    TABLE.write_text(table(card), encoding="utf-8")
    known = read_known_misses()
    for one in judge(card["columns"][-1]["rows"]) if card["columns"] else ():
        name = (one.floor.case, one.floor.measure, one.floor.bound)
        if one.is_missed != (name in known) or known.get(name, one.value) != one.value:
            print(f"not as in {KNOWN_MISSES.name}: {_verdict(one)}")


if __name__ == "__main__":
    main()
