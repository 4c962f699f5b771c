"""How far a segment on the disk is whole (RFC 9559): its head, its clusters, the torn end of the last one.

Read by `pread`, and of the clusters only what tells where the next one begins: a read that fails is an error,
while under mapped memory it would end the process. Damaged bytes end nothing: what follows them is looked
for, because only the end of a file is what a crash has torn.
"""

import errno
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from bridge.capture.elements import (
    CLUSTER,
    DURATION_BYTES,
    EBML,
    INFO,
    SEGMENT,
    SIMPLE_BLOCK,
    SIZE_BYTES,
    TIMESTAMP,
    TRACK_1,
    TRACKS,
    UNKNOWN_SIZE,
    Layout,
    known_size,
)

# What is read at once: headers are a few bytes, the pages around them come from the disk anyway.
WINDOW_BYTES = 4096
SEARCH_BYTES = 1 << 16
UNREADABLE_PAGES_MAX = 16
# Shorter than any head with a cluster behind it.
HEAD_BYTES_MAX = 256
# What a disk, or a file system that keeps checksums, says of a sector that it cannot give back.
UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA)
_BLOCK = Struct(">BhB")
_CLUSTER_ID = CLUSTER.to_bytes(4, "big")
_NUMBER_BYTES_MAX = 8


class FileBytes:
    """A file's bytes by their place; what cannot be read counts as zeros, and is remembered."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size
        self._unreadable_pages = 0
        self._start = 0
        self._window = b""

    @property
    def is_unreadable(self) -> bool:
        """Whether something of it could not be read."""
        return self._unreadable_pages > 0

    def take(self, position: int, count: int) -> bytes:
        """Return `count` bytes from `position` on, or fewer at the end of the file; raises OSError."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._window):
            self._start, offset = position, 0
            self._window = self._read(position, max(count, WINDOW_BYTES))
        return self._window[offset : offset + count]

    def _read(self, position: int, count: int) -> bytes:
        data = b""
        while len(data) < count and position + len(data) < self.size_bytes:
            try:
                more = os.pread(self._descriptor, count - len(data), position + len(data))
            except OSError as error:
                # Each may have taken the disk seconds.
                if error.errno not in UNREADABLE or self._unreadable_pages == UNREADABLE_PAGES_MAX:
                    raise
                self._unreadable_pages += 1
                more = bytes(WINDOW_BYTES - (position + len(data)) % WINDOW_BYTES)
            if not more:
                break
            data += more
        return data[:count]


@dataclass(frozen=True, slots=True)
class TornCluster:
    """The last cluster of a file, cut off: where its size stands, where its whole blocks begin and end."""

    size_at: int
    size_bytes: int
    start: int
    end: int


class Scan:
    """What is whole of a segment; raises OSError for what has nothing to do with a single sector."""

    def __init__(self, data: FileBytes) -> None:
        self._data = data
        self._end = data.size_bytes
        self.layout: Layout | None = None
        # Whether the segment was ended in order, its size and duration filled in.
        self.is_finished = False
        # Where what is whole ends: behind the last cluster that is not cut off.
        self.whole_bytes = 0
        # Times of the last two frames.
        self.newest_ms: int | None = None
        self.second_newest_ms: int | None = None
        # Whether it was torn before anything followed its head.
        self.is_head_only = False
        # Whether the last cluster is cut off, and the whole frames in it, as far as there are any.
        self.is_torn = False
        self.torn: TornCluster | None = None
        # Bytes between clusters that are none: the times of the frame before and of the cluster after.
        self.holes: list[tuple[int, int]] = []
        self._read_head()

    def read_clusters(self) -> None:
        """Find the clusters, and the times of the last frames; those behind a damaged head as well."""
        last: deque[tuple[int, int]] = deque(maxlen=2)
        position = self.layout.head_bytes if self.layout is not None else 0
        for start, payload, end in self._clusters(position):
            if start != position:
                self._read_frames(last)
                after_ms = self._time_of(payload)
                self.holes.append((after_ms if self.newest_ms is None else self.newest_ms, after_ms))
            last.append((payload, end))
            position = self.whole_bytes = end
        self._read_frames(last)
        self._read_torn(position)

    def _read_head(self) -> None:
        self.is_head_only = self._end < HEAD_BYTES_MAX
        ebml = self._header(0)
        if ebml is None or ebml[0] != EBML or ebml[1] + ebml[2] > self._end:
            return
        segment = self._header(ebml[1] + ebml[2])
        if segment is None or segment[0] != SEGMENT:
            return
        position = start = segment[1]
        duration_at = 0
        while (element := self._header(position)) is not None and element[0] in (INFO, TRACKS):
            kind, payload, size = element
            position = payload + size
            if position > self._end:
                return
            if kind == INFO:
                duration_at = position - DURATION_BYTES
            elif duration_at:
                self.layout = Layout(start - SIZE_BYTES, duration_at, position)
                self.whole_bytes = position
                self.is_head_only = position == self._end
                declared = self._data.take(start - SIZE_BYTES, SIZE_BYTES)
                self.is_finished = declared == known_size(self._end - start)
                return

    def _clusters(self, position: int) -> Iterator[tuple[int, int, int]]:
        """Yield where each whole cluster, its payload and what follows it begin."""
        while position < self._end:
            element = self._header(position)
            if element is not None and self._is_whole_cluster(element):
                start, payload, end = position, element[1], element[1] + element[2]
            elif (found := self._find_cluster(position + 1)) is not None:
                start, payload, end = found
            else:
                return
            yield start, payload, end
            position = end

    def _is_whole_cluster(self, element: tuple[int, int, int]) -> bool:
        kind, payload, size = element
        return kind == CLUSTER and size > 0 and payload + size <= self._end

    def _find_cluster(self, position: int) -> tuple[int, int, int] | None:
        """Return the next whole cluster from `position` on."""
        while position < self._end:
            # The id of one may lie across two pieces.
            piece = self._data.take(position, SEARCH_BYTES)
            at = piece.find(_CLUSTER_ID)
            if at < 0:
                position += max(len(piece) - len(_CLUSTER_ID) + 1, 1)
                continue
            position += at
            element = self._header(position)
            if element is not None and self._is_whole_cluster(element) and self._begins(element[1]):
                return position, element[1], element[1] + element[2]
            position += 1
        return None

    def _begins(self, payload: int) -> bool:
        """Whether a cluster's payload begins as ours do: with its time, and a block of the only track."""
        time = self._header(payload)
        if time is None or time[0] != TIMESTAMP or not 0 < time[2] <= SIZE_BYTES:
            return False
        block = self._header(time[1] + time[2])
        return (
            block is not None
            and block[0] == SIMPLE_BLOCK
            and self._data.take(block[1], 1) == bytes((TRACK_1,))
        )

    def _time_of(self, payload: int) -> int:
        time = self._header(payload)
        if time is None or time[0] != TIMESTAMP or time[2] > SIZE_BYTES:
            return self.newest_ms or 0
        return int.from_bytes(self._data.take(time[1], time[2]), "big")

    def _read_frames(self, clusters: deque[tuple[int, int]]) -> None:
        self.newest_ms = self.second_newest_ms = None
        for payload, end in clusters:
            self._read_blocks(payload, end)

    def _read_torn(self, position: int) -> None:
        element = self._header(position)
        if element is None or element[0] != CLUSTER:
            return
        self.is_torn = True
        start = element[1]
        end = self._read_blocks(start, self._end)
        if end:
            self.torn = TornCluster(
                position + len(_CLUSTER_ID), start - position - len(_CLUSTER_ID), start, end
            )

    def _read_blocks(self, position: int, end: int) -> int:
        """Take in the whole blocks of a cluster; return where the last one ends, 0 without any."""
        base_ms = whole_to = 0
        while (element := self._header(position)) is not None:
            kind, start, size = element
            position = start + size
            if position > end or kind not in (TIMESTAMP, SIMPLE_BLOCK):
                break
            if kind == TIMESTAMP:
                base_ms = int.from_bytes(self._data.take(start, min(size, SIZE_BYTES)), "big")
            elif size > _BLOCK.size:
                _, relative_ms, _ = _BLOCK.unpack(self._data.take(start, _BLOCK.size))
                self.second_newest_ms, self.newest_ms = self.newest_ms, base_ms + relative_ms
                whole_to = position
        return whole_to

    def _header(self, position: int) -> tuple[int, int, int] | None:
        """Return id, start and size of the element at `position`; an unknown size counts as 0."""
        kind = self._number(position, 4, keeps_marker=True)
        if kind is None:
            return None
        size = self._number(kind[1], _NUMBER_BYTES_MAX, keeps_marker=False)
        if size is None:
            return None
        is_unknown = self._data.take(kind[1], size[1] - kind[1]) == UNKNOWN_SIZE
        return kind[0], size[1], 0 if is_unknown else size[0]

    def _number(self, position: int, bytes_max: int, *, keeps_marker: bool) -> tuple[int, int] | None:
        data = self._data.take(position, bytes_max) if position < self._end else b""
        length = 9 - data[0].bit_length() if data else 0
        if not 0 < length <= min(bytes_max, len(data)):
            return None
        value = int.from_bytes(data[:length], "big")
        return value if keeps_marker else value & ~(1 << 7 * length), position + length
