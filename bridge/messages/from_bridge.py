"""Messages from the bridge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bridge.base.schema import AtMost, Between, Characters
from bridge.base.words import (
    PauseReason,
    RecordingState,
    RecordProblem,
    Role,
    Source,
    WaitingReason,
    Weakness,
)
from bridge.messages.objects import (
    CASES_MAX,
    CHAT_KEPT,
    MIDS_MAX,
    THUMBNAILS_MAX,
    BeatS,
    CaseCode,
    CaseId,
    CaseLine,
    ChatLine,
    ChatText,
    Count,
    DevicePicture,
    IceServer,
    KnockReason,
    MediaProtocol,
    Member,
    Mid,
    MutedSource,
    Name,
    OfferId,
    ParticipantId,
    Picture,
    Ratio,
    ResumeTicket,
    Rid,
    RoomState,
    RtpTime,
    Sdp,
    SiteName,
    StageMode,
    TimeMs,
    Token,
    WaitingGuest,
)
from bridge.messages.texts import Text


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
    link_in_use: Count
    beat_s: BeatS
    muted: Annotated[tuple[MutedSource, ...], AtMost(8)]
    waiting: Annotated[tuple[WaitingGuest, ...], AtMost(1000)] | None = None
    cases: Annotated[tuple[CaseLine, ...], AtMost(CASES_MAX)] | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer to `join` of somebody who has to wait in the lobby."""

    type: ClassVar[str] = "waiting"
    reason: KnockReason
    beat_s: BeatS


@dataclass(frozen=True, slots=True)
class Beat:
    """The line is alive, and there is nothing to say."""

    type: ClassVar[str] = "beat"


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
    unsupported: Annotated[tuple[Mid, ...], AtMost(MIDS_MAX)] | None = None
    paused: Annotated[Mapping[Mid, PauseReason | None], AtMost(MIDS_MAX)] | None = None
    begins: Annotated[Mapping[Mid, RtpTime], AtMost(MIDS_MAX)] | None = None


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
    withheld: bool = False


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
    at_ms: TimeMs


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
class RecordingChange:
    """Whether the room is recorded from now on, and if not, why not."""

    type: ClassVar[str] = "recording"
    state: RecordingState
    reason: WaitingReason | None
    case: CaseId | None
    code: CaseCode | None
    problem: RecordProblem | None
    since_ms: TimeMs


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of the conference, for the moderators."""

    type: ClassVar[str] = "cases"
    cases: Annotated[tuple[CaseLine, ...], AtMost(CASES_MAX)]


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A join token to come back with after a restart of the server, and fresh credentials of the relays."""

    type: ClassVar[str] = "token"
    token: Token
    expires_s: Annotated[int, Between(0, 86_400)]
    ice_servers: Annotated[tuple[IceServer, ...], AtMost(16)]


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
    devices: Annotated[tuple[DevicePicture, ...], AtMost(MIDS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is weak at which site, for the moderators; sites not named are as before."""

    type: ClassVar[str] = "conditions"
    weak: Annotated[Mapping[ParticipantId, Weakness | None], AtMost(10_000)]


@dataclass(frozen=True, slots=True)
class Error:
    """A request that was not carried out, for machines (code) and for people (message)."""

    type: ClassVar[str] = "error"
    code: Annotated[str, Characters(1, 80)]
    message: Text
    for_: Annotated[str, Characters(0, 32)]
    detail: Annotated[str, Characters(0, 300)]
    id: OfferId | None = None
