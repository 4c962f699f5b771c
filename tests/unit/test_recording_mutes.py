"""Browsers stop the RTP clock of a closed microphone: what is said afterwards keeps its place in time."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import meeting as meetings
import pytest
from capture import RecordedMeeting
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from meeting import Client
from network import START_S, Network
from streams import AUDIO_HZ, Piece

from bridge.archive.model import SessionFolder
from bridge.archive.tracks.tracks import Track, read_tracks
from bridge.base.words import Source
from bridge.store.journal import EventKind

WALL_MS = 1_800_000_000_000
FIT_MS = 100.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def meeting(network: Network, tmp_path: Path) -> Iterator[RecordedMeeting]:
    with closing(RecordedMeeting(network, tmp_path)) as meeting:
        yield meeting


def mute(
    client: Client, seconds: float, *, is_told: bool = True, pauses: bool = True, goes_on: bool = False
) -> None:
    """Replace the track by nothing for a while, as Chromium does: numbers and RTP time stand still.

    `goes_on` lets it send reports meanwhile, which count on by the clock from before.
    """
    voice = client.voice
    assert voice is not None
    if is_told:
        client.leg.set_muted(Source.MICROPHONE, True)
    client.voice = None
    network = client.meeting.network
    ends = network.now + seconds
    while network.now < ends:
        client.meeting.run(min(ends - network.now, 1.0))
        if goes_on and network.now < ends:
            client.up.send(voice.stream.sender_report(client.ntp(network.now), network.now))
    if pauses:
        voice.stream.first_timestamp = voice.stream.first_timestamp - round(seconds * AUDIO_HZ) & 0xFFFFFFFF
    client.voice = voice
    if is_told:
        client.leg.set_muted(Source.MICROPHONE, False)


def hold(client: Client, seconds: float) -> None:
    """Send no picture for a while, only reports; the camera's RTP time stands still."""
    held = client.encodings.pop(Source.CAMERA)
    (encoding,) = held.values()
    network = client.meeting.network
    ends = network.now + seconds
    while network.now < ends:
        client.meeting.run(min(ends - network.now, 1.0))
        if network.now < ends:
            client.up.send(encoding.stream.sender_report(client.ntp(network.now), network.now))
    stood_ticks = round(seconds * encoding.stream.clock_rate_hz)
    encoding.stream.first_timestamp = encoding.stream.first_timestamp - stood_ticks & 0xFFFFFFFF
    client.encodings[Source.CAMERA] = held


def stall(client: Client, seconds: float) -> None:
    """Hold everything up on the way, and let it through at once."""
    link = client.up
    held: list[bytes] = []
    with patch.object(link, "send", held.append):
        client.meeting.run(seconds)
    for data in held:
        link.send(data)


def join(meeting: RecordedMeeting, name: str = "hue") -> Client:
    """Join somebody who has a microphone only, and hears nobody."""
    return meeting.join(name, sources=(Source.MICROPHONE,), voices=0, pictures=())


def read(meeting: RecordedMeeting, source: Source = Source.MICROPHONE) -> Track:
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    return next(
        track for track in read_tracks(SessionFolder(meeting.session.folder, ())) if track.source == source
    )


def said(track: Track) -> Iterator[tuple[float, float]]:
    """Yield when each recorded packet was sent, and by how many ms it is placed later than that."""
    for index, segment in enumerate(track.segments):
        with closing(track.open(index)) as file:
            for pts_ms, packet in file.packets():
                captured = Piece.of(bytes(packet)).captured
                true_ms = WALL_MS + (captured - START_S) * 1000
                yield captured, track.at_ms(segment.stream, pts_ms) - true_ms


def check(track: Track, *, packets_min: int, fit_ms: float = FIT_MS) -> None:
    found = list(said(track))
    assert len(found) >= packets_min
    worst = max(found, key=lambda one: abs(one[1]))
    assert abs(worst[1]) <= fit_ms, f"{worst[1]:.0f} ms off at {worst[0] - START_S:.2f} s"


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0, 6.0, 9.9, 10.1, 60.0])
def test_a_mute_moves_nothing_that_is_said_later(
    meeting: RecordedMeeting, seconds: float, is_told: bool
) -> None:
    hue = join(meeting)
    meeting.recorder.capture(True)
    meeting.run(8.0)
    mute(hue, seconds, is_told=is_told)
    meeting.run(8.0)
    check(read(meeting), packets_min=700)


@pytest.mark.parametrize("pauses", [True, False])
def test_many_mutes_do_not_add_up(meeting: RecordedMeeting, pauses: bool) -> None:
    hue = join(meeting)
    meeting.recorder.capture(True)
    for _ in range(4):
        meeting.run(20.0)
        mute(hue, 8.0, pauses=pauses)
    # Shorter than the time from one report to the next.
    for _ in range(8):
        meeting.run(0.7)
        mute(hue, 0.5, pauses=pauses)
    meeting.run(3.0)
    check(read(meeting), packets_min=4_000)


def test_a_mute_before_the_first_words_and_one_over_the_beginning(meeting: RecordedMeeting) -> None:
    hue, hanoi = join(meeting), join(meeting, "hanoi")
    meeting.run(3.0)
    hanoi.leg.set_muted(Source.MICROPHONE, True)
    voice, hanoi.voice = hanoi.voice, None
    meeting.run(2.0)
    meeting.recorder.capture(True)
    meeting.run(1.5)
    mute(hue, 4.0)
    # Its newest report is from before the mute.
    assert voice is not None
    voice.stream.first_timestamp = voice.stream.first_timestamp - round(7.5 * AUDIO_HZ) & 0xFFFFFFFF
    hanoi.voice = voice
    hanoi.leg.set_muted(Source.MICROPHONE, False)
    meeting.run(0.2)
    mute(hanoi, 2.0)
    meeting.run(0.3)
    mute(hanoi, 6.0)
    meeting.run(3.0)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    tracks = read_tracks(SessionFolder(meeting.session.folder, ()))
    assert [track.participant for track in tracks] == ["hue", "hanoi"]
    for track in tracks:
        check(track, packets_min=120)


@pytest.mark.parametrize(
    ("lengths", "report_s", "is_told"),
    [
        ((0.3, 5.0), 5.0, True),
        ((0.7, 3.5), 1.0, False),
        ((0.7, 1.1, 3.5), 1.7, True),
        ((3.5, 0.3, 9.0), 1.0, False),
        ((0.7, 9.4), 5.0, True),
    ],
)
def test_mutes_without_a_word_between_them_move_nothing(
    network: Network, tmp_path: Path, lengths: tuple[float, ...], report_s: float, is_told: bool
) -> None:
    """What is reported meanwhile is a time that no frame has, before or after."""
    with (
        patch.object(meetings, "REPORT_S", report_s),
        closing(RecordedMeeting(network, tmp_path)) as meeting,
    ):
        hue = join(meeting)
        meeting.recorder.capture(True)
        for speaks_s in (3.0, 1.0):
            meeting.run(speaks_s)
            for number, seconds in enumerate(lengths):
                mute(hue, seconds, is_told=is_told, goes_on=number > 0)
        meeting.run(3.0)
        check(read(meeting), packets_min=300)


@pytest.mark.parametrize("lengths", [(3.0,), (0.3, 5.0), (0.7, 9.4)])
def test_an_encoder_that_is_held_twice_without_a_picture_between_moves_nothing(
    meeting: RecordedMeeting, lengths: tuple[float, ...]
) -> None:
    hue = meeting.join("hue", codec="h264", sources=(Source.CAMERA,), voices=0, pictures=())
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue"})
    meeting.recorder.capture(True)
    for shows_s in (3.0, 1.0):
        meeting.run(shows_s)
        for seconds in lengths:
            hold(hue, seconds)
    meeting.run(6.0)
    check(read(meeting, Source.CAMERA), packets_min=200)


@pytest.mark.parametrize("seconds", [0.4, 2.0, 9.0])
def test_a_network_that_stands_still_moves_nothing(meeting: RecordedMeeting, seconds: float) -> None:
    hue = join(meeting)
    meeting.recorder.capture(True)
    for _ in range(3):
        meeting.run(3.0)
        stall(hue, seconds)
    hue.up.delay_s = 0.6
    meeting.run(4.0)
    check(read(meeting), packets_min=600)


@pytest.mark.parametrize("is_reported", [True, False])
def test_recordings_without_lines_of_pauses_are_right_but_for_one_interval_of_reports(
    meeting: RecordedMeeting, is_reported: bool
) -> None:
    hue = join(meeting)
    meeting.recorder.capture(True)
    for _ in range(3):
        meeting.run(8.0)
        mute(hue, 6.0, goes_on=is_reported)
    meeting.run(8.0)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    (folder,) = (meeting.session.folder / "tracks").iterdir()
    lines = (folder / "track.jsonl").read_text().splitlines()
    older = [line for line in lines if json.loads(line)["k"] not in ("arrival", "pause")]
    assert len(older) < len(lines)
    (folder / "track.jsonl").write_text("\n".join(older) + "\n")
    (track,) = read_tracks(SessionFolder(folder.parent.parent, ()))
    found = list(said(track))
    # One report a second: of three mutes, up to so many packets are on the wrong side.
    assert len([late for _, late in found if abs(late) > FIT_MS]) <= 3 * 50
    assert abs(found[-1][1]) <= FIT_MS


steps = st.one_of(
    st.tuples(st.just("speak"), st.floats(0.2, 8.0)),
    st.tuples(st.just("mute"), st.floats(0.2, 12.0)),
    st.tuples(st.just("stall"), st.floats(0.1, 2.0)),
)


@settings(
    # Each is half a minute of a meeting; always the same, so that a change is judged by what it changes.
    max_examples=6,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(steps, min_size=2, max_size=5),
    report_s=st.floats(1.0, 5.0),
    delay_s=st.sampled_from([0.02, 0.3, 0.6]),
    jitter_s=st.sampled_from([0.0, 0.05]),
    loss=st.sampled_from([0.0, 0.05]),
    is_told=st.booleans(),
    goes_on=st.booleans(),
    seed=st.integers(0, 99),
)
@example(
    # A report overtakes the first word after a mute.
    steps=[
        ("mute", 3.8754899758559644),
        ("mute", 3.678947614463363),
        ("speak", 0.5692239362393497),
        ("speak", 0.2),
        ("mute", 4.849621236803702),
        ("stall", 1.710631735254724),
        ("speak", 1.1),
        ("speak", 4.375333832776952),
    ],
    report_s=1.6283121872011996,
    delay_s=0.02,
    jitter_s=0.05,
    loss=0.0,
    is_told=False,
    goes_on=False,
    seed=85,
)
def test_whatever_the_network_does_a_mute_moves_nothing(
    steps: list[tuple[str, float]],
    report_s: float,
    delay_s: float,
    jitter_s: float,
    loss: float,
    is_told: bool,
    goes_on: bool,
    seed: int,
) -> None:
    with (
        Network(seed) as network,
        TemporaryDirectory() as folder,
        patch.object(meetings, "REPORT_S", report_s),
        closing(RecordedMeeting(network, Path(folder))) as meeting,
    ):
        hue = join(meeting)
        hue.up.delay_s = hue.down.delay_s = delay_s
        hue.up.jitter_s, hue.up.loss = jitter_s, loss
        meeting.run(2.0)
        meeting.recorder.capture(True)
        meeting.run(6.0)
        for kind, seconds in steps:
            match kind:
                case "speak":
                    meeting.run(seconds)
                case "mute":
                    # A word at least: reports of a mute that nothing was said before fit no frame.
                    meeting.run(0.1)
                    mute(hue, seconds, is_told=is_told, goes_on=goes_on)
                case "stall":
                    stall(hue, seconds)
        meeting.run(6.0)
        # Nobody measured the way of somebody who hears nobody: it stays in place.
        for captured, late_ms in said(read(meeting)):
            assert -FIT_MS <= late_ms - delay_s * 1000 <= FIT_MS, captured - START_S
