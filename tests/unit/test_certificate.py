"""bridge/node/certificate.py: the generated certificate and when it is made anew."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from bridge.base.errors import InvalidConfig
from bridge.node.certificate import CertificateFiles, ensure_certificate, server_context

HOSTS = ("localhost", "127.0.0.1", "::1", "192.0.2.7")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def serial_number(files: CertificateFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


def test_generated_files_are_private_and_cover_every_host(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path, HOSTS, NOW)
    assert files.certificate.stat().st_mode & 0o777 == 0o600
    assert files.private_key.stat().st_mode & 0o777 == 0o600
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == set(HOSTS)
    server_context(files)


def test_a_good_certificate_is_kept(tmp_path: Path) -> None:
    first = serial_number(ensure_certificate(tmp_path, HOSTS, NOW))
    later = NOW + timedelta(days=300)
    assert serial_number(ensure_certificate(tmp_path, HOSTS[:2], later)) == first


def test_a_certificate_near_its_end_is_renewed(tmp_path: Path) -> None:
    first = serial_number(ensure_certificate(tmp_path, HOSTS, NOW))
    assert serial_number(ensure_certificate(tmp_path, HOSTS, NOW + timedelta(days=370))) != first


def test_a_new_address_of_the_machine_renews_the_certificate(tmp_path: Path) -> None:
    first = serial_number(ensure_certificate(tmp_path, HOSTS, NOW))
    assert serial_number(ensure_certificate(tmp_path, (*HOSTS, "192.0.2.8"), NOW)) != first


@pytest.mark.parametrize("name", ["certificate.pem", "private-key.pem"])
def test_a_damaged_file_is_replaced(tmp_path: Path, name: str) -> None:
    first = serial_number(ensure_certificate(tmp_path, HOSTS, NOW))
    (tmp_path / name).write_bytes(b"half a fi")
    files = ensure_certificate(tmp_path, HOSTS, NOW)
    assert serial_number(files) != first
    server_context(files)


def test_a_foreign_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = ensure_certificate(tmp_path / "other", HOSTS, NOW)
    files = ensure_certificate(tmp_path, HOSTS, NOW)
    files.private_key.write_bytes(other.private_key.read_bytes())
    server_context(ensure_certificate(tmp_path, HOSTS, NOW))


def test_unusable_configured_files_are_an_invalid_config(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "a.pem", tmp_path / "b.pem")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        server_context(files)
    files.certificate.write_text("no certificate", encoding="utf-8")
    files.private_key.write_text("no key", encoding="utf-8")
    with pytest.raises(InvalidConfig, match=r"a\.pem and .*b\.pem"):
        server_context(files)
