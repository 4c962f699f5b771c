"""Whether there are people in a room: devices alone do not make a conference. Pure; time is an argument."""

from collections.abc import Collection

from bridge.conference.participants import Participant
from bridge.conference.standing import Standing

# For so long a case goes on with nobody but devices in the room: a whole site may have lost its line.
UNATTENDED_S = 300.0


class Attendance:
    """Since when a room has been without people, and whether any have been there."""

    def __init__(self, now: float, standing: Standing) -> None:
        self._was_attended = standing.was_attended
        # Whether there were people to hold a conference with, and not only those who prepare it.
        self.was_held = standing.was_held
        self._without_people_since: float | None = now
        self._is_noted = False

    def came(self, participant: Participant) -> None:
        """Somebody has come in."""
        if not participant.is_device:
            self._without_people_since, self._was_attended, self._is_noted = None, True, False
            self.was_held = self.was_held or not participant.may_moderate

    def left(self, still_there: Collection[Participant], now: float) -> None:
        """Somebody has gone, and these are still there."""
        have_all_gone = not still_there and not self._was_attended
        has_last_person = self._without_people_since is None and all(one.is_device for one in still_there)
        if have_all_gone or has_last_person:
            self._without_people_since = now

    def empty_since(self, is_awaited: bool) -> float | None:
        """Return since when all people have gone; None while some are there, or some wait for the first."""
        return None if is_awaited and not self._was_attended else self._without_people_since

    def has_become_unattended(self, now: float) -> bool:
        """Return True, once, when there have been no people for `UNATTENDED_S`."""
        since = self._without_people_since
        if since is None or self._is_noted or now - since <= UNATTENDED_S:
            return False
        self._is_noted = True
        return True
