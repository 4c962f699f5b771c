"""Names of people, sites and conferences as they are kept: one spelling, and nothing that cannot be seen."""

import unicodedata

from bridge.base.errors import InvalidMessage

# Controls, formats (invisible, or turning the direction of what follows), surrogates, private use, line and
# paragraph separators.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def one_spelling(text: str) -> str:
    """Return the text composed (NFC): keyboards and file names of some systems send letters in parts."""
    return unicodedata.normalize("NFC", text)


def tidy_name(text: str) -> str:
    """Return a name as it is kept; raises InvalidMessage for one that is none, or shows something else."""
    name = one_spelling(text).strip(" ")
    if any(unicodedata.category(character) in _REFUSED for character in name):
        raise InvalidMessage("invalid-name", "a name has no invisible characters")
    if not any(character.isalpha() for character in name):
        raise InvalidMessage("invalid-name", "a name has at least one letter")
    return name
