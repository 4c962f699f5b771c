"""What lawful senders and networks do that breaks bridges: order, repetition, odd headers, and hours."""

from collections.abc import Iterator
from itertools import pairwise, permutations
from random import Random

import pytest
from meeting import Client, Meeting
from network import Network
from streams import VideoEncoding

from bridge.base.counters import SfuCounters
from bridge.base.words import Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.forwarder import Forwarder
from bridge.leg.publication import Publication
from bridge.media.timeline import ClockOffset
from bridge.rtp.header import ExtensionIds, build_rtp, parse_rtp


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def silent_pair(meeting: Meeting, rid: str = "l") -> tuple[Client, Client, VideoEncoding]:
    """A camera that sends only what the test makes it send, and who waits for it."""
    hue = meeting.join("hue", sources=(Source.CAMERA,), voices=0, pictures=())
    for encoding in hue.encodings[Source.CAMERA].values():
        encoding.is_active = False
    hue.obeys_layers = False
    viewer = meeting.join("viewer", sources=())
    meeting.run(0.1)
    camera = hue.encodings[Source.CAMERA][rid]
    # Four packets a key frame, and two another picture.
    camera.bitrate_bps = 340_000
    return hue, viewer, camera


def made(camera: VideoEncoding, now: float, *, keyframe: bool = False) -> list[bytes]:
    camera.is_active = True
    camera.wants_keyframe = keyframe
    packets = camera.picture(now, 30.0)
    camera.is_active = False
    return packets


def arrive(meeting: Meeting, client: Client, packets: list[bytes], pause_s: float = 0.0005) -> None:
    for data in packets:
        client.leg.receive_rtp(data, meeting.network.now)
        meeting.run(pause_s)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_key_frame_in_any_order_lets_in_who_waits(order: tuple[int, ...]) -> None:
    with Network() as network:
        meeting = Meeting(network)
        hue, viewer, camera = silent_pair(meeting)
        # So that the layer is known to live, and who watches waits for a key frame of it.
        arrive(meeting, hue, made(camera, network.now, keyframe=True))
        viewer.show(hue)
        meeting.run(0.01)
        hue.plis.clear()
        keyframe = made(camera, network.now, keyframe=True)
        assert len(keyframe) == 4
        arrive(meeting, hue, [keyframe[at] for at in order])
        for _ in range(6):
            meeting.run(0.033)
            arrive(meeting, hue, made(camera, network.now))
        meeting.run(0.05)
        assert len(viewer.receiver().pictures) == 7
        assert viewer.receiver().pictures[0].is_keyframe
        assert viewer.receiver().holes == []
        assert viewer.complaints() == []
        assert len(hue.plis) <= 1


def test_copies_before_and_after_are_sent_on_once(meeting: Meeting) -> None:
    hue, viewer, camera = silent_pair(meeting)
    arrive(meeting, hue, made(camera, meeting.network.now, keyframe=True))
    viewer.show(hue)
    meeting.run(0.01)
    arrive(meeting, hue, made(camera, meeting.network.now, keyframe=True))
    random = Random(3)
    for _ in range(40):
        packets = made(camera, meeting.network.now)
        repeated = [
            camera.repeat((camera.stream.sequence_number - at) & 0xFFFF) for at in range(len(packets))
        ]
        copies = [*packets, *packets, *packets, *(data for data in repeated if data is not None)]
        random.shuffle(copies)
        arrive(meeting, hue, copies)
        meeting.run(0.03)
    assert viewer.receiver().errors == []
    assert viewer.receiver().holes == []
    assert len(viewer.receiver().pictures) == 41
    assert viewer.complaints() == []


def test_late_packets_of_the_layer_before_are_not_numbered_into_the_new_one(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.5)
    held: list[bytes] = []
    former = hue.encodings[Source.CAMERA]["h"]

    def holds(data: bytes) -> bool:
        is_held = len(data) > 12 and int.from_bytes(data[8:12], "big") in (former.ssrc, former.ssrc + 1)
        if is_held:
            held.append(data)
        return is_held

    hue.up.drop_if = holds
    viewer.leg.want(viewer.slot().mid, 360)
    meeting.run(0.3)
    assert viewer.sees() == ("hue", "m")
    before = len(viewer.receiver().heard)
    for data in held:
        hue.leg.receive_rtp(data, meeting.network.now)
    hue.up.drop_if = lambda data: False
    meeting.run(1.0)
    assert held
    assert viewer.receiver().errors == []
    assert viewer.complaints() == []
    assert len(viewer.receiver().heard) > before


# Header extensions, padding and CSRCs, by hand: (what follows the fixed header, bits of the first byte).
PAYLOAD = b"\x90\xe0\x80\x01\x01\x00\x11vp8 data"
ODD_HEADERS = {
    "padding of 1": (PAYLOAD + b"\x01", 0x20, PAYLOAD),
    "padding of 4": (PAYLOAD + bytes(3) + b"\x04", 0x20, PAYLOAD),
    "padding of 255": (PAYLOAD + bytes(254) + b"\xff", 0x20, PAYLOAD),
    "padding longer than the packet": (PAYLOAD + b"\xff", 0x20, None),
    "padding of none": (PAYLOAD + b"\x00", 0x20, None),
    "fifteen CSRCs": (bytes(60) + PAYLOAD, 0x0F, PAYLOAD),
    "fifteen CSRCs cut off": (bytes(40), 0x0F, None),
    "no extension in the block": (b"\xbe\xde\x00\x00" + PAYLOAD, 0x10, PAYLOAD),
    "id 15 ends the block": (b"\xbe\xde\x00\x01\xf0\xff\xff\xff" + PAYLOAD, 0x10, PAYLOAD),
    "id 0 with a length ends the block": (b"\xbe\xde\x00\x01\x03\xff\xff\xff" + PAYLOAD, 0x10, PAYLOAD),
    "a length past the end": (b"\xbe\xde\x00\x01\x4f\x31\x00\x00" + PAYLOAD, 0x10, None),
    "two bytes, a mid of 16": (
        b"\x10\x00\x00\x05\x04\x10" + b"m" * 16 + b"\x00\x00" + PAYLOAD,
        0x10,
        PAYLOAD,
    ),
    "two bytes, a mid of 255": (b"\x10\x00\x00\x41\x04\xff" + b"m" * 255 + bytes(3) + PAYLOAD, 0x10, PAYLOAD),
    "two bytes, cut off": (b"\x10\x00\x00\x01\x04\x09\x00\x00" + PAYLOAD, 0x10, None),
    "an unknown profile": (b"\x12\x34\x00\x01\xff\xff\xff\xff" + PAYLOAD, 0x10, PAYLOAD),
    "a block longer than the packet": (b"\xbe\xde\xff\xff" + PAYLOAD, 0x10, None),
    "nothing but a header": (b"", 0, b""),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
@pytest.mark.parametrize("is_repeated", [False, True])
def test_odd_headers_are_taken_without_what_is_unknown_or_dropped(
    meeting: Meeting, name: str, is_repeated: bool
) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    camera = hue.encodings[Source.CAMERA]["h"]
    stream = camera.rtx if is_repeated else camera.stream
    rest, bits, payload = ODD_HEADERS[name]
    if is_repeated and payload:
        rest = rest.replace(PAYLOAD, b"\x00\x01" + PAYLOAD)
    stream.sequence_number = (stream.sequence_number + 1) & 0xFFFF
    head = bytes((0x80 | bits, 0x80 | stream.payload_type)) + stream.sequence_number.to_bytes(2, "big")
    head += stream.timestamp(meeting.network.now).to_bytes(4, "big") + stream.ssrc.to_bytes(4, "big")
    malformed = meeting.dropped().get("malformed-rtp", 0)
    received = meeting.counters.rtp_received
    hue.leg.receive_rtp(head + rest, meeting.network.now)
    assert meeting.counters.rtp_received == received + 1
    assert meeting.dropped().get("malformed-rtp", 0) == malformed + (payload is None)
    encoding = hue.publication().encodings["h"]
    if payload and not is_repeated:
        kept = encoding.cache.get(encoding.fan.highest)
        assert kept is not None
        # Without padding, with a picture id of fifteen bits.
        assert kept.payload == payload


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x40\x60" + bytes(20), b"\x00\x60" + bytes(20), b"\x80\x60" * 5]
)
def test_what_is_no_rtp_is_counted(meeting: Meeting, data: bytes) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    meeting.run(0.2)
    hue.leg.receive_rtp(data, meeting.network.now)
    assert meeting.dropped()["malformed-rtp"] == 1


@pytest.mark.parametrize("first_timestamp", [(1 << 32) - 90_000, (1 << 31) - 90_000])
def test_hours_and_wraps_change_nothing(first_timestamp: int) -> None:
    """Five rounds of the sequence numbers and a day of timestamps, with a pause of twelve minutes between."""
    encoding = Encoding(
        publication=Publication(leg_id="a", mid="1", source=Source.CAMERA, codec=Codec.VP8, rids=()),
        rid="",
        ssrc=1,
        payload_type=96,
        rtx_payload_type=97,
        codec=Codec.VP8,
        clock_rate_hz=90_000,
        clock_offset=ClockOffset(),
        make_route=lambda transports: None,
        counters=SfuCounters(),
    )
    sent: dict[int, list[tuple[int, int]]] = {}

    def join() -> Forwarder:
        forwarder = Forwarder(
            destination=None,
            ssrc=len(sent) + 1,
            payload_types={"vp8": 100},
            abs_send_time_id=0,
            audio_level_id=0,
            first_sequence_number=16_000,
            first_timestamp=0,
        )
        sent[forwarder.ssrc] = []
        encoding.waiting[forwarder] = 3
        return forwarder

    first = join()
    number, now = 65_000, 0.0
    steps = 0
    while number < 65_000 + 5 * 65_536:
        # What is lost between two packets is within what is repaired.
        number += 1 if steps == 400 else 400
        now += 720.0 if steps == 400 else 105.0
        steps += 1
        if steps == 600:
            late = join()
        is_keyframe = steps in (1, 601)
        packet = build_rtp(
            payload_type=96,
            sequence_number=number & 0xFFFF,
            timestamp=(first_timestamp + int(now * 90_000)) & 0xFFFFFFFF,
            ssrc=1,
            marker=True,
            payload=bytes((0x90, 0xC0, 0x80 | number >> 8 & 0x7F, number & 0xFF, 0))
            + (b"\x10" if is_keyframe else b"\x11"),
        )
        media = encoding.receive(parse_rtp(packet, ExtensionIds({})), now)
        assert media is not None, f"packet {number} after {now} s"
        watched = encoding.forward(media)
        assert watched is not None
        rows, count = watched
        for row in range(count):
            sent[int(rows.ssrc[row])].append((int(rows.sequence_number[row]), int(rows.timestamp[row])))
    assert now > 24 * 3600
    for forwarder, steps_seen in ((first, steps), (late, steps - 600)):
        numbers = [one for one, _ in sent[forwarder.ssrc]]
        assert len(numbers) == steps_seen
        assert {after - before for before, after in pairwise(numbers)} <= {1, 400}
        times = [at for _, at in sent[forwarder.ssrc]]
        gaps = {(after - before) & 0xFFFFFFFF for before, after in pairwise(times)}
        assert gaps <= {105 * 90_000, 720 * 90_000}
