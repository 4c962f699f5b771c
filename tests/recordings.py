"""Sessions as the bridge records them, made without a bridge: the folders of `docs/recording.md`, with media.

Each site has a colour, a tone, and a clock of its own that is off by `clock_offset_ms` and runs fast by
`drift_ppm`. Times given here are true seconds since the session's beginning; what stands in segments and
track logs is what the site's clock and the network made of them.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.track_files import (
    AUDIO_HZ,
    START_MS,
    Clock,
    Lens,
    Picture,
    Site,
    Sound,
    Track,
    cuts,
    opus_packets,
    write_sound,
    write_video,
)
from bridge.archive.model import SessionFolder
from bridge.store.journal import Chain, EventKind, JournalFile, read_journal

VIET_DUC = Site(
    participant="p-00000001",
    name="Bệnh viện Hữu nghị Việt Đức",
    colour=(200, 40, 40),
    tone_hz=440.0,
    level="central",
    role="chair",
)
MUONG_NHE = Site(
    participant="p-00000002",
    name="Trung tâm Y tế Mường Nhé",
    colour=(40, 180, 60),
    tone_hz=880.0,
    clock_offset_ms=-7_200_000.0,
    drift_ppm=80.0,
    delay_ms=45.0,
)
CO_TO = Site(
    participant="p-00000003",
    name="Trạm y tế đảo Cô Tô",
    colour=(50, 70, 210),
    tone_hz=1_320.0,
    level="commune",
    role="presenter",
    clock_offset_ms=1_234.5,
    drift_ppm=-60.0,
    delay_ms=35.0,
)
SITES = (VIET_DUC, MUONG_NHE, CO_TO)


class Recording:
    """A session in the making: media is encoded at once, the journal chained by `write`."""

    def __init__(
        self,
        recordings: Path,
        *,
        session: str = "HC-BV-20261125-01",
        title: str = "Hội chẩn liên viện: chấn thương sọ não",
        kind: str = "consultation",
    ) -> None:
        self.session = session
        self.folder = recordings / session
        (self.folder / "tracks").mkdir(parents=True)
        self.tracks: list[Track] = []
        self._notes: list[tuple[int, int, EventKind, dict[str, Any]]] = []
        self._order = itertools.count()
        self.note(
            0,
            EventKind.SESSION_OPENED,
            session=session,
            room="r-test",
            title=title,
            conference_kind=kind,
            site_code="BV",
            software="0.1.0",
        )

    @staticmethod
    def at_ms(seconds: float) -> int:
        return round(START_MS + seconds * 1000)

    def note(self, seconds: float, kind: EventKind, **data: Any) -> None:
        """Something happened; notes of the same moment keep the order in which they were made."""
        self._notes.append((self.at_ms(seconds), next(self._order), kind, data))

    def join(self, seconds: float, site: Site, *, device: bool = False) -> None:
        self.note(
            seconds,
            EventKind.PARTICIPANT_JOINED,
            participant=site.participant,
            site=site.name,
            level=site.level,
            role=site.role,
            name=f"BS. {site.name.split()[-1]}",
            device=device,
        )

    def leave(self, seconds: float, site: Site) -> None:
        self.note(seconds, EventKind.PARTICIPANT_LEFT, participant=site.participant, reason="left")

    def stage(self, seconds: float, site: Site | None, *, mode: str = "chair") -> None:
        self.note(seconds, EventKind.STAGE, participant=site and site.participant, mode=mode)

    def content(self, seconds: float, site: Site | None, *, source: str = "content") -> None:
        self.note(
            seconds,
            EventKind.CONTENT,
            participant=site and site.participant,
            source=source if site else None,
        )

    def speakers(self, seconds: float, *sites: Site) -> None:
        voices = [site.participant for site in sites]
        self.note(seconds, EventKind.SPEAKERS, voices=voices, dominant=voices[0] if voices else None)

    def state(self, seconds: float, state: str, *, case: str | None = None, by: str | None = None) -> None:
        self.note(seconds, EventKind.RECORDING_STATE, state=state, by=by, case=case)

    def add_case(self, seconds: float, case: str, code: str, site: Site | None = None) -> None:
        self.note(seconds, EventKind.CASE_ADDED, case=case, code=code, site=site and site.name)

    def start_case(self, seconds: float, case: str) -> None:
        """Start a case with consent, recorded."""
        by = VIET_DUC.participant
        self.note(seconds, EventKind.CONSENT, case=case, purpose="care", state="granted", by=by)
        self.note(seconds, EventKind.CASE_STARTED, case=case, by=by)
        self.state(seconds, "recording", case=case)

    def finish_case(self, seconds: float, case: str, *, then: str = "waiting") -> None:
        """Finish a case; `then` is what the recording does afterwards."""
        self.note(seconds, EventKind.CASE_FINISHED, case=case, by=VIET_DUC.participant)
        self.state(seconds, then)

    def close(self, seconds: float, *, reason: str = "room-closed") -> None:
        self.note(seconds, EventKind.SESSION_CLOSED, reason=reason)

    def camera(
        self,
        site: Site,
        from_s: float,
        to_s: float,
        *,
        source: str = "camera",
        picture: Picture | None = None,
        codec: str = "vp8",
        size: tuple[int, int] = (320, 180),
        fps: int = 25,
        segment_s: float = 2.0,
        restarts: Sequence[tuple[float, tuple[int, int]]] = (),
        reports: bool = True,
        first_report_s: float = 0.3,
        bitrate_bps: int = 300_000,
        is_torn: bool = False,
    ) -> Track:
        """Record a camera, content or auxiliary device.

        `restarts` are moments at which the sender begins anew, or another layer is taken: a new stream
        in the given size. `is_torn` leaves the log without its end, as a crash does.
        """
        track = self._track(site, source, codec, from_s)
        shown = picture or (lambda _: site.colour)
        starts = [(from_s, size), *restarts]
        for (start_s, stream_size), (end_s, _) in itertools.pairwise([*starts, (to_s, size)]):
            lens = Lens(shown, stream_size, fps)
            for index, (first_s, last_s) in enumerate(cuts(start_s, end_s, segment_s)):
                frames = lens.frames(start_s, first_s, last_s)
                if index == 0:
                    first_ms = self.at_ms(next(iter(lens.times(start_s, first_s, last_s))))
                    self._open_stream(track, first_ms, 90_000, "h" if stream_size == size else "l")
                    self._report(track, first_ms, end_s, reports, start_s + first_report_s, 1.0)
                write_video(track, Clock(site), first_ms, frames, stream_size, fps, bitrate_bps)
        return self._finish(track, to_s, is_torn)

    def microphone(
        self,
        site: Site,
        from_s: float,
        to_s: float,
        *,
        sound: Sound | None = None,
        talks: Sequence[tuple[float, float]] | None = None,
        has_dtx: bool = False,
        lost: Sequence[tuple[float, float]] = (),
        segment_s: float = 2.0,
        reports: bool = True,
        first_report_s: float = 0.5,
        is_torn: bool = False,
    ) -> Track:
        """Record a microphone: the site's tone while it talks (always by default), or `sound`.

        With `has_dtx` no packets are sent in the silence between; those of `lost` never arrive.
        """
        track = self._track(site, "microphone", "opus", from_s)
        spans = [(from_s, to_s)] if talks is None else list(talks)
        heard = sound or tone(site.tone_hz, spans)
        clock, first_ms = Clock(site), self.at_ms(from_s)
        self._open_stream(track, first_ms, AUDIO_HZ, "")
        self._report(track, first_ms, to_s, reports, from_s + first_report_s, 2.0)
        packets = opus_packets(heard, clock, first_ms, to_s - from_s, only=spans if has_dtx else None)
        if lost:
            packets = (
                (pts_ms, data)
                for pts_ms, data in packets
                if not any(start <= from_s + pts_ms / 1000 < end for start, end in lost)
            )
        write_sound(track, clock, first_ms, packets, segment_s)
        return self._finish(track, to_s, is_torn)

    def write(self) -> SessionFolder:
        """Write the journal and the track logs."""
        for track in self.tracks:
            track.write()
        chain = Chain()
        journal = JournalFile(self.folder / "journal.jsonl")
        notes = sorted(self._notes, key=lambda note: note[:2])
        journal.write([chain.append(kind, data, at_ms) for at_ms, _, kind, data in notes])
        journal.close()
        return SessionFolder(self.folder, read_journal(self.folder / "journal.jsonl"))

    def _track(self, site: Site, source: str, codec: str, from_s: float) -> Track:
        name = f"t{len(self.tracks) + 1:03d}-{site.participant}-{source}"
        folder = self.folder / "tracks" / name
        folder.mkdir()
        track = Track(folder, site, source, codec, site.participant)
        track.log(
            "track",
            track=name,
            participant=site.participant,
            source=source,
            codec=codec,
            sync=track.sync,
        )
        self.tracks.append(track)
        self.note(
            from_s,
            EventKind.TRACK_STARTED,
            track=name,
            participant=site.participant,
            source=source,
            codec=codec,
        )
        return track

    def _open_stream(self, track: Track, first_ms: float, clock_hz: int, rid: str) -> None:
        track.streams += 1
        track.log(
            "stream",
            stream=track.streams,
            ssrc=len(self.tracks) * 1000 + track.streams,
            rid=rid,
            clock_hz=clock_hz,
            at_ms=Clock(track.site).arrival_ms(first_ms),
        )

    def _report(
        self, track: Track, first_ms: float, to_s: float, reports: bool, report_s: float, every_s: float
    ) -> None:
        clock = Clock(track.site)
        number = 0
        while reports and report_s < to_s:
            true_ms = START_MS + report_s * 1000
            track.log(
                "clock",
                stream=track.streams,
                pts_ms=clock.elapsed_ms(first_ms, true_ms),
                ntp_ms=clock.ntp_ms(true_ms),
                at_ms=clock.arrival_ms(true_ms, number),
            )
            number += 1
            report_s += every_s

    def _finish(self, track: Track, to_s: float, is_torn: bool) -> Track:
        if not is_torn:
            track.log("end", at_ms=Clock(track.site).arrival_ms(self.at_ms(to_s)), reason="ended")
            self.note(to_s, EventKind.TRACK_ENDED, track=track.name, reason="ended")
        return track


def captured_in(track: Track, case: str | None) -> Track:
    """Let a track's segments say in which case they were captured."""
    for line in track.lines:
        if line["k"] == "segment":
            line["case"] = case
    return track


def two_cases(recordings: Path) -> SessionFolder:
    """Twelve seconds: three sites, case 1 with a pause and an X-ray, case 2, and a closed session."""
    recording = Recording(recordings)
    for index, site in enumerate(SITES):
        recording.join(0.1 * index, site)
    recording.stage(0.3, VIET_DUC)
    recording.add_case(0.4, "C01", "BN-0412", MUONG_NHE)
    recording.add_case(0.4, "C02", "BN-0977", CO_TO)
    recording.start_case(1.0, "C01")
    recording.speakers(1.0, VIET_DUC)
    recording.stage(2.0, MUONG_NHE)
    recording.speakers(2.0, MUONG_NHE)
    recording.content(3.0, MUONG_NHE)
    recording.state(4.0, "paused", case="C01")
    recording.state(5.0, "recording", case="C01")
    recording.content(6.0, None)
    recording.finish_case(6.5, "C01")
    recording.start_case(7.0, "C02")
    recording.stage(7.0, CO_TO)
    recording.speakers(7.0, CO_TO)
    recording.finish_case(11.0, "C02")
    for site in SITES:
        for from_s, to_s in ((1.0, 4.0), (5.0, 6.5), (7.0, 11.0)):
            talks = {VIET_DUC: (1.0, 2.0), MUONG_NHE: (2.0, 6.5), CO_TO: (7.0, 11.0)}
            recording.camera(site, from_s, to_s)
            recording.microphone(site, from_s, to_s, talks=[talks[site]])
    for from_s, to_s in ((3.0, 4.0), (5.0, 6.0)):
        recording.camera(MUONG_NHE, from_s, to_s, source="content", picture=xray, size=(640, 480), fps=5)
    recording.close(11.5)
    return recording.write()


def plain_recording(folder: Path) -> Recording:
    """A recording with Việt Đức on stage from 0.2 s on; its state, media and end are the test's."""
    recording = Recording(folder)
    recording.join(0.1, VIET_DUC)
    recording.stage(0.2, VIET_DUC)
    return recording


def tone(hertz: float, spans: Sequence[tuple[float, float]]) -> Sound:
    """Return a sine that sounds in these spans."""

    def sound(seconds: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        is_on = np.zeros(len(seconds), bool)
        for start, end in spans:
            is_on |= (seconds >= start) & (seconds < end)
        return np.where(is_on, 0.3 * np.sin(2 * np.pi * hertz * seconds), 0)

    return sound


def xray(_: float) -> "np.ndarray[Any, Any]":
    """Something with grey steps and fine lines, 4:3."""
    picture = np.tile(np.repeat(np.linspace(20, 220, 16, dtype=np.uint8), 40), (480, 1))
    picture[100:380:8, 160:480] = 250
    return np.repeat(picture[:, :, None], 3, axis=2)
