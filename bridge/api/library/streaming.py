"""Stored files over HTTP: read by threads in small pieces, in parts, paced so that media go first.

A body is a list of segments, because a whole package is a tar archive that exists nowhere but on its way out.
aiohttp's FileResponse is not used: it takes any If-Range with a tag for fulfilled, and answers 416 where a
range may only be ignored.
"""

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final

from aiohttp import ETag, web

from bridge.api.library.ranges import ByteRange, Unsatisfiable, byte_range, content_range, may_continue
from bridge.base.errors import Refused

CHUNK_BYTES: Final = 128 * 1024
# All transfers together. A gigabit network carries about 110 MB/s, and media need their share of it.
PACE_BYTES_PER_S: Final = 50_000_000
TRANSFERS_MAX: Final = 100
# Of those, with one link or key: a browser opens six connections, and several people may have the archive's.
TRANSFERS_PER_HOLDER_MAX: Final = 12
# A paused player stops reading; it asks again for the rest when its connection has gone.
STALLED_S: Final = 120.0
# A download may take hours; its patient may withdraw consent meanwhile.
ASKED_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FileSegment:
    """A whole file as a part of a body."""

    path: Path
    size_bytes: int


Segment = bytes | FileSegment


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes something: the id of its link or key, and whether that was made worthless meanwhile.

    `is_withheld` tells whether what is taken may be taken no longer; it may wait for the disk, and is called
    in a thread.
    """

    id: str
    is_revoked: Callable[[], bool]
    is_withheld: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: its segments one after the other, and what tells it from an older one."""

    segments: tuple[Segment, ...]
    etag: str
    modified_s: float

    @property
    def size_bytes(self) -> int:
        return sum(_size_bytes(segment) for segment in self.segments)

    def cut(self, wanted: ByteRange) -> Iterator[tuple[Segment, ByteRange]]:
        """Yield the segments that hold the range, each with the stretch of it that belongs to the range."""
        start, end = wanted.start, wanted.start + wanted.length
        for segment in self.segments:
            size_bytes = _size_bytes(segment)
            if start < size_bytes and end > 0:
                first = max(start, 0)
                yield segment, ByteRange(first, min(end, size_bytes) - first)
            start -= size_bytes
            end -= size_bytes


def _size_bytes(segment: Segment) -> int:
    return len(segment) if isinstance(segment, bytes) else segment.size_bytes


def file_body(path: Path) -> Body:
    """Return the body that is one file; reads the disk, raises FileNotFoundError."""
    status = path.stat()
    tag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return Body((FileSegment(path, status.st_size),), tag, status.st_mtime)


def tag_of(parts: Iterator[bytes]) -> str:
    """Return an entity tag for a body that is described by these bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]


class Pace:
    """Tells each piece when it may go, so that all together keep within a rate."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def delay_s(self, size_bytes: int, now: float) -> float:
        """Book the next piece; return how long it has to wait."""
        start = max(self._free_at, now)
        self._free_at = start + size_bytes / self._bytes_per_s
        return start - now


class Transfers:
    """Answers requests with bodies."""

    def __init__(
        self,
        *,
        pace_bytes_per_s: int = PACE_BYTES_PER_S,
        transfers_max: int = TRANSFERS_MAX,
        per_holder_max: int = TRANSFERS_PER_HOLDER_MAX,
        stalled_s: float = STALLED_S,
    ) -> None:
        self._pace = Pace(pace_bytes_per_s)
        self._transfers_max = transfers_max
        self._stalled_s = stalled_s
        self._per_holder_max = per_holder_max
        # By the ids of the links they were opened with.
        self._running: Counter[str] = Counter()

    async def answer(
        self,
        request: web.Request,
        body: Body,
        *,
        holder: Holder,
        content_type: str,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        """Send the body, or what is asked of it, under its preconditions (RFC 9110, 13.2.2)."""
        response = web.StreamResponse(headers=headers)
        response.etag = body.etag
        response.last_modified = int(body.modified_s)
        response.headers["Accept-Ranges"] = "bytes"
        status = _precondition(request, body)
        if status is not None:
            return _without_body(response, status)
        try:
            wanted = _wanted(request, body)
        except Unsatisfiable:
            response.headers["Content-Range"] = f"bytes */{body.size_bytes}"
            return _without_body(response, 416)
        if wanted is None:
            wanted = ByteRange(0, body.size_bytes)
        else:
            response.set_status(206)
            response.headers["Content-Range"] = content_range(wanted, body.size_bytes)
        response.content_type = content_type
        response.content_length = wanted.length
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        return await self._transfer(request, response, body, wanted, holder)

    async def _transfer(
        self,
        request: web.Request,
        response: web.StreamResponse,
        body: Body,
        wanted: ByteRange,
        holder: Holder,
    ) -> web.StreamResponse:
        if self._running.total() >= self._transfers_max or self._running[holder.id] >= self._per_holder_max:
            raise Refused("busy", f"{self._running[holder.id]} transfers of this link are running")
        self._running[holder.id] += 1
        try:
            await response.prepare(request)
            await self._send(response, body, wanted, holder)
            await response.write_eof()
        except OSError:
            # The client has gone, stopped reading or may read no more, or the file is not what it was. It is
            # the connection that must end: anything else would pass for the whole.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._running[holder.id] -= 1
            if not self._running[holder.id]:
                del self._running[holder.id]
        return response

    async def _send(
        self, response: web.StreamResponse, body: Body, wanted: ByteRange, holder: Holder
    ) -> None:
        permission = _Permission(holder)
        for segment, stretch in body.cut(wanted):
            await permission.check()
            if isinstance(segment, bytes):
                await response.write(segment[stretch.start : stretch.start + stretch.length])
            else:
                await self._send_file(response, segment.path, stretch, permission)

    async def _send_file(
        self, response: web.StreamResponse, path: Path, stretch: ByteRange, permission: "_Permission"
    ) -> None:
        file = await asyncio.to_thread(path.open, "rb", buffering=0)
        with file:
            position, end = stretch.start, stretch.start + stretch.length
            while position < end:
                length = min(CHUNK_BYTES, end - position)
                delay_s = self._pace.delay_s(length, time.monotonic())
                if delay_s > 0:
                    await asyncio.sleep(delay_s)
                piece = await asyncio.to_thread(os.pread, file.fileno(), length, position)
                if not piece:
                    raise OSError(f"{path.name} has become shorter")
                await permission.check()
                async with asyncio.timeout(self._stalled_s):
                    await response.write(piece)
                position += len(piece)


class _Permission:
    """Whether one transfer may go on."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        # Whoever let it begin has just asked.
        self._ask_at = time.monotonic() + ASKED_EVERY_S

    async def check(self) -> None:
        """Raise PermissionError when the next piece may not go any more."""
        if self._holder.is_revoked():
            raise PermissionError("the link was revoked meanwhile")
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + ASKED_EVERY_S
            if await asyncio.to_thread(self._holder.is_withheld):
                raise PermissionError("the package is held back, or gone")


def _precondition(request: web.Request, body: Body) -> int | None:
    """Return the status that ends the request at once: 412 or 304."""
    if request.if_match is not None and not _names(request.if_match, body):
        return 412
    if request.if_none_match is not None:
        return 304 if _names(request.if_none_match, body) else None
    since = request.if_modified_since
    return 304 if since is not None and int(body.modified_s) <= since.timestamp() else None


def _names(tags: tuple[ETag, ...], body: Body) -> bool:
    return any(tag.value in ("*", body.etag) for tag in tags)


def _wanted(request: web.Request, body: Body) -> ByteRange | None:
    """Return the range to be sent, None for everything; raises Unsatisfiable."""
    last_modified = formatdate(int(body.modified_s), usegmt=True)
    etag = f'"{body.etag}"'
    if not may_continue(request.headers.get("If-Range"), etag=etag, last_modified=last_modified):
        return None
    return byte_range(request.headers.get("Range"), body.size_bytes)


def _without_body(response: web.StreamResponse, status: int) -> web.Response:
    return web.Response(status=status, headers=response.headers)
