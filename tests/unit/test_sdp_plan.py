"""What the m-lines of recorded offers can be used for."""

import pytest
from sdp_samples import sample

from bridge.base.errors import NegotiationFailed
from bridge.base.words import SlotRole, Source
from bridge.sdp import (
    ABS_SEND_TIME_URI,
    AUDIO_LEVEL_URI,
    MID_URI,
    REPAIRED_RID_URI,
    RID_URI,
    TRANSPORT_WIDE_CC_URI,
    Offer,
    PublishingPlan,
    SlotPlan,
    check_sections,
    default_publications,
    default_slots,
    has_transport_wide_slots,
    parse_offer,
    plan_publishing,
    plan_slot,
)


def publishing(text: str, mid: str) -> PublishingPlan:
    section = parse_offer(text).section(mid)
    assert section is not None
    plan = plan_publishing(section)
    assert plan is not None
    return plan


def slot(text: str, mid: str) -> SlotPlan:
    section = parse_offer(text).section(mid)
    assert section is not None
    plan = plan_slot(section)
    assert plan is not None
    return plan


def publications(offer: Offer) -> dict[str, Source]:
    return default_publications(plan for section in offer.sections if (plan := plan_publishing(section)))


def slots(offer: Offer) -> dict[str, SlotRole]:
    return default_slots(plan for section in offer.sections if (plan := plan_slot(section)))


@pytest.mark.parametrize("name", ["chromium_client", "chromium_client_all_codecs"])
def test_simulcast_camera_is_received_as_vp8_with_retransmission(name: str) -> None:
    plan = publishing(sample(name), "1")
    assert (plan.codec.name, plan.codec.payload_type, plan.rtx_payload_type) == ("vp8", 96, 97)
    assert plan.rids == ("l", "m", "h")
    assert set(plan.extension_ids) == {MID_URI, RID_URI, REPAIRED_RID_URI, TRANSPORT_WIDE_CC_URI}
    assert plan.feedback == {"nack", "nack pli", "ccm fir", "transport-cc"}


def test_microphone_carries_level_and_transport_wide_numbers_but_no_nack() -> None:
    plan = publishing(sample("chromium_client"), "0")
    assert plan.codec.name == "opus"
    assert plan.rtx_payload_type is None
    assert set(plan.extension_ids) == {MID_URI, AUDIO_LEVEL_URI, TRANSPORT_WIDE_CC_URI}
    assert plan.feedback == {"transport-cc"}


@pytest.mark.parametrize("name", ["chromium_client", "chromium_client_all_codecs"])
def test_picture_slot_can_carry_vp8_and_constrained_baseline_h264(name: str) -> None:
    plan = slot(sample(name), "7")
    assert plan.payload_types == {"vp8": 96, "h264": 108}
    assert plan.rtx_payload_types == {"vp8": 97, "h264": 109}
    assert plan.abs_send_time_id == 2
    assert plan.extension_ids == {ABS_SEND_TIME_URI: 2}
    assert plan.feedback == {"goog-remb", "nack", "nack pli", "ccm fir"}


def test_voice_slot_carries_the_level_and_asks_for_no_feedback() -> None:
    plan = slot(sample("chromium_client"), "4")
    assert plan.payload_types == {"opus": 111}
    assert plan.rtx_payload_types == {}
    assert plan.audio_level_id == 1
    assert plan.feedback == frozenset()


def test_slot_of_a_browser_without_h264_carries_vp8_alone() -> None:
    assert slot(sample("firefox_client"), "3").payload_types == {"vp8": 120}


@pytest.mark.parametrize(("name", "mid"), [("gstreamer_whip_h264", "video1"), ("obs_whip", "1")])
def test_device_that_offers_only_h264_is_received_as_such(name: str, mid: str) -> None:
    plan = publishing(sample(name), mid)
    assert plan.codec.name == "h264"
    assert plan.codec.parameters["packetization-mode"] == "1"
    assert plan.rids == ()
    assert len(plan.ssrcs) == 1
    assert "transport-cc" not in plan.feedback


def test_transport_cc_without_its_header_extension_is_not_agreed() -> None:
    assert "transport-cc" in sample("gstreamer_whip_h264")
    assert publishing(sample("gstreamer_whip_h264"), "video1").feedback == {"nack pli", "ccm fir"}


def test_announced_streams_are_those_of_the_rids_without_retransmissions() -> None:
    plan = publishing(sample("firefox_client"), "1")
    assert plan.ssrcs == (1000000001, 1000000002, 1000000003)
    assert plan.fid == {1000000001: 1000000011, 1000000002: 1000000012, 1000000003: 1000000013}


def test_line_without_rids_has_one_stream_however_many_it_announces() -> None:
    extra = "a=ssrc:5 cname:x\r\na=ssrc:6 cname:x\r\na=ssrc-group:FID 5 6\r\na=ssrc-group:FID 7 8\r\n"
    plan = publishing(sample("obs_whip") + extra, "1")
    assert plan.ssrcs == (3388068601,)
    assert plan.fid == {}


def test_line_that_sends_and_receives_is_both_publication_and_slot() -> None:
    text = sample("aiortc_sendrecv")
    assert publishing(text, "1").codec.payload_type == 97
    assert slot(text, "1").payload_types == {"vp8": 97, "h264": 101}


def test_line_that_only_sends_is_no_slot_and_the_other_way_round() -> None:
    sections = parse_offer(sample("chromium_client")).sections
    assert plan_slot(sections[1]) is None
    assert plan_publishing(sections[7]) is None


def test_data_channel_is_neither_publication_nor_slot() -> None:
    section = parse_offer(sample("aiortc_sendrecv")).sections[2]
    assert plan_publishing(section) is None
    assert plan_slot(section) is None


def h264_offer(*parameters: str) -> str:
    """Return OBS's offer with one H.264 payload type, from 96 on, for each set of parameters."""
    head, tail = sample("obs_whip").split("a=rtpmap:96")
    formats = " ".join(str(96 + i) for i in range(len(parameters)))
    lines = "".join(
        f"a=rtpmap:{96 + i} H264/90000\r\na=fmtp:{96 + i} {p}\r\n" for i, p in enumerate(parameters)
    )
    assert tail
    return head.replace("SAVPF 96", f"SAVPF {formats}") + lines


@pytest.mark.parametrize(
    ("parameters", "chosen"),
    [
        (
            ("packetization-mode=0;profile-level-id=42e01f", "packetization-mode=1;profile-level-id=640c1f"),
            97,
        ),
        (
            ("packetization-mode=1;profile-level-id=42001f", "packetization-mode=1;profile-level-id=42c01f"),
            97,
        ),
        (
            ("packetization-mode=1;profile-level-id=64001f", "packetization-mode=1;profile-level-id=4d001f"),
            97,
        ),
        (
            (
                "packetization-mode=1;profile-level-id=42001f",
                "packetization-mode=1;profile-level-id=nonsense",
            ),
            96,
        ),
        (("packetization-mode=0;profile-level-id=42e01f",), 96),
        (("packetization-mode=1",), 96),
    ],
)
def test_h264_choice_prefers_fragmentation_then_the_simplest_profile(
    parameters: tuple[str, ...], chosen: int
) -> None:
    assert publishing(h264_offer(*parameters), "1").codec.payload_type == chosen


def test_slot_that_cannot_take_fragmented_units_gets_no_h264() -> None:
    text = h264_offer("packetization-mode=0;profile-level-id=42e01f").replace("sendonly", "recvonly")
    section = parse_offer(text).section("1")
    assert section is not None
    assert plan_slot(section) is None


def test_extension_the_receiver_only_sends_is_not_written_for_it() -> None:
    text = sample("chromium_client").replace("extmap:2 ", "extmap:2/sendonly ")
    assert slot(text, "7").abs_send_time_id == 0


def test_extension_that_needs_the_two_byte_form_is_read_but_not_written() -> None:
    text = sample("chromium_client").replace("extmap:2 ", "extmap:20 ").replace("extmap:4 ", "extmap:21 ")
    assert slot(text, "7").abs_send_time_id == 0
    assert publishing(text, "1").extension_ids[MID_URI] == 21


def test_devices_that_do_not_name_their_lines_get_the_usual_sources() -> None:
    offer = parse_offer(sample("gstreamer_whip_h264"))
    assert publications(offer) == {"audio0": Source.MICROPHONE, "video1": Source.CAMERA}
    assert slots(offer) == {}


def test_viewers_that_do_not_name_their_lines_get_stage_content_thumbnails() -> None:
    assert list(slots(parse_offer(sample("chromium_client"))).values()) == [
        *[SlotRole.VOICE] * 3,
        SlotRole.STAGE,
        SlotRole.CONTENT,
        *[SlotRole.THUMBNAIL] * 9,
    ]


def test_third_picture_of_an_unnamed_device_stays_unused() -> None:
    named = publications(parse_offer(sample("chromium_client")))
    assert named == {"0": Source.MICROPHONE, "1": Source.CAMERA, "2": Source.CONTENT}


@pytest.mark.parametrize("first", ["vp8", "h264"])
def test_the_codec_that_the_offer_prefers_is_the_one_that_is_sent(first: str) -> None:
    numbers = {"vp8": ("98", "VP8/90000"), "h264": ("97", "H264/90000")}
    order = [first, *({"vp8", "h264"} - {first})]
    head, _, _ = sample("obs_whip").partition("a=rtpmap:96")
    formats = " ".join(numbers[name][0] for name in order)
    lines = "".join(f"a=rtpmap:{number} {name}\r\n" for number, name in numbers.values())
    text = head.replace("SAVPF 96", f"SAVPF {formats}") + lines + "a=fmtp:97 packetization-mode=1\r\n"
    assert publishing(text, "1").codec.name == first
    receiving = slot(text.replace("sendonly", "recvonly"), "1")
    assert list(receiving.payload_types) == order


@pytest.mark.parametrize("payload_type", [35, 63, 96, 127])
def test_payload_types_that_cannot_be_taken_for_rtcp_work(payload_type: int) -> None:
    text = sample("obs_whip").replace(" 96\r", f" {payload_type}\r").replace(":96 ", f":{payload_type} ")
    check_sections(parse_offer(text))
    assert publishing(text, "1").codec.payload_type == payload_type


@pytest.mark.parametrize("payload_type", [64, 72, 95])
@pytest.mark.parametrize("direction", ["sendonly", "recvonly"])
def test_payload_types_that_look_like_rtcp_are_refused_with_what_to_do(
    payload_type: int, direction: str
) -> None:
    text = sample("obs_whip").replace(" 96\r", f" {payload_type}\r").replace(":96 ", f":{payload_type} ")
    with pytest.raises(NegotiationFailed, match=r"RFC 5761.*96 to 127") as refused:
        check_sections(parse_offer(text.replace("sendonly", direction)))
    assert refused.value.code == "negotiation-failed:payload-type"


def test_a_payload_type_that_looks_like_rtcp_is_left_out_beside_one_that_does_not() -> None:
    text = h264_offer("packetization-mode=1", "packetization-mode=1").replace("96 97", "70 97")
    text = text.replace(":96 ", ":70 ")
    check_sections(parse_offer(text))
    assert publishing(text, "1").codec.payload_type == 97
    rtx = sample("chromium_client").replace(" 97 ", " 77 ").replace(":97 ", ":77 ")
    assert publishing(rtx, "1").rtx_payload_type is None


def test_a_slot_without_retransmission_is_not_asked_for_it() -> None:
    text = sample("chromium_client").replace("apt=96", "apt=1").replace("apt=108", "apt=2")
    assert slot(text, "7").feedback == {"goog-remb", "nack pli", "ccm fir"}
    # Who sends may send the packet itself again (RFC 4585, 6.2.1).
    assert "nack" in publishing(text, "1").feedback


def conflicting(*, ssrcs: bool, rids: bool = False, payload_type: int = 102) -> str:
    """Two pictures of a device that counts the identifiers of header extensions anew in each m-line."""
    head, tail = sample("obs_whip").split("m=audio")
    video = "m=video" + tail.split("m=video")[1]
    video = "".join(line + "\r\n" for line in video.split("\r\n") if line and not line.startswith("a=ssrc"))
    first = video + "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    second = (
        video.replace("mid:1", "mid:0").replace(" 96", f" {payload_type}").replace(":96", f":{payload_type}")
    )
    second += "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    second += "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    if rids:
        second += "a=rid:0 send\r\na=rid:1 send\r\na=simulcast:send 0;1\r\n"
    if ssrcs:
        second += "a=ssrc:7 cname:a\r\na=ssrc:8 cname:a\r\n"
    return head + first + second


def test_identifiers_that_mean_two_things_are_nothing_where_streams_are_told_apart_otherwise() -> None:
    offer = parse_offer(conflicting(ssrcs=False))
    assert offer.extensions == {2: MID_URI}
    check_sections(offer)
    both = conflicting(ssrcs=True, rids=True)
    check_sections(parse_offer(both))
    assert publishing(both, "0").rids == ("0", "1")
    assert publishing(both, "0").ssrcs == (7, 8)


@pytest.mark.parametrize(
    "text",
    [conflicting(ssrcs=False, payload_type=96), conflicting(ssrcs=False, rids=True)],
    ids=["one payload type", "simulcast"],
)
def test_an_offer_whose_streams_nobody_could_tell_apart_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(NegotiationFailed, match="RFC 9143") as refused:
        check_sections(parse_offer(text))
    assert refused.value.code == "negotiation-failed:extension-conflict"


class TestTransportWideSlots:
    """How a receiver lets its line be judged: by numbers in its packets, or by its own estimate."""

    def planned(self, text: str) -> dict[str, SlotPlan]:
        offer = parse_offer(text)
        is_wide = has_transport_wide_slots(offer)
        plans = ((one.mid, plan_slot(one, is_transport_wide=is_wide)) for one in offer.sections)
        return {mid: plan for mid, plan in plans if plan is not None}

    @pytest.mark.parametrize("name", ["chromium_client", "chromium_client_all_codecs", "chromium_whep"])
    def test_chromium_is_told_numbers_in_pictures_and_voices(self, name: str) -> None:
        plans = self.planned(sample(name))
        assert plans
        for plan in plans.values():
            assert plan.transport_wide_id > 0
            assert plan.abs_send_time_id == 0
            assert "transport-cc" in plan.feedback
            assert "goog-remb" not in plan.feedback

    def test_firefox_is_told_numbers_in_pictures_and_send_times_nowhere(self) -> None:
        plans = self.planned(sample("firefox_client"))
        assert {plan.kind for plan in plans.values()} == {"audio", "video"}
        for plan in plans.values():
            assert (plan.transport_wide_id > 0) is (plan.kind == "video")
            assert ("transport-cc" in plan.feedback) is (plan.kind == "video")
            assert plan.abs_send_time_id == 0 or plan.kind == "audio"

    def test_aiortc_goes_on_with_its_own_estimate(self) -> None:
        plans = self.planned(sample("aiortc_sendrecv"))
        assert plans
        for plan in plans.values():
            assert plan.transport_wide_id == 0
            assert "transport-cc" not in plan.feedback
            assert ("goog-remb" in plan.feedback) is (plan.kind == "video")

    @pytest.mark.parametrize("lacking", ["a=rtcp-fb:96 transport-cc", "a=extmap:3 "])
    def test_where_one_picture_cannot_none_is_told_numbers(self, lacking: str) -> None:
        before, last = sample("chromium_client").rsplit("\r\nm=video", 1)
        lines = [line for line in last.split("\r\n") if not line.startswith(lacking)]
        plans = self.planned(f"{before}\r\nm=video" + "\r\n".join(lines))
        assert len(plans) > 3
        for plan in plans.values():
            assert plan.transport_wide_id == 0
            assert "transport-cc" not in plan.feedback
            assert plan.abs_send_time_id > 0

    def test_identifiers_beyond_one_byte_are_not_written(self) -> None:
        text = sample("chromium_client").replace("a=extmap:3 ", "a=extmap:15 ")
        assert all(plan.transport_wide_id == 0 for plan in self.planned(text).values())
