"""What a patient's word about recording means for the package of the case; pure.

`docs/recording.md` has the table of states, and of what is done in each.
"""

from collections.abc import Iterable

from bridge.base.words import ConsentState, Disposition
from bridge.store.journal import Event, EventKind


def last_word(events: Iterable[Event], case: str | None) -> tuple[ConsentState | None, int | None]:
    """Return what the patient of a case said last, and when; None without a case."""
    if case is None:
        return None, None
    word: tuple[ConsentState, int | None] = ConsentState.UNKNOWN, None
    for event in events:
        if event.kind is EventKind.CONSENT and event.data.get("case") == case:
            word = ConsentState(event.data["state"]), event.at_ms
    return word


def disposition_of(consent: ConsentState | None, *, is_recorded: bool) -> Disposition | None:
    """Return that people have to decide, where something is recorded of a patient who does not consent.

    Silence is no consent: what an older version recorded without asking is held back like the rest.
    """
    if consent in (None, ConsentState.GRANTED) or not is_recorded:
        return None
    return Disposition.OPEN
