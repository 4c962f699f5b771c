"""A strict receiver in virtual time: what it would complain about is what browsers stumble over."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from streams import OPUS, RED, VIDEO_HZ, Piece

from bridge.media.reception import ReceptionStatistics
from bridge.rtp import rtcp
from bridge.rtp.header import RtpPacket
from bridge.rtp.red import OFFSET_TICKS_MAX, parse_red
from bridge.rtp.sequence import SequenceUnwrapper, difference
from bridge.rtp.vp8 import parse_descriptor

NACK_AFTER_S = 0.010
NACK_AGAIN_S = 0.100
NACK_TRIES = 10
GIVE_UP_S = 1.5
PLI_AGAIN_S = 0.5
FROZEN_S = 0.4


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet as it took its place in the stream."""

    number: int
    timestamp: int
    marker: bool
    payload_type: int
    picture_id: int
    tl0: int
    temporal_id: int
    piece: Piece
    arrival: float
    was_repeated: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that could be decoded (or one frame of a voice)."""

    shown: float
    ssrc: int
    number: int
    captured: float
    timestamp: int
    is_keyframe: bool


@dataclass(slots=True)
class _Missing:
    noticed: float
    requested: float = -1.0
    tries: int = 0


class SlotReceiver:
    """The far end of one slot."""

    def __init__(
        self, *, mid: str, ssrc: int, rtx_ssrc: int | None, is_video: bool, clock_rate_hz: int
    ) -> None:
        self.mid = mid
        self.ssrc = ssrc
        self.rtx_ssrc = rtx_ssrc
        self.is_video = is_video
        self.reception = ReceptionStatistics(ssrc, clock_rate_hz)
        self.clock_rate_hz = clock_rate_hz
        self.heard: dict[int, Heard] = {}
        self.pictures: list[Picture] = []
        self.abandoned = 0
        self.repaired = 0
        self.repeated_in_vain = 0
        self.errors: list[str] = []
        self.reports: list[tuple[float, rtcp.SenderReport]] = []
        self.plis_sent = 0
        # Of a voice: by RTP time, what redundancy brought of it (the payload, and when); the largest payload.
        self.repeated: dict[int, tuple[bytes, float]] = {}
        self.redundant_blocks = 0
        self.octets_max = 0
        self.wants_nack = True
        self._unwrapper = SequenceUnwrapper()
        self._highest = -1
        self._missing: dict[int, _Missing] = {}
        self._parts: dict[tuple[int, int], set[int]] = {}
        self._decoded: set[tuple[int, int]] = set()
        self._waiting: dict[tuple[int, int], Heard] = {}
        self._pli_sent = -1.0
        self._undecodable_since = -1.0

    # What arrives.

    def receive(self, packet: RtpPacket, now: float) -> None:
        number = self._unwrapper.unwrap(packet.sequence_number)
        self.reception.received(number, packet.timestamp, now, len(packet.data))
        known = self.heard.get(number)
        if known is not None:
            # What was repeated may have been on its way all the time.
            if (
                packet.payload_type == RED
                or not known.was_repeated
                or known.piece != Piece.of(packet.payload)
            ):
                self.errors.append(f"number {number} was used twice")
            return
        if self._highest >= 0:
            for missing in range(self._highest + 1, number):
                self._missing[missing] = _Missing(now)
        self._highest = max(self._highest, number)
        payload = packet.payload
        self.octets_max = max(self.octets_max, len(payload))
        if packet.payload_type == RED:
            payload = self._read_redundant(packet, payload, now)
        self._take(number, packet, payload, now, was_repeated=False)

    def _read_redundant(self, packet: RtpPacket, payload: bytes, now: float) -> bytes:
        audio = parse_red(payload)
        for block in audio.former:
            self.redundant_blocks += 1
            timestamp = packet.timestamp - block.offset_ticks & 0xFFFFFFFF
            if (audio.payload_type, block.payload_type) != (OPUS, OPUS) or not block.offset_ticks > 0:
                self.errors.append("redundancy of something else")
            assert block.offset_ticks <= OFFSET_TICKS_MAX
            known, _ = self.repeated.setdefault(timestamp, (block.data, now))
            if known != block.data:
                self.errors.append(f"the sound of {timestamp} came again as another one")
        return audio.data

    def receive_repeated(self, packet: RtpPacket, now: float) -> None:
        payload = packet.payload
        number = self._unwrapper.unwrap(int.from_bytes(payload[:2], "big"))
        known = self.heard.get(number)
        if known is not None:
            self.repeated_in_vain += 1
            if known.piece != Piece.of(payload):
                self.errors.append(f"number {number} came again as another packet")
            return
        self.repaired += 1
        self._take(number, packet, payload[2:], now, was_repeated=True)

    def _take(
        self, number: int, packet: RtpPacket, payload: bytes, now: float, *, was_repeated: bool
    ) -> None:
        self._missing.pop(number, None)
        piece = Piece.of(payload)
        picture_id = tl0 = -1
        temporal_id = 0
        if self.is_video and payload[0] & 0x80 and payload[1] == 0xE0:
            descriptor = parse_descriptor(payload, 0, len(payload))
            assert descriptor.picture_id is not None
            assert descriptor.tl0_picture_index is not None
            picture_id, tl0 = descriptor.picture_id, descriptor.tl0_picture_index
            temporal_id = descriptor.temporal_id
        heard = Heard(
            number,
            packet.timestamp,
            packet.marker,
            packet.payload_type,
            picture_id,
            tl0,
            temporal_id,
            piece,
            now,
            was_repeated,
        )
        self.heard[number] = heard
        key = piece.ssrc, piece.picture
        parts = self._parts.setdefault(key, set())
        parts.add(piece.part)
        if len(parts) == piece.parts and key not in self._decoded:
            self._waiting[key] = heard
            self._decode(now)

    def _decode(self, now: float) -> None:
        progress = True
        while progress:
            progress = False
            for key, heard in list(self._waiting.items()):
                piece = heard.piece
                if key not in self._waiting:
                    continue
                if piece.leans_on >= 0 and (piece.ssrc, piece.leans_on) not in self._decoded:
                    continue
                del self._waiting[key]
                self._decoded.add(key)
                progress = True
                if piece.is_keyframe:
                    # What came before it is of no use any more.
                    self._waiting = {k: one for k, one in self._waiting.items() if one.number > heard.number}
                self.pictures.append(
                    Picture(
                        now, piece.ssrc, piece.picture, piece.captured, heard.timestamp, piece.is_keyframe
                    )
                )
        if not self._waiting:
            self._undecodable_since = -1.0
        elif self._undecodable_since < 0:
            self._undecodable_since = now

    # What is due.

    def numbers_to_request(self, now: float) -> list[int]:
        due = []
        for number, missing in list(self._missing.items()):
            if now - missing.noticed > GIVE_UP_S or missing.tries >= NACK_TRIES:
                del self._missing[number]
                self.abandoned += 1
            elif now - missing.noticed >= NACK_AFTER_S and now - missing.requested >= NACK_AGAIN_S:
                missing.tries += 1
                missing.requested = now
                due.append(number & 0xFFFF)
        return due if self.wants_nack else []

    def needs_keyframe(self, now: float) -> bool:
        """Whether complete pictures wait for one that does not come; asked at most twice a second."""
        if self._undecodable_since < 0 or now - self._undecodable_since < FROZEN_S:
            return False
        if now - self._pli_sent < PLI_AGAIN_S:
            return False
        self._pli_sent = now
        self.plis_sent += 1
        return True

    def last_report_middle(self) -> tuple[int, float]:
        if not self.reports:
            return 0, 0.0
        arrival, report = self.reports[-1]
        return report.ntp >> 16 & 0xFFFFFFFF, arrival

    # What is to be judged.

    @property
    def holes(self) -> list[int]:
        """The numbers that never arrived, between the first and the last."""
        if not self.heard:
            return []
        return [number for number in range(min(self.heard), max(self.heard)) if number not in self.heard]

    def packets(self) -> list[Heard]:
        """In the order of their numbers."""
        return [self.heard[number] for number in sorted(self.heard)]

    def complaints(self, *, pace: Callable[[float], bool] = lambda gap_s: abs(gap_s) < 0.5) -> list[str]:
        """What a decoder or jitter buffer would stumble over, in the order of the numbers."""
        found = list(self.errors)
        for before, after in pairwise(self.packets()):
            where = f"{before.number}->{after.number}"
            if after.number != before.number + 1:
                continue
            is_same = (before.piece.ssrc, before.piece.picture) == (after.piece.ssrc, after.piece.picture)
            ticks = difference(after.timestamp, before.timestamp, bits=32)
            if is_same and (ticks or before.picture_id != after.picture_id or before.tl0 != after.tl0):
                found.append(f"{where}: one picture with two times, picture ids or TL0PICIDX")
            if not is_same and ticks <= 0:
                found.append(f"{where}: time goes back by {-ticks} ticks")
            if not self.is_video or is_same:
                continue
            is_change = before.piece.ssrc != after.piece.ssrc
            if is_change and not (after.piece.is_keyframe and after.piece.part == 0):
                found.append(f"{where}: another source, but no key frame")
            if not is_change and not before.marker:
                found.append(f"{where}: a new picture before the end of the last one")
            if min(before.picture_id, after.picture_id) >= 0:
                if difference(after.picture_id, before.picture_id, bits=15) != 1:
                    found.append(f"{where}: picture id {before.picture_id}->{after.picture_id}")
                if (after.tl0 - before.tl0) & 0xFF != (after.temporal_id == 0):
                    found.append(f"{where}: TL0PICIDX {before.tl0}->{after.tl0}")
        found += self._complaints_about_pace(pace)
        return found

    def _complaints_about_pace(self, pace: Callable[[float], bool]) -> list[str]:
        firsts: list[Heard] = []
        overtaken_at = float("inf")
        for one in reversed(self.packets()):
            # Late and repeated packets are judged by their order only.
            if one.piece.part == 0 and not one.was_repeated and one.arrival <= overtaken_at:
                firsts.insert(0, one)
            overtaken_at = min(overtaken_at, one.arrival)
        return [
            f"{after.number}: {difference(after.timestamp, before.timestamp, bits=32)} ticks"
            f" in {after.arrival - before.arrival:.3f} s"
            for before, after in pairwise(firsts)
            if not pace(
                difference(after.timestamp, before.timestamp, bits=32) / self.clock_rate_hz
                - (after.arrival - before.arrival)
            )
        ]

    def longest_freeze_s(self, since: float, until: float) -> float:
        """The longest time without a new picture."""
        times = [since, *(one.shown for one in self.pictures if since < one.shown < until), until]
        return max(after - before for before, after in pairwise(times))


def clock_rate_hz(is_video: bool) -> int:
    return VIDEO_HZ if is_video else 48_000
