"""What must not harm: packets nobody can read, clients that vanish, and any order of events."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meeting import Meeting
from network import Network
from streams import MID_ID, VP8, talking

from bridge import sfu
from bridge.base.counters import DropReason, SfuCounters
from bridge.base.errors import NegotiationFailed
from bridge.base.words import SlotRole, Source
from bridge.rtp import rtcp
from bridge.rtp.header import build_rtp
from bridge.sfu import Sfu


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def video_packet(mid: str, ssrc: int, payload: bytes) -> bytes:
    return build_rtp(
        payload_type=VP8,
        sequence_number=7,
        timestamp=7,
        ssrc=ssrc,
        marker=True,
        payload=payload,
        extensions={MID_ID: mid.encode()} if mid else {},
    )


def test_packets_nobody_can_read_are_counted_and_harmless(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    stream = hue.encodings[Source.CAMERA]["h"].stream
    known = stream.ssrc
    hue.send_rtp(b"\x80\x60")
    hue.send_rtp(b"\x90\x60" + bytes(10) + b"\xbe\xde\xff\xff")
    hue.send_rtp(video_packet("", 999_999, b"x"))
    hue.send_rtp(video_packet("nothing", 999_998, b"x"))
    hue.send_rtp(video_packet("1", 999_997, b"x"))
    stream.payload_type = 50
    hue.send_rtp(stream.next_packet(b"x", meeting.network.now, marker=True, extensions={}))
    stream.payload_type = VP8
    meeting.run(0.1)
    dropped = meeting.dropped()
    assert dropped["malformed-rtp"] == 2
    assert dropped["unknown-ssrc"] == 3
    assert dropped["unknown-payload-type"] == 1
    hue.up.send(b"\x80\xc8\x00\x10" + bytes(20))
    hue.up.send(b"\x80\xcd\x00\x02" + bytes(3))
    viewer.send_rtcp(
        rtcp.PictureLossIndication(1, 424_242),
        rtcp.FullIntraRequest(1, ((424_242, 1),)),
        rtcp.ReceiverReport(1, (rtcp.ReportBlock(424_242, 255, 1, 1, 1, 1, 1),)),
        rtcp.Goodbye((known,)),
    )
    meeting.run(0.1)
    assert meeting.drops(DropReason.MALFORMED_RTCP) == 2
    meeting.run(0.5)
    assert viewer.sees() == ("hue", "h")
    assert viewer.complaints() == []


def test_a_sender_of_endless_ssrcs_is_bounded(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    for ssrc in range(100_000, 100_300):
        hue.send_rtp(
            build_rtp(
                payload_type=VP8,
                sequence_number=1,
                timestamp=1,
                ssrc=ssrc,
                marker=False,
                payload=b"\x00",
                extensions={MID_ID: b"1", 10: b"l"},
            )
        )
    meeting.run(0.5)
    assert len(hue.leg._uplink._streams) <= 64
    assert set(hue.publication().encodings) <= {"l", "m", "h"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(packets=st.lists(st.binary(max_size=80), max_size=30), kind=st.sampled_from(("rtp", "rtcp", "vp8")))
def test_arbitrary_bytes_never_raise(packets: list[bytes], kind: str) -> None:
    with Network() as network:
        meeting = Meeting(network)
        hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=(), thumbnails=1)
        viewer.show(hue)
        meeting.run(0.2)
        encoding = hue.encodings[Source.CAMERA]["l"]
        for data in packets:
            if kind == "rtp":
                hue.leg.receive_rtp(data, network.now)
                viewer.leg.receive_rtp(data, network.now)
            elif kind == "rtcp":
                viewer.leg.receive_rtcp(data, network.now)
            else:
                packet = encoding.stream.next_packet(data, network.now, marker=True, extensions={10: b"l"})
                hue.leg.receive_rtp(packet, network.now)


def test_a_leg_that_closes_is_detached_everywhere(meeting: Meeting) -> None:
    hue, hanoi = meeting.join("hue", thumbnails=1), meeting.join("hanoi", thumbnails=1)
    viewer = meeting.join("viewer", sources=(), thumbnails=2)
    for client in (hue, hanoi):
        assert client.voice is not None
        client.voice.level = talking
    viewer.show(hue)
    viewer.show(hue, SlotRole.THUMBNAIL)
    hue.show(hanoi)
    hanoi.show(hue)
    meeting.run(2.0)
    publications = list(hue.leg.publications())
    encodings = [encoding for one in publications for encoding in one.encodings.values()]
    hue.leave()
    hue.leave()
    assert hue.closed_reason is None
    for publication in publications:
        assert not publication.watchers
    for encoding in encodings:
        assert not encoding.waiting
        assert not len(encoding.fan)
        # Slots remember what they showed, but not at the price of its packets.
        assert all(encoding.cache.get(number) is None for number in range(encoding.fan.highest + 1))
    assert viewer.slot().shown is None
    assert viewer.slot(SlotRole.THUMBNAIL).shown is None
    assert all(
        slot not in one.watchers for one in hanoi.leg.publications() for slot in hue.leg.slots(SlotRole.STAGE)
    )
    viewer.show(hanoi)
    meeting.run(1.0)
    assert viewer.sees() == ("hanoi", "h")
    assert viewer.hears() == {"hanoi"}
    assert viewer.complaints() == []
    # What a participant does in the moment of leaving must not bring the leg back.
    hue.show(hanoi)
    hue.leg.want(hue.slot().mid, 360)
    hue.leg.set_muted(Source.CAMERA, True)
    hue.leg.receive_rtp(b"\x80\x60" + bytes(20), meeting.network.now)
    meeting.run(0.3)
    assert hue.slot() not in hanoi.publication().watchers


def test_nothing_refers_to_a_leg_that_has_closed(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    other = meeting.join("other")
    viewer.show(hue)
    hue.show(other)
    meeting.run(1.0)
    leg = weakref.ref(hue.leg)
    hue.leave()
    meeting.run(1.0)
    # The harness forgets it, too.
    del meeting.clients["hue"]
    transport, hue.transport._observer, hue.transport.down = weakref.ref(hue.transport), None, None
    del hue.leg, hue.transport
    gc.collect()
    assert leg() is None
    assert transport() is None


def test_the_transport_that_ends_takes_its_leg_along(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    hue.is_gone = True
    hue.transport.close("timeout")
    assert hue.closed_reason == "timeout"
    assert "hue" not in meeting.router.legs
    assert viewer.slot().shown is None
    meeting.run(0.5)
    meeting.router.close()
    assert meeting.sfu.routers == set()
    assert viewer.closed_reason is None
    meeting.run(0.5)


def test_an_offer_that_cannot_be_used_changes_nothing(meeting: Meeting) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(0.5)
    with pytest.raises(NegotiationFailed):
        viewer.leg.negotiate("v=0\r\n")
    meeting.run(0.5)
    assert viewer.sees() == ("hue", "h")
    assert viewer.complaints() == []


@pytest.mark.parametrize("what", ["poll", "report", "allocate"])
def test_a_fault_met_for_one_leg_costs_that_leg_alone(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    broken = meeting.join("broken")
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    broken.show(hue)
    meeting.run(1.0)
    calls: list[float] = []

    def fail(now: float) -> None:
        calls.append(now)
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(broken.leg, what, fail)
    broken.leg.want(broken.slot().mid, 360)
    hue.up.loss = 0.05
    asked = hue.nacks_received
    meeting.run(1.5)
    assert broken.closed_reason == "failed"
    assert len(calls) == caplog.text.count("a fault of ours\n") == 1
    assert "broken" not in meeting.router.legs
    # The others are looked after as before.
    assert hue.nacks_received > asked
    reports = viewer.receiver().reports
    meeting.run(1.1)
    assert len(reports) > 0
    assert meeting.network.now - reports[-1][0] <= 1.1
    assert viewer.sees() == ("hue", "h")


def test_a_fault_of_the_room_does_not_end_what_is_due_to_its_legs(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(0.5)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(meeting, "dominant_speaker_changed", fail)
    assert hue.voice is not None
    hue.voice.level = talking
    hue.up.loss = 0.05
    asked = hue.nacks_received
    meeting.run(2.0)
    assert "a fault of ours" in caplog.text
    assert hue.nacks_received > asked
    assert viewer.hears() == {"hue"}


async def test_a_fault_in_one_tick_is_reported_and_the_routers_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sfu, "TICK_S", 0.0)
    monkeypatch.setattr(sfu, "RESTART_AFTER_S", 0.0)
    times: list[float] = []

    def clock() -> float:
        times.append(0.0)
        if len(times) == 3:
            raise ZeroDivisionError("a fault of ours")
        return float(len(times))

    port: Any = None
    unit = Sfu(port=port, counters=SfuCounters(), clock=clock)
    unit.start()
    for _ in range(50):
        await asyncio.sleep(0)
    assert "a fault of ours" in caplog.text
    assert len(times) > 5
    await unit.stop()
    ended = len(times)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(times) == ended


# Any order of events.

NAMES = ("a", "b", "c", "d")
ROLES = (SlotRole.STAGE, SlotRole.CONTENT, SlotRole.THUMBNAIL)
name = st.sampled_from(NAMES)
action = st.one_of(
    st.tuples(st.just("join"), name, st.sampled_from(("vp8", "h264")), st.booleans()),
    st.tuples(st.just("leave"), name),
    st.tuples(st.just("show"), name, st.sampled_from(ROLES), st.one_of(st.none(), name)),
    st.tuples(st.just("want"), name, st.sampled_from(ROLES), st.sampled_from((0, 180, 360, 720))),
    st.tuples(st.just("mute"), name, st.sampled_from((Source.CAMERA, Source.MICROPHONE)), st.booleans()),
    st.tuples(st.just("silence"), name, st.sampled_from(("l", "m", "h")), st.booleans()),
    st.tuples(st.just("restart"), name),
    st.tuples(st.just("lose"), name, st.sampled_from((0.0, 0.1, 1.0))),
    st.tuples(st.just("remb"), name, st.sampled_from((60_000, 400_000, 5_000_000))),
    st.tuples(st.just("pass"), st.sampled_from((0.01, 0.1, 0.5))),
)


def act(meeting: Meeting, step: tuple[Any, ...]) -> None:
    kind, *rest = step
    if kind == "pass":
        meeting.run(rest[0])
        return
    client = meeting.clients.get(rest[0])
    if kind == "join" and client is None:
        meeting.join(
            rest[0], codec=rest[1], has_rtx=rest[2], thumbnails=1, rate_hz=10, voices=2, sources=(
                Source.MICROPHONE, Source.CAMERA,
            ),
        )  # fmt: skip
    elif client is None:
        return
    elif kind == "leave":
        client.leave()
        del meeting.clients[rest[0]]
    elif kind == "show":
        client.show(meeting.clients.get(rest[2]) if rest[2] else None, rest[1])
    elif kind == "want":
        client.leg.want(client.slot(rest[1]).mid, rest[2])
    elif kind == "mute":
        client.leg.set_muted(rest[1], rest[2])
    elif kind == "silence":
        encodings = client.encodings[Source.CAMERA]
        encodings.get(rest[1], next(iter(encodings.values()))).is_active = rest[2]
    elif kind == "restart":
        client.start_sending(Source.CAMERA)
        client.start_sending(Source.MICROPHONE)
        assert client.voice is not None
        client.voice.level = talking
    elif kind == "lose":
        client.up.loss = client.down.loss = rest[1]
    elif kind == "remb":
        client.remb_bps = rest[1]


LABEL_S = 1.0


class Labels:
    """How long each slot's label and its picture have been two different ones."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def check(self, meeting: Meeting) -> None:
        now = meeting.network.now
        for leg in meeting.router.legs.values():
            for role in ROLES:
                for slot in leg.slots(role):
                    fed = None if slot.current is None else slot.current.publication
                    if fed is None or fed is slot.seen:
                        self._since.pop(slot.ssrc, None)
                    else:
                        assert now - self._since.setdefault(slot.ssrc, now) <= LABEL_S
                        # Nothing but a face is ever under another name.
                        assert fed.is_face or slot.seen is None

    def watch(self, meeting: Meeting) -> None:
        meeting.network.every(0.02, lambda: self.check(meeting))


def check_invariants(meeting: Meeting) -> None:
    legs = meeting.router.legs
    publications = [one for leg in legs.values() for one in leg.publications()]
    encodings = [encoding for one in publications for encoding in one.encodings.values()]
    for leg in legs.values():
        slots = [slot for role in SlotRole for slot in leg.slots(role)]
        for slot in slots:
            feeding = [
                one for one in encodings if any(span.owner is slot.forwarder for span in one.fan.spans)
            ]
            awaited = [one for one in encodings if slot.forwarder in one.waiting]
            assert len(feeding) <= 1
            assert len(awaited) <= 1
            assert feeding == ([] if slot.current is None else [slot.current])
            assert awaited in ([], [slot.aimed])
            assert not any(one.publication.is_muted for one in (*feeding, *awaited))
            watched = [one for one in publications if slot in one.watchers]
            assert watched == ([] if slot.shown is None else [slot.shown])
            assert slot.shown is None or slot.shown.leg_id in legs
            if slot.shown is None:
                assert not feeding
                assert not awaited
        voices = [slot.shown for slot in leg.slots(SlotRole.VOICE) if slot.shown is not None]
        assert len(voices) == len(set(map(id, voices)))
        assert all(voice.leg_id != leg.id for voice in voices)
        sounding = [
            slot.current.publication for slot in leg.slots(SlotRole.VOICE) if slot.current is not None
        ]
        assert len(sounding) == len(set(map(id, sounding)))
    for encoding in encodings:
        assert len(encoding.fan) == len({id(span.owner) for span in encoding.fan.spans})
    assert set(meeting.router._round) == set(legs.values())
    assert set(meeting.router._publishing) <= set(legs.values())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(action, max_size=40), seed=st.integers(0, 1000))
def test_no_order_of_events_raises_or_breaks_an_invariant(steps: list[tuple[Any, ...]], seed: int) -> None:
    with Network(seed) as network:
        meeting = Meeting(network)
        Labels().watch(meeting)
        for index, joined in enumerate(NAMES[:3]):
            act(meeting, ("join", joined, "vp8" if index else "h264", True))
        for viewer, shown in pairwise((*NAMES[:3], NAMES[0])):
            act(meeting, ("show", viewer, SlotRole.STAGE, shown))
        act(meeting, ("pass", 0.3))
        for step in steps:
            act(meeting, step)
            check_invariants(meeting)
        meeting.run(0.3)
        check_invariants(meeting)
        for client in meeting.clients.values():
            assert [error for receiver in client.receivers.values() for error in receiver.errors] == []
        meeting.router.close()
        assert meeting.router.legs == {}
