"""One publication on its way into a track: the event loop's side, which numbers, judges and hands over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from bridge.capture.files import SessionFile, TrackFile
from bridge.capture.matroska import TrackHeader
from bridge.capture.writer import Writer
from bridge.counters import GapReason, RecordingCounters
from bridge.media.encoding import Encoding
from bridge.media.frames import Frame, FrameBuffer
from bridge.media.packet import MediaPacket
from bridge.media.publication import Publication
from bridge.media.timeline import unix_ms
from bridge.rtp.opus import duration_ms
from bridge.rtp.sequence import SequenceUnwrapper, difference

logger = logging.getLogger(__name__)
P = ParamSpec("P")

# A sender whose timestamps leave the clock by this much has begun a new count of them.
LEAP_MS = 10_000
OPUS_HZ = 48_000
VIDEO_HZ = 90_000
# A stream is not left for a better one sooner than this after the last change: layers come and go.
SWITCH_AFTER_S = 3.0
# Fewer packets than this before the first one were only overtaken by it.
OVERTAKEN_MAX = 64


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the tracks of a session share."""

    writer: Writer
    session: SessionFile
    counters: RecordingCounters
    segment_s: float
    # Monotonic seconds, and what they are in Unix milliseconds.
    clock: Callable[[], float]
    at_ms: Callable[[float], int]
    request_keyframe: Callable[[Encoding], None]
    # A bug of ours was met: it must end the recording and not the conference.
    broke: Callable[[], None]


def _contained(
    method: Callable[Concatenate[StreamTap, P], None],
) -> Callable[Concatenate[StreamTap, P], None]:
    """Keep a bug of ours from the conference."""

    @wraps(method)
    def call(tap: StreamTap, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(tap, *args, **kwargs)
        except Exception:
            logger.exception("a stream could not be recorded")
            tap.around.broke()

    return call


class StreamTap:
    """Records one encoding as streams of its track, from a key frame on."""

    __slots__ = (
        "_awaits_keyframe",
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
        "_not_before",
        "_recorded_until_ms",
        "_refused_packets",
        "_report",
        "_seen",
        "_ticks",
        "_track",
        "around",
        "encoding",
        "stream",
    )

    def __init__(
        self, track: TrackCapture, encoding: Encoding, around: Surroundings, *, not_before: float
    ) -> None:
        """Nothing that arrives before `not_before` is recorded."""
        self.encoding = encoding
        # Its number in the track, from 1; 0 before its first frame.
        self.stream = 0
        self._track = track
        self.around = around
        self._frames = FrameBuffer(encoding.codec, is_hoped=encoding.losses.is_missing)
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
        self._recorded_until_ms = 0
        # Whether pictures are left out because one was refused. The buffer may be ahead of that.
        self._awaits_keyframe = False
        # Of frames that the writer had no room for.
        self._refused_packets = 0
        self._gap_reason = GapReason.LOSS
        # A sender report that came before the first frame.
        self._report: tuple[int, int, float] | None = None
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

    @_contained
    def skip(self, extended_sequence_number: int) -> None:
        if not self._is_beginning:
            for frame in self._frames.skip(extended_sequence_number, self.around.clock()):
                self._write(frame)

    @_contained
    def sender_report(self, ntp: int, rtp_timestamp: int, arrival: float) -> None:
        if ntp == 0:
            # Without a wall clock (RFC 3550, 6.4.1).
            return
        self._report = ntp, rtp_timestamp, arrival
        if self._is_started:
            self._write_clock()

    @_contained
    def ended(self) -> None:
        self._track.stream_ended(self)

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
            # Whatever was sent so far may have been said while muted.
            self._is_beginning = True
            self._seen = self.encoding.fan.highest
            self._frames.start(-1)

    def leave(self) -> None:
        """Record nothing more, and forget what waits."""
        if self.encoding.tap is self:
            self.encoding.tap = None

    def unfinished_gap(self, now: float) -> tuple[int, int, int] | None:
        """Return from when to when, and how many packets, are missing at the end of the stream."""
        lost = self._frames.missing_packets + self._refused_packets
        return (self._recorded_until_ms, self.pts_at(now), lost) if self._is_started and lost else None

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
            if abs(pts_ms - self._last_pts_ms - elapsed_ms) > LEAP_MS:
                self._is_started = False
        if not self._is_started:
            if not frame.is_keyframe:
                self._awaits_keyframe = True
                return
            pts_ms = 0
            self._start(frame)
        lost = frame.lost_packets + self._refused_packets
        if lost:
            self._track.write_gap(self.stream, self._recorded_until_ms, pts_ms, lost, self._gap_reason)
        if self._track.write(self, pts_ms, frame):
            self._refused_packets = 0
            self._gap_reason = GapReason.LOSS
            self._last_pts_ms, self._last_arrival = pts_ms, frame.arrival
            self._recorded_until_ms = pts_ms
            if self._is_sound:
                self._recorded_until_ms += round(duration_ms(frame.packets[0].payload))
        else:
            self._refused_packets = lost + len(frame.packets)
            self._gap_reason = GapReason.OVERLOAD
            self._awaits_keyframe = not self._is_sound

    def _start(self, frame: Frame) -> None:
        """Begin a stream with that frame; what it lacks before has nothing to do with it."""
        self._is_started = True
        self._ticks = SequenceUnwrapper(bits=32)
        self._first_ticks = self._ticks.unwrap(frame.timestamp)
        self._last_pts_ms = self._recorded_until_ms = 0
        self._last_arrival = frame.arrival
        self._refused_packets = frame.lost_packets = 0
        self.stream = self._track.begin_stream(self, frame)
        if self._report is not None:
            self._write_clock()

    def _write_clock(self) -> None:
        if self._report is None:
            return
        ntp, rtp_timestamp, arrival = self._report
        # Not by the unwrapper: a report may lead the frames by far, and must not lead it astray.
        highest = self._ticks.highest or 0
        ticks = highest + difference(rtp_timestamp, highest & 0xFFFFFFFF, bits=32)
        self._track.line(
            {
                "k": "clock",
                "stream": self.stream,
                "pts_ms": round((ticks - self._first_ticks) * 1000 / self._hz, 3),
                "ntp_ms": round(unix_ms(ntp), 3),
                "at_ms": self.around.at_ms(arrival),
            }
        )


class TrackCapture:
    """One publication's track, for as long as the publication lasts."""

    def __init__(
        self, publication: Publication, around: Surroundings, *, sync: str, open_file: OpenFile
    ) -> None:
        # Passed by argument.
        self.publication = publication
        self._around = around
        self._sync = sync
        self._open_file = open_file
        # Allocated by this.
        self.name = ""
        self._file: TrackFile | None = None
        self._current: StreamTap | None = None
        # Takes over at its first key frame.
        self._pending: StreamTap | None = None
        self._switched_at = float("-inf")
        self._streams = self._segments = 0
        self._has_segment = False
        self._header = TrackHeader(publication.codec)
        self._rotate_at = 0.0
        # What was recorded last before a full disk ended it: its stream, its time there, and when that was.
        self._left: tuple[int, int, float] | None = None

    @property
    def is_recording(self) -> bool:
        """Whether an encoding is being recorded, or waited for."""
        return self._current is not None or self._pending is not None

    def follow(self, encoding: Encoding, now: float, *, not_before: float, is_urgent: bool) -> None:
        """Record that encoding from its next key frame on, and until then go on with the one before."""
        current = self._current
        aimed = self._pending or current
        if aimed is not None and aimed.encoding is encoding:
            return
        if current is not None and current.encoding is encoding:
            self._drop_pending()
            return
        is_alive = current is not None and not current.encoding.is_stalled
        if is_alive and not is_urgent and now - self._switched_at < SWITCH_AFTER_S:
            return
        self._drop_pending()
        self._pending = StreamTap(self, encoding, self._around, not_before=not_before)

    def mute(self, is_muted: bool) -> None:
        """Leave out what arrives from now on, or take it in again."""
        for tap in (self._current, self._pending):
            if tap is not None:
                tap.mute(is_muted)

    def stop(self, now: float, *, is_disk_full: bool = False) -> None:
        """End the segment here; nothing more is recorded until somebody is followed again."""
        self._drop_pending()
        if not is_disk_full:
            # What follows is missing for another reason.
            self._tell_left(now)
        tap, self._current = self._current, None
        if tap is None:
            return
        tap.leave()
        self._end_stream(tap, now)
        if is_disk_full and self._left is None:
            self._left = tap.stream, tap.pts_at(now), now

    def cut(self) -> None:
        """Begin a new segment with the next frame that can begin one."""
        self._rotate_at = 0.0

    def poll(self, now: float) -> None:
        """Do what is due."""
        for tap in (self._current, self._pending):
            if tap is not None:
                tap.poll(now)

    def close(self, reason: str, now: float) -> bool:
        """End the track; tell whether there was anything in it."""
        self.stop(now)
        if self._file is None:
            return False
        line = {"k": "end", "at_ms": self._around.at_ms(now), "reason": reason}
        self._around.writer.put(self._file.close, line)
        return True

    # What the taps tell.

    def stream_ended(self, tap: StreamTap) -> None:
        """The encoding that a tap was on is no more."""
        if tap is self._pending:
            self._pending = None
        elif tap is self._current:
            self._current = None
            self._end_stream(tap, self._around.clock())

    def begin_stream(self, tap: StreamTap, frame: Frame) -> int:
        """Return the number of the stream that begins with that frame."""
        now = self._around.clock()
        if tap is self._pending:
            before, self._current, self._pending = self._current, tap, None
            if before is not None:
                before.leave()
                self._end_stream(before, now)
        if self._file is None:
            self.name, self._file = self._open_file(self)
            self.line(
                {
                    "k": "track",
                    "track": self.name,
                    "participant": self.publication.leg_id,
                    "source": self.publication.source.value,
                    "codec": self.publication.codec.value,
                    "sync": self._sync,
                }
            )
        self._tell_left(now)
        self._switched_at = now
        self._streams += 1
        self._has_segment = False
        encoding = tap.encoding
        self.line(
            {
                "k": "stream",
                "stream": self._streams,
                "ssrc": encoding.ssrc,
                "rid": encoding.rid,
                "clock_hz": OPUS_HZ if encoding.is_audio else VIDEO_HZ,
                "at_ms": self._around.at_ms(frame.arrival),
            }
        )
        return self._streams

    def write(self, tap: StreamTap, pts_ms: int, frame: Frame) -> bool:
        """Hand a frame to the writer; False when it has no room for it."""
        file = self._file
        if file is None:
            return False
        if not self._has_segment or (frame.is_keyframe and self._is_other(frame)):
            self._begin_segment(file, tap, pts_ms, frame)
        elif frame.arrival >= self._rotate_at:
            if frame.is_keyframe:
                self._begin_segment(file, tap, pts_ms, frame)
            else:
                self._around.request_keyframe(tap.encoding)
        is_sound = tap.encoding.is_audio
        return self._around.writer.put_frame(frame.size_bytes, is_sound, file.frame, pts_ms, frame)

    def write_gap(self, stream: int, from_ms: int, to_ms: int, packets: int, reason: GapReason) -> None:
        """Write down what is missing."""
        self._around.counters.gaps[reason] += 1
        self.line(
            {
                "k": "gap",
                "stream": stream,
                "from_pts_ms": from_ms,
                "to_pts_ms": to_ms,
                "packets": packets,
                "reason": reason.value,
            }
        )

    def line(self, value: Mapping[str, Any]) -> None:
        """Write a line of the log."""
        if self._file is not None:
            self._around.writer.put(self._file.line, value)

    def _is_other(self, frame: Frame) -> bool:
        """Whether a key frame does not fit under the open segment's head."""
        header = self._header
        if frame.parameter_sets is not None:
            return frame.parameter_sets != header.parameter_sets
        return frame.height_px != 0 and (frame.width_px, frame.height_px) != (
            header.width_px,
            header.height_px,
        )

    def _begin_segment(self, file: TrackFile, tap: StreamTap, pts_ms: int, frame: Frame) -> None:
        self._segments += 1
        self._has_segment = True
        segment_s = self._around.segment_s
        if self._segments == 1:
            # Tracks that began together shall not all ask for key frames in the same second again.
            segment_s *= 1 - tap.encoding.ssrc % 97 / 194
        self._rotate_at = frame.arrival + segment_s
        self._header = TrackHeader(
            self.publication.codec, frame.width_px, frame.height_px, frame.parameter_sets
        )
        name = f"{self._segments:05}.mkv"
        line = {
            "k": "segment",
            "file": name,
            "stream": tap.stream,
            "pts_ms": pts_ms,
            "at_ms": self._around.at_ms(frame.arrival),
            "width": frame.width_px,
            "height": frame.height_px,
        }
        self._around.writer.put(file.begin, name, self._header, line)

    def _end_stream(self, tap: StreamTap, now: float) -> None:
        gap = tap.unfinished_gap(now)
        if gap is not None:
            self.write_gap(tap.stream, *gap, tap.gap_reason)
        if self._file is not None:
            self._around.writer.put(self._file.end)
        self._has_segment = False

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self._pending.leave()
            self._pending = None

    def _tell_left(self, now: float) -> None:
        if self._left is not None:
            stream, pts_ms, left_at = self._left
            self._left = None
            self.write_gap(stream, pts_ms, pts_ms + int((now - left_at) * 1000), 0, GapReason.DISK)


OpenFile = Callable[[TrackCapture], tuple[str, TrackFile]]
