"""One encoding on its way into a track: its packets become frames, its timestamps milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.base.counters import GapReason, RecordingCounters
from bridge.capture.containment import contained
from bridge.capture.frames import Frame, FrameBuffer
from bridge.capture.writer import Writer
from bridge.leg.encoding import Encoding
from bridge.media.packet import MediaPacket
from bridge.media.timeline import unix_ms
from bridge.rtp.opus import duration_ms
from bridge.rtp.sequence import SequenceUnwrapper, difference

logger = logging.getLogger(__name__)

# A sender whose timestamps leave the clock by this much has begun a new count of them.
LEAP_MS = 10_000
OPUS_HZ = 48_000
VIDEO_HZ = 90_000
# Frames that come after a rest of so long, and by so much later or earlier than their timestamps say: the
# sender's clock may have stood still, as that of a browser's microphone does while it is muted.
REST_MS = 200
PARTED_MS = 100
# How far the clocks of both ends may drift apart in a rest; quartzes do by a tenth of it.
DRIFT = 1e-3
# How often the least delayed frame is written down.
ARRIVAL_S = 5.0
# Reports come once in one to five seconds; how many of them are written down at most.
CLOCK_S = 0.95
# Fewer packets than this before the first one were only overtaken by it.
OVERTAKEN_MAX = 64


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the tracks of a session share."""

    writer: Writer
    counters: RecordingCounters
    segment_s: float
    # Monotonic seconds, and what they are in Unix milliseconds.
    clock: Callable[[], float]
    at_ms: Callable[[float], int]
    # The case that is recorded now; None while none is open.
    case: Callable[[], str | None]
    request_keyframe: Callable[[Encoding], None]
    # A bug of ours was met: it must end the recording and not the conference.
    broke: Callable[[], None]


class Track(Protocol):
    """What a tap writes into."""

    @property
    def rtt_ms(self) -> float | None:
        """The smoothed round trip to the sender; None before it is known."""

    def begin_stream(self, tap: StreamTap, frame: Frame) -> int:
        """Return the number of the stream that begins with that frame."""

    def stream_ended(self, tap: StreamTap) -> None:
        """The encoding that a tap was on is no more."""

    def may_begin_stream(self) -> bool:
        """Whether a stream may begin now: a sender may leap, but not with each packet."""

    def write(self, tap: StreamTap, pts_ms: int, frame: Frame) -> bool:
        """Hand a frame to the writer; False when it has no room for it, or the sender asks too much."""

    def write_gap(self, stream: int, from_ms: int, to_ms: int, packets: int, reason: GapReason) -> None:
        """Write down what is missing."""

    def line(self, value: Mapping[str, Any]) -> None:
        """Write a line of the log."""


class StreamTap:
    """Records one encoding as streams of its track, from a key frame on."""

    __slots__ = (
        "_arrival_due",
        "_awaits_keyframe",
        "_clock_due",
        "_first_ticks",
        "_frames",
        "_gap_reason",
        "_hz",
        "_is_beginning",
        "_is_muted",
        "_is_sound",
        "_is_started",
        "_last_arrival",
        "_last_pts_ms",
        "_least_late",
        "_not_before",
        "_recorded_until_ms",
        "_refused_packets",
        "_resumed_at",
        "_seen",
        "_ticks",
        "_track",
        "around",
        "encoding",
        "stream",
        "unseen_since",
    )

    def __init__(self, track: Track, encoding: Encoding, around: Surroundings, *, not_before: float) -> None:
        """Nothing that arrives before `not_before` is recorded."""
        self.encoding = encoding
        # Its number in the track, from 1; 0 before its first frame.
        self.stream = 0
        # When pictures began to come of which none can be the first; None for sound, and from that one on.
        self.unseen_since: float | None = None
        self._track = track
        self.around = around
        self._frames = FrameBuffer(
            encoding.codec,
            is_hoped=encoding.losses.is_missing,
            known_parameter_set=encoding.parameter_sets.newest,
        )
        self._is_sound = encoding.is_audio
        self._hz = OPUS_HZ if self._is_sound else VIDEO_HZ
        self._not_before = not_before
        self._is_muted = encoding.publication.is_muted
        # Until the first packet that may be recorded; `_seen` is the highest number that may not.
        self._is_beginning = True
        self._seen = encoding.fan.highest
        self._is_started = False
        self._ticks = SequenceUnwrapper(bits=32)
        self._first_ticks = 0
        self._last_pts_ms = 0
        self._last_arrival = 0.0
        # The least delayed frame that is not written down yet: how late, its time, and its arrival.
        self._least_late: tuple[float, int, float] | None = None
        self._arrival_due = 0.0
        self._clock_due = float("-inf")
        # Older reports may be of a clock that has stood still since.
        self._resumed_at = float("-inf")
        self._recorded_until_ms = 0
        # Whether pictures are left out because one was refused. The buffer may be ahead of that.
        self._awaits_keyframe = False
        # Of frames that the writer had no room for.
        self._refused_packets = 0
        self._gap_reason = GapReason.LOSS
        encoding.tap = self
        if around.clock() >= not_before:
            self._ask_for_keyframe()

    # Tap.

    def receive(self, packet: MediaPacket) -> None:
        if self._is_beginning and not self._begins_with(packet):
            return
        # Contained here and not by a wrapper, which would cost each packet a call.
        try:
            for frame in self._frames.receive(packet, packet.arrival):
                self._write(frame)
            if self._frames.needs_keyframe or self._awaits_keyframe:
                self._ask_for_keyframe()
        except Exception:
            logger.exception("a packet could not be recorded")
            self.around.broke()

    @contained
    def skip(self, extended_sequence_number: int) -> None:
        if not self._is_beginning:
            for frame in self._frames.skip(extended_sequence_number, self.around.clock()):
                self._write(frame)

    @contained
    def reported(self) -> None:
        if self._is_started:
            self._write_clock()

    @contained
    def ended(self) -> None:
        self._track.stream_ended(self)

    def broke(self) -> None:
        """A bug of ours was met: end the recording, touching as little as possible."""
        self.around.broke()

    # What the track asks.

    def poll(self, now: float) -> None:
        """Give up packets that will not come any more."""
        if self._frames.is_waiting:
            for frame in self._frames.poll(now):
                self._write(frame)
            if self._frames.needs_keyframe:
                self._ask_for_keyframe()

    def mute(self, is_muted: bool) -> None:
        """Leave out what arrives from now on, or take it in again; neither is a gap."""
        if is_muted is not self._is_muted:
            self._is_muted = is_muted
            self._resumed_at = self.around.clock()
            # Whatever was sent so far may have been said while muted.
            self._is_beginning = True
            self._seen = self.encoding.fan.highest
            self._frames.start(-1)

    def leave(self) -> None:
        """Record nothing more, and forget what waits."""
        if self.encoding.tap is self:
            self.encoding.tap = None

    def write_arrival(self) -> None:
        """Write down the least delayed frame since the last time, if there is one."""
        if self._least_late is None:
            return
        _, pts_ms, arrival = self._least_late
        self._least_late = None
        self._track.line(
            {
                "k": "arrival",
                "stream": self.stream,
                "pts_ms": pts_ms,
                "at_ms": self.around.at_ms(arrival),
                "rtt_ms": self._rtt_ms,
            }
        )

    def unfinished_gap(self, now: float) -> tuple[int, int, int] | None:
        """Return from when to when, and how many packets, are missing at the end of the stream."""
        lost = self._frames.missing_packets + self._refused_packets
        return (self._recorded_until_ms, self.pts_at(now), lost) if self.stream and lost else None

    def pts_at(self, now: float) -> int:
        """Return which time of the stream it is now, as far as can be told."""
        return self._last_pts_ms + max(int((now - self._last_arrival) * 1000), 0)

    @property
    def gap_reason(self) -> GapReason:
        """Why frames are missing since the last one."""
        return self._gap_reason

    def _begins_with(self, packet: MediaPacket) -> bool:
        """Whether this is the first packet to be recorded: new, and sent when it was allowed."""
        number = packet.extended_sequence_number
        if self._is_muted or packet.arrival < self._not_before:
            self._seen = max(self._seen, number)
            return False
        if number <= self._seen:
            return False
        self._is_beginning = False
        if not self._is_sound and not self._is_started:
            self.unseen_since = packet.arrival
        was_overtaken = self._seen >= 0 and number - self._seen <= OVERTAKEN_MAX
        self._frames.start(self._seen + 1 if was_overtaken else number)
        return True

    def _ask_for_keyframe(self) -> None:
        """Until it was allowed, a key frame would come too early, and the next one late."""
        if not self._is_muted:
            self.around.request_keyframe(self.encoding)

    def _write(self, frame: Frame) -> None:
        if self._awaits_keyframe:
            if not frame.is_keyframe:
                self._refused_packets += frame.lost_packets + len(frame.packets)
                return
            self._awaits_keyframe = False
        ticks = self._ticks.unwrap(frame.timestamp)
        pts_ms = round((ticks - self._first_ticks) * 1000 / self._hz)
        if self._is_started:
            elapsed_ms = (frame.arrival - self._last_arrival) * 1000
            passed_ms = pts_ms - self._last_pts_ms
            parted_ms = abs(passed_ms - elapsed_ms)
            if parted_ms > LEAP_MS:
                self.write_arrival()
                self._is_started = False
            elif parted_ms > PARTED_MS and max(passed_ms, elapsed_ms) > REST_MS:
                self._write_pause(pts_ms, frame.arrival)
        if not self._is_started:
            may_begin = self._track.may_begin_stream()
            if not may_begin or not frame.is_keyframe:
                self._leave_out(frame, GapReason.LOSS if may_begin else GapReason.OVERLOAD)
                return
            self._tell_left_out(frame.arrival)
            pts_ms = 0
            self._start(frame)
        lost = frame.lost_packets + self._refused_packets
        if self._track.write(self, pts_ms, frame):
            if lost:
                self._track.write_gap(self.stream, self._recorded_until_ms, pts_ms, lost, self._gap_reason)
            self._refused_packets = 0
            self._gap_reason = GapReason.LOSS
            self._last_pts_ms, self._last_arrival = pts_ms, frame.arrival
            self._recorded_until_ms = pts_ms
            if self._is_sound:
                self._recorded_until_ms += round(duration_ms(frame.packets[0].payload))
            late = frame.arrival - pts_ms / 1000
            if self._least_late is None or late < self._least_late[0]:
                self._least_late = late, pts_ms, frame.arrival
            if frame.arrival >= self._arrival_due:
                self._arrival_due = frame.arrival + ARRIVAL_S
                self.write_arrival()
        else:
            self._refused_packets = lost + len(frame.packets)
            self._gap_reason = GapReason.OVERLOAD
            self._awaits_keyframe = not self._is_sound

    def _leave_out(self, frame: Frame, reason: GapReason) -> None:
        """Leave out a frame with which no stream begins."""
        self._refused_packets += frame.lost_packets + len(frame.packets)
        self._gap_reason = reason
        self._awaits_keyframe = not self._is_sound

    def _tell_left_out(self, now: float) -> None:
        """Write down, in the stream before, what is missing between it and the next one."""
        if self.stream and self._refused_packets:
            self._track.write_gap(
                self.stream,
                self._recorded_until_ms,
                self.pts_at(now),
                self._refused_packets,
                self._gap_reason,
            )

    def _start(self, frame: Frame) -> None:
        """Begin a stream with that frame; what it lacks before has nothing to do with it."""
        self._is_started = True
        self._ticks = SequenceUnwrapper(bits=32)
        self._first_ticks = self._ticks.unwrap(frame.timestamp)
        self._last_pts_ms = self._recorded_until_ms = 0
        self._last_arrival = frame.arrival
        self._arrival_due = frame.arrival + ARRIVAL_S
        self._clock_due = float("-inf")
        self._refused_packets = frame.lost_packets = 0
        self.stream = self._track.begin_stream(self, frame)
        self.unseen_since = None
        # The newest report may be seconds old, and is as good as the next one.
        if self.encoding.report is not None and self.encoding.report[2] >= self._resumed_at:
            self._write_clock()

    @property
    def _rtt_ms(self) -> float | None:
        rtt_ms = self._track.rtt_ms
        return None if rtt_ms is None else round(rtt_ms, 1)

    def _write_pause(self, pts_ms: int, arrival: float) -> None:
        """Write down that time may have stood still for the sender before a frame."""
        self.write_arrival()
        self._track.line(
            {
                "k": "pause",
                "stream": self.stream,
                "from_pts_ms": self._recorded_until_ms,
                "to_pts_ms": pts_ms,
                "at_ms": self.around.at_ms(arrival),
            }
        )

    def _write_clock(self) -> None:
        """Write down the newest report; not one without a wall clock, nor of another count of timestamps."""
        ntp, rtp_timestamp, arrival = self.encoding.report or (0, 0, 0.0)
        if ntp == 0:
            return
        # Not by the unwrapper: a report may lead the frames by far, and must not lead it astray.
        highest = self._ticks.highest or 0
        ticks = highest + difference(rtp_timestamp, highest & 0xFFFFFFFF, bits=32)
        pts_ms = (ticks - self._first_ticks) * 1000 / self._hz
        elapsed_ms = (arrival - self._last_arrival) * 1000
        parted_ms = abs(pts_ms - self._last_pts_ms - elapsed_ms)
        if parted_ms > (PARTED_MS + elapsed_ms * DRIFT if elapsed_ms > REST_MS else LEAP_MS):
            # In a rest that may be a time which no frame has: of who mutes, unmutes and mutes again.
            return
        if arrival < self._clock_due:
            return
        self._clock_due = arrival + CLOCK_S
        self._track.line(
            {
                "k": "clock",
                "stream": self.stream,
                "pts_ms": round(pts_ms, 3),
                "ntp_ms": round(unix_ms(ntp), 3),
                "at_ms": self.around.at_ms(arrival),
                "rtt_ms": self._rtt_ms,
            }
        )
