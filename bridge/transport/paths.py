"""The ways to one client, and the proof that a way leads to it.

A check shows that its sender has the client's keys, not that the client is where the check came from: an
insider could write a stranger's address on one, and have a conference sent there. So before media moves to
another UDP address, that address is asked by a check of our own, with the client's credentials and a
transaction number nobody can guess (as consent is asked for by RFC 7675, 5.1); every ICE agent answers. The
first path needs no such question, as a DTLS handshake over it is one; a TCP connection is one as well.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from bridge.base.errors import MalformedPacket
from bridge.transport.ice import binding_request, parse_binding_response, transaction_of_response

# RFC 7675, 5.1: consent expires after 30 seconds. A client that goes back and forth is asked once.
PROOF_S: Final = 30.0
# Until the next question, and then until it is given up; a check that comes later starts anew. Each question
# is smaller than the check that caused it, and there are few, so that nobody can be flooded by them.
QUESTION_INTERVALS_S: Final = (0.05, 0.1, 0.2, 0.4)


@dataclass(slots=True, eq=False)
class UdpPath:
    """A remote address and the local one it talks to, over which a check came in."""

    protocol: ClassVar[str] = "udp"

    # The sockaddr, and the control message that answers from the address the client knows.
    name: bytes
    control: bytes
    # User name of the newest check, ours first.
    username: bytes = b""
    # Until when an answer from there is good for moving media there.
    proven_until: float = float("-inf")
    # The question that waits for an answer.
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class SelectedPath:
    """The way media takes now, for people to read."""

    address: str
    port: int
    protocol: str
    family: str


class Handle(Protocol):
    """What is due later, and may be called off."""

    def cancel(self) -> object:
        """Call it off."""


@dataclass(slots=True)
class _Question:
    path: UdpPath
    pwd: bytes
    data: bytes
    answered: Callable[[UdpPath], None]
    handle: Handle | None = None
    sent_count: int = 0


class PathProofs:
    """Asks addresses whether they are the client's. One question at a time for each path."""

    def __init__(
        self,
        *,
        send: Callable[[bytes, UdpPath], None],
        later: Callable[[float, Callable[[], None]], Handle],
        given_up: Callable[[], None],
    ) -> None:
        self._send = send
        self._later = later
        self._given_up = given_up
        self._tie_breaker = secrets.randbits(64)
        # By transaction; at most one for each path of each transport.
        self._questions: dict[bytes, _Question] = {}

    def ask(
        self, path: UdpPath, *, remote_ufrag: bytes, remote_pwd: bytes, answered: Callable[[UdpPath], None]
    ) -> None:
        """Ask over `path`, unless that is under way; `answered` is called when the client has answered."""
        if path.transaction_id is not None:
            return
        local_ufrag, _, ufrag = path.username.partition(b":")
        transaction_id = path.transaction_id = secrets.token_bytes(12)
        data = binding_request(
            transaction_id,
            (ufrag or remote_ufrag) + b":" + local_ufrag,
            tie_breaker=self._tie_breaker,
            pwd=remote_pwd,
        )
        question = self._questions[transaction_id] = _Question(path, remote_pwd, data, answered)
        self._put(question)

    def forget(self, path: UdpPath) -> None:
        """Ask no more over a path."""
        if path.transaction_id is not None:
            question = self._questions.pop(path.transaction_id)
            path.transaction_id = None
            if question.handle is not None:
                question.handle.cancel()

    def receive(self, data: bytes, name: bytes) -> bool | None:
        """Take what may be an answer; None when it is no response at all, False when it proves nothing."""
        transaction_id = transaction_of_response(data)
        if transaction_id is None:
            return None
        question = self._questions.get(transaction_id)
        if question is None or question.path.name != name:
            return False
        try:
            is_authentic = parse_binding_response(data).is_authentic(question.pwd)
        except MalformedPacket:
            return False
        if is_authentic:
            self.forget(question.path)
            question.answered(question.path)
        return is_authentic

    def _put(self, question: _Question) -> None:
        if question.sent_count == len(QUESTION_INTERVALS_S):
            self.forget(question.path)
            self._given_up()
            return
        delay_s = QUESTION_INTERVALS_S[question.sent_count]
        question.sent_count += 1
        self._send(question.data, question.path)
        question.handle = self._later(delay_s, lambda: self._put(question))

    def __len__(self) -> int:
        return len(self._questions)
