"""The closed sets of words that code, protocol, metrics and interface share."""

from enum import StrEnum


class Role(StrEnum):
    """What a participant may do in a conference; an archivist reads recordings, and comes into none."""

    CHAIR = "chair"
    SECRETARY = "secretary"
    PRESENTER = "presenter"
    EXPERT = "expert"
    OBSERVER = "observer"
    ARCHIVIST = "archivist"


class Source(StrEnum):
    """What a publication shows or carries."""

    MICROPHONE = "microphone"
    CAMERA = "camera"
    CONTENT = "content"
    AUXILIARY = "auxiliary"


class SlotRole(StrEnum):
    """What a slot is for on the page of its receiver."""

    VOICE = "voice"
    STAGE = "stage"
    CONTENT = "content"
    THUMBNAIL = "thumbnail"


class PauseReason(StrEnum):
    """Why no new picture comes in a slot that shows somebody."""

    # The receiver's own line does not bear it.
    LINE = "line"
    # Nothing at all comes of whoever sends it.
    NO_SIGNAL = "no-signal"
    # Only the picture does not come.
    NO_PICTURE = "no-picture"
    # It begins with its next key frame.
    KEYFRAME = "keyframe"


class Weakness(StrEnum):
    """What keeps a site's media from being good, and on which side."""

    DOWN = "down"
    UP = "up"
    WIFI = "wifi"
    # All of it goes by a relay, or over TCP.
    RELAY = "relay"
    PROCESSOR = "processor"


class Level(StrEnum):
    """A site's place in the health system.

    `district` lies between province and commune: since districts ended (July 2025), regional centres.
    """

    CENTRAL = "central"
    PROVINCE = "province"
    DISTRICT = "district"
    COMMUNE = "commune"


class ConferenceKind(StrEnum):
    """What a conference is for; it decides whether and when it may be recorded."""

    CONSULTATION = "consultation"
    BRIEFING = "briefing"
    TRAINING = "training"


class RecordingPolicy(StrEnum):
    """When a conference is recorded: never, during cases with consent, or always but for refusals."""

    OFF = "off"
    ON_CONSENT = "on-consent"
    AUTO = "auto"


class RecordingState(StrEnum):
    """What the recording of a room does now, as everybody in it is shown."""

    OFF = "off"
    WAITING = "waiting"
    RECORDING = "recording"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"


class WaitingReason(StrEnum):
    """Why nothing is recorded now although it could be: while it waits, or until a case is confirmed."""

    NOBODY_HERE = "nobody-here"
    NO_CASE = "no-case"
    NO_CONSENT = "no-consent"
    CONSENT_REFUSED = "consent-refused"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    CASE_LEFT = "case-left"
    CASE_RESUMED = "case-resumed"


class RecordAction(StrEnum):
    """What a moderator can do to the recording itself."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    START = "start"


class RecordProblem(StrEnum):
    """What threatens or harms a recording, from the mildest to the worst."""

    WRITER_BEHIND = "writer-behind"
    DISK_LOW = "disk-low"
    DISK_SHEDDING = "disk-shedding"
    DISK_FULL = "disk-full"


class CaseState(StrEnum):
    """Where a case of the agenda stands."""

    PLANNED = "planned"
    ACTIVE = "active"
    FINISHED = "finished"


class ConsentState(StrEnum):
    """What the patient said about recording, as the presenting site attests."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Disposition(StrEnum):
    """What people decided about a package whose patient does not consent, or no longer; `open` until then."""

    OPEN = "open"
    KEEP = "keep"
    RESTRICT = "restrict"
    DESTROY = "destroy"


class RetentionClass(StrEnum):
    """How long a package must be kept (Circular 33/2025): 10, 20, 30, 30 years, for ever; training 5."""

    ORDINARY = "ordinary"
    ACCIDENT = "accident"
    DEATH = "death"
    TRANSPLANT = "transplant"
    INCIDENT = "incident"
    TRAINING = "training"


class PackageState(StrEnum):
    """Where a package stands on its way into the archive; `ongoing`: not over yet, and not recorded now."""

    ONGOING = "ongoing"
    RECORDING = "recording"
    QUEUED = "queued"
    REPAIRING = "repairing"
    COMPOSING = "composing"
    SEALING = "sealing"
    SEALED = "sealed"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"


class ArchiveScope(StrEnum):
    """Which recordings somebody may see in the library: those of one room, or all."""

    ROOM = "room"
    ALL = "all"
