"""The selective forwarding unit: routers, legs, and how their publications and slots are wired.

A packet walks from `Leg.receive_rtp` through `Uplink.receive` and `Encoding.forward` to
`fanout.send`; feedback comes back by `Leg.receive_rtcp` to the `Downlink`. All of it is synchronous
and runs on the event loop's thread. Mechanisms live in `bridge.media`, what an offer makes of a
leg in `bridge.leg.negotiation`, policy (who is on stage) in `bridge.conference.room`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.downlink import Downlink
from bridge.leg.encoding import Encoding
from bridge.leg.negotiation import SLOTS_MAX, Negotiation, read_offer
from bridge.leg.publication import Publication, PublicationState
from bridge.leg.slot import Slot
from bridge.leg.uplink import Uplink
from bridge.media.packet import MediaPacket
from bridge.media.speakers import DominantSpeaker
from bridge.media.timeline import ClockOffset, ServerClock
from bridge.media.voices import VoiceRanking
from bridge.rtp import rtcp
from bridge.transport import CloseReason, FanoutRows, MediaPort, Transport, TransportState

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


class LegObserver(Protocol):
    """What a leg tells its participant."""

    def leg_connected(self) -> None:
        """Media can flow."""

    def leg_closed(self, reason: str) -> None:
        """The transport ended by itself; called once, never after `Leg.close`."""

    def publication_live(self, source: Source, is_live: bool) -> None:
        """Packets of a publication arrive, for the first time or again; or it has ended."""

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None:
        """The encodings (RIDs by MID) that somebody watches; the publisher may stop the others."""

    def slots_changed(self) -> None:
        """Other voices are in the voice slots, or somebody else is seen in a slot for pictures."""


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


@dataclass(frozen=True, slots=True)
class LegStats:
    """How a leg fares: losses are shares (0 to 1) of the last report interval."""

    rtt_ms: float | None
    loss_up: float
    loss_down: float
    received_bps: int
    available_bps: int
    protocol: str | None


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
        leg = Leg(self, leg_id, observer, is_device=is_device)
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
        """A microphone came, went, or was muted."""
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
        return publication is not None and publication.is_arriving and not publication.is_muted


class Leg:
    """The media half of a participant: what goes up, what comes down."""

    def __init__(self, router: Router, leg_id: str, observer: LegObserver, *, is_device: bool) -> None:
        sfu = router.sfu
        now = sfu.clock()
        self.id = leg_id
        self.is_device = is_device
        self.router = router
        self.transport: Transport = sfu.port.create_transport(self)
        self.is_connected = False
        self.is_closed = False
        self._observer = observer
        self._clock = sfu.clock
        self._counters = sfu.counters
        self._fanout = sfu.port.fanout
        self._negotiation = Negotiation(
            leg_id=leg_id,
            transport=self.transport,
            port=sfu.port,
            counters=sfu.counters,
            clock_offset=ClockOffset(),
        )
        self._uplink = Uplink(
            negotiation=self._negotiation,
            counters=sfu.counters,
            send_rtcp=self._send_rtcp,
            due=now,
        )
        self._downlink = Downlink(
            negotiation=self._negotiation,
            counters=sfu.counters,
            fanout=sfu.port.fanout,
            server_clock=sfu.server_clock,
            request_keyframe=router.request_keyframe,
            send_rtcp=self._send_rtcp,
        )

    # What the participant asks.

    def negotiate(
        self,
        sdp: str,
        publications: Mapping[str, Source] | None = None,
        slots: Mapping[str, SlotRole] | None = None,
    ) -> str:
        """Answer an offer: the first one, more slots, or an ICE restart. Raises `NegotiationFailed`."""
        answered = self._negotiation.answer(sdp, publications, slots)
        for publication in answered.ended:
            self._end(publication)
        for slot in answered.stopped:
            self._downlink.show(slot, None)
        if self.is_device:
            for publication in self.publications():
                publication.is_face = False
        self.router.count_voice_slots(self)
        self.router.seat_voices(self)
        self.router.schedule(self)
        return answered.sdp

    def _end(self, publication: Publication) -> None:
        """Show a publication nowhere any more: its m-line has stopped."""
        before, publication.state = publication.state, PublicationState.ENDED
        for leg_id in {watcher.leg_id for watcher in publication.watchers}:
            self.router.legs[leg_id].release(publication)
        self._uplink.forget(publication)
        if self.router.recorder is not None:
            self.router.recorder.reconsider(publication)
        self._state_changed(publication, before)

    def publication(self, source: Source) -> Publication | None:
        """Return what this leg publishes as `source`, if that was negotiated."""
        return self._negotiation.publications.get(source)

    def publications(self) -> Iterable[Publication]:
        """Everything this leg may publish."""
        return self._negotiation.publications.values()

    def slots(self, role: SlotRole) -> list[Slot]:
        """Return the slots of one role, in the order of their m-lines."""
        return self._downlink.slots(role)

    def show(self, slot: Slot, publication: Publication | None) -> None:
        """Show a publication in a slot, or nothing; a face is held until the next picture is there."""
        if self.is_closed or slot.shown is publication:
            return
        self._downlink.show(slot, publication)
        if slot.role is SlotRole.STAGE:
            self.router.seat_voices(self)
        if slot.seen is not slot.shown:
            self.router.follow_picture(self, slot)
        self.router.schedule(self)

    def want(self, mid: str, height_px: int) -> None:
        """Say how high the picture of a slot is on the page; 0 when it is not visible."""
        slot = self._negotiation.slots.get(mid)
        if slot is not None and slot.wanted_height_px != height_px:
            slot.wanted_height_px = height_px
            self.router.schedule(self)

    def set_muted(self, source: Source, muted: bool) -> None:
        """Stop or go on forwarding a publication, whatever its sender does."""
        publication = self.publication(source)
        if publication is None or publication.is_muted == muted:
            return
        publication.set_muted(muted)
        if source is Source.MICROPHONE:
            self.router.microphone_changed(self.id)
        self.router.reconsider(publication)

    def voice_assignment(self) -> dict[str, str | None]:
        """Return whose voice is in which voice slot (leg ids by MID)."""
        slots = self.slots(SlotRole.VOICE)
        return {slot.mid: slot.shown.leg_id if slot.shown else None for slot in slots}

    @property
    def rtt_ms(self) -> float | None:
        """The smoothed round trip to the client; None before it is known."""
        if self._downlink.rtt_ms is None and self._uplink.repair_s is not None:
            # Who is sent nothing answers no report of ours, but requests.
            return self._uplink.repair_s * 1000
        return self._downlink.rtt_ms

    def snapshot(self) -> LegStats:
        """Return how this leg fares now."""
        now = self._clock()
        path = self.transport.selected_path
        receptions = [encoding.reception for encoding in self._uplink.encodings()]
        return LegStats(
            rtt_ms=self.rtt_ms,
            loss_up=max((reception.fraction_lost for reception in receptions), default=0.0),
            loss_down=self._downlink.loss,
            received_bps=int(sum(reception.bitrate_bps(now) for reception in receptions)),
            available_bps=int(self._downlink.estimate.available_bps(now)),
            protocol=None if path is None else path.protocol,
        )

    def close(self, reason: str) -> None:
        """End this leg: its publications leave every slot, its slots go silent. Harmless twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self._counters.legs_closed += 1
        for publication in self.publications():
            for leg_id in {watcher.leg_id for watcher in publication.watchers}:
                self.router.legs[leg_id].release(publication)
            for encoding in publication.encodings.values():
                encoding.close()
        for slot in self._negotiation.slots.values():
            self._downlink.show(slot, None)
        self._uplink.clear()
        self.router.forget(self)
        self.transport.close()

    # What the transport brings.

    def transport_state(self, state: TransportState) -> None:
        """Called by the transport when it is connected, and when it ended."""
        if state is TransportState.CONNECTED:
            self.is_connected = True
            self.router.schedule(self)
            self._observer.leg_connected()
        elif state is TransportState.CLOSED and not self.is_closed:
            reason = self.transport.close_reason or "closed"
            self.close(reason)
            self._observer.leg_closed(reason)

    def receives(self, ssrc: int) -> bool:
        """Tell whether a stream is one of this leg's publications."""
        return self._uplink.receives(ssrc)

    def receive_rtp(self, data: bytes, arrival: float) -> None:
        """Take in one decrypted packet and send it to everybody who watches. `arrival`: kernel stamp."""
        received = self._uplink.receive(data, arrival)
        if received is None:
            return
        encoding, media = received
        if encoding.is_new or encoding.is_stalled:
            self._came_alive(encoding)
        if media.audio_level is not None and not encoding.publication.is_muted:
            self.router.note_level(self.id, media.audio_level, arrival, is_told=encoding.tells_levels)
        watched = encoding.forward(media)
        led_in = encoding.lead_in()
        if led_in is not None:
            self._send(*led_in, arrival)
        if watched is not None:
            self._send(media, *watched, arrival)
        if encoding.has_latecomers:
            for missed, rows, count in encoding.catch_up():
                self._send(missed, rows, count, arrival)
        # Last, so that nobody who watches waits for it.
        if encoding.tap is not None:
            encoding.tap.receive(media)

    def _send(self, media: MediaPacket, rows: FanoutRows, count: int, arrival: float) -> None:
        sent = self._fanout.send(media, rows, count, self._clock())
        counters = self._counters
        counters.rtp_forwarded += sent
        counters.rtp_forwarded_bytes += sent * len(media.payload)
        counters.forwarding_latency_s.observe(self._clock() - arrival, sent)

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        """Take in one decrypted compound of feedback and reports."""
        self._counters.rtcp_received += 1
        packets, is_damaged = rtcp.parse_rtcp(data, reads_transport_feedback=False)
        if is_damaged:
            self._counters.dropped[DropReason.MALFORMED_RTCP] += 1
        downlink = self._downlink
        before_bps = downlink.estimate.available_bps(arrival)
        for packet in packets:
            match packet:
                case rtcp.SenderReport():
                    self._uplink.sender_report(packet, arrival)
                    downlink.reports(packet.reports, arrival)
                case rtcp.ReceiverReport():
                    downlink.reports(packet.reports, arrival)
                case rtcp.Nack():
                    downlink.nack(packet, arrival)
                case rtcp.PictureLossIndication():
                    downlink.picture_lost(packet.media_ssrc, arrival)
                case rtcp.FullIntraRequest():
                    for ssrc, _ in packet.entries:
                        downlink.picture_lost(ssrc, arrival)
                case rtcp.ReceiverEstimatedMaximumBitrate():
                    downlink.remb(packet.bitrate_bps, arrival)
                case _:
                    pass
        if downlink.estimate.available_bps(arrival) < before_bps:
            # A queue grows while one waits for the next report.
            self.router.schedule(self)

    def _came_alive(self, encoding: Encoding) -> None:
        encoding.is_new = encoding.is_stalled = False
        publication = self._negotiation.publications[encoding.publication.source]
        before = publication.come_alive()
        self.router.publishes(self)
        self.router.reconsider(publication)
        self._state_changed(publication, before)

    def _state_changed(self, publication: Publication, before: PublicationState) -> None:
        """Tell the voices and the room what a publication is now."""
        if publication.state is before:
            return
        if publication.source is Source.MICROPHONE:
            self.router.microphone_changed(self.id)
        was_live = before in (PublicationState.LIVE, PublicationState.PAUSED)
        if publication.is_live is not was_live:
            self._observer.publication_live(publication.source, publication.is_live)

    # What is due.

    def take_voices(self, voices: list[Publication]) -> None:
        """Put these voices, no more than there are voice slots, into them."""
        if not self.is_closed and self._downlink.take_voices(voices):
            self._observer.slots_changed()

    def release(self, publication: Publication) -> None:
        """Show nothing of a publication that is no more."""
        released = self._downlink.release(publication)
        if any(slot.role is SlotRole.STAGE for slot in released):
            self.router.seat_voices(self)
        if any(slot.role is SlotRole.VOICE for slot in released):
            self._observer.slots_changed()
        self.router.schedule(self)

    def picture_changed(self) -> None:
        """Somebody else is seen in one of the slots, or nobody."""
        if not self.is_closed:
            self._observer.slots_changed()

    def allocate(self, now: float) -> None:
        """Choose for every slot the encoding that its page shows best within what the link bears."""
        if not self.is_closed:
            self._downlink.allocate(now)

    def request_keyframe(self, encoding: Encoding) -> None:
        """Ask this leg's client for a key frame of one of its encodings, in the way that was agreed."""
        ssrc = self._negotiation.ssrc
        request: rtcp.RtcpPacket
        if "nack pli" in encoding.feedback:
            request = rtcp.PictureLossIndication(ssrc, encoding.ssrc)
        elif "ccm fir" in encoding.feedback:
            request = rtcp.FullIntraRequest(ssrc, ((encoding.ssrc, encoding.next_command()),))
        else:
            return
        self._counters.plis_sent += 1
        self._send_rtcp(self._negotiation.feedback(request.pack()))

    def report(self, now: float) -> None:
        """Tell the receiver where its streams stand, and look again at what its link bears."""
        if self.is_connected:
            self._downlink.send_sender_reports(now)
            self._downlink.allocate(now)

    def poll(self, now: float) -> None:
        """Do what is due to a publisher: NACKs, feedback, layers."""
        for encoding in self._uplink.repair(now, self._downlink.measured_s):
            self.router.request_keyframe(encoding, now, is_repair=True)
        for publication in self.publications():
            before = publication.state
            if publication.notice_silence(now):
                if publication.is_video and before is PublicationState.LIVE:
                    self._counters.layers_stalled += 1
                self.router.reconsider(publication)
                self._state_changed(publication, before)
        if self._uplink.report(now):
            self._tend_layers(now)

    def _tend_layers(self, now: float) -> None:
        layers = {}
        for publication in self.publications():
            if not publication.is_video:
                continue
            for encoding in publication.encodings.values():
                if not encoding.keyframes.is_wanted:
                    continue
                if not encoding.is_watched:
                    # Whoever wanted it looks elsewhere by now; a silent layer would be asked for ever.
                    encoding.keyframes.cancel()
                elif encoding.keyframes.due(now):
                    self.request_keyframe(encoding)
            wanted = publication.wanted_rids(now)
            if wanted is not None:
                layers[publication.mid] = wanted
        if layers:
            self._observer.layers_wanted(layers)

    def _send_rtcp(self, data: bytes) -> None:
        self._counters.rtcp_sent += 1
        self.transport.send_rtcp(data)
