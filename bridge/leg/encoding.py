"""One incoming RTP stream of a publication: numbered, accounted, remembered, and fanned out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Protocol

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.errors import MalformedPacket
from bridge.base.rate import Budget
from bridge.base.words import Source
from bridge.leg.fan import ALL_TEMPORAL_LAYERS, Fan, MakeRoute, Span
from bridge.leg.forwarder import Forwarder
from bridge.media.cache import PacketCache
from bridge.media.layer_rates import LayerRates
from bridge.media.loss import NackGenerator
from bridge.media.packet import MediaPacket, OutgoingPacket
from bridge.media.parameter_sets import ParameterSets, holds_both
from bridge.media.protection import PAYLOAD_BYTES_MAX, RecentPackets, protected
from bridge.media.reception import ReceptionStatistics
from bridge.media.recovery import LossRecovery
from bridge.media.replay import ReplayWindow
from bridge.media.speakers import LEVEL_SILENCE
from bridge.media.throttle import KeyframeRequests
from bridge.media.timeline import ClockOffset, SenderClock
from bridge.rtp.h264 import inspect
from bridge.rtp.header import RtpPacket
from bridge.rtp.opus import PACKETS_PER_S_MAX
from bridge.rtp.sequence import SequenceUnwrapper
from bridge.rtp.vp8 import parse_descriptor
from bridge.transport import FanoutRows

# A sender's clock is told of while it sends: a microphone's may stand still afterwards, while a screen that
# does not change sends a picture now and then.
SOUND_RESTS_S = 0.5
PICTURE_RESTS_S = 10.0
SEVEN_BITS = 7
# The level of calm speech (RFC 6464), taken for senders that tell none.
UNTOLD_LEVEL = 30
DTX_BYTES_MAX = 10
# The first packet of a key frame is the one that is missed most: who waits for it may still begin with
# it when it comes late, and be sent what came since, up to this many packets.
CAUGHT_UP_MAX = 128
# And so many copies in all, which go out at once: more than that would overflow the socket's buffer.
CAUGHT_UP_COPIES_MAX = 4096
# Fifteen seconds of ordinary sound, for as long as consent lasts (RFC 7675): over TCP they come at once when
# a line has stood still, and all of it belongs in the recording.
SOUND_PACKETS_AT_ONCE = 750.0
# What one stream of pictures may bring in, 25 Mbit/s: three times what a page sends of the largest screen
# (web/protocol/layers.js), and as much as encoders of 4K are set to. That of two seconds may come at once:
# a key frame of a large screen has four thousand packets. A packet counts for at least so much, as a copy
# of a small one costs as much as one of a large one.
PICTURE_BYTES_PER_S = 25e6 / 8
PICTURE_BURST_S = 2.0
PICTURE_PACKET_BYTES_MIN = 1250


class Codec(Enum):
    """The payload formats the bridge can look into far enough to switch between streams."""

    OPUS = "opus"
    VP8 = "vp8"
    H264 = "h264"


class Tap(Protocol):
    """Takes everything that arrives of one encoding, in the order of arrival."""

    def receive(self, packet: MediaPacket) -> None:
        """A packet, for the first time or as its retransmission."""

    def skip(self, extended_sequence_number: int) -> None:
        """A number under which nothing worth keeping was sent."""

    def reported(self) -> None:
        """The publisher's clocks have said something new: `Encoding.report`."""

    def ended(self) -> None:
        """The encoding is no more; said once, and never after the tap was taken off."""


class Owner(Protocol):
    """What an encoding is one of: the publication, as far as others ask an encoding for it."""

    @property
    def leg_id(self) -> str:
        """Whose it is."""

    @property
    def source(self) -> Source:
        """What it shows."""

    @property
    def is_muted(self) -> bool:
        """Whether nothing of it may go out."""

    @property
    def is_face(self) -> bool:
        """Whether its picture may stand for a moment where another one's is to be."""

    @property
    def unprotected_loss(self) -> float:
        """The share of packets that is lost to those who show it, where only its sender can help."""

    def await_keyframe(self, encoding: Encoding) -> None:
        """Let those who would like to have this encoding begin with the key frame that it comes back with."""


class Encoding:
    """What the bridge knows of one RTP stream that a publisher sends (an SSRC, a RID)."""

    __slots__ = (
        "_allowance",
        "_commands",
        "_counters",
        "_keyframe",
        "_latecomers",
        "_newcomers",
        "_parameters_timestamp",
        "_picture_ids",
        "_recent",
        "_recovery",
        "_red_payload_type",
        "_replays",
        "_rtx_payload_type",
        "_unwrapper",
        "cache",
        "clock",
        "codec",
        "fan",
        "feedback",
        "height_px",
        "is_new",
        "is_stalled",
        "keyframe_interval_s",
        "keyframes",
        "lacks_parameter_sets",
        "last_arrival",
        "losses",
        "parameter_sets",
        "patience",
        "payload_type",
        "publication",
        "rates",
        "reception",
        "recovered",
        "report",
        "rid",
        "ssrc",
        "stalled_at",
        "tap",
        "tells_levels",
        "waiting",
        "width_px",
    )

    def __init__(
        self,
        *,
        publication: Owner,
        rid: str,
        ssrc: int,
        payload_type: int,
        rtx_payload_type: int | None,
        red_payload_type: int | None = None,
        parameter_sets: Iterable[bytes] = (),
        feedback: frozenset[str] = frozenset(),
        codec: Codec,
        clock_rate_hz: int,
        clock_offset: ClockOffset,
        make_route: MakeRoute,
        counters: SfuCounters,
    ) -> None:
        self.publication = publication
        self.rid = rid
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.codec = codec
        self.fan: Fan[Encoding] = Fan(source=self, clock_rate_hz=clock_rate_hz, make_route=make_route)
        # Empty where the stream is sound, which is never sent again.
        self.cache: PacketCache[MediaPacket] = PacketCache()
        self.losses = NackGenerator(is_asking="nack" in feedback, has_rtx=rtx_payload_type is not None)
        self.reception = ReceptionStatistics(ssrc, clock_rate_hz)
        rests_s = SOUND_RESTS_S if codec is Codec.OPUS else PICTURE_RESTS_S
        self.clock = SenderClock(clock_rate_hz, clock_offset, rests_s=rests_s)
        # What was agreed to ask of the sender: rtcp-fb messages as in the SDP.
        self.feedback = feedback
        self.keyframes = KeyframeRequests()
        # Between the last two key frames; the RTP time and the arrival of the newest.
        self.keyframe_interval_s: float | None = None
        self._keyframe: tuple[int, float] | None = None
        # Slots that will show this encoding from its next key frame on, with their temporal limits.
        self.waiting: dict[Forwarder[Encoding], int] = {}
        # Whoever records this encoding.
        self.tap: Tap | None = None
        # The newest sender report: NTP time, RTP time, and when it arrived.
        self.report: tuple[int, int, float] | None = None
        # Of H.264, and empty otherwise.
        self.parameter_sets = ParameterSets(parameter_sets)
        # Whether the last key frame came without parameter sets, so that newcomers need those from before.
        self.lacks_parameter_sets = False
        self.width_px = 0
        self.height_px = 0
        self.last_arrival: float | None = None
        # What it takes when it is sent.
        self.rates = LayerRates(ALL_TEMPORAL_LAYERS)
        # How much longer than others it may be silent, and when it last was for too long.
        self.patience = 1.0
        self.stalled_at = -1e9
        # Until its owner has told those who watch the publication.
        self.is_new = True
        self.is_stalled = False
        self._newcomers: tuple[MediaPacket, list[Span[Encoding]]] | None = None
        # The timestamp of the newest packet with parameter sets; -1 before the first.
        self._parameters_timestamp = -1
        self._commands = 0
        self._rtx_payload_type = rtx_payload_type
        self._red_payload_type = red_payload_type
        self._recovery = None if red_payload_type is None else LossRecovery()
        # What redundancy has brought of packets that were lost, to be passed on before what brought it.
        self.recovered: list[MediaPacket] = []
        # Of sound, while anybody is sent it again.
        self._recent = RecentPackets()
        # Of sound: whether the packets carry the level of what is in them (RFC 6464).
        self.tells_levels = True
        self._latecomers: tuple[int, list[Span[Encoding]]] | None = None
        self._unwrapper = SequenceUnwrapper()
        self._replays = ReplayWindow()
        # Each packet goes to many: more than there can be costs all of them. Sound by packets, pictures by
        # bytes.
        per_s, burst = (
            (PACKETS_PER_S_MAX, SOUND_PACKETS_AT_ONCE)
            if codec is Codec.OPUS
            else (PICTURE_BYTES_PER_S, PICTURE_BYTES_PER_S * PICTURE_BURST_S)
        )
        self._allowance = Budget(per_s=per_s, burst=burst)
        # Of a sender that writes seven bits of them: they go round every four seconds.
        self._picture_ids = SequenceUnwrapper(bits=SEVEN_BITS)
        self._counters = counters

    @property
    def is_audio(self) -> bool:
        """Whether a switch to this stream may happen at any packet."""
        return self.codec is Codec.OPUS

    @property
    def has_latecomers(self) -> bool:
        """Whether `catch_up` has something to yield."""
        return self._latecomers is not None

    def next_command(self) -> int:
        """Return the number of the next full intra request (RFC 5104, 4.3.1.2)."""
        self._commands = (self._commands + 1) & 0xFF
        return self._commands

    def receive(self, packet: RtpPacket, arrival: float) -> MediaPacket | None:
        """Take in a packet of this stream's own SSRC; None when nobody is to see it."""
        # Whatever the packet is, its number is used up: the next one must be judged by it.
        extended = self._unwrapper.unwrap(packet.sequence_number)
        self.reception.received(extended, packet.timestamp, arrival, len(packet.data))
        is_redundant = packet.payload_type == self._red_payload_type
        if not self._replays.take(extended):
            if is_redundant:
                # It came before as redundancy of the one that overtook it, and may bring what that did not.
                self._recover(extended, packet, arrival)
            if self.recovered:
                return self.recovered.pop()
            self._drop(DropReason.DUPLICATE)
            return None
        self.losses.received(extended, arrival)
        if packet.payload_type != self.payload_type and not is_redundant:
            self._skip(extended, packet.timestamp, arrival)
            self._drop(DropReason.UNKNOWN_PAYLOAD_TYPE)
            return None
        self.last_arrival = arrival
        self.clock.packet(packet.timestamp, arrival)
        if packet.payload_offset >= packet.payload_end:
            self._skip(extended, packet.timestamp, arrival)
            self._drop(DropReason.PADDING)
            return None
        if not self._is_allowed(packet, arrival):
            # Of a picture a part is missing then, which whoever decodes it must see, and of sound some in the
            # recording, which must tell so.
            if self.is_audio and extended > self.fan.highest:
                self.fan.skip(extended)
            self._drop(DropReason.RATE_LIMITED)
            return None
        if is_redundant:
            return self._read_redundant(extended, packet, arrival)
        media = self._read(extended, packet, packet.payload, arrival)
        if self._recovery is not None and media is not None:
            # Browsers send some packets as they are.
            self._recovery.take(extended, packet.timestamp, media.payload)
        return media

    def receive_retransmission(self, packet: RtpPacket, arrival: float) -> MediaPacket | None:
        """Take in a packet of the RTX stream (RFC 4588).

        Only awaited ones count: browsers repeat old packets there to probe for bandwidth.
        """
        if packet.payload_type != self._rtx_payload_type:
            self._drop(DropReason.UNKNOWN_PAYLOAD_TYPE)
            return None
        payload = packet.payload
        if len(payload) <= 2:
            self._drop(DropReason.PADDING)
            return None
        # Without memory: what is asked for never is the newest, and a stray number must not lead astray.
        extended = self._unwrapper.near(int.from_bytes(payload[:2], "big"))
        if extended is None or not self.losses.is_missing(extended) or not self._replays.take(extended):
            self._drop(DropReason.DUPLICATE)
            return None
        self._counters.retransmissions_received += 1
        self.losses.repaired(extended, arrival)
        if not self._is_allowed(packet, arrival):
            self._drop(DropReason.RATE_LIMITED)
            return None
        return self._read(extended, packet, payload[2:], arrival)

    def _is_allowed(self, packet: RtpPacket, arrival: float) -> bool:
        cost = 1.0 if self.is_audio else max(len(packet.data), PICTURE_PACKET_BYTES_MIN)
        return self._allowance.spend(cost, arrival)

    def forward(self, packet: MediaPacket) -> tuple[FanoutRows, int] | None:
        """Return who gets `packet`; at a key frame those who waited for it come in.

        `lead_in` comes before it, and where the key frame came late, `catch_up` must follow.
        """
        if self.waiting and packet.starts_frame and (self.is_audio or packet.is_keyframe):
            self.fan.leap(packet.extended_sequence_number)
            late = self.fan.highest - packet.extended_sequence_number
            if late < 0:
                self._let_in(packet)
            elif not self.is_audio and self._may_catch_up(late):
                self._latecomers = packet.extended_sequence_number, self._let_in(packet)
        return self.fan.forward(packet)

    def protect(self, packet: MediaPacket) -> Iterator[tuple[OutgoingPacket, FanoutRows, int]]:
        """Yield a packet of sound as those are sent it whose lines lose too much of it, and their rows.

        To be called for each packet while `fan.protected` has anybody, after `forward`.
        """
        number, recent = packet.extended_sequence_number, self._recent
        if number == self.fan.highest:
            is_plain = len(packet.payload) >= PAYLOAD_BYTES_MAX
            for spans, rows, count in self.fan.forward_protected(packet, is_plain=is_plain):
                if is_plain:
                    yield packet, rows, count
                    continue
                wrapped = protected(packet, recent.before(number, spans.distance), spans.payload_type)
                self.fan.redundant_octets[spans.distance] += len(wrapped.payload) - len(packet.payload)
                yield wrapped, rows, count
        recent.keep(packet)

    def take_recovered(self) -> list[MediaPacket]:
        """Return what was lost and has come after all, in the order of its numbers."""
        found, self.recovered = self.recovered, []
        return found

    def forget_lost(self) -> None:
        """Take nothing any more that was said before the next packet: it was not to be heard."""
        if self._recovery is not None:
            self._recovery.forget()

    def _may_catch_up(self, late: int) -> bool:
        """Whether those who wait may still begin with a key frame that came so many packets late."""
        return late <= CAUGHT_UP_MAX and late * len(self.waiting) <= CAUGHT_UP_COPIES_MAX

    def lead_in(self) -> tuple[MediaPacket, FanoutRows, int] | None:
        """Return the parameter sets that those who have just come in need first, and their rows."""
        newcomers, self._newcomers = self._newcomers, None
        if newcomers is None:
            return None
        prelude, spans = newcomers
        return prelude, self.fan.first_rows(prelude, spans), len(spans)

    def catch_up(self) -> Iterator[tuple[MediaPacket, FanoutRows, int]]:
        """Yield what those who came in at a late key frame have missed since, and their rows."""
        latecomers, self._latecomers = self._latecomers, None
        if latecomers is None:
            return
        keyframe, spans = latecomers
        columns = self.fan.late_columns(spans)
        for number in range(keyframe + 1, self.fan.highest + 1):
            packet = self.cache.get(number)
            watched = (
                self.fan.forward_again(packet, columns) if packet is not None and packet.payload else None
            )
            if packet is not None and watched is not None:
                yield packet, *watched

    def _let_in(self, packet: MediaPacket) -> list[Span[Encoding]]:
        """Let those who wait begin with `packet`, or with the parameter sets that it does not have."""
        prelude = self._prelude(packet)
        spans = []
        for forwarder, temporal_limit in self.waiting.items():
            spans.append(
                forwarder.switch(
                    self.fan, packet, codec=self.codec.value, temporal_limit=temporal_limit, prelude=prelude
                )
            )
            self._counters.switches += 1
        self.waiting.clear()
        if prelude is not None:
            self._newcomers = prelude, spans
        return spans

    def _prelude(self, packet: MediaPacket) -> MediaPacket | None:
        """Return the remembered parameter sets as a packet of their own before `packet`, if it lacks any."""
        payload = self.parameter_sets.aggregate
        if not payload or holds_both(packet.payload):
            return None
        return MediaPacket(
            packet.extended_sequence_number - 1, packet.timestamp, False, payload, packet.arrival
        )

    @property
    def is_watched(self) -> bool:
        """Whether a slot shows or awaits this encoding, or it is recorded."""
        return bool(self.waiting) or len(self.fan) > 0 or self.tap is not None

    def measure(self, now: float) -> None:
        """See, every few seconds, what this stream takes and how much of it each temporal limit gets."""
        if not self.is_stalled:
            self.rates.measure(self.fan.octets, now)

    def sender_report(self, ntp: int, rtp_timestamp: int, now: float) -> None:
        """Take in what the publisher's clocks say of this stream."""
        self.clock.sender_report(ntp, rtp_timestamp, now)
        self.reception.sender_report_received(ntp, now)
        self.report = ntp, rtp_timestamp, now
        if self.tap is not None:
            self.tap.reported()

    def let_go(self) -> None:
        """Send nothing more to any slot, also to those that were only held until another picture is there."""
        self.waiting.clear()
        for span in list(self.fan.spans):
            span.owner.stop()

    def close(self) -> None:
        """End: let go of every slot that shows or awaits this encoding."""
        tap, self.tap = self.tap, None
        if tap is not None:
            tap.ended()
        self.let_go()
        # Slots remember their last sources; the packets are not to live as long.
        self.cache.clear()

    def _read(self, extended: int, packet: RtpPacket, payload: bytes, arrival: float) -> MediaPacket | None:
        try:
            media = _READERS[self.codec](self, extended, packet, payload, arrival)
        except MalformedPacket:
            self._drop(DropReason.MALFORMED_PAYLOAD)
            self._skip(extended, packet.timestamp, arrival)
            return None
        if media.is_keyframe and media.starts_frame and not self.is_audio:
            self._counters.keyframes_received += 1
            self._note_keyframe(packet.timestamp, arrival)
            self.losses.keyframe(extended)
            # One that came too late lets nobody in: who waits needs another.
            if not self.waiting or self._may_catch_up(self.fan.highest - extended):
                self.keyframes.keyframe_received(arrival)
        if not self.is_audio:
            self.cache.put(extended, media)
        return media

    def _read_redundant(self, extended: int, packet: RtpPacket, arrival: float) -> MediaPacket | None:
        """Read a packet of redundant audio (RFC 2198), and keep of it what had been lost."""
        sound = self._recover(extended, packet, arrival)
        if not sound:
            self._drop(DropReason.MALFORMED_PAYLOAD)
            self._skip(extended, packet.timestamp, arrival)
            return None
        return self._read(extended, packet, sound, arrival)

    def _recover(self, extended: int, packet: RtpPacket, arrival: float) -> bytes:
        """Keep what redundant audio brings of what was lost; return its own sound, empty if it has none."""
        if self._recovery is None:
            return b""
        sound, recovered = self._recovery.read(extended, packet.timestamp, packet.payload, self.payload_type)
        for found in recovered:
            number = found.extended_sequence_number
            if not self._replays.take(number):
                continue
            self.losses.received(number, arrival)
            if not self._allowance.spend(1.0, arrival):
                self._drop(DropReason.RATE_LIMITED)
                if number > self.fan.highest:
                    self.fan.skip(number)
                continue
            self._counters.voices_recovered += 1
            level = UNTOLD_LEVEL if packet.audio_level is None else packet.audio_level
            # As if it had come in time. It was overtaken, so nobody's hearing begins with it.
            self.recovered.append(
                MediaPacket(
                    number,
                    found.timestamp,
                    False,
                    found.data,
                    arrival - found.age_s,
                    level,
                    starts_frame=False,
                    is_voice=packet.is_voice,
                )
            )
        return sound

    def _note_keyframe(self, timestamp: int, arrival: float) -> None:
        """Measure from one key frame to the next; parameter sets and slices of the same one begin none."""
        before = self._keyframe
        if before is not None and before[0] == timestamp:
            return
        self._keyframe = timestamp, arrival
        if before is not None:
            self.keyframe_interval_s = arrival - before[1]

    def _read_opus(self, extended: int, packet: RtpPacket, payload: bytes, arrival: float) -> MediaPacket:
        level = packet.audio_level
        is_voice = packet.is_voice
        self.tells_levels = level is not None
        if level is None:
            # A device without RFC 6464 must be heard as well: comfort noise and DTX are short.
            is_voice = len(payload) > DTX_BYTES_MAX
            level = UNTOLD_LEVEL if is_voice else LEVEL_SILENCE
        return MediaPacket(
            extended, packet.timestamp, packet.marker, payload, arrival, level, is_voice=is_voice
        )

    def _read_vp8(self, extended: int, packet: RtpPacket, payload: bytes, arrival: float) -> MediaPacket:
        descriptor = parse_descriptor(payload, 0, len(payload))
        if descriptor.is_keyframe and descriptor.height_px:
            self.width_px, self.height_px = descriptor.width_px, descriptor.height_px
        picture_id = -1 if descriptor.picture_id is None else descriptor.picture_id
        tl0_offset = descriptor.tl0_offset
        if descriptor.picture_id_bits == SEVEN_BITS:
            # One width for all sources, so that a slot's picture ids can go on from one to the next.
            where = descriptor.picture_id_offset
            picture_id = self._picture_ids.unwrap(picture_id) & 0x7FFF
            wide = (0x8000 | picture_id).to_bytes(2, "big")
            payload = b"".join((payload[:where], wide, payload[where + 1 :]))
            tl0_offset += tl0_offset >= 0
        return MediaPacket(
            extended,
            packet.timestamp,
            packet.marker,
            payload,
            arrival,
            None,
            descriptor.is_keyframe,
            descriptor.starts_frame,
            min(descriptor.temporal_id, 3),
            descriptor.layer_sync,
            picture_id,
            descriptor.picture_id_offset,
            -1 if descriptor.tl0_picture_index is None else descriptor.tl0_picture_index,
            tl0_offset,
            descriptor.length + (descriptor.picture_id_bits == SEVEN_BITS),
        )

    def _read_h264(self, extended: int, packet: RtpPacket, payload: bytes, arrival: float) -> MediaPacket:
        seen = inspect(payload)
        if seen.height_px:
            self.width_px, self.height_px = seen.width_px, seen.height_px
        if self.parameter_sets.take(extended, payload):
            self._parameters_timestamp = packet.timestamp
        if seen.is_keyframe and seen.starts_frame:
            self.lacks_parameter_sets = packet.timestamp != self._parameters_timestamp
        return MediaPacket(
            extended,
            packet.timestamp,
            packet.marker,
            payload,
            arrival,
            None,
            seen.is_keyframe,
            seen.starts_frame,
        )

    def _skip(self, extended: int, timestamp: int, arrival: float) -> None:
        """Nothing worth forwarding was sent under this number."""
        if extended > self.fan.highest:
            self.fan.skip(extended)
        elif not self.is_audio:
            # Too late to close the gap: receivers ask for the number, and are told that it was nothing.
            nothing = MediaPacket(extended, timestamp, False, b"", arrival, starts_frame=False)
            self.cache.put(extended, nothing)
        if self.tap is not None:
            self.tap.skip(extended)

    def _drop(self, reason: DropReason) -> None:
        self._counters.dropped[reason] += 1


_READERS = {
    Codec.OPUS: Encoding._read_opus,
    Codec.VP8: Encoding._read_vp8,
    Codec.H264: Encoding._read_h264,
}
