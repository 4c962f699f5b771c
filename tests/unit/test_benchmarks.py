"""The bench's own instruments: what it counts, and that its bots speak as the bridge listens."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from aioice import stun
from aiortc import RTCCertificate, RTCDtlsTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters

from benchmarks.dtls import ClientIdentity, DtlsClient
from benchmarks.offers import EXTENSION_IDS, build_offer, client_lines
from benchmarks.publishing import SIMULCAST_SHAPES, Camera, Uplink
from benchmarks.receiving import VECTOR_MAX, Arena, StreamCounts, open_socket
from benchmarks.recording import read_recording
from benchmarks.wire import (
    ReportBlock,
    read_stamp,
    receiver_estimated_maximum_bitrate,
    receiver_report,
    rtp_payload,
    stun_check,
    stun_response_transaction,
)
from bridge.rtp import rtcp
from bridge.rtp.header import EXTENSION_URIS, ExtensionIds, parse_rtp
from bridge.rtp.vp8 import parse_descriptor
from bridge.sdp import parse_offer


def test_recordings_are_counted_with_their_gaps(tmp_path: Path) -> None:
    for number in (1, 2):
        track = tmp_path / "HC-BV-20261125-01" / "tracks" / f"t00{number}-p-1-camera"
        track.mkdir(parents=True)
        (track / "00001.mkv").write_bytes(bytes(100 * number))
        (track / "track.jsonl").write_text('{"k":"track"}\n{"k":"gap","reason":"loss"}\n', encoding="utf-8")
    recorded = read_recording(tmp_path)
    assert (recorded.tracks, recorded.bytes) == (2, 300)
    assert recorded.gaps == {"loss": 2}


def _add(counts: StreamCounts, *packets: tuple[int, int, int]) -> list[int]:
    owners, ssrcs, numbers = zip(*packets, strict=True)
    return counts.add(
        np.array(owners, np.int64),
        np.array(ssrcs, np.uint32),
        np.array(numbers, np.uint16),
        np.full(len(packets), 100, np.uint32),
        np.full(len(packets), 7, np.int64),
    )


def test_gap_across_the_wrap_is_counted_as_loss() -> None:
    counts = StreamCounts()
    assert _add(counts, (0, 1, 65533), (3, 1, 10), (0, 1, 65534)) == [0, 1]
    before = counts.snapshot()
    assert _add(counts, (0, 1, 1), (0, 1, 0), (3, 1, 11), (3, 2, 500)) == [3]
    received, received_bytes, expected = counts.difference(before, counts.snapshot())
    assert received.tolist() == [2, 1, 1]
    assert expected.tolist() == [3, 1, 1]
    assert received_bytes.tolist() == [200, 100, 100]


def test_arena_keeps_datagrams_apart_and_stamps_them() -> None:
    near, far = open_socket(), open_socket()
    near.connect(far.getsockname())
    for size in (1, 20, 1400):
        near.send(bytes((size & 0xFF,)) * size)
    arena = Arena(2 * VECTOR_MAX)
    assert arena.read(far.fileno(), 5) == 3
    assert arena.read(far.fileno(), 5) == 0
    assert arena.lengths().tolist() == [1, 20, 1400]
    assert arena.datagram(2) == b"\x78" * 1400
    assert (np.diff(arena.arrivals_ns()) >= 0).all()
    assert arena.arrivals_ns()[0] > 1_600_000_000_000_000_000
    near.close()
    far.close()


def test_check_is_authentic_to_aioice_and_its_answer_to_the_bot() -> None:
    transaction_id = b"0123456789ab"
    check = stun_check(
        transaction_id, local_ufrag="left", remote_ufrag="right", remote_pwd="secret", tie_breaker=1
    )
    message = stun.parse_message(check)
    assert message.check_message_integrity(b"secret")
    assert message.attributes["USERNAME"] == "right:left"
    assert "USE-CANDIDATE" in message.attributes
    answer = stun.Message(
        message_method=stun.Method.BINDING,
        message_class=stun.Class.RESPONSE,
        transaction_id=transaction_id,
    )
    answer.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 1234)
    answer.add_message_integrity(b"secret")
    answer.add_fingerprint() if hasattr(answer, "add_fingerprint") else None
    assert stun_response_transaction(bytes(answer), "secret") == transaction_id
    assert stun_response_transaction(bytes(answer), "another") is None


class _Pipe:
    """As much of an ICE transport as RTCDtlsTransport asks for, with the bot at the other end."""

    role = "controlled"

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.client: DtlsClient | None = None

    async def _recv(self) -> bytes:
        return await self.queue.get()

    async def _send(self, data: bytes) -> None:
        assert self.client is not None
        self.client.receive(data)


async def test_handshake_with_aiortc_gives_both_sides_the_same_keys() -> None:
    identity, certificate, pipe = ClientIdentity(), RTCCertificate.generateCertificate(), _Pipe()
    server = RTCDtlsTransport(pipe, [certificate])  # type: ignore[arg-type]
    server._set_role("server")
    pipe.client = DtlsClient(identity, certificate.getFingerprints()[0].value, pipe.queue.put_nowait)
    pipe.client.start()
    parameters = RTCDtlsParameters([RTCDtlsFingerprint("sha-256", identity.fingerprint)])
    await asyncio.wait_for(server.start(parameters), 10)
    assert server.state == "connected"
    packet = b"\x80\x60\x00\x01" + bytes(8) + b"payload"
    assert pipe.client.outbound is not None
    assert pipe.client.inbound is not None
    assert server._rx_srtp.unprotect(pipe.client.outbound.protect(packet)) == packet
    assert pipe.client.inbound.unprotect(server._tx_srtp.protect(packet)) == packet
    await server.stop()


class _Recorder:
    """Stands for an SRTP session: keeps what is sent in the clear."""

    def protect(self, packet: bytes) -> bytes:
        return packet


def test_camera_packets_are_what_the_bridge_parses() -> None:
    sent: list[bytes] = []
    uplink = Uplink(sent.append, publisher=4)
    uplink.session = _Recorder()  # type: ignore[assignment]
    camera = Camera(uplink, 77, SIMULCAST_SHAPES[2], index=3, mid="1", extension_ids=EXTENSION_IDS)
    packets = camera.run()
    for _ in range(48):
        next(packets)
    ids = ExtensionIds(
        {EXTENSION_IDS[uri]: extension for uri, extension in EXTENSION_URIS.items() if uri in EXTENSION_IDS}
    )
    parsed = [parse_rtp(data, ids) for data in sent]
    assert [(packet.mid, packet.rid, packet.ssrc) for packet in parsed] == [("1", "h", 77)] * 48
    assert {len(data) for data in sent} == {1100}
    descriptors = [
        parse_descriptor(packet.data, packet.payload_offset, packet.payload_end) for packet in parsed
    ]
    starts = [descriptor for descriptor in descriptors if descriptor.starts_frame]
    assert [start.is_keyframe for start in starts] == [True, False, False, False, False]
    assert [start.temporal_id for start in starts] == [0, 2, 1, 2, 0]
    assert (starts[0].width_px, starts[0].height_px) == (1280, 720)
    assert sum(packet.marker for packet in parsed) == 5
    stamp = read_stamp(rtp_payload(sent[20]), is_video=True)
    assert stamp is not None
    assert (stamp.publisher, stamp.encoding, stamp.counter) == (4, 3, 20)
    assert read_stamp(rtp_payload(sent[20][:600] + b"?" + sent[20][601:]), is_video=True) is None


def test_feedback_is_what_the_bridge_parses() -> None:
    compound = receiver_report(5, [ReportBlock(9, 0, 0, 70000, 0, 0)])
    compound += receiver_estimated_maximum_bitrate(5, 20_000_000, [9, 10])
    packets, is_damaged = rtcp.parse_rtcp(compound)
    assert not is_damaged
    assert isinstance(packets[0], rtcp.ReceiverReport)
    assert packets[0].reports[0].extended_highest == 70000
    assert isinstance(packets[1], rtcp.ReceiverEstimatedMaximumBitrate)
    assert packets[1].bitrate_bps == pytest.approx(20_000_000, rel=0.001)
    assert packets[1].ssrcs == (9, 10)


def test_offer_is_what_the_bridge_parses() -> None:
    offer = build_offer(
        client_lines(thumbnails=9), ufrag="abcd", pwd="p" * 24, fingerprint=":".join(["AB"] * 32)
    )
    sections = parse_offer(offer.sdp).sections
    assert len(sections) == 18
    assert list(sections[1].rids) == ["l", "m", "h"]
    assert offer.slots["7"] == "stage"
