"""What the bridge reads out of offers, and which ones it refuses."""

import re

import pytest
from sdp_samples import NAMES, sample

from bridge.base.errors import NegotiationFailed
from bridge.sdp import (
    AUDIO_LEVEL_URI,
    MID_URI,
    RID_URI,
    TRANSPORT_WIDE_CC_URI,
    Direction,
    Section,
    parse_offer,
)


def section_of(name: str, mid: str) -> Section:
    section = parse_offer(sample(name)).section(mid)
    assert section is not None
    return section


def refusal(text: str) -> str:
    with pytest.raises(NegotiationFailed) as caught:
        parse_offer(text)
    assert caught.value.sentence.endswith(".")
    return caught.value.code.removeprefix("negotiation-failed:")


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_offer_is_understood(name: str) -> None:
    offer = parse_offer(sample(name))
    assert offer.setup == "actpass"
    assert offer.dtls_role == "server"
    assert len(offer.ice_ufrag) >= 4
    assert len(offer.ice_pwd) >= 22
    assert offer.fingerprints[0][0] == "sha-256"
    assert len(offer.fingerprints[0][1]) == 95
    assert offer.bundle == tuple(section.mid for section in offer.sections)
    assert all(section.is_rejected == (section.kind == "application") for section in offer.sections)
    assert len(set(offer.extensions.values())) == len(offer.extensions)


def test_client_layout_of_chromium_is_read_in_order() -> None:
    sections = parse_offer(sample("chromium_client")).sections
    assert [s.kind for s in sections] == ["audio", *["video"] * 3, *["audio"] * 3, *["video"] * 11]
    assert [s.direction for s in sections] == [Direction.SENDONLY] * 4 + [Direction.RECVONLY] * 14
    assert [s.rids for s in sections[:4]] == [(), ("l", "m", "h"), ("l", "h"), ("l", "m", "h")]
    assert [c.name for c in sections[1].codecs] == ["vp8", "rtx", "h264", "rtx"]
    assert sections[1].codecs[0].feedback == {"nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"}
    assert sections[1].codecs[2].parameters["profile-level-id"] == "42e01f"


def test_bundle_only_line_with_port_zero_is_alive() -> None:
    camera = section_of("firefox_client", "1")
    assert not camera.is_rejected
    assert camera.rids == ("l", "m", "h")
    assert camera.fid == {1000000001: 1000000011, 1000000002: 1000000012, 1000000003: 1000000013}
    assert section_of("firefox_client", "2").direction is Direction.RECVONLY


def test_extension_directions_are_kept() -> None:
    camera = section_of("firefox_client", "1")
    assert camera.extensions[RID_URI].direction is Direction.SENDONLY
    assert camera.extensions[MID_URI].direction is Direction.SENDRECV


def test_transport_attributes_at_session_level_count() -> None:
    offer = parse_offer(sample("obs_whip"))
    assert offer.ice_ufrag == "Ab3d"
    assert offer.ice_options == {"ice2,trickle"}
    assert section_of("obs_whip", "1").ssrcs == (3388068601,)
    assert section_of("obs_whip", "1").track_id == "StreamStreamStre-video"


def test_line_the_offerer_stopped_is_rejected() -> None:
    text = sample("chromium_whip").replace("m=video 9", "m=video 0")
    assert [s.is_rejected for s in parse_offer(text).sections] == [False, True]


def test_line_outside_the_bundle_is_rejected() -> None:
    text = sample("chromium_whip").replace("BUNDLE 0 1", "BUNDLE 1")
    assert [s.is_rejected for s in parse_offer(text).sections] == [True, False]


def test_line_without_rtcp_mux_is_rejected() -> None:
    text = sample("chromium_whip").replace("a=rtcp-mux\r\n", "", 1)
    assert [s.is_rejected for s in parse_offer(text).sections] == [True, False]


def test_single_line_needs_neither_bundle_nor_mid() -> None:
    text = sample("chromium_whip").split("m=video")[0]
    text = text.replace("a=group:BUNDLE 0 1\r\n", "").replace("a=mid:0\r\n", "")
    offer = parse_offer(text)
    assert offer.bundle == ()
    assert [(s.mid, s.has_mid, s.is_rejected) for s in offer.sections] == [("0", False, False)]


def test_one_extension_identifier_never_means_two_things_in_a_bundle() -> None:
    text = sample("chromium_whip")
    head, tail = text.split("m=video")
    offer = parse_offer(head + "m=video" + tail.replace("extmap:10 ", "extmap:1 "))
    assert 1 not in offer.extensions
    assert AUDIO_LEVEL_URI not in offer.sections[0].extensions
    assert RID_URI not in offer.sections[1].extensions
    assert MID_URI in offer.sections[1].extensions


def test_dependency_descriptor_is_not_among_the_extensions() -> None:
    offer = parse_offer(sample("chromium_client"))
    assert "dependency-descriptor" in sample("chromium_client")
    assert not any("dependency-descriptor" in uri for uri in offer.extensions.values())
    assert TRANSPORT_WIDE_CC_URI in offer.extensions.values()


def test_paused_and_alternative_simulcast_streams_are_reduced_to_first_choices() -> None:
    text = sample("chromium_client").replace("simulcast:send l;m;h", "simulcast:send ~h,l;m", 1)
    assert parse_offer(text).sections[1].rids == ("h", "m")


def test_passive_offerer_makes_the_bridge_dtls_client() -> None:
    text = sample("chromium_whip").replace("setup:actpass", "setup:passive")
    assert parse_offer(text).dtls_role == "client"


def test_line_ends_without_carriage_return_are_accepted() -> None:
    text = sample("chromium_whip")
    assert parse_offer(text.replace("\r\n", "\n")) == parse_offer(text)


WHIP = sample("chromium_whip")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("malformed-line", ""),
        ("malformed-line", "hello"),
        ("malformed-line", WHIP.replace("s=-", "s")),
        ("malformed-line", WHIP.replace("s=-", "s=\x00")),
        ("malformed-line", WHIP.replace("s=-", "s=-\ra=mid:0")),
        ("malformed-line", WHIP.replace("rtpmap:111 opus/48000/2", "rtpmap:opus")),
        ("malformed-line", WHIP.replace("mid:0", "mid:0 1")),
        ("malformed-line", WHIP.replace("fingerprint:sha-256 ", "fingerprint:")),
        ("malformed-section", WHIP.replace("m=audio 9 ", "m=audio nine ")),
        ("malformed-section", WHIP.replace("m=audio 9 ", "m=audio 999999 ")),
        ("duplicate-mid", WHIP.replace("mid:1", "mid:0")),
        ("missing-ice", re.sub("a=ice-ufrag:.*\r\n", "", WHIP)),
        ("missing-ice", re.sub("a=ice-ufrag:.*\r\n", "a=ice-ufrag:a:b c\r\n", WHIP)),
        ("missing-ice", re.sub("a=ice-pwd:.*\r\n", "a=ice-pwd:short\r\n", WHIP)),
        ("missing-fingerprint", re.sub("a=fingerprint:.*\r\n", "", WHIP)),
        ("unsupported-fingerprint", WHIP.replace("sha-256", "sha-1")),
        ("unsupported-setup", WHIP.replace("setup:actpass", "setup:holdconn")),
        ("too-large", WHIP + "a=x\r\n" * 40_001),
        ("too-large", WHIP + "a=" + "x" * 8_001),
        ("too-large", WHIP + "m=video 0 RTP/SAVPF 96\r\n" * 127),
    ],
)
def test_offer_that_cannot_be_answered_is_refused_with_its_reason(reason: str, text: str) -> None:
    assert refusal(text) == reason
