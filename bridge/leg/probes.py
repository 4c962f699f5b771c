"""Probes of a receiver's path: for a few milliseconds more is sent than there is to show.

What goes out beside the media are its last packets once more, as retransmissions (RFC 4588): a receiver knows
them already and drops them, and where one was lost it has come to be repaired.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from bridge.base.counters import SfuCounters
from bridge.estimation.probing import Probe
from bridge.leg.encoding import Encoding
from bridge.leg.fan import Span
from bridge.leg.feedback import SendSideEstimate
from bridge.leg.slot import Slot
from bridge.media.packet import Wrapped, retransmission
from bridge.transport import Fanout

# Timers of the loop come a millisecond late at best.
STEP_S = 0.002
# A probe that does not get away is given up after that.
LASTS_MAX_S = 0.5
PROBES_MAX = 4
# So many of a slot's last packets are looked at; so many of those that fit best are used in turn, and so many
# of all sizes are kept for when nothing is shown.
LOOKED_AT = 32
USED_MAX = 8
KEPT_MAX = 8


@dataclass(frozen=True, slots=True)
class Padding:
    """A packet that was sent, ready to be sent again: what it was sent as, and in which slot."""

    slot: Slot
    span: Span[Encoding]
    packet: Wrapped
    timestamp: int
    picture_id: int
    tl0_picture_index: int

    @property
    def size_bytes(self) -> int:
        return len(self.packet.payload)


class Prober:
    """Sends the probes of one leg, one after the other."""

    __slots__ = (
        "_began_at",
        "_clock",
        "_counters",
        "_estimate",
        "_fanout",
        "_kept",
        "_paddings",
        "_probes",
        "_slots",
        "_timer",
    )

    def __init__(
        self,
        *,
        estimate: SendSideEstimate,
        fanout: Fanout,
        counters: SfuCounters,
        slots: Callable[[], Iterable[Slot]],
        clock: Callable[[], float],
    ) -> None:
        self._estimate = estimate
        self._fanout = fanout
        self._counters = counters
        self._slots = slots
        self._clock = clock
        # The first one is under way while there is a timer.
        self._probes: deque[Probe] = deque()
        self._paddings: deque[Padding] = deque()
        # For when pictures have been off for so long that none is remembered.
        self._kept: list[Padding] = []
        self._timer: asyncio.TimerHandle | None = None
        self._began_at = 0.0

    def probe(self, probes: Iterable[Probe]) -> None:
        """Send probes as soon as those before them are out; too many are left out."""
        self._probes.extend(islice(probes, PROBES_MAX - len(self._probes)))
        if self._timer is None and self._probes:
            self._begin()

    def stop(self) -> None:
        """Send nothing more."""
        self._probes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        probe = self._probes[0]
        self._paddings = deque(self._find(probe.size_bytes // probe.packets_min))
        if not self._paddings:
            # Nothing was ever shown to this receiver.
            self._probes.clear()
            return
        self._began_at = self._clock()
        self._estimate.begin_probe(probe, self._began_at)
        self._go_on()

    def _go_on(self) -> None:
        """Send what is owed by now of the probe under way, the media that left meanwhile counted in."""
        self._timer = None
        probe, estimate = self._probes[0], self._estimate
        now = self._clock()
        elapsed_s = now - self._began_at
        packets, size_bytes = estimate.probe_progress()
        # The first packet opens the probe, and is paid for by the time after it.
        while size_bytes <= probe.bps / 8 * elapsed_s and not _is_out(probe, packets, size_bytes):
            if not self._pad(now):
                break
            packets, size_bytes = estimate.probe_progress()
        if not _is_out(probe, packets, size_bytes) and elapsed_s < LASTS_MAX_S:
            self._timer = asyncio.get_running_loop().call_later(STEP_S, self._go_on)
            return
        estimate.end_probe()
        self._probes.popleft()
        if self._probes:
            self._begin()

    def _pad(self, now: float) -> bool:
        padding = self._paddings[0]
        self._paddings.rotate(-1)
        slot = padding.slot
        rows = slot.retransmission_rows(padding.span, self._fanout.route)
        rows.timestamp[0] = padding.timestamp
        rows.picture_id[0] = padding.picture_id
        rows.tl0_picture_index[0] = padding.tl0_picture_index
        self._counters.probe_packets_sent += 1
        return bool(self._fanout.send(padding.packet, rows, 1, now))

    def _find(self, size_bytes: int) -> list[Padding]:
        """Return packets of about that size: on a narrow line five large ones are half a second of it."""
        slots = [slot for slot in self._slots() if slot.is_video]
        found = [padding for slot in slots for padding in _last_packets(slot, self._fanout)]
        if found:
            found.sort(key=_size_bytes)
            self._kept = found[:: max(len(found) // KEPT_MAX, 1)]
        else:
            found = [padding for padding in self._kept if padding.slot in slots]
        return sorted(found, key=lambda padding: abs(padding.size_bytes - size_bytes))[:USED_MAX]


def _is_out(probe: Probe, packets: int, size_bytes: int) -> bool:
    return packets >= probe.packets_min and size_bytes >= probe.size_bytes


def _size_bytes(padding: Padding) -> int:
    return padding.size_bytes


def _last_packets(slot: Slot, fanout: Fanout) -> list[Padding]:
    found = []
    newest = slot.forwarder.newest
    for number in range(newest, newest - LOOKED_AT, -1):
        remembered = slot.forwarder.remembered(number & 0xFFFF)
        if remembered is None or not slot.can_repeat(remembered[0]):
            continue
        span, packet = remembered
        rows = slot.unnumbered_rows(span, fanout.route)
        original = slot.forwarder.repeat(span, packet, rows)
        found.append(
            Padding(
                slot,
                span,
                retransmission(packet, original),
                int(rows.timestamp[0]),
                int(rows.picture_id[0]),
                int(rows.tl0_picture_index[0]),
            )
        )
    return found
