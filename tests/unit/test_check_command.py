"""`hoichan check-config`: what it tries, and that it changes nothing."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.confinement.processes import Offered


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NODE_STATE_DIR": str(tmp_path / "state"),
        "HTTP_HOST": "127.0.0.1",
        "MEDIA_HOST": "127.0.0.1",
    }.items():
        monkeypatch.setenv(f"HOICHAN_{name}", value)


def run(*arguments: str) -> int:
    return main(["check-config", "--lang", "en", *arguments])


def test_good_settings_are_told_with_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text('[archive]\nsite_code = "BV1"\n')
    assert run("--config", str(file)) == 0
    told = capsys.readouterr()
    assert f"Settings: {file}" in told.out
    assert "HOICHAN_HTTP_HOST, HOICHAN_MEDIA_HOST, HOICHAN_NODE_STATE_DIR" in told.out
    assert "the settings can be used" in told.out
    assert "browsers will warn" in told.out
    assert told.err == ""
    # Trying makes nothing.
    assert not (tmp_path / "state").exists()


def test_it_speaks_vietnamese(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--lang", "vi"]) == 0
    assert "dùng được các cài đặt này" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("MEDIA_HOST", "10.99.99.99", "media.host 10.99.99.99, media.port 7882: cannot be listened on"),
        ("HTTP_HOST", "10.99.99.99", "http.host 10.99.99.99, http.port 8443: cannot be listened on"),
        ("ADMIN_HOST", "2001:db8::99", "admin.host 2001:db8::99"),
        ("NODE_STATE_DIR", "{file}/state", "node.state_dir"),
        ("RECORDING_DIR", "{file}/recordings", "recording.dir"),
        ("ARCHIVE_DIR", "{file}", "archive.dir"),
        ("DICOM_PASSWORD_FILE", "{file}/absent", "dicom.password_file"),
        ("DICOM_CA_FILE", "{empty}", "is empty"),
        ("HTTP_WEB_DIR", "{file}", "there is no room/index.html"),
    ],
)
def test_what_cannot_run_is_told_by_its_setting(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    sentence: str,
) -> None:
    file, empty = tmp_path / "file", tmp_path / "empty"
    file.write_text("x")
    empty.touch()
    monkeypatch.setenv(f"HOICHAN_{variable}", value.format(file=file, empty=empty))
    assert run() == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "can be used" not in told.out


@contextmanager
def somebody_else(closed: Path) -> Iterator[None]:
    """Run the body as a user to whom that folder is closed."""
    if os.geteuid() == 0:
        closed.chmod(0o700)
        os.setresuid(65_534, 65_534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
        return
    closed.chmod(0)
    try:
        yield
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("NODE_STATE_DIR", "node.state_dir"),
        ("RECORDING_DIR", "recording.dir"),
        ("ARCHIVE_DIR", "archive.dir"),
        ("HTTP_WEB_DIR", "http.web_dir"),
    ],
)
def test_another_user_is_told_what_is_closed_to_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    setting: str,
) -> None:
    closed = tmp_path / "closed"
    (closed / "folder").mkdir(parents=True)
    monkeypatch.setenv(f"HOICHAN_{variable}", str(closed / "folder" / "below"))
    with somebody_else(closed):
        status = run()
    assert status == 2
    told = capsys.readouterr().err
    assert setting in told
    assert str(closed) in told


def test_a_port_in_use_and_a_small_disk_are_worth_a_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOICHAN_RECORDING_WARN_FREE_MB", "10000000")
    with socket.create_server(("127.0.0.1", 0)) as running:
        port = running.getsockname()[1]
        assert run("--port", str(port)) == 0
    told = capsys.readouterr().out
    assert f"http, 127.0.0.1 port {port}: is in use" in told
    assert told.count("below recording.warn_free_mb") == 2


def test_the_command_line_is_checked_with_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--port", "9465") == 2
    assert "http.port and admin.port are both 9465" in capsys.readouterr().err


def test_a_kernel_that_cannot_confine_decoders_is_worth_a_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.commands.check.offered", lambda: Offered(0, seccomp=True))
    assert run() == 0
    assert "the kernel has no Landlock" in capsys.readouterr().out
