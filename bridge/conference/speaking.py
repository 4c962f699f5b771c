"""Who speaks in a room, and when that is told. Pure; time is an argument."""

from collections.abc import Callable

from bridge import messages

SPEAKERS_EVERY_S = 0.25


class Speaking:
    """The voices that are passed on, the one that leads, and whether that is news."""

    def __init__(self, is_here: Callable[[str], bool], dominant: Callable[[], str | None]) -> None:
        self._is_here = is_here
        self._dominant = dominant
        self._voices: tuple[str, ...] = ()
        self._is_news = False
        self._next_at = 0.0

    def voices_changed(self, participants: tuple[str, ...]) -> None:
        """Other voices are passed on now."""
        self._is_news = True
        self._voices = participants

    def dominant_changed(self) -> None:
        """Somebody else leads now, or nobody."""
        self._is_news = True

    def now(self) -> messages.Speakers:
        """Return who speaks now."""
        voices = tuple(voice for voice in self._voices if self._is_here(voice))
        return messages.Speakers(voices, self._dominant())

    def take_news(self, now: float) -> messages.Speakers | None:
        """Return who speaks, if that is news and was not told just now."""
        if not self._is_news or now < self._next_at:
            return None
        self._is_news = False
        self._next_at = now + SPEAKERS_EVERY_S
        return self.now()
