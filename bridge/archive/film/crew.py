"""The processes that make slices: `python -m bridge.archive.film.crew`, as many as composing may use.

Each gets its work on standard input, counts finished frames on standard output, and ends with its input, so
that none outlives a composition that was killed. They run at the lowest priority.
"""

import os
import pickle
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.archive.film.filming import Film, Studio
from bridge.archive.model import PackagePlan, SessionFolder
from bridge.archive.tracks.tracks import of_case, read_tracks
from bridge.base.errors import ArchiveFailed

READ_BYTES: Final = 4096
STDIN: Final = 0
# How often progress is told although nothing was counted.
WAIT_S: Final = 1.0
ERRNO: Final = "errno"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Slices for one process: films by their place in `films`, and the slices' numbers."""

    session: SessionFolder
    plan: PackagePlan
    films: tuple[Film, ...]
    folder: Path
    slice_frames: int
    slices: tuple[tuple[int, int], ...]

    def carry_out(self, count: Callable[[int], None]) -> None:
        """Make the slices."""
        studio = Studio(
            self.session,
            self.plan,
            of_case(read_tracks(self.session), self.plan.case),
            folder=self.folder,
            slice_frames=self.slice_frames,
        )
        for film, index in self.slices:
            studio.make(self.films[film], index, count)


def make_slices(assignments: Sequence[Assignment], count: Callable[[int], None]) -> None:
    """Have all assignments carried out, each in its process; `count` is told of frames, at times of none.

    Raises ArchiveFailed when a process ends early, and OSError when the disk is its reason.
    """
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for assignment in assignments:
            workers.append(_start(assignment))
        _follow(workers, count)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


def _start(assignment: Assignment) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "bridge.archive.film.crew"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    with suppress(BrokenPipeError):
        pickle.dump(assignment, worker.stdin)
        worker.stdin.flush()
    return worker


def _follow(workers: Sequence[subprocess.Popen[bytes]], count: Callable[[int], None]) -> None:
    with selectors.DefaultSelector() as selector:
        rests: dict[int, bytes] = {}
        for number, worker in enumerate(workers):
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ, number)
            rests[number] = b""
        while selector.get_map():
            ready = selector.select(WAIT_S)
            if not ready:
                count(0)
            for key, _ in ready:
                data = os.read(key.fd, READ_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                    _check(workers[key.data])
                    continue
                *lines, rests[key.data] = (rests[key.data] + data).split(b"\n")
                for line in lines:
                    _take(line.decode(), count)


def _take(line: str, count: Callable[[int], None]) -> None:
    word, _, number = line.rpartition(" ")
    if word == ERRNO:
        raise OSError(int(number), os.strerror(int(number)))
    count(int(number))


def _check(worker: subprocess.Popen[bytes]) -> None:
    status = worker.wait()
    if status:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise ArchiveFailed("compose-crashed", f"a process that makes slices {how}")


def _end_with_input() -> None:
    # Not through `sys.stdin`, whose lock would be held at the end.
    while os.read(STDIN, READ_BYTES):
        pass
    os._exit(1)


def main() -> int:
    """Carry out one assignment, at the priority of who has started this process."""
    assignment: Assignment = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        assignment.carry_out(lambda frames: print(frames, flush=True))
    except OSError as error:
        print(ERRNO, error.errno or 0, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
