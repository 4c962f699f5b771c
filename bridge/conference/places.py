"""The places of a room, and of each link in it: who finds one, and whose is taken over."""

from collections.abc import Mapping

from bridge.base.errors import Refused
from bridge.conference import roles
from bridge.conference.holders import Holders
from bridge.conference.lobby import Lobby
from bridge.conference.participants import Participant
from bridge.conference.roles import Permission
from bridge.tokens import Claims, TokenKind

# Chairs and secretaries that fit into a full room.
MODERATOR_PLACES = 8


class Places:
    """How many may be in one room, and how many with one link."""

    def __init__(
        self,
        participants: Mapping[str, Participant],
        holders: Holders,
        lobby: Lobby,
        *,
        capacity: int,
        per_link: int,
    ) -> None:
        # Passed by argument; what is the room's own is always as it is now.
        self._participants = participants
        self._holders = holders
        self._lobby = lobby
        self._capacity = capacity
        self._per_link = per_link

    def are_for(self, claims: Claims) -> bool:
        """Whether there is a place for whoever has these claims; moderators find a few more."""
        moderates = roles.has(claims.role, Permission.MODERATE) and claims.kind is TokenKind.JOIN
        return len(self._participants) < self._capacity + MODERATOR_PLACES * moderates

    def check(self, claims: Claims) -> None:
        """Raise Refused where the room is full for whoever has these claims."""
        if not self.are_for(claims):
            raise Refused("room-full", f"the room has its {self._capacity} participants")

    def give(self, claims: Claims) -> Participant | None:
        """Return whose place is taken over, or None where one is free; raises Refused.

        A page or player that was closed without a word is not to keep out the one opened in its place.
        """
        holders = self._holders.of(claims.id)
        ghost = next((holder for holder in holders if holder.absent_since is not None), None)
        if ghost is not None and not self.are_for(claims):
            return ghost
        self.check(claims)
        waiting = sum(guest.claims.id == claims.id for guest in self._lobby.guests.values())
        if len(holders) + waiting < self._per_link or claims.kind is TokenKind.PUBLISH:
            return None
        if ghost is None and claims.kind is TokenKind.WATCH:
            # Nothing tells a player that was reloaded from another one.
            ghost = next(iter(holders), None)
        if ghost is None:
            raise Refused("link-full", f"{len(holders) + waiting} participants came with this link")
        return ghost
