"""What a viewer sees when slots change their source, and when viewers come late."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from meeting import Meeting
from network import Network

from bridge.base.words import SlotRole, Source


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def test_the_stage_holds_the_old_picture_until_the_new_key_frame(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    assert viewer.sees() == ("hue", "h")
    # Until then the last key frame is long ago, and nobody has asked for one.
    switched = meeting.network.now
    viewer.show(hanoi)
    took_s = meeting.network.run_until(lambda: viewer.sees() == ("hanoi", "h"), within_s=0.5)
    assert took_s < 0.2
    assert viewer.receiver().longest_freeze_s(switched - 0.2, meeting.network.now) < 0.1
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_twenty_switches_in_a_row_leave_one_clean_stream(meeting: Meeting) -> None:
    others = [meeting.join(name, sources=(Source.CAMERA,)) for name in ("a", "b", "c")]
    viewer = meeting.join("viewer", sources=())
    for turn in range(20):
        viewer.show(others[turn % 3])
        # Some are taken back before their key frame can have come.
        meeting.run((0.01, 0.07, 0.2, 0.6)[turn % 4])
    meeting.run(0.5)
    assert viewer.sees() == ("b", "h")
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_a_slot_emptied_and_filled_again_goes_on(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    viewer.show(None)
    meeting.run(0.1)
    shown = len(viewer.receiver().pictures)
    meeting.run(1.5)
    assert len(viewer.receiver().pictures) == shown
    viewer.show(hue)
    meeting.network.run_until(lambda: len(viewer.receiver().pictures) > shown, within_s=0.3)
    meeting.run(0.5)
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_a_late_joiner_has_a_key_frame_requested_at_once(meeting: Meeting) -> None:
    hue, early = meeting.join("hue"), meeting.join("early", sources=())
    early.show(hue)
    meeting.run(3.0)
    hue.plis.clear()
    late = meeting.join("late", sources=())
    joined = meeting.network.now
    late.show(hue)
    took_s = meeting.network.run_until(lambda: late.sees(), within_s=0.5)
    # Twice the path, one picture for the encoder.
    assert took_s < 0.02 * 3 + 0.05
    assert hue.plis[0][0] - joined < 0.03
    assert len(hue.plis) == 1
    assert late.receiver().packets()[0].piece.is_keyframe


def test_a_hundred_joiners_ask_the_publisher_a_few_times_only(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), rate_hz=10)
    first = meeting.join("first", sources=())
    first.show(hue)
    meeting.run(2.0)
    hue.plis.clear()
    viewers = []
    for number in range(100):
        viewer = meeting.join(f"viewer-{number}", sources=(), voices=0, pictures=(SlotRole.STAGE,))
        viewer.leg.want(viewer.slot().mid, 360)
        viewer.show(hue)
        viewers.append(viewer)
        meeting.run(0.01)
    meeting.run(1.0)
    assert all(viewer.sees() == ("hue", "m") for viewer in viewers)
    assert {rid for _, _, rid in hue.plis} == {"m"}
    times = [when for when, _, _ in hue.plis]
    assert 1 <= len(times) <= 5
    assert all(after - before >= 0.25 for before, after in pairwise(times))


def test_vp8_and_h264_sources_follow_each_other_in_one_slot(meeting: Meeting) -> None:
    browser = meeting.join("browser", sources=(Source.CAMERA,))
    encoder = meeting.join("encoder", sources=(Source.CAMERA,), codec="h264")
    viewer = meeting.join("viewer", sources=())
    for turn in range(6):
        viewer.show((browser, encoder)[turn % 2])
        meeting.run(0.8)
    assert viewer.sees() == ("encoder", "")
    by_type = {packet.payload_type for packet in viewer.receiver().packets()}
    assert by_type == {96, 108}
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_a_viewer_without_the_codec_of_the_source_gets_nothing_of_it(meeting: Meeting) -> None:
    browser = meeting.join("browser", sources=(Source.CAMERA,))
    encoder = meeting.join("encoder", sources=(Source.CAMERA,), codec="h264")
    viewer = meeting.join("viewer", sources=(), slot_codecs=("vp8",))
    viewer.show(browser)
    meeting.run(1.0)
    viewer.show(encoder)
    meeting.run(1.0)
    assert {packet.payload_type for packet in viewer.receiver().packets()} == {96}
    viewer.show(browser)
    meeting.run(1.0)
    assert viewer.sees() == ("browser", "h")
    assert viewer.complaints() == []


def test_a_publisher_that_starts_anew_is_shown_again_at_once(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    hue.start_sending(Source.CAMERA)
    hue.start_sending(Source.MICROPHONE)
    restarted = meeting.network.now
    meeting.run(1.0)
    assert viewer.sees() == ("hue", "h")
    assert viewer.receiver().longest_freeze_s(restarted - 0.1, meeting.network.now) < 0.25
    assert viewer.hears() == {"hue"}
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_a_lost_request_for_a_key_frame_is_repeated(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(2.0)
    hanoi.down.loss = 1.0
    viewer.show(hanoi)
    meeting.run(0.2)
    hanoi.down.loss = 0.0
    took_s = meeting.network.run_until(lambda: viewer.sees() == ("hanoi", "h"), within_s=1.0)
    assert took_s < 0.5
    assert viewer.complaints() == []


def test_a_picture_that_cannot_be_decoded_is_asked_for_again(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    viewer.receiver().wants_nack = False
    lost_at = meeting.network.now
    viewer.down.loss = 1.0
    meeting.run(0.15)
    viewer.down.loss = 0.0
    meeting.run(2.0)
    assert viewer.receiver().plis_sent >= 1
    assert viewer.receiver().longest_freeze_s(lost_at, meeting.network.now) < 1.0


def test_a_face_is_held_for_a_second_and_then_no_longer(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    assert viewer.slot().seen is hue.publication()
    hanoi.up.loss = 1.0
    viewer.show(hanoi)
    meeting.run(0.9)
    assert viewer.sees() == ("hue", "h")
    assert viewer.slot().seen is hue.publication()
    viewer.slots_changes = 0
    meeting.run(0.3)
    heard = len(viewer.receiver().heard)
    # The page's last picture is still the one before: it is told of nobody before it is told of the next one.
    assert viewer.slot().seen is None
    assert viewer.slots_changes > 0
    meeting.run(1.2)
    assert len(viewer.receiver().heard) == heard
    assert viewer.slot().seen is hanoi.publication()
    hanoi.up.loss = 0.0
    meeting.network.run_until(lambda: viewer.sees() == ("hanoi", "h"), within_s=1.0)
    assert viewer.complaints() == []


def test_the_label_of_a_slot_follows_the_first_picture_that_bears_it(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    assert viewer.slot().seen is hue.publication()
    meeting.run(1.0)
    for client in (hanoi, hue, hanoi):
        before = viewer.slot().seen
        viewer.show(client)
        assert viewer.slot().seen is before
        meeting.network.run_until(lambda: viewer.sees()[0] == client.name, within_s=0.5)  # type: ignore[index]  # noqa: B023
        meeting.run(0.12)
        assert viewer.slot().seen is client.publication()
    viewer.show(None)
    assert viewer.slot().seen is None


@pytest.mark.parametrize("source", [Source.CAMERA, Source.AUXILIARY, Source.CONTENT])
def test_the_image_of_a_patient_is_not_held(meeting: Meeting, source: Source) -> None:
    theatre = meeting.join("theatre", sources=(source,), is_device=source is Source.CAMERA)
    hanoi, viewer = meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(theatre, source=source)
    meeting.run(1.0)
    assert viewer.sees() is not None
    hanoi.up.loss = 1.0
    viewer.show(hanoi)
    assert viewer.slot().seen is None
    meeting.run(0.02)
    heard = len(viewer.receiver().heard)
    meeting.run(0.5)
    assert len(viewer.receiver().heard) == heard
    hanoi.up.loss = 0.0
    meeting.network.run_until(lambda: viewer.slot().seen is hanoi.publication(), within_s=1.0)
    assert viewer.sees()[0] == "hanoi"  # type: ignore[index]
    assert viewer.complaints() == []


def test_one_shared_screen_after_another_shows_nobody_in_between(meeting: Meeting) -> None:
    hue, hanoi = (meeting.join(name, sources=(Source.CONTENT,)) for name in ("hue", "hanoi"))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue, SlotRole.CONTENT, source=Source.CONTENT)
    meeting.run(1.0)
    slot = viewer.slot(SlotRole.CONTENT)
    assert slot.seen is hue.publication(Source.CONTENT)
    viewer.show(hanoi, SlotRole.CONTENT, source=Source.CONTENT)
    # A page covers the last picture when it is told of nobody, and not at a change of names.
    assert slot.seen is None
    meeting.network.run_until(lambda: slot.seen is hanoi.publication(Source.CONTENT), within_s=0.4)
    assert viewer.sees(SlotRole.CONTENT) is not None
    assert viewer.complaints() == []


def test_the_first_frame_of_whoever_is_seen_is_told_by_its_outgoing_time(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    viewer.show(hanoi)
    # Of hue's picture that is still held nothing is said under the next name.
    meeting.network.run_until(lambda: viewer.slot().seen is hanoi.publication(), within_s=1.0)
    begins = viewer.slot().begins_at
    assert begins is not None
    times = {True: [], False: []}  # type: dict[bool, list[int]]
    for picture in viewer.receiver().pictures:
        is_hanoi = meeting.origins[picture.ssrc][0] == "hanoi"
        times[is_hanoi].append((picture.timestamp - begins) & 0xFFFFFFFF)
    assert min(times[True]) == 0
    assert all(time >= 1 << 31 for time in times[False])
    viewer.show(None)
    assert viewer.slot().begins_at is None


def test_an_ice_restart_in_the_middle_of_a_change_names_nobody_before_its_picture(meeting: Meeting) -> None:
    hue, hanoi, viewer = meeting.join("hue"), meeting.join("hanoi"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    hanoi.up.loss = 1.0
    viewer.show(hanoi)
    meeting.run(0.2)
    answer = viewer.leg.negotiate(viewer.offer_again(), viewer.mids, viewer.slot_roles)
    assert "a=mid:13" in answer
    assert viewer.slot().seen is hue.publication()
    assert viewer.slot().begins_at is not None
    meeting.run(1.0)
    # The page is told of nobody before it is told of a name whose picture is late.
    assert viewer.slot().seen is None
    hanoi.up.loss = 0.0
    meeting.network.run_until(lambda: viewer.sees() == ("hanoi", "h"), within_s=3.0)
    meeting.run(0.12)
    assert viewer.slot().seen is hanoi.publication()
    assert viewer.complaints() == []
