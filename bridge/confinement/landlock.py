"""Landlock (landlock(7)): which files a process may still read and write, and that it has no network.

The C library has no wrappers. The numbers of these calls are the same on all machines.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
# From the second, third and fifth version on.
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _REFER | _TRUNCATE
# What can be allowed of something that is no folder.
_OF_FILES: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE
# To listen on and to connect to TCP, from the fourth version on.
_NETWORK: Final = 1 << 0 | 1 << 1
# To reach abstract Unix sockets and to signal processes of others, from the sixth version on.
_SCOPES: Final = 1 << 0 | 1 << 1

# Files, network, scopes.
_RULESET: Final = Struct("=QQQ")
# What is allowed, below which open folder.
_RULE: Final = Struct("=Qi")


@dataclass(frozen=True, slots=True)
class _Handled:
    """What a version of Landlock can refuse."""

    files: int
    network: int
    scopes: int


def version() -> int:
    """Return which version of Landlock the kernel offers; 0 when none, or it is switched off."""
    found = int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION)))
    return max(found, 0)


def restrict(*, reads: Iterable[Path], writes: Iterable[Path]) -> None:
    """Refuse this process everything but reading and writing below these paths; raises OSError.

    No file may be executed, no TCP port listened on or connected to. Paths that do not exist are left out.
    The process must have no other thread yet, and must not be able to gain privileges.
    """
    handled = _handled(version())
    ruleset = _call(
        _CREATE_RULESET,
        _RULESET.pack(handled.files, handled.network, handled.scopes),
        ctypes.c_size_t(_RULESET.size),
        ctypes.c_uint(0),
    )
    try:
        for paths, allowed in ((reads, _READ), (writes, _WRITE)):
            for path in paths:
                _allow(ruleset, path, allowed & handled.files)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _handled(known: int) -> _Handled:
    # Everything of the first version: the bits below that of moving between folders.
    files = _REFER - 1
    files |= _REFER if known >= 2 else 0
    files |= _TRUNCATE if known >= 3 else 0
    files |= _IOCTL_DEV if known >= 5 else 0
    return _Handled(files, _NETWORK if known >= 4 else 0, _SCOPES if known >= 6 else 0)


def _allow(ruleset: int, path: Path, allowed: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            allowed &= _OF_FILES
        rule = _RULE.pack(allowed, descriptor)
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0))
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
