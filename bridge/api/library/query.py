"""What somebody looks for in the library: the parameters of the list, checked; pure."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from bridge.api.library.package import summary
from bridge.base.errors import InvalidMessage
from bridge.base.words import PackageState
from bridge.store.entries import Page, Search

PAGE_SIZE: Final = 25
TEXT_MAX: Final = 200
# Days are those of the hospitals.
LOCAL_OFFSET: Final = timedelta(hours=7)
_KNOWN: Final = frozenset({"q", "from", "to", "state", "undecided", "cursor"})
_CURSOR_DIGITS: Final = 7


def search_of(query: Mapping[str, str], *, rooms: tuple[str, ...] | None) -> Search:
    """Return the search that the parameters describe; raises InvalidMessage."""
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        raise InvalidMessage("invalid-message", f"there is no parameter {unknown[0][:40]!r}")
    text = query.get("q", "")
    if len(text) > TEXT_MAX:
        raise InvalidMessage("invalid-message", f"q is longer than {TEXT_MAX} characters")
    return Search(
        text=text,
        from_ms=_day_ms(query, "from"),
        until_ms=_day_ms(query, "to", days_later=1),
        states=_states(query.get("state", "")),
        is_undecided=_is_undecided(query.get("undecided", "")),
        rooms=rooms,
        offset=_offset(query.get("cursor", "")),
        limit=PAGE_SIZE,
    )


def page_json(page: Page, search: Search) -> dict[str, Any]:
    """Return the answer: packages, how many there are in all, the cursor of the next page if there is one."""
    end = search.offset + len(page.packages)
    return {
        "packages": [summary(entry) for entry in page.packages],
        "total": page.total,
        "cursor": str(end) if page.packages and end < page.total else None,
    }


def _day_ms(query: Mapping[str, str], name: str, *, days_later: int = 0) -> int | None:
    """Return the beginning of a day, local time, in Unix milliseconds."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        day = date.fromisoformat(text) + timedelta(days=days_later)
        midnight = datetime.combine(day, time(), UTC) - LOCAL_OFFSET
        return round(midnight.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidMessage("invalid-message", f"{name} must be a day, written YYYY-MM-DD") from error


def _states(text: str) -> tuple[PackageState, ...]:
    words = [word for word in text.split(",") if word]
    if len(words) > len(PackageState):
        raise InvalidMessage("invalid-message", "state names too many states")
    try:
        return tuple(PackageState(word) for word in words)
    except ValueError as error:
        known = ", ".join(PackageState)
        raise InvalidMessage("invalid-message", f"state must be some of {known}") from error


def _is_undecided(text: str) -> bool:
    if text not in ("", "1"):
        raise InvalidMessage("invalid-message", "undecided is 1 or left out")
    return text == "1"


def _offset(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _CURSOR_DIGITS):
        raise InvalidMessage("invalid-message", "cursor must be one that the list has given")
    return int(text)
