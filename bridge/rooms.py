"""All rooms of a node: opened when somebody comes, closed when they have been empty for long.

One housekeeping task does for all of them what is due later.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from bridge import messages
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused
from bridge.base.words import ConferenceKind, RecordingPolicy
from bridge.conference.cases import strictest
from bridge.conference.leading import CASE_LEFT_S
from bridge.conference.participants import device_lines
from bridge.conference.record import OpenRecord, UntilReady, ready_at_once, record_nothing
from bridge.conference.room import Room, no_ice_servers
from bridge.messages import IceServer
from bridge.tokens import Claims, Tokens

if TYPE_CHECKING:
    from bridge.sfu import Sfu

logger = logging.getLogger(__name__)

TICK_S = 0.1
RESTART_AFTER_S = 1.0
# A list of cases that was made in the morning, or on the evening before, is there when people come.
PREPARED_KEEP_S = 12 * 3600.0


class Rooms:
    """All rooms of this node."""

    def __init__(
        self,
        sfu: "Sfu",
        tokens: Tokens,
        *,
        counters: SessionCounters,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rooms_max: int = 1000,
        capacity: int = 1500,
        per_link: int = 4,
        empty_close_s: float = 600.0,
        wait_for_chair: bool = False,
        case_left_s: float = CASE_LEFT_S,
        ice_servers: Callable[[str], Iterable[IceServer]] = no_ice_servers,
        policies: Mapping[ConferenceKind, RecordingPolicy] = MappingProxyType({}),
        open_record: OpenRecord = record_nothing,
        until_ready: UntilReady = ready_at_once,
    ) -> None:
        # Passed by argument.
        self._sfu = sfu
        self._tokens = tokens
        self._counters = counters
        self._clock = clock
        self._wall_clock = wall_clock
        self._rooms_max = rooms_max
        self._capacity = capacity
        self._empty_close_s = empty_close_s
        self._wait_for_chair = wait_for_chair
        self._case_left_s = case_left_s
        self._per_link = per_link
        self._ice_servers = ice_servers
        self._policies = policies
        self._open_record = open_record
        self._until_ready = until_ready
        # Allocated by this.
        self.rooms: dict[str, Room] = {}
        self.is_draining = False
        self._housekeeping: asyncio.Task[None] | None = None

    def check_device_offer(self, sdp: str, *, watch: bool) -> None:
        """Raise NegotiationFailed for an offer that no room could answer, so that none is opened for it."""
        self._sfu.check_offer(sdp, *device_lines(watch=watch))

    def open(self, room_id: str, title: str, kind: ConferenceKind = ConferenceKind.CONSULTATION) -> Room:
        """Return the room of this id, made if it is not there; raises Refused.

        Whoever opens a room decides what kind it is, unless its session goes on after a crash. Links of
        another kind may come in, and then as little is recorded as the strictest of them says.
        """
        room = self.rooms.get(room_id)
        if room is not None:
            if kind is not room.kind:
                logger.warning("room %s is a %s, but a link calls it a %s", room_id, room.kind, kind)
            return room
        if self.is_draining or len(self.rooms) >= self._rooms_max:
            raise Refused("no-more-rooms", "this server opens no more rooms now")
        room = Room(
            room_id,
            title,
            router=self._sfu.create_router,
            tokens=self._tokens,
            counters=self._counters,
            clock=self._clock,
            wall_clock=self._wall_clock,
            capacity=self._capacity,
            per_link=self._per_link,
            ice_servers=self._ice_servers,
            wait_for_chair=self._wait_for_chair,
            case_left_s=self._case_left_s,
            kind=kind,
            policies=self._policies,
            open_record=self._open_record,
        )
        self.rooms[room_id] = room
        logger.info("room %s opened", room_id)
        return room

    async def until_ready(self, room_id: str) -> None:
        """Wait before `open`: right after a start of the server, a room's record may be about to be ready."""
        if room_id not in self.rooms:
            await self._until_ready(room_id)

    def recording_policy(self, room_id: str, kind: ConferenceKind) -> RecordingPolicy:
        """Return when a room will be recorded once somebody with a link of this kind is in it."""
        own = self._policies.get(kind, RecordingPolicy.OFF)
        room = self.rooms.get(room_id)
        return own if room is None else strictest(own, room.proceedings.policy)

    def link_in_use(self, claims: Claims) -> int:
        """Return how many participants are in the room with this link."""
        room = self.rooms.get(claims.room)
        return 0 if room is None else len(room.holders(claims.id))

    def get(self, room_id: str) -> Room | None:
        """Return the room of this id, if it is open."""
        return self.rooms.get(room_id)

    def close(self, room_id: str, reason: str = "room-closed") -> None:
        """Close a room, if it is open."""
        room = self.rooms.pop(room_id, None)
        if room is not None:
            room.close(reason)
            logger.info("room %s closed", room_id)

    def expel_revoked(self) -> None:
        """Send out everybody whose link was revoked."""
        for room in list(self.rooms.values()):
            try:
                room.expel_revoked()
            except Exception:
                # A fault of ours in one room is not to keep anybody in another.
                logger.exception("who was revoked could not be sent out of room %s", room.id)

    def start(self) -> None:
        """Begin the housekeeping; needs a running event loop."""
        self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house(), name="rooms")
        self._housekeeping.add_done_callback(self._housekeeping_ended)

    def _housekeeping_ended(self, task: asyncio.Task[None]) -> None:
        """A fault of ours in one tick is reported, and the rooms go on."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("housekeeping of the rooms failed", exc_info=task.exception())
            task.get_loop().call_later(RESTART_AFTER_S, self._restart, task)

    def _restart(self, ended: asyncio.Task[None]) -> None:
        # Unless the node was stopped meanwhile.
        if self._housekeeping is ended:
            self.start()

    def drain(self, seconds: int) -> None:
        """Let nobody else in, and tell everybody that the server stops in so many seconds."""
        self.is_draining = True
        for room in self.rooms.values():
            room.broadcast(messages.Closing(seconds))

    async def stop(self) -> None:
        """Close all rooms and end the housekeeping."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
            self._housekeeping = None
        for room_id in list(self.rooms):
            try:
                self.close(room_id, "shutdown")
            except Exception:
                logger.exception("room %s could not be closed in order", room_id)

    def poll(self, now: float) -> None:
        """Do what is due by `now` in every room, and close those that have been empty for long.

        A fault of ours that one room meets is reported and ends there.
        """
        for room in list(self.rooms.values()):
            try:
                self._poll(room, now)
            except Exception:
                logger.exception("housekeeping of room %s failed", room.id)

    def _poll(self, room: Room, now: float) -> None:
        room.poll(now)
        keep_s = max(self._empty_close_s, PREPARED_KEEP_S * room.is_prepared)
        if room.empty_since is not None and now - room.empty_since > keep_s:
            self.close(room.id)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.poll(self._clock())
            unshown = list(self.rooms.values())
            while unshown:
                await asyncio.sleep(0)
                unshown = [room for room in unshown if self._show_more(room)]

    def _show_more(self, room: Room) -> bool:
        try:
            return room.sight.show_more()
        except Exception:
            logger.exception("room %s could not show everybody", room.id)
            return False
