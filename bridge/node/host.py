"""The machine a node runs on: its directories, addresses and files, as the settings and the kernel tell."""

import logging
import os
import re
import resource
import secrets
from base64 import b32encode
from datetime import UTC, datetime
from pathlib import Path

import ifaddr

from bridge.base.errors import InvalidConfig
from bridge.config import Config
from bridge.node.certificate import CertificateFiles, ensure_certificate
from bridge.tokens import load_secret

logger = logging.getLogger(__name__)

TOKEN_SECRET = "token-secret"
INSTALLATION = "installation"
INSTALLATION_LENGTH = 6


def state_dir(config: Config) -> Path:
    """Return the directory of what must survive a restart."""
    return Path(config.node.state_dir).expanduser().resolve()


def prepare_state_dir(config: Config) -> Path:
    """Return the state directory, made if absent; raises InvalidConfig."""
    path = state_dir(config)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(f"node.state_dir {path}: {error.strerror}") from error
    return path


def recording_dir(config: Config) -> Path:
    """Return where conferences are recorded."""
    return _below_state_dir(config, config.recording.dir, "recordings")


def archive_dir(config: Config) -> Path:
    """Return where packages, the catalogue and work in progress lie."""
    return _below_state_dir(config, config.archive.dir, "archive")


def _below_state_dir(config: Config, configured: str, name: str) -> Path:
    path = Path(configured) if configured else Path(config.node.state_dir) / name
    return path.expanduser().resolve()


def token_secret(folder: Path) -> bytes:
    """Return the secret that signs the node's links, made on first use; raises InvalidConfig."""
    return load_secret(folder / TOKEN_SECRET)


def installation_id(folder: Path) -> str:
    """Return six letters and digits that tell this installation from all others; raises InvalidConfig.

    Made on first use. No secret: it stands in the names of sessions and packages. One that can be read no
    more is put aside for another, as any that nobody else has will do.
    """
    path = folder / INSTALLATION
    try:
        if path.exists():
            found = path.read_bytes().strip().decode("ascii", "replace")
            if re.fullmatch(f"[A-Z2-7]{{{INSTALLATION_LENGTH}}}", found):
                return found
            path.replace(path.with_suffix(".damaged"))
            logger.warning(
                "%s was damaged and has been put aside; new recordings have a new name in it", path
            )
        made = b32encode(secrets.token_bytes(5)).decode()[:INSTALLATION_LENGTH]
        partial = path.with_suffix(".partial")
        partial.write_text(f"{made}\n", encoding="ascii")
        partial.rename(path)
    except OSError as error:
        raise InvalidConfig(f"{path}: {error}") from error
    return made


def existing_token_secret(config: Config) -> bytes:
    """Return the secret that the bridge made when it first started; raises InvalidConfig without one.

    For what signs links beside the bridge: a secret of its own would make links that nobody accepts.
    """
    path = state_dir(config) / TOKEN_SECRET
    try:
        is_there = path.is_file()
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}; run this as the bridge's user") from error
    if not is_there:
        raise InvalidConfig(
            f"there is no secret to sign with in {path.parent}: is that the bridge's node.state_dir "
            "(--config, --state-dir), and has the bridge been started once?"
        )
    return load_secret(path)


def certificate_files(config: Config, folder: Path) -> CertificateFiles:
    """Return the configured PEM files, or the generated ones; raises InvalidConfig."""
    http = config.http
    if http.certificate_file:
        return CertificateFiles(Path(http.certificate_file), Path(http.private_key_file))
    # Without the IPv6 addresses of the network: they may change every day, and each change would make a new
    # certificate that every browser asks about again.
    lasting = [address for address in host_addresses() if ":" not in address]
    hosts = ["localhost", "127.0.0.1", "::1", *lasting]
    try:
        return ensure_certificate(folder, hosts, datetime.now(UTC))
    except OSError as error:
        raise InvalidConfig(f"node.state_dir {folder}: {error.strerror}") from error


def host_addresses() -> list[str]:
    """Return this machine's addresses that others could reach: IPv4 first, no loopback, no link-local."""
    found = [
        address.ip if isinstance(address.ip, str) else address.ip[0]
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
    ]
    reachable = [
        text for text in found if not text.startswith(("127.", "169.254.", "fe80:")) and text != "::1"
    ]
    return sorted(dict.fromkeys(reachable), key=lambda text: ":" in text)


def free_descriptors() -> int:
    """Return how many more files and sockets this process may open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most - len(os.listdir("/proc/self/fd"))


def base_url(config: Config) -> str:
    """Return how people reach this server, without a slash at the end."""
    http = config.http
    if http.public_url:
        return http.public_url.rstrip("/")
    host = http.host or next(iter(host_addresses()), "localhost")
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    bracketed = f"[{host}]" if ":" in host else host
    return f"{'https' if http.tls else 'http'}://{bracketed}:{http.port}"


def web_dir(config: Config) -> Path:
    """Return the directory with the client's files; raises InvalidConfig when it has no page."""
    path = Path(config.http.web_dir) if config.http.web_dir else Path(__file__).parents[2] / "web"
    try:
        has_page = (path / "room" / "index.html").is_file()
    except PermissionError as error:
        raise InvalidConfig(f"http.web_dir {path}: {error.strerror}") from error
    if not has_page:
        raise InvalidConfig(f"http.web_dir {path}: there is no room/index.html")
    return path
