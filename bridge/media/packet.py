"""One media packet as everybody behind the door reads it: parsed once, then shared."""

from dataclasses import dataclass
from typing import Protocol


class OutgoingPacket(Protocol):
    """What the copies of a packet have in common; the rest is in `Rows`."""

    @property
    def marker(self) -> bool:
        """The RTP marker bit."""

    @property
    def payload(self) -> bytes:
        """The payload, from the codec's payload descriptor on."""

    @property
    def audio_level(self) -> int | None:
        """0 (loud) to 127 (silent), RFC 6464; None for video."""

    @property
    def is_voice(self) -> bool:
        """Whether the sender says that the sound is voice (RFC 6464, the V bit)."""

    @property
    def picture_id_offset(self) -> int:
        """Where in the payload the 15-bit VP8 picture id stands; -1 when it has none."""

    @property
    def tl0_offset(self) -> int:
        """Where in the payload TL0PICIDX stands; -1 when it has none."""


@dataclass(slots=True)
class MediaPacket:
    """A packet of an encoding. Never changed after it was made: many hold it at once.

    `arrival` is monotonic seconds. A picture id, where there is one, has 15 bits
    (`picture_id` -1 and `picture_id_offset` -1 otherwise; the same for TL0PICIDX). `descriptor_bytes` is
    what stands in the payload before the codec's own data.
    """

    extended_sequence_number: int
    timestamp: int
    marker: bool
    payload: bytes
    arrival: float
    audio_level: int | None = None
    is_keyframe: bool = False
    starts_frame: bool = True
    temporal_id: int = 0
    layer_sync: bool = False
    picture_id: int = -1
    picture_id_offset: int = -1
    tl0_picture_index: int = -1
    tl0_offset: int = -1
    descriptor_bytes: int = 0
    is_voice: bool = False


@dataclass(slots=True)
class Wrapped:
    """A packet on its way in a payload format that has something in front of its own payload."""

    marker: bool
    payload: bytes
    audio_level: int | None
    is_voice: bool
    picture_id_offset: int
    tl0_offset: int


def retransmission(packet: MediaPacket, sequence_number: int) -> Wrapped:
    """Wrap `packet`, which the receiver knows by the 16-bit `sequence_number`, for RTX (RFC 4588)."""
    return Wrapped(
        marker=packet.marker,
        payload=sequence_number.to_bytes(2, "big") + packet.payload,
        audio_level=packet.audio_level,
        is_voice=packet.is_voice,
        picture_id_offset=packet.picture_id_offset + 2 if packet.picture_id_offset >= 0 else -1,
        tl0_offset=packet.tl0_offset + 2 if packet.tl0_offset >= 0 else -1,
    )
