"""Whether the core is busy is seen within a tenth of a second and remembered for a few."""

from bridge.base.load import BUSY_SHARE, RESTS_S, WINDOW_S, Load


class Core:
    """A load whose clocks are moved by hand."""

    def __init__(self) -> None:
        self.now = self.spent = 100.0
        self.load = Load(clock=lambda: self.now, cpu_clock=lambda: self.spent)

    def works(self, seconds: float, share: float) -> None:
        """Be busy with a share of some seconds."""
        self.now += seconds
        self.spent += seconds * share


def test_it_rests_until_it_has_worked() -> None:
    core = Core()
    assert not core.load.is_busy
    for _ in range(100):
        core.works(WINDOW_S, BUSY_SHARE - 0.01)
        assert not core.load.is_busy


def test_one_busy_window_is_seen_at_once_and_remembered() -> None:
    core = Core()
    core.works(WINDOW_S * 1.01, 1.0)
    assert core.load.is_busy
    core.works(RESTS_S * 0.9, 0.0)
    assert core.load.is_busy
    core.works(RESTS_S * 0.2, 0.0)
    assert not core.load.is_busy


def test_a_moment_is_no_window() -> None:
    core = Core()
    core.works(WINDOW_S / 10, 1.0)
    assert not core.load.is_busy


def test_who_asked_nothing_for_long_is_told_of_the_whole_time() -> None:
    core = Core()
    core.works(60.0, 0.1)
    core.works(WINDOW_S, 1.0)
    assert not core.load.is_busy
    core.works(WINDOW_S * 1.01, 1.0)
    assert core.load.is_busy
