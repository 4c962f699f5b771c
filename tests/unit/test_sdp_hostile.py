"""Damaged and hostile offers: they end in NegotiationFailed or an answer, soon, and nothing else."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sdp_samples import NAMES, answer_to, m_lines, sample

from bridge.base.errors import NegotiationFailed
from bridge.sdp import (
    check_sections,
    default_publications,
    default_slots,
    parse_offer,
    plan_publishing,
    plan_slot,
)

SMALL = [name for name in NAMES if len(sample(name)) < 8_000]
ANSWER_LINE = re.compile(r"[a-z]=[\x20-\x7e]+")


def negotiate(text: str) -> str | None:
    """Go the whole way of an offer; None when it was refused."""
    try:
        offer = parse_offer(text)
        check_sections(offer)
        default_publications(plan for section in offer.sections if (plan := plan_publishing(section)))
        default_slots(slot for section in offer.sections if (slot := plan_slot(section)))
        return answer_to(offer)
    except NegotiationFailed as error:
        failure = error
    assert failure.code.startswith("negotiation-failed:")
    assert len(failure.sentence) < 300
    return None


def assert_sound(offer: str, answer: str | None) -> None:
    if answer is None:
        return
    lines = answer.split("\r\n")
    assert lines.pop() == ""
    assert all(ANSWER_LINE.fullmatch(line) for line in lines)
    assert len(m_lines(answer)) == sum(line.startswith("m=") for line in offer.split("\n"))


@given(st.text(max_size=400))
def test_random_text_never_raises_anything_else(text: str) -> None:
    assert negotiate(text) is None
    assert negotiate("v=0\r\n" + text) is None


IDENTITY = ["mid", "rid", "simulcast", "ssrc", "ssrc-group", "msid", "group"]
MEDIA = ["rtpmap", "fmtp", "rtcp-fb", "extmap", "sendrecv", "inactive", "rtcp-mux", "bundle-only"]
TRANSPORT = ["setup", "fingerprint", "ice-ufrag", "ice-pwd", "ice-options"]
ATTRIBUTES = st.sampled_from([*IDENTITY, *MEDIA, *TRANSPORT])
LINES = st.builds(
    "a={}:{}".format,
    ATTRIBUTES,
    st.text(st.sampled_from("019 /;:=,~*-lmh\u0663é%"), max_size=30) | st.text(max_size=20),
)


@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0, 200), LINES), min_size=1, max_size=6))
def test_foreign_lines_in_a_real_offer_never_raise_anything_else(
    name: str, insertions: list[tuple[int, str]]
) -> None:
    lines = sample(name).split("\r\n")
    for position, line in insertions:
        lines.insert(1 + position % (len(lines) - 1), line)
    text = "\r\n".join(lines)
    assert_sound(text, negotiate(text))


@given(st.sampled_from(SMALL), st.data())
def test_real_offer_with_lines_lost_doubled_and_swapped_never_raises_anything_else(
    name: str, data: st.DataObject
) -> None:
    lines = sample(name).split("\r\n")
    places = st.integers(0, len(lines) - 1)
    for place in data.draw(st.lists(places, max_size=4)):
        lines[place] = ""
    for source, target in data.draw(st.lists(st.tuples(places, places), max_size=4)):
        lines[target] = lines[source]
    text = "\r\n".join(lines)
    assert_sound(text, negotiate(text))


@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0), st.characters()), min_size=1, max_size=8))
def test_real_offer_with_damaged_characters_never_raises_anything_else(
    name: str, damages: list[tuple[int, str]]
) -> None:
    characters = list(sample(name))
    for position, character in damages:
        characters[position % len(characters)] = character
    text = "".join(characters)
    assert_sound(text, negotiate(text))


@given(st.sampled_from(SMALL), st.integers(0, 8_000))
def test_truncated_offer_never_raises_anything_else(name: str, length: int) -> None:
    text = sample(name)[:length]
    assert_sound(text, negotiate(text))


def flooded(line: str, *, count: int) -> str:
    """Return an offer with `line`, its {} counting, repeated up to the limit of size."""
    text = sample("chromium_whip")
    room = 199_000 - len(text)
    flood, size = [], 0
    for number in range(count):
        flood.append(line.format(number))
        size += len(flood[-1]) + 2
        if size > room:
            flood.pop()
            break
    return text + "\r\n".join([*flood, ""])


@pytest.mark.parametrize(
    "line",
    [
        "a=rtpmap:96 vp8/90000",
        "a=rtcp-fb:* nack {}",
        "a=fmtp:96 x{}=y",
        "a=fmtp:96 " + "a=b;" * 1_990,
        "a=extmap:{} urn:x",
        "a=extmap:1 " + " " * 7_900,
        "a=rtpmap:96 " + " " * 7_900 + "x",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 2_600),
        "a=msid:" + "x " * 3_900,
        "a=rid:{} send",
        "a=simulcast:send " + "l;" * 3_900,
        "a=ssrc:{} cname:x",
        "a=ssrc-group:FID {} 1",
        "a=group:BUNDLE " + "1 " * 3_900,
        "a=" + "x" * 7_900,
        "m=video 9 UDP/TLS/RTP/SAVPF " + "96 " * 500,
        "a=x{}",
    ],
)
def test_offer_that_repeats_one_line_to_the_limit_costs_bounded_time(line: str) -> None:
    text = flooded(line, count=40_000)
    start = time.process_time()
    negotiate(text)
    # Linear work takes some 50 ms; quadratic work on these would take many seconds.
    assert time.process_time() - start < 1.0


def test_numbers_in_foreign_digits_are_not_taken_for_numbers() -> None:
    text = sample("obs_whip").replace("SAVPF 96", "SAVPF \u0669\u0666")
    assert negotiate(text) is None


def test_forged_values_do_not_reach_the_answer() -> None:
    text = sample("obs_whip").replace("profile-level-id=42e01f", "profile-level-id=42e01f a=candidate")
    answer = negotiate(text)
    assert answer is not None
    assert "profile-level-id" not in answer
