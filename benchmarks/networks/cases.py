"""The cases of the scorecard: RFC 8867, 5.1 to 5.8, and the lines that remote points hang on."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.networks.clock import Clock
from benchmarks.networks.flow import Media
from benchmarks.networks.line import GilbertLoss, Line, Loss, Outages, RandomLoss, Schedule
from benchmarks.networks.source import Encoder, Ladder, Source
from benchmarks.networks.tcp import Tcp

FlowType = Callable[..., Media]
# Nothing that the cases' lines carry is beyond it.
ENCODER_MAX_BPS = 20e6
SHORT_TCP_BYTES = 50_000
SHORT_TCP_PAUSE_S = 10.0


@dataclass(frozen=True)
class Shape:
    """One media flow of a case."""

    start_s: float = 0.0
    end_s: float = float("inf")
    # Of its own way, beyond the common line.
    extra_delay_s: float = 0.0
    pauses: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Case:
    """A line, what goes over it, and when to look."""

    name: str
    rate: Sequence[tuple[float, float]]
    duration_s: float
    flows: tuple[Shape, ...] = (Shape(),)
    # After this the flows are expected to have settled.
    settled_s: float = 10.0
    delay: Sequence[tuple[float, float]] = ((0.0, 0.05),)
    queue_s: float = 0.3
    jitter_s: float = 0.0
    losses: Callable[[], tuple[Loss, ...]] = tuple
    # Of the other direction, of its own chance.
    back_losses: Callable[[], tuple[Loss, ...]] = tuple
    long_tcp: bool = False
    short_tcp: int = 0
    # The rate of the other direction, over which the reports go, and a flow as well.
    back: Sequence[tuple[float, float]] = ()
    is_ladder: bool = False
    # When the rate falls and rises in a way that is to be timed.
    falls: tuple[float, ...] = ()
    rises: tuple[float, ...] = ()


@dataclass
class Run:
    """A case that has been run."""

    case: Case
    line: Line
    flows: list[Media] = field(default_factory=list)
    tcps: list[Tcp] = field(default_factory=list)
    # The flow of the other direction, on its own line.
    back: Media | None = None
    back_line: Line | None = None


def run(case: Case, flow_type: FlowType, *, seed: int = 0) -> Run:
    """Let a case's time pass with flows of that type; the seed moves what is chance in them."""
    clock = Clock()
    delay_s = Schedule(case.delay)
    line = Line(
        clock,
        Schedule(case.rate),
        queue_s=case.queue_s,
        delay_s=delay_s,
        jitter_s=case.jitter_s,
        losses=case.losses(),
    )
    done = Run(case, line)
    back_s = delay_s.at(0.0)
    if case.back:
        done.back_line = Line(clock, Schedule(case.back), queue_s=case.queue_s, delay_s=delay_s, seed=2)
        done.back = flow_type(clock, done.back_line, Encoder(ENCODER_MAX_BPS, 99), back_line=line)
    for number, shape in enumerate(case.flows):
        source: Source = Ladder() if case.is_ladder else Encoder(ENCODER_MAX_BPS, number + 100 * seed)
        done.flows.append(
            flow_type(
                clock,
                line,
                source,
                # Two that start in the same instant are never quite at once.
                start_s=shape.start_s + 0.007 * number + 0.0011 * seed,
                end_s=shape.end_s,
                back_s=back_s,
                extra_delay_s=shape.extra_delay_s,
                pauses=shape.pauses,
                back_losses=case.back_losses(),
                back_line=done.back_line,
            )
        )
    if case.long_tcp:
        done.tcps.append(Tcp(clock, line, back_s=back_s))
    for start_s, size_bytes in short_transfers(case):
        done.tcps.append(Tcp(clock, line, start_s=start_s, size_bytes=size_bytes, back_s=back_s))
    clock.run(case.duration_s)
    return done


def short_transfers(case: Case) -> list[tuple[float, float]]:
    """Return when the short TCP transfers of a case begin, and how many bytes each has."""
    found: list[tuple[float, float]] = []
    random_ = random.Random(case.short_tcp)
    for _ in range(case.short_tcp):
        start_s = random_.expovariate(1 / SHORT_TCP_PAUSE_S)
        while start_s < case.duration_s:
            found.append((start_s, random_.expovariate(1 / SHORT_TCP_BYTES)))
            start_s += random_.expovariate(1 / SHORT_TCP_PAUSE_S)
    return found


def is_chosen(name: str, texts: str) -> bool:
    """Whether a case's name holds one of the texts, which semicolons separate; every name holds none."""
    wanted = [text.strip() for text in texts.split(";") if text.strip()]
    return not wanted or any(text in name for text in wanted)


def _random(part: float, seed: int = 7) -> tuple[Loss, ...]:
    return (RandomLoss(part, random.Random(seed)),)


def _bursts(part: float) -> tuple[Loss, ...]:
    return (GilbertLoss(part, 4.0, random.Random(7)),)


def _outage(start_s: float, end_s: float) -> tuple[Loss, ...]:
    return (Outages([(start_s, end_s)]),)


def _gaps(bps: float, every_s: float, gap_s: float, end_s: float) -> list[tuple[float, float]]:
    steps = [(0.0, bps)]
    at = every_s
    while at < end_s:
        steps += [(at, 0.0), (at + gap_s, bps)]
        at += every_s
    return steps


def _drive(end_s: float) -> list[tuple[float, float]]:
    """Return a drive through 4G cells: the rate walks between 0.6 and 12 Mbit/s, handovers stop it."""
    random_ = random.Random(4)
    steps = []
    bps = 6e6
    for second in range(int(end_s)):
        if second and second % 23 == 0:
            steps += [(float(second), 0.0), (second + random_.uniform(0.1, 0.3), bps)]
            bps = random_.uniform(1e6, 10e6)
        else:
            bps = min(max(bps * random_.uniform(0.75, 1.33), 0.6e6), 12e6)
            steps.append((float(second), bps))
    return steps


CASES = (
    Case(
        "RFC 8867 5.1 one flow",
        [(0, 1e6), (40, 2.5e6), (60, 6e5), (80, 1e6)],
        100.0,
        falls=(60.0,),
        rises=(40.0,),
    ),
    Case(
        "RFC 8867 5.2 two flows",
        [(0, 4e6), (25, 2e6), (50, 3.5e6), (75, 1e6), (100, 2e6)],
        125.0,
        flows=(Shape(), Shape()),
        falls=(25.0, 75.0),
        rises=(50.0, 100.0),
    ),
    Case(
        "RFC 8867 5.3 both ways",
        [(0, 2e6), (20, 1e6), (40, 5e5), (60, 2e6)],
        100.0,
        back=[(0, 2e6), (35, 8e5), (70, 2e6)],
        falls=(20.0, 40.0),
        rises=(60.0,),
    ),
    Case(
        "RFC 8867 5.4 three flows",
        [(0, 3.5e6)],
        120.0,
        flows=(Shape(), Shape(20.0), Shape(40.0)),
        settled_s=60.0,
    ),
    Case(
        "RFC 8867 5.5 five round trips",
        [(0, 4e6)],
        300.0,
        flows=tuple(Shape(10.0 * n, extra_delay_s=d) for n, d in enumerate((0.0, 0.015, 0.04, 0.09, 0.14))),
        delay=((0.0, 0.01),),
        settled_s=80.0,
    ),
    Case("RFC 8867 5.6 one long TCP", [(0, 2e6)], 120.0, long_tcp=True, settled_s=20.0),
    Case("RFC 8867 5.7 ten short TCP", [(0, 2e6)], 300.0, short_tcp=10),
    Case(
        "RFC 8867 5.8 a pause",
        [(0, 3.5e6)],
        120.0,
        flows=(Shape(), Shape(0.0, pauses=((40.0, 60.0),)), Shape()),
        settled_s=70.0,
    ),
    Case("4 M to 500 k and back", [(0, 4e6), (20, 5e5), (40, 4e6)], 60.0, falls=(20.0,), rises=(40.0,)),
    Case("4 M to 100 k and back", [(0, 4e6), (20, 1e5), (40, 4e6)], 60.0, falls=(20.0,), rises=(40.0,)),
    Case("ladder, 600 k to 4 M", [(0, 6e5), (30, 4e6)], 60.0, is_ladder=True, rises=(30.0,)),
    Case("10 Mbit/s", [(0, 10e6)], 30.0),
    Case("800 k, 20 ms jitter", [(0, 8e5)], 30.0, jitter_s=0.02, settled_s=5.0),
    Case("5 M, 10 % random loss", [(0, 5e6)], 40.0, losses=partial(_random, 0.1), settled_s=8.0),
    Case("5 M, 20 % random loss", [(0, 5e6)], 40.0, losses=partial(_random, 0.2), settled_s=8.0),
    Case("5 M, 10 % in bursts", [(0, 5e6)], 40.0, losses=partial(_bursts, 0.1), settled_s=8.0),
    Case("5 M, 20 % in bursts", [(0, 5e6)], 40.0, losses=partial(_bursts, 0.2), settled_s=8.0),
    Case(
        "GEO satellite",
        [(0, 512e3)],
        90.0,
        delay=((0.0, 0.3),),
        losses=partial(_random, 0.01),
        back_losses=partial(_random, 0.01, 8),
        settled_s=20.0,
    ),
    Case(
        "Starlink",
        _gaps(10e6, 15.0, 0.2, 95.0),
        95.0,
        delay=[(15.0 * n, 0.02 + 0.03 * (n % 2)) for n in range(7)],
        settled_s=14.0,
    ),
    Case("4G drive", _drive(120.0), 120.0, jitter_s=0.01),
    Case("ADSL 300 k, one TCP", [(0, 3e5)], 120.0, long_tcp=True, settled_s=20.0),
    Case(
        "outage of 3 s",
        [(0, 4e6)],
        45.0,
        losses=partial(_outage, 20.0, 23.0),
        back_losses=partial(_outage, 20.0, 23.0),
        rises=(23.0,),
    ),
    Case(
        "outage of 10 s",
        [(0, 4e6)],
        55.0,
        losses=partial(_outage, 20.0, 30.0),
        back_losses=partial(_outage, 20.0, 30.0),
        rises=(30.0,),
    ),
    Case("policer, 1 M, no queue", [(0, 1e6)], 60.0, queue_s=0.02),
)
