"""Segments that kill, hang or overload the decoder: each is a gap that says why, and all else is kept."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from compositions import is_colour, level, pictures, sound
from recordings import CO_TO, VIET_DUC, Recording, plain_recording

from bridge.archive.film.compose import ComposeSettings, compose
from bridge.archive.film.crew import ConfinedCrew
from bridge.archive.model import Composition, SessionFolder
from bridge.archive.plan.programme import plan_packages
from bridge.archive.tracks.ledger import left_out
from bridge.base.errors import ArchiveFailed

pytestmark = pytest.mark.timeout(600)

SOURCE = Path(__file__).parents[1] / "harm.c"
KILL, HANG, SLEEP = b"<kills>", b"<hangs>", b"<sleeps>"
SECONDS, SEGMENT_S = 8.0, 2.0
# So that a hang ends within a test; a process takes less before its first packet, also on a slow machine.
PACKET_S = 5
ASLEEP_S = 3.0


def compiled(folder: Path, kill: bytes, hang: bytes, sleep: bytes) -> Path:
    library = folder / "harm.so"
    texts = {"KILL_BYTES": kill, "HANG_BYTES": hang, "SLEEP_BYTES": sleep}
    marks = [
        f'-D{name}="{"".join(f"{chr(92)}x{byte:02x}" for byte in text)}"' for name, text in texts.items()
    ]
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", *marks, "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.fixture
def harmful_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", str(compiled(tmp_path, KILL, HANG, SLEEP)))


def colour_at(seconds: float) -> tuple[int, int, int]:
    return 200 - 20 * int(seconds), 20 * int(seconds), 80


def recorded(folder: Path) -> Recording:
    """A case of two sites, each on stage for a while, with the voice of one."""
    recording = plain_recording(folder)
    recording.join(0.2, CO_TO)
    recording.stage(0.5, VIET_DUC)
    recording.start_case(0.5, "C01")
    for site in (VIET_DUC, CO_TO):
        recording.camera(site, 0.5, 0.5 + SECONDS, picture=colour_at, fps=10, segment_s=SEGMENT_S)
    recording.microphone(VIET_DUC, 0.5, 0.5 + SECONDS, segment_s=SEGMENT_S)
    recording.finish_case(0.5 + SECONDS, "C01")
    return recording


def segment(session: SessionFolder, track: str, number: int) -> Path:
    (folder,) = (path for path in session.tracks.iterdir() if path.name.startswith(track))
    return folder / f"{number:05}.mkv"


def mark(path: Path, text: bytes) -> None:
    """Put a text into a packet, as a sender could."""
    with av.open(str(path)) as container:
        chosen = max((bytes(one) for one in container.demux(container.streams[0])), key=len)
    data = path.read_bytes()
    assert len(chosen) > len(text)
    place = data.index(chosen)
    path.write_bytes(data[:place] + chosen[: -len(text)] + text + data[place + len(chosen) :])


def composed_confined(session: SessionFolder, folder: Path, settings: ComposeSettings) -> Composition:
    (plan,) = plan_packages(session.events)
    return compose(session, plan, folder, settings=settings, report=lambda _: None, crew=ConfinedCrew())


def gaps(made: Composition) -> list[tuple[str, str, int, int]]:
    """What is missing, in whole seconds of the recording."""
    start_ms = made.video[0].start_ms
    return [
        (
            gap.track[:4],
            gap.reason,
            round((gap.start_ms - start_ms) / 1000),
            round((gap.end_ms - start_ms) / 1000),
        )
        for gap in made.gaps
    ]


def bomb(path: Path, first_ms: int, seconds: int) -> None:
    """A thousand pictures a second of the largest size, a few bytes each."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 4096, 2304, "yuv420p"
    encoder.time_base = Fraction(1, 1000)
    encoder.options = {"deadline": "realtime", "cpu-used": "16", "lag-in-frames": "0"}
    grey = av.VideoFrame.from_ndarray(np.full((2304 * 3 // 2, 4096), 128, np.uint8), "yuv420p")
    made = []
    for number in range(3):
        grey.pts, grey.time_base = number, encoder.time_base
        made += [bytes(packet) for packet in encoder.encode(grey)]
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height = 4096, 2304
        for number in range(seconds * 1000):
            packet = av.Packet(made[min(number, 2)])
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = first_ms + number
            packet.is_keyframe = number == 0
            container.mux(packet)


@pytest.mark.usefixtures("harmful_decoder")
def test_a_decoder_that_hangs_without_a_processor_is_ended_and_its_segment_left_out(tmp_path: Path) -> None:
    session = recorded(tmp_path / "recordings").write()
    mark(segment(session, "t001", 2), SLEEP)
    (plan,) = plan_packages(session.events)
    settings, crew = ComposeSettings(slice_s=8, workers=1), ConfinedCrew(asleep_max_s=ASLEEP_S)

    def make() -> Composition:
        return compose(session, plan, tmp_path / "work", settings=settings, report=lambda _: None, crew=crew)

    # A disk that hangs looks the same, so it must be found twice.
    with pytest.raises(ArchiveFailed, match="hangs"):
        make()
    made = make()
    assert gaps(made) == [("t001", "undecodable", 2, 4)]
    assert len(pictures(made)) == SECONDS * 25


@pytest.mark.usefixtures("harmful_decoder")
def test_segments_that_kill_or_hang_the_decoder_are_gaps_and_nothing_else_is_lost(tmp_path: Path) -> None:
    session = recorded(tmp_path / "recordings").write()
    mark(segment(session, "t001", 2), KILL)
    mark(segment(session, "t001", 4), HANG)
    mark(segment(session, "t002", 3), KILL)
    mark(segment(session, "t003", 3), KILL)
    made = composed_confined(
        session, tmp_path / "work", ComposeSettings(slice_s=8, workers=1, packet_s=PACKET_S)
    )
    assert sorted(gaps(made)) == [
        ("t001", "undecodable", 2, 4),
        ("t001", "undecodable", 6, 8),
        ("t002", "undecodable", 4, 6),
        ("t003", "undecodable", 4, 6),
    ]
    shown, heard = pictures(made), sound(made)
    assert len(shown) == SECONDS * 25
    for second in (1, 5):
        assert is_colour(shown[second * 25], colour_at(second + 0.5)), second
    for second, is_heard in ((1, True), (3, True), (5, False), (7, True)):
        loud = level(heard[second * 48_000 - 24_000 : second * 48_000 + 24_000], VIET_DUC.tone_hz) > 0.2
        assert loud is is_heard, second


def test_a_bomb_of_pictures_costs_no_more_than_its_length_allows(tmp_path: Path) -> None:
    session = recorded(tmp_path / "recordings").write()
    bomb(segment(session, "t001", 2), first_ms=2000, seconds=1)
    settings = ComposeSettings(slice_s=8, workers=1, decoding_s=4.0, decoding_s_per_s=0.0)
    made = composed_confined(session, tmp_path / "work", settings)
    assert gaps(made) == [("t001", "undecodable", 2, 4)]
    (left,) = left_out(tmp_path / "work" / "ledgers")
    assert left.endswith("/00002.mkv")
    assert is_colour(pictures(made)[5 * 25], colour_at(5.5))


def test_broken_decoders_are_told_and_nothing_is_left_out_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever begins with a key frame of VP8 ends them: what was sent, and what we make ourselves."""
    library = compiled(tmp_path, b"\x9d\x01\x2a", HANG, SLEEP)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    session = recorded(tmp_path / "recordings").write()
    with pytest.raises(ArchiveFailed, match="the decoders do not work") as failed:
        composed_confined(session, tmp_path / "work", ComposeSettings(slice_s=8, workers=1))
    assert failed.value.code == "decoder-broken"
    assert left_out(tmp_path / "work" / "ledgers") == frozenset()
