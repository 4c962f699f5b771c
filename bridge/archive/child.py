"""One worker process, watched by whoever started it: progress in, result out, and no way to hang or to stay.

The worker ends when its standard input ends, so that it never outlives a parent that was killed; it is
killed when it gets no further for too long, and when whoever waits for it is cancelled.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Final

from bridge.archive.jobs import LINE_MAX_BYTES, Job, Result, parse_line
from bridge.archive.model import Progress
from bridge.errors import ArchiveFailed

logger = logging.getLogger(__name__)

# The longest standstill of a worker that is alive: one part of 1 GiB sent or read on a slow disk, at idle
# priority beside a full conference.
SILENCE_MAX_S: Final = 900.0
LAST_WORDS_BYTES: Final = 8192
LAST_LINES_LOGGED: Final = 20
LAST_WORDS_S: Final = 5.0
# Libraries that would start a thread for each core, beside the forwarding of live media.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


async def run(
    job: Job, on_progress: Callable[[Progress], None], *, silence_max_s: float = SILENCE_MAX_S
) -> Result:
    """Run a job in a process of its own; raises ArchiveFailed with its reason, or with how it ended."""
    process = await _started()
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    last_words = bytearray()
    listening = asyncio.create_task(_keep_last_words(process.stderr, last_words))
    try:
        process.stdin.write(job.line())
        result = await _follow(process.stdout, on_progress, silence_max_s)
        if result is None:
            status = await asyncio.wait_for(process.wait(), silence_max_s)
            await asyncio.wait({listening}, timeout=LAST_WORDS_S)
            raise _crashed(job, status, last_words)
        return result
    except TimeoutError as error:
        sentence = f"the worker got no further for {silence_max_s:.0f} s"
        raise ArchiveFailed("worker-stalled", sentence) from error
    except ValueError as error:
        raise ArchiveFailed("worker-crashed", f"the worker said what nobody understands: {error}") from error
    finally:
        listening.cancel()
        await _to_its_end(_end(process))


async def _started() -> asyncio.subprocess.Process:
    """Start a worker; who is cancelled meanwhile leaves none behind."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge.archive.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_MAX_BYTES,
            env={**os.environ, **_ONE_THREAD},
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)
        raise


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Wait for something short that must be done, also when the waiting is cancelled."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    _kill(process)
    await process.wait()


async def _follow(
    output: asyncio.StreamReader, on_progress: Callable[[Progress], None], silence_max_s: float
) -> Result | None:
    """Return the worker's result; None when its output ended without one.

    Raises TimeoutError when it gets no further for too long, whether it says so or not, ValueError for what
    is no report.
    """
    loop = asyncio.get_running_loop()
    newest: Progress | None = None
    until = loop.time() + silence_max_s
    while line := await asyncio.wait_for(output.readline(), until - loop.time()):
        try:
            said = parse_line(line)
        except (KeyError, TypeError) as error:
            raise ValueError(repr(error)) from error
        if isinstance(said, ArchiveFailed):
            raise said
        if not isinstance(said, Progress):
            return said
        if newest is None or (said.stage, said.done) != (newest.stage, newest.done):
            newest, until = said, loop.time() + silence_max_s
        on_progress(said)
    return None


async def _keep_last_words(errors: asyncio.StreamReader, kept: bytearray) -> None:
    while piece := await errors.read(LAST_WORDS_BYTES):
        kept += piece
        del kept[:-LAST_WORDS_BYTES]


def _crashed(job: Job, status: int, last_words: bytearray) -> ArchiveFailed:
    """Return the error for a worker that ended without saying why; what it left on stderr goes to the log."""
    for line in last_words.decode(errors="replace").splitlines()[-LAST_LINES_LOGGED:]:
        logger.error("%s: %s", job.package or job.task, line)
    if status < 0:
        return ArchiveFailed("worker-crashed", f"the worker was killed by signal {-status}")
    return ArchiveFailed("worker-crashed", f"the worker ended with status {status}")


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        # Its own group, once it has come so far; until then it is alone.
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
