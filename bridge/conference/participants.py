"""A participant: one joined client or device, what it may send, what it is shown, how to reach it.

A participant outlives its control channel by the resume window, and may outlive its leg: a page
whose media failed comes with a new peer connection. It owns its leg, and reports to its room.
"""

import logging
import secrets
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from bridge.base.errors import NegotiationFailed, Refused
from bridge.base.words import PauseReason, Role, SlotRole, Source
from bridge.conference import roles
from bridge.conference.roles import Permission
from bridge.messages import (
    BridgeMessage,
    CameraState,
    DevicePicture,
    Layers,
    MediaProtocol,
    Member,
    MicrophoneState,
    MutedSource,
    Offer,
    Picture,
    Quality,
    Slots,
    ThumbnailWindow,
    error_from,
    serialise,
)
from bridge.tokens import Claims, TokenKind

if TYPE_CHECKING:
    from bridge.leg.leg import Leg
    from bridge.leg.publication import Publication
    from bridge.leg.slot import Slot
    from bridge.sfu import Router

logger = logging.getLogger(__name__)

# As many m-lines as one offer may have; heights of mids that never existed are not kept beyond it.
HEIGHTS_MAX = 128
# Whoever hears nothing for three of these takes its line for dead.
BEAT_S = 4


class LeaveReason(StrEnum):
    """Why a participant is no longer in the room."""

    LEFT = "left"
    REMOVED = "removed"
    NOT_ADMITTED = "not-admitted"
    DISCONNECTED = "disconnected"
    MEDIA_LOST = "media-lost"
    NEVER_CONNECTED = "never-connected"
    REVOKED = "revoked"
    CLOSED = "closed"


class CloseCode:
    """WebSocket close codes (RFC 6455, 7.4); those from 4000 on are the protocol's own."""

    ROOM_CLOSED = 1001
    RESTART = 1012
    LEFT = 4000
    RESUMED_ELSEWHERE = 4001
    REMOVED = 4002
    NO_JOIN = 4003
    REFUSED = 4005
    TOO_MANY_MESSAGES = 4006
    REVOKED = 4007


class Channel(Protocol):
    """The way to a client: never blocks, bounded, closes itself when its reader is too slow."""

    def send(self, text: str) -> None:
        """Queue one text frame."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what is queued; harmless twice."""


class Home(Protocol):
    """What a participant tells its room."""

    @property
    def router(self) -> "Router":
        """The media side of the room."""

    @property
    def participants(self) -> Mapping[str, "Participant"]:
        """Who is in it, by id."""

    def leave(self, participant: "Participant", reason: LeaveReason, close_code: int) -> None:
        """The participant goes."""

    def media_connected(self, participant: "Participant") -> None:
        """The first packets can flow."""

    def media_lost(self, participant: "Participant", cause: str) -> None:
        """The leg has ended by itself."""

    def sending_changed(self, participant: "Participant") -> None:
        """What others can see or hear of the participant is no longer the same."""

    def signal_changed(self, participant: "Participant") -> None:
        """Nothing comes of the participant's media any more, or something does again."""

    def voices_shown_changed(self, participant: "Participant") -> None:
        """Other voices are in the voice slots, or another picture in a slot is seen, or paused."""


def device_lines(*, watch: bool) -> tuple[Mapping[str, Source] | None, Mapping[str, SlotRole] | None]:
    """Return what the m-lines of a device may be: publications, slots.

    Many encoders offer sendrecv; WHIP is always answered recvonly (RFC 9725, 4.2), WHEP sendonly.
    """
    return ({}, None) if watch else (None, {})


def _media_lost() -> NegotiationFailed:
    return NegotiationFailed(
        "negotiation-failed:media-lost", "the leg has ended: offer a new peer connection with replace"
    )


class _LegWatch:
    """Hears one leg for its participant, until that leg is replaced."""

    def __init__(self, participant: "Participant") -> None:
        self._participant = participant

    def leg_connected(self) -> None:
        if self._participant.watch is self:
            self._participant.leg_connected()

    def leg_closed(self, reason: str) -> None:
        if self._participant.watch is self:
            self._participant.leg_closed(reason)

    def publication_live(self, source: Source, is_live: bool) -> None:
        if self._participant.watch is self:
            self._participant.publication_live(source, is_live)

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None:
        if self._participant.watch is self:
            self._participant.layers_wanted(layers)

    def line_cut(self, is_cut: bool) -> None:
        if self._participant.watch is self:
            self._participant.line_cut(is_cut)

    def slots_changed(self) -> None:
        if self._participant.watch is self:
            self._participant.slots_changed()


class Participant:
    """One joined client; its room decides, it keeps the state and speaks to leg and channel."""

    def __init__(
        self,
        *,
        participant_id: str,
        claims: Claims,
        name: str,
        order: int,
        joined_at: float,
        room: Home,
        channel: Channel | None,
        may_publish: bool | None = None,
    ) -> None:
        # Passed by argument.
        self.id = participant_id
        self.claims = claims
        self.name = name
        self.order = order
        self.joined_at = joined_at
        self.channel = channel
        self._room = room
        # Allocated by this.
        self.is_device = channel is None
        self.secret = secrets.token_urlsafe(16)
        self.leg: Leg | None = None
        self.watch: _LegWatch | None = None
        self.absent_since: float | None = None
        # The word of its tab; empty where it says none.
        self.page = ""
        self.hand: int | None = None
        self.window: ThumbnailWindow | None = None
        self.is_gone = False
        # Whether somebody else in the room came with the same link.
        self.shares_link = False
        self.has_connected = False
        # False while nothing comes of its media though it ought to.
        self.has_signal = True
        self.next_token_at = joined_at
        self.next_quality_at = joined_at
        self.next_beat_at = joined_at + BEAT_S
        self._has_lost_media = False
        self._live: set[Source] = set()
        self._muted: set[Source] = set()
        self._interrupted: set[Source] = set()
        # Which of the muted ones a moderator muted.
        self._muted_by: dict[Source, str] = {}
        self._heights_px: dict[str, int] = {}
        self._slots: dict[SlotRole, list[Slot]] = {}
        self._pictures: list[Slot] = []
        # What the client was told last: a publication, or for a voice slot the id of its leg.
        self._slots_told: dict[str, Publication | str | None] = {}
        self._pauses_told: dict[str, PauseReason | None] = {}
        self._layers: dict[str, tuple[str, ...]] = {}
        self.may_publish = roles.has(claims.role, Permission.PUBLISH) if may_publish is None else may_publish
        if not self.may_publish:
            self._muted.update(Source)

    @property
    def role(self) -> Role:
        return self.claims.role

    @property
    def site(self) -> str:
        return self.claims.site

    @property
    def may_moderate(self) -> bool:
        return roles.has(self.role, Permission.MODERATE)

    @property
    def leads(self) -> bool:
        """Whether it is a person who may moderate, and can be asked: a device answers no knock."""
        return self.may_moderate and not self.is_device

    @property
    def is_self_named(self) -> bool:
        """Whether its name is its own word, and not that of whoever made the link."""
        return self.claims.name is None and not self.is_device

    @property
    def is_connected(self) -> bool:
        """Whether the client can be reached now; a device is as long as its leg lives."""
        return self.is_device or self.channel is not None

    # What others see and hear of it.

    def is_sending(self, source: Source) -> bool:
        """Whether packets of this source arrive and may be passed on."""
        return self.may_publish and source in self._live and source not in self._muted

    def is_muted(self, source: Source) -> bool:
        """Whether its owner, or a moderator, has switched this source off."""
        return source in self._muted

    def picture(self, source: Source) -> "Publication | None":
        """Return the publication to show for this source, if there is something to see."""
        if self.leg is None or not self.is_sending(source):
            return None
        return self.leg.publication(source)

    def member(self) -> Member:
        """Return the participant's line in the roster."""
        return Member(
            participant=self.id,
            site=self.site,
            name=self.name,
            role=self.role,
            level=self.claims.level,
            microphone=self._microphone(),
            camera=self._camera(),
            content=self.is_sending(Source.CONTENT),
            auxiliary=self.is_sending(Source.AUXILIARY),
            hand=self.hand,
            connected=self.is_connected,
            signal=self.has_signal,
            shares_link=self.shares_link,
            self_named=self.is_self_named,
        )

    def _microphone(self) -> MicrophoneState:
        if not self.may_publish:
            return MicrophoneState.OFF
        if Source.MICROPHONE in self._muted:
            return MicrophoneState.MUTED
        if Source.MICROPHONE in self._interrupted:
            return MicrophoneState.INTERRUPTED
        return MicrophoneState.ON if Source.MICROPHONE in self._live else MicrophoneState.OFF

    def _camera(self) -> CameraState:
        if not self.is_sending(Source.CAMERA):
            return CameraState.OFF
        return CameraState.INTERRUPTED if Source.CAMERA in self._interrupted else CameraState.ON

    def set_interrupted(self, source: Source, interrupted: bool) -> bool:
        """Note that the system has taken a device away, or given it back; return whether that is news."""
        if (source in self._interrupted) == interrupted:
            return False
        if interrupted:
            self._interrupted.add(source)
        else:
            self._interrupted.discard(source)
        return True

    def set_muted(self, source: Source, muted: bool) -> bool:
        """Mute or unmute one source at the bridge; return whether that changed anything."""
        if (source in self._muted) == muted:
            return False
        if muted:
            self._muted.add(source)
        else:
            self._muted.discard(source)
            self._muted_by.pop(source, None)
        self._apply_mutes()
        return True

    def mute_by(self, source: Source, moderator_id: str) -> bool:
        """Mute one source for a moderator; return whether that changed anything."""
        if not self.set_muted(source, True):
            return False
        self._muted_by[source] = moderator_id
        return True

    @property
    def muted_by_moderators(self) -> tuple[MutedSource, ...]:
        """What moderators have muted and the participant has not unmuted since."""
        return tuple(MutedSource(source, by) for source, by in self._muted_by.items())

    def set_may_publish(self, may_publish: bool) -> bool:
        """Give or take the floor; whoever loses it, or has just got it, starts muted.

        A device has no switch of its own: the floor undoes what moderators have muted of it. Return whether
        that changed anything.
        """
        unmutes = may_publish and self.is_device
        if self.may_publish == may_publish and not (unmutes and self._muted):
            return False
        self.may_publish = may_publish
        self._muted_by.clear()
        if unmutes:
            self._muted.clear()
        else:
            self._muted.update(Source)
        self._apply_mutes()
        return True

    def _apply_mutes(self) -> None:
        if self.leg is None:
            return
        for source in Source:
            publication = self.leg.publication(source)
            muted = source in self._muted or not self.may_publish
            if publication is not None and publication.is_muted != muted:
                self.leg.set_muted(source, muted)

    # Media.

    def leave(self, reason: LeaveReason = LeaveReason.LEFT) -> None:
        """Go, for good; harmless twice."""
        self._room.leave(self, reason, CloseCode.LEFT)

    def negotiate(
        self,
        sdp: str,
        publications: Mapping[str, Source] | None = None,
        slots: Mapping[str, SlotRole] | None = None,
        *,
        replace: bool = False,
    ) -> str:
        """Return the answer to an offer; raises NegotiationFailed or Refused and then changes nothing."""
        if self.is_gone:
            # It would be heard, and nobody would see it.
            raise Refused("unknown-participant", "whoever has left negotiates no media")
        if self.is_device:
            publications, slots = device_lines(watch=self.claims.kind is TokenKind.WATCH)
        if self.leg is not None and not replace:
            answer = self.leg.negotiate(sdp, publications, slots)
        elif self._has_lost_media and not replace:
            # The client's peer connection still lives, but its DTLS association is gone here.
            raise _media_lost()
        else:
            answer = self._negotiate_new_leg(sdp, publications, slots)
        self._after_answer()
        return answer

    def _negotiate_new_leg(
        self,
        sdp: str,
        publications: Mapping[str, Source] | None,
        slots: Mapping[str, SlotRole] | None,
    ) -> str:
        if self.leg is not None:
            # The one that works is given up only for one that can be had.
            self._room.router.check_offer(sdp, publications, slots)
        self.close_leg("replaced")
        watch = _LegWatch(self)
        leg = self._room.router.create_leg(self.id, watch, is_device=self.is_device)
        # Set before the negotiation: the leg may report from inside it.
        self.leg, self.watch = leg, watch
        try:
            answer = leg.negotiate(sdp, publications, slots)
        except NegotiationFailed:
            self.close_leg("negotiation-failed")
            raise
        self._has_lost_media = False
        return answer

    def _after_answer(self) -> None:
        assert self.leg is not None
        self._slots = {role: list(self.leg.slots(role)) for role in SlotRole}
        self._pictures = [
            slot for role, slots in self._slots.items() if role is not SlotRole.VOICE for slot in slots
        ]
        self._slots_told.clear()
        self._apply_mutes()
        for mid in self._known_mids() & self._heights_px.keys():
            self.leg.want(mid, self._heights_px[mid])

    def close_leg(self, reason: str) -> None:
        """End the media half, if there is one; whatever was shown of it must be shown anew."""
        leg, self.leg, self.watch = self.leg, None, None
        self._slots = {}
        self._pictures = []
        self._slots_told.clear()
        self._layers.clear()
        self._interrupted.clear()
        if leg is None:
            return
        leg.close(reason)
        self.line_cut(False)
        if self._live:
            self._live.clear()
            self._room.sending_changed(self)

    def slots(self, role: SlotRole) -> "list[Slot]":
        """Return the slots that the last offer named for this role."""
        return self._slots.get(role, [])

    def want(self, heights_px: Mapping[str, int]) -> None:
        """Note how large the page shows its slots; mids that are not named keep their height."""
        known = self._known_mids()
        for mid, height_px in heights_px.items():
            if mid in self._heights_px or len(self._heights_px) < HEIGHTS_MAX:
                self._heights_px[mid] = height_px
            if self.leg is not None and mid in known:
                self.leg.want(mid, height_px)

    def _known_mids(self) -> set[str]:
        return {slot.mid for slots in self._slots.values() for slot in slots}

    # What the leg reports, by way of its watch.

    def leg_connected(self) -> None:
        self._room.media_connected(self)

    def leg_closed(self, reason: str) -> None:
        self._has_lost_media = True
        self.close_leg(reason)
        self._tell_loss()
        self._room.media_lost(self, reason)

    def _tell_loss(self) -> None:
        # A page that slept would take its media for well until its own checks have failed for a while.
        self.send(error_from(_media_lost(), request=Offer.type))

    def publication_live(self, source: Source, is_live: bool) -> None:
        if (source in self._live) == is_live:
            return
        if is_live:
            self._live.add(source)
        else:
            self._live.discard(source)
        self._room.sending_changed(self)

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None:
        changed = {mid: tuple(rids) for mid, rids in layers.items()}
        self._layers.update(changed)
        self.send(Layers(changed))

    def line_cut(self, is_cut: bool) -> None:
        if self.has_signal is is_cut:
            self.has_signal = not is_cut
            self._room.signal_changed(self)

    def slots_changed(self) -> None:
        self._room.voices_shown_changed(self)

    # The control channel.

    def send(self, message: BridgeMessage) -> None:
        """Tell the client, if it can be reached; what it missed it learns when it resumes."""
        if self.channel is not None:
            self.channel.send(serialise(message))

    def tell_slots(self) -> None:
        """Tell the client which of its slots show something else than it was told last."""
        if self.channel is None or self.leg is None:
            return
        told = self._slots_told
        news: dict[str, Picture | None] = {}
        paused: dict[str, PauseReason | None] = {}
        begins: dict[str, int] = {}
        unsupported: list[str] = []
        for slot in self._pictures:
            publication = slot.seen
            if slot.mid not in told or told[slot.mid] is not publication:
                told[slot.mid] = publication
                news[slot.mid] = Picture(publication.leg_id, publication.source) if publication else None
                self._pauses_told.pop(slot.mid, None)
                if slot.begins_at is not None:
                    begins[slot.mid] = slot.begins_at
                if publication is not None and not slot.takes(publication):
                    unsupported.append(slot.mid)
                    shown = (publication.leg_id, publication.source.value, publication.codec.value)
                    logger.info("%s cannot be shown %s's %s: it did not offer %s", self.id, *shown)
            if slot.pause is not self._pauses_told.get(slot.mid):
                paused[slot.mid] = self._pauses_told[slot.mid] = slot.pause
        for mid, leg_id in self.leg.voice_assignment().items():
            if mid not in told or told[mid] != leg_id:
                told[mid] = leg_id
                news[mid] = Picture(leg_id, Source.MICROPHONE) if leg_id is not None else None
        if news or paused:
            self.send(Slots(news, tuple(unsupported) or None, paused or None, begins or None))

    @property
    def unsupported_count(self) -> int:
        """How many of its slots stay empty because it did not offer the codec of what is to be seen there."""
        if self.leg is None:
            return 0
        return sum(slot.seen is not None and not slot.takes(slot.seen) for slot in self._pictures)

    def tell_media_again(self) -> None:
        """Tell a client that is back all that it may have missed about its media."""
        if self._has_lost_media:
            self._tell_loss()
        self._slots_told.clear()
        self.tell_slots()
        if self._layers:
            self.send(Layers(self._layers))

    def quality(self) -> Quality | None:
        """Return how the media travels, or None while there is none."""
        if self.leg is None:
            return None
        stats = self.leg.snapshot()
        return Quality(
            rtt_ms=None if stats.rtt_ms is None else round(stats.rtt_ms, 1),
            loss_up=round(stats.loss_up, 4),
            loss_down=round(stats.loss_down, 4),
            protocol=None if stats.protocol is None else MediaProtocol(stats.protocol),
            available_bps=int(stats.available_bps),
            devices=tuple(self._device_pictures()),
        )

    def _device_pictures(self) -> Iterator[DevicePicture]:
        """What it is shown of devices whose key frames have been measured; each once."""
        for publication in dict.fromkeys(slot.seen for slot in self._pictures):
            if publication is None or publication.keyframe_interval_s is None:
                continue
            owner = self._room.participants.get(publication.leg_id)
            if owner is not None and owner.is_device:
                interval_ms = round(publication.keyframe_interval_s * 1000)
                yield DevicePicture(owner.id, publication.source, min(interval_ms, 86_400_000))
