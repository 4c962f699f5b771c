"""What one link and one network may cost the node, however many sockets and devices they share it among.

Sizes count as well as numbers: reading a frame takes time by its length. Rights are left to `conference`, and
how often a network may ask to come in to `admission`.
"""

import time
from collections.abc import Callable
from typing import Final

from bridge.base.rate import NetworkLimits, RateLimits

# What follows, up to the networks', is for a link that may be on this many pages. Observers may all have been
# sent the same one, and then it costs as much as so many links.
PAGES_OF_A_LINK: Final = 4
# A page that joins takes about thirty; all pages of a link may come back together.
LINK_PER_S: Final = 40.0
LINK_BURST: Final = 240.0
# Reading and answering an offer is the dearest of all: up to 50 ms for the longest.
OFFERS_PER_S: Final = 1.0
OFFERS_BURST: Final = 8.0
# Chat lines go to everybody, hands into the journal.
WORDS_PER_S: Final = 0.5
WORDS_BURST: Final = 10.0
# A hundred sites behind one address come back at once after a restart.
NETWORK_PER_S: Final = 400.0
NETWORK_BURST: Final = 6000.0
# What a frame costs beside its one: a token for each so many characters.
CHARACTERS_PER_TOKEN: Final = 4096


def cost_of(text: str) -> float:
    """Return what it costs to read a text."""
    return 1.0 + len(text) / CHARACTERS_PER_TOKEN


class Accounts:
    """The accounts of all links and networks, in bounded memory; `per_link` pages may be in by one link."""

    def __init__(self, *, per_link: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        share = max(1.0, per_link / PAGES_OF_A_LINK)
        self._links = RateLimits(per_s=LINK_PER_S * share, burst=LINK_BURST * share)
        self._networks = NetworkLimits(per_s=NETWORK_PER_S, burst=NETWORK_BURST)
        self._offers = RateLimits(per_s=OFFERS_PER_S * share, burst=OFFERS_BURST * share)
        self._words = RateLimits(per_s=WORDS_PER_S * share, burst=WORDS_BURST * share)

    def allow(self, link: str, networks: tuple[bytes, ...], cost: float) -> bool:
        """Whether a frame of this cost may be read; without networks only the link's account counts."""
        now = self._clock()
        if not self._networks.allow(networks, now, cost):
            return False
        return self._links.allow(link, now, cost)

    def allow_offer(self, link: str) -> bool:
        """Whether one more offer of this link may be answered now."""
        return self._offers.allow(link, self._clock())

    def allow_words(self, link: str) -> bool:
        """Whether one more line or hand of this link may be told to everybody now."""
        return self._words.allow(link, self._clock())
