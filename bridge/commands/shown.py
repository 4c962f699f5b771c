"""How packages are shown: tables and bars for people, JSON for machines."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bridge.archive.calendar import local_text
from bridge.archive.model import Progress as Step
from bridge.archive.work.attempts import now_ms
from bridge.commands.texts import Speech
from bridge.store.audit import AuditEntry
from bridge.store.entries import DeliveryEntry, PackageEntry, Page

# Columns of what goes into a file or another program.
FILE_WIDTH: Final = 200


class Terminal:
    """Where a command speaks: results to the output, failures and progress to the errors."""

    def __init__(self, say: Speech, *, is_json: bool) -> None:
        self.say = say
        self.is_json = is_json
        width = None if sys.stdout.isatty() else FILE_WIDTH
        self._output = Console(highlight=False, soft_wrap=True, width=width)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print a value for machines."""
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def line(self, key: str, **values: object) -> None:
        """Say something; machines are told by other means."""
        if not self.is_json:
            self._output.print(self.say(key, **values), markup=False)

    def text(self, text: str) -> None:
        """Print a line as it is, for people."""
        if not self.is_json:
            self._output.print(text, markup=False)

    def failure(self, key: str, **values: object) -> None:
        """Say that something went wrong."""
        self._errors.print(self.say(key, **values), markup=False)

    def page(self, page: Page) -> None:
        """Show what a search has found."""
        if self.is_json:
            self.json({"total": page.total, "packages": [asdict(entry) for entry in page.packages]})
            return
        if not page.packages:
            self.line("list.none")
            return
        table = Table(box=None, pad_edge=False)
        for name in ("package", "title", "code", "started", "duration", "state", "size"):
            # Titles may be long; a name that is broken into two cannot be copied.
            table.add_column(
                self.say(f"column.{name}"), overflow="fold", no_wrap=name not in ("title", "state")
            )
        for entry in page.packages:
            table.add_row(*_plain(self._cells(entry)))
        self._output.print(table, soft_wrap=False)
        if page.total > len(page.packages):
            self.line("list.more", shown=len(page.packages), total=page.total)

    def package(
        self, entry: PackageEntry, deliveries: Sequence[DeliveryEntry], audit: Sequence[AuditEntry]
    ) -> None:
        """Show everything that is known of one package."""
        if self.is_json:
            value = asdict(entry)
            value["deliveries"] = [asdict(item) for item in deliveries]
            value["audit"] = [asdict(item) for item in audit]
            self.json(value)
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for key, cell in self._fields(entry, deliveries, audit):
            table.add_row(*_plain([self.say(key), cell]))
        self._output.print(table, soft_wrap=False)

    @contextmanager
    def bar(self, package: str) -> Iterator[Callable[[Step], None]]:
        """Show a bar for a package as long as its steps go on."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        is_shown = not self.is_json and sys.stderr.isatty()
        with Progress(*columns, console=self._errors, transient=True, disable=not is_shown) as progress:
            task = progress.add_task(package, total=1.0)

            def show(step: Step) -> None:
                description = f"{package}  {self.say(f'stage.{step.stage.value}')}"
                progress.update(task, completed=step.done, description=description)

            yield show

    def _cells(self, entry: PackageEntry) -> list[str]:
        state = self.say(f"state.{entry.state.value}")
        if 0 < entry.progress < 1:
            state = f"{state} {entry.progress:.0%}"
        if entry.is_withheld and entry.disposition is not None:
            state = f"{state}, {self.say(f'disposition.{entry.disposition.value}')}"
        if entry.error_code is not None:
            state = f"{state}: {self.say.failure(entry.error_code, entry.error or '')}"
        return [
            entry.id,
            entry.title,
            entry.code or "",
            local_text(entry.started_ms),
            _length(entry.duration_ms),
            state,
            _size(entry.bytes),
        ]

    def _fields(
        self, entry: PackageEntry, deliveries: Sequence[DeliveryEntry], audit: Sequence[AuditEntry]
    ) -> Iterator[tuple[str, str]]:
        names = ("package", "title", "code", "started", "duration", "state", "size")
        yield from ((f"column.{name}", cell) for name, cell in zip(names, self._cells(entry), strict=True))
        yield "field.room", entry.room
        yield "field.sites", ", ".join(entry.sites)
        if entry.error_code is not None:
            yield "field.attempts", str(entry.attempts)
        if entry.next_attempt_ms is not None:
            yield "field.next_attempt", local_text(max(entry.next_attempt_ms, now_ms()))
        for key, at_ms in (
            ("field.sealed", entry.sealed_ms),
            ("field.delivered", entry.delivered_ms),
            ("field.checked", entry.checked_ms),
        ):
            if at_ms is not None:
                yield key, local_text(at_ms)
        if entry.fixity_ok is not None:
            yield "field.fixity", self.say("yes" if entry.fixity_ok else "no")
        if entry.damaged_ms:
            yield "field.damaged", self.say("damaged", seconds=-(-entry.damaged_ms // 1000))
        if entry.consent is not None:
            at = "" if entry.consent_ms is None else f"  {local_text(entry.consent_ms)}"
            yield "field.consent", f"{self.say(f'consent.{entry.consent.value}')}{at}"
        if entry.disposition is not None:
            yield "field.disposition", self.say(f"disposition.{entry.disposition.value}")
        if entry.seal is not None:
            yield "field.seal", entry.seal
            yield (
                "field.retention",
                f"{self.say(f'retention.{entry.retention.value}')}, {until(self.say, entry.retention_until)}",
            )
            yield "field.hold", self.say("yes" if entry.legal_hold else "no")
        for item in deliveries:
            end = "" if item.error_code is None else self.say.failure(item.error_code, item.error or "")
            yield "field.deliveries", f"{local_text(item.at_ms)}  {item.method}  {end or self.say('yes')}"
        for line in audit:
            network = f"  {line.network}" if line.network else ""
            action, who = self.say(f"action.{line.action.value}"), self.say.who(line.who)
            yield "field.audit", f"{local_text(line.at_ms)}  {action}  {who}{network}"


def until(say: Speech, day: str | None) -> str:
    """Return how long a package is kept."""
    return say("for-ever") if day is None else say("until", day=day)


def _plain(cells: Sequence[str]) -> list[Text]:
    # What people have written is no markup.
    return [Text(cell) for cell in cells]


def _length(duration_ms: int) -> str:
    minutes, seconds = divmod(duration_ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes else ""
