"""`hoichan token --type archive`: a key to the library, or a link with one."""

from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.base.words import Role
from bridge.node.host import token_secret
from bridge.tokens import TokenKind, Tokens


def run(state_dir: Path, *arguments: str) -> int:
    return main(["token", "--state-dir", str(state_dir), "--site", "Phòng lưu trữ", *arguments])


def test_a_key_is_signed_with_the_servers_secret_and_names_its_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--type", "archive", "--name", "CN. Lan", "--role", "chair") == 0
    claims = Tokens(token_secret(tmp_path)).read(capsys.readouterr().out.strip(), TokenKind.ARCHIVE)
    assert (claims.site, claims.name, claims.role) == ("Phòng lưu trữ", "CN. Lan", Role.CHAIR)


def test_a_link_carries_the_key_in_its_fragment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--type", "archive", "--link", "--http", "--port", "8080") == 0
    address, _, key = capsys.readouterr().out.strip().partition("#i=")
    assert address == "http://localhost:8080/library/"
    assert Tokens(token_secret(tmp_path)).read(key, TokenKind.ARCHIVE).role is Role.SECRETARY


def test_no_key_is_made_for_a_role_that_may_not_see_recordings(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "--type", "archive", "--role", "observer")


def test_a_devices_token_still_needs_its_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--type", "watch") == 2
    assert "--room" in capsys.readouterr().err
    assert run(tmp_path, "--type", "watch", "--room", "r-1") == 0
