"""One publication on its way into a track: its encodings, streams and segments, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.base.counters import GapReason
from bridge.capture.files import TrackFile
from bridge.capture.frames import Frame
from bridge.capture.limits import TrackLimits
from bridge.capture.matroska import TrackHeader
from bridge.capture.taps import OPUS_HZ, VIDEO_HZ, StreamTap, Surroundings
from bridge.leg.encoding import Encoding
from bridge.leg.publication import Publication

# A stream is not left for a better one sooner than this after the last change: layers come and go.
SWITCH_AFTER_S = 3.0
# A key frame that was asked for comes sooner; encoders that heed no requests send one when they like.
KEYFRAME_S = 1.0


class TrackCapture:
    """One publication's track, for as long as the publication lasts."""

    def __init__(
        self,
        publication: Publication,
        around: Surroundings,
        *,
        sync: str,
        open_file: OpenFile,
        measure_rtt_ms: Callable[[], float | None],
        missing_since: float | None = None,
    ) -> None:
        """`missing_since` tells when a track before this one, of the same publication, was given up."""
        # Passed by argument.
        self.publication = publication
        self._measure_rtt_ms = measure_rtt_ms
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
        self._missing_since = missing_since
        self._limits = TrackLimits(is_sound=not publication.is_video, now=around.clock())

    @property
    def rtt_ms(self) -> float | None:
        """The smoothed round trip to the sender; None before it is known."""
        return self._measure_rtt_ms()

    @property
    def file(self) -> TrackFile | None:
        """Its files, once there is something to write."""
        return self._file

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
            self._drop_pending()
        elif tap is self._current:
            self._current = None
            self._end_stream(tap, self._around.clock())

    def begin_stream(self, tap: StreamTap, frame: Frame) -> int:
        """Return the number of the stream that begins with that frame."""
        now = self._around.clock()
        before: StreamTap | None = None
        if tap is self._pending:
            before, self._current, self._pending = self._current, tap, None
            if before is not None:
                before.leave()
                self._end_stream(before, now)
        self._open_track()
        self._tell_left(now)
        self._switched_at = now
        self._has_segment = False
        self._write_stream(tap.encoding, frame.arrival)
        since = tap.unseen_since
        # What was recorded until now leaves no gap.
        if since is not None and before is None and frame.arrival - since > KEYFRAME_S:
            missing_ms = round((frame.arrival - since) * 1000)
            self.write_gap(self._streams, -missing_ms, 0, 0, GapReason.KEYFRAME)
        if self._missing_since is not None:
            missing_ms = max(round((frame.arrival - self._missing_since) * 1000), 0)
            self._missing_since = None
            self.write_gap(self._streams, -missing_ms, 0, 0, GapReason.DISK)
        return self._streams

    def may_begin_stream(self) -> bool:
        """Whether a stream may begin now; each costs a segment."""
        return self._limits.takes_segment(self._around.clock())

    def write(self, tap: StreamTap, pts_ms: int, frame: Frame) -> bool:
        """Hand a frame to the writer; False when it has no room for it, or the sender asks too much."""
        file, writer = self._file, self._around.writer
        if file is None or not self._limits.takes_frame(frame.size_bytes, self._around.clock()):
            return False
        is_sound = tap.encoding.is_audio
        # No segment without room for its first frame.
        if writer.has_room(frame.size_bytes, is_sound, file) and not self._look_at_segment(
            file, tap, pts_ms, frame
        ):
            return False
        return writer.put_frame(frame.size_bytes, is_sound, file, pts_ms, frame)

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

    def _look_at_segment(self, file: TrackFile, tap: StreamTap, pts_ms: int, frame: Frame) -> bool:
        """Begin a segment with that frame, if it can and should; False when it must and may not."""
        if not self._has_segment or (frame.is_keyframe and self._is_other(frame)):
            if not self._limits.takes_segment(self._around.clock()):
                return False
            self._begin_segment(file, tap, pts_ms, frame)
        elif frame.arrival >= self._rotate_at:
            if frame.is_keyframe:
                self._begin_segment(file, tap, pts_ms, frame)
            else:
                self._around.request_keyframe(tap.encoding)
        return True

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
        self._limits.segment_begun(self._around.clock())
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
            "case": self._around.case(),
        }
        self._around.writer.put(file.begin, name, self._header, line)

    def _end_stream(self, tap: StreamTap, now: float) -> None:
        tap.write_arrival()
        gap = tap.unfinished_gap(now)
        if gap is not None:
            self.write_gap(tap.stream, *gap, tap.gap_reason)
        if self._file is not None:
            self._around.writer.put(self._file.end)
        self._has_segment = False

    def _open_track(self) -> None:
        if self._file is not None:
            return
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

    def _write_stream(self, encoding: Encoding, arrival: float) -> None:
        self._streams += 1
        self.line(
            {
                "k": "stream",
                "stream": self._streams,
                "ssrc": encoding.ssrc,
                "rid": encoding.rid,
                "clock_hz": OPUS_HZ if encoding.is_audio else VIDEO_HZ,
                "at_ms": self._around.at_ms(arrival),
            }
        )

    def _drop_pending(self) -> None:
        tap, self._pending = self._pending, None
        if tap is None:
            return
        tap.leave()
        now, since = self._around.clock(), tap.unseen_since
        if self._current is None and since is not None and now - since > KEYFRAME_S:
            # Nothing else would say that somebody's picture was there.
            self._open_track()
            self._write_stream(tap.encoding, since)
            self.write_gap(self._streams, 0, round((now - since) * 1000), 0, GapReason.KEYFRAME)

    def _tell_left(self, now: float) -> None:
        if self._left is not None:
            stream, pts_ms, left_at = self._left
            self._left = None
            self.write_gap(stream, pts_ms, pts_ms + int((now - left_at) * 1000), 0, GapReason.DISK)


OpenFile = Callable[[TrackCapture], tuple[str, TrackFile]]
