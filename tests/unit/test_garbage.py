"""Full passes of the garbage collector come when they hold nobody up."""

from bridge.node.garbage import CLOSED_MAX, INTERVAL_MAX_S, GarbageSchedule


def test_nothing_is_collected_while_a_conference_runs_and_few_have_left() -> None:
    schedule = GarbageSchedule(0.0)
    assert not any(
        schedule.is_due(float(now), participants=30, closed=now % CLOSED_MAX) for now in range(0, 3000, 60)
    )


def test_an_empty_node_collects_once_after_the_last_has_left() -> None:
    schedule = GarbageSchedule(0.0)
    assert not schedule.is_due(60.0, participants=0, closed=0)
    assert schedule.is_due(120.0, participants=0, closed=3)
    assert not schedule.is_due(180.0, participants=0, closed=3)


def test_many_departures_are_collected_during_a_conference() -> None:
    schedule = GarbageSchedule(0.0)
    assert schedule.is_due(60.0, participants=900, closed=CLOSED_MAX)
    assert not schedule.is_due(120.0, participants=900, closed=CLOSED_MAX + 1)


def test_a_conference_without_end_is_collected_at_long_last() -> None:
    schedule = GarbageSchedule(0.0)
    assert schedule.is_due(INTERVAL_MAX_S, participants=2, closed=0)
