"""Where a packet's microseconds go: each step of the way through the bridge, timed in one process.

The real media port, forwarding unit and fan-out, with real clients on loopback; only the steps are called one
by one, a frame's packets at a time, instead of by the event loop. CPU time of the thread, median over frames.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.dtls import KEY_BYTES, SALT_BYTES, ClientIdentity, srtp_session
from benchmarks.floor import Burst
from benchmarks.link import Link
from benchmarks.offers import build_offer, client_lines, parse_answer
from benchmarks.publishing import KEYFRAME_FACTOR, LECTURE_SHAPE, Camera, Uplink
from benchmarks.receiving import VECTOR_MAX, Arena, open_socket
from bridge.base.counters import PortCounters, SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.leg import Leg
from bridge.rtp.header import EXTENSION_URIS, ExtensionIds, parse_rtp
from bridge.sfu import Router, Sfu
from bridge.transport import Certificate, MediaPort, mmsg, srtp

CAMERA_SSRC = 4_000_000
CONNECT_TIMEOUT_S = 30.0


class _Silent:
    """Observes a leg and a router, and has nothing to say about it."""

    def leg_connected(self) -> None: ...

    def leg_closed(self, reason: str) -> None: ...

    def publication_live(self, source: Source, is_live: bool) -> None: ...

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None: ...

    def line_cut(self, is_cut: bool) -> None: ...

    def slots_changed(self) -> None: ...

    def dominant_speaker_changed(self, leg_id: str | None) -> None: ...

    def voices_changed(self, leg_ids: tuple[str, ...]) -> None: ...


class Client:
    """A connected client of the forwarding unit in this process, without signalling."""

    def __init__(self, router: Router, identity: ClientIdentity, index: int) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.leg: Leg = router.create_leg(f"leg-{index}", _Silent())
        self.link = Link(identity, self._link_connected)
        lines = client_lines(thumbnails=0, camera_rids=(), camera_ssrcs=(CAMERA_SSRC + index,))
        offer = build_offer(lines, ufrag=self.link.ufrag, pwd=self.link.pwd, fingerprint=identity.fingerprint)
        publications = {mid: Source(source) for mid, source in offer.publications.items()}
        slots = {mid: SlotRole(role) for mid, role in offer.slots.items()}
        self.answer = parse_answer(self.leg.negotiate(offer.sdp, publications, slots))
        self.camera_mid = next(mid for mid, source in offer.publications.items() if source == "camera")
        self.link.connect(self.answer)
        loop.add_reader(self.link.sock.fileno(), self._read)

    async def connect(self) -> None:
        """Check and shake hands; the caller gives the time-out."""
        while not self.connected.done():
            self.link.check()
            await asyncio.sleep(0.02)
        await self.connected
        asyncio.get_running_loop().remove_reader(self.link.sock.fileno())

    def _link_connected(self, error: Exception | None) -> None:
        if error is not None:
            self.connected.set_exception(error)
        else:
            self.connected.set_result(None)

    def _read(self) -> None:
        try:
            self.link.receive(self.link.sock.recv(2048))
        except BlockingIOError:
            pass


@dataclass(frozen=True, slots=True)
class PacketPath:
    """Microseconds: per incoming packet above, per outgoing packet below."""

    receivers: int
    receive_us: float
    unprotect_us: float
    parse_us: float
    account_us: float
    forward_us: float
    patch_us: float
    protect_us: float
    send_us: float
    # From parse to send without a stop, per outgoing packet: what the steps leave out shows here.
    leg_us: float

    @property
    def per_forwarded_packet_us(self) -> float:
        """All steps of one incoming packet, shared by its copies."""
        incoming = self.receive_us + self.unprotect_us + self.parse_us + self.account_us + self.forward_us
        return incoming / self.receivers + self.patch_us + self.protect_us + self.send_us


class Stopwatch:
    """CPU time of this thread by step, per item."""

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = {}

    def time(self, step: str, items: int, action: Callable[[], Any]) -> Any:
        """Run `action`, which handles `items`, and book its time under `step`."""
        began = time.thread_time_ns()
        result = action()
        spent = time.thread_time_ns() - began
        self._samples.setdefault(step, []).append(spent / items / 1000)
        return result

    def median_us(self, step: str) -> float:
        return float(np.median(self._samples[step]))


async def measure(receivers: int, frames: int) -> PacketPath:
    """Connect `receivers` clients, then walk the packets of `frames` frames through the bridge."""
    port = await MediaPort.open(
        host="127.0.0.1",
        port=0,
        announced=(),
        certificate=Certificate.generate(),
        counters=PortCounters(),
        tcp=False,
    )
    sfu = Sfu(port=port, counters=SfuCounters())
    router = sfu.create_router(_Silent())
    identity = ClientIdentity()
    clients = [Client(router, identity, index) for index in range(receivers + 1)]
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        await asyncio.gather(*(client.connect() for client in clients))
    stopwatch = Stopwatch()
    walk = Walk(sfu, clients[0], clients[1:])
    await walk.begin()
    for _ in range(frames):
        walk.frame(stopwatch)
        walk.whole(stopwatch)
        walk.alone(stopwatch)
    walk.close()
    await sfu.stop()
    await port.close()
    for client in clients:
        client.link.close()
    fan_out_us = stopwatch.median_us("fan-out")
    protect_us, send_us = stopwatch.median_us("protect"), stopwatch.median_us("send")
    return PacketPath(
        receivers=receivers,
        receive_us=stopwatch.median_us("receive"),
        unprotect_us=stopwatch.median_us("unprotect"),
        parse_us=stopwatch.median_us("parse"),
        account_us=stopwatch.median_us("account"),
        forward_us=stopwatch.median_us("forward"),
        patch_us=fan_out_us - protect_us - send_us,
        protect_us=protect_us,
        send_us=send_us,
        leg_us=stopwatch.median_us("whole"),
    )


class Walk:
    """One camera on everybody's stage, its packets taken through the bridge step by step."""

    def __init__(self, sfu: Sfu, publisher: Client, watchers: Sequence[Client]) -> None:
        self._sfu = sfu
        self._leg = publisher.leg
        self._watchers = watchers
        key = os.urandom(KEY_BYTES + SALT_BYTES)
        self._sent: list[bytes] = []
        uplink = Uplink(self._sent.append, 0)
        uplink.session = srtp_session(key, is_outbound=True)
        self._inbound = srtp_session(key, is_outbound=False)
        self._srtp = srtp.pointer(self._inbound)
        extension_ids = publisher.answer.lines[publisher.camera_mid].extension_ids
        self._camera = Camera(
            uplink, CAMERA_SSRC, LECTURE_SHAPE, index=1, mid=publisher.camera_mid, extension_ids=extension_ids
        )
        self._packets = self._camera.run()
        self._near, self._far = open_socket(), open_socket()
        self._near.connect(self._far.getsockname())
        mmsg.tune(self._far, buffer_bytes=4 << 20, wants_local_address=False)
        self._receiver = mmsg.Receiver(self._far)
        self._arena = Arena()
        # The floor's sockets, for what the fan-out does not show of itself.
        self._ears = [open_socket() for _ in watchers]
        self._burst = Burst([ear.getsockname()[1] for ear in self._ears])
        self._burst_number = 0
        known = [uri for uri in extension_ids if uri in EXTENSION_URIS]
        self._ids = ExtensionIds({extension_ids[uri]: EXTENSION_URIS[uri] for uri in known})

    async def begin(self) -> None:
        """Put the camera on every stage and let its key frame switch it there."""
        self._feed_frame(KEYFRAME_FACTOR)
        publication = self._leg.publication(Source.CAMERA)
        for watcher in self._watchers:
            slot = watcher.leg.slots(SlotRole.STAGE)[0]
            watcher.leg.want(slot.mid, LECTURE_SHAPE.height_px)
            watcher.leg.show(slot, publication)
        await asyncio.sleep(0.2)
        self._camera.request_keyframe()
        self._feed_frame(1)
        self._feed_frame(KEYFRAME_FACTOR)
        self._drain()

    def frame(self, stopwatch: Stopwatch) -> None:
        """Time every step for the packets of one frame."""
        self._next_frame(1)
        count = len(self._sent)
        for data in self._sent:
            self._near.send(data)
        receiver = self._receiver
        received = stopwatch.time("receive", count, receiver.receive)
        if received != count:
            raise ConnectionError(f"{received} of {count} datagrams arrived")
        clear = stopwatch.time("unprotect", count, lambda: [self._unprotect(slot) for slot in range(count)])
        parsed = stopwatch.time("parse", count, lambda: [parse_rtp(data, self._ids) for data in clear])
        publication = self._leg.publication(Source.CAMERA)
        assert publication is not None
        (encoding,) = publication.encodings.values()
        now = time.monotonic()
        media = stopwatch.time("account", count, lambda: [encoding.receive(one, now) for one in parsed])
        fanout = self._sfu.port.fanout
        for packet in media:
            found = stopwatch.time("forward", 1, partial(encoding.forward, packet))
            if found is None or found[1] != len(self._watchers):
                raise ConnectionError(f"shown to {found and found[1]} of {len(self._watchers)}")
            rows, copies = found
            stopwatch.time("fan-out", copies, partial(fanout.send, packet, rows, copies, now))
        self._drain()

    def whole(self, stopwatch: Stopwatch) -> None:
        """Time a frame's clear packets through the leg in one go, as the media port hands them over."""
        self._next_frame(1)
        for data in self._sent:
            clear = self._inbound.unprotect(data)
            now = time.monotonic()
            stopwatch.time("whole", len(self._watchers), partial(self._leg.receive_rtp, clear, now))
        self._drain()

    def alone(self, stopwatch: Stopwatch) -> None:
        """Time protection and sendmmsg for a frame, with nothing around them."""
        copies = self._burst.rows
        for _ in range(LECTURE_SHAPE.packets_per_frame):
            self._burst.fill(self._burst_number, LECTURE_SHAPE.packet_bytes)
            self._burst_number += 1
            stopwatch.time("protect", copies, self._burst.protect)
            stopwatch.time("send", copies, self._burst.send)
        self._drain()

    def close(self) -> None:
        """Free the sockets."""
        self._burst.close()
        for ear in self._ears:
            ear.close()
        self._near.close()
        self._far.close()

    def _unprotect(self, slot: int) -> bytes:
        receiver = self._receiver
        if srtp.unprotect(self._srtp, receiver.packet_pointers[slot], receiver.length_pointers[slot]):
            raise ValueError("unprotect failed")
        start = slot * mmsg.MTU_BYTES_MAX
        return bytes(receiver.view[start : start + receiver.header_words[16 * slot + 14]])

    def _next_frame(self, factor: int) -> None:
        self._sent.clear()
        for _ in range(LECTURE_SHAPE.packets_per_frame * factor):
            next(self._packets)

    def _feed_frame(self, factor: int) -> None:
        self._next_frame(factor)
        for data in self._sent:
            self._leg.receive_rtp(self._inbound.unprotect(data), time.monotonic())

    def _drain(self) -> None:
        for sock in (*(watcher.link.sock for watcher in self._watchers), *self._ears):
            while self._arena.read(sock.fileno(), 0) == VECTOR_MAX:
                self._arena.clear()
            self._arena.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=30, help="receivers of the packet")
    parser.add_argument("--frames", type=int, default=300, help="frames of six packets to walk through")
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    path = asyncio.run(measure(options.points, options.frames))
    result = {name: round(value, 2) for name, value in asdict(path).items()}
    result["per_forwarded_packet_us"] = round(path.per_forwarded_packet_us, 2)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:28} {value}")


if __name__ == "__main__":
    main()
