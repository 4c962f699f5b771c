"""A bug of ours in what records must end the recording and not the conference."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

logger = logging.getLogger(__name__)
P = ParamSpec("P")


class Breakable(Protocol):
    """Part of a recording."""

    def broke(self) -> None:
        """A bug of ours was met: end the recording, touching as little as possible."""


B = TypeVar("B", bound=Breakable)


def contained(method: Callable[Concatenate[B, P], None]) -> Callable[Concatenate[B, P], None]:
    """Report a bug of ours that a method meets, and end the recording instead of raising it."""

    @wraps(method)
    def call(part: B, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(part, *args, **kwargs)
        except Exception:
            logger.exception("what records failed in %s", method.__qualname__)
            part.broke()

    return call
