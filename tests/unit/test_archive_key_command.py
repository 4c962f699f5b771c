"""`hoichan token --type archive`: a key to the library, or a link with one."""

from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.base.errors import InvalidMessage
from bridge.base.words import Level, Role
from bridge.node.host import token_secret
from bridge.tokens import TokenKind, Tokens


def run(state_dir: Path, *arguments: str) -> int:
    # As a bridge that has been started once has left it.
    token_secret(state_dir)
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
    assert Tokens(token_secret(tmp_path)).read(key, TokenKind.ARCHIVE).role is Role.ARCHIVIST


def test_an_archivist_comes_into_no_room(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["invite", "--site", "A", "--room", "r-1", "--role", "archivist", "--state-dir", str(tmp_path)])
    tokens = Tokens(token_secret(tmp_path))
    with pytest.raises(InvalidMessage):
        tokens.invitation(
            room="r-1", title="T", site="A", level=Level.CENTRAL, role=Role.ARCHIVIST, lifetime_s=60
        )


def test_no_key_is_made_for_a_role_that_may_not_see_recordings(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "--type", "archive", "--role", "observer")


def test_a_devices_token_still_needs_its_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--type", "watch") == 2
    assert "--room" in capsys.readouterr().err
    assert run(tmp_path, "--type", "watch", "--room", "r-1") == 0


@pytest.mark.parametrize("command", [["token", "--type", "archive"], ["invite", "--room", "r-1"]])
def test_nothing_is_signed_with_a_secret_that_no_bridge_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert main([*command, "--site", "A", "--state-dir", str(elsewhere)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"there is no secret to sign with in {elsewhere}" in told.err
    assert not elsewhere.exists()
    token_secret(tmp_path)
    assert main([*command, "--site", "A", "--state-dir", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 1
    assert told.err == f"hoichan: signed with the secret in {tmp_path}\n"
