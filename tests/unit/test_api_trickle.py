"""bridge/api/devices/trickle.py: SDP fragments of PATCH requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.devices.trickle import Fragment, fragment_of, ice_ufrag_of, parse_fragment, with_credentials
from bridge.base.errors import InvalidMessage

PASSWORD = "p" * 24
# RFC 9725, figure 4, shortened.
TRICKLED = (
    "a=group:BUNDLE 0 1\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    "a=mid:0\r\n"
    "a=ice-ufrag:EsAw\r\n"
    f"a=ice-pwd:{PASSWORD}\r\n"
    "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n"
    "a=end-of-candidates\r\n"
)
OFFER = (
    "v=0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    "a=ice-ufrag:old1\r\n"
    f"a=ice-pwd:{'o' * 24}\r\n"
    "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n"
    "a=fingerprint:sha-256 AA:BB\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    "a=ice-ufrag:old1\r\n"
    f"a=ice-pwd:{'o' * 24}\r\n"
)


def test_credentials_of_a_fragment_are_read() -> None:
    assert parse_fragment(TRICKLED) == Fragment("EsAw", PASSWORD)


def test_credentials_may_stand_in_every_section_when_equal() -> None:
    assert parse_fragment(TRICKLED + TRICKLED) == Fragment("EsAw", PASSWORD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a=ice-ufrag:EsAw\r\n",
        f"a=ice-pwd:{PASSWORD}\r\n",
        f"a=ice-ufrag:abc\r\na=ice-pwd:{PASSWORD}\r\n",
        "a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n",
        f"a=ice-ufrag:EsAw\r\na=ice-ufrag:Other\r\na=ice-pwd:{PASSWORD}\r\n",
        f"a=ice-ufrag:Es w\r\na=ice-pwd:{PASSWORD}\r\n",
        TRICKLED * 200,
    ],
)
def test_a_fragment_without_one_pair_of_credentials_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        parse_fragment(text)


def test_an_offer_after_the_restart_differs_in_its_ice_side_only() -> None:
    offer = with_credentials(OFFER, Fragment("new1", PASSWORD))
    assert ice_ufrag_of(offer) == "new1"
    assert offer.count(f"a=ice-pwd:{PASSWORD}\r\n") == 2
    assert "old1" not in offer
    assert "a=candidate" not in offer
    assert "a=fingerprint:sha-256 AA:BB\r\n" in offer
    assert offer.count("m=") == 2


def test_an_answers_fragment_can_be_read_back() -> None:
    answer = OFFER.replace("old1", "mine").replace("v=0", "v=0\r\na=ice-lite")
    fragment = fragment_of(answer)
    assert parse_fragment(fragment) == Fragment("mine", "o" * 24)
    assert fragment.count("a=candidate:") == 1
    assert fragment.endswith("a=end-of-candidates\r\n")


_LINES = st.sampled_from(
    ["a=ice-ufrag:", "a=ice-pwd:", "a=mid:0", "m=audio", "a=candidate:", PASSWORD, "EsAw"]
)


@given(st.text(max_size=300) | st.lists(_LINES | st.text(max_size=30), max_size=12).map("\n".join))
def test_no_text_raises_anything_but_invalid_message(text: str) -> None:
    try:
        fragment = parse_fragment(text)
    except InvalidMessage:
        return
    assert ice_ufrag_of(with_credentials(OFFER, fragment)) == fragment.ice_ufrag
