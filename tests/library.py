"""Packages as they lie in an archive, with small real videos, for the tests of the library.

A video shows one colour after the other, so that a decoded picture tells its time.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from bridge.archive.calendar import utc_text
from bridge.base.words import ConferenceKind, PackageState, RetentionClass
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry, SessionEntry, SessionState

RATE = 25
AUDIO_HZ = 48_000
AAC_SAMPLES = 1024
# 5 January 2026, 08:30 in Vietnam.
START_MS = 1_767_576_600_000

RGB = tuple[int, int, int]
RED: RGB = (200, 30, 30)
GREEN: RGB = (30, 180, 40)
BLUE: RGB = (40, 60, 210)
YELLOW: RGB = (210, 200, 40)
GREY: RGB = (130, 130, 130)


@dataclass(frozen=True, slots=True)
class Scene:
    """So many seconds of one colour."""

    colour: RGB
    seconds: int


@dataclass(frozen=True, slots=True)
class Chapter:
    """A mark of the composed video, in its seconds."""

    start_s: float
    end_s: float
    text: str


# The grey is the card that tells of a pause.
PARTS = ((Scene(RED, 4), Scene(GREEN, 4)), (Scene(GREY, 2), Scene(BLUE, 4)))
CONTENT = ((Scene(YELLOW, 4),),)
CAPTIONS = (
    Chapter(0, 4, "Bệnh viện Bạch Mai: đang nói / speaking"),
    Chapter(5, 7, "Bệnh viện Đa khoa tỉnh Điện Biên: đang nói / speaking"),
)
CHAPTERS = (
    Chapter(0, 4, "C01 BN-2026-0142 · Bệnh viện Bạch Mai"),
    Chapter(4, 8, "C01 BN-2026-0142 · Bệnh viện Đa khoa tỉnh Điện Biên · hình ảnh / content"),
    Chapter(8, 10, "Tạm dừng ghi / Recording paused"),
    Chapter(10, 14, "C01 BN-2026-0142 · Trạm Y tế đảo Cô Tô"),
)


def entry(package: str = "HC-BV-20260105-01-C01", **changes: Any) -> PackageEntry:
    """Return what the catalogue knows of a package that waits."""
    known = PackageEntry(
        id=package,
        session=package.rpartition("-")[0],
        room="tim-mach",
        title="Hội chẩn tim mạch liên viện",
        kind=ConferenceKind.CONSULTATION,
        case="C01",
        code="BN-2026-0142",
        sites=("Bệnh viện Bạch Mai", "Bệnh viện Đa khoa tỉnh Điện Biên", "Trạm Y tế đảo Cô Tô"),
        started_ms=START_MS,
        ended_ms=START_MS + 20_000,
        duration_ms=12_000,
        state=PackageState.QUEUED,
    )
    return replace(known, **changes)


def add(catalogue: Catalogue, package: PackageEntry) -> PackageEntry:
    """Put a package and its session into the catalogue."""
    catalogue.put_session(
        SessionEntry(
            id=package.session,
            room=package.room,
            title=package.title,
            kind=package.kind,
            folder=f"recordings/{package.session}",
            started_ms=package.started_ms,
            ended_ms=package.ended_ms,
            state=SessionState.CLOSED,
        )
    )
    catalogue.put_package(package)
    return package


def seal(catalogue: Catalogue, archive: Path, package: PackageEntry) -> Path:
    """Write a package's folder and tell the catalogue that it is sealed."""
    add(catalogue, package)
    folder = archive / "packages" / package.id
    write_package(folder, package)
    catalogue.set_sealed(
        package.id,
        seal="5e" * 32,
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        sealed_ms=package.ended_ms + 60_000,
        retention=RetentionClass.ORDINARY,
        retention_until="2036-12-31",
    )
    return folder


def write_package(folder: Path, package: PackageEntry) -> None:
    """Write the files of a package that the library shows; seals and checksums are not its business."""
    video, content = folder / "data/video", folder / "data/content"
    video.mkdir(parents=True)
    content.mkdir()
    # The conference paused for eight seconds after the first part.
    starts_ms = (package.started_ms, package.started_ms + 16_000)
    recorded = [(starts_ms[0], starts_ms[0] + 8_000), (starts_ms[1], starts_ms[1] + 4_000)]
    _write_series(video, PARTS, starts_ms)
    _write_series(content, CONTENT, (package.started_ms + 4_000,))
    _write(
        folder / "data/case.json",
        {
            "package": package.id,
            "case": package.case,
            "code": package.code,
            "recorded": [{"from": utc_text(start), "to": utc_text(end)} for start, end in recorded],
        },
    )
    _write(folder / "data/attendance.json", attendance(package))
    (folder / "data/attendance.csv").write_text("Điểm cầu\n", encoding="utf-8-sig")
    _write(
        folder / "data/gaps.json",
        [
            {
                "from": utc_text(package.started_ms + 5_000),
                "to": utc_text(package.started_ms + 6_200),
                "duration_ms": 1_200,
                "track": "t002-p-00000002-microphone",
                "participant": "p-00000002",
                "name": "BS. Lò Văn Hặc",
                "site": package.sites[1],
                "source": "microphone",
                "reason": "loss",
            }
        ],
    )
    (video / "chapters.vtt").write_text(webvtt(CHAPTERS), encoding="utf-8")
    (video / "captions.vtt").write_text(webvtt(CAPTIONS), encoding="utf-8")
    write_sheet(video)
    (folder / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")


def attendance(package: PackageEntry) -> dict[str, Any]:
    """Return attendance.json: one person at each site."""
    times = {
        "joined_at": utc_text(package.started_ms),
        "left_at": utc_text(package.ended_ms),
        "minutes": 0.3,
        "stays": [{"from": utc_text(package.started_ms), "to": utc_text(package.ended_ms)}],
    }
    names = ("GS. Nguyễn Lân", "BS. Lò Văn Hặc", "YS. Phạm Thị Ngọc")
    roles, levels = ("chair", "presenter", "expert"), ("central", "province", "commune")
    people = [
        {
            "site": site,
            "level": level,
            "name": name,
            "role": role,
            "device": False,
            **times,
            "reconnections": 0,
        }
        for site, name, role, level in zip(package.sites, names, roles, levels, strict=False)
    ]
    sites = [
        {"site": site, "level": level, "people": 1, **times}
        for site, level in zip(package.sites, levels, strict=False)
    ]
    return {"people": people, "sites": sites}


def webvtt(cues: Sequence[Chapter]) -> str:
    """Return the cues as a WebVTT file."""
    lines = ["WEBVTT", ""]
    for cue in cues:
        lines += [f"{_vtt_time(cue.start_s)} --> {_vtt_time(cue.end_s)}", cue.text, ""]
    return "\n".join(lines)


def write_video(path: Path, scenes: Sequence[Scene], *, width_px: int = 320, height_px: int = 180) -> int:
    """Write an MP4 as the archive has them (H.264 High, AAC, index in front); return how many pictures."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream(
            "libx264", rate=RATE, options={"profile": "high", "g": "50", "crf": "28"}
        )
        video.width, video.height, video.pix_fmt = width_px, height_px, "yuv420p"
        audio = container.add_stream("aac", rate=AUDIO_HZ, layout="stereo")
        number = 0
        for scene in scenes:
            picture = np.full((height_px, width_px, 3), scene.colour, np.uint8)
            for _ in range(scene.seconds * RATE):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(video.encode(frame))
                number += 1
        container.mux(video.encode(None))
        for start in range(0, number * AUDIO_HZ // RATE, AAC_SAMPLES):
            tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(start, start + AAC_SAMPLES) / AUDIO_HZ)
            sound = av.AudioFrame.from_ndarray(
                np.stack([tone, tone]).astype(np.float32), format="fltp", layout="stereo"
            )
            sound.sample_rate, sound.pts = AUDIO_HZ, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return number


def write_sheet(folder: Path) -> None:
    """Write a contact sheet: a tile for every two seconds, two in a row."""
    colours = (RED, RED, GREEN, GREEN, GREY, BLUE, BLUE)
    sheet = Image.new("RGB", (160 * 2, 90 * 4))
    for number, colour in enumerate(colours):
        sheet.paste(
            colour, (number % 2 * 160, number // 2 * 90, number % 2 * 160 + 160, number // 2 * 90 + 90)
        )
    sheet.save(folder / "contact-sheet.jpg")
    sheet.crop((0, 0, 160, 90)).save(folder / "poster.jpg")
    _write(
        folder / "contact-sheet.json",
        {"interval_s": 2, "columns": 2, "rows": 4, "tile_width_px": 160, "tile_height_px": 90, "count": 7},
    )


def _write_series(folder: Path, parts: Sequence[Sequence[Scene]], starts_ms: Sequence[int]) -> None:
    document = []
    for number, (scenes, start_ms) in enumerate(zip(parts, starts_ms, strict=True), 1):
        path = folder / f"part-{number:03d}.mp4"
        frames = write_video(path, scenes)
        content = path.read_bytes()
        document.append(
            {
                "file": path.name,
                "start_ms": start_ms,
                "end_ms": start_ms + frames * 1000 // RATE,
                "frames": frames,
                "fps": RATE,
                "width": 320,
                "height": 180,
                "bytes": len(content),
                "sha256": sha256(content).hexdigest(),
                "sop_instance_uid": None,
            }
        )
    _write(folder / "parts.json", document)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


def _vtt_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
