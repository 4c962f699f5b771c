"""A shaped line for real packets: those of TUN devices go through the scorecard's own `Line`, in real time.

One process, one thread. Everything that a case says of its line holds: rate, drop-tail queue, delay, jitter,
losses, and how they change. Packets to a namespace go down, packets from it up; a case's schedule is that of
the direction in which it is told to work, the other one has the case's delay and the rate of its way back.
"""

import ctypes
import fcntl
import heapq
import os
import platform
import select
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np

from benchmarks.networks.cases import Case
from benchmarks.networks.clock import Clock
from benchmarks.networks.line import Line, Loss, Schedule
from benchmarks.networks.tally import Tally

Way = Literal["down", "up"]
Kind = Literal["media", "tcp", "page"]
Steps = Sequence[tuple[float, float]]

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_MAX_BYTES = 65_536
# A wake-up hands over at most so many packets of each device before what is due is sent on.
BATCH = 64
# What nobody shapes: the way back of most cases, and all before a case begins.
OPEN_BPS = 100e6
OPEN_QUEUE_S = 1.0
TCP, UDP = 6, 17
# sched_setattr(2), by machine, and the slice asked for: the shortest that Linux grants.
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
SLICE_NS = 100_000
# Opus and RED in what Chromium offers (RFC 3551 leaves these numbers to the offer).
VOICE_PAYLOAD_TYPES = (111, 63)


@dataclass(frozen=True)
class Setup:
    """What a line is to do, and how to tell its packets apart."""

    case: Case
    # The direction that has the case's rate and losses.
    way: Way = "down"
    # Ports of TCP on this machine: the other traffic, and the page itself. All else is media.
    tcp_port: int = 0
    page_port: int = 0


@dataclass
class Count:
    """One kind of one site's packets, one way; the tally's times are those of the case."""

    tally: Tally
    voice: Tally


@dataclass
class Measured:
    """What went over a line while its case ran."""

    # By way, site and kind.
    counts: dict[tuple[Way, int, Kind], Count] = field(default_factory=dict)
    # How late what was due was handed on: median, 99 of 100, the worst.
    late_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # Of one core, while the case ran.
    cpu: float = 0.0


class WallClock(Clock):
    """The time of the wall since a beginning that can be set."""

    def __init__(self) -> None:
        super().__init__()
        self._zero = time.monotonic()
        self.lates_s: list[float] = []

    def read(self) -> float:
        """Look at the wall."""
        self.now = time.monotonic() - self._zero
        return self.now

    def set(self, at: float) -> None:
        """Let it be `at` now; what is due stays due in as many seconds."""
        shift_s = at - self.read()
        self._zero -= shift_s
        self._calls = [(when + shift_s, *rest) for when, *rest in self._calls]  # type: ignore[misc]
        self.now = at

    def due_in_s(self, most_s: float) -> float:
        """Return in how many seconds something is due."""
        return min(max(self._calls[0][0] - self.read(), 0.0), most_s) if self._calls else most_s

    def call_due(self) -> None:
        """Call what is due, at the time it was due: a late wake-up is not to add up along the line."""
        now = self.read()
        while self._calls and self._calls[0][0] <= now:
            when, _, callback, args = heapq.heappop(self._calls)
            self.lates_s.append(now - when)
            callback(*args)


class Begun:
    """A loss that does not begin before the case does."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, now: float) -> bool:
        return now >= 0.0 and self._loss(now)


class Shaper:
    """Moves packets between this machine's device and those of the namespaces."""

    def __init__(
        self, setup: Setup, devices: list[int], addresses: tuple[str, ...], extra_delays_s: tuple[float, ...]
    ) -> None:
        self._setup = setup
        self._devices = devices
        self._sites = {
            bytes(int(part) for part in address.split(".")): site for site, address in enumerate(addresses)
        }
        self._extra_delays_s = extra_delays_s
        self.clock = WallClock()
        self.measured = Measured()
        self._cpu_s = 0.0
        self._lines: dict[Way, Line] = {}
        self.open()

    def open(self) -> None:
        """Let everything through, with the case's first delay."""
        delay_s = Schedule([(0.0, self._setup.case.delay[0][1])])
        for way in ("down", "up"):
            self._lines[way] = Line(
                self.clock, Schedule([(0.0, OPEN_BPS)]), queue_s=OPEN_QUEUE_S, delay_s=delay_s
            )

    def begin(self, at: float) -> None:
        """Start the case at a time of its own; what is on its way still arrives when it would have."""
        case, way = self._setup.case, self._setup.way
        other: Way = "up" if way == "down" else "down"
        self.clock.set(at)
        self._lines[way] = self._line(case.rate, case.queue_s, case.losses())
        back = case.back or [(0.0, OPEN_BPS)]
        self._lines[other] = self._line(back, case.queue_s, case.back_losses())
        self.measured = Measured()
        self.clock.lates_s.clear()
        self._cpu_s = time.process_time()

    def _line(self, rate: Steps, queue_s: float, losses: tuple[Loss, ...]) -> Line:
        case = self._setup.case
        return Line(
            self.clock,
            Schedule(rate),
            queue_s=queue_s,
            delay_s=Schedule(case.delay),
            jitter_s=case.jitter_s,
            losses=tuple(map(Begun, losses)),
        )

    def finish(self) -> Measured:
        """Open the line and return what was counted."""
        measured = self.measured
        if self.clock.lates_s:
            late_s = np.percentile(self.clock.lates_s, [50, 99, 100])
            measured.late_s = (float(late_s[0]), float(late_s[1]), float(late_s[2]))
        measured.cpu = (time.process_time() - self._cpu_s) / max(self.clock.read(), 1e-3)
        self.measured = Measured()
        self.open()
        return measured

    def run(self, control: Connection) -> None:
        """Move packets until the other end of `control` is closed."""
        waiting = [control.fileno(), *self._devices]
        while True:
            ready, _, _ = select.select(waiting, [], [], self.clock.due_in_s(1.0))
            self.clock.call_due()
            for number, device in enumerate(self._devices):
                if device in ready:
                    self._read(number - 1, device)
            if waiting[0] in ready and not self._obey(control):
                return

    def _obey(self, control: Connection) -> bool:
        try:
            command, at = control.recv()
        except EOFError:
            return False
        if command == "begin":
            self.begin(at)
            control.send(None)
        else:
            control.send(self.finish())
        return True

    def _read(self, site: int, device: int) -> None:
        """Take a batch of packets from a site, or from this machine (-1)."""
        for _ in range(BATCH):
            try:
                packet = os.read(device, PACKET_MAX_BYTES)
            except BlockingIOError:
                return
            self.clock.read()
            # IPv6 has no addresses here but those that nodes give themselves.
            if packet[0] >> 4 != 4:
                continue
            if site >= 0:
                self._send("up", site, packet, self._devices[0])
            elif (to := self._sites.get(packet[16:20])) is not None:
                self._send("down", to, packet, self._devices[1 + to])

    def _send(self, way: Way, site: int, packet: bytes, device: int) -> None:
        size_bytes = len(packet)
        count, is_voice = self._count(way, site, packet)
        lost = self._lines[way].send(
            size_bytes, self._extra_delays_s[site], self._arrive, packet, device, count, is_voice
        )
        if self.clock.now < 0.0:
            return
        for tally in (count.tally, count.voice) if is_voice else (count.tally,):
            tally.sent(size_bytes)
            if lost is not None:
                tally.lost(lost)

    def _arrive(self, waiting_s: float, packet: bytes, device: int, count: Count, is_voice: bool) -> None:
        os.write(device, packet)
        if self.clock.now >= 0.0:
            count.tally.arrived(len(packet), waiting_s)
            if is_voice:
                count.voice.arrived(len(packet), waiting_s)

    def _count(self, way: Way, site: int, packet: bytes) -> tuple[Count, bool]:
        header_bytes = (packet[0] & 0x0F) * 4
        protocol = packet[9]
        kind: Kind = "media"
        is_voice = False
        if protocol == TCP:
            here = header_bytes if way == "down" else header_bytes + 2
            port = int.from_bytes(packet[here : here + 2], "big")
            kind = (
                "tcp"
                if port == self._setup.tcp_port
                else "page"
                if port == self._setup.page_port
                else "media"
            )
        elif protocol == UDP and len(packet) > header_bytes + 10:
            first, second = packet[header_bytes + 8 : header_bytes + 10]
            # RFC 7983: a first byte from 128 to 191 is RTP or RTCP.
            is_voice = first >> 6 == 2 and second & 0x7F in VOICE_PAYLOAD_TYPES
        counts = self.measured.counts
        key = (way, site, kind)
        if key not in counts:
            counts[key] = Count(Tally(self.clock), Tally(self.clock))
        return counts[key], is_voice


def ask_for_short_slices() -> None:
    """Ask to be woken sooner in return for shorter turns: no more of a core, but less late (Linux 6.12)."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        # size, policy, flags, nice, priority, slice, deadline, period; older kernels take no notice.
        attributes = struct.pack("IIQiIQQQ", 48, 0, 0, os.nice(0), 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, ctypes.c_char_p(attributes), 0)


def shape(
    setup: Setup,
    name: str,
    addresses: tuple[str, ...],
    extra_delays_s: tuple[float, ...],
    control: Connection,
) -> None:
    """Be the line: tell the names of the devices, then do as `control` says."""
    ask_for_short_slices()
    names = [f"{name}h", *(f"{name}n{site}" for site in range(len(addresses)))]
    devices = [open_device(one) for one in names]
    shaper = Shaper(setup, devices, addresses, extra_delays_s)
    control.send(names)
    shaper.run(control)


def open_device(name: str) -> int:
    """Make a TUN device; it goes when its descriptor is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor
