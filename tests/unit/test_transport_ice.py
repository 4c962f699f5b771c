"""Connectivity checks as bytes, against aioice's implementation of STUN."""

import hmac
import ipaddress
import struct

import pytest
from aioice import stun
from aioice.candidate import Candidate
from hypothesis import given
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.transport.ice import (
    ATTRIBUTES_MAX,
    CHECK_BYTES_MAX,
    ROLE_CONFLICT,
    UNKNOWN_ATTRIBUTE,
    binding_error,
    binding_request,
    binding_response,
    generate_credentials,
    host_candidates,
    parse_binding_request,
    parse_binding_response,
    transaction_of_response,
)

PWD = b"password-of-the-bridge-24"


def check(username: str = "ufrag:remote", *, nominates: bool = False, pwd: bytes | None = PWD) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = username
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 2
    if nominates:
        message.attributes["USE-CANDIDATE"] = None
    if pwd is not None:
        message.add_message_integrity(pwd)
    return bytes(message)


def test_check_of_another_implementation_is_understood() -> None:
    request = parse_binding_request(check(nominates=True))
    assert request.local_ufrag == b"ufrag"
    assert request.nominates
    assert request.is_authentic(PWD)
    assert not request.is_authentic(b"another password")
    assert not parse_binding_request(check()).nominates


def test_check_without_integrity_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        parse_binding_request(check(pwd=None))


def test_response_is_no_request() -> None:
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    response.attributes["USERNAME"] = "ufrag:remote"
    response.add_message_integrity(PWD)
    with pytest.raises(MalformedPacket):
        parse_binding_request(bytes(response))


def test_use_candidate_after_the_integrity_is_not_believed() -> None:
    message = bytearray(check()[:-8])  # without FINGERPRINT
    message += b"\x00\x25\x00\x00"
    message[2:4] = (len(message) - 20).to_bytes(2, "big")
    assert not parse_binding_request(bytes(message)).nominates


@given(st.integers(min_value=0, max_value=7), st.data())
def test_check_with_any_bit_flipped_is_not_accepted(bit: int, data: st.DataObject) -> None:
    message = bytearray(check())
    position = data.draw(st.integers(min_value=0, max_value=len(message) - 1))
    message[position] ^= 1 << bit
    try:
        request = parse_binding_request(bytes(message))
    except MalformedPacket:
        return
    # Turning FINGERPRINT into another attribute leaves the rest authentic.
    assert position >= len(message) - 8 or not request.is_authentic(PWD)


@given(st.binary(max_size=200))
def test_reading_any_bytes_raises_nothing_but_malformed_packet(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_binding_request(data)


@given(st.data())
def test_truncated_check_is_malformed(data: st.DataObject) -> None:
    message = check()
    length = data.draw(st.integers(min_value=0, max_value=len(message) - 1))
    with pytest.raises(MalformedPacket):
        parse_binding_request(message[:length])


@given(st.binary(max_size=120))
def test_attributes_of_any_bytes_raise_nothing_but_malformed_packet(attributes: bytes) -> None:
    attributes += bytes(-len(attributes) % 4)
    header = b"\x00\x01" + len(attributes).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)
    try:
        parse_binding_request(header + attributes)
    except MalformedPacket:
        pass


@given(st.ip_addresses(), st.integers(min_value=1, max_value=65535), st.binary(min_size=12, max_size=12))
def test_response_tells_the_client_its_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, transaction_id: bytes
) -> None:
    response = stun.parse_message(binding_response(transaction_id, address.packed, port, pwd=PWD))
    assert response.message_class is stun.Class.RESPONSE
    assert response.transaction_id == transaction_id
    assert response.attributes["XOR-MAPPED-ADDRESS"] == (str(address), port)
    assert response.check_message_integrity(PWD)
    assert "FINGERPRINT" in response.attributes


def test_response_is_no_longer_than_a_check() -> None:
    credentials = generate_credentials()
    request = check(f"{credentials.ufrag}:abcd")
    assert len(binding_response(bytes(12), bytes(16), 1, pwd=PWD)) <= len(request)


def test_credentials_have_the_lengths_and_letters_of_rfc_8839() -> None:
    first, second = generate_credentials(), generate_credentials()
    assert first != second
    assert 4 <= len(first.ufrag) <= 256
    assert 22 <= len(first.pwd) <= 256
    assert first.ufrag.isalnum()
    assert first.pwd.isalnum()


def test_candidates_prefer_udp_and_the_first_address() -> None:
    lines = host_candidates(["192.0.2.1", "2001:db8::1"], 7882, tcp=True)
    candidates = [Candidate.from_sdp(line) for line in lines]
    assert [(one.host, one.transport) for one in candidates] == [
        ("192.0.2.1", "udp"),
        ("2001:db8::1", "udp"),
        ("192.0.2.1", "tcp"),
        ("2001:db8::1", "tcp"),
    ]
    assert all(one.port == 7882 and one.type == "host" for one in candidates)
    assert [one.tcptype for one in candidates] == [None, None, "passive", "passive"]
    priorities = [one.priority for one in candidates]
    assert priorities == sorted(priorities, reverse=True)
    assert len({one.foundation for one in candidates}) == 4


def request_of(*attributes: tuple[int, bytes]) -> bytes:
    """Return a Binding request with these attributes as they are, and integrity."""
    body = b"".join(
        kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )
    length = len(body) + 24
    message = b"\x00\x01" + length.to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body
    return message + b"\x00\x08\x00\x14" + hmac.digest(PWD, message, "sha1")


USERNAME = (0x0006, b"ufrag:remote")


def test_a_check_with_more_attributes_than_any_client_sends_is_not_read_to_its_end() -> None:
    padding = [(0x8022, b"")] * (ATTRIBUTES_MAX - 2)
    assert parse_binding_request(request_of(USERNAME, *padding)).is_authentic(PWD)
    with pytest.raises(MalformedPacket):
        parse_binding_request(request_of(USERNAME, *padding, (0x8022, b"")))
    with pytest.raises(MalformedPacket):
        parse_binding_request(request_of(USERNAME, (0xC070, bytes(CHECK_BYTES_MAX))))
    # Chromium may put the first records of DTLS into its checks.
    assert parse_binding_request(request_of(USERNAME, (0xC070, bytes(1100)))).is_authentic(PWD)


def test_reading_what_a_stranger_sends_is_bounded_whatever_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,048 bytes of empty attributes took as long to read as a hundred checks."""
    hashed: list[int] = []
    monkeypatch.setattr("bridge.transport.ice.crc32", lambda data: hashed.append(len(data)) or 0)
    read: list[int] = []

    class Counting:
        size = 4

        def unpack_from(self, data: bytes, offset: int) -> tuple[int, int]:
            read.append(offset)
            kind, length = struct.unpack_from("!HH", data, offset)
            return kind, length

    monkeypatch.setattr("bridge.transport.ice._ATTRIBUTE", Counting())
    for size in (500, 548, 1232, 2028):
        data = b"\x00\x01" + size.to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + bytes(size)
        read.clear()
        with pytest.raises(MalformedPacket):
            parse_binding_request(data)
        assert len(read) <= 4
    # No hash before the user name fragment has been looked up.
    fingerprint = check()
    parse_binding_request(fingerprint)
    assert hashed == []


def test_the_user_name_comes_early_or_never() -> None:
    late = [(0x8022, b"")] * 4
    with pytest.raises(MalformedPacket):
        parse_binding_request(request_of(*late, USERNAME))
    assert parse_binding_request(request_of(*late[:3], USERNAME)).local_ufrag == b"ufrag"


def test_attributes_that_must_be_understood_are_told_and_others_left_alone() -> None:
    request = parse_binding_request(request_of(USERNAME, (0x0002, b""), (0x7FFE, b"x"), (0xC057, b"1234")))
    assert request.unknown_attributes == (0x0002, 0x7FFE)
    assert request.is_authentic(PWD)
    answer = binding_error(
        request.transaction_id, UNKNOWN_ATTRIBUTE, pwd=PWD, unknown=request.unknown_attributes
    )
    parsed = stun.parse_message(answer)
    assert parsed.message_class is stun.Class.ERROR
    assert parsed.attributes["ERROR-CODE"] == (420, "Unknown Attribute")
    assert b"\x00\x0a\x00\x04\x00\x02\x7f\xfe" in answer
    assert parsed.check_message_integrity(PWD)


def test_a_client_that_takes_itself_for_the_controlled_one_is_told() -> None:
    assert parse_binding_request(request_of(USERNAME, (0x8029, bytes(8)))).is_controlled
    assert not parse_binding_request(check()).is_controlled
    parsed = stun.parse_message(binding_error(bytes(12), ROLE_CONFLICT, pwd=PWD))
    assert parsed.attributes["ERROR-CODE"] == (487, "Role Conflict")


def test_the_question_for_an_address_is_a_check_to_other_implementations_and_no_longer_than_theirs() -> None:
    data = binding_request(b"transaction.", b"remote:ufrag", tie_breaker=7, pwd=PWD)
    message = stun.parse_message(data)
    assert message.message_class is stun.Class.REQUEST
    assert message.transaction_id == b"transaction."
    assert message.attributes["USERNAME"] == "remote:ufrag"
    assert message.attributes["ICE-CONTROLLED"] == 7
    assert message.check_message_integrity(PWD)
    assert len(data) <= len(check())
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, b"transaction.")
    response.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 7882)
    response.add_message_integrity(PWD)
    assert transaction_of_response(bytes(response)) == b"transaction."
    assert parse_binding_response(bytes(response)).is_authentic(PWD)
    assert not parse_binding_response(bytes(response)).is_authentic(b"another")
    assert transaction_of_response(data) is None
    with pytest.raises(MalformedPacket):
        parse_binding_response(data)


@given(st.binary(max_size=200))
def test_reading_any_bytes_as_a_response_raises_nothing_but_malformed_packet(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_binding_response(b"\x01\x01" + data)
