"""The DICOM network (PS3.7): an instance stored by C-STORE and read back by C-GET, both through files.

Synchronous, for the child process that delivers. pynetdicom is set to send from and to receive into files
for the whole process: a part of a video does not fit twice into memory.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, VideoPhotographicImageStorage
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from bridge.archive.model import PACS_UNREACHABLE
from bridge.archive.pacs.dicom import VIDEO_SYNTAX, Instance
from bridge.base.errors import DeliveryFailed
from bridge.config import DicomConfig

CONNECT_TIMEOUT_S: Final = 30.0
# An archive works on half a gigabyte for a while before it answers.
ANSWER_TIMEOUT_S: Final = 300.0
_SUCCESS: Final = 0x0000
_PENDING: Final = (0xFF00, 0xFF01)
_CANNOT_STORE: Final = 0xC001
# PS3.4 B.2.3: stored, but for a remark; what it means is found out by reading back.
_WARNINGS: Final = range(0xB000, 0xC000)
# Out of resources; also what PS3.7 calls a processing failure.
_PASSING: Final = frozenset({0x0110, *range(0xA700, 0xA800)})
_CONTEXTS: Final = (
    (VideoPhotographicImageStorage, VIDEO_SYNTAX),
    (EncapsulatedPDFStorage, ExplicitVRLittleEndian),
)

OnBytes = Callable[[int], None]


class StoreArchive:
    """An archive that speaks DIMSE."""

    def __init__(self, settings: DicomConfig) -> None:
        self._settings = settings
        self.name = f"{settings.called_aet}@{settings.host}:{settings.port}"

    def send(self, path: Path, instance: Instance, on_bytes: OnBytes) -> None:
        """Store a file; raises DeliveryFailed unless the archive says that it was stored."""
        entity = self._entity()
        for storage, syntax in _CONTEXTS:
            entity.add_requested_context(storage, syntax)
        _config.STORE_SEND_CHUNKED_DATASET = True
        with self._association(entity, handlers=[_counting(evt.EVT_DATA_SENT, on_bytes)]) as association:
            try:
                status = association.send_c_store(path)
            except ValueError as error:
                raise DeliveryFailed(
                    "pacs-refused", f"{self.name} does not take {_said(instance)}: {error}", is_lasting=True
                ) from error
            self._check(status, instance)

    def fetch(self, instance: Instance, target: Path, on_bytes: OnBytes) -> None:
        """Write the instance as the archive gives it back into a file; raises DeliveryFailed."""
        entity = self._entity()
        entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        roles = []
        for storage, syntax in _CONTEXTS:
            entity.add_requested_context(storage, syntax)
            roles.append(build_role(storage, scp_role=True))
        received: list[Path] = []

        def store(event: Event) -> int:
            try:
                os.replace(event.dataset_path, target)
            except OSError:
                return _CANNOT_STORE
            received.append(target)
            return _SUCCESS

        _config.STORE_RECV_CHUNKED_DATASET = True
        handlers = [(evt.EVT_C_STORE, store), _counting(evt.EVT_DATA_RECV, on_bytes)]
        with (
            _temporary_files_in(target.parent),
            self._association(entity, roles, handlers) as association,
        ):
            answers = association.send_c_get(_wanted(instance), StudyRootQueryRetrieveInformationModelGet)
            for status, _ in answers:
                if status and status.Status not in (_SUCCESS, *_PENDING):
                    raise DeliveryFailed(
                        "pacs-not-readable",
                        f"{self.name} does not give back {_said(instance)}: status 0x{status.Status:04X}",
                    )
        if not received:
            raise DeliveryFailed("pacs-not-stored", f"{self.name} does not have {_said(instance)}")

    def _entity(self) -> AE:
        entity = AE(ae_title=self._settings.calling_aet)
        entity.acse_timeout = CONNECT_TIMEOUT_S
        entity.connection_timeout = CONNECT_TIMEOUT_S
        entity.dimse_timeout = ANSWER_TIMEOUT_S
        entity.network_timeout = ANSWER_TIMEOUT_S
        return entity

    @contextmanager
    def _association(
        self, entity: AE, roles: list[Any] | None = None, handlers: list[Any] | None = None
    ) -> Iterator[Association]:
        try:
            association = entity.associate(
                self._settings.host,
                self._settings.port,
                ae_title=self._settings.called_aet,
                ext_neg=roles,
                evt_handlers=handlers,
            )
        except (OSError, RuntimeError) as error:
            raise DeliveryFailed(PACS_UNREACHABLE, f"{self.name}: {error}") from error
        if association.is_rejected:
            raise DeliveryFailed("pacs-unavailable", f"{self.name} does not accept {entity.ae_title}")
        if not association.is_established:
            raise DeliveryFailed(PACS_UNREACHABLE, f"{self.name} cannot be reached")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()

    def _check(self, status: Dataset, instance: Instance) -> None:
        if not status:
            raise DeliveryFailed(PACS_UNREACHABLE, f"{self.name} hung up, or did not answer in time")
        value = int(status.Status)
        if value == _SUCCESS or value in _WARNINGS:
            return
        is_passing = value in _PASSING
        raise DeliveryFailed(
            "pacs-unavailable" if is_passing else "pacs-refused",
            f"{self.name} has not stored {_said(instance)}: status 0x{value:04X}",
            is_lasting=not is_passing,
        )


def _counting(event: Any, on_bytes: OnBytes) -> Any:
    """Return a handler that tells what goes over the line; it is called by the association's thread."""
    return event, lambda happened: on_bytes(len(happened.data))


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let pynetdicom, which writes what it receives into temporary files, use our folder."""
    former = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = former


def _wanted(instance: Instance) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = instance.case.study_uid
    identifier.SeriesInstanceUID = instance.series_uid
    identifier.SOPInstanceUID = instance.sop_instance_uid
    return identifier


def _said(instance: Instance) -> str:
    return f"{instance.file} ({instance.sop_instance_uid})"
