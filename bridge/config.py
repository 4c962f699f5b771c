"""Settings of one node: `configs/bridge.toml`, then `HOICHAN_<SECTION>_<KEY>` from the environment.

Read once, checked as a whole before anything listens. The shipped `configs/bridge.toml` names every key
with its default and the reason for it; a test holds the two equal.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, get_type_hints
from urllib.parse import urlsplit

from bridge.base.errors import InvalidConfig
from bridge.base.words import RecordingPolicy, RetentionClass

ENVIRONMENT_PREFIX = "HOICHAN_"

Value: TypeAlias = "bool | int | float | str | tuple[str, ...]"

RECORDING_POLICIES = tuple(RecordingPolicy)
RETENTION_CLASSES = tuple(RetentionClass)

_SITE_CODE = re.compile(r"[A-Z0-9]{1,16}")
# RFC 7065, 3.1.
_TURN_URL = re.compile(r"turns?:([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(\?transport=(udp|tcp))?")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _between(default: Any, least: float, most: float) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


def _one_of(default: str, *words: str) -> Any:
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The page, the signalling WebSocket, and the API."""

    host: str = ""
    port: int = _between(8443, 1, 65535)
    tls: bool = True
    certificate_file: str = ""
    private_key_file: str = ""
    public_url: str = ""
    web_dir: str = ""
    joins_per_minute: int = _between(600, 0, 1_000_000)
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")

    def check(self) -> None:
        """Check the keys of this section against each other."""
        if bool(self.certificate_file) != bool(self.private_key_file):
            raise InvalidConfig("http.certificate_file and http.private_key_file must be set together")
        if self.certificate_file and not self.tls:
            raise InvalidConfig("http.certificate_file is set although http.tls is false")
        if self.host:
            _check_address("http.host", self.host)
        if self.public_url:
            _check_origin(self.public_url)
        for proxy in self.trusted_proxies:
            _check_network("http.trusted_proxies", proxy)


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """The one UDP and TCP port that carries all media."""

    host: str = ""
    port: int = _between(7882, 0, 65535)
    tcp: bool = True
    announced_addresses: tuple[str, ...] = ()

    def check(self) -> None:
        """Check the addresses: those that are announced must lead somewhere."""
        if self.host:
            _check_address("media.host", self.host)
        for text in self.announced_addresses:
            address = _check_address("media.announced_addresses", text)
            # A link-local one is reached only by name of the other's interface.
            if address.is_unspecified or address.is_multicast or address.is_link_local:
                raise InvalidConfig(f"media.announced_addresses must each name one machine, not {text!r}")


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """A TURN relay that clients may use when they reach neither the UDP nor the TCP media port."""

    urls: tuple[str, ...] = ()
    secret_file: str = ""
    credential_lifetime_s: int = _between(43200, 600, 604800)

    def check(self) -> None:
        """Check the keys of this section against each other."""
        if bool(self.urls) != bool(self.secret_file):
            raise InvalidConfig("turn.urls and turn.secret_file must be set together")
        for url in self.urls:
            if not _TURN_URL.fullmatch(url):
                raise InvalidConfig(
                    f"turn.urls must look like turns:turn.example.vn:443?transport=tcp, not {url!r}"
                )


@dataclass(frozen=True, slots=True)
class RoomsConfig:
    """Bounds and life times of conferences."""

    rooms_max: int = _between(100, 1, 10000)
    participants_max: int = _between(500, 2, 5000)
    participants_per_link: int = _between(4, 1, 5000)
    invitation_lifetime_days: int = _between(30, 1, 366)
    empty_close_s: int = _between(600, 1, 86400)
    wait_for_chair: bool = False
    case_left_s: int = _between(120, 5, 3600)


@dataclass(frozen=True, slots=True)
class RecordingConfig:
    """What is recorded of conferences, and where; what becomes of it is in `ArchiveConfig`."""

    enabled: bool = True
    dir: str = ""
    consultation: str = _one_of("on-consent", *RECORDING_POLICIES)
    briefing: str = _one_of("auto", *RECORDING_POLICIES)
    training: str = _one_of("auto", *RECORDING_POLICIES)
    thumbnail_cameras: bool = True
    segment_s: int = _between(60, 2, 600)
    flush_ms: int = _between(500, 100, 1000)
    warn_free_mb: int = _between(10240, 1, 10_000_000)
    shed_free_mb: int = _between(4096, 1, 10_000_000)
    stop_free_mb: int = _between(512, 1, 10_000_000)

    def check(self) -> None:
        """Check that the thresholds rise."""
        if not self.stop_free_mb <= self.shed_free_mb <= self.warn_free_mb:
            raise InvalidConfig(
                "recording.stop_free_mb, shed_free_mb and warn_free_mb must rise: warn first, stop last"
            )


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """Packages: how they are composed, where they are kept, and how long."""

    dir: str = ""
    site_code: str = "BV"
    video_height_px: str = _one_of("720", "720", "1080")
    part_max_mb: int = _between(512, 1, 1024)
    keep_tracks_days: int = _between(30, 0, 3650)
    fixity_days: int = _between(30, 1, 3650)
    gives_way: bool = True
    retention: str = _one_of("ordinary", *RETENTION_CLASSES)
    timestamp_url: str = ""
    s3_endpoint: str = ""
    s3_bucket: str = ""
    s3_region: str = ""
    s3_access_key_file: str = ""
    s3_secret_key_file: str = ""

    def check(self) -> None:
        """Check the keys of this section against each other."""
        if not _SITE_CODE.fullmatch(self.site_code):
            raise InvalidConfig("archive.site_code must be 1 to 16 capital letters and digits")
        s3 = (self.s3_endpoint, self.s3_bucket, self.s3_access_key_file, self.s3_secret_key_file)
        if any((*s3, self.s3_region)) and not all(s3):
            raise InvalidConfig(
                "archive.s3_endpoint, s3_bucket, s3_access_key_file and s3_secret_key_file "
                "must be set together, and s3_region only with them"
            )
        _check_url("archive.s3_endpoint", self.s3_endpoint)
        _check_url("archive.timestamp_url", self.timestamp_url)


@dataclass(frozen=True, slots=True)
class DicomConfig:
    """Delivery of packages to the hospital's PACS."""

    method: str = _one_of("off", "off", "stow", "c-store")
    stow_url: str = ""
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    host: str = ""
    port: int = _between(104, 1, 65535)
    called_aet: str = "ORTHANC"
    calling_aet: str = "HOICHAN"
    institution: str = ""
    retry_max_s: int = _between(3600, 1, 86400)

    def check(self) -> None:
        """Check the keys of this section against each other."""
        _check_url("dicom.stow_url", self.stow_url)
        if self.method == "stow" and not self.stow_url:
            raise InvalidConfig("dicom.stow_url must be set when dicom.method is stow")
        if self.method == "c-store" and not self.host:
            raise InvalidConfig("dicom.host must be set when dicom.method is c-store")
        for key, title in (("dicom.called_aet", self.called_aet), ("dicom.calling_aet", self.calling_aet)):
            if not 1 <= len(title) <= 16 or not title.isascii() or "\\" in title:
                raise InvalidConfig(f"{key} must be 1 to 16 ASCII characters (PS3.5, AE)")


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Metrics and health, for the machine's own operators."""

    host: str = "127.0.0.1"
    port: int = _between(9465, 0, 65535)

    def check(self) -> None:
        """Check the address."""
        if not self.host:
            raise InvalidConfig("admin.host must name one address: metrics are not for everybody")
        _check_address("admin.host", self.host)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The process itself."""

    state_dir: str = "/var/lib/hoichan"
    log_level: str = _one_of("info", "debug", "info", "warning", "error")
    drain_s: int = _between(5, 0, 3600)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one node."""

    node: NodeConfig = NodeConfig()
    http: HttpConfig = HttpConfig()
    media: MediaConfig = MediaConfig()
    turn: TurnConfig = TurnConfig()
    rooms: RoomsConfig = RoomsConfig()
    recording: RecordingConfig = RecordingConfig()
    archive: ArchiveConfig = ArchiveConfig()
    dicom: DicomConfig = DicomConfig()
    admin: AdminConfig = AdminConfig()


def load(path: Path | None, environment: Mapping[str, str] = MappingProxyType({})) -> Config:
    """Read the file (if any), then the environment; raise InvalidConfig with one sentence naming the key."""
    config = Config() if path is None else from_tables(_read_tables(path), str(path))
    config = _with_environment(config, environment)
    check(config)
    return config


def from_tables(tables: Mapping[str, Any], origin: str) -> Config:
    """Build a Config from parsed TOML; `origin` names the file in error sentences."""
    config = Config()
    names = {section.name for section in fields(Config)}
    for name, table in tables.items():
        if name not in names:
            raise InvalidConfig(f"{origin}: there is no section [{name}]; known are {_listed(names)}")
        if not isinstance(table, dict):
            raise InvalidConfig(f"{origin}: {name} must be a section, written [{name}]")
        section = getattr(config, name)
        known = {item.name: item for item in fields(section)}
        for key, raw in table.items():
            if key not in known:
                raise InvalidConfig(
                    f"{origin}: there is no key {key} in [{name}]; known are {_listed(known)}"
                )
            section = _with_value(section, known[key], raw, f"{origin}: {name}.{key}")
        config = replace(config, **{name: section})
    return config


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path}: is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{path}: is not TOML: {error}") from error


def _with_environment(config: Config, environment: Mapping[str, str]) -> Config:
    known = {
        f"{ENVIRONMENT_PREFIX}{section.name}_{item.name}".upper(): (section.name, item)
        for section in fields(Config)
        for item in fields(getattr(config, section.name))
    }
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in known:
            raise InvalidConfig(f"environment: there is no setting {variable}")
        name, item = known[variable]
        section = getattr(config, name)
        raw = _from_text(text, get_type_hints(type(section))[item.name], variable)
        section = _with_value(section, item, raw, f"environment: {variable}")
        config = replace(config, **{name: section})
    return config


def _from_text(text: str, kind: Any, variable: str) -> Value:
    if kind is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise InvalidConfig(f"environment: {variable} must be true or false, not {text!r}")
        return word in _TRUE
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise InvalidConfig(f"environment: {variable} must be a whole number, not {text!r}") from error
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _with_value(section: Any, item: "Field[Any]", raw: Any, where: str) -> Any:
    kind = get_type_hints(type(section))[item.name]
    value = tuple(raw) if isinstance(raw, list) else raw
    if kind is bool and not isinstance(value, bool):
        raise InvalidConfig(f"{where} must be true or false, not {raw!r}")
    if kind is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidConfig(f"{where} must be a whole number, not {raw!r}")
    if kind is str and not isinstance(value, str):
        raise InvalidConfig(f"{where} must be text, not {raw!r}")
    if kind == tuple[str, ...] and not (
        isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    ):
        raise InvalidConfig(f"{where} must be a list of texts, not {raw!r}")
    if "least" in item.metadata and not item.metadata["least"] <= value <= item.metadata["most"]:
        raise InvalidConfig(
            f"{where} must be between {item.metadata['least']} and {item.metadata['most']}, not {value}"
        )
    if "words" in item.metadata and value not in item.metadata["words"]:
        raise InvalidConfig(f"{where} must be one of {_listed(item.metadata['words'])}, not {value!r}")
    return replace(section, **{item.name: value})


def check(config: Config) -> None:
    """Check what one key alone cannot tell; raises InvalidConfig with one sentence."""
    for section in fields(Config):
        checked = getattr(config, section.name)
        if hasattr(checked, "check"):
            checked.check()
    http, media, admin = config.http, config.media, config.admin
    if http.port == admin.port:
        raise InvalidConfig(f"http.port and admin.port are both {http.port}")
    if media.tcp and http.port == media.port:
        raise InvalidConfig(f"http.port and media.port are both {http.port}, and media.tcp needs its own")
    _check_folders(config)


def _check_folders(config: Config) -> None:
    """Each of the three is read as a whole by what owns it, so that none may be, or lie in, another's."""
    state = _resolved(config.node.state_dir)
    recording = _resolved(config.recording.dir) if config.recording.dir else state / "recordings"
    archive = _resolved(config.archive.dir) if config.archive.dir else state / "archive"
    if recording.is_relative_to(archive) or archive.is_relative_to(recording):
        raise InvalidConfig(f"recording.dir {recording} and archive.dir {archive} must not hold each other")
    for key, folder in (("recording.dir", recording), ("archive.dir", archive)):
        if state.is_relative_to(folder):
            raise InvalidConfig(f"{key} {folder} must not hold node.state_dir {state}")


def _resolved(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _check_address(key: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidConfig(f"{key} must be an IP address, not {text!r}") from error


def _check_url(key: str, text: str) -> None:
    """An empty one is not set."""
    if text and not _is_url(text):
        raise InvalidConfig(f"{key} must start with http:// or https:// and a host, not {text!r}")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and text.isprintable() and " " not in text


def _check_network(key: str, text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise InvalidConfig(
            f"{key} must be addresses or networks such as 10.1.2.0/24, not {text!r}"
        ) from error


def _check_origin(text: str) -> None:
    """Links are made of it, and pages compared with it: it is scheme, host and port, and nothing else."""
    has_more = (
        not _is_url(text) or urlsplit(text).path not in ("", "/") or any(mark in text for mark in "?#@")
    )
    if has_more:
        raise InvalidConfig(f"http.public_url must look like https://bridge.example.vn, not {text!r}")


def _listed(words: Any) -> str:
    return ", ".join(sorted(words))
