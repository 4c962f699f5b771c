"""Time stamps by a real authority (OpenSSL's), over HTTP; damaged, foreign and refused ones; and none."""

import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import sealed
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed import T0

from bridge.archive.package import der, timestamps
from bridge.archive.package.build import PackageSettings, seal_package
from bridge.archive.package.timestamps import STAMP_FILE, STAMP_SUM_FILE
from bridge.archive.package.verify import verify

SETTINGS = """
[tsa]
default_tsa = authority
[authority]
dir = {folder}
serial = $dir/serial
crypto_device = builtin
signer_cert = $dir/tsa.pem
signer_key = $dir/tsa.key
certs = $dir/tsa.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
KEYS = {"rsa": ("rsa:2048",), "ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")}


class Authority:
    """A time stamp authority, answering on loopback."""

    def __init__(self, folder: Path, key: str = "rsa") -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "tsa.cnf").write_text(SETTINGS.format(folder=folder), encoding="utf-8")
        (folder / "serial").write_text("01\n", encoding="utf-8")
        self._openssl(
            *("req", "-x509", "-newkey", *KEYS[key], "-nodes", "-days", "30"),
            *(
                "-subj",
                "/CN=Test authority",
                "-keyout",
                str(folder / "tsa.key"),
                "-out",
                str(folder / "tsa.pem"),
            ),
            *("-addext", "extendedKeyUsage=critical,timeStamping"),
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stamp(self, query: bytes) -> bytes:
        (self._folder / "query.tsq").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", str(self._folder / "tsa.cnf")),
            *("-queryfile", str(self._folder / "query.tsq"), "-out", str(self._folder / "reply.tsr")),
        )
        return (self._folder / "reply.tsr").read_bytes()

    def accepts(self, package: Path) -> bool:
        """Tell whether OpenSSL finds the stamp of a package right, knowing the authority's certificate."""
        found = subprocess.run(
            [
                *("openssl", "ts", "-verify", "-data", str(package / "tagmanifest-sha256.txt")),
                *("-in", str(package / STAMP_FILE), "-CAfile", str(self._folder / "tsa.pem")),
            ],
            capture_output=True,
            timeout=30,
            check=False,
        )
        return found.returncode == 0

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], capture_output=True, timeout=60, check=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                answer = authority.stamp(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *message: object) -> None:
                """Keep the test's output clean."""

        return Handler


@pytest.fixture(scope="module", params=list(KEYS))
def authority(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    authority = Authority(tmp_path_factory.mktemp("tsa") / "authority", request.param)
    yield authority
    authority.close()


@pytest.fixture(scope="module")
def original(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stamped(tmp_path_factory.mktemp("stamped"), authority.url)


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def stamped(root: Path, url: str) -> Path:
    (root / "packages").mkdir()
    return seal_package(
        sealed.session(root),
        sealed.case_plan(),
        sealed.composition(root / "work"),
        root / "packages",
        settings=PackageSettings(software="hoichan 0.1.0", timestamp_url=url),
        previous_seal=None,
        now_ms=T0,
        report=lambda progress: None,
    ).folder


def test_sealed_package_gets_a_stamp_that_openssl_accepts(package: Path, authority: Authority) -> None:
    assert timestamps.is_stamped(package)
    assert authority.accepts(package)
    assert verify(package) == []


def test_stamp_says_when_and_by_whom(package: Path) -> None:
    content = (package / "tagmanifest-sha256.txt").read_bytes()
    stamp = timestamps.check((package / STAMP_FILE).read_bytes(), content)
    assert stamp.at.endswith("Z")
    assert stamp.authority == "CN=Test authority"


def test_every_changed_byte_of_stamp_and_checksum_is_found(package: Path) -> None:
    for name in (STAMP_FILE, STAMP_SUM_FILE):
        content = (package / name).read_bytes()
        for position in range(0, len(content), 7):
            changed = bytearray(content)
            changed[position] ^= 0x01
            (package / name).write_bytes(changed)
            problems = verify(package)
            assert {problem.code for problem in problems} == {"timestamp-broken"}, (
                f"byte {position} of {name}"
            )
        (package / name).write_bytes(content)


def test_stamp_of_something_else_is_not_accepted(package: Path, authority: Authority) -> None:
    answer = authority.stamp(timestamps.query(b"something else", 1))
    (package / STAMP_FILE).write_bytes(answer)
    (package / STAMP_SUM_FILE).write_bytes(timestamps.sum_line(answer))
    assert [problem.code for problem in verify(package)] == ["timestamp-broken"]
    assert not authority.accepts(package)


def test_signature_over_other_attributes_is_not_accepted(package: Path) -> None:
    """The last bytes of the answer are those of the signature itself."""
    content = (package / "tagmanifest-sha256.txt").read_bytes()
    answer = bytearray((package / STAMP_FILE).read_bytes())
    answer[-1] ^= 0x01
    with pytest.raises(ValueError, match="signature"):
        timestamps.check(bytes(answer), content)


def test_stamp_with_a_certificate_that_nobody_can_read_is_a_problem_and_no_crash(package: Path) -> None:
    answer = (package / STAMP_FILE).read_bytes()
    # The version of an X.509 certificate: [0] INTEGER 2.
    version = bytes.fromhex("a003020102")
    assert version in answer
    answer = answer.replace(version, version[:-1] + b"\x4f")
    (package / STAMP_FILE).write_bytes(answer)
    (package / STAMP_SUM_FILE).write_bytes(timestamps.sum_line(answer))
    assert [problem.code for problem in verify(package)] == ["timestamp-broken"]


def test_refused_stamp_is_said_to_be_refused() -> None:
    refusal = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode_integer(2)))
    with pytest.raises(ValueError, match="refused with status 2"):
        timestamps.check(refusal, b"")


def test_missing_authority_delays_no_package_and_its_stamp_can_come_later(
    tmp_path: Path, authority: Authority
) -> None:
    package = stamped(tmp_path, "http://127.0.0.1:9/")
    assert not timestamps.is_stamped(package)
    assert verify(package) == []
    assert timestamps.stamp(package, authority.url)
    assert authority.accepts(package)
    assert verify(package) == []
    assert list(package.parent.iterdir()) == [package]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_no_time_stamp(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        timestamps.check(answer, b"content")


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_der_reads_what_it_writes(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 2**70))
    content = data.draw(st.binary(max_size=400))
    encoded = der.encode(der.SEQUENCE, der.encode_integer(number), der.encode(der.OCTET_STRING, content))
    first, second = der.parse(encoded).expect(der.SEQUENCE).children()
    assert (first.integer(), second.content) == (number, content)
