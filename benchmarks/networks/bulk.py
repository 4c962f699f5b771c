"""TCP beside a call: transfers through the same line, as the kernel sends them with CUBIC.

`serve` runs on this machine; the other end in a namespace, as `python benchmarks/networks/bulk.py HOST PORT
WAY ZERO START:BYTES …`: this file stands alone, so that a machine that is measured starts it quickly. ZERO is
when the case began (CLOCK_MONOTONIC); BYTES of 0 mean for ever.
"""

import socket
import sys
import threading
import time
from contextlib import suppress

CHUNK = bytes(65_536)
# A few round trips of a line; the kernel's own growth would hide behind a large buffer.
SEND_BUFFER_BYTES = 262_144


def _send(connection: socket.socket, size_bytes: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    left_bytes = size_bytes or sys.maxsize
    while left_bytes > 0:
        left_bytes -= connection.send(CHUNK[: min(left_bytes, len(CHUNK))])


def _receive(connection: socket.socket) -> None:
    while connection.recv(len(CHUNK)):
        pass


def _answer(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        asked = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big", signed=True)
        if asked < 0:
            _receive(connection)
        else:
            _send(connection, asked)


def serve(listening: socket.socket) -> None:
    """Accept transfers until the socket is shut down."""
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _transfer(host: str, port: int, way: str, start: float, size_bytes: int) -> None:
    time.sleep(max(start - time.monotonic(), 0.0))
    with socket.create_connection((host, port)) as connection:
        asked = -1 if way == "up" else size_bytes
        connection.sendall(asked.to_bytes(8, "big", signed=True))
        if way == "up":
            _send(connection, size_bytes)
        else:
            _receive(connection)


def main(host: str, port: str, way: str, zero: str, *plan: str) -> None:
    for one in plan:
        start_s, _, size_bytes = one.partition(":")
        arguments = (host, int(port), way, float(zero) + float(start_s), int(size_bytes))
        threading.Thread(target=_transfer, args=arguments).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
