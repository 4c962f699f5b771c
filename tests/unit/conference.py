"""A room with people in it, in virtual time: what the tests of rooms have in common."""

from typing import Any

from bridge import messages
from bridge.base.counters import SessionCounters
from bridge.base.words import ConferenceKind, Level, Role, Source
from bridge.conference import requests
from bridge.conference.participants import Participant
from bridge.conference.room import Room
from bridge.messages import BridgeMessage, ClientMessage, parse_bridge_message
from bridge.rooms import Rooms
from bridge.tokens import Claims, TokenKind, Tokens
from tests.unit.fake_sfu import PAGE_PUBLICATIONS, FakeLeg, FakeSfu, page_slots

SECRET = b"s" * 32


class FakeChannel:
    """Keeps what was sent, as the messages a client would read."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed: tuple[int, str] | None = None

    def send(self, text: str) -> None:
        assert self.closed is None, "sent after the goodbye"
        self.texts.append(text)

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def take(self) -> list[BridgeMessage]:
        taken = [parse_bridge_message(text) for text in self.texts]
        self.texts.clear()
        return taken

    def of(self, cls: type[Any]) -> list[Any]:
        return [message for message in (parse_bridge_message(t) for t in self.texts) if type(message) is cls]


class Conference:
    """One room of one node, with a clock that the test moves."""

    def __init__(self, *, kind: ConferenceKind = ConferenceKind.CONSULTATION, **settings: Any) -> None:
        self.now = 100.0
        self.wall_now = 1_800_000_000.0
        self.sfu = FakeSfu()
        self.counters = SessionCounters()
        self.tokens = Tokens(SECRET, clock=lambda: self.wall_now)
        self.rooms = Rooms(
            self.sfu,  # type: ignore[arg-type]
            self.tokens,
            counters=self.counters,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall_now,
            **settings,
        )
        self.room: Room = self.rooms.open("r-1", "Hội chẩn liên viện", kind)
        self._links = 0

    def claims(
        self,
        role: Role = Role.EXPERT,
        site: str = "",
        kind: TokenKind = TokenKind.JOIN,
        conference_kind: ConferenceKind | None = None,
    ) -> Claims:
        self._links += 1
        return Claims(
            kind, "r-1", "Hội chẩn liên viện", site or f"Bệnh viện {self._links}", Level.DISTRICT, role,
            f"i-{self._links}", int(self.wall_now) + 600, conference_kind=conference_kind or self.room.kind,
        )  # fmt: skip

    def knock(self, role: Role = Role.EXPERT, claims: Claims | None = None, **arguments: Any) -> Participant:
        """Join without an offer; may end in the lobby."""
        claims = claims or self.claims(role)
        return self.room.join(claims, arguments.pop("name", "BS. An"), FakeChannel(), **arguments)

    def enter(
        self,
        role: Role = Role.EXPERT,
        *,
        camera: bool = True,
        microphone: bool = False,
        thumbnails: int = 9,
        claims: Claims | None = None,
    ) -> Participant:
        """Join, offer as the page does, and send what is asked for."""
        participant = self.knock(role, claims)
        self.offer(participant, thumbnails=thumbnails)
        if camera:
            leg(participant).send(Source.CAMERA)
        if microphone:
            leg(participant).send(Source.MICROPHONE)
        return participant

    def offer(self, participant: Participant, *, thumbnails: int = 9, replace: bool = False) -> None:
        self.ask(participant, messages.Offer(1, "v=0", PAGE_PUBLICATIONS, page_slots(thumbnails), replace))

    def ask(self, participant: Participant, message: ClientMessage) -> None:
        requests.handle(self.room, participant, message)

    def speaks(self, participant: Participant | None) -> None:
        self.room.dominant_speaker_changed(participant.id if participant else None)

    def pass_time(self, seconds: float, step: float = 0.1) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.wall_now += step
            self.rooms.poll(self.now)

    def lose_socket(self, participant: Participant) -> FakeChannel:
        lost = channel(participant)
        self.room.channel_closed(participant, lost)
        return lost


def channel(participant: Participant) -> FakeChannel:
    assert isinstance(participant.channel, FakeChannel)
    return participant.channel


def leg(participant: Participant) -> FakeLeg:
    assert isinstance(participant.leg, FakeLeg)
    return participant.leg
