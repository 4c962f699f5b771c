"""Settings of one node: `configs/bridge.toml`, then `HOICHAN_<SECTION>_<KEY>` from the environment.

Read once, checked as a whole before anything listens. The shipped `configs/bridge.toml` names every key
with its default and the reason for it; a test holds the two equal.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import ip_address
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
    port: int = _between(8443, 0, 65535)
    tls: bool = True
    certificate_file: str = ""
    private_key_file: str = ""
    public_url: str = ""
    web_dir: str = ""
    joins_per_minute: int = _between(600, 0, 1_000_000)


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """The one UDP and TCP port that carries all media."""

    host: str = ""
    port: int = _between(7882, 0, 65535)
    tcp: bool = True
    announced_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """A TURN relay that clients may use when they reach neither the UDP nor the TCP media port."""

    urls: tuple[str, ...] = ()
    secret_file: str = ""
    credential_lifetime_s: int = _between(43200, 600, 604800)


@dataclass(frozen=True, slots=True)
class RoomsConfig:
    """Bounds and life times of conferences."""

    rooms_max: int = _between(100, 1, 10000)
    participants_max: int = _between(500, 2, 5000)
    participants_per_link: int = _between(4, 1, 5000)
    invitation_lifetime_days: int = _between(30, 1, 366)
    empty_close_s: int = _between(600, 1, 86400)
    wait_for_chair: bool = False


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


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """Packages: how they are composed, where they are kept, and how long."""

    dir: str = ""
    site_code: str = "BV"
    video_height_px: str = _one_of("720", "720", "1080")
    part_max_mb: int = _between(512, 1, 1024)
    keep_tracks_days: int = _between(30, 0, 3650)
    fixity_days: int = _between(30, 1, 3650)
    retention: str = _one_of("ordinary", *RETENTION_CLASSES)
    timestamp_url: str = ""
    s3_endpoint: str = ""
    s3_bucket: str = ""
    s3_region: str = ""
    s3_access_key_file: str = ""
    s3_secret_key_file: str = ""


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


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Metrics and health, for the machine's own operators."""

    host: str = "127.0.0.1"
    port: int = _between(9465, 0, 65535)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The process itself."""

    state_dir: str = "state"
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
    _check_whole(config)
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


def _check_whole(config: Config) -> None:
    """Check what one key alone cannot tell."""
    http = config.http
    if bool(http.certificate_file) != bool(http.private_key_file):
        raise InvalidConfig("http.certificate_file and http.private_key_file must be set together")
    if http.certificate_file and not http.tls:
        raise InvalidConfig("http.certificate_file is set although http.tls is false")
    for key, host in (
        ("http.host", http.host),
        ("media.host", config.media.host),
        ("admin.host", config.admin.host),
    ):
        if host:
            _check_address(key, host)
    for address in config.media.announced_addresses:
        _check_address("media.announced_addresses", address)
    if not config.admin.host:
        raise InvalidConfig("admin.host must name one address: metrics are not for everybody")
    if http.public_url:
        _check_origin(http.public_url)
    if bool(config.turn.urls) != bool(config.turn.secret_file):
        raise InvalidConfig("turn.urls and turn.secret_file must be set together")
    for url in config.turn.urls:
        if not url.startswith(("turn:", "turns:")):
            raise InvalidConfig(f"turn.urls must start with turn: or turns:, not {url!r}")
    _check_recording(config)
    if http.port and http.port == config.admin.port:
        raise InvalidConfig(f"http.port and admin.port are both {http.port}")
    if http.port and config.media.tcp and http.port == config.media.port:
        raise InvalidConfig(f"http.port and media.port are both {http.port}, and media.tcp needs its own")


def _check_recording(config: Config) -> None:
    recording, archive, dicom = config.recording, config.archive, config.dicom
    if not recording.stop_free_mb <= recording.shed_free_mb <= recording.warn_free_mb:
        raise InvalidConfig(
            "recording.stop_free_mb, shed_free_mb and warn_free_mb must rise: warn first, stop last"
        )
    if not _SITE_CODE.fullmatch(archive.site_code):
        raise InvalidConfig("archive.site_code must be 1 to 16 capital letters and digits")
    s3 = (archive.s3_endpoint, archive.s3_bucket, archive.s3_access_key_file, archive.s3_secret_key_file)
    if any(s3) and not all(s3):
        raise InvalidConfig(
            "archive.s3_endpoint, s3_bucket, s3_access_key_file and s3_secret_key_file must be set together"
        )
    for key, url in (("archive.timestamp_url", archive.timestamp_url), ("dicom.stow_url", dicom.stow_url)):
        if url and urlsplit(url).scheme not in ("http", "https"):
            raise InvalidConfig(f"{key} must start with http:// or https://, not {url!r}")
    if dicom.method == "stow" and not dicom.stow_url:
        raise InvalidConfig("dicom.stow_url must be set when dicom.method is stow")
    if dicom.method == "c-store" and not dicom.host:
        raise InvalidConfig("dicom.host must be set when dicom.method is c-store")
    for key, title in (("dicom.called_aet", dicom.called_aet), ("dicom.calling_aet", dicom.calling_aet)):
        if not 1 <= len(title) <= 16 or not title.isascii() or "\\" in title:
            raise InvalidConfig(f"{key} must be 1 to 16 ASCII characters (PS3.5, AE)")


def _check_address(key: str, text: str) -> None:
    try:
        ip_address(text)
    except ValueError as error:
        raise InvalidConfig(f"{key} must be an IP address, not {text!r}") from error


def _check_origin(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise InvalidConfig(f"http.public_url must look like https://bridge.example.vn, not {text!r}")


def _listed(words: Any) -> str:
    return ", ".join(sorted(words))
