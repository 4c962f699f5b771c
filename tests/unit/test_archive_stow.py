"""DICOMweb archives that answer oddly, slowly or not at all: what is believed, and what is tried again."""

import json
import shutil
import ssl
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import sealed

from bridge.archive.pacs import dicom
from bridge.archive.pacs.delivery import backoff_s, deliver
from bridge.archive.pacs.dicom import Instance
from bridge.archive.pacs.stow import StowArchive
from bridge.base.errors import ArchiveFailed, DeliveryFailed
from bridge.config import DicomConfig

Answer = Callable[[BaseHTTPRequestHandler], None]


class Archive:
    """An archive that answers as the test wants, and remembers what it was asked and told."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.post: Answer = stored
        self.get: Answer = lambda request: answer(request, 404, b"")
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.body = b""
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                archive.paths.append(self.path)
                archive.headers.append({name.lower(): value for name, value in self.headers.items()})
                archive.post(self)

            def do_GET(self) -> None:
                archive.paths.append(self.path)
                archive.headers.append({name.lower(): value for name, value in self.headers.items()})
                archive.get(self)

            def log_message(self, *message: object) -> None:
                """Keep the test's output clean."""

        Handler.archive = archive  # type: ignore[attr-defined]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def settings(self) -> DicomConfig:
        port = self._server.server_port
        return DicomConfig(method="stow", stow_url=f"{self.scheme}://localhost:{port}/pacs/dicom-web/")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes, content_type: str = "text/plain"
) -> None:
    request.send_response(status)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def take(request: BaseHTTPRequestHandler) -> None:
    """Read the body and keep it."""
    archive: Archive = type(request).archive  # type: ignore[attr-defined]
    archive.body = request.rfile.read(int(request.headers["Content-Length"]))


def stored(request: BaseHTTPRequestHandler) -> None:
    """Answer as an archive that has stored what it was given."""
    take(request)
    uid = request.headers["Content-Type"].rpartition("hoichan-")[2]
    answer(request, 200, stored_json(uid), "application/dicom+json")


def stored_json(uid: str) -> bytes:
    return json.dumps(
        {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}
    ).encode()


def after_reading(status: int, body: bytes = b"") -> Answer:
    def act(request: BaseHTTPRequestHandler) -> None:
        take(request)
        answer(request, status, body)

    return act


def giving_back(change: Callable[[bytes], bytes]) -> Answer:
    """Give back what was stored, changed."""

    def act(request: BaseHTTPRequestHandler) -> None:
        archive: Archive = type(request).archive  # type: ignore[attr-defined]
        part = archive.body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--hoichan-")[0]
        body = b"--limit\r\nContent-Type: application/dicom\r\n\r\n" + change(part) + b"\r\n--limit--\r\n"
        answer(request, 200, body, 'multipart/related; type="application/dicom"; boundary="limit"')

    return act


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive()
    yield archive
    archive.close()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed.sealed(tmp_path_factory.mktemp("original")).folder


@pytest.fixture
def instance(package: Path) -> Instance:
    return dicom.instances(package)[0]


@pytest.fixture
def path(package: Path, instance: Instance, tmp_path: Path) -> Path:
    dicom.write(package, instance, tmp_path / "object.dcm")
    return tmp_path / "object.dcm"


def ignore(value: object) -> None:
    """Nobody looks."""


def failure(archive: Archive, path: Path, instance: Instance) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        StowArchive(archive.settings, timeout_s=1.0).send(path, instance, ignore)
    return failed.value


def test_instance_goes_out_with_its_length_and_comes_whole(
    archive: Archive, path: Path, instance: Instance
) -> None:
    counted: list[int] = []
    StowArchive(archive.settings).send(path, instance, counted.append)
    assert archive.paths == ["/pacs/dicom-web/studies"]
    [headers] = archive.headers
    assert headers["content-length"] == str(len(archive.body))
    assert "transfer-encoding" not in headers
    assert archive.body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--hoichan-")[0] == path.read_bytes()
    assert sum(counted) == path.stat().st_size


def test_two_hundred_without_our_instance_is_not_believed(
    archive: Archive, path: Path, instance: Instance
) -> None:
    archive.post = after_reading(200, stored_json("1.2.3"))
    assert failure(archive, path, instance).code == "pacs-not-stored"


@pytest.mark.parametrize(
    "body", [b"", b"<xml/>", b"[]", b'{"00081199": 1}', b'{"00081199": {"Value": [{}]}}']
)
def test_two_hundred_with_something_else_is_not_believed(
    archive: Archive, path: Path, instance: Instance, body: bytes
) -> None:
    archive.post = after_reading(200, body)
    failed = failure(archive, path, instance)
    assert (failed.code, failed.is_lasting) == ("pacs-answer", False)


@pytest.mark.parametrize(
    ("status", "code", "is_lasting"),
    [
        (400, "pacs-refused", True),
        (401, "pacs-refused", True),
        (409, "pacs-refused", True),
        (415, "pacs-refused", True),
        (302, "pacs-unavailable", False),
        (404, "pacs-unavailable", False),
        (429, "pacs-unavailable", False),
        (500, "pacs-unavailable", False),
        (503, "pacs-unavailable", False),
    ],
)
def test_status_tells_whether_to_try_again(
    archive: Archive, path: Path, instance: Instance, status: int, code: str, is_lasting: bool
) -> None:
    archive.post = after_reading(status)
    failed = failure(archive, path, instance)
    assert (failed.code, failed.is_lasting) == (code, is_lasting)
    assert str(status) in failed.sentence


def test_archive_that_hangs_up_is_tried_again(archive: Archive, path: Path, instance: Instance) -> None:
    archive.post = lambda request: request.connection.close()
    failed = failure(archive, path, instance)
    assert (failed.code, failed.is_lasting) == ("pacs-unreachable", False)


def test_archive_that_never_answers_is_tried_again(archive: Archive, path: Path, instance: Instance) -> None:
    archive.post = lambda request: request.rfile.read()
    failed = failure(archive, path, instance)
    assert (failed.code, failed.is_lasting) == ("pacs-unreachable", False)


def test_what_comes_back_unchanged_is_delivered(archive: Archive, package: Path, tmp_path: Path) -> None:
    archive.get = giving_back(lambda part: part)
    delivered = deliver(package, tmp_path / "work", settings=archive.settings, report=lambda progress: None)
    assert len(delivered) == 4
    assert all("transfer-syntax=*" in headers["accept"] for headers in archive.headers[1::2])


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("data/case.json", b'"BN-0001"', b'"BN-0101"'),
        ("data/video/parts.json", b'"height": 360', b'"height": 361'),
        ("data/minutes/v1.pdf", b"%PDF", b"%PDG"),
        ("manifest-sha256.txt", b"a", b"b"),
        ("seal/seal.json", b"C01", b"C02"),
    ],
)
def test_nothing_is_sent_of_a_package_that_is_not_what_was_sealed(
    archive: Archive, package: Path, tmp_path: Path, name: str, before: bytes, after: bytes
) -> None:
    damaged = Path(shutil.copytree(package, tmp_path / package.name))
    content = (damaged / name).read_bytes()
    assert before in content
    (damaged / name).write_bytes(content.replace(before, after))
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        deliver(damaged, tmp_path / "work", settings=archive.settings, report=ignore)
    assert archive.paths == []


def test_archive_that_refuses_what_it_has_is_believed_when_it_gives_it_back(
    archive: Archive, package: Path, tmp_path: Path
) -> None:
    archive.post, archive.get = after_reading(409), giving_back(lambda part: part)
    assert len(deliver(package, tmp_path / "work", settings=archive.settings, report=ignore)) == 4
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["delivered.json"]


def test_archive_that_refuses_because_it_has_something_else_is_told_apart(
    archive: Archive, package: Path, tmp_path: Path
) -> None:
    archive.post, archive.get = after_reading(409), giving_back(lambda part: part[:-5000])
    with pytest.raises(DeliveryFailed) as failed:
        deliver(package, tmp_path / "work", settings=archive.settings, report=ignore)
    assert failed.value.code == "pacs-other-object"


def test_archive_that_refuses_and_gives_nothing_back_has_refused(
    archive: Archive, package: Path, tmp_path: Path
) -> None:
    archive.post = after_reading(409)
    with pytest.raises(DeliveryFailed, match="HTTP 409") as failed:
        deliver(package, tmp_path / "work", settings=archive.settings, report=ignore)
    assert failed.value.code == "pacs-refused"


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part[:-5000] + bytes([part[-5000] ^ 1]) + part[-4999:],
        lambda part: part[:-2000],
        lambda part: b"",
        lambda part: b"not DICOM at all" * 100,
    ],
    ids=["flipped bit", "cut off", "empty", "rubbish"],
)
def test_what_comes_back_changed_is_not_delivered(
    archive: Archive, package: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    archive.get = giving_back(change)
    with pytest.raises(DeliveryFailed) as failed:
        deliver(package, tmp_path / "work", settings=archive.settings, report=lambda progress: None)
    assert (failed.value.code, failed.value.is_lasting) == ("pacs-other-object", True)
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/dicom", b"DICM"),
        ('multipart/related; boundary="limit"', b""),
        ('multipart/related; boundary="limit"', b"--limit\r\nContent-Type: x"),
        ('multipart/related; boundary="limit"', b"--limit\r\n\r\nno end"),
        ('multipart/related; boundary="limit"', b"x" * 100_000),
    ],
)
def test_torn_answer_is_asked_for_again(
    archive: Archive, instance: Instance, tmp_path: Path, content_type: str, body: bytes
) -> None:
    archive.get = lambda request: answer(request, 200, body, content_type)
    with pytest.raises(DeliveryFailed) as failed:
        StowArchive(archive.settings).fetch(instance, tmp_path / "back.dcm", ignore)
    assert not failed.value.is_lasting


def test_answer_without_an_end_does_not_fill_the_disk(
    archive: Archive, instance: Instance, tmp_path: Path
) -> None:
    body = b"--limit\r\n\r\n" + bytes(instance.bytes + 20_000_000) + b"\r\n--limit--\r\n"

    def give_on_and_on(request: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            answer(request, 200, body, 'multipart/related; boundary="limit"')

    archive.get = give_on_and_on
    with pytest.raises(DeliveryFailed, match="more than an object's length"):
        StowArchive(archive.settings).fetch(instance, tmp_path / "back.dcm", ignore)


def test_credentials_go_to_the_archive_and_into_no_error(
    archive: Archive, path: Path, instance: Instance, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("mật khẩu\n", encoding="utf-8")
    settings = replace(archive.settings, user="hoichan", password_file=str(tmp_path / "password"))
    archive.post = after_reading(403)
    with pytest.raises(DeliveryFailed) as failed:
        StowArchive(settings).send(path, instance, ignore)
    token = archive.headers[0]["authorization"].removeprefix("Basic ")
    assert b64decode(token).decode() == "hoichan:mật khẩu"
    assert "khẩu" not in str(failed.value)


def test_missing_password_file_is_a_matter_of_settings(
    archive: Archive, path: Path, instance: Instance
) -> None:
    settings = replace(archive.settings, user="hoichan", password_file="/nowhere/password")
    with pytest.raises(DeliveryFailed) as failed:
        StowArchive(settings).send(path, instance, ignore)
    assert (failed.value.code, failed.value.is_lasting) == ("pacs-settings", True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "pacs.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path)),
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return path


def test_archive_behind_tls_is_known_by_its_authority(
    certificate: Path, path: Path, instance: Instance
) -> None:
    archive = Archive(certificate)
    try:
        with pytest.raises(DeliveryFailed, match="certificate") as failed:
            StowArchive(archive.settings).send(path, instance, ignore)
        assert not failed.value.is_lasting
        assert archive.paths == []
        StowArchive(replace(archive.settings, ca_file=str(certificate))).send(path, instance, ignore)
        assert archive.paths == ["/pacs/dicom-web/studies"]
    finally:
        archive.close()


def test_missing_authority_file_is_a_matter_of_settings(
    certificate: Path, path: Path, instance: Instance
) -> None:
    settings = DicomConfig(method="stow", stow_url="https://localhost:9/", ca_file="/nowhere/ca.pem")
    with pytest.raises(DeliveryFailed) as failed:
        StowArchive(settings).send(path, instance, ignore)
    assert (failed.value.code, failed.value.is_lasting) == ("pacs-settings", True)


def test_pauses_between_attempts_double_up_to_their_bound() -> None:
    assert [backoff_s(attempt, most_s=100) for attempt in range(1, 6)] == [15.0, 30.0, 60.0, 100.0, 100.0]
    assert backoff_s(10**9, most_s=3600) == 3600.0


def test_delivery_that_is_off_delivers_nothing(package: Path, tmp_path: Path) -> None:
    assert deliver(package, tmp_path / "work", settings=DicomConfig(), report=lambda progress: None) == []
    assert not (tmp_path / "work").exists()
