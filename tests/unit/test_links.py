"""`hoichan links`: what is written at issue, listed, revoked, and read again by a running server."""

import json
import os
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.base.errors import Refused
from bridge.base.words import Level, Role
from bridge.node.host import token_secret
from bridge.node.links import REVOKED, IssuedLink, LinkFiles, Revocations
from bridge.tokens import JOIN_GRACE_S, TokenKind, Tokens


def issue(
    state_dir: Path, capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "invite"
) -> str:
    # As the bridge does at its first start.
    token_secret(state_dir)
    extra = ["--token-only"] if command == "invite" else []
    common = ["--state-dir", str(state_dir), "--room", "tim-mach", "--site", "BV Mường Nhé"]
    assert main([command, *common, *extra, *arguments]) == 0
    return capsys.readouterr().out.strip()


def listed(state_dir: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["links", "list", "--state-dir", str(state_dir), "--json", *arguments]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def revoke(state_dir: Path, *arguments: str) -> int:
    return main(["links", "revoke", "--state-dir", str(state_dir), "--lang", "vi", *arguments])


def test_every_link_that_is_issued_is_listed_without_what_would_open_a_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = [
        issue(tmp_path, capsys, "--role", "chair", "--name", "BS. An"),
        issue(tmp_path, capsys, "--type", "publish", command="token"),
        issue(tmp_path, capsys, "--type", "archive", command="token"),
    ]
    links = listed(tmp_path, capsys)
    assert [link["kind"] for link in links] == ["archive", "publish", "invitation"]
    assert (links[2]["site"], links[2]["role"], links[2]["name"]) == ("BV Mường Nhé", "chair", "BS. An")
    reader = Tokens(token_secret(tmp_path))
    assert links[2]["id"] == reader.read(tokens[0], TokenKind.INVITATION).id
    text = (tmp_path / "links.jsonl").read_text()
    assert not any(token in text for token in tokens)
    assert (tmp_path / "links.jsonl").stat().st_mode & 0o077 == 0
    assert main(["links", "list", "--state-dir", str(tmp_path), "--lang", "vi"]) == 0
    assert "còn hiệu lực" in capsys.readouterr().out


def test_a_revoked_link_is_of_no_use_to_a_running_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stolen, other = issue(tmp_path, capsys), issue(tmp_path, capsys)
    revocations = Revocations(tmp_path, clock=lambda: 0.0)
    server = Tokens(token_secret(tmp_path), revoked=revocations)
    claims = server.read(stolen, TokenKind.INVITATION)
    join = server.join(claims)
    assert not revocations.poll()
    assert revoke(tmp_path, claims.id) == 0
    assert capsys.readouterr().out == f"{claims.id}: đã thu hồi (BV Mường Nhé)\n"
    assert revocations.poll()
    assert not revocations.poll()
    for token, kind in ((stolen, TokenKind.INVITATION), (join, TokenKind.JOIN)):
        with pytest.raises(Refused, match="revoked-link"):
            server.read(token, kind)
    assert server.read(other, TokenKind.INVITATION).room == "tim-mach"
    assert [link["state"] for link in listed(tmp_path, capsys, "--all")] == ["good", "revoked"]
    assert len(listed(tmp_path, capsys)) == 1
    # A server that starts later knows it as well.
    with pytest.raises(Refused, match="revoked-link"):
        Tokens(token_secret(tmp_path), revoked=Revocations(tmp_path, clock=lambda: 0.0)).read(
            stolen, TokenKind.INVITATION
        )


def test_a_link_whose_name_begins_with_a_dash_is_revoked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in 64 did while names were written in base64."""
    monkeypatch.setattr("bridge.tokens.secrets.token_hex", lambda _: "-1b-G1CKhXt25jWC")
    issue(tmp_path, capsys)
    assert revoke(tmp_path, "--", "-1b-G1CKhXt25jWC") == 0
    capsys.readouterr()
    assert [link["state"] for link in listed(tmp_path, capsys, "--all")] == ["revoked"]


def test_no_link_is_given_a_name_that_a_command_takes_for_an_option() -> None:
    tokens = Tokens(b"s" * 32)
    for _ in range(300):
        token = tokens.invitation(
            room="tim-mach",
            title="Tim mạch",
            site="BV Mường Nhé",
            level=Level.PROVINCE,
            role=Role.PRESENTER,
            lifetime_s=60,
        )
        assert tokens.read(token, TokenKind.INVITATION).id.isalnum()


def test_all_links_of_a_room_are_revoked_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        issue(tmp_path, capsys)
    assert revoke(tmp_path, "--room", "tim-mach") == 0
    capsys.readouterr()
    assert listed(tmp_path, capsys) == []


def test_what_is_not_known_is_not_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue(tmp_path, capsys)
    assert revoke(tmp_path, "no-such-link") == 1
    assert revoke(tmp_path) == 1
    assert revoke(tmp_path, "--room", "khac") == 1
    assert "khac: không có đường liên kết này" in capsys.readouterr().err
    assert not (tmp_path / REVOKED).exists()


def test_lines_that_are_none_are_left_out_and_old_ones_forgotten(tmp_path: Path) -> None:
    (tmp_path / "links.jsonl").write_text('{"id": 1}\nnonsense\n')
    assert LinkFiles(tmp_path).links() == []
    (tmp_path / REVOKED).write_text(f"# by hand\n\nalways\nold 1000\nyoung {1000 + JOIN_GRACE_S}\n")
    revocations = Revocations(tmp_path, clock=lambda: 1001.0 + JOIN_GRACE_S)
    assert "always" in revocations
    assert "young" in revocations
    assert "old" not in revocations


def test_a_file_that_cannot_be_read_leaves_what_was_revoked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = IssuedLink("x", "invitation", "r", "s", "chair", None, 0, 2**40)
    LinkFiles(tmp_path).revoke([link])
    revocations = Revocations(tmp_path, clock=lambda: 0.0)
    (tmp_path / REVOKED).write_bytes(b"\xff\xfe")
    os.utime(tmp_path / REVOKED, (1, 1))
    assert not revocations.poll()
    assert "x" in revocations
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "seconds"), [(("--hours", "3"), 3 * 3600), (("--days", "2"), 2 * 86400)]
)
def test_a_link_lives_as_long_as_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], seconds: int
) -> None:
    issue(tmp_path, capsys, *arguments)
    (link,) = LinkFiles(tmp_path).links()
    assert abs(link.expires_s - link.issued_s - seconds) <= 2


def test_the_end_of_a_link_may_be_a_moment_or_a_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("yesterday", "2020-01-01T10:00", "2999-01-01"):
        with pytest.raises(SystemExit):
            issue(tmp_path, capsys, "--until", wrong)
    from datetime import datetime, timedelta

    day = (datetime.now() + timedelta(days=3)).date()
    issue(tmp_path, capsys, "--until", f"{day}T17:30")
    issue(tmp_path, capsys, "--until", day.isoformat())
    ends = [datetime.fromtimestamp(link.expires_s) for link in LinkFiles(tmp_path).links()]
    assert abs((ends[0] - datetime.combine(day, datetime.min.time())).total_seconds() - 17.5 * 3600) <= 2
    assert abs((ends[1] - datetime.combine(day, datetime.min.time())).total_seconds() - 86400) <= 2


def test_settings_that_no_server_would_take_are_told_here_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOICHAN_ARCHIVE_DIR", str(tmp_path))
    assert main(["links", "list", "--state-dir", str(tmp_path / "state")]) == 2
    assert "archive.dir" in capsys.readouterr().err
