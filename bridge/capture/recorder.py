"""The record of one room: its journal, and which encodings of which publications become tracks.

The most is recorded of what matters most: stage, content and auxiliary pictures in their best living
encoding, every open microphone, other cameras in their smallest encoding. What the room does is told by
`note`, what its media do by the router.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.base.counters import GapReason, RecordingCounters
from bridge.base.words import RecordProblem, Source
from bridge.capture.containment import contained
from bridge.capture.disk import DiskLevel, Value
from bridge.capture.files import EVENTS_MAX, FULL, PASSING, SessionFile, TrackFile
from bridge.capture.repair import Interrupted
from bridge.capture.sessions import track_name
from bridge.capture.taps import Surroundings
from bridge.capture.tracks import TrackCapture
from bridge.capture.writer import Writer
from bridge.conference.record import RecordObserver
from bridge.config import RecordingConfig
from bridge.leg.encoding import Encoding
from bridge.leg.publication import Publication
from bridge.store.journal import INTERRUPTED, LINE_MAX_BYTES, Chain, Event, EventKind, canonical

if TYPE_CHECKING:
    from bridge.leg.leg import Leg
    from bridge.sfu import Router

logger = logging.getLogger(__name__)

TEND_S = 0.5
# Speakers come back: a camera goes on in its best encoding for this long after it left the stage.
LINGER_S = 10.0
# Of clients that were not measured yet, or never are because they only send.
RTT_MS = 300.0
# People are not asked to wait longer for their first word.
RTT_MS_MAX = 1000.0
# When files could not be opened or written for a reason that passes, it is tried again after this.
AGAIN_S = 2.0
# A journal that cannot be written is tried for so long; a track that cannot is given up, and the recording
# fails when another in its place is refused within this.
JOURNAL_S = 5.0
RELAPSE_S = 10.0
# After a case, its last segments are given this long to end at a key frame.
CUT_S = 2.0
# The archive's list follows what is pressed, but not each press of somebody who presses often.
TELL_S = 2.0
HEAD_BYTES = 512
SHUTDOWN = "shutdown"
# What a journal can do without when the disk is full for so long that not everything can wait: none of it
# says what belongs to which patient, or who was there.
DISPENSABLE = frozenset(
    {EventKind.SPEAKERS, EventKind.HAND, EventKind.STAGE, EventKind.CONTENT, EventKind.CHAT, EventKind.MUTED}
)


@dataclass(frozen=True, slots=True)
class Node:
    """What all recorders of a node share, and whom they tell."""

    config: RecordingConfig
    writer: Writer
    counters: RecordingCounters
    clock: Callable[[], float]
    at_ms: Callable[[float], int]
    archivable: Callable[[Path], None]
    changed: Callable[[Path], None]
    ended: Callable[[Recorder], None]
    disk_refused: Callable[[float], None]
    starved: Callable[[], None]


class Recorder:
    """Implements `bridge.conference.record.RoomRecord` for the room, and `MediaRecorder` for its router."""

    def __init__(
        self,
        node: Node,
        folder: Path,
        router: Router,
        observer: RecordObserver,
        *,
        interrupted: Interrupted | None = None,
    ) -> None:
        # Passed by argument.
        self._node = node
        self._folder = folder
        self._router = router
        self._observer = observer
        self.restored: Sequence[Event] = interrupted.events if interrupted else ()
        # Allocated by this.
        self._file = SessionFile(folder, is_new=interrupted is None)
        self._chain = Chain(interrupted.events[-1] if interrupted else None)
        self._noted_events = 0
        # What to add to the server's clock, which was set back while this session was interrupted: its time
        # must go on, in the journal and in the tracks alike.
        self._ahead_ms = 0
        if interrupted is not None:
            self._ahead_ms = max(interrupted.ended_ms - node.at_ms(node.clock()), 0)
        self._has_dropped_events = False
        self._around = Surroundings(
            writer=node.writer,
            counters=node.counters,
            segment_s=node.config.segment_s,
            clock=node.clock,
            at_ms=self._at_ms,
            case=lambda: self._case,
            request_keyframe=self._request_keyframe,
            broke=self.broke,
        )
        self._tracks: dict[Publication, TrackCapture] = {}
        self._track_count = interrupted.track_count if interrupted else 0
        # One sender's clock each.
        self._syncs: dict[Leg, str] = {}
        self._sync_count = 0
        self._on_stage: str | None = None
        # The case that the room has said is recorded; it says so while nothing is captured.
        self._case: str | None = None
        # Participants and sources of which nothing is recorded: the room keeps it in bounds.
        self._withheld: set[tuple[str, Source]] = set()
        # Until when those who left the stage are recorded as if they had not.
        self._lingering: dict[str, float] = {}
        self._is_capturing = False
        self._captures_from = 0.0
        self._level = DiskLevel.ENOUGH
        self._problem: RecordProblem | None = None
        # When the journal could not be written, for the first and for the last time.
        self._journal_refused = (float("-inf"), float("-inf"))
        # When tracks could not be written any more. After a pause, each publication gets another one.
        self._given_up: dict[Publication, float] = {}
        # Until when nothing is written, because something had passed into the way.
        self._waits_until = float("-inf")
        self._cut_at: float | None = None
        # When the archive is told that it is recorded now, or no longer.
        self._tell_at: float | None = None
        self._tend_at = 0.0
        self._is_failed = self._is_broken = False
        self._is_closed = False
        node.writer.open(self._file, self._refused)
        router.recorder = self
        if interrupted is not None:
            self._go_on(interrupted)

    # RoomRecord.

    @property
    def session(self) -> str:
        """The session's id."""
        return self._folder.name

    @contained
    def note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Write an event into the journal, stamped with the time now."""
        if self._is_closed:
            return
        if kind is EventKind.STAGE:
            self._stage_changed(data.get("participant"))
        elif kind is EventKind.RECORDING_STATE:
            self._case = data.get("case")
            if self._tell_at is None:
                self._tell_at = self._node.clock() + TELL_S
        self._note_at(kind, data, self._at_ms(self._node.clock()))

    @contained
    def capture(self, is_on: bool) -> None:
        """Write media into tracks from now on, or no longer; segments are cut either way."""
        now = self._node.clock()
        if self._is_closed or self._is_failed:
            return
        if is_on and self._is_capturing:
            self._cut_segments()
            return
        self._is_capturing = is_on
        if is_on:
            self._captures_from = now
            self._reconsider_all(now)
        else:
            self._stop_all(now)

    @contained
    def withhold(self, participant: str, source: Source, is_withheld: bool) -> None:
        """Leave out what a participant shares, or no longer: it may belong to another case."""
        (self._withheld.add if is_withheld else self._withheld.discard)((participant, source))
        leg = self._router.legs.get(participant)
        publication = leg.publication(source) if leg else None
        if publication is not None:
            self._reconsider(publication, self._node.clock())

    def retry(self) -> bool:
        """Take `capture` again after a failure of the disk; after a bug nobody knows what is sound."""
        if self._is_broken or self._is_closed:
            return False
        self._is_failed = False
        self._given_up.clear()
        self._journal_refused = (float("-inf"), float("-inf"))
        return True

    @contained
    def cut(self) -> None:
        """Begin new segments, so that what lies before can be archived while the room goes on."""
        self._cut_segments()
        self._cut_at = self._node.clock() + (CUT_S if self._is_recording else 0.0)

    @contained
    def hand_over(self) -> None:
        """Let the archive read at once what the journal says by now; nothing that is captured changes."""
        self._tell_at = None
        self._node.writer.when_written(self._file, lambda: self._node.changed(self._folder))

    @contained
    def close(self, reason: str) -> None:
        """End the session, or with "shutdown" leave it to be gone on with; harmless twice."""
        if self._is_closed:
            return
        self._is_closed = True
        now = self._node.clock()
        self._is_capturing = False
        for publication in list(self._tracks):
            self._end_track(publication, reason, now)
        if self._router.recorder is self:
            self._router.recorder = None
        writer = self._node.writer
        if reason == SHUTDOWN:
            writer.put(self._file.end)
            writer.when_written(self._file, lambda: None)
        else:
            self._note_at(EventKind.SESSION_CLOSED, {"reason": reason}, self._at_ms(now))
            writer.put(self._file.end)
            writer.when_written(self._file, self._archivable)
        self._node.ended(self)

    # MediaRecorder.

    @contained
    def reconsider(self, publication: Publication) -> None:
        """A publication came alive, was muted or unmuted, or has other living encodings."""
        self._reconsider(publication, self._node.clock())

    @contained
    def leg_closed(self, leg: Leg) -> None:
        """A leg and all its publications are no more."""
        now = self._node.clock()
        self._syncs.pop(leg, None)
        self._lingering.pop(leg.id, None)
        for publication in leg.publications():
            self._end_track(publication, "left", now)
            self._given_up.pop(publication, None)

    @contained
    def poll(self, now: float) -> None:
        """Do what is due."""
        for track in self._tracks.values():
            track.poll(now)
        if now >= self._tend_at:
            self._tend_at = now + TEND_S
            self._lingering = {leg: until for leg, until in self._lingering.items() if now < until}
            for publication in [*self._tracks, *self._given_up]:
                self._reconsider(publication, now)
        if self._tell_at is not None and now >= self._tell_at:
            self.hand_over()
        if self._cut_at is not None and now >= self._cut_at:
            self._cut_at = None
            self._node.writer.when_written(self._file, self._archivable)

    # What the node tells.

    @contained
    def set_disk_level(self, level: DiskLevel, now: float) -> None:
        """The disk has more or less room than before."""
        if now < self._waits_until:
            level = DiskLevel.FULL
        if level is not self._level:
            self._level = level
            self._reconsider_all(now)

    @contained
    def set_problem(self, problem: RecordProblem | None) -> None:
        """The recording is threatened or harmed, or no longer is."""
        if problem is None and self._node.clock() < self._waits_until:
            problem = RecordProblem.WRITER_BEHIND
        if problem is self._problem or self._is_closed:
            return
        self._problem = problem
        self.note(EventKind.RECORDING_PROBLEM, {"problem": problem.value if problem else None})
        self._observer.record_problem_changed(problem)

    @contained
    def _refused(self, file: TrackFile | None, error: OSError) -> None:
        """The writer could not write something of a track, or of the session's own."""
        if error.errno in FULL:
            self._node.disk_refused(self._node.clock())
        elif error.errno in PASSING:
            self._wait()
        elif not self._is_failed and not self._is_borne(file, error):
            logger.error("session %s cannot be recorded any more: %s", self.session, error)
            self._stop_all(self._node.clock())
            self._fail()

    def _is_borne(self, file: TrackFile | None, error: OSError) -> bool:
        """Whether the recording can go on for now, after something that may be the fault of one file."""
        now = self._node.clock()
        if file is None:
            # The journal itself, which keeps what it could not write.
            if error.errno == errno.EEXIST:
                return False
            first, last = self._journal_refused
            self._journal_refused = (now if now - last > RELAPSE_S else first), now
            if now - self._journal_refused[0] > JOURNAL_S:
                return False
            self._wait()
            return True
        publication = next((one for one, track in self._tracks.items() if track.file is file), None)
        if publication is None:
            return True
        if now - self._given_up.get(publication, float("-inf")) < RELAPSE_S:
            return False
        logger.error("a track of session %s cannot be written any more: %s", self.session, error)
        self._node.writer.put(file.give_up)
        self._end_track(publication, GapReason.DISK, now)
        self._given_up[publication] = now
        return True

    def _wait(self) -> None:
        """Leave a gap until what stands in the way has passed: it must not end the record of a case."""
        self._node.starved()
        now = self._node.clock()
        self._waits_until = now + AGAIN_S
        self.set_disk_level(DiskLevel.FULL, now)
        self.set_problem(RecordProblem.WRITER_BEHIND)

    def broke(self) -> None:
        """A bug of ours was met: end the recording, touching as little as possible."""
        self._is_broken = True
        for track in self._tracks.values():
            track.publication.recorded_rid = None
            for encoding in track.publication.encodings.values():
                encoding.tap = None
        if not self._is_failed:
            logger.error("session %s cannot be recorded any more", self.session)
            self._fail()

    def _fail(self) -> None:
        self._is_failed = True
        self._is_capturing = False
        self._node.counters.recordings_failed += 1
        if not self._is_closed:
            self._observer.record_failed()

    # The journal.

    def _at_ms(self, now: float) -> int:
        """Return the session's time, in Unix milliseconds, of the monotonic time `now`."""
        return self._node.at_ms(now) + self._ahead_ms

    def _note_at(self, kind: EventKind, data: Mapping[str, Any], at_ms: int) -> None:
        is_too_long = len(canonical(data)) + HEAD_BYTES > LINE_MAX_BYTES
        most = EVENTS_MAX // 2 if kind in DISPENSABLE else EVENTS_MAX
        # Whether it waits for the writer or for the disk.
        if is_too_long or self._noted_events - self._file.written_events >= most:
            # Before it is chained: what is missing must not break what follows.
            self._node.counters.events_dropped += 1
            if not self._has_dropped_events:
                self._has_dropped_events = True
                logger.error("session %s: an event of kind %s is not in the journal", self.session, kind)
            return
        self._has_dropped_events = False
        self._noted_events += 1
        self._node.writer.put(self._file.event, self._chain.append(kind, data, at_ms))

    def _go_on(self, interrupted: Interrupted) -> None:
        for track in interrupted.open_tracks:
            data = {"track": track, "reason": INTERRUPTED}
            self._note_at(EventKind.TRACK_ENDED, data, interrupted.ended_ms)
        self.note(EventKind.SESSION_RESUMED, {"after_ms": interrupted.ended_ms})

    def _archivable(self) -> None:
        self._node.archivable(self._folder)

    # Which tracks there are.

    @property
    def _is_recording(self) -> bool:
        return any(track.is_recording for track in self._tracks.values())

    def _stage_changed(self, participant: str | None) -> None:
        if participant == self._on_stage:
            return
        now = self._node.clock()
        if self._on_stage is not None and self._on_stage in self._router.legs:
            self._lingering[self._on_stage] = now + LINGER_S
        self._on_stage = participant
        if participant is not None:
            self._lingering.pop(participant, None)
            leg = self._router.legs.get(participant)
            camera = leg.publication(Source.CAMERA) if leg else None
            if camera is not None:
                self._reconsider(camera, now)

    def _value(self, publication: Publication) -> Value:
        if publication.source is Source.MICROPHONE:
            return Value.VOICE
        if publication.source is not Source.CAMERA:
            return Value.CONTENT
        if publication.leg_id == self._on_stage:
            return Value.STAGE
        return Value.CAMERA if publication.leg_id in self._lingering else Value.THUMBNAIL

    def _wanted_rid(self, publication: Publication) -> str | None:
        """Return the encoding to record if it arrives; None for nothing of this publication."""
        value = self._value(publication)
        if not self._is_capturing or not self._level.spares(value):
            return None
        if (publication.leg_id, publication.source) in self._withheld:
            return None
        if publication.is_video and publication.is_muted:
            return None
        if value is Value.THUMBNAIL:
            return publication.ranked_rids[0] if self._node.config.thumbnail_cameras else None
        return publication.ranked_rids[-1]

    def _reconsider_all(self, now: float) -> None:
        for leg in self._router.legs.values():
            for publication in leg.publications():
                self._reconsider(publication, now)

    def _reconsider(self, publication: Publication, now: float) -> None:
        leg = self._router.legs.get(publication.leg_id)
        # A track that has ended for now is still to be stopped, and is to go on when packets come again.
        has_come = publication.is_live or publication in self._tracks
        if leg is None or not has_come or self._is_closed:
            return
        wanted = self._wanted_rid(publication)
        is_urgent = wanted != publication.recorded_rid
        publication.recorded_rid = wanted
        track = self._tracks.get(publication)
        if wanted is None:
            if track is not None:
                track.stop(now, is_disk_full=self._is_capturing and not self._is_spared(publication))
            return
        given_up_at = self._given_up.get(publication)
        if track is None:
            if given_up_at is not None and now < given_up_at + AGAIN_S:
                publication.recorded_rid = None
                return
            track = self._tracks[publication] = TrackCapture(
                publication,
                self._around,
                sync=self._sync(leg),
                open_file=self._open_file,
                measure_rtt_ms=lambda: leg.rtt_ms,
                missing_since=given_up_at,
            )
        elif given_up_at is not None and now > given_up_at + RELAPSE_S:
            del self._given_up[publication]
        track.mute(publication.is_muted)
        encoding = publication.nearest_alive(wanted)
        if encoding is not None:
            # What arrives within a round trip may have been said before it was allowed.
            rtt_ms = RTT_MS if leg.rtt_ms is None else min(leg.rtt_ms, RTT_MS_MAX)
            not_before = self._captures_from + rtt_ms / 1000
            track.follow(encoding, now, not_before=not_before, is_urgent=is_urgent)

    def _is_spared(self, publication: Publication) -> bool:
        return self._level.spares(self._value(publication))

    def _sync(self, leg: Leg) -> str:
        if leg not in self._syncs:
            self._sync_count += 1
            self._syncs[leg] = f"{leg.id}-{self._sync_count}"
        return self._syncs[leg]

    def _open_file(self, track: TrackCapture) -> tuple[str, TrackFile]:
        self._track_count += 1
        publication = track.publication
        name = track_name(self._track_count, publication.leg_id, publication.source)
        data = {
            "track": name,
            "participant": publication.leg_id,
            "source": publication.source.value,
            "codec": publication.codec.value,
        }
        self.note(EventKind.TRACK_STARTED, data)
        file = TrackFile(self._file, name, publication.codec)
        self._node.writer.put(self._file.tracks.append, file)
        return name, file

    def _end_track(self, publication: Publication, reason: str, now: float) -> None:
        publication.recorded_rid = None
        track = self._tracks.pop(publication, None)
        if track is not None and track.close(reason, now):
            data = {"track": track.name, "reason": reason}
            self._note_at(EventKind.TRACK_ENDED, data, self._at_ms(now))

    def _stop_all(self, now: float) -> None:
        for publication, track in self._tracks.items():
            publication.recorded_rid = None
            track.stop(now)

    def _cut_segments(self) -> None:
        for track in self._tracks.values():
            track.cut()

    def _request_keyframe(self, encoding: Encoding) -> None:
        if not encoding.is_audio:
            self._router.request_keyframe(encoding, self._node.clock())
