"""A room that is recorded, in virtual time; the disk is a real one and is written when the test says so."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from media import RealEncoding, RealVoice
from meeting import Client, Meeting
from network import START_S, Network

from bridge.base.counters import RecordingCounters
from bridge.base.words import ConferenceKind, RecordProblem, Source
from bridge.capture.recorder import Recorder
from bridge.capture.repair import Interrupted, find_interrupted, repair_session
from bridge.config import RecordingConfig
from bridge.media.timeline import ServerClock
from bridge.recording import Recordings
from bridge.store.checked_lines import read_line
from bridge.store.journal import Event, read_journal

# Disks of machines that run tests may be fuller than those of hospitals.
ROOMY = RecordingConfig(warn_free_mb=3, shed_free_mb=2, stop_free_mb=1)
WRITE_S = 0.25
WALL_S = 1_800_000_000.0


def recover(folder: Path) -> list[Interrupted]:
    """Repair every session that has no end, the oldest first."""
    found = []
    for path in find_interrupted(folder):
        session = repair_session(path)
        if session is None:
            path.rmdir()
        else:
            found.append(session)
    return found


class Observer:
    """Keeps what a record tells its room."""

    def __init__(self) -> None:
        self.problems: list[RecordProblem | None] = []
        self.failures = 0

    def record_problem_changed(self, problem: RecordProblem | None) -> None:
        self.problems.append(problem)

    def record_failed(self) -> None:
        self.failures += 1


class RecordedMeeting(Meeting):
    """A node with one room and its record."""

    def __init__(self, network: Network, folder: Path, *, wall_s: float = WALL_S, **settings: Any) -> None:
        """`wall_s` is the wall clock when the network began; it goes on from one server to the next."""
        super().__init__(network)
        self.sfu.server_clock = ServerClock(wall_s + network.now - START_S, network.now)
        self.folder = folder
        self.recording_counters = RecordingCounters()
        self.archivable: list[Path] = []
        self.changed: list[Path] = []
        self.starved: list[float] = []
        self.observer = Observer()
        self.recordings = Recordings(
            replace(ROOMY, **settings),
            folder=folder,
            site_code="BV",
            sfu=self.sfu,
            counters=self.recording_counters,
            empty_close_s=60.0,
            on_archivable=self.archivable.append,
            on_changed=self.changed.append,
            on_starved=lambda: self.starved.append(network.now),
        )
        self.writer = self.recordings._writer
        self.has_thread = False
        network.every(WRITE_S, self.write)
        self.recorder: Recorder = self.open("r-1")

    def open(self, room: str) -> Recorder:
        return self.recordings.open(
            room, "Hội chẩn liên viện", ConferenceKind.CONSULTATION, self.router, self.observer
        )

    def close(self) -> None:
        """Let go of all files."""
        self.writer.stop()
        self.recordings._lock.release()

    def start_thread(self) -> None:
        """Write as a server does."""
        self.has_thread = True
        self.writer.start()

    def write(self) -> None:
        """What the writer's thread does, unless there is one."""
        if not self.has_thread:
            self.writer.work()
        self.recordings.poll(self.network.now)

    def film(self, name: str, *, codec: str = "vp8", **options: Any) -> Client:
        """Join somebody whose pictures and voice are real; pictures in the best encoding only."""
        rid = "h" if codec == "vp8" else ""
        client = self.join(name, codec=codec, **options)
        for source, encodings in client.encodings.items():
            ssrc = next(iter(encodings.values())).ssrc
            encodings.clear()
            encodings[rid] = RealEncoding(
                mid="1" if source is Source.CAMERA else "2",
                rid=rid,
                ssrc=ssrc,
                codec=codec,
                has_rtx=client.has_rtx,
                numbers=self.number(),
            )
            self.origins[ssrc] = name, source, rid
        if client.voice is not None:
            voice = client.voice
            client.voice = RealVoice(mid="0", ssrc=voice.ssrc, numbers=self.number())
            client.voice.distance = voice.distance
        return client

    @property
    def session(self) -> "Recorded":
        return Recorded(self.folder / self.recorder.session)


@dataclass(frozen=True, slots=True)
class RecordedTrack:
    """A track as it lies on the disk."""

    folder: Path
    lines: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["k"] == kind]

    @property
    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.mkv"))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session as it lies on the disk."""

    folder: Path

    def track(self, participant: str, source: Source = Source.CAMERA) -> RecordedTrack:
        (track,) = self.tracks(f"*-{participant}-{source.value}")
        return track

    def tracks(self, pattern: str = "*") -> list[RecordedTrack]:
        return [read_track(path) for path in sorted((self.folder / "tracks").glob(pattern))]

    @property
    def events(self) -> list[Event]:
        return read_journal(self.folder / "journal.jsonl")

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events]


def read_track(folder: Path) -> RecordedTrack:
    lines = [read_line(line) for line in (folder / "track.jsonl").read_bytes().splitlines(keepends=True)]
    assert None not in lines
    return RecordedTrack(folder, [line for line in lines if line is not None])
