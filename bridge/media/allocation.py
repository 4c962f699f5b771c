"""Which layer each slot of a receiver gets, within the receiver's bitrate.

1. Every slot, in order of priority, gets its lowest option. Slots for which nothing is left
   show nothing: the last thumbnails first. On a line that hardly carries voices nothing takes the room in
   which something more important has not found any.
2. What remains is spent from the most important slots down. Slots of the same priority
   (the thumbnails) take turns, one step each, so that they grow evenly.
3. A slot never gets more pixels than its page shows.
4. Going up needs a reserve of 15 % of the budget, going on as before needs none. Otherwise
   the picture would change with each breath of the estimate, at the price of a key frame.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

UPGRADE_HEADROOM = 1.15
# Two of the smallest pictures: where there is less, the last kilobits are the voices'.
NARROW_BPS = 300_000.0

# "As tall as there is", for a page that has not told its sizes.
HEIGHT_ANY_PX = 1 << 16


@dataclass(frozen=True, slots=True)
class LayerOption:
    """One way to show a publication: an encoding up to a temporal layer (0 to 3, both included).

    `bitrate_bps` is what would be received now: of an encoding that does not come, that of its stand-in.
    """

    encoding_key: Hashable
    temporal_limit: int
    bitrate_bps: float
    height_px: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one slot wants: less `priority` is served first, `wanted_height_px` 0 shows nothing.

    `current` is the encoding and temporal limit that the slot shows now.
    """

    slot_key: Hashable
    priority: int
    wanted_height_px: int
    options: tuple[LayerOption, ...]
    current: tuple[Hashable, int] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What one slot gets; `encoding_key` None shows nothing. `most_bps` is what it would get at best."""

    slot_key: Hashable
    encoding_key: Hashable | None
    temporal_limit: int
    bitrate_bps: float = 0.0
    most_bps: float = 0.0


class _Ladder:
    """The options of one slot worth climbing, cheapest first, and how far it got."""

    __slots__ = ("current_bps", "demand", "options", "step")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.options = _worthwhile(demand)
        self.current_bps = _current_bps(demand)
        # -1: shows nothing.
        self.step = -1

    def next_cost_bps(self) -> float | None:
        """Return what one step up costs; None at the top."""
        if self.step + 1 == len(self.options):
            return None
        return self.options[self.step + 1].bitrate_bps - self.bitrate_bps

    @property
    def bitrate_bps(self) -> float:
        return self.options[self.step].bitrate_bps if self.step >= 0 else 0.0

    def is_upgrade(self) -> bool:
        """Whether one step up is more than the slot shows now."""
        return self.options[self.step + 1].bitrate_bps > self.current_bps

    def choice(self) -> Choice:
        key, most_bps = self.demand.slot_key, self.options[-1].bitrate_bps if self.options else 0.0
        if self.step < 0:
            return Choice(key, None, 0, most_bps=most_bps)
        option = self.options[self.step]
        return Choice(key, option.encoding_key, option.temporal_limit, option.bitrate_bps, most_bps)


def _worthwhile(demand: Demand) -> tuple[LayerOption, ...]:
    """Return the options that are not taller than needed, each better than the cheaper ones."""
    if demand.wanted_height_px <= 0:
        return ()
    options = sorted(demand.options, key=_cost)
    heights = [option.height_px for option in options if option.height_px >= demand.wanted_height_px]
    height_max_px = min(heights, default=HEIGHT_ANY_PX)
    ladder: list[LayerOption] = []
    for option in options:
        if option.height_px <= height_max_px and (not ladder or _quality(option) > _quality(ladder[-1])):
            ladder.append(option)
    return tuple(ladder)


def _cost(option: LayerOption) -> tuple[float, int, int]:
    return (option.bitrate_bps, -option.height_px, -option.temporal_limit)


def _quality(option: LayerOption) -> tuple[int, int, float]:
    # The bitrate decides while heights are not known yet.
    return (option.height_px, option.temporal_limit, option.bitrate_bps)


def _current_bps(demand: Demand) -> float:
    """Return the bitrate of what the slot shows now."""
    for option in demand.options:
        if (option.encoding_key, option.temporal_limit) == demand.current:
            return option.bitrate_bps
    return 0.0


class _Budget:
    """What may be spent, and what is."""

    __slots__ = ("budget_bps", "spent_bps")

    def __init__(self, budget_bps: float) -> None:
        self.budget_bps = budget_bps
        self.spent_bps = 0.0

    def climb(self, ladder: _Ladder) -> bool:
        """Take one step up if it can be paid; tell whether it was taken."""
        cost_bps = ladder.next_cost_bps()
        if cost_bps is None:
            return False
        needed_bps = self.spent_bps + cost_bps
        if ladder.is_upgrade():
            needed_bps *= UPGRADE_HEADROOM
        if needed_bps > self.budget_bps:
            return False
        self.spent_bps += cost_bps
        ladder.step += 1
        return True


def choose(budget_bps: float, demands: Sequence[Demand]) -> list[Choice]:
    """Return a choice for each demand, in the order of the demands."""
    ladders = [_Ladder(demand) for demand in demands]
    by_priority = sorted(ladders, key=lambda ladder: ladder.demand.priority)
    budget = _Budget(budget_bps)
    for _, group in groupby(by_priority, key=lambda ladder: ladder.demand.priority):
        climbed = [budget.climb(ladder) or not ladder.options for ladder in group]
        if not all(climbed) and budget_bps < NARROW_BPS:
            break
    for _, group in groupby(by_priority, key=lambda ladder: ladder.demand.priority):
        climbing = [ladder for ladder in group if ladder.step >= 0]
        while climbing:
            climbing = [ladder for ladder in climbing if budget.climb(ladder)]
    return [ladder.choice() for ladder in ladders]
