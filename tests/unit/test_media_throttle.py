from itertools import pairwise

from bridge.media.throttle import KeyframeRequests, SentRecently


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
    requests.keyframe_received(0.35)
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
    assert requests.request(0.0)
    requests.keyframe_received(0.1)
    assert not requests.request(0.2)
    assert requests.due(0.3)


def test_a_cancelled_wish_is_not_sent_again() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    requests.cancel()
    assert not requests.due(1.0)


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


def served(per_s: float, *, is_repair: bool, seconds: float = 30.0) -> list[float]:
    """When requests go out if somebody asks so often and each key frame is here 100 ms after its request."""
    requests = KeyframeRequests()
    sent: list[float] = []
    for step in range(int(seconds * 100)):
        now = step / 100
        if sent and abs(now - sent[-1] - 0.1) < 0.001:
            requests.keyframe_received(now)
        asks = step % round(100 / per_s) == 0
        if requests.request(now, is_repair=is_repair) if asks else requests.due(now):
            sent.append(now)
    return sent


def test_who_goes_on_asking_gets_a_key_frame_a_second() -> None:
    for is_repair in (True, False):
        sent = served(50, is_repair=is_repair)
        assert 25 <= len(sent) <= 33
    assert min(after - before for before, after in pairwise(served(50, is_repair=True))) >= 1.0


def test_a_few_switches_in_a_row_are_not_kept_waiting() -> None:
    sent = served(3, is_repair=False)
    assert sent[:3] == [0.0, 0.33, 0.66]


def test_a_repair_waits_for_its_second_and_a_switch_does_not() -> None:
    requests = KeyframeRequests()
    assert requests.request(0.0)
    requests.keyframe_received(0.1)
    assert not requests.request(0.5, is_repair=True)
    assert not requests.due(1.05)
    assert requests.request(1.06)
    requests.keyframe_received(1.1)
    assert not requests.request(1.5, is_repair=True)
    assert requests.due(2.1)


def test_an_encoder_that_never_answers_is_asked_less_than_once_a_second() -> None:
    requests = KeyframeRequests()
    sent = [step / 50 for step in range(50 * 60) if requests.request(step / 50)]
    assert len(sent) < 35
    assert len([at for at in sent if at >= 3.0]) <= 29
