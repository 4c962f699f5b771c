"""What somebody tries who has taken over a process that decodes: carried out by the product's own crew."""

import ctypes
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.archive.film.orders import Watch

ALLOWED = "allowed"
PTRACE_ATTACH = 16
REFUSED = frozenset({"EPERM", "EACCES"})


@dataclass(frozen=True, slots=True)
class Intrude:
    """An order that tries what it should not be able to do, and tells of each how the kernel answered."""

    # Of the bridge, outside of all that the order names.
    secret: Path
    session: Path
    own: Path
    # A descriptor of the bridge that children could inherit.
    descriptor: int
    desk: None = None

    @property
    def reads(self) -> tuple[Path, ...]:
        # So that this module is found.
        return self.session, Path(__file__).parent

    @property
    def writes(self) -> tuple[Path, ...]:
        return (self.own,)

    def carry_out(self, watch: Watch) -> dict[str, Any]:
        libc = ctypes.CDLL(None, use_errno=True)
        beside = self.secret.with_name("beside")

        def call(name: str, *arguments: Any) -> None:
            if getattr(libc, name)(*arguments) < 0:
                raise OSError(ctypes.get_errno(), name)

        def thread() -> None:
            started = threading.Thread(target=len, args=("",))
            started.start()
            started.join()

        attempts: dict[str, Callable[[], object]] = {
            "read the secret": self.secret.read_bytes,
            "list its folder": lambda: os.listdir(self.secret.parent),
            "write the secret": lambda: self.secret.write_bytes(b""),
            "truncate the secret": lambda: os.truncate(self.secret, 0),
            "let all read the secret": lambda: os.chmod(self.secret, 0o777),
            "give the secret away": lambda: os.chown(self.secret, 65534, 65534),
            "date the secret": lambda: os.utime(self.secret),
            "remove the secret": self.secret.unlink,
            "write beside": lambda: beside.write_bytes(b"x"),
            "move out": lambda: os.rename(_made(self.own / "moved"), beside),
            "link in": lambda: os.link(self.secret, self.own / "linked"),
            "link out": lambda: os.symlink(self.secret, self.own / "symbolic"),
            "write into the session": lambda: (self.session / "x").write_bytes(b"x"),
            "read a program": lambda: Path("/etc/passwd").read_bytes(),
            "connect": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            "send": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
            "talk to services": lambda: socket.socket(socket.AF_UNIX),
            "ask the kernel": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
            "make a pair of sockets": socket.socketpair,
            "run a program": lambda: subprocess.run(["/bin/true"], check=True),
            "become a program": lambda: os.execv("/bin/true", ["true"]),
            "fork": os.fork,
            "trace the bridge": lambda: call("ptrace", PTRACE_ATTACH, os.getppid(), 0, 0),
            "signal the bridge": lambda: os.kill(os.getppid(), 0),
            "signal its own group": lambda: os.kill(0, 0),
            "read the bridge's environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
            "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
            "leave for a namespace": lambda: call("unshare", 0x1000_0000),
            "hurry": lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
            "bind the bridge": lambda: call("prlimit", os.getppid(), 7, bytes(16), None),
            "read the session": (self.session / "journal.jsonl").read_bytes,
            "write its own folder": lambda: (self.own / "x").write_bytes(b"x"),
            "signal itself": lambda: os.kill(os.getpid(), 0),
            "start a thread": thread,
        }
        answers = {name: _answer(attempt) for name, attempt in attempts.items()}
        answers["use the bridge's descriptor"] = _answer(lambda: os.fstat(self.descriptor))
        return {"answers": answers, "environment": dict(os.environ)}


@dataclass(frozen=True, slots=True)
class Endless:
    """An order that takes memory, or disk, or processor without end."""

    what: str
    own: Path
    desk: None = None

    @property
    def reads(self) -> tuple[Path, ...]:
        return (Path(__file__).parent,)

    @property
    def writes(self) -> tuple[Path, ...]:
        return (self.own,)

    def carry_out(self, watch: Watch) -> str:
        if self.what == "memory":
            try:
                return str(len(bytearray(1 << 32)))
            except MemoryError:
                return "refused"
        if self.what == "disk":
            (self.own / "large").write_bytes(bytes(2 << 20))
        while True:
            pass


def _made(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


def _answer(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ALLOWED
