"""Who came with which link. One link may be on several pages of its site, but not on any number."""

from bridge.conference.participants import Participant


class Holders:
    """The participants of a room by their links."""

    def __init__(self) -> None:
        self._by_link: dict[str, list[Participant]] = {}

    def of(self, link: str) -> tuple[Participant, ...]:
        """Return who came with this link, the earliest first."""
        return tuple(self._by_link.get(link, ()))

    def left_by(self, link: str, page: str) -> Participant | None:
        """Return whom this page has left behind: came with the same link, and its socket is lost."""
        if not page:
            return None
        lost = (one for one in self.of(link) if one.page == page and one.absent_since is not None)
        return next(lost, None)

    def add(self, participant: Participant) -> list[Participant]:
        """Note a newcomer; return the others for whom it is news that their link is shared."""
        holders = self._by_link.setdefault(participant.claims.id, [])
        holders.append(participant)
        return self._mark(holders, but=participant)

    def remove(self, participant: Participant) -> list[Participant]:
        """Forget who left; return those for whom it is news that their link is theirs alone."""
        holders = self._by_link.get(participant.claims.id, [])
        if participant not in holders:
            return []
        holders.remove(participant)
        if not holders:
            del self._by_link[participant.claims.id]
        return self._mark(holders, but=participant)

    def _mark(self, holders: list[Participant], *, but: Participant) -> list[Participant]:
        is_shared = len(holders) > 1
        changed = [holder for holder in holders if holder.shares_link != is_shared]
        for holder in changed:
            holder.shares_link = is_shared
        return [holder for holder in changed if holder is not but]
