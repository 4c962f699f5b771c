"""How much redundancy (RFC 2198) a receiver's line needs for its voices, and the payload that carries it.

Distance n is the n packets before, once more in each packet. Of losses that have nothing to do with each
other a share p is left as p to the power of n + 1: of 10 % one packet in a hundred at distance 1, one in a
thousand at distance 2. Each step costs as much again, so the distance follows what is measured: up at the
first sign, down slowly.
"""

from collections.abc import Iterable

from bridge.media.packet import MediaPacket, Wrapped
from bridge.rtp.red import BLOCK_BYTES_MAX, OFFSET_TICKS_MAX, RedundantAudio, RedundantBlock, build_red

# What is two packets late is just about in time for a jitter buffer; a third one would not be.
DISTANCE_MAX = 2
# Outgoing packets fit any path; a redundant block is left out rather than a packet made too large.
PAYLOAD_BYTES_MAX = 1200
# What one step of distance takes of the line: 32 kbit/s of Opus, as browsers make it, and a header.
STEP_BPS = 34_000
# By distance, the share of lost packets from which on it is needed. At 1 % a loss every two seconds is heard;
# at 4 % distance 1 leaves 0.16 %, and what comes in bursts is more.
RAISED_AT = (0.0, 0.01, 0.04)
# Below this part of that share, for so long, one step less is enough. Reports that cover a whole burst, or
# none, are far from the truth: a step down that is wrong is heard, one that comes late costs little.
LOWERED_AT = 0.5
HELD_S = (0.0, 20.0, 10.0)
# What the line did not bear is tried again after so long, then after twice as long, while it still does not.
BARRED_S = 10.0
BARRED_S_MAX = 480.0
# Redundancy that fills a line is told from losses of a good one by a round trip that has grown by this since
# it was raised, and by losses that have more than doubled: then it is what does harm.
QUEUE_S = 0.1
FILLED_LOSS = 0.02
# Reports are taken together over about this time, and mean nothing before so many packets.
MEASURED_S = 3.0
PACKETS_MIN = 40.0


class Protection:
    """Chooses the distance for one receiver by what is lost on its line."""

    __slots__ = (
        "_barred_s",
        "_barred_until",
        "_expected",
        "_lost",
        "_low_since",
        "_noted",
        "_raised_at",
        "_raised_loss",
        "_raised_round_trip_s",
        "distance",
    )

    def __init__(self) -> None:
        self.distance = 0
        self._lost = 0.0
        self._expected = 0.0
        self._noted = 0.0
        self._low_since: float | None = None
        # When it was raised from nothing, and what the line was like.
        self._raised_at = 0.0
        self._raised_loss = 0.0
        self._raised_round_trip_s = 0.0
        self._barred_s = BARRED_S
        self._barred_until = 0.0

    @property
    def loss(self) -> float:
        """The share of packets lost lately; 0.0 while that is not known."""
        return min(self._lost / self._expected, 1.0) if self._expected >= PACKETS_MIN else 0.0

    def note(self, lost: float, expected: float, now: float) -> None:
        """Take in how many packets were lost of how many, by the newest report."""
        kept = max(1.0 - (now - self._noted) / MEASURED_S, 0.0)
        self._lost = kept * self._lost + max(lost, 0.0)
        self._expected = kept * self._expected + expected
        self._noted = now

    def choose(self, now: float, *, round_trip_s: float = 0.0, bearable: int = DISTANCE_MAX) -> int:
        """Return the distance from now on; never more than the line bears without a queue.

        `round_trip_s` is the newest one, `bearable` what there is room for as far as others know.
        """
        if self.distance and round_trip_s > self._raised_round_trip_s + QUEUE_S:
            is_filled = self.loss > 2 * self._raised_loss + FILLED_LOSS
            bearable = min(bearable, self.distance - is_filled)
        if self.distance > bearable:
            was_tried = now - self._raised_at < 2 * self._barred_s
            self._barred_s = min(2 * self._barred_s, BARRED_S_MAX) if was_tried else BARRED_S
            self._barred_until = now + self._barred_s
            self.distance = bearable
            self._low_since = None
        if self._expected < PACKETS_MIN:
            return self.distance
        loss = self.loss
        needed = min(max(step for step, share in enumerate(RAISED_AT) if loss >= share), bearable)
        if needed > self.distance:
            if now >= self._barred_until:
                if not self.distance:
                    self._raised_at, self._raised_loss = now, loss
                    self._raised_round_trip_s = round_trip_s
                self.distance = needed
                self._low_since = None
        elif self.distance and loss < LOWERED_AT * RAISED_AT[self.distance]:
            if self._low_since is None:
                self._low_since = now
            elif now - self._low_since >= HELD_S[self.distance]:
                self.distance -= 1
                self._low_since = None
        else:
            self._low_since = None
        return self.distance


class RecentPackets:
    """The newest packets of a stream of sound, in the order of their numbers."""

    __slots__ = ("_packets",)

    def __init__(self) -> None:
        self._packets: list[MediaPacket] = []

    def keep(self, packet: MediaPacket) -> None:
        """Note a packet; of more than can be sent once more the oldest is forgotten."""
        packets = self._packets
        packets.append(packet)
        if len(packets) > 1 and packets[-2].extended_sequence_number > packet.extended_sequence_number:
            packets.sort(key=lambda one: one.extended_sequence_number)
        del packets[:-DISTANCE_MAX]

    def before(self, number: int, distance: int) -> list[MediaPacket]:
        """Return those of the `distance` numbers before `number` that are here."""
        return [one for one in self._packets if 0 < number - one.extended_sequence_number <= distance]


def protected(packet: MediaPacket, former: Iterable[MediaPacket], payload_type: int) -> Wrapped:
    """Wrap a voice with those before it, the oldest first, whose own payload type is `payload_type`.

    What is older than an offset can say, as it is after a pause, too long, or more than fits, is left out.
    """
    blocks: list[RedundantBlock] = []
    room = PAYLOAD_BYTES_MAX - 1 - len(packet.payload)
    for one in sorted(former, key=lambda one: -one.extended_sequence_number):
        offset_ticks = packet.timestamp - one.timestamp & 0xFFFFFFFF
        room -= 4 + len(one.payload)
        if room < 0 or offset_ticks > OFFSET_TICKS_MAX or len(one.payload) > BLOCK_BYTES_MAX:
            break
        blocks.insert(0, RedundantBlock(payload_type, offset_ticks, one.payload))
    payload = build_red(RedundantAudio(payload_type, packet.payload, blocks))
    return Wrapped(
        marker=packet.marker,
        payload=payload,
        audio_level=packet.audio_level,
        is_voice=packet.is_voice,
        picture_id_offset=-1,
        tl0_offset=-1,
    )
