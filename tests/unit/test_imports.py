"""The shape of the code: imports point down the layers, and the pure parts stay pure."""

from pathlib import Path

import imports
import pytest
from imports import imported

# By the longest prefix. A module may import its own layer and those below it.
LAYERS = {
    "bridge": 0,
    "bridge.base": 0,
    "bridge.config": 1,
    "bridge.confinement": 1,
    "bridge.messages": 1,
    "bridge.rtp": 1,
    "bridge.sdp": 1,
    "bridge.tokens": 1,
    "bridge.estimation": 2,
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
    "bridge.archive.plan": 9,
    "bridge.archive.tracks": 10,
    "bridge.archive.screen": 11,
    "bridge.archive.film": 12,
    "bridge.archive.package": 13,
    "bridge.archive.pacs": 14,
    "bridge.archive.keeping": 15,
    "bridge.archive.work": 16,
    "bridge.api": 17,
    "bridge.metrics": 18,
    "bridge.node": 18,
    "bridge.server": 19,
    "bridge.commands": 19,
    "bridge.__main__": 20,
}
# Who alone may know of these.
ONLY_IN = {
    "aioice": ("bridge.transport",),
    "aiortc": ("bridge.transport",),
    "cffi": ("bridge.transport",),
    "pylibsrtp": ("bridge.transport",),
    "socket": ("bridge.transport", "bridge.api.connections", "bridge.commands.check"),
    "OpenSSL": ("bridge.transport",),
    "aiohttp": ("bridge.api", "bridge.api.pages", "bridge.server", "bridge.api.signalling"),
    "prometheus_client": ("bridge.metrics", "bridge.server"),
    "jwt": ("bridge.tokens",),
    "av": ("bridge.archive.tracks", "bridge.archive.screen", "bridge.archive.film"),
    "bagit": ("bridge.archive.package",),
    "boto3": ("bridge.archive.keeping.stores",),
    "cv2": ("bridge.archive.screen", "bridge.archive.film"),
    "PIL": ("bridge.archive.screen",),
    "pydicom": ("bridge.archive.pacs",),
    "pynetdicom": ("bridge.archive.pacs",),
    "rich": ("bridge.__main__", "bridge.commands"),
    "sqlalchemy": ("bridge.store",),
    "uvloop": ("bridge.__main__",),
}
# Time, bytes and chance come in as arguments; nothing goes out but values.
PURE = (
    "bridge.rtp",
    "bridge.sdp",
    "bridge.estimation",
    "bridge.media",
    "bridge.messages",
    "bridge.base.rate",
    "bridge.base.schema",
    "bridge.conference.roles",
    "bridge.conference.cases",
    "bridge.archive.plan.programme",
    "bridge.archive.tracks.stretches",
    "bridge.archive.tracks.clocks",
    "bridge.capture.disk",
    "bridge.capture.matroska",
    "bridge.archive.package.attendance",
    "bridge.archive.package.der",
    "bridge.archive.package.documents",
    "bridge.archive.plan.extract",
    "bridge.archive.retention",
    "bridge.archive.package.seal",
    "bridge.archive.package.uids",
)
IMPURE = frozenset(
    {"asyncio", "datetime", "logging", "os", "random", "secrets", "select", "socket", "threading", "time"}
)


MODULES = imports.modules()
ARROWS = imports.graph(MODULES)


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
        for name in imported(MODULES[module], MODULES)
        if is_within(name, "bridge") and layer(name) > layer(module)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert imports.circle(ARROWS) == []


def test_no_rooms_import_from_each_other_in_a_circle() -> None:
    assert imports.circle(imports.rooms(ARROWS)) == []


def test_a_circle_that_is_put_in_is_found(tmp_path: Path) -> None:
    house = tmp_path / "bridge"
    for name, text in {
        "__init__": "",
        "media/__init__": "",
        "media/loss": "from bridge.leg.slot import Slot",
        "leg/__init__": "",
        # For types alone is a circle as well: the two files cannot be understood one after the other.
        "leg/slot": "if TYPE_CHECKING:\n    from bridge.media import loss",
    }.items():
        file = house / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    arrows = imports.graph(imports.modules(house))
    assert set(imports.circle(arrows)) == {"bridge.media.loss", "bridge.leg.slot"}
    assert set(imports.circle(imports.rooms(arrows))) == {"bridge.media", "bridge.leg"}


def test_the_document_shows_the_house_as_it_stands() -> None:
    """`python -m tests.imports` prints what belongs there."""
    document = imports.HOUSE.read_text(encoding="utf-8")
    shown = document.partition("```text\n")[2].partition("```\n")[0]
    assert shown == imports.drawing(ARROWS)


@pytest.mark.parametrize("module", MODULES)
def test_foreign_packages_stay_behind_their_one_door(module: str) -> None:
    outside = [
        name
        for name in imported(MODULES[module], MODULES)
        for package, doors in ONLY_IN.items()
        if is_within(name, package) and not any(is_within(module, door) for door in doors)
    ]
    assert outside == []


@pytest.mark.parametrize("module", [name for name in MODULES if any(is_within(name, pure) for pure in PURE)])
def test_pure_modules_read_no_clock_and_do_no_io(module: str) -> None:
    impure = [name for name in imported(MODULES[module], MODULES) if name.partition(".")[0] in IMPURE]
    assert impure == []
