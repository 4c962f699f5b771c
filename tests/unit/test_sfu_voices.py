"""Who is heard by whom, and what a mute stops."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meeting import Client, Meeting
from network import Network
from streams import talking

from bridge.base.words import SlotRole, Source

MICROPHONE = (Source.MICROPHONE,)


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def speak(*clients: Client) -> None:
    for client in clients:
        assert client.voice is not None
        client.voice.level = talking


def constant(level: int) -> Callable[[float], int]:
    return lambda now: level


def always(is_voice: bool) -> Callable[[int], bool]:
    return lambda level: is_voice


def fall_silent(*clients: Client) -> None:
    for client in clients:
        assert client.voice is not None
        client.voice.level = lambda now: 127


def test_the_three_loudest_are_heard_and_nobody_hears_himself(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(7)]
    listener = meeting.join("listener", sources=())
    meeting.run(0.5)
    speakers = clients[3:7]
    speak(*speakers)
    meeting.run(1.5)
    assert set(meeting.voices) == {"p3", "p4", "p5", "p6"}
    for client in speakers:
        assert client.hears() == {"p3", "p4", "p5", "p6"} - {client.name}
    assert len(listener.hears()) == 3
    assert listener.hears() < {"p3", "p4", "p5", "p6"}
    for client in clients:
        assert client.name not in client.hears()
        assert client.complaints() == []


def test_a_first_syllable_takes_a_free_seat_at_once(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(10)]
    listener = meeting.join("listener", sources=())
    meeting.run(1.0)
    begun = meeting.network.now
    speak(clients[9])
    took_s = meeting.network.run_until(lambda: "p9" in listener.hears(), within_s=0.5)
    assert took_s < 0.12, meeting.network.now - begun


def test_seats_are_sticky(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(3)]
    listener = meeting.join("listener", sources=())
    speak(*clients)
    meeting.run(1.0)
    seats = listener.leg.voice_assignment()
    assert set(seats.values()) == {"p0", "p1", "p2"}
    changes = listener.slots_changes
    fall_silent(clients[1])
    meeting.run(1.0)
    speak(clients[1])
    fall_silent(clients[0], clients[2])
    meeting.run(3.0)
    assert listener.leg.voice_assignment() == seats
    assert listener.slots_changes == changes


def test_the_voice_of_the_stage_sits_in_the_first_slot(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}") for number in range(3)]
    listener = meeting.join("listener", sources=())
    speak(*clients)
    meeting.run(1.0)
    first = listener.slot(SlotRole.VOICE).mid
    for client in (clients[2], clients[0], clients[1], clients[2]):
        listener.show(client)
        meeting.run(0.5)
        assert listener.leg.voice_assignment()[first] == client.name
        assert set(listener.leg.voice_assignment().values()) == {"p0", "p1", "p2"}
    assert listener.complaints() == []


def test_a_muted_microphone_is_not_forwarded(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(2)]
    listener = meeting.join("listener", sources=())
    speak(*clients)
    meeting.run(1.0)
    assert listener.hears() == {"p0", "p1"}
    clients[0].leg.set_muted(Source.MICROPHONE, True)
    meeting.run(0.05)
    heard = [one for one in listener.receivers.values() if not one.is_video]
    voices_before = sum(len(one.heard) for one in heard)
    meeting.run(0.5)
    assert listener.hears() == {"p1"}
    assert sum(len(one.heard) for one in heard) - voices_before <= 0.5 / 0.02 + 1
    assert "p0" not in meeting.voices
    clients[0].leg.set_muted(Source.MICROPHONE, False)
    meeting.network.run_until(lambda: listener.hears() == {"p0", "p1"}, within_s=0.3)
    assert listener.complaints() == []


def test_a_mute_stops_a_voice_whose_slot_was_given_away_already(meeting: Meeting) -> None:
    speaker, other = (meeting.join(name, sources=MICROPHONE) for name in ("speaker", "other"))
    player = meeting.join("player", sources=(), voices=1)
    speak(speaker)
    meeting.run(1.0)
    assert player.hears() == {"speaker"}
    # The other's line is cut: its microphone is open, and no packet comes that could take over the slot.
    other.up.loss = 1.0
    speaker.leg.set_muted(Source.MICROPHONE, True)
    for _ in range(10):
        meeting.run(0.02)
        assert all(len(one.fan) == 0 for one in speaker.publication(Source.MICROPHONE).encodings.values())
    assert player.slot(SlotRole.VOICE).shown is other.publication(Source.MICROPHONE)
    assert player.hears() == set()


def test_a_mute_stops_a_picture_that_is_only_held(meeting: Meeting) -> None:
    theatre, other = meeting.join("theatre"), meeting.join("other")
    viewer = meeting.join("viewer", sources=())
    viewer.show(theatre)
    meeting.run(1.0)
    other.up.loss = 1.0
    viewer.show(other)
    meeting.run(0.05)
    theatre.leg.set_muted(Source.CAMERA, True)
    meeting.run(0.05)
    heard = len(viewer.receiver().heard)
    meeting.run(0.5)
    assert len(viewer.receiver().heard) == heard
    theatre.leg.set_muted(Source.CAMERA, False)
    viewer.show(theatre)
    meeting.network.run_until(lambda: len(viewer.receiver().heard) > heard, within_s=0.5)
    assert viewer.complaints() == []


def test_a_muted_camera_is_not_forwarded(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    hue.leg.set_muted(Source.CAMERA, True)
    meeting.run(0.05)
    heard = len(viewer.receiver().heard)
    meeting.run(1.0)
    assert len(viewer.receiver().heard) == heard
    hue.leg.set_muted(Source.CAMERA, False)
    meeting.network.run_until(lambda: len(viewer.receiver().heard) > heard, within_s=0.3)
    meeting.run(0.3)
    assert viewer.complaints() == []
    assert viewer.receiver().holes == []


def test_listeners_are_told_when_a_speaker_leaves(meeting: Meeting) -> None:
    speaker = meeting.join("speaker", sources=MICROPHONE)
    listener = meeting.join("listener", sources=())
    speak(speaker)
    meeting.run(1.0)
    assert "speaker" in listener.leg.voice_assignment().values()
    changes = listener.slots_changes
    speaker.leave()
    meeting.run(0.2)
    assert set(listener.leg.voice_assignment().values()) == {None}
    assert listener.slots_changes == changes + 1


def test_the_dominant_speaker_is_whoever_talks(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(3)]
    speak(clients[1])
    meeting.run(3.0)
    assert meeting.dominants[-1] == "p1"
    fall_silent(clients[1])
    speak(clients[2])
    meeting.run(3.0)
    assert meeting.dominants[-1] == "p2"


def test_a_page_with_one_voice_slot_hears_one_of_the_others(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(3)]
    small = meeting.join("small", sources=MICROPHONE, voices=1)
    deaf = meeting.join("deaf", sources=(), voices=0)
    speak(*clients, small)
    meeting.run(1.0)
    assert len(small.hears()) == 1
    assert "small" not in small.hears()
    assert deaf.hears() == set()


@pytest.mark.parametrize("count", [4, 5, 6])
def test_whoever_speaks_alone_is_heard_by_everybody_else(meeting: Meeting, count: int) -> None:
    clients = [
        meeting.join(f"p{number}", sources=MICROPHONE, voices=1 + number % 3) for number in range(count)
    ]
    listeners = [meeting.join(f"listener{slots}", sources=(), voices=slots) for slots in (1, 2, 3)]
    meeting.run(0.5)
    for speaker in reversed(clients):
        speak(speaker)
        for one in (*clients, *listeners):
            if one is not speaker:
                meeting.network.run_until(lambda: speaker.name in one.hears(), within_s=0.3)  # noqa: B023
        meeting.run(0.3)
        assert all(speaker.name in one.hears() for one in (*clients, *listeners) if one is not speaker)
        fall_silent(speaker)
        meeting.run(0.3)
    for one in (*clients, *listeners):
        assert one.complaints() == []


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
def test_what_a_sender_says_of_voice_neither_gives_nor_takes_the_word(
    meeting: Meeting, before: bool, after: bool
) -> None:
    """Browsers set the V bit in silence, too, and other encoders never do (RFC 6464, 3)."""
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(5)]
    player = meeting.join("player", sources=(), voices=1)
    for number, client in enumerate(clients):
        assert client.voice is not None
        client.voice.is_voice = always(before if number < 4 else after)
    for one in (clients[4], clients[0]):
        speak(one)
        meeting.network.run_until(lambda: one.name in player.hears(), within_s=0.3)  # noqa: B023
        meeting.run(3.0)
        assert meeting.dominants[-1] == one.name
        fall_silent(one)
        meeting.run(0.3)


def test_a_voice_is_never_in_two_slots_of_a_page(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}") for number in range(2)]
    listener = meeting.join("listener", sources=())
    speak(*clients)
    meeting.run(1.0)
    # The voice that is to leave the first slot sends nothing, so the other's cannot go where it was.
    clients[0].up.loss = 1.0
    for client in (*clients, clients[0]):
        listener.show(client)
        for _ in range(20):
            meeting.run(0.02)
            fed = [slot.current for slot in listener.leg.slots(SlotRole.VOICE) if slot.current is not None]
            owners = [encoding.publication.leg_id for encoding in fed]
            assert len(owners) == len(set(owners))
            assert all(
                slot.current is None or slot.current.publication is slot.shown
                for slot in listener.leg.slots(SlotRole.VOICE)
            )


def test_only_those_are_given_other_voices_whose_own_are_others(meeting: Meeting) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(3)]
    wide, narrow = (meeting.join(f"l{slots}", sources=(), voices=slots) for slots in (3, 1))
    speak(clients[0])
    meeting.run(1.0)
    changes = wide.slots_changes, narrow.slots_changes
    fall_silent(clients[0])
    speak(clients[1])
    meeting.run(1.0)
    assert wide.slots_changes == changes[0]
    assert narrow.slots_changes == changes[1] + 1


def test_a_thousand_listeners_are_not_walked_through_for_one_packet(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [meeting.join(f"p{number}", sources=MICROPHONE) for number in range(5)]
    for number in range(20):
        meeting.join(f"l{number}", sources=())
    speak(*clients[:4])
    meeting.run(1.0)
    monkeypatch.setattr("bridge.sfu.SEATED_AT_ONCE", 4)
    seated: list[str] = []
    seat_voices = meeting.router.seat_voices
    monkeypatch.setattr(meeting.router, "seat_voices", lambda leg: (seated.append(leg.id), seat_voices(leg)))
    fall_silent(*clients[:4])
    meeting.router.note_level("p4", 20, meeting.network.now + 1.0)
    meeting.router.note_level("p4", 20, meeting.network.now + 1.0)
    assert seated == []
    turns = []
    while meeting.router._unseated:
        before = len(seated)
        meeting.router._flush_slice()
        turns.append(len(seated) - before)
    assert turns == [4, 4, 4, 4, 4, 4, 1]
    assert len(seated) == len(set(seated)) == 25


@pytest.mark.parametrize("devices", [1, 4])
def test_devices_without_levels_hide_nobody_and_do_not_hold_the_stage(meeting: Meeting, devices: int) -> None:
    for number in range(devices):
        device = meeting.join(f"device{number}", sources=MICROPHONE, voices=0)
        assert device.voice is not None
        device.voice.tells_levels = False
    doctor = meeting.join("doctor", sources=MICROPHONE)
    listener, player = (meeting.join(f"l{slots}", sources=(), voices=slots) for slots in (3, 1))
    meeting.run(2.0)
    assert meeting.dominants[-1] == "device0"
    assert player.hears() == {"device0"}
    speak(doctor)
    meeting.run(0.3)
    assert "doctor" in listener.hears()
    assert player.hears() == {"doctor"}
    meeting.run(2.0)
    assert meeting.dominants[-1] == "doctor"


# One packet's way to the bridge, and the packet and tick after that.
LEEWAY_S = 0.06
turn = st.tuples(st.frozensets(st.integers(0, 5)), st.floats(0.04, 0.8), st.integers(0, 66))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    count=st.integers(1, 6),
    turns=st.lists(turn, min_size=1, max_size=8),
    muted=st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 4.0)), max_size=2),
    seed=st.integers(0, 1000),
)
def test_whoever_alone_is_above_silence_is_in_a_slot_of_every_leg_but_the_own(
    count: int, turns: list[tuple[frozenset[int], float, int]], muted: list[tuple[int, float]], seed: int
) -> None:
    with Network(seed) as network:
        meeting = Meeting(network)
        clients = [
            meeting.join(f"p{number}", sources=MICROPHONE, voices=1 + number % 3) for number in range(count)
        ]
        for slots in (1, 2, 3):
            meeting.join(f"l{slots}", sources=(), voices=slots)
        meeting.run(0.3)
        begin, changed = network.now, network.now
        for number, at in muted:
            if number < count:
                microphone = clients[number].leg
                network.call_at(begin + at, microphone.set_muted, Source.MICROPHONE, True)
        for speakers, lasts_s, level in turns:
            changed = network.now
            for number, client in enumerate(clients):
                assert client.voice is not None
                client.voice.level = (
                    (lambda now, level=level: level) if number in speakers else lambda now: 127
                )
            while network.now < changed + lasts_s:
                meeting.run(0.02)
                check_voices(meeting)
                speaking = [number for number in speakers if number < count]
                since = max((changed, *(begin + at for number, at in muted if number in speaking)))
                speaking = [n for n in speaking if not clients[n].publication(Source.MICROPHONE).is_muted]
                if len(speaking) == 1 and network.now - since >= 0.3 + LEEWAY_S:
                    (alone,) = speaking
                    for client in meeting.clients.values():
                        heard = set(client.leg.voice_assignment().values())
                        assert client is clients[alone] or f"p{alone}" in heard
        assert [complaint for client in meeting.clients.values() for complaint in client.complaints()] == []


def check_voices(meeting: Meeting) -> None:
    for leg in meeting.router.legs.values():
        fed = [slot for slot in leg.slots(SlotRole.VOICE) if slot.current is not None]
        for slot in fed:
            assert slot.current is not None
            assert slot.current.publication is slot.shown
            assert slot.current.publication.leg_id != leg.id
            assert not slot.current.publication.is_muted
        assert len(fed) == len({id(slot.shown) for slot in fed})


def test_more_sound_than_there_can_be_goes_to_nobody(meeting: Meeting) -> None:
    flooding = meeting.join("flooding", sources=MICROPHONE)
    speaking = meeting.join("speaking", sources=MICROPHONE)
    listener = meeting.join("listener", sources=())
    meeting.run(0.5)
    speak(flooding, speaking)
    assert flooding.voice is not None

    def heard() -> int:
        return sum(len(one.heard) for one in listener.receivers.values())

    before = heard()
    for _ in range(200):
        for _ in range(30):
            flooding.send_rtp(flooding.voice.frame(meeting.network.now))
        meeting.run(0.01)
    # Two seconds: 400 a second and 750 at once of the one, and the 100 of the other.
    assert 1000 < heard() - before < 1900
    assert {"flooding", "speaking"} <= listener.hears()
    meeting.run(1.0)
    assert {"flooding", "speaking"} <= listener.hears()
