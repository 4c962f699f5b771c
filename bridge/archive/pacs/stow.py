"""DICOMweb (PS3.18): an instance stored by STOW-RS and read back by WADO-RS, both streamed.

The body has a Content-Length: archives take chunked ones many times slower. Synchronous, for the child
process that delivers. Whether what comes back is what was sent is for `delivery` to judge.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from bridge.archive.model import PACS_UNREACHABLE
from bridge.archive.pacs.dicom import Instance
from bridge.base.errors import DeliveryFailed
from bridge.config import DicomConfig

# An archive works on half a gigabyte for a while before it answers.
TIMEOUT_S: Final = 300.0
_CHUNK_BYTES: Final = 1024 * 1024
_ANSWER_MAX_BYTES: Final = 1024 * 1024
_PART_HEADER_MAX_BYTES: Final = 8192
# What an archive may add to an object that it gives back: attributes, padding, the closing boundary.
_ADDED_MAX_BYTES: Final = 16 * 1024 * 1024
_STORED: Final = (200, 202)
# The archive has understood, and will not have it: asking again does not change its mind.
_REFUSED: Final = frozenset({400, 401, 403, 405, 406, 409, 410, 411, 413, 415, 422})
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_REFERENCED_SOP_INSTANCE: Final = "00081155"

OnBytes = Callable[[int], None]


class StowArchive:
    """An archive that speaks DICOMweb."""

    def __init__(self, settings: DicomConfig, *, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(settings.stow_url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._root = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._settings = settings
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._root}"

    def send(self, path: Path, instance: Instance, on_bytes: OnBytes) -> None:
        """Store a file; raises DeliveryFailed unless the archive says that it has this instance."""
        boundary = f"hoichan-{instance.sop_instance_uid}"
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        with self._connection() as connection:
            connection.putrequest("POST", f"{self._root}/studies")
            self._put_headers(connection, "application/dicom+json")
            connection.putheader(
                "Content-Type", f'multipart/related; type="application/dicom"; boundary={boundary}'
            )
            connection.putheader("Content-Length", str(len(head) + path.stat().st_size + len(tail)))
            connection.endheaders()
            try:
                connection.send(head)
                for chunk in _chunks(path):
                    connection.send(chunk)
                    on_bytes(len(chunk))
                connection.send(tail)
            except (BrokenPipeError, ConnectionResetError):
                # It may have said why before it hung up.
                self._check(connection, instance)
                raise
            self._check(connection, instance)

    def fetch(self, instance: Instance, target: Path, on_bytes: OnBytes) -> None:
        """Write the instance as the archive gives it back into a file; raises DeliveryFailed."""
        place = (
            f"{self._root}/studies/{instance.case.study_uid}/series/{instance.series_uid}"
            f"/instances/{instance.sop_instance_uid}"
        )
        with self._connection() as connection:
            connection.putrequest("GET", place)
            # Without the transfer syntax an archive may want to transcode, and some fail at it.
            self._put_headers(connection, 'multipart/related; type="application/dicom"; transfer-syntax=*')
            connection.endheaders()
            with connection.getresponse() as response:
                if response.status == 404:
                    raise DeliveryFailed("pacs-not-stored", f"{self.name} does not have {_said(instance)}")
                if response.status != 200:
                    self._raise_status(response, "given back", instance)
                with target.open("wb") as file:
                    self._take_part(response, file, instance.bytes + _ADDED_MAX_BYTES, on_bytes)

    @contextmanager
    def _connection(self) -> Iterator[HTTPConnection]:
        """Open a connection, and say of everything that can break it that the archive cannot be reached."""
        connection = self._connect()
        try:
            yield connection
        except (OSError, HTTPException, ValueError) as error:
            raise DeliveryFailed(PACS_UNREACHABLE, f"{self.name}: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        if not self._is_tls:
            return HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file or None)
        except OSError as error:
            raise DeliveryFailed(
                "pacs-settings", f"dicom.ca_file {self._settings.ca_file}: {error}", is_lasting=True
            ) from error
        return HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)

    def _put_headers(self, connection: HTTPConnection, accepted: str) -> None:
        connection.putheader("Accept", accepted)
        if self._settings.user:
            credentials = f"{self._settings.user}:{self._password()}"
            connection.putheader("Authorization", f"Basic {b64encode(credentials.encode()).decode()}")

    def _password(self) -> str:
        if not self._settings.password_file:
            return ""
        try:
            return Path(self._settings.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(
                "pacs-settings",
                f"dicom.password_file {self._settings.password_file}: {error}",
                is_lasting=True,
            ) from error

    def _check(self, connection: HTTPConnection, instance: Instance) -> None:
        """Check that the answer names our instance among those stored; a bare 200 proves nothing."""
        with connection.getresponse() as response:
            if response.status not in _STORED:
                self._raise_status(response, "stored", instance)
            content = response.read(_ANSWER_MAX_BYTES)
        try:
            stored = _stored(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DeliveryFailed(
                "pacs-answer", f"{self.name} answered with something other than DICOM JSON"
            ) from error
        if instance.sop_instance_uid not in stored:
            raise DeliveryFailed("pacs-not-stored", f"{self.name} did not store {_said(instance)}")

    def _raise_status(self, response: HTTPResponse, verb: str, instance: Instance) -> None:
        code = "pacs-refused" if response.status in _REFUSED else "pacs-unavailable"
        raise DeliveryFailed(
            code,
            f"{self.name} has not {verb} {_said(instance)}: HTTP {response.status} {response.reason}",
            is_lasting=response.status in _REFUSED,
        )

    def _take_part(self, response: HTTPResponse, file: BinaryIO, most_bytes: int, on_bytes: OnBytes) -> None:
        """Copy the one part of a multipart answer; one without an end must not fill the disk."""
        boundary = _boundary(response.headers)
        head = b""
        while b"\r\n\r\n" not in head:
            # The empty line before the content, behind the boundary and the part's own headers.
            line = response.readline(_PART_HEADER_MAX_BYTES)
            head += line
            if not line or len(head) > _PART_HEADER_MAX_BYTES:
                raise DeliveryFailed("pacs-answer", f"{self.name} gave back no multipart message")
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            on_bytes(len(chunk))
            if file.tell() > most_bytes:
                raise DeliveryFailed("pacs-answer", f"{self.name} gave back more than an object's length")
        _cut_tail(file, boundary)


def _stored(answer: Any) -> set[str]:
    """Return the SOP Instance UIDs that an answer to STOW-RS lists as stored (PS3.18, I.2.2)."""
    items = answer.get(_REFERENCED_SOP_SEQUENCE, {}).get("Value", [])
    return {str(uid) for item in items for uid in item[_REFERENCED_SOP_INSTANCE]["Value"]}


def _boundary(headers: Message) -> bytes:
    boundary = headers.get_boundary()
    if boundary is None:
        raise ValueError("the answer is not multipart")
    return boundary.encode()


def _cut_tail(file: BinaryIO, boundary: bytes) -> None:
    """Cut the closing boundary off the end of what was copied."""
    closing = b"\r\n--" + boundary
    size = file.tell()
    start = max(0, size - len(closing) - 64)
    file.flush()
    with Path(file.name).open("rb") as copied:
        copied.seek(start)
        position = copied.read().rfind(closing)
    if position < 0:
        raise ValueError("the answer is torn")
    file.truncate(start + position)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _said(instance: Instance) -> str:
    return f"{instance.file} ({instance.sop_instance_uid})"
