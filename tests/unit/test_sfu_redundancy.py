"""Voices over lines that lose packets: what redundancy (RFC 2198) repairs, and for whom it is made."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from capture import RecordedMeeting
from meeting import Client, Meeting
from network import Network
from receivers import SlotReceiver
from streams import AUDIO_LEVEL_ID, OPUS, RED, Piece, talking

from bridge.base.words import SlotRole, Source
from bridge.rtp.red import RedundantAudio, RedundantBlock, build_red

MICROPHONE = (Source.MICROPHONE,)
# 1,500 packets.
SPOKEN_S = 30.0


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def bursts(network: Network, share: float, length: float, packets_per_s: float) -> Callable[[bytes], bool]:
    """Lose that share of all packets, in bursts: a Gilbert model of two states.

    A line that carries so many packets a second, most of them a picture's, is in either state for so many of
    them; what is asked about here are the voices between them.
    """
    chance, enter = random.Random(7), share / (1.0 - share) / length
    is_bad, at = False, network.now

    def is_lost(data: bytes) -> bool:
        nonlocal is_bad, at
        while at < network.now:
            at += 1.0 / packets_per_s
            is_bad = chance.random() >= 1.0 / length if is_bad else chance.random() < enter
        return is_bad

    return is_lost


def talk(client: Client) -> None:
    assert client.voice is not None
    client.voice.level = talking


def pair(
    meeting: Meeting, *, has_red: bool = True, sources: tuple[Source, ...] = MICROPHONE
) -> tuple[Client, Client]:
    # Feedback would draw from the same chance as the losses, and change which ones there are.
    speaker = meeting.join("speaker", sources=sources, has_red=has_red, tells_arrivals=False)
    listener = meeting.join("listener", sources=(), has_red=has_red, tells_arrivals=False)
    talk(speaker)
    if Source.CAMERA in sources:
        listener.show(speaker)
    meeting.run(1.0)
    return speaker, listener


def voice_of(listener: Client, speaker: Client) -> SlotReceiver:
    assert speaker.voice is not None
    found = [
        one
        for one in listener.receivers.values()
        if not one.is_video and any(heard.piece.ssrc == speaker.voice.ssrc for heard in one.heard.values())
    ]
    assert len(found) == 1
    return found[0]


def frames(receiver: SlotReceiver, *, within_s: float = 0.2) -> set[int]:
    """The frames of a voice that a receiver has, in time for a jitter buffer."""
    came = {
        one.piece.picture for one in receiver.heard.values() if one.arrival - one.piece.captured < within_s
    }
    for data, arrival in receiver.repeated.values():
        piece = Piece.of(data)
        if arrival - piece.captured < within_s:
            came.add(piece.picture)
    return came


def lacking(receiver: SlotReceiver, sent: range) -> float:
    """The share of frames that a receiver can make nothing of."""
    return 1.0 - len(frames(receiver).intersection(sent)) / len(sent)


def sent_in(meeting: Meeting, speaker: Client, seconds: float) -> range:
    """Let time pass; return the frames that were spoken in it and have had their time to arrive."""
    assert speaker.voice is not None
    before = speaker.voice.frames + 1
    meeting.run(seconds)
    after = speaker.voice.frames
    meeting.run(0.3)
    return range(before, after)


def distances(listener: Client) -> set[int]:
    return set(listener.leg.snapshot().voice_distances)


@pytest.mark.parametrize(("loss", "allowed"), [(0.1, 0.01), (0.2, 0.03)])
def test_random_losses_of_a_listeners_line_are_hardly_heard(
    meeting: Meeting, loss: float, allowed: float
) -> None:
    speaker, listener = pair(meeting)
    listener.down.loss = loss
    sent = sent_in(meeting, speaker, SPOKEN_S)
    receiver = voice_of(listener, speaker)
    assert len(receiver.holes) > 0.8 * loss * len(sent)
    assert lacking(receiver, sent) <= allowed
    assert distances(listener) == {2}
    assert listener.complaints() == []
    assert receiver.octets_max <= 1200


def test_bursts_on_a_listeners_line_are_hardly_heard(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    listener.down.drop_if = bursts(meeting.network, 0.2, 4.0, 170.0)
    sent = sent_in(meeting, speaker, 2 * SPOKEN_S)
    receiver = voice_of(listener, speaker)
    assert len(receiver.holes) > 0.15 * len(sent)
    assert lacking(receiver, sent) <= 0.05
    assert listener.complaints() == []


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_losses_on_the_way_up_are_repaired_for_all_and_told_as_they_were(
    meeting: Meeting, loss: float
) -> None:
    speaker, listener = pair(meeting)
    speaker.up.loss = loss
    sent = sent_in(meeting, speaker, SPOKEN_S)
    receiver = voice_of(listener, speaker)
    # A browser repeats one packet: two in a row are lost.
    assert lacking(receiver, sent) <= 1.5 * loss * loss
    assert meeting.counters.voices_recovered > 0.7 * loss * len(sent)
    assert loss / 2 < speaker.leg.snapshot().loss_up < 2 * loss
    # It was nothing of the listener's.
    assert distances(listener) == {0}
    assert receiver.redundant_blocks == 0
    assert listener.complaints() == []


def test_losses_on_both_ways_are_repaired_on_both(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    speaker.up.loss = listener.down.loss = 0.1
    sent = sent_in(meeting, speaker, SPOKEN_S)
    assert lacking(voice_of(listener, speaker), sent) <= 0.02
    assert listener.complaints() == []


def test_packets_that_overtake_each_other_are_forwarded_once(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    speaker.up.loss = listener.down.loss = 0.1
    speaker.up.jitter_s = listener.down.jitter_s = 0.06
    sent = sent_in(meeting, speaker, 30.0)
    receiver = voice_of(listener, speaker)
    assert lacking(receiver, sent) <= 0.03
    assert receiver.errors == []


def test_a_browser_that_sends_some_packets_as_they_are_is_heard(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    assert speaker.voice is not None
    speaker.voice.sends_plain = lambda frame: frame % 3 == 0
    sent = sent_in(meeting, speaker, 5.0)
    assert lacking(voice_of(listener, speaker), sent) == 0.0
    assert meeting.dropped() == {}


def test_nobody_is_sent_redundancy_who_did_not_offer_to_take_it(meeting: Meeting) -> None:
    """`Client` fails on a packet that it did not agree to."""
    speaker, listener = pair(meeting)
    other = meeting.join("other", sources=(), has_red=False)
    listener.down.loss = other.down.loss = 0.2
    sent = sent_in(meeting, speaker, 20.0)
    assert distances(listener) == {2}
    assert distances(other) == {0}
    assert voice_of(other, speaker).redundant_blocks == 0
    assert 0.15 < lacking(voice_of(other, speaker), sent) < 0.25


def test_a_listener_without_losses_is_sent_what_he_always_was(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    other = meeting.join("other", sources=(), has_red=True)
    listener.down.loss = 0.2
    meeting.run(10.0)
    receiver = voice_of(other, speaker)
    assert {one.payload_type for one in receiver.packets()} == {OPUS}
    assert {one.payload_type for one in voice_of(listener, speaker).packets()} == {OPUS, RED}
    assert receiver.holes == []


def test_the_distance_falls_again_when_the_line_is_good(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    listener.down.loss = 0.1
    meeting.run(5.0)
    assert distances(listener) == {2}
    listener.down.loss = 0.0
    meeting.run(40.0)
    assert distances(listener) == {0}
    receiver = voice_of(listener, speaker)
    receiver.redundant_blocks = 0
    sent = sent_in(meeting, speaker, 5.0)
    assert receiver.redundant_blocks == 0
    assert lacking(receiver, sent) == 0.0
    assert listener.complaints() == []


def test_a_line_that_is_full_is_given_no_redundancy(meeting: Meeting) -> None:
    """A voice of 50 packets of 130 bytes a second fits; with the ones before it no longer would."""
    speaker, listener = pair(meeting)
    meeting.run(2.0)
    listener.remb_bps = 70_000
    listener.down.rate_bps, listener.down.queue_bytes = 70_000, 2_500
    listener.down.drop_if = lambda data: meeting.network.random.random() < 0.02
    sent = sent_in(meeting, speaker, 40.0)
    assert 1.0 - len(frames(voice_of(listener, speaker), within_s=0.5).intersection(sent)) / len(sent) < 0.1
    assert distances(listener) == {0}


def test_pauses_are_kept_and_nothing_from_before_a_long_one_is_repeated(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    voice = speaker.voice
    assert voice is not None
    listener.down.loss = 0.2
    meeting.run(5.0)
    receiver = voice_of(listener, speaker)
    listener.down.loss = 0.0
    # A packet each 400 ms, as of an encoder that pauses (RFC 6716, 2.1.9).
    speaker.voice = None
    meeting.run(0.4)
    heard, blocks = len(receiver.heard), receiver.redundant_blocks
    for _ in range(5):
        speaker.send_rtp(voice.frame(meeting.network.now))
        meeting.run(0.4)
    assert len(receiver.heard) == heard + 5
    assert receiver.redundant_blocks == blocks
    assert listener.complaints() == []


def test_a_packet_that_no_redundancy_fits_goes_as_it_is(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    voice = speaker.voice
    assert voice is not None
    listener.down.loss = 0.2
    meeting.run(5.0)
    listener.down.loss = 0.0
    meeting.run(0.5)
    receiver = voice_of(listener, speaker)
    newest, speaker.voice, voice.distance = max(receiver.heard), None, None
    for size_bytes in (1199, 1200, 1275, 600, 600, 80):
        voice.frames += 1
        now = meeting.network.now
        piece = Piece(voice.ssrc, voice.frames, 0, 1, False, 0, -1, now).pack()
        sound = b"\x78" + bytes(size_bytes - 1 - len(piece)) + piece
        speaker.send_rtp(voice.packet(sound, now, {AUDIO_LEVEL_ID: b"\x99"}))
        meeting.run(0.02)
    meeting.run(0.2)
    packets = [one for one in receiver.packets() if one.number > newest]
    assert [one.payload_type for one in packets[-6:]] == [RED, OPUS, OPUS, RED, RED, RED]
    assert receiver.octets_max == 1275
    assert distances(listener) == {2}
    assert listener.complaints() == []


def test_a_new_voice_in_a_slot_brings_nothing_of_what_was_said_before(meeting: Meeting) -> None:
    """Redundancy begins when the slot has been sent all that it would be sent once more."""
    first = meeting.join("first", sources=MICROPHONE, has_red=True)
    second = meeting.join("second", sources=MICROPHONE, has_red=True)
    listener = meeting.join("listener", sources=(), voices=1, has_red=True)
    other = meeting.join("other", sources=(), voices=2, has_red=True)
    talk(first)
    meeting.run(1.0)
    listener.down.loss = other.down.loss = 0.2
    meeting.run(6.0)
    assert distances(listener) == {2}
    listener.down.loss = 0.0
    meeting.run(1.0)
    assert first.voice is not None
    assert second.voice is not None
    first.voice.level = lambda now: 127
    talk(second)
    meeting.network.run_until(lambda: listener.hears() == {"second"}, within_s=1.0)
    meeting.run(0.5)
    assert distances(listener) == {2}
    receiver = listener.receiver(SlotRole.VOICE)
    began = min(one.piece.picture for one in receiver.heard.values() if one.piece.ssrc == second.voice.ssrc)
    repeated = [Piece.of(data) for data, _ in receiver.repeated.values()]
    pieces = [piece.picture for piece in repeated if piece.ssrc == second.voice.ssrc]
    assert pieces
    assert min(pieces) >= began
    assert listener.complaints() == []


def test_what_was_said_while_muted_does_not_come_with_what_is_said_afterwards(meeting: Meeting) -> None:
    speaker, listener = pair(meeting)
    voice = speaker.voice
    assert voice is not None
    speaker.leg.set_muted(Source.MICROPHONE, True)
    meeting.run(1.0)
    speaker.up.loss = 1.0
    meeting.run(0.05)
    said = voice.frames
    speaker.leg.set_muted(Source.MICROPHONE, False)
    speaker.up.loss = 0.0
    meeting.run(0.5)
    receiver = voice_of(listener, speaker)
    assert not frames(receiver).intersection(range(said - 10, said + 1))
    assert voice.frames in {frame + 1 for frame in frames(receiver)} | {
        frame + 2 for frame in frames(receiver)
    }
    assert meeting.counters.voices_recovered == 0


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 40, id="headers-alone"),
        pytest.param(bytes((OPUS,)), id="no-primary"),
        pytest.param(b"\x00opus", id="another-codec"),
        pytest.param(build_red(RedundantAudio(OPUS, b"", [RedundantBlock(OPUS, 960, b"\x78")])), id="pause"),
    ],
)
def test_what_is_no_redundant_audio_goes_nowhere_and_tears_no_hole(meeting: Meeting, payload: bytes) -> None:
    speaker, listener = pair(meeting)
    voice = speaker.voice
    assert voice is not None
    for _ in range(50):
        speaker.send_rtp(
            voice.stream.next_packet(
                payload, meeting.network.now, marker=False, extensions={}, payload_type=RED
            )
        )
        meeting.run(0.02)
    assert sum(meeting.dropped().values()) == 50
    assert voice_of(listener, speaker).holes == []
    assert listener.complaints() == []


def test_redundancy_that_lies_harms_nobody(meeting: Meeting) -> None:
    """Numbers are taken once, whatever a publisher writes into its blocks, and no more than it may send."""
    speaker, listener = pair(meeting)
    voice, chance = speaker.voice, random.Random(3)
    assert voice is not None
    speaker.voice = None
    for number in range(400):
        blocks = [
            RedundantBlock(OPUS, chance.randrange(1 << 14), b"\x78" + bytes(59) + b"\0" * 26)
            for _ in range(chance.randrange(31))
        ]
        sound = voice.frame(meeting.network.now)[-90:]
        payload = build_red(RedundantAudio(OPUS, sound, blocks))
        voice.stream.sequence_number = (
            voice.stream.sequence_number + chance.choice((0, 0, 1, 9, 700)) & 0xFFFF
        )
        speaker.send_rtp(
            voice.stream.next_packet(
                payload, meeting.network.now, marker=False, extensions={}, payload_type=RED
            )
        )
        meeting.run(0.005 if number % 3 else 0.02)
    speaker.voice = voice
    receiver = voice_of(listener, speaker)
    assert [error for error in receiver.errors if "twice" in error] == []
    assert meeting.counters.rtp_forwarded <= 1000 + 400 * 5 * 2


def test_the_recorder_is_given_what_was_lost(tmp_path: Path) -> None:
    with Network() as network:
        meeting = RecordedMeeting(network, tmp_path)
        try:
            speaker = meeting.film("speaker", sources=MICROPHONE, has_red=True)
            meeting.run(1.0)
            meeting.recorder.capture(True)
            meeting.run(1.0)
            speaker.up.loss = 0.1
            assert speaker.voice is not None
            before = speaker.voice.frames
            meeting.run(30.0)
            sent = speaker.voice.frames - before
            speaker.up.loss = 0.0
            meeting.run(1.0)
            meeting.recorder.capture(False)
            meeting.run(1.0)
            track = meeting.session.track("speaker", Source.MICROPHONE)
            missing = sum(line["packets"] for line in track.of("gap"))
            # Two in a row are lost for one in a hundred.
            assert 0 < missing <= 0.018 * sent
            assert track.of("pause") == []
        finally:
            meeting.close()


def test_an_encoder_is_told_of_listeners_whom_only_it_can_help(meeting: Meeting) -> None:
    """Opus in its own packets (in-band FEC) helps who takes no redundant audio."""
    speaker = meeting.join("speaker", sources=MICROPHONE, has_red=True)
    protected = meeting.join("protected", sources=(), has_red=True)
    plain = meeting.join("plain", sources=(), has_red=False)
    talk(speaker)
    told: list[tuple[float, int]] = []
    receive = speaker._feedback

    def note(packet: object, now: float) -> None:
        for block in getattr(packet, "reports", ()):
            told.append((block.fraction_lost / 256, block.cumulative_lost))
        receive(packet, now)

    speaker._feedback = note  # type: ignore[method-assign]
    meeting.run(3.0)
    assert {share for share, _ in told} == {0.0}
    protected.down.loss = 0.2
    meeting.run(6.0)
    assert {share for share, _ in told} == {0.0}
    plain.down.loss = 0.2
    meeting.run(6.0)
    assert 0.1 < told[-1][0] < 0.3
    # What was lost in all stays true, and so does what others are told of the line.
    assert told[-1][1] == 0
    assert speaker.leg.snapshot().loss_up == 0.0
    plain.leave()
    meeting.run(2.0)
    assert told[-1][0] == 0.0
