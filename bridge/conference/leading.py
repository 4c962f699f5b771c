"""Whether the open case is in the hands of those who opened it. Pure; time is an argument.

A case that its moderators have left would go on with whoever comes next, and their talk would be recorded as
its own. So it is in doubt, until a moderator says that it goes on,

* when it has been without a moderator for `case_left_s`,
* when somebody comes after all people have gone (devices may go on alone for that time), or when the next to
  lead it comes with a link that has not led it before,
* when its session comes back after a restart.

A moderator of the same link who is back in time, as after a page was loaded anew, is not asked, and dispels a
doubt that there is only because others have come meanwhile. Whose line is lost has gone, as nobody knows yet
whether the page was closed, but is no newcomer when it is back.
"""

from bridge.base.words import WaitingReason
from bridge.conference.participants import Participant

CASE_LEFT_S = 120.0
# Links that one case remembers its moderators by.
LINKS_MAX = 1000


class Leading:
    """Who leads the open case of one room."""

    def __init__(self, case_left_s: float, *, is_resumed: bool = False) -> None:
        """`is_resumed` says that the session that goes on after a restart has an open case."""
        self._case_left_s = case_left_s
        # Why the open case is in doubt.
        self.doubt: WaitingReason | None = WaitingReason.CASE_RESUMED if is_resumed else None
        self._is_open = is_resumed
        self._people: set[str] = set()
        # Links of the moderators who are here, by participant, and of all who have led the open case.
        self._leaders: dict[str, str] = {}
        self._links: set[str] = set()
        self._unled_since: float | None = None
        # Whether it is in doubt only because somebody else was the first to come after all had gone.
        self._is_passing = False

    def case_changed(self, *, is_open: bool) -> None:
        """A moderator has started a case, or finished it and started no other."""
        self._is_open = is_open
        self._links = set(self._leaders.values())
        self._unled_since = None
        self.confirm()

    def confirm(self) -> None:
        """A moderator says that the open case goes on."""
        self.doubt, self._is_passing = None, False
        self._links.update(self._leaders.values())

    def came(self, participant: Participant, now: float) -> None:
        """Somebody has come in."""
        if participant.is_device:
            return
        self.poll(now)
        has_led = participant.leads and participant.claims.id in self._links
        if self._is_open and not self._people and not has_led and self.doubt is None:
            self._put_in_doubt()
            self._is_passing = True
        self._is_here(participant)

    def back(self, participant: Participant, now: float) -> None:
        """Somebody whose line was lost is back."""
        if participant.is_device:
            return
        self.poll(now)
        self._is_here(participant)

    def _is_here(self, participant: Participant) -> None:
        self._people.add(participant.id)
        if not participant.leads:
            return
        link = participant.claims.id
        if self._is_open and not self._leaders:
            if link not in self._links:
                self._put_in_doubt()
            elif self._is_passing:
                self.doubt, self._is_passing = None, False
        self._leaders[participant.id] = link
        if self._is_open and self.doubt is None and len(self._links) < LINKS_MAX:
            self._links.add(link)
        self._unled_since = None

    def left(self, participant: Participant, now: float) -> None:
        """Somebody has gone, or its line is lost."""
        self._people.discard(participant.id)
        if self._leaders.pop(participant.id, None) is not None and not self._leaders:
            self._unled_since = now

    def poll(self, now: float) -> bool:
        """Return whether the open case has come into doubt by now, or lastingly so."""
        since = self._unled_since
        if not self._is_open or since is None or now - since <= self._case_left_s:
            return False
        self._unled_since = None
        self._put_in_doubt()
        return True

    def _put_in_doubt(self) -> None:
        self.doubt = self.doubt or WaitingReason.CASE_LEFT
        self._is_passing = False
