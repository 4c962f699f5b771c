"""What a room that goes on after a restart has to know of its time before: read out of its journal. Pure.

Cases and consent are in `cases`; here is what moderators decided about people: the lock, who was sent out,
whose floor was given or taken, who is on stage. People are known by the ids of their links, as all of them
come back as other participants.
"""

from collections import deque
from collections.abc import Iterable
from typing import TypeVar

from bridge.base.words import Role
from bridge.conference import roles
from bridge.conference.roles import Permission
from bridge.messages import CHAT_KEPT, ChatLine, StageMode
from bridge.store.journal import Event, EventKind

T = TypeVar("T")

# Links that a room remembers something of; the oldest is forgotten first.
REMEMBERED_MAX = 1000


class Standing:
    """How the people of a conference stood when its events end."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.is_locked = False
        # Whether a chair or secretary has been there.
        self.is_led = False
        self.distrusted: dict[str, None] = {}
        self.floors: dict[str, bool] = {}
        self.on_stage: str | None = None
        self.chat: deque[ChatLine] = deque(maxlen=CHAT_KEPT)
        for event in events:
            self._replay(event)

    def _replay(self, event: Event) -> None:
        data = event.data
        link = data.get("link")
        match event.kind:
            case EventKind.PARTICIPANT_JOINED:
                leads = roles.has(Role(data["role"]), Permission.MODERATE) and not data["device"]
                self.is_led = self.is_led or leads
            case EventKind.LOCK:
                self.is_locked = data["locked"]
            case EventKind.REMOVED if link is not None:
                remember(self.distrusted, link, None)
            case EventKind.ADMITTED if data["admitted"]:
                self.distrusted.pop(link or "", None)
            case EventKind.FLOOR if link is not None:
                remember(self.floors, link, data["granted"])
            case EventKind.STAGE:
                self.on_stage = link if data["mode"] == StageMode.CHAIR else None
            case EventKind.CHAT:
                line = ChatLine(data["participant"], data["name"], data["site"], data["text"], event.at_ms)
                self.chat.append(line)
            case _:
                pass


def remember(table: dict[str, T], link: str, value: T) -> None:
    """Put what is newest at the end, and forget the oldest beyond the bound."""
    table.pop(link, None)
    while len(table) >= REMEMBERED_MAX:
        del table[next(iter(table))]
    table[link] = value
