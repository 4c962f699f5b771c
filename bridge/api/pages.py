"""The client's files over HTTP, looked up in a table made at start: no path of a request reaches the disk.

A page is a folder with an index.html, and its address ends with the slash that its relative links need.
"""

from pathlib import Path

from aiohttp import web

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
# Where the room and the library were before each page had its folder, as links on paper say. Browsers carry
# the fragment, in which an invitation travels, over a redirect.
_MOVED = {"/": "/room/", "/index.html": "/room/", "/archive.html": "/library/"}
# What lies beside the pages for developers, at any depth.
_NOT_SERVED = frozenset({"node_modules", "tests", "package.json", "package-lock.json", "tsconfig.json"})


class Pages:
    """Serves the files of one directory as they were found when the server started."""

    def __init__(self, directory: Path) -> None:
        self._files = {f"/{path.relative_to(directory).as_posix()}": path for path in _served(directory)}
        pages = {
            path.removesuffix("index.html"): file
            for path, file in self._files.items()
            if path.endswith("/index.html")
        }
        self._files |= pages
        self._redirects = {page.rstrip("/"): page for page in pages if page != "/"} | _MOVED

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = f"/{request.match_info['path']}"
        if asked in self._redirects:
            raise web.HTTPPermanentRedirect(self._redirects[asked], headers={"Cache-Control": "no-cache"})
        path = self._files.get(asked)
        if path is None or not path.is_file():
            raise web.HTTPNotFound(text="not found\n")
        # Asked for again each time, answered by 304 when unchanged: an upgraded server never meets an
        # old page.
        headers = {"Cache-Control": "no-cache", "Content-Type": _CONTENT_TYPES[path.suffix]}
        return web.FileResponse(path, headers=headers)


def _served(directory: Path) -> list[Path]:
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.suffix in _CONTENT_TYPES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and _NOT_SERVED.isdisjoint(path.relative_to(directory).parts)
    ]
