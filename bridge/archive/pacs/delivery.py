"""Delivery of a package to the PACS: make the objects, send them, read them back, and only then believe it.

An instance counts as delivered when the SHA-256 of what the PACS gives back is the one in the package. What
was proven is remembered in the work folder, with the PACS it was proven for, so that an attempt after a crash
or a failure goes on where the last one stood. Repeating an instance is harmless: its UID is sealed.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Protocol

from bridge.archive.folders import PARTIAL, disk_errors
from bridge.archive.model import Progress, Report, Stage
from bridge.archive.package import bag
from bridge.archive.package.verify import sealed_sums
from bridge.archive.pacs import dicom
from bridge.archive.pacs.cstore import StoreArchive
from bridge.archive.pacs.dicom import Instance, Payload
from bridge.archive.pacs.stow import StowArchive
from bridge.base.errors import ArchiveFailed, DeliveryFailed
from bridge.config import DicomConfig

RETRY_FIRST_S: Final = 15.0
_PROVEN_FILE: Final = "delivered.json"
_OBJECT_FILE: Final = "object.dcm"
_MAYBE_THERE: Final = frozenset({"pacs-refused", "pacs-not-stored"})

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DeliveredInstance:
    """One object of which it is proven that the PACS has it."""

    file: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sha256: str
    bytes: int


class Pacs(Protocol):
    """An archive for medical images."""

    name: str

    def send(self, path: Path, instance: Instance, on_bytes: OnBytes) -> None:
        """Store a file; raises DeliveryFailed."""

    def fetch(self, instance: Instance, target: Path, on_bytes: OnBytes) -> None:
        """Write what the archive has of an instance into a file; raises DeliveryFailed."""


def backoff_s(attempt: int, *, most_s: int) -> float:
    """Return how long to wait after the n-th failed attempt, from 1: doubling, up to a bound."""
    return float(min(most_s, RETRY_FIRST_S * 2 ** min(max(attempt - 1, 0), 30)))


def _freely() -> None:
    """Nothing is held back."""


def deliver(
    package: Path,
    work: Path,
    *,
    settings: DicomConfig,
    report: Report,
    may_go: Callable[[], None] = _freely,
) -> list[DeliveredInstance]:
    """Deliver everything of a package and prove it; raises ArchiveFailed, mostly DeliveryFailed.

    `may_go` is asked before each object, and raises ArchiveFailed when nothing more of the package may go.
    """
    if settings.method == "off":
        return []
    pacs: Pacs = StowArchive(settings) if settings.method == "stow" else StoreArchive(settings)
    _check_sealed(package)
    instances = dicom.instances(package)
    with disk_errors():
        work.mkdir(parents=True, exist_ok=True)
        return _Delivery(package, work, pacs, settings.institution, report, may_go).deliver(instances)


def _check_sealed(package: Path) -> None:
    """Check what says whose the objects are: a flipped bit in a code would make them another patient's."""
    try:
        sums = sealed_sums(package)
        for name in bag.payload_files(package):
            # The videos are compared when they are sent.
            if not name.endswith(".mp4") and bag.digest(package / name).sha256 != sums.get(name):
                raise ValueError(f"{name} is not what was sealed")
    except (OSError, ValueError) as error:
        raise ArchiveFailed("package-damaged", f"{package.name}: {error}", is_lasting=True) from error


class _Delivery:
    """One attempt to deliver one package."""

    def __init__(
        self,
        package: Path,
        work: Path,
        pacs: Pacs,
        institution: str,
        report: Report,
        may_go: Callable[[], None],
    ) -> None:
        self._package = package
        self._work = work
        self._pacs = pacs
        self._institution = institution
        self._report = report
        self._may_go = may_go
        self._proven = self._read_proven()
        self._total_bytes = 1
        self._done_bytes = 0

    def deliver(self, instances: list[Instance]) -> list[DeliveredInstance]:
        # Each byte goes there and comes back.
        self._total_bytes = 2 * sum(instance.bytes for instance in instances) or 1
        for instance in instances:
            if self._proven.get(instance.sop_instance_uid) == instance.sha256:
                self._advance(2 * instance.bytes)
                continue
            self._may_go()
            self._deliver_one(instance)
            self._proven[instance.sop_instance_uid] = instance.sha256
            self._write_proven()
        return [_delivered(instance) for instance in instances]

    def _deliver_one(self, instance: Instance) -> None:
        path = self._work / _OBJECT_FILE
        try:
            dicom.write(self._package, instance, path, institution=self._institution)
            try:
                self._pacs.send(path, instance, self._advance)
            except DeliveryFailed as refusal:
                # Some archives refuse what they have, as from an attempt that ended before its proof.
                if refusal.code not in _MAYBE_THERE or not self._is_given_back(instance, path):
                    raise
            else:
                path.unlink()
                self._pacs.fetch(instance, path, self._advance)
            self._prove(path, instance)
        finally:
            path.unlink(missing_ok=True)

    def _is_given_back(self, instance: Instance, path: Path) -> bool:
        try:
            self._pacs.fetch(instance, path, self._advance)
        except DeliveryFailed:
            return False
        return True

    def _prove(self, path: Path, instance: Instance) -> None:
        """Compare what came back with what is sealed; the same UID may stand for something else there."""
        try:
            reason = _difference(dicom.find_payload(path, instance), dicom.expected(instance))
        except ValueError as error:
            reason = str(error)
        if reason:
            raise DeliveryFailed(
                "pacs-other-object",
                f"{self._pacs.name} has another object under the UID of {instance.file}"
                f" ({instance.sop_instance_uid}): {reason}",
                is_lasting=True,
            )

    def _advance(self, count: int) -> None:
        self._done_bytes += count
        self._report(Progress(Stage.DELIVER, min(self._done_bytes / self._total_bytes, 1.0)))

    def _read_proven(self) -> dict[str, str]:
        """Return the SHA-256 by SOP Instance UID of what was proven for this PACS before."""
        try:
            known = json.loads((self._work / _PROVEN_FILE).read_text(encoding="utf-8"))
            if known["pacs"] != self._pacs.name:
                return {}
            return {str(uid): str(sha256) for uid, sha256 in known["instances"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Nothing is known, or it was torn: everything is simply proven again.
            return {}

    def _write_proven(self) -> None:
        partial = self._work / f"{_PROVEN_FILE}{PARTIAL}"
        known = {"pacs": self._pacs.name, "instances": self._proven}
        bag.write(partial, json.dumps(known, indent=2).encode())
        os.replace(partial, self._work / _PROVEN_FILE)
        bag.sync(self._work)


def _difference(found: Payload, expected: Payload) -> str:
    """Return in what an object differs from what was sent; not the values, which may be somebody's."""
    names = [
        item.name for item in fields(Payload) if getattr(found, item.name) != getattr(expected, item.name)
    ]
    return f"it differs in {', '.join(names)}" if names else ""


def _delivered(instance: Instance) -> DeliveredInstance:
    return DeliveredInstance(
        file=instance.file,
        study_instance_uid=instance.case.study_uid,
        series_instance_uid=instance.series_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sha256=instance.sha256,
        bytes=instance.bytes,
    )
