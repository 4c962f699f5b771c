"""The library of recordings over HTTP: find, watch and take packages, try them again, put them on hold.

docs/archive-api.md says what goes over the wire. Every access is a line of the catalogue's audit before the
first byte is sent. Catalogue and packages are on a disk that may be slow: all of it happens in threads.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from aiohttp import web

from bridge.api.admission import Admission
from bridge.api.clients import client_of
from bridge.api.connections import held
from bridge.api.library import package as archive_package
from bridge.api.library.query import page_json, search_of
from bridge.api.library.ranges import Unsatisfiable, byte_range
from bridge.api.library.session import LibrarySessions
from bridge.api.library.streaming import Body, Holder, Transfers, file_body
from bridge.api.library.tar import tar_body
from bridge.api.library.visits import Visits
from bridge.api.problems import Handler, answering_problems
from bridge.base import schema
from bridge.base.errors import ArchiveFailed, InvalidMessage, Refused
from bridge.base.schema import Characters
from bridge.base.words import ArchiveScope, ConsentState, PackageState
from bridge.store.audit import Action, network_of
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry, Search
from bridge.tokens import Claims

logger = logging.getLogger(__name__)

T = TypeVar("T")

BASE: Final = "/api/archive"
NO_STORE: Final = {"Cache-Control": "no-store"}
# The second is for nginx, which would else read ahead and keep a gigabyte of a patient's recording in a file.
MEDIA_HEADERS: Final = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no"}
UNFINISHED: Final = (PackageState.ONGOING, PackageState.RECORDING)
MOVING: Final = (
    *UNFINISHED,
    PackageState.QUEUED,
    PackageState.REPAIRING,
    PackageState.COMPOSING,
    PackageState.SEALING,
    PackageState.DELIVERING,
)
MOVING_MAX: Final = 200
AUDIT_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """The body that opens a session, or renews the cookie's without an invitation."""

    invitation: Annotated[str, Characters(1, 4096)] | None = None


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """The body that puts a package on legal hold or takes it off."""

    hold: bool
    reason: Annotated[str, Characters(3, 300)]


@dataclass(frozen=True, slots=True)
class WithdrawalRequest:
    """The body that says that the patient of a package has withdrawn consent."""

    reason: Annotated[str, Characters(3, 300)]


@dataclass(frozen=True, slots=True)
class Access:
    """Somebody who asks for something of a package that it may see."""

    request: web.Request
    claims: Claims
    entry: PackageEntry


@dataclass(frozen=True, slots=True)
class Sending:
    """What of a package is sent, under which type, name (if it is to be kept) and word of the audit."""

    content_type: str
    action: Action
    detail: Mapping[str, Any]
    saved_as: str | None = None


class ArchiveApi:
    """The library of one archive, whose sealed packages lie in `packages`.

    `retry` asks for another attempt at a failed package, `check` for a comparison of a sealed one with its
    checksums; they may wait for the disk and are called in a thread.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        packages: Path,
        sessions: LibrarySessions,
        *,
        admission: Admission,
        retry: Callable[[str], object],
        check: Callable[[str], object],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        # Passed by argument.
        self._catalogue = catalogue
        self._packages = packages
        self._sessions = sessions
        self._admission = admission
        self._retry_package = retry
        self._check_package = check
        self._wall_clock = wall_clock
        # Allocated by this.
        self._transfers = Transfers()
        self._visits = Visits(wall_clock)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        package = f"{BASE}/packages/{{package}}"
        admitted = self._admission.limiting(self._open_session)
        router.add_post(f"{BASE}/session", _answering(admitted))
        router.add_delete(f"{BASE}/session", _answering(self._end_session))
        router.add_get(f"{BASE}/packages", _answering(self._list))
        router.add_get(f"{BASE}/progress", _answering(self._progress))
        router.add_get(package, _answering(self._show))
        router.add_get(f"{package}/gaps", _answering(self._gaps))
        router.add_get(f"{package}/download", _answering(self._download))
        router.add_get(f"{package}/{{series:parts|content}}/{{number}}", _answering(self._part))
        router.add_get(f"{package}/files/{{name}}", _answering(self._file))
        router.add_post(f"{package}/retry", _answering(self._retry))
        router.add_post(f"{package}/check", _answering(self._check))
        router.add_post(f"{package}/hold", _answering(self._hold))
        router.add_post(f"{package}/withdrawal", _answering(self._withdraw))
        # Before the pages, so that a wrong address is told as a problem and not as a missing page.
        router.add_route("*", f"{BASE}/{{rest:.*}}", _answering(self._unknown))

    async def _unknown(self, request: web.Request) -> web.Response:
        raise Refused("unknown-recording", "there is nothing at this address")

    async def _open_session(self, request: web.Request) -> web.Response:
        self._sessions.check_origin(request)
        body = schema.read(SessionRequest, schema.read_json(await _text(request)))
        if body.invitation is None:
            claims = self._sessions.renew(request)
        else:
            claims = self._sessions.admit(body.invitation)
        is_bound = claims.scope is not ArchiveScope.ALL
        answer = {
            "scope": ArchiveScope.ROOM if is_bound else ArchiveScope.ALL,
            "room": {"id": claims.room, "title": claims.title} if is_bound else None,
            "site": claims.site,
            "role": claims.role,
            "name": claims.name,
            "expires_s": self._sessions.lifetime_s(claims),
        }
        response = web.json_response(answer, headers=NO_STORE)
        self._sessions.remember(response, claims)
        return response

    async def _end_session(self, request: web.Request) -> web.Response:
        self._sessions.check_origin(request)
        response = web.Response(status=204, headers=NO_STORE)
        self._sessions.forget(response)
        return response

    async def _list(self, request: web.Request) -> web.Response:
        claims = self._sessions.claims(request)
        search = search_of(request.query, rooms=_rooms(claims))
        await self._note(request, claims, Action.LIST, is_repeatable=True)
        page = await self._read(lambda: self._catalogue.search(search))
        return web.json_response(page_json(page, search), headers=NO_STORE)

    async def _progress(self, request: web.Request) -> web.Response:
        """Tell what moves now. Asked every few seconds, and no more than the list: it is not in the audit."""
        claims = self._sessions.claims(request)
        rooms = _rooms(claims)
        moving = Search(states=MOVING, rooms=rooms, limit=MOVING_MAX)
        page = await self._read(lambda: self._catalogue.search(moving))
        # What was made between two questions is noticed by its number.
        everything = await self._read(lambda: self._catalogue.search(Search(rooms=rooms, limit=0)))
        packages = [archive_package.summary(entry) for entry in page.packages]
        return web.json_response({"packages": packages, "total": everything.total}, headers=NO_STORE)

    async def _show(self, request: web.Request) -> web.Response:
        access = await self._access(request)
        await self._note_of(access, Action.VIEW, is_repeatable=True)
        return await self._shown(access)

    async def _shown(self, access: Access) -> web.Response:
        # As text already, because its lists may be long, and media wait meanwhile.
        text = await self._read(lambda: json.dumps(self._detail(access.claims, access.entry.id)))
        return web.json_response(text=text, headers=NO_STORE)

    async def _gaps(self, request: web.Request) -> web.Response:
        """More of what is missing than is shown with the package."""
        access = await self._sealed(request)
        offset = _offset(request.query.get("offset", "0"))
        folder = self._packages / access.entry.id
        text = await self._read(lambda: json.dumps(archive_package.gaps(folder, offset)))
        return web.json_response(text=text, headers=NO_STORE)

    def _detail(self, claims: Claims, package: str) -> dict[str, Any]:
        entry = self._catalogue.package(package)
        if entry is None:
            raise Refused("unknown-recording", "the package is gone")
        deliveries = self._catalogue.deliveries(package)
        folder = self._packages / package if _may_open(claims, entry) else None
        shown = archive_package.detail(entry, folder, deliveries)
        if claims.scope is ArchiveScope.ALL:
            lines = self._catalogue.audit.entries(package=package, limit=AUDIT_SHOWN)
            shown["audit"] = [archive_package.audit_line(line) for line in lines]
        return shown

    async def _part(self, request: web.Request) -> web.StreamResponse:
        """A part of a video: to be played, or as a file to be kept with `?save`."""
        access = await self._sealed(request)
        series = "video" if request.match_info["series"] == "parts" else "content"
        number = _part_number(request.match_info["number"])
        is_saved = "save" in request.query
        sending = Sending(
            "video/mp4",
            Action.EXPORT if is_saved else Action.PLAY,
            {"series": series, "part": number},
            f"{access.entry.id}-{series}-{number:03d}.mp4" if is_saved else None,
        )
        path = self._packages / access.entry.id / archive_package.part_place(series, number)
        return await self._send(access, await self._read(lambda: file_body(path)), sending)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        access = await self._sealed(request)
        name = request.match_info["name"]
        file = archive_package.FILES.get(name)
        if file is None:
            raise Refused("unknown-recording", "there is no such file")
        path = self._packages / access.entry.id / file.place
        sending = Sending(
            file.content_type,
            Action.EXPORT if file.is_attachment else Action.VIEW,
            {"file": name},
            f"{access.entry.id}-{name}{path.suffix}" if file.is_attachment else None,
        )
        return await self._send(access, await self._read(lambda: file_body(path)), sending)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """The whole package as one archive."""
        access = await self._sealed(request)
        body = await self._read(lambda: tar_body(self._packages / access.entry.id))
        sending = Sending(
            "application/x-tar", Action.DOWNLOAD, {"bytes": body.size_bytes}, f"{access.entry.id}.tar"
        )
        return await self._send(access, body, sending)

    async def _send(self, access: Access, body: Body, sending: Sending) -> web.StreamResponse:
        # A player asks for the same part again and again; what is taken away is told each time it begins.
        is_repeatable = sending.saved_as is None or _is_continued(access.request, body)
        await self._note_of(access, sending.action, detail=sending.detail, is_repeatable=is_repeatable)
        headers = dict(MEDIA_HEADERS)
        if sending.saved_as is not None:
            # Names of packages are letters, digits and hyphens: nothing to quote.
            headers["Content-Disposition"] = f'attachment; filename="{sending.saved_as}"'
        holder = Holder(
            access.claims.id,
            lambda: self._sessions.is_revoked(access.claims),
            lambda: self._is_withheld(access.claims, access.entry.id),
        )
        with held(access.request):
            return await self._transfers.answer(
                access.request,
                body,
                holder=holder,
                content_type=sending.content_type,
                headers=headers,
            )

    def _is_withheld(self, claims: Claims, package: str) -> bool:
        """Whether a package has come to be held back while it is sent, or was deleted."""
        try:
            entry = self._catalogue.package(package)
        except ArchiveFailed as error:
            logger.error("the archive cannot be read: %s", error)
            # Nobody knows. Who takes it may go on with it when the catalogue is back.
            return True
        return entry is None or entry.deleted_ms is not None or not _may_open(claims, entry)

    async def _retry(self, request: web.Request) -> web.Response:
        """Try a failed package again; one that has not failed goes on as it does."""
        self._sessions.check_origin(request)
        access = await self._access(request)
        entry = access.entry
        if entry.error_code is not None:
            await self._note_of(access, Action.RETRY, detail={"error": entry.error_code})
            await self._read(lambda: self._retry_package(entry.id))
        return await self._shown(access)

    async def _check(self, request: web.Request) -> web.Response:
        """Have a sealed package compared with its checksums; `checked_ms` tells when that is done."""
        self._sessions.check_origin(request)
        access = await self._access(request)
        if access.entry.seal is None:
            raise Refused("not-ready", "the package is not sealed yet")
        await self._note_of(access, Action.CHECK)
        await self._read(lambda: self._check_package(access.entry.id))
        return await self._shown(access)

    async def _hold(self, request: web.Request) -> web.Response:
        """Put a package on legal hold: who leads its room may do so, but only the archive takes it off."""
        self._sessions.check_origin(request)
        access = await self._access(request)
        body = schema.read(HoldRequest, schema.read_json(await _text(request)))
        if not body.hold and access.claims.scope is not ArchiveScope.ALL:
            raise Refused("not-permitted", "a legal hold is taken off by the archive")
        action = Action.HOLD if body.hold else Action.RELEASE
        await self._note_of(access, action, detail={"reason": body.reason})
        await self._read(lambda: self._catalogue.set_legal_hold(access.entry.id, body.hold))
        return await self._shown(access)

    async def _withdraw(self, request: web.Request) -> web.Response:
        """Hold a package back: who sees it may say that consent is withdrawn, the archive decides then."""
        self._sessions.check_origin(request)
        access = await self._access(request)
        body = schema.read(WithdrawalRequest, schema.read_json(await _text(request)))
        entry = access.entry
        if entry.case is None:
            raise Refused("no-consent", "the package belongs to no case")
        if entry.state in UNFINISHED:
            raise Refused("not-ready", "the case goes on: it is stated in the room")
        await self._note_of(access, Action.WITHDRAW, detail={"reason": body.reason})
        now_ms = int(self._wall_clock() * 1000)
        await self._read(
            lambda: self._catalogue.withhold(
                entry.id, ConsentState.WITHDRAWN, now_ms, by=_who(access.claims), reason=body.reason
            )
        )
        return await self._shown(access)

    async def _access(self, request: web.Request) -> Access:
        """Return the package that the address names; for who may not see it, it does not exist."""
        claims = self._sessions.claims(request)
        package = request.match_info["package"]
        if not archive_package.is_package_id(package):
            raise Refused("unknown-recording", "this is no package's name")
        entry = await self._read(lambda: self._catalogue.package(package))
        rooms = _rooms(claims)
        if entry is None or entry.deleted_ms is not None or (rooms is not None and entry.room not in rooms):
            raise Refused("unknown-recording", "there is no such package")
        return Access(request, claims, entry)

    async def _sealed(self, request: web.Request) -> Access:
        access = await self._access(request)
        if access.entry.seal is None:
            raise Refused("not-ready", "the package is not sealed yet")
        if not _may_open(access.claims, access.entry):
            raise Refused("withheld", "the patient does not consent, or no longer")
        return access

    async def _note_of(
        self,
        access: Access,
        action: Action,
        *,
        detail: Mapping[str, Any] | None = None,
        is_repeatable: bool = False,
    ) -> None:
        await self._note(
            access.request,
            access.claims,
            action,
            package=access.entry.id,
            detail=detail,
            is_repeatable=is_repeatable,
        )

    async def _note(
        self,
        request: web.Request,
        claims: Claims,
        action: Action,
        *,
        package: str | None = None,
        detail: Mapping[str, Any] | None = None,
        is_repeatable: bool = False,
    ) -> None:
        """Write a line of the audit; of what a page repeats by itself, one for each visit."""
        network = network_of(client_of(request))
        # A department may share one key; who looks from elsewhere is somebody else.
        deed = (claims.id, network, action, package)
        if is_repeatable and self._visits.goes_on(deed):
            return
        await self._read(
            lambda: self._catalogue.audit.append(
                action,
                who=_who(claims),
                at_ms=int(self._wall_clock() * 1000),
                package=package,
                network=network,
                detail=detail,
            )
        )
        self._visits.begin(deed)

    async def _read(self, work: Callable[[], T]) -> T:
        """Do in a thread what waits for the disk."""
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError as error:
            raise Refused("unknown-recording", "the file is not in the archive") from error
        except (ArchiveFailed, OSError) as error:
            logger.error("the archive cannot be read: %s", error)
            raise Refused("archive-unavailable", "the archive cannot be read now") from error


def _answering(handler: Handler) -> Handler:
    return answering_problems(handler, request="archive")


def _rooms(claims: Claims) -> tuple[str, ...] | None:
    """Return the rooms whose recordings may be seen; None for all."""
    return None if claims.scope is ArchiveScope.ALL else (claims.room,)


def _who(claims: Claims) -> str:
    """Return who somebody is, as audit and decisions name them."""
    name = f", {claims.name}" if claims.name else ""
    return f"{claims.role.value}, {claims.site}{name}"


def _may_open(claims: Claims, entry: PackageEntry) -> bool:
    """Whether what is in a package may be looked at: what is held back is for the archive, which decides."""
    return not entry.is_withheld or claims.scope is ArchiveScope.ALL


def _offset(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidMessage("invalid-message", "offset must be a whole number")
    return int(text)


def _part_number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0
    if not 1 <= number <= archive_package.PARTS_MAX:
        raise Refused("unknown-recording", "there is no such part")
    return number


def _is_continued(request: web.Request, body: Body) -> bool:
    """Whether the request goes on with a download that broke off."""
    try:
        wanted = byte_range(request.headers.get("Range"), body.size_bytes)
    except Unsatisfiable:
        return True
    return wanted is not None and wanted.start > 0


async def _text(request: web.Request) -> str:
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid-message", "the body is not UTF-8 text") from error
