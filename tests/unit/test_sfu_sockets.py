"""The forwarding unit over the real media port: one publisher and two watchers on real sockets."""

import asyncio
import time

from ice_client import IceClient, eventually, open_port
from meeting import SLOT_IDS, offer
from streams import Piece, VideoEncoding

from bridge.base.counters import SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.leg import Leg
from bridge.rtp import rtcp
from bridge.rtp.header import parse_rtp
from bridge.sfu import Router, Sfu
from bridge.transport import MediaPort


class Quiet:
    """Observes a leg and a router, and does nothing about it."""

    def leg_connected(self) -> None: ...

    def leg_closed(self, reason: str) -> None: ...

    def publication_live(self, source: Source, is_live: bool) -> None: ...

    def layers_wanted(self, layers: object) -> None: ...

    def line_cut(self, is_cut: bool) -> None: ...

    def slots_changed(self) -> None: ...

    def dominant_speaker_changed(self, leg_id: str | None) -> None: ...

    def voices_changed(self, leg_ids: tuple[str, ...]) -> None: ...


async def join(port: MediaPort, router: Router, name: str, *, publishes: bool) -> tuple[IceClient, Leg]:
    client = IceClient()
    leg = router.create_leg(name, Quiet())
    algorithm, digest = next(one for one in client.fingerprints if one[0] == "sha-256")
    text = offer(
        {"1": ("video", ("vp8",), ("l", "m", "h"))} if publishes else {},
        {} if publishes else {"13": ("video", ("vp8", "h264"))},
        ice=(client.ufrag, client.pwd),
        fingerprint=f"{algorithm} {digest}",
    )
    publications = {"1": Source.CAMERA} if publishes else {}
    leg.negotiate(text, publications, {} if publishes else {"13": SlotRole.STAGE})
    client.use_credentials(leg.transport.local_ufrag, leg.transport.local_pwd)
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    await client.shake_hands(port.fingerprint)
    await eventually(lambda: leg.is_connected)
    return client, leg


def keyframes_asked(client: IceClient) -> set[int]:
    packets = [packet for data in client.rtcp for packet in rtcp.parse_rtcp(data)[0]]
    return {packet.media_ssrc for packet in packets if isinstance(packet, rtcp.PictureLossIndication)}


async def test_two_watchers_see_a_publisher_and_get_what_they_missed() -> None:
    port = await open_port()
    sfu = Sfu(port=port, counters=SfuCounters())
    sfu.start()
    router = sfu.create_router(Quiet())
    publisher, publishing = await join(port, router, "publisher", publishes=True)
    watchers = [await join(port, router, f"watcher-{number}", publishes=False) for number in range(2)]
    encoding = VideoEncoding(mid="1", rid="l", ssrc=4711, codec="vp8", has_rtx=True, numbers=65_500)

    def send_picture() -> None:
        for data in encoding.picture(time.monotonic(), 30.0):
            publisher.send_rtp(data)

    publication = publishing.publication(Source.CAMERA)
    assert publication is not None
    send_picture()
    await eventually(lambda: publication.is_live)
    for _, leg in watchers:
        leg.show(leg.slots(SlotRole.STAGE)[0], publication)
    await publisher.until(lambda: encoding.ssrc in keyframes_asked(publisher))
    encoding.wants_keyframe = True
    sent = encoding.stream.packets
    for _ in range(60):
        send_picture()
        await asyncio.sleep(0)
    sent = encoding.stream.packets - sent
    for client, leg in watchers:
        ssrc = leg.slots(SlotRole.STAGE)[0].ssrc
        await client.until(lambda client=client: len(client.rtp) >= sent)
        packets = [parse_rtp(data, SLOT_IDS) for data in client.rtp]
        assert {packet.ssrc for packet in packets} == {ssrc}
        numbers = [packet.sequence_number for packet in packets]
        assert numbers == [(numbers[0] + place) & 0xFFFF for place in range(len(numbers))]
        pieces = [Piece.of(packet.payload) for packet in packets]
        assert pieces[0].is_keyframe
        assert sorted({piece.picture for piece in pieces}) == list(range(2, 62))
        assert len(pieces) == sent
        client.rtp.clear()
        client.send_rtcp(rtcp.Nack(1, ssrc, (numbers[30],)).pack())
        await client.until(lambda client=client: len(client.rtp) == 1)
        repeated = parse_rtp(client.rtp[0], SLOT_IDS)
        assert repeated.ssrc == leg.slots(SlotRole.STAGE)[0].rtx_ssrc
        assert repeated.payload[:2] == numbers[30].to_bytes(2, "big")
        assert Piece.of(repeated.payload) == pieces[30]
    await publisher.close()
    await eventually(lambda: "publisher" not in router.legs)
    assert all(leg.slots(SlotRole.STAGE)[0].shown is None for _, leg in watchers)
    for client, _ in watchers:
        await client.close()
    await sfu.stop()
    await port.close()
