"""How often a network may ask."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from bridge.base.rate import NETWORK_SHARES, Budget, NetworkLimits, RateLimits, limited_networks, networks_of


def test_a_network_may_ask_a_burst_at_once_and_then_as_often_as_the_rate_says() -> None:
    limits = RateLimits(per_s=2.0, burst=10)
    assert [limits.allow("a", 100.0) for _ in range(11)] == [True] * 10 + [False]
    assert limits.allow("b", 100.0)
    assert not limits.allow("a", 100.4)
    assert limits.allow("a", 100.6)
    assert not limits.allow("a", 100.6)
    assert [limits.allow("a", 1000.0) for _ in range(11)] == [True] * 10 + [False]


def test_what_was_charged_has_to_be_earned_again() -> None:
    limits = RateLimits(per_s=1.0, burst=10)
    limits.charge("a", 50.0, 0.0)
    assert not limits.allow("a", 0.5)
    assert limits.allow("a", 1.1)


def test_time_that_goes_backwards_takes_nothing_from_a_budget_and_gives_nothing() -> None:
    for use in (Budget.spend, Budget.take):
        budget = Budget(per_s=400.0, burst=10.0, now=100.0)
        assert use(budget, 1.0, 100.0)
        # Stamped before, and taken out of the socket after it.
        assert [use(budget, 1.0, 99.0) for _ in range(9)] == [True] * 9
        assert not use(budget, 1.0, 99.5)
        assert budget.wait_s(99.0) == 0.0
        assert use(budget, 1.0, 100.01)
    budget = Budget(per_s=400.0, burst=10.0, now=100.0)
    budget.charge(4.0, 99.0)
    assert budget.left(99.0) == budget.left(100.0) == 6.0


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 5)), max_size=200))
def test_memory_is_bounded_and_nobody_gets_more_than_burst_and_rate(asked: list[tuple[int, float]]) -> None:
    limits = RateLimits(per_s=1.0, burst=3, keys_max=50)
    small = RateLimits(per_s=1.0, burst=3, keys_max=5)
    now, allowed = 0.0, dict.fromkeys(range(41), 0)
    for key, later in asked:
        now += later
        allowed[key] += limits.allow(key, now)
        small.allow(key, now)
        assert len(small) <= 5
    assert all(count <= 3 + now + 1e-6 for count in allowed.values())


def test_the_longest_unused_is_forgotten_first() -> None:
    limits = RateLimits(per_s=0.001, burst=1, keys_max=2)
    assert limits.allow("a", 0.0)
    assert limits.allow("b", 1.0)
    assert not limits.allow("a", 2.0)
    assert limits.allow("c", 3.0)
    assert not limits.allow("a", 4.0)
    assert limits.allow("b", 5.0)


def test_an_ipv6_subscriber_counts_once_and_this_machine_never() -> None:
    assert limited_networks("2001:db8::1") == limited_networks("2001:db8::ffff:2%eth0")
    assert limited_networks("::ffff:192.0.2.7") == limited_networks("192.0.2.7")
    assert limited_networks("192.0.2.7") != limited_networks("192.0.2.8")
    for own in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "", None, "a socket"):
        assert limited_networks(own) == ()


def test_who_has_many_networks_shares_the_wider_ones_with_itself() -> None:
    here = limited_networks("2001:db8:1:203::1")
    assert [len(network) for network in here] == [8, 7, 6]
    for other, shared in (
        ("2001:db8:1:203:ffff::1", 3),
        ("2001:db8:1:2ff::1", 2),
        ("2001:db8:1:ff03::1", 1),
        ("2001:db8:2:203::1", 0),
    ):
        assert len(set(here) & set(limited_networks(other))) == shared


def packed(address: str) -> bytes:
    return ip_address(address).packed


def test_the_64s_of_one_site_are_bounded_together_and_leave_their_neighbours_alone() -> None:
    limits = NetworkLimits(per_s=1.0, burst=10)
    networks = [networks_of(packed(f"2001:db8:1:{number:x}::1")) for number in range(256)]
    allowed = sum(limits.allow(network, 0.0) for network in networks for _ in range(10))
    # A site with a /56: not 256 times what an address gets.
    assert allowed == 10 * NETWORK_SHARES[1]
    assert limits.allow(networks_of(packed("2001:db8:1:1ff::1")), 0.0)
    networks = [networks_of(packed(f"2001:db8:1:{number:x}::1")) for number in range(0, 0x10000, 0x100)]
    assert sum(limits.allow(network, 0.0) for network in networks) == 10 * NETWORK_SHARES[2] - 21
    assert limits.allow(networks_of(packed("2001:db8:2::1")), 0.0)
    assert limits.allow(networks_of(packed("192.0.2.1")), 0.0)


def test_a_busy_64_does_not_use_up_what_its_48_has_for_others() -> None:
    limits = NetworkLimits(per_s=1.0, burst=10)
    busy = networks_of(packed("2001:db8::1"))
    assert sum(limits.allow(busy, 0.0) for _ in range(1000)) == 10
    assert limits.allow(networks_of(packed("2001:db8:0:1::1")), 0.0)
    limits.charge(busy, 1000.0, 0.0)
    assert not limits.allow(networks_of(packed("2001:db8:0:1::1")), 0.0)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 2)), max_size=60))
def test_a_budget_is_never_overdrawn_by_more_than_one_cost(asked: list[tuple[float, float]]) -> None:
    budget = Budget(per_s=0.25, burst=1.0, now=0.0)
    now = spent = 0.0
    for cost, later in asked:
        now += later
        if budget.spend(cost, now):
            spent += cost
        else:
            assert budget.wait_s(now) >= 0.0
        assert spent <= 1.0 + 0.25 * now + 0.5


def test_a_budget_tells_when_something_is_left_again() -> None:
    budget = Budget(per_s=0.25, burst=1.0, now=0.0)
    assert budget.wait_s(0.0) == 0.0
    budget.charge(2.0, 0.0)
    assert budget.wait_s(0.0) == 4.0
    assert not budget.spend(0.1, 3.9)
    assert budget.spend(0.1, 4.1)


def test_a_budget_is_a_burst_and_then_a_rate() -> None:
    budget = Budget(burst=2, per_s=1.0)
    taken = [step / 10 for step in range(100) if budget.take(1.0, step / 10)]
    assert taken[:2] == [0.0, 0.1]
    assert 10 <= len(taken) <= 12


def test_what_is_taken_whole_costs_nothing_when_refused() -> None:
    budget = Budget(burst=1_000, per_s=0)
    assert not budget.take(1_001, 0.0)
    assert budget.take(1_000, 0.0)
    assert not budget.take(1, 9.0)


def test_what_was_earned_may_be_taken_up_to_the_burst() -> None:
    budget = Budget(burst=10_000, per_s=0)
    assert budget.take(10_000, 0.0)
    for _ in range(10):
        budget.earn(200)
    assert budget.take(2_000, 0.1)
    assert not budget.take(1, 0.1)
    budget.earn(20_000)
    assert not budget.take(10_001, 0.2)
    assert budget.take(10_000, 0.2)


@given(st.lists(st.tuples(st.integers(1, 1500), st.floats(0.0, 0.1)), max_size=200))
def test_nobody_takes_more_than_burst_rate_and_what_was_earned(steps: list[tuple[int, float]]) -> None:
    budget = Budget(burst=20_000, per_s=16_000)
    now = earned = taken = 0.0
    for size, pause_s in steps:
        now += pause_s
        budget.earn(0.2 * size)
        earned += 0.2 * size
        taken += 1_200 * budget.take(1_200, now)
    assert taken <= 20_000 + earned + 16_000 * now + 1
