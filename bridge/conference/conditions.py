"""What is weak at which site of a room, as pages tell it, for its moderators. Pure; time is an argument."""

from collections.abc import Collection

from bridge.base.counters import SessionCounters
from bridge.base.words import Weakness
from bridge.messages import Condition, Conditions

# A page on a wavering line changes its mind often; nobody reads faster.
TOLD_EVERY_S = 1.0


class SiteConditions:
    """The weaknesses of one room, and what moderators have not been told of them."""

    def __init__(self, counters: SessionCounters) -> None:
        self._counters = counters
        self._weak: dict[str, Weakness] = {}
        self._news: dict[str, Weakness | None] = {}
        self._next_at = 0.0

    def told(self, participant_id: str, condition: Condition) -> None:
        """Take in what a page says of itself."""
        self.note(participant_id, condition.weakness)
        counters = self._counters
        counters.client_freezes += condition.freezes
        counters.client_frozen_s += condition.frozen_ms / 1000
        counters.client_heard_s += condition.heard_ms / 1000
        # Nobody conceals more than there was to hear.
        counters.client_concealed_s += min(condition.concealed_ms, condition.heard_ms) / 1000

    def note(self, participant_id: str, weakness: Weakness | None) -> None:
        """Note what is weak at a site, or that nothing is."""
        if self._weak.get(participant_id) is weakness:
            return
        if weakness is None:
            del self._weak[participant_id]
        else:
            self._weak[participant_id] = weakness
        self._news[participant_id] = weakness

    def forget(self, participant_id: str) -> None:
        """A site has left: the roster says so."""
        self._weak.pop(participant_id, None)
        self._news.pop(participant_id, None)

    def weaknesses(self) -> Collection[Weakness]:
        """Return what is weak now, once for each site."""
        return self._weak.values()

    def everything(self) -> Conditions | None:
        """Return what a moderator who comes in has to know, if there is anything."""
        return Conditions(dict(self._weak)) if self._weak else None

    def take_news(self, now: float) -> Conditions | None:
        """Return what moderators are to be told now, at most once a second."""
        if not self._news or now < self._next_at:
            return None
        self._next_at = now + TOLD_EVERY_S
        news, self._news = self._news, {}
        return Conditions(news)
