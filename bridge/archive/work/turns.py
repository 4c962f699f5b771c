"""Which package is made next when several wait: whoever has had least of the lane so far. Pure.

So a short case waits for no long one, and one whose pictures take all of the processor harms itself alone. A
package that gives way goes on from its slices later, and loses at most those that it was at; its next turn is
at least twice as long as what the others have had, so that turns are few and each gets somewhere.
"""

from collections.abc import Collection, Sequence
from typing import Final

from bridge.store.entries import PackageEntry

# Nobody gives way sooner: about what a slice takes.
TURN_S: Final = 60.0


class Turns:
    """What each waiting package has had; `now` is monotonic seconds."""

    def __init__(self, turn_s: float = TURN_S) -> None:
        # Passed by argument.
        self._turn_s = turn_s
        # Allocated by this.
        self._had_s: dict[str, float] = {}
        self._package: str | None = None
        self._since = 0.0

    def in_order(self, waiting: Sequence[PackageEntry]) -> tuple[PackageEntry, ...]:
        """Return those that wait, the one first whose turn it is; nothing is known of others any more."""
        names = {self._package, *(entry.id for entry in waiting)}
        self._had_s = {package: had_s for package, had_s in self._had_s.items() if package in names}
        return tuple(sorted(waiting, key=lambda entry: self._had_s.get(entry.id, 0.0)))

    def begin(self, package: str, now: float) -> None:
        """Note that a package's turn begins."""
        self._package, self._since = package, now

    def end(self, now: float) -> float:
        """Note that its turn is over; return what it has had in all."""
        package, self._package = self._package, None
        if package is None:
            return 0.0
        had_s = self._had_s[package] = self._had_s.get(package, 0.0) + now - self._since
        return had_s

    def is_over(self, waiting: Collection[PackageEntry], now: float) -> bool:
        """Return whether the package whose turn it is should give way to one of those that wait."""
        others = [self._had_s.get(entry.id, 0.0) for entry in waiting if entry.id != self._package]
        if self._package is None or not others:
            return False
        had_s = self._had_s.get(self._package, 0.0) + now - self._since
        return had_s > 2 * min(others) + self._turn_s
