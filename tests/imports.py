"""The imports of `bridge/` as a drawing: `python -m tests.imports` prints it for docs/house.md."""

import ast
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bridge"
HOUSE = ROOT / "docs" / "house.md"
# A house within the house: each of its folders is a room, and what they all stand on is one more.
HOUSES = frozenset({"bridge.archive"})


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return every module below `package` by its full name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the full names of what a file imports, for types alone as well; a submodule by its own name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            name = node.module or ""
            for alias in node.names:
                full = f"{name}.{alias.name}"
                yield full if full in known else name


def graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which of the known modules each one imports."""
    return {
        module: {name for name in imported(path, known) if name in known and name != module}
        for module, path in known.items()
    }


def room_of(module: str, folders: Collection[str]) -> str:
    """Return the room a module stands in: its folder, or its own name when it stands in `bridge/` itself."""
    parts = module.split(".")
    inner = ".".join(parts[:3])
    return inner if ".".join(parts[:2]) in HOUSES and inner in folders else ".".join(parts[:2])


def placed(arrows: Mapping[str, set[str]]) -> dict[str, str]:
    """Return the room of each module. What has modules below it is a folder."""
    folders = {name.rpartition(".")[0] for name in arrows}
    return {module: room_of(module, folders) for module in arrows}


def rooms(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which rooms each room imports from. `bridge` itself is the ground: its version, no room."""
    found: dict[str, set[str]] = defaultdict(set)
    room_by = placed(arrows)
    for module, names in arrows.items():
        room = room_by[module]
        found[room] |= {room_by[name] for name in names} - {room, "bridge"}
    found.pop("bridge", None)
    return dict(found)


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Return the first circle found, its first name once more at its end; nothing when there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """Return how high each room stands: one above the highest room it imports from."""
    found: dict[str, int] = {}
    for room in TopologicalSorter(arrows).static_order():
        found[room] = 1 + max((found[below] for below in arrows.get(room, ())), default=-1)
    return found


def drawing(arrows: Mapping[str, set[str]]) -> str:
    """Draw the house as text: the highest floor first, each room with its files and what it imports from."""
    between = rooms(arrows)
    height = floors(between)
    files = Counter(placed(arrows).values())
    lines = []
    for room in sorted(height, key=lambda name: (-height[name], name)):
        name = room.removeprefix("bridge.")
        below = " ".join(sorted(other.removeprefix("bridge.") for other in between[room]))
        lines.append(f"{height[room]:2}  {name:<15} {files[room]:3}  {below}".rstrip())
    count = sum(len(below) for below in between.values())
    lines.append(f"{len(between)} rooms, {1 + max(height.values())} floors, {count} arrows")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(drawing(graph(modules())), end="")
