"""The DICOM objects of a case's package: videos as Video Photographic Image, minutes as Encapsulated PDF.

One study per case; series 1 is the composed video, 2 the medical image alone, 3 the minutes. The payload goes
in byte for byte, streamed from the disk, and is found again in what an archive gives back. UIDs come from the
package, where they were sealed. The patient is the case's pseudonymous code and nothing else. The same
package always yields the same objects.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, BinaryIO, Final

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_buffer
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import MPEG4HP41, UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian
from pydicom.uid import VideoPhotographicImageStorage as VideoStorage

from bridge.archive.calendar import local
from bridge.archive.package.bag import PAYLOAD
from bridge.base.errors import ArchiveFailed

VIDEO_SYNTAX: Final = MPEG4HP41
# (Number, folder in the package, description) of the series of videos; the third series holds the minutes.
_VIDEO_SERIES: Final = (
    (1, "video", "Hội chẩn / Case conference"),
    (2, "content", "Hình ảnh y khoa / Medical image"),
)
_MINUTES_SERIES: Final = (3, "minutes", "Biên bản hội chẩn / Minutes")
_CHUNK_BYTES: Final = 1024 * 1024
_LONG_STRING_MAX: Final = 64
# PS3.5 A.4: pixel data of undefined length, as items.
_ELEMENT: Final = Struct("<HH2sHI")
_ITEM: Final = Struct("<HHI")
_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_ITEM_TAG: Final = (0xFFFE, 0xE000)
_UNDEFINED: Final = 0xFFFFFFFF
# What pydicom raises on bytes that are no DICOM, or only partly, beside ValueError.
_UNREADABLE: Final = (
    InvalidDicomError,
    BytesLengthException,
    NotImplementedError,
    AttributeError,
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
    EOFError,
    StructError,
)


@dataclass(frozen=True, slots=True)
class Case:
    """What the package says of its case, as far as DICOM wants to know it."""

    code: str
    case: str
    package: str
    site: str
    started: datetime
    study_uid: str
    software: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One object to be made and delivered; `file` is relative to the package."""

    case: Case
    file: str
    series: int
    series_description: str
    number: int
    series_uid: str
    sop_instance_uid: str
    start_ms: int
    sha256: str
    bytes: int
    frames: int = 0
    frame_rate: int = 0
    width_px: int = 0
    height_px: int = 0

    @property
    def is_video(self) -> bool:
        """Tell a video from a document."""
        return self.frames > 0

    @property
    def sop_class_uid(self) -> UID:
        """The kind of object."""
        return VideoStorage if self.is_video else EncapsulatedPDFStorage

    @property
    def transfer_syntax_uid(self) -> UID:
        """How it is encoded."""
        return VIDEO_SYNTAX if self.is_video else ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class Payload:
    """What an archive gave back: whose it says it is, and the SHA-256 of its payload."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    patient_id: str
    sha256: str


def instances(package: Path) -> list[Instance]:
    """Return the objects of a package, none for one without a patient; raises ArchiveFailed."""
    if not (package / PAYLOAD / "case.json").exists():
        return []
    try:
        document = _json(package, "case.json")
        case = _case(document)
        start_ms = int(case.started.timestamp()) * 1000
        uids = document["dicom"]["series_instance_uids"]
        videos = [
            _video(case, series, part, str(uids[series[1]]), number)
            for series in _VIDEO_SERIES
            for number, part in enumerate(_parts(package, series[1]), 1)
        ]
        minutes = [
            _document(case, package, item, str(uids["minutes"]), number, start_ms)
            for number, item in enumerate(document["dicom"]["minutes"], 1)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveFailed("package-damaged", f"{package.name}: {error}", is_lasting=True) from error
    return videos + minutes


def write(package: Path, instance: Instance, target: Path, *, institution: str = "") -> None:
    """Write the object into a file; raises ArchiveFailed when the payload is not what was sealed."""
    source = package / instance.file
    _check_payload(source, instance)
    dataset = _dataset(instance, institution or instance.case.site)
    if instance.is_video:
        with source.open("rb") as payload:
            _add_video(dataset, instance, has_sound=instance.series == _VIDEO_SERIES[0][0])
            # One item holds the whole stream (PS3.5 8.2.7), with an empty offset table.
            dataset.PixelData = encapsulate_buffer([payload], has_bot=False)
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
            dataset.save_as(target, enforce_file_format=True)
    else:
        _add_document(dataset, source.read_bytes())
        dataset.save_as(target, enforce_file_format=True)


def find_payload(path: Path, instance: Instance) -> Payload:
    """Read an object that an archive gave back; raises ValueError when it is none of this kind."""
    try:
        with path.open("rb") as file:
            dataset = dcmread(file, stop_before_pixels=True)
            if instance.is_video:
                digest = _pixel_digest(file, instance.bytes)
            else:
                digest = _document_digest(dataset.EncapsulatedDocument, instance.bytes)
            return Payload(
                study_uid=str(dataset.StudyInstanceUID),
                series_uid=str(dataset.SeriesInstanceUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                patient_id=str(dataset.PatientID),
                sha256=digest,
            )
    except _UNREADABLE as error:
        raise ValueError(f"it is not the object that was asked for: {error}") from error


def expected(instance: Instance) -> Payload:
    """Return what `find_payload` must find."""
    return Payload(
        study_uid=instance.case.study_uid,
        series_uid=instance.series_uid,
        sop_instance_uid=instance.sop_instance_uid,
        patient_id=_plain(instance.case.code),
        sha256=instance.sha256,
    )


def _json(package: Path, name: str) -> Any:
    return json.loads((package / PAYLOAD / name).read_text(encoding="utf-8"))


def _parts(package: Path, folder: str) -> list[dict[str, Any]]:
    if not (package / PAYLOAD / folder / "parts.json").exists():
        return []
    parts: list[dict[str, Any]] = _json(package, f"{folder}/parts.json")
    return parts


def _case(document: dict[str, Any]) -> Case:
    return Case(
        code=str(document["code"]),
        case=str(document["case"]),
        package=str(document["package"]),
        site=str(document["presenting_site"] or ""),
        started=datetime.fromisoformat(str(document["started_at"])),
        study_uid=str(document["dicom"]["study_instance_uid"]),
        software=str(document["software"]),
    )


def _video(
    case: Case, series: tuple[int, str, str], part: dict[str, Any], series_uid: str, number: int
) -> Instance:
    return Instance(
        case=case,
        file=f"{PAYLOAD}/{series[1]}/{part['file']}",
        series=series[0],
        series_description=series[2],
        number=number,
        series_uid=series_uid,
        sop_instance_uid=str(part["sop_instance_uid"]),
        start_ms=int(part["start_ms"]),
        sha256=str(part["sha256"]),
        bytes=int(part["bytes"]),
        frames=int(part["frames"]),
        frame_rate=int(part["fps"]),
        width_px=int(part["width"]),
        height_px=int(part["height"]),
    )


def _document(
    case: Case, package: Path, item: dict[str, Any], series_uid: str, number: int, start_ms: int
) -> Instance:
    file = f"{PAYLOAD}/minutes/{item['file']}"
    content = (package / file).read_bytes()
    return Instance(
        case=case,
        file=file,
        series=_MINUTES_SERIES[0],
        series_description=_MINUTES_SERIES[2],
        number=number,
        series_uid=series_uid,
        sop_instance_uid=str(item["sop_instance_uid"]),
        start_ms=start_ms,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )


def _check_payload(source: Path, instance: Instance) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != instance.sha256:
        raise ArchiveFailed("package-damaged", f"{instance.file} is not what was sealed", is_lasting=True)


def _dataset(instance: Instance, institution: str) -> Dataset:
    """Return patient, study, series and equipment."""
    case, start = instance.case, local(instance.start_ms)
    began = local(int(case.started.timestamp()) * 1000)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = instance.sop_class_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance_uid)
    dataset.file_meta.TransferSyntaxUID = instance.transfer_syntax_uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.TimezoneOffsetFromUTC = "+0700"
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = instance.sop_instance_uid
    # A name of one component would be read as one of the retired kind; PN has 64 characters, too.
    dataset.PatientName = f"{_plain(case.code)[: _LONG_STRING_MAX - 1]}^"
    dataset.PatientID = _plain(case.code)
    # Whose codes these are: one that equals another issuer's number is not that patient.
    dataset.IssuerOfPatientID = _plain(f"hoichan {case.package.split('-')[1]}")
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyInstanceUID = case.study_uid
    dataset.StudyDate, dataset.StudyTime = _date(began), _time(began)
    dataset.StudyID = case.case
    dataset.StudyDescription = "Hội chẩn từ xa / Tele-consultation"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality = "XC" if instance.is_video else "DOC"
    dataset.SeriesInstanceUID = instance.series_uid
    dataset.SeriesNumber = instance.series
    dataset.SeriesDescription = instance.series_description
    dataset.Manufacturer = "hoichan"
    dataset.ManufacturerModelName = "hoichan"
    dataset.SoftwareVersions = _plain(case.software)
    if institution:
        dataset.InstitutionName = _plain(institution)
    dataset.InstanceNumber = instance.number
    dataset.ContentDate, dataset.ContentTime = _date(start), _time(start)
    dataset.AcquisitionDateTime = f"{_date(start)}{_time(start)}+0700"
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "YES"
    return dataset


def _add_video(dataset: Dataset, instance: Instance, *, has_sound: bool) -> None:
    """Add what VL Photographic, Cine and Multi-frame want (PS3.3 A.32.7)."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ""
    dataset.AcquisitionContextSequence = DicomSequence()
    dataset.AnatomicRegionSequence = DicomSequence([_code("38266002", "SCT", "Entire body")])
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = instance.height_px, instance.width_px
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = instance.frames
    dataset.FrameTime = f"{1000 / instance.frame_rate:.6g}"
    dataset.FrameIncrementPointer = 0x00181063
    dataset.CineRate = instance.frame_rate
    dataset.RecommendedDisplayFrameRate = instance.frame_rate
    dataset.LossyImageCompression = "01"
    raw_bytes = instance.frames * instance.width_px * instance.height_px * 3 // 2
    dataset.LossyImageCompressionRatio = f"{max(raw_bytes / instance.bytes, 1):.6g}"
    dataset.LossyImageCompressionMethod = "ISO_14496_10"
    if has_sound:
        dataset.MultiplexedAudioChannelsDescriptionCodeSequence = DicomSequence([_channel()])


def _add_document(dataset: Dataset, content: bytes) -> None:
    """Add what Encapsulated PDF wants (PS3.3 A.45.1)."""
    dataset.ConversionType = "WSD"
    dataset.DocumentTitle = "Biên bản hội chẩn"
    dataset.ConceptNameCodeSequence = DicomSequence([_code("11488-4", "LN", "Consult note")])
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(content)
    dataset.EncapsulatedDocument = content + b"\x00" * (len(content) % 2)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _channel() -> Dataset:
    """Return the description of the one sound channel: the voices of all sites."""
    item = Dataset()
    item.ChannelIdentificationCode = 1
    item.ChannelMode = "STEREO"
    item.ChannelSourceSequence = DicomSequence([_code("109110", "DCM", "Voice")])
    return item


def _document_digest(content: bytes, payload_bytes: int) -> str:
    """Return the SHA-256 of a document; a byte of padding does not count, more is another revision of it."""
    if len(content) not in (payload_bytes, payload_bytes + 1):
        raise ValueError(f"its payload has {len(content)} bytes instead of {payload_bytes}")
    return hashlib.sha256(content[:payload_bytes]).hexdigest()


def _pixel_digest(file: BinaryIO, payload_bytes: int) -> str:
    """Return the SHA-256 of the stream in encapsulated pixel data; padding behind it does not count."""
    digest = hashlib.sha256()
    left_bytes = payload_bytes
    for chunk in _fragments(file):
        digest.update(chunk[: max(left_bytes, 0)])
        left_bytes -= len(chunk)
    # One byte more is padding to an even length.
    if left_bytes not in (0, -1):
        raise ValueError(f"its payload has {payload_bytes - left_bytes} bytes instead of {payload_bytes}")
    return digest.hexdigest()


def _fragments(file: BinaryIO) -> Iterator[bytes]:
    group, element, _, _, length = _ELEMENT.unpack(file.read(_ELEMENT.size))
    if (group, element) != _PIXEL_DATA or length != _UNDEFINED:
        raise ValueError("it has no encapsulated pixel data")
    is_offset_table = True
    while True:
        group, element, length = _ITEM.unpack(file.read(_ITEM.size))
        if (group, element) != _ITEM_TAG:
            return
        while length:
            chunk = file.read(min(length, _CHUNK_BYTES))
            if not chunk:
                raise ValueError("its payload is torn")
            length -= len(chunk)
            if not is_offset_table:
                yield chunk
        is_offset_table = False


def _plain(text: str) -> str:
    """Return text that can stand in one value of DICOM: no separators or control characters, not too long."""
    kept = (" " if letter in "\\^=" or not letter.isprintable() else letter for letter in text)
    return "".join(kept)[:_LONG_STRING_MAX].strip()


def _date(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def _time(at: datetime) -> str:
    return at.strftime("%H%M%S")
