"""What the feedback of one receiver says of its path: transport-wide numbers led back to what was sent.

Judged by `bridge.estimation`. A receiver sends feedback ten to twenty times a second. Most of it tells of a
path on which nothing is lost and nothing waits; that is taken as one sample for all its packets, and only
otherwise each packet is looked at. Several feedbacks in a row on a calm path make one such sample.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from bridge.base.counters import SfuCounters
from bridge.base.rate import Budget
from bridge.estimation.estimator import Estimator, Passage, Plan
from bridge.estimation.history import PacketResult, SentPacket
from bridge.estimation.probing import Probe
from bridge.rtp.rtcp import TransportFeedback
from bridge.rtp.sequence import SequenceUnwrapper
from bridge.transport.departures import FIRST, RING, Departures

# What a path is taken to carry until it has said more: a picture of full size comes at once where it can, and
# where it cannot the queue tells within half a second.
START_BPS = 2_500_000.0
FLOOR_BPS = 30_000.0

# Units of the feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).
REFERENCE_S = 0.064
TICK_S = 0.00025
REFERENCE_BITS = 24
# RTCP header, two SSRCs, base number and count, reference time and count of feedback, the first chunk.
_HEAD = Struct("!BBHIIHHIH")
_RTP_FEEDBACK = 205
_TRANSPORT_WIDE = 15
_RUN_OF_SMALL_DELTAS = 0x2000

# What waits longer on a line that carries no more is not to be followed by what was lost there.
FULL_QUEUE_S = 0.1

# So many packets a second may be told of; 50 Mbit/s are some 5,000. What is told beyond is not read.
STATUSES_PER_S = 20_000
STATUSES_BURST = 10_000
# Of a probe's packets all is known after that.
PROBE_S = 2.0
PROBES_MAX = 8
# Calm feedback of so long is one sample, which has no more to say than a quarter second of it.
RUN_S = 0.2
# Whoever agreed to tell of arrivals and does not, while reports come, is judged by the reports.
SILENT_S = 3.0
REPORTS_UNANSWERED = 3


class _Probing:
    """The numbers under which a probe left."""

    __slots__ = ("first", "last", "number", "until")

    def __init__(self, number: int, first: int, until: float) -> None:
        self.number = number
        self.first = first
        # None while it goes on.
        self.last: int | None = None
        self.until = until


class _Run:
    """Numbers that came one after the other on a calm path, and have not been taken in yet."""

    __slots__ = ("began_at", "begin", "end", "first", "heard_at")

    def __init__(self, first: int, begin: Passage, end: Passage, now: float) -> None:
        self.first = first
        self.begin = begin
        self.end = end
        # By our clock: when the first and the last feedback on it came.
        self.began_at = self.heard_at = now


class SentColumns:
    """The history of one transport, as the estimator wants it, over the columns of the port."""

    __slots__ = ("_departures", "_missed", "_references", "_row", "highest", "probings", "told_bytes")

    def __init__(self, departures: Departures, row: int) -> None:
        self._departures = departures
        self._row = row
        self._references = SequenceUnwrapper(REFERENCE_BITS)
        # Called lost, and perhaps only late; the oldest first.
        self._missed: dict[int, None] = {}
        # The highest extended number that feedback has told of.
        self.highest = FIRST - 1
        # What the last feedback told of for the first time.
        self.told_bytes = 0
        self.probings: deque[_Probing] = deque(maxlen=PROBES_MAX)

    @property
    def next_number(self) -> int:
        """The extended number that the next packet gets."""
        return int(self._departures.next_number[self._row])

    @property
    def oldest_in_flight_at(self) -> float | None:
        """When the first packet was sent that no feedback reaches yet; None when there is no such one."""
        return self._departures.oldest_since(self._row, self.highest + 1)

    def reference_s(self, reference_time: int) -> float:
        """Return the reference time of a feedback on a clock that counts on."""
        return self._references.unwrap(reference_time) * REFERENCE_S

    def covered(self, base: int, count: int) -> int | None:
        """Return the extended number of `base` where `count` numbers from it on may have been told of."""
        first = self._departures.extended(self._row, base)
        return first if first is not None and count <= self.next_number - first else None

    def left_at(self, number: int) -> float | None:
        """Return when an extended number left; None where that is forgotten, or was told of already."""
        return self._departures.left_at(self._row, number)

    def bytes_since(self, first: int) -> int:
        """Return the bytes of all numbers from the extended number `first` on, told of or not."""
        count = min(self.next_number - first, RING)
        return int(self._departures.size_bytes[self._departures.places(self._row, first, count)].sum())

    def take(self, first: int, count: int) -> int:
        """Take numbers that have all come; return their bytes."""
        departures = self._departures
        size_bytes = int(departures.size_bytes[departures.places(self._row, first, count)].sum())
        departures.forget(self._row, first, count)
        return size_bytes

    def match(self, feedback: TransportFeedback) -> list[PacketResult]:
        """Return what is new in a feedback, by ascending number; numbers never sent are passed over."""
        self.told_bytes = 0
        count = len(feedback.statuses)
        first = self.covered(feedback.base_sequence_number, count)
        if first is None:
            return []
        departures, missed = self._departures, self._missed
        places = departures.places(self._row, first, count).tolist()
        at_s = self.reference_s(feedback.reference_time)
        elapsed_us = 0
        results: list[PacketResult] = []
        for number, (place, (_, delta_us)) in enumerate(
            zip(places, feedback.statuses, strict=True), start=first
        ):
            if delta_us is not None:
                elapsed_us += delta_us
            was_missed = number in missed
            if not place or (delta_us is None and was_missed):
                continue
            packet = SentPacket(
                number,
                int(departures.size_bytes[place]),
                float(departures.sent_at[place]),
                self._probe_of(number),
            )
            self.told_bytes += 0 if was_missed else packet.size_bytes
            if delta_us is None:
                missed[number] = None
                results.append(PacketResult(packet, None, False))
                continue
            missed.pop(number, None)
            departures.forget(self._row, number, 1)
            results.append(PacketResult(packet, at_s + elapsed_us * 1e-6, was_missed))
        self.highest = max(self.highest, first + count - 1)
        while missed and next(iter(missed)) < self.next_number - RING:
            del missed[next(iter(missed))]
        return results

    def _probe_of(self, number: int) -> int | None:
        for probing in self.probings:
            if probing.first <= number and (probing.last is None or number <= probing.last):
                return probing.number
        return None


class SendSideEstimate:
    """How much one receiver's path carries, by its transport-wide feedback."""

    __slots__ = (
        "_counters",
        "_run",
        "_sent",
        "_statuses",
        "_unanswered",
        "estimator",
        "has_told",
        "is_held_back",
    )

    def __init__(self, departures: Departures, row: int, counters: SfuCounters) -> None:
        self._counters = counters
        self._sent = SentColumns(departures, row)
        self.estimator = Estimator(self._sent, start_bps=START_BPS, floor_bps=FLOOR_BPS)
        self._statuses = Budget(per_s=STATUSES_PER_S, burst=STATUSES_BURST)
        self._run: _Run | None = None
        # Receiver reports since the last feedback.
        self._unanswered = 0
        # More could be shown than the estimate allows: then each packet counts.
        self.is_held_back = False
        # Whether the receiver has told of any arrival.
        self.has_told = False

    def is_silent(self, now: float) -> bool:
        """Whether the receiver does not tell of arrivals as it has agreed to, though its reports arrive."""
        if self._unanswered < REPORTS_UNANSWERED:
            return False
        oldest = self._sent.oldest_in_flight_at
        return oldest is not None and now - oldest > SILENT_S

    def reported(self) -> None:
        """A receiver report has come."""
        self._unanswered += 1

    @property
    def estimate_bps(self) -> float:
        """What the path is held to carry."""
        return self.estimator.estimate_bps

    @property
    def loss(self) -> float:
        """The share of packets lost on the path in the last seconds; what never came to us is not in it."""
        return self.estimator.loss

    @property
    def is_full(self) -> bool:
        """Whether the path's queue stands while it carries less than there is to show."""
        return self.is_held_back and self.estimator.queue_delay_s > FULL_QUEUE_S

    def want(self, bps: float) -> None:
        """Say how much could be shown if the path carried it."""
        self.estimator.wanted_bps = bps
        self.is_held_back = self.estimator.estimate_bps < bps

    def take_calm(self, data: bytes, now: float) -> bool:
        """Take in a compound if it is one feedback of a calm path; False when it is to be read otherwise."""
        if len(data) < _HEAD.size or self.is_held_back or self._is_probing(now):
            return False
        first_byte, kind, words, _, _, base, count, time_and_number, chunk = _HEAD.unpack_from(data)
        if kind != _RTP_FEEDBACK or first_byte & 0xDF != 0x80 | _TRANSPORT_WIDE or 4 * words + 4 != len(data):
            return False
        # Chromium and Firefox write one run where all packets came, less than 64 ms apart.
        deltas = data[_HEAD.size : _HEAD.size + count]
        if chunk != _RUN_OF_SMALL_DELTAS | count or not count or len(deltas) != count:
            return False
        sent = self._sent
        first = sent.covered(base, count)
        if first is None or first != sent.highest + 1:
            return False
        return self._take_run(first, count, deltas, sent.reference_s(time_and_number >> 8), now)

    def _take_run(self, first: int, count: int, deltas: bytes, at_s: float, now: float) -> bool:
        """Add numbers that have all come to the run of those before, which the estimator takes as one."""
        sent = self._sent
        last = first + count - 1
        left_at = sent.left_at(last)
        if left_at is None:
            return False
        end = Passage(left_at, at_s + sum(deltas) * TICK_S)
        if not self.estimator.is_calm(end, now):
            return False
        run = self._run
        if run is None:
            first_left_at = sent.left_at(first)
            if first_left_at is None:
                return False
            begin = Passage(first_left_at, at_s + deltas[0] * TICK_S)
            self._run = _Run(first, begin, end, now)
        else:
            run.end, run.heard_at = end, now
            if now - run.began_at >= RUN_S:
                self._take_in(run, last)
        sent.highest = last
        self._unanswered = 0
        self._counters.feedback_calm += 1
        return True

    def _take_in(self, run: _Run, last: int) -> None:
        count = last + 1 - run.first
        size_bytes = self._sent.take(run.first, count)
        self._run = None
        self.estimator.sent(size_bytes, run.heard_at)
        self.estimator.calm_feedback(count, size_bytes, run.begin, run.end, run.heard_at)

    def _end_run(self) -> None:
        """Let the estimator know what has been calm before what comes now."""
        if self._run is not None:
            self._take_in(self._run, self._sent.highest)

    def take(self, feedback: TransportFeedback, now: float) -> None:
        """Take in a feedback packet by packet."""
        if not self._statuses.take(len(feedback.statuses), now):
            return
        self._unanswered = 0
        self.has_told = True
        self._counters.feedback_single += 1
        self._end_run()
        estimator = self.estimator
        estimator.feedback(feedback, now)
        estimator.sent(self._sent.told_bytes, now)
        self.is_held_back = estimator.estimate_bps < estimator.wanted_bps

    def tick(self, now: float) -> Plan:
        """Return what may be sent now, and what is to be tried."""
        self._end_run()
        return self.estimator.tick(now)

    def begin_probe(self, probe: Probe, now: float) -> None:
        """All that is sent from now on belongs to a probe, until it ends."""
        self._sent.probings.append(_Probing(probe.number, self._sent.next_number, now + PROBE_S))
        self.estimator.probing(probe)

    def probe_progress(self) -> tuple[int, int]:
        """Return how many packets and bytes have left since the newest probe began."""
        first = self._sent.probings[-1].first
        packets = self._sent.next_number - first
        return packets, self._sent.bytes_since(first)

    def end_probe(self) -> None:
        """The last packet of the newest probe has been sent."""
        self._sent.probings[-1].last = self._sent.next_number - 1

    def _is_probing(self, now: float) -> bool:
        probings = self._sent.probings
        while probings and now > probings[0].until:
            probings.popleft()
        return bool(probings)
