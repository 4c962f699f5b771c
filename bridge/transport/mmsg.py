"""Many datagrams per system call: recvmmsg and sendmmsg over headers that numpy can see as columns.

Linux only, little-endian only: libsrtp's 32-bit length is written straight into the lower half of the
64-bit `iov_len`, so that a protected packet is ready to be sent without touching it again.
"""

import errno
import select
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
from cffi import FFI
from numpy.typing import NDArray

from bridge.transport.srtp import CData, pointer_at, pointers_at

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("the media port needs a little-endian machine")

_ffi = FFI()
_ffi.cdef("""
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr {
    void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
    void *msg_control; size_t msg_controllen; int msg_flags;
};
struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
""")
_libc = _ffi.dlopen(None)

_HEADER: Final = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["<u8", "<u4", "<u8", "<u8", "<u8", "<u8", "<u4", "<u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
_IOVEC: Final = np.dtype([("base", "<u8"), ("length", "<u8")])
_LENGTH_OFFSET = 56
assert _ffi.sizeof("struct mmsghdr") == _HEADER.itemsize

# sockaddr_in6 is the longest address we meet; sockaddr_in takes 16 bytes of it.
NAME_BYTES = 28
# A time stamp (32) and the local address of an IPv6 packet (40), with room to spare.
CONTROL_BYTES = 128
MTU_BYTES_MAX = 2048

_MSG_DONTWAIT = 0x40
_MSG_TRUNC = 0x20
_SO_TIMESTAMPNS = 35  # also the type of its control message
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_STAMP = struct.Struct("=QiiqqQii")
_CONTROL_HEADER = struct.Struct("=Qii")
MAPPED_PREFIX = bytes(10) + b"\xff\xff"

# How long a full send buffer may hold up the process before datagrams are dropped: long enough for a
# gigabit link to take some hundred packets of a key frame's burst, short enough not to be heard.
SEND_WAIT_MS = 2


def tune(udp: socket.socket, *, buffer_bytes: int, wants_local_address: bool) -> None:
    """Set buffer sizes, kernel receive stamps and, on a wildcard socket, the local address of each packet."""
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            udp.setsockopt(socket.SOL_SOCKET, force, buffer_bytes)
        except PermissionError:
            # Without CAP_NET_ADMIN the kernel cuts the size to net.core.[rw]mem_max.
            udp.setsockopt(socket.SOL_SOCKET, plain, buffer_bytes)
    udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if wants_local_address:
        if udp.family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def set_filter(udp: socket.socket, program: bytes | None) -> None:
    """Let a program of classic BPF say what the socket takes; None takes all. Raises OSError."""
    # The one before goes first: kernels whose sockets have little memory for options count both.
    with suppress(FileNotFoundError):
        udp.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    if program is None:
        return
    memory = _ffi.from_buffer(program)
    fields = len(program) // 8, int(_ffi.cast("uintptr_t", memory))
    udp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", *fields))


def kernel_drops(udp: socket.socket) -> int:
    """Return how many datagrams the kernel dropped: the receive buffer was full, or the filter said so."""
    meminfo = udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
    return int(struct.unpack_from("=I", meminfo, 4 * _MEMINFO_DROPS)[0])


def host_and_port(name: bytes) -> tuple[bytes, int]:
    """Return the packed address (4 or 16 bytes) and port of a sockaddr; a mapped IPv4 address as IPv4."""
    port = int.from_bytes(name[2:4], "big")
    if int.from_bytes(name[:2], "little") == socket.AF_INET:
        return name[4:8], port
    host = name[8:24]
    return (host[12:] if host.startswith(MAPPED_PREFIX) else host), port


def reply_control(control: bytes) -> bytes:
    """Turn what was received with a datagram into the control message that answers from the same address.

    Returns b"" when the local address was not given.
    """
    position = 0
    while position + _CONTROL_HEADER.size <= len(control):
        length, level, kind = _CONTROL_HEADER.unpack_from(control, position)
        if length < _CONTROL_HEADER.size or position + length > len(control):
            break
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and length == 36:
            address = control[position + 16 : position + 32]
            # Only a link-local address needs its interface; forcing it elsewhere breaks asymmetric routes.
            is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            index = control[position + 32 : position + 36] if is_link_local else bytes(4)
            return _CONTROL_HEADER.pack(36, level, kind) + address + index + bytes(4)
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and length == 28:
            address = control[position + 20 : position + 24]
            return _CONTROL_HEADER.pack(28, level, kind) + bytes(4) + address + bytes(4) + bytes(4)
        position += (length + 7) & ~7
    return b""


class Messages:
    """Message headers for `capacity` datagrams, each with one buffer; memory the kernel reads and writes."""

    __slots__ = ("buffer", "column", "headers", "iovec_column", "iovecs", "length_pointers", "lengths")

    def __init__(self, capacity: int) -> None:
        self.headers: CData = _ffi.new("struct mmsghdr[]", max(1, capacity))
        self.iovecs: CData = _ffi.new("struct iovec[]", max(1, capacity))
        self.buffer: CData = _ffi.buffer(self.headers)
        self.column: NDArray[np.void] = np.frombuffer(self.buffer, dtype=_HEADER)
        self.iovec_column: NDArray[np.void] = np.frombuffer(_ffi.buffer(self.iovecs), dtype=_IOVEC)
        iovecs = int(_ffi.cast("uintptr_t", self.iovecs))
        self.column["iov"] = iovecs + 16 * np.arange(len(self.column), dtype=np.uint64)
        self.column["iovlen"] = 1
        self.lengths: NDArray[np.uint64] = self.iovec_column["length"]
        # The lower half of each iov_len, for libsrtp to change in place.
        lengths = iovecs + 8 + 16 * np.arange(capacity, dtype=np.uint64)
        self.length_pointers: list[CData] = pointers_at(lengths, "int *")

    def address(self, ends: NDArray[np.uint64]) -> None:
        """Fill the first headers: per row name address and size, control address and size, buffer address."""
        count = len(ends)
        column = self.column
        for position, field in enumerate(("name", "namelen", "control", "controllen")):
            column[field][:count] = ends[:, position]
        self.iovec_column["base"][:count] = ends[:, 4]


class Endpoint:
    """Where datagrams go: a remote address and the local one to send from, at fixed places in memory."""

    __slots__ = ("_control", "_name", "control_address", "control_bytes", "name_address", "name_bytes")

    def __init__(self, family: int) -> None:
        self._name: CData = _ffi.new("unsigned char[]", NAME_BYTES)
        self._control: CData = _ffi.new("uint64_t[]", 5)
        self.name_address = int(_ffi.cast("uintptr_t", self._name))
        self.control_address = int(_ffi.cast("uintptr_t", self._control))
        self.name_bytes = 28 if family == socket.AF_INET6 else 16
        self.control_bytes = 0

    def point_to(self, name: bytes, control: bytes) -> None:
        """Send to the sockaddr `name` from now on, with `control` (see `reply_control`)."""
        _ffi.memmove(self._name, name, min(len(name), NAME_BYTES))
        _ffi.memmove(self._control, control, len(control))
        self.control_bytes = len(control)


class Receiver:
    """Takes up to `slots` datagrams at once out of a UDP socket, into memory that is used again and again."""

    def __init__(self, udp: socket.socket, slots: int = 64) -> None:
        self.slots = slots
        self._used = 0
        self._fd = udp.fileno()
        self._messages = Messages(slots)
        self._arena: CData = _ffi.new("unsigned char[]", slots * MTU_BYTES_MAX)
        self._names: CData = _ffi.new("unsigned char[]", slots * NAME_BYTES)
        self._controls: CData = _ffi.new("unsigned char[]", slots * CONTROL_BYTES)
        column = self._messages.column
        index = np.arange(slots, dtype=np.uint64)
        column["name"] = int(_ffi.cast("uintptr_t", self._names)) + NAME_BYTES * index
        column["control"] = int(_ffi.cast("uintptr_t", self._controls)) + CONTROL_BYTES * index
        column["namelen"] = NAME_BYTES
        column["controllen"] = CONTROL_BYTES
        arena = int(_ffi.cast("uintptr_t", self._arena))
        self._messages.iovec_column["base"] = arena + MTU_BYTES_MAX * index
        self._messages.lengths[:] = MTU_BYTES_MAX
        self._headers = self._messages.headers
        self._name_lengths = column["namelen"]
        self._control_lengths = column["controllen"]
        # What the port reads of a datagram: its bytes (`view`, `data`), its length (which libsrtp
        # may change through `length_pointers`), its source, its stamps.
        headers = int(_ffi.cast("uintptr_t", self._headers))
        self.packet_pointers: list[CData] = [
            pointer_at(arena + MTU_BYTES_MAX * slot, "unsigned char *") for slot in range(slots)
        ]
        self.length_pointers: list[CData] = [
            pointer_at(headers + 64 * slot + _LENGTH_OFFSET, "int *") for slot in range(slots)
        ]
        self.data: CData = _ffi.buffer(self._arena)
        self.view = memoryview(self.data).cast("B")
        self.names: CData = _ffi.buffer(self._names)
        self.controls: CData = _ffi.buffer(self._controls)
        # Per header 16 numbers of 32 bits: number 12 is the flags, number 14 the length.
        self.header_words: memoryview = memoryview(self._messages.buffer).cast("B").cast("I")

    def receive(self) -> int:
        """Take what is there, up to `slots` datagrams; return how many (0: nothing waits)."""
        # The kernel shortened these to what it wrote the last time.
        self._name_lengths[: self._used] = NAME_BYTES
        self._control_lengths[: self._used] = CONTROL_BYTES
        count = _libc.recvmmsg(self._fd, self._headers, self.slots, _MSG_DONTWAIT, _ffi.NULL)
        if count <= 0:
            # EAGAIN, EINTR, or an error of an earlier datagram that ICMP reported: nothing to read now.
            self._used = 0
            return 0
        self._used = int(count)
        return self._used

    def is_truncated(self, slot: int) -> bool:
        """Tell whether the datagram was longer than MTU_BYTES_MAX."""
        return bool(self.header_words[16 * slot + 12] & _MSG_TRUNC)

    def control(self, slot: int) -> bytes:
        """Return the control messages that came with the datagram."""
        length = int(self._control_lengths[slot])
        start = slot * CONTROL_BYTES
        return bytes(self.controls[start : start + length])

    def sources(self, count: int) -> list[bytes]:
        """Return the sockaddr of each of the first datagrams."""
        names = self.names
        return [bytes(names[at : at + NAME_BYTES]) for at in range(0, count * NAME_BYTES, NAME_BYTES)]

    def stamp(self, slot: int) -> float:
        """Return the kernel's receive time, in seconds of the system clock; 0.0 when there is none."""
        _, level, kind, seconds, nanoseconds, _, _, _ = _STAMP.unpack_from(
            self.controls, slot * CONTROL_BYTES
        )
        if level != socket.SOL_SOCKET or kind != _SO_TIMESTAMPNS:
            return 0.0
        return float(seconds + nanoseconds * 1e-9)


class Sender:
    """Hands datagrams to a UDP socket, and says what became of each."""

    def __init__(self, udp: socket.socket) -> None:
        self._fd = udp.fileno()
        self._messages = Messages(1)
        self._message = _ffi.addressof(self._messages.headers[0], "msg_hdr")
        self._endpoint = Endpoint(udp.family)
        self._words = memoryview(self._messages.buffer).cast("B").cast("Q")
        self._iovec = memoryview(_ffi.buffer(self._messages.iovecs)).cast("B").cast("Q")
        self._words[0] = self._endpoint.name_address
        self._words[1] = self._endpoint.name_bytes
        self._words[4] = self._endpoint.control_address
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)

    def send(self, data: CData | bytes, name: bytes, control: bytes) -> int:
        """Send one datagram to a sockaddr; return 0 or the error number. `data` is bytes or a cffi buffer."""
        endpoint = self._endpoint
        endpoint.point_to(name, control)
        memory = _ffi.from_buffer(data)
        self._words[5] = endpoint.control_bytes
        self._iovec[0] = int(_ffi.cast("uintptr_t", memory))
        self._iovec[1] = len(memory)
        if _libc.sendmsg(self._fd, self._message, _MSG_DONTWAIT) >= 0:
            return 0
        return int(_ffi.errno)

    def send_many(self, headers: CData, start: int, stop: int, errors: dict[int, int]) -> int:
        """Send headers[start:stop]; return how many went out, and count the others by error number."""
        sent = 0
        has_waited = False
        while start < stop:
            count = _libc.sendmmsg(self._fd, headers + start, stop - start, _MSG_DONTWAIT)
            if count > 0:
                start += count
                sent += count
                continue
            error = _ffi.errno
            if error == errno.EINTR:
                continue
            if error == errno.EAGAIN:
                if not has_waited:
                    has_waited = True
                    self._poll.poll(SEND_WAIT_MS)
                    continue
                errors[error] = errors.get(error, 0) + stop - start
                break
            # This one datagram cannot be sent; the others may.
            errors[error] = errors.get(error, 0) + 1
            start += 1
        return sent


def new_arena(rows: int, stride_bytes: int) -> tuple[CData, NDArray[np.uint8], Sequence[CData]]:
    """Return memory for `rows` packets: itself, as a numpy matrix, and a pointer to each row."""
    arena: CData = _ffi.new("uint64_t[]", rows * stride_bytes // 8)
    matrix: NDArray[np.uint8] = np.frombuffer(_ffi.buffer(arena), dtype=np.uint8).reshape(rows, stride_bytes)
    base = int(_ffi.cast("uintptr_t", arena))
    return arena, matrix, [pointer_at(base + stride_bytes * row, "unsigned char *") for row in range(rows)]


def address_of(pointer: CData) -> int:
    """Return where a cffi pointer points."""
    return int(_ffi.cast("uintptr_t", pointer))


def bytes_at(pointer: CData, length: int) -> bytes:
    """Copy `length` bytes out of memory."""
    return bytes(_ffi.buffer(pointer, length))
