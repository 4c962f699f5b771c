"""A record without files: it keeps what the room tells it, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.base.words import ConferenceKind, Source
from bridge.conference.record import RecordObserver
from bridge.store.journal import Chain, Event, EventKind

# What the room orders, beside the kinds of events that it notes.
CAPTURE_ON, CAPTURE_OFF, CUT = "capture on", "capture off", "cut"
WITHHOLD, LET_GO = "withhold", "let go"
HAND_OVER = "hand over"


@dataclass(eq=False)
class FakeRecord:
    restored: Sequence[Event] = ()
    session: str = "HC-BV-20261125-01"
    observer: RecordObserver | None = None
    kind: ConferenceKind | None = None
    events: list[tuple[EventKind, Mapping[str, Any]]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    is_capturing: bool = False
    withheld: set[tuple[str, Source]] = field(default_factory=set)
    is_mendable: bool = True
    cut_count: int = 0
    closed: str | None = None

    def open(
        self, room: str, title: str, kind: ConferenceKind, router: Any, observer: RecordObserver
    ) -> "FakeRecord":
        """The `OpenRecord` of rooms under test."""
        self.kind, self.observer = kind, observer
        return self

    def note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        assert self.closed is None, "noted after the end"
        self.events.append((kind, data))
        self.log.append(f"{kind} {data['state']}" if "state" in data else kind.value)

    def capture(self, is_on: bool) -> None:
        assert is_on != self.is_capturing, "nothing to switch"
        self.is_capturing = is_on
        self.log.append(CAPTURE_ON if is_on else CAPTURE_OFF)

    def withhold(self, participant: str, source: Source, is_withheld: bool) -> None:
        (self.withheld.add if is_withheld else self.withheld.remove)((participant, source))
        self.log.append(f"{WITHHOLD if is_withheld else LET_GO} {source}")

    def retry(self) -> bool:
        return self.is_mendable

    def cut(self) -> None:
        self.cut_count += 1
        self.log.append(CUT)

    def hand_over(self) -> None:
        self.log.append(HAND_OVER)

    def close(self, reason: str) -> None:
        self.closed = self.closed or reason

    # What tests ask.

    def take(self) -> list[str]:
        """Return the log since the last time, in order."""
        taken, self.log = self.log, []
        return taken

    def of(self, kind: EventKind) -> list[Mapping[str, Any]]:
        return [data for noted, data in self.events if noted is kind]

    def journal(self) -> list[Event]:
        """Return what would be restored after a crash."""
        chain = Chain()
        return [chain.append(kind, data, 1_800_000_000_000 + n) for n, (kind, data) in enumerate(self.events)]
