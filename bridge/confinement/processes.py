"""Processes that read what strangers sent: started with nothing of ours in reach, and bounded by the kernel.

    process = start("bridge.somewhere", bounds)      in the process that wants something read
    bounds = enter(sys.argv[1])                      in the new one, first of all

Where the kernel offers less (`offered`), the process has that much less around it; it is for whoever starts
it to say so.
"""

import json
import os
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import bridge
from bridge.confinement import landlock, seccomp

OPEN_FILES_MAX: Final = 1024
# Memory by addresses: libraries take half of a gigabyte of them, a picture of 4096 x 2304 some 14 MB, and a
# decoder keeps up to 17 of those.
MEMORY_BYTES_MAX: Final = 3 << 30
# What is left of the environment: language, time zone, how libraries are found, and how many threads they
# may start. Neither settings of the bridge nor anything that is secret.
_KEPT: Final = frozenset({"LANG", "LANGUAGE", "TZ", "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUTF8"})
_KEPT_BEGINNINGS: Final = ("LC_", "LD_")
_KEPT_ENDS: Final = ("_NUM_THREADS",)
# Libraries, and what they look at when they are loaded.
_SYSTEM: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/localtime", "/usr/share/zoneinfo"),
    *("/sys/devices/system/cpu", "/dev/urandom"),
)
_DEVICES: Final = ("/dev/null",)
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may do: files and folders by their paths, bytes, and seconds of a processor.

    `cpu_s` is what it may take from one sign of life (`go_on`) to the next.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    file_bytes: int
    cpu_s: int
    memory_bytes: int = MEMORY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Offered:
    """What this kernel has to confine a process with: Landlock by its version (0: not), and seccomp."""

    landlock: int
    seccomp: bool

    @property
    def missing(self) -> list[str]:
        """The names of what is not there."""
        return [name for name, there in (("Landlock", self.landlock), ("seccomp", self.seccomp)) if not there]


def offered() -> Offered:
    """Return what this kernel has to confine a process with."""
    return Offered(landlock.version(), seccomp.is_available())


def start(module: str, bounds: Bounds, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a module as a process that will `enter` these bounds; its input and output are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(asdict(bounds)), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_kept(os.environ),
    )


def enter(bounds: str) -> Bounds:
    """Confine this process for good; raises OSError when the kernel offers a bound and does not set it.

    To be called before anything that starts a thread or reads media is imported.
    """
    value: dict[str, Any] = json.loads(bounds)
    found = Bounds(**{**value, "reads": tuple(value["reads"]), "writes": tuple(value["writes"])})
    os.closerange(3, _open_files_max())
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, found.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, found.file_bytes)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES_MAX)
    go_on(found.cpu_s)
    there = offered()
    seccomp.give_up_privileges()
    if there.landlock:
        reads = (*_program(), *map(Path, (*_SYSTEM, *found.reads)))
        landlock.restrict(reads=reads, writes=[Path(path) for path in (*_DEVICES, *found.writes)])
    if there.seccomp:
        seccomp.restrict()
    return found


def go_on(cpu_s: int) -> None:
    """Give this process so much time of its processor from now on, because it gets further."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    until_s = int(time.process_time()) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (until_s if hard < 0 else min(until_s, hard), hard))


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_KEPT_BEGINNINGS) or name.endswith(_KEPT_ENDS)
    }


def _program() -> list[Path]:
    """Return where the interpreter and the packages are; of the bridge itself its code alone."""
    schemes = sysconfig.get_paths()
    packages = [path for path in sys.path if Path(path).name in _PACKAGES]
    names = (*(schemes[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")), *packages)
    libraries = Path(sys.base_prefix) / "lib"
    return [*map(Path, names), libraries, *map(Path, bridge.__path__)]


def _open_files_max() -> int:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return most if 0 < most < 1 << 20 else 1 << 20


def _limit(which: int, most: int) -> None:
    """Set a limit, unless there is a lower one already."""
    hard = resource.getrlimit(which)[1]
    most = most if hard < 0 else min(most, hard)
    resource.setrlimit(which, (most, most))
