"""What SRTP keeps of each stream: one nonce for one packet, rollovers, and which streams are forgotten."""

from collections.abc import AsyncIterator

import pytest
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80, SRTPProtectionProfile
from ice_client import RECEIVER_REPORT, IceClient, RecordingObserver, drops_counted, eventually, open_port
from ice_client import rtp_packet as packet

from bridge.base.counters import DropReason
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows
from bridge.transport import MediaPort, Transport
from bridge.transport.rollover import FAILURES_EACH, ROLLOVERS_MAX, SSRCS_MAX
from bridge.transport.transport import REPORTERS_MAX, STREAMS_MAX

PROFILES = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]


@pytest.fixture
async def port() -> AsyncIterator[MediaPort]:
    opened = await open_port()
    yield opened
    await opened.close()


async def connected(
    port: MediaPort, *, profile: SRTPProtectionProfile = SRTP_AEAD_AES_128_GCM, protocol: str = "udp"
) -> tuple[Transport, RecordingObserver, IceClient]:
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient(srtp_profiles=[profile])
    await client.connect(port, transport, protocol=protocol)
    return transport, observer, client


def skip(client: IceClient, numbers: range) -> None:
    """Protect packets that never arrive, as on a line that is not up yet."""
    for number in numbers:
        client.dtls._tx_srtp.protect(packet(number))


@pytest.mark.parametrize("profile", PROFILES)
async def test_two_payloads_are_never_protected_under_one_number(
    port: MediaPort, profile: SRTPProtectionProfile
) -> None:
    transport, _, client = await connected(port, profile=profile)
    rows = Rows(
        route=port.fanout.route([transport]),
        ssrc=[1],
        payload_type=[96],
        abs_send_time_id=[0],
        audio_level_id=[0],
    )

    def send(number: int, payload: bytes) -> int:
        rows.sequence_number[0] = number
        sent = MediaPacket(
            extended_sequence_number=number, timestamp=0, marker=False, payload=payload, arrival=0.0
        )
        return port.fanout.send(sent, rows, 1, 0.0)

    assert send(7, b"first") == 1
    with drops_counted(port.counters) as drops:
        assert send(7, b"other") == 0
    assert drops == {"protect-failed": 1}
    # Late and new numbers go on.
    assert [send(number, b"late") for number in (9, 8, 6)] == [1, 1, 1]
    await client.until(lambda: len(client.rtp) == 4)
    await client.close()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_stream_that_wrapped_before_its_first_packet_is_taken_up(
    port: MediaPort, profile: SRTPProtectionProfile, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It started at 65500, and the first 60 packets were lost."""
    _, observer, client = await connected(port, profile=profile, protocol=protocol)
    skip(client, range(65500, 65560))
    for number in range(65560, 65560 + 200):
        client.send_rtp(packet(number))
    await eventually(lambda: bool(observer.rtp) and observer.rtp[-1] == packet(65759))
    # A third of a second of pictures, where it was all of them for ever.
    assert observer.rtp == [packet(number) for number in range(65560 + FAILURES_EACH, 65760)]
    assert port.counters.rollovers_found == 1
    assert "00001111" in caplog.text
    assert port.counters.dropped[DropReason.UNPROTECT_FAILED] == FAILURES_EACH
    await client.close()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_a_stream_that_has_wrapped_several_times_is_taken_up_too(port: MediaPort, count: int) -> None:
    """Its packets were dropped for a long time, or it was forgotten here and comes again."""
    _, observer, client = await connected(port)
    # A report of the same SSRC comes in first, as a sender's often does.
    client.send_rtcp(RECEIVER_REPORT[:4] + (0x1111).to_bytes(4, "big"))
    skip(client, range(0, count * 65536, 8192))
    start = count * 65536
    for number in range(start, start + 100):
        client.send_rtp(packet(number))
    await eventually(lambda: len(observer.rtp) == 100 - count * FAILURES_EACH)
    assert observer.rtp[-1] == packet(start + 99)
    assert port.counters.rollovers_found == 1
    await client.close()


async def test_a_stream_that_is_not_the_clients_is_told_once_and_costs_others_nothing(
    port: MediaPort, caplog: pytest.LogCaptureFixture
) -> None:
    transport, observer, client = await connected(port)
    for ssrc in range(3 * SSRCS_MAX):
        for number in range(FAILURES_EACH * (ROLLOVERS_MAX + 2)):
            client.send(packet(number, ssrc=ssrc) + bytes(16))
        sent = (ssrc + 1) * FAILURES_EACH * (ROLLOVERS_MAX + 2)
        await eventually(lambda sent=sent: port.counters.dropped[DropReason.UNPROTECT_FAILED] == sent)  # type: ignore[misc]
    assert port.counters.streams_unauthentic == 3 * SSRCS_MAX
    assert caplog.text.count("authentication fails") == 1
    assert transport.rollovers is not None
    assert len(transport.rollovers._failures) <= SSRCS_MAX
    # One of those numbers, used by the client itself, is as good as any.
    client.send_rtp(packet(1, ssrc=3 * SSRCS_MAX - 1))
    client.send_rtp(packet(1, ssrc=0x3333))
    await eventually(lambda: len(observer.rtp) == 2)
    assert port.counters.rollovers_found <= 1
    await client.close()


async def test_of_too_many_streams_the_ones_in_use_and_the_newest_are_kept(port: MediaPort) -> None:
    """A microphone that has wrapped comes again after a flood of SSRCs: it must not start at rollover 0."""
    transport, observer, client = await connected(port)
    microphone = 7
    observer.in_use.add(microphone)
    for number in range(0, 70_000, 10_000):
        client.send_rtp(packet(number, ssrc=microphone))
    await eventually(lambda: len(observer.rtp) == 7)
    for ssrc in range(1000, 1000 + 2 * STREAMS_MAX):
        client.send_rtp(packet(1, ssrc=ssrc))
        client.send_rtcp(RECEIVER_REPORT[:4] + (5000 + ssrc).to_bytes(4, "big"))
        if ssrc % 50 == 0:
            await eventually(lambda ssrc=ssrc: len(observer.rtcp) == ssrc - 999)  # type: ignore[misc]
    await eventually(lambda: len(observer.rtp) == 7 + 2 * STREAMS_MAX)
    assert len(transport.streams) <= STREAMS_MAX
    assert len(transport.reporters) <= REPORTERS_MAX
    client.send_rtp(packet(70_001, ssrc=microphone))
    await eventually(lambda: observer.rtp[-1] == packet(70_001, ssrc=microphone))
    # Those heard from last are there as well: the same packet is a replay.
    newest = (999 + 2 * STREAMS_MAX).to_bytes(4, "big")
    assert newest in transport.streams
    assert (1000).to_bytes(4, "big") not in transport.streams
    await client.close()


async def test_reports_from_many_ssrcs_push_out_no_media(port: MediaPort) -> None:
    transport, observer, client = await connected(port)
    client.send_rtp(packet(1))
    await eventually(lambda: len(observer.rtp) == 1)
    for ssrc in range(2 * REPORTERS_MAX):
        client.send_rtcp(RECEIVER_REPORT[:4] + ssrc.to_bytes(4, "big"))
    client.send_rtcp(RECEIVER_REPORT[:4] + (0x1111).to_bytes(4, "big"))
    await eventually(lambda: len(observer.rtcp) == 2 * REPORTERS_MAX + 1)
    assert list(transport.streams) == [(0x1111).to_bytes(4, "big")]
    await client.close()
