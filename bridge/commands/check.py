"""`hoichan check-config`: tries what the settings name, as far as that changes nothing."""

import errno
import getpass
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bridge.base.errors import InvalidConfig
from bridge.capture.disk import MB
from bridge.commands.texts import Speech
from bridge.config import ENVIRONMENT_PREFIX, Config
from bridge.confinement.processes import offered
from bridge.node.certificate import CertificateFiles, server_context
from bridge.node.host import archive_dir, base_url, recording_dir, state_dir, web_dir

EXIT_INVALID = 2


def report(config: Config, path: Path | None, environment: Mapping[str, str], language: str) -> int:
    """Say what was read, what cannot be used, and what is worth knowing; return the exit status."""
    say = Speech(language)
    used = sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX))
    print(say("check.file", path=path.resolve() if path else say("check.defaults")))
    print(say("check.environment", names=", ".join(used) or "-"))
    print(say("check.user", user=_user()))
    print(say("check.address", url=base_url(config)))
    for note in _notes(config, say):
        print(note)
    problems = [*_files(config, say), *_folders(config, say), *_addresses(config, say)]
    for problem in problems:
        print(f"hoichan: {problem}", file=sys.stderr)
    if problems:
        return EXIT_INVALID
    print(say("check.good"))
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A user id without a name.
        return str(os.geteuid())


def _files(config: Config, say: Speech) -> Iterator[str]:
    http = config.http
    try:
        web_dir(config)
        if http.certificate_file:
            server_context(CertificateFiles(Path(http.certificate_file), Path(http.private_key_file)))
    except InvalidConfig as error:
        yield str(error)
    for key, name in (
        ("turn.secret_file", config.turn.secret_file),
        ("archive.s3_access_key_file", config.archive.s3_access_key_file),
        ("archive.s3_secret_key_file", config.archive.s3_secret_key_file),
        ("dicom.password_file", config.dicom.password_file),
        ("dicom.ca_file", config.dicom.ca_file),
    ):
        if not name:
            continue
        try:
            if not Path(name).read_bytes().strip():
                yield say("check.empty", setting=key, path=name)
        except OSError as error:
            yield say("check.unreadable", setting=key, path=name, reason=error.strerror)


def _folders(config: Config, say: Speech) -> Iterator[str]:
    for key, folder in _places(config):
        there = _nearest(folder)
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield say("check.unwritable", setting=key, path=folder, there=there)


def _places(config: Config) -> list[tuple[str, Path]]:
    return [
        ("node.state_dir", state_dir(config)),
        ("recording.dir", recording_dir(config)),
        ("archive.dir", archive_dir(config)),
    ]


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or the part of its path that exists already, as far as this user can see."""
    while not _exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _exists(folder: Path) -> bool:
    try:
        return folder.exists()
    except PermissionError:
        # Below what belongs to somebody else.
        return False


def _addresses(config: Config, say: Speech) -> Iterator[str]:
    for key, host, port, kind in _listeners(config):
        error = _bound(host, port, kind)
        if error is not None and error.errno != errno.EADDRINUSE:
            yield say("check.unbound", setting=key, host=host or "*", port=port, reason=error.strerror)


def _listeners(config: Config) -> list[tuple[str, str, int, socket.SocketKind]]:
    http, media, admin = config.http, config.media, config.admin
    listeners = [
        ("http", http.host, http.port, socket.SOCK_STREAM),
        ("media", media.host, media.port, socket.SOCK_DGRAM),
        ("admin", admin.host, admin.port, socket.SOCK_STREAM),
    ]
    if media.tcp:
        listeners.append(("media", media.host, media.port, socket.SOCK_STREAM))
    return listeners


def _bound(host: str, port: int, kind: socket.SocketKind) -> OSError | None:
    """Return why an address cannot be listened on, or None; nothing stays open."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, kind) as tried:
            if kind is socket.SOCK_STREAM:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        return error
    return None


def _notes(config: Config, say: Speech) -> Iterator[str]:
    """Give what stops nothing, but is better known before a conference than in it."""
    for key, folder in _places(config)[1:]:
        free_mb = shutil.disk_usage(_nearest(folder)).free // MB
        is_short = config.recording.enabled and free_mb < config.recording.warn_free_mb
        yield say("check.short" if is_short else "check.free", setting=key, path=folder, free_mb=free_mb)
    for key, host, port, kind in _listeners(config):
        error = _bound(host, port, kind)
        if error is not None and error.errno == errno.EADDRINUSE:
            yield say("check.in-use", setting=key, host=host or "*", port=port)
    for name in offered().missing:
        yield say("check.unconfined", name=name)
    if config.http.tls and not config.http.certificate_file:
        yield say("check.self-signed")
