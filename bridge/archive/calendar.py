"""Unix milliseconds as documents write them: UTC in data, local time of Vietnam (UTC+7) for people; pure."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

LOCAL: Final = timezone(timedelta(hours=7))


def utc_text(at_ms: int) -> str:
    """Return ISO 8601 with milliseconds, e.g. 2026-11-25T08:30:00.250Z."""
    return _utc(at_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def local_text(at_ms: int) -> str:
    """Return the local day and time as it is written in Vietnam, e.g. 25/11/2026 15:30:00."""
    return local(at_ms).strftime("%d/%m/%Y %H:%M:%S")


def local(at_ms: int) -> datetime:
    """Return the local time, without the milliseconds."""
    return _utc(at_ms).astimezone(LOCAL)


def _utc(at_ms: int) -> datetime:
    # Whole seconds, because a float of seconds would round the milliseconds.
    return datetime.fromtimestamp(at_ms // 1000, UTC)
