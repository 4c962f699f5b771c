"""Connectivity checks as bytes, against aioice's implementation of STUN."""

import ipaddress

import pytest
from aioice import stun
from aioice.candidate import Candidate
from hypothesis import given
from hypothesis import strategies as st

from bridge.base.errors import MalformedPacket
from bridge.transport.ice import (
    binding_response,
    generate_credentials,
    host_candidates,
    parse_binding_request,
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
    # Turning FINGERPRINT into an unknown attribute leaves the rest authentic.
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
