"""What the bridge says by RTCP: whole compounds, what was agreed, and times that are those of the packets."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from meeting import Client, Meeting
from network import Network
from receivers import SlotReceiver
from streams import AUDIO_HZ, NTP_SECOND, talking

from bridge.base.words import SlotRole, Source
from bridge.rtp import rtcp
from bridge.rtp.sequence import difference


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def listen(client: Client) -> list[list[Any]]:
    """Return the compounds that this client is sent, as they come."""
    compounds: list[list[Any]] = []
    deliver = client.down._deliver

    def take(data: bytes) -> None:
        if rtcp.is_rtcp(data):
            compounds.append(rtcp.parse_rtcp(data)[0])
        deliver(data)

    client.down._deliver = take
    return compounds


def with_offer(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Let clients who join from now on change their offers before they send them."""
    offer_of = Client._offer
    monkeypatch.setattr(Client, "_offer", lambda client, codecs: change(offer_of(client, codecs)))


def test_all_who_send_are_described_in_each_compound_of_reports(meeting: Meeting) -> None:
    hue = meeting.join("hue")
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    heard, told = listen(viewer), listen(hue)
    meeting.run(4.0)
    for compounds, kind in ((heard, rtcp.SenderReport), (told, rtcp.ReceiverReport)):
        reports = [compound for compound in compounds if isinstance(compound[0], kind)]
        assert reports
        for compound in reports:
            *packets, description = compound
            assert isinstance(description, rtcp.SourceDescription)
            named = {chunk.ssrc: chunk.cname for chunk in description.chunks}
            assert named == dict.fromkeys([packet.ssrc for packet in packets], "hoichan")
    senders = {packet.ssrc for compound in heard for packet in compound if hasattr(packet, "octet_count")}
    assert senders == {viewer.slot().ssrc, viewer.slot(SlotRole.VOICE).ssrc}


@pytest.mark.parametrize("is_reduced", [True, False])
def test_feedback_comes_alone_only_where_that_was_agreed(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, is_reduced: bool
) -> None:
    if not is_reduced:
        with_offer(monkeypatch, lambda text: text.replace("a=rtcp-rsize\r\n", ""))
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    compounds = listen(hue)
    viewer.show(hue)
    hue.up.loss = 0.05
    meeting.run(1.5)
    viewer.send_rtcp(rtcp.PictureLossIndication(1, viewer.receiver().ssrc))
    meeting.run(1.5)
    kinds = (rtcp.Nack, rtcp.PictureLossIndication)
    for kind in kinds:
        with_it = [compound for compound in compounds if any(isinstance(one, kind) for one in compound)]
        assert with_it
        for compound in with_it:
            if is_reduced:
                assert len(compound) == 1
            else:
                assert compound[0] == rtcp.ReceiverReport(compound[-1].sender_ssrc)
                assert isinstance(compound[1], rtcp.SourceDescription)


@pytest.mark.parametrize(
    ("agreed", "expected"),
    [
        (("nack", "nack pli", "ccm fir"), {"Nack", "PictureLossIndication"}),
        (("nack pli",), {"PictureLossIndication"}),
        (("ccm fir",), {"FullIntraRequest"}),
        (("nack", "ccm fir"), {"Nack", "FullIntraRequest"}),
        ((), set()),
    ],
)
def test_nothing_is_asked_of_a_sender_that_was_not_agreed(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, agreed: tuple[str, ...], expected: set[str]
) -> None:
    def change(text: str) -> str:
        lines = text.split("\r\n")
        return "\r\n".join(
            line
            for line in lines
            if not line.startswith("a=rtcp-fb:") or line.split(" ", 1)[1] in (*agreed, "transport-cc")
        )

    with monkeypatch.context() as patch:
        with_offer(patch, change)
        hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    compounds = listen(hue)
    viewer.show(hue)
    hue.up.loss = 0.03
    meeting.run(3.0)
    viewer.send_rtcp(rtcp.PictureLossIndication(1, viewer.receiver().ssrc))
    meeting.run(3.0)
    asked = {
        type(packet).__name__
        for compound in compounds
        for packet in compound
        if isinstance(packet, rtcp.Nack | rtcp.PictureLossIndication | rtcp.FullIntraRequest)
    }
    assert asked == expected
    commands = [
        packet.entries[0][1]
        for compound in compounds
        for packet in compound
        if isinstance(packet, rtcp.FullIntraRequest)
    ]
    # A new command each time (RFC 5104, 4.3.1.2).
    assert len(set(commands)) == len(commands)
    if "ccm fir" in expected or "PictureLossIndication" in expected:
        hue.up.loss = 0.0
        meeting.run(2.5)
        assert viewer.receiver().longest_freeze_s(meeting.network.now - 0.5, meeting.network.now) < 0.1


def test_the_numbers_in_a_report_begin_in_their_first_cycle(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    compounds = listen(hue)
    meeting.run(3.0)
    highest = [
        report.extended_highest
        for compound in compounds
        for packet in compound
        if isinstance(packet, rtcp.ReceiverReport)
        for report in packet.reports
    ]
    assert highest
    # At most one cycle has passed in three seconds.
    assert max(highest) < 2 << 16
    assert min(highest) < 1 << 16


def off_its_packets_s(receiver: SlotReceiver, shown_after: float) -> list[float]:
    """By how much each report was off the packet that came next after it, as this receiver plays it."""
    off = []
    for arrival, report in receiver.reports:
        following = next((one for one in receiver.pictures if one.shown >= arrival), None)
        if following is None or arrival < shown_after or following.shown - arrival > 0.1:
            continue
        ticks = difference(following.timestamp, report.rtp_timestamp, bits=32)
        # Each packet takes as long from its capture to here; the report is of the moment it was sent.
        elapsed_s = following.shown - arrival
        off.append(ticks / receiver.clock_rate_hz - elapsed_s)
    return off


@pytest.mark.parametrize("mute_s", [1.0, 6.0, 10.1])
def test_after_a_mute_our_reports_stay_with_the_packets(meeting: Meeting, mute_s: float) -> None:
    hue, viewer = meeting.join("hue"), meeting.join("viewer", sources=())
    voice = hue.voice
    assert voice is not None
    voice.level = talking
    hue.sender_report_s = 5.0
    viewer.show(hue)
    meeting.run(7.0)
    for _ in range(2):
        # replaceTrack(null): the page says so to nobody, and the RTP clock stands still.
        hue.voice = None
        meeting.run(mute_s)
        voice.stream.first_timestamp -= round(mute_s * AUDIO_HZ)
        hue.voice = voice
        meeting.run(3.0)
    receiver = viewer.receiver(SlotRole.VOICE)
    off = off_its_packets_s(receiver, 1001.0)
    assert len(off) > 8
    assert max(map(abs, off)) < 0.1
    assert all(report.ntp < 1 << 64 and report.ntp / NTP_SECOND > 0 for _, report in receiver.reports)


def test_a_room_of_devices_that_report_nothing_still_measures_its_receivers(meeting: Meeting) -> None:
    device = meeting.join("device", voices=0, pictures=())
    device.sender_report_s = float("inf")
    device._sender_report_due = float("inf")
    viewer = meeting.join("viewer", sources=())
    viewer.show(device)
    meeting.run(5.0)
    assert viewer.leg.rtt_ms is not None
    assert viewer.leg.rtt_ms == pytest.approx(40, abs=5)
    assert len(viewer.receiver().reports) >= 3
    assert len(viewer.receiver(SlotRole.VOICE).reports) >= 3
