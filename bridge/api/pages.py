"""The client's files over HTTP, read once at start: no path of a request reaches the disk.

A page is a folder with an index.html, and its address ends with the slash that its relative links need.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

# What a browser needs to be told; independent of the machine's own tables.
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}
# What gets shorter by compression; pictures, fonts and sounds have theirs.
_COMPRESSED = frozenset({".html", ".css", ".js", ".mjs", ".json", ".webmanifest", ".svg", ".txt"})
# By its name, and not refused (RFC 9110, 12.5.3).
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
# Where the room and the library were before each page had its folder, as links on paper say. Browsers carry
# the fragment, in which an invitation travels, over a redirect.
_MOVED = {"/": "/room/", "/index.html": "/room/", "/archive.html": "/library/"}
# What lies beside the pages for developers, at any depth.
_NOT_SERVED = frozenset({"node_modules", "tests", "package.json", "package-lock.json", "tsconfig.json"})


@dataclass(frozen=True, slots=True)
class _File:
    """What is sent of one file; `compressed` by gzip, for those who take it."""

    content_type: str
    body: bytes
    compressed: bytes | None
    digest: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        body = path.read_bytes()
        return cls(
            content_type=_CONTENT_TYPES[path.suffix],
            body=body,
            compressed=gzip.compress(body, mtime=0) if path.suffix in _COMPRESSED else None,
            digest=hashlib.sha256(body).hexdigest()[:32],
        )

    def answer(self, request: web.Request) -> web.Response:
        # Asked for again each time, answered by 304 when unchanged: an upgraded server never meets an
        # old page.
        headers = {
            hdrs.CACHE_CONTROL: "no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            # Weak: the same for both forms (RFC 9110, 8.8.1).
            hdrs.ETAG: f'W/"{self.digest}"',
        }
        if any(known.value in (self.digest, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        headers[hdrs.CONTENT_TYPE] = self.content_type
        body = self.body
        if self.compressed is not None and _GZIP.search(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            body = self.compressed
        return web.Response(body=body, headers=headers)


class Pages:
    """Serves the files of one directory as they were found when the server started."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            f"/{path.relative_to(directory).as_posix()}": _File.read(path) for path in _served(directory)
        }
        pages = {
            path.removesuffix("index.html"): file
            for path, file in self._files.items()
            if path.endswith("/index.html")
        }
        self._files |= pages
        self._redirects = {page.rstrip("/"): page for page in pages if page != "/"} | _MOVED

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        asked = f"/{request.match_info['path']}"
        if asked in self._redirects:
            raise web.HTTPPermanentRedirect(self._redirects[asked], headers={"Cache-Control": "no-cache"})
        file = self._files.get(asked)
        if file is None:
            raise web.HTTPNotFound(text="not found\n")
        return file.answer(request)


def _served(directory: Path) -> list[Path]:
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.suffix in _CONTENT_TYPES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and _NOT_SERVED.isdisjoint(path.relative_to(directory).parts)
    ]
