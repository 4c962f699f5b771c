"""A package is proven by its own files, and disproved by one changed byte in any of them."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import sealed
from sealed import MINUTE, T0

from bridge.archive.package import bag
from bridge.archive.package.documents import pretty
from bridge.archive.package.seal import Seal, make_seal, parse_seal
from bridge.archive.package.verify import SENTENCES, verify, verify_chain
from bridge.store.journal import canonical


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed.sealed(tmp_path_factory.mktemp("original")).folder


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def codes(package: Path) -> set[tuple[str, str]]:
    return {(problem.code, problem.file) for problem in verify(package)}


def test_untouched_package_is_proven(package: Path) -> None:
    assert verify(package) == []


def test_one_changed_byte_in_any_file_is_found_and_its_file_named(package: Path) -> None:
    files = [path for path in sorted(package.rglob("*")) if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        name = path.relative_to(package).as_posix()
        for position in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(content)
            changed[position] ^= 0x01
            path.write_bytes(changed)
            problems = verify(package)
            assert problems, f"byte {position} of {name}"
            assert any(name in problem.sentence for problem in problems), f"byte {position} of {name}"
        path.write_bytes(content)
    assert verify(package) == []


def test_every_byte_of_the_seal_counts(package: Path) -> None:
    path = package / "seal/seal.json"
    content = path.read_bytes()
    for position in range(len(content)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[position] ^= flip
            with pytest.raises(ValueError, match=r"^it"):
                parse_seal(bytes(changed))


def test_file_cut_off_is_found(package: Path) -> None:
    path = package / "data/video/part-001.mp4"
    path.write_bytes(path.read_bytes()[:-1])
    assert ("file-changed", "data/video/part-001.mp4") in codes(package)


def test_missing_and_unexpected_files_are_named(package: Path) -> None:
    (package / "data/chat.jsonl").unlink()
    (package / "data/video/extra.mp4").write_bytes(b"x")
    (package / "seal/note.txt").write_bytes(b"x")
    assert {
        ("file-missing", "data/chat.jsonl"),
        ("file-unexpected", "data/video/extra.mp4"),
        ("file-unexpected", "seal/note.txt"),
    } <= codes(package)


@pytest.mark.parametrize(
    "name", ["seal/seal.json", "manifest-sha512.txt", "bagit.txt", "tagmanifest-sha256.txt"]
)
def test_missing_tag_file_is_named(package: Path, name: str) -> None:
    (package / name).unlink()
    assert ("file-missing", name) in codes(package)


def test_link_in_place_of_a_file_is_not_followed(package: Path, tmp_path: Path) -> None:
    path = package / "seal/seal.json"
    outside = tmp_path / "seal.json"
    shutil.move(path, outside)
    path.symlink_to(outside)
    assert ("file-missing", "seal/seal.json") in codes(package)


def test_link_and_pipe_are_not_read_even_under_a_proper_seal(package: Path, tmp_path: Path) -> None:
    path = package / "data/chat.jsonl"
    outside = tmp_path / "outside.jsonl"
    shutil.move(path, outside)
    path.symlink_to(outside)
    sealed.reseal(package)
    assert ("file-unusual", "data/chat.jsonl") in codes(package)
    path.unlink()
    # Nobody ever writes into it.
    os.mkfifo(path)
    assert ("file-unusual", "data/chat.jsonl") in codes(package)


def test_stamp_that_leads_nowhere_is_found(package: Path) -> None:
    (package / "seal/tagmanifest-sha256.txt.tsr").symlink_to(package / "nowhere")
    assert codes(package) == {("file-unusual", "seal/tagmanifest-sha256.txt.tsr")}


@pytest.mark.parametrize(
    ("manifest", "name", "hex_digits"),
    [("tagmanifest-sha256.txt", "data/chat.jsonl", 64), ("manifest-sha512.txt", "bag-info.txt", 128)],
)
def test_each_manifest_lists_its_own_kind_of_files_only(
    package: Path, manifest: str, name: str, hex_digits: int
) -> None:
    sums = bag.parse_manifest((package / manifest).read_bytes(), hex_digits)
    digest = bag.digest(package / name)
    sums[name] = digest.sha256 if hex_digits == 64 else digest.sha512
    (package / manifest).write_bytes(bag.manifest(sums))
    assert ("manifest-broken", manifest) in codes(package)


def test_names_that_would_steer_a_terminal_are_spelt_out(package: Path) -> None:
    (package / "data/\x1b[2J\n").write_bytes(b"")
    (Path(os.fsdecode(bytes(package) + b"/data/\xff"))).write_bytes(b"")
    assert codes(package) == {
        ("file-unexpected", r"data/\x1b[2J\n"),
        ("file-unexpected", r"data/\udcff"),
    }


def test_manifest_that_leads_out_of_the_package_is_refused(package: Path) -> None:
    path = package / "manifest-sha256.txt"
    path.write_text(path.read_text("utf-8") + f"{'0' * 64}  ../../etc/passwd\n", encoding="utf-8")
    assert ("manifest-broken", "manifest-sha256.txt") in codes(package)


def test_part_that_its_description_does_not_fit_is_found_under_a_proper_seal(package: Path) -> None:
    path = package / "data/video/parts.json"
    parts = json.loads(path.read_bytes())
    parts[0]["sha256"] = "0" * 64
    path.write_bytes(pretty(parts))
    sealed.reseal(package)
    assert codes(package) == {("document-broken", "data/video/parts.json")}


def test_parts_that_were_all_left_out_are_missed_under_a_proper_seal(package: Path) -> None:
    for part in (package / "data/content").glob("*.mp4"):
        part.unlink()
    sealed.reseal(package)
    assert codes(package) == {("document-broken", "data/content/parts.json")}


def test_journal_line_that_was_written_anew_is_found_under_a_proper_seal(package: Path) -> None:
    path = package / "data/journal.jsonl"
    path.write_bytes(path.read_bytes().replace("Vừ A Dính".encode(), "Vừ A Sính".encode()))
    sealed.reseal(package)
    assert codes(package) == {("journal-broken", "data/journal.jsonl")}


def test_journal_lines_in_another_order_are_found_under_a_proper_seal(package: Path) -> None:
    path = package / "data/journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    sealed.reseal(package)
    assert codes(package) == {("journal-broken", "data/journal.jsonl")}


def test_seal_of_another_package_is_found(package: Path) -> None:
    total = hashlib.sha256((package / "tagmanifest-sha256.txt").read_bytes()).hexdigest()
    other = make_seal(
        "HC-BV-20261125-01-C09", total, previous_seal=None, sealed_at="2026-11-25T02:00:00.000Z"
    )
    (package / "seal/seal.json").write_bytes(other.content())
    assert codes(package) == {("document-broken", "bag-info.txt"), ("document-broken", "data/case.json")}


@pytest.mark.parametrize(
    "fields", [{"prev": 5}, {"prev": None}, {"seq": "1"}, {"seq": 1.0}, {"at_ms": [1]}, {"data": "x"}]
)
def test_journal_line_of_wrong_types_is_found_whatever_its_hash(
    package: Path, fields: dict[str, object]
) -> None:
    line = {"seq": 90, "at_ms": 1, "kind": "chat", "data": {}, "prev": "0" * 64} | fields
    hashed = canonical([line[name] for name in ("seq", "at_ms", "kind", "data")])
    line["hash"] = hashlib.sha256(str(line["prev"]).encode() + b"\n" + hashed).hexdigest()
    with (package / "data/journal.jsonl").open("ab") as journal:
        journal.write(canonical(line) + b"\n")
    sealed.reseal(package)
    assert codes(package) == {("journal-broken", "data/journal.jsonl")}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"package": 1}', b"null"])
@pytest.mark.parametrize(
    "name", ["data/case.json", "data/video/parts.json", "data/journal.jsonl", "seal/seal.json"]
)
def test_rubbish_in_a_document_is_a_problem_and_no_crash(package: Path, name: str, content: bytes) -> None:
    (package / name).write_bytes(content)
    assert any(problem.file == name for problem in verify(package))


def test_folder_that_is_no_package_is_said_to_be_none(tmp_path: Path) -> None:
    assert [problem.code for problem in verify(tmp_path)] == ["not-a-package"]
    assert [problem.code for problem in verify(tmp_path / "nowhere")] == ["not-a-package"]


def test_progress_rises_to_the_whole(package: Path) -> None:
    seen: list[float] = []
    verify(package, report=lambda progress: seen.append(progress.done))
    assert seen == sorted(seen)
    assert seen[-1] > 0.9


def test_every_sentence_is_there_in_both_languages() -> None:
    for text in SENTENCES.values():
        filled = [sentence.format(file="f", detail="d") for sentence in (text.vi, text.en)]
        assert filled[0] != filled[1]
        assert all(sentence.endswith(".") for sentence in filled)


def chain(root: Path) -> list[Path]:
    """Three packages sealed one after the other."""
    folders: list[Path] = []
    previous: str | None = None
    for number, plan in enumerate((sealed.case_plan(), sealed.second_plan(), sealed.session_plan())):
        package = sealed.sealed(root, plan, previous_seal=previous, now_ms=T0 + (60 + number) * MINUTE)
        folders.append(package.folder)
        previous = package.seal
    return folders


def seal_of(folder: Path) -> Seal:
    return parse_seal((folder / "seal/seal.json").read_bytes())


def test_seals_of_an_archive_follow_one_another(tmp_path: Path) -> None:
    folders = chain(tmp_path)
    assert verify_chain(folders) == []
    assert verify_chain(folders[::-1]) == []


def test_clock_set_back_between_two_seals_breaks_no_chain(tmp_path: Path) -> None:
    first = sealed.sealed(tmp_path, sealed.case_plan(), now_ms=T0 + MINUTE)
    second = sealed.sealed(tmp_path, sealed.second_plan(), previous_seal=first.seal, now_ms=T0)
    assert verify_chain([first.folder, second.folder]) == []


@pytest.mark.parametrize(
    "fields", [{"previous_seal": {}}, {"previous_seal": []}, {"sealed_at": 5}, {"package": None}]
)
def test_seal_of_wrong_types_shows_in_the_chain_and_is_no_crash(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    folders = chain(tmp_path)
    said = asdict(seal_of(folders[2])) | fields
    listed = [said[name] for name in ("package", "tagmanifest_sha256", "previous_seal", "sealed_at")]
    said["seal"] = hashlib.sha256(canonical(listed)).hexdigest()
    (folders[2] / "seal/seal.json").write_bytes(canonical(said) + b"\n")
    assert [problem.file for problem in verify_chain(folders)] == [folders[2].name]


def test_package_taken_out_of_the_chain_is_missed_unless_its_deletion_is_certified(tmp_path: Path) -> None:
    folders = chain(tmp_path)
    left = [folders[0], folders[2]]
    [problem] = verify_chain(left)
    assert (problem.code, problem.file) == ("chain-broken", folders[2].name)
    gone = seal_of(folders[1])
    assert verify_chain(left, deleted={gone.seal: gone.previous_seal}) == []


def test_package_put_in_the_place_of_another_shows_in_the_chain(tmp_path: Path) -> None:
    folders = chain(tmp_path)
    shutil.rmtree(folders[1])
    sealed.sealed(
        tmp_path, sealed.second_plan(), previous_seal=seal_of(folders[0]).seal, now_ms=T0 + 61 * MINUTE + 1
    )
    assert [problem.file for problem in verify_chain(folders)] == [folders[2].name]


def test_two_packages_after_the_same_seal_show_in_the_chain(tmp_path: Path) -> None:
    folders = [
        sealed.sealed(tmp_path, plan, previous_seal=None, now_ms=T0 + number * MINUTE).folder
        for number, plan in enumerate((sealed.case_plan(), sealed.session_plan()))
    ]
    assert [problem.file for problem in verify_chain(folders)] == [folders[1].name]
