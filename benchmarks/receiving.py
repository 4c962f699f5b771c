"""The bots' ears: recvmmsg into one arena with the kernel's receive stamps, and per-stream loss counts.

Whole arenas are accounted with a few numpy calls, so that one core hears tens of thousands of packets a
second from hundreds of sockets. Counting needs only the clear RTP header.
"""

import os
import socket

import numpy as np
from cffi import FFI
from numpy.typing import NDArray

Column = NDArray[np.int64]

STRIDE_BYTES = 1536
ARENA_ROWS = 512
VECTOR_MAX = 32
# Linux numbers, missing from the socket module.
SO_TIMESTAMPNS = 35
MSG_DONTWAIT = 0x40

_ffi = FFI()
_ffi.cdef("int recvmmsg(int fd, void *vector, unsigned int count, int flags, void *timeout);")
_libc = _ffi.dlopen(None)

# struct mmsghdr, struct iovec and one control message with a timespec, on 64-bit Linux.
MESSAGE_DTYPE = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
CONTROL_DTYPE = np.dtype([("length", "u8"), ("level", "i4"), ("kind", "i4"), ("seconds", "i8"), ("ns", "i8")])


def open_socket(host: str = "127.0.0.1", receive_buffer_bytes: int = 1 << 20) -> socket.socket:
    """A bound UDP socket whose datagrams carry the kernel's receive stamp."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((host, 0))
    return sock


class Arena:
    """Rows of received datagrams from many sockets, read with one system call per socket."""

    def __init__(self, rows: int = ARENA_ROWS) -> None:
        self.rows = rows
        self.count = 0
        self.data: NDArray[np.uint8] = np.zeros((rows, STRIDE_BYTES), np.uint8)
        self.owners: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._messages = np.zeros(rows, MESSAGE_DTYPE)
        self._vectors = np.zeros((rows, 2), np.uint64)
        self._controls = np.zeros(rows, CONTROL_DTYPE)
        self._vectors[:, 0] = self.data.ctypes.data + np.arange(rows, dtype=np.uint64) * STRIDE_BYTES
        self._vectors[:, 1] = STRIDE_BYTES
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(rows, dtype=np.uint64) * 16
        self._messages["iovlen"] = 1
        self._messages["control"] = self._controls.ctypes.data + np.arange(rows, dtype=np.uint64) * 32
        self._messages["controllen"] = CONTROL_DTYPE.itemsize
        base = self._messages.ctypes.data
        self._pointers = [_ffi.cast("void *", base + row * 64) for row in range(rows)]

    @property
    def room(self) -> int:
        return self.rows - self.count

    def read(self, fileno: int, owner: int) -> int:
        """Append what waits on a socket, at most VECTOR_MAX datagrams; returns how many."""
        limit = min(VECTOR_MAX, self.rows - self.count)
        received: int = _libc.recvmmsg(fileno, self._pointers[self.count], limit, MSG_DONTWAIT, _ffi.NULL)
        if received <= 0:
            return 0
        self.owners[self.count : self.count + received] = owner
        self.count += received
        return received

    def lengths(self) -> NDArray[np.uint32]:
        lengths: NDArray[np.uint32] = self._messages["length"][: self.count]
        return lengths

    def arrivals_ns(self) -> NDArray[np.int64]:
        """The kernel's receive stamps, CLOCK_REALTIME; 0 where there is none."""
        controls = self._controls[: self.count]
        stamps: NDArray[np.int64] = controls["seconds"] * 1_000_000_000 + controls["ns"]
        return np.where(controls["kind"] == SO_TIMESTAMPNS, stamps, 0)

    def datagram(self, row: int) -> bytes:
        return self.data[row, : self._messages["length"][row]].tobytes()

    def clear(self) -> None:
        """Forget the rows and give the kernel back its control buffers."""
        self._messages["controllen"][: self.count] = CONTROL_DTYPE.itemsize
        self.count = 0


class StreamCounts:
    """Received and expected packets of every (bot, SSRC), from sequence numbers alone."""

    def __init__(self) -> None:
        self._sorted_keys: Column = np.zeros(0, np.int64)
        self._sorted_index: Column = np.zeros(0, np.int64)
        self._known: dict[int, int] = {}
        self.keys: list[int] = []
        self.received: Column = np.zeros(0, np.int64)
        self.received_bytes: Column = np.zeros(0, np.int64)
        self.highest: Column = np.zeros(0, np.int64)
        self.opened_at: Column = np.zeros(0, np.int64)
        self.first_arrival_ns: Column = np.zeros(0, np.int64)
        self.last_arrival_ns: Column = np.zeros(0, np.int64)

    @staticmethod
    def key(owner: int, ssrc: int) -> int:
        return (owner << 32) | ssrc

    def add(
        self,
        owners: NDArray[np.int64],
        ssrcs: NDArray[np.uint32],
        sequence_numbers: NDArray[np.uint16],
        lengths: NDArray[np.uint32],
        arrivals_ns: NDArray[np.int64],
    ) -> list[int]:
        """Account RTP packets in order of arrival; returns the row of each stream's very first packet."""
        keys = (owners << 32) | ssrcs.astype(np.int64)
        index = self._find(keys)
        fresh: list[int] = []
        if (index < 0).any():
            for row in np.flatnonzero(index < 0).tolist():
                key = int(keys[row])
                if key not in self._known:
                    self._open(key, int(sequence_numbers[row]), int(arrivals_ns[row]))
                    fresh.append(row)
            index = self._find(keys)
        delta = (sequence_numbers.astype(np.int64) - self.highest[index] + 0x8000 & 0xFFFF) - 0x8000
        np.maximum.at(self.highest, index, self.highest[index] + delta)
        np.add.at(self.received, index, 1)
        np.add.at(self.received_bytes, index, lengths.astype(np.int64))
        np.maximum.at(self.last_arrival_ns, index, arrivals_ns)
        return fresh

    def place(self, owner: int, ssrc: int) -> int | None:
        """The stream's index in the columns, if it was ever heard."""
        return self._known.get(self.key(owner, ssrc))

    def progress(self, owner: int, ssrc: int) -> tuple[int, int, int] | None:
        """Expected and received packets since the first one, and the highest extended number."""
        place = self.place(owner, ssrc)
        if place is None:
            return None
        highest = int(self.highest[place])
        return highest - int(self.opened_at[place]), int(self.received[place]), highest

    def first_arrival(self, owner: int, ssrc: int) -> int:
        """Kernel stamp of the stream's first packet in ns, 0 if there was none."""
        place = self.place(owner, ssrc)
        return 0 if place is None else int(self.first_arrival_ns[place])

    def snapshot(self) -> tuple[Column, Column, Column]:
        """Received packets, received bytes and highest numbers of all streams now."""
        return self.received.copy(), self.received_bytes.copy(), self.highest.copy()

    def difference(
        self, before: tuple[Column, Column, Column], after: tuple[Column, Column, Column]
    ) -> tuple[Column, Column, Column]:
        """Received packets, received bytes and expected packets of each stream between two snapshots."""
        known, total = len(before[0]), len(after[0])
        none = np.zeros(total - known, np.int64)
        highest_before = np.concatenate((before[2], self.opened_at[known:total]))
        return (
            after[0] - np.concatenate((before[0], none)),
            after[1] - np.concatenate((before[1], none)),
            after[2] - highest_before,
        )

    def _find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self._sorted_keys):
            return np.full(len(keys), -1, np.int64)
        place = np.minimum(np.searchsorted(self._sorted_keys, keys), len(self._sorted_keys) - 1)
        return np.where(self._sorted_keys[place] == keys, self._sorted_index[place], -1)

    def _open(self, key: int, sequence_number: int, arrival_ns: int) -> None:
        self._known[key] = len(self.keys)
        self.keys.append(key)
        self.received = np.append(self.received, 0)
        self.received_bytes = np.append(self.received_bytes, 0)
        # One before the first, so that highest grows by exactly one per packet from the start.
        self.highest = np.append(self.highest, sequence_number + 0x10000 - 1)
        self.opened_at = np.append(self.opened_at, sequence_number + 0x10000 - 1)
        self.first_arrival_ns = np.append(self.first_arrival_ns, arrival_ns)
        self.last_arrival_ns = np.append(self.last_arrival_ns, arrival_ns)
        order = np.argsort(np.array(self.keys, np.int64))
        self._sorted_index = order
        self._sorted_keys = np.array(self.keys, np.int64)[order]


def drops_of_ports(ports: set[int]) -> int:
    """Datagrams the kernel dropped at full socket buffers of these local UDP ports (Linux)."""
    total = 0
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        if not os.path.exists(table):
            continue
        with open(table) as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if int(fields[1].rsplit(":", 1)[1], 16) in ports:
                    total += int(fields[-1])
    return total
