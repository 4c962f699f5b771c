"""Says what the m-lines of an offer can be used for, and chooses their codecs.

Opus for sound; VP8 before H.264 for pictures, and both for a slot, because its sources differ.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

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

# The dependency descriptor is left out on purpose: with it Chromium no longer writes
# PictureID, TL0PICIDX and TID into the VP8 descriptor, which forwarding relies on.
_PUBLISHING_URIS = {
    "audio": (MID_URI, AUDIO_LEVEL_URI, TRANSPORT_WIDE_CC_URI),
    "video": (MID_URI, RID_URI, REPAIRED_RID_URI, TRANSPORT_WIDE_CC_URI),
}
_SLOT_URIS = {"audio": (ABS_SEND_TIME_URI, AUDIO_LEVEL_URI), "video": (ABS_SEND_TIME_URI,)}

# Slots must not negotiate transport-cc: without it browsers estimate the line themselves
# from abs-send-time and report REMB.
_PUBLISHING_FEEDBACK = {
    "audio": ("transport-cc",),
    "video": ("nack", "nack pli", "ccm fir", "transport-cc"),
}
_SLOT_FEEDBACK: dict[str, tuple[str, ...]] = {
    "audio": (),
    "video": ("goog-remb", "nack", "nack pli", "ccm fir"),
}

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
    rids: tuple[str, ...]
    extension_ids: Mapping[str, int]
    feedback: frozenset[str]
    ssrcs: tuple[int, ...]
    fid: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """How an m-line that receives can be fed; an extension id of 0 means not negotiated."""

    mid: str
    kind: str
    codecs: tuple[Codec, ...]
    payload_types: Mapping[str, int]
    rtx_payload_types: Mapping[str, int]
    extension_ids: Mapping[str, int]
    feedback: frozenset[str]

    @property
    def abs_send_time_id(self) -> int:
        return self.extension_ids.get(ABS_SEND_TIME_URI, 0)

    @property
    def audio_level_id(self) -> int:
        return self.extension_ids.get(AUDIO_LEVEL_URI, 0)


def default_publications(offer: Offer) -> dict[str, Source]:
    """Name the sending m-lines of a client that does not say what they are (WHIP)."""
    names = {"audio": [Source.MICROPHONE], "video": [Source.CAMERA, Source.CONTENT]}
    publications: dict[str, Source] = {}
    for section in offer.sections:
        if plan_publishing(section) and names[section.kind]:
            publications[section.mid] = names[section.kind].pop(0)
    return publications


def default_slots(offer: Offer) -> dict[str, SlotRole]:
    """Name the receiving m-lines of a client that does not say what they are for (WHEP)."""
    video_roles = [SlotRole.STAGE, SlotRole.CONTENT]
    slots: dict[str, SlotRole] = {}
    for section in offer.sections:
        if not plan_slot(section):
            continue
        if section.kind == "audio":
            slots[section.mid] = SlotRole.VOICE
        else:
            slots[section.mid] = video_roles.pop(0) if video_roles else SlotRole.THUMBNAIL
    return slots


def plan_publishing(section: Section) -> PublishingPlan | None:
    """Say how the section's media can be received; None when it sends nothing the bridge can use."""
    return publishing_of(section) if section.direction.sends else None


def plan_slot(section: Section) -> SlotPlan | None:
    """Say how the section can be fed; None when it receives nothing the bridge can send."""
    return slot_of(section) if section.direction.receives else None


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
    rids = section.rids[:RIDS_MAX] if RID_URI in extension_ids else ()
    rtx_ssrcs = set(section.fid.values())
    ssrcs = tuple(ssrc for ssrc in section.ssrcs if ssrc not in rtx_ssrcs)[: len(rids) or 1]
    return PublishingPlan(
        mid=section.mid,
        kind=section.kind,
        codec=codec,
        rtx_payload_type=rtx_payload_types_of(section).get(codec.payload_type),
        rids=rids,
        extension_ids=extension_ids,
        feedback=feedback,
        ssrcs=ssrcs,
        fid={ssrc: section.fid[ssrc] for ssrc in ssrcs if ssrc in section.fid},
    )


def slot_of(section: Section) -> SlotPlan | None:
    # A source may send fragmented NAL units, which packetization mode 0 forbids (RFC 6184, 6.2).
    codecs = tuple(codec for codec in usable_codecs(section) if not _is_single_nal_unit_mode(codec))
    if not codecs:
        return None
    rtx = rtx_payload_types_of(section)
    wanted = _SLOT_FEEDBACK[section.kind]
    return SlotPlan(
        mid=section.mid,
        kind=section.kind,
        codecs=codecs,
        payload_types={codec.name: codec.payload_type for codec in codecs},
        rtx_payload_types={c.name: rtx[c.payload_type] for c in codecs if c.payload_type in rtx},
        # The fan-out writes one-byte extension elements, whose identifiers end at 14.
        extension_ids={
            uri: section.extensions[uri].id
            for uri in _SLOT_URIS[section.kind]
            if uri in section.extensions
            and section.extensions[uri].direction.receives
            and section.extensions[uri].id <= 14
        },
        feedback=frozenset(wanted).intersection(*(codec.feedback for codec in codecs)),
    )


def usable_codecs(section: Section) -> tuple[Codec, ...]:
    """Return one payload type per codec of ours, VP8 before H.264; empty for a rejected section."""
    if section.is_rejected:
        return ()
    if section.kind == "audio":
        return tuple(c for c in section.codecs if (c.name, c.clock_rate_hz) == ("opus", 48000))[:1]
    video = [codec for codec in section.codecs if codec.clock_rate_hz == 90000]
    vp8 = [codec for codec in video if codec.name == "vp8"]
    h264 = sorted((codec for codec in video if codec.name == "h264"), key=_h264_rank)
    return (*vp8[:1], *h264[:1])


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


def rtx_payload_types_of(section: Section) -> dict[int, int]:
    """Map a video payload type to that of its retransmissions (RFC 4588, 8.6)."""
    table: dict[int, int] = {}
    for codec in section.codecs:
        apt = codec.parameters.get("apt", "")
        if codec.name == "rtx" and section.kind == "video" and re.fullmatch("[0-9]{1,3}", apt):
            table.setdefault(int(apt), codec.payload_type)
    return table
