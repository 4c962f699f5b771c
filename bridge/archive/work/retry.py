"""When a step of archiving that failed is tried again; pure.

What time can heal (a full disk, a process that works on the same package, a PACS that is down) is tried for
ever; what is tried without end elsewhere would only heat the room, and is left to somebody who looks.
"""

from typing import Final

from bridge.base.errors import ArchiveFailed

# Seconds before the second attempt, the third, and so on. The first pause is short: a child process that
# was killed leaves nothing to wait for.
PAUSES_S: Final = (2.0, 15.0, 60.0, 300.0, 900.0)
PATIENT_CODES: Final = frozenset({"disk-full", "busy", "catalogue-unusable"})
PATIENT_PAUSE_MAX_S: Final = 600.0
PAUSE_MAX_S: Final = max(*PAUSES_S, PATIENT_PAUSE_MAX_S)


def is_last(attempts: int, last_code: str | None) -> bool:
    """Return whether the attempt after so many failures, the last with this code, is the last one."""
    return attempts >= len(PAUSES_S) and last_code not in PATIENT_CODES


def pause_s(error: ArchiveFailed, attempts: int) -> float | None:
    """Return the seconds until the next attempt, after `attempts` failures; None: there is none."""
    if error.is_lasting:
        return None
    if error.code in PATIENT_CODES:
        return min(5.0 * 2.0 ** min(attempts - 1, 10), PATIENT_PAUSE_MAX_S)
    return PAUSES_S[attempts - 1] if attempts <= len(PAUSES_S) else None
