"""Adds to a CycloneDX bill of materials what rides in the wheels: FFmpeg, OpenSSL, libsrtp and others.

`python -m release.wheels BILL` rewrites the file, with the interpreter whose packages the bill lists. No
update of the system reaches these libraries, so that whoever watches advisories has to know of them.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final

# What is linked into an extension module says its version in a text of its own.
_LINKED: Final = {
    "openssl": (b"OpenSSL ", re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) \d")),
    "libsrtp": (b"libsrtp2 ", re.compile(rb"libsrtp2 (\d+\.\d+\.\d+)")),
}
# auditwheel puts a part of the checksum between the name and the version: libx264-d6533a8d.so.165
_SHARED: Final = re.compile(r"(?P<name>[\w.+-]+?)(?:-[0-9a-f]{8})+(?:\.so\.(?P<version>[\d.]+)|.*\.so)$")
_LICENCES: Final = {"libx264": "GPL-2.0-or-later", "libx265": "GPL-2.0-or-later"}


def embedded() -> Iterator[dict[str, Any]]:
    """Give a component for each library inside the installed wheels, with the wheel that it rides in."""
    for distribution in distributions():
        found: dict[tuple[str, str], None] = {}
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            shared = _SHARED.match(path.name)
            if shared is not None:
                found[shared["name"], shared["version"] or "unknown"] = None
            elif path.suffix in (".so", ".pyd") and path.is_file():
                found.update(dict.fromkeys(_linked(path)))
        if distribution.name == "av":
            found["ffmpeg", _ffmpeg_version()] = None
        for name, version in found:
            yield _component(name, version, distribution)


def _linked(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for name, (beginning, pattern) in _LINKED.items():
            # Most modules hold neither, and a plain search is many times as fast.
            at = data.find(beginning)
            match = pattern.search(data, at) if at >= 0 else None
            if match is not None:
                yield name, match[1].decode()


def _ffmpeg_version() -> str:
    from av import ffmpeg_version_info

    return str(ffmpeg_version_info)


def _component(name: str, version: str, distribution: Distribution) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"{distribution.name}/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:generic/{name}@{version}",
        "properties": [{"name": "hoichan:wheel", "value": f"{distribution.name} {distribution.version}"}],
    }
    if name in _LICENCES:
        component["licenses"] = [{"license": {"id": _LICENCES[name]}}]
    return component


def completed(bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill with what rides in the wheels."""
    return {**bill, "components": [*bill["components"], *embedded()]}


def main() -> None:
    """Complete the bill that is named on the command line."""
    path = Path(sys.argv[1])
    bill = completed(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
