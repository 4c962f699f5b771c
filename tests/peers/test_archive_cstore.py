"""Archives on the DICOM network: what their answers mean, and that they give back what they were sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sealed
from bridge_process import free_port
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, VideoPhotographicImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from bridge.archive.pacs import dicom
from bridge.archive.pacs.cstore import StoreArchive
from bridge.archive.pacs.delivery import deliver
from bridge.archive.pacs.dicom import VIDEO_SYNTAX, Instance
from bridge.base.errors import DeliveryFailed
from bridge.config import DicomConfig

Stored = dict[str, Any]


@contextmanager
def archive(
    *, status: int = 0x0000, takes_video: bool = True, change: Callable[[Any], None] | None = None
) -> Iterator[DicomConfig]:
    """An archive that keeps what it gets in memory, answers with a status, and may change what it has."""
    kept: Stored = {}

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        if change is not None:
            change(dataset)
        kept[dataset.SOPInstanceUID] = dataset
        return status

    def get(event: evt.Event) -> Iterator[Any]:
        found = [kept[uid] for uid in (event.identifier.SOPInstanceUID,) if uid in kept]
        yield len(found)
        for dataset in found:
            yield 0xFF00, dataset

    entity = AE(ae_title="ORTHANC")
    if takes_video:
        entity.add_supported_context(
            VideoPhotographicImageStorage, VIDEO_SYNTAX, scu_role=True, scp_role=True
        )
    entity.add_supported_context(EncapsulatedPDFStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    port = free_port()
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_GET, get)]
    )
    try:
        yield DicomConfig(method="c-store", host="127.0.0.1", port=port)
    finally:
        server.shutdown()
        # It is closed by then, but for the object that holds it.
        server.server_close()


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


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007])
def test_package_is_delivered_also_with_a_warning(package: Path, tmp_path: Path, status: int) -> None:
    with archive(status=status) as settings:
        assert len(deliver(package, tmp_path / "work", settings=settings, report=ignore)) == 4
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["delivered.json"]


@pytest.mark.parametrize(
    ("status", "code", "is_lasting"),
    [
        (0xA700, "pacs-unavailable", False),
        (0x0110, "pacs-unavailable", False),
        (0xA900, "pacs-refused", True),
        (0xC000, "pacs-refused", True),
        (0x0122, "pacs-refused", True),
        (0x0124, "pacs-refused", True),
    ],
)
def test_status_tells_whether_to_try_again(
    path: Path, instance: Instance, status: int, code: str, is_lasting: bool
) -> None:
    with archive(status=status) as settings, pytest.raises(DeliveryFailed) as failed:
        StoreArchive(settings).send(path, instance, ignore)
    assert (failed.value.code, failed.value.is_lasting) == (code, is_lasting)
    assert f"0x{status:04X}" in failed.value.sentence


def test_archive_that_takes_no_video_is_not_asked_again(path: Path, instance: Instance) -> None:
    with archive(takes_video=False) as settings, pytest.raises(DeliveryFailed) as failed:
        StoreArchive(settings).send(path, instance, ignore)
    assert (failed.value.code, failed.value.is_lasting) == ("pacs-refused", True)


def test_archive_that_does_not_have_the_instance_any_more_is_noticed(
    instance: Instance, tmp_path: Path
) -> None:
    with archive() as settings, pytest.raises(DeliveryFailed) as failed:
        StoreArchive(settings).fetch(instance, tmp_path / "back.dcm", ignore)
    assert failed.value.code in ("pacs-not-stored", "pacs-not-readable")
    assert not failed.value.is_lasting


def test_archive_that_puts_it_to_another_patient_is_noticed(package: Path, tmp_path: Path) -> None:
    def change(dataset: Any) -> None:
        dataset.PatientID = "BN-9999"

    with archive(change=change) as settings, pytest.raises(DeliveryFailed, match="patient_id") as failed:
        deliver(package, tmp_path / "work", settings=settings, report=ignore)
    assert "BN-9999" not in str(failed.value)


def test_received_object_is_a_file_of_its_own(path: Path, instance: Instance, tmp_path: Path) -> None:
    with archive() as settings:
        pacs = StoreArchive(settings)
        pacs.send(path, instance, ignore)
        pacs.fetch(instance, tmp_path / "back.dcm", ignore)
    assert dcmread(tmp_path / "back.dcm").PatientID == "BN-0001"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["back.dcm", "object.dcm"]
