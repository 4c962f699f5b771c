"""The private names of aiortc and pylibsrtp that the transport leans on: fails loudly when they move."""

import asyncio
import inspect
from collections.abc import Callable
from typing import ClassVar

import pylibsrtp
import pytest
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, SRTPProtectionProfile
from hypothesis import given
from hypothesis import strategies as st
from ice_client import CERTIFICATE, IceClient, RecordingObserver, eventually, open_port
from OpenSSL import SSL
from pylibsrtp._binding import ffi, lib

from bridge.base.counters import DtlsFailure
from bridge.transport import Certificate, CloseReason, TransportState
from bridge.transport import dtls as bridge_dtls
from bridge.transport.dtls import DATAGRAM_BYTES_MAX, PROFILES, split_records
from bridge.transport.transport import ADVICE


class SilentWire:
    role = "controlled"


def test_rtc_dtls_transport_has_the_attributes_that_we_set_and_read() -> None:
    transport = RTCDtlsTransport(SilentWire(), [RTCCertificate.generateCertificate()])  # type: ignore[arg-type]
    for name in ("_srtp_profiles", "_ssl", "_task", "_role"):
        assert name in vars(transport), name
    assert transport._ssl is None
    transport._set_role("server")
    assert transport._role == "server"
    assert transport.state == "new"


def test_rtc_dtls_transport_calls_the_methods_that_we_override() -> None:
    assert inspect.iscoroutinefunction(RTCDtlsTransport._write_ssl)
    assert list(inspect.signature(RTCDtlsTransport._write_ssl).parameters) == ["self"]
    assert inspect.iscoroutinefunction(RTCDtlsTransport._do_handshake)
    assert "await self._do_handshake()" in inspect.getsource(RTCDtlsTransport.start)
    assert "self._validate_peer_identity(remoteParameters)" in inspect.getsource(RTCDtlsTransport.start)
    assert "self._setup_srtp()" in inspect.getsource(RTCDtlsTransport.start)
    assert list(inspect.signature(RTCDtlsTransport._setup_srtp).parameters) == ["self"]
    assert list(inspect.signature(RTCDtlsTransport._set_state).parameters) == ["self", "state"]
    assert "await self._write_ssl()" in inspect.getsource(RTCDtlsTransport._recv_next)
    assert list(inspect.signature(RTCCertificate._create_ssl_context).parameters) == ["self", "srtp_profiles"]


def test_rtc_dtls_transport_asks_no_more_of_its_ice_transport_than_our_wire_has() -> None:
    source = inspect.getsource(rtcdtlstransport.RTCDtlsTransport)
    asked = {
        part.split("(")[0].split(")")[0].split(":")[0].split(",")[0].strip()
        for part in source.split("self.transport.")[1:]
    }
    assert {name.split()[0] for name in asked} <= {"_recv", "_send", "role"}


def test_pylibsrtp_gives_its_session_and_its_functions() -> None:
    policy = pylibsrtp.Policy(
        key=bytes(28),
        ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
        srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    )
    session = pylibsrtp.Session(policy)
    packet = b"\x80\x60\x00\x01" + bytes(8) + b"payload"
    memory = ffi.new("unsigned char[]", packet.ljust(64, b"\0"))
    length = ffi.new("int *", len(packet))
    assert lib.srtp_protect(session._srtp[0], memory, length) == lib.srtp_err_status_ok
    assert length[0] == len(packet) + 16
    for name in ("srtp_protect_rtcp", "srtp_unprotect", "srtp_unprotect_rtcp", "srtp_remove_stream"):
        assert callable(getattr(lib, name)), name
    assert pylibsrtp.ERRORS[9].startswith("replay check failed")
    assert pylibsrtp.ERRORS[10].startswith("replay check failed")


async def test_both_sides_derive_keys_with_the_cheapest_profile_first() -> None:
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    await client.connect(port, transport)
    assert client.dtls._ssl is not None
    assert client.dtls._ssl.get_selected_srtp_profile() == b"SRTP_AEAD_AES_128_GCM"
    await client.close()
    await port.close()


async def test_the_sessions_are_ours_and_refuse_to_protect_two_packets_under_one_number() -> None:
    """Those that aiortc makes allow it."""
    source = inspect.getsource(RTCDtlsTransport._setup_srtp)
    assert "tx_policy.allow_repeat_tx = True" in source, "aiortc has changed: its own sessions may do now"
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    await client.connect(port, transport)
    assert transport._dtls is not None
    assert transport._dtls._transport._tx_srtp is None
    session = transport._tx_session
    assert session is not None
    session.protect(b"\x80\x60\x00\x01" + bytes(8) + b"one")
    with pytest.raises(pylibsrtp.Error, match="replay"):
        session.protect(b"\x80\x60\x00\x01" + bytes(8) + b"two")
    await client.close()
    await port.close()


async def test_client_that_knows_only_the_mandatory_profile_is_served() -> None:
    port = await open_port()
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient(srtp_profiles=[rtcdtlstransport.SRTP_AES128_CM_SHA1_80])
    await client.connect(port, transport)
    client.send_rtp(b"\x80\x60\x00\x01" + bytes(8) + b"payload")
    await eventually(lambda: len(observer.rtp) == 1)
    assert observer.rtp[0].endswith(b"payload")
    await client.close()
    await port.close()


async def test_bridge_as_dtls_client_shakes_hands_too() -> None:
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient(dtls_role="server")
    await client.connect(port, transport)
    assert transport.state is TransportState.CONNECTED
    await client.close()
    await port.close()


async def test_the_cookie_of_a_server_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some DTLS servers answer the first hello by a HelloVerifyRequest (RFC 6347, 4.2.1)."""
    original = CERTIFICATE._create_ssl_context

    def with_cookies(srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = original(srtp_profiles)
        context.set_options(SSL.OP_COOKIE_EXCHANGE)
        context.set_cookie_generate_callback(lambda connection: b"baked")
        context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"baked")
        return context

    monkeypatch.setattr(CERTIFICATE, "_create_ssl_context", with_cookies)
    port = await open_port()
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient(dtls_role="server")
    received, sent = handshake_types(client)
    await client.connect(port, transport)
    assert transport.state is TransportState.CONNECTED
    assert sent[0] == HELLO_VERIFY_REQUEST
    assert [kind for kind in received if kind == CLIENT_HELLO] == [CLIENT_HELLO] * 2
    client.send_rtp(b"\x80\x60\x00\x01" + bytes(8) + b"payload")
    await eventually(lambda: len(observer.rtp) == 1)
    await client.close()
    await port.close()


async def test_the_bridge_asks_for_no_cookie() -> None:
    """ICE has proved the address already, by a check with the offer's password: a round trip less."""
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    received, sent = handshake_types(client)
    await client.connect(port, transport)
    assert HELLO_VERIFY_REQUEST not in received
    assert [kind for kind in sent if kind == CLIENT_HELLO] == [CLIENT_HELLO]
    await client.close()
    await port.close()


CLIENT_HELLO, HELLO_VERIFY_REQUEST = 1, 3


def handshake_types(client: IceClient) -> tuple[list[int], list[int]]:
    """Note the type of the first handshake message of each datagram that the client gets and sends."""
    received: list[int] = []
    sent: list[int] = []
    put, cut = client._wire.records.put_nowait, client.fragment_dtls

    def note(kinds: list[int], data: bytes) -> None:
        if data[0] == 22:
            kinds.append(data[13])

    def take(data: bytes | None) -> None:
        if data is not None:
            note(received, data)
        put(data)

    def give(data: bytes) -> list[bytes]:
        note(sent, data)
        return cut(data)

    client._wire.records.put_nowait = take  # type: ignore[method-assign]
    client.fragment_dtls = give
    return received, sent


def in_order(pieces: list[bytes]) -> list[bytes]:
    return pieces


def reversed_(pieces: list[bytes]) -> list[bytes]:
    return pieces[::-1]


def each_twice(pieces: list[bytes]) -> list[bytes]:
    return [piece for piece in pieces for _ in range(2)]


def with_nonsense(pieces: list[bytes]) -> list[bytes]:
    """A record of another epoch between any two, as a replay of an earlier association brings."""
    stray = b"\x16\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x20" + bytes(32)
    return [one for piece in pieces for one in (piece, stray)]


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("arrange", [in_order, reversed_, each_twice, with_nonsense])
async def test_client_hello_in_fragments_is_put_together(
    count: int, arrange: Callable[[list[bytes]], list[bytes]]
) -> None:
    # Chromium's and Firefox's do not fit one datagram (ML-KEM key shares).
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.fragment_dtls = lambda data: arrange(pieces_of(data, count)) if is_client_hello(data) else [data]
    await client.connect(port, transport)
    assert transport.state is TransportState.CONNECTED
    await client.close()
    await port.close()


async def test_a_half_hello_is_completed_by_a_retransmission_that_was_cut_elsewhere() -> None:
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    hellos = 0

    def fragment(data: bytes) -> list[bytes]:
        nonlocal hellos
        if not is_client_hello(data):
            return [data]
        hellos += 1
        client.check()
        # The second half of the first one is lost; checks go on in between.
        return pieces_of(data, 2)[:1] if hellos == 1 else pieces_of(data, 3)

    client.fragment_dtls = fragment
    await client.connect(port, transport)
    assert hellos >= 2
    assert transport.state is TransportState.CONNECTED
    await client.close()
    await port.close()


def is_client_hello(data: bytes) -> bool:
    return data[0] == 22 and data[3:5] == bytes(2) and data[13] == 1


def pieces_of(record: bytes, count: int) -> list[bytes]:
    """Cut the handshake message of a record into so many fragments, with record numbers of their own."""
    size = -(-(len(record) - 25) // count)
    first = 8 + int.from_bytes(record[5:11], "big") * count
    return [
        fragment_record(record, size * number, size * (number + 1), sequence_number=first + number)
        for number in range(count)
    ]


def fragment_record(record: bytes, start: int, stop: int | None, *, sequence_number: int) -> bytes:
    """Cut a stretch out of the handshake message in a DTLS record (RFC 6347, 4.2.3)."""
    message = record[13:]
    body = message[12:][start:stop]
    fragment = message[:6] + start.to_bytes(3, "big") + len(body).to_bytes(3, "big") + body
    return record[:5] + sequence_number.to_bytes(6, "big") + len(fragment).to_bytes(2, "big") + fragment


class Refusing(SSL.Connection):
    """What OpenSSL says, one reason after the other."""

    reasons: ClassVar[list[str]] = []

    def do_handshake(self) -> None:
        raise SSL.Error([("SSL routines", "", self.reasons.pop())])


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("wrong curve", DtlsFailure.CERTIFICATE_CURVE),
        ("ssl/tls alert handshake failure", DtlsFailure.REFUSED_BY_PEER),
        ("no shared cipher", DtlsFailure.NO_COMMON_CIPHER),
        ("unsupported protocol", DtlsFailure.VERSION),
        ("peer did not return a certificate", DtlsFailure.NO_CERTIFICATE),
        ("bad record type", DtlsFailure.PROTOCOL),
    ],
)
async def test_what_dtls_refuses_is_told_by_a_reason(
    reason: str, failure: DtlsFailure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.start_transport(transport)
    monkeypatch.setattr(rtcdtlstransport.SSL, "Connection", Refusing)
    monkeypatch.setattr(Refusing, "reasons", [reason])
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    await eventually(lambda: transport.state is TransportState.CLOSED)
    monkeypatch.undo()
    assert transport.close_reason == f"dtls-{failure}"
    assert port.counters.dtls_failures[failure] == 1
    assert reason in caplog.text or ADVICE[failure] in caplog.text
    await client.vanish()
    await port.close()


def test_every_failure_has_its_reason_and_its_advice() -> None:
    assert set(ADVICE) == set(DtlsFailure)
    assert {f"dtls-{failure}" for failure in DtlsFailure} <= {reason.value for reason in CloseReason}


async def test_a_client_whose_handshake_fails_is_told_by_an_alert() -> None:
    port = await open_port()
    transport = port.create_transport(RecordingObserver())
    client = IceClient()
    client.start_transport(transport)
    client.dtls._srtp_profiles = [rtcdtlstransport.SRTP_AES128_CM_SHA1_80]
    # A ClientHello of DTLS with no cipher that we know.
    context = CERTIFICATE._create_ssl_context(PROFILES)
    context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
    connection = SSL.Connection(context)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    client.send(connection.bio_read(2000))
    await eventually(lambda: transport.state is TransportState.CLOSED)
    assert transport.close_reason is CloseReason.DTLS_NO_COMMON_CIPHER
    alert = await asyncio.wait_for(client._wire.records.get(), 5)
    assert alert is not None
    # Fatal: handshake_failure.
    assert (alert[0], alert[13:15]) == (21, b"\x02\x28")
    await client.vanish()
    await port.close()


async def test_wrong_fingerprint_ends_the_transport() -> None:
    port = await open_port()
    observer = RecordingObserver()
    transport = port.create_transport(observer)
    client = IceClient()
    transport.start(
        remote_ufrag="x",
        remote_pwd="y",
        remote_fingerprints=[("sha-256", ":".join(["00"] * 32))],
        dtls_role="server",
    )
    client.use_credentials(transport.local_ufrag, transport.local_pwd)
    await client.open_path("127.0.0.1", port.port)
    await client.check_until_answered()
    await client.shake_hands(port.fingerprint)
    await eventually(lambda: bool(observer.states))
    assert observer.states == [TransportState.CLOSED]
    assert transport.close_reason is CloseReason.DTLS_FINGERPRINT
    assert port.counters.dtls_failures[DtlsFailure.FINGERPRINT] == 1
    await client.close()
    await port.close()


async def test_certificate_is_used_for_all_and_its_context_made_once() -> None:
    certificate = Certificate.generate()
    assert certificate._create_ssl_context(PROFILES) is certificate._create_ssl_context(PROFILES)
    assert isinstance(certificate._create_ssl_context(PROFILES), SSL.Context)
    algorithm, value = certificate.fingerprint.split(" ")
    assert algorithm == "sha-256"
    assert len(value.split(":")) == 32


@given(st.lists(st.integers(min_value=1, max_value=1100), max_size=12))
def test_records_are_packed_into_datagrams_without_being_cut(lengths: list[int]) -> None:
    records = [b"\x16\xfe\xfd" + bytes(8) + n.to_bytes(2, "big") + b"r" * n for n in lengths]
    datagrams = list(split_records(b"".join(records)))
    assert b"".join(datagrams) == b"".join(records)
    assert all(len(datagram) <= DATAGRAM_BYTES_MAX for datagram in datagrams)
    for datagram in datagrams:
        position = 0
        while position < len(datagram):
            position += 13 + int.from_bytes(datagram[position + 11 : position + 13], "big")
        assert position == len(datagram)


@given(st.binary(max_size=4000))
def test_splitting_loses_no_bytes_of_anything(data: bytes) -> None:
    assert b"".join(split_records(data)) == data


async def test_one_waiter_is_woken_per_round_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    turns = bridge_dtls.Turns()
    waiters = [loop.create_future() for _ in range(4)]
    for waiter in waiters:
        turns.wake(waiter)
    waiters[1].cancel()
    done = []
    for _ in range(4):
        await asyncio.sleep(0)
        done.append(sum(waiter.done() and not waiter.cancelled() for waiter in waiters))
    assert done == [1, 2, 3, 3]
