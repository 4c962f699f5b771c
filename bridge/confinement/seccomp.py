"""seccomp(2): which system calls a process may not make any more, whatever it has become.

A program for the kernel's packet filter looks at each call. What is refused answers EPERM, so that a library
that only tries something goes on; a call for another kind of machine ends the process.
"""

import ctypes
import errno
import os
import platform
from dataclasses import dataclass
from struct import Struct
from typing import Final

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_MODE_FILTER: Final = 2
_GET_ACTION_AVAIL: Final = 2

_KILL_PROCESS, _REFUSE, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
# struct seccomp_data: the call's number, the kind of machine, and from 16 on six arguments of eight bytes.
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
# BPF: load a word, jump if equal, if greater or equal, if any bit is set, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_INSTRUCTION: Final = Struct("=HBBI")
# Of the calls that are newer than this table nobody knows what they can do.
_KNOWN_UNTIL: Final = 463
_CLONE_THREAD: Final = 0x0001_0000


@dataclass(frozen=True, slots=True)
class _Machine:
    """How one kind of machine calls: its name in the kernel, and the numbers of what is looked at."""

    audit_arch: int
    # seccomp(2) itself.
    seccomp: int
    # Only for threads.
    clone: int
    # Only for the process itself: prlimit64, kill, tgkill.
    own: tuple[int, int, int]
    refused: tuple[int, ...]


# The same on all machines: pidfd_send_signal, io_uring (3), mounting (7), pidfd_open, pidfd_getfd,
# process_madvise, quotactl_fd, process_mrelease, fchmodat2, setxattrat.
_COMMON: Final = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442, 443, 448, 452, 463)
_X86_64: Final = (
    # Sockets: socket, connect, accept, sendto, recvfrom, sendmsg, recvmsg, bind, listen, socketpair, accept4,
    # recvmmsg, sendmmsg.
    *(41, 42, 43, 44, 45, 46, 47, 49, 50, 53, 288, 299, 307),
    # Programs and processes: fork, vfork, execve, execveat, ptrace, process_vm_readv and _writev, kcmp,
    # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo.
    *(57, 58, 59, 322, 101, 310, 311, 312, 200, 129, 297),
    # Namespaces and mounts: pivot_root, chroot, mount, umount2, unshare, setns, quotactl, name_to_handle_at,
    # open_by_handle_at, fanotify_init.
    *(155, 161, 165, 166, 272, 308, 179, 303, 304, 300),
    # What reaches deep into the kernel: bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl,
    # init_module, delete_module, finit_module, kexec_load, kexec_file_load, reboot, swapon, swapoff, acct,
    # iopl, ioperm, syslog, modify_ldt, personality, vhangup.
    *(
        321,
        298,
        323,
        248,
        249,
        250,
        175,
        176,
        313,
        246,
        320,
        169,
        167,
        168,
        163,
        172,
        173,
        103,
        154,
        135,
        153,
    ),
    # Clocks and names: adjtimex, settimeofday, clock_settime, clock_adjtime, sethostname, setdomainname.
    *(159, 164, 227, 305, 170, 171),
    # Landlock does not look at these: chmod, fchmod, chown, fchown, lchown, fchownat, fchmodat, utime,
    # setxattr and removexattr (3 each), utimes, futimesat, utimensat, truncate.
    *(90, 91, 92, 93, 94, 260, 268, 132, 188, 189, 190, 197, 198, 199, 235, 261, 280, 76),
    # Memory, messages and semaphores of others: shm (4), sem (4), msg (4), mq (2), migrate_pages, move_pages.
    *(29, 30, 31, 67, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241, 256, 279),
    # Priorities: setpriority, sched_setparam, sched_setscheduler, sched_setaffinity, ioprio_set,
    # sched_setattr.
    *(141, 142, 144, 203, 251, 314),
)
_AARCH64: Final = (
    *(198, 203, 202, 206, 207, 211, 212, 200, 201, 199, 242, 243, 269),
    *(221, 281, 117, 270, 271, 272, 130, 138, 240),
    *(41, 51, 40, 39, 97, 268, 60, 264, 265, 262),
    *(280, 241, 282, 217, 218, 219, 105, 106, 273, 104, 294, 142, 224, 225, 89, 116, 92, 58),
    *(171, 170, 112, 266, 161, 162),
    *(52, 53, 54, 55, 5, 6, 7, 14, 15, 16, 88, 45),
    *(194, 195, 196, 197, 190, 191, 192, 193, 186, 187, 188, 189, 180, 181, 238, 239),
    *(140, 118, 119, 122, 30, 274),
)
_MACHINES: Final = {
    "x86_64": _Machine(0xC000_003E, 317, 56, (302, 62, 234), _X86_64 + _COMMON),
    "aarch64": _Machine(0xC000_00B7, 277, 220, (261, 129, 131), _AARCH64 + _COMMON),
}
# Whose flags no filter can see; the C library then takes clone(2).
_CLONE3: Final = 435


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_available() -> bool:
    """Return whether this kernel filters calls, and this machine's calls are known."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    action = ctypes.c_uint32(_REFUSE)
    return int(_libc().syscall(machine.seccomp, _GET_ACTION_AVAIL, 0, ctypes.byref(action))) == 0


def give_up_privileges() -> None:
    """Let nothing that this process starts have more rights than it has; raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def restrict() -> None:
    """Refuse this process all calls that reading and writing files has no need of; raises OSError.

    The process must have no other thread yet, and must not be able to gain privileges.
    """
    code = filter_code(_MACHINES[platform.machine()], os.getpid())
    _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(len(code) // _INSTRUCTION.size, code)))


def filter_code(machine: _Machine, pid: int) -> bytes:
    """Return the program that looks at each call of the process with this number."""
    refuse = _instruction(_RETURN, _REFUSE | errno.EPERM)
    is_unknown = _instruction(_RETURN, _REFUSE | errno.ENOSYS)
    allow = _instruction(_RETURN, _ALLOW)
    parts = [
        _instruction(_LOAD, _MACHINE_AT),
        _instruction(_EQUAL, machine.audit_arch, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
        # Also the calls of x32, which have a high bit.
        *(_instruction(_AT_LEAST, _KNOWN_UNTIL + 1, 0, 1), is_unknown),
        *(_instruction(_EQUAL, _CLONE3, 0, 1), is_unknown),
    ]
    for number in machine.refused:
        parts += (_instruction(_EQUAL, number, 0, 1), refuse)
    # Each of the following returns, so that the number need not be loaded again.
    threads = (_argument(0), _instruction(_ANY_BIT, _CLONE_THREAD, 0, 1), allow, refuse)
    parts += (_instruction(_EQUAL, machine.clone, 0, len(threads)), *threads)
    for number in machine.own:
        # Of prlimit64 the process itself is number 0 as well; to kill, 0 is the whole group.
        selves = (0, pid) if number == machine.own[0] else (pid,)
        whom = [_argument(0), *(part for one in selves for part in (_instruction(_EQUAL, one, 0, 1), allow))]
        parts += (_instruction(_EQUAL, number, 0, len(whom) + 1), *whom, refuse)
    return b"".join((*parts, allow))


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)


def _argument(number: int) -> bytes:
    """Load an argument's lower half: what is looked at is a number of a process, or flags."""
    return _instruction(_LOAD, _ARGUMENTS_AT + 8 * number)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: object) -> None:
    words = [ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments]
    while len(words) < 4:
        words.append(ctypes.c_ulong(0))
    if int(_libc().prctl(option, *words)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
