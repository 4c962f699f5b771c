"""How long packages are kept, and what may go when."""

import pytest

from bridge.archive.retention import (
    Refusal,
    Retention,
    TracksState,
    longest,
    may_delete,
    may_purge_tracks,
    raised,
    retention_until,
)
from bridge.base.words import RetentionClass

DAY_MS = 86_400_000
# 2026-12-31 23:30 and 2027-01-01 00:30, both in Vietnam; in Greenwich it is the same day.
NEW_YEARS_EVE = 1_798_734_600_000
NEW_YEAR = NEW_YEARS_EVE + 3_600_000
ORDINARY = Retention(RetentionClass.ORDINARY, "2036-12-31")
END_OF_2036 = NEW_YEARS_EVE + 3653 * DAY_MS


@pytest.mark.parametrize(
    ("retention_class", "until"),
    [
        (RetentionClass.TRAINING, "2031-12-31"),
        (RetentionClass.ORDINARY, "2036-12-31"),
        (RetentionClass.ACCIDENT, "2046-12-31"),
        (RetentionClass.DEATH, "2056-12-31"),
        (RetentionClass.TRANSPLANT, "2056-12-31"),
        (RetentionClass.INCIDENT, None),
    ],
)
def test_each_class_has_its_years_from_the_end_of_the_year(
    retention_class: RetentionClass, until: str | None
) -> None:
    assert retention_until(retention_class, NEW_YEARS_EVE) == until


def test_the_year_is_the_local_one() -> None:
    assert retention_until(RetentionClass.ORDINARY, NEW_YEAR) == "2037-12-31"


def test_class_can_be_raised_but_not_lowered() -> None:
    death = raised(ORDINARY, RetentionClass.DEATH, NEW_YEARS_EVE)
    assert death == Retention(RetentionClass.DEATH, "2056-12-31")
    assert raised(death, RetentionClass.TRAINING, NEW_YEARS_EVE) == death
    incident = raised(death, RetentionClass.INCIDENT, NEW_YEARS_EVE)
    assert incident.until is None
    assert raised(incident, RetentionClass.DEATH, NEW_YEARS_EVE) == incident


def test_raising_keeps_the_legal_hold() -> None:
    held = Retention(RetentionClass.ORDINARY, "2036-12-31", has_legal_hold=True)
    assert raised(held, RetentionClass.DEATH, NEW_YEARS_EVE).has_legal_hold


def test_the_stricter_of_two_decisions_holds() -> None:
    for_ever = Retention(RetentionClass.INCIDENT, None)
    held = Retention(RetentionClass.TRAINING, "2031-12-31", has_legal_hold=True)
    assert longest(ORDINARY, for_ever) == longest(for_ever, ORDINARY) == for_ever
    assert longest(ORDINARY, held) == Retention(RetentionClass.ORDINARY, "2036-12-31", has_legal_hold=True)


def test_package_may_go_the_day_after_its_last_day_and_not_before() -> None:
    assert may_delete(ORDINARY, END_OF_2036) == Refusal("retention-runs")
    assert may_delete(ORDINARY, END_OF_2036 + 3_600_000) is None


def test_legal_hold_and_eternity_are_stronger_than_time() -> None:
    late = END_OF_2036 + 100_000 * DAY_MS
    held = Retention(RetentionClass.ORDINARY, "2036-12-31", has_legal_hold=True)
    assert may_delete(held, late) == Refusal("legal-hold")
    assert may_delete(Retention(RetentionClass.INCIDENT, None), late) == Refusal("kept-for-ever")


@pytest.mark.parametrize(
    ("state", "needs_delivery", "days", "may"),
    [
        (TracksState(True, [(0, 0), (DAY_MS, 2 * DAY_MS)]), True, 32, True),
        (TracksState(True, [(0, 0), (DAY_MS, 2 * DAY_MS)]), True, 31.9, False),
        (TracksState(True, [(0, 0), (DAY_MS, None)]), True, 99, False),
        (TracksState(True, [(0, None), (DAY_MS, None)]), False, 31, True),
        (TracksState(True, [(0, 0), (None, None)]), False, 99, False),
        (TracksState(False, [(0, 0)]), False, 99, False),
        (TracksState(True, []), False, 99, False),
    ],
)
def test_tracks_go_when_all_packages_are_safe_for_long_enough(
    state: TracksState, needs_delivery: bool, days: float, may: bool
) -> None:
    now_ms = round(days * DAY_MS)
    assert may_purge_tracks(state, needs_delivery=needs_delivery, keep_days=30, now_ms=now_ms) is may
