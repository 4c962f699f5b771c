"""SDP fragments (RFC 8840, 9) as WHIP and WHEP use them in PATCH requests.

The bridge is ICE-lite and never sends checks, so candidates trickled by a client carry no news for it.
What a fragment can change is the ICE generation: new credentials are an ICE restart (RFC 9725, 4.3.3).
"""

import re
from dataclasses import dataclass

from bridge.base.errors import InvalidMessage

# RFC 8839, 5.4: at least 24 and 128 bits of randomness, at most 256 characters.
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_LINES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Fragment:
    """The ICE credentials that a fragment speaks of."""

    ice_ufrag: str
    ice_pwd: str


def parse_fragment(text: str) -> Fragment:
    """Read a fragment; raises InvalidMessage."""
    lines = text.splitlines()
    if len(lines) > _LINES_MAX:
        raise InvalidMessage("invalid-message", f"the fragment has more than {_LINES_MAX} lines")
    ice_ufrag = _only_value(lines, "a=ice-ufrag:")
    ice_pwd = _only_value(lines, "a=ice-pwd:")
    if not _UFRAG.fullmatch(ice_ufrag):
        raise InvalidMessage("invalid-message", "a=ice-ufrag is missing or malformed")
    if not _PASSWORD.fullmatch(ice_pwd):
        raise InvalidMessage("invalid-message", "a=ice-pwd is missing or malformed")
    return Fragment(ice_ufrag, ice_pwd)


def ice_ufrag_of(description: str) -> str:
    """Return the first ICE user name fragment of an offer or answer, or an empty text."""
    return _first_value(description.splitlines(), "a=ice-ufrag:")


def with_credentials(offer: str, fragment: Fragment) -> str:
    """Return the offer as it would be after the ICE restart, without its old candidates."""
    lines: list[str] = []
    for line in offer.splitlines():
        if line.startswith("a=ice-ufrag:"):
            lines.append(f"a=ice-ufrag:{fragment.ice_ufrag}")
        elif line.startswith("a=ice-pwd:"):
            lines.append(f"a=ice-pwd:{fragment.ice_pwd}")
        elif not line.startswith(("a=candidate:", "a=end-of-candidates")):
            lines.append(line)
    return "".join(f"{line}\r\n" for line in lines)


def fragment_of(answer: str) -> str:
    """Return the answer's ICE side as a fragment: credentials, then its first m-line's candidates."""
    lines = answer.splitlines()
    media = next((line for line in lines if line.startswith("m=")), "m=audio 9 UDP/TLS/RTP/SAVPF 0")
    mid = next((line for line in lines if line.startswith("a=mid:")), "a=mid:0")
    candidates = dict.fromkeys(line for line in lines if line.startswith("a=candidate:"))
    fragment = [
        "a=ice-lite",
        f"a=ice-ufrag:{_first_value(lines, 'a=ice-ufrag:')}",
        f"a=ice-pwd:{_first_value(lines, 'a=ice-pwd:')}",
        media,
        mid,
        *candidates,
        "a=end-of-candidates",
    ]
    return "".join(f"{line}\r\n" for line in fragment)


def _only_value(lines: list[str], prefix: str) -> str:
    values = {line[len(prefix) :].strip() for line in lines if line.startswith(prefix)}
    if len(values) > 1:
        raise InvalidMessage("invalid-message", f"the fragment has more than one {prefix[:-1]}")
    return values.pop() if values else ""


def _first_value(lines: list[str], prefix: str) -> str:
    return next((line[len(prefix) :].strip() for line in lines if line.startswith(prefix)), "")
