"""One worker process, watched by whoever started it: progress in, result out, and no way to hang or to stay.

The worker ends when its standard input ends, so that it never outlives a parent that was killed; it is
killed when it gets no further for too long, and when whoever waits for it is cancelled.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Final

from bridge.archive.model import Progress
from bridge.archive.work.jobs import LINE_MAX_BYTES, Job, Result, parse_line
from bridge.base.errors import ArchiveFailed

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
    last_words = bytearray()
    async with contextlib.AsyncExitStack() as ending:
        ours = _pipes(process)
        ending.push_async_callback(_to_its_end, process, ours)
        output = await _reader(ours.pop(), ending)
        errors = await _reader(ours.pop(), ending)
        listening = asyncio.create_task(_keep_last_words(errors, last_words))
        ending.callback(listening.cancel)
        try:
            _tell(process, job)
            result = await _follow(output, on_progress, silence_max_s)
            if result is None:
                async with asyncio.timeout(silence_max_s):
                    status = await asyncio.to_thread(process.wait)
                await asyncio.wait({listening}, timeout=LAST_WORDS_S)
                raise _crashed(job, status, last_words)
            return result
        except TimeoutError as error:
            sentence = f"the worker got no further for {silence_max_s:.0f} s"
            raise ArchiveFailed("worker-stalled", sentence) from error
        except ValueError as error:
            sentence = f"the worker said what nobody understands: {error}"
            raise ArchiveFailed("worker-crashed", sentence) from error


async def _started() -> "subprocess.Popen[bytes]":
    """Start a worker; who is cancelled meanwhile leaves none behind.

    In a thread, and not by the event loop, which would stand still until the kernel has copied the tables of
    all memory of the bridge: milliseconds in which no packet is forwarded.
    """
    starting = asyncio.create_task(asyncio.to_thread(_start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        await _end(process, _pipes(process))
        raise


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "bridge.archive.work.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_ONE_THREAD},
    )


def _pipes(process: "subprocess.Popen[bytes]") -> list[IO[bytes]]:
    """Return what a worker writes to, its output last."""
    assert process.stdout is not None
    assert process.stderr is not None
    return [process.stderr, process.stdout]


async def _reader(pipe: IO[bytes], ending: contextlib.AsyncExitStack) -> asyncio.StreamReader:
    """Return what reads a pipe on the event loop; from here on it is the loop's to close."""
    reader = asyncio.StreamReader(limit=LINE_MAX_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    ending.callback(transport.close)
    return reader


def _tell(process: "subprocess.Popen[bytes]", job: Job) -> None:
    """Hand over the job, which is smaller than what a pipe holds; who is dead already does not take it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job.line())
        process.stdin.flush()


async def _to_its_end(process: "subprocess.Popen[bytes]", ours: list[IO[bytes]]) -> None:
    """End a worker, also when the waiting for it is cancelled."""
    ending = asyncio.create_task(_end(process, ours))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise


async def _end(process: "subprocess.Popen[bytes]", ours: list[IO[bytes]]) -> None:
    """Kill a worker; `ours` are the pipes that no event loop has taken."""
    _kill(process)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    for pipe in ours:
        pipe.close()
    await asyncio.to_thread(process.wait)


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
    while True:
        async with asyncio.timeout_at(until):
            line = await output.readline()
        if not line:
            return None
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


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        # Its own group, once it has come so far; until then it is alone.
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
