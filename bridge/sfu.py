"""The selective forwarding unit: routers, and how the legs of a room are wired to each other.

All of it is synchronous and runs on the event loop's thread. A packet's way lies in `bridge.leg.leg`,
mechanisms in `bridge.media`, policy (who is on stage) in `bridge.conference.room`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from bridge.base.counters import SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.encoding import Encoding
from bridge.leg.leg import Leg, LegObserver
from bridge.leg.negotiation import SLOTS_MAX, read_offer
from bridge.leg.publication import Publication
from bridge.leg.slot import Slot
from bridge.media.speakers import DominantSpeaker
from bridge.media.timeline import ServerClock
from bridge.media.voices import VoiceRanking
from bridge.transport import CloseReason, MediaPort

logger = logging.getLogger(__name__)

TICK_S = 0.02
RESTART_AFTER_S = 1.0
# Receivers extrapolate between two sender reports; browsers send theirs more rarely.
REPORT_S = 1.0
VOICES_S = 0.1
# One more than a leg has voice slots, so that a speaker hears as many others as a listener.
VOICES_RANKED = SLOTS_MAX[SlotRole.VOICE] + 1
# Packets must not wait until a thousand legs have chosen their encodings, or have other voices.
ALLOCATED_AT_ONCE = 50
# How long a face may stay in a slot that is somebody else's by now, and how long after that the slot is
# said to show nobody while no picture comes.
HELD_S = 1.0
SEATED_AT_ONCE = 250


class RouterObserver(Protocol):
    """What a router tells its room."""

    def dominant_speaker_changed(self, leg_id: str | None) -> None:
        """Somebody else leads the conversation."""

    def voices_changed(self, leg_ids: tuple[str, ...]) -> None:
        """The voices that are heard now, in the order in which they took their places, are others."""


class MediaRecorder(Protocol):
    """What records a router's media: told what there is to record, it puts taps on encodings."""

    def reconsider(self, publication: Publication) -> None:
        """A publication came alive, was muted or unmuted, or has other living encodings."""

    def leg_closed(self, leg: Leg) -> None:
        """A leg and all its publications are no more."""

    def poll(self, now: float) -> None:
        """Do what is due."""


class Sfu:
    """The forwarding unit of one node."""

    def __init__(
        self,
        *,
        port: MediaPort,
        counters: SfuCounters,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.port = port
        self.counters = counters
        self.clock = clock
        self.server_clock = ServerClock(wall_clock(), clock())
        self.routers: set[Router] = set()
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def check_offer(
        sdp: str, publications: Mapping[str, Source] | None, slots: Mapping[str, SlotRole] | None
    ) -> None:
        """Raise NegotiationFailed for an offer that no new leg could answer."""
        read_offer(sdp, publications, slots)

    def create_router(self, observer: RouterObserver) -> Router:
        """Open the media side of a room."""
        router = Router(self, observer)
        self.routers.add(router)
        return router

    def start(self) -> None:
        """Start the one task that does what is due."""
        self._task = asyncio.get_running_loop().create_task(self._housekeeping(), name="sfu-housekeeping")
        self._task.add_done_callback(self._housekeeping_ended)

    def _housekeeping_ended(self, task: asyncio.Task[None]) -> None:
        """A fault of ours in one tick is reported, and the routers go on."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("housekeeping of the forwarding unit failed", exc_info=task.exception())
            task.get_loop().call_later(RESTART_AFTER_S, self._restart, task)

    def _restart(self, ended: asyncio.Task[None]) -> None:
        # Unless the node was stopped meanwhile.
        if self._task is ended:
            self.start()

    async def stop(self) -> None:
        """Close all routers and stop the task."""
        for router in list(self.routers):
            router.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _housekeeping(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            now = self.clock()
            for router in self.routers:
                # A callback each: packets that came meanwhile go before the next room.
                loop.call_soon(router.poll, now)


class Router:
    """The media side of one room: its legs, and whose voices they hear."""

    def __init__(self, sfu: Sfu, observer: RouterObserver) -> None:
        self.sfu = sfu
        self.legs: dict[str, Leg] = {}
        self.recorder: MediaRecorder | None = None
        self._observer = observer
        self._dominant: DominantSpeaker[str] = DominantSpeaker()
        self._voices: VoiceRanking[str] = VoiceRanking(VOICES_RANKED)
        # What the legs were given, or are about to be, and what the room was told last.
        self._ranked: tuple[str, ...] = ()
        self._announced: tuple[str, ...] = ()
        self._dominant_id: str | None = None
        self._voices_due = 0.0
        # The legs that listen, by how many voice slots they have: a cut of the ranking concerns those alone.
        self._listeners: dict[int, dict[Leg, None]] = {}
        self._unseated: dict[Leg, None] = {}
        # The slots in which somebody else is seen than they show, or nobody: until when that may be.
        self._changing: dict[Slot, tuple[Leg, float]] = {}
        self._publishing: dict[Leg, None] = {}
        self._round: deque[Leg] = deque()
        self._reports_owed = 0.0
        self._dirty: dict[Leg, None] = {}
        self._flush: asyncio.Handle | None = None

    def check_offer(
        self, sdp: str, publications: Mapping[str, Source] | None, slots: Mapping[str, SlotRole] | None
    ) -> None:
        """Raise NegotiationFailed for an offer that no new leg could answer."""
        self.sfu.check_offer(sdp, publications, slots)

    def create_leg(self, leg_id: str, observer: LegObserver, *, is_device: bool = False) -> Leg:
        """Add the media half of a participant; the camera of a device (an encoder) shows no faces."""
        sfu = self.sfu
        leg = Leg(
            leg_id,
            is_device=is_device,
            router=self,
            observer=observer,
            port=sfu.port,
            counters=sfu.counters,
            clock=sfu.clock,
            server_clock=sfu.server_clock,
        )
        self.legs[leg_id] = leg
        self._round.append(leg)
        return leg

    def close(self) -> None:
        """Close all legs, then this router."""
        for leg in list(self.legs.values()):
            leg.close("closed")
        if self._flush is not None:
            self._flush.cancel()
        self.sfu.routers.discard(self)

    def poll(self, now: float) -> None:
        """Do what is due: voices, then what each leg owes."""
        if self not in self.sfu.routers:
            return
        if now >= self._voices_due:
            self._voices_due = now + VOICES_S
            self._contain(self._listen, now)
            self._contain(self._follow_pictures, now)
        for leg in list(self._publishing):
            self._attend(leg, partial(leg.poll, now))
        if self.recorder is not None:
            self._contain(self.recorder.poll, now)
        # Each leg once in REPORT_S, evenly spread: a thousand in one tick would hold up the packets.
        self._reports_owed += len(self._round) * TICK_S / REPORT_S
        while self._reports_owed >= 1.0:
            self._reports_owed -= 1.0
            if self._round:
                leg = self._round[0]
                self._round.rotate(-1)
                self._attend(leg, partial(leg.report, now))

    def _contain(self, due: Callable[[float], None], now: float) -> None:
        """Do what is due to the room; a fault of ours must not cost it what else is due."""
        try:
            due(now)
        except Exception:
            logger.exception("housekeeping of a router failed")

    def _attend(self, leg: Leg, due: Callable[[], None]) -> None:
        """Do what is due to a leg; a fault of ours that it meets costs this leg, and nobody else."""
        try:
            due()
        except Exception:
            logger.exception("leg %s failed", leg.id)
            # Asked for nothing more, whatever closing it meets.
            self._drop(leg)
            leg.transport.close(CloseReason.FAILED)

    def publishes(self, leg: Leg) -> None:
        """A leg's first packet has arrived: from now on it is owed feedback."""
        self._publishing[leg] = None

    def note_level(self, leg_id: str, level: int, now: float, *, is_told: bool = True) -> None:
        """Take in the level of one audio packet (RFC 6464: 0 loud, 127 silent), or a guess at it."""
        self._dominant.level(leg_id, level, now, is_told=is_told)
        if self._voices.level(leg_id, level, now, is_told=is_told):
            self._rank_voices(now)

    def schedule(self, leg: Leg) -> None:
        """Let `leg` choose its encodings anew when the current call stack is done."""
        self._dirty[leg] = None
        self._flush_soon()

    def microphone_changed(self, leg_id: str) -> None:
        """A microphone came, went, or was muted; or its line is dead, or lives again."""
        if self._is_audible(leg_id):
            self._voices.open(leg_id)
        else:
            self._voices.close(leg_id)
            self._dominant.remove(leg_id)
        self._rank_voices(self.sfu.clock())

    def count_voice_slots(self, leg: Leg) -> None:
        """Note how many voices a leg can be given, after each of its offers."""
        for listeners in self._listeners.values():
            listeners.pop(leg, None)
        count = len(leg.slots(SlotRole.VOICE))
        if count:
            self._listeners.setdefault(count, {})[leg] = None

    def seat_voices(self, leg: Leg) -> None:
        """Give a leg the voices it hears: the loudest, as many as it has slots, without its own."""
        publications = []
        for leg_id in self._voices.first(len(leg.slots(SlotRole.VOICE)), leg.id):
            speaker = self.legs.get(leg_id)
            if speaker is None or speaker.is_closed:
                continue
            publication = speaker.publication(Source.MICROPHONE)
            if publication is not None:
                publications.append(publication)
        leg.take_voices(publications)

    def follow_picture(self, leg: Leg, slot: Slot) -> None:
        """Watch a slot that is somebody else's now, until the picture in it is theirs, too."""
        self._changing.setdefault(slot, (leg, self.sfu.clock() + HELD_S))

    def reconsider(self, publication: Publication) -> None:
        """Let everybody who watches or records a publication choose its encoding anew."""
        if self.recorder is not None:
            self.recorder.reconsider(publication)
        for watcher in publication.watchers:
            self.schedule(self.legs[watcher.leg_id])

    def withdraw(self, publication: Publication) -> None:
        """Show nothing of a publication any more, whoever watches it."""
        for leg_id in {watcher.leg_id for watcher in publication.watchers}:
            self.legs[leg_id].release(publication)

    def request_keyframe(self, encoding: Encoding, now: float, *, is_repair: bool = False) -> None:
        """Ask for a key frame, unless that was done just now."""
        leg = self.legs.get(encoding.publication.leg_id)
        if leg is not None and encoding.keyframes.request(now, is_repair=is_repair):
            leg.request_keyframe(encoding)

    def forget(self, leg: Leg) -> None:
        """A leg has closed."""
        if self.recorder is not None:
            self.recorder.leg_closed(leg)
        self._drop(leg)
        if self.legs.get(leg.id) is leg:
            del self.legs[leg.id]
            self._voices.close(leg.id)
            self._dominant.remove(leg.id)
            self._rank_voices(self.sfu.clock())

    def _drop(self, leg: Leg) -> None:
        """Let nothing be due to a leg any more."""
        self._publishing.pop(leg, None)
        with contextlib.suppress(ValueError):
            self._round.remove(leg)
        for listeners in self._listeners.values():
            listeners.pop(leg, None)
        self._dirty.pop(leg, None)
        self._unseated.pop(leg, None)

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_soon(self._flush_slice)

    def _flush_slice(self) -> None:
        """Give voices and encodings to the next legs that wait for them."""
        self._flush = None
        now = self.sfu.clock()
        for _ in range(min(len(self._unseated), SEATED_AT_ONCE)):
            leg = next(iter(self._unseated))
            del self._unseated[leg]
            self._attend(leg, partial(self.seat_voices, leg))
        for _ in range(min(len(self._dirty), ALLOCATED_AT_ONCE)):
            leg = next(iter(self._dirty))
            del self._dirty[leg]
            self._attend(leg, partial(leg.allocate, now))
        if self._unseated or self._dirty:
            self._flush_soon()

    def _listen(self, now: float) -> None:
        dominant = self._dominant.poll(now)
        if dominant != self._dominant_id:
            self._dominant_id = dominant
            self._observer.dominant_speaker_changed(dominant)
        self._rank_voices(now)

    def _follow_pictures(self, now: float) -> None:
        for slot, (leg, due) in list(self._changing.items()):
            before, is_late = slot.seen, now >= due
            if leg.is_closed or slot.follow(is_late=is_late):
                del self._changing[slot]
            elif is_late:
                self._changing[slot] = leg, now + HELD_S
            if slot.seen is not before:
                leg.picture_changed()

    def _rank_voices(self, now: float) -> None:
        before, after = self._ranked, self._voices.rank(now)
        if after != before:
            self._ranked = after
            self._unseat(before, after)
        # Places also hold silent voices: who is heard changes more often than who has one.
        if self._voices.heard != self._announced:
            self._announced = self._voices.heard
            self._observer.voices_changed(self._announced)

    def _unseat(self, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        """Let those hear anew whose own selection is another one now."""
        for count, listeners in self._listeners.items():
            if set(before[:count]) != set(after[:count]):
                self._unseated.update(listeners)
        # Whoever has a place hears past it.
        for leg_id in {*before, *after}:
            leg = self.legs.get(leg_id)
            if leg is not None:
                self._unseated[leg] = None
        if self._unseated:
            self._flush_soon()

    def _is_audible(self, leg_id: str) -> bool:
        leg = self.legs.get(leg_id)
        publication = leg.publication(Source.MICROPHONE) if leg else None
        if publication is None or publication.is_cut:
            return False
        return publication.is_arriving and not publication.is_muted
