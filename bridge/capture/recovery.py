"""Sessions that a crash or a restart has interrupted: each is repaired in a process of its own, with a limit.

People come in meanwhile. Who opens a room whose session is at work waits for it, but not for long: a session
that cannot be repaired in time is left aside, told, and tried again later; its room has begun another one by
then.
"""

import asyncio
import json
import logging
import math
import os
import select
import subprocess
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.base.counters import RecordingCounters
from bridge.base.errors import RecordingFailed
from bridge.capture.repair import Interrupted
from bridge.confinement.processes import Bounds, start
from bridge.store.journal import parse_event

logger = logging.getLogger(__name__)

# A repair reads some hundred pages for each open track, and its journal. Whatever takes longer hangs.
REPAIR_S = 30.0
# Nobody waits longer for the session of a room; people are to be in five seconds after a start.
DOOR_S = 4.0
AT_ONCE = 2
# Sessions left aside are tried again after this, then after twice as long, and so on.
AGAIN_S = 60.0
AGAIN_S_MAX = 3600.0
# A process that was killed is gone at once, unless the disk holds it.
KILLED_S = 1.0
PIECE_BYTES = 1 << 16
MODULE = "bridge.capture.repair_process"
# Repair makes no file longer; segments of a minute have some hundred megabytes.
FILE_BYTES_MAX = 64 << 30


class Recovery:
    """Has interrupted sessions repaired; all calls on the event loop's thread."""

    def __init__(
        self,
        folder: Path,
        *,
        counters: RecordingCounters,
        found: Callable[[Interrupted], None],
        repair_s: float = REPAIR_S,
    ) -> None:
        """`found` hears of each session that is repaired."""
        # Passed by argument.
        self._folder = folder
        self._counters = counters
        self._found = found
        self._repair_s = repair_s
        # Allocated by this.
        self._is_searching = True
        # Sessions that wait for their repair or are at it, each with its room if that is known.
        self._waiting: dict[Path, str | None] = {}
        self._at_work: dict[Path, str | None] = {}
        # How often each of those was tried that could not be repaired yet, and what was said last.
        self._aside: dict[Path, tuple[int, str]] = {}
        # Rooms that somebody waits for.
        self._asked: set[str] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        # Processes by what they are at; one that hangs in the disk stays although it was killed.
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Begin to look for interrupted sessions."""
        self._begin(self._search())

    async def stop(self) -> None:
        """End all repairs; each can be done again."""
        self._is_stopped = True
        for process in list(self._processes.values()):
            process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_ready(self, room: str) -> None:
        """Wait for the repair of a room's own session, as long as can be asked of people."""
        if not self._is_awaited(room):
            return
        self._asked.add(room)
        with suppress(TimeoutError):
            async with asyncio.timeout(DOOR_S):
                while self._is_awaited(room):
                    await self._changed.wait()
        self._asked.discard(room)

    def _is_awaited(self, room: str) -> bool:
        known = self._waiting.values(), self._at_work.values()
        return not self._is_stopped and (self._is_searching or any(room in rooms for rooms in known))

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="recovery")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _search(self) -> None:
        failures = 0
        while True:
            try:
                lines = await self._order("find", self._folder)
                self._waiting = {
                    self._folder / line["session"]: line["room"] for line in map(json.loads, lines)
                }
                break
            except (RecordingFailed, OSError, ValueError) as error:
                logger.error("nobody knows yet which sessions were interrupted: %s", error)
                # Those who come meanwhile begin new ones.
                self._is_searching = False
                self._tell_change()
                await asyncio.sleep(_pause_s(failures))
                failures += 1
        self._is_searching = False
        self._tell_change()
        for _ in range(AT_ONCE):
            self._begin(self._work())

    async def _work(self) -> None:
        """Repair what waits: first what somebody waits for, then the newest."""
        while self._waiting:
            session = max(self._waiting, key=lambda path: (self._waiting[path] in self._asked, path.name))
            await self._repair(session, self._waiting.pop(session))

    async def _repair(self, session: Path, room: str | None) -> None:
        self._at_work[session] = room
        try:
            interrupted = await self._repaired(session)
        except (RecordingFailed, OSError, ValueError, KeyError) as error:
            self._leave_aside(session, str(error))
        else:
            self._aside.pop(session, None)
            self._counters.sessions_aside = len(self._aside)
            if interrupted is not None:
                self._found(interrupted)
        finally:
            del self._at_work[session]
            self._tell_change()

    async def _repaired(self, session: Path) -> Interrupted | None:
        lines = await self._order("repair", session)
        head = json.loads(lines[0])
        if "error" in head:
            raise RecordingFailed(head["error"])
        if head.get("is_empty"):
            # Of the folder above it the process may change nothing.
            await asyncio.to_thread(session.rmdir)
            return None
        events = await asyncio.to_thread(
            lambda: [event for line in lines[1:] if (event := parse_event(line))]
        )
        if not events or len(events) != len(lines) - 1:
            raise RecordingFailed("its journal came in part only")
        return Interrupted(session, events, int(head["ended_ms"]), int(head["track_count"]))

    def _leave_aside(self, session: Path, reason: str) -> None:
        times, told = self._aside.get(session, (0, ""))
        if reason != told:
            logger.error("session %s is left aside, and tried again later: %s", session.name, reason)
        self._aside[session] = times + 1, reason
        self._counters.sessions_aside = len(self._aside)
        self._begin(self._again(session, _pause_s(times)))

    async def _again(self, session: Path, after_s: float) -> None:
        await asyncio.sleep(after_s)
        # Whoever opens its room now need not wait for what has failed before.
        await self._repair(session, None)

    async def _order(self, order: str, path: Path) -> list[bytes]:
        """Return the lines that a process writes; raises RecordingFailed, and OSError when none can start."""
        return await asyncio.to_thread(self._call, order, path)

    def _call(self, order: str, path: Path) -> list[bytes]:
        """Run on a thread, because starting a process can hold up the media for milliseconds."""
        stuck = self._processes.get(path)
        if stuck is not None and stuck.poll() is None:
            raise RecordingFailed("the disk has not answered since the last time")
        process = start(MODULE, self._bounds(order, path), order, str(path))
        self._processes[path] = process
        if self._is_stopped:
            process.kill()
        deadline = time.monotonic() + self._repair_s
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            data = _read(process.stdout.fileno(), deadline)
            status = process.wait(max(deadline - time.monotonic(), 0.0))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise RecordingFailed(f"the disk did not answer for {self._repair_s:.0f} s") from error
        finally:
            process.kill()
            process.stdin.close()
            process.stdout.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(KILLED_S)
                del self._processes[path]
        if status:
            raise RecordingFailed(f"its repair ended with {status}")
        return data.splitlines(keepends=True)

    def _bounds(self, order: str, path: Path) -> Bounds:
        folder = (str(path.absolute()),)
        reads, writes = (folder, ()) if order == "find" else ((), folder)
        return Bounds(reads, writes, file_bytes=FILE_BYTES_MAX, cpu_s=math.ceil(self._repair_s))


def _read(descriptor: int, deadline: float) -> bytes:
    """Return everything up to the end; raises TimeoutError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    parts: list[bytes] = []
    while True:
        if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
            raise TimeoutError
        part = os.read(descriptor, PIECE_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _pause_s(failures: int) -> float:
    return min(AGAIN_S * (1 << min(failures, 10)), AGAIN_S_MAX)
