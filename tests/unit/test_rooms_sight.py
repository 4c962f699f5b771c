"""Rooms: who sees what, on stage, as content, in the thumbnails."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base.errors import Refused
from bridge.base.words import Role, SlotRole, Source
from bridge.conference.participants import Participant
from bridge.conference.roles import ROOM_ROLES
from bridge.leg.encoding import Codec
from bridge.messages import (
    Answer,
    ChooseStage,
    ContentChange,
    Mute,
    Picture,
    ResumeRequest,
    ShowContent,
    Slots,
    Speakers,
    StageChange,
    StageMode,
    ThumbnailWindow,
    View,
)
from tests.unit.conference import Conference, channel, leg


def stage_of(viewer: Participant) -> str | None:
    return leg(viewer).shown(SlotRole.STAGE)[0]


def content_of(viewer: Participant) -> str | None:
    return leg(viewer).shown(SlotRole.CONTENT)[0]


def thumbnails_of(viewer: Participant) -> set[str]:
    return {leg_id for leg_id in leg(viewer).shown(SlotRole.THUMBNAIL) if leg_id}


def test_everybody_sees_the_chairs_choice_at_once_and_the_chosen_sees_somebody_else() -> None:
    conference = Conference()
    chair, a, b = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    channel(b).take()
    conference.ask(chair, ChooseStage(a.id))
    assert stage_of(chair) == stage_of(b) == a.id
    # The one on stage goes on seeing who was there before.
    assert stage_of(a) == chair.id
    assert channel(b).of(StageChange) == [StageChange(a.id, StageMode.CHAIR)]
    assert channel(b).of(Slots)[-1].slots == {"7": Picture(a.id, Source.CAMERA)}
    conference.ask(chair, ChooseStage(b.id))
    assert (stage_of(chair), stage_of(a), stage_of(b)) == (b.id, b.id, a.id)


def test_the_stage_follows_the_speaker_unless_the_chair_has_chosen() -> None:
    conference = Conference()
    chair, a, b = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    conference.speaks(a)
    assert (stage_of(chair), stage_of(b)) == (a.id, a.id)
    conference.ask(chair, ChooseStage(b.id))
    conference.speaks(chair)
    assert stage_of(a) == b.id
    # The one on stage sees whoever is speaking with it.
    assert stage_of(b) == chair.id
    conference.speaks(a)
    assert stage_of(b) == a.id
    conference.ask(chair, ChooseStage(None))
    assert stage_of(b) == a.id
    assert conference.room.sight.stage.mode is StageMode.SPEAKER


def test_silence_leaves_the_stage_as_it_is() -> None:
    conference = Conference()
    a, b = conference.enter(), conference.enter()
    conference.speaks(b)
    conference.speaks(None)
    assert stage_of(a) == b.id


def test_a_speaker_without_a_camera_does_not_darken_the_stage() -> None:
    conference = Conference()
    a, b = conference.enter(), conference.enter()
    audio_only = conference.enter(camera=False, microphone=True)
    conference.speaks(b)
    conference.speaks(audio_only)
    assert stage_of(a) == b.id
    leg(audio_only).send(Source.CAMERA)
    assert stage_of(a) == audio_only.id


def test_a_chosen_participant_without_a_camera_is_on_stage_with_its_name_only() -> None:
    conference = Conference()
    chair, viewer = conference.enter(Role.CHAIR), conference.enter()
    dark = conference.enter(camera=False)
    conference.ask(chair, ChooseStage(dark.id))
    assert conference.room.sight.stage.participant == dark.id
    assert stage_of(viewer) is None
    assert stage_of(dark) == chair.id
    leg(dark).send(Source.CAMERA)
    assert stage_of(viewer) == dark.id


def test_everybody_is_told_when_the_picture_on_stage_is_lost_with_its_media() -> None:
    conference = Conference()
    chair, a, b = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    conference.ask(chair, ChooseStage(a.id))
    leg(b).send(Source.CONTENT)
    channel(chair).take()
    leg(a).fail()
    leg(b).fail()
    assert [slots.slots["7"] for slots in channel(chair).of(Slots) if "7" in slots.slots] == [None]
    assert [slots.slots["8"] for slots in channel(chair).of(Slots) if "8" in slots.slots] == [None]


def test_when_the_chosen_one_leaves_the_stage_follows_the_speaker_again() -> None:
    conference = Conference()
    chair, a, b = conference.enter(Role.CHAIR), conference.enter(), conference.enter()
    conference.speaks(b)
    conference.ask(chair, ChooseStage(a.id))
    channel(chair).take()
    a.leave()
    assert channel(chair).of(StageChange) == [StageChange(b.id, StageMode.SPEAKER)]
    assert stage_of(chair) == b.id


def test_a_camera_switched_off_leaves_the_stage_and_comes_back() -> None:
    conference = Conference()
    a, b, c = conference.enter(), conference.enter(), conference.enter()
    conference.speaks(b)
    conference.ask(b, Mute(Source.CAMERA, True))
    assert stage_of(c) == a.id
    conference.ask(b, Mute(Source.CAMERA, False))
    assert stage_of(c) == b.id


def test_content_follows_the_newest_share_and_falls_back_when_it_ends() -> None:
    conference = Conference()
    a, b, c = conference.enter(), conference.enter(), conference.enter()
    leg(a).send(Source.CONTENT)
    leg(b).send(Source.AUXILIARY)
    assert content_of(c) == content_of(a) == b.id
    assert content_of(b) is None
    assert channel(c).of(ContentChange) == [
        ContentChange(a.id, Source.CONTENT),
        ContentChange(b.id, Source.AUXILIARY),
    ]
    conference.ask(b, Mute(Source.AUXILIARY, True))
    assert content_of(c) == a.id
    a.leave()
    assert content_of(c) is None
    assert channel(c).of(ContentChange)[-1] == ContentChange(None)


def test_a_chosen_content_stays_until_it_ends_or_is_given_back() -> None:
    conference = Conference()
    chair, a, b, c = (conference.enter(r) for r in (Role.CHAIR, Role.EXPERT, Role.EXPERT, Role.EXPERT))
    leg(a).send(Source.CONTENT)
    leg(a).send(Source.AUXILIARY)
    conference.ask(chair, ShowContent(a.id, Source.CONTENT))
    leg(b).send(Source.CONTENT)
    assert content_of(c) == a.id
    assert conference.room.sight.content is not None
    assert conference.room.sight.content.source is Source.CONTENT
    conference.ask(chair, ShowContent(a.id, None))
    assert conference.room.sight.content.source is Source.CONTENT
    conference.ask(chair, ShowContent(None))
    assert content_of(c) == b.id
    with pytest.raises(Refused):
        conference.ask(chair, ShowContent(c.id, Source.CONTENT))


def test_thumbnails_are_the_cameras_chair_first_without_oneself() -> None:
    conference = Conference()
    observer_site = conference.enter(camera=False)
    expert = conference.enter(Role.EXPERT, thumbnails=2)
    presenter = conference.enter(Role.PRESENTER)
    chair = conference.enter(Role.CHAIR, thumbnails=2)
    conference.pass_time(0.2)
    assert thumbnails_of(expert) == {chair.id, presenter.id}
    assert thumbnails_of(chair) == {presenter.id, expert.id}
    assert thumbnails_of(observer_site) == {chair.id, presenter.id, expert.id}


def test_a_page_of_thumbnails_is_counted_without_oneself() -> None:
    conference = Conference()
    cameras = [conference.enter() for _ in range(8)]
    viewer = cameras[2]
    others = [camera.id for camera in cameras if camera is not viewer]
    seen = []
    for first in (0, 3, 6):
        conference.ask(viewer, View(thumbnails=ThumbnailWindow(first, 3)))
        page = thumbnails_of(viewer)
        assert page == set(others[first : first + 3])
        seen.append(page)
    conference.ask(viewer, View(thumbnails=ThumbnailWindow(50, 9)))
    assert thumbnails_of(viewer) == set()
    conference.ask(viewer, View(thumbnails=ThumbnailWindow(0, 0)))
    assert thumbnails_of(viewer) == set()


def test_a_picture_that_stays_keeps_its_slot_when_the_list_shifts() -> None:
    conference = Conference()
    viewer = conference.enter(camera=False)
    cameras = [conference.enter() for _ in range(5)]
    conference.pass_time(0.2)
    before = leg(viewer).shown(SlotRole.THUMBNAIL)
    leg(viewer).show_count = 0
    chair = conference.enter(Role.CHAIR)
    cameras[1].leave()
    conference.pass_time(0.2)
    after = leg(viewer).shown(SlotRole.THUMBNAIL)
    assert [b == a for b, a in zip(before, after, strict=True)].count(False) == 1
    assert chair.id in after
    assert leg(viewer).show_count == 1


def test_a_view_before_the_offer_counts_after_it() -> None:
    conference = Conference()
    conference.enter()
    page = conference.knock()
    conference.ask(page, View({"7": 720, "nowhere": 90}, ThumbnailWindow(0, 0)))
    conference.offer(page)
    assert leg(page).wanted_px == {"7": 720}
    assert thumbnails_of(page) == set()
    conference.ask(page, View({"8": 360}))
    assert leg(page).wanted_px == {"7": 720, "8": 360}


def test_more_slots_offered_later_are_filled() -> None:
    conference = Conference()
    page = conference.enter(thumbnails=2, camera=False)
    for _ in range(4):
        conference.enter()
    conference.pass_time(0.2)
    assert len(thumbnails_of(page)) == 2
    conference.offer(page, thumbnails=9)
    assert len(thumbnails_of(page)) == 4


def test_slots_names_only_what_changed() -> None:
    conference = Conference()
    page = conference.enter(camera=False)
    a = conference.enter()
    conference.pass_time(0.2)
    channel(page).take()
    b = conference.enter()
    conference.pass_time(0.2)
    (slots,) = channel(page).of(Slots)
    assert [picture.participant for picture in slots.slots.values() if picture] == [b.id]
    assert a.id != b.id


def test_voices_are_told_with_the_slots_and_with_the_speakers() -> None:
    conference = Conference()
    page, speaker = conference.enter(camera=False), conference.enter(microphone=True)
    conference.pass_time(1)
    channel(page).take()
    leg(page).voices = {"4": speaker.id, "5": None, "6": None}
    leg(page).observer.slots_changed()
    conference.room.voices_changed((speaker.id,))
    conference.speaks(speaker)
    conference.pass_time(0.5)
    slots = channel(page).of(Slots)[-1].slots
    assert slots["4"].participant == speaker.id
    assert slots["4"].source is Source.MICROPHONE
    assert channel(page).of(Speakers) == [Speakers((speaker.id,), speaker.id)]


def test_a_newcomer_costs_those_who_do_not_see_it_nothing() -> None:
    conference = Conference()
    viewers = [conference.enter(thumbnails=3) for _ in range(20)]
    conference.pass_time(1)
    for viewer in viewers:
        leg(viewer).show_count = 0
        channel(viewer).take()
    conference.enter(thumbnails=3)
    conference.pass_time(1)
    assert sum(leg(viewer).show_count for viewer in viewers) == 0
    assert all(channel(viewer).of(Slots) == [] for viewer in viewers)


def test_a_large_room_is_shown_a_new_stage_slice_by_slice() -> None:
    conference = Conference()
    chair, expert = conference.enter(Role.CHAIR), conference.enter()
    viewers = [conference.enter(Role.OBSERVER, camera=False) for _ in range(200)]
    conference.pass_time(1)
    conference.ask(chair, ChooseStage(expert.id))
    assert 0 < sum(stage_of(viewer) == expert.id for viewer in viewers) < 200
    # A second change before the first has reached everybody overtakes it.
    conference.ask(chair, ChooseStage(chair.id))
    conference.ask(chair, ChooseStage(expert.id))
    while conference.room.sight.show_more():
        pass
    assert all(stage_of(viewer) == expert.id for viewer in viewers)
    assert stage_of(expert) == chair.id
    viewers[-1].leave()


KINDS = "enter leave camera mute share speak stage content tick replace fail resume".split()  # noqa: SIM905
ACTIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 7), st.sampled_from(ROOM_ROLES)), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_whatever_happens_everybody_sees_what_the_room_says(actions: list[tuple[str, int, Role]]) -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    people = [chair]
    for action, number, role in actions:
        target = people[number % len(people)]
        match action:
            case "enter":
                people.append(conference.enter(role, thumbnails=4))
            case "leave" if target is not chair:
                target.leave()
                people.remove(target)
            case "camera":
                leg(target).send(Source.CAMERA, number % 2 == 0)
            case "share":
                leg(target).send(Source.CONTENT, number % 2 == 0)
            case "speak":
                conference.speaks(target)
            case "stage":
                conference.ask(chair, ChooseStage(target.id if number else None))
            case "content" if target.is_sending(Source.CONTENT):
                conference.ask(chair, ShowContent(target.id, Source.CONTENT))
            case "replace":
                conference.offer(target, thumbnails=4, replace=True)
            case "mute":
                muted = target.is_sending(Source.CAMERA)
                if target.may_publish:
                    conference.ask(target, Mute(Source.CAMERA, muted))
            case "fail":
                leg(target).fail()
                conference.offer(target, thumbnails=4, replace=True)
            case "resume":
                conference.lose_socket(target)
                leg(target).send(Source.AUXILIARY, number % 2 == 0)
                conference.knock(claims=target.claims, resume=ResumeRequest(target.id, target.secret))
            case "tick":
                conference.pass_time(0.1)
    conference.pass_time(0.3)
    stage, content = conference.room.sight.stage, conference.room.sight.content
    visible = {one.id for one in people if one.is_sending(Source.CAMERA)}
    for viewer in people:
        on_stage = stage_of(viewer)
        if viewer.id != stage.participant:
            assert on_stage == (stage.participant if stage.participant in visible else None)
        else:
            assert (on_stage is None) == (visible <= {viewer.id})
        shared = content.participant if content and content.participant != viewer.id else None
        assert content_of(viewer) == shared
        count = len(leg(viewer).slots(SlotRole.THUMBNAIL))
        assert len(thumbnails_of(viewer)) == min(count, len(visible - {viewer.id}))
        assert thumbnails_of(viewer) <= visible - {viewer.id}
        assert told(viewer) == {
            slot.mid: slot.shown and Picture(slot.shown.leg_id, slot.shown.source)
            for slot in leg(viewer).all_slots.values()
            if slot.role is not SlotRole.VOICE
        }


def told(viewer: Participant) -> dict[str, Picture | None]:
    """What a page knows of its slots, from the messages of this socket since the last answer."""
    known: dict[str, Picture | None] = {}
    for message in channel(viewer).take():
        if isinstance(message, Answer):
            known.clear()
        elif isinstance(message, Slots):
            known.update(message.slots)
    return known


def test_while_the_chosen_site_has_lost_its_line_the_stage_follows_the_speaker() -> None:
    conference = Conference()
    chair, chosen, speaker = (conference.enter(role) for role in (Role.CHAIR, Role.PRESENTER, Role.EXPERT))
    conference.ask(chair, ChooseStage(chosen.id))
    conference.speaks(speaker)
    # Without its socket alone it is still seen, and stays.
    conference.lose_socket(chosen)
    assert stage_of(chair) == chosen.id
    channel(chair).texts.clear()
    leg(chosen).fail()
    assert stage_of(chair) == speaker.id
    assert channel(chair).of(StageChange) == [StageChange(speaker.id, StageMode.SPEAKER)]
    conference.knock(claims=chosen.claims, resume=ResumeRequest(chosen.id, chosen.secret))
    assert channel(chair).of(StageChange)[-1] == StageChange(chosen.id, StageMode.CHAIR)
    conference.offer(chosen, replace=True)
    leg(chosen).send(Source.CAMERA)
    assert stage_of(chair) == chosen.id


def test_a_chosen_site_without_a_camera_stays_on_stage_as_long_as_it_is_there() -> None:
    conference = Conference()
    chair, chosen = conference.enter(Role.CHAIR), conference.enter(Role.PRESENTER, camera=False)
    conference.ask(chair, ChooseStage(chosen.id))
    assert conference.room.sight.stage.participant == chosen.id
    conference.lose_socket(chosen)
    assert conference.room.sight.stage.participant == chair.id


def test_a_picture_in_a_codec_that_was_not_offered_is_told_as_such() -> None:
    conference = Conference()
    viewer, encoder = conference.enter(camera=False), conference.enter(camera=False)
    for slot in leg(viewer).slots(SlotRole.STAGE):
        slot.codecs = frozenset({Codec.VP8})
    leg(encoder).publications[Source.CAMERA].codec = Codec.H264
    channel(viewer).texts.clear()
    leg(encoder).send(Source.CAMERA)
    conference.pass_time(1)
    told = [(mid, message.unsupported) for message in channel(viewer).of(Slots) for mid in message.slots]
    (stage,) = leg(viewer).slots(SlotRole.STAGE)
    # The thumbnail can be shown, the stage cannot.
    assert (stage.mid, (stage.mid,)) in told
    assert {mid for _, mids in told for mid in mids or ()} == {stage.mid}
    assert viewer.unsupported_count == 1
    stage.codecs = frozenset({Codec.VP8, Codec.H264})
    assert viewer.unsupported_count == 0
