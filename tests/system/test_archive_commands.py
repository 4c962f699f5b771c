"""`hoichan archive` as people and scripts call it, without a server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bridge_process import ROOT
from recordings import CO_TO, VIET_DUC, Recording

from bridge import __main__ as hoichan
from bridge.commands import keeping
from bridge.store.catalogue import FILE_NAME

# Workers take what others leave of the machine, and it may be little.
pytestmark = pytest.mark.timeout(400)

SESSION = "HC-BV-20261125-01"
CASE, WHOLE = f"{SESSION}-C01", f"{SESSION}-S"
FIFTY_YEARS_MS = 50 * 366 * 86_400_000


def record(recordings: Path, *, is_closed: bool = True) -> Path:
    recording = Recording(recordings)
    recording.join(0.0, VIET_DUC)
    recording.join(0.1, CO_TO)
    recording.add_case(0.2, "C01", "BN-0412", CO_TO)
    recording.start_case(0.5, "C01")
    recording.speakers(0.5, VIET_DUC)
    recording.camera(VIET_DUC, 0.5, 2.0, is_torn=not is_closed)
    if is_closed:
        recording.finish_case(2.0, "C01")
        recording.close(2.5)
    return recording.write().path


class Hoichan:
    """The command over one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.archive = state_dir / "archive"

    def __call__(
        self, *arguments: str, status: int = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "archive", *arguments],
            cwd=self.state_dir,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("HOICHAN_")},
                "PYTHONPATH": str(ROOT),
                "HOICHAN_NODE_STATE_DIR": str(self.state_dir),
                "LC_ALL": "C.UTF-8",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status).stdout)

    def in_process(self, *arguments: str) -> int:
        return hoichan.main(["archive", *arguments, "--state-dir", str(self.state_dir)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with two sealed packages, made by the command line."""
    state_dir = tmp_path_factory.mktemp("made")
    (state_dir / "recordings").mkdir()
    record(state_dir / "recordings")
    done = Hoichan(state_dir)("compose")
    assert f"{CASE}: sealed" in done.stdout
    assert f"{WHOLE}: sealed" in done.stdout
    return state_dir


@pytest.fixture
def command(made: Path, tmp_path: Path) -> Hoichan:
    """The command over a copy of what was made."""
    shutil.copytree(made, tmp_path / "state")
    return Hoichan(tmp_path / "state")


def test_packages_are_listed_for_people_in_their_language(command: Hoichan) -> None:
    assert "sealed" in command("list").stdout
    vietnamese = command("list", "--lang", "vi").stdout
    assert "đã niêm phong" in vietnamese
    assert "BN-0412" in vietnamese
    assert "đã niêm phong" in command("list", LC_ALL="vi_VN.UTF-8").stdout


def test_packages_are_found_by_words_without_accents(command: Hoichan) -> None:
    assert [item["id"] for item in command.json("list", "dao", "co", "to")["packages"]] == [CASE, WHOLE]
    assert [item["id"] for item in command.json("list", "--code", "0412")["packages"]] == [CASE]
    assert command.json("list", "--until", "2026-11-24")["total"] == 0
    assert command.json("list", "--from", "2026-11-25", "--until", "2026-11-25")["total"] == 2
    assert command.json("list", "--state", "failed")["packages"] == []
    assert "No packages found." in command("list", "nowhere").stdout


def test_everything_known_of_a_package_is_shown(command: Hoichan) -> None:
    shown = command.json("show", CASE)
    assert (shown["state"], shown["code"], shown["retention_until"]) == ("sealed", "BN-0412", "2036-12-31")
    assert [line["action"] for line in shown["audit"]] == ["seal"]
    assert shown["audit"][0]["who"] == "command line"
    assert shown["seal"] in command("show", CASE).stdout
    vietnamese = command("show", CASE, "--lang", "vi").stdout
    assert "hồ sơ thường 10 năm" in vietnamese
    assert "niêm phong  dòng lệnh của máy chủ" in vietnamese
    assert not re.search(r"\b(ordinary|seal|play|secretary|bridge)\b", vietnamese)
    assert "There is no package X" in command("show", "X", status=1).stderr


def test_a_whole_package_is_proven_without_any_settings(command: Hoichan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(command.archive / "packages" / CASE, moved / CASE)
    done = command("verify", str(moved / CASE), HOICHAN_HTTP_PORT="not a number")
    assert done.stdout == f"{CASE}: proven\n"


def test_one_flipped_byte_is_told_in_one_clear_line(command: Hoichan) -> None:
    part = command.archive / "packages" / CASE / "data" / "attendance.csv"
    content = bytearray(part.read_bytes())
    content[10] ^= 1
    part.write_bytes(content)
    english = command("verify", str(part.parents[1]), status=1).stdout.splitlines()
    assert english[0].startswith(f"{CASE}: NOT proven")
    assert any("data/attendance.csv has been changed" in line for line in english[1:])
    vietnamese = command("verify", str(part.parents[1]), "--lang", "vi", status=1).stdout
    assert "Tệp data/attendance.csv đã bị thay đổi" in vietnamese
    problems = command.json("verify", str(part.parents[1]), status=1)[str(part.parents[1])]
    assert problems[0]["file"] == "data/attendance.csv"


def test_a_restored_package_is_known_to_be_whole_again(command: Hoichan) -> None:
    part = command.archive / "packages" / CASE / "data" / "attendance.csv"
    whole = part.read_bytes()
    part.write_bytes(whole + b"x")
    assert "data/attendance.csv has been changed" in command("check", CASE, status=1).stdout
    assert command.json("show", CASE)["fixity_ok"] is False
    part.write_bytes(whole)
    assert command.json("check", CASE) == {"package": CASE, "problems": []}
    assert command.json("show", CASE)["fixity_ok"] is True


def test_a_folder_of_packages_is_proven_with_its_chain(command: Hoichan) -> None:
    packages = command.archive / "packages"
    assert command.json("verify", str(packages)) == {
        str(packages / CASE): [],
        str(packages / WHOLE): [],
        str(packages): [],
    }
    first = min((CASE, WHOLE), key=lambda name: (packages / name / "seal" / "seal.json").stat().st_mtime)
    shutil.rmtree(packages / first)
    assert "is missing" in command("verify", str(packages), status=1).stdout


def test_what_is_no_package_is_not_proven(command: Hoichan, tmp_path: Path) -> None:
    assert "This is not a package" in command("verify", str(tmp_path / "absent"), status=1).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["burn"],
        ["list", "--state", "lost"],
        ["list", "--from", "25/11/2026"],
        ["list", "--limit", "0"],
        ["verify"],
        ["hold", CASE],
        ["delete", CASE, "--reason", "old"],
        ["compose", CASE, "--session", "x"],
        ["list", "--config", "absent.toml"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_ends_with_2_and_says_why(command: Hoichan, arguments: list[str]) -> None:
    assert command(*arguments, status=2).stderr.strip()


def test_a_held_package_is_not_deleted_and_each_decision_is_in_the_audit(
    command: Hoichan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command("hold", CASE, "--reason", "inquiry 12/2026")
    assert command.json("show", CASE)["legal_hold"] is True
    now_ms = keeping.now_ms
    monkeypatch.setattr(keeping, "now_ms", lambda: now_ms() + FIFTY_YEARS_MS)
    for name in [name for name in os.environ if name.startswith("HOICHAN_")]:
        monkeypatch.delenv(name)
    delete = ("delete", CASE, "--reason", "its time has come", "--approved-by", "BS. Trần Thị Bình")
    assert command.in_process(*delete) == 1
    assert "legal hold" in capsys.readouterr().err
    command("release", CASE, "--reason", "inquiry closed")
    assert command.in_process(*delete) == 0
    assert not (command.archive / "packages" / CASE).exists()
    certificate = json.loads((command.archive / "certificates" / f"{CASE}.json").read_text(encoding="utf-8"))
    assert certificate["approved_by"] == ["BS. Trần Thị Bình"]
    assert [item["id"] for item in command.json("list")["packages"]] == [WHOLE]
    actions = [line["action"] for line in command.json("show", CASE)["audit"]]
    assert actions == ["delete", "release", "hold", "seal"]
    assert command.json("verify", str(command.archive / "packages"))[str(command.archive / "packages")] == []


def test_a_package_whose_retention_runs_stays(command: Hoichan) -> None:
    done = command("delete", CASE, "--reason", "full disk", "--approved-by", "IT", status=1)
    assert "its retention has not ended" in done.stderr
    assert (command.archive / "packages" / CASE).exists()


def test_a_retention_is_only_made_longer(command: Hoichan) -> None:
    assert "until 2056-12-31" in command("retain", CASE, "--class", "death", "--reason", "died").stdout
    assert (
        "only be made longer"
        in command("retain", CASE, "--class", "training", "--reason", "x", status=1).stderr
    )
    assert "kept for ever" in command("retain", CASE, "--class", "incident", "--reason", "incident").stdout
    assert command.json("show", CASE)["retention_until"] is None


def test_a_lost_catalogue_is_recovered_from_the_packages(command: Hoichan) -> None:
    command("hold", CASE, "--reason", "inquiry")
    before = command.json("list")["packages"]
    for file in command.archive.glob(f"{FILE_NAME}*"):
        file.unlink()
    (command.archive / FILE_NAME).write_bytes(b"no database" * 1000)
    assert "2 packages in the catalogue, 0 to be made, 0 failed" in command("recover").stdout
    after = command.json("list")["packages"]
    told = ("id", "seal", "bytes", "started_ms", "sites", "legal_hold", "retention_until")
    assert [[item[name] for name in told] for item in after] == [
        [item[name] for name in told] for item in before
    ]
    assert (command.archive / f"{FILE_NAME}.broken-1").exists()


def test_an_interrupted_session_is_ended_and_archived_without_a_server(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    (state_dir / "recordings").mkdir(parents=True)
    record(state_dir / "recordings", is_closed=False)
    command = Hoichan(state_dir)
    recovered = command("recover").stdout
    assert f"{SESSION}: was interrupted, and is ended now" in recovered
    assert "2 packages in the catalogue, 2 to be made, 0 failed" in recovered
    command("compose", CASE)
    assert command.json("show", CASE)["state"] == "sealed"
    command("verify", str(state_dir / "archive" / "packages" / CASE))


def test_a_session_from_another_disk_is_archived(tmp_path: Path) -> None:
    elsewhere = tmp_path / "usb" / "recordings"
    elsewhere.mkdir(parents=True)
    path = record(elsewhere)
    (tmp_path / "state").mkdir()
    command = Hoichan(tmp_path / "state")
    command("compose", "--session", str(path))
    assert {item["state"] for item in command.json("list")["packages"]} == {"sealed"}


def test_without_a_pacs_nothing_is_delivered(command: Hoichan) -> None:
    assert "dicom.method is off" in command("deliver", status=1).stderr


def test_a_pacs_that_does_not_answer_is_told_and_remembered(command: Hoichan) -> None:
    settings = {
        "HOICHAN_DICOM_METHOD": "stow",
        "HOICHAN_DICOM_STOW_URL": "http://127.0.0.1:9/dicom-web",
    }
    done = command("deliver", CASE, "--lang", "vi", status=1, **settings)
    assert "không kết nối được PACS" in done.stderr
    shown = command.json("show", CASE)
    assert (shown["state"], shown["attempts"], shown["error_code"]) == ("sealed", 1, "pacs-unreachable")
    assert shown["next_attempt_ms"] is not None
    assert [item["is_delivered"] for item in shown["deliveries"]] == [False]


def test_a_damaged_session_is_told_and_the_others_are_made(command: Hoichan) -> None:
    broken = command.state_dir / "recordings" / "HC-BV-20261125-02"
    broken.mkdir()
    (broken / "journal.jsonl").write_text("what a broken disk left\nand more of it\n")
    done = command("compose", status=1)
    assert "HC-BV-20261125-02" in done.stderr
    failed = command.json("list", "--state", "failed")["packages"]
    assert [(item["id"], item["error_code"]) for item in failed] == [
        ("HC-BV-20261125-02-S", "journal-broken")
    ]
