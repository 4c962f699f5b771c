"""Composes a package's video from what was recorded: `compose`, the one entry of this step.

It runs in a process of its own, at the lowest priority and with bounded memory whatever the length; what
opens media runs in others, confined by the kernel (`crew`). Whatever is finished in its folder is used again,
so it can be killed at any moment and started anew.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from bridge.archive.film.composition import from_value, is_whole, to_value
from bridge.archive.film.contact_sheet import thumbnail_every
from bridge.archive.film.crew import Crew, SegmentLeftOut
from bridge.archive.film.encode import encodable_size, encoder_versions
from bridge.archive.film.filming import Film
from bridge.archive.film.joining import SETUP_DIFFERS
from bridge.archive.film.orders import Count, Extend, Finish, Order, Shoot, Try
from bridge.archive.film.slices import SliceName
from bridge.archive.model import Composition, PackagePlan, Progress, Report, SessionFolder, Span, Stage
from bridge.archive.plan.programme import open_ends, showings
from bridge.archive.plan.reel import FRAME_RATE, GRID_FRAMES, make_reel
from bridge.archive.tracks.ledger import DECODING_S, DECODING_S_PER_S, PACKET_S, Desk, forgive, judge_all
from bridge.archive.tracks.tracks import Track, of_case, read_tracks
from bridge.base.errors import ArchiveFailed
from bridge.config import ArchiveConfig

logger = logging.getLogger(__name__)

# Changed whenever slices of an older version cannot be joined with new ones.
FORMAT: Final = 3
# What joining and the rest take of the whole.
JOINING_SHARE: Final = 0.03
# A content on show for less than this is a slip of the hand.
SHOWING_MIN_MS: Final = 400


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    """How a package's video is made."""

    height_px: int = 720
    part_max_bytes: int = 512 << 20
    # Processes that encode.
    workers: int = 2
    # A multiple of eight seconds (`reel`).
    slice_s: int = 32
    # What decoding a segment may take of a processor, for each second of it, and a single packet (`Desk`).
    decoding_s: float = DECODING_S
    decoding_s_per_s: float = DECODING_S_PER_S
    packet_s: int = PACKET_S

    @classmethod
    def of(cls, config: ArchiveConfig) -> Self:
        """Return what the configuration says."""
        return cls(height_px=int(config.video_height_px), part_max_bytes=config.part_max_mb << 20)

    def desk(self, folder: Path, number: int = 0) -> Desk:
        """Return where a process keeps its ledger."""
        return Desk(folder, number, self.decoding_s, self.decoding_s_per_s, self.packet_s)


def compose(
    session: SessionFolder,
    plan: PackagePlan,
    folder: Path,
    *,
    settings: ComposeSettings,
    report: Report,
    crew: Crew,
) -> Composition:
    """Make all of a package's media in `folder`; raises ArchiveFailed, and OSError for the disk.

    Here no media is opened: that is for the crew.
    """
    ledgers = folder / "ledgers"
    ledgers.mkdir(parents=True, exist_ok=True)
    # Of an attempt that was ended with all its processes.
    judge_all(ledgers)
    tracks = of_case(read_tracks(session), plan.case)
    if any(span.end_ms in open_ends(session.events) for span in plan.spans):
        plan = _extended(session, plan, settings.desk(ledgers), crew, report)
    fingerprint = _fingerprint(session, plan, tracks, settings)
    finished = _read_finished(folder, fingerprint)
    if finished is None:
        try:
            finished = _Composer(session, plan, tracks, folder, settings, report, crew, fingerprint).run()
        except ArchiveFailed as error:
            if error.code == SETUP_DIFFERS:
                # Or each further attempt would fail as this one.
                shutil.rmtree(folder / "slices", ignore_errors=True)
            raise
        _write_finished(folder, fingerprint, finished)
        shutil.rmtree(folder / "slices", ignore_errors=True)
    report(Progress(Stage.COMPOSE, 1.0, 0.0))
    return finished


class _Composer:
    """One composition, from slices to files."""

    def __init__(
        self,
        session: SessionFolder,
        plan: PackagePlan,
        tracks: Sequence[Track],
        folder: Path,
        settings: ComposeSettings,
        report: Report,
        crew: Crew,
        fingerprint: str,
    ) -> None:
        self._session, self._plan, self._tracks = session, plan, tracks
        self._folder, self._settings, self._report, self._crew = folder, settings, report, crew
        self._slices, self._ledgers = folder / "slices", folder / "ledgers"
        self._slice_frames = max(settings.slice_s * FRAME_RATE // GRID_FRAMES, 1) * GRID_FRAMES
        self._reel = make_reel(plan.spans, session.events)
        self._films = tuple(self._plan_films())
        self._frames = sum(film.reel.frames for film in self._films)
        self._done = self._done_before = self._joined = 0
        self._started = self._started_joining = time.monotonic()
        _prepare(self._slices, fingerprint)

    def run(self) -> Composition:
        """Make what is missing, and join it."""
        _carried_out(self._crew, self._ledgers, self._missing_slices, self._count)
        self._started_joining = time.monotonic()
        (value,) = _carried_out(self._crew, self._ledgers, lambda: [self._finish()], self._count_joined)
        try:
            return from_value(self._folder, value)
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveFailed("compose-crashed", f"what was made is no composition: {error}") from error

    def _finish(self) -> Finish:
        self._joined = 0
        for name in ("video", "content"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir()
        return Finish(
            self._session,
            self._plan,
            self._films,
            self._folder,
            self._slices,
            self._slice_frames,
            self._settings.part_max_bytes,
            self._settings.desk(self._ledgers),
        )

    def _plan_films(self) -> list[Film]:
        if not self._reel.frames:
            return []
        height = self._settings.height_px
        every = thumbnail_every(self._reel.frames)
        films = [Film("video", self._reel, height * 16 // 9, height, thumbnail_every=every)]
        for showing in showings(self._session.events, self._plan.spans):
            span = Span(showing.start_ms, showing.end_ms)
            size = _largest(self._tracks, showing.participant, showing.source, span)
            if size is None or showing.end_ms - showing.start_ms < SHOWING_MIN_MS:
                continue
            reel = make_reel([span], self._session.events)
            films.append(Film(f"content-{len(films):03d}", reel, *encodable_size(*size), showing=showing))
        return films

    def _missing_slices(self) -> list[Shoot]:
        """Return what makes all slices that are not there yet, for each process its share."""
        self._done_before = 0
        missing: list[tuple[int, int]] = []
        for number, film in enumerate(self._films):
            for index in range(film.slices(self._slice_frames)):
                frames = min(self._slice_frames, film.reel.frames - index * self._slice_frames)
                if SliceName(film.name, index).path(self._slices).exists():
                    self._done_before += frames
                else:
                    missing.append((number, index))
        self._done = self._done_before
        self._count(0)
        # A process for less than a slice would take longer to start than to work.
        enough = -(-(self._frames - self._done) // self._slice_frames)
        workers = min(self._settings.workers, len(missing), enough)
        # In the order of time, so that each process goes on where its own last slice ended.
        shares = [
            missing[len(missing) * n // workers : len(missing) * (n + 1) // workers] for n in range(workers)
        ]
        return [
            Shoot(
                self._session,
                self._plan,
                self._films,
                self._slices,
                self._slice_frames,
                tuple(share),
                self._settings.desk(self._ledgers, number),
            )
            for number, share in enumerate(shares)
        ]

    def _count(self, frames: int) -> None:
        self._done += frames
        if not self._frames:
            return
        done = self._done / self._frames * (1 - JOINING_SHARE)
        made = self._done - self._done_before
        remaining_s = None
        if made:
            elapsed_s = time.monotonic() - self._started
            remaining_s = elapsed_s / made * (self._frames - self._done) / (1 - JOINING_SHARE)
        self._report(Progress(Stage.COMPOSE, done, remaining_s))

    def _count_joined(self, frames: int) -> None:
        self._joined += frames
        elapsed_s = time.monotonic() - self._started_joining
        remaining_s = elapsed_s / self._joined * (self._frames - self._joined) if self._joined else None
        done = 1 - JOINING_SHARE * (1 - self._joined / max(1, self._frames))
        self._report(Progress(Stage.COMPOSE, done, remaining_s))


def _carried_out(crew: Crew, ledgers: Path, orders: Callable[[], Sequence[Order]], count: Count) -> list[Any]:
    """Have orders carried out, as often as that takes another segment out of the way."""
    while True:
        try:
            return crew.carry_out(orders(), count)
        except SegmentLeftOut as error:
            logger.error("%s", error.sentence)
            _try_decoders(crew, ledgers)


def _try_decoders(crew: Crew, ledgers: Path) -> None:
    """Raise ArchiveFailed when the decoders are broken: no segment is to be left out for that."""
    try:
        crew.carry_out([Try()], lambda _: None)
    except ArchiveFailed as error:
        forgive(ledgers)
        raise ArchiveFailed("decoder-broken", f"the decoders do not work: {error.sentence}") from error


def _extended(
    session: SessionFolder, plan: PackagePlan, desk: Desk, crew: Crew, report: Report
) -> PackagePlan:
    """Let spans that a crash ended go on for as long as there is media of them."""

    def wait(_: int) -> None:
        report(Progress(Stage.COMPOSE, 0.0))

    (told,) = _carried_out(crew, desk.folder, lambda: [Extend(session, plan, desk)], wait)
    ends = [int(end_ms) for _, end_ms in told]
    spans = (Span(span.start_ms, end_ms) for span, end_ms in zip(plan.spans, ends, strict=True))
    return replace(plan, spans=tuple(spans))


def _largest(tracks: Sequence[Track], participant: str, source: str, span: Span) -> tuple[int, int] | None:
    """Return the largest picture that a content had in a span, side by side."""
    sizes = [
        (segment.width_px, segment.height_px)
        for track in tracks
        if track.participant == participant and track.source == source
        for index, segment in enumerate(track.segments)
        if segment.start_ms < span.end_ms and track.end_of(index) > span.start_ms and segment.width_px
    ]
    if not sizes:
        return None
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _fingerprint(
    session: SessionFolder, plan: PackagePlan, tracks: Sequence[Track], settings: ComposeSettings
) -> str:
    """Return what the slices depend on, hashed: the same input makes the same slices."""
    end_ms = max((span.end_ms for span in plan.spans), default=0)
    # A session that goes on adds to its journal and tracks what this package does not see.
    files = [
        (track.name, segment.path.name, segment.path.stat().st_size if segment.path.exists() else -1)
        for track in tracks
        for segment in track.segments
        if segment.start_ms < end_ms
    ]
    heads = [event.hash for event in session.events if event.at_ms <= end_ms]
    made_of = settings.height_px, settings.slice_s
    value = [FORMAT, encoder_versions(), asdict(plan), made_of, files, heads[-1:]]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _prepare(slices: Path, fingerprint: str) -> None:
    """Keep the slices of an earlier attempt if they are of the same film."""
    note = slices / "fingerprint"
    if not note.exists() or note.read_text() != fingerprint:
        shutil.rmtree(slices, ignore_errors=True)
        slices.mkdir()
        note.write_text(fingerprint)


def _write_finished(folder: Path, fingerprint: str, composition: Composition) -> None:
    value = {"fingerprint": fingerprint, "composition": to_value(composition)}
    unfinished = folder / "composition.unfinished"
    unfinished.write_text(json.dumps(value))
    unfinished.rename(folder / "composition.json")


def _read_finished(folder: Path, fingerprint: str) -> Composition | None:
    """Return an earlier composition whose files are all there."""
    try:
        value: dict[str, Any] = json.loads((folder / "composition.json").read_text())
        if value["fingerprint"] != fingerprint:
            return None
        composition = from_value(folder, value["composition"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return composition if is_whole(composition) else None
