"""What a room tells its record, and hears from it: the seam between policy (rooms) and capture (recording).

A room has one record for as long as it is open. The room decides what happens and whether it is
captured; the record writes events into the journal and media into tracks, and says when the disk or
the writer cannot follow. Nothing here awaits or raises into the room.

The record itself journals the session (opened, resumed, closed), its tracks and its problems; all else is
noted by the room.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bridge.base.words import ConferenceKind, RecordProblem, Source
from bridge.store.journal import Event, EventKind

if TYPE_CHECKING:
    from bridge.sfu import Router


class RecordObserver(Protocol):
    """What a record tells its room."""

    def record_problem_changed(self, problem: RecordProblem | None) -> None:
        """The recording is threatened or harmed, or no longer is."""

    def record_failed(self) -> None:
        """Nothing can be captured any more, until `retry`; said once. The conference goes on."""


class RoomRecord(Protocol):
    """The record of one room."""

    @property
    def session(self) -> str:
        """The session's id, HC-<site code>-<date>-<number>."""

    @property
    def restored(self) -> Sequence[Event]:
        """The events so far of the session that a crash interrupted and that now goes on; else empty."""

    def note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Write an event into the journal, stamped with the time now.

        A `recording-state` says whose case is captured from then on; another case is said while nothing is.
        """

    def capture(self, is_on: bool) -> None:
        """Write media into tracks from now on, or no longer; segments are cut either way."""

    def withhold(self, participant: str, source: Source, is_withheld: bool) -> None:
        """Leave out what a participant shares, or no longer: it may belong to another case."""

    def retry(self) -> bool:
        """Take `capture` again after a failure; False when the record cannot."""

    def cut(self) -> None:
        """End all segments here, so that what lies before can be archived while the room goes on."""

    def hand_over(self) -> None:
        """Let the archive read at once what the journal says by now; nothing that is captured changes."""

    def close(self, reason: str) -> None:
        """End the session ("room-closed"), or leave it to be gone on with after a restart ("shutdown").

        Harmless twice.
        """


# Room id, title, kind, the media side of the room, and who hears of problems; None where nothing is recorded.
OpenRecord = Callable[[str, str, ConferenceKind, "Router", RecordObserver], RoomRecord | None]

# Room id: waits before a room is opened, because a session of its own may be about to be ready to go on.
UntilReady = Callable[[str], Awaitable[None]]


def record_nothing(
    room: str, title: str, kind: ConferenceKind, router: "Router", observer: RecordObserver
) -> RoomRecord | None:
    """An `OpenRecord` for nodes that record nothing."""
    return None


async def ready_at_once(room: str) -> None:
    """An `UntilReady` for nodes where nothing is waited for."""
