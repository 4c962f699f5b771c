"""The process that does the heavy work on one package: `python -m bridge.archive.work.worker`.

It reads one job from its standard input, reports on its standard output (`jobs`), and ends with its input: a
worker whose parent is gone has nobody to report to, and another one begins again from what it left. It takes
what the live conferences leave of processor and disk.
"""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridge.archive.folders import disk_error, locked
from bridge.archive.model import Progress, Report
from bridge.archive.work.jobs import (
    LINE_MAX_BYTES,
    Job,
    Result,
    Task,
    failure_line,
    parse_job,
    progress_line,
    result_line,
)
from bridge.base.errors import ArchiveFailed, RecordingFailed

# Nobody reads faster.
REPORT_INTERVAL_S: Final = 0.25
LOWEST_PRIORITY: Final = 19
OOM_SCORE: Final = 900
# ioprio_set(2) has no wrapper in the C library; a class in the upper bits, who is meant: this process.
_IOPRIO_SYSCALLS: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
_IOPRIO_IDLE: Final = 3 << 13


def main() -> int:
    """Do one job; the exit status is 0 when its end was reported, whichever it was."""
    with suppress(PermissionError):
        # So that whoever kills this process reaches what it may have started. The session stays the same:
        # the kernel's grouping by sessions would give this process as much as the whole bridge.
        os.setpgid(0, 0)
    output = _take_output()
    job = parse_job(_first_line())
    offer_memory()
    if job.archive.gives_way:
        step_back()
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        _write(output, result_line(_do(job, _Reporter(output))))
    except ArchiveFailed as error:
        _write(output, failure_line(_named(error)))
    except RecordingFailed as error:
        _write(output, failure_line(ArchiveFailed("recording-unreadable", str(error), is_lasting=True)))
    except OSError as error:
        _write(output, failure_line(disk_error(error)))
    return 0


def step_back() -> None:
    """Give the processors and the disk to everything else that runs on the machine."""
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    number = _IOPRIO_SYSCALLS.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)


def offer_memory() -> None:
    """Let the kernel take this process before the bridge when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


class _Reporter:
    """Says how far a step is, not more often than anybody reads."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._stage: str | None = None
        self._said = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and now - self._said < REPORT_INTERVAL_S and progress.done < 1.0:
            return
        self._stage, self._said = progress.stage, now
        _write(self._output, progress_line(progress))


def _do(job: Job, report: Report) -> Result:
    # Here, because it takes a second to import, and priority and watch come first.
    from bridge.archive.work import tasks

    job.folders.prepare()
    if job.task is Task.INTAKE:
        return tasks.take_in_sessions(job)
    if job.task is Task.NAMES:
        return tasks.names(job)
    doing = {
        Task.ARCHIVE: tasks.archive,
        Task.DELIVER: tasks.deliver,
        Task.STORE: tasks.store,
        Task.CHECK: tasks.check,
        Task.PROVE: tasks.prove,
    }
    # Server and command line never work on the same package at once.
    with locked(job.folders.work / f"{job.package}.lock"):
        return doing[job.task](job, report)


def _named(error: ArchiveFailed) -> ArchiveFailed:
    """Return the error, told as a full disk where that is behind it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and disk_error(cause).code == "disk-full":
        return disk_error(cause)
    return error


def _take_output() -> int:
    """Return a descriptor for reports; whatever else is printed goes to the errors."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _write(output: int, line: bytes) -> None:
    while line:
        line = line[os.write(output, line) :]


def _first_line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < LINE_MAX_BYTES:
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return bytes(line)


def _end_with_input() -> None:
    """Wait for the parent's end, and follow it with everything that this process has started."""
    while os.read(0, 1024):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
