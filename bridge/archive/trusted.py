"""How much time has really passed, as far as the archive can tell: no leap of the clock deletes anything.

A clock that is set forward by a month, or that a dead battery has set to another year, must not end what has
to be kept. Trusted time follows the wall clock, but while the archive runs at most twice as fast as the
monotonic clock, so that it catches up after a machine was off; over a restart it goes on by a few days.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from bridge.archive.folders import PARTIAL

FILE_NAME: Final = "clock.json"
# How much may pass unseen while nothing runs; the rest is caught up with.
RESTART_MAX_MS: Final = 3 * 86_400_000
CATCHING_UP: Final = 2.0


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """The wall clock when it was last looked at, and what was believed then; Unix milliseconds."""

    seen_ms: int
    trusted_ms: int

    def now_ms(self, wall_ms: int) -> int:
        """Return the time by which something may be deleted: never later than either clock says."""
        return min(self.trusted_ms, wall_ms)

    def passed(self, wall_ms: int, running_s: float) -> Self:
        """Return what is believed after so long, by the monotonic clock, of running."""
        return self._later(wall_ms, round(running_s * 1000 * CATCHING_UP))

    def restarted(self, wall_ms: int) -> Self:
        """Return what is believed after a time of which nobody knows how long it was."""
        return self._later(wall_ms, min(max(wall_ms - self.seen_ms, 0), RESTART_MAX_MS))

    def _later(self, wall_ms: int, at_most_ms: int) -> Self:
        believed_ms = min(self.trusted_ms + at_most_ms, wall_ms)
        # What was believed once stays: a clock that is wrong for a moment in the past takes nothing back.
        return type(self)(wall_ms, max(self.trusted_ms, believed_ms))


def read_trusted(folder: Path, wall_ms: int) -> TrustedTime:
    """Return what was believed when the archive in this folder ran last; the wall clock at its first time."""
    try:
        value = json.loads((folder / FILE_NAME).read_bytes())
        return TrustedTime(int(value["seen_ms"]), int(value["trusted_ms"])).restarted(wall_ms)
    except (OSError, ValueError, KeyError, TypeError):
        return TrustedTime(wall_ms, wall_ms)


def write_trusted(folder: Path, time: TrustedTime) -> None:
    """Keep it for the next start; raises OSError."""
    partial = folder / f"{FILE_NAME}{PARTIAL}"
    partial.write_text(json.dumps(asdict(time)), encoding="ascii")
    partial.replace(folder / FILE_NAME)
