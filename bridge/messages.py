"""Signalling messages as types: parse, validate, serialise. `docs/protocol.md` is the twin of this file.

Some names travel in both directions with different fields (`stage` asks on the way up and tells on
the way down), so there is a registry per direction. A field with a default may be left out.
Every string, number, array and object that comes from outside has a bound.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from bridge import schema
from bridge.errors import InvalidMessage, RequestError
from bridge.schema import AtMost, Between, Characters
from bridge.texts import Text, error_text
from bridge.words import Level, Role, SlotRole, Source

PROTOCOL_VERSION = 1
SUBPROTOCOL = "hoichan.v1"
MESSAGE_MAX_BYTES = 256 * 1024
CHAT_KEPT = 100
THUMBNAILS_MAX = 49
RESUME_WINDOW_S = 30

ParticipantId = Annotated[str, Characters(1, 32)]
Mid = Annotated[str, Characters(1, 16)]
Rid = Annotated[str, Characters(1, 16)]
Name = Annotated[str, Characters(1, 80)]
SiteName = Annotated[str, Characters(1, 120)]
RoomId = Annotated[str, Characters(1, 64)]
Title = Annotated[str, Characters(1, 200)]
Token = Annotated[str, Characters(1, 4096)]
Secret = Annotated[str, Characters(1, 64)]
ChatText = Annotated[str, Characters(1, 2000, multiline=True)]
Sdp = Annotated[str, Characters(1, 200_000, multiline=True)]
OfferId = Annotated[int, Between(0, 2**31 - 1)]
HeightPx = Annotated[int, Between(0, 8640)]
Count = Annotated[int, Between(0, 1_000_000)]
Ratio = Annotated[float, Between(0, 1)]
MIDS_MAX = 128


class StageMode(StrEnum):
    """Who decides what is on stage."""

    CHAIR = "chair"
    SPEAKER = "speaker"


class MicrophoneState(StrEnum):
    """What others can hear of a participant: muted is chosen, off has nothing to send."""

    ON = "on"
    MUTED = "muted"
    OFF = "off"


class CameraState(StrEnum):
    """Whether others can see a participant."""

    ON = "on"
    OFF = "off"


class MediaProtocol(StrEnum):
    """What carries a participant's media."""

    UDP = "udp"
    TCP = "tcp"


# Objects inside messages.


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """What proves that a participant of the last 30 s is back on a new socket."""

    participant: ParticipantId
    secret: Secret


@dataclass(frozen=True, slots=True)
class ClientDescription:
    """What the client says of itself; only for whoever looks for the cause of a fault."""

    agent: Annotated[str, Characters(0, 256)] = ""
    language: Annotated[str, Characters(0, 16)] = ""


@dataclass(frozen=True, slots=True)
class ThumbnailWindow:
    """Which part of the room's camera list (without oneself) the page shows."""

    first: Annotated[int, Between(0, 100_000)]
    count: Annotated[int, Between(0, THUMBNAILS_MAX)]


@dataclass(frozen=True, slots=True)
class ResumeTicket:
    """What a client needs to come back on a new socket."""

    secret: Secret
    seconds: Annotated[int, Between(0, 3600)]


@dataclass(frozen=True, slots=True)
class Picture:
    """One participant's publication."""

    participant: ParticipantId
    source: Source


@dataclass(frozen=True, slots=True)
class StageState:
    """Who is on stage, and who decides it."""

    participant: ParticipantId | None
    mode: StageMode


@dataclass(frozen=True, slots=True)
class RoomState:
    """What a newcomer has to know of the room."""

    id: RoomId
    title: Title
    locked: bool
    stage: StageState
    content: Picture | None


@dataclass(frozen=True, slots=True)
class Member:
    """One line of the roster."""

    participant: ParticipantId
    site: SiteName
    name: Name
    role: Role
    level: Level
    microphone: MicrophoneState
    camera: CameraState
    content: bool
    auxiliary: bool
    hand: Count | None
    connected: bool


@dataclass(frozen=True, slots=True)
class WaitingGuest:
    """Somebody in the lobby."""

    participant: ParticipantId
    site: SiteName
    name: Name


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One line of the room's chat; the time is UTC."""

    participant: ParticipantId
    name: Name
    site: SiteName
    text: ChatText
    at_ms: Annotated[int, Between(0, 2**53)]


# From the client.


@dataclass(frozen=True, slots=True)
class Join:
    """The first message of a socket: who wants in, and with what right."""

    type: ClassVar[str] = "join"
    version: Annotated[int, Between(0, 1000)]
    token: Token
    name: Name
    resume: ResumeRequest | None = None
    client: ClientDescription | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What the client wants to send and to see; `replace` says that it is a new peer connection."""

    type: ClassVar[str] = "offer"
    id: OfferId
    sdp: Sdp
    publications: Annotated[Mapping[Mid, Source], AtMost(MIDS_MAX)] | None = None
    slots: Annotated[Mapping[Mid, SlotRole], AtMost(MIDS_MAX)] | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How large each picture is on the page, and which thumbnails it shows."""

    type: ClassVar[str] = "view"
    heights: Annotated[Mapping[Mid, HeightPx], AtMost(MIDS_MAX)] | None = None
    thumbnails: ThumbnailWindow | None = None


@dataclass(frozen=True, slots=True)
class Mute:
    """The sender's own switch for one of its publications."""

    type: ClassVar[str] = "mute"
    source: Source
    muted: bool


@dataclass(frozen=True, slots=True)
class RaiseHand:
    """The sender asks for the floor, or no longer does."""

    type: ClassVar[str] = "hand"
    raised: bool


@dataclass(frozen=True, slots=True)
class SendChat:
    """A line for everybody's chat."""

    type: ClassVar[str] = "chat"
    text: ChatText


@dataclass(frozen=True, slots=True)
class ChooseStage:
    """A moderator puts somebody on stage, or lets the stage follow the speaker."""

    type: ClassVar[str] = "stage"
    participant: ParticipantId | None


@dataclass(frozen=True, slots=True)
class ShowContent:
    """A moderator chooses the room's content picture, or lets it follow the newest share."""

    type: ClassVar[str] = "show_content"
    participant: ParticipantId | None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class MuteParticipant:
    """A moderator mutes one publication of somebody else."""

    type: ClassVar[str] = "mute_participant"
    participant: ParticipantId
    source: Source


@dataclass(frozen=True, slots=True)
class MuteAll:
    """A moderator mutes the microphones of all but the moderators."""

    type: ClassVar[str] = "mute_all"


@dataclass(frozen=True, slots=True)
class LowerHand:
    """A moderator lowers somebody's hand."""

    type: ClassVar[str] = "lower_hand"
    participant: ParticipantId


@dataclass(frozen=True, slots=True)
class GiveFloor:
    """A moderator lets somebody publish, or no longer."""

    type: ClassVar[str] = "floor"
    participant: ParticipantId
    granted: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """A moderator sends somebody out."""

    type: ClassVar[str] = "remove"
    participant: ParticipantId


@dataclass(frozen=True, slots=True)
class Lock:
    """A moderator locks or unlocks the room."""

    type: ClassVar[str] = "lock"
    locked: bool


@dataclass(frozen=True, slots=True)
class Admit:
    """A moderator lets somebody in from the lobby, or turns them away."""

    type: ClassVar[str] = "admit"
    participant: ParticipantId
    admitted: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender goes, and will not resume."""

    type: ClassVar[str] = "leave"


# From the bridge.


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to `join`: the room as it is now."""

    type: ClassVar[str] = "welcome"
    version: Annotated[int, Between(0, 1000)]
    participant: ParticipantId
    resume: ResumeTicket
    role: Role
    room: RoomState
    roster: Annotated[tuple[Member, ...], AtMost(10_000)]
    count: Count
    chat: Annotated[tuple[ChatLine, ...], AtMost(CHAT_KEPT)]
    thumbnails_max: Annotated[int, Between(0, THUMBNAILS_MAX)]
    resumed: bool
    may_publish: bool
    waiting: Annotated[tuple[WaitingGuest, ...], AtMost(1000)] | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer to `join` in a locked room: a moderator has to admit."""

    type: ClassVar[str] = "waiting"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an offer."""

    type: ClassVar[str] = "answer"
    id: OfferId
    sdp: Sdp


@dataclass(frozen=True, slots=True)
class Slots:
    """What the receiver's slots show from now on; slots not named are as before."""

    type: ClassVar[str] = "slots"
    slots: Annotated[Mapping[Mid, Picture | None], AtMost(MIDS_MAX)]


@dataclass(frozen=True, slots=True)
class Layers:
    """Which encodings of the receiver's publications somebody watches; mids not named are as before."""

    type: ClassVar[str] = "layers"
    layers: Annotated[Mapping[Mid, Annotated[tuple[Rid, ...], AtMost(8)]], AtMost(MIDS_MAX)]


@dataclass(frozen=True, slots=True)
class RosterChange:
    """What changed in the roster since the last time."""

    type: ClassVar[str] = "roster"
    joined: Annotated[tuple[Member, ...], AtMost(10_000)]
    changed: Annotated[tuple[Member, ...], AtMost(10_000)]
    left: Annotated[tuple[ParticipantId, ...], AtMost(10_000)]
    count: Count


@dataclass(frozen=True, slots=True)
class StageChange:
    """Who is on stage now."""

    type: ClassVar[str] = "stage"
    participant: ParticipantId | None
    mode: StageMode


@dataclass(frozen=True, slots=True)
class ContentChange:
    """Which publication is the room's content picture now."""

    type: ClassVar[str] = "content"
    participant: ParticipantId | None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Speakers:
    """Who is heard now, and who leads the conversation."""

    type: ClassVar[str] = "speakers"
    voices: Annotated[tuple[ParticipantId, ...], AtMost(16)]
    dominant: ParticipantId | None


@dataclass(frozen=True, slots=True)
class Chat:
    """A new line of the chat."""

    type: ClassVar[str] = "chat"
    participant: ParticipantId
    name: Name
    site: SiteName
    text: ChatText
    at_ms: Annotated[int, Between(0, 2**53)]


@dataclass(frozen=True, slots=True)
class Muted:
    """Somebody muted one of the receiver's publications."""

    type: ClassVar[str] = "muted"
    source: Source
    by: ParticipantId


@dataclass(frozen=True, slots=True)
class Floor:
    """The receiver may publish from now on, or no longer."""

    type: ClassVar[str] = "floor"
    granted: bool


@dataclass(frozen=True, slots=True)
class Locked:
    """The room was locked or unlocked."""

    type: ClassVar[str] = "locked"
    locked: bool


@dataclass(frozen=True, slots=True)
class Knock:
    """Everybody who waits in the lobby, for the moderators."""

    type: ClassVar[str] = "knock"
    waiting: Annotated[tuple[WaitingGuest, ...], AtMost(1000)]


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A join token to come back with after a restart of the server."""

    type: ClassVar[str] = "token"
    token: Token
    expires_s: Annotated[int, Between(0, 86_400)]


@dataclass(frozen=True, slots=True)
class Removed:
    """The receiver was sent out."""

    type: ClassVar[str] = "removed"
    by: ParticipantId


@dataclass(frozen=True, slots=True)
class Closing:
    """The server stops in so many seconds."""

    type: ClassVar[str] = "closing"
    seconds: Annotated[int, Between(0, 86_400)]


@dataclass(frozen=True, slots=True)
class Quality:
    """How the receiver's media travels."""

    type: ClassVar[str] = "quality"
    rtt_ms: Annotated[float, Between(0, 1_000_000)] | None
    loss_up: Ratio
    loss_down: Ratio
    protocol: MediaProtocol | None
    available_bps: Annotated[int, Between(0, 2**53)]


@dataclass(frozen=True, slots=True)
class Error:
    """A request that was not carried out, for machines (code) and for people (message)."""

    type: ClassVar[str] = "error"
    code: Annotated[str, Characters(1, 80)]
    message: Text
    for_: Annotated[str, Characters(0, 32)]
    detail: Annotated[str, Characters(0, 300)]
    id: OfferId | None = None


ClientMessage = (
    Join | Offer | View | Mute | RaiseHand | SendChat | ChooseStage | ShowContent | MuteParticipant
    | MuteAll | LowerHand | GiveFloor | Remove | Lock | Admit | Leave
)  # fmt: skip
BridgeMessage = (
    Welcome | Waiting | Answer | Slots | Layers | RosterChange | StageChange | ContentChange | Speakers
    | Chat | Muted | Floor | Locked | Knock | FreshToken | Removed | Closing | Quality | Error
)  # fmt: skip

CLIENT_MESSAGES: Mapping[str, type[ClientMessage]] = {cls.type: cls for cls in ClientMessage.__args__}
BRIDGE_MESSAGES: Mapping[str, type[BridgeMessage]] = {cls.type: cls for cls in BridgeMessage.__args__}
OBJECTS = (
    ResumeRequest, ClientDescription, ThumbnailWindow, ResumeTicket, Picture, StageState, RoomState,
    Member, WaitingGuest, ChatLine, Text,
)  # fmt: skip

Message = TypeVar("Message", ClientMessage, BridgeMessage)


def parse_client_message(text: str) -> ClientMessage:
    """Return the message a client sent; raises InvalidMessage."""
    return _parse(text, CLIENT_MESSAGES)


def parse_bridge_message(text: str) -> BridgeMessage:
    """Return the message the bridge sent, for clients in Python; raises InvalidMessage."""
    return _parse(text, BRIDGE_MESSAGES)


def _parse(text: str, registry: Mapping[str, type[Message]]) -> Message:
    value = schema.read_json(text)
    if not isinstance(value, dict):
        raise InvalidMessage("invalid-message", "the message: expected an object")
    type_name = value.get("type")
    cls = registry.get(type_name) if isinstance(type_name, str) else None
    if cls is None:
        raise InvalidMessage("invalid-message", "type: expected one that the protocol names")
    return schema.read(cls, value)


def type_of(text: str) -> str:
    """Return the type that a refused text claims to be, if the protocol has it, else nothing."""
    try:
        value = schema.read_json(text)
    except InvalidMessage:
        return ""
    type_name = value.get("type") if isinstance(value, dict) else None
    return type_name if isinstance(type_name, str) and type_name in CLIENT_MESSAGES else ""


def to_json(message: ClientMessage | BridgeMessage) -> dict[str, Any]:
    """Return the message as the object that goes on the wire."""
    fields: dict[str, Any] = schema.to_json(message)
    return {"type": message.type, **fields}


def serialise(message: ClientMessage | BridgeMessage, **serialised: str) -> str:
    """Return the message as the text that goes on the wire.

    `serialised` fields replace the message's own: what many messages share is written only once.
    """
    value = to_json(message)
    for name in serialised:
        value.pop(name, None)
    text = write_json(value)
    return text[:-1] + "".join(f',"{name}":{part}' for name, part in serialised.items()) + "}"


def write_json(value: Any) -> str:
    """Return a JSON value as compact text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def error_from(error: RequestError, *, request: str, offer_id: int | None = None) -> Error:
    """Return what a client is told when its request ended with `error`."""
    return Error(
        code=error.code,
        message=error_text(error.code),
        for_=request,
        detail=error.sentence[:300],
        id=offer_id,
    )
