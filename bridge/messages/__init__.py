"""Signalling messages as types: parse, validate, serialise. `docs/protocol.md` is the twin of this package.

`objects` has what messages are made of, `from_client` and `from_bridge` the messages; here is the registry.

Some names travel in both directions with different fields (`stage` asks on the way up and tells on
the way down), so there is a registry per direction. A field with a default may be left out.
Every string, number, array and object that comes from outside has a bound.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from bridge.base import schema
from bridge.base.errors import InvalidMessage, RequestError
from bridge.messages.from_bridge import (
    Answer,
    Beat,
    Cases,
    Chat,
    Closing,
    Conditions,
    ContentChange,
    Error,
    Floor,
    FreshToken,
    Knock,
    Layers,
    Locked,
    Muted,
    Quality,
    RecordingChange,
    Removed,
    RosterChange,
    Slots,
    Speakers,
    StageChange,
    Waiting,
    Welcome,
)
from bridge.messages.from_client import (
    AddCase,
    Admit,
    ChooseStage,
    Condition,
    ConfirmCase,
    FinishCase,
    GiveFloor,
    Interrupt,
    Join,
    Leave,
    Lock,
    LowerHand,
    Mute,
    MuteAll,
    MuteParticipant,
    Offer,
    RaiseHand,
    Record,
    Remove,
    RemoveCase,
    SendChat,
    ShowContent,
    StartCase,
    StateConsent,
    View,
)
from bridge.messages.objects import (
    CASES_MAX,
    CHAT_KEPT,
    THUMBNAILS_MAX,
    CameraState,
    CaseLine,
    ChatLine,
    ClientDescription,
    DevicePicture,
    IceServer,
    KnockReason,
    MediaProtocol,
    Member,
    MicrophoneState,
    MutedSource,
    Picture,
    RecordingStatus,
    ResumeRequest,
    ResumeTicket,
    RoomState,
    StageMode,
    StageState,
    ThumbnailWindow,
    WaitingGuest,
)
from bridge.messages.texts import Text, error_text

__all__ = [
    "BRIDGE_MESSAGES",
    "CASES_MAX",
    "CHAT_KEPT",
    "CLIENT_MESSAGES",
    "MESSAGE_MAX_BYTES",
    "OBJECTS",
    "PROTOCOL_VERSION",
    "RESUME_WINDOW_S",
    "SUBPROTOCOL",
    "THUMBNAILS_MAX",
    "AddCase",
    "Admit",
    "Answer",
    "Beat",
    "BridgeMessage",
    "CameraState",
    "CaseLine",
    "Cases",
    "Chat",
    "ChatLine",
    "ChooseStage",
    "ClientDescription",
    "ClientMessage",
    "Closing",
    "Condition",
    "Conditions",
    "ConfirmCase",
    "ContentChange",
    "DevicePicture",
    "Error",
    "FinishCase",
    "Floor",
    "FreshToken",
    "GiveFloor",
    "IceServer",
    "Interrupt",
    "Join",
    "Knock",
    "KnockReason",
    "Layers",
    "Leave",
    "Lock",
    "Locked",
    "LowerHand",
    "MediaProtocol",
    "Member",
    "MicrophoneState",
    "Mute",
    "MuteAll",
    "MuteParticipant",
    "Muted",
    "MutedSource",
    "Offer",
    "Picture",
    "Quality",
    "RaiseHand",
    "Record",
    "RecordingChange",
    "RecordingStatus",
    "Remove",
    "RemoveCase",
    "Removed",
    "ResumeRequest",
    "ResumeTicket",
    "RoomState",
    "RosterChange",
    "SendChat",
    "ShowContent",
    "Slots",
    "Speakers",
    "StageChange",
    "StageMode",
    "StageState",
    "StartCase",
    "StateConsent",
    "ThumbnailWindow",
    "View",
    "Waiting",
    "WaitingGuest",
    "Welcome",
    "error_from",
    "parse_bridge_message",
    "parse_client_message",
    "serialise",
    "to_json",
    "type_of",
    "write_json",
    "write_object",
]

PROTOCOL_VERSION = 1
SUBPROTOCOL = "hoichan.v1"
MESSAGE_MAX_BYTES = 256 * 1024
RESUME_WINDOW_S = 30

ClientMessage = (
    Join | Offer | View | Mute | Interrupt | Condition | RaiseHand | SendChat | ChooseStage | ShowContent
    | MuteParticipant | MuteAll | LowerHand | GiveFloor | Remove | Lock | Admit | AddCase | RemoveCase
    | StartCase | FinishCase | ConfirmCase | StateConsent | Record | Leave
)  # fmt: skip
BridgeMessage = (
    Welcome | Waiting | Beat | Answer | Slots | Layers | RosterChange | StageChange | ContentChange | Speakers
    | Chat | Muted | Floor | Locked | Knock | RecordingChange | Cases | FreshToken | Removed | Closing
    | Quality | Conditions | Error
)  # fmt: skip

CLIENT_MESSAGES: Mapping[str, type[ClientMessage]] = {cls.type: cls for cls in ClientMessage.__args__}
BRIDGE_MESSAGES: Mapping[str, type[BridgeMessage]] = {cls.type: cls for cls in BridgeMessage.__args__}
OBJECTS = (
    ResumeRequest, ClientDescription, ThumbnailWindow, ResumeTicket, IceServer, Picture, DevicePicture,
    StageState, MutedSource, RecordingStatus, CaseLine, RoomState, Member, WaitingGuest, ChatLine, Text,
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


def write_object(value: object) -> str:
    """Return an object of a message as it stands in the message's text."""
    return write_json(schema.to_json(value))


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
