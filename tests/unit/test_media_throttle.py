from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.throttle import KeyframeRequests, RetransmissionBudget, SentRecently


def test_the_first_request_goes_out_at_once() -> None:
    assert KeyframeRequests().request(0.0)


def test_thirty_receivers_asking_make_one_request() -> None:
    requests = KeyframeRequests()
    assert sum(requests.request(step / 1000) for step in range(290)) == 1


def test_nothing_is_due_when_nobody_asked() -> None:
    assert not KeyframeRequests().due(5.0)


def test_the_request_is_repeated_until_the_key_frame_is_here() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    assert not requests.due(0.2)
    assert requests.due(0.3)
    requests.keyframe_received()
    assert not requests.due(5.0)


def test_repetitions_to_a_layer_that_never_answers_get_rarer() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    sent = [step / 100 for step in range(1, 2000) if requests.due(step / 100)]
    distances = [later - earlier for earlier, later in pairwise(sent)]
    assert len(sent) < 20
    assert max(distances) <= 2.02


def test_a_new_wish_right_after_the_key_frame_waits_for_the_interval_only() -> None:
    requests = KeyframeRequests()
    for step in range(1000):
        requests.request(step / 100)
    requests.keyframe_received()
    assert not requests.request(9.0)
    assert requests.due(11.5)


def test_a_cancelled_wish_is_not_sent_again() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    requests.cancel()
    assert not requests.due(1.0)


def test_a_budget_begins_with_a_burst() -> None:
    budget = RetransmissionBudget(burst_bytes=5_000)
    assert [budget.allow(1_000, 0.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_refusal_costs_nothing() -> None:
    budget = RetransmissionBudget(burst_bytes=1_000, floor_bytes_per_s=0)
    assert not budget.allow(1_001, 0.0)
    assert budget.allow(1_000, 0.0)


def test_sent_media_earn_a_share_of_retransmissions() -> None:
    budget = RetransmissionBudget(share=0.2, floor_bytes_per_s=0, burst_bytes=10_000)
    assert budget.allow(10_000, 0.0)
    for _ in range(10):
        budget.sent(1_000)
    assert budget.allow(2_000, 0.1)
    assert not budget.allow(1, 0.1)


def test_the_floor_serves_a_receiver_that_is_sent_little() -> None:
    budget = RetransmissionBudget(share=0.2, floor_bytes_per_s=16_000, burst_bytes=16_000)
    assert budget.allow(16_000, 0.0)
    assert not budget.allow(9_000, 0.5)
    assert budget.allow(8_000, 0.5)


@given(st.lists(st.tuples(st.integers(1, 1500), st.floats(0.0, 0.1)), max_size=200))
def test_retransmissions_never_exceed_burst_share_and_floor(steps: list[tuple[int, float]]) -> None:
    budget = RetransmissionBudget(share=0.2, floor_bytes_per_s=16_000, burst_bytes=20_000)
    now = 0.0
    sent_bytes = repeated_bytes = 0
    for size_bytes, pause_s in steps:
        now += pause_s
        budget.sent(size_bytes)
        sent_bytes += size_bytes
        if budget.allow(1_200, now):
            repeated_bytes += 1_200
    assert repeated_bytes <= 20_000 + 0.2 * sent_bytes + 16_000 * now + 1


def test_a_repeated_packet_is_recent_for_one_round_trip() -> None:
    sent = SentRecently()
    assert not sent.is_recent(7, 0.0, 0.1)
    sent.note(7, 0.0)
    assert sent.is_recent(7, 0.05, 0.1)
    assert not sent.is_recent(8, 0.05, 0.1)
    assert not sent.is_recent(7, 0.1, 0.1)


def test_the_memory_of_repeated_packets_is_bounded_and_forgets_the_oldest() -> None:
    sent = SentRecently(capacity=4)
    for number in range(5):
        sent.note(number, 0.0)
    assert sent.is_recent(4, 0.1, 10.0)
    assert not sent.is_recent(0, 0.1, 10.0)
