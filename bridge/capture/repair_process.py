"""Finds or repairs sessions in a process of its own, as the disk that a crash leaves may hang.

    ... repair_process BOUNDS find FOLDER      {"session", "room"} for each without an end
    ... repair_process BOUNDS repair SESSION   how it went, then the lines of the journal

It is confined to that folder, because it reads what strangers sent, and ends with its standard input, so that
no repair goes on below a server that has been started anew.
"""

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from bridge.base.errors import RecordingFailed
from bridge.capture.repair import find_interrupted, repair_session
from bridge.capture.sessions import JOURNAL
from bridge.confinement.processes import enter
from bridge.store.journal import first_event


def main(order: str, folder: Path, output: BinaryIO) -> None:
    """Carry out an order, and write what comes of it."""
    if order == "find":
        for path in find_interrupted(folder):
            output.write(_line({"session": path.name, "room": _room(path / JOURNAL)}))
        return
    try:
        found = repair_session(folder)
    except (RecordingFailed, OSError) as error:
        output.write(_line({"error": str(error)}))
        return
    if found is None:
        output.write(_line({"is_empty": True}))
        return
    output.write(_line({"ended_ms": found.ended_ms, "track_count": found.track_count}))
    for event in found.events:
        output.write(event.line())


def _room(journal: Path) -> str | None:
    """Return whose session it is, as its first line says; None when that cannot be read."""
    first = first_event(journal)
    return None if first is None else str(first.data.get("room", ""))


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    enter(sys.argv[1])
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        main(sys.argv[2], Path(sys.argv[3]), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever asked was killed. What is done is done; not even the last flush is to be tried again.
        os._exit(1)
