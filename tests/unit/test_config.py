"""bridge/config.py, and configs/bridge.toml as its twin."""

import tomllib
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.base.errors import InvalidConfig
from bridge.config import Config, from_tables, load

SHIPPED = Path(__file__).parents[2] / "configs" / "bridge.toml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_file_equals_the_defaults() -> None:
    assert load(SHIPPED) == Config()


def test_shipped_file_names_every_key_in_order() -> None:
    tables = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    assert {name: list(table) for name, table in tables.items()} == {
        section.name: [item.name for item in fields(getattr(Config(), section.name))]
        for section in fields(Config)
    }


def test_shipped_file_explains_every_key_in_the_line_above_it() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    unexplained = [
        line
        for above, line in pairwise(lines)
        if "=" in line and not line.startswith("#") and not above.startswith("# ")
    ]
    assert unexplained == []


def test_without_a_file_the_defaults_hold() -> None:
    assert load(None) == Config()


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[media]\nport = 7000\ntcp = true\n")
    environment = {
        "HOICHAN_MEDIA_PORT": "7001",
        "HOICHAN_MEDIA_TCP": "no",
        "HOICHAN_MEDIA_ANNOUNCED_ADDRESSES": "203.0.113.7, 2001:db8::7",
        "PATH": "/usr/bin",
    }
    media = load(path, environment).media
    assert (media.port, media.tcp) == (7001, False)
    assert media.announced_addresses == ("203.0.113.7", "2001:db8::7")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[media\n", "is not TOML"),
        ("[medai]\nport = 1\n", r"there is no section \[medai\]"),
        ("media = 3\n", r"must be a section"),
        ("[media]\nprot = 1\n", r"there is no key prot in \[media\]; known are .*port"),
        ('[media]\nport = "1"\n', "media.port must be a whole number"),
        ("[media]\nport = true\n", "media.port must be a whole number"),
        ("[media]\nport = 65536\n", "media.port must be between 0 and 65535"),
        ("[http]\ntls = 1\n", "http.tls must be true or false"),
        ("[http]\nhost = 1\n", "http.host must be text"),
        ('[http]\nhost = "localhost"\n', "http.host must be an IP address"),
        ('[http]\npublic_url = "bridge.vn"\n', "http.public_url must look like"),
        ('[http]\ncertificate_file = "a.pem"\n', "must be set together"),
        (
            '[http]\ntls = false\ncertificate_file = "a"\nprivate_key_file = "b"\n',
            "although http.tls is false",
        ),
        ("[media]\nannounced_addresses = [7]\n", "must be a list of texts"),
        ('[media]\nannounced_addresses = ["bridge"]\n', "must be an IP address"),
        ('[media]\nannounced_addresses = ["fe80::1%eth0"]\n', "must each name one machine"),
        ('[media]\nannounced_addresses = ["[2001:db8::1]"]\n', "must be an IP address"),
        ('[node]\nlog_level = "loud"\n', "must be one of debug, error, info, warning"),
        ('[admin]\nhost = ""\n', "admin.host must name one address"),
        ("[admin]\nport = 8443\n", "http.port and admin.port are both 8443"),
        ("[media]\nport = 8443\n", "http.port and media.port are both 8443"),
        ('[turn]\nurls = ["turn:a"]\n', "must be set together"),
        ('[turn]\nurls = ["stun:a"]\nsecret_file = "s"\n', "turn.urls must look like"),
        ("[http]\nport = 0\n", "http.port must be between 1 and 65535"),
        ('[http]\npublic_url = "https://h.vn/?x=1"\n', "http.public_url must look like"),
        ('[http]\npublic_url = "https://h.vn/#x"\n', "http.public_url must look like"),
        ('[http]\npublic_url = "https://h.vn?"\n', "http.public_url must look like"),
        ('[http]\npublic_url = "https://a@h.vn"\n', "http.public_url must look like"),
        ('[http]\npublic_url = "https://h.vn /"\n', "http.public_url must look like"),
        ('[http]\npublic_url = "https://h.vn:x"\n', "http.public_url must look like"),
        ('[http]\ntrusted_proxies = ["proxy"]\n', "http.trusted_proxies must be addresses or networks"),
        ('[http]\ntrusted_proxies = ["10.1.2.3/24"]\n', "http.trusted_proxies must be addresses or networks"),
        ('[media]\nannounced_addresses = ["0.0.0.0"]\n', "must each name one machine"),
        ('[media]\nannounced_addresses = ["::"]\n', "must each name one machine"),
        ('[media]\nannounced_addresses = ["224.0.0.1"]\n', "must each name one machine"),
        ('[recording]\ndir = "/d"\n[archive]\ndir = "/d"\n', "must not hold each other"),
        ('[recording]\ndir = "/d"\n[archive]\ndir = "/d/a"\n', "must not hold each other"),
        ('[archive]\ndir = "/var/lib/hoichan/recordings"\n', "must not hold each other"),
        ('[archive]\ndir = "/var/lib/hoichan"\n', "must not hold"),
        ('[turn]\nurls = ["turn:"]\nsecret_file = "s"\n', "turn.urls must look like"),
        ('[turn]\nurls = ["turns:?transport=tcp"]\nsecret_file = "s"\n', "turn.urls must look like"),
        ('[turn]\nurls = ["turn:h:3478 "]\nsecret_file = "s"\n', "turn.urls must look like"),
        ('[archive]\ns3_region = "vn"\n', "must be set together"),
        (
            '[archive]\ns3_endpoint = "store"\ns3_bucket = "b"\n'
            's3_access_key_file = "a"\ns3_secret_key_file = "s"\n',
            "archive.s3_endpoint must start with",
        ),
        ('[archive]\ntimestamp_url = "http://"\n', "archive.timestamp_url must start with"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_the_key(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(InvalidConfig, match=sentence) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["turn:turn.example.vn", "turns:turn.example.vn:443?transport=tcp", "turn:[2001:db8::7]:3478"]
)
def test_addresses_of_relays_are_taken_as_rfc_7065_writes_them(tmp_path: Path, url: str) -> None:
    text = f'[turn]\nurls = ["{url}"]\nsecret_file = "s"\n'
    assert load(written(tmp_path, text)).turn.urls == (url,)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("HOICHAN_MEDIA_PROT", "1"),
        ("HOICHAN_MEDIA_PORT", "many"),
        ("HOICHAN_MEDIA_TCP", "perhaps"),
        ("HOICHAN_NODE_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_environment_is_refused_naming_the_variable(variable: str, text: str) -> None:
    with pytest.raises(InvalidConfig, match=variable):
        load(None, {variable: text})


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load(tmp_path / "absent.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match="not UTF-8"):
        load(binary)


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_VALUES = _LEAVES | st.lists(_LEAVES, max_size=3) | st.dictionaries(st.text(max_size=5), _LEAVES, max_size=3)
_KEYS = st.sampled_from(["port", "host", "tls", "tcp", "urls", "state_dir", "log_level"]) | st.text(
    max_size=5
)
_SECTIONS = st.sampled_from([section.name for section in fields(Config)]) | st.text(max_size=5)


@given(st.dictionaries(_SECTIONS, _VALUES | st.dictionaries(_KEYS, _VALUES, max_size=3), max_size=3))
def test_no_table_raises_anything_but_invalid_config(tables: dict[str, object]) -> None:
    try:
        assert isinstance(from_tables(tables, "bridge.toml"), Config)
    except InvalidConfig:
        pass
