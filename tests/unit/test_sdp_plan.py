"""What the m-lines of recorded offers can be used for."""

import pytest
from sdp_samples import sample

from bridge.base.words import SlotRole, Source
from bridge.sdp import (
    ABS_SEND_TIME_URI,
    AUDIO_LEVEL_URI,
    MID_URI,
    REPAIRED_RID_URI,
    RID_URI,
    TRANSPORT_WIDE_CC_URI,
    PublishingPlan,
    SlotPlan,
    default_publications,
    default_slots,
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
    assert default_publications(offer) == {"audio0": Source.MICROPHONE, "video1": Source.CAMERA}
    assert default_slots(offer) == {}


def test_viewers_that_do_not_name_their_lines_get_stage_content_thumbnails() -> None:
    slots = list(default_slots(parse_offer(sample("chromium_client"))).values())
    assert slots == [
        *[SlotRole.VOICE] * 3,
        SlotRole.STAGE,
        SlotRole.CONTENT,
        *[SlotRole.THUMBNAIL] * 9,
    ]


def test_third_picture_of_an_unnamed_device_stays_unused() -> None:
    publications = default_publications(parse_offer(sample("chromium_client")))
    assert publications == {"0": Source.MICROPHONE, "1": Source.CAMERA, "2": Source.CONTENT}
