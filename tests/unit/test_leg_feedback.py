"""Feedback from the wire to the estimator: whatever a receiver sends, it costs little and breaks nothing."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base.counters import SfuCounters
from bridge.estimation.aimd import CEILING_BPS
from bridge.leg.feedback import FLOOR_BPS, STATUSES_BURST, SendSideEstimate
from bridge.media.feedback import ArrivalLog
from bridge.rtp.rtcp import TransportFeedback, parse_rtcp
from bridge.transport.departures import FIRST, RING, Departures


class Path:
    """One transport, and what its receiver says."""

    def __init__(self) -> None:
        self.departures = Departures()
        self.row = self.departures.open()
        self.counters = SfuCounters()
        self.estimate = SendSideEstimate(self.departures, self.row, self.counters)
        self.estimate.want(1_000_000.0)
        self.log = ArrivalLog()
        self.now = 1000.0

    def send(self, count: int, *, lost: frozenset[int] = frozenset()) -> None:
        for index in range(count):
            number = self.departures.number_one(self.row, self.departures.note(self.now, 1000))
            if index not in lost:
                self.log.add(number, self.now + 0.02)
            self.now += 0.005

    def tell(self) -> None:
        self.now += 0.02
        for data in self.log.build(self.now, 1, 2):
            self.take(data)

    def take(self, data: bytes) -> None:
        if self.estimate.take_calm(data, self.now):
            return
        for packet in parse_rtcp(data)[0]:
            if isinstance(packet, TransportFeedback):
                self.estimate.take(packet, self.now)
                self.estimate.tick(self.now)

    def is_sound(self) -> bool:
        estimate = self.estimate
        return (
            FLOOR_BPS <= estimate.estimate_bps <= CEILING_BPS
            and 0.0 <= estimate.loss <= 1.0
            and len(estimate._sent._missed) <= RING
        )


def test_what_came_is_taken_once_by_either_way() -> None:
    path = Path()
    for _ in range(40):
        path.send(10)
        path.tell()
    calm, single = path.counters.feedback_calm, path.counters.feedback_single
    assert calm > 30
    assert single < 10
    assert path.estimate.estimator.acknowledged_bps is not None
    # Ten packets of 8,000 bits in 70 ms.
    assert 1_000_000 < path.estimate.estimator.acknowledged_bps < 1_300_000
    # The same again changes nothing, once all that was calm has been taken in.
    path.estimate.tick(path.now)
    before = path.estimate.estimator.acknowledged_bps
    packet = TransportFeedback(1, 2, 390, 0, 0, tuple((390 + n, 250) for n in range(10)))
    path.take(packet.pack())
    assert path.estimate.estimator.acknowledged_bps == before


def test_a_loss_is_counted_though_all_before_was_calm() -> None:
    path = Path()
    for turn in range(60):
        path.send(10, lost=frozenset({4}) if turn >= 30 else frozenset())
        path.tell()
    assert 0.05 < path.estimate.loss < 0.15
    assert path.estimate.estimator.acknowledged_bps is not None
    assert 900_000 < path.estimate.estimator.acknowledged_bps < 1_200_000


def test_numbers_that_were_never_sent_are_nobodys() -> None:
    path = Path()
    path.send(20)
    path.tell()
    before = path.estimate.estimate_bps
    for base in (19, 20, 30_000, 65_000):
        statuses = tuple(((base + n) & 0xFFFF, 250) for n in range(50))
        path.take(TransportFeedback(1, 2, base, 0, 0, statuses).pack())
    assert path.estimate.estimate_bps == before
    assert path.departures.next_number[path.row] == FIRST + 20


def test_a_flood_of_feedback_is_not_read() -> None:
    path = Path()
    path.send(3000)
    statuses = tuple((n, None) for n in range(3000))
    data = TransportFeedback(1, 2, 0, 0, 0, statuses).pack()
    for _ in range(50):
        path.take(data)
    assert path.counters.feedback_single <= STATUSES_BURST // 3000
    assert path.is_sound()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 32), st.lists(st.binary(max_size=60), max_size=5))
def test_no_feedback_leads_out_of_bounds(seed: int, noise: list[bytes]) -> None:
    random_ = random.Random(seed)
    path = Path()
    for _ in range(30):
        path.send(random_.randrange(12), lost=frozenset(random_.sample(range(12), random_.randrange(4))))
        if random_.random() < 0.5:
            path.tell()
        newest = int(path.departures.next_number[path.row])
        base = newest - random_.randrange(60) if random_.random() < 0.8 else random_.randrange(1 << 16)
        ticks = (None, 0, 4, 40, random_.randrange(-0x8000, 0x8000))
        statuses = tuple(
            ((base + n) & 0xFFFF, None if (t := random_.choice(ticks)) is None else 250 * t)
            for n in range(random_.randrange(1, 15))
        )
        reference = random_.randrange(-0x800000, 0x800000)
        data = bytearray(TransportFeedback(1, 2, base & 0xFFFF, reference, 0, statuses).pack())
        if random_.random() < 0.3:
            data[random_.randrange(len(data))] = random_.randrange(256)
        path.take(bytes(data))
        for one in noise:
            path.take(bytes((0x8F, 205)) + one)
        assert path.is_sound()
