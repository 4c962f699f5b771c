"""Messages from the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bridge.base.schema import AtMost, Between
from bridge.base.words import ConsentState, RecordAction, SlotRole, Source, Weakness
from bridge.messages.objects import (
    MIDS_MAX,
    CaseCode,
    CaseId,
    ChatText,
    ClientDescription,
    HeightPx,
    Mid,
    Name,
    OfferId,
    ParticipantId,
    ResumeRequest,
    Sdp,
    SpellMs,
    ThumbnailWindow,
    Token,
)


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
class Interrupt:
    """The sender's system has taken a device away from the page, or given it back: a call, an assistant."""

    type: ClassVar[str] = "interrupted"
    source: Source
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """How the page's media fares, as its browser measures it, and what there was since it last said so."""

    type: ClassVar[str] = "condition"
    weakness: Weakness | None
    freezes: Annotated[int, Between(0, 1000)] = 0
    frozen_ms: SpellMs = 0
    heard_ms: SpellMs = 0
    concealed_ms: SpellMs = 0


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
    """A moderator mutes the microphones of all pages but those of the moderators."""

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
class AddCase:
    """A moderator puts a case on the conference's list."""

    type: ClassVar[str] = "add_case"
    code: CaseCode
    participant: ParticipantId | None = None


@dataclass(frozen=True, slots=True)
class RemoveCase:
    """A moderator takes a case that has not begun off the list."""

    type: ClassVar[str] = "remove_case"
    case: CaseId


@dataclass(frozen=True, slots=True)
class StartCase:
    """A moderator begins a case; another one that is open is finished first."""

    type: ClassVar[str] = "start_case"
    case: CaseId


@dataclass(frozen=True, slots=True)
class FinishCase:
    """A moderator ends a case for good."""

    type: ClassVar[str] = "finish_case"
    case: CaseId


@dataclass(frozen=True, slots=True)
class ConfirmCase:
    """A moderator says, by its code, that the open case that was left or interrupted goes on."""

    type: ClassVar[str] = "confirm_case"
    case: CaseId
    code: CaseCode


@dataclass(frozen=True, slots=True)
class StateConsent:
    """A moderator states what the patient said about being recorded."""

    type: ClassVar[str] = "consent"
    case: CaseId
    state: ConsentState


@dataclass(frozen=True, slots=True)
class Record:
    """A moderator pauses, resumes, stops or starts the recording."""

    type: ClassVar[str] = "record"
    action: RecordAction


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender goes, and will not resume."""

    type: ClassVar[str] = "leave"
