"""TURN relays and their time-limited credentials, as clients and devices are told of them."""

import hmac
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelayCredential:
    """What one client may show to the relay until it expires."""

    urls: tuple[str, ...]
    username: str
    credential: str

    def as_json(self) -> dict[str, object]:
        """Return an RTCIceServer (W3C WebRTC, 4.2.4)."""
        return {"urls": list(self.urls), "username": self.username, "credential": self.credential}

    def as_links(self) -> list[str]:
        """Return one Link header value per URL (RFC 9725, 4.4)."""
        return [
            f'<{url}>; rel="ice-server"; username="{self.username}"; '
            f'credential="{self.credential}"; credential-type="password"'
            for url in self.urls
        ]


class Relays:
    """Makes credentials from the secret that this bridge and the relay share.

    The user name is the time of expiry and whose it is, the password its HMAC-SHA1
    (draft-uberti-behave-turn-rest; coturn's `use-auth-secret`, which counts quotas by the second part).
    """

    def __init__(
        self, urls: Sequence[str], secret: bytes, *, lifetime_s: int, wall_clock: Callable[[], float]
    ) -> None:
        self._urls = tuple(urls)
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._wall_clock = wall_clock

    def credentials(self, holder: str) -> list[RelayCredential]:
        """Return a fresh credential for all relays, or nothing when there are none.

        `holder` is the id of a link, so that the relay's log tells whose traffic it was.
        """
        if not self._urls:
            return []
        username = f"{int(self._wall_clock()) + self._lifetime_s}:{holder}"
        digest = hmac.digest(self._secret, username.encode(), "sha1")
        return [RelayCredential(self._urls, username, b64encode(digest).decode())]
