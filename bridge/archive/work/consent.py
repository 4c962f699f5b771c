"""Consent on its way into the catalogue: a package whose patient does not consent is held back.

The word comes out of a session's journal, also while the conference goes on with other cases, or out of a
sealed package when the catalogue is made anew.
"""

import time
from typing import Final

from bridge.base.words import Disposition
from bridge.store.audit import Action
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry

WHO: Final = "bridge"


def note_consent(catalogue: Catalogue, found: PackageEntry) -> None:
    """Let the catalogue know the patient's word as it was found; raises ArchiveFailed.

    What people decided about a package outlasts it, unless the patient withdraws again.
    """
    known = catalogue.package(found.id)
    if known is None or known.deleted_ms is not None or found.consent is None:
        return
    is_news = known.disposition is None or _is_later(found, known)
    if found.disposition is not None and is_news:
        reason = f"consent: {found.consent.value}"
        if catalogue.withhold(found.id, found.consent, found.consent_ms, by=WHO, reason=reason):
            at_ms = time.time_ns() // 1_000_000
            detail = {"consent": found.consent.value}
            catalogue.audit.append(Action.WITHDRAW, who=WHO, at_ms=at_ms, package=found.id, detail=detail)
    elif known.disposition is None and (known.consent, known.consent_ms) != (found.consent, found.consent_ms):
        catalogue.set_consent(found.id, found.consent, found.consent_ms)


def _is_later(found: PackageEntry, known: PackageEntry) -> bool:
    return known.disposition is Disposition.KEEP and (found.consent_ms or 0) > (known.consent_ms or 0)
