"""Writes the answer to an offer, from the caller's decisions about its m-lines.

An answer consists of numbers, words of ours and checked tokens, so that nothing of a hostile
offer is repeated unread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bridge.sdp.offer import Codec, Direction, Offer, OfferedExtension, Section, fail
from bridge.sdp.plan import (
    PROFILE_LEVEL_ID,
    PublishingPlan,
    SlotPlan,
    publishing_of,
    rtx_payload_types_of,
    slot_of,
    usable_codecs,
)

_FEEDBACK_ORDER = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")

_ENCODINGS = {"opus": "opus/48000/2", "vp8": "VP8/90000", "h264": "H264/90000"}
_REVERSED = {
    Direction.SENDRECV: Direction.SENDRECV,
    Direction.SENDONLY: Direction.RECVONLY,
    Direction.RECVONLY: Direction.SENDONLY,
    Direction.INACTIVE: Direction.INACTIVE,
}


@dataclass(frozen=True, slots=True)
class Sending:
    """What the bridge sends on an m-line; m-lines with the same `stream_id` are played in sync."""

    plan: SlotPlan
    ssrc: int
    rtx_ssrc: int | None
    cname: str
    stream_id: str
    track_id: str


@dataclass(frozen=True, slots=True)
class AnswerSection:
    """The caller's decision about one m-line; both fields are set for one that is sendrecv."""

    mid: str
    receiving: PublishingPlan | None = None
    sending: Sending | None = None


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """The bridge's side of the answer.

    `fingerprint` is "sha-256 AB:CD:…", `candidates` are values of a=candidate. A later answer of
    the same association keeps `session_id` and raises `session_version` by one (RFC 8866, 5.2).
    """

    ice_ufrag: str
    ice_pwd: str
    fingerprint: str
    candidates: Sequence[str]
    sections: Sequence[AnswerSection]
    # The bridge's, "client" or "server". It stays as it is while the association lives (RFC 8842, 5.5).
    dtls_role: str
    # Whether the slots of this transport are judged by transport-wide numbers.
    is_transport_wide: bool = False
    session_id: int = 1
    session_version: int = 1


def build_answer(offer: Offer, plan: AnswerPlan) -> str:
    """Write the answer, m-lines in the offer's order; raises NegotiationFailed if none can be used.

    An m-line that `plan` leaves out, but that could be used later, is answered inactive: port
    zero would stop the offerer's transceiver for good (RFC 8829, 5.11).
    """
    decisions = {section.mid: section for section in plan.sections}
    live = [section for section in offer.sections if usable_codecs(section)]
    live_mids = {section.mid for section in live}
    if not live:
        fail("nothing-usable", "No m-line of the offer has a codec in common with the bridge.")
    lines = [
        "v=0",
        f"o=- {plan.session_id} {plan.session_version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=msid-semantic:WMS *",
    ]
    if offer.bundle:
        lines.append(f"a=group:BUNDLE {' '.join(section.mid for section in live)}")
    for section in offer.sections:
        if section.mid not in live_mids:
            lines += _rejected_lines(section)
            continue
        lines += _live_lines(section, decisions.get(section.mid, AnswerSection(section.mid)), plan)
        if section is live[0]:
            lines += [f"a=candidate:{value}" for value in plan.candidates]
            lines.append("a=end-of-candidates")
    return "\r\n".join([*lines, ""])


def _rejected_lines(section: Section) -> list[str]:
    lines = [f"m={section.kind} 0 {section.protocol} {section.formats[0]}", "c=IN IP4 0.0.0.0"]
    return [*lines, *_mid_line(section), "a=inactive"]


def _mid_line(section: Section) -> list[str]:
    return [f"a=mid:{section.mid}"] if section.has_mid else []


def _live_lines(section: Section, decision: AnswerSection, plan: AnswerPlan) -> list[str]:
    receiving = decision.receiving if section.direction.sends else None
    sending = decision.sending if section.direction.receives else None
    direction = Direction.of(sends=sending is not None, receives=receiving is not None)
    slot = sending.plan if sending else None
    if direction is Direction.INACTIVE:
        # Codecs and RIDs stay negotiated, so that the m-line can come to life by a later offer.
        receiving, slot = publishing_of(section), slot_of(section, is_transport_wide=plan.is_transport_wide)
    codecs = _codecs_of(receiving, slot)
    rtx = rtx_payload_types_of(section)
    extensions = {**(slot.extension_ids if slot else {}), **(receiving.extension_ids if receiving else {})}
    feedback = (slot.feedback if slot else frozenset()) | (receiving.feedback if receiving else frozenset())
    return [
        f"m={section.kind} 9 {section.protocol} {' '.join(_formats(codecs, rtx, receiving, slot))}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{plan.ice_ufrag}",
        f"a=ice-pwd:{plan.ice_pwd}",
        f"a=fingerprint:{plan.fingerprint}",
        f"a=setup:{'active' if plan.dtls_role == 'client' else 'passive'}",
        *_mid_line(section),
        *(_extmap_line(section.extensions[uri], uri) for uri in extensions),
        f"a={direction.value}",
        *([f"a=msid:{sending.stream_id} {sending.track_id}"] if sending else []),
        "a=rtcp-mux",
        *(["a=rtcp-rsize"] if section.has_reduced_size else []),
        *(line for codec in codecs for line in _codec_lines(codec, rtx.get(codec.payload_type), feedback)),
        *_red_lines(codecs, receiving, slot),
        *(_rid_lines(section, receiving) if receiving else []),
        *(_ssrc_lines(sending) if sending else []),
    ]


def _codecs_of(receiving: PublishingPlan | None, slot: SlotPlan | None) -> list[Codec]:
    """Return what may be sent in either direction; the first is what the offerer will send."""
    codecs = [receiving.codec] if receiving else []
    if slot:
        codecs += [codec for codec in slot.codecs if codec not in codecs]
    return codecs


def _formats(
    codecs: Sequence[Codec], rtx: Mapping[int, int], receiving: PublishingPlan | None, slot: SlotPlan | None
) -> Iterator[str]:
    # Browsers send redundant audio only where it is preferred to what it consists of.
    if receiving and receiving.red_payload_type is not None:
        yield str(receiving.red_payload_type)
    for codec in codecs:
        yield str(codec.payload_type)
        if codec.payload_type in rtx:
            yield str(rtx[codec.payload_type])
    if not receiving and slot and slot.red_payload_type is not None:
        yield str(slot.red_payload_type)


def _red_lines(codecs: Sequence[Codec], receiving: PublishingPlan | None, slot: SlotPlan | None) -> list[str]:
    plan = receiving or slot
    if plan is None or plan.red_payload_type is None:
        return []
    number, opus = plan.red_payload_type, codecs[0].payload_type
    return [f"a=rtpmap:{number} red/48000/2", f"a=fmtp:{number} {opus}/{opus}"]


def _extmap_line(extension: OfferedExtension, uri: str) -> str:
    direction = _REVERSED[extension.direction]
    suffix = "" if direction is Direction.SENDRECV else f"/{direction.value}"
    return f"a=extmap:{extension.id}{suffix} {uri}"


def _codec_lines(codec: Codec, rtx_payload_type: int | None, feedback: frozenset[str]) -> Iterator[str]:
    yield f"a=rtpmap:{codec.payload_type} {_ENCODINGS[codec.name]}"
    for message in _FEEDBACK_ORDER:
        if message in feedback and message in codec.feedback:
            yield f"a=rtcp-fb:{codec.payload_type} {message}"
    parameters = ";".join(_answered_parameters(codec))
    if parameters:
        yield f"a=fmtp:{codec.payload_type} {parameters}"
    if rtx_payload_type is not None:
        yield f"a=rtpmap:{rtx_payload_type} rtx/90000"
        yield f"a=fmtp:{rtx_payload_type} apt={codec.payload_type}"


def _answered_parameters(codec: Codec) -> Iterator[str]:
    if codec.name == "opus":
        yield "minptime=10"
        yield "useinbandfec=1"
    if codec.name == "h264":
        for name in ("level-asymmetry-allowed", "packetization-mode"):
            if codec.parameters.get(name) in ("0", "1"):
                yield f"{name}={codec.parameters[name]}"
        profile_level_id = codec.parameters.get("profile-level-id", "")
        if PROFILE_LEVEL_ID.fullmatch(profile_level_id):
            yield f"profile-level-id={profile_level_id}"


def _rid_lines(section: Section, receiving: PublishingPlan) -> list[str]:
    lines = [f"a=rid:{rid} recv" for rid in receiving.rids]
    if lines and section.has_simulcast:
        lines.append(f"a=simulcast:recv {';'.join(receiving.rids)}")
    return lines


def _ssrc_lines(sending: Sending) -> Iterator[str]:
    if sending.rtx_ssrc is not None:
        yield f"a=ssrc-group:FID {sending.ssrc} {sending.rtx_ssrc}"
    # Chromium and aiortc take the first one for the media stream, whatever the group says.
    yield f"a=ssrc:{sending.ssrc} cname:{sending.cname}"
    if sending.rtx_ssrc is not None:
        yield f"a=ssrc:{sending.rtx_ssrc} cname:{sending.cname}"
