"""bridge/api/accounts.py: what links and networks may cost together."""

import pytest

from bridge.api.accounts import (
    LINK_BURST,
    LINK_PER_S,
    NETWORK_BURST,
    OFFERS_BURST,
    WORDS_BURST,
    Accounts,
    cost_of,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_frame_costs_by_its_length() -> None:
    assert cost_of("") == 1.0
    assert cost_of("x" * 40_960) == 11.0


def test_a_link_has_one_account_and_a_network_another() -> None:
    clock = Clock()
    accounts = Accounts(per_link=4, clock=clock)
    assert sum(accounts.allow("a", (), 1.0) for _ in range(1000)) == LINK_BURST
    assert accounts.allow("b", (), 1.0)
    clock.now += 1.0
    assert sum(accounts.allow("a", (), 1.0) for _ in range(1000)) == LINK_PER_S
    # A thousand links behind one address share its account, and do not harm another address.
    allowed = sum(accounts.allow(f"link {n}", (b"here",), 10.0) for n in range(1000))
    assert allowed == NETWORK_BURST / 10
    assert accounts.allow("c", (b"there",), 10.0)


def test_offers_and_words_are_counted_apart() -> None:
    clock = Clock()
    accounts = Accounts(per_link=4, clock=clock)
    assert sum(accounts.allow_offer("a") for _ in range(50)) == OFFERS_BURST
    assert sum(accounts.allow_words("a") for _ in range(50)) == WORDS_BURST
    clock.now += 2.0
    assert sum(accounts.allow_offer("a") for _ in range(50)) == 2
    assert sum(accounts.allow_words("a") for _ in range(50)) == 1


@pytest.mark.parametrize(("per_link", "share"), [(1, 1), (4, 1), (40, 10), (500, 125)])
def test_a_link_that_all_observers_were_sent_may_cost_as_much_as_so_many_links(
    per_link: int, share: int
) -> None:
    clock = Clock()
    accounts = Accounts(per_link=per_link, clock=clock)
    many = 40_000
    assert sum(accounts.allow("a", (), 1.0) for _ in range(many)) == LINK_BURST * share
    assert sum(accounts.allow_offer("a") for _ in range(many)) == OFFERS_BURST * share
    assert sum(accounts.allow_words("a") for _ in range(many)) == WORDS_BURST * share
    clock.now += 2.0
    assert sum(accounts.allow_offer("a") for _ in range(many)) == 2 * share
    # The network's account is as it was: it does not matter how its links are shared.
    assert sum(accounts.allow(f"link {n}", (b"here",), 10.0) for n in range(1000)) == NETWORK_BURST / 10
