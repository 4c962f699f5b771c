"""What a package holds, what it does not hold, and that it is whole or not there."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bagit
import pytest
import sealed
from sealed import MINUTE, SECOND_CODE, SESSION, T0

from bridge.archive.model import Composition, PackagePlan
from bridge.archive.package.build import seal_package
from bridge.archive.package.verify import verify
from bridge.base.errors import ArchiveFailed
from bridge.store.journal import EventKind, parse_event

CASE_1_WORDS = ("C01", "BN-0001", "trong ca một")
CASE_2_WORDS = ("C02", SECOND_CODE, "trong ca hai", "Cô Tô")


def everything(folder: Path) -> str:
    """All text of a package."""
    return "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".mp4", ".jpg")
    )


def test_package_has_the_documented_layout(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path).folder
    assert folder == tmp_path / "packages" / f"{SESSION}-C01"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "bag-info.txt",
        "bagit.txt",
        "data/attendance.csv",
        "data/attendance.json",
        "data/case.json",
        "data/chat.jsonl",
        "data/consent/care.json",
        "data/content/part-001.mp4",
        "data/content/parts.json",
        "data/floor.jsonl",
        "data/gaps.json",
        "data/journal.jsonl",
        "data/minutes/v1.json",
        "data/minutes/v1.pdf",
        "data/video/captions.vtt",
        "data/video/chapters.vtt",
        "data/video/contact-sheet.jpg",
        "data/video/contact-sheet.json",
        "data/video/part-001.mp4",
        "data/video/part-002.mp4",
        "data/video/parts.json",
        "data/video/poster.jpg",
        "manifest-sha256.txt",
        "manifest-sha512.txt",
        "seal/seal.json",
        "tagmanifest-sha256.txt",
    ]


def test_package_is_valid_for_the_reference_implementation_of_bagit(tmp_path: Path) -> None:
    bag = bagit.Bag(str(sealed.sealed(tmp_path).folder))
    assert bag.validate()
    assert sorted(bag.algorithms) == ["sha256", "sha512"]


def test_package_is_proven_by_plain_tools(tmp_path: Path) -> None:
    package = sealed.sealed(tmp_path).folder
    for tool, name in (
        ("sha256sum", "manifest-sha256.txt"),
        ("sha512sum", "manifest-sha512.txt"),
        ("sha256sum", "tagmanifest-sha256.txt"),
    ):
        subprocess.run([tool, "--check", "--strict", "--quiet", name], cwd=package, timeout=30, check=True)


@pytest.mark.parametrize(
    ("plan", "foreign"),
    [
        (sealed.case_plan, (*CASE_2_WORDS, "trước mọi ca", "sau mọi ca")),
        (sealed.second_plan, (*CASE_1_WORDS, "trước mọi ca", "sau mọi ca")),
        (sealed.session_plan, (*CASE_1_WORDS, *CASE_2_WORDS[:3])),
    ],
)
def test_package_holds_nothing_of_others(
    tmp_path: Path, plan: Callable[[], PackagePlan], foreign: tuple[str, ...]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    # The names of the composed files are the composer's; the first case's would name that case.
    composition = sealed.composition(tmp_path / "work")
    (tmp_path / "work" / "chapters.vtt").write_text("WEBVTT\n", encoding="utf-8")
    folder = seal_package(
        sealed.session(tmp_path),
        plan(),
        composition,
        packages,
        settings=sealed.SETTINGS,
        previous_seal=None,
        now_ms=T0 + 3_600_000,
        report=lambda progress: None,
    ).folder
    text = everything(folder)
    assert [word for word in foreign if word in text] == []
    assert verify(folder) == []


def test_a_pause_leaves_nothing_of_what_was_written_and_said_in_it(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path).folder
    assert [line["text"] for line in sealed.read_lines(folder, "chat.jsonl")] == ["trong ca một"]
    assert "trong lúc tạm dừng" not in everything(folder)
    states = [
        line["data"]["state"]
        for line in sealed.read_lines(folder, "journal.jsonl")
        if line["kind"] == "recording-state"
    ]
    assert states == ["waiting", "recording", "paused", "recording"]


def test_each_line_of_the_journal_extract_proves_itself(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path).folder
    lines = (folder / "data/journal.jsonl").read_bytes().splitlines(keepends=True)
    original = {event.seq: event for event in sealed.events()}
    found = [parse_event(line) for line in lines]
    assert len(found) > 10
    assert all(event is not None and event == original[event.seq] for event in found)


def test_attendance_merges_reconnections_and_is_clipped_to_the_case(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path).folder
    attendance = sealed.read(folder, "attendance.json")
    people = {person["name"]: person for person in attendance["people"]}
    assert list(people) == ["BS. Vừ A Dính", "GS. Trần Bình"]
    presenter = people["BS. Vừ A Dính"]
    assert (presenter["joined_at"], presenter["left_at"]) == (
        "2026-11-25T01:02:00.000Z",
        "2026-11-25T01:10:00.000Z",
    )
    assert (presenter["minutes"], presenter["reconnections"]) == (8.0, 1)
    assert [(site["site"], site["people"], site["minutes"]) for site in attendance["sites"]] == [
        ("Mường Nhé", 1, 8.0),
        ("Việt Đức", 1, 8.0),
    ]


def test_attendance_of_the_session_covers_all_of_it(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path, sealed.session_plan()).folder
    minutes = {
        person["name"]: person["minutes"] for person in sealed.read(folder, "attendance.json")["people"]
    }
    assert minutes == {"BS. Vừ A Dính": 10.9, "GS. Trần Bình": 22.8, "=HYPERLINK(1)": 9.5}


def test_attendance_opens_in_a_spreadsheet_and_runs_no_formula_there(tmp_path: Path) -> None:
    content = (sealed.sealed(tmp_path, sealed.second_plan()).folder / "data/attendance.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0][:2] == ["Điểm cầu / Site", "Họ và tên / Name"]
    assert rows[2][:3] == ["Cô Tô", "'=HYPERLINK(1)", "Người trình bày / Presenter"]
    assert rows[2][4:7] == ["25/11/2026 08:12:30", "25/11/2026 08:20:00", "7.5"]


def test_floor_is_told_for_the_recorded_time_only(tmp_path: Path) -> None:
    [turn] = sealed.read_lines(sealed.sealed(tmp_path).folder, "floor.jsonl")
    assert (turn["from"], turn["to"], turn["site"], turn["by"]) == (
        "2026-11-25T01:03:30.000Z",
        "2026-11-25T01:04:30.000Z",
        "Mường Nhé",
        "p-2",
    )


def test_consent_is_kept_with_who_attested_it_and_its_place_in_the_journal(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path).folder
    consent = sealed.read(folder, "consent/care.json")
    assert (consent["state"], consent["case"], len(consent["history"])) == ("granted", "C01", 1)
    assert (consent["history"][0]["site"], consent["history"][0]["by"]) == ("Mường Nhé", "p-1")
    assert consent["history"][0]["journal_hash"] in (folder / "data/journal.jsonl").read_text("utf-8")
    assert sealed.read(folder, "case.json")["consent"] == ["consent/care.json"]


def test_case_document_says_what_the_package_is(tmp_path: Path) -> None:
    case = sealed.read(sealed.sealed(tmp_path).folder, "case.json")
    assert (case["case"], case["code"], case["presenting_site"]) == ("C01", "BN-0001", "Mường Nhé")
    assert case["recorded"] == [
        {"from": "2026-11-25T01:03:00.000Z", "to": "2026-11-25T01:06:00.000Z"},
        {"from": "2026-11-25T01:07:00.000Z", "to": "2026-11-25T01:10:00.000Z"},
    ]
    assert case["retention"] == {"class": "ordinary", "until": "2036-12-31"}
    assert case["roles"]["chair"] == [{"name": "GS. Trần Bình", "site": "Việt Đức"}]
    assert case["dicom"]["minutes"][0]["file"] == "v1.pdf"


def test_session_package_has_no_uids(tmp_path: Path) -> None:
    folder = sealed.sealed(tmp_path, sealed.session_plan()).folder
    assert "2.25." not in everything(folder)
    assert not (folder / "data/case.json").exists()


def test_case_that_was_not_recorded_has_a_package_without_video(tmp_path: Path) -> None:
    plan = replace(sealed.case_plan(), spans=())
    unrecorded = [event for event in sealed.events() if event.kind is not EventKind.RECORDING_STATE]
    nothing = Composition(tmp_path, (), (), None, None, None, None, ())
    packages = tmp_path / "packages"
    packages.mkdir()
    folder = seal_package(
        sealed.session(tmp_path, unrecorded),
        plan,
        nothing,
        packages,
        settings=sealed.SETTINGS,
        previous_seal=None,
        now_ms=T0,
        report=lambda progress: None,
    ).folder
    assert not (folder / "data/video").exists()
    assert sealed.read_lines(folder, "chat.jsonl") == []
    assert verify(folder) == []


def test_uids_are_the_same_when_a_package_is_built_again(tmp_path: Path) -> None:
    uids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folder = sealed.sealed(tmp_path / name).folder
        parts = sealed.read(folder, "video/parts.json") + sealed.read(folder, "content/parts.json")
        uids.append([part["sop_instance_uid"] for part in parts])
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 3
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids[0])


def test_sealing_twice_returns_the_first_package(tmp_path: Path) -> None:
    first = sealed.sealed(tmp_path)
    assert sealed.sealed(tmp_path, now_ms=T0 + 9 * MINUTE, previous_seal="0" * 64) == first


def test_part_that_is_not_what_was_composed_is_not_sealed(tmp_path: Path) -> None:
    composition = sealed.composition(tmp_path / "work")
    with composition.video[1].path.open("ab") as file:
        file.write(b"xx")
    packages = tmp_path / "packages"
    packages.mkdir()
    with pytest.raises(ArchiveFailed, match="part-002"):
        seal_package(
            sealed.session(tmp_path),
            sealed.case_plan(),
            composition,
            packages,
            settings=sealed.SETTINGS,
            previous_seal=None,
            now_ms=T0,
            report=lambda progress: None,
        )
    assert not (packages / sealed.case_plan().package).exists()


# Dies at the n-th write that reaches the disk, or just before or after the package gets its name.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import sealed
moment, count, sync, rename = sys.argv[2], 0, os.fsync, os.rename
def die_at(name):
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)
def fsync(descriptor):
    global count
    count += 1
    die_at(str(count))
    sync(descriptor)
def renamed(source, target):
    die_at("before")
    rename(source, target)
    die_at("after")
os.fsync, os.rename = fsync, renamed
sealed.sealed(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["1", "9", "20", "33", "40", "before", "after"])
def test_sealing_killed_at_any_moment_is_completed_by_the_next_attempt(tmp_path: Path, moment: str) -> None:
    script = KILLED.format(tests=str(Path(sealed.__file__).parent))
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), moment], env=os.environ, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    package = sealed.sealed(tmp_path)
    assert verify(package.folder) == []
    assert [path.name for path in (tmp_path / "packages").iterdir()] == [package.folder.name]
