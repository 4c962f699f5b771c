"""Which package is made next when several wait."""

from bridge.archive.work.turns import Turns
from bridge.base.words import ConferenceKind, PackageState
from bridge.store.entries import PackageEntry


def waiting(name: str) -> PackageEntry:
    kind, state = ConferenceKind.CONSULTATION, PackageState.QUEUED
    return PackageEntry(name, "session", "r-1", "", kind, "C01", "BN-1", (), 0, 1, 1, state)


def test_turns_go_to_whoever_has_had_least_and_grow() -> None:
    """Three cases that each take an hour: every turn is worth its start, and nobody is forgotten."""
    turns, now = Turns(turn_s=60.0), 0.0
    cases = [waiting(name) for name in ("a", "b", "c")]
    had, lengths = dict.fromkeys("abc", 0.0), []
    for _ in range(12):
        chosen, *others = turns.in_order(cases)
        turns.begin(chosen.id, now)
        begun = now
        while not turns.is_over(others, now):
            now += 5.0
        had[chosen.id] = turns.end(now)
        lengths.append(now - begun)
    assert lengths[0] == min(lengths) == 65.0
    assert min(lengths[9:]) > 10 * lengths[0]
    assert max(had.values()) <= 2 * sorted(had.values())[0] + 65.0
    # Whoever comes is next, as soon as a turn is over.
    short = waiting("short")
    assert turns.in_order([*cases, short])[0] is short
    turns.begin("a", now)
    assert turns.is_over([short], now)
    assert not turns.is_over([], now + 3600.0)
