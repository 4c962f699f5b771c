"""What somebody did a moment ago already, so that a page that asks again is one visit. In bounded memory."""

from collections.abc import Callable, Hashable
from typing import Final

# Who comes back later is there again.
VISIT_S: Final = 600.0
VISITS_MAX: Final = 10_000


class Visits:
    """Tells a deed that follows a similar one within `VISIT_S`; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # When each visit began, the oldest in front.
        self._began: dict[Hashable, float] = {}

    def goes_on(self, deed: Hashable) -> bool:
        """Whether the deed belongs to a visit that has begun."""
        began = self._began.get(deed)
        return began is not None and 0.0 <= self._clock() - began < VISIT_S

    def begin(self, deed: Hashable) -> None:
        """Begin a visit."""
        self._began.pop(deed, None)
        if len(self._began) >= VISITS_MAX:
            # Forgetting one too early writes a line of the audit too many, never one too few.
            del self._began[next(iter(self._began))]
        self._began[deed] = self._clock()
