"""SDP offers in, answers out (RFC 8866, RFC 8829, RFC 9143, RFC 8853): pure text work.

The client always offers and the bridge always answers, browsers and WHIP devices (RFC 9725)
alike. `offer` reads an offer, `plan` says what its m-lines can be used for, `answer` writes the
answer. Which publication or slot an m-line becomes, and every SSRC and ICE value, is the
caller's choice.

The only error is `NegotiationFailed`. Its codes: "negotiation-failed:" and one of too-large,
malformed-line, malformed-section, duplicate-mid, missing-ice, missing-fingerprint,
unsupported-fingerprint, unsupported-setup, nothing-usable, payload-type, extension-conflict.
"""

from bridge.sdp.answer import AnswerPlan, AnswerSection, Sending, build_answer
from bridge.sdp.offer import (
    ABS_SEND_TIME_URI,
    AUDIO_LEVEL_URI,
    MID_URI,
    REPAIRED_RID_URI,
    RID_URI,
    TRANSPORT_WIDE_CC_URI,
    Codec,
    Direction,
    Offer,
    OfferedExtension,
    Section,
    parse_offer,
)
from bridge.sdp.plan import (
    PublishingPlan,
    SlotPlan,
    check_sections,
    default_publications,
    default_slots,
    has_transport_wide_slots,
    plan_publishing,
    plan_slot,
)

__all__ = [
    "ABS_SEND_TIME_URI",
    "AUDIO_LEVEL_URI",
    "MID_URI",
    "REPAIRED_RID_URI",
    "RID_URI",
    "TRANSPORT_WIDE_CC_URI",
    "AnswerPlan",
    "AnswerSection",
    "Codec",
    "Direction",
    "Offer",
    "OfferedExtension",
    "PublishingPlan",
    "Section",
    "Sending",
    "SlotPlan",
    "build_answer",
    "check_sections",
    "default_publications",
    "default_slots",
    "has_transport_wide_slots",
    "parse_offer",
    "plan_publishing",
    "plan_slot",
]
