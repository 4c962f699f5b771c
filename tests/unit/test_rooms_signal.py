"""What everybody is told of who sends nothing any more, why pictures stand still, and who speaks."""

from bridge import messages
from bridge.base.words import PauseReason, Role, SlotRole, Source
from tests.unit.conference import Conference, channel, leg


def test_a_dead_line_is_told_to_everybody_within_the_next_roster() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    hue = conference.enter(microphone=True)
    conference.pass_time(1.0)
    channel(chair).take()
    leg(hue).observer.line_cut(True)
    conference.pass_time(0.4)
    (change,) = channel(chair).of(messages.RosterChange)
    (member,) = change.changed
    assert (member.participant, member.signal, member.connected) == (hue.id, False, True)
    channel(chair).take()
    leg(hue).observer.line_cut(False)
    conference.pass_time(0.4)
    assert channel(chair).of(messages.RosterChange)[0].changed[0].signal


def test_whoever_comes_with_another_peer_connection_has_a_signal_again() -> None:
    conference = Conference()
    hue = conference.enter(microphone=True)
    before = leg(hue)
    before.observer.line_cut(True)
    conference.offer(hue, replace=True)
    assert hue.member().signal
    # What is said of the former one comes too late.
    before.observer.line_cut(True)
    assert hue.member().signal


def test_who_comes_in_while_somebody_speaks_is_told_so() -> None:
    conference = Conference()
    hue = conference.enter(microphone=True)
    conference.room.voices_changed((hue.id,))
    conference.speaks(hue)
    conference.pass_time(1.0)
    channel(hue).take()
    newcomer = conference.knock()
    assert [type(message) for message in channel(newcomer).take()[:2]] == [
        messages.Welcome,
        messages.Speakers,
    ]
    again = conference.enter()
    assert channel(again).of(messages.Speakers) == [messages.Speakers((hue.id,), hue.id)]
    # And nobody else is told what they know.
    conference.pass_time(1.0)
    assert channel(hue).of(messages.Speakers) == []


def test_who_resumes_is_told_who_speaks_now_be_it_nobody() -> None:
    conference = Conference()
    hue = conference.enter(microphone=True)
    viewer = conference.enter()
    conference.room.voices_changed((hue.id,))
    conference.speaks(hue)
    conference.pass_time(1.0)
    conference.lose_socket(viewer)
    conference.room.voices_changed(())
    conference.speaks(None)
    conference.pass_time(1.0)
    resume = messages.ResumeRequest(viewer.id, viewer.secret)
    assert conference.knock(claims=viewer.claims, resume=resume) is viewer
    welcome, speakers = channel(viewer).take()[:2]
    assert type(welcome) is messages.Welcome
    assert speakers == messages.Speakers((), None)


def test_a_slot_says_why_its_picture_stands_still_and_from_which_frame_on_it_is_whose() -> None:
    conference = Conference()
    chair, viewer = conference.enter(Role.CHAIR), conference.enter()
    conference.ask(chair, messages.ChooseStage(chair.id))
    conference.pass_time(0.5)
    channel(viewer).take()
    (slot,) = leg(viewer).slots(SlotRole.STAGE)
    slot.pause = PauseReason.LINE
    leg(viewer).observer.slots_changed()
    conference.pass_time(0.2)
    assert channel(viewer).of(messages.Slots) == [messages.Slots({}, None, {slot.mid: PauseReason.LINE})]
    # It is said once, and that it is over.
    channel(viewer).take()
    leg(viewer).observer.slots_changed()
    conference.pass_time(0.2)
    assert channel(viewer).of(messages.Slots) == []
    # Another picture in the same slot, paused for the same reason: without a word it would pass for live.
    third = conference.enter()
    slot.begins_at = 4_000_000_000
    conference.ask(chair, messages.ChooseStage(third.id))
    conference.pass_time(0.2)
    told = [message for message in channel(viewer).of(messages.Slots) if slot.mid in message.slots]
    assert told[-1].slots[slot.mid] == messages.Picture(third.id, Source.CAMERA)
    assert told[-1].paused == {slot.mid: PauseReason.LINE}
    assert told[-1].begins == {slot.mid: 4_000_000_000}
    channel(viewer).take()
    slot.pause = None
    leg(viewer).observer.slots_changed()
    conference.pass_time(0.2)
    assert channel(viewer).of(messages.Slots) == [messages.Slots({}, None, {slot.mid: None})]
