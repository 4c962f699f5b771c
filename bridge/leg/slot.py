"""One outgoing stream of a leg, negotiated once, showing one publication at a time."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.base.rate import Budget
from bridge.base.words import PauseReason, SlotRole, Source
from bridge.leg.encoding import Encoding
from bridge.leg.fan import MakeRoute, Span
from bridge.leg.forwarder import Forwarder
from bridge.leg.publication import Publication
from bridge.media.rows import Rows
from bridge.media.throttle import SentRecently
from bridge.transport import FanoutRows

# What a page is taken to show until it says so: the height of each kind of picture.
HEIGHTS_PX = {SlotRole.STAGE: 720, SlotRole.CONTENT: 1080, SlotRole.THUMBNAIL: 180, SlotRole.VOICE: 0}


class Slot:
    """A place on the receiver's page and the stream that fills it."""

    __slots__ = (
        "_reported",
        "_rtx_payload_types",
        "_rtx_rows",
        "_rtx_sequence_number",
        "_unsent",
        "aimed",
        "desired",
        "forwarder",
        "is_borne",
        "is_limited",
        "leg_id",
        "mid",
        "pause",
        "picture_losses",
        "role",
        "rtx_ssrc",
        "seen",
        "sent_recently",
        "shown",
        "ssrc",
        "unprotected_loss",
        "wanted_height_px",
    )

    def __init__(
        self,
        *,
        leg_id: str,
        mid: str,
        role: SlotRole,
        forwarder: Forwarder[Encoding],
        rtx_ssrc: int | None,
        rtx_payload_types: Mapping[str, int],
    ) -> None:
        self.leg_id = leg_id
        self.mid = mid
        self.role = role
        self.forwarder = forwarder
        self.ssrc = forwarder.ssrc
        self.rtx_ssrc = rtx_ssrc
        self.shown: Publication | None = None
        # Whose picture the receiver is told to see here: `shown` from its first picture on.
        self.seen: Publication | None = None
        # The encoding that is shown, or will be from its next key frame on.
        self.aimed: Encoding | None = None
        # The RID and temporal limit that page and link call for, whether or not they arrive now.
        self.desired: tuple[str, int] | None = None
        self.wanted_height_px = HEIGHTS_PX[role]
        # Whether the receiver's line bears any picture here, and why none comes, as it is told.
        self.is_borne = True
        self.pause: PauseReason | None = None
        # Whether the line leaves it less than it would show.
        self.is_limited = False
        self.sent_recently = SentRecently()
        # The share of packets lost on the way to the receiver, where the bridge can do nothing against it.
        self.unprotected_loss = 0.0
        # How often this receiver may have a key frame made for everybody who watches the same.
        # Key frames that the receiver may ask for.
        self.picture_losses = Budget(per_s=1.0, burst=2)
        # The newest number and the packets sent when the receiver last reported, and how many numbers
        # that were never sent it may still have to report.
        self._reported = forwarder.newest, 0
        self._unsent: float = 0
        self._rtx_payload_types = dict(rtx_payload_types)
        # Below 2^15, far from the wrap: SRTP's rollover counter must not be guessed at the start.
        self._rtx_sequence_number = forwarder.ssrc & 0x3FFF
        self._rtx_rows: dict[str, FanoutRows] = {}

    @property
    def is_video(self) -> bool:
        """Whether pictures or voices come through this slot."""
        return self.role is not SlotRole.VOICE

    @property
    def current(self) -> Encoding | None:
        """The encoding whose packets go out now."""
        span = self.forwarder.span
        return None if span is None else span.fan.source

    @property
    def begins_at(self) -> int | None:
        """From which RTP time on the pictures are those of `seen`; None while none of them goes out."""
        current = self.current
        return None if current is None or current.publication is not self.seen else self.forwarder.begins_at

    @property
    def is_held(self) -> bool:
        """Whether the picture of somebody else is still here, until that of `shown` comes."""
        current = self.current
        return current is not None and current.publication is not self.shown

    def follow(self, *, is_late: bool) -> bool:
        """Note whose picture is seen now; tell whether that is `shown`, or will be told so as it `is_late`.

        Where it is late, nothing is held any longer.
        """
        if self.is_held and not is_late:
            return False
        if self.is_held:
            self.forwarder.stop()
            self.seen = None
            return False
        if self.current is None and self.seen is not self.shown and not is_late:
            # What was here is gone, what is to come is not here yet.
            self.seen = None
            return False
        self.seen = self.shown
        return True

    def pause_now(self, now: float) -> PauseReason | None:
        """Return why no new picture of `shown` comes; None also where none is to come."""
        publication = self.shown
        if (
            publication is None
            or publication.is_muted
            or not self.wanted_height_px
            or not self.takes(publication)
        ):
            return None
        if publication.is_cut:
            return PauseReason.NO_SIGNAL
        if not self.is_borne:
            return PauseReason.LINE
        # A screen that does not change rests.
        if publication.source is not Source.CONTENT and publication.has_stopped(now):
            return PauseReason.NO_PICTURE
        return PauseReason.KEYFRAME if self.current is None else None

    def losses_since_report(self, fraction_lost: float) -> tuple[float, int]:
        """Return how many packets were lost on the way to the receiver, and how many sent, since last time.

        `fraction_lost` is what the receiver reports. It misses, too, what never came from the publisher and
        left a hole in the numbers: that says nothing about the receiver's path.
        """
        forwarder = self.forwarder
        numbers, packets = forwarder.newest, forwarder.packets
        numbers_before, packets_before = self._reported
        self._reported = numbers, packets
        sent = packets - packets_before
        lost = fraction_lost * (numbers - numbers_before)
        unsent = numbers - numbers_before - sent
        explained = min(lost, max(self._unsent + unsent, 0))
        # A hole at the end of the interval may be in the receiver's next report only.
        self._unsent = max(min(unsent, self._unsent + unsent - explained), 0)
        return lost - explained, sent

    def protect(self, distance: int, loss: float) -> None:
        """Send so many packets of a voice once more with each one against a loss on the receiver's line.

        Where the receiver has not agreed to redundancy, only the publisher's encoder can help.
        """
        self.forwarder.protect(distance)
        self.unprotected_loss = loss if self.forwarder.red_payload_type is None else 0.0

    def can_show(self, encoding: Encoding) -> bool:
        """Whether the receiver negotiated the codec of this encoding."""
        return encoding.codec.value in self.forwarder.payload_types

    def takes(self, publication: Publication) -> bool:
        """Whether the receiver negotiated the codec that the publication comes in."""
        return publication.codec.value in self.forwarder.payload_types

    def aim(self, encoding: Encoding | None, temporal_limit: int) -> bool:
        """Show `encoding` as soon as it can be, or nothing; tell whether a key frame is needed for that.

        Until the key frame is here, what was shown goes on.
        """
        if encoding is not None and not self.can_show(encoding):
            encoding = None
        if self.aimed is not None and self.aimed is not encoding:
            self.aimed.waiting.pop(self.forwarder, None)
        self.aimed = encoding
        if encoding is None:
            self.forwarder.stop()
            return False
        if encoding is self.current:
            self.forwarder.limit(temporal_limit)
            return False
        is_new = self.forwarder not in encoding.waiting
        encoding.waiting[self.forwarder] = temporal_limit
        return is_new and not encoding.is_audio

    def begin_anew(self) -> None:
        """Show the same encoding from its next key frame on as if it were new here."""
        span = self.forwarder.span
        if span is not None and self.aimed is span.fan.source:
            self.aimed.waiting.setdefault(self.forwarder, span.temporal_limit)

    def can_repeat(self, span: Span[Encoding]) -> bool:
        """Whether RTX was negotiated for the payload type that the span was sent with."""
        return self.rtx_ssrc is not None and span.fan.source.codec.value in self._rtx_payload_types

    def retransmission_rows(self, span: Span[Encoding], make_route: MakeRoute) -> FanoutRows:
        """Return one row for the RTX stream, its next number filled in, for what can be repeated."""
        rows = self.unnumbered_rows(span, make_route)
        self._rtx_sequence_number += 1
        rows.sequence_number[0] = self._rtx_sequence_number
        return rows

    def unnumbered_rows(self, span: Span[Encoding], make_route: MakeRoute) -> FanoutRows:
        """Return one row for the RTX stream, for what can be repeated."""
        codec = span.fan.source.codec.value
        rows = self._rtx_rows.get(codec)
        if rows is None:
            rows = Rows(
                route=make_route([self.forwarder.destination]),
                ssrc=[self.rtx_ssrc or 0],
                payload_type=[self._rtx_payload_types[codec]],
                abs_send_time_id=[self.forwarder.abs_send_time_id],
                audio_level_id=[self.forwarder.audio_level_id],
                transport_wide_id=[self.forwarder.transport_wide_id],
            )
            self._rtx_rows[codec] = rows
        return rows
