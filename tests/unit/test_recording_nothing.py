"""Tracks that carry nothing, next to nothing, or no picture to begin with: the case seals, and says so."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from capture import RecordedMeeting
from compositions import composed
from meeting import Client
from network import Network
from recorded import parts
from sealed import SETTINGS, read
from streams import VideoEncoding

from bridge.archive.film.compose import ComposeSettings
from bridge.archive.model import SessionFolder
from bridge.archive.package.build import SealedPackage, seal_package
from bridge.archive.package.verify import verify
from bridge.archive.plan.programme import plan_packages
from bridge.base.words import Source
from bridge.store.journal import EventKind

SMALL = ComposeSettings(height_px=180, slice_s=8, workers=1)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def meeting(network: Network, tmp_path: Path) -> Iterator[RecordedMeeting]:
    with closing(RecordedMeeting(network, tmp_path / "recordings")) as meeting:
        yield meeting


class Deaf(VideoEncoding):
    """Gives a key frame when it likes, and to nobody who asks."""

    def __init__(self, own: VideoEncoding, every_s: float, first_s: float) -> None:
        self.__dict__.update(own.__dict__)
        self._every_s, self._due = every_s, first_s

    def picture(self, captured: float, rate_hz: float) -> list[bytes]:
        self.wants_keyframe = captured >= self._due
        if self.wants_keyframe:
            self._due += self._every_s
        return super().picture(captured, rate_hz)


def joined(meeting: RecordedMeeting, name: str, **options: Any) -> Client:
    """Join with real media, as the room's record tells it."""
    client = meeting.film(name, voices=0, pictures=(), **options)
    about = {"site": name, "level": "district", "role": "expert", "name": name, "device": False}
    meeting.recorder.note(EventKind.PARTICIPANT_JOINED, {"participant": name, **about})
    return client


def start_case(meeting: RecordedMeeting) -> None:
    note = meeting.recorder.note
    note(EventKind.STAGE, {"participant": "hue", "mode": "chair"})
    note(EventKind.CASE_ADDED, {"case": "C01", "code": "BN-1", "site": "hue"})
    note(EventKind.CONSENT, {"case": "C01", "purpose": "care", "state": "granted", "by": "hue"})
    note(EventKind.CASE_STARTED, {"case": "C01", "by": "hue"})
    note(EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": "C01"})
    meeting.recorder.capture(True)


def sealed(meeting: RecordedMeeting, tmp_path: Path) -> SealedPackage:
    """End the session, and make the case's package."""
    meeting.recorder.capture(False)
    meeting.recorder.note(EventKind.CASE_FINISHED, {"case": "C01", "by": "hue"})
    meeting.recorder.note(EventKind.RECORDING_STATE, {"state": "waiting", "by": None, "case": None})
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    assert meeting.archivable != []
    session = SessionFolder(meeting.session.folder, meeting.session.events)
    (tmp_path / "packages").mkdir()
    (tmp_path / "work").mkdir()
    return seal_package(
        session,
        next(plan for plan in plan_packages(session.events) if plan.case == "C01"),
        composed(session, tmp_path / "work", settings=SMALL),
        tmp_path / "packages",
        settings=SETTINGS,
        previous_seal=None,
        now_ms=session.events[-1].at_ms,
        report=lambda progress: None,
    )


def gaps(package: Path) -> list[tuple[str, str, str]]:
    return [(gap["participant"], gap["source"], gap["reason"]) for gap in read(package, "gaps.json")]


def camera(client: Client) -> dict[str, VideoEncoding]:
    return client.encodings[Source.CAMERA]


def dumb(meeting: RecordedMeeting, client: Client) -> None:
    """Nothing is sent of what was negotiated."""
    client.voice, client.encodings = None, {}


def without_keyframes(meeting: RecordedMeeting, client: Client) -> None:
    """Its only key frame was sent before anything is recorded."""
    (rid,) = camera(client)
    now = meeting.network.now
    camera(client)[rid] = Deaf(camera(client)[rid], 1e6, now)


def one_packet(meeting: RecordedMeeting, client: Client) -> None:
    voice = client.voice
    assert voice is not None
    client.voice = None
    meeting.network.call_later(1.0 + 0.7, lambda: client.send_rtp(voice.frame(meeting.network.now)))


def short_look(meeting: RecordedMeeting, client: Client) -> None:
    """The camera is on for 0.3 s."""
    for encoding in camera(client).values():
        encoding.is_active = False
        meeting.network.call_later(2.0, setattr, encoding, "is_active", True)
        meeting.network.call_later(2.3, setattr, encoding, "is_active", False)


def leaves_early(meeting: RecordedMeeting, client: Client) -> None:
    """Gone before the first picture that could be shown."""
    without_keyframes(meeting, client)
    meeting.network.call_later(3.0, client.leave)


UNSEEN = ("hanoi", "camera", "keyframe")


@pytest.mark.parametrize(
    ("happens", "missing"),
    [
        (dumb, None),
        (without_keyframes, UNSEEN),
        (one_packet, None),
        (short_look, None),
        (leaves_early, UNSEEN),
    ],
)
def test_a_case_seals_whatever_a_track_does_not_carry(
    meeting: RecordedMeeting, tmp_path: Path, happens: Any, missing: tuple[str, str, str] | None
) -> None:
    joined(meeting, "hue", codec="h264")
    hanoi = joined(meeting, "hanoi", codec="vp8")
    happens(meeting, hanoi)
    meeting.run(1.0)
    start_case(meeting)
    meeting.run(5.0)
    package = sealed(meeting, tmp_path)
    assert verify(package.folder) == []
    # The film has what there is, for as long as the case was recorded.
    (part,) = parts(package.folder)
    assert part["frames"] == pytest.approx(125, abs=2)
    found = gaps(package.folder)
    assert [gap for gap in found if gap[0] == "hue"] == []
    assert [gap for gap in found if gap[2] == "keyframe"] == ([missing] if missing else [])


def test_a_case_that_was_recorded_for_a_moment_seals(meeting: RecordedMeeting, tmp_path: Path) -> None:
    joined(meeting, "hue")
    meeting.run(1.0)
    start_case(meeting)
    meeting.run(0.4)
    package = sealed(meeting, tmp_path)
    assert verify(package.folder) == []
    assert gaps(package.folder) == []


def test_the_record_says_from_when_on_there_is_a_picture(meeting: RecordedMeeting) -> None:
    """An encoder with a key frame every eight seconds that heeds no request."""
    hue = joined(meeting, "hue", codec="vp8")
    (rid,) = camera(hue)
    camera(hue)[rid] = Deaf(camera(hue)[rid], 8.0, meeting.network.now)
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "chair"})
    meeting.run(1.0)
    meeting.recorder.capture(True)
    meeting.run(10.0)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    track = meeting.session.track("hue")
    (stream,) = track.of("stream")
    (gap,) = track.of("gap")
    assert gap["reason"] == "keyframe"
    assert gap["to_pts_ms"] == 0
    assert stream["at_ms"] + gap["from_pts_ms"] == pytest.approx(1_800_000_001_000, abs=400)
    assert gap["from_pts_ms"] < -6_000
