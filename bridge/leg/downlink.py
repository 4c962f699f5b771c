"""What one leg is sent: what each of its slots shows, in which encoding, and what its receiver answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from bridge.base.counters import SfuCounters
from bridge.base.rate import Budget
from bridge.base.words import SlotRole, Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.fan import ALL_TEMPORAL_LAYERS
from bridge.leg.feedback import SendSideEstimate
from bridge.leg.negotiation import Negotiation
from bridge.leg.probes import Prober
from bridge.leg.publication import Publication
from bridge.leg.slot import Slot
from bridge.media.allocation import UPGRADE_HEADROOM, Choice, Demand, LayerOption, choose
from bridge.media.bandwidth import DownlinkEstimate
from bridge.media.packet import retransmission
from bridge.media.protection import DISTANCE_MAX, STEP_BPS, Protection
from bridge.media.timeline import ServerClock, round_trip_s
from bridge.rtp import rtcp
from bridge.transport import Fanout

VOICE_BPS = 48_000
# What a VP8 encoding of three temporal layers spends on the lower two, until that was measured; what saves
# less than this is no step down.
BASE_LAYERS_SHARE = 0.65
SAVING_SHARE = 0.9
# Before a receiver report has measured it; longer than a LAN, shorter than a satellite hop.
ROUND_TRIP_S = 0.1
# A round trip that much above the shortest one means a queue on the path, and one that matters.
QUEUE_S = 0.1
# Twenty reports of 28 bytes, and 16 of description each, stay below any path's packet size.
SENDER_REPORTS_MAX = 20
# One datagram, in one request or in many, can name some 8,000 packets; who misses that many needs a
# key frame.
NACKED_AT_ONCE = 256
# Retransmissions to one receiver are a share of what it is sent anyway, and a little where that is little.
# Without a limit a receiver behind a bottleneck asks again for what the bottleneck dropped, and the answers
# are dropped, too: 40,000 requests in 12 seconds were seen at 600 kbps.
REPEATED_SHARE = 0.2
REPEATED_BYTES_PER_S = 16_000
REPEATED_BYTES_MAX = 64_000
PRIORITIES = {SlotRole.CONTENT: 0, SlotRole.STAGE: 1, SlotRole.THUMBNAIL: 2}


class RequestKeyframe(Protocol):
    """Asks for a key frame of an encoding, to begin with it or to repair what was lost."""

    def __call__(self, encoding: Encoding, now: float, *, is_repair: bool = False) -> None:
        """Ask, unless that was done just now."""


class Downlink:
    """The slots of one leg, and what its receiver says of them."""

    __slots__ = (
        "_budget",
        "_clock",
        "_counters",
        "_fanout",
        "_nacked_at",
        "_nacked_count",
        "_negotiation",
        "_newest_round_trip_s",
        "_octets_counted",
        "_prober",
        "_protection",
        "_rated_at",
        "_rated_octets",
        "_reported_loss",
        "_request_keyframe",
        "_send_rtcp",
        "_server_clock",
        "_shortest_s",
        "estimate",
        "round_trip_s",
        "send_side",
        "sent_bps",
    )

    def __init__(
        self,
        *,
        negotiation: Negotiation,
        counters: SfuCounters,
        fanout: Fanout,
        clock: Callable[[], float],
        server_clock: ServerClock,
        request_keyframe: RequestKeyframe,
        send_rtcp: Callable[[bytes], None],
    ) -> None:
        self._negotiation = negotiation
        self._counters = counters
        self._fanout = fanout
        self._clock = clock
        self._server_clock = server_clock
        self._request_keyframe = request_keyframe
        self._send_rtcp = send_rtcp
        # By REMB and receiver reports; where the receiver tells of each arrival, by that.
        self.estimate = DownlinkEstimate()
        self.estimate.sent_bps = 0.0
        # How much redundancy its voices need.
        self._protection = Protection()
        self.send_side: SendSideEstimate | None = None
        self._prober: Prober | None = None
        # The share of packets lost in the last report interval.
        self._reported_loss = 0.0
        self._budget = Budget(per_s=REPEATED_BYTES_PER_S, burst=REPEATED_BYTES_MAX)
        # How many numbers the datagram that arrived then has named so far.
        self._nacked_at = 0.0
        self._nacked_count = 0
        self._octets_counted = 0
        # What is sent now, first transmissions only: measured over each report interval.
        self.sent_bps = 0.0
        self._rated_at: float | None = None
        self._rated_octets = 0
        # The smoothed round trip; None before the first report.
        self.round_trip_s: float | None = None
        self._newest_round_trip_s = 0.0
        self._shortest_s: float | None = None

    def count_departures(self) -> None:
        """Judge the path by transport-wide feedback from now on, as was agreed. Harmless twice."""
        if self.send_side is None:
            self.send_side = SendSideEstimate(
                self._fanout.departures, self._negotiation.departure_row, self._counters
            )
            self._prober = Prober(
                estimate=self.send_side,
                fanout=self._fanout,
                counters=self._counters,
                slots=lambda: self._negotiation.slots.values(),
                clock=self._clock,
            )

    def close(self) -> None:
        """Send nothing more by itself."""
        if self._prober is not None:
            self._prober.stop()

    def available_bps(self, now: float) -> float:
        """Return what may be sent now, in bits per second."""
        send_side = self.send_side
        # TCP delivers late what it repeats: that is no queue of ours, and what it cannot take is not sent.
        if send_side is None or self._negotiation.is_on_tcp or send_side.is_silent(now):
            return self.estimate.available_bps(now)
        return send_side.estimate_bps

    @property
    def queue_s(self) -> float | None:
        """How long packets wait on the path beyond its shortest time; None where nobody tells."""
        send_side = self.send_side
        return None if send_side is None or not send_side.has_told else send_side.estimator.queue_delay_s

    def slots(self, role: SlotRole) -> list[Slot]:
        """Return the slots of one role, in the order of their m-lines."""
        return [slot for slot in self._negotiation.slots.values() if slot.role is role]

    # What each slot shows.

    def release(self, publication: Publication) -> list[Slot]:
        """Show nothing of a publication that is no more; return the slots that did."""
        slots = [slot for slot in self._negotiation.slots.values() if slot.shown is publication]
        for slot in slots:
            self.show(slot, None)
        return slots

    def show(self, slot: Slot, publication: Publication | None) -> None:
        """Give a slot to a publication, or to nobody; `allocate` does the rest."""
        if slot.shown is not None:
            slot.shown.watchers.discard(slot)
        slot.shown = publication
        if publication is None:
            # Otherwise to go on at the same cost needs no reserve.
            slot.desired = None
        current = slot.current
        is_face = current is not None and current.publication.is_face and slot.role is not SlotRole.CONTENT
        if publication is None or not is_face:
            # A face may stay until the next one is here; one patient's image never under another's name.
            slot.aim(None, ALL_TEMPORAL_LAYERS)
        if publication is None or slot.forwarder.packets == 0:
            slot.seen = publication
        elif slot.current is None:
            # The page's last picture may be somebody else's.
            slot.seen = None
        if publication is not None:
            publication.watchers.add(slot)

    def take_voices(self, voices: list[Publication]) -> bool:
        """Put these voices into the voice slots, those that are there where they are; tell of any change."""
        slots = self.slots(SlotRole.VOICE)
        seats = {slot: slot.shown if slot.shown in voices else None for slot in slots}
        missing = [publication for publication in voices if publication not in seats.values()]
        for slot in slots:
            if seats[slot] is None and missing:
                seats[slot] = missing.pop(0)
        self._seat_stage_first(slots, seats)
        changed = {slot: seat for slot, seat in seats.items() if slot.shown is not seat}
        # All of them fall silent first: no voice goes on in one slot when it begins in another.
        for slot in changed:
            self.show(slot, None)
        for slot, seat in changed.items():
            self.show(slot, seat)
            self._listen(slot)
        return bool(changed)

    def _listen(self, slot: Slot) -> None:
        """Let the voice of a slot be heard from its next packet on; sound needs no key frame."""
        publication = slot.shown
        if publication is not None and not publication.is_muted:
            slot.aim(publication.nearest_alive(publication.rids[0]), ALL_TEMPORAL_LAYERS)
        else:
            slot.aim(None, ALL_TEMPORAL_LAYERS)

    def _seat_stage_first(self, slots: list[Slot], seats: dict[Slot, Publication | None]) -> None:
        """Move the voice of the stage to the first slot, which is the one synchronised with its picture."""
        stage = next(iter(self.slots(SlotRole.STAGE)), None)
        if stage is None or stage.shown is None:
            return
        for slot in slots[1:]:
            seat = seats[slot]
            if seat is not None and seat.leg_id == stage.shown.leg_id:
                seats[slot], seats[slots[0]] = seats[slots[0]], seat
                return

    def allocate(self, now: float) -> None:
        """Choose for every slot the encoding that its page shows best within what the link bears."""
        slots = []
        demands = []
        budget_bps = self.available_bps(now)
        voices_bps = 0.0
        for slot in self._negotiation.slots.values():
            publication = slot.shown
            if publication is None:
                continue
            if publication.is_muted or (slot.is_video and slot.wanted_height_px == 0):
                slot.desired = None
                slot.aim(None, ALL_TEMPORAL_LAYERS)
            elif slot.is_video:
                slots.append(slot)
                demands.append(_demand(slot, publication, now))
            else:
                voices_bps += VOICE_BPS + STEP_BPS * slot.forwarder.distance
                self._listen(slot)
        self.estimate.demand_bps = max(
            (option.bitrate_bps for demand in demands for option in demand.options), default=0.0
        )
        choices = choose(budget_bps - voices_bps, demands)
        if self.send_side is not None:
            most_bps = sum(choice.most_bps for choice in choices)
            self.send_side.want(UPGRADE_HEADROOM * most_bps + voices_bps)
        for slot, choice in zip(slots, choices, strict=True):
            is_limited = choice.bitrate_bps < choice.most_bps
            if is_limited is not slot.is_limited:
                slot.is_limited = is_limited
                self._counters.slots_limited += is_limited
                self._counters.slots_freed += not is_limited
            self._follow(slot, choice, now)

    def note_pauses(self, now: float) -> bool:
        """Note why no picture comes in each slot; tell whether any of that is news."""
        is_news = False
        for slot in self._negotiation.slots.values():
            pause = slot.pause_now(now) if slot.is_video else None
            if pause is not slot.pause:
                slot.pause, is_news = pause, True
        return is_news

    def _follow(self, slot: Slot, choice: Choice, now: float) -> None:
        publication = slot.shown
        slot.is_borne = choice.encoding_key is not None
        if publication is None or choice.encoding_key is None:
            slot.desired = None
            slot.aim(None, ALL_TEMPORAL_LAYERS)
            return
        rid = str(choice.encoding_key)
        slot.desired = rid, choice.temporal_limit
        encoding = publication.nearest_alive(rid)
        # While nothing of the new picture arrives, the old one is held.
        if encoding is not None and slot.aim(encoding, choice.temporal_limit):
            self._request_keyframe(encoding, now)

    # What the receiver says.

    def arrivals(self, feedback: rtcp.TransportFeedback, now: float) -> None:
        """Take in when packets arrived (transport-wide feedback)."""
        if self.send_side is not None:
            self.send_side.take(feedback, now)
            self.probe(now)

    def probe(self, now: float) -> None:
        """Try how much more the path carries, if that is due."""
        send_side = self.send_side
        if send_side is None or self._prober is None:
            return
        plan = send_side.tick(now)
        if plan.probes and not self._negotiation.is_on_tcp:
            self._prober.probe(plan.probes)

    def remb(self, bitrate_bps: int, now: float) -> None:
        """Take in what the receiver thinks its path bears."""
        self.estimate.remb(bitrate_bps, now, sent_bps=self.sent_bps, is_queueing=self._is_queueing)

    @property
    def _is_queueing(self) -> bool:
        """Whether the path's queues are long, as far as is known."""
        if self.round_trip_s is None or self._shortest_s is None:
            return True
        return self.round_trip_s > self._shortest_s + QUEUE_S

    def _measure_round_trip(self, rtt_s: float) -> None:
        before, self._newest_round_trip_s = self.round_trip_s, rtt_s
        self.round_trip_s = rtt_s if before is None else before + (rtt_s - before) / 8
        # Forgotten slowly, as the path may have become a longer one.
        shortest_s = rtt_s if self._shortest_s is None else self._shortest_s
        self._shortest_s = min(rtt_s, shortest_s + (rtt_s - shortest_s) / 256)

    def reports(self, reports: Iterable[rtcp.ReportBlock], now: float) -> None:
        """Take in how the receiver fared."""
        # Weighted by how many packets each stream had: one packet lost of a thumbnail is not congestion.
        lost = expected = 0.0
        for report in reports:
            slot = self._negotiation.slot_by_ssrc.get(report.ssrc)
            if slot is None:
                continue
            rtt_s = round_trip_s(report.last_sr, report.delay_since_last_sr, self._server_clock.ntp(now))
            if rtt_s is not None:
                self._measure_round_trip(rtt_s)
            lost_packets, sent_packets = slot.losses_since_report(report.fraction_lost / 256)
            lost += lost_packets
            expected += sent_packets
        if self.send_side is not None:
            self.send_side.reported()
        if expected:
            self._reported_loss = min(lost / expected, 1.0)
            self.estimate.report(
                self._reported_loss, now, sent_bps=self.sent_bps, is_queueing=self._is_queueing
            )
            self._protect(lost, expected, now)

    def _protect(self, lost: float, expected: float, now: float) -> None:
        """Give the voices as much redundancy as the losses call for."""
        self._protection.note(lost, expected, now)
        voices = self.slots(SlotRole.VOICE)
        bearable = DISTANCE_MAX
        if self._newest_round_trip_s > (self._shortest_s or 0.0) + QUEUE_S:
            # A line that is full loses more the more it is sent: redundancy may only take what is left of it.
            heard = sum(slot.current is not None for slot in voices)
            left_bps = self.available_bps(now) - VOICE_BPS * heard
            bearable = max(min(int(left_bps / (STEP_BPS * max(heard, 1))), DISTANCE_MAX), 0)
        distance = self._protection.choose(now, round_trip_s=self._newest_round_trip_s, bearable=bearable)
        for slot in voices:
            slot.protect(distance, self._protection.loss)

    def voice_distances(self) -> list[int]:
        """How many packets each voice that is sent now has once more with each one."""
        spans = (slot.forwarder.span for slot in self.slots(SlotRole.VOICE))
        return [span.distance for span in spans if span is not None]

    @property
    def loss(self) -> float:
        """The share of packets lost on the path of late."""
        send_side = self.send_side
        if send_side is not None and send_side.has_told:
            # Counted by transport-wide numbers, which have no holes where something did not come to us.
            return send_side.loss
        return self._reported_loss

    def picture_lost(self, ssrc: int, now: float) -> None:
        """Somebody cannot decode a slot any more (PLI, FIR)."""
        self._counters.plis_received += 1
        slot = self._negotiation.slot_by_ssrc.get(ssrc)
        if slot is None or not slot.is_video or slot.aimed is None:
            return
        if slot.aimed.lacks_parameter_sets:
            # They may be what was lost; a new beginning brings them again.
            slot.begin_anew()
        if slot.picture_losses.take(1.0, now):
            self._request_keyframe(slot.aimed, now, is_repair=True)

    def nack(self, nack: rtcp.Nack, now: float) -> None:
        """Send again what was lost on the way, within the budget (RFC 4585, RFC 4588)."""
        slot = self._negotiation.slot_by_ssrc.get(nack.media_ssrc)
        if slot is None:
            return
        counters = self._counters
        rtt_s = ROUND_TRIP_S if self.round_trip_s is None else self.round_trip_s
        self._earn_retransmissions()
        counters.nacks_received += len(nack.sequence_numbers)
        if self.send_side is not None and self.send_side.is_full:
            # It would drop what comes next, voices among it, to be late itself; it will be asked for again.
            counters.retransmissions_suppressed += len(nack.sequence_numbers)
            return
        if now != self._nacked_at:
            self._nacked_at, self._nacked_count = now, 0
        for number in nack.sequence_numbers[: NACKED_AT_ONCE - self._nacked_count]:
            self._nacked_count += 1
            if slot.sent_recently.is_recent(number, now, rtt_s):
                counters.retransmissions_suppressed += 1
                continue
            found = slot.forwarder.remembered(number)
            if found is None:
                continue
            span, packet = found
            if not slot.can_repeat(span):
                continue
            if not self._budget.take(len(packet.payload), now):
                counters.retransmissions_suppressed += 1
                break
            slot.sent_recently.note(number, now)
            rows = slot.retransmission_rows(span, self._fanout.route)
            original = slot.forwarder.repeat(span, packet, rows)
            counters.retransmissions_sent += self._fanout.send(retransmission(packet, original), rows, 1, now)

    def _earn_retransmissions(self) -> None:
        octets = self._octets()
        # A slot that was stopped takes its octets with it.
        self._budget.earn(REPEATED_SHARE * max(octets - self._octets_counted, 0))
        self._octets_counted = octets

    def _rate(self, now: float) -> None:
        octets = self._octets()
        if self._rated_at is not None and now > self._rated_at:
            self.sent_bps = 8 * max(octets - self._rated_octets, 0) / (now - self._rated_at)
            self.estimate.sent_bps = self.sent_bps
        self._rated_at, self._rated_octets = now, octets

    def _octets(self) -> int:
        return sum(slot.forwarder.octets for slot in self._negotiation.slots.values())

    def send_sender_reports(self, now: float) -> None:
        """Tell the receiver where each slot stands on the server's clock."""
        self._rate(now)
        ntp = self._server_clock.ntp(now)
        reports: list[rtcp.SenderReport] = []
        for slot in self._negotiation.slots.values():
            span = slot.forwarder.span
            if span is None:
                continue
            ticks = span.fan.source.clock.rtp_at(now)
            if ticks is None:
                continue
            reports.append(
                rtcp.SenderReport(
                    slot.ssrc,
                    ntp,
                    (ticks + span.timestamp_offset) & 0xFFFFFFFF,
                    slot.forwarder.packets & 0xFFFFFFFF,
                    slot.forwarder.octets & 0xFFFFFFFF,
                )
            )
        for start in range(0, len(reports), SENDER_REPORTS_MAX):
            part = reports[start : start + SENDER_REPORTS_MAX]
            packed = [report.pack() for report in part]
            description = self._negotiation.description(report.ssrc for report in part)
            self._send_rtcp(b"".join((*packed, description)))


def _demand(slot: Slot, publication: Publication, now: float) -> Demand:
    options = []
    ranked = publication.ranked_rids
    for rid in ranked:
        bitrate_bps = publication.price_bps(rid, now)
        height_px = publication.picture_height_px(rid)
        if rid == ranked[0] and publication.source is Source.CAMERA:
            # Half the pictures of the smallest encoding are the last step before none at all.
            limit, share = _last_step(publication, rid)
            if share < SAVING_SHARE:
                options.append(LayerOption(rid, limit, bitrate_bps * share, height_px))
        options.append(LayerOption(rid, ALL_TEMPORAL_LAYERS, bitrate_bps, height_px))
    return Demand(
        slot_key=slot.mid,
        priority=PRIORITIES[slot.role],
        wanted_height_px=slot.wanted_height_px,
        options=tuple(options),
        current=slot.desired,
    )


def _last_step(publication: Publication, rid: str) -> tuple[int, float]:
    """Return the temporal limit that leaves out an encoding's upper layers, and the share that is left."""
    encoding = publication.encodings.get(rid)
    if encoding is None or encoding.rates.shares is None:
        return 1, BASE_LAYERS_SHARE if publication.codec is Codec.VP8 else 1.0
    # Of three layers the lower two, of two the lowest (Firefox).
    limit = 1 if encoding.rates.shares[1] < SAVING_SHARE else 0
    return limit, encoding.rates.shares[limit]
