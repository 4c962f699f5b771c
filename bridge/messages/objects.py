"""What messages are made of: bounded strings and numbers, words of the protocol, objects inside messages."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from bridge.base.schema import AtMost, Between, Characters
from bridge.base.words import (
    CaseState,
    ConsentState,
    Level,
    RecordingState,
    RecordProblem,
    Role,
    Source,
    WaitingReason,
)

CHAT_KEPT = 100
THUMBNAILS_MAX = 49
MIDS_MAX = 128
CASES_MAX = 50

ParticipantId = Annotated[str, Characters(1, 32)]
Mid = Annotated[str, Characters(1, 16)]
Rid = Annotated[str, Characters(1, 16)]
Name = Annotated[str, Characters(1, 80)]
SiteName = Annotated[str, Characters(1, 120)]
CaseId = Annotated[str, Characters(1, 16)]
CaseCode = Annotated[str, Characters(1, 40)]
TimeMs = Annotated[int, Between(0, 2**53)]
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
SpellMs = Annotated[int, Between(0, 600_000)]
RtpTime = Annotated[int, Between(0, 2**32 - 1)]
BeatS = Annotated[int, Between(1, 60)]


class StageMode(StrEnum):
    """Who decides what is on stage."""

    CHAIR = "chair"
    SPEAKER = "speaker"


class MicrophoneState(StrEnum):
    """What others can hear of a participant: muted is chosen, interrupted is not, off has nothing to send."""

    ON = "on"
    MUTED = "muted"
    INTERRUPTED = "interrupted"
    OFF = "off"


class KnockReason(StrEnum):
    """Why somebody has to wait in the lobby."""

    LOCKED = "locked"
    REMOVED = "removed"
    NO_CHAIR = "no-chair"


class CameraState(StrEnum):
    """Whether others can see a participant."""

    ON = "on"
    INTERRUPTED = "interrupted"
    OFF = "off"


class MediaProtocol(StrEnum):
    """What carries a participant's media."""

    UDP = "udp"
    TCP = "tcp"


# Objects.


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """What proves that a participant of the last 30 s is back on a new socket."""

    participant: ParticipantId
    secret: Secret


@dataclass(frozen=True, slots=True)
class ClientDescription:
    """What the client says of itself: to look for the cause of a fault, and to know a page again."""

    agent: Annotated[str, Characters(0, 256)] = ""
    language: Annotated[str, Characters(0, 16)] = ""
    page: Annotated[str, Characters(0, 64)] = ""


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
class IceServer:
    """A TURN relay and what opens it for a while (RTCIceServer)."""

    urls: Annotated[tuple[Annotated[str, Characters(1, 256)], ...], AtMost(16)]
    username: Annotated[str, Characters(0, 256)]
    credential: Annotated[str, Characters(0, 256)]


@dataclass(frozen=True, slots=True)
class Picture:
    """One participant's publication."""

    participant: ParticipantId
    source: Source


@dataclass(frozen=True, slots=True)
class DevicePicture:
    """A device's picture in one of the receiver's slots, and how far its last key frames were apart."""

    participant: ParticipantId
    source: Source
    keyframe_interval_ms: Annotated[int, Between(0, 86_400_000)]


@dataclass(frozen=True, slots=True)
class StageState:
    """Who is on stage, and who decides it."""

    participant: ParticipantId | None
    mode: StageMode


@dataclass(frozen=True, slots=True)
class MutedSource:
    """One of the receiver's publications that a moderator muted, and who did."""

    source: Source
    by: ParticipantId


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """Whether the room is recorded now, and if not, why not."""

    state: RecordingState
    reason: WaitingReason | None
    case: CaseId | None
    code: CaseCode | None
    problem: RecordProblem | None
    since_ms: TimeMs


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case of the conference."""

    case: CaseId
    code: CaseCode
    site: SiteName | None
    state: CaseState
    consent: ConsentState


@dataclass(frozen=True, slots=True)
class RoomState:
    """What a newcomer has to know of the room."""

    id: RoomId
    title: Title
    locked: bool
    stage: StageState
    content: Picture | None
    recording: RecordingStatus


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
    signal: bool
    shares_link: bool
    self_named: bool


@dataclass(frozen=True, slots=True)
class WaitingGuest:
    """Somebody in the lobby."""

    participant: ParticipantId
    site: SiteName
    name: Name
    reason: KnockReason
    device: bool
    self_named: bool


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One line of the room's chat; the time is UTC."""

    participant: ParticipantId
    name: Name
    site: SiteName
    text: ChatText
    at_ms: TimeMs
