"""bridge/archive/tracks/merging.py: near losses are one gap, and nothing that is missing is left out."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.archive.model import Gap
from bridge.archive.tracks.merging import merged


def gap(start_ms: int, end_ms: int, *, track: str = "t1", reason: str = "loss", packets: int = 0) -> Gap:
    return Gap(track, "p-1", "microphone", start_ms, end_ms, reason, packets=packets)


def test_single_packets_lost_for_a_while_are_one_gap_with_what_is_missing_and_their_number() -> None:
    # Two of each hundred packets of a voice, for a minute.
    losses = [gap(at_ms, at_ms + 20, packets=1) for at_ms in range(0, 60_000, 999)]
    (found,) = merged(losses)
    assert (found.start_ms, found.end_ms, found.packets) == (0, 59_940 + 20, len(losses))
    assert found.missing_ms == 20 * len(losses)


def test_other_tracks_reasons_and_times_are_told_for_themselves() -> None:
    gaps = [
        gap(0, 100),
        gap(50, 200, track="t2"),
        gap(120, 300, reason="damaged"),
        gap(1100, 1200),
        gap(2199, 2300),
    ]
    found = merged(gaps)
    assert [(one.track, one.reason, one.start_ms, one.end_ms) for one in found] == [
        ("t1", "loss", 0, 100),
        ("t2", "loss", 50, 200),
        ("t1", "damaged", 120, 300),
        ("t1", "loss", 1100, 2300),
    ]


def test_there_is_a_bound_however_bad_the_night() -> None:
    losses = [gap(at_ms, at_ms + 20, packets=1) for at_ms in range(0, 8 * 3_600_000, 1100)]
    found = merged(losses, most=100)
    assert len(found) <= 100
    assert sum(one.packets for one in found) == len(losses)
    assert sum(one.missing_ms for one in found) == 20 * len(losses)


def test_no_more_are_told_as_one_than_have_to_be() -> None:
    """A gap each two minutes, with one more than can be told: it is the closest two that are made one."""
    losses = [gap(at_ms, at_ms + 20, packets=1) for at_ms in range(0, 101 * 120_000, 120_000)]
    losses[70] = gap(losses[69].end_ms + 5_000, losses[69].end_ms + 5_020, packets=1)
    found = merged(losses, most=100)
    assert len(found) == 100
    assert found[:69] + found[70:] == losses[:69] + losses[71:]
    assert (found[69].start_ms, found[69].end_ms) == (losses[69].start_ms, losses[70].end_ms)


def test_losses_at_one_distance_do_not_become_one_gap_of_hours() -> None:
    losses = [gap(at_ms, at_ms + 20, packets=1) for at_ms in range(0, 103 * 97_000, 97_000)]
    found = merged(losses, most=100)
    assert len(found) == 100
    assert sum(one.packets for one in found) == 103
    assert sum(one.missing_ms for one in found) == 103 * 20


def test_other_tracks_and_reasons_are_never_made_one() -> None:
    gaps = [gap(n * 10_000, n * 10_000 + 20, track=f"t{n % 3}", reason="loss") for n in range(30)]
    gaps.append(gap(5_000, 5_020, reason="damaged"))
    assert {(one.track, one.reason) for one in merged(gaps, most=1)} == {
        ("t0", "loss"),
        ("t1", "loss"),
        ("t2", "loss"),
        ("t1", "damaged"),
    }


spans = st.tuples(st.integers(0, 20_000), st.integers(1, 5000)).map(lambda span: gap(span[0], sum(span)))


@settings(max_examples=200)
@given(st.lists(spans, max_size=20))
def test_what_is_missing_is_covered_and_counted_once(gaps: list[Gap]) -> None:
    missing: set[int] = set()
    for one in gaps:
        missing.update(range(one.start_ms, one.end_ms))
    found = merged(gaps)
    covered: set[int] = set()
    for one in found:
        covered.update(range(one.start_ms, one.end_ms))
    assert missing <= covered
    assert sum(one.missing_ms for one in found) == len(missing)
