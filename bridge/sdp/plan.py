"""Says what the m-lines of an offer can be used for, and chooses their codecs.

Opus for sound; for pictures VP8 or H.264, whichever the offer prefers, and both for a slot, because its
sources differ. Redundant audio (RFC 2198) is taken and sent where the offer has it for the same Opus.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.base.errors import NegotiationFailed
from bridge.base.words import SlotRole, Source
from bridge.sdp.offer import (
    ABS_SEND_TIME_URI,
    AUDIO_LEVEL_URI,
    MID_URI,
    REPAIRED_RID_URI,
    RID_URI,
    TRANSPORT_WIDE_CC_URI,
    Codec,
    Offer,
    Section,
)

RIDS_MAX = 3
# With the marker bit these look like RTCP, which comes on the same port (RFC 5761, 4).
RTCP_PAYLOAD_TYPES = range(64, 96)

# The dependency descriptor is left out on purpose: with it Chromium no longer writes
# PictureID, TL0PICIDX and TID into the VP8 descriptor, which forwarding relies on.
_PUBLISHING_URIS = {
    "audio": (MID_URI, AUDIO_LEVEL_URI, TRANSPORT_WIDE_CC_URI),
    "video": (MID_URI, RID_URI, REPAIRED_RID_URI, TRANSPORT_WIDE_CC_URI),
}
_SLOT_URIS = {"audio": (AUDIO_LEVEL_URI,), "video": ()}

_PUBLISHING_FEEDBACK = {
    "audio": ("transport-cc",),
    "video": ("nack", "nack pli", "ccm fir", "transport-cc"),
}
_SLOT_FEEDBACK: dict[str, tuple[str, ...]] = {
    "audio": (),
    "video": ("nack", "nack pli", "ccm fir"),
}
# How a slot's receiver lets its line be judged. With transport-wide numbers it tells when each packet came;
# without, it estimates the line itself from send times and tells the result. Never both: the send time stands
# where the number would.
_TRANSPORT_WIDE = (TRANSPORT_WIDE_CC_URI, "transport-cc")
_BY_SEND_TIMES = (ABS_SEND_TIME_URI, "goog-remb")

PROFILE_LEVEL_ID = re.compile(r"[0-9A-Fa-f]{6}")


@dataclass(frozen=True, slots=True)
class PublishingPlan:
    """How an m-line that sends can be received; `rids` is empty for a single stream.

    `ssrcs` are the announced SSRCs in the order of `rids`, without those of retransmissions;
    `fid` leads from one of them to its RTX SSRC. Senders with RIDs need not announce any.
    """

    mid: str
    kind: str
    codec: Codec
    rtx_payload_type: int | None
    red_payload_type: int | None
    rids: tuple[str, ...]
    extension_ids: Mapping[str, int]
    feedback: frozenset[str]
    ssrcs: tuple[int, ...]
    fid: Mapping[int, int]

    @property
    def payload_types(self) -> tuple[int, ...]:
        """Those under which the media itself may come."""
        red = self.red_payload_type
        return (self.codec.payload_type,) if red is None else (self.codec.payload_type, red)


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """How an m-line that receives can be fed; an extension id of 0 means not negotiated."""

    mid: str
    kind: str
    codecs: tuple[Codec, ...]
    payload_types: Mapping[str, int]
    rtx_payload_types: Mapping[str, int]
    red_payload_type: int | None
    extension_ids: Mapping[str, int]
    feedback: frozenset[str]

    @property
    def abs_send_time_id(self) -> int:
        return self.extension_ids.get(ABS_SEND_TIME_URI, 0)

    @property
    def transport_wide_id(self) -> int:
        return self.extension_ids.get(TRANSPORT_WIDE_CC_URI, 0)

    @property
    def audio_level_id(self) -> int:
        return self.extension_ids.get(AUDIO_LEVEL_URI, 0)


def default_publications(plans: Iterable[PublishingPlan]) -> dict[str, Source]:
    """Name the sending m-lines of a client that does not say what they are (WHIP)."""
    names = {"audio": [Source.MICROPHONE], "video": [Source.CAMERA, Source.CONTENT]}
    return {plan.mid: names[plan.kind].pop(0) for plan in plans if names[plan.kind]}


def default_slots(plans: Iterable[SlotPlan]) -> dict[str, SlotRole]:
    """Name the receiving m-lines of a client that does not say what they are for (WHEP)."""
    video_roles = [SlotRole.STAGE, SlotRole.CONTENT]
    slots: dict[str, SlotRole] = {}
    for plan in plans:
        if plan.kind == "audio":
            slots[plan.mid] = SlotRole.VOICE
        else:
            slots[plan.mid] = video_roles.pop(0) if video_roles else SlotRole.THUMBNAIL
    return slots


def check_sections(offer: Offer) -> None:
    """Refuse what could be agreed on, but whose packets would go astray; raises NegotiationFailed."""
    sending = [section for section in offer.sections if section.direction.sends and usable_codecs(section)]
    for section in offer.sections:
        if not usable_codecs(section) and any(map(_is_known, section.codecs)) and not section.is_rejected:
            raise NegotiationFailed(
                "negotiation-failed:payload-type",
                f"m-line {section.mid} has only payload types 64 to 95, which cannot be told from RTCP on one"
                " port (RFC 5761, 4); use 96 to 127, or 35 to 63",
            )
        if section.has_conflict and section in sending and not _is_told_apart(section, sending):
            raise NegotiationFailed(
                "negotiation-failed:extension-conflict",
                f"m-line {section.mid} uses header extension identifiers that mean something else in another"
                " m-line (RFC 9143, 7.1.4), and has neither a=ssrc lines nor payload types of its own",
            )


def _is_told_apart(section: Section, sending: Iterable[Section]) -> bool:
    """Whether the packets of a section without MID or RID are known by their SSRC or payload type."""
    plan = publishing_of(section)
    if plan is None or (MID_URI in plan.extension_ids and (plan.rids or not section.rids)):
        return True
    if len(plan.ssrcs) >= max(len(section.rids[:RIDS_MAX]), 1):
        return True
    others = [publishing_of(other) for other in sending if other is not section]
    taken = {number for other in others if other is not None for number in other.payload_types}
    return not section.rids and taken.isdisjoint(plan.payload_types)


def plan_publishing(section: Section) -> PublishingPlan | None:
    """Say how the section's media can be received; None when it sends nothing the bridge can use."""
    return publishing_of(section) if section.direction.sends else None


def plan_slot(section: Section, *, is_transport_wide: bool = False) -> SlotPlan | None:
    """Say how the section can be fed; None when it receives nothing the bridge can send."""
    return slot_of(section, is_transport_wide=is_transport_wide) if section.direction.receives else None


def has_transport_wide_slots(offer: Offer) -> bool:
    """Whether all pictures that an offer's sections may receive can be told transport-wide numbers.

    One transport is judged in one way. Firefox offers it for pictures alone: its voices, a small part of
    what it receives, go uncounted then.
    """
    slots = [
        section
        for section in offer.sections
        if section.kind == "video" and section.direction.receives and slot_of(section) is not None
    ]
    return bool(slots) and all(_is_transport_wide(section) for section in slots)


def _is_transport_wide(section: Section) -> bool:
    feedback = (codec.feedback for codec in usable_codecs(section))
    return _receives(section, TRANSPORT_WIDE_CC_URI) and all("transport-cc" in one for one in feedback)


def _receives(section: Section, uri: str) -> bool:
    """Whether an extension can be written for the section in one byte, whose identifiers end at 14."""
    extension = section.extensions.get(uri)
    return extension is not None and extension.direction.receives and extension.id <= 14


def publishing_of(section: Section) -> PublishingPlan | None:
    codecs = usable_codecs(section)
    if not codecs:
        return None
    codec = codecs[0]
    extension_ids = {
        uri: section.extensions[uri].id
        for uri in _PUBLISHING_URIS[section.kind]
        if uri in section.extensions and section.extensions[uri].direction.sends
    }
    feedback = codec.feedback.intersection(_PUBLISHING_FEEDBACK[section.kind])
    if TRANSPORT_WIDE_CC_URI not in extension_ids:
        feedback -= {"transport-cc"}
    rtx_ssrcs = set(section.fid.values())
    announced = tuple(ssrc for ssrc in section.ssrcs if ssrc not in rtx_ssrcs)
    # Several streams are told apart by their RIDs, or by SSRCs that are announced in the same order.
    rids = section.rids[:RIDS_MAX]
    if RID_URI not in extension_ids and (not section.has_conflict or len(announced) < len(rids)):
        rids = ()
    ssrcs = announced[: len(rids) or 1]
    return PublishingPlan(
        mid=section.mid,
        kind=section.kind,
        codec=codec,
        rtx_payload_type=rtx_payload_types_of(section).get(codec.payload_type),
        red_payload_type=red_payload_type_of(section, codec),
        rids=rids,
        extension_ids=extension_ids,
        feedback=feedback,
        ssrcs=ssrcs,
        fid={ssrc: section.fid[ssrc] for ssrc in ssrcs if ssrc in section.fid},
    )


def slot_of(section: Section, *, is_transport_wide: bool = False) -> SlotPlan | None:
    # A source may send fragmented NAL units, which packetization mode 0 forbids (RFC 6184, 6.2).
    codecs = tuple(codec for codec in usable_codecs(section) if not _is_single_nal_unit_mode(codec))
    if not codecs:
        return None
    rtx = rtx_payload_types_of(section)
    uri, message = _TRANSPORT_WIDE if is_transport_wide and _is_transport_wide(section) else _BY_SEND_TIMES
    # What cannot be sent again is not to be asked for.
    wanted = [
        message
        for message in (message, *_SLOT_FEEDBACK[section.kind])
        if message != "nack" or all(codec.payload_type in rtx for codec in codecs)
    ]
    return SlotPlan(
        mid=section.mid,
        kind=section.kind,
        codecs=codecs,
        payload_types={codec.name: codec.payload_type for codec in codecs},
        rtx_payload_types={c.name: rtx[c.payload_type] for c in codecs if c.payload_type in rtx},
        red_payload_type=red_payload_type_of(section, codecs[0]),
        extension_ids={
            uri: section.extensions[uri].id
            for uri in (uri, *_SLOT_URIS[section.kind])
            if _receives(section, uri)
        },
        feedback=frozenset(wanted).intersection(*(codec.feedback for codec in codecs)),
    )


def usable_codecs(section: Section) -> tuple[Codec, ...]:
    """Return one payload type per codec of ours, in the offer's order; empty for a rejected section."""
    if section.is_rejected:
        return ()
    known = [
        codec
        for codec in section.codecs
        if _is_known(codec) and (codec.name == "opus") == (section.kind == "audio")
    ]
    usable = [codec for codec in known if codec.payload_type not in RTCP_PAYLOAD_TYPES]
    best = {
        name: min((codec for codec in usable if codec.name == name), key=_rank)
        for name in dict.fromkeys(codec.name for codec in usable)
    }
    return tuple(best.values())


def _is_known(codec: Codec) -> bool:
    return (codec.name, codec.clock_rate_hz) in (("opus", 48000), ("vp8", 90000), ("h264", 90000))


def _rank(codec: Codec) -> tuple[bool, int]:
    return _h264_rank(codec) if codec.name == "h264" else (False, 0)


def _h264_rank(codec: Codec) -> tuple[bool, int]:
    """Order H.264 payload types: packetization mode 1 first, then what most decoders take."""
    profile_level_id = codec.parameters.get("profile-level-id", "42000a")
    if not PROFILE_LEVEL_ID.fullmatch(profile_level_id):
        return True, 9
    profile, constraints = int(profile_level_id[:2], 16), int(profile_level_id[2:4], 16)
    is_constrained = (profile == 0x42 and constraints & 0x40) or (profile == 0x4D and constraints & 0x80)
    rank = 0 if is_constrained else {0x42: 1, 0x4D: 2, 0x64: 3}.get(profile, 4)
    return _is_single_nal_unit_mode(codec), rank


def _is_single_nal_unit_mode(codec: Codec) -> bool:
    return codec.name == "h264" and codec.parameters.get("packetization-mode", "0") != "1"


def red_payload_type_of(section: Section, opus: Codec) -> int | None:
    """Return the payload type of redundant audio that consists of that Opus alone (RFC 2198, 5)."""
    for codec in section.codecs:
        is_red = (codec.name, codec.clock_rate_hz, codec.channels) == ("red", 48000, 2)
        if not is_red or section.kind != "audio" or codec.payload_type in RTCP_PAYLOAD_TYPES:
            continue
        if set(codec.parameters.get("redundancy", "").split("/")) == {str(opus.payload_type)}:
            return codec.payload_type
    return None


def rtx_payload_types_of(section: Section) -> dict[int, int]:
    """Map a video payload type to that of its retransmissions (RFC 4588, 8.6)."""
    table: dict[int, int] = {}
    for codec in section.codecs:
        apt = codec.parameters.get("apt", "")
        is_rtx = codec.name == "rtx" and section.kind == "video"
        if is_rtx and codec.payload_type not in RTCP_PAYLOAD_TYPES and re.fullmatch("[0-9]{1,3}", apt):
            table.setdefault(int(apt), codec.payload_type)
    return table
