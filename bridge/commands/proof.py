"""`hoichan archive verify`: proves or disproves packages with nothing but their files."""

from collections.abc import Sequence
from pathlib import Path

from bridge.archive.package.seal import SEAL_FILE
from bridge.archive.package.verify import Problem, verify_chain
from bridge.archive.package.verify import verify as problems_of
from bridge.base.errors import ArchiveFailed
from bridge.commands.shown import Terminal


def verify(paths: Sequence[Path], terminal: Terminal) -> int:
    """Verify packages, and the chain of those that lie in one folder; return the exit status."""
    found: dict[str, list[Problem]] = {}
    for path in paths:
        inside = _packages_in(path)
        for package in inside or [path]:
            found[str(package)] = _verified(package, terminal)
        if inside:
            found[str(path)] = verify_chain(inside, deleted=_deleted(path))
    for name, problems in found.items():
        _tell(name, problems, terminal)
    if terminal.is_json:
        terminal.json(
            {
                name: [{"code": item.code, "file": item.file, "sentence": item.sentence} for item in problems]
                for name, problems in found.items()
            }
        )
    return int(any(found.values()))


def _packages_in(path: Path) -> list[Path]:
    """Return the packages of a folder of packages; none where the path is one itself."""
    if (path / SEAL_FILE).exists() or not path.is_dir():
        return []
    return sorted(item for item in path.iterdir() if (item / SEAL_FILE).is_file() and "." not in item.name)


def _verified(package: Path, terminal: Terminal) -> list[Problem]:
    with terminal.bar(package.name) as show:
        return problems_of(package, report=show)


def _deleted(path: Path) -> dict[str, str | None]:
    """Return the seals of deleted packages, whose certificates lie beside the folder of packages."""
    # Here, because it brings DICOM with it.
    from bridge.archive.keeping.deletion import deleted_seals

    try:
        return deleted_seals(path.resolve().parent / "certificates")
    except ArchiveFailed:
        # Then the chain shows the holes.
        return {}


def _tell(name: str, problems: Sequence[Problem], terminal: Terminal) -> None:
    package = Path(name).name
    if problems:
        terminal.line("verify.broken", package=package, count=len(problems))
    else:
        terminal.line("verify.whole", package=package)
    for problem in problems:
        terminal.text(f"  {problem.sentence_vi if terminal.say.language == 'vi' else problem.sentence}")
