"""What offers make of a leg: its publications and slots by MID, and the answers that say so."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.base.counters import SfuCounters
from bridge.base.errors import NegotiationFailed
from bridge.base.words import SlotRole, Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.forwarder import Forwarder
from bridge.leg.publication import Publication
from bridge.leg.slot import Slot
from bridge.media.timeline import ClockOffset
from bridge.rtp import rtcp
from bridge.rtp.h264 import sprop_parameter_sets
from bridge.rtp.header import EXTENSION_URIS, ExtensionIds, RtpPacket
from bridge.sdp import (
    AnswerPlan,
    AnswerSection,
    Offer,
    PublishingPlan,
    Sending,
    SlotPlan,
    build_answer,
    check_sections,
    default_publications,
    default_slots,
    has_transport_wide_slots,
    parse_offer,
    plan_publishing,
    plan_slot,
)
from bridge.transport import MediaPort, Transport

CNAME = "hoichan"
SLOTS_MAX = {SlotRole.VOICE: 3, SlotRole.STAGE: 1, SlotRole.CONTENT: 1, SlotRole.THUMBNAIL: 49}
AUDIO_SOURCES = frozenset({Source.MICROPHONE})


@dataclass(frozen=True, slots=True)
class Wishes:
    """An offer, what each of its m-lines can be used for now, and what the client wants them to be."""

    offer: Offer
    # The plans of the m-lines that send, and of those that receive, by MID.
    sending: Mapping[str, PublishingPlan]
    receiving: Mapping[str, SlotPlan]
    sources: Mapping[str, Source]
    roles: Mapping[str, SlotRole]
    # Whether the m-lines that receive can be told transport-wide numbers.
    is_transport_wide: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what the offer has ended: publications, and slots that show nothing from now on."""

    sdp: str
    ended: Sequence[Publication]
    stopped: Sequence[Slot]


def read_offer(
    sdp: str, publications: Mapping[str, Source] | None, slots: Mapping[str, SlotRole] | None
) -> Wishes:
    """Judge an offer by itself; raises `NegotiationFailed` where no connection could be made of it."""
    offer = parse_offer(sdp)
    check_sections(offer)
    sending = {section.mid: plan for section in offer.sections if (plan := plan_publishing(section))}
    is_wide = has_transport_wide_slots(offer)
    receiving = {
        section.mid: slot
        for section in offer.sections
        if (slot := plan_slot(section, is_transport_wide=is_wide))
    }
    if not sending and not receiving:
        raise NegotiationFailed("negotiation-failed:nothing-usable", "no m-line can be used")
    sources = default_publications(sending.values()) if publications is None else publications
    roles = default_slots(receiving.values()) if slots is None else slots
    if not {section.mid for section in offer.sections}.issuperset((*sources, *roles)):
        raise NegotiationFailed("negotiation-failed:unknown-mid", "a mid stands for no m-line of the offer")
    return Wishes(offer, sending, receiving, sources, roles, is_wide)


class Negotiation:
    """The state that a leg's offers and answers have built up."""

    def __init__(
        self,
        *,
        leg_id: str,
        transport: Transport,
        port: MediaPort,
        counters: SfuCounters,
        clock_offset: ClockOffset,
    ) -> None:
        self.ssrc = _fresh_ssrc(())
        # Whether feedback may go out without a report before it (RFC 5506).
        self._has_reduced_size = True
        self.extension_ids = ExtensionIds({})
        self.publications: dict[Source, Publication] = {}
        self.slots: dict[str, Slot] = {}
        self.slot_by_ssrc: dict[int, Slot] = {}
        self._leg_id = leg_id
        self._transport = transport
        self._port = port
        self._counters = counters
        self._clock_offset = clock_offset
        self._dtls_role = "server"
        # Whether what the slots send is told of by transport-wide numbers; the first slots decide.
        self._is_transport_wide: bool | None = None
        # Slots whose m-line receives nothing now, by MID.
        self._stopped: dict[str, Slot] = {}
        self._plans: dict[str, PublishingPlan] = {}
        self._slot_plans: dict[str, SlotPlan] = {}
        self._offer: Offer | None = None
        self._version = 0

    @property
    def is_transport_wide(self) -> bool:
        """Whether the receiver has agreed to tell when each packet of its slots arrived."""
        return bool(self._is_transport_wide)

    @property
    def departure_row(self) -> int:
        """Where the port keeps what was sent by transport-wide number."""
        return self._transport.departure_row

    @property
    def is_on_tcp(self) -> bool:
        """Whether media goes over TCP now."""
        return self._transport.is_on_tcp

    def description(self, ssrcs: Iterable[int]) -> bytes:
        """Return what ends a compound of reports: who each sender in it is (RFC 3550, 6.1 and 6.5.1)."""
        chunks = [rtcp.SourceDescriptionChunk(ssrc, ((rtcp.CNAME, CNAME),)) for ssrc in ssrcs]
        return rtcp.SourceDescription(tuple(chunks)).pack()

    def feedback(self, packet: bytes) -> bytes:
        """Return feedback as it may go out: alone only where that was agreed (RFC 5506; RFC 4585, 3.1)."""
        if self._has_reduced_size:
            return packet
        return b"".join((rtcp.ReceiverReport(self.ssrc).pack(), self.description((self.ssrc,)), packet))

    def make_encoding(self, publication: Publication, rid: str, ssrc: int) -> Encoding:
        """Return a fresh encoding as it was agreed for the publication's m-line."""
        plan = self._plans[publication.mid]
        codec = plan.codec
        return Encoding(
            publication=publication,
            rid=rid,
            ssrc=ssrc,
            payload_type=codec.payload_type,
            rtx_payload_type=plan.rtx_payload_type,
            red_payload_type=plan.red_payload_type,
            parameter_sets=sprop_parameter_sets(codec.parameters.get("sprop-parameter-sets", "")),
            feedback=plan.feedback,
            codec=publication.codec,
            clock_rate_hz=codec.clock_rate_hz,
            clock_offset=self._clock_offset,
            make_route=self._port.fanout.route,
            counters=self._counters,
        )

    def answer(
        self,
        sdp: str,
        publications: Mapping[str, Source] | None,
        slots: Mapping[str, SlotRole] | None,
    ) -> Answered:
        """Take in an offer and answer it; raises `NegotiationFailed` and then changes nothing."""
        wishes = read_offer(sdp, publications, slots)
        offer, former = wishes.offer, self._offer
        if former is not None and former.fingerprints != offer.fingerprints:
            raise NegotiationFailed(
                "negotiation-failed:fingerprint-changed", "another certificate needs another connection"
            )
        ended = self._end_publications(wishes)
        stopped = self._stop_slots(wishes)
        self._plan_publications(wishes)
        self._plan_slots(wishes)
        self.extension_ids = ExtensionIds(
            {number: EXTENSION_URIS[uri] for number, uri in offer.extensions.items() if uri in EXTENSION_URIS}
        )
        self._has_reduced_size = offer.has_reduced_size
        self._start(offer, former)
        self._offer = offer
        self._version += 1
        return Answered(build_answer(offer, self._answer_plan(offer)), ended, stopped)

    def identify(self, packet: RtpPacket) -> tuple[Publication, str, bool] | None:
        """Find the publication, RID, and whether it is its retransmission, of a stream not seen before."""
        if packet.mid is not None:
            publication = self._by_mid(packet.mid)
            return None if publication is None else self._identify_in(publication, packet)
        for publication in self.publications.values():
            plan = self._plans[publication.mid]
            if packet.ssrc in plan.ssrcs:
                place = [ssrc for ssrc in plan.ssrcs if ssrc not in plan.fid.values()].index(packet.ssrc)
                return (
                    (publication, publication.rids[place], False) if place < len(publication.rids) else None
                )
            if packet.ssrc in plan.fid.values():
                return publication, publication.rids[list(plan.fid.values()).index(packet.ssrc)], True
        # A sender that signals neither MID nor SSRC (a hardware encoder): its payload type must do.
        candidates = [
            found
            for publication in self.publications.values()
            if (found := self._identify_in(publication, packet)) is not None
        ]
        return candidates[0] if len(candidates) == 1 else None

    def _identify_in(
        self, publication: Publication, packet: RtpPacket
    ) -> tuple[Publication, str, bool] | None:
        plan = self._plans[publication.mid]
        if packet.payload_type in plan.payload_types:
            rid, is_retransmission = packet.rid, False
        elif packet.payload_type == plan.rtx_payload_type:
            rid, is_retransmission = packet.repaired_rid or packet.rid, True
        else:
            return None
        if not plan.rids:
            return publication, "", is_retransmission
        return (publication, rid, is_retransmission) if rid in plan.rids else None

    def _by_mid(self, mid: str) -> Publication | None:
        return next((item for item in self.publications.values() if item.mid == mid), None)

    def _end_publications(self, wishes: Wishes) -> list[Publication]:
        """Take out the publications whose m-line sends no more (RFC 3264, 8.4); return them."""
        ended = [
            publication for publication in self.publications.values() if publication.mid not in wishes.sending
        ]
        for publication in ended:
            del self.publications[publication.source]
        return ended

    def _stop_slots(self, wishes: Wishes) -> list[Slot]:
        """Take out the slots whose m-line receives no more; return them. They go on where they were later."""
        stopped = [slot for mid, slot in self.slots.items() if mid not in wishes.receiving]
        for slot in stopped:
            self._stopped[slot.mid] = self.slots.pop(slot.mid)
            del self.slot_by_ssrc[slot.ssrc]
        return stopped

    def _plan_publications(self, wishes: Wishes) -> None:
        taken = {publication.mid for publication in self.publications.values()}
        for mid, source in wishes.sources.items():
            plan = wishes.sending.get(mid)
            if plan is None or (plan.kind == "audio") != (source in AUDIO_SOURCES):
                continue
            if source in self.publications or mid in taken:
                continue
            taken.add(mid)
            self._plans[mid] = plan
            self.publications[source] = Publication(
                leg_id=self._leg_id,
                mid=mid,
                source=source,
                codec=Codec(plan.codec.name),
                rids=plan.rids,
            )

    def _plan_slots(self, wishes: Wishes) -> None:
        if self._is_transport_wide is None and wishes.roles:
            self._is_transport_wide = wishes.is_transport_wide
            if wishes.is_transport_wide:
                self._transport.number_departures()
        counts = Counter(slot.role for slot in self.slots.values())
        for mid, role in wishes.roles.items():
            plan = wishes.receiving.get(mid)
            if plan is None or (plan.kind == "audio") != (role is SlotRole.VOICE) or mid in self.slots:
                continue
            if counts[role] >= SLOTS_MAX[role]:
                continue
            counts[role] += 1
            if wishes.is_transport_wide is not self._is_transport_wide:
                section = wishes.offer.section(mid)
                assert section is not None
                plan = plan_slot(section, is_transport_wide=self.is_transport_wide) or plan
            stopped = self._stopped.pop(mid, None)
            if stopped is not None and stopped.role is role and self._slot_plans[mid] == plan:
                self.slots[mid] = stopped
                self.slot_by_ssrc[stopped.ssrc] = stopped
                continue
            self._slot_plans[mid] = plan
            self._add_slot(mid, role, plan)
        self.slots = {
            section.mid: self.slots[section.mid]
            for section in wishes.offer.sections
            if section.mid in self.slots
        }

    def _add_slot(self, mid: str, role: SlotRole, plan: SlotPlan) -> None:
        ssrc = self._new_ssrc()
        rtx_ssrc = self._new_ssrc(ssrc) if plan.rtx_payload_types else None
        forwarder: Forwarder[Encoding] = Forwarder(
            destination=self._transport,
            ssrc=ssrc,
            payload_types=plan.payload_types,
            abs_send_time_id=plan.abs_send_time_id,
            audio_level_id=plan.audio_level_id,
            red_payload_type=plan.red_payload_type,
            transport_wide_id=plan.transport_wide_id,
            # Below 2^15, so that the receiver cannot misjudge SRTP's rollover counter (RFC 3711, 3.3.1).
            first_sequence_number=1 + secrets.randbelow(1 << 14),
            first_timestamp=secrets.randbelow(1 << 31),
        )
        slot = Slot(
            leg_id=self._leg_id,
            mid=mid,
            role=role,
            forwarder=forwarder,
            rtx_ssrc=rtx_ssrc,
            rtx_payload_types=plan.rtx_payload_types,
        )
        self.slots[mid] = slot
        self.slot_by_ssrc[ssrc] = slot

    def _new_ssrc(self, *others: int) -> int:
        taken = {self.ssrc, *others}
        for slot in (*self.slots.values(), *self._stopped.values()):
            taken.update((slot.ssrc, slot.rtx_ssrc or 0))
        return _fresh_ssrc(taken)

    def _start(self, offer: Offer, former: Offer | None) -> None:
        if former is None:
            self._dtls_role = offer.dtls_role
            self._transport.start(
                remote_ufrag=offer.ice_ufrag,
                remote_pwd=offer.ice_pwd,
                remote_fingerprints=list(offer.fingerprints),
                dtls_role="server" if offer.dtls_role == "server" else "client",
            )
        elif (offer.ice_ufrag, offer.ice_pwd) != (former.ice_ufrag, former.ice_pwd):
            self._transport.restart_ice(offer.ice_ufrag, offer.ice_pwd)

    def _answer_plan(self, offer: Offer) -> AnswerPlan:
        published = {publication.mid for publication in self.publications.values()}
        sections = []
        for section in offer.sections:
            slot = self.slots.get(section.mid)
            sending = None if slot is None else self._sending(slot)
            receiving = self._plans[section.mid] if section.mid in published else None
            if receiving is not None or sending is not None:
                sections.append(AnswerSection(section.mid, receiving=receiving, sending=sending))
        return AnswerPlan(
            ice_ufrag=self._transport.local_ufrag,
            ice_pwd=self._transport.local_pwd,
            fingerprint=self._port.fingerprint,
            candidates=self._port.candidates(),
            sections=sections,
            dtls_role=self._dtls_role,
            is_transport_wide=self.is_transport_wide,
            session_id=self.ssrc,
            session_version=self._version,
        )

    def _sending(self, slot: Slot) -> Sending:
        voices = [mid for mid, other in self.slots.items() if other.role is SlotRole.VOICE]
        # Receivers synchronise what shares a stream id: the stage with the first voice slot.
        is_stage = slot.role is SlotRole.STAGE or slot.mid in voices[:1]
        return Sending(
            self._slot_plans[slot.mid],
            ssrc=slot.ssrc,
            rtx_ssrc=slot.rtx_ssrc,
            cname=CNAME,
            stream_id="stage" if is_stage else f"{slot.role.value}-{slot.mid}",
            track_id=f"slot-{slot.mid}",
        )


def _fresh_ssrc(taken: Collection[int]) -> int:
    while True:
        ssrc = secrets.randbits(32)
        if ssrc and ssrc not in taken:
            return ssrc
