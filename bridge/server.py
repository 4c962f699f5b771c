"""One node: the media port, the forwarding unit, the rooms, and the two HTTP applications around them.

Started from below to above and stopped from above to below, so that nobody is ever offered what is gone.
"""

import asyncio
import gc
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from bridge.api.accounts import Accounts
from bridge.api.admission import Admission
from bridge.api.clients import TrustedProxies
from bridge.api.connections import CONNECTIONS, Connections, Places, bodies_in_time
from bridge.api.devices.whep import whep_endpoint
from bridge.api.devices.whip import whip_endpoint
from bridge.api.headers import add_security_headers, http_logger
from bridge.api.health import HealthApi
from bridge.api.join import JoinApi
from bridge.api.library.endpoint import ArchiveApi
from bridge.api.library.session import LibrarySessions
from bridge.api.pages import Pages
from bridge.api.relays import Relays
from bridge.api.signalling import Signalling
from bridge.api.turns import SIGNALLING, Turns
from bridge.archive.folders import ArchiveFolders
from bridge.archive.work.attempts import Archive
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.base.counters import (
    ArchiveCounters,
    PortCounters,
    RecordingCounters,
    SessionCounters,
    SfuCounters,
)
from bridge.base.errors import ArchiveFailed, InvalidConfig
from bridge.base.load import Load
from bridge.base.rate import limited_networks
from bridge.base.words import ConferenceKind, RecordingPolicy
from bridge.capture.disk import MB
from bridge.capture.sessions import FolderTaken
from bridge.conference.record import (
    OpenRecord,
    RecordObserver,
    RoomRecord,
    UntilReady,
    ready_at_once,
    record_nothing,
)
from bridge.config import Config
from bridge.messages import IceServer
from bridge.messages.objects import RecordingStatus
from bridge.metrics import BridgeCollector, RecordCollector, registry
from bridge.node import garbage
from bridge.node.certificate import load_into, server_context
from bridge.node.host import (
    archive_dir,
    base_url,
    certificate_files,
    free_descriptors,
    installation_id,
    prepare_state_dir,
    recording_dir,
    token_secret,
    web_dir,
)
from bridge.node.links import Revocations
from bridge.recording import Recordings
from bridge.rooms import Rooms
from bridge.sfu import Router, Sfu
from bridge.store.catalogue import Catalogue
from bridge.tokens import Tokens
from bridge.transport import Certificate, MediaPort

logger = logging.getLogger(__name__)

# The largest legitimate body is an SDP offer with some sixty m-lines, about 100 kB.
REQUEST_MAX_BYTES = 256 * 1024
# Who has connected and asks nothing; aiohttp's own patience is an hour, and each takes a descriptor.
IDLE_CONNECTION_S = 75.0
# What is left of a body after its request was answered is read for so long.
LINGERING_S = 2.0
LAG_INTERVAL_S = 0.25
GARBAGE_INTERVAL_S = 60.0
CERTIFICATE_CHECK_INTERVAL_S = 3600.0
REVOCATIONS_INTERVAL_S = 1.0
SHOWN_AFTER_S = 5.0
# How long a start waits for whoever has the folder of recordings, and how often it looks.
FOLDER_FREE_WITHIN_S = 60.0
FOLDER_AGAIN_S = 0.2


class Server:
    """A running node."""

    def __init__(self, config: Config) -> None:
        # Passed by argument.
        self.config = config
        # Allocated by this.
        self.port_counters = PortCounters()
        self.sfu_counters = SfuCounters()
        self.session_counters = SessionCounters()
        self.state_dir = prepare_state_dir(config)
        self._revocations = Revocations(self.state_dir, clock=time.time)
        self.tokens = Tokens(token_secret(self.state_dir), revoked=self._revocations)
        self.recording_counters = RecordingCounters()
        self.archive_counters = ArchiveCounters()
        self.catalogue = Catalogue(archive_dir(config))
        self.supervisor = ArchiveSupervisor(
            Archive(
                folders=ArchiveFolders(recording_dir(config), archive_dir(config)),
                archive=config.archive,
                dicom=config.dicom,
                catalogue=self.catalogue,
                counters=self.archive_counters,
            ),
            reserve_bytes=self._reserve_bytes,
        )
        self._relays = _relays(config)
        self._proxies = TrustedProxies([ip_network(network) for network in config.http.trusted_proxies])
        self._connections: Connections | None = None
        self._until_ready: UntilReady = ready_at_once
        self._is_ready = False
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def _reserve_bytes(self) -> int:
        """Return what the archive must leave free for the sessions that are open, or for the next one."""
        recording = self.config.recording
        if not recording.enabled:
            return 0
        is_live = self.recording_counters.sessions_open > 0
        return (recording.warn_free_mb if is_live else recording.shed_free_mb) * MB

    async def start(self) -> None:
        """Open everything; raises InvalidConfig when an address or a file cannot be used."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        self._closers.append(self._close_catalogue)
        self.port = await MediaPort.open(
            host=config.media.host or None,
            port=config.media.port,
            announced=config.media.announced_addresses,
            certificate=Certificate.generate(),
            counters=self.port_counters,
            tcp=config.media.tcp,
        )
        self._closers.append(self.port.close)
        self.sfu = Sfu(port=self.port, counters=self.sfu_counters)
        self.sfu.start()
        self._closers.append(self.sfu.stop)
        self.rooms = Rooms(
            self.sfu,
            self.tokens,
            counters=self.session_counters,
            rooms_max=config.rooms.rooms_max,
            capacity=config.rooms.participants_max,
            per_link=config.rooms.participants_per_link,
            empty_close_s=config.rooms.empty_close_s,
            wait_for_chair=config.rooms.wait_for_chair,
            case_left_s=config.rooms.case_left_s,
            ice_servers=self._ice_servers,
            policies=_recording_policies(config),
            open_record=await self._open_recordings(),
            until_ready=self._until_ready,
        )
        self.rooms.start()
        self._closers.append(self.rooms.stop)
        # One for all doors: a link costs what its pages and devices cost together.
        self._accounts = Accounts(per_link=config.rooms.participants_per_link)
        self.signalling = Signalling(
            self.rooms,
            self.tokens,
            counters=self.session_counters,
            accounts=self._accounts,
            public_host=urlsplit(base_url(config)).netloc,
        )
        collector = BridgeCollector(
            port_counters=self.port_counters,
            sfu_counters=self.sfu_counters,
            session_counters=self.session_counters,
            rooms=self.rooms,
            signalling=self.signalling,
            receive_overflows=lambda: self.port.receive_overflows,
            connections=lambda: len(self._connections) if self._connections is not None else 0,
        )
        record_collector = RecordCollector(
            recording=self.recording_counters,
            archive=self.archive_counters,
            recordings=self._recording_statuses,
            status=lambda: self.supervisor.status,
            thresholds_bytes={
                "warn": config.recording.warn_free_mb * MB,
                "shed": config.recording.shed_free_mb * MB,
                "stop": config.recording.stop_free_mb * MB,
            },
        )
        metrics = registry(collector, record_collector)
        await self._listen_for_operators(self._admin_application(metrics))
        await self._listen(self._application(), self._tls_context())
        # Before the listeners: they would wait for open WebSockets, and then cut them without a goodbye.
        self._closers.append(self.signalling.close)
        self._begin(self._measure_lag(), "event-loop-lag")
        self._begin(self._watch_revocations(), "revocations")
        garbage.take_over()
        self._begin(self._collect_garbage(), "garbage")
        self.supervisor.start()
        self._closers.append(self.supervisor.stop)
        self._is_ready = True

    def _ice_servers(self, holder: str) -> Iterator[IceServer]:
        relays = self._relays.credentials(holder)
        return (IceServer(relay.urls, relay.username, relay.credential) for relay in relays)

    async def _open_recordings(self) -> OpenRecord:
        config = self.config
        if not config.recording.enabled:
            return record_nothing
        recordings = await self._recordings_when_free()
        self._closers.append(recordings.stop)
        recordings.start()
        self.supervisor.name_by(recordings.names_begin, recordings.pass_over)
        self._until_ready = recordings.until_ready

        def open_record(
            room: str, title: str, kind: ConferenceKind, router: Router, observer: RecordObserver
        ) -> RoomRecord:
            record = recordings.open(room, title, kind, router, observer)
            # The library shows that it is being recorded, once its first lines are on the disk.
            path = recording_dir(config) / record.session
            asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self.supervisor.session_changed, path)
            return record

        return open_record

    async def _recordings_when_free(self) -> Recordings:
        """Return the recordings; `hoichan archive recover` may have their folder for a while."""
        config = self.config
        used_names = await asyncio.to_thread(self._archived_sessions)
        until = time.monotonic() + FOLDER_FREE_WITHIN_S
        is_told = False
        while True:
            try:
                return Recordings(
                    config.recording,
                    folder=recording_dir(config),
                    site_code=config.archive.site_code,
                    installation=installation_id(self.state_dir),
                    used_names=used_names,
                    sfu=self.sfu,
                    counters=self.recording_counters,
                    empty_close_s=config.rooms.empty_close_s,
                    on_archivable=self.supervisor.session_changed,
                    on_changed=self.supervisor.session_changed,
                    on_starved=self._starved,
                )
            except FolderTaken as error:
                if time.monotonic() > until:
                    raise
                if not is_told:
                    is_told = True
                    logger.warning("%s; waiting for it up to %.0f s", error, FOLDER_FREE_WITHIN_S)
                await asyncio.sleep(FOLDER_AGAIN_S)

    def _archived_sessions(self) -> frozenset[str]:
        """Return the sessions that the archive knows of, whatever is left of their recordings."""
        folders = ArchiveFolders(recording_dir(self.config), archive_dir(self.config))
        try:
            known = {entry.id for entry in self.catalogue.sessions()}
        except ArchiveFailed:
            # The supervisor says so; the folders know as much.
            known = set()
        return frozenset(known) | folders.archived_sessions()

    async def drain(self) -> None:
        """Refuse new participants, tell those present, and give them the configured time."""
        self._is_ready = False
        self.rooms.drain(self.config.node.drain_s)
        for _ in range(self.config.node.drain_s * 10):
            if not any(room.participants for room in self.rooms.rooms.values()):
                return
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Close everything that was opened, the last first."""
        self._is_ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        while self._closers:
            try:
                await self._closers.pop()()
            except Exception:
                # A bug of ours; the others still have people to say goodbye to.
                logger.exception("not everything could be closed in order")

    def _application(self) -> web.Application:
        load = Load()

        def is_busy() -> bool:
            # Pages that open before anybody is in take the core from nobody.
            return load.is_busy and any(room.participants for room in self.rooms.rooms.values())

        turns = Turns(counters=self.session_counters, is_busy=is_busy)
        application = web.Application(
            client_max_size=REQUEST_MAX_BYTES,
            middlewares=[self._proxies.middleware(), turns.middleware(), bodies_in_time],
        )
        application.on_response_prepare.append(add_security_headers)
        application.router.add_get(SIGNALLING, self.signalling.handle)
        admission = Admission(self.config.http.joins_per_minute, counters=self.session_counters)
        join = JoinApi(
            self.tokens,
            self._relays,
            admission=admission,
            rooms=self.rooms,
        )
        join.add_routes(application.router)
        shared = (self.rooms, self.tokens, self._relays, admission, self._accounts)
        whip_endpoint(*shared).add_routes(application.router)
        whep_endpoint(*shared).add_routes(application.router)
        self._library(admission).add_routes(application.router)
        Pages(web_dir(self.config)).add_routes(application.router)
        return application

    async def _close_catalogue(self) -> None:
        await asyncio.to_thread(self.catalogue.close)

    def _recording_statuses(self) -> Iterator[RecordingStatus]:
        return (room.proceedings.status for room in self.rooms.rooms.values())

    def _library(self, admission: Admission) -> ArchiveApi:
        return ArchiveApi(
            self.catalogue,
            archive_dir(self.config) / "packages",
            LibrarySessions(self.tokens, origin=base_url(self.config)),
            admission=admission,
            retry=self.supervisor.retry,
            check=self.supervisor.check,
        )

    def _admin_application(self, metrics: CollectorRegistry) -> web.Application:
        async def scrape(request: web.Request) -> web.Response:
            return web.Response(body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

        application = web.Application()
        application.router.add_get("/metrics", scrape)
        HealthApi(lambda: self._is_ready and not self.rooms.is_draining).add_routes(application.router)
        return application

    async def _listen_for_operators(self, application: web.Application) -> None:
        host, port = self.config.admin.host, self.config.admin.port
        runner = web.AppRunner(
            application, access_log=None, logger=http_logger, handle_signals=False, shutdown_timeout=2.0
        )
        await runner.setup()
        self._closers.append(runner.cleanup)
        with _naming("admin", host, port):
            await web.TCPSite(runner, host, port).start()

    async def _listen(self, application: web.Application, context: ssl.SSLContext | None) -> None:
        host, port = self.config.http.host, self.config.http.port
        # No access log: it would hold addresses of people and a line for each of their pages.
        settings: dict[str, Any] = {
            "access_log": None,
            "logger": http_logger,
            "keepalive_timeout": IDLE_CONNECTION_S,
            "lingering_time": LINGERING_S,
        }
        connections = Connections(
            places=Places.within(free_descriptors()),
            networks=self._networks,
            counters=self.session_counters,
            context=context,
            settings=settings,
        )
        application[CONNECTIONS] = self._connections = connections
        runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=2.0, **settings)
        await runner.setup()
        self._closers.append(runner.cleanup)
        self._closers.append(connections.close)
        assert runner.server is not None
        with _naming("http", host, port):
            connections.listen(runner.server, host or None, port)

    def _networks(self, host: str) -> tuple[bytes, ...]:
        """Return the networks of a peer; none for a proxy, which stands for a whole hospital."""
        return () if host in self._proxies else limited_networks(host)

    def _starved(self) -> None:
        if self._connections is not None:
            self._connections.starved()

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self.config.http.tls:
            return None
        context = server_context(certificate_files(self.config, self.state_dir))
        self._begin(self._renew_certificate(context), "certificate")
        return context

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_failure)
        self._tasks.append(task)

    async def _renew_certificate(self, context: ssl.SSLContext) -> None:
        """Take up a renewed certificate without a restart; running connections keep theirs."""
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_INTERVAL_S)
            try:
                load_into(context, certificate_files(self.config, self.state_dir))
            except InvalidConfig as error:
                logger.error("the old certificate stays in use: %s", error)

    async def _watch_revocations(self) -> None:
        """A revoked link is of no use within seconds, to those either who are in the room by it."""
        has_news = False
        while True:
            await asyncio.sleep(REVOCATIONS_INTERVAL_S)
            try:
                has_news |= await asyncio.to_thread(self._revocations.poll)
                if has_news:
                    self.rooms.expel_revoked()
                    has_news = False
            except Exception:
                # A fault of ours: who was to go is tried again, and later revocations count as well.
                logger.exception("not everybody with a revoked link could be sent out")

    async def _collect_garbage(self) -> None:
        schedule = garbage.GarbageSchedule(time.monotonic())
        try:
            while True:
                await asyncio.sleep(GARBAGE_INTERVAL_S)
                participants = sum(len(room.participants) for room in self.rooms.rooms.values())
                closed = self.sfu_counters.legs_closed
                if schedule.is_due(time.monotonic(), participants=participants, closed=closed):
                    gc.collect()
        finally:
            garbage.hand_back()

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        histogram = self.session_counters.event_loop_lag_s
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            histogram.observe(max(0.0, loop.time() - due))


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the task %s has failed", task.get_name(), exc_info=task.exception())


def _recording_policies(config: Config) -> dict[ConferenceKind, RecordingPolicy]:
    if not config.recording.enabled:
        return dict.fromkeys(ConferenceKind, RecordingPolicy.OFF)
    return {kind: RecordingPolicy(getattr(config.recording, kind.value)) for kind in ConferenceKind}


def _relays(config: Config) -> Relays:
    secret = b""
    if config.turn.secret_file:
        try:
            secret = Path(config.turn.secret_file).read_bytes().strip()
        except OSError as error:
            raise InvalidConfig(f"turn.secret_file {config.turn.secret_file}: {error.strerror}") from error
        if not secret:
            raise InvalidConfig(f"turn.secret_file {config.turn.secret_file}: is empty")
    return Relays(
        config.turn.urls, secret, lifetime_s=config.turn.credential_lifetime_s, wall_clock=time.time
    )


@contextmanager
def _naming(section: str, host: str, port: int) -> Iterator[None]:
    """Turn the failure to bind an address into a sentence that names the setting."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InvalidConfig(f"{section}.host {host or '(all)'}, {section}.port {port}: {reason}") from error
