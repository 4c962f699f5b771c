"""DICOM objects of packages, and what is made of whatever an archive gives back."""

import contextlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import sealed
from pydicom.encaps import generate_frames

from bridge.archive.package.documents import pretty
from bridge.archive.pacs import dicom
from bridge.base.errors import ArchiveFailed


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed.sealed(tmp_path_factory.mktemp("original")).folder


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def test_case_is_one_study_with_three_series(package: Path) -> None:
    found = dicom.instances(package)
    assert [(item.series, item.number, item.file) for item in found] == [
        (1, 1, "data/video/part-001.mp4"),
        (1, 2, "data/video/part-002.mp4"),
        (2, 1, "data/content/part-001.mp4"),
        (3, 1, "data/minutes/v1.pdf"),
    ]
    assert len({item.case.study_uid for item in found}) == 1
    assert len({item.series_uid for item in found}) == 3
    assert len({item.sop_instance_uid for item in found}) == 4


def test_session_package_has_no_objects(tmp_path: Path) -> None:
    assert dicom.instances(sealed.sealed(tmp_path, sealed.session_plan()).folder) == []


def test_video_object_describes_what_it_holds(package: Path, tmp_path: Path) -> None:
    dicom.write(package, dicom.instances(package)[1], tmp_path / "object.dcm", institution="BV Việt Đức")
    read = pydicom.dcmread(tmp_path / "object.dcm")
    assert (read.Rows, read.Columns, read.NumberOfFrames) == (360, 640, 50)
    assert (read.FrameTime, read.CineRate, read.InstanceNumber) == (40, 25, 2)
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.102"
    assert read.InstitutionName == "BV Việt Đức"
    assert (read.StudyDate, read.StudyTime, read.ContentTime) == ("20261125", "080200", "080302")
    assert len(read.MultiplexedAudioChannelsDescriptionCodeSequence) == 1
    [payload] = generate_frames(read.PixelData, number_of_frames=1)
    assert payload == (package / "data/video/part-002.mp4").read_bytes()


def test_patient_is_the_code_and_nothing_else(package: Path, tmp_path: Path) -> None:
    for instance in dicom.instances(package):
        dicom.write(package, instance, tmp_path / "object.dcm")
        read = pydicom.dcmread(tmp_path / "object.dcm")
        assert (read.PatientID, str(read.PatientName).rstrip("^")) == ("BN-0001", "BN-0001")
        assert read.IssuerOfPatientID == "hoichan BV"
        assert (read.PatientBirthDate, read.PatientSex) == ("", "")
        # Who took part is in the package, not in the PACS.
        assert "Dính" not in str(read)


def test_objects_are_the_same_each_time(package: Path, tmp_path: Path) -> None:
    instance = dicom.instances(package)[0]
    for name in ("a", "b"):
        dicom.write(package, instance, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_minutes_of_odd_length_come_back_without_the_padding(package: Path, tmp_path: Path) -> None:
    pdf = package / "data/minutes/v1.pdf"
    pdf.write_bytes(sealed.PDF + b" " * (1 - len(sealed.PDF) % 2))
    instance = dicom.instances(package)[3]
    assert instance.bytes % 2 == 1
    dicom.write(package, instance, tmp_path / "object.dcm")
    assert dicom.find_payload(tmp_path / "object.dcm", instance) == dicom.expected(instance)


@pytest.mark.parametrize("code", ["BN\\0001", "Ca^số=1", "x" * 200, "BN\n0001"])
def test_code_that_dicom_cannot_hold_is_made_plain(package: Path, tmp_path: Path, code: str) -> None:
    document = json.loads((package / "data/case.json").read_bytes()) | {"code": code}
    (package / "data/case.json").write_bytes(pretty(document))
    instance = dicom.instances(package)[0]
    dicom.write(package, instance, tmp_path / "object.dcm")
    assert dicom.find_payload(tmp_path / "object.dcm", instance) == dicom.expected(instance)
    patient = pydicom.dcmread(tmp_path / "object.dcm").PatientID
    assert 0 < len(patient) <= 64
    assert not set(patient) & set("\\^=\n")


def test_damaged_part_is_not_made_into_an_object(package: Path, tmp_path: Path) -> None:
    instance = dicom.instances(package)[0]
    with (package / instance.file).open("r+b") as file:
        file.seek(50)
        file.write(b"X")
    with pytest.raises(ArchiveFailed, match="not what was sealed") as failed:
        dicom.write(package, instance, tmp_path / "object.dcm")
    assert failed.value.is_lasting


@pytest.mark.parametrize("content", [b"{}", b"[]", b"not json", b'{"code": 1}'])
def test_damaged_case_document_is_said_to_be_damaged(package: Path, content: bytes) -> None:
    (package / "data/case.json").write_bytes(content)
    with pytest.raises(ArchiveFailed, match="package-damaged"):
        dicom.instances(package)


def test_object_of_another_patient_is_not_taken_for_ours(package: Path, tmp_path: Path) -> None:
    instance = dicom.instances(package)[0]
    other = replace(instance, case=replace(instance.case, code="BN-9999"))
    dicom.write(package, other, tmp_path / "object.dcm")
    assert dicom.find_payload(tmp_path / "object.dcm", instance) != dicom.expected(instance)


@pytest.mark.parametrize("cut_bytes", [1, 8, 9, 1000])
def test_object_cut_off_is_not_taken_for_ours(package: Path, tmp_path: Path, cut_bytes: int) -> None:
    instance = dicom.instances(package)[0]
    path = tmp_path / "object.dcm"
    dicom.write(package, instance, path)
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    with pytest.raises(ValueError, match=r"payload|asked for"):
        dicom.find_payload(path, instance)


def test_minutes_with_something_appended_are_not_taken_for_ours(package: Path, tmp_path: Path) -> None:
    """Readers of PDF believe the last revision in a file."""
    instance, path = dicom.instances(package)[3], tmp_path / "object.dcm"
    dicom.write(package, instance, path)
    dataset = pydicom.dcmread(path)
    dataset.EncapsulatedDocument += b"1 0 obj<</Forged true>>endobj "
    dataset.save_as(path)
    with pytest.raises(ValueError, match="payload"):
        dicom.find_payload(path, instance)


@pytest.mark.filterwarnings("ignore")
def test_whatever_comes_back_is_ours_or_a_value_error(package: Path, tmp_path: Path) -> None:
    chance, path = random.Random(1), tmp_path / "object.dcm"
    for instance in (dicom.instances(package)[0], dicom.instances(package)[3]):
        dicom.write(package, instance, path)
        original = path.read_bytes()
        for _ in range(1500):
            content = bytearray(original)
            # In the head, where the form is; the payload has its checksum.
            for _ in range(chance.randint(1, 4)):
                content[chance.randrange(min(len(content), 2200))] = chance.randrange(256)
            path.write_bytes(content)
            with contextlib.suppress(ValueError):
                dicom.find_payload(path, instance)
