"""The figures of one run, in the words of RFC 8868."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.networks.cases import Case, Run
from benchmarks.networks.line import Schedule
from benchmarks.networks.source import Ladder
from benchmarks.networks.tally import Tally

# A rate is reached when a second's mean has it; the queue is back when a fifth of a second's packets show it.
RATE_WINDOW_S = 1.0
RISEN = 0.9
FALLEN = 1.1
QUEUE_BACK_S = 0.2


@dataclass(frozen=True)
class Score:
    """What one case shows; times in seconds, None where the case does not ask."""

    utilisation: float
    p95_wait_s: float
    queue_loss: float
    line_loss: float
    rise_s: float | None
    fall_s: float | None
    queue_back_s: float | None
    jain: float | None
    # Of the line: what the media flows have beside TCP.
    media_share: float | None
    voice_p95_wait_s: float


class Flow(Protocol):
    """What is counted of one media flow."""

    tally: Tally
    voice: Tally


def plain(value: Any) -> Any:
    """Return what JSON can say: what never came to be is `"never"`."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return "never" if math.isinf(value) else round(value, 4)
    return value


def jain(values: Sequence[float]) -> float:
    """Return the fairness index: 1 when all have the same, 1/n when one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def score(run: Run) -> Score:
    """Read the tallies of a run."""
    most_bps = Ladder.STEPS_BPS[-1] if run.case.is_ladder else float("inf")
    return score_flows(run.case, run.flows, [tcp.tally for tcp in run.tcps], most_bps)


def score_flows(case: Case, flows: Sequence[Flow], tcps: Sequence[Tally], most_bps: float) -> Score:
    """Read tallies; the flows have no more to send than `most_bps` together, whatever the line carries."""
    start_s, end_s = case.settled_s, case.duration_s
    rate_bps = Schedule(case.rate)
    rates = [flow.tally.rate_bps(start_s, end_s) for flow in flows]
    had_bps = most_bps if not tcps else float("inf")
    capacity_bps = rate_bps.integral(start_s, end_s, had_bps) / (end_s - start_s)
    tcp_bps = sum(tally.rate_bps(start_s, end_s) for tally in tcps)
    packets = max(sum(flow.tally.packets for flow in flows), 1)
    total_bps = sum(rates) + tcp_bps

    def rise_s(at: float) -> float:
        wanted_bps = RISEN * min(rate_bps.at(at), most_bps)
        return _first_s(case, at, lambda when: _total_bps(flows, when, is_sent=False) >= wanted_bps)

    def fall_s(at: float) -> float:
        borne_bps = FALLEN * rate_bps.at(at)
        return _first_s(case, at, lambda when: _total_bps(flows, when, is_sent=True) <= borne_bps)

    return Score(
        utilisation=total_bps / capacity_bps,
        p95_wait_s=max(flow.tally.wait_s(start_s, end_s) for flow in flows),
        queue_loss=sum(flow.tally.losses["queue"] for flow in flows) / packets,
        line_loss=sum(flow.tally.losses["line"] for flow in flows) / packets,
        rise_s=max(map(rise_s, case.rises), default=None),
        fall_s=max(map(fall_s, case.falls), default=None),
        queue_back_s=max((_queue_back_s(flows, at, end_s) for at in case.falls), default=None),
        jain=jain(rates) if len(rates) > 1 else None,
        media_share=sum(rates) / total_bps if tcps and total_bps else None,
        voice_p95_wait_s=max(flow.voice.wait_s(start_s, end_s) for flow in flows),
    )


def _total_bps(flows: Sequence[Flow], start_s: float, *, is_sent: bool) -> float:
    if not is_sent:
        return sum(flow.tally.rate_bps(start_s, start_s + RATE_WINDOW_S) for flow in flows)
    bins = range(round(start_s * 10), round((start_s + RATE_WINDOW_S) * 10))
    return sum(flow.tally.sent_bits.get(index, 0.0) for flow in flows for index in bins) / RATE_WINDOW_S


def _first_s(case: Case, at: float, is_so: Callable[[float], bool]) -> float:
    """Return how long after `at` a window ends that shows it."""
    for tenth in range(round((case.duration_s - at - RATE_WINDOW_S) * 10)):
        if is_so(at + tenth / 10):
            return tenth / 10 + RATE_WINDOW_S
    return float("inf")


def _queue_back_s(flows: Sequence[Flow], at: float, end_s: float) -> float:
    """Return when the last packet of the ten seconds after `at` came that had waited for long."""
    late = [
        when - at
        for flow in flows
        for when, wait_s in flow.tally.waits
        if at <= when < min(at + 10.0, end_s) and wait_s > QUEUE_BACK_S
    ]
    return max(late, default=0.0)
