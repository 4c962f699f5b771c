"""The closed sets of words that code, protocol, metrics and interface share."""

from enum import StrEnum


class Role(StrEnum):
    """What a participant may do in a conference."""

    CHAIR = "chair"
    SECRETARY = "secretary"
    PRESENTER = "presenter"
    EXPERT = "expert"
    OBSERVER = "observer"


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


class Level(StrEnum):
    """A site's place in the health system."""

    CENTRAL = "central"
    PROVINCE = "province"
    DISTRICT = "district"
    COMMUNE = "commune"
