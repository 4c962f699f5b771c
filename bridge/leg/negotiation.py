"""What offers make of a leg: its publications and slots by MID, and the answers that say so."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping

from bridge.base.counters import SfuCounters
from bridge.base.errors import NegotiationFailed
from bridge.base.words import SlotRole, Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.forwarder import Forwarder
from bridge.leg.publication import Publication
from bridge.leg.slot import Slot
from bridge.media.timeline import ClockOffset
from bridge.rtp import rtcp
from bridge.rtp.header import EXTENSION_URIS, ExtensionIds, RtpPacket
from bridge.sdp import (
    AnswerPlan,
    AnswerSection,
    Offer,
    PublishingPlan,
    Sending,
    SlotPlan,
    build_answer,
    default_publications,
    default_slots,
    parse_offer,
    plan_publishing,
    plan_slot,
)
from bridge.transport import MediaPort, Transport

CNAME = "hoichan"
SDES_CNAME = 1
SLOTS_MAX = {SlotRole.VOICE: 3, SlotRole.STAGE: 1, SlotRole.CONTENT: 1, SlotRole.THUMBNAIL: 49}
AUDIO_SOURCES = frozenset({Source.MICROPHONE})


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
        chunk = rtcp.SourceDescriptionChunk(self.ssrc, ((SDES_CNAME, CNAME),))
        # Ends every compound that carries reports (RFC 3550, 6.1).
        self.description = rtcp.SourceDescription((chunk,)).pack()
        self.extension_ids = ExtensionIds({})
        self.publications: dict[Source, Publication] = {}
        self.slots: dict[str, Slot] = {}
        self.slot_by_ssrc: dict[int, Slot] = {}
        self._leg_id = leg_id
        self._transport = transport
        self._port = port
        self._counters = counters
        self._clock_offset = clock_offset
        self._plans: dict[str, PublishingPlan] = {}
        self._slot_plans: dict[str, SlotPlan] = {}
        self._offer: Offer | None = None
        self._version = 0

    def make_encoding(self, publication: Publication, rid: str, ssrc: int) -> Encoding:
        """Return a fresh encoding as it was agreed for the publication's m-line."""
        codec = self._plans[publication.mid].codec
        return Encoding(
            publication=publication,
            rid=rid,
            ssrc=ssrc,
            payload_type=codec.payload_type,
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
    ) -> str:
        """Take in an offer and return the answer; raises `NegotiationFailed` and then changes nothing."""
        offer, sources, roles = read_offer(sdp, publications, slots)
        former = self._offer
        if former is not None and former.fingerprints != offer.fingerprints:
            raise NegotiationFailed(
                "negotiation-failed:fingerprint-changed", "another certificate needs another connection"
            )
        self._plan_publications(offer, sources)
        self._plan_slots(offer, roles)
        self.extension_ids = ExtensionIds(
            {
                EXTENSION_URIS[uri]: number
                for uri, number in offer.extension_ids.items()
                if uri in EXTENSION_URIS
            }
        )
        self._start(offer, former)
        self._offer = offer
        self._version += 1
        return build_answer(offer, self._answer_plan(offer))

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
        if packet.payload_type == plan.codec.payload_type:
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

    def _plan_publications(self, offer: Offer, sources: Mapping[str, Source]) -> None:
        for mid, source in sources.items():
            section = offer.section(mid)
            plan = None if section is None else plan_publishing(section)
            if plan is None or (plan.kind == "audio") != (source in AUDIO_SOURCES):
                continue
            if source in self.publications:
                continue
            self._plans[mid] = plan
            self.publications[source] = Publication(
                leg_id=self._leg_id,
                mid=mid,
                source=source,
                codec=Codec(plan.codec.name),
                rids=plan.rids,
            )

    def _plan_slots(self, offer: Offer, roles: Mapping[str, SlotRole]) -> None:
        for mid, role in roles.items():
            section = offer.section(mid)
            plan = None if section is None else plan_slot(section)
            if plan is None or (plan.kind == "audio") != (role is SlotRole.VOICE) or mid in self.slots:
                continue
            if sum(slot.role is role for slot in self.slots.values()) >= SLOTS_MAX[role]:
                continue
            self._slot_plans[mid] = plan
            self._add_slot(mid, role, plan)

    def _add_slot(self, mid: str, role: SlotRole, plan: SlotPlan) -> None:
        ssrc = self._new_ssrc()
        rtx_ssrc = _fresh_ssrc((*self.slot_by_ssrc, self.ssrc, ssrc)) if plan.rtx_payload_types else None
        forwarder: Forwarder[Encoding] = Forwarder(
            destination=self._transport,
            ssrc=ssrc,
            payload_types=plan.payload_types,
            abs_send_time_id=plan.abs_send_time_id,
            audio_level_id=plan.audio_level_id,
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

    def _new_ssrc(self) -> int:
        taken = {self.ssrc, *self.slot_by_ssrc}
        taken.update(slot.rtx_ssrc for slot in self.slots.values() if slot.rtx_ssrc is not None)
        return _fresh_ssrc(taken)

    def _start(self, offer: Offer, former: Offer | None) -> None:
        if former is None:
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


def read_offer(
    sdp: str, publications: Mapping[str, Source] | None, slots: Mapping[str, SlotRole] | None
) -> tuple[Offer, Mapping[str, Source], Mapping[str, SlotRole]]:
    """Return an offer that a new leg can answer, and what its m-lines are; raises `NegotiationFailed`."""
    offer = parse_offer(sdp)
    if not any(plan_publishing(section) or plan_slot(section) for section in offer.sections):
        raise NegotiationFailed("negotiation-failed:nothing-usable", "no m-line can be used")
    sources = default_publications(offer) if publications is None else publications
    roles = default_slots(offer) if slots is None else slots
    _check_mids(offer, (*sources, *roles))
    return offer, sources, roles


def _check_mids(offer: Offer, mids: tuple[str, ...]) -> None:
    for mid in mids:
        if offer.section(mid) is None:
            raise NegotiationFailed(
                "negotiation-failed:unknown-mid", "a mid stands for no m-line of the offer"
            )


def _fresh_ssrc(taken: Collection[int]) -> int:
    while True:
        ssrc = secrets.randbits(32)
        if ssrc and ssrc not in taken:
            return ssrc
