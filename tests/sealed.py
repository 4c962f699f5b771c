"""A small conference of two cases, and a short real video of each: what packages are built from in tests."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from bridge.archive.model import Composition, Gap, PackagePlan, SessionFolder, Span, VideoPart
from bridge.archive.package import bag
from bridge.archive.package.build import PackageSettings, SealedPackage, seal_package
from bridge.archive.package.seal import make_seal
from bridge.base.words import RetentionClass
from bridge.store.journal import Chain, Event, EventKind

SESSION = "HC-BV-20261125-01"
# 2026-11-25 08:00 in Vietnam.
T0 = 1_795_568_400_000
MINUTE = 60_000
SETTINGS = PackageSettings(software="hoichan 0.1.0", retention=RetentionClass.ORDINARY)
SECOND_CODE = "BN-0002"
FRAMES = 50
FRAME_RATE = 25
WIDTH_PX, HEIGHT_PX = 640, 360


def events() -> list[Event]:
    """Two cases, minutes 2 to 10 and 12 to 20, between words that belong to no case."""
    chain = Chain()

    def at(minutes: float, kind: EventKind, **data: Any) -> Event:
        return chain.append(kind, data, T0 + round(minutes * MINUTE))

    def joined(
        minutes: float, participant: str, site: str, role: str, name: str, device: bool = False
    ) -> Event:
        return at(
            minutes,
            EventKind.PARTICIPANT_JOINED,
            participant=participant,
            site=site,
            level="district",
            role=role,
            name=name,
            device=device,
        )

    def left(minutes: float, participant: str, reason: str) -> Event:
        return at(minutes, EventKind.PARTICIPANT_LEFT, participant=participant, reason=reason)

    def chat(minutes: float, text: str) -> Event:
        return at(
            minutes, EventKind.CHAT, participant="p-1", name="BS. Vừ A Dính", site="Mường Nhé", text=text
        )

    def recording(minutes: float, state: str, case: str | None) -> Event:
        return at(minutes, EventKind.RECORDING_STATE, state=state, by="p-2", case=case)

    def floor(minutes: float, participant: str, granted: bool) -> Event:
        return at(minutes, EventKind.FLOOR, participant=participant, granted=granted, by="p-2")

    def case(minutes: float, kind: EventKind, name: str, **data: Any) -> Event:
        return at(minutes, kind, case=name, **data)

    return [
        at(
            0,
            EventKind.SESSION_OPENED,
            session=SESSION,
            room="giao-ban",
            title="Hội chẩn liên viện",
            conference_kind="consultation",
            site_code="BV",
            software="hoichan 0.1.0",
        ),
        joined(0.1, "p-1", "Mường Nhé", "presenter", "BS. Vừ A Dính"),
        joined(0.2, "p-2", "Việt Đức", "chair", "GS. Trần Bình"),
        case(0.5, EventKind.CASE_ADDED, "C01", code="BN-0001", site="Mường Nhé"),
        case(0.6, EventKind.CASE_ADDED, "C02", code=SECOND_CODE, site="Cô Tô"),
        recording(1, "recording", None),
        chat(1.5, "trước mọi ca"),
        case(2, EventKind.CASE_STARTED, "C01", by="p-2"),
        recording(2, "waiting", "C01"),
        case(2.5, EventKind.CONSENT, "C01", purpose="care", state="granted", by="p-1"),
        recording(3, "recording", "C01"),
        at(
            3,
            EventKind.TRACK_STARTED,
            track="t001-p-1-camera",
            participant="p-1",
            source="camera",
            codec="vp8",
        ),
        floor(3.5, "p-1", True),
        chat(4, "trong ca một"),
        left(4.5, "p-1", "disconnected"),
        joined(5, "p-3", "Mường Nhé", "presenter", "BS. Vừ A Dính"),
        recording(6, "paused", "C01"),
        chat(6.5, "trong lúc tạm dừng"),
        recording(7, "recording", "C01"),
        at(8, EventKind.STAGE, participant="p-3", mode="chair"),
        case(10, EventKind.CASE_FINISHED, "C01", by="p-2"),
        recording(10, "recording", None),
        left(11, "p-3", "left"),
        case(12, EventKind.CASE_STARTED, "C02", by="p-2"),
        joined(12.5, "p-4", "Cô Tô", "presenter", "=HYPERLINK(1)"),
        case(13, EventKind.CONSENT, "C02", purpose="care", state="granted", by="p-4"),
        recording(13, "recording", "C02"),
        chat(14, "trong ca hai"),
        case(20, EventKind.CASE_FINISHED, "C02", by="p-2"),
        recording(20, "recording", None),
        chat(21, "sau mọi ca"),
        left(22, "p-4", "left"),
        at(23, EventKind.SESSION_CLOSED, reason="room-closed"),
    ]


def session(root: Path, happened: Sequence[Event] | None = None) -> SessionFolder:
    """The session's folder, with minutes of the first case."""
    folder = root / "recordings" / SESSION
    minutes = folder / "minutes" / "C01"
    minutes.mkdir(parents=True, exist_ok=True)
    (minutes / "v1.json").write_text('{"conclusion": "Mổ cấp cứu"}', encoding="utf-8")
    (minutes / "v1.pdf").write_bytes(PDF)
    return SessionFolder(folder, events() if happened is None else happened)


def case_plan() -> PackagePlan:
    """The first case."""
    return _plan(
        f"{SESSION}-C01",
        (2, 10),
        ((3, 6), (7, 10)),
        case="C01",
        code="BN-0001",
        presenting_site="Mường Nhé",
    )


def second_plan() -> PackagePlan:
    """The second case."""
    return _plan(
        f"{SESSION}-C02", (12, 20), ((13, 20),), case="C02", code=SECOND_CODE, presenting_site="Cô Tô"
    )


def session_plan() -> PackagePlan:
    """What belongs to no case."""
    return _plan(f"{SESSION}-S", (0, 23), ((1, 2), (10, 12), (20, 23)))


def _plan(
    package: str, time: tuple[int, int], spans: Sequence[tuple[int, int]], **about: str | None
) -> PackagePlan:
    return PackagePlan(
        package=package,
        session=SESSION,
        room="giao-ban",
        title="Hội chẩn liên viện",
        conference_kind="consultation",
        started_ms=T0 + time[0] * MINUTE,
        ended_ms=T0 + time[1] * MINUTE,
        spans=tuple(Span(T0 + start * MINUTE, T0 + end * MINUTE) for start, end in spans),
        **about,
    )


def composition(folder: Path, *, has_content: bool = True) -> Composition:
    """What composing the first case would have made, but shorter."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "captions.vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nMường Nhé\n",
        "chapters.vtt": "WEBVTT\n\n00:00.000 --> 00:02.000\nBN-0001\n",
        "contact-sheet.json": json.dumps({"columns": 1}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("poster.jpg", "contact-sheet.jpg"):
        (folder / name).write_bytes(b"\xff\xd8" + name.encode())
    parts = [_part(folder / f"part-{number}.mp4", number) for number in range(2)]
    content = [_part(folder / "content.mp4", 2)] if has_content else []
    return Composition(
        folder=folder,
        video=tuple(parts),
        content_video=tuple(content),
        captions=folder / "captions.vtt",
        chapters=folder / "chapters.vtt",
        poster=folder / "poster.jpg",
        contact_sheet=folder / "contact-sheet.jpg",
        gaps=(Gap("t001-p-1-camera", "p-1", "camera", T0 + 4 * MINUTE, T0 + 4 * MINUTE + 480, "loss"),),
    )


def sealed(
    root: Path,
    plan: PackagePlan | None = None,
    *,
    previous_seal: str | None = None,
    now_ms: int = T0 + 3_600_000,
) -> SealedPackage:
    """A package in `<root>/packages`."""
    plan = plan or case_plan()
    packages = root / "packages"
    packages.mkdir(exist_ok=True)
    return seal_package(
        session(root),
        plan,
        composition(root / "work" / plan.package),
        packages,
        settings=SETTINGS,
        previous_seal=previous_seal,
        now_ms=now_ms,
        report=lambda progress: None,
    )


def reseal(package: Path) -> None:
    """Make manifests and seal fit what lies in the package, as faulty software would."""
    digests = {name: bag.digest(package / name) for name in bag.payload_files(package)}
    total = bag.write_tags(package, digests, info={"External-Identifier": package.name}, now_ms=T0)
    seal = make_seal(package.name, total, previous_seal=None, sealed_at="2026-11-25T02:00:00.000Z")
    (package / "seal/seal.json").write_bytes(seal.content())


def read(folder: Path, name: str) -> Any:
    """A JSON document of a package."""
    return json.loads((folder / "data" / name).read_text(encoding="utf-8"))


def read_lines(folder: Path, name: str) -> list[Mapping[str, Any]]:
    """A document of a package with JSON on each line."""
    return [json.loads(line) for line in (folder / "data" / name).read_text(encoding="utf-8").splitlines()]


def _part(path: Path, number: int) -> VideoPart:
    content = video(number)
    path.write_bytes(content)
    start_ms = T0 + 3 * MINUTE + number * 2000
    return VideoPart(
        path=path,
        start_ms=start_ms,
        end_ms=start_ms + 2000,
        frames=FRAMES,
        frame_rate=FRAME_RATE,
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@cache
def video(number: int) -> bytes:
    """Two seconds of H.264 High 4.1 and AAC in MP4, of even length, as composing makes them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        _encode(path, number)
        content = path.read_bytes()
    return content if len(content) % 2 == 0 else content + b"\x00\x00\x00\x09free\x00"


def _encode(path: Path, number: int) -> None:
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        pictures = container.add_stream("libx264", rate=FRAME_RATE)
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        pictures.options = {"profile": "high", "level": "4.1", "preset": "ultrafast", "g": "50"}
        pictures.codec_context.sample_aspect_ratio = Fraction(1, 1)
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for index in range(FRAMES):
            picture = np.full((HEIGHT_PX, WIDTH_PX, 3), 40 * number, np.uint8)
            picture[:, index * 8 : index * 8 + 80] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        for index in range(FRAMES * 48000 // FRAME_RATE // 1024):
            wave = np.sin(np.arange(1024) / 17).astype(np.float32) / 4
            chunk = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
            chunk.sample_rate, chunk.pts = 48000, index * 1024
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))


PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n"
)
