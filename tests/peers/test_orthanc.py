"""Delivery to a real PACS, Debian's Orthanc, by DICOMweb and by the DICOM network."""

import asyncio
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import av
import pytest
import sealed
from bridge_process import ROOT, free_port
from compositions import composed
from recordings import two_cases

from bridge.archive.folders import ArchiveFolders
from bridge.archive.model import Progress
from bridge.archive.package import bag
from bridge.archive.package.build import seal_package
from bridge.archive.package.verify import verify, verify_chain
from bridge.archive.pacs import dicom
from bridge.archive.pacs.delivery import DeliveredInstance, deliver
from bridge.archive.pacs.dicom import Instance
from bridge.archive.plan.programme import plan_packages
from bridge.archive.work.attempts import Archive
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import DeliveryFailed
from bridge.base.words import PackageState
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

ORTHANC = "Orthanc"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DCIODVFY = "dciodvfy"
USER, PASSWORD = "hoichan", "mật khẩu"
METHODS = ("stow", "c-store")


class Orthanc:
    """An Orthanc of the test's own: its ports, its folder, stopped by its process."""

    def __init__(self, folder: Path) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        (folder / "orthanc.json").write_text(json.dumps(self._configuration()), encoding="utf-8")

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": "test",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "Plugins": [str(DICOMWEB)],
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "DicomModalities": {"hoichan": ["HOICHAN", "127.0.0.1", 104]},
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "HttpCompressionEnabled": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }

    def settings(self, method: str) -> DicomConfig:
        return DicomConfig(
            method=method,
            stow_url=f"http://127.0.0.1:{self.http_port}/dicom-web",
            user=USER,
            password_file=str(self._folder / "password"),
            host="127.0.0.1",
            port=self.dicom_port,
        )

    def start(self) -> None:
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [ORTHANC, str(self._folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.get("/system")
            except (URLError, ConnectionError):
                assert self._process.poll() is None, (self._folder / "orthanc.log").read_text()
                time.sleep(0.1)
            else:
                return
        pytest.fail((self._folder / "orthanc.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def get(self, path: str, body: bytes | None = None) -> bytes:
        token = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            data=body,
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/octet-stream"},
        )
        with urlopen(request, timeout=20) as response:
            content: bytes = response.read()
        return content

    def instance(self, sop_instance_uid: str) -> str:
        """Orthanc's own name of an instance."""
        found = json.loads(self.get("/tools/lookup", sop_instance_uid.encode()))
        return next(item["ID"] for item in found if item["Type"] == "Instance")

    def payload(self, sop_instance_uid: str) -> bytes:
        return self.get(f"/instances/{self.instance(sop_instance_uid)}/frames/0/raw")


@pytest.fixture
def stopped_orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    if shutil.which(ORTHANC) is None or not DICOMWEB.exists():
        pytest.skip("needs orthanc and orthanc-dicomweb")
    orthanc = Orthanc(tmp_path / "orthanc")
    yield orthanc
    orthanc.stop()


@pytest.fixture
def orthanc(stopped_orthanc: Orthanc) -> Orthanc:
    stopped_orthanc.start()
    return stopped_orthanc


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return sealed.sealed(tmp_path).folder


def sent(
    package: Path,
    tmp_path: Path,
    settings: DicomConfig,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[DeliveredInstance]:
    return deliver(package, tmp_path / "delivering", settings=settings, report=report)


@pytest.mark.parametrize("method", METHODS)
def test_delivered_package_is_in_the_pacs_byte_for_byte(
    orthanc: Orthanc, package: Path, tmp_path: Path, method: str
) -> None:
    progress: list[float] = []
    delivered = sent(package, tmp_path, orthanc.settings(method), lambda step: progress.append(step.done))
    assert [item.file for item in delivered] == [
        "data/video/part-001.mp4",
        "data/video/part-002.mp4",
        "data/content/part-001.mp4",
        "data/minutes/v1.pdf",
    ]
    assert progress == sorted(progress)
    for item in delivered[:3]:
        payload = orthanc.payload(item.sop_instance_uid)
        assert payload == (package / item.file).read_bytes()
        with av.open(io.BytesIO(payload)) as container:
            assert sum(1 for _ in container.decode(video=0)) == sealed.FRAMES
    pdf = orthanc.get(f"/instances/{orthanc.instance(delivered[3].sop_instance_uid)}/pdf")
    assert pdf.rstrip(b"\x00") == (package / delivered[3].file).read_bytes()
    assert [path.name for path in (tmp_path / "delivering").iterdir()] == ["delivered.json"]


def test_study_is_one_with_three_series_and_names_the_patient_by_code_only(
    orthanc: Orthanc, package: Path, tmp_path: Path
) -> None:
    sent(package, tmp_path, orthanc.settings("stow"))
    [study] = json.loads(orthanc.get("/studies?expand"))
    assert study["PatientMainDicomTags"]["PatientID"] == "BN-0001"
    assert study["PatientMainDicomTags"]["PatientName"].rstrip("^") == "BN-0001"
    assert study["MainDicomTags"]["InstitutionName"] == "Mường Nhé"
    series = [json.loads(orthanc.get(f"/series/{name}"))["MainDicomTags"] for name in study["Series"]]
    assert sorted((item["SeriesNumber"], item["Modality"]) for item in series) == [
        ("1", "XC"),
        ("2", "XC"),
        ("3", "DOC"),
    ]


@pytest.mark.parametrize("method", METHODS)
def test_other_object_under_our_uid_fails_loudly(
    orthanc: Orthanc, package: Path, tmp_path: Path, method: str
) -> None:
    """The PACS says 200 and 0x0000 to the second object, and drops it."""
    first, second = dicom.instances(package)[:2]
    foreign = replace(second, file=first.file, sha256=first.sha256, bytes=first.bytes)
    dicom.write(package, foreign, tmp_path / "foreign.dcm")
    orthanc.get("/instances", (tmp_path / "foreign.dcm").read_bytes())
    with pytest.raises(
        DeliveryFailed, match=r"another object under the UID of data/video/part-002\.mp4"
    ) as failed:
        sent(package, tmp_path, orthanc.settings(method))
    assert failed.value.is_lasting
    assert failed.value.code == "pacs-other-object"


# pynetdicom leaves a socket that could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("method", METHODS)
def test_pacs_that_is_down_delays_and_the_next_attempt_delivers(
    stopped_orthanc: Orthanc, package: Path, tmp_path: Path, method: str
) -> None:
    settings = stopped_orthanc.settings(method)
    with pytest.raises(DeliveryFailed) as failed:
        sent(package, tmp_path, settings)
    assert (failed.value.code, failed.value.is_lasting) == ("pacs-unreachable", False)
    stopped_orthanc.start()
    assert len(sent(package, tmp_path, settings)) == 4


@pytest.mark.parametrize("method", METHODS)
def test_what_was_proven_is_not_sent_again(
    orthanc: Orthanc, package: Path, tmp_path: Path, method: str
) -> None:
    settings = orthanc.settings(method)
    first = sent(package, tmp_path, settings)
    orthanc.stop()
    assert sent(package, tmp_path, settings) == first


def test_attempt_goes_on_after_the_instances_that_were_proven(
    orthanc: Orthanc, package: Path, tmp_path: Path
) -> None:
    sent(package, tmp_path, orthanc.settings("stow"))
    known = tmp_path / "delivering" / "delivered.json"
    proven = json.loads(known.read_text("utf-8"))
    last = dicom.instances(package)[-1].sop_instance_uid
    del proven["instances"][last]
    known.write_text(json.dumps(proven), encoding="utf-8")
    before = json.loads(orthanc.get("/changes"))["Last"]
    sent(package, tmp_path, orthanc.settings("stow"))
    assert json.loads(orthanc.get("/changes"))["Last"] == before
    assert set(json.loads(known.read_text("utf-8"))["instances"]) == set(proven["instances"]) | {last}


def test_another_pacs_gets_everything_again(orthanc: Orthanc, package: Path, tmp_path: Path) -> None:
    sent(package, tmp_path, orthanc.settings("stow"))
    known = tmp_path / "delivering" / "delivered.json"
    known.write_text(known.read_text("utf-8").replace("dicom-web", "another-pacs"), encoding="utf-8")
    orthanc.stop()
    with pytest.raises(DeliveryFailed):
        sent(package, tmp_path, orthanc.settings("stow"))


def test_wrong_password_is_a_lasting_failure_with_its_reason(
    orthanc: Orthanc, package: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("wrong", encoding="utf-8")
    settings = replace(orthanc.settings("stow"), password_file=str(tmp_path / "wrong"))
    with pytest.raises(DeliveryFailed, match="HTTP 401") as failed:
        sent(package, tmp_path, settings)
    assert failed.value.is_lasting
    assert "wrong" not in failed.value.sentence


def test_instance_deleted_in_the_pacs_is_noticed_and_sent_by_a_new_attempt(
    orthanc: Orthanc, package: Path, tmp_path: Path
) -> None:
    first = sent(package, tmp_path, orthanc.settings("stow"))
    request = Request(
        f"http://127.0.0.1:{orthanc.http_port}/instances/{orthanc.instance(first[0].sop_instance_uid)}",
        method="DELETE",
        headers={"Authorization": f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"},
    )
    urlopen(request, timeout=10).close()
    with pytest.raises((HTTPError, StopIteration)):
        orthanc.payload(first[0].sop_instance_uid)
    (tmp_path / "delivering" / "delivered.json").unlink()
    sent(package, tmp_path, orthanc.settings("c-store"))
    assert orthanc.payload(first[0].sop_instance_uid) == (package / first[0].file).read_bytes()


def test_objects_follow_the_standard(package: Path, tmp_path: Path) -> None:
    for instance in dicom.instances(package):
        dicom.write(package, instance, tmp_path / "object.dcm")
        kind = "VideoPhotographicImage" if instance.is_video else "EncapsulatedPDF"
        assert complaints(tmp_path / "object.dcm") == [kind]


def test_composed_cases_are_sealed_delivered_and_decode_to_the_same_pictures(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    session = two_cases(tmp_path)
    packages = tmp_path / "packages"
    packages.mkdir()
    seals: list[str] = []
    for plan in plan_packages(session.events):
        package = seal_package(
            session,
            plan,
            composed(session, tmp_path, plan.case or "S"),
            packages,
            settings=sealed.SETTINGS,
            previous_seal=seals[-1] if seals else None,
            now_ms=plan.ended_ms + 60_000 * len(seals),
            report=lambda progress: None,
        )
        seals.append(package.seal)
        assert verify(package.folder) == []
        delivered = sent(package.folder, tmp_path / plan.package, orthanc.settings("stow"))
        assert bool(delivered) == (plan.case is not None)
        for item in delivered:
            assert pictures(io.BytesIO(orthanc.payload(item.sop_instance_uid))) == pictures(
                package.folder / item.file
            )
        for instance in dicom.instances(package.folder):
            dicom.write(package.folder, instance, tmp_path / "object.dcm")
            assert complaints(tmp_path / "object.dcm") == ["VideoPhotographicImage"]
    assert len(seals) == 3
    assert verify_chain(sorted(packages.iterdir())) == []
    assert len(json.loads(orthanc.get("/studies"))) == 2


async def test_what_was_recorded_reaches_a_pacs_that_comes_up_later_without_being_asked(
    stopped_orthanc: Orthanc, tmp_path: Path
) -> None:
    folders = ArchiveFolders(two_cases(tmp_path).path.parent, tmp_path / "archive")
    catalogue = Catalogue(folders.archive)
    settings = replace(stopped_orthanc.settings("stow"), retry_max_s=1)
    supervisor = ArchiveSupervisor(
        Archive(folders, ArchiveConfig(), settings, catalogue, ArchiveCounters(), silence_max_s=300.0)
    )

    async def until(condition: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    def attempts() -> list[tuple[bool, str | None]]:
        return [
            (attempt.is_delivered, attempt.error_code)
            for package in catalogue.in_states(*PackageState)
            for attempt in catalogue.deliveries(package.id)
        ]

    try:
        supervisor.start()
        await until(lambda: (False, "pacs-unreachable") in attempts(), 120)
        stopped_orthanc.start()
        await until(lambda: len(catalogue.in_states(PackageState.DELIVERED)) == 2, 120)
    finally:
        await supervisor.stop()
        catalogue.close()
    for package in sorted(folders.packages.glob("*-C*")):
        for instance in dicom.instances(package):
            assert orthanc_has(stopped_orthanc, package, instance)


def orthanc_has(orthanc: Orthanc, package: Path, instance: Instance) -> bool:
    return orthanc.payload(instance.sop_instance_uid) == (package / instance.file).read_bytes()


def pictures(file: Path | io.BytesIO) -> list[str]:
    """The checksums of all pictures of a video, as decoded."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        return [
            hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)
        ]


def complaints(path: Path) -> list[str]:
    """What dicom3tools says of an object: its kind, and whatever is wrong with it."""
    if shutil.which(DCIODVFY) is None:
        pytest.skip("needs dicom3tools")
    checked = subprocess.run(
        [DCIODVFY, "-new", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    return checked.stderr.split()


DIES = """
import os, signal, sys
from pathlib import Path
from bridge.archive.work.attempts import Archive
from bridge.archive.pacs.delivery import deliver
from bridge.config import DicomConfig
package, work, settings, share = sys.argv[1:]
def report(progress):
    if progress.done > float(share):
        os.kill(os.getpid(), signal.SIGKILL)
deliver(Path(package), Path(work), settings=eval(settings), report=report)
"""


@pytest.mark.parametrize("share", ["0.1", "0.4", "0.6", "0.9"])
def test_delivery_killed_on_its_way_is_completed_by_the_next_attempt(
    orthanc: Orthanc, package: Path, tmp_path: Path, share: str
) -> None:
    settings = orthanc.settings("stow")
    script = [sys.executable, "-c", DIES, package, tmp_path / "delivering", repr(settings), share]
    assert subprocess.run(script, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    for item in sent(package, tmp_path, settings)[:3]:
        assert orthanc.payload(item.sop_instance_uid) == (package / item.file).read_bytes()
    assert [path.name for path in (tmp_path / "delivering").iterdir()] == ["delivered.json"]


# Prints by how many kilobytes its memory grew at most.
IN_A_CHILD = """
import resource, sys
from pathlib import Path
from bridge.archive.work.attempts import Archive
from bridge.archive.pacs.delivery import deliver
from bridge.config import DicomConfig
package, work, settings = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before_kb = peak()
deliver(Path(package), Path(work), settings=eval(settings), report=lambda progress: None)
print(peak() - before_kb)
"""


@pytest.mark.parametrize("method", METHODS)
def test_large_part_is_delivered_in_bounded_memory(
    orthanc: Orthanc, package: Path, tmp_path: Path, method: str
) -> None:
    """A part of 300 MB goes there and comes back through far less memory."""
    grow(package, 300_000_000)
    script = [sys.executable, "-c", IN_A_CHILD, package, tmp_path / "work", repr(orthanc.settings(method))]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000


def grow(package: Path, size_bytes: int) -> None:
    """Make the first part larger by a box that players skip."""
    part, description = package / "data/video/part-001.mp4", package / "data/video/parts.json"
    with part.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(size_bytes.to_bytes(4, "big") + b"free")
        file.truncate(part.stat().st_size + size_bytes)
    digest = bag.digest(part)
    parts = json.loads(description.read_text("utf-8"))
    parts[0] |= {"sha256": digest.sha256, "bytes": digest.bytes}
    description.write_text(json.dumps(parts), encoding="utf-8")
    sealed.reseal(package)
