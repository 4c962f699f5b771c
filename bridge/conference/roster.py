"""The roster: who is listed for everybody, and what changed since the last time it was told.

Changes are gathered and told together, serialised once per room. In a large room those who only watch are
listed up to two hundred, and the others counted: a ceremony of a thousand points must not announce a
thousand joins to a thousand. Moderators and whoever publishes or raises a hand are always listed.
"""

from collections.abc import Iterable

from bridge.base import schema
from bridge.conference import roles
from bridge.conference.participants import Participant
from bridge.conference.roles import Permission
from bridge.messages import Member, RosterChange, write_json

LISTED_WATCHING_MAX = 200
FLUSH_EVERY_S = 0.25
# Beyond so many points each flush is a thousand frames: once a second is soon enough to read.
LARGE_ROOM = 200
LARGE_ROOM_FLUSH_EVERY_S = 1.0


class Roster:
    """Members as they were told last, and the news since."""

    def __init__(self, listed_watching_max: int = LISTED_WATCHING_MAX) -> None:
        self._listed_watching_max = listed_watching_max
        self._listed: dict[str, Member] = {}
        # The same as JSON, as every newcomer is sent all of it.
        self._texts: dict[str, str] = {}
        # Those of them who only watch, and those who are not listed because they do, in the order of joining.
        self._watching: set[str] = set()
        self._unlisted: dict[str, Participant] = {}
        self._joined: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._left: dict[str, None] = {}
        self._count_told = 0
        self._next_flush_at = 0.0

    def update(self, participant: Participant) -> None:
        """Note the participant as it is now, new or changed."""
        member = participant.member()
        listed = self._listed.get(member.participant)
        if listed is None:
            self._list(participant, member)
        elif listed != member:
            self._write(member)
            if member.participant not in self._joined:
                self._changed[member.participant] = None
            if _is_notable(member):
                self._stops_watching(member.participant)

    def _list(self, participant: Participant, member: Member) -> None:
        if not _is_notable(member):
            if len(self._watching) >= self._listed_watching_max:
                self._unlisted[participant.id] = participant
                return
            self._watching.add(participant.id)
        self._unlisted.pop(participant.id, None)
        self._write(member)
        self._joined[member.participant] = None

    def _write(self, member: Member) -> None:
        self._listed[member.participant] = member
        self._texts[member.participant] = write_json(schema.to_json(member))

    def remove(self, participant: Participant) -> None:
        """Note that the participant has left."""
        self._unlisted.pop(participant.id, None)
        if self._listed.pop(participant.id, None) is None:
            return
        del self._texts[participant.id]
        self._changed.pop(participant.id, None)
        # Somebody who came and went between two flushes was in the welcome of those who joined
        # meanwhile, so that leaving is told even then.
        self._joined.pop(participant.id, None)
        self._left[participant.id] = None
        self._stops_watching(participant.id)

    def _stops_watching(self, participant_id: str) -> None:
        """Give the place of somebody who left, or does more than watch, to the next who is not listed."""
        if participant_id in self._watching:
            self._watching.discard(participant_id)
            if self._unlisted:
                waiting = next(iter(self._unlisted.values()))
                self._list(waiting, waiting.member())

    def serialised(self) -> str:
        """Return all listed members as they are now, as a JSON array for a newcomer."""
        return f"[{','.join(self._texts.values())}]"

    def flush(self, count: int, now: float) -> RosterChange | None:
        """Return what to tell everybody, if there is news and it is time."""
        has_news = bool(self._joined or self._changed or self._left or count != self._count_told)
        if not has_news or now < self._next_flush_at:
            return None
        self._next_flush_at = now + (FLUSH_EVERY_S if count <= LARGE_ROOM else LARGE_ROOM_FLUSH_EVERY_S)
        change = RosterChange(
            joined=self._members_of(self._joined),
            changed=self._members_of(self._changed),
            left=tuple(self._left),
            count=count,
        )
        self._joined.clear()
        self._changed.clear()
        self._left.clear()
        self._count_told = count
        return change

    def _members_of(self, ids: Iterable[str]) -> tuple[Member, ...]:
        return tuple(self._listed[participant_id] for participant_id in ids)


def _is_notable(member: Member) -> bool:
    if roles.has(member.role, Permission.MODERATE):
        return True
    is_sending = member.microphone != "off" or member.camera != "off" or member.content or member.auxiliary
    return is_sending or member.hand is not None
