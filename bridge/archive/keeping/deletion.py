"""The end of a package: when its time has come or its patient wants it, approved by people, and certified.

The certificate is written before anything is deleted and stays; it holds the seal, so that the chain of seals
can still be proven without the package. An attempt that was interrupted is completed by the next one, unless
the package was put on hold meanwhile. What lies in the PACS is named in it, and is deleted there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from bridge.archive.calendar import utc_text
from bridge.archive.folders import PARTIAL, disk_errors
from bridge.archive.keeping.stores import PackageStore
from bridge.archive.package import bag
from bridge.archive.package.documents import pretty
from bridge.archive.package.seal import SEAL_FILE, SEAL_MAX_BYTES, Seal, parse_seal
from bridge.archive.pacs.dicom import instances
from bridge.archive.retention import Retention, longest, may_delete
from bridge.base.errors import ArchiveFailed
from bridge.base.words import RetentionClass

FORMAT: Final = "hoichan-deletion/1"

_REASONS: Final = {
    "legal-hold": "it is held for legal reasons",
    "kept-for-ever": "it is kept for ever",
    "retention-runs": "its retention has not ended",
}


@dataclass(frozen=True, slots=True)
class Approval:
    """Who decided that a package goes, and why."""

    approved_by: Sequence[str]
    reason: str


def destroy(
    package: Path,
    stores: Sequence[PackageStore],
    certificates: Path,
    *,
    retention: Retention,
    approval: Approval,
    now_ms: int,
    is_withdrawn: bool = False,
) -> Mapping[str, Any]:
    """Delete a package everywhere and return its certificate; raises ArchiveFailed when it must be kept.

    `retention` is what was decided since the sealing; the stricter of both holds. Where consent is withdrawn,
    its end is not waited for, but a legal hold and the class that is kept for ever weigh more than that.
    """
    check_may_go(package, certificates, retention=retention, now_ms=now_ms, is_withdrawn=is_withdrawn)
    path = certificates / f"{package.name}.json"
    if not path.exists():
        certificate = _certificate(package, stores, retention, approval, now_ms, is_withdrawn)
        with disk_errors():
            # Under another name first: a certificate is whole or not there.
            partial = path.with_suffix(PARTIAL)
            bag.write(partial, pretty(certificate))
            partial.rename(path)
            bag.sync(certificates)
    certificate = _read(path)
    for store in stores:
        store.delete(package.name, str(certificate["tagmanifest_sha256"]))
    return certificate


def check_may_go(
    package: Path, certificates: Path, *, retention: Retention, now_ms: int, is_withdrawn: bool = False
) -> None:
    """Raise ArchiveFailed when a package must be kept, or is not the one whose deletion has begun."""
    path = certificates / f"{package.name}.json"
    if not path.exists():
        _check_retention(package.name, _sealed(package)[1], retention, now_ms, is_withdrawn)
        return
    certificate = _read(path)
    _check_retention(package.name, _retention(certificate), retention, now_ms, is_withdrawn)
    if package.exists() and _sealed(package)[0].seal != certificate["seal"]:
        raise ArchiveFailed(
            "package-damaged", f"{package.name}: its certificate is that of another seal", is_lasting=True
        )


def deleted_seals(certificates: Path) -> dict[str, str | None]:
    """Return the seals of all packages that were deleted, and those before them, for `verify_chain`."""
    if not certificates.is_dir():
        return {}
    found = [_read(path) for path in sorted(certificates.glob("*.json"))]
    return {str(certificate["seal"]): certificate["previous_seal"] for certificate in found}


def _certificate(
    package: Path,
    stores: Sequence[PackageStore],
    retention: Retention,
    approval: Approval,
    now_ms: int,
    is_withdrawn: bool,
) -> dict[str, Any]:
    if not approval.approved_by or not approval.reason:
        raise ArchiveFailed(
            "not-approved", f"{package.name}: deleting needs an approval and a reason", is_lasting=True
        )
    seal, sealed = _sealed(package)
    strict = longest(sealed, retention)
    return {
        "format": FORMAT,
        "package": package.name,
        "seal": seal.seal,
        "previous_seal": seal.previous_seal,
        "tagmanifest_sha256": seal.tagmanifest_sha256,
        "sealed_at": seal.sealed_at,
        "retention": {"class": strict.retention_class.value, "until": strict.until},
        "deleted_at": utc_text(now_ms),
        "basis": "consent-withdrawn" if is_withdrawn else "retention-ended",
        "approved_by": list(approval.approved_by),
        "reason": approval.reason,
        "stores": [store.name for store in stores],
        "dicom_instances": [
            {"study_instance_uid": item.case.study_uid, "sop_instance_uid": item.sop_instance_uid}
            for item in instances(package)
        ],
    }


def _check_retention(
    package: str, sealed: Retention, decided: Retention, now_ms: int, is_withdrawn: bool
) -> None:
    """Raise ArchiveFailed when the package must be kept."""
    refusal = may_delete(longest(sealed, decided), now_ms)
    if refusal is None or (is_withdrawn and refusal.code == "retention-runs"):
        return
    raise ArchiveFailed(refusal.code, f"{package}: {_REASONS[refusal.code]}", is_lasting=True)


def _sealed(package: Path) -> tuple[Seal, Retention]:
    """Return the seal of a package and the retention that was sealed with it."""
    data = package / bag.PAYLOAD
    try:
        if package.is_symlink():
            # Only the link would go, and the certificate would lie.
            raise ValueError("it is a link to somewhere else")
        with (package / SEAL_FILE).open("rb") as file:
            seal = parse_seal(file.read(SEAL_MAX_BYTES))
        if seal.package != package.name:
            raise ValueError(f"the seal in it is that of {seal.package}")
        name = "case.json" if (data / "case.json").exists() else "session.json"
        return seal, _retention(json.loads((data / name).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveFailed("package-damaged", f"{package.name}: {error}", is_lasting=True) from error


def _retention(document: Mapping[str, Any]) -> Retention:
    """Return the retention that a document tells; raises ValueError, KeyError or TypeError."""
    said = document["retention"]
    if said["until"] is not None:
        date.fromisoformat(said["until"])
    return Retention(RetentionClass(said["class"]), said["until"])


def _read(path: Path) -> dict[str, Any]:
    try:
        certificate: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if certificate["format"] != FORMAT or not isinstance(certificate["seal"], str):
            raise ValueError("it is not a certificate of deletion")
        if not isinstance(certificate["previous_seal"], str | None):
            raise ValueError("the former seal is not a text")
        _retention(certificate)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveFailed("certificate-damaged", f"{path.name}: {error}", is_lasting=True) from error
    return certificate
