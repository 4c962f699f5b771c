"""What the bridge stands on: locked with checksums, under licences that were read, and all listed."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import pytest

from release.wheels import completed

ROOT = Path(__file__).parents[2]
RUN, TEST = ROOT / "requirements.lock", ROOT / "requirements-test.lock"
# Those that ask for no more than to be named, or for changes to their own files.
LICENCES = re.compile(
    r"Apache|BSD|MIT|PSF|Python Software Foundation|ISC|Zlib|CC0|Public Domain|MPL|Mozilla Public License"
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU)\b")


def pins(path: Path) -> dict[str, str]:
    """Return the versions that a lock file names, and check that each has checksums."""
    found = {}
    for entry in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8")):
        pin = re.match(r"([\w.-]+)==(\S+)", entry)
        if pin is not None:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
            found[pin[1].lower().replace("_", "-")] = pin[2]
        else:
            assert entry.startswith("#"), entry
    return found


def test_what_runs_is_what_is_tested() -> None:
    run, tested = pins(RUN), pins(TEST)
    assert run.items() <= tested.items()
    assert not {"pytest", "moto", "playwright", "mypy"} & run.keys()


def test_every_dependency_is_in_the_lock_that_installs_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for wanted, path in (
        ([*project["dependencies"], *extras["s3"]], RUN),
        ([*project["dependencies"], *extras["test"]], TEST),
    ):
        names = [re.split(r"[\[><=;\s]", requirement)[0].lower() for requirement in wanted]
        assert set(names) <= pins(path).keys()


def test_the_tests_run_with_what_is_locked() -> None:
    for name, locked in pins(RUN).items():
        try:
            assert version(name) == locked, name
        except PackageNotFoundError:
            # For another system, such as colorama.
            assert f"{name}=={locked} ;" in RUN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", pins(RUN))
def test_everything_that_runs_has_a_licence_that_was_read(name: str) -> None:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        pytest.skip("for another system")
    licences = [
        told.get("License-Expression") or "",
        (told.get("License") or "")[:60],
        *(text for text in told.get_all("Classifier") or [] if text.startswith("License ::")),
    ]
    assert LICENCES.search(" ".join(licences)), licences
    assert not COPYLEFT.search(" ".join(licences)), licences


def test_the_bill_of_materials_names_what_rides_in_the_wheels() -> None:
    bill = completed({"components": [{"name": "av", "bom-ref": "av"}]})
    names = {component["name"] for component in bill["components"]}
    assert {"av", "ffmpeg", "openssl", "libsrtp", "libx264", "libvpx", "libopus"} <= names
    hidden = bill["components"][1:]
    wheels = {component["properties"][0]["value"].split()[0] for component in hidden}
    assert {"av", "pylibsrtp", "cryptography", "pillow", "opencv-python-headless", "numpy"} <= wheels
    numbered = [item["version"] for item in hidden if item["name"] in ("ffmpeg", "openssl", "libsrtp")]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+[a-z]?", number) for number in numbered)
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(references) == len(set(references))
