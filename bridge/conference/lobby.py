"""The lobby of a room: who has to wait before it, and why. Decides and remembers; tells nobody.

A page waits on its socket. A device has none: it is refused for a moment and asks again, and is listed for as
long as it does. Who was let in is not asked for again, be it that the server was restarted meanwhile.
"""

from bridge.base.errors import Refused
from bridge.conference.participants import Participant
from bridge.conference.standing import Standing, remember
from bridge.messages import KnockReason, WaitingGuest

LOBBY_MAX = 100
# Encoders ask again after ten seconds or so.
DEVICE_KNOCKS_FOR_S = 60.0
# A device that was turned away would ask again and again.
TURNED_AWAY_S = 300.0
# Hundreds may knock within a moment, and each list has all of them.
TOLD_EVERY_S = 0.5


class Lobby:
    """Who waits, and what decides who has to."""

    def __init__(self, standing: Standing, *, wait_for_chair: bool, places: int = LOBBY_MAX) -> None:
        # Passed by argument.
        self._waits_for_chair = wait_for_chair and not standing.is_led
        self._places = places
        # Allocated by this.
        # Whether a chair or secretary is in the room now.
        self._has_moderator = False
        self._is_news = False
        self._next_told_at = 0.0
        self.guests: dict[str, Participant] = {}
        self.is_locked = standing.is_locked
        # Links somebody was removed with: they have to knock.
        self._distrusted = dict(standing.distrusted)
        # Links that need not knock: of whoever was in when the server went, and of devices that were let in.
        self._awaited = standing.awaited
        # Links of devices that may not knock until then.
        self._turned_away: dict[str, float] = {}

    def reason_to_wait(self, participant: Participant) -> KnockReason | None:
        """Return why this newcomer has to wait, or None if it may come in."""
        link = participant.claims.id
        if link in self._distrusted:
            # With nobody there to open to them, those who are to lead would wait for ever.
            return None if participant.leads and not self._has_moderator else KnockReason.REMOVED
        if participant.leads or link in self._awaited:
            return None
        if self.is_locked:
            return KnockReason.LOCKED
        return KnockReason.NO_CHAIR if self._waits_for_chair else None

    def put(self, guest: Participant, now: float) -> None:
        """Let somebody wait; raises Refused when there is no place, or for a device that was turned away."""
        link = guest.claims.id
        if self._turned_away.get(link, now) > now:
            raise Refused("refused", "a moderator did not admit this device")
        if guest.is_device:
            earlier = next(
                (one for one in self.guests.values() if one.is_device and one.claims.id == link), None
            )
            if earlier is not None:
                earlier.joined_at = now
                return
        if len(self.guests) >= self._places:
            raise Refused("room-locked", "the room is locked and its lobby is full")
        self.guests[guest.id] = guest

    def admit(self, guest: Participant) -> None:
        """Nobody has to let this guest in again."""
        self.guests.pop(guest.id, None)
        self._distrusted.pop(guest.claims.id, None)
        if guest.is_device:
            remember(self._awaited, guest.claims.id, None)

    def turn_away(self, guest: Participant, now: float) -> None:
        """Forget the guest; a device is not listed again for a while."""
        self.guests.pop(guest.id, None)
        if guest.is_device:
            remember(self._turned_away, guest.claims.id, now + TURNED_AWAY_S)

    def distrust(self, link: str) -> None:
        """Whoever comes with this link has to knock from now on."""
        self._awaited.pop(link, None)
        remember(self._distrusted, link, None)

    def set_locked(self, locked: bool) -> None:
        """Lock or unlock; who was let in before it was locked anew has to knock again."""
        self.is_locked = locked
        self._awaited.clear()
        self._turned_away.clear()

    def chair_has_come(self) -> None:
        """From now on nobody waits for that."""
        self._waits_for_chair = False
        self._has_moderator = True

    def moderators_have_gone(self) -> None:
        """The last chair or secretary has left: nobody can answer a knock until another one comes."""
        self._has_moderator = False

    def passing(self) -> list[Participant]:
        """Return the guests that need not wait any longer."""
        return [guest for guest in self.guests.values() if self.reason_to_wait(guest) is None]

    def changed(self) -> None:
        """Whoever waits is to be told anew to moderators."""
        self._is_news = True

    def take_news(self, now: float) -> bool:
        """Whether moderators are to be told now who waits; those who come later find it in their welcome."""
        if not self._is_news or now < self._next_told_at:
            return False
        self._is_news = False
        self._next_told_at = now + TOLD_EVERY_S
        return self._has_moderator

    def listed(self) -> tuple[WaitingGuest, ...]:
        """Return everybody who waits, as moderators are told."""
        return tuple(
            WaitingGuest(
                guest.id,
                guest.site,
                guest.name,
                # Somebody may wait for nothing but a place in a full room.
                self.reason_to_wait(guest) or KnockReason.LOCKED,
                guest.is_device,
                guest.is_self_named,
            )
            for guest in self.guests.values()
        )

    def forget_silent_devices(self, now: float) -> bool:
        """Take devices off the list that no longer ask; return whether there were any."""
        silent = [
            guest.id
            for guest in self.guests.values()
            if guest.is_device and now - guest.joined_at > DEVICE_KNOCKS_FOR_S
        ]
        for guest_id in silent:
            del self.guests[guest_id]
        return bool(silent)
