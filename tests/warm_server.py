"""A server process that starts in a tenth of the time, because what it imports is there already.

It is forked from a process that has imported the bridge and done nothing else; from then on it is what
`hoichan serve` is, and dies as that does.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from bridge_process import ROOT, BridgeServer

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["bridge.__main__", "bridge.server", "bridge.archive.work.supervisor"])


class Forked:
    """A forked process, as far as `BridgeServer` knows processes."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError
        return self._process.exitcode


class WarmServer(BridgeServer):
    """A `BridgeServer` whose processes are forked."""

    def launch(self) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", "--http", *self.arguments]
        process = _FORKS.Process(
            target=_serve, args=(self.variables(), arguments, self.log_path), daemon=True
        )
        process.start()
        self.process = Forked(process)  # type: ignore[assignment]


PR_SET_PDEATHSIG = 1


def _serve(variables: Mapping[str, str], arguments: list[str], log: Path) -> None:
    # Whoever ends the test ends the server.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from bridge.__main__ import main

    sys.exit(main(arguments))
