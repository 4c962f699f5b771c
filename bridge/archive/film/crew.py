"""Has orders carried out by processes of their own, confined by the kernel: `ConfinedCrew`.

Each process (`crew_process`) gets its order on standard input, tells of finished frames on standard output,
and ends with its input, so that none outlives a composition that was killed. They run at the priority of who
has started them. What they say comes from where strangers' media was decoded: it is JSON and no more.
"""

import json
import os
import pickle
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bridge.archive.film.orders import Order
from bridge.archive.tracks.ledger import judge, note_of
from bridge.base.errors import ArchiveFailed
from bridge.confinement.processes import Bounds, start

MODULE: Final = "bridge.archive.film.crew_process"
READ_BYTES: Final = 1 << 16
# The gaps of a composition are told in one line.
LINE_MAX_BYTES: Final = 32 << 20
# What ends a process because of what it does; the others may come from outside.
ITS_OWN: Final = frozenset(
    {
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE),
        *(signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU),
    }
)
# How often progress is told although nothing was counted, and looked whether anybody hangs.
WAIT_S: Final = 1.0
# A decoder that sleeps for so long over one packet waits for something that never comes.
ASLEEP_MAX_S: Final = 30.0


class SegmentLeftOut(ArchiveFailed):
    """A process died of a segment, which is left out from now on: whoever tries again gets further."""

    def __init__(self, segment: str, sentence: str) -> None:
        super().__init__("segment-left-out", f"{segment} is left out: {sentence}")


class Crew(Protocol):
    """Whoever carries out orders."""

    def carry_out(self, orders: Sequence[Order], count: Callable[[int], None]) -> list[Any]:
        """Carry out all orders side by side; return what comes of each.

        `count` is told of frames, at times of none. Raises ArchiveFailed when a process ends early, and
        OSError when the disk is its reason.
        """


@dataclass(frozen=True, slots=True)
class ConfinedCrew:
    """A process for each order, which can read and write what its order says and nothing else."""

    # A process writes no larger file.
    file_bytes: int = 2 << 30
    # Seconds of a processor from one finished frame to the next, or whatever else is told.
    cpu_s: int = 300
    asleep_max_s: float = ASLEEP_MAX_S

    def carry_out(self, orders: Sequence[Order], count: Callable[[int], None]) -> list[Any]:
        """Carry out all orders side by side; return what comes of each."""
        members: list[_Member] = []
        try:
            for order in orders:
                members.append(_Member(order, self._bounds(order)))
            _follow(members, count, self.asleep_max_s)
            return [member.result for member in members]
        except ArchiveFailed as error:
            left_out = [segment for member in members if (segment := member.judge())]
            if left_out:
                raise SegmentLeftOut(left_out[0], error.sentence) from error
            raise
        finally:
            for member in members:
                member.end()

    def _bounds(self, order: Order) -> Bounds:
        reads = tuple(str(path.absolute()) for path in order.reads)
        writes = tuple(str(path.absolute()) for path in order.writes)
        return Bounds(reads, writes, file_bytes=self.file_bytes, cpu_s=self.cpu_s)


class _Member:
    """One process at work on its order."""

    def __init__(self, order: Order, bounds: Bounds) -> None:
        self.process: subprocess.Popen[bytes] = start(MODULE, bounds)
        self._note = None if order.desk is None else order.desk.note
        # By which signal it ended without being asked to; 0 while it has not.
        self._signal = 0
        self.result: Any = None
        self._rest = b""
        self._has_result = False
        # What it was at when it was looked at, and since when it has slept over that.
        self._seen: tuple[bytes, int] | None = None
        self._asleep_since = 0.0
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump(order, self.process.stdin)
            self.process.stdin.flush()

    @property
    def output(self) -> int:
        """The descriptor of what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def hear(self, data: bytes, count: Callable[[int], None]) -> None:
        """Take in what it says; raises ArchiveFailed or OSError when that is a failure."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            raise ArchiveFailed("compose-crashed", "a process that reads media talks without end")
        for line in lines:
            try:
                self._take(json.loads(line), count)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                sentence = f"a process that reads media said what nobody understands: {error!r}"
                raise ArchiveFailed("compose-crashed", sentence) from error

    def _take(self, value: dict[str, Any], count: Callable[[int], None]) -> None:
        if "errno" in value:
            raise OSError(int(value["errno"]), os.strerror(int(value["errno"])))
        if "failed" in value:
            failed = value["failed"]
            code, sentence = str(failed["code"]), str(failed["sentence"])
            raise ArchiveFailed(code, sentence, is_lasting=bool(failed["is_lasting"]))
        if "result" in value:
            self.result, self._has_result = value["result"], True
        else:
            count(int(value["frames"]))

    def check(self) -> None:
        """Look how it ended; raises ArchiveFailed when it did not come to its end."""
        status = self.process.wait()
        self._signal = max(-status, 0)
        if status or not self._has_result:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ArchiveFailed("compose-crashed", f"a process that reads media {how}")

    def wake(self, now: float, asleep_max_s: float) -> None:
        """End it when it sleeps over a packet, and raise ArchiveFailed; a starved one does not sleep."""
        seen = _asleep(self.process.pid)
        at = b"-" if self._note is None else note_of(self._note)
        if seen is None or not at:
            self._seen = None
        elif self._seen != (at, seen):
            self._seen, self._asleep_since = (at, seen), now
        elif now - self._asleep_since > asleep_max_s:
            self.process.kill()
            # As if somebody else had: a disk may hang as well, so it must be found twice.
            self._signal = signal.SIGKILL
            raise ArchiveFailed("compose-crashed", "a process that reads media hangs")

    def judge(self) -> str | None:
        """Return the segment that is left out from now on, because this process died of it."""
        if self._note is None or not self._signal:
            return None
        return judge(self._note, is_guilty=self._signal in ITS_OWN)

    def end(self) -> None:
        """End it, whatever it is at."""
        self.process.kill()
        self.process.wait()
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _follow(members: Sequence[_Member], count: Callable[[int], None], asleep_max_s: float) -> None:
    looked = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.output, selectors.EVENT_READ, member)
        while selector.get_map():
            ready = selector.select(WAIT_S)
            if not ready:
                count(0)
            for key, _ in ready:
                data = os.read(key.fd, READ_BYTES)
                if data:
                    key.data.hear(data, count)
                else:
                    selector.unregister(key.fd)
                    key.data.check()
            now = time.monotonic()
            if now - looked >= WAIT_S:
                looked = now
                for key in selector.get_map().values():
                    key.data.wake(now, asleep_max_s)


def _asleep(pid: int) -> int | None:
    """Return what a process has used of the processor, in ticks, when all of its threads sleep; else None."""
    ticks = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Behind the name, which may hold anything: proc(5).
            values = (task / "stat").read_bytes().rpartition(b")")[2].split()
            if values[0] != b"S":
                return None
            ticks += int(values[11]) + int(values[12])
    except OSError:
        return None
    return ticks
