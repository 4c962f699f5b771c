"""Text without case and diacritics, so that "dien bien" finds "Điện Biên"; pure."""

import unicodedata
from typing import Final

# Đ is a letter of its own: Unicode takes no stroke off it.
_STROKES: Final = str.maketrans({"đ": "d", "Đ": "D"})


def fold(text: str) -> str:
    """Return the text in lower case, without accents and tone marks, its white space made one blank each."""
    decomposed = unicodedata.normalize("NFD", text.translate(_STROKES))
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(bare.casefold().split())
