"""The TCP connections of one HTTP listener: how many there may be, and for how long without an answer.

Whoever has shown no valid link yet is a stranger. Strangers have places by network and in all, and when these
run out a stranger makes room: the oldest that was answered and asks nothing more, else the oldest of all. Who
fills them closes his own connections, and newcomers get in.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from aiohttp import web
from aiohttp.web_request import BaseRequest

from bridge.api.problems import Handler
from bridge.base.counters import SessionCounters
from bridge.base.rate import NETWORK_SHARES, log_limits

logger = logging.getLogger(__name__)

# A page takes up to six connections at once; a hospital's pages all come back through one address.
STRANGERS_PER_NETWORK: Final = 512
STRANGERS_MAX: Final = 4_096
CONNECTIONS_MAX: Final = 16_384
# Of the process's descriptors, left to media over TCP, recordings and the archive.
SPARED_SHARE: Final = 4
RESERVE: Final = 64
HANDSHAKE_S: Final = 10.0
GOODBYE_S: Final = 3.0
# The largest body is an offer of some 100 kB.
BODY_S: Final = 10.0
# From the last byte that is asked for to the last one taken; recordings have limits of their own.
ANSWER_S: Final = 60.0
# Those among whom an idle one is looked for: a flood is not to pay with our time for each newcomer.
LOOKED_AT_MAX: Final = 512
BACKLOG: Final = 1_024
# In one round of the event loop, which media waits for.
ACCEPTS_AT_ONCE: Final = 16
STARVED_S: Final = 0.25
RESERVE_AGAIN_S: Final = 10.0
# No descriptor is free, in the process or in the machine. Both pass.
STARVED: Final = frozenset({errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True, slots=True)
class Places:
    """How many connections there may be: of strangers per network and in all, and of everybody."""

    strangers_per_network: int = STRANGERS_PER_NETWORK
    strangers: int = STRANGERS_MAX
    connections: int = CONNECTIONS_MAX

    @classmethod
    def within(cls, descriptors: int) -> "Places":
        """Return the places that a process with so many free descriptors can afford."""
        most = max(8, min(CONNECTIONS_MAX, descriptors - descriptors // SPARED_SHARE - RESERVE))
        return cls(connections=most, strangers=min(STRANGERS_MAX, most))


class _Protocol(web.RequestHandler):
    """aiohttp's protocol, which tells when it ends and waits for no reader for ever.

    `is_idle` says that it has answered and was sent nothing since: its client loses nothing with it. Whoever
    has asked nothing yet is not idle but waited for, and so is who has begun to ask.
    """

    __slots__ = ("_on_lost", "is_idle")

    def __init__(self, server: web.Server, on_lost: Callable[[], None], **settings: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **settings)
        self._on_lost = on_lost
        self.is_idle = False

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        self.is_idle = False
        super().data_received(data)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            async with asyncio.timeout(ANSWER_S):
                finished = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            return resp, True
        self.is_idle = True
        return finished


class _Connection:
    """One accepted connection; `networks` is empty for those who speak for others, or for this machine."""

    __slots__ = ("networks", "opening", "protocol")

    def __init__(self, networks: tuple[bytes, ...]) -> None:
        self.networks = networks
        self.protocol: _Protocol | None = None
        self.opening: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether its client has been answered and asks nothing now."""
        return self.protocol is not None and self.protocol.is_idle

    def end(self) -> None:
        """Close it now, whatever it is doing."""
        protocol = self.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()


class Connections:
    """Accepts the connections of one HTTP server and keeps to the places.

    `networks` returns the networks that a peer's address counts for, the smallest first, and none for those
    who speak for others.
    """

    def __init__(
        self,
        *,
        places: Places,
        networks: Callable[[str], tuple[bytes, ...]],
        counters: SessionCounters,
        context: ssl.SSLContext | None = None,
        settings: Mapping[str, Any],
    ) -> None:
        # Passed by argument.
        self._places = places
        self._networks = networks
        self._counters = counters
        self._context = context
        self._settings = settings
        # Allocated by this.
        self._loop = asyncio.get_running_loop()
        self._server: web.Server | None = None
        self._listeners: list[socket.socket] = []
        self._all: dict[web.RequestHandler, _Connection] = {}
        # The oldest first; those of no network apart, because a whole hospital may wait behind each.
        self._strangers: dict[_Connection, None] = {}
        self._neighbours: dict[_Connection, None] = {}
        self._by_network: dict[bytes, dict[_Connection, None]] = {}
        self._open = 0
        self._reserve: list[int] = []
        self._logged = log_limits()

    def __len__(self) -> int:
        return self._open

    # Listening.

    def listen(self, server: web.Server, host: str | None, port: int) -> None:
        """Accept connections for a server from now on; raises OSError when no address can be used.

        A name may stand for addresses that this machine has not, or not now: they are passed over.
        """
        self._server = server
        self._keep_reserve()
        absent: OSError | None = None
        for family, kind, number, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                listener = socket.socket(family, kind, number)
            except OSError as error:
                # A machine without IPv6, or without IPv4.
                absent = error
                continue
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setblocking(False)
            try:
                listener.bind(address)
            except OSError as error:
                listener.close()
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                absent = error
                continue
            self._listeners.append(listener)
            listener.listen(BACKLOG)
        if absent is not None and not self._listeners:
            raise absent
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    async def close(self) -> None:
        """Accept no more; those that are open are the server's to close."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        self._give_reserve()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = listener.accept()
            except OSError as error:
                if error.errno in STARVED:
                    self.starved()
                    self._pause(listener)
                # Else there are no more, or one had gone before it was accepted.
                return
            self._admit(accepted, self._networks(str(address[0])))

    def _pause(self, listener: socket.socket) -> None:
        """Look again a little later: the one that waits would else wake us without end."""
        self._loop.remove_reader(listener)
        self._loop.call_later(STARVED_S, self._go_on, listener)

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    # Places.

    def _admit(self, accepted: socket.socket, networks: tuple[bytes, ...]) -> None:
        self._make_room(networks)
        if self._open >= self._places.connections:
            self._counters.connections_refused += 1
            accepted.close()
            return
        assert self._server is not None
        accepted.setblocking(False)
        connection = _Connection(networks)
        self._open += 1
        self._let_wait(connection)
        connection.protocol = _Protocol(self._server, lambda: self._lost(connection), **self._settings)
        self._all[connection.protocol] = connection
        connection.opening = self._loop.create_task(
            self._serve(connection, connection.protocol, accepted), name="connection"
        )

    async def _serve(self, connection: _Connection, protocol: _Protocol, accepted: socket.socket) -> None:
        limits = {}
        if self._context is not None:
            limits = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": GOODBYE_S}
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._context, **limits)
        except (OSError, TimeoutError):
            # No TLS, or gone.
            pass
        finally:
            connection.opening = None
            if protocol.transport is None:
                accepted.close()
                self._lost(connection)

    def _make_room(self, networks: tuple[bytes, ...]) -> None:
        for network, share in zip(networks, NETWORK_SHARES, strict=False):
            of_network = self._by_network.get(network, {})
            if len(of_network) >= self._places.strangers_per_network * share:
                self._evict(_first_to_go(of_network))
        if len(self._strangers) >= self._places.strangers:
            self._evict(_first_to_go(self._strangers))
        if self._open >= self._places.connections:
            for waiting in (self._strangers, self._neighbours):
                if waiting:
                    self._evict(_first_to_go(waiting))
                    return

    def _evict(self, connection: _Connection) -> None:
        self._counters.connections_evicted += 1
        connection.end()
        self._lost(connection)

    def _lost(self, connection: _Connection) -> None:
        if connection.protocol is None or self._all.pop(connection.protocol, None) is None:
            return
        self._open -= 1
        self._forget(connection)

    def _let_wait(self, connection: _Connection) -> None:
        if not connection.networks:
            self._neighbours[connection] = None
            return
        self._strangers[connection] = None
        for network in connection.networks:
            self._by_network.setdefault(network, {})[connection] = None

    def _forget(self, connection: _Connection) -> None:
        self._neighbours.pop(connection, None)
        self._strangers.pop(connection, None)
        for network in connection.networks:
            of_network = self._by_network.get(network, {})
            of_network.pop(connection, None)
            if not of_network:
                self._by_network.pop(network, None)

    @contextmanager
    def held(self, protocol: web.RequestHandler) -> Iterator[None]:
        """Take a connection out of the strangers while the body runs."""
        connection = self._all.get(protocol)
        if connection is not None:
            self._forget(connection)
        try:
            yield
        finally:
            # Whoever asks nothing more is a stranger again, however good the link was.
            if connection is not None and self._all.get(protocol) is connection:
                self._let_wait(connection)

    # Descriptors.

    def starved(self) -> None:
        """No descriptor was free: give up the reserve, and close strangers, the idle ones first."""
        self._counters.descriptors_lacking += 1
        self._give_reserve()
        for waiting in (self._strangers, self._neighbours):
            for connection in sorted(waiting, key=lambda one: not one.is_idle)[:RESERVE]:
                self._evict(connection)
        self._loop.call_later(RESERVE_AGAIN_S, self._keep_reserve)
        if self._logged.allow("starved", self._loop.time()):
            logger.warning("no file descriptor is free; the oldest idle connections were closed")

    def _keep_reserve(self) -> None:
        with suppress(OSError):
            while len(self._reserve) < RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))

    def _give_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())


def _first_to_go(waiting: Iterable[_Connection]) -> _Connection:
    """Return the oldest idle one, or the oldest of all.

    A page keeps several connections open after it was loaded, and the oldest may be within an answer.
    """
    looked_at = islice(waiting, LOOKED_AT_MAX)
    oldest = next(looked_at)
    return next((one for one in (oldest, *looked_at) if one.is_idle), oldest)


CONNECTIONS: Final = web.AppKey("connections", Connections)


@contextmanager
def held(request: web.Request) -> Iterator[None]:
    """Keep the request's connection while the body runs: its client has shown a valid link."""
    connections = request.config_dict.get(CONNECTIONS)
    if connections is None:
        yield
        return
    with connections.held(request.protocol):
        yield


@web.middleware
async def bodies_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """End the connection of who announces a body and does not send it."""
    if not request.can_read_body:
        return await handler(request)
    deadline = asyncio.get_running_loop().call_later(BODY_S, _give_up, request)
    try:
        return await handler(request)
    except RuntimeError as error:
        if request.transport is None and not request.content.is_eof():
            # What aiohttp raises to who waits for the body of somebody who is gone.
            raise ConnectionResetError("gone before its body") from error
        raise
    finally:
        deadline.cancel()


def _give_up(request: web.Request) -> None:
    if not request.content.is_eof() and request.transport is not None:
        request.transport.abort()
