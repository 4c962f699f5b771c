"""The client's files over HTTP, looked up in a table made at start: no path of a request reaches the disk."""

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
# What lies in the same directory for developers.
_NOT_SERVED = frozenset({"node_modules", "tests", "package.json", "package-lock.json", "tsconfig.json"})


class Pages:
    """Serves the files of one directory as they were found when the server started."""

    def __init__(self, directory: Path) -> None:
        self._files = {f"/{path.relative_to(directory).as_posix()}": path for path in _served(directory)}
        self._files["/"] = directory / "index.html"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = self._files.get(f"/{request.match_info['path']}")
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
        and path.relative_to(directory).parts[0] not in _NOT_SERVED
    ]
