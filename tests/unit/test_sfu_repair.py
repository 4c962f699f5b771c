"""Lost, late and repeated packets in both directions, as a strict receiver sees them."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeting import Client, Meeting
from network import Network

from bridge.base.words import SlotRole, Source
from bridge.rtp import rtcp


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    with Network() as network:
        yield Meeting(network)


def pair(meeting: Meeting, **options: object) -> tuple[Client, Client]:
    hue = meeting.join("hue", sources=(Source.CAMERA,))
    viewer = meeting.join("viewer", sources=(), **options)
    viewer.show(hue)
    return hue, viewer


def lose(client: Client, *, up: float = 0.0, down: float = 0.0, jitter_s: float = 0.0) -> None:
    client.up.loss, client.down.loss = up, down
    client.up.jitter_s = client.down.jitter_s = jitter_s


def all_arrived_but_the_newest(client: Client) -> bool:
    receiver = client.receiver()
    newest = max(receiver.heard)
    return all(newest - number < 150 for number in receiver.holes) and receiver.abandoned == 0


def test_losses_on_the_way_up_are_repaired_before_viewers_miss_anything(meeting: Meeting) -> None:
    hue, viewer = pair(meeting)
    meeting.run(1.0)
    hue.up.loss = 0.05
    meeting.run(5.0)
    hue.up.loss = 0.0
    meeting.run(1.0)
    assert hue.nacks_received > 20
    assert meeting.counters.retransmissions_received > 20
    lost = meeting.counters.packets_lost
    assert meeting.counters.retransmissions_received <= lost <= hue.up.lost
    assert meeting.counters.nacks_sent >= lost
    assert viewer.receiver().holes == []
    assert viewer.complaints() == []
    assert viewer.receiver().longest_freeze_s(1001.0, meeting.network.now) < 0.5


def test_losses_on_the_way_down_are_repaired_from_the_cache(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(1.0)
    viewer.down.loss = 0.05
    meeting.run(5.0)
    viewer.down.loss = 0.0
    meeting.run(1.0)
    assert viewer.receiver().repaired > 20
    assert viewer.receiver().holes == []
    assert viewer.receiver().repeated_in_vain < viewer.receiver().repaired / 4
    assert viewer.complaints() == []


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    up=st.sampled_from((0.0, 0.02, 0.08)),
    down=st.sampled_from((0.0, 0.02, 0.08)),
    jitter_s=st.sampled_from((0.0, 0.004, 0.03)),
    pauses_s=st.lists(st.sampled_from((0.05, 0.3, 0.9)), min_size=1, max_size=5),
)
def test_continuity_under_random_loss_and_reordering_both_ways(
    seed: int, up: float, down: float, jitter_s: float, pauses_s: list[float]
) -> None:
    with Network(seed) as network:
        meeting = Meeting(network)
        hue, viewer = pair(meeting)
        hanoi = meeting.join("hanoi", sources=(Source.CAMERA,), codec=network.random.choice(("vp8", "h264")))
        for client in (hue, hanoi, viewer):
            lose(client, up=up, down=down, jitter_s=jitter_s)
        for turn, pause_s in enumerate(pauses_s):
            viewer.show((hue, hanoi)[turn % 2])
            meeting.run(pause_s)
        for client in (hue, hanoi, viewer):
            lose(client)
        meeting.run(3.0)
        # Whatever was lost at a switch: the picture goes on, and the numbers were used once.
        assert viewer.receiver().longest_freeze_s(network.now - 0.5, network.now) < 0.1
        assert viewer.receiver().errors == []


def test_a_longer_path_gives_packets_time_to_come_late(meeting: Meeting) -> None:
    hue, viewer = pair(meeting)
    hue.up.delay_s, hue.up.jitter_s = 0.25, 0.02
    viewer.down.delay_s = 0.25
    hue.up.loss = 0.03
    meeting.run(8.0)
    hue.up.loss = 0.0
    meeting.run(3.0)
    assert all_arrived_but_the_newest(viewer)
    assert viewer.receiver().errors == []


def test_what_was_repeated_is_not_repeated_again_within_a_round_trip(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(3.0)
    receiver = viewer.receiver()
    number = max(receiver.heard) - 5
    sent = meeting.counters.retransmissions_sent
    for _ in range(10):
        viewer.send_rtcp(rtcp.Nack(1, receiver.ssrc, (number & 0xFFFF,)))
        meeting.run(0.002)
    meeting.run(0.03)
    assert meeting.counters.retransmissions_sent == sent + 1
    assert meeting.counters.retransmissions_suppressed >= 9
    viewer.send_rtcp(rtcp.Nack(1, receiver.ssrc, (number & 0xFFFF,)))
    meeting.run(0.1)
    assert meeting.counters.retransmissions_sent == sent + 2
    assert receiver.errors == []


def test_retransmissions_stay_within_their_budget(meeting: Meeting) -> None:
    """A receiver that asks for everything again and again does not get it."""
    _, viewer = pair(meeting)
    meeting.run(3.0)
    receiver = viewer.receiver()
    before = viewer.down.sent
    octets: list[int] = []
    deliver = viewer._receive
    viewer.down._deliver = lambda data: (octets.append(len(data)), deliver(data))[1]
    seconds = 6.0
    for _ in range(int(seconds / 0.12)):
        newest = max(receiver.heard)
        numbers = tuple(number & 0xFFFF for number in range(newest - 250, newest - 10))
        viewer.send_rtcp(rtcp.Nack(1, receiver.ssrc, numbers))
        meeting.run(0.12)
    assert viewer.down.sent > before
    media_octets = seconds * 1_700_000 / 8
    repeated = receiver.repeated_in_vain * 1000
    assert repeated < 64_000 + 0.3 * media_octets + 16_000 * seconds
    assert receiver.errors == []


def test_feedback_that_nobody_uses_is_not_read(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    _, viewer = pair(meeting, tells_arrivals=False)
    meeting.run(0.5)
    feedback = rtcp.TransportFeedback(1, 2, 0, 0, 0, tuple((number, None) for number in range(4096)))

    def refuse(body: bytes) -> rtcp.TransportFeedback:
        raise AssertionError("it was read")

    monkeypatch.setattr(rtcp, "_parse_transport_feedback", refuse)
    viewer.send_rtcp(*[feedback] * 50)
    meeting.run(0.1)
    assert meeting.dropped().get("malformed-rtcp", 0) == 0


def test_one_datagram_of_many_requests_is_answered_like_one_request(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(3.0)
    receiver = viewer.receiver()
    newest = max(receiver.heard)
    numbers = tuple(number & 0xFFFF for number in range(newest + 1000, newest + 1017))
    before = meeting.counters.nacks_received
    viewer.send_rtcp(*[rtcp.Nack(1, receiver.ssrc, numbers)] * 100)
    meeting.run(0.1)
    assert meeting.counters.nacks_received == before + 1700
    assert viewer.leg._downlink._nacked_count <= 256


def test_a_receiver_without_rtx_is_helped_by_key_frames(meeting: Meeting) -> None:
    _, viewer = pair(meeting, has_rtx=False)
    assert viewer.receiver().rtx_ssrc is None
    meeting.run(1.0)
    viewer.down.loss = 0.02
    meeting.run(4.0)
    viewer.down.loss = 0.0
    meeting.run(2.0)
    assert meeting.counters.retransmissions_sent == 0
    assert viewer.receiver().plis_sent > 0
    assert viewer.receiver().longest_freeze_s(meeting.network.now - 1.0, meeting.network.now) < 0.1
    assert viewer.complaints() == []


def test_a_publisher_without_rtx_is_asked_for_key_frames(meeting: Meeting) -> None:
    hue = meeting.join("hue", sources=(Source.CAMERA,), has_rtx=False)
    viewer = meeting.join("viewer", sources=())
    viewer.show(hue)
    meeting.run(1.0)
    hue.plis.clear()
    hue.up.loss = 0.02
    meeting.run(4.0)
    hue.up.loss = 0.0
    meeting.run(2.5)
    assert len(hue.plis) >= 1
    assert viewer.receiver().errors == []
    assert viewer.receiver().longest_freeze_s(meeting.network.now - 0.5, meeting.network.now) < 0.1


def test_nacks_for_what_never_was_are_harmless(meeting: Meeting) -> None:
    _, viewer = pair(meeting)
    meeting.run(1.0)
    receiver = viewer.receiver()
    first = min(receiver.heard)
    numbers = tuple((first + offset) & 0xFFFF for offset in (-300, -1, 5000, 20_000, 40_000))
    viewer.send_rtcp(rtcp.Nack(1, receiver.ssrc, numbers), rtcp.Nack(1, 12345, (1, 2, 3)))
    voice = viewer.receiver(SlotRole.VOICE)
    viewer.send_rtcp(rtcp.Nack(1, voice.ssrc, (1, 2, 3)))
    meeting.run(0.5)
    assert meeting.counters.retransmissions_sent == 0
    assert viewer.complaints() == []


@pytest.mark.parametrize("tells_arrivals", [True, False])
def test_losses_on_the_way_up_are_not_held_against_the_viewers_links(
    meeting: Meeting, tells_arrivals: bool
) -> None:
    hue, viewer = pair(meeting, tells_arrivals=tells_arrivals)
    meeting.run(3.0)
    # A network that is gone for some seconds tears a hole too large to be repaired.
    hue.up.loss = 1.0
    meeting.run(4.0)
    hue.up.loss = 0.0
    meeting.run(3.0)
    assert viewer.leg.snapshot().available_bps > 2_400_000
    assert viewer.sees() == ("hue", "h")


def test_reordering_on_the_way_up_costs_no_retransmissions_down(meeting: Meeting) -> None:
    hue, viewer = pair(meeting)
    meeting.run(1.0)
    hue.up.jitter_s = 0.003
    meeting.run(3.0)
    assert meeting.counters.retransmissions_sent <= 5
    assert viewer.receiver().holes == []
    assert viewer.complaints() == []
