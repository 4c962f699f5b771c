"""What a patient's word about recording means for the package of the case; pure.

`docs/recording.md` has the table of states, and of what is done in each.
"""

from collections.abc import Sequence

from bridge.base.words import ConsentState, Disposition
from bridge.store.journal import Event, EventKind, is_broken_off


def last_word(events: Sequence[Event], case: str | None) -> tuple[ConsentState | None, int | None]:
    """Return what the patient of a case said last, and when; None without a case.

    Of a journal that is broken nobody knows whether a withdrawal stood behind the break.
    """
    if case is None:
        return None, None
    word: tuple[ConsentState, int | None] = ConsentState.UNKNOWN, None
    for event in events:
        if event.kind is EventKind.CONSENT and event.data.get("case") == case:
            word = ConsentState(event.data["state"]), event.at_ms
    if word[0] is ConsentState.GRANTED and is_broken_off(events):
        return ConsentState.UNKNOWN, events[-1].at_ms
    return word


def disposition_of(consent: ConsentState | None, *, is_recorded: bool) -> Disposition | None:
    """Return that people have to decide, where something is recorded of a patient who does not consent.

    Silence is no consent: what an older version recorded without asking is held back like the rest.
    """
    if consent in (None, ConsentState.GRANTED) or not is_recorded:
        return None
    return Disposition.OPEN
