"""What is done with what was recorded, each a piece of work for one process: `crew` has them carried out.

Everything that opens recorded media, or what was made of it, is here or below. An order is handed over as it
is; what comes of it lies in the package's folder, or is a plain value that JSON can tell.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bridge.archive.film.captions import captions, chapters
from bridge.archive.film.composition import to_value
from bridge.archive.film.contact_sheet import write_contact_sheet, write_poster
from bridge.archive.film.filming import Film, Studio
from bridge.archive.film.joining import join
from bridge.archive.film.playing import why_unplayable
from bridge.archive.film.slices import SliceName, read_slice
from bridge.archive.film.trial import decode_our_own
from bridge.archive.model import Composition, Gap, PackagePlan, SessionFolder, VideoPart
from bridge.archive.plan.programme import open_ends
from bridge.archive.plan.reel import FRAME_MS
from bridge.archive.tracks.feeds import Damage
from bridge.archive.tracks.ledger import Desk, Ledger
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

# Told of finished frames, at times of none.
Count = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how an order gets on; `allow_s` sets after how many seconds of a processor it is ended."""

    count: Count
    allow_s: Callable[[int], None] = lambda _: None


class Order(Protocol):
    """A piece of work for one process."""

    @property
    def desk(self) -> Desk | None:
        """Where it notes which segment it is at; None when it opens none."""

    @property
    def reads(self) -> tuple[Path, ...]:
        """The files and folders that it reads."""

    @property
    def writes(self) -> tuple[Path, ...]:
        """The folders that it writes into."""

    def carry_out(self, watch: Watch) -> Any:
        """Do it; return what JSON can tell. Raises ArchiveFailed, and OSError for the disk."""


@dataclass(frozen=True, slots=True)
class Extend:
    """The spans of a plan, those that a crash ended going on for as long as there is media of them.

    Returns start and end of each.
    """

    session: SessionFolder
    plan: PackagePlan
    desk: Desk

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.session.path,)

    @property
    def writes(self) -> tuple[Path, ...]:
        return (self.desk.folder,)

    def carry_out(self, watch: Watch) -> list[tuple[int, int]]:
        ledger = Ledger(self.desk, watch.allow_s)
        tracks = of_case(read_tracks(self.session, ledger), self.plan.case)
        ends = open_ends(self.session.events)
        extended = []
        for span in self.plan.spans:
            end_ms = span.end_ms
            if end_ms in ends:
                watch.count(0)
                last_ms = last_frame_ms(tracks, end_ms, ends[end_ms])
                if last_ms is not None:
                    end_ms = min(round(last_ms) + FRAME_MS, ends[end_ms])
            extended.append((span.start_ms, end_ms))
        return extended


@dataclass(frozen=True, slots=True)
class Shoot:
    """Slices for one process: films by their place in `films`, and the slices' numbers."""

    session: SessionFolder
    plan: PackagePlan
    films: tuple[Film, ...]
    folder: Path
    slice_frames: int
    slices: tuple[tuple[int, int], ...]
    desk: Desk

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.session.path,)

    @property
    def writes(self) -> tuple[Path, ...]:
        return self.folder, self.desk.folder

    def carry_out(self, watch: Watch) -> None:
        ledger = Ledger(self.desk, watch.allow_s)
        studio = Studio(
            self.session,
            self.plan,
            of_case(read_tracks(self.session, ledger), self.plan.case),
            ledger,
            folder=self.folder,
            slice_frames=self.slice_frames,
        )
        for film, index in self.slices:
            studio.make(self.films[film], index, watch.count)


@dataclass(frozen=True, slots=True)
class Finish:
    """All files of a package's media from its slices, in fresh folders, and what is missing in them.

    Counts the frames that are joined.
    """

    session: SessionFolder
    plan: PackagePlan
    films: tuple[Film, ...]
    folder: Path
    slices: Path
    slice_frames: int
    part_max_bytes: int
    desk: Desk

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.session.path,)

    @property
    def writes(self) -> tuple[Path, ...]:
        return (self.folder,)

    def carry_out(self, watch: Watch) -> dict[str, Any]:
        return to_value(self._compose(watch))

    def _compose(self, watch: Watch) -> Composition:
        count = watch.count
        ledger = Ledger(self.desk, watch.allow_s)
        tracks = of_case(read_tracks(self.session, ledger), self.plan.case)
        if not self.films:
            gaps = self._gaps(tracks, count)
            return Composition(self.folder, (), (), None, None, None, None, tuple(gaps))
        video, content = self.folder / "video", self.folder / "content"
        main, *others = self.films
        parts = self._join(main, video, 1, count)
        content_parts: list[VideoPart] = []
        for film in others:
            content_parts.extend(self._join(film, content, len(content_parts) + 1, count))
        events, spans = self.session.events, self.plan.spans
        (video / "captions.vtt").write_text(captions(events, spans, main.reel), "utf-8")
        (video / "chapters.vtt").write_text(chapters(self.plan, events, main.reel), "utf-8")
        sheet = write_contact_sheet(main, self.slices, video, slice_count=main.slices(self.slice_frames))
        return Composition(
            self.folder,
            tuple(parts),
            tuple(content_parts),
            video / "captions.vtt",
            video / "chapters.vtt",
            write_poster(parts, video),
            sheet,
            tuple(self._gaps(tracks, count)),
        )

    def _join(self, film: Film, folder: Path, first_number: int, count: Count) -> list[VideoPart]:
        return join(
            film,
            self.slices,
            folder,
            slice_count=film.slices(self.slice_frames),
            part_max_bytes=self.part_max_bytes,
            first_number=first_number,
            count=count,
        )

    def _gaps(self, tracks: list[Track], count: Count) -> list[Gap]:
        """Return what logs and files tell, and what decoding has found."""
        by_name = {track.name: track for track in tracks}
        spans = self.plan.spans
        # Whoever watches this process must not take it for one that hangs.
        gaps = find_gaps(tracks, spans, open_ends(self.session.events), partial(count, 0))
        gaps += lost_gaps(self.session, tracks, spans)
        gaps += journal_gaps(self.session.events, self.plan)
        for damage in self._damages():
            # Found piece by piece by several: slices, the content's own video, the look at the files.
            gaps += clip_gap(by_name[damage.track], damage.start_ms, damage.end_ms, damage.reason, spans)
        return merged(gaps)

    def _damages(self) -> Iterator[Damage]:
        for film in self.films:
            for index in range(film.slices(self.slice_frames)):
                path = SliceName(film.name, index).path(self.slices)
                yield from read_slice(path, with_media=False).damages


@dataclass(frozen=True, slots=True)
class Try:
    """The decoders, with what nobody sent."""

    desk: None = None
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()

    def carry_out(self, watch: Watch) -> None:
        decode_our_own()


@dataclass(frozen=True, slots=True)
class Play:
    """A finished video, decoded once to its end; returns why it does not play, or nothing."""

    path: Path
    frames: int
    desk: Desk | None = None

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def writes(self) -> tuple[Path, ...]:
        return ()

    def carry_out(self, watch: Watch) -> str:
        return why_unplayable(self.path, self.frames, partial(watch.count, 0))
