"""Who comes later decodes H.264 whose parameter sets came once, or only in the offer: with a real codec."""

from base64 import b64encode
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest

from bridge.base.counters import SfuCounters
from bridge.base.words import Source
from bridge.capture.frames import FrameBuffer
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.forwarder import Forwarder, Span
from bridge.leg.publication import Publication
from bridge.media.packet import MediaPacket
from bridge.media.parameter_sets import ParameterSets
from bridge.media.rows import Rows
from bridge.media.timeline import ClockOffset
from bridge.rtp.h264 import inspect, nal_units, sprop_parameter_sets
from bridge.rtp.header import ExtensionIds, build_rtp, parse_rtp

NO_EXTENSIONS = ExtensionIds({})
START_CODE = b"\x00\x00\x01"
GOP = 6
PICTURES = 3 * GOP
AUD = b"\x09\xf0"
IDR, SPS, PPS = 5, 7, 8


def encode(width_px: int, height_px: int, slices: int = 1) -> list[list[bytes]]:
    """Return the NAL units of pictures in groups of GOP, each with parameter sets at its key frames."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width_px, height_px, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.gop_size = GOP
    encoder.options = {
        "profile": "baseline",
        "tune": "zerolatency",
        "x264-params": f"slices={slices}:keyint={GOP}:min-keyint={GOP}:scenecut=0:threads=1",
    }
    pictures = []
    for number in range(PICTURES):
        noise = np.random.default_rng(number).integers(0, 255, (height_px, width_px, 3), np.uint8)
        packets = encoder.encode(av.VideoFrame.from_ndarray(noise, format="rgb24"))
        stream = b"".join(bytes(packet) for packet in packets).replace(b"\x00" + START_CODE, START_CODE)
        pictures.append([unit for unit in stream.split(START_CODE) if unit and unit[0] & 0x1F != 6])
    assert all(len(picture) >= slices for picture in pictures)
    return pictures


def fragments(unit: bytes, size_bytes: int) -> list[bytes]:
    """Cut a NAL unit into FU-A (RFC 6184, 5.8)."""
    kind, body = unit[0] & 0x1F, unit[1:]
    parts = [body[start : start + size_bytes] for start in range(0, len(body), size_bytes)]
    return [
        bytes((unit[0] & 0x60 | 28, (at == 0) << 7 | (at == len(parts) - 1) << 6 | kind)) + part
        for at, part in enumerate(parts)
    ]


def packetise(units: Sequence[bytes], how: str) -> list[bytes]:
    """Put a picture into payloads: parameter sets and slices alone, together, or in fragments."""
    sets = [unit for unit in units if unit[0] & 0x1F in (SPS, PPS)]
    slices = [unit for unit in units if unit[0] & 0x1F not in (SPS, PPS)]
    if how == "alone":
        return [*sets, *slices]
    if how == "delimited":
        return [AUD, *sets, *slices]
    if how == "together":
        parts = [part for unit in sets for part in (len(unit).to_bytes(2, "big"), unit)]
        head = [b"".join((b"\x78", *parts))] if sets else []
        return [*head, *(part for unit in slices for part in fragments(unit, 900))]
    if how == "one packet":
        parts = [part for unit in units for part in (len(unit).to_bytes(2, "big"), unit)]
        return [b"".join((b"\x78", *parts))]
    assert how == "fragments"
    return [part for unit in units for part in fragments(unit, 9 if unit in sets else 400)]


class Line:
    """A publisher of H.264, its encoding, and receivers that keep what they are sent by number."""

    def __init__(self, sprop: str = "") -> None:
        self.encoding = Encoding(
            publication=Publication(leg_id="a", mid="1", source=Source.CAMERA, codec=Codec.H264, rids=()),
            rid="",
            ssrc=1,
            payload_type=96,
            rtx_payload_type=97,
            parameter_sets=sprop_parameter_sets(sprop),
            codec=Codec.H264,
            clock_rate_hz=90_000,
            clock_offset=ClockOffset(),
            make_route=lambda transports: None,
            counters=SfuCounters(),
        )
        self.sent: dict[int, dict[int, tuple[int, bytes]]] = {}
        self.numbers = 1000
        self.pictures = 0
        self.arrived: list[MediaPacket] = []

    def viewer(self) -> Forwarder:
        forwarder = Forwarder(
            destination=None,
            ssrc=len(self.sent) + 1,
            payload_types={"h264": 100},
            abs_send_time_id=0,
            audio_level_id=0,
            first_sequence_number=5000,
            first_timestamp=0,
        )
        self.sent[forwarder.ssrc] = {}
        self.encoding.waiting[forwarder] = 3
        return forwarder

    def picture(self, payloads: Sequence[bytes]) -> None:
        """Send one picture, each payload in a packet."""
        self.pictures += 1
        for at, payload in enumerate(payloads):
            self.numbers += 1
            data = build_rtp(
                payload_type=96,
                sequence_number=self.numbers,
                timestamp=3000 * self.pictures,
                ssrc=1,
                marker=at == len(payloads) - 1,
                payload=payload,
            )
            media = self.encoding.receive(parse_rtp(data, NO_EXTENSIONS), self.pictures / 30)
            assert media is not None
            self.arrived.append(media)
            watched = self.encoding.forward(media)
            led_in = self.encoding.lead_in()
            if led_in is not None:
                self._send(*led_in)
            if watched is not None:
                self._send(media, *watched)

    def _send(self, media: MediaPacket, rows: Rows, count: int) -> None:
        for row in range(count):
            sent = self.sent[int(rows.ssrc[row])]
            number = int(rows.sequence_number[row])
            assert number not in sent
            sent[number] = int(rows.timestamp[row]), media.payload

    def decoded(self, forwarder: Forwarder) -> list[tuple[int, int]]:
        """Return the sizes of the pictures that a receiver decodes, which must miss no number."""
        sent = self.sent[forwarder.ssrc]
        assert sorted(sent) == list(range(5000, 5000 + len(sent)))
        assert forwarder.packets == len(sent)
        times = [sent[number][0] for number in sorted(sent)]
        assert times == sorted(times)
        return decode([sent[number][1] for number in sorted(sent)])


def decode(payloads: Sequence[bytes]) -> list[tuple[int, int]]:
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    stream = b"".join(START_CODE + unit for unit in nal_units(payloads))
    packets = [*decoder.parse(stream), *decoder.parse(None)]
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    return [(frame.width, frame.height) for frame in (*frames, *decoder.decode(None))]


def without_sets(picture: Sequence[bytes]) -> list[bytes]:
    return [unit for unit in picture if unit[0] & 0x1F not in (SPS, PPS)]


HOWS = ("alone", "delimited", "together", "one packet", "fragments")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("slices", [1, 3])
def test_a_newcomer_decodes_from_its_first_key_frame_on(how: str, slices: int) -> None:
    pictures = encode(128, 96, slices)
    line = Line()
    first = line.viewer()
    line.picture(packetise(pictures[0], how))
    for picture in pictures[1:GOP]:
        line.picture(packetise(without_sets(picture), how))
    late = line.viewer()
    for picture in pictures[GOP:]:
        line.picture(packetise(without_sets(picture), how))
    assert line.decoded(first) == [(128, 96)] * PICTURES
    assert line.decoded(late) == [(128, 96)] * (PICTURES - GOP)


@pytest.mark.parametrize("how", HOWS)
def test_parameter_sets_that_are_in_the_offer_only_reach_everybody(how: str) -> None:
    pictures = encode(128, 96)
    sets = [unit for unit in pictures[0] if unit[0] & 0x1F in (SPS, PPS)]
    line = Line(sprop=",".join(b64encode(unit).decode() for unit in sets))
    first = line.viewer()
    for number, picture in enumerate(pictures):
        if number == GOP + 1:
            late = line.viewer()
        line.picture(packetise(without_sets(picture), how))
    assert line.decoded(first) == [(128, 96)] * PICTURES
    assert line.decoded(late) == [(128, 96)] * GOP


@pytest.mark.parametrize("how", HOWS)
def test_sets_that_change_once_are_those_that_newcomers_get(how: str) -> None:
    small, large = encode(128, 96), encode(192, 128)
    line = Line()
    first = line.viewer()
    for number, picture in enumerate([*small[:GOP], *large]):
        has_sets = number in (0, GOP)
        line.picture(packetise(picture if has_sets else without_sets(picture), how))
        if number == GOP:
            late = line.viewer()
    assert line.decoded(first) == [(128, 96)] * GOP + [(192, 128)] * PICTURES
    assert line.decoded(late) == [(192, 128)] * (PICTURES - GOP)


def test_sets_that_come_with_each_key_frame_are_not_sent_twice() -> None:
    line = Line()
    line.viewer()
    pictures = encode(128, 96)
    for picture in pictures[:GOP]:
        line.picture(packetise(picture, "one packet"))
    late = line.viewer()
    for picture in pictures[GOP:]:
        line.picture(packetise(picture, "one packet"))
    payloads = [payload for _, payload in line.sent[late.ssrc].values()]
    kinds = [unit[0] & 0x1F for unit in nal_units(payloads)]
    assert kinds.count(SPS) == kinds.count(IDR) == 2


def test_what_led_in_is_sent_again_when_it_is_asked_for() -> None:
    pictures = encode(128, 96)
    line = Line()
    line.viewer()
    line.picture(packetise(pictures[0], "together"))
    late = line.viewer()
    for picture in pictures[1 : GOP + 1]:
        line.picture(packetise(without_sets(picture), "together"))
    for number, (timestamp, payload) in line.sent[late.ssrc].items():
        found = late.remembered(number & 0xFFFF)
        assert found is not None
        span, packet = found
        rows = Rows(route=None, ssrc=[9], payload_type=[97], abs_send_time_id=[0], audio_level_id=[0])
        assert late.repeat(span, packet, rows) == number
        assert (packet.payload, int(rows.timestamp[0])) == (payload, timestamp)
    assert late.remembered(4999) is None


def test_who_lost_the_only_sets_begins_anew_with_them() -> None:
    pictures = encode(128, 96)
    line = Line()
    viewer = line.viewer()
    for number, picture in enumerate(pictures):
        line.picture(packetise(picture if number == 0 else without_sets(picture), "together"))
        if number == GOP:
            assert line.encoding.lacks_parameter_sets
            assert viewer.span is not None
            # What a slot does when its receiver says that it cannot decode.
            line.encoding.waiting.setdefault(viewer, viewer.span.temporal_limit)
    spans: list[Span] = list(line.encoding.fan.spans)
    assert len(spans) == 1
    payloads = [payload for _, payload in line.sent[viewer.ssrc].values()]
    anew = max(at for at, payload in enumerate(payloads) if payload[0] & 0x1F == 24)
    assert decode(payloads[anew:]) == [(128, 96)] * GOP
    assert line.decoded(viewer) == [(128, 96)] * PICTURES


@pytest.mark.parametrize("how", HOWS)
def test_a_recorder_that_begins_later_gets_the_sets_from_before(how: str) -> None:
    pictures = encode(128, 96)
    line = Line()
    line.picture(packetise(pictures[0], how))
    for picture in pictures[1:]:
        line.picture(packetise(without_sets(picture), how))
    buffer = FrameBuffer(
        Codec.H264,
        is_hoped=lambda number: False,
        known_parameter_set=line.encoding.parameter_sets.newest,
    )
    later = [packet for packet in line.arrived if packet.timestamp > 3000 * (GOP // 2)]
    buffer.start(later[0].extended_sequence_number)
    frames = [frame for packet in later for frame in buffer.receive(packet, packet.arrival)]
    assert len(frames) == PICTURES - GOP
    assert [frame.is_keyframe for frame in frames[:GOP]] == [True] + [False] * (GOP - 1)
    assert (frames[0].width_px, frames[0].height_px) == (128, 96)
    assert frames[0].parameter_sets is not None
    assert {inspect(unit).is_keyframe for unit in frames[0].parameter_sets} == {True, False}


def test_what_is_remembered_is_bounded_and_nothing_else_than_parameter_sets() -> None:
    assert sprop_parameter_sets("Z0LAH4yNQA==,aM48gA==,Zm9v,***,,aM48gA") == (
        bytes.fromhex("6742c01f8c8d40"),
        bytes.fromhex("68ce3c80"),
    )
    assert sprop_parameter_sets("aM48gA==," * 1000) == (bytes.fromhex("68ce3c80"),) * 16
    sets = ParameterSets()
    for number in range(3000):
        kind = b"\x67\x42\xc0\x1f" if number % 2 else b"\x68"
        sets.take(
            number, kind + (0x80 | number % 128).to_bytes(1, "big") + bytes([number % 251]) * (number % 400)
        )
        sets.take(number, b"\x68" + (1 << 23 | number % 200 << 12).to_bytes(4, "big"))
    assert len(sets.aggregate) <= 1001
    assert len(list(nal_units([sets.aggregate]))) <= 16
    before = sets.aggregate
    for payload in (b"\x67", b"\x78\x00\x01", b"\x7c\x87", b"\x68\x00", b"\x7c\x47\x00"):
        sets.take(4000, payload)
    assert sets.aggregate == before
