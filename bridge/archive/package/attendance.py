"""Who attended, from when to when and how long: per person and per site; pure.

A person is a name at a site. Whoever comes back within `RECONNECT_MS` was reconnecting and counts as having
stayed; two devices of one person do not count twice.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.archive.calendar import local_text, utc_text
from bridge.archive.model import Span
from bridge.archive.plan.extract import Presence, clip

# A page that lost its network comes back within a minute or two; who stays away longer was away.
RECONNECT_MS: Final = 120_000
MINUTE_MS: Final = 60_000

_ROLES: Final = {
    "chair": "Chủ tọa / Chair",
    "secretary": "Thư ký / Secretary",
    "presenter": "Người trình bày / Presenter",
    "expert": "Chuyên gia / Expert",
    "observer": "Dự thính / Observer",
}
_COLUMNS: Final = (
    "Điểm cầu / Site",
    "Họ và tên / Name",
    "Vai trò / Role",
    "Thiết bị / Device",
    "Giờ vào / Joined",
    "Giờ ra / Left",
    "Số phút có mặt / Minutes present",
    "Số lần kết nối lại / Reconnections",
)
# What a spreadsheet would take for a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class PersonAttendance:
    """One person's attendance."""

    site: str
    level: str
    name: str
    role: str
    is_device: bool
    stays: tuple[Span, ...]
    reconnections: int

    @property
    def present_ms(self) -> int:
        """For how long the person was there."""
        return sum(stay.end_ms - stay.start_ms for stay in self.stays)


@dataclass(frozen=True, slots=True)
class SiteAttendance:
    """One site's attendance: somebody of it was there."""

    site: str
    level: str
    people: int
    stays: tuple[Span, ...]

    @property
    def present_ms(self) -> int:
        """For how long the site was there."""
        return sum(stay.end_ms - stay.start_ms for stay in self.stays)


def attendees(presences: Sequence[Presence], times: Sequence[Span]) -> list[PersonAttendance]:
    """Return everybody who was there during the times, in the order of coming; stays are clipped to them."""
    people: dict[tuple[str, str, bool], list[Presence]] = {}
    for presence in presences:
        if presence.overlaps(times):
            people.setdefault((presence.site, presence.name, presence.is_device), []).append(presence)
    return [_attendee(stays, times) for stays in people.values()]


def sites(people: Iterable[PersonAttendance]) -> list[SiteAttendance]:
    """Return the sites of these people, in the order of coming."""
    by_site: dict[str, list[PersonAttendance]] = {}
    for person in people:
        by_site.setdefault(person.site, []).append(person)
    return [
        SiteAttendance(
            site,
            members[0].level,
            sum(not member.is_device for member in members),
            tuple(_joined([stay for member in members for stay in member.stays], 0)),
        )
        for site, members in by_site.items()
    ]


def to_json(people: Sequence[PersonAttendance]) -> dict[str, Any]:
    """Return attendance.json; times are UTC."""
    return {
        "people": [
            {
                "site": person.site,
                "level": person.level,
                "name": person.name,
                "role": person.role,
                "device": person.is_device,
                **_times(person.stays),
                "reconnections": person.reconnections,
            }
            for person in people
        ],
        "sites": [
            {"site": site.site, "level": site.level, "people": site.people, **_times(site.stays)}
            for site in sites(people)
        ],
    }


def to_csv(people: Sequence[PersonAttendance]) -> bytes:
    """Return attendance.csv: UTF-8 with a byte order mark, as spreadsheets want it; times are local."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for person in people:
        writer.writerow(
            (
                _harmless(person.site),
                _harmless(person.name),
                _ROLES.get(person.role, person.role),
                "x" if person.is_device else "",
                local_text(person.stays[0].start_ms),
                local_text(person.stays[-1].end_ms),
                _minutes(person.present_ms),
                person.reconnections,
            )
        )
    return text.getvalue().encode("utf-8-sig")


def _attendee(presences: Sequence[Presence], times: Sequence[Span]) -> PersonAttendance:
    first = presences[0]
    whole = _joined([Span(stay.joined_ms, stay.left_ms) for stay in presences], RECONNECT_MS)
    stays = clip(whole, times)
    return PersonAttendance(
        first.site,
        first.level,
        first.name,
        presences[-1].role,
        first.is_device,
        tuple(_joined(stays, 0)),
        _reconnections(presences, times),
    )


def _reconnections(presences: Sequence[Presence], times: Sequence[Span]) -> int:
    """Return how often a person came back soon, within the times."""
    count, left_ms = 0, presences[0].left_ms
    for stay in presences[1:]:
        is_soon = 0 <= stay.joined_ms - left_ms <= RECONNECT_MS
        count += is_soon and any(time.start_ms <= stay.joined_ms < time.end_ms for time in times)
        left_ms = max(left_ms, stay.left_ms)
    return count


def _joined(spans: Iterable[Span], pause_max_ms: int) -> list[Span]:
    """Return the union of spans; pauses up to the given length are filled."""
    union: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_ms):
        if union and span.start_ms - union[-1].end_ms <= pause_max_ms:
            union[-1] = Span(union[-1].start_ms, max(union[-1].end_ms, span.end_ms))
        else:
            union.append(span)
    return union


def _times(stays: Sequence[Span]) -> dict[str, Any]:
    return {
        "joined_at": utc_text(stays[0].start_ms),
        "left_at": utc_text(stays[-1].end_ms),
        "minutes": _minutes(sum(stay.end_ms - stay.start_ms for stay in stays)),
        "stays": [{"from": utc_text(stay.start_ms), "to": utc_text(stay.end_ms)} for stay in stays],
    }


def _minutes(duration_ms: int) -> float:
    return round(duration_ms / MINUTE_MS, 1)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
