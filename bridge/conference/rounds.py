"""What is due to each participant in time: fresh tokens, quality, a beat, and the end of an absence."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from bridge import messages
from bridge.base.words import Weakness
from bridge.conference.participants import BEAT_S, CloseCode, LeaveReason, Participant
from bridge.messages import IceServer, Quality
from bridge.tokens import Tokens

TOKEN_EVERY_S = 240.0
QUALITY_EVERY_S = 2.0
# In a large room each participant hears of its quality more rarely, so that a room never asks its
# legs for more than fifty snapshots per second.
QUALITY_SNAPSHOTS_PER_S = 50
# Nobody is to be called on who has been away for longer.
HAND_KEPT_S = 10.0
# A device that has its answer and does not come: as long as a page may be away.
NEVER_CONNECTED_S = 30.0
# As the page calls a line weak (web/protocol/report.js).
WEAK_LOSS = 0.05


class Ward(Protocol):
    """What the rounds ask of the room."""

    def leave(self, participant: Participant, reason: LeaveReason, close_code: int) -> None:
        """The participant goes."""

    def note_weakness(self, participant: Participant, weakness: Weakness | None) -> None:
        """What is weak at a participant that does not say so itself."""

    def set_hand(self, participant: Participant, raised: bool) -> None:
        """The participant's hand goes up or down."""


class Rounds:
    """Goes through the participants of one room."""

    def __init__(
        self,
        participants: Mapping[str, Participant],
        room: Ward,
        *,
        tokens: Tokens,
        ice_servers: Callable[[str], Iterable[IceServer]],
    ) -> None:
        # Passed by argument; the mapping is the room's own, and always as it is now.
        self._participants = participants
        self._room = room
        self._tokens = tokens
        self._ice_servers = ice_servers

    def go(self, guests: Iterable[Participant], now: float) -> None:
        """Look after everybody in the room, and say to those in the lobby that their line is alive."""
        for participant in list(self._participants.values()):
            self._look_after(participant, now)
        for guest in list(guests):
            self._beat(guest, now)

    def begin(self, participant: Participant, now: float) -> None:
        """Count the time of somebody who has just come in."""
        participant.next_quality_at = now + self._quality_every_s()

    def renew_token(self, participant: Participant, now: float) -> None:
        """Send a fresh join token, as long as the invitation allows it, and credentials of the relays."""
        participant.next_token_at = now + TOKEN_EVERY_S
        lifetime_s = self._tokens.join_lifetime_s(participant.claims)
        if lifetime_s > 0:
            token = self._tokens.join(participant.claims)
            ice_servers = tuple(self._ice_servers(participant.claims.id))
            participant.send(messages.FreshToken(token, lifetime_s, ice_servers))

    def _look_after(self, participant: Participant, now: float) -> None:
        if participant.absent_since is not None:
            if now - participant.absent_since > messages.RESUME_WINDOW_S:
                self._room.leave(participant, LeaveReason.DISCONNECTED, CloseCode.LEFT)
            elif now - participant.absent_since > HAND_KEPT_S:
                self._room.set_hand(participant, False)
            return
        if participant.is_device:
            if not participant.has_connected and now - participant.joined_at > NEVER_CONNECTED_S:
                self._room.leave(participant, LeaveReason.NEVER_CONNECTED, CloseCode.LEFT)
            elif now >= participant.next_quality_at:
                participant.next_quality_at = now + self._quality_every_s()
                self._room.note_weakness(participant, _weakness_of(participant.quality()))
            return
        if now >= participant.next_token_at:
            self.renew_token(participant, now)
        if now >= participant.next_quality_at:
            participant.next_quality_at = now + self._quality_every_s()
            quality = participant.quality()
            if quality is not None:
                participant.send(quality)
                participant.next_beat_at = now + BEAT_S
        self._beat(participant, now)

    def _beat(self, participant: Participant, now: float) -> None:
        if now >= participant.next_beat_at:
            participant.next_beat_at = now + BEAT_S
            participant.send(messages.Beat())

    def _quality_every_s(self) -> float:
        return max(QUALITY_EVERY_S, len(self._participants) / QUALITY_SNAPSHOTS_PER_S)


def _weakness_of(quality: Quality | None) -> Weakness | None:
    """Return what the bridge sees of a device, which has no page to say more."""
    if quality is None:
        return None
    if quality.loss_up > WEAK_LOSS:
        return Weakness.UP
    return Weakness.DOWN if quality.loss_down > WEAK_LOSS else None
