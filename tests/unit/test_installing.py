"""docs/installing.md, the unit file and the shipped settings fit each other."""

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.config import load
from bridge.node.host import token_secret

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "configs" / "systemd" / "hoichan.service"
GUIDE = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def service() -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(UNIT, encoding="utf-8")
    return {**parser["Unit"], **parser["Service"]}


def test_the_service_keeps_its_state_where_the_settings_say(service: dict[str, str]) -> None:
    state = f"/var/lib/{service['StateDirectory']}"
    shipped = load(ROOT / "configs" / "bridge.toml")
    assert shipped.node.state_dir == state
    assert state in GUIDE
    assert not [line for line in UNIT.read_text().splitlines() if line.startswith("Environment=")]


def test_the_service_never_stops_trying_and_gives_time_to_say_goodbye(service: dict[str, str]) -> None:
    assert service["StartLimitIntervalSec"] == "0"
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > 2 * load(None).node.drain_s


def test_every_path_of_the_service_is_made_by_the_guide(service: dict[str, str]) -> None:
    program, _, settings = service["ExecStart"].partition(" serve --config ")
    assert Path(program).parents[2] == Path("/opt/hoichan")
    for made in ("git clone <this repository> /opt/hoichan", f"mkdir {Path(settings).parent}"):
        assert made in GUIDE
    assert re.search(rf"useradd --system .* {service['User']}\n", GUIDE)


def test_systemd_knows_every_key() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    told = subprocess.run([program, "verify", UNIT], capture_output=True, text=True, check=False).stderr
    assert [line for line in told.splitlines() if "not executable" not in line] == []


def test_the_service_may_confine_what_decodes_recordings() -> None:
    """systemd's own set lacks these calls up to version 254, and what is refused counts as not there."""
    lines = UNIT.read_text().splitlines()
    allowed = {name for line in lines if line.startswith("SystemCallFilter=") for name in line[17:].split()}
    assert {
        *(f"landlock_{name}" for name in ("create_ruleset", "add_rule", "restrict_self")),
        "seccomp",
    } <= allowed
    assert "NoNewPrivileges=yes" in lines


def test_the_commands_of_the_guide_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the settings that the guide copies, and another state directory."""
    token_secret(tmp_path)
    joined = GUIDE.replace("\\\n", " ")
    commands = re.findall(r"^hoichan ((?:invite|token) .*)$", joined, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        arguments = shlex.split(
            command.replace("/etc/hoichan/bridge.toml", str(ROOT / "configs/bridge.toml"))
        )
        assert main([*arguments, "--state-dir", str(tmp_path)]) == 0
        assert "#i=" in capsys.readouterr().out
