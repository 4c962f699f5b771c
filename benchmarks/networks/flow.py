"""A call over a line: the bridge's estimator and pacer at one end, its log of arrivals at the other."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from benchmarks.networks.clock import Clock
from benchmarks.networks.line import Line, Loss
from benchmarks.networks.source import FRAMES_PER_S, Source
from benchmarks.networks.tally import Tally
from bridge.estimation.estimator import Estimator
from bridge.estimation.history import SentHistory
from bridge.estimation.pacer import Kind, Pacer
from bridge.media.feedback import ArrivalLog
from bridge.rtp.rtcp import TransportFeedback, parse_rtcp

VOICE_BYTES = 100
VOICE_EVERY_S = 0.02
PACKET_BYTES = 1_200
# IP and UDP around a report, and its SRTCP trailer.
HEADERS_BYTES = 42
# What browsers begin with; they move between 50 and 250 ms with the rate.
FEEDBACK_EVERY_S = 0.1


class Media(ABC):
    """Voice and pictures from one sender, by what a subclass knows of the line."""

    def __init__(
        self,
        clock: Clock,
        line: Line,
        source: Source,
        *,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        back_s: float = 0.05,
        extra_delay_s: float = 0.0,
        pauses: tuple[tuple[float, float], ...] = (),
        back_losses: tuple[Loss, ...] = (),
        back_line: Line | None = None,
    ) -> None:
        self.tally = Tally(clock)
        self.voice = Tally(clock)
        self.clock = clock
        self.start_s = start_s
        self.end_s = end_s
        self.source = source
        self._line = line
        self._back_s = back_s
        self._extra_delay_s = extra_delay_s
        self._pauses = pauses
        self._back_losses = back_losses
        self._back_line = back_line
        self._random = random.Random(start_s)
        clock.at(start_s, self._start)

    def _start(self) -> None:
        self._frame()
        self._speak()
        self._report()

    @property
    def is_over(self) -> bool:
        """The call has ended."""
        return self.clock.now >= self.end_s

    @property
    def is_paused(self) -> bool:
        """There are no pictures to send."""
        return any(start <= self.clock.now < end for start, end in self._pauses)

    @abstractmethod
    def target_bps(self) -> float:
        """Return what may be sent now."""

    @abstractmethod
    def push(self, kind: Kind, size_bytes: int) -> None:
        """Send a packet, now or soon."""

    def receive(self, waiting_s: float, sent_at: float, size_bytes: int, number: int, is_voice: bool) -> None:
        """A packet has come."""
        self.tally.arrived(size_bytes, waiting_s)
        if is_voice:
            self.voice.arrived(size_bytes, waiting_s)

    @abstractmethod
    def report(self) -> None:
        """Send back what the receiver has to tell; comes every `FEEDBACK_EVERY_S`."""

    def send_back(self, size_bytes: int, deliver: Callable[..., object], *args: object) -> None:
        """Send a report: over the line of the other direction, where there is one."""
        if self._back_line is None:
            self.clock.after(self._back_s + self._extra_delay_s, deliver, *args)
        else:
            # How long it waited is nobody's measure here.
            self._back_line.send(size_bytes, self._extra_delay_s, lambda _, *rest: deliver(*rest), *args)

    def transmit(self, number: int, size_bytes: int, *, is_voice: bool) -> None:
        """Put a packet on the line."""
        self.tally.sent(size_bytes)
        if is_voice:
            self.voice.sent(size_bytes)
        now = self.clock.now
        lost = self._line.send(
            size_bytes, self._extra_delay_s, self.receive, now, size_bytes, number, is_voice
        )
        if lost is not None:
            self.tally.lost(lost)
            if is_voice:
                self.voice.lost(lost)

    def _frame(self) -> None:
        if self.is_over:
            return
        target_bps = self.target_bps()
        self.tally.target(target_bps)
        left_bytes = 0 if self.is_paused else self.source.frame_bytes(target_bps)
        while left_bytes > 0:
            size_bytes = min(left_bytes, PACKET_BYTES)
            self.push(Kind.PICTURE, size_bytes)
            left_bytes -= size_bytes
        # No two cameras keep step with each other.
        self.clock.after(self._random.uniform(0.9, 1.1) / FRAMES_PER_S, self._frame)

    def _speak(self) -> None:
        if not self.is_over:
            self.push(Kind.VOICE, VOICE_BYTES)
            self.clock.after(VOICE_EVERY_S, self._speak)

    def _report(self) -> None:
        if not self.is_over:
            if not any(is_lost(self.clock.now) for is_lost in self._back_losses):
                self.report()
            self.clock.after(FEEDBACK_EVERY_S, self._report)


class EstimatedFlow(Media):
    """As the bridge is to send: paced, by transport-wide feedback."""

    def __init__(self, clock: Clock, line: Line, source: Source, **where: object) -> None:
        super().__init__(clock, line, source, **where)  # type: ignore[arg-type]
        self._history = SentHistory()
        self.estimator = Estimator(self._history)
        self.estimator.wanted_bps = source.max_bps
        self._pacer: Pacer[bool] = Pacer(self.estimator.estimate_bps, clock.now)
        self._log = ArrivalLog()
        self._number = 0
        self._wakes_at = float("inf")

    def target_bps(self) -> float:
        now = self.clock.now
        plan = self.estimator.tick(now)
        self._pacer.set_target(plan.target_bps)
        for probe in plan.probes:
            if self._pacer.probe(probe, now):
                self.estimator.probing(probe)
        self._pump()
        # What has gathered in the pacer is made up for: the next picture is smaller.
        return plan.target_bps if not self._pacer.is_full else 0.5 * plan.target_bps

    def push(self, kind: Kind, size_bytes: int) -> None:
        if not self._pacer.push(kind, kind is Kind.VOICE, size_bytes, self.clock.now):
            self.tally.losses["pacer"] += 1
        self._pump()

    def receive(self, waiting_s: float, sent_at: float, size_bytes: int, number: int, is_voice: bool) -> None:
        super().receive(waiting_s, sent_at, size_bytes, number, is_voice)
        self._log.add(number, self.clock.now)

    def report(self) -> None:
        for data in self._log.build(self.clock.now, 1, 2):
            self.send_back(len(data) + HEADERS_BYTES, self._take_feedback, data)

    def _take_feedback(self, data: bytes) -> None:
        packets, is_damaged = parse_rtcp(data)
        assert not is_damaged
        for packet in packets:
            assert isinstance(packet, TransportFeedback)
            self.estimator.feedback(packet, self.clock.now)

    def _wake(self, due: float) -> None:
        if due == self._wakes_at:
            self._wakes_at = float("inf")
            self._pump()

    def _pump(self) -> None:
        now = self.clock.now
        while (departure := self._pacer.pop(now)) is not None:
            number = self._number
            self._number = (number + 1) & 0xFFFF
            self._history.sent(number, departure.size_bytes, now, departure.probe_id)
            self.estimator.sent(departure.size_bytes, now)
            self.transmit(number, departure.size_bytes, is_voice=bool(departure.item))
        due = self._pacer.due(now)
        if due is not None and due < self._wakes_at:
            self._wakes_at = due = max(due, now + 0.0002)
            self.clock.at(due, self._wake, due)
