"""No two payloads leave the bridge under one nonce, whatever a publisher sends: with real SRTP sessions."""

from collections.abc import Iterable

import pylibsrtp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.base.counters import SfuCounters
from bridge.base.words import Source
from bridge.leg.encoding import Codec, Encoding
from bridge.leg.forwarder import Forwarder
from bridge.leg.publication import Publication
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.media.timeline import ClockOffset
from bridge.rtp.header import ExtensionIds, build_rtp, parse_rtp

NO_EXTENSIONS = ExtensionIds({})
VP8, RTX, UNUSED = 96, 97, 101
SSRC, RTX_SSRC = 0x1000, 0x2000
HEADER_BYTES = 12


def session(ssrc_type: int, key: bytes) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(
        key=key, ssrc_type=ssrc_type, srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    )
    policy.allow_repeat_tx = True
    policy.window_size = 1024
    return pylibsrtp.Session(policy)


class Line:
    """A publisher, the encoding it sends, and one viewer for each temporal limit; all packets encrypted."""

    def __init__(self, codec: Codec) -> None:
        source = Source.MICROPHONE if codec is Codec.OPUS else Source.CAMERA
        self.codec = codec
        self.encoding = Encoding(
            publication=Publication(leg_id="a", mid="1", source=source, codec=codec, rids=()),
            rid="",
            ssrc=SSRC,
            payload_type=VP8,
            rtx_payload_type=RTX,
            codec=codec,
            clock_rate_hz=90_000,
            clock_offset=ClockOffset(),
            make_route=lambda transports: None,
            counters=SfuCounters(),
        )
        self.now = 0.0
        self.newest = 1000
        self.sent = 0
        self.forwarded = 0
        self._publisher = session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND, bytes(28))
        self._door = session(pylibsrtp.Policy.SSRC_ANY_INBOUND, bytes(28))
        self._viewers = session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND, b"\x01" * 28)
        self._keystreams: dict[bytes, bytes] = {}
        for limit in range(4):
            forwarder = Forwarder(
                destination=None,
                ssrc=limit + 1,
                payload_types={codec.value: 100},
                abs_send_time_id=0,
                audio_level_id=0,
                first_sequence_number=100,
                first_timestamp=0,
            )
            self.encoding.waiting[forwarder] = limit
        self.publish(self.newest, is_keyframe=True)

    def publish(
        self,
        number: int,
        *,
        payload_type: int = VP8,
        is_keyframe: bool = False,
        temporal_id: int = 0,
        padding_bytes: int = 0,
        is_repeated: bool = False,
    ) -> None:
        """Send a packet, each with other content; one that libsrtp refuses does not reach the bridge."""
        self.sent += 1
        self.now += 0.01
        self.newest = max(self.newest, number)
        head = bytes((0x90, 0xE0, 0x80 | number >> 8 & 0x7F, number & 0xFF, number & 0xFF, temporal_id << 6))
        payload = head + (b"\x10" if is_keyframe else b"\x11") + self.sent.to_bytes(16, "big")
        if is_repeated:
            payload = (number & 0xFFFF).to_bytes(2, "big") + payload
        data = build_rtp(
            payload_type=RTX if is_repeated else payload_type,
            sequence_number=self.sent if is_repeated else number,
            timestamp=3000 * number,
            ssrc=RTX_SSRC if is_repeated else SSRC,
            marker=True,
            payload=b"" if padding_bytes else payload,
            padding_bytes=padding_bytes,
        )
        try:
            arrived = self._door.unprotect(self._publisher.protect(data))
        except pylibsrtp.Error:
            return
        packet = parse_rtp(arrived, NO_EXTENSIONS)
        take = self.encoding.receive_retransmission if is_repeated else self.encoding.receive
        media = take(packet, self.now)
        if media is None:
            return
        watched = self.encoding.forward(media)
        if watched is not None:
            self._send(media, *watched)
        for missed, rows, count in self.encoding.catch_up():
            self._send(missed, rows, count)

    def publish_all(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.publish(number)

    def _send(self, media: MediaPacket, rows: Rows, count: int) -> None:
        for row in range(count):
            plain = build_rtp(
                payload_type=int(rows.payload_type[row]),
                sequence_number=int(rows.sequence_number[row]),
                timestamp=int(rows.timestamp[row]),
                ssrc=int(rows.ssrc[row]),
                marker=media.marker,
                payload=media.payload,
            )
            try:
                encrypted = self._viewers.protect(plain)
            except pylibsrtp.Error:
                continue
            self.forwarded += 1
            keystream = bytes(
                a ^ b for a, b in zip(plain[HEADER_BYTES:], encrypted[HEADER_BYTES:], strict=False)
            )[:16]
            former = self._keystreams.setdefault(keystream, plain)
            assert former is plain, "two payloads under one nonce"


def test_numbers_that_are_rolled_round_by_an_unused_payload_type_are_not_given_out_again() -> None:
    for codec in (Codec.VP8, Codec.OPUS):
        line = Line(codec)
        line.publish_all(range(1001, 2001))
        for number in (20_000, 45_000, 65_000):
            line.publish(number, payload_type=UNUSED)
        for number in range(1400, 1440):
            line.publish(number + 0x10000)
        assert line.forwarded > 4000


def test_a_late_packet_among_hundreds_left_out_keeps_its_own_number() -> None:
    line = Line(Codec.VP8)
    for number in range(1001, 1900):
        if number != 1200:
            line.publish(number, temporal_id=0 if number % 40 == 0 else 2)
    before = line.forwarded
    line.publish(1200, is_repeated=True)
    assert line.forwarded == before + 4


ACTIONS = st.one_of(
    st.tuples(st.just("next"), st.integers(1, 4), st.integers(0, 2)),
    st.tuples(st.just("jump"), st.integers(900, 32_000), st.integers(0, 2)),
    st.tuples(st.just("again"), st.integers(0, 300), st.integers(0, 2)),
    st.tuples(st.just("padding"), st.integers(-40, 3), st.just(0)),
    st.tuples(st.just("other"), st.integers(-1100, 32_000), st.just(0)),
    st.tuples(st.just("rtx"), st.integers(0, 600), st.integers(0, 2)),
    st.tuples(st.just("run"), st.integers(1, 60), st.integers(0, 2)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, min_size=1, max_size=25))
@example([("run", 60, 0), ("padding", 1, 0), ("next", 1, 0), ("again", 1, 0)])
def test_whatever_is_sent_each_nonce_has_one_payload(actions: list[tuple[str, int, int]]) -> None:
    line = Line(Codec.VP8)
    for kind, distance, temporal_id in actions:
        newest = line.newest
        if kind in ("next", "jump"):
            line.publish(newest + distance, temporal_id=temporal_id)
        elif kind == "again":
            line.publish(newest - distance, temporal_id=temporal_id)
        elif kind == "padding":
            line.publish(newest + distance, padding_bytes=20)
        elif kind == "other":
            line.publish(newest + distance, payload_type=UNUSED)
        elif kind == "rtx":
            line.publish(newest - distance, is_repeated=True, temporal_id=temporal_id)
        else:
            for number in range(newest + 1, newest + 1 + distance):
                line.publish(number, temporal_id=temporal_id)
