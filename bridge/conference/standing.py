"""What a room that goes on after a restart has to know of its time before: read out of its journal. Pure.

Cases and consent are in `cases`; here is what moderators decided about people: the lock and who is behind it,
who was sent out, whose floor was given or taken, who is on stage. People are known by the ids of their links,
as all of them come back as other participants.
"""

from collections import deque
from collections.abc import Iterable
from typing import TypeVar

from bridge.base.words import Role
from bridge.conference import roles
from bridge.conference.participants import LeaveReason
from bridge.conference.roles import Permission
from bridge.messages import CHAT_KEPT, ChatLine, StageMode
from bridge.store.journal import Event, EventKind

K = TypeVar("K")
T = TypeVar("T")

# Links that a room remembers something of, more than may be in a large one; the oldest is forgotten first.
REMEMBERED_MAX = 2000


class Standing:
    """How the people of a conference stood when its events end."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.is_locked = False
        # Whether a chair or secretary has been there, any person at all, and one that does not moderate.
        self.is_led = False
        self.was_attended = False
        self.was_held = False
        self.distrusted: dict[str, None] = {}
        self.floors: dict[str, bool] = {}
        # The link whom a moderator put on stage, and the participant that came with it last.
        self.on_stage: str | None = None
        self._staged: str | None = None
        # Links of those who are in, by participant, and of those who were when an earlier server ended.
        self._present: dict[str, str] = {}
        self._awaited: dict[str, None] = {}
        self.chat: deque[ChatLine] = deque(maxlen=CHAT_KEPT)
        for event in events:
            self._replay(event)

    @property
    def awaited(self) -> dict[str, None]:
        """Links of those who were in the room when it was interrupted, and since the lock was last turned."""
        return self._awaited | dict.fromkeys(self._present.values())

    def _replay(self, event: Event) -> None:
        data = event.data
        link = data.get("link")
        match event.kind:
            case EventKind.PARTICIPANT_JOINED:
                moderates = roles.has(Role(data["role"]), Permission.MODERATE)
                if not data["device"]:
                    self.was_attended = True
                    self.is_led = self.is_led or moderates
                    self.was_held = self.was_held or not moderates
                if link is not None:
                    self._present[data["participant"]] = link
            case EventKind.PARTICIPANT_LEFT if data["reason"] != LeaveReason.CLOSED:
                self._left(data["participant"])
            case EventKind.SESSION_RESUMED:
                for earlier in self._present.values():
                    remember(self._awaited, earlier, None)
                self._present.clear()
            case EventKind.LOCK:
                self.is_locked = data["locked"]
                self._awaited.clear()
            case EventKind.REMOVED if link is not None:
                self._awaited.pop(link, None)
                remember(self.distrusted, link, None)
            case EventKind.ADMITTED if data["admitted"]:
                self.distrusted.pop(link or "", None)
            case EventKind.FLOOR if link is not None:
                remember(self.floors, link, data["granted"])
            # Without a moderator it only follows from who comes and goes, and be it with the server.
            case EventKind.STAGE if "by" in data:
                self.on_stage = link if data["mode"] == StageMode.CHAIR else None
                self._staged = data["participant"]
            case EventKind.STAGE if link is not None and link == self.on_stage:
                self._staged = data["participant"]
            case EventKind.CHAT if not event.is_erased:
                line = ChatLine(data["participant"], data["name"], data["site"], data["text"], event.at_ms)
                self.chat.append(line)
            case _:
                pass

    def _left(self, participant_id: str) -> None:
        self._present.pop(participant_id, None)
        if participant_id == self._staged:
            self.on_stage = self._staged = None


def remember(table: dict[K, T], link: K, value: T) -> None:
    """Put what is newest at the end, and forget the oldest beyond the bound."""
    table.pop(link, None)
    while len(table) >= REMEMBERED_MAX:
        del table[next(iter(table))]
    table[link] = value
