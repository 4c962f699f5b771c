"""Composes a package's video from what was recorded: `compose`, the one entry of this step.

It runs in a process of its own, at the lowest priority and with bounded memory whatever the length. Whatever
is finished in its folder is used again, so it can be killed at any moment and started anew.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from bridge.archive.film.captions import captions, chapters
from bridge.archive.film.contact_sheet import thumbnail_every, write_contact_sheet, write_poster
from bridge.archive.film.crew import Assignment, make_slices
from bridge.archive.film.encode import encodable_size, encoder_versions
from bridge.archive.film.filming import Film
from bridge.archive.film.joining import SETUP_DIFFERS, join
from bridge.archive.film.slices import SliceName, read_slice
from bridge.archive.model import (
    DAMAGED,
    Composition,
    Gap,
    PackagePlan,
    Progress,
    Report,
    SessionFolder,
    Span,
    Stage,
    VideoPart,
)
from bridge.archive.plan.programme import open_ends, showings
from bridge.archive.plan.reel import FRAME_MS, FRAME_RATE, GRID_FRAMES, make_reel
from bridge.archive.tracks.feeds import Damage
from bridge.archive.tracks.merging import merged
from bridge.archive.tracks.tracks import (
    Track,
    clip_gap,
    find_gaps,
    journal_gaps,
    last_frame_ms,
    lost_gaps,
    of_case,
    read_tracks,
)
from bridge.base.errors import ArchiveFailed
from bridge.config import ArchiveConfig

# Changed whenever slices of an older version cannot be joined with new ones.
FORMAT: Final = 2
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

    @classmethod
    def of(cls, config: ArchiveConfig) -> Self:
        """Return what the configuration says."""
        return cls(height_px=int(config.video_height_px), part_max_bytes=config.part_max_mb << 20)


def compose(
    session: SessionFolder, plan: PackagePlan, folder: Path, *, settings: ComposeSettings, report: Report
) -> Composition:
    """Make all of a package's media in `folder`; raises ArchiveFailed, and OSError for the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks = of_case(read_tracks(session), plan.case)
    plan = replace(plan, spans=_extended(plan.spans, open_ends(session.events), tracks))
    fingerprint = _fingerprint(session, plan, tracks, settings)
    finished = _read_finished(folder, fingerprint)
    if finished is None:
        try:
            finished = _Composer(session, plan, tracks, folder, settings, report, fingerprint).run()
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
        fingerprint: str,
    ) -> None:
        self._session, self._plan, self._tracks = session, plan, tracks
        self._folder, self._settings, self._report = folder, settings, report
        self._slices = folder / "slices"
        self._slice_frames = max(settings.slice_s * FRAME_RATE // GRID_FRAMES, 1) * GRID_FRAMES
        self._reel = make_reel(plan.spans, session.events)
        self._films = tuple(self._plan_films())
        self._frames = sum(film.reel.frames for film in self._films)
        self._done = self._done_before = self._joined = 0
        self._started = self._started_joining = time.monotonic()
        _prepare(self._slices, fingerprint)

    def run(self) -> Composition:
        """Make what is missing, and join it."""
        self._make_slices()
        self._started_joining = time.monotonic()
        video = self._fresh_folder("video")
        content = self._fresh_folder("content")
        if not self._reel.frames:
            return Composition(self._folder, (), (), None, None, None, None, tuple(self._gaps()))
        main, *showings_ = self._films
        parts = self._join(main, video, 1)
        content_parts: list[VideoPart] = []
        for film in showings_:
            content_parts.extend(self._join(film, content, len(content_parts) + 1))
        (video / "captions.vtt").write_text(
            captions(self._session.events, self._plan.spans, self._reel), "utf-8"
        )
        (video / "chapters.vtt").write_text(chapters(self._plan, self._session.events, self._reel), "utf-8")
        count = main.slices(self._slice_frames)
        return Composition(
            self._folder,
            tuple(parts),
            tuple(content_parts),
            video / "captions.vtt",
            video / "chapters.vtt",
            write_poster(parts, video),
            write_contact_sheet(main, self._slices, video, slice_count=count),
            tuple(self._gaps()),
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

    def _make_slices(self) -> None:
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
        assignments = [
            Assignment(self._session, self._plan, self._films, self._slices, self._slice_frames, tuple(share))
            for share in shares
        ]
        if len(assignments) == 1:
            assignments[0].carry_out(self._count)
        else:
            make_slices(assignments, self._count)

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

    def _join(self, film: Film, folder: Path, first_number: int) -> list[VideoPart]:
        return join(
            film,
            self._slices,
            folder,
            slice_count=film.slices(self._slice_frames),
            part_max_bytes=self._settings.part_max_bytes,
            first_number=first_number,
            count=self._count_joined,
        )

    def _count_joined(self, frames: int) -> None:
        self._joined += frames
        elapsed_s = time.monotonic() - self._started_joining
        remaining_s = elapsed_s / self._joined * (self._frames - self._joined)
        self._report(Progress(Stage.COMPOSE, self._done_joining(), remaining_s))

    def _done_joining(self) -> float:
        return 1 - JOINING_SHARE * (1 - self._joined / max(1, self._frames))

    def _fresh_folder(self, name: str) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _gaps(self) -> list[Gap]:
        """Return what logs and files tell, and what decoding has found."""
        by_name = {track.name: track for track in self._tracks}
        spans = self._plan.spans
        # Whoever watches this process must not take it for one that hangs.
        goes_on = partial(self._report, Progress(Stage.COMPOSE, self._done_joining()))
        gaps = find_gaps(self._tracks, spans, open_ends(self._session.events), goes_on)
        gaps += lost_gaps(self._session, self._tracks, spans)
        gaps += journal_gaps(self._session.events, self._plan)
        for damage in self._damages():
            # Found piece by piece by several: slices, the content's own video, the look at the files.
            gaps += clip_gap(by_name[damage.track], damage.start_ms, damage.end_ms, DAMAGED, spans)
        return merged(gaps)

    def _damages(self) -> Iterator[Damage]:
        for film in self._films:
            for index in range(film.slices(self._slice_frames)):
                path = SliceName(film.name, index).path(self._slices)
                yield from read_slice(path, with_media=False).damages


def _extended(spans: Sequence[Span], ends: dict[int, int], tracks: Sequence[Track]) -> tuple[Span, ...]:
    """Let spans that a crash ended go on for as long as there is media of them."""
    extended = []
    for span in spans:
        if span.end_ms in ends:
            last_ms = last_frame_ms(tracks, span.end_ms, ends[span.end_ms])
            if last_ms is not None:
                span = Span(span.start_ms, min(round(last_ms) + FRAME_MS, ends[span.end_ms]))
        extended.append(span)
    return tuple(extended)


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
    settings = replace(settings, part_max_bytes=0, workers=0)
    value = [FORMAT, encoder_versions(), asdict(plan), asdict(settings), files, heads[-1:]]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _prepare(slices: Path, fingerprint: str) -> None:
    """Keep the slices of an earlier attempt if they are of the same film."""
    note = slices / "fingerprint"
    if not note.exists() or note.read_text() != fingerprint:
        shutil.rmtree(slices, ignore_errors=True)
        slices.mkdir()
        note.write_text(fingerprint)


def _write_finished(folder: Path, fingerprint: str, composition: Composition) -> None:
    value = {"fingerprint": fingerprint, "composition": asdict(composition)}
    unfinished = folder / "composition.unfinished"
    unfinished.write_text(json.dumps(value, default=str))
    unfinished.rename(folder / "composition.json")


def _read_finished(folder: Path, fingerprint: str) -> Composition | None:
    """Return an earlier composition whose files are all there."""
    try:
        value: dict[str, Any] = json.loads((folder / "composition.json").read_text())
        if value["fingerprint"] != fingerprint:
            return None
        found = value["composition"]
        parts = [
            tuple(VideoPart(**{**part, "path": Path(part["path"])}) for part in found[kind])
            for kind in ("video", "content_video")
        ]
        files = [
            None if found[kind] is None else Path(found[kind])
            for kind in ("captions", "chapters", "poster", "contact_sheet")
        ]
        gaps = tuple(Gap(**gap) for gap in found["gaps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_whole = all(part.path.exists() and part.path.stat().st_size == part.bytes for p in parts for part in p)
    if not is_whole or not all(path is None or path.exists() for path in files):
        return None
    return Composition(folder, parts[0], parts[1], files[0], files[1], files[2], files[3], gaps)
