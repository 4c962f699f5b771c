"""The fixity check: is a package, years later, still what was sealed?

Schedule and memory of results are the catalogue's. A package that got no time stamp when it was sealed gets
one here, if an authority answers by now.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.archive.model import Report
from bridge.archive.package import timestamps
from bridge.archive.package.seal import SEAL_FILE, parse_seal
from bridge.archive.package.verify import Problem, verify


@dataclass(frozen=True, slots=True)
class FixityResult:
    """How a check ended."""

    package: str
    checked_ms: int
    is_stamped: bool
    problems: tuple[Problem, ...]

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


def check(package: Path, *, timestamp_url: str, now_ms: int, report: Report) -> FixityResult:
    """Check one package; one that is not there at all is damaged as a whole."""
    problems = [*verify(package, report=report), *_misplaced(package)]
    if not problems and timestamp_url and not timestamps.is_stamped(package):
        # Only what was found whole is worth a stamp.
        timestamps.stamp(package, timestamp_url)
    return FixityResult(package.name, now_ms, timestamps.is_stamped(package), tuple(problems))


def _misplaced(package: Path) -> Iterator[Problem]:
    """Tell of a package that lies under the name of another; `verify` itself believes any folder's name."""
    # One that cannot be read is told by `verify`.
    with suppress(OSError, ValueError):
        seal = parse_seal((package / SEAL_FILE).read_bytes())
        if seal.package != package.name:
            yield Problem("seal-broken", SEAL_FILE, f"it is that of {seal.package}")
