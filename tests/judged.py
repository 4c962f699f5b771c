"""What an archive holds after its server was tortured, compared with what was to be seen and heard."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from coded import WINDOW_S, film, is_tone, pictures, tones
from recorded import parts

from bridge.archive.package.verify import verify

# A recording begins with a key frame that has to come first; a longer wait for it is told as a gap.
STARTS_MS = 1100
# A picture is there when one that was taken so near is.
NEAR_MS = 150
TOLD_MS = 400
HEARD_MS = 400
# What is on its way to the other store when a consent is withdrawn.
ON_ITS_WAY_MS = 5000


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not be."""

    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Put:
    """Something of a package that was put into the other store."""

    package: str
    at_ms: float


@dataclass(slots=True)
class Package:
    """What a sealed package holds."""

    name: str
    room: str
    code: str | None
    gaps: list[dict[str, Any]]
    problems: list[str]
    # When its pictures were taken, by their number.
    taken: dict[int, set[float]] = field(default_factory=lambda: defaultdict(set))
    # Each tenth of a second.
    heard: list[float | None] = field(default_factory=list)


def judge(state_dir: Path, ledger: Sequence[Mapping[str, Any]], puts: Sequence[Put]) -> list[Fault]:
    """Return everything that is wrong; `puts` are what the other store was given."""
    flips = [line["file"] for line in ledger if line["kind"] == "flip"]
    packages = [
        read_package(path) for path in sorted((state_dir / "archive" / "packages").glob("HC-*[0-9S]"))
    ]
    return [
        *(Fault("people were in trouble", "", line["what"]) for line in ledger if line["kind"] == "trouble"),
        *_unfinished(state_dir),
        *_broken(packages, flips),
        *(fault for package in packages for fault in _foreign(package, ledger)),
        *_missing(packages, ledger),
        *_withdrawn(state_dir, packages, ledger, puts),
    ]


def read_package(folder: Path) -> Package:
    """Return what is to be seen and heard in a package."""
    data = folder / "data"
    document = data / ("case.json" if (data / "case.json").exists() else "session.json")
    about = json.loads(document.read_text(encoding="utf-8"))
    gaps = json.loads((data / "gaps.json").read_text(encoding="utf-8"))
    problems = [problem.sentence for problem in verify(folder)]
    package = Package(folder.name, about["room"], about.get("code"), gaps, problems)
    for kind in ("video", "content"):
        for part in parts(folder, kind) if (data / kind / "parts.json").exists() else ():
            path, near_ms = data / kind / part["file"], _ms(part["start_ms"])
            if kind == "video":
                found = [one for both in film(path, near_ms) for one in both]
                package.heard += tones(path)
            else:
                found = list(pictures(path, near_ms))
            for read in found:
                if read is not None:
                    package.taken[read.number].add(read.taken_ms)
    return package


@contextmanager
def catalogue(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Look into the catalogue, but make none."""
    path = state_dir / "archive" / "catalogue.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        yield database


def _unfinished(state_dir: Path) -> Iterator[Fault]:
    """Every session is known, and every package sealed."""
    with catalogue(state_dir) as database:
        rows = database.execute("SELECT id, session, state, error_code, error FROM packages").fetchall()
    for name, _, state, code, error in rows:
        if state != "sealed":
            yield Fault("not sealed", name, f"{state} {code} {error}")
    known = {session for _, session, *_ in rows}
    for path in sorted((state_dir / "recordings").glob("HC-*")):
        if path.is_dir() and path.name not in known:
            yield Fault("unknown to the archive", path.name, "")


def _broken(packages: Sequence[Package], flips: Sequence[str]) -> Iterator[Fault]:
    for package in packages:
        is_damaged = any(name.startswith(f"archive/packages/{package.name}/") for name in flips)
        if bool(package.problems) != is_damaged:
            detail = "; ".join(package.problems[:3]) or "a damaged package is said to be whole"
            yield Fault("broken package", package.name, detail)


def _foreign(package: Package, ledger: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """Nothing of anything else, and nothing at all without consent."""
    own = {0, *_own(package, ledger)}
    for number, taken in sorted(package.taken.items()):
        if number not in own:
            yield Fault("a picture of another case", package.name, f"{number}, {len(taken)} times")
    foreign = [
        hz is not None and not any(is_tone(hz, number) for number in own if number) for hz in package.heard
    ]
    # In one window a tone may begin or end.
    for index, both in enumerate(pairwise(foreign)):
        if all(both):
            yield Fault(
                "a sound of another case", package.name, f"{package.heard[index]} at {index * WINDOW_S:.1f} s"
            )
            return


def _own(package: Package, ledger: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    for line in ledger:
        is_recorded = line["kind"] == "number" and line["is_recorded"]
        if is_recorded and (line["room"], line["code"]) == (package.room, package.code):
            yield line["number"]


def _missing(packages: Sequence[Package], ledger: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """What was to be seen and heard is there, or its gap is told."""
    recorded = {line["number"] for line in ledger if line["kind"] == "number" and line["is_recorded"]}
    shown: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for line in ledger:
        if line["kind"] == "shown" and line["number"] in recorded:
            shown[line["number"]].append(line)
    for number, stretches in shown.items():
        holders = [package for package in packages if number in set(_own(package, ledger))]
        taken = {ms for package in holders for ms in package.taken.get(number, ())}
        gaps = [gap for package in holders for gap in package.gaps]
        for line in stretches:
            lost = [
                at
                for at in line["taken"]
                if at >= line["from_ms"] + STARTS_MS
                and not _is_near(at, taken)
                and not _is_told(at, line["source"], gaps)
            ]
            if lost:
                of = f"{len(lost)} of {len(line['taken'])}, from {lost[0]} on"
                detail = f"number {number}, {line['source']}: {of}"
                yield Fault("pictures are missing", line["room"], detail)
        stretches = [line for line in stretches if line["source"] == "camera"]
        if not stretches:
            continue
        due_ms = sum(max(line["to_ms"] - line["from_ms"] - STARTS_MS, 0) for line in stretches)
        told_ms = sum(gap["duration_ms"] for gap in gaps if gap["source"] == "microphone")
        heard_ms = 1000 * WINDOW_S * sum(is_tone(hz, number) for package in holders for hz in package.heard)
        if heard_ms + told_ms < due_ms - HEARD_MS * len(stretches):
            detail = f"number {number}: {heard_ms:.0f} ms of {due_ms} ms, {told_ms} ms are told"
            yield Fault("sound is missing", stretches[0]["room"], detail)


def _withdrawn(
    state_dir: Path, packages: Sequence[Package], ledger: Sequence[Mapping[str, Any]], puts: Sequence[Put]
) -> Iterator[Fault]:
    """What a patient has taken back waits for people, and goes nowhere."""
    names = {(package.room, package.code): package.name for package in packages}
    with catalogue(state_dir) as database:
        rows = database.execute("SELECT id, disposition, delivered_ms, stored_ms FROM packages").fetchall()
    held = {
        name: (disposition, delivered_ms, stored_ms) for name, disposition, delivered_ms, stored_ms in rows
    }
    for line in ledger:
        if line["kind"] != "withdrawn":
            continue
        name = names.get((line["room"], line["code"]))
        if name is None:
            yield Fault("withdrawn, and no package", line["room"], line["code"])
            continue
        disposition, *gone_ms = held[name]
        if disposition != "open":
            yield Fault("a withdrawal is forgotten", name, str(disposition))
        late_ms = line["at_ms"] + ON_ITS_WAY_MS
        if any(at_ms is not None and at_ms > late_ms for at_ms in gone_ms):
            yield Fault("withdrawn, and said to be delivered", name, str(gone_ms))
        late = [put for put in puts if put.package == name and put.at_ms > late_ms]
        if late:
            yield Fault("withdrawn, and delivered", name, f"{len(late)} objects, from {late[0].at_ms:.0f} on")


def _is_near(at_ms: float, taken: set[float]) -> bool:
    return any(abs(at_ms - one) <= NEAR_MS for one in taken)


def _is_told(at_ms: float, source: str, gaps: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        gap["source"] == source and _ms(gap["from"]) - TOLD_MS <= at_ms <= _ms(gap["to"]) + TOLD_MS
        for gap in gaps
    )


def unstored(state_dir: Path) -> set[str]:
    """Return the sealed packages that are to go into the other store and have not."""
    with catalogue(state_dir) as database:
        query = "SELECT id FROM packages WHERE seal IS NOT NULL AND stored_ms IS NULL AND disposition IS NULL"
        return {name for (name,) in database.execute(query)}


def _ms(value: float | str) -> float:
    return value if isinstance(value, int | float) else datetime.fromisoformat(value).timestamp() * 1000
