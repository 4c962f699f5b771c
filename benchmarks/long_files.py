"""A session of hours and many tracks as files, as a killed server leaves it: see `long_session`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av

from benchmarks.track_files import Colour, Picture, Site
from bridge.capture.files import SegmentFile
from bridge.capture.matroska import TrackHeader
from bridge.leg.encoding import Codec
from bridge.store.checked_lines import checked_line
from bridge.store.journal import Chain, EventKind, JournalFile
from tests.recordings import Recording

ROOM = "ca-ngay"
MINUTE_MS = 60_000
# Of each minute one site is on stage, and each speaks once.
TALK_MS = 6_000
GAP_EVERY_MS = 131_000
GAP_MS = 700
SHOWN_EVERY_MIN, SHOWN_MIN = 60, 5
LARGE, SMALL = (1280, 720), (320, 180)
RTT_MS = 30
# The server's clock and the senders' fit; frames and reports are on their way for so long.
DELAY_MS = 15
CASE = "C01"

Packet = tuple[int, bytes, bool]


@dataclass(frozen=True, slots=True)
class Told:
    """A gap: of which track, why, and when, in Unix milliseconds."""

    track: str
    reason: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Minute:
    """What a track sends in any one minute, encoded once."""

    codec: Codec
    size: tuple[int, int]
    packets: Sequence[Packet]


class LongTrack:
    """One track of hours: its segments and its log, written as the recorder does."""

    def __init__(
        self, session: Path, number: int, site: Site, source: str, codec: Codec, start_ms: int
    ) -> None:
        self.name = f"t{number:03d}-{site.participant}-{source}"
        self.folder = session / "tracks" / self.name
        self.folder.mkdir(parents=True)
        self.gaps: list[Told] = []
        self._start_ms = start_ms
        self._stream_ms = 0
        self._stream = self._segments = 0
        self._log = (self.folder / "track.jsonl").open("wb")
        self._line(
            "track",
            track=self.name,
            participant=site.participant,
            source=source,
            codec=codec.value,
            sync=site.participant,
        )

    def add(self, minute: Minute, at_ms: int, *, is_new: bool, is_last: bool, is_lost: bool) -> None:
        """Write a minute from `at_ms` of the session on; a lost one stands in the log and not on the disk."""
        if is_new:
            self._stream, self._stream_ms = self._stream + 1, at_ms
            is_sound = minute.codec is Codec.OPUS
            self._line(
                "stream", stream=self._stream, ssrc=self._stream, rid="",
                clock_hz=48_000 if is_sound else 90_000, at_ms=self._at_ms(at_ms + minute.packets[0][0]),
            )  # fmt: skip
            self._stream_ms += minute.packets[0][0]
        first_ms = at_ms + minute.packets[0][0]
        self._segments += 1
        path = self.folder / f"{self._segments:05d}.mkv"
        width, height = minute.size
        self._line(
            "segment", file=path.name, stream=self._stream, pts_ms=first_ms - self._stream_ms,
            at_ms=self._at_ms(first_ms), width=width, height=height, case=CASE,
        )  # fmt: skip
        hole = None if is_lost else self._hole(at_ms)
        if not is_lost:
            self._write(path, minute, at_ms, hole, is_last=is_last)
        for second in range(60):
            self._second(at_ms + second * 1000, minute.codec)
        if hole is not None:
            self._gap(*hole)
        if is_lost:
            # Up to the next segment, which begins in its minute as this one does.
            start_ms = self._start_ms + first_ms
            self.gaps.append(Told(self.name, "damaged", start_ms, start_ms + MINUTE_MS))

    def close(self) -> None:
        """As a killed server does: without a last word."""
        self._log.close()

    def _at_ms(self, at_ms: int) -> int:
        return self._start_ms + at_ms + DELAY_MS

    def _line(self, k: str, **values: Any) -> None:
        self._log.write(checked_line({"k": k, **values}))

    def _second(self, at_ms: int, codec: Codec) -> None:
        pts_ms = at_ms - self._stream_ms
        # Chromium reports of sound every five seconds.
        if codec is not Codec.OPUS or at_ms % 5000 == 0:
            self._line(
                "clock", stream=self._stream, pts_ms=float(pts_ms), ntp_ms=float(self._start_ms + at_ms),
                at_ms=self._at_ms(at_ms), rtt_ms=RTT_MS,
            )  # fmt: skip
        if at_ms % 5000 == 0:
            self._line("arrival", stream=self._stream, pts_ms=pts_ms, at_ms=self._at_ms(at_ms), rtt_ms=RTT_MS)

    def _hole(self, at_ms: int) -> tuple[int, int] | None:
        """Return what is lost of a minute, if anything."""
        number = -(-at_ms // GAP_EVERY_MS)
        from_ms = number * GAP_EVERY_MS
        inside = at_ms + 2_000 < from_ms < at_ms + MINUTE_MS - 2_000
        return (from_ms, from_ms + GAP_MS) if inside else None

    def _gap(self, from_ms: int, to_ms: int) -> None:
        self._line(
            "gap", stream=self._stream, from_pts_ms=from_ms - self._stream_ms,
            to_pts_ms=to_ms - self._stream_ms, packets=GAP_MS // 20, reason="loss",
        )  # fmt: skip
        self.gaps.append(Told(self.name, "loss", self._start_ms + from_ms, self._start_ms + to_ms))

    def _write(
        self, path: Path, minute: Minute, at_ms: int, hole: tuple[int, int] | None, *, is_last: bool
    ) -> None:
        file = SegmentFile(path, TrackHeader(minute.codec, *minute.size))
        flushed_ms = 0
        for own_ms, data, is_keyframe in minute.packets:
            if hole is not None and hole[0] <= at_ms + own_ms < hole[1]:
                continue
            if own_ms - flushed_ms >= 500:
                file.flush()
                flushed_ms = own_ms
            file.add(at_ms + own_ms - self._stream_ms, data, is_keyframe=is_keyframe)
        file.flush()
        if not is_last:
            file.finish()
        file.close()


class Minutes:
    """What sites send in a minute, encoded when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Minute] = {}

    def camera(self, site: Site, size: tuple[int, int]) -> Minute:
        return self._picture(site, f"camera-{size[1]}", lambda s: _moved(site.colour, s), size, 5)

    def xray(self, site: Site) -> Minute:
        return self._picture(site, "xray", lambda s: _moved((90, 90, 90), s), LARGE, 1)

    def voice(self, site: Site, number: int) -> Minute:
        key = site.participant, "voice"
        if key not in self._made:
            start_s = number * 2.7 % 54
            with tempfile.TemporaryDirectory() as folder:
                recording = Recording(Path(folder))
                track = recording.microphone(
                    site,
                    0,
                    60,
                    talks=[(start_s, start_s + TALK_MS / 1000)],
                    has_dtx=True,
                    segment_s=60,
                    reports=False,
                )
                self._made[key] = Minute(Codec.OPUS, (0, 0), _packets(track.folder))
        return self._made[key]

    def _picture(self, site: Site, name: str, picture: Picture, size: tuple[int, int], fps: int) -> Minute:
        key = site.participant, name
        if key not in self._made:
            with tempfile.TemporaryDirectory() as folder:
                recording = Recording(Path(folder))
                track = recording.camera(
                    site,
                    0,
                    60,
                    picture=picture,
                    size=size,
                    fps=fps,
                    segment_s=60,
                    reports=False,
                    bitrate_bps=150_000,
                )
                self._made[key] = Minute(Codec.VP8, size, _packets(track.folder))
        return self._made[key]


def _moved(colour: Colour, seconds: float) -> Colour:
    red, green, blue = colour
    return red, green, min(255, blue + int(seconds * 5) % 40)


def _packets(folder: Path) -> list[Packet]:
    with av.open(str(folder / "00001.mkv")) as container:
        return [
            (int(packet.pts or 0), bytes(packet), packet.is_keyframe)
            for packet in container.demux()
            if packet.size
        ]


def _site(number: int) -> Site:
    return Site(
        participant=f"p-{number:08d}",
        name=f"Bệnh viện Đa khoa tỉnh số {number + 1}",
        colour=(60 + 9 * number, 90, 190 - 5 * number),
        tone_hz=300.0 + 40 * number,
    )


def make(recordings: Path, hours: float, tracks: int, ended_ms: int) -> tuple[Path, list[Told]]:
    """Make a session that nobody has ended; return its folder and what is missing in it."""
    minutes = round(hours * 60)
    start_ms = ended_ms - minutes * MINUTE_MS
    day = datetime.fromtimestamp(start_ms / 1000, UTC) + timedelta(hours=7)
    session = recordings / f"HC-BV-{day:%Y%m%d}-01"
    sites = [_site(number) for number in range(tracks // 2)]
    made = Minutes()
    files: list[LongTrack] = []
    events = _events(session.name, sites, minutes)
    for number in range(tracks):
        site = sites[number % len(sites)]
        # The last site shows an X-ray instead of its camera.
        source = "microphone" if number >= len(sites) else "camera" if number < len(sites) - 1 else "content"
        codec = Codec.OPUS if source == "microphone" else Codec.VP8
        track = LongTrack(session, number + 1, site, source, codec, start_ms)
        files.append(track)
        data = {"track": track.name, "participant": site.participant, "source": source, "codec": codec.value}
        events.append((1, EventKind.TRACK_STARTED, data))
        before: Minute | None = None
        for at in range(minutes):
            if source == "microphone":
                minute = made.voice(site, number)
            elif source == "content":
                minute = made.xray(site)
            else:
                minute = made.camera(site, LARGE if at % len(sites) == number else SMALL)
            track.add(
                minute,
                at * MINUTE_MS,
                is_new=before is not minute,
                is_last=at == minutes - 1,
                is_lost=at % 200 == 2 + number and at != minutes - 1,
            )
            before = minute
        track.close()
    chain = Chain()
    journal = JournalFile(session / "journal.jsonl")
    journal.write(
        [chain.append(kind, data, start_ms + at) for at, kind, data in sorted(events, key=lambda e: e[0])]
    )
    journal.close()
    return session, [gap for track in files for gap in track.gaps]


Note = tuple[int, EventKind, dict[str, Any]]


def _events(session: str, sites: Sequence[Site], minutes: int) -> list[Note]:
    chair = sites[0].participant
    notes: list[Note] = [
        (0, EventKind.SESSION_OPENED, {
            "session": session, "room": ROOM, "title": "Hội chẩn cả ngày", "conference_kind": "consultation",
            "site_code": "BV", "software": "hoichan", "clock_synchronised": True,
        }),
        *((0, EventKind.PARTICIPANT_JOINED, {
            "participant": site.participant, "site": site.name, "level": "province", "device": False,
            "role": "chair" if site.participant == chair else "expert", "name": site.name,
            "link": site.participant,
        }) for site in sites),
        (0, EventKind.CASE_ADDED, {"case": CASE, "code": "BN-0001", "site": sites[0].name}),
        (0, EventKind.CONSENT, {"case": CASE, "purpose": "care", "state": "granted", "by": chair}),
        (0, EventKind.CASE_STARTED, {"case": CASE, "by": chair}),
        (0, EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": CASE}),
    ]  # fmt: skip
    for at in range(minutes):
        stage = sites[at % len(sites)].participant
        notes.append((at * MINUTE_MS, EventKind.STAGE, {"participant": stage, "mode": "speaker"}))
        for part in range(0, MINUTE_MS, 5_000):
            voices = [sites[(at + part // 5_000) % len(sites)].participant]
            data = {"voices": voices, "dominant": voices[0]}
            notes.append((at * MINUTE_MS + part, EventKind.SPEAKERS, data))
        if at % SHOWN_EVERY_MIN in (1, 1 + SHOWN_MIN):
            is_shown = at % SHOWN_EVERY_MIN == 1
            shown = {"participant": sites[-1].participant, "source": "content"} if is_shown else {}
            notes.append((at * MINUTE_MS, EventKind.CONTENT, {"participant": None, "source": None, **shown}))
    return notes
