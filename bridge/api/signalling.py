"""Signalling: one WebSocket is one participant's control channel.

Reads, limits and answers; what a message means is the room's business. Sending never waits: each
socket has a bounded queue, and a reader that lets it fill is cut off. It may resume, and is then
told everything anew.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from bridge import messages
from bridge.api.accounts import Accounts, cost_of
from bridge.api.clients import client_of, is_own_origin
from bridge.api.connections import held
from bridge.base.counters import SessionCounters
from bridge.base.errors import InvalidMessage, Refused, RequestError
from bridge.base.rate import NETWORK_SHARES, Budget, limited_networks
from bridge.conference import requests
from bridge.conference.participants import CloseCode, Participant
from bridge.conference.room import Room
from bridge.messages import ClientMessage, Join, Offer, RaiseHand, SendChat
from bridge.rooms import Rooms
from bridge.tokens import TokenKind, Tokens

JOIN_WITHIN_S = 10.0
HEARTBEAT_S = 15.0
SOCKETS_MAX = 10_000
# Sockets that have not joined yet, of one network and in all. Those of a hospital behind one NAT all come
# back at once after a restart, and take a round trip or two each.
NEWCOMERS_PER_NETWORK = 256
NEWCOMERS_MAX = 2_000
# A whole room's worth of news fits many times; what does not is a reader that has stopped.
QUEUE_MAX_FRAMES = 512
QUEUE_MAX_CHARACTERS = 2_000_000
# Tokens of the bucket: people click a few times a second, a page that joins sends a handful.
RATE_PER_S = 20.0
BURST = 60.0
# What costs the bridge, or everybody in the room, more than a click.
EXTRA_COSTS: Mapping[type[ClientMessage], float] = {Offer: 4.0, SendChat: 3.0, RaiseHand: 4.0}
# Only an offer may be longer.
MESSAGE_MAX_CHARACTERS = 16 * 1024
OFFER_MAX_CHARACTERS = 64 * 1024
# An offer of so many slots may have as much as a frame holds.
MANY_SLOTS = 20
# So many refused messages are no accident; one that is carried out makes up for ten.
REFUSALS_MAX = 200
REFUSALS_FORGIVEN = 10
# Answering a flood is a flood of its own.
RATE_LIMITED_EVERY_S = 1.0
# Time for a goodbye, and what is queued before it, to reach who reads it over the slowest line.
GOODBYE_S = 5.0

_RATE_LIMITED = Refused("rate-limited", f"more than {RATE_PER_S:.0f} messages per second, or too large ones")
# As pages write it; others learn of a dropped offer by their own patience.
_OFFER_HEAD = re.compile(r'\{"type":"offer","id":(\d{1,9})[,}]')


class _Stopping(Exception):
    """The server is about to stop and lets in only who is back."""


@dataclass(slots=True)
class Sender:
    """Whose frames are read from a socket, and how it has behaved."""

    room: Room
    participant: Participant
    networks: tuple[bytes, ...]
    limit: Budget
    refusals: int = 0
    rate_limited_told_at: float = float("-inf")


class Socket:
    """A participant's channel over one WebSocket: a bounded queue and the task that empties it."""

    def __init__(self, websocket: web.WebSocketResponse, request: web.Request) -> None:
        # Passed by argument.
        self._websocket = websocket
        self._request = request
        # Allocated by this.
        self._queue: deque[str] = deque()
        self._queued_characters = 0
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._is_cut = False
        self._cut_later: asyncio.TimerHandle | None = None

    def send(self, text: str) -> None:
        """Queue one text frame; a full queue cuts the socket off."""
        if self._closing is not None or self._is_cut:
            return
        if len(self._queue) >= QUEUE_MAX_FRAMES or self._queued_characters + len(text) > QUEUE_MAX_CHARACTERS:
            self.cut()
            return
        self._queue.append(text)
        self._queued_characters += len(text)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued, and in any case soon; harmless twice."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()
            # Who does not read holds up the writer, and would keep its socket, and all it may send, for ever.
            self._cut_later = asyncio.get_running_loop().call_later(GOODBYE_S, self.cut)

    def cut(self) -> None:
        """End the connection now: the other side does not read, so that a goodbye would not arrive."""
        self.ended()
        self._is_cut = True
        self._queue.clear()
        self._wake.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    def ended(self) -> None:
        """The connection is gone: nothing is left to be cut."""
        if self._cut_later is not None:
            self._cut_later.cancel()
            self._cut_later = None

    async def write(self) -> None:
        """Send what is queued until the socket is closed or lost."""
        try:
            while not self._is_cut:
                while self._queue:
                    text = self._queue.popleft()
                    self._queued_characters -= len(text)
                    await self._websocket.send_str(text)
                if self._closing is not None:
                    code, reason = self._closing
                    await self._websocket.close(code=code, message=reason.encode())
                    return
                self._wake.clear()
                await self._wake.wait()
        except ConnectionError:
            # Lost while sending; the reader sees the end as well and reports it to the room.
            return


class Signalling:
    """Serves the sockets of all rooms."""

    def __init__(
        self,
        rooms: Rooms,
        tokens: Tokens,
        *,
        counters: SessionCounters,
        accounts: Accounts,
        public_host: str = "",
    ) -> None:
        """`public_host` is that of the pages, with its port, should a proxy write another into requests."""
        self._accounts = accounts
        self._rooms = rooms
        self._tokens = tokens
        self._counters = counters
        self._public_host = public_host
        self._open: set[Socket] = set()
        self._newcomers = 0
        self._newcomers_of: Counter[bytes] = Counter()

    @property
    def sockets(self) -> int:
        """How many sockets are open now."""
        return len(self._open)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket from its handshake to its end."""
        if len(self._open) >= SOCKETS_MAX:
            return web.Response(status=503, headers={"Retry-After": "5"})
        if not is_own_origin(request, self._public_host):
            # A page of somebody else, which would spend its visitors' places.
            return web.Response(status=403)
        networks = limited_networks(client_of(request))
        if self._newcomers >= NEWCOMERS_MAX:
            return web.Response(status=503, headers={"Retry-After": "5"})
        if any(
            self._newcomers_of[network] >= NEWCOMERS_PER_NETWORK * share
            for network, share in zip(networks, NETWORK_SHARES, strict=False)
        ):
            return web.Response(status=429, headers={"Retry-After": "5"})
        websocket = web.WebSocketResponse(
            protocols=(messages.SUBPROTOCOL,),
            heartbeat=HEARTBEAT_S,
            max_msg_size=messages.MESSAGE_MAX_BYTES,
            # A deflate context per socket is memory and time that small messages do not repay.
            compress=False,
        )
        await websocket.prepare(request)
        socket = Socket(websocket, request)
        self._open.add(socket)
        writer = asyncio.get_running_loop().create_task(socket.write(), name="socket writer")
        try:
            await self._serve(request, websocket, socket, networks)
        finally:
            self._open.discard(socket)
            # Whatever is queued, such as the reason of a refusal, still goes out.
            socket.close(CloseCode.LEFT, "left")
            await _finish(writer)
            socket.ended()
        return websocket

    async def close(self) -> None:
        """Close all sockets: the server restarts, and the pages will come back."""
        for socket in self._open:
            socket.close(CloseCode.RESTART, "service restart")
        for _ in range(50):
            if not self._open:
                return
            await asyncio.sleep(0.02)
        for socket in list(self._open):
            socket.cut()

    async def _serve(
        self,
        request: web.Request,
        websocket: web.WebSocketResponse,
        socket: Socket,
        networks: tuple[bytes, ...],
    ) -> None:
        with self._counted(networks):
            joined = await self._joined(websocket, socket)
        if joined is None:
            return
        room, participant = joined
        try:
            limit = Budget(per_s=RATE_PER_S, burst=BURST, now=asyncio.get_running_loop().time())
            with held(request):
                await self._read(websocket, socket, Sender(room, participant, networks, limit))
        finally:
            room.channel_closed(participant, socket)

    @contextmanager
    def _counted(self, networks: tuple[bytes, ...]) -> Iterator[None]:
        """Count one newcomer of these networks while the body runs."""
        self._newcomers += 1
        self._newcomers_of.update(networks)
        try:
            yield
        finally:
            self._newcomers -= 1
            for network in networks:
                self._newcomers_of[network] -= 1
                if not self._newcomers_of[network]:
                    del self._newcomers_of[network]

    async def _joined(
        self, websocket: web.WebSocketResponse, socket: Socket
    ) -> tuple[Room, Participant] | None:
        try:
            frame = await websocket.receive(timeout=JOIN_WITHIN_S)
        except TimeoutError:
            socket.close(CloseCode.NO_JOIN, "no join in time")
            return None
        if frame.type is not WSMsgType.TEXT:
            return None
        try:
            return await self._join(frame.data, socket)
        except _Stopping:
            socket.close(CloseCode.RESTART, "service restart")
            return None
        except RequestError as error:
            self._counters.joins_refused[error.code] += 1
            socket.send(messages.serialise(messages.error_from(error, request="join")))
            socket.close(CloseCode.REFUSED, error.code)
            return None

    async def _join(self, text: str, socket: Socket) -> tuple[Room, Participant]:
        message = self._parse(text)
        if not isinstance(message, Join):
            raise Refused("not-joined", "the first message has to be join")
        if message.version != messages.PROTOCOL_VERSION:
            raise Refused("unsupported-version", f"this server speaks version {messages.PROTOCOL_VERSION}")
        await self._rooms.until_ready(self._tokens.read(message.token, TokenKind.JOIN).room)
        # And after it: it may take its time, and the link may be revoked or the server stopped meanwhile.
        claims = self._tokens.read(message.token, TokenKind.JOIN)
        if self._rooms.is_draining:
            # Who is in has been given time to come to an end, and may have lost its line for a moment.
            present = self._rooms.get(claims.room)
            if present is None or not present.can_resume(claims, message.resume):
                raise _Stopping
        room = self._rooms.open(claims.room, claims.title, claims.conference_kind)
        page = message.client.page if message.client is not None else ""
        return room, room.join(claims, message.name, socket, message.resume, page=page)

    async def _read(self, websocket: web.WebSocketResponse, socket: Socket, sender: Sender) -> None:
        clock = asyncio.get_running_loop().time
        async for frame in websocket:
            text = frame.data if frame.type is WSMsgType.TEXT else ""
            error = self._receive(text, sender, clock())
            if sender.participant.is_gone:
                # The goodbye is on its way; what else is read meanwhile is nobody's.
                return
            if error is None:
                sender.refusals = max(0, sender.refusals - REFUSALS_FORGIVEN)
                continue
            if _is_told(error, sender, clock()):
                socket.send(messages.serialise(error))
            sender.refusals += 1
            if sender.refusals > REFUSALS_MAX:
                socket.close(CloseCode.TOO_MANY_MESSAGES, "too many refused messages")
                return

    def _receive(self, text: str, sender: Sender, now: float) -> messages.Error | None:
        """Handle one text frame; return what its sender is told if that was not possible."""
        self._counters.messages_received += 1
        link = sender.participant.claims.id
        # Before parsing, so that a flood costs next to nothing.
        cost = cost_of(text)
        if not (sender.limit.spend(cost, now) and self._accounts.allow(link, sender.networks, cost)):
            return _dropped(text)
        try:
            message = self._parse(text)
        except InvalidMessage as error:
            return messages.error_from(error, request=messages.type_of(text))
        offer_id = message.id if isinstance(message, Offer) else None
        try:
            if not self._may_ask(message, sender, now):
                raise _RATE_LIMITED
            requests.handle(sender.room, sender.participant, message)
        except RequestError as error:
            return messages.error_from(error, request=message.type, offer_id=offer_id)
        return None

    def _may_ask(self, message: ClientMessage, sender: Sender, now: float) -> bool:
        link = sender.participant.claims.id
        if isinstance(message, Offer) and not self._accounts.allow_offer(link):
            return False
        if isinstance(message, SendChat | RaiseHand) and not self._accounts.allow_words(link):
            return False
        # The frame was let through, and with it what it costs beside its length: the next ones wait for that.
        sender.limit.charge(EXTRA_COSTS.get(type(message), 0.0), now)
        return True

    def _parse(self, text: str) -> ClientMessage:
        try:
            if len(text) > MESSAGE_MAX_CHARACTERS:
                _check_length(text)
            return messages.parse_client_message(text)
        except InvalidMessage:
            self._counters.messages_invalid += 1
            raise


def _check_length(text: str) -> None:
    """Refuse what is longer than any message of its type has to be, before or after its JSON is read."""
    # Looked for rather than parsed: what does not have the word is no offer.
    offer = messages.parse_client_message(text) if '"offer"' in text else None
    if not isinstance(offer, Offer):
        raise InvalidMessage("invalid-message", f"more than {MESSAGE_MAX_CHARACTERS} characters")
    if len(offer.sdp) > OFFER_MAX_CHARACTERS and len(offer.slots or ()) <= MANY_SLOTS:
        raise InvalidMessage("invalid-message", f"an offer of more than {OFFER_MAX_CHARACTERS} characters")


def _dropped(text: str) -> messages.Error:
    """Return the answer to a frame that was not read; the page waits for that to an offer."""
    found = _OFFER_HEAD.match(text)
    offer_id = int(found[1]) if found else None
    return messages.error_from(_RATE_LIMITED, request="offer" if found else "", offer_id=offer_id)


def _is_told(error: messages.Error, sender: Sender, now: float) -> bool:
    """Whether an error is answered: of `rate-limited` one a second is enough."""
    if error.code != _RATE_LIMITED.code or error.id is not None:
        return True
    if now - sender.rate_limited_told_at < RATE_LIMITED_EVERY_S:
        return False
    sender.rate_limited_told_at = now
    return True


async def _finish(writer: asyncio.Task[None]) -> None:
    """Give the writer a moment to say goodbye, then end it."""
    _, pending = await asyncio.wait({writer}, timeout=GOODBYE_S)
    for task in pending:
        task.cancel()
    await asyncio.gather(writer, return_exceptions=True)
