"""Messages: what clients may send, and that nothing they send ends more than the message."""

import contextlib
import json
import string
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.base import schema
from bridge.base.errors import InvalidMessage, Refused
from bridge.base.words import SlotRole, Source
from bridge.messages import (
    BRIDGE_MESSAGES,
    CLIENT_MESSAGES,
    ChatLine,
    Error,
    Join,
    Mute,
    Offer,
    Picture,
    SendChat,
    Slots,
    View,
    error_from,
    parse_bridge_message,
    parse_client_message,
    serialise,
    type_of,
)
from bridge.messages.texts import ERRORS


@dataclass(frozen=True, slots=True)
class Unbounded:
    text: str


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def plausible_messages() -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the right keys and any values: they reach every reader."""

    def of(type_name: str) -> st.SearchStrategy[dict[str, Any]]:
        names = schema.annotations_of(CLIENT_MESSAGES[type_name])
        good = {"id": st.just(1), "sdp": st.just("v=0"), "muted": st.just(True), "token": st.just("t")}
        fields = {name: good.get(name, json_values) | json_values for name in names}
        return st.fixed_dictionaries({"type": st.just(type_name)}, optional=fields)

    return st.sampled_from(sorted(CLIENT_MESSAGES)).flatmap(of)


@given(st.text())
def test_no_text_raises_anything_but_invalid_message(text: str) -> None:
    with contextlib.suppress(InvalidMessage):
        parse_client_message(text)
    assert isinstance(type_of(text), str)


@settings(max_examples=300)
@given(json_values | plausible_messages())
def test_no_json_raises_anything_but_invalid_message(value: Any) -> None:
    try:
        message = parse_client_message(json.dumps(value))
    except InvalidMessage:
        return
    # What was accepted can be written again, to the same message.
    text = serialise(message)
    text.encode()
    assert parse_client_message(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"type":"chat","text":' + "[" * 50_000,
        '{"type":"mute","source":"camera","muted":1}',
        '{"type":"mute","source":["camera"],"muted":true}',
        '{"type":["mute"],"source":"camera","muted":true}',
        '{"type":"chat","text":"\\ud800"}',
        '{"type":"chat","text":"\\u0000"}',
        '{"type":"chat","text":""}',
        '{"type":"chat","text":"' + "x" * 2001 + '"}',
        '{"type":"join","version":1,"token":"t","name":"two\\nlines"}',
        '{"type":"join","version":true,"token":"t","name":"An"}',
        '{"type":"join","version":1.0,"token":"t","name":"An"}',
        '{"type":"view","heights":{"4":NaN}}',
        '{"type":"view","heights":{"4":' + "9" * 6000 + "}}",
        '{"type":"view","heights":{"4":-1}}',
        '{"type":"view","thumbnails":{"first":0,"count":50}}',
        '{"type":"welcome"}',
        '{"type":"leave"',
        "null",
        "",
    ],
)
def test_hostile_and_wrong_messages_are_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        parse_client_message(text)


def test_an_object_with_too_many_keys_is_refused() -> None:
    heights = {str(mid): 180 for mid in range(129)}
    with pytest.raises(InvalidMessage, match="at most 128"):
        parse_client_message(json.dumps({"type": "view", "heights": heights}))


def test_fields_of_a_newer_client_are_ignored() -> None:
    text = '{"type":"mute","source":"camera","muted":true,"why":"lunch"}'
    assert parse_client_message(text) == Mute(Source.CAMERA, True)


def test_the_error_names_the_field_but_does_not_repeat_its_value() -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse_client_message('{"type":"join","version":1,"token":5,"name":"Nguyễn Văn A"}')
    assert "token" in caught.value.sentence
    assert "Nguyễn" not in caught.value.sentence


def test_optional_fields_may_be_absent_or_null() -> None:
    short = '{"type":"join","version":1,"token":"t","name":"An"}'
    long = '{"type":"join","version":1,"token":"t","name":"An","resume":null,"client":null}'
    assert parse_client_message(short) == parse_client_message(long) == Join(1, "t", "An")


def test_an_offer_says_what_its_m_lines_are_for() -> None:
    text = '{"type":"offer","id":7,"sdp":"v=0\\r\\n","publications":{"1":"camera"},"slots":{"7":"stage"}}'
    assert parse_client_message(text) == Offer(7, "v=0\r\n", {"1": Source.CAMERA}, {"7": SlotRole.STAGE})


def test_view_may_name_heights_thumbnails_or_both() -> None:
    assert parse_client_message('{"type":"view"}') == View()
    assert parse_client_message('{"type":"view","heights":{"7":720}}') == View({"7": 720})


def test_names_python_keeps_for_itself_are_plain_on_the_wire() -> None:
    error = error_from(Refused("not-permitted", "why"), request="stage")
    value = json.loads(serialise(error))
    assert value["for"] == "stage"
    assert value["message"] == {"vi": ERRORS["not-permitted"].vi, "en": ERRORS["not-permitted"].en}
    assert "id" not in value
    assert parse_bridge_message(serialise(error)) == error


def test_an_empty_slot_is_written_as_null() -> None:
    message = Slots({"7": Picture("p-1", Source.CAMERA), "8": None})
    assert json.loads(serialise(message))["slots"] == {
        "7": {"participant": "p-1", "source": "camera"},
        "8": None,
    }
    assert parse_bridge_message(serialise(message)) == message


def test_text_is_written_as_it_is_read_in_vietnamese() -> None:
    assert "Mường Nhé" in serialise(SendChat("Mường Nhé nghe rõ"))


def test_a_negotiation_failure_of_any_kind_has_a_sentence_for_people() -> None:
    assert error_from(Refused("negotiation-failed:no-bundle", ""), request="offer").message.vi.startswith(
        "Không"
    )


def test_every_text_is_there_in_both_languages() -> None:
    for code, text in ERRORS.items():
        assert set(code) <= set(string.ascii_lowercase + "-")
        assert text.vi
        assert text.en
        assert text.vi != text.en


def test_message_types_are_unique_within_a_direction() -> None:
    assert len(CLIENT_MESSAGES) == 25
    assert len(BRIDGE_MESSAGES) == 23


def test_a_reader_without_a_bound_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="bound"):
        schema.read(Unbounded, {"text": "x"})


def test_error_and_chat_keep_their_bounds() -> None:
    long = error_from(Refused("refused", "x" * 1000), request="chat")
    assert isinstance(long, Error)
    assert len(long.detail) == 300
    assert schema.read(ChatLine, schema.to_json(ChatLine("p-1", "An", "BV", "a\nb", 1))).text == "a\nb"
