"""Light bots: real signalling, ICE, DTLS and SRTP, but no decoding, hundreds to a process.

Run by `benchmarks.conference` in a process of its own, on a core of its own; takes its plan as JSON and
prints what it saw as one JSON line. A bot is honest about the server because arrival times
are the kernel's receive stamps: a busy bot reads late, but does not measure late.
"""

import argparse
import asyncio
import gc
import heapq
import itertools
import json
import os
import random
import resource
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import pylibsrtp
import uvloop
from numpy.typing import NDArray

from benchmarks.dtls import ClientIdentity
from benchmarks.link import Link
from benchmarks.offers import (
    EXTENSION_IDS,
    OPUS,
    TRANSPORT_WIDE_URI,
    VP8_RTX,
    Answer,
    OfferedLine,
    build_offer,
    client_lines,
    parse_answer,
)
from benchmarks.publishing import (
    LECTURE_SHAPE,
    SIMULCAST_SHAPES,
    Camera,
    Microphone,
    OutgoingStream,
    Uplink,
    VideoShape,
)
from benchmarks.receiving import (
    VECTOR_MAX,
    Arena,
    StreamCounts,
    drops_of_ports,
)
from benchmarks.wire import (
    RTCP_RECEIVER_REPORT,
    RTCP_SENDER_REPORT,
    RTCP_TRANSPORT_FEEDBACK,
    ReportBlock,
    keyframe_wanted_ssrcs,
    read_stamp,
    receiver_estimated_maximum_bitrate,
    receiver_report,
    reported_ssrcs,
    rtcp_packets,
    rtp_payload,
    transport_feedback,
)

READ_EVERY_S = 0.002
REPORT_EVERY_S = 1.0
# Chromium's at the rate of a full picture; not more packets in one than fit a datagram.
FEEDBACK_EVERY_S = 0.05
FEEDBACK_PACKETS_MAX = 250
TALKERS = 3
TALKER_CHANGES_EVERY_S = 4.0
REMB_BPS = 20_000_000
SAMPLES_PER_S = 1500
LATENCIES_MAX = 200_000
JOIN_TIMEOUT_S = 20.0
STAGE_HEIGHT_PX, THUMBNAIL_HEIGHT_PX = 720, 180
WIDE_ELEMENT = EXTENSION_IDS[TRANSPORT_WIDE_URI] << 4 | 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What the bots are to do, as handed over by `benchmarks.conference`."""

    url: str
    invitations: list[str]
    publishers: int
    thumbnails: int
    is_simulcast: bool
    seconds: float
    settle_s: float
    joins_per_s: float
    server_pid: int
    media_port: int


@dataclass(slots=True)
class Tally:
    """What went wrong or is worth knowing, over the whole run."""

    join_ms: list[float] = field(default_factory=list)
    first_picture_ms: list[float] = field(default_factory=list)
    join_failures: list[str] = field(default_factory=list)
    signalling_errors: dict[str, int] = field(default_factory=dict)
    websockets_lost: int = 0
    samples: int = 0
    samples_damaged: int = 0
    transport_feedback: int = 0
    rtcp_received: int = 0
    keyframes_asked: int = 0
    latencies: int = 0
    latencies_ns: list[int] = field(default_factory=list)


class Schedule:
    """Actions in order of their due time; an action returns when it wants to run again, or None."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], float | None]]] = []
        self._ties = itertools.count()

    def add(self, due: float, action: Callable[[], float | None]) -> None:
        heapq.heappush(self._heap, (due, next(self._ties), action))

    def run(self) -> None:
        """Run what is due."""
        heap = self._heap
        while heap and heap[0][0] <= time.monotonic():
            _, _, action = heapq.heappop(heap)
            again = action()
            if again is not None:
                self.add(again, action)


class Bot:
    """One participant of the conference."""

    def __init__(
        self,
        index: int,
        plan: Plan,
        identity: ClientIdentity,
        schedule: Schedule,
        counts: StreamCounts,
        tally: Tally,
    ) -> None:
        self.index = index
        self._plan = plan
        self._identity = identity
        self._schedule = schedule
        self._counts = counts
        self._tally = tally
        self.is_publisher = index < plan.publishers
        self.link = Link(identity, self._link_connected)
        self.uplink = Uplink(self.link.send, index)
        self.streams: dict[int, OutgoingStream] = {}
        self.cameras: dict[tuple[str, str | None], Camera] = {}
        self.microphone: Microphone | None = None
        self.slot_ssrcs: dict[str, list[int]] = {}
        self.participant = ""
        self.started_ns = 0
        self._ssrc = random.getrandbits(32)
        self._answer = Answer()
        self._websocket: aiohttp.ClientWebSocketResponse | None = None
        self._expected: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._connected = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._last_sender_report: dict[int, tuple[int, float]] = {}
        self._reported: dict[int, tuple[int, int]] = {}
        # Transport-wide: arrivals in µs by number since the last feedback, the next to tell, and a count.
        self.arrivals_us: dict[int, int] = {}
        self._feedback_base: int | None = None
        self._feedback_count = 0

    async def join(self, session: aiohttp.ClientSession) -> None:
        """From the click to keys on both sides; records how long it took."""
        self.started_ns = time.time_ns()
        started = time.monotonic()
        async with session.post(
            "/api/join", json={"invitation": self._plan.invitations[self.index]}
        ) as reply:
            reply.raise_for_status()
            token = (await reply.json())["token"]
        self._websocket = await session.ws_connect("/ws", protocols=["hoichan.v1"], max_msg_size=1 << 20)
        self._reading = asyncio.create_task(self._read_messages(self._websocket))
        welcome = await self._ask(
            {
                "type": "join",
                "version": 1,
                "token": token,
                "name": f"Bot {self.index}",
                "client": {"agent": "bot", "language": "vi"},
            },
            "welcome",
        )
        self.participant = welcome["participant"]
        lines = self._lines()
        offer = build_offer(
            lines, ufrag=self.link.ufrag, pwd=self.link.pwd, fingerprint=self._identity.fingerprint
        )
        reply_message = await self._ask(
            {
                "type": "offer",
                "id": 1,
                "sdp": offer.sdp,
                "publications": offer.publications,
                "slots": offer.slots,
            },
            "answer",
        )
        self._answer = parse_answer(reply_message["sdp"])
        for mid, role in offer.slots.items():
            answered = self._answer.lines.get(mid)
            if answered is not None and answered.ssrcs:
                self.slot_ssrcs.setdefault(role, []).append(answered.ssrcs[0])
        heights = {
            mid: THUMBNAIL_HEIGHT_PX if role == "thumbnail" else STAGE_HEIGHT_PX
            for mid, role in offer.slots.items()
            if role != "voice"
        }
        await self._say(
            {
                "type": "view",
                "heights": heights,
                "thumbnails": {"first": 0, "count": self._plan.thumbnails},
            }
        )
        self.link.connect(self._answer)
        self._schedule.add(time.monotonic(), self.link.check)
        await self._connected
        self._tally.join_ms.append((time.monotonic() - started) * 1000)
        if self.is_publisher:
            for source in ("microphone", "camera"):
                await self._say({"type": "mute", "source": source, "muted": False})
            self._publish(offer.publications)
        self._schedule.add(time.monotonic() + random.random() * REPORT_EVERY_S, self._report)
        self._schedule.add(time.monotonic() + random.random() * FEEDBACK_EVERY_S, self._tell_arrivals)

    async def take_stage(self) -> None:
        """The chair puts its own camera on everybody's stage."""
        await self._say({"type": "stage", "participant": self.participant})

    async def leave(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._websocket is not None:
            await self._websocket.close()
        self.link.close()

    # Signalling.

    def _lines(self) -> list[OfferedLine]:
        if self._plan.is_simulcast:
            return client_lines(thumbnails=self._plan.thumbnails)
        camera_ssrcs = (self._ssrc + 8 & 0xFFFFFFFF,)
        return client_lines(thumbnails=self._plan.thumbnails, camera_rids=(), camera_ssrcs=camera_ssrcs)

    async def _say(self, message: dict[str, Any]) -> None:
        assert self._websocket is not None
        await self._websocket.send_str(json.dumps(message))

    async def _ask(self, message: dict[str, Any], answer_type: str) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._expected[answer_type] = future
        await self._say(message)
        return await future

    async def _read_messages(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in websocket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            # Most of what a big room says is for its pages; the bots need three kinds.
            message = json.loads(frame.data)
            kind = message.get("type", "")
            if kind == "layers":
                self._set_layers(message["layers"])
            elif kind == "error":
                code = str(message.get("code"))
                self._tally.signalling_errors[code] = self._tally.signalling_errors.get(code, 0) + 1
                for future in self._expected.values():
                    if not future.done():
                        future.set_exception(ConnectionError(f"{code}: {message}"))
            elif kind in self._expected and not self._expected[kind].done():
                self._expected[kind].set_result(message)
        self._tally.websockets_lost += 1
        for future in self._expected.values():
            if not future.done():
                future.set_exception(ConnectionError("the WebSocket was closed"))

    def _set_layers(self, layers: dict[str, list[str]]) -> None:
        for (mid, rid), camera in self.cameras.items():
            if mid in layers and rid is not None:
                camera.set_active(rid in layers[mid])

    # Transport.

    def _link_connected(self, error: Exception | None) -> None:
        if self._connected.done():
            return
        if error is not None:
            self._connected.set_exception(error)
            return
        self.uplink.session = self.link.outbound
        self._connected.set_result(None)

    def receive_control(self, data: bytes) -> None:
        """Anything that is not RTP: STUN, DTLS, RTCP (RFC 7983)."""
        if data and 128 <= data[0] < 192:
            if self.link.inbound is not None:
                self._receive_rtcp(self.link.inbound.unprotect_rtcp(data))
        else:
            self.link.receive(data)

    def _receive_rtcp(self, compound: bytes) -> None:
        self._tally.rtcp_received += 1
        for packet in rtcp_packets(compound):
            if packet.packet_type in (RTCP_SENDER_REPORT, RTCP_RECEIVER_REPORT):
                for ssrc in reported_ssrcs(packet):
                    if ssrc in self.streams:
                        self.streams[ssrc].is_reported = True
                if packet.packet_type == RTCP_SENDER_REPORT and len(packet.body) >= 12:
                    ssrc = int.from_bytes(packet.body[:4], "big")
                    middle = int.from_bytes(packet.body[6:10], "big")
                    self._last_sender_report[ssrc] = (middle, time.monotonic())
            elif packet.packet_type == RTCP_TRANSPORT_FEEDBACK and packet.count == 15:
                self._tally.transport_feedback += 1
            for ssrc in keyframe_wanted_ssrcs(packet):
                stream = self.streams.get(ssrc)
                if isinstance(stream, Camera):
                    self._tally.keyframes_asked += 1
                    stream.request_keyframe()

    # Media.

    def _publish(self, publications: Any) -> None:
        mids = {source: mid for mid, source in publications.items()}
        shapes: tuple[VideoShape, ...] = SIMULCAST_SHAPES if self._plan.is_simulcast else (LECTURE_SHAPE,)
        mid = mids["microphone"]
        self.microphone = Microphone(
            self.uplink,
            self._ssrc + 1 & 0xFFFFFFFF,
            index=0,
            mid=mid,
            extension_ids=self._answer.lines[mid].extension_ids,
        )
        self._start(self.microphone)
        mid = mids["camera"]
        for number, shape in enumerate(shapes):
            camera = Camera(
                self.uplink,
                self._ssrc + 8 + number & 0xFFFFFFFF,
                shape,
                index=1 + number,
                mid=mid,
                extension_ids=self._answer.lines[mid].extension_ids,
            )
            self.cameras[mid, shape.rid] = camera
            self._start(camera)

    def _start(self, stream: OutgoingStream) -> None:
        self.streams[stream.ssrc] = stream
        packets = stream.run()
        # Bots that join together must not send in step.
        self._schedule.add(time.monotonic() + random.random() / 30, lambda: next(packets))

    def _tell_arrivals(self) -> float:
        """Transport-wide feedback on all that came since the last one."""
        arrived, self.arrivals_us = self.arrivals_us, {}
        if arrived:
            numbers = iter(arrived)
            base = next(numbers) if self._feedback_base is None else self._feedback_base
            last = max(((number - base + 0x8000) & 0xFFFF) - 0x8000 for number in arrived)
            for start in range(0, last + 1, FEEDBACK_PACKETS_MAX):
                stop = min(start + FEEDBACK_PACKETS_MAX, last + 1)
                told = [arrived.get((base + n) & 0xFFFF) for n in range(start, stop)]
                if any(told):
                    self._feedback_count += 1
                    self.uplink.send_rtcp(
                        transport_feedback(self._ssrc, base + start, self._feedback_count, told)
                    )
            self._feedback_base = (base + max(last + 1, 0)) & 0xFFFF
        return time.monotonic() + FEEDBACK_EVERY_S

    def _report(self) -> float:
        """Receiver report, with REMB where that was agreed, and a sender report a stream; once a second."""
        now = time.monotonic()
        blocks = [self._report_block(ssrc, now) for ssrcs in self.slot_ssrcs.values() for ssrc in ssrcs]
        heard = [block for block in blocks if block is not None]
        if heard:
            video = [ssrc for role in ("stage", "thumbnail") for ssrc in self.slot_ssrcs.get(role, [])]
            compound = receiver_report(self._ssrc, heard)
            if self._feedback_base is None:
                # Who is told no transport-wide numbers estimates the line itself.
                compound += receiver_estimated_maximum_bitrate(self._ssrc, REMB_BPS, video)
            self.uplink.send_rtcp(compound)
        for stream in self.streams.values():
            if stream.has_sent and stream.is_active:
                self.uplink.send_rtcp(stream.report(now))
        return now + REPORT_EVERY_S

    def _report_block(self, ssrc: int, now: float) -> ReportBlock | None:
        found = self._counts.progress(self.index, ssrc)
        if found is None:
            return None
        expected, received, highest = found
        expected_before, received_before = self._reported.get(ssrc, (0, 0))
        self._reported[ssrc] = (expected, received)
        interval = expected - expected_before
        lost = max(0, interval - (received - received_before))
        middle, at = self._last_sender_report.get(ssrc, (0, now))
        return ReportBlock(
            ssrc,
            min(255, lost * 256 // interval) if interval > 0 else 0,
            expected - received,
            highest,
            middle,
            int((now - at) * 65536) & 0xFFFFFFFF if middle else 0,
        )


class Fleet:
    """All bots of the process, their sockets' reader and their books."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.tally = Tally()
        self._schedule = Schedule()
        self._counts = StreamCounts()
        identity = ClientIdentity()
        self.bots = [
            Bot(index, plan, identity, self._schedule, self._counts, self.tally)
            for index in range(len(plan.invitations))
        ]
        self._arena = Arena()
        self._epoll = select.epoll()
        self._owners = {bot.link.sock.fileno(): bot.index for bot in self.bots}
        for fileno in self._owners:
            self._epoll.register(fileno, select.EPOLLIN)
        self._random = np.random.default_rng(2)
        self._sample_share = 0.02
        self._is_sampling = False
        self._talkers: list[Bot] = []
        self._read_at = 0.0
        self._is_closing = False

    async def run(self) -> dict[str, Any]:
        """Join, settle, measure one steady window, leave."""
        self._tick()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._plan.url, connector=connector) as session:
            await self._join_all(session)
            self._schedule.add(time.monotonic(), self._change_talkers)
            await asyncio.sleep(self._plan.settle_s)
            gc.collect()
            gc.freeze()
            result = await self._measure()
            self._is_closing = True
            await asyncio.gather(*(bot.leave() for bot in self.bots))
        return result

    async def _join_all(self, session: aiohttp.ClientSession) -> None:
        joins = []
        for bot in self.bots:
            joins.append(asyncio.create_task(self._join(bot, session)))
            if bot.index == 0:
                # The chair opens the room, so that nobody waits for it.
                await joins[0]
                if not self.tally.join_failures:
                    await bot.take_stage()
            await asyncio.sleep(1 / self._plan.joins_per_s)
        await asyncio.gather(*joins)

    async def _join(self, bot: Bot, session: aiohttp.ClientSession) -> None:
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await bot.join(session)
        except (ConnectionError, TimeoutError, aiohttp.ClientError, KeyError) as error:
            self.tally.join_failures.append(f"{type(error).__name__}: {error}"[:300])

    def _change_talkers(self) -> float:
        """Three people talk; every few seconds one hands over to another."""
        microphones = [bot for bot in self.bots if bot.microphone is not None]
        if len(self._talkers) >= min(TALKERS, len(microphones)) and self._talkers:
            self._talkers.pop(0)
        quiet = [bot for bot in microphones if bot not in self._talkers]
        while quiet and len(self._talkers) < TALKERS:
            self._talkers.append(quiet.pop(random.randrange(len(quiet))))
        for bot in microphones:
            assert bot.microphone is not None
            bot.microphone.is_talking = bot in self._talkers
        return time.monotonic() + TALKER_CHANGES_EVERY_S

    # Reading.

    def _tick(self) -> None:
        if self._is_closing:
            return
        self._schedule.run()
        if time.monotonic() >= self._read_at:
            self._read()
            self._read_at = time.monotonic() + READ_EVERY_S
        asyncio.get_running_loop().call_later(0.001, self._tick)

    def _read(self) -> None:
        arena = self._arena
        for fileno, _ in self._epoll.poll(0, len(self.bots)):
            owner = self._owners[fileno]
            while True:
                if arena.room < VECTOR_MAX:
                    self._absorb()
                    # A long reading must not hold up what the bots send.
                    self._schedule.run()
                if arena.read(fileno, owner) < VECTOR_MAX:
                    break
        if arena.count:
            self._absorb()

    def _absorb(self) -> None:
        arena = self._arena
        count = arena.count
        kinds = arena.data[:count, 1]
        is_rtp = ((arena.data[:count, 0] & 0xC0) == 0x80) & ((kinds < 192) | (kinds > 223))
        rows = np.flatnonzero(is_rtp)
        if len(rows):
            sequence_numbers = arena.data[rows, 2:4].view(">u2").ravel()
            ssrcs = arena.data[rows, 8:12].view(">u4").ravel()
            arrivals_ns = arena.arrivals_ns()[rows]
            fresh = self._counts.add(
                arena.owners[rows], ssrcs, sequence_numbers, arena.lengths()[rows], arrivals_ns
            )
            self._note_numbers(rows, arrivals_ns)
            # The first of each stream is always opened, so that libsrtp knows where the numbers began.
            sampled = self._random.random(len(rows)) < self._sample_share
            sampled[fresh] = True
            for at in np.flatnonzero(sampled).tolist():
                self._sample(int(rows[at]), int(arrivals_ns[at]))
        if len(rows) < count:
            for row in np.flatnonzero(~is_rtp).tolist():
                self.bots[int(arena.owners[row])].receive_control(arena.datagram(row))
        arena.clear()

    def _note_numbers(self, rows: NDArray[np.int64], arrivals_ns: NDArray[np.int64]) -> None:
        """Keep when each transport-wide number came: it is in the clear, in the last extension element."""
        data = self._arena.data
        at = np.where(data[rows, 1] & 0x7F < OPUS, 16, 18)
        is_numbered = data[rows, at] == WIDE_ELEMENT
        chosen, at = rows[is_numbered], at[is_numbered]
        numbers = data[chosen, at + 1].astype(np.int64) << 8 | data[chosen, at + 2]
        owners = self._arena.owners[chosen].tolist()
        arrivals_us = (arrivals_ns[is_numbered] // 1000).tolist()
        for owner, number, arrival_us in zip(owners, numbers.tolist(), arrivals_us, strict=True):
            self.bots[owner].arrivals_us[number] = arrival_us

    def _sample(self, row: int, arrival_ns: int) -> None:
        bot = self.bots[int(self._arena.owners[row])]
        if bot.link.inbound is None:
            return
        data = self._arena.datagram(row)
        try:
            packet = bot.link.inbound.unprotect(data)
        except pylibsrtp.Error:
            self.tally.samples_damaged += 1
            return
        payload_type, payload = packet[1] & 0x7F, rtp_payload(packet)
        is_repeated = payload_type == VP8_RTX
        if is_repeated:
            # Its former number stands before what was sent then (RFC 4588, 4).
            payload = payload[2:]
        stamp = read_stamp(payload, is_video=payload_type < OPUS)
        self.tally.samples += 1
        if stamp is None:
            self.tally.samples_damaged += 1
        elif self._is_sampling and arrival_ns and not is_repeated:
            self._keep_latency(arrival_ns - stamp.sent_ns)

    def _keep_latency(self, latency_ns: int) -> None:
        """A reservoir, so that an hour's soak weighs no more than a minute."""
        kept = self.tally.latencies_ns
        self.tally.latencies += 1
        if len(kept) < LATENCIES_MAX:
            kept.append(latency_ns)
        else:
            place = random.randrange(self.tally.latencies)
            if place < LATENCIES_MAX:
                kept[place] = latency_ns

    # Measuring.

    async def _measure(self) -> dict[str, Any]:
        rate = await self._received_per_s(0.5)
        self._sample_share = min(1.0, SAMPLES_PER_S / max(rate, 1.0))
        ports = {bot.link.sock.getsockname()[1] for bot in self.bots}
        bot_drops, server_drops = drops_of_ports(ports), drops_of_ports({self._plan.media_port})
        self._is_sampling = True
        before = self._counts.snapshot()
        sent_before = sum(bot.uplink.packets_sent for bot in self.bots)
        keyframes_before = self.tally.keyframes_asked
        cpu_before, own_before, began = cpu_s(self._plan.server_pid), time.process_time(), time.monotonic()
        await asyncio.sleep(self._plan.seconds)
        cpu_after, own_after, ended = cpu_s(self._plan.server_pid), time.process_time(), time.monotonic()
        sent = sum(bot.uplink.packets_sent for bot in self.bots) - sent_before
        after = self._counts.snapshot()
        self._is_sampling = False
        elapsed_s = ended - began
        received, received_bytes, expected = self._counts.difference(before, after)
        total = int(received.sum())
        server_s = cpu_after - cpu_before
        return {
            "points": len(self.bots),
            "seconds": round(elapsed_s, 2),
            "packets_in_per_s": round(sent / elapsed_s, 1),
            "packets_out_per_s": round(total / elapsed_s, 1),
            "megabits_out_per_s": round(int(received_bytes.sum()) * 8e-6 / elapsed_s, 1),
            "server_cpu_us_per_forwarded_packet": round(server_s * 1e6 / max(total, 1), 2),
            "server_cpu_percent": round(100 * server_s / elapsed_s, 1),
            "loss_ratio": ratio(int(np.maximum(expected - received, 0).sum()), int(expected.sum())),
            "latency_ms": percentiles([ns / 1e6 for ns in self.tally.latencies_ns], (50, 95, 99)),
            "join_ms": percentiles(self.tally.join_ms, (50, 99)),
            "first_picture_ms": percentiles(self._first_pictures_ms(), (50, 99)),
            "rss_mb": round(resident_mb(self._plan.server_pid), 1),
            "slots_live": self._slots_live(received),
            "samples_checked": self.tally.samples,
            "samples_damaged": self.tally.samples_damaged,
            "bot_socket_drops": drops_of_ports(ports) - bot_drops,
            "server_socket_drops": drops_of_ports({self._plan.media_port}) - server_drops,
            "datagrams_unsent": sum(bot.link.datagrams_unsent for bot in self.bots),
            "keyframes_asked": self.tally.keyframes_asked - keyframes_before,
            "bots_cpu_percent": round(100 * (own_after - own_before) / elapsed_s, 1),
            "join_failures": len(self.tally.join_failures),
            "join_failure_examples": self.tally.join_failures[:3],
            "signalling_errors": self.tally.signalling_errors,
            "websockets_lost": self.tally.websockets_lost,
        }

    async def _received_per_s(self, seconds: float) -> float:
        before = int(self._counts.received.sum())
        await asyncio.sleep(seconds)
        return (int(self._counts.received.sum()) - before) / seconds

    def _first_pictures_ms(self) -> list[float]:
        """From the click to the first packet of the stage's picture; the chair came before there was one."""
        found = []
        for bot in self.bots[1:]:
            for ssrc in bot.slot_ssrcs.get("stage", []):
                arrival_ns = self._counts.first_arrival(bot.index, ssrc)
                if arrival_ns:
                    found.append((arrival_ns - bot.started_ns) / 1e6)
        return found

    def _slots_live(self, received: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
        """How many slots of each role carried packets in the window, on average; the chair does not count."""
        live: dict[str, int] = {}
        for bot in self.bots[1:]:
            for role, ssrcs in bot.slot_ssrcs.items():
                for ssrc in ssrcs:
                    place = self._counts.place(bot.index, ssrc)
                    live[role] = live.get(role, 0) + (place is not None and received[place] > 0)
        return {role: round(count / (len(self.bots) - 1), 3) for role, count in live.items()}


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def ratio(part: int, whole: int) -> float:
    return round(part / whole, 7) if whole else 0.0


def percentiles(values: list[float], which: tuple[int, ...]) -> dict[str, float | None]:
    """Named p50, p95 ...; None when nothing was measured."""
    if not values:
        return {f"p{number}": None for number in which}
    return {f"p{number}": round(float(np.percentile(values, number)), 3) for number in which}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, required=True, help="the core to stay on")
    parser.add_argument("plan", type=argparse.FileType("r"), help="a Plan as JSON; - for standard input")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    plan = Plan(**json.load(options.plan))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        fleet = runner.run(_fleet(plan))
    print(json.dumps(fleet))
    sys.exit(1 if fleet["join_failures"] else 0)


async def _fleet(plan: Plan) -> dict[str, Any]:
    return await Fleet(plan).run()


if __name__ == "__main__":
    main()
