"""The shape of the code: imports point down the layers, and the pure parts stay pure."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bridge"

# By the longest prefix. A module may import its own layer and those below it.
LAYERS = {
    "bridge": 0,
    "bridge.base": 0,
    "bridge.config": 1,
    "bridge.messages": 1,
    "bridge.rtp": 1,
    "bridge.sdp": 1,
    "bridge.tokens": 1,
    "bridge.media": 2,
    "bridge.transport": 3,
    "bridge.store": 3,
    "bridge.leg": 4,
    "bridge.sfu": 5,
    "bridge.conference": 6,
    "bridge.rooms": 7,
    "bridge.capture": 7,
    "bridge.recording": 8,
    "bridge.archive": 8,
    "bridge.api": 9,
    "bridge.metrics": 10,
    "bridge.node": 10,
    "bridge.server": 11,
    "bridge.commands": 11,
    "bridge.__main__": 12,
}
# Who alone may know of these.
ONLY_IN = {
    "aioice": ("bridge.transport",),
    "aiortc": ("bridge.transport",),
    "cffi": ("bridge.transport",),
    "pylibsrtp": ("bridge.transport",),
    "socket": ("bridge.transport",),
    "OpenSSL": ("bridge.transport",),
    "aiohttp": ("bridge.api", "bridge.api.pages", "bridge.server", "bridge.api.signalling"),
    "prometheus_client": ("bridge.metrics", "bridge.server"),
    "jwt": ("bridge.tokens",),
    "av": ("bridge.archive",),
    "bagit": ("bridge.archive",),
    "boto3": ("bridge.archive.storage",),
    "cv2": ("bridge.archive",),
    "PIL": ("bridge.archive",),
    "pydicom": ("bridge.archive",),
    "pynetdicom": ("bridge.archive",),
    "rich": ("bridge.__main__", "bridge.commands"),
    "sqlalchemy": ("bridge.store",),
    "uvloop": ("bridge.__main__",),
}
# Time, bytes and chance come in as arguments; nothing goes out but values.
PURE = (
    "bridge.rtp",
    "bridge.sdp",
    "bridge.media",
    "bridge.messages",
    "bridge.base.rate",
    "bridge.base.schema",
    "bridge.conference.roles",
    "bridge.conference.cases",
    "bridge.archive.programme",
    "bridge.archive.clocks",
    "bridge.capture.disk",
    "bridge.capture.matroska",
    "bridge.archive.attendance",
    "bridge.archive.der",
    "bridge.archive.documents",
    "bridge.archive.extract",
    "bridge.archive.retention",
    "bridge.archive.seal",
    "bridge.archive.uids",
)
IMPURE = frozenset(
    {"asyncio", "datetime", "logging", "os", "random", "secrets", "select", "socket", "threading", "time"}
)


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path, *, at_run_time_only: bool = False) -> Iterator[str]:
    """Yield the full names of what a file imports; a submodule by its own name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unevaluated = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if at_run_time_only and node in unevaluated:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            name = node.module or ""
            for alias in node.names:
                full = f"{name}.{alias.name}"
                yield full if full in MODULES else name


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    owners = [name for name in LAYERS if is_within(module, name) and name != "bridge"]
    return LAYERS[max(owners, key=len)] if owners else LAYERS["bridge"]


def test_every_module_has_its_layer() -> None:
    unlisted = [
        name
        for name in MODULES
        if name != "bridge" and not any(is_within(name, known) for known in LAYERS if known != "bridge")
    ]
    assert unlisted == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = [
        name
        for name in imported(MODULES[module])
        if is_within(name, "bridge") and layer(name) > layer(module)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {
            name
            for name in imported(path, at_run_time_only=True)
            if name in MODULES and not is_within(module, name)
        }
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_foreign_packages_stay_behind_their_one_door(module: str) -> None:
    outside = [
        name
        for name in imported(MODULES[module])
        for package, doors in ONLY_IN.items()
        if is_within(name, package) and not any(is_within(module, door) for door in doors)
    ]
    assert outside == []


@pytest.mark.parametrize("module", [name for name in MODULES if any(is_within(name, pure) for pure in PURE)])
def test_pure_modules_read_no_clock_and_do_no_io(module: str) -> None:
    impure = [name for name in imported(MODULES[module]) if name.partition(".")[0] in IMPURE]
    assert impure == []
