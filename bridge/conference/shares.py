"""What is shared in a room, and what of it may be shown: no image of one patient belongs into another's case.

When a case begins or ends, whatever is shared goes off show, and the record takes nothing of it, until its
owner ends it and shares anew or a moderator says that it is to be shown. A line that broke ends no share: who
comes back with the same link may bring the same image, from before a restart of the server, too. Then nobody
knows any more which shares were off show, or in which case they were begun.
"""

from collections.abc import Callable

from bridge.base.words import Source
from bridge.conference.participants import Participant
from bridge.conference.standing import remember

SHARES = (Source.CONTENT, Source.AUXILIARY)

Share = tuple[Participant, Source]


class Shares:
    """The shares of one room."""

    def __init__(
        self,
        withhold: Callable[[str, Source, bool], None],
        *,
        is_resumed: bool = False,
        had_case: bool = False,
    ) -> None:
        """`withhold` tells the record what to leave out, or no longer. `is_resumed`: the conference goes on
        after a restart, before which a case may have been begun.
        """
        self._tell = withhold
        self._is_resumed = is_resumed
        self._is_all_withheld = is_resumed and had_case
        # What arrives now, in the order in which it came.
        self._sent: list[Share] = []
        # What its owners have not ended, whether or not it arrives now, and what they have.
        self._unended: set[Share] = set()
        self._ended: set[Share] = set()
        self._withheld: set[Share] = set()
        # By link and source: what those who have gone had not ended, and whether it was withheld.
        self._left: dict[tuple[str, Source], bool] = {}

    @property
    def shown(self) -> list[Share]:
        """What may be shown, the newest last."""
        return [share for share in self._sent if share not in self._withheld]

    def withhold_all(self) -> None:
        """A case begins or ends."""
        for share in self._unended:
            self._withhold(share)
        self._left = dict.fromkeys(self._left, True)
        # Who is not back yet may have had a share before the restart.
        self._is_all_withheld = self._is_resumed

    def confirm(self, participant: Participant, source: Source | None) -> Share | None:
        """Return what this participant shares, to be shown from now on; None when it shares nothing."""
        share = next((one for one in self._sent if one[0] is participant and source in (None, one[1])), None)
        if share is not None:
            self._let_go(share)
            self._left.pop((participant.claims.id, share[1]), None)
        return share

    def came(self, participant: Participant) -> None:
        """Somebody has come in, of whom nothing has arrived yet."""
        for source in SHARES:
            if participant.is_muted(source):
                continue
            was_withheld = self._left.get((participant.claims.id, source))
            is_unknown = was_withheld is None and self._is_resumed
            if was_withheld is not None or is_unknown:
                # It may bring the same image, and a case may begin before anything of that has arrived.
                self._unended.add((participant, source))
            if was_withheld or (is_unknown and self._is_all_withheld):
                self._withhold((participant, source))

    def changed(self, participant: Participant) -> None:
        """Something of the participant arrives now, or no longer, or its owner has ended it."""
        for source in SHARES:
            share = (participant, source)
            is_sent = participant.is_sending(source)
            if is_sent and share not in self._sent:
                self._sent.append(share)
            elif not is_sent and share in self._sent:
                self._sent.remove(share)
            if is_sent:
                self._unended.add(share)
            elif participant.is_muted(source):
                self._ended.add(share)
                self._unended.discard(share)
                self._let_go(share)
            elif share in self._ended:
                # Its owner has begun it just now, of which nothing has arrived yet.
                self._ended.remove(share)
                self._unended.add(share)

    def left(self, participant: Participant) -> None:
        """Somebody has gone."""
        self._sent = [share for share in self._sent if share[0] is not participant]
        for source in SHARES:
            share, key = (participant, source), (participant.claims.id, source)
            if share in self._withheld or share in self._unended:
                remember(self._left, key, self._left.get(key, False) or share in self._withheld)
            self._unended.discard(share)
            self._ended.discard(share)
            self._let_go(share)

    def _withhold(self, share: Share) -> None:
        if share not in self._withheld:
            self._withheld.add(share)
            self._tell(share[0].id, share[1], True)

    def _let_go(self, share: Share) -> None:
        if share in self._withheld:
            self._withheld.remove(share)
            self._tell(share[0].id, share[1], False)
