"""The media half of a participant: what goes up, what comes down, and what its transport brings.

A packet walks from `Leg.receive_rtp` through `Uplink.receive` and `Encoding.forward` to
`fanout.send`; feedback comes back by `Leg.receive_rtcp` to the `Downlink`. All of it is synchronous
and runs on the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.downlink import Downlink
from bridge.leg.encoding import Encoding
from bridge.leg.negotiation import Negotiation
from bridge.leg.publication import Publication, PublicationState
from bridge.leg.signal import Signal
from bridge.leg.slot import Slot
from bridge.leg.uplink import Uplink
from bridge.media.packet import MediaPacket, OutgoingPacket
from bridge.media.timeline import ClockOffset, ServerClock
from bridge.rtp import rtcp
from bridge.transport import FanoutRows, MediaPort, Transport, TransportState

# What a receiver's path carries is looked at once a second; more often when it has become so much more.
RISEN_FACTOR = 1.2


class LegObserver(Protocol):
    """What a leg tells its participant."""

    def leg_connected(self) -> None:
        """Media can flow."""

    def leg_closed(self, reason: str) -> None:
        """The transport ended by itself; called once, never after `Leg.close`."""

    def publication_live(self, source: Source, is_live: bool) -> None:
        """Packets of a publication arrive, for the first time or again; or it has ended."""

    def line_cut(self, is_cut: bool) -> None:
        """Nothing at all comes of this leg any more, though it ought to; or something does again."""

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None:
        """The encodings (RIDs by MID) that somebody watches; the publisher may stop the others."""

    def slots_changed(self) -> None:
        """Other voices are in the voice slots, or somebody else is seen in a slot for pictures, or paused."""


class RouterSide(Protocol):
    """What a leg asks of the router whose leg it is."""

    def publishes(self, leg: Leg) -> None:
        """A leg's first packet has arrived: from now on it is owed feedback."""

    def note_level(self, leg_id: str, level: int, now: float, *, is_told: bool = True) -> None:
        """Take in the level of one audio packet (RFC 6464: 0 loud, 127 silent), or a guess at it."""

    def schedule(self, leg: Leg) -> None:
        """Let `leg` choose its encodings anew when the current call stack is done."""

    def microphone_changed(self, leg_id: str) -> None:
        """A microphone came, went, or was muted; or its line is dead, or lives again."""

    def count_voice_slots(self, leg: Leg) -> None:
        """Note how many voices a leg can be given, after each of its offers."""

    def seat_voices(self, leg: Leg) -> None:
        """Give a leg the voices it hears."""

    def follow_picture(self, leg: Leg, slot: Slot) -> None:
        """Watch a slot that is somebody else's now, until the picture in it is theirs, too."""

    def reconsider(self, publication: Publication) -> None:
        """Let everybody who watches or records a publication choose its encoding anew."""

    def withdraw(self, publication: Publication) -> None:
        """Show nothing of a publication any more, whoever watches it."""

    def request_keyframe(self, encoding: Encoding, now: float, *, is_repair: bool = False) -> None:
        """Ask for a key frame, unless that was done just now."""

    def forget(self, leg: Leg) -> None:
        """A leg has closed."""


@dataclass(frozen=True, slots=True)
class LegStats:
    """How a leg fares: losses are shares (0 to 1) of the last report interval."""

    rtt_ms: float | None
    loss_up: float
    loss_down: float
    received_bps: int
    available_bps: int
    # The redundancy of each voice that is sent to it now: how many packets come once more with each one.
    voice_distances: Sequence[int]
    sent_bps: int
    # How long packets wait on the way down; None where the client does not tell of arrivals.
    queue_s: float | None
    protocol: str | None


class Leg:
    """The media half of a participant: what goes up, what comes down."""

    def __init__(
        self,
        leg_id: str,
        *,
        is_device: bool,
        router: RouterSide,
        observer: LegObserver,
        port: MediaPort,
        counters: SfuCounters,
        clock: Callable[[], float],
        server_clock: ServerClock,
    ) -> None:
        # Passed by argument.
        self.id = leg_id
        self.is_device = is_device
        self.router = router
        self._observer = observer
        self._clock = clock
        self._counters = counters
        self._fanout = port.fanout
        # Allocated by this.
        self.transport: Transport = port.create_transport(self)
        self.is_connected = False
        self.is_closed = False
        self._signal = Signal(is_device=is_device)
        self._negotiation = Negotiation(
            leg_id=leg_id,
            transport=self.transport,
            port=port,
            counters=counters,
            clock_offset=ClockOffset(),
        )
        self._uplink = Uplink(
            negotiation=self._negotiation,
            counters=counters,
            send_rtcp=self._send_rtcp,
            due=clock(),
        )
        self._downlink = Downlink(
            negotiation=self._negotiation,
            counters=counters,
            fanout=port.fanout,
            clock=clock,
            server_clock=server_clock,
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
        if self._negotiation.is_transport_wide:
            self._downlink.count_departures()
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
        self.router.withdraw(publication)
        self._uplink.forget(publication)
        self.router.reconsider(publication)
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
        rtt_s = self._downlink.round_trip_s
        if rtt_s is None:
            # Who is sent nothing answers no report of ours, but requests.
            rtt_s = self._uplink.repair_s
        return None if rtt_s is None else rtt_s * 1000

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
            voice_distances=self._downlink.voice_distances(),
            available_bps=int(self._downlink.available_bps(now)),
            sent_bps=int(self._downlink.sent_bps),
            queue_s=self._downlink.queue_s,
            protocol=None if path is None else path.protocol,
        )

    def close(self, reason: str) -> None:
        """End this leg: its publications leave every slot, its slots go silent. Harmless twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self._counters.legs_closed += 1
        for publication in self.publications():
            self.router.withdraw(publication)
            for encoding in publication.encodings.values():
                encoding.close()
        for slot in self._negotiation.slots.values():
            self._downlink.show(slot, None)
        self._downlink.close()
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
            if media.is_keyframe and media.starts_frame:
                encoding.publication.await_keyframe(encoding)
        if media.audio_level is not None and not encoding.publication.is_muted:
            self.router.note_level(self.id, media.audio_level, arrival, is_told=encoding.tells_levels)
        if encoding.recovered:
            for found in encoding.take_recovered():
                self._pass_on(encoding, found, arrival)
        self._pass_on(encoding, media, arrival)

    def _pass_on(self, encoding: Encoding, media: MediaPacket, arrival: float) -> None:
        """Send a packet to everybody who watches."""
        watched = encoding.forward(media)
        led_in = encoding.lead_in()
        if led_in is not None:
            self._send(*led_in, arrival)
        if watched is not None:
            self._send(media, *watched, arrival)
        if encoding.fan.protected:
            for wrapped, rows, count in encoding.protect(media):
                self._send(wrapped, rows, count, arrival)
        if encoding.has_latecomers:
            for missed, rows, count in encoding.catch_up():
                self._send(missed, rows, count, arrival)
        # Last, so that nobody who watches waits for it.
        if encoding.tap is not None:
            encoding.tap.receive(media)

    def _send(self, media: OutgoingPacket, rows: FanoutRows, count: int, arrival: float) -> None:
        sent = self._fanout.send(media, rows, count, self._clock())
        counters = self._counters
        counters.rtp_forwarded += sent
        counters.rtp_forwarded_bytes += sent * len(media.payload)
        counters.forwarding_latency_s.observe(self._clock() - arrival, sent)

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        """Take in one decrypted compound of feedback and reports."""
        self._counters.rtcp_received += 1
        downlink = self._downlink
        send_side = downlink.send_side
        if send_side is not None and send_side.take_calm(data, arrival):
            return
        packets, is_damaged = rtcp.parse_rtcp(data, reads_transport_feedback=send_side is not None)
        if is_damaged:
            self._counters.dropped[DropReason.MALFORMED_RTCP] += 1
        before_bps = downlink.available_bps(arrival)
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
                case rtcp.TransportFeedback():
                    downlink.arrivals(packet, arrival)
                case _:
                    pass
        after_bps = downlink.available_bps(arrival)
        if after_bps < before_bps or after_bps > RISEN_FACTOR * before_bps:
            # A queue grows while one waits for the next report; and a probe has found room at once.
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
            self._tell_pauses(now)

    def _tell_pauses(self, now: float) -> None:
        if self._downlink.note_pauses(now):
            self._observer.slots_changed()

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
            self._downlink.probe(now)
            self.allocate(now)

    def poll(self, now: float) -> None:
        """Do what is due to a publisher: NACKs, feedback, layers."""
        for encoding in self._uplink.repair(now, self._downlink.round_trip_s):
            self.router.request_keyframe(encoding, now, is_repair=True)
        for publication in self.publications():
            before = publication.state
            if publication.notice_silence(now):
                if publication.is_video and before is PublicationState.LIVE:
                    self._counters.layers_stalled += 1
                self.router.reconsider(publication)
                self._state_changed(publication, before)
        if self._uplink.report(now):
            self._notice_cut(now)
            self._tend_layers(now)

    def _notice_cut(self, now: float) -> None:
        signal = self._signal
        if not signal.poll(self.publications(), self.transport.last_received, now):
            return
        for publication in self.publications():
            publication.is_cut = signal.is_cut
            self.router.reconsider(publication)
        self.router.microphone_changed(self.id)
        self._observer.line_cut(signal.is_cut)

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
