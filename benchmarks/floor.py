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


def _send(ports: list[int], seconds: float, speed: float) -> tuple[int, float, int, int]:
    rows = len(ports)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    sessions = [srtp_session(os.urandom(KEY_BYTES + SALT_BYTES), is_outbound=True) for _ in range(rows)]
    contexts = [session._srtp[0] for session in sessions]
    data = np.zeros((rows, STRIDE_BYTES), np.uint8)
    lengths = np.zeros(rows, np.int32)
    addresses = np.zeros((rows, 16), np.uint8)
    for row, port in enumerate(ports):
        address = (
            socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1")
        )
        addresses[row, :8] = np.frombuffer(address, np.uint8)
    vectors = np.zeros((rows, 2), np.uint64)
    vectors[:, 0] = data.ctypes.data + np.arange(rows, dtype=np.uint64) * STRIDE_BYTES
    messages = np.zeros(rows, MESSAGE_DTYPE)
    messages["name"] = addresses.ctypes.data + np.arange(rows, dtype=np.uint64) * 16
    messages["namelen"] = 16
    messages["iov"] = vectors.ctypes.data + np.arange(rows, dtype=np.uint64) * 16
    messages["iovlen"] = 1
    buffers = [srtp_ffi.cast("void *", data.ctypes.data + row * STRIDE_BYTES) for row in range(rows)]
    length_pointers = [srtp_ffi.cast("int *", lengths.ctypes.data + row * 4) for row in range(rows)]
    vector = _ffi.cast("void *", messages.ctypes.data)

    rng = np.random.default_rng(1)
    template = rng.integers(0, 256, STRIDE_BYTES, np.uint8)
    template[:12] = 0
    template[0] = 0x80
    ssrcs = np.arange(rows, dtype=np.uint32).astype(">u4").view(np.uint8).reshape(rows, 4)
    due = _schedule(seconds, speed)
    sent = protect_ns = send_ns = 0
    started = time.monotonic()
    for sequence_number, (at, size) in enumerate(due):
        pause = started + at - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        data[:, :size] = template[:size]
        data[:, 2] = (sequence_number >> 8) & 0xFF
        data[:, 3] = sequence_number & 0xFF
        data[:, 8:12] = ssrcs
        lengths[:] = size
        begin = time.thread_time_ns()
        statuses = list(map(srtp.srtp_protect, contexts, buffers, length_pointers))
        middle = time.thread_time_ns()
        vectors[:, 1] = lengths
        done = 0
        while done < rows:
            accepted: int = _libc.sendmmsg(sock.fileno(), vector + 64 * done, rows - done, 0)
            if accepted <= 0:
                raise OSError("sendmmsg failed")
            done += accepted
        end = time.thread_time_ns()
        if any(statuses):
            raise ValueError("srtp_protect failed")
        sent += rows
        protect_ns += middle - begin
        send_ns += end - middle
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
