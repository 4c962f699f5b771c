"""The floor: SRTP protection and sendmmsg alone, with another process reading the sockets.

No server can forward a packet for less on this machine without offloading. The packets, their rates and the
reading are those of the conference bench; copying the packet into the rows is not counted.
"""

import argparse
import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import numpy as np
from cffi import FFI
from pylibsrtp._binding import ffi as srtp_ffi
from pylibsrtp._binding import lib as srtp

from benchmarks.dtls import KEY_BYTES, SALT_BYTES, srtp_session
from benchmarks.receiving import MESSAGE_DTYPE, STRIDE_BYTES, VECTOR_MAX, Arena, drops_of_ports, open_socket

VIDEO_BYTES, VIDEO_PER_S = 1100, 180
AUDIO_BYTES, AUDIO_PER_S = 160, 50
READ_EVERY_S = 0.002

_ffi = FFI()
_ffi.cdef("int sendmmsg(int fd, void *vector, unsigned int count, int flags);")
_libc = _ffi.dlopen(None)


@dataclass(frozen=True, slots=True)
class Floor:
    """CPU per packet of the sending process, user and system."""

    us_per_packet: float
    protect_us: float
    send_us: float
    packets_per_s: float
    loss_ratio: float


def _read(pipe: Connection, receivers: int, core: int) -> None:
    os.sched_setaffinity(0, {core})
    sockets = [open_socket() for _ in range(receivers)]
    epoll = select.epoll()
    owners = {sock.fileno(): index for index, sock in enumerate(sockets)}
    for fileno in owners:
        epoll.register(fileno, select.EPOLLIN)
    ports = [sock.getsockname()[1] for sock in sockets]
    pipe.send(ports)
    arena, received = Arena(), 0
    while not pipe.poll():
        for fileno, _ in epoll.poll(0):
            while True:
                count = arena.read(fileno, owners[fileno])
                received += count
                if arena.room < VECTOR_MAX:
                    arena.clear()
                if count < VECTOR_MAX:
                    break
        time.sleep(READ_EVERY_S)
    pipe.send((received, drops_of_ports(set(ports))))


def measure(receivers: int, seconds: float, speed: float, cores: tuple[int, int]) -> Floor:
    """Send a lecture's packets, `speed` times as fast, to `receivers` sockets; pins the calling process."""
    os.sched_setaffinity(0, {cores[0]})
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    reader = context.Process(target=_read, args=(far_end, receivers, cores[1]), daemon=True)
    reader.start()
    ports: list[int] = pipe.recv()
    floor = _send(ports, seconds, speed)
    time.sleep(0.1)
    pipe.send(None)
    received, _ = pipe.recv()
    reader.join()
    sent, elapsed_s, protect_ns, send_ns = floor
    return Floor(
        us_per_packet=(protect_ns + send_ns) / sent / 1000,
        protect_us=protect_ns / sent / 1000,
        send_us=send_ns / sent / 1000,
        packets_per_s=sent / elapsed_s,
        loss_ratio=1 - received / sent,
    )


class Burst:
    """Copies of one packet to many ports: filled, protected in place, and sent with one system call."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.rows = rows = len(ports)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._sock.bind(("127.0.0.1", 0))
        self._sessions = [srtp_session(os.urandom(KEY_BYTES + SALT_BYTES), is_outbound=True) for _ in ports]
        self._contexts = [session._srtp[0] for session in self._sessions]
        self._data = np.zeros((rows, STRIDE_BYTES), np.uint8)
        self._lengths = np.zeros(rows, np.int32)
        self._addresses = np.zeros((rows, 16), np.uint8)
        for row, port in enumerate(ports):
            family = socket.AF_INET.to_bytes(2, "little")
            address = family + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1")
            self._addresses[row, :8] = np.frombuffer(address, np.uint8)
        index = np.arange(rows, dtype=np.uint64)
        self._vectors = np.zeros((rows, 2), np.uint64)
        self._vectors[:, 0] = self._data.ctypes.data + index * STRIDE_BYTES
        self._messages = np.zeros(rows, MESSAGE_DTYPE)
        self._messages["name"] = self._addresses.ctypes.data + index * 16
        self._messages["namelen"] = 16
        self._messages["iov"] = self._vectors.ctypes.data + index * 16
        self._messages["iovlen"] = 1
        base, lengths = self._data.ctypes.data, self._lengths.ctypes.data
        self._buffers = [srtp_ffi.cast("void *", base + row * STRIDE_BYTES) for row in range(rows)]
        self._length_pointers = [srtp_ffi.cast("int *", lengths + row * 4) for row in range(rows)]
        self._headers = _ffi.cast("char *", self._messages.ctypes.data)
        self._template = np.random.default_rng(1).integers(0, 256, STRIDE_BYTES, np.uint8)
        self._template[:12] = 0
        self._template[0] = 0x80
        self._ssrcs = index.astype(">u4").view(np.uint8).reshape(rows, 4)

    def fill(self, sequence_number: int, size_bytes: int) -> None:
        """Write the packet into every row."""
        self._data[:, :size_bytes] = self._template[:size_bytes]
        self._data[:, 2] = (sequence_number >> 8) & 0xFF
        self._data[:, 3] = sequence_number & 0xFF
        self._data[:, 8:12] = self._ssrcs
        self._lengths[:] = size_bytes

    def protect(self) -> None:
        """Encrypt all rows in place."""
        if any(list(map(srtp.srtp_protect, self._contexts, self._buffers, self._length_pointers))):
            raise ValueError("srtp_protect failed")

    def send(self) -> None:
        """Hand all rows to the kernel."""
        self._vectors[:, 1] = self._lengths
        done = 0
        while done < self.rows:
            accepted: int = _libc.sendmmsg(
                self._sock.fileno(), self._headers + 64 * done, self.rows - done, 0
            )
            if accepted <= 0:
                raise OSError("sendmmsg failed")
            done += accepted

    def close(self) -> None:
        """Free the socket."""
        self._sock.close()


def _send(ports: Sequence[int], seconds: float, speed: float) -> tuple[int, float, int, int]:
    burst = Burst(ports)
    sent = protect_ns = send_ns = 0
    started = time.monotonic()
    for sequence_number, (at, size_bytes) in enumerate(_schedule(seconds, speed)):
        pause = started + at - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        burst.fill(sequence_number, size_bytes)
        begin = time.thread_time_ns()
        burst.protect()
        middle = time.thread_time_ns()
        burst.send()
        end = time.thread_time_ns()
        sent += burst.rows
        protect_ns += middle - begin
        send_ns += end - middle
    burst.close()
    return sent, time.monotonic() - started, protect_ns, send_ns


def _schedule(seconds: float, speed: float) -> list[tuple[float, int]]:
    video_per_s, audio_per_s = VIDEO_PER_S * speed, AUDIO_PER_S * speed
    video = [(index / video_per_s, VIDEO_BYTES) for index in range(int(seconds * video_per_s))]
    audio = [(index / audio_per_s, AUDIO_BYTES) for index in range(int(seconds * audio_per_s))]
    return sorted(video + audio)


def in_child(receivers: int, seconds: float, *, speed: float) -> Floor:
    """Measure in a process of its own, so that the caller stays where it is."""
    command = [sys.executable, "-m", "benchmarks.floor", "--points", str(receivers)]
    command += ["--seconds", str(seconds), "--speed", str(speed)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return Floor(**json.loads(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--speed", type=float, default=1.0, help="times a lecture's 230 packets per second")
    options = parser.parse_args()
    # The caller may be pinned to one core; a floor needs two.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    cores = sorted(os.sched_getaffinity(0))
    floor = measure(options.points, options.seconds, options.speed, (cores[0], cores[1]))
    print(json.dumps({name: round(value, 4) for name, value in asdict(floor).items()}))


if __name__ == "__main__":
    main()
