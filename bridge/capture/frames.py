"""Packets of one encoding put in order, and its frames put together; undecoded.

A packet that is missing is waited for as long as there is hope that it is sent again. When the hope ends,
pictures are left out until the next key frame, because nothing before it could be decoded; sound goes on
at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.leg.encoding import Codec
from bridge.media.packet import MediaPacket
from bridge.rtp.h264 import IDR_SLICE, PPS, SPS, inspect, nal_units
from bridge.rtp.vp8 import picture_size_px

# Sound is not sent again: only what was overtaken on the way is waited for.
SOUND_WAIT_S = 0.1
# NACKs are given up after a second, or after two and a half round trips where that is longer.
PICTURE_WAIT_S = 3.0
HELD_MAX = 1024
# The largest picture the bridge would keep in memory: an intra-coded 4K screen has some 4,000 packets.
FRAME_PACKETS_MAX = 8192
# An SPS begins with profile and level; a PPS may be two bytes.
_PARAMETERS_BYTES_MIN = {SPS: 4, PPS: 2}


@dataclass(slots=True)
class Frame:
    """One picture, or one packet of sound.

    `lost_packets` are missing between the frame before and this one. A key frame has the size of its picture,
    and in H.264 its parameter sets (SPS, PPS).
    """

    packets: list[MediaPacket]
    timestamp: int
    arrival: float
    size_bytes: int
    is_keyframe: bool = True
    lost_packets: int = 0
    width_px: int = 0
    height_px: int = 0
    parameter_sets: tuple[bytes, bytes] | None = None


def frame_data(codec: Codec, packets: Sequence[MediaPacket]) -> bytes:
    """Return a frame as containers want it: H.264 with its units' lengths before them (ISO 14496-15, 5.3)."""
    if codec is Codec.H264:
        units = nal_units(packet.payload for packet in packets)
        return b"".join(part for unit in units for part in (len(unit).to_bytes(4, "big"), unit))
    if len(packets) == 1:
        return packets[0].payload[packets[0].descriptor_bytes :]
    return b"".join([packet.payload[packet.descriptor_bytes :] for packet in packets])


class FrameBuffer:
    """The packets of one encoding that have not become frames yet."""

    __slots__ = (
        "_codec",
        "_held",
        "_is_hoped",
        "_is_sound",
        "_known_parameter_set",
        "_next",
        "_packets",
        "_parameter_sets",
        "_waiting_since",
        "lost_packets",
        "needs_keyframe",
    )

    def __init__(
        self,
        codec: Codec,
        *,
        is_hoped: Callable[[int], bool],
        known_parameter_set: Callable[[int], bytes | None] = lambda kind: None,
    ) -> None:
        """`is_hoped` tells whether a missing packet may still come.

        `known_parameter_set` returns the newest SPS or PPS (by kind) from before what is received here.
        """
        self._codec = codec
        self._is_sound = codec is Codec.OPUS
        self._is_hoped = is_hoped
        self._known_parameter_set = known_parameter_set
        # The number that is due next; -1 before the first packet.
        self._next = -1
        # What came too early; None for a number under which nothing was sent.
        self._held: dict[int, MediaPacket | None] = {}
        self._waiting_since = 0.0
        # Those of the picture that is not complete yet.
        self._packets: list[MediaPacket] = []
        self._parameter_sets: dict[int, bytes] = {}
        # How many packets were lost since the last frame.
        self.lost_packets = 0
        # Whether pictures are left out until the next key frame.
        self.needs_keyframe = not self._is_sound

    @property
    def is_waiting(self) -> bool:
        """Whether packets wait for a missing one."""
        return bool(self._held)

    @property
    def missing_packets(self) -> int:
        """How many packets are missing since the last frame, those included that are waited for."""
        held = self._held
        return self.lost_packets + (max(held) + 1 - self._next - len(held) if held else 0)

    def start(self, extended_sequence_number: int) -> None:
        """Begin (anew) with that number, without any gap, and with a key frame."""
        self._next = extended_sequence_number
        self._held.clear()
        self._packets.clear()
        # Others may have come since.
        self._parameter_sets.clear()
        self.lost_packets = 0
        self.needs_keyframe = not self._is_sound

    def receive(self, packet: MediaPacket, now: float) -> Sequence[Frame]:
        """Take in a packet; return the frames that it completes."""
        number = packet.extended_sequence_number
        if number != self._next:
            return self._hold(number, packet, now)
        self._next = number + 1
        frames: list[Frame] = []
        self._take(packet, frames)
        if self._held:
            self._go_on(frames, now)
        return frames

    def skip(self, extended_sequence_number: int, now: float) -> Sequence[Frame]:
        """Take in that nothing was sent under that number; return the frames that this completes."""
        if extended_sequence_number != self._next:
            return self._hold(extended_sequence_number, None, now)
        self._next += 1
        frames: list[Frame] = []
        self._go_on(frames, now)
        return frames

    def poll(self, now: float) -> Sequence[Frame]:
        """Give up what has no hope any more; return the frames that this sets free."""
        frames: list[Frame] = []
        while self._held and self._is_hopeless(now):
            first = min(self._held)
            self.lost_packets += first - self._next
            self._next = first
            self._await_keyframe()
            self._go_on(frames, now)
        return frames

    def _await_keyframe(self) -> None:
        self._packets.clear()
        self.needs_keyframe = not self._is_sound

    def _hold(self, number: int, packet: MediaPacket | None, now: float) -> Sequence[Frame]:
        if number < self._next or self._next < 0:
            # Too late, or nobody said yet where to begin.
            return ()
        if not self._held:
            self._waiting_since = now
        self._held[number] = packet
        return self.poll(now)

    def _is_hopeless(self, now: float) -> bool:
        waited_s = now - self._waiting_since
        if self._is_sound:
            return waited_s >= SOUND_WAIT_S
        return waited_s >= PICTURE_WAIT_S or len(self._held) > HELD_MAX or not self._is_hoped(self._next)

    def _go_on(self, frames: list[Frame], now: float) -> None:
        held = self._held
        while self._next in held:
            packet = held.pop(self._next)
            self._next += 1
            self._waiting_since = now
            if packet is not None:
                self._take(packet, frames)

    def _take(self, packet: MediaPacket, frames: list[Frame]) -> None:
        """Take in the packet that is due."""
        if self._is_sound:
            frames.append(self._sound(packet))
            return
        packets = self._packets
        if packets and packet.timestamp != packets[0].timestamp:
            # A sender that sets no markers.
            self._finish(frames)
            packets = self._packets
        if not packets:
            if self.needs_keyframe:
                if not (packet.is_keyframe and packet.starts_frame):
                    return
            elif self._codec is Codec.VP8 and not packet.starts_frame:
                self._give_up_picture(1)
                return
        packets.append(packet)
        if packet.marker:
            self._finish(frames)
        elif len(packets) > FRAME_PACKETS_MAX:
            self._give_up_picture(len(packets))

    def _give_up_picture(self, packet_count: int) -> None:
        self.lost_packets += packet_count
        self._await_keyframe()

    def _sound(self, packet: MediaPacket) -> Frame:
        lost, self.lost_packets = self.lost_packets, 0
        size_bytes = len(packet.payload)
        return Frame([packet], packet.timestamp, packet.arrival, size_bytes, lost_packets=lost)

    def _finish(self, frames: list[Frame]) -> None:
        packets, self._packets = self._packets, []
        first = packets[0]
        frame = Frame(
            packets,
            first.timestamp,
            first.arrival,
            sum([len(packet.payload) for packet in packets]),
            is_keyframe=False,
        )
        if self._codec is Codec.H264:
            self._inspect_h264(frame)
        elif first.is_keyframe:
            frame.width_px, frame.height_px = picture_size_px(first.payload, first.descriptor_bytes)
            frame.is_keyframe = frame.height_px > 0
        if self.needs_keyframe and not frame.is_keyframe:
            return
        self.needs_keyframe = False
        frame.lost_packets, self.lost_packets = self.lost_packets, 0
        frames.append(frame)

    def _inspect_h264(self, frame: Frame) -> None:
        """Tell whether it is a key frame: parameter sets alone are none, and some encoders send them once."""
        if not any(packet.is_keyframe for packet in frame.packets):
            return
        has_picture = False
        for unit in nal_units(packet.payload for packet in frame.packets):
            kind = unit[0] & 0x1F
            if kind in (SPS, PPS) and len(unit) >= _PARAMETERS_BYTES_MIN[kind]:
                self._parameter_sets[kind] = unit
            elif kind == IDR_SLICE:
                has_picture = True
        for kind in (SPS, PPS):
            known = self._known_parameter_set(kind) if kind not in self._parameter_sets else None
            if known is not None and len(known) >= _PARAMETERS_BYTES_MIN[kind]:
                self._parameter_sets[kind] = known
        if has_picture and len(self._parameter_sets) == 2:
            frame.is_keyframe = True
            # Zero where it cannot be read, which is for the decoder to judge.
            seen = inspect(self._parameter_sets[SPS])
            frame.width_px, frame.height_px = seen.width_px, seen.height_px
            frame.parameter_sets = self._parameter_sets[SPS], self._parameter_sets[PPS]
