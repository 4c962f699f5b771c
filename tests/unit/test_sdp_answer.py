"""The answers the bridge writes to recorded offers."""

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from sdp_samples import CANDIDATES, FINGERPRINT, NAMES, answer_to, m_lines, plan_for, sample

from bridge.base.errors import NegotiationFailed
from bridge.sdp import build_answer, parse_offer


def answered(name: str, *, without: tuple[str, ...] = ()) -> list[list[str]]:
    return m_lines(answer_to(parse_offer(sample(name)), without=without))


@pytest.mark.parametrize("name", NAMES)
def test_answer_has_the_m_lines_of_the_offer_in_its_order(name: str) -> None:
    offer = parse_offer(sample(name))
    blocks = m_lines(answer_to(offer))
    assert [block[0].split()[0] for block in blocks] == [f"m={s.kind}" for s in offer.sections]
    assert [f"a=mid:{s.mid}" in block for s, block in zip(offer.sections, blocks, strict=True)] == [
        True for _ in blocks
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_live_line_carries_ice_dtls_and_mux(name: str) -> None:
    for block in answered(name):
        if block[0].split()[1] != "0":
            assert {
                "a=ice-ufrag:bridgeufrag",
                "a=ice-pwd:bridgepasswordbridgepassword",
                f"a=fingerprint:{FINGERPRINT}",
                "a=setup:passive",
                "a=rtcp-mux",
            } <= set(block)


@pytest.mark.parametrize("name", NAMES)
def test_answer_offers_no_codec_extension_or_feedback_of_its_own(name: str) -> None:
    for offered, block in zip(m_lines(sample(name)), answered(name), strict=True):
        assert set(block[0].split()[3:]) <= set(offered[0].split()[3:])
        for line in block:
            if line.startswith("a=rtcp-fb:"):
                assert line in offered
            if line.startswith("a=extmap:"):
                number, uri = line.removeprefix("a=extmap:").split(" ")
                assert any(
                    o.startswith(f"a=extmap:{number.split('/')[0]}") and o.endswith(uri) for o in offered
                )


@pytest.mark.parametrize("name", NAMES)
def test_correction_of_pictures_and_what_nobody_reads_is_not_agreed_on(name: str) -> None:
    """FEC would have to be made anew for each receiver; a picture's orientation is turned by its sender."""
    offered = sample(name).replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-fb:* rrtr\r\n")
    answer = answer_to(parse_offer(offered)).lower()
    for word in ("ulpfec", "flexfec", "red/90000", "rrtr", "video-orientation"):
        assert word not in answer


def audio_line(text: str, mid: str) -> list[str]:
    return next(
        block for block in m_lines(text) if f"a=mid:{mid}" in block and block[0].startswith("m=audio")
    )


def test_redundant_audio_is_preferred_where_a_browser_sends_and_possible_where_it_receives() -> None:
    text = answer_to(parse_offer(sample("chromium_client_all_codecs")))
    sending, receiving = audio_line(text, "0"), audio_line(text, "4")
    # Chromium sends it only if it stands before what it consists of.
    assert sending[0] == "m=audio 9 UDP/TLS/RTP/SAVPF 63 111"
    assert receiving[0] == "m=audio 9 UDP/TLS/RTP/SAVPF 111 63"
    for block in (sending, receiving):
        assert "a=rtpmap:63 red/48000/2" in block
        assert "a=fmtp:63 111/111" in block
        assert "a=rtpmap:111 opus/48000/2" in block


@pytest.mark.parametrize(
    "name", ["firefox_client", "aiortc_whip", "aiortc_sendrecv", "obs_whip", "gstreamer_whip_h264"]
)
def test_who_does_not_offer_redundant_audio_is_answered_without(name: str) -> None:
    assert "red/" not in answer_to(parse_offer(sample(name))).lower()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a=fmtp:63 111/111", "a=fmtp:63 111/0", id="other-codecs-in-it"),
        pytest.param("a=fmtp:63 111/111", "a=x", id="nobody-knows-what-is-in-it"),
        pytest.param("red/48000/2", "red/8000", id="another-clock"),
        pytest.param("a=rtpmap:63 red/48000/2", "a=x", id="no-format"),
    ],
)
def test_redundant_audio_of_anything_but_this_opus_is_not_agreed_on(before: str, after: str) -> None:
    offered = sample("chromium_client_all_codecs").replace(before, after)
    answer = answer_to(parse_offer(offered))
    assert "red/" not in answer
    assert audio_line(answer, "0")[0] == "m=audio 9 UDP/TLS/RTP/SAVPF 111"


def test_session_part_says_ice_lite_and_keeps_its_identity() -> None:
    text = answer_to(parse_offer(sample("chromium_whip")))
    assert text.startswith("v=0\r\no=- 77 3 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n")
    assert "a=group:BUNDLE 0 1\r\n" in text
    assert text.endswith("\r\n")


def test_candidates_stand_in_the_first_live_line_only() -> None:
    first, *rest = answered("chromium_client")
    assert [f"a=candidate:{value}" in first for value in CANDIDATES] == [True, True]
    assert first[-1] == "a=end-of-candidates"
    assert not any("candidate" in line for block in rest for line in block)


def test_simulcast_is_accepted_with_every_rid() -> None:
    camera = answered("chromium_client")[1]
    assert camera[0] == "m=video 9 UDP/TLS/RTP/SAVPF 96 97"
    assert "a=recvonly" in camera
    assert camera[-4:] == ["a=rid:l recv", "a=rid:m recv", "a=rid:h recv", "a=simulcast:recv l;m;h"]


def test_extension_direction_is_mirrored() -> None:
    camera = answered("firefox_client")[1]
    assert "a=extmap:8/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" in camera
    assert "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid" in camera


def test_slot_announces_its_streams() -> None:
    stage = answered("chromium_client")[7]
    assert stage[0] == "m=video 9 UDP/TLS/RTP/SAVPF 96 97 108 109"
    assert "a=sendonly" in stage
    assert "a=msid:stage slot-7" in stage
    assert stage[-3:] == [
        "a=ssrc-group:FID 1007 2007",
        "a=ssrc:1007 cname:bridge",
        "a=ssrc:2007 cname:bridge",
    ]
    assert not any("transport-cc" in line or "transport-wide" in line for line in stage)


def test_opus_is_agreed_with_in_band_error_correction() -> None:
    assert "a=fmtp:111 minptime=10;useinbandfec=1" in answered("chromium_client")[0]


def test_line_that_sends_and_receives_is_answered_both_ways() -> None:
    video = answered("aiortc_sendrecv")[1]
    assert video[0] == "m=video 9 UDP/TLS/RTP/SAVPF 97 98 101 102"
    assert "a=sendrecv" in video
    assert "a=ssrc:1001 cname:bridge" in video


def test_data_channel_is_rejected_and_left_out_of_the_bundle() -> None:
    text = answer_to(parse_offer(sample("aiortc_sendrecv")))
    assert "a=group:BUNDLE 0 1\r\n" in text
    assert m_lines(text)[2][0] == "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"


def test_line_without_a_decision_is_inactive_and_keeps_its_simulcast() -> None:
    auxiliary = answered("chromium_client", without=("3",))[3]
    assert auxiliary[0].startswith("m=video 9 ")
    assert "a=inactive" in auxiliary
    assert "a=simulcast:recv l;m;h" in auxiliary
    assert not any(line.startswith(("a=ssrc", "a=msid")) for line in auxiliary)


def test_line_the_offerer_made_inactive_stays_usable() -> None:
    content = answered("chromium_reoffer")[2]
    assert content[0].startswith("m=video 9 ")
    assert "a=inactive" in content


def test_line_without_a_codec_of_ours_gets_port_zero() -> None:
    text = sample("chromium_whip").replace("VP8/", "VP7/").replace("H264/", "H265/")
    assert m_lines(answer_to(parse_offer(text)))[1][0].startswith("m=video 0 ")


def test_offer_without_any_common_codec_is_refused() -> None:
    text = sample("obs_whip").replace("opus/", "speex/").replace("H264/", "H265/")
    offer = parse_offer(text)
    with pytest.raises(NegotiationFailed, match="nothing-usable"):
        build_answer(offer, plan_for(offer))


def test_bridge_answers_active_to_a_passive_offerer() -> None:
    text = sample("obs_whip").replace("setup:actpass", "setup:passive")
    assert all("a=setup:active" in block for block in m_lines(answer_to(parse_offer(text))))


@pytest.mark.parametrize("direction", ["sendonly", "sendrecv", "recvonly"])
async def test_aiortc_accepts_the_answer_to_its_offer(direction: str) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        peer.addTransceiver(AudioStreamTrack(), direction=direction)
        peer.addTransceiver(VideoStreamTrack(), direction=direction)
        await peer.setLocalDescription(await peer.createOffer())
        answer = answer_to(parse_offer(peer.localDescription.sdp))
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        assert peer.signalingState == "stable"
        assert [t.currentDirection for t in peer.getTransceivers()] == [direction, direction]
    finally:
        await peer.close()


@pytest.mark.parametrize(("name", "is_offered"), [("chromium_client", True), ("obs_whip", False)])
def test_reduced_size_reports_are_agreed_where_they_were_offered(name: str, is_offered: bool) -> None:
    offer = parse_offer(sample(name))
    assert offer.has_reduced_size is is_offered
    answer = answer_to(offer)
    assert answer.count("a=rtcp-rsize") == (len(m_lines(answer)) if is_offered else 0)


@pytest.mark.parametrize("mode", ["packetization-mode=0", "packetization-mode=1", ""])
def test_the_packetization_mode_is_answered_as_it_was_offered(mode: str) -> None:
    text = sample("obs_whip").replace("packetization-mode=1", mode or "level-asymmetry-allowed=1")
    answer = answer_to(parse_offer(text))
    # Without a word the mode is 0 (RFC 6184, 8.1).
    assert ("packetization-mode" in answer) is bool(mode)
    assert mode in answer
